//! `sluice budget simulate`: this program's way of watching a budget and the usual ones, on the same calls.

use std::process::ExitCode;

use anyhow::Context;
use arrow::array::AsArray;
use arrow::datatypes::{Decimal128Type, Int64Type, TimestampMicrosecondType};
use sluice_aggregate::lake::Lake;
use sluice_enforce::rivals::{Generated, Outcome, Terms, TraceCall, compare, generate, ways};
use sluice_schemas::time::{DAY, MINUTE};
use sluice_schemas::{Micros, PicoUsd};

use super::args::Format;
use super::args_simulate_budget::SimulateBudgetArgs;
use crate::audit::Span;
use crate::config::Config;
use crate::{lakeview, output};

/// Days of a made trace: enough for a metric that is half a day old to matter.
const MADE_DAYS: i64 = 3;
/// A made trace begins on 2026-10-01.
const MADE_FROM: Micros = Micros(1_790_812_800_000_000);
/// Length that is taken for stored calls whose log does not tell it.
const UNTOLD_MS: i64 = 10_000;

pub(super) fn run(args: &SimulateBudgetArgs) -> anyhow::Result<ExitCode> {
    let calls = match args.seed {
        Some(seed) => {
            let every = micros(args.every).max(MINUTE);
            generate(&Generated { seed, from: MADE_FROM, length: MADE_DAYS * DAY, targets: args.agents, every })
        }
        None => stored(args)?,
    };
    anyhow::ensure!(!calls.is_empty(), "no call to simulate on: name a lake with calls, or make some with --seed");
    let limit: PicoUsd =
        args.limit.trim().trim_end_matches("USD").trim().parse().context("--limit is an amount such as 25.00 or '25.00 USD'")?;
    let terms = Terms { limit, period: micros(args.period), seed: args.seed.unwrap_or(0) };
    let outcomes = compare(&calls, &terms, &ways(micros(args.check_every), micros(args.ttl)));
    if args.format == Format::Json {
        output::json(&serde_json::to_string_pretty(&outcomes)?);
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<[String; 7]> = outcomes.iter().map(row).collect();
    let header = ["WAY", "OVERSHOOT", "WORST", "OVER", "SPENT", "REFUSED", "REFUSED WRONGLY"];
    output::rows(&header, rows.iter().map(|row| row.as_slice()), args.format.word())?;
    if args.format == Format::Table {
        let all: PicoUsd = calls.iter().map(|call| call.cost).sum();
        output::line(&format!(
            "\n{} that would have cost {}; each agent may spend {} in each period",
            output::counted(calls.len(), "call"),
            all.shown(2),
            limit.shown(2)
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn micros(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX).max(1)
}

fn row(outcome: &Outcome) -> [String; 7] {
    [
        outcome.way.clone(),
        outcome.overshoot_usd.shown(2),
        outcome.worst_usd.shown(2),
        outcome.over.to_string(),
        outcome.spent_usd.shown(2),
        outcome.denied.to_string(),
        format!("{} ({})", outcome.false_denials, outcome.false_denials_usd.shown(2)),
    ]
}

/// Reads the priced calls of a lake.
fn stored(args: &SimulateBudgetArgs) -> anyhow::Result<Vec<TraceCall>> {
    let config = Config::load(&args.place.origin())?;
    let lake = Lake::open_reader(&config.lake).with_context(|| format!("open lake {}", config.lake.display()))?;
    let engine = lakeview::engine(&lake, Vec::new())?;
    let span = Span { from: args.since, to: args.until };
    let sql = format!(
        "SELECT arrow_cast(coalesce(agent_id, ''), 'Utf8') AS agent, event_time, coalesce(latency_ms, {UNTOLD_MS}) AS latency_ms, \
         arrow_cast(cost_usd, 'Decimal128(38, 12)') AS cost FROM calls WHERE priced AND cost_usd > 0 AND {} ORDER BY event_time, request_id",
        span.predicate("event_time")
    );
    let mut calls = Vec::new();
    for batch in engine.sql(&sql)? {
        for row in 0..batch.num_rows() {
            calls.push(TraceCall {
                target: batch.column(0).as_string::<i32>().value(row).to_owned(),
                start: Micros(batch.column(1).as_primitive::<TimestampMicrosecondType>().value(row)),
                duration: batch.column(2).as_primitive::<Int64Type>().value(row).saturating_mul(1_000),
                cost: PicoUsd(batch.column(3).as_primitive::<Decimal128Type>().value(row)),
            });
        }
    }
    Ok(calls)
}
