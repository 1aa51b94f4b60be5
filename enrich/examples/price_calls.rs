//! Prices calls given as JSON lines, one line of cost each: what the comparison with other calculators reads.
//!
//! `{"model_id": "…", "region": "us-east-1", "tier": "flex", "usage": {"input": 10, …}, "extras": {…}, "at": "…"}`

use std::error::Error;
use std::io::{BufRead, Write};

use serde::Deserialize;
use sluice_enrich::prices::{CallToRate, Catalogue, rerate};
use sluice_schemas::{CostBasis, Extras, Micros, PriceStatus, ServiceTier, Usage};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    model_id: String,
    #[serde(default)]
    region: String,
    #[serde(default)]
    inference_region: String,
    #[serde(default)]
    tier: ServiceTier,
    #[serde(default)]
    operation: String,
    #[serde(default)]
    usage: Usage,
    #[serde(default)]
    extras: Option<Extras>,
    #[serde(default)]
    basis: CostBasis,
    #[serde(default)]
    failed: bool,
    #[serde(default)]
    at: Micros,
}

fn main() -> Result<(), Box<dyn Error>> {
    let catalogue = match std::env::args().nth(1) {
        Some(path) => Catalogue::from_text(&std::fs::read_to_string(path)?)?,
        None => Catalogue::builtin()?,
    };
    let mut output = std::io::BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lock().lines() {
        let line: Line = serde_json::from_str(&line?)?;
        let call = CallToRate {
            event_time: line.at,
            model_id: &line.model_id,
            region: &line.region,
            inference_region: &line.inference_region,
            tier: line.tier,
            operation: &line.operation,
            usage: line.usage,
            extras: line.extras.as_ref(),
            basis: line.basis,
            failed: line.failed,
        };
        let rated = rerate(&catalogue, &call);
        let status = match rated.status {
            PriceStatus::Priced => "priced",
            PriceStatus::Unpriced => "unpriced",
            PriceStatus::NoCharge => "no_charge",
        };
        let answer = serde_json::json!({
            "cost": rated.cost,
            "cost_max": rated.cost_max,
            "status": status,
            "reason": rated.reason.map(|reason| reason.as_str()),
            "model": rated.model,
            "scope": rated.scope,
            "price_version": rated.price_version,
        });
        writeln!(output, "{answer}")?;
    }
    output.flush()?;
    Ok(())
}
