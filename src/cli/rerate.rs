//! `sluice prices rerate`: calls in the lake get the price that is known by now.

use std::process::ExitCode;

use anyhow::Context;
use sluice_aggregate::correct::{NewPrice, StoredCall, correct_prices};
use sluice_aggregate::lake::Lake;
use sluice_enrich::prices::{CallToRate, Catalogue, extras_from_json, rerate};
use sluice_schemas::{Clock, CostBasis, PriceStatus, ServiceTier, SystemClock};

use super::args::{Format, Place};
use crate::config::Config;
use crate::output;
use crate::pipeline::catalogue;

pub(super) fn run(place: &Place, all: bool, dry_run: bool, format: Format) -> anyhow::Result<ExitCode> {
    let config = Config::load(&place.origin())?;
    let catalogue = catalogue(&config)?;
    let mut lake = Lake::open_writer(&config.lake, &SystemClock).with_context(|| format!("open lake {}", config.lake.display()))?;
    let now = SystemClock.now();
    let reason = format!("rated again with catalogue {}", catalogue.version());
    let report = correct_prices(&mut lake, now, dry_run, &reason, &mut |call| new_price(&catalogue, call, all))?;
    match format {
        Format::Json => output::line(&serde_json::to_string(&report)?),
        _ => output::line(&format!(
            "{} of {} calls {} another price: {}{}; {} still have none",
            report.changed,
            report.calls,
            if dry_run { "would get" } else { "got" },
            if report.difference_usd.0 >= 0 { "+" } else { "" },
            report.difference_usd.display(6),
            report.still_unpriced
        )),
    }
    Ok(ExitCode::SUCCESS)
}

/// The price of a stored call today; `None` to leave it as it is.
pub(crate) fn new_price(catalogue: &Catalogue, call: &StoredCall<'_>, all: bool) -> Option<NewPrice> {
    if call.priced && !all {
        return None;
    }
    let extras = match extras_from_json(call.extras) {
        Ok(extras) => extras,
        Err(error) => {
            tracing::warn!(request_id = call.request_id, %error, "units beside tokens cannot be read; the call keeps its price");
            return None;
        }
    };
    let basis = if call.cost_basis == CostBasis::Envelope.as_str() { CostBasis::Envelope } else { CostBasis::Exact };
    let rated = rerate(
        catalogue,
        &CallToRate {
            event_time: call.event_time,
            model_id: call.model_id,
            region: call.region,
            inference_region: call.inference_region,
            tier: ServiceTier::parse(call.service_tier).unwrap_or_default(),
            operation: call.operation,
            usage: call.usage,
            extras: extras.as_ref(),
            basis,
            failed: !call.error_code.is_empty(),
        },
    );
    Some(NewPrice {
        cost: rated.cost,
        cost_max: rated.cost_max,
        priced: rated.status != PriceStatus::Unpriced,
        model: rated.model,
        scope: rated.scope,
        price_version: rated.price_version,
    })
}
