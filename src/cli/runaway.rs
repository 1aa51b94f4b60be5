//! `sluice runaway`: backtest.

use std::process::ExitCode;

use anyhow::Context;
use sluice_aggregate::lake::Lake;
use sluice_enforce::runaway::{Backtest, Replayed, Rules};
use sluice_schemas::Micros;

use super::args::Format;
use super::args_runaway::{RunawayArgs, RunawayBacktestArgs, RunawayVerb};
use crate::config::Config;
use crate::pipeline::for_each_stretch;
use crate::{lakeview, output};

/// A rule without any setting, for those who have none yet.
const DEFAULT: &str = "[[runaway]]\nname = 'default'";

pub(super) fn run(args: &RunawayArgs) -> anyhow::Result<ExitCode> {
    match &args.verb {
        RunawayVerb::Backtest(args) => backtest(args),
    }
}

fn backtest(args: &RunawayBacktestArgs) -> anyhow::Result<ExitCode> {
    let config = Config::load(&args.place.origin())?;
    let rules = match &args.rules {
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
            let rules = Rules::parse(&text).with_context(|| format!("rules of {}", path.display()))?;
            anyhow::ensure!(!rules.is_empty(), "no [[runaway]] rule in {}", path.display());
            rules
        }
        None if config.runaway.is_empty() => {
            output::note("no [[runaway]] rule is configured: this is what one without any setting would find");
            Rules::parse(DEFAULT)?
        }
        None => config.runaway.clone(),
    };
    let lake = Lake::open_reader(&config.lake).with_context(|| format!("open lake {}", config.lake.display()))?;
    let engine = lakeview::engine(&lake, Vec::new())?;
    let (mut backtest, mut found, mut calls) = (Backtest::new(&rules), Vec::new(), 0_u64);
    for_each_stretch(&lake, &engine, Micros(0), args.until, &mut |view| {
        calls += view.shapes.len() as u64;
        found.extend(backtest.replay(view));
    })?;
    found.retain(|found: &Replayed| args.since.is_none_or(|since| found.at >= since));
    if args.format == Format::Json {
        output::json(&serde_json::to_string_pretty(&found)?);
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<[String; 7]> = found.iter().map(Replayed::row).collect();
    output::rows(&Replayed::COLUMNS, rows.iter().map(|row| row.as_slice()), args.format.word())?;
    if args.format == Format::Table {
        output::line(&format!("\n{} found in {calls} calls", found.len()));
    }
    Ok(ExitCode::SUCCESS)
}
