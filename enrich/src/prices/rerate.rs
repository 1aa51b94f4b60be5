//! Pricing a stored call anew: the fields of a row of `calls` in, its price by another catalogue out.

use sluice_schemas::{CostBasis, ErrorClass, Extras, Micros, PicoUsd, PriceStatus, ServiceTier, Usage};

use super::catalogue::Catalogue;
use super::quote::UnpricedReason;

/// Stored units beside tokens that are not the JSON they should be.
#[derive(Debug, thiserror::Error)]
#[error("stored units are not readable")]
pub struct ExtrasError(#[from] serde_json::Error);

impl ExtrasError {
    /// Returns what the caller should do: stored bytes contradict their form.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        ErrorClass::Corrupt
    }
}

/// Reads the units beside tokens as a row stores them; empty text and `{}`-less absence are no units.
pub fn extras_from_json(text: &str) -> Result<Option<Extras>, ExtrasError> {
    if text.trim().is_empty() { Ok(None) } else { Ok(Some(serde_json::from_str(text)?)) }
}

/// Fields of a stored call that decide its price.
#[derive(Clone, Copy, Debug, Default)]
pub struct CallToRate<'a> {
    /// `event_time`.
    pub event_time: Micros,
    /// `model_id`, as logged.
    pub model_id: &'a str,
    /// `region`.
    pub region: &'a str,
    /// `inference_region`.
    pub inference_region: &'a str,
    /// `service_tier`.
    pub tier: ServiceTier,
    /// `operation`.
    pub operation: &'a str,
    /// Tokens by class.
    pub usage: Usage,
    /// Units beside tokens.
    pub extras: Option<&'a Extras>,
    /// `cost_basis`.
    pub basis: CostBasis,
    /// Whether `error_code` is set.
    pub failed: bool,
}

/// Price of a call by a catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rerated {
    /// Cost; zero unless priced.
    pub cost: PicoUsd,
    /// Upper bound of the cost.
    pub cost_max: PicoUsd,
    /// Whether there is a price.
    pub status: PriceStatus,
    /// Canonical model.
    pub model: String,
    /// Price scope.
    pub scope: String,
    /// Version of the card; empty unless priced.
    pub price_version: String,
    /// Why there is no price.
    pub reason: Option<UnpricedReason>,
}

/// Prices a stored call. The same call and catalogue give the same price as when it was enriched.
#[must_use]
pub fn rerate(catalogue: &Catalogue, call: &CallToRate<'_>) -> Rerated {
    let rates = catalogue.resolve(call.model_id, call.region, call.inference_region, call.tier, call.operation);
    let quote = rates.quote(call.event_time, &call.usage, call.extras, call.basis, call.failed);
    let (cost, cost_max, status, reason) = (quote.cost, quote.cost_max, quote.status, quote.reason);
    let price_version = quote.price_version.to_owned();
    Rerated { cost, cost_max, status, price_version, reason, model: rates.model, scope: rates.scope }
}
