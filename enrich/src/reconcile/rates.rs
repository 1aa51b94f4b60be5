//! The rates that a bill comes to: cost after discounts by quantity, as a price file that can be laid over the catalogue.
//!
//! A bill rounds its amounts, so a day leaves a rate open within an interval. Days whose intervals have a common part have one rate: the
//! shortest decimal in that part. Where they have none, the rate changed between them. A card says what the bill shows from the first to
//! the last day of usage; prices of the model that the bill does not show stay as they are known.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sluice_schemas::Micros;
use sluice_schemas::time::{DAY, format_day};

use super::line::{Line, LineReader};
use super::theirs::{last_digit, quantity_open};
use super::wide::{Round, ratio};
use super::{Bill, LineKind, STEPS};
use crate::prices::import::aws::Item;
use crate::prices::{
    ANY_REGION, Catalogue, CatalogueError, Endpoint, GUARDRAILS, ImageRate, PriceKey, RateCard, Scope, UnitPrice, geographies_of,
    sort_images,
};

/// Beginning of the label of a price file of a bill: its prices are after discounts, and the calls they price are known by it.
pub(super) const LABEL: &str = "bill-";
const SOURCE: &str = "effective rates of a Cost and Usage Report";
/// How many times smaller than a rate the interval must be that a bill leaves it open in.
const CLEAR: i128 = 100;

/// Rates of a bill.
#[derive(Clone, Debug)]
pub struct DerivedRates {
    /// Their cards, to lay over a catalogue.
    pub catalogue: Catalogue,
    /// Prices found.
    pub derived: usize,
    /// Usage without a rate, with the reason.
    pub left_out: Vec<(String, String)>,
}

/// One day of one line, all principals together.
#[derive(Clone, Copy, Debug, Default)]
struct DaySum {
    lines: i128,
    quantity: i128,
    quantity_open: i128,
    cost: i128,
    cost_open: i128,
}

/// Rates in multiples of 10⁻²⁴ USD that a stretch of days agrees on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stretch {
    from: i32,
    to: i32,
    low: i128,
    high: i128,
    cost: i128,
    quantity: i128,
}

/// A rate and the days it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Dated {
    from: i32,
    to: i32,
    price: UnitPrice,
}

/// Finds the effective rates of a bill. `listed` are the prices known so far, before configured discounts; `span` names the days of the
/// bill in the label of the price file.
///
/// # Errors
/// [`CatalogueError`] when the cards contradict each other, which they cannot.
pub fn derive_rates(bill: &Bill, listed: &Catalogue, span: &str) -> Result<DerivedRates, CatalogueError> {
    let mut left_out = Vec::new();
    let mut keys: BTreeMap<PriceKey, Vec<(Item, Vec<Dated>)>> = BTreeMap::new();
    let mut derived = 0;
    for (line, days) in days_of_lines(bill, listed) {
        let Some(item) = line.item() else {
            left_out.push((line.usage(), line.unknown().unwrap_or("it has no unit price").to_owned()));
            continue;
        };
        match rates_of(&days) {
            Ok(rates) => {
                derived += rates.len();
                for key in keys_of(&line) {
                    keys.entry(key).or_default().push((item.clone(), rates.clone()));
                }
            }
            Err(why) => left_out.push((line.to_string(), why)),
        }
    }
    let mut cards = Vec::new();
    for (key, items) in &keys {
        cards.extend(cards_of(key, items, listed, &mut left_out));
    }
    left_out.sort();
    left_out.dedup();
    Ok(DerivedRates { catalogue: Catalogue::from_cards(&format!("{LABEL}{span}"), cards)?, derived, left_out })
}

fn days_of_lines(bill: &Bill, listed: &Catalogue) -> BTreeMap<Arc<Line>, BTreeMap<i32, DaySum>> {
    let mut reader = LineReader::new(listed.models());
    let mut lines: BTreeMap<Arc<Line>, BTreeMap<i32, DaySum>> = BTreeMap::new();
    for billed in bill.lines.iter().filter(|line| matches!(line.kind, LineKind::Usage | LineKind::Discount)) {
        let read = reader.read(billed);
        let sum = lines.entry(read.line).or_default().entry(billed.day).or_default();
        let count = i128::from(billed.lines);
        sum.cost += billed.net.0;
        sum.cost_open += count * last_digit(bill.cost_digits);
        if billed.kind == LineKind::Usage {
            sum.lines += count;
            sum.quantity = sum.quantity.saturating_add(billed.quantity.saturating_mul(10_i128.pow(read.power)));
            sum.quantity_open = sum.quantity_open.saturating_add(count * quantity_open(bill.quantity_digits, read.power));
        }
    }
    lines
}

/// Returns the rates of a line over its days.
fn rates_of(days: &BTreeMap<i32, DaySum>) -> Result<Vec<Dated>, String> {
    let mut stretches: Vec<Stretch> = Vec::new();
    for (day, sum) in days {
        if sum.quantity <= sum.quantity_open {
            return Err(format!("a cost without usage on {}", format_day(*day)));
        }
        if sum.cost < 0 {
            return Err(format!("its discounts are more than its cost on {}: they are not billed by the day", format_day(*day)));
        }
        let next = interval(*day, sum).ok_or("its rate does not fit")?;
        match stretches.last_mut().filter(|last| last.low.max(next.low) <= last.high.min(next.high)) {
            Some(last) => {
                last.to = next.to;
                (last.low, last.high) = (last.low.max(next.low), last.high.min(next.high));
                (last.cost, last.quantity) = (last.cost + next.cost, last.quantity + next.quantity);
            }
            None => stretches.push(next),
        }
    }
    stretches.iter().map(rate_of).collect()
}

/// Returns the interval that one day leaves a rate open in.
fn interval(day: i32, sum: &DaySum) -> Option<Stretch> {
    let low = ratio(sum.cost.saturating_sub(sum.cost_open), STEPS, sum.quantity + sum.quantity_open, Round::Up)?;
    let high = ratio(sum.cost.saturating_add(sum.cost_open), STEPS, sum.quantity - sum.quantity_open, Round::Down)?;
    Some(Stretch { from: day, to: day, low, high, cost: sum.cost, quantity: sum.quantity })
}

fn rate_of(stretch: &Stretch) -> Result<Dated, String> {
    let exact = ratio(stretch.cost, STEPS, stretch.quantity, Round::HalfEven).ok_or("its rate does not fit")?;
    let open = stretch.high.saturating_sub(stretch.low);
    if stretch.cost > 0 && open.saturating_mul(CLEAR) > stretch.low {
        return Err(format!("too little usage from {} to {} to tell a rate from it", format_day(stretch.from), format_day(stretch.to)));
    }
    let steps = if stretch.cost == 0 { 0 } else { shortest(stretch.low, stretch.high, exact) };
    let price = u128::try_from(steps).ok().and_then(UnitPrice::from_steps).ok_or("its rate does not fit")?;
    Ok(Dated { from: stretch.from, to: stretch.to, price })
}

/// Returns the number with the fewest digits in an interval, of several the one next to `exact`; `exact` where it is empty.
fn shortest(low: i128, high: i128, exact: i128) -> i128 {
    let middle = exact.clamp(low.min(high), high.max(low));
    for power in (0..30).rev() {
        let unit = 10_i128.pow(power);
        let below = middle - middle.rem_euclid(unit);
        let fits = [below, below + unit].into_iter().filter(|number| (low..=high).contains(number));
        if let Some(number) = fits.min_by_key(|number| (number - middle).abs()) {
            return number;
        }
    }
    exact
}

/// Returns every key that a line of the bill prices: AWS bills a region and its geographic profiles alike.
fn keys_of(line: &Line) -> Vec<PriceKey> {
    let scopes: Vec<Scope> = if line.global {
        vec![Scope::Global]
    } else if line.model == GUARDRAILS {
        vec![Scope::InRegion]
    } else {
        let geographies = geographies_of(&line.region).iter().map(|prefix| Scope::Geo((*prefix).to_owned()));
        std::iter::once(Scope::InRegion).chain(geographies).collect()
    };
    let key = |scope| PriceKey { model: line.model.clone(), endpoint: line.endpoint, scope, region: line.region.clone(), tier: line.tier };
    scopes.into_iter().map(key).collect()
}

/// Makes the cards of a key: a new one wherever a price of the bill, or one it does not show, changes.
fn cards_of(key: &PriceKey, items: &[(Item, Vec<Dated>)], listed: &Catalogue, left_out: &mut Vec<(String, String)>) -> Vec<RateCard> {
    let rates = || items.iter().flat_map(|(_, rates)| rates);
    let at = |day: i32| Micros(i64::from(day) * DAY);
    let Some(end) = rates().map(|rate| at(rate.to + 1)).max() else { return Vec::new() };
    let known = known_cards(key, listed);
    let mut starts: BTreeSet<Micros> = rates().map(|rate| at(rate.from)).collect();
    let Some(first) = starts.first().copied() else { return Vec::new() };
    let bounds = known.iter().flat_map(|card| std::iter::once(card.effective_from).chain(card.effective_to));
    starts.extend(bounds.filter(|bound| *bound > first && *bound < end));
    let starts: Vec<Micros> = starts.into_iter().collect();
    let card_from = |(place, from): (usize, &Micros)| {
        let base = known.iter().find(|card| card.holds_at(*from));
        let mut card = base.map_or_else(|| RateCard::new(key.clone(), *from), |card| RateCard::clone(card));
        (card.key, card.effective_from) = (key.clone(), *from);
        card.effective_to = Some(starts.get(place + 1).copied().unwrap_or(end));
        (card.version, card.source) = (Arc::from(""), Arc::from(SOURCE));
        for (item, rates) in items {
            if let Some(rate) = rates.iter().rfind(|rate| at(rate.from) <= *from)
                && !set(&mut card, item, rate.price)
            {
                left_out.push((key.to_string(), "no price of it says from how many tokens on a context is long".to_owned()));
            }
        }
        sort_images(&mut card.images);
        card
    };
    starts.iter().enumerate().map(card_from).collect()
}

/// Returns the cards that hold for a key so far.
fn known_cards(key: &PriceKey, listed: &Catalogue) -> Vec<Arc<RateCard>> {
    if key.endpoint == Endpoint::Runtime {
        return listed.cards_for(&key.model, &key.scope, &key.region, key.tier);
    }
    let same = |card: &&RateCard| {
        let other = &card.key;
        (&other.model, other.endpoint, &other.scope, other.tier) == (&key.model, key.endpoint, &key.scope, key.tier)
    };
    let exact = listed.cards().filter(same).filter(|card| card.key.region == key.region);
    let cards: Vec<Arc<RateCard>> = exact.map(|card| Arc::new(card.clone())).collect();
    if !cards.is_empty() {
        return cards;
    }
    listed.cards().filter(same).filter(|card| card.key.region == ANY_REGION).map(|card| Arc::new(card.clone())).collect()
}

/// Puts a price on a card; `false` when it cannot tell where a long context begins.
fn set(card: &mut RateCard, item: &Item, price: UnitPrice) -> bool {
    match item {
        Item::Tokens { class, long_context: false } => {
            if let Some(slot) = card.tokens.slot(class) {
                *slot = Some(price);
            }
        }
        Item::Tokens { class, long_context: true } => {
            if card.steps.is_empty() {
                return false;
            }
            for slot in card.steps.iter_mut().filter_map(|step| step.tokens.slot(class)) {
                *slot = Some(price);
            }
        }
        Item::Unit(unit) => drop(card.units.insert(*unit, price)),
        Item::Image { max_side, quality } => {
            card.images.retain(|image| (image.max_side, &image.quality) != (*max_side, quality));
            card.images.push(ImageRate { max_side: *max_side, max_steps: None, quality: quality.clone(), price });
        }
    }
    true
}

#[cfg(test)]
#[path = "rates/tests.rs"]
mod tests;
