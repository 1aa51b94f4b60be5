//! AWS Price List offer files (`offers/v1.0/aws/{offer}/current/[{region}/]index.json`) of AmazonBedrock,
//! AmazonBedrockFoundationModels and AmazonBedrockService.
//!
//! Each product is one meter of one model in one region; a card is put together from those of one key. A plain usage type
//! prices calls in the region and through geographic profiles alike, one marked global prices global profiles. Sources:
//! "Reading the service price list file for an AWS service", AWS Billing User Guide; "Understanding your Amazon Bedrock
//! Cost and Usage Report data", Amazon Bedrock User Guide.

mod build;
pub(crate) mod models;
pub(crate) mod usage;
mod words;

use std::collections::BTreeMap;

use serde::Deserialize;
use sluice_schemas::Micros;

use super::super::card::{GUARDRAILS, Unit};
use super::super::catalogue::Catalogue;
use super::super::decimal::UnitPrice;
use super::{Import, ImportError};
use build::{Builder, Point};
use models::Models;
use usage::{Meter, UsageType};

pub(crate) use build::Item;

const LIST: &str = "AWS";
const EDITION: &str = "(Amazon Bedrock Edition)";

#[derive(Deserialize)]
struct Offer {
    #[serde(rename = "offerCode", default)]
    code: String,
    #[serde(default)]
    version: String,
    products: BTreeMap<String, Product>,
    terms: Terms,
}

#[derive(Deserialize)]
struct Product {
    #[serde(default)]
    attributes: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Terms {
    #[serde(rename = "OnDemand", default)]
    on_demand: BTreeMap<String, BTreeMap<String, Term>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Term {
    effective_date: String,
    #[serde(default)]
    price_dimensions: BTreeMap<String, Dimension>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Dimension {
    #[serde(default)]
    unit: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    price_per_unit: BTreeMap<String, String>,
}

/// Reads an offer file of Amazon Bedrock; each price holds from its `effectiveDate` on.
pub fn aws_offer(json: &str) -> Result<Import, ImportError> {
    let offer: Offer = serde_json::from_str(json).map_err(|source| ImportError::Syntax { list: LIST, source })?;
    let contradiction = |source| ImportError::Catalogue { list: LIST, source };
    let known = Catalogue::builtin().map_err(contradiction)?;
    let models = Models::of(known.models());
    let mut builder = Builder::new(format!("AWS Price List {} {}", offer.code, offer.version), &known);
    let mut skipped = Vec::new();
    let mut converted = 0;
    for (sku, product) in &offer.products {
        let usage_type = product.attributes.get("usagetype").map_or("", String::as_str);
        let prices = offer.terms.on_demand.get(sku);
        match read_product(product, usage_type, prices, &models) {
            Ok(points) => {
                converted += 1;
                points.into_iter().for_each(|point| builder.add(point));
            }
            Err(why) => skipped.push((format!("{sku} {usage_type}"), why)),
        }
    }
    let (cards, left_out) = builder.cards();
    skipped.extend(left_out);
    if cards.is_empty() {
        return Err(ImportError::Empty { list: LIST });
    }
    let label = format!("{}-{}", offer.code, offer.version);
    let catalogue = Catalogue::from_cards(&label, cards).map_err(contradiction)?;
    Ok(Import { catalogue, converted, skipped })
}

/// Reads one product: a price for each of its terms.
fn read_product(
    product: &Product,
    usage_type: &str,
    terms: Option<&BTreeMap<String, Term>>,
    models: &Models,
) -> Result<Vec<Point>, String> {
    let attribute = |name: &str| product.attributes.get(name).map_or("", String::as_str);
    let usage = usage::parse(usage_type)?;
    let region = match attribute("regionCode") {
        "" => usage::region_of(&usage.place).ok_or_else(|| format!("unknown billing region '{}'", usage.place))?,
        region => region,
    };
    let tier = attribute("service_tier").to_ascii_lowercase();
    if !matches!(tier.as_str(), "" | "standard" | "default") && tier != usage.tier.as_str() {
        return Err(format!("its service tier '{tier}' is not the one of its usage type"));
    }
    let model = model_of(&usage, &attribute, models)?;
    let terms = terms.filter(|terms| !terms.is_empty()).ok_or("no on-demand price")?;
    let mut points = Vec::new();
    for term in terms.values() {
        let dimensions: Vec<&Dimension> = term.price_dimensions.values().collect();
        let [dimension] = dimensions.as_slice() else {
            return Err("several prices by volume".to_owned());
        };
        let from: Micros = term.effective_date.parse().map_err(|_| format!("effective date '{}'", term.effective_date))?;
        let text = dimension.price_per_unit.get("USD").ok_or("no price in USD")?;
        let power = units_of(&usage.meter, &dimension.unit, &dimension.description)?;
        let price = UnitPrice::parse(text, power).map_err(|error| error.to_string())?;
        points.push(Point { model: model.clone(), region: region.to_owned(), item: item_of(&usage), usage: usage.clone(), from, price });
    }
    Ok(points)
}

/// Finds the model of a usage type: in it, or in the attributes `model`, `titanModel` and `servicename` of its product.
pub(crate) fn model_of<'a>(usage: &'a UsageType, attribute: &impl Fn(&str) -> &'a str, models: &Models) -> Result<String, String> {
    if usage.mantle {
        return Ok(usage.name.clone());
    }
    if matches!(&usage.meter, Meter::Unit(unit) if unit.as_str().starts_with("guardrail")) {
        return Ok(GUARDRAILS.to_owned());
    }
    let service = attribute("servicename").trim_end_matches(EDITION).trim();
    let service = if service == "Amazon Bedrock" { "" } else { service };
    // `Nova2.0Pro-text` names a kind of token, `TitanEmbeddingV2-Text` a model: both are tried.
    let short = usage.name.strip_suffix("-text").unwrap_or("");
    models.find([attribute("model"), attribute("titanModel"), usage.name.as_str(), short, service].into_iter())
}

/// Returns what of a card a usage type is about.
pub(crate) fn item_of(usage: &UsageType) -> Item {
    match &usage.meter {
        Meter::Tokens(class) => Item::Tokens { class, long_context: usage.long_context },
        Meter::Unit(unit) => Item::Unit(*unit),
        Meter::Image { max_side, quality } => Item::Image { max_side: *max_side, quality: quality.clone() },
    }
}

/// Returns the power of ten of units that a price is for. Products of the Marketplace are sold in `Units`, and what one is, a million
/// tokens as a rule, stands in the description alone.
pub(crate) fn units_of(meter: &Meter, unit: &str, description: &str) -> Result<u32, String> {
    let unit = unit.to_ascii_lowercase();
    let description = description.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| description.contains(word));
    let tokens = matches!(meter, Meter::Tokens(_)) || matches!(meter, Meter::Unit(unit) if unit.is_token());
    match (tokens, unit.as_str()) {
        (true, "1k tokens" | "1k token") => Ok(3),
        (true, "units" | "unit") if says(&["thousand", "1k ", "1,000 "]) => {
            if says(&["million", "1m "]) {
                Err(format!("units that are told in two ways: '{description}'"))
            } else {
                Ok(3)
            }
        }
        (true, "1m tokens" | "1m token" | "million tokens" | "units" | "unit") => Ok(6),
        (true, "tokens" | "token") => Ok(0),
        (false, "image" | "images") if matches!(meter, Meter::Image { .. } | Meter::Unit(Unit::InputImage)) => Ok(0),
        (false, "hour" | "hours" | "hrs" | "hr") if *meter == Meter::Unit(Unit::ModelUnitHour) => Ok(0),
        (false, "1k images") if matches!(meter, Meter::Image { .. } | Meter::Unit(Unit::InputImage)) => Ok(3),
        (false, "units" | "unit" | "request" | "requests" | "text units" | "text unit") if *meter != Meter::Unit(Unit::ModelUnitHour) => {
            Ok(0)
        }
        _ => Err(format!("unknown unit '{unit}'")),
    }
}
