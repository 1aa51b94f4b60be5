//! LiteLLM's `model_prices_and_context_window.json`: one entry a model and place, USD a unit as JSON numbers.
//!
//! Numbers are read from their text, never through a float. Entries of other providers are not looked at.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;
use sluice_schemas::Micros;

use super::super::card::{ANY_REGION, Endpoint, GUARDRAILS, ImageRate, PriceKey, RateCard, Step, Tier, Unit};
use super::super::catalogue::Catalogue;
use super::super::decimal::UnitPrice;
use super::super::text::sort_images;
use super::super::{import, names};
use import::{Import, ImportError};

const LIST: &str = "LiteLLM";
const SOURCE: &str = "LiteLLM model_prices_and_context_window.json";
const PROVIDERS: [&str; 3] = ["bedrock", "bedrock_converse", "bedrock_mantle"];
const TIERS: [(&str, Tier); 4] =
    [("_batches", Tier::Batch), ("_flex", Tier::Flex), ("_priority", Tier::Priority), ("_ultrafast", Tier::Ultrafast)];
const SECONDS_PER_HOUR: u32 = 3_600;

type Fields<'a> = BTreeMap<String, &'a RawValue>;

#[derive(Deserialize)]
struct Provider {
    #[serde(default)]
    litellm_provider: String,
}

/// What the key of an entry says.
#[derive(Default)]
struct Place {
    key: PriceKey,
    max_side: Option<u32>,
    max_steps: Option<u32>,
}

/// Reads LiteLLM's price list; its prices carry no date, so they hold from `effective_from` on.
pub fn litellm(json: &str, effective_from: Micros) -> Result<Import, ImportError> {
    let syntax = |source| ImportError::Syntax { list: LIST, source };
    let entries: BTreeMap<String, &RawValue> = serde_json::from_str(json).map_err(syntax)?;
    let mut cards: BTreeMap<PriceKey, RateCard> = BTreeMap::new();
    let (mut skipped, mut converted) = (Vec::new(), 0);
    for (key, entry) in &entries {
        let provider: Provider = match serde_json::from_str(entry.get()) {
            Ok(provider) => provider,
            Err(error) => {
                skipped.push((key.clone(), format!("not an entry: {error}")));
                continue;
            }
        };
        if !PROVIDERS.contains(&provider.litellm_provider.as_str()) {
            continue;
        }
        let fields: Fields<'_> = serde_json::from_str(entry.get()).map_err(syntax)?;
        let read = place(key, &entries).and_then(|place| read_entry(&place, &fields, effective_from));
        match read.and_then(|(read, notes)| merge(&mut cards, read).map(|()| notes)) {
            Ok(notes) => {
                converted += 1;
                skipped.extend(notes.into_iter().map(|(field, why)| (format!("{key}#{field}"), why)));
            }
            Err(why) => skipped.push((key.clone(), why)),
        }
    }
    if cards.is_empty() {
        return Err(ImportError::Empty { list: LIST });
    }
    let catalogue =
        Catalogue::from_cards("litellm", cards.into_values()).map_err(|source| ImportError::Catalogue { list: LIST, source })?;
    Ok(Import { catalogue, converted, skipped })
}

/// Reads where an entry's prices hold from its key.
fn place(key: &str, entries: &BTreeMap<String, &RawValue>) -> Result<Place, String> {
    let mut place = Place::default();
    ANY_REGION.clone_into(&mut place.key.region);
    let mut parts: Vec<&str> = key.split('/').collect();
    if let [size, steps, ..] = parts.as_slice()
        && let (Some(side), Some(steps)) = (bound(size, "-x-"), bound(steps, "-"))
    {
        (place.max_side, place.max_steps) = (side, steps);
        parts.drain(..2);
    }
    let model = match parts.as_slice() {
        ["bedrock", GUARDRAILS] => {
            GUARDRAILS.clone_into(&mut place.key.model);
            return Ok(place);
        }
        ["bedrock", "claude_platform", model] => {
            place.key.endpoint = Endpoint::ClaudePlatform;
            (*model).clone_into(&mut place.key.model);
            return Ok(place);
        }
        ["bedrock", "invoke", _] => return Err("names a route of the importing tool, not a model".to_owned()),
        ["bedrock", region, commitment, model] => {
            place.key.tier = match *commitment {
                "1-month-commitment" => Tier::HourlyUnit1Month,
                "6-month-commitment" => Tier::HourlyUnit6Months,
                other => return Err(format!("unknown commitment '{other}'")),
            };
            (*region).clone_into(&mut place.key.region);
            model
        }
        [door @ ("bedrock" | "bedrock_mantle"), region, model] => {
            place.key.endpoint = endpoint_of(door);
            (*region).clone_into(&mut place.key.region);
            model
        }
        ["bedrock", model] if place.max_side.is_none() && entries.contains_key(*model) => {
            return Err(format!("the entry '{model}' prices the same model"));
        }
        [door @ ("bedrock" | "bedrock_mantle"), model] => {
            place.key.endpoint = endpoint_of(door);
            model
        }
        [model] => model,
        _ => return Err("unknown form of key".to_owned()),
    };
    let (model, scope) = names::split_listed(model);
    if model.contains('@') || names::provider(model).is_empty() {
        return Err("not a Bedrock model id: those read vendor.model".to_owned());
    }
    model.clone_into(&mut place.key.model);
    place.key.scope = scope;
    Ok(place)
}

fn endpoint_of(door: &str) -> Endpoint {
    if door == "bedrock_mantle" { Endpoint::Mantle } else { Endpoint::Runtime }
}

/// Reads `512-x-512`, `50-steps`; `max` is no bound. The outer `None`: not of this form.
#[expect(clippy::option_option, reason = "no bound and no such form are two things")]
fn bound(part: &str, separator: &str) -> Option<Option<u32>> {
    let (number, _) = part.split_once(separator)?;
    if number == "max" { Some(None) } else { number.parse().ok().map(Some) }
}

type Notes = Vec<(String, String)>;

/// Reads the prices of an entry: one card a tier.
fn read_entry(place: &Place, fields: &Fields<'_>, from: Micros) -> Result<(Vec<RateCard>, Notes), String> {
    let source = fields.get("source").and_then(|raw| serde_json::from_str::<String>(raw.get()).ok());
    let source: Arc<str> = source.map_or_else(|| Arc::from(SOURCE), Arc::from);
    let mut cards: BTreeMap<Tier, RateCard> = BTreeMap::new();
    let mut notes = Notes::new();
    for (field, raw) in fields.iter().filter(|(field, _)| field.contains("cost")) {
        let (name, tier) =
            TIERS.iter().find_map(|(suffix, tier)| Some((field.strip_suffix(suffix)?, *tier))).unwrap_or((field, place.key.tier));
        let card = cards.entry(tier).or_insert_with(|| {
            let mut card = RateCard::new(PriceKey { tier, ..place.key.clone() }, from);
            card.source = Arc::clone(&source);
            card
        });
        if let Err(why) = read_field(card, place, name, raw.get()) {
            notes.push((field.clone(), why));
        }
    }
    if fields.contains_key("provider_specific_entry") {
        let entry = fields["provider_specific_entry"].get();
        if entry.bytes().any(|byte| byte.is_ascii_digit()) && !entry.contains("schema") {
            let entry: String = entry.split_whitespace().collect();
            notes.push(("provider_specific_entry".to_owned(), format!("a factor, not a price: {entry}")));
        }
    }
    mark_unknown_steps(&mut cards);
    let cards: Vec<RateCard> = cards.into_values().filter(|card| !card.items().is_empty()).collect();
    if cards.is_empty() { Err("no price in it".to_owned()) } else { Ok((cards, notes)) }
}

/// Where long prompts have a price of their own in the standard tier but none is listed for another tier, marks that price
/// as unknown: the tier's price for short prompts would be too low.
fn mark_unknown_steps(cards: &mut BTreeMap<Tier, RateCard>) {
    let Some(standard) = cards.get(&Tier::Standard) else { return };
    let thresholds: Vec<u64> = standard.steps.iter().map(|step| step.above).collect();
    for card in cards.values_mut() {
        for above in &thresholds {
            step_of(card, *above);
        }
        card.steps.sort_by_key(|step| step.above);
    }
}

fn step_of(card: &mut RateCard, above: u64) -> &mut Step {
    let at = card.steps.iter().position(|step| step.above == above).unwrap_or_else(|| {
        card.steps.push(Step { above, tokens: Default::default() });
        card.steps.len() - 1
    });
    &mut card.steps[at]
}

fn read_field(card: &mut RateCard, place: &Place, name: &str, raw: &str) -> Result<(), String> {
    if name == "search_context_cost_per_query" {
        return read_search(card, raw);
    }
    if name == "guardrail_cost_per_unit" {
        return read_guardrail(card, raw);
    }
    let price = number(raw)?;
    if let Some((base, above)) = split_threshold(name) {
        let class = token_class(base).ok_or("unknown price")?;
        *step_of(card, above).tokens.slot(class).ok_or("unknown price")? = Some(price);
    } else if let Some(class) = token_class(name) {
        *card.tokens.slot(class).ok_or("unknown price")? = Some(price);
    } else if name == "output_cost_per_image" {
        card.images.push(ImageRate { max_side: place.max_side, max_steps: place.max_steps, quality: String::new(), price });
    } else if matches!(name, "input_cost_per_second" | "cost_per_second") {
        if !matches!(place.key.tier, Tier::HourlyUnit1Month | Tier::HourlyUnit6Months) {
            return Err("a price per second without a commitment".to_owned());
        }
        card.units.insert(Unit::ModelUnitHour, price.times(SECONDS_PER_HOUR).ok_or("too large by the hour")?);
    } else {
        card.units.insert(unit_of(name).ok_or("unknown price")?, price);
    }
    Ok(())
}

fn number(raw: &str) -> Result<UnitPrice, String> {
    let text = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(raw);
    UnitPrice::parse_number(text, 0).map_err(|error| error.to_string())
}

/// Splits `…_above_200k_tokens` off a field name.
fn split_threshold(name: &str) -> Option<(&str, u64)> {
    let (base, count) = name.strip_suffix("_tokens")?.rsplit_once("_above_")?;
    let above = match count.strip_suffix('k') {
        Some(thousands) => thousands.parse::<u64>().ok()?.checked_mul(1_000)?,
        None => count.parse().ok()?,
    };
    Some((base, above))
}

fn token_class(name: &str) -> Option<&'static str> {
    Some(match name {
        "input_cost_per_token" => "input",
        "output_cost_per_token" => "output",
        "cache_read_input_token_cost" => "cache_read",
        "cache_creation_input_token_cost" => "cache_write_5m",
        "cache_creation_input_token_cost_above_1hr" => "cache_write_1h",
        _ => return None,
    })
}

fn unit_of(name: &str) -> Option<Unit> {
    Some(match name {
        "input_cost_per_audio_token" => Unit::InputAudioToken,
        "output_cost_per_audio_token" => Unit::OutputAudioToken,
        "input_cost_per_image_token" => Unit::InputImageToken,
        "input_cost_per_image" => Unit::InputImage,
        "input_cost_per_video_per_second" => Unit::InputVideoSecond,
        "input_cost_per_audio_per_second" => Unit::InputAudioSecond,
        "output_cost_per_video_per_second" => Unit::OutputVideoSecond,
        "input_cost_per_query" => Unit::Query,
        _ => return None,
    })
}

/// Reads the price of a web search: a map by context size, of use only where the sizes cost the same.
fn read_search(card: &mut RateCard, raw: &str) -> Result<(), String> {
    let sizes: Fields<'_> = serde_json::from_str(raw).map_err(|error| error.to_string())?;
    let prices = sizes.values().map(|raw| number(raw.get())).collect::<Result<Vec<_>, _>>()?;
    match prices.as_slice() {
        [first, rest @ ..] if rest.iter().all(|price| price == first) => {
            card.units.insert(Unit::WebSearch, *first);
            Ok(())
        }
        _ => Err("searches of different sizes have different prices".to_owned()),
    }
}

fn read_guardrail(card: &mut RateCard, raw: &str) -> Result<(), String> {
    let units: Fields<'_> = serde_json::from_str(raw).map_err(|error| error.to_string())?;
    for (name, raw) in units {
        let unit = match name.as_str() {
            "topicPolicyUnits" => Unit::GuardrailTopic,
            "contentPolicyUnits" => Unit::GuardrailContent,
            "wordPolicyUnits" => Unit::GuardrailWord,
            "sensitiveInformationPolicyUnits" => Unit::GuardrailSensitive,
            "sensitiveInformationPolicyFreeUnits" => Unit::GuardrailSensitiveFree,
            "contextualGroundingPolicyUnits" => Unit::GuardrailGrounding,
            "contentPolicyImageUnits" => Unit::GuardrailContentImage,
            "automatedReasoningPolicyUnits" => Unit::GuardrailReasoning,
            other => return Err(format!("unknown guardrail unit '{other}'")),
        };
        card.units.insert(unit, number(raw.get())?);
    }
    Ok(())
}

/// Adds the cards of an entry; image prices of one model come in several entries, anything else only in one.
fn merge(cards: &mut BTreeMap<PriceKey, RateCard>, read: Vec<RateCard>) -> Result<(), String> {
    let images_only = |card: &RateCard| card.tokens.is_empty() && !card.images.is_empty();
    if let Some(card) = read.iter().find(|card| cards.get(&card.key).is_some_and(|known| !images_only(known) || !images_only(card))) {
        return Err(format!("a second entry for '{}'", card.key));
    }
    for mut card in read {
        if let Some(known) = cards.get_mut(&card.key) {
            known.images.append(&mut card.images);
            known.units.append(&mut card.units);
            sort_images(&mut known.images);
        } else {
            cards.insert(card.key.clone(), card);
        }
    }
    Ok(())
}
