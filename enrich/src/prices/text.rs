//! The price file: TOML made for review, one `[[card]]` a key and span, decimal strings, defaults at the top.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use sluice_schemas::Micros;

use super::card::{ANY_REGION, Endpoint, ImageRate, PriceKey, RateCard, Scope, Step, Tier, TokenRates, Unit};
use super::catalogue::{Catalogue, CatalogueError, UnknownWordError};
use super::decimal::{PriceTextError, UnitPrice};

const FORMAT: &str = "sluice.prices/1";
const HEADER: &str = "# Rate cards: USD for a million tokens, for a unit or for an image, exact decimals. A card leaves out what\n\
                      # it has from the top of the file, and its scope in_region, region *, tier standard and endpoint runtime.\n";
/// Tokens are priced per million, as price pages do.
const MILLION: u32 = 6;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    format: String,
    label: String,
    #[serde(default)]
    effective_from: Micros,
    #[serde(default)]
    source: String,
    #[serde(default)]
    card: Vec<RawCard>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCard {
    model: String,
    endpoint: Option<String>,
    scope: Option<String>,
    region: Option<String>,
    tier: Option<String>,
    effective_from: Option<Micros>,
    effective_to: Option<Micros>,
    version: Option<String>,
    source: Option<String>,
    #[serde(default)]
    usd_per_million_tokens: BTreeMap<String, String>,
    #[serde(default)]
    long_context: Vec<RawStep>,
    #[serde(default)]
    usd_per_unit: BTreeMap<String, String>,
    #[serde(default)]
    usd_per_image: Vec<RawImage>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStep {
    above_prompt_tokens: u64,
    #[serde(default)]
    usd_per_million_tokens: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawImage {
    max_side: Option<u32>,
    max_steps: Option<u32>,
    #[serde(default)]
    quality: String,
    usd: String,
}

/// What a card inherits from the top of the file.
#[derive(Default)]
pub(super) struct Defaults {
    effective_from: Micros,
    source: Arc<str>,
    version: Arc<str>,
}

impl Defaults {
    /// Returns defaults that leave out a version and nothing else but what has no content.
    pub(super) fn of_version(version: &Arc<str>) -> Self {
        Self { version: Arc::clone(version), ..Self::default() }
    }
}

pub(super) fn read(text: &str) -> Result<Catalogue, CatalogueError> {
    let raw: RawFile = toml::from_str(text)?;
    if raw.format != FORMAT {
        return Err(CatalogueError::Format { found: raw.format, expected: FORMAT });
    }
    let source: Arc<str> = Arc::from(raw.source);
    let cards = raw.card.into_iter().map(|card| read_card(card, raw.effective_from, &source));
    Catalogue::from_cards(&raw.label, cards.collect::<Result<Vec<_>, _>>()?)
}

fn read_card(raw: RawCard, effective_from: Micros, source: &Arc<str>) -> Result<RateCard, CatalogueError> {
    let model = raw.model;
    let key = PriceKey {
        endpoint: read_word(&model, "endpoint", raw.endpoint, Endpoint::parse)?,
        scope: read_word(&model, "scope", raw.scope, Scope::parse)?,
        region: raw.region.unwrap_or_else(|| ANY_REGION.to_owned()),
        tier: read_word(&model, "tier", raw.tier, Tier::parse)?,
        model: model.clone(),
    };
    let mut card = RateCard::new(key, raw.effective_from.unwrap_or(effective_from));
    card.effective_to = raw.effective_to;
    card.version = raw.version.map_or_else(|| Arc::from(""), Arc::from);
    card.source = raw.source.map_or_else(|| Arc::clone(source), Arc::from);
    for (word, text) in raw.usd_per_million_tokens {
        let price = UnitPrice::parse(&text, MILLION).map_err(price_error(&model, &word))?;
        match (card.tokens.slot(&word), Unit::parse(&word).filter(|unit| unit.is_token())) {
            (Some(slot), _) => *slot = Some(price),
            (None, Some(unit)) => drop(card.units.insert(unit, price)),
            (None, None) => return Err(UnknownWordError { model, what: "token class", word }.into()),
        }
    }
    for (word, text) in raw.usd_per_unit {
        let Some(unit) = Unit::parse(&word).filter(|unit| !unit.is_token()) else {
            return Err(UnknownWordError { model, what: "unit", word }.into());
        };
        card.units.insert(unit, UnitPrice::parse(&text, 0).map_err(price_error(&model, &word))?);
    }
    for step in raw.long_context {
        card.steps.push(Step { above: step.above_prompt_tokens, tokens: read_tokens(&model, step.usd_per_million_tokens)? });
    }
    card.steps.sort_by_key(|step| step.above);
    for image in raw.usd_per_image {
        let price = UnitPrice::parse(&image.usd, 0).map_err(price_error(&model, "image"))?;
        card.images.push(ImageRate { max_side: image.max_side, max_steps: image.max_steps, quality: image.quality, price });
    }
    sort_images(&mut card.images);
    Ok(card)
}

/// Puts tighter bounds first: a missing bound is no bound, so it sorts last.
pub(crate) fn sort_images(images: &mut [ImageRate]) {
    images.sort_by_key(|rate| (rate.max_side.unwrap_or(u32::MAX), rate.max_steps.unwrap_or(u32::MAX), rate.quality.is_empty()));
}

fn read_tokens(model: &str, prices: BTreeMap<String, String>) -> Result<TokenRates, CatalogueError> {
    let mut tokens = TokenRates::default();
    for (word, text) in prices {
        let price = UnitPrice::parse(&text, MILLION).map_err(price_error(model, &word))?;
        let Some(slot) = tokens.slot(&word) else {
            return Err(UnknownWordError { model: model.to_owned(), what: "token class", word }.into());
        };
        *slot = Some(price);
    }
    Ok(tokens)
}

fn read_word<T: Default>(
    model: &str,
    what: &'static str,
    word: Option<String>,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<T, UnknownWordError> {
    let Some(word) = word else { return Ok(T::default()) };
    parse(&word).ok_or_else(|| UnknownWordError { model: model.to_owned(), what, word })
}

fn price_error(model: &str, item: &str) -> impl FnOnce(PriceTextError) -> CatalogueError {
    let (model, item) = (model.to_owned(), item.to_owned());
    |source| CatalogueError::Price { model, item, source }
}

pub(super) fn write(catalogue: &Catalogue) -> String {
    let version = catalogue.version();
    let first = catalogue.cards().next();
    // A catalogue of one list gets its version back from its label and content; a merged one names each card's own.
    let label = version.rsplit_once('#').map_or(version, |(label, _)| label);
    let single = catalogue.cards().all(|card| card.version.as_ref() == version)
        && version == format!("{label}#{}", super::catalogue::content_hash(catalogue.cards()));
    let defaults = Defaults {
        effective_from: first.map_or(Micros(0), |card| card.effective_from),
        source: most_frequent_source(catalogue),
        version: if single { Arc::from(version) } else { Arc::from("") },
    };
    let mut text = String::from(HEADER);
    line(&mut text, "format", &quoted(FORMAT));
    line(&mut text, "label", &quoted(label));
    line(&mut text, "effective_from", &quoted(&defaults.effective_from.to_string()));
    line(&mut text, "source", &quoted(&defaults.source));
    for card in catalogue.cards() {
        write_card(&mut text, card, &defaults);
    }
    text
}

fn most_frequent_source(catalogue: &Catalogue) -> Arc<str> {
    let mut counts: BTreeMap<&Arc<str>, usize> = BTreeMap::new();
    for card in catalogue.cards() {
        *counts.entry(&card.source).or_default() += 1;
    }
    counts.into_iter().max_by_key(|(_, count)| *count).map_or_else(|| Arc::from(""), |(source, _)| Arc::clone(source))
}

/// Writes one card; a field equal to its default is left out.
pub(super) fn write_card(text: &mut String, card: &RateCard, defaults: &Defaults) {
    text.push_str("\n[[card]]\n");
    let key = &card.key;
    line(text, "model", &quoted(&key.model));
    if key.endpoint != Endpoint::default() {
        line(text, "endpoint", &quoted(key.endpoint.as_str()));
    }
    if key.scope != Scope::default() {
        line(text, "scope", &quoted(&key.scope.to_string()));
    }
    if key.region != ANY_REGION {
        line(text, "region", &quoted(&key.region));
    }
    if key.tier != Tier::default() {
        line(text, "tier", &quoted(key.tier.as_str()));
    }
    if card.effective_from != defaults.effective_from {
        line(text, "effective_from", &quoted(&card.effective_from.to_string()));
    }
    if let Some(to) = card.effective_to {
        line(text, "effective_to", &quoted(&to.to_string()));
    }
    if card.version != defaults.version {
        line(text, "version", &quoted(&card.version));
    }
    if card.source != defaults.source {
        line(text, "source", &quoted(&card.source));
    }
    write_prices(text, card);
}

fn write_prices(text: &mut String, card: &RateCard) {
    let per_token = card.units.iter().filter(|(unit, _)| unit.is_token()).map(|(unit, price)| (unit.as_str(), Some(*price)));
    let tokens = table(card.tokens.named().chain(per_token), MILLION);
    if !tokens.is_empty() {
        line(text, "usd_per_million_tokens", &format!("{{ {tokens} }}"));
    }
    if !card.steps.is_empty() {
        let steps = card.steps.iter().map(|step| {
            let tokens = table(step.tokens.named(), MILLION);
            let tokens = if tokens.is_empty() { tokens } else { format!(", usd_per_million_tokens = {{ {tokens} }}") };
            format!("    {{ above_prompt_tokens = {}{tokens} }},\n", step.above)
        });
        line(text, "long_context", &format!("[\n{}]", steps.collect::<String>()));
    }
    let units = card.units.iter().filter(|(unit, _)| !unit.is_token()).map(|(unit, price)| (unit.as_str(), Some(*price)));
    let units = table(units, 0);
    if !units.is_empty() {
        line(text, "usd_per_unit", &format!("{{ {units} }}"));
    }
    if !card.images.is_empty() {
        let images = card.images.iter().map(|image| {
            let side = image.max_side.map(|side| format!("max_side = {side}, ")).unwrap_or_default();
            let steps = image.max_steps.map(|steps| format!("max_steps = {steps}, ")).unwrap_or_default();
            let quality = if image.quality.is_empty() { String::new() } else { format!("quality = {}, ", quoted(&image.quality)) };
            format!("    {{ {side}{steps}{quality}usd = \"{}\" }},\n", image.price)
        });
        line(text, "usd_per_image", &format!("[\n{}]", images.collect::<String>()));
    }
}

fn table<'a>(prices: impl Iterator<Item = (&'a str, Option<UnitPrice>)>, power: u32) -> String {
    let known = prices.filter_map(|(name, price)| Some(format!("{name} = \"{}\"", price?.to_text(power))));
    known.collect::<Vec<_>>().join(", ")
}

fn line(text: &mut String, key: &str, value: &str) {
    text.push_str(key);
    text.push_str(" = ");
    text.push_str(value);
    text.push('\n');
}

fn quoted(value: &str) -> String {
    toml::Value::String(value.to_owned()).to_string()
}
