//! `sluice prices rerate`: calls in the lake get the price that is known by now, through the daemon if one runs.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use serde::Deserialize;
use sluice_schemas::{PicoUsd, SystemClock};

use super::args::{Format, Place};
use crate::config::Config;
use crate::control::{self, Request};
use crate::output;
use crate::pipeline::{Mode, Pipeline, RateOrder, Settings};

/// What the answer is told from.
#[derive(Deserialize)]
struct Summary {
    calls: u64,
    changed: u64,
    still_unpriced: u64,
    difference_usd: PicoUsd,
}

pub(super) fn run(place: &Place, all: bool, dry_run: bool, format: Format) -> anyhow::Result<ExitCode> {
    let config = Config::load(&place.origin())?;
    let summary = match control::connect(&config.socket)? {
        Some(mut daemon) => daemon.ask(&Request::Rerate { all, dry_run })?,
        None => {
            let settings = Settings { config, mode: Mode::Bulk, act: false, clock: Arc::new(SystemClock), board: Arc::default() };
            Pipeline::open(settings)?.rate_lake(RateOrder { all, dry_run })?
        }
    };
    if format == Format::Json {
        output::json(&summary.to_string());
        return Ok(ExitCode::SUCCESS);
    }
    let Summary { calls, changed, still_unpriced, difference_usd } = serde_json::from_value(summary).context("answer of the daemon")?;
    output::line(&format!(
        "{changed} of {calls} calls {} another price: {}{}; {still_unpriced} still have none",
        if dry_run { "would get" } else { "got" },
        if difference_usd.0 >= 0 { "+" } else { "" },
        difference_usd.display(6),
    ));
    Ok(ExitCode::SUCCESS)
}
