//! Puts the single prices of an AWS price list together to rate cards.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sluice_schemas::Micros;

use super::super::super::card::{Endpoint, ImageRate, PriceKey, RateCard, Scope, Step, TokenRates, Unit};
use super::super::super::catalogue::Catalogue;
use super::super::super::decimal::UnitPrice;
use super::super::super::names;
use super::super::super::text::sort_images;
use super::usage::UsageType;

/// Tokens above which long-context prices hold where no card of the model says it ("Anthropic Claude", Amazon Bedrock
/// pricing: more than 200,000 tokens; OpenAI models: more than 272,000).
const LONG_CONTEXT: u64 = 200_000;
const LONG_CONTEXT_OPENAI: u64 = 272_000;

/// What of a card a price is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Item {
    Tokens { class: &'static str, long_context: bool },
    Unit(Unit),
    Image { max_side: Option<u32>, quality: String },
}

/// One price of one product.
#[derive(Clone, Debug)]
pub(super) struct Point {
    pub(super) model: String,
    pub(super) region: String,
    pub(super) item: Item,
    pub(super) usage: UsageType,
    pub(super) from: Micros,
    pub(super) price: UnitPrice,
}

type Prices = BTreeMap<Item, BTreeMap<Micros, UnitPrice>>;

pub(super) struct Builder<'a> {
    source: Arc<str>,
    known: &'a Catalogue,
    keys: BTreeMap<PriceKey, Prices>,
    /// Keys for which two prices of one thing were listed: which of them holds cannot be told.
    contradicted: BTreeMap<PriceKey, String>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(source: String, known: &'a Catalogue) -> Self {
        Self { source: Arc::from(source), known, keys: BTreeMap::new(), contradicted: BTreeMap::new() }
    }

    /// Adds a price to every key it holds for.
    pub(super) fn add(&mut self, point: Point) {
        let endpoint = if point.usage.mantle { Endpoint::Mantle } else { Endpoint::Runtime };
        let scopes: Vec<Scope> = if point.usage.global {
            vec![Scope::Global]
        } else {
            let geographies = names::geographies_of(&point.region).iter().map(|prefix| Scope::Geo((*prefix).to_owned()));
            std::iter::once(Scope::InRegion).chain(geographies).collect()
        };
        for scope in scopes {
            let (model, region, tier) = (point.model.clone(), point.region.clone(), point.usage.tier);
            let key = PriceKey { model, endpoint, scope, region, tier };
            let dated = self.keys.entry(key.clone()).or_default().entry(point.item.clone()).or_default();
            if dated.insert(point.from, point.price).is_some_and(|before| before != point.price) {
                self.contradicted.insert(key, format!("two prices for {:?} from {}", point.item, point.from));
            }
        }
    }

    /// Returns the cards, and the keys that gave none with the reason.
    pub(super) fn cards(self) -> (Vec<RateCard>, Vec<(String, String)>) {
        let mut cards = Vec::new();
        let mut left_out = Vec::new();
        for (key, prices) in &self.keys {
            let why = self.contradicted.get(key).cloned().or_else(|| self.incomplete(key, prices));
            match why {
                Some(why) => left_out.push((key.to_string(), why)),
                None => cards.extend(self.cards_of(key, prices)),
            }
        }
        (cards, left_out)
    }

    /// Tells why a card would shadow a better known one: it prices only one side of a model that has two.
    fn incomplete(&self, key: &PriceKey, prices: &Prices) -> Option<String> {
        let has = |class: &'static str| prices.contains_key(&Item::Tokens { class, long_context: false });
        let known = self.known.cards().filter(|card| card.key.model == key.model && !card.tokens.is_empty());
        let (mut input, mut output) = (false, false);
        for card in known {
            input |= card.tokens.input.is_some();
            output |= card.tokens.output.is_some_and(|price| !price.is_zero());
        }
        let tokens = prices.keys().any(|item| matches!(item, Item::Tokens { .. }));
        (tokens && input && !has("input"))
            .then(|| "no price of input tokens in the list".to_owned())
            .or_else(|| (tokens && output && !has("output")).then(|| "no price of output tokens in the list".to_owned()))
    }

    /// Makes the cards of a key: the first from when all its prices are known, then one at each change.
    fn cards_of(&self, key: &PriceKey, prices: &Prices) -> Vec<RateCard> {
        let firsts = prices.values().filter_map(|dated| dated.keys().next());
        let Some(first) = firsts.max() else { return Vec::new() };
        let starts: BTreeSet<Micros> = prices.values().flat_map(BTreeMap::keys).filter(|from| *from >= first).copied().collect();
        let starts: Vec<Micros> = starts.into_iter().collect();
        let card_from = |(at, from): (usize, &Micros)| {
            let mut card = RateCard::new(key.clone(), *from);
            card.source = Arc::clone(&self.source);
            card.effective_to = starts.get(at + 1).copied();
            for (item, dated) in prices {
                if let Some((_, price)) = dated.range(..=*from).next_back() {
                    self.set(&mut card, item, *price);
                }
            }
            sort_images(&mut card.images);
            card
        };
        starts.iter().enumerate().map(card_from).collect()
    }

    fn set(&self, card: &mut RateCard, item: &Item, price: UnitPrice) {
        match item {
            Item::Tokens { class, long_context: false } => assign(&mut card.tokens, class, price),
            Item::Tokens { class, long_context: true } => {
                let above = self.long_context_of(&card.key.model);
                if card.steps.is_empty() {
                    card.steps.push(Step { above, tokens: TokenRates::default() });
                }
                card.steps.iter_mut().for_each(|step| assign(&mut step.tokens, class, price));
            }
            Item::Unit(unit) => drop(card.units.insert(*unit, price)),
            Item::Image { max_side, quality } => {
                card.images.push(ImageRate { max_side: *max_side, max_steps: None, quality: quality.clone(), price });
            }
        }
    }

    /// Price lists name no threshold: it is the one known of the model, else its vendor's.
    fn long_context_of(&self, model: &str) -> u64 {
        let known = self.known.cards().find(|card| card.key.model == model && !card.steps.is_empty());
        let vendor = if names::provider(model) == "openai" { LONG_CONTEXT_OPENAI } else { LONG_CONTEXT };
        known.and_then(|card| card.steps.first()).map_or(vendor, |step| step.above)
    }
}

fn assign(tokens: &mut TokenRates, class: &str, price: UnitPrice) {
    if let Some(slot) = tokens.slot(class) {
        *slot = Some(price);
    }
}
