//! Our side: stored calls, by day, principal and line of the bill, with the part of their cost that each line has.
//!
//! A stored call has one cost. It is shared out among its units in proportion to quantity times rate, so that the parts sum exactly to
//! what is stored, whatever the catalogue says by now.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use sluice_schemas::time::HOUR;
use sluice_schemas::{Extras, Micros, PicoUsd, ServiceTier, Usage};

use super::line::{Line, Measured};
use super::rates::LABEL;
use super::wide::{Round, ratio};
use super::{Key, QUANTITY_ONE};
use crate::prices::import::aws::Item;
use crate::prices::{Catalogue, Endpoint, GUARDRAILS, RateCard, Scope, Tier, Unit, UnitPrice, split_listed};

/// Mark of a price version that a configured discount was taken off of.
const DISCOUNTED: char = '~';

/// Stored calls of one hour that agree in everything that decides line and rate.
#[derive(Clone, Debug, Default)]
pub struct OurCalls {
    /// Start of the hour.
    pub hour: Micros,
    /// `account_id`.
    pub account: String,
    /// `region`.
    pub region: String,
    /// `principal_arn`.
    pub principal: String,
    /// `model`: canonical, or as logged where it is not known.
    pub model: String,
    /// `price_scope`: empty where the model is not known.
    pub scope: String,
    /// `service_tier`.
    pub tier: ServiceTier,
    /// A batch job.
    pub batch: bool,
    /// `price_version`.
    pub price_version: String,
    /// The largest long-context threshold of the catalogue that each of their prompts exceeds; 0 for none.
    pub prompt_above: u64,
    /// Whether they failed.
    pub failed: bool,
    /// Units beside tokens of each of them.
    pub extras: Option<Extras>,
    /// Whether they have a price.
    pub priced: bool,
    /// How many.
    pub calls: u64,
    /// Their tokens.
    pub usage: Usage,
    /// Of `usage.cache_write_5m`, tokens whose lifetime the log does not tell.
    pub lifetime_unknown: u64,
    /// Their cost.
    pub cost: PicoUsd,
}

/// What our side has for a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct OurSums {
    pub(super) calls: i128,
    pub(super) unpriced: i128,
    /// In 10⁻¹² units, as all quantities.
    pub(super) quantity: i128,
    /// Of the quantity, what has a price.
    pub(super) priced: i128,
    pub(super) first_hour: i128,
    pub(super) last_hour: i128,
    pub(super) cost: i128,
    /// Their cost before configured discounts.
    pub(super) list: i128,
    /// Of the quantity, what is priced by rates of a bill, which are after discounts.
    pub(super) after_discounts: i128,
}

impl OurSums {
    fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.unpriced += other.unpriced;
        self.quantity += other.quantity;
        self.priced += other.priced;
        self.first_hour += other.first_hour;
        self.last_hour += other.last_hour;
        self.cost += other.cost;
        self.list += other.list;
        self.after_discounts += other.after_discounts;
    }
}

/// Everything on our side.
#[derive(Debug, Default)]
pub(super) struct OurSide {
    pub(super) lines: BTreeMap<Key, OurSums>,
    /// Principals of calls that hide their model, by day, account and region.
    pub(super) hidden: HashMap<(i32, Arc<str>, String), HashSet<Arc<str>>>,
    pub(super) hidden_calls: u64,
    pub(super) lifetime_unknown: u64,
    pub(super) calls: u64,
    pub(super) cost: i128,
}

impl OurSide {
    /// Makes keys less exact where the bill is.
    pub(super) fn fold_principals(&mut self, folded: impl Fn(&Key) -> bool) {
        for (key, sums) in std::mem::take(&mut self.lines) {
            let key = if folded(&key) { Key { principal: Arc::from(""), ..key } } else { key };
            self.lines.entry(key).or_default().add(&sums);
        }
    }
}

/// Model, scope, region, tier, and whether it is before discounts.
type CardsOf = (String, Scope, String, Tier, bool);

/// The rates of our side, each looked up once.
pub(super) struct Rates<'a> {
    catalogue: &'a Catalogue,
    /// The catalogue without configured discounts.
    listed: &'a Catalogue,
    cards: HashMap<CardsOf, Vec<Arc<RateCard>>>,
}

impl<'a> Rates<'a> {
    pub(super) fn new(catalogue: &'a Catalogue, listed: &'a Catalogue) -> Self {
        Self { catalogue, listed, cards: HashMap::default() }
    }

    /// Returns the card that prices a model at a moment.
    pub(super) fn card(&mut self, model: &str, scope: &Scope, region: &str, tier: Tier, listed: bool, at: Micros) -> Option<&RateCard> {
        let catalogue = if listed { self.listed } else { self.catalogue };
        let key = (model.to_owned(), scope.clone(), region.to_owned(), tier, listed);
        let cards = self.cards.entry(key).or_insert_with(|| catalogue.cards_for(model, scope, region, tier));
        cards.iter().map(Arc::as_ref).find(|card| card.holds_at(at))
    }

    /// Returns the rate of a line at a moment.
    pub(super) fn of_line(&mut self, line: &Line, at: Micros) -> Option<UnitPrice> {
        let item = line.item().filter(|_| line.endpoint == Endpoint::Runtime)?;
        rate(self.card(&line.model, &line.price_scope(), &line.region, line.tier, false, at)?, item)
    }
}

/// Returns the price of an item on a card.
pub(super) fn rate(card: &RateCard, item: &Item) -> Option<UnitPrice> {
    match item {
        Item::Tokens { class, long_context: false } => class_rate(&card.tokens, class),
        Item::Tokens { class, long_context: true } => class_rate(&card.steps.first()?.tokens, class),
        Item::Unit(unit) => card.units.get(unit).copied(),
        Item::Image { max_side, quality } => {
            let same = |image: &&crate::prices::ImageRate| {
                image.max_side == *max_side && (image.quality == *quality || image.quality.is_empty() || quality.is_empty())
            };
            card.images.iter().find(same).map(|image| image.price)
        }
    }
}

fn class_rate(tokens: &crate::prices::TokenRates, class: &str) -> Option<UnitPrice> {
    tokens.named().find(|(name, _)| *name == class).and_then(|(_, price)| price)
}

/// One unit of a group of calls.
struct Part {
    item: Item,
    model: Option<&'static str>,
    quantity: i128,
    rate: Option<UnitPrice>,
    listed: Option<UnitPrice>,
}

/// Sums up stored calls, group by group.
pub(super) struct OurReader<'a> {
    rates: Rates<'a>,
    side: OurSide,
}

impl<'a> OurReader<'a> {
    pub(super) fn new(rates: Rates<'a>) -> Self {
        Self { rates, side: OurSide::default() }
    }

    pub(super) fn finish(self) -> (OurSide, Rates<'a>) {
        (self.side, self.rates)
    }

    pub(super) fn add(&mut self, calls: &OurCalls) {
        let (model, scope) = match Scope::parse(&calls.scope) {
            Some(scope) => (calls.model.as_str(), scope),
            None => split_listed(&calls.model),
        };
        let tier = if calls.batch { Some(Tier::Batch) } else { Tier::of(calls.tier) };
        let mut parts = self.parts(calls, model, &scope, tier);
        if parts.is_empty() {
            // Calls of nothing: they are there, which tells a region with a log from one without.
            parts.push(Part { item: tokens("input", false), model: None, quantity: 0, rate: None, listed: None });
        }
        self.side.calls += calls.calls;
        self.side.cost += calls.cost.0;
        self.side.lifetime_unknown += calls.lifetime_unknown;
        let (account, principal): (Arc<str>, Arc<str>) = (Arc::from(calls.account.as_str()), Arc::from(calls.principal.as_str()));
        if model.starts_with("arn:") {
            self.side.hidden_calls += calls.calls;
            let place = (calls.hour.day(), Arc::clone(&account), calls.region.clone());
            self.side.hidden.entry(place).or_default().insert(Arc::clone(&principal));
        }
        let discounted = calls.price_version.contains(DISCOUNTED);
        let after_discounts = calls.price_version.starts_with(LABEL);
        for (part, cost) in parts.iter().zip(shares(&parts, calls.cost.0)) {
            let line = Line {
                model: part.model.unwrap_or(model).to_owned(),
                region: calls.region.clone(),
                endpoint: Endpoint::Runtime,
                global: part.model.is_none() && scope == Scope::Global,
                // What is paid by the hour has no price by the token: it must not be taken for what has.
                tier: if part.model.is_some() { Tier::Standard } else { tier.unwrap_or(Tier::HourlyUnit) },
                measured: Measured::Item(part.item.clone()),
            };
            let key = Key { day: calls.hour.day(), account: Arc::clone(&account), principal: Arc::clone(&principal), line: Arc::new(line) };
            let hour_of_day = calls.hour.hour().rem_euclid(24);
            let at_hour = |hour: i64| if hour_of_day == hour { part.quantity } else { 0 };
            self.side.lines.entry(key).or_default().add(&OurSums {
                calls: i128::from(calls.calls),
                unpriced: if calls.priced { 0 } else { i128::from(calls.calls) },
                quantity: part.quantity,
                priced: if calls.priced { part.quantity } else { 0 },
                first_hour: at_hour(0),
                last_hour: at_hour(23),
                cost,
                list: if discounted { before_discount(part, cost) } else { cost },
                after_discounts: if after_discounts { part.quantity } else { 0 },
            });
        }
    }

    /// Returns what a group of calls consumed.
    fn parts(&mut self, calls: &OurCalls, model: &str, scope: &Scope, tier: Option<Tier>) -> Vec<Part> {
        let at = Micros(calls.hour.0 + HOUR / 2);
        let mut parts = Vec::new();
        let mut cards: [Option<RateCard>; 2] = [None, None];
        if let Some(tier) = tier {
            cards = [false, true].map(|listed| self.rates.card(model, scope, &calls.region, tier, listed, at).cloned());
        }
        let [card, listed] = &cards;
        let long = card.as_ref().is_some_and(|card| card.steps.iter().any(|step| calls.prompt_above >= step.above));
        let usage = &calls.usage;
        let classes = [
            ("input", usage.input),
            ("output", usage.output),
            ("cache_read", usage.cache_read),
            ("cache_write_5m", usage.cache_write_5m),
            ("cache_write_1h", usage.cache_write_1h),
        ];
        let mut push = |item: Item, model: Option<&'static str>, count: i128, cards: [Option<&RateCard>; 2]| {
            let [rate, listed] = cards.map(|card| card.and_then(|card| rate(card, &item)));
            parts.push(Part { item, model, quantity: count, rate, listed });
        };
        let both = [card.as_ref(), listed.as_ref()];
        for (class, count) in classes.into_iter().filter(|(_, count)| *count > 0) {
            push(tokens(class, long), None, i128::from(count) * QUANTITY_ONE, both);
        }
        let Some(extras) = &calls.extras else { return parts };
        let times = i128::from(calls.calls);
        if let (Some(card), false) = (card, calls.failed) {
            for (item, thousandths) in asked(card, extras) {
                push(item, None, thousandths * times * (QUANTITY_ONE / 1_000), both);
            }
        }
        let guardrail =
            [false, true].map(|listed| self.rates.card(GUARDRAILS, &Scope::InRegion, &calls.region, Tier::Standard, listed, at).cloned());
        for (unit, count) in guarded(extras) {
            push(
                Item::Unit(unit),
                Some(GUARDRAILS),
                i128::from(count) * times * QUANTITY_ONE,
                [guardrail[0].as_ref(), guardrail[1].as_ref()],
            );
        }
        parts
    }
}

const fn tokens(class: &'static str, long_context: bool) -> Item {
    Item::Tokens { class, long_context }
}

/// Returns what a call asked for beside tokens and pays by that, in thousandths.
fn asked(card: &RateCard, extras: &Extras) -> Vec<(Item, i128)> {
    let units = [
        (Unit::InputImage, i128::from(extras.input_images) * 1_000),
        (Unit::Query, i128::from(extras.queries) * 1_000),
        (Unit::OutputVideoSecond, i128::from(extras.video_ms)),
    ];
    let paid = units.into_iter().filter(|(unit, count)| *count > 0 && card.units.contains_key(unit));
    let mut asked: Vec<(Item, i128)> = paid.map(|(unit, count)| (Item::Unit(unit), count)).collect();
    if extras.images > 0
        && let Some(image) = crate::prices::image_rate(&card.images, extras)
    {
        // A bill names size and quality together, or neither.
        let told = if extras.image_quality.is_empty() { "standard" } else { &extras.image_quality };
        let quality = if image.quality.is_empty() && image.max_side.is_some() { told } else { &image.quality };
        let item = Item::Image { max_side: image.max_side, quality: quality.to_owned() };
        asked.push((item, i128::from(extras.images) * 1_000));
    }
    asked
}

fn guarded(extras: &Extras) -> impl Iterator<Item = (Unit, u64)> {
    let units = &extras.guardrail;
    [
        (Unit::GuardrailTopic, units.topic),
        (Unit::GuardrailContent, units.content),
        (Unit::GuardrailWord, units.word),
        (Unit::GuardrailSensitive, units.sensitive),
        (Unit::GuardrailSensitiveFree, units.sensitive_free),
        (Unit::GuardrailGrounding, units.grounding),
        (Unit::GuardrailContentImage, units.content_image),
        (Unit::GuardrailReasoning, units.reasoning),
    ]
    .into_iter()
    .filter(|(_, count)| *count > 0)
}

/// Shares a cost out in proportion to quantity times rate, by quantity where no rate is known; the parts sum exactly to it.
fn shares(parts: &[Part], cost: i128) -> Vec<i128> {
    let steps = |rate: UnitPrice| i128::try_from(rate.steps()).unwrap_or(i128::MAX);
    let weight = |part: &Part| part.rate.map_or(0, steps).saturating_mul(part.quantity / (QUANTITY_ONE / 1_000));
    let mut weights: Vec<i128> = parts.iter().map(weight).collect();
    if weights.iter().all(|weight| *weight == 0) {
        weights = parts.iter().map(|part| part.quantity).collect();
    }
    let total = weights.iter().fold(0_i128, |sum, weight| sum.saturating_add(*weight));
    let (mut seen, mut given) = (0_i128, 0_i128);
    let last = parts.len().saturating_sub(1);
    let share = |(at, weight): (usize, &i128)| {
        seen = seen.saturating_add(*weight);
        let upto = if at == last { cost } else { ratio(cost, seen, total, Round::HalfEven).unwrap_or(0) };
        let share = upto - given;
        given = upto;
        share
    };
    weights.iter().enumerate().map(share).collect()
}

/// Returns what a part would have cost without the configured discount.
fn before_discount(part: &Part, cost: i128) -> i128 {
    let steps = |rate: UnitPrice| i128::try_from(rate.steps()).unwrap_or(i128::MAX);
    match (part.rate, part.listed) {
        (Some(rate), Some(listed)) if !rate.is_zero() => ratio(cost, steps(listed), steps(rate), Round::HalfEven).unwrap_or(cost),
        (_, Some(listed)) => super::value(steps(listed), part.quantity).unwrap_or(cost),
        (_, None) => cost,
    }
}
