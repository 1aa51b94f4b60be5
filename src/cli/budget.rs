//! `sluice budget`: list, check, backtest.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use sluice_aggregate::lake::Lake;
use sluice_aggregate::query::QueryEngine;
use sluice_aggregate::seed::spend_since;
use sluice_enforce::{BacktestReport, Budgets, Ledger, backtest};
use sluice_schemas::time::DAY;
use sluice_schemas::visible::escape;
use sluice_schemas::{Clock, EnrichedBatch, Micros, SpendDelta, SpendView, SystemClock, time};

use super::args::{BacktestArgs, BudgetArgs, BudgetListArgs, BudgetVerb, Format};
use crate::config::Config;
use crate::control::{self, Request};
use crate::pipeline::{Exposed, limits, stated_delays};
use crate::{lakeview, output};

/// Spend of one day.
type Day = (EnrichedBatch, Vec<SpendDelta>);

pub(super) fn run(args: &BudgetArgs) -> anyhow::Result<ExitCode> {
    match &args.verb {
        BudgetVerb::List(args) => list(args),
        BudgetVerb::Check(args) => check(args),
        BudgetVerb::Backtest(args) => run_backtest(args),
        BudgetVerb::Override(verb) => super::overrides::run(verb),
        BudgetVerb::Simulate(args) => super::budget_simulate::run(args),
    }
}

/// Returns all counters as JSON: from the daemon, or worked out from the lake.
fn status(config: &Config) -> anyhow::Result<Vec<serde_json::Value>> {
    let value = match control::connect(&config.socket)? {
        Some(mut client) => client.ask(&Request::Budgets)?,
        None => serde_json::to_value(offline(config)?)?,
    };
    serde_json::from_value(value).context("budgets")
}

fn offline(config: &Config) -> anyhow::Result<Vec<Exposed>> {
    let now = SystemClock.now();
    let mut ledger = Ledger::new(Arc::new(config.budgets.clone()), limits(config));
    for (batch, deltas) in &history(config, None, None)? {
        ledger.apply(SpendView { batch, deltas }, now);
    }
    ledger.advance(now);
    let delays = stated_delays(config);
    Ok(ledger.status(now).into_iter().map(|status| Exposed::of(status, delays)).collect())
}

/// Reads the lake's spend, one entry a day, oldest first.
fn history(config: &Config, since: Option<Micros>, until: Option<Micros>) -> anyhow::Result<Vec<Day>> {
    let lake = Lake::open_reader(&config.lake).with_context(|| format!("open lake {}", config.lake.display()))?;
    let engine: QueryEngine = lakeview::engine(&lake, Vec::new())?;
    let mut days = Vec::new();
    for date in engine.call_dates().to_vec() {
        let start = Micros(i64::from(time::parse_day(&date).context("date of the lake")?) * DAY);
        let from = since.map_or(start, |since| since.max(start));
        let to = until.map_or(start.plus(DAY), |until| until.min(start.plus(DAY)));
        if from < to {
            days.push(spend_since(&engine, from, Some(to))?);
        }
    }
    Ok(days)
}

fn text(row: &serde_json::Value, key: &str) -> String {
    match row.get(key) {
        None | Some(serde_json::Value::Null) => "-".to_owned(),
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

fn money(row: &serde_json::Value, key: &str) -> String {
    text(row, key).parse::<sluice_schemas::PicoUsd>().map_or_else(|_| "-".to_owned(), |amount| amount.shown(4))
}

fn list(args: &BudgetListArgs) -> anyhow::Result<ExitCode> {
    let config = Config::load(&args.place.origin())?;
    let rows = status(&config)?;
    if args.format == Format::Json {
        output::json(&serde_json::to_string_pretty(&rows)?);
        return Ok(ExitCode::SUCCESS);
    }
    let shown: Vec<[String; 9]> = rows
        .iter()
        .map(|row| {
            let percent = row.get("percent_millis").and_then(serde_json::Value::as_u64);
            let percent = percent.map_or_else(|| "-".to_owned(), |millis| format!("{}.{} %", millis / 1_000, millis % 1_000 / 100));
            let fired = row
                .get("fired")
                .and_then(serde_json::Value::as_array)
                .map_or_else(String::new, |fired| fired.iter().map(|fire| text(fire, "threshold")).collect::<Vec<_>>().join(" "));
            [
                text(row, "budget"),
                text(row, "target"),
                text(row, "period"),
                money(row, "spent"),
                money(row, "limit"),
                percent,
                money(row, "projected"),
                money(row, "exposure"),
                fired,
            ]
        })
        .collect();
    let header = ["BUDGET", "TARGET", "PERIOD", "SPENT", "LIMIT", "USED", "PROJECTED (LINEAR)", "EXPOSURE", "FIRED"];
    output::rows(&header, shown.iter().map(|row| row.as_slice()), args.format.word())?;
    Ok(ExitCode::SUCCESS)
}

fn check(args: &BudgetListArgs) -> anyhow::Result<ExitCode> {
    let config = Config::load(&args.place.origin())?;
    let rows = status(&config)?;
    let over: Vec<_> = rows
        .iter()
        .filter(|row| row.get("percent_millis").and_then(serde_json::Value::as_u64).is_some_and(|percent| percent >= 100_000))
        .collect();
    if args.format == Format::Json {
        output::json(&serde_json::to_string_pretty(&over)?);
    } else {
        for row in &over {
            let (spent, limit) = (money(row, "spent"), money(row, "limit"));
            output::line(&format!(
                "over: {} · {} spent {spent} of {limit} in {}",
                escape(&text(row, "budget")),
                escape(&text(row, "target")),
                text(row, "period")
            ));
        }
        if over.is_empty() {
            output::line(&format!("{} counters, none over its limit", rows.len()));
        }
    }
    Ok(if over.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(super::EXIT_FOUND) })
}

fn run_backtest(args: &BacktestArgs) -> anyhow::Result<ExitCode> {
    let config = Config::load(&args.place.origin())?;
    let budgets = match &args.budgets {
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
            Budgets::parse(&text).with_context(|| format!("budgets of {}", path.display()))?
        }
        None => config.budgets.clone(),
    };
    anyhow::ensure!(!budgets.is_empty(), "no budget to test: name a file with --budgets, or a configuration with --config");
    let days = history(&config, args.since, args.until)?;
    let metered: u64 = days.iter().map(|(batch, deltas)| metered(batch, deltas)).sum();
    if metered > 0 && budgets.iter().any(|budget| !budget.lower_bound) {
        output::note(&format!(
            "{} known from CloudTrail alone, without a log, left out: a budget counts them with lower_bound = true",
            if metered == 1 { "1 call is".to_owned() } else { format!("{metered} calls are") }
        ));
    }
    let views = days.iter().map(|(batch, deltas)| SpendView { batch, deltas });
    let report = backtest(&Arc::new(budgets), &*limits(&config), views);
    match args.format {
        Format::Json => output::json(&serde_json::to_string_pretty(&report)?),
        format => {
            let rows = report.rows();
            output::rows(&BacktestReport::COLUMNS, rows.iter().map(|row| row.as_slice()), format.word())?;
            if format == Format::Table {
                closing(&report);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the calls whose cost is a lower bound.
fn metered(batch: &EnrichedBatch, deltas: &[SpendDelta]) -> u64 {
    let is_metered = |delta: &&SpendDelta| batch.batch.profiles.get(delta.profile as usize).is_some_and(|profile| profile.lower_bound);
    deltas.iter().filter(is_metered).map(|delta| delta.sums.calls).sum()
}

fn closing(report: &BacktestReport) {
    let span = match (report.from, report.to) {
        (Some(from), Some(to)) => format!(" from {from} to {to}"),
        _ => String::new(),
    };
    let fired = report.results.iter().filter(|result| !result.fired.is_empty()).count();
    output::line(&format!(
        "\n{fired} of {} counters would have fired{span}; holds would have saved {} (a call under two budgets counts for both)",
        report.results.len(),
        report.saved_usd().shown(2)
    ));
}
