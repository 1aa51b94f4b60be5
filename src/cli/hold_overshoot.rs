//! `sluice hold overshoot`: what each hold let through past its threshold, by the part of the way it was spent in, from the lake.

use std::process::ExitCode;

use anyhow::Context;
use arrow::array::{Array, AsArray};
use arrow::datatypes::{Decimal128Type, Int64Type, TimestampMicrosecondType};
use sluice_aggregate::lake::Lake;
use sluice_aggregate::query::QueryEngine;
use sluice_enforce::Budget;
use sluice_enforce::overshoot::{Moments, Overshoot, PastCall, measure};
use sluice_enforce::target::{Dimension, value_in};
use sluice_schemas::{Micros, PicoUsd};

use super::args::{BudgetListArgs, Format};
use crate::config::Config;
use crate::{lakeview, output};

/// A hold of a breach, as the lake tells of it.
struct Held {
    fire_id: String,
    budget: String,
    target: String,
    crossed: Micros,
    decided: Micros,
    applied: Micros,
    period_end: Option<Micros>,
}

/// What a hold let through.
#[derive(serde::Serialize)]
struct Row {
    hold: String,
    budget: String,
    target: String,
    crossed: Micros,
    applied: Micros,
    total: PicoUsd,
    #[serde(flatten)]
    parts: Overshoot,
}

pub(super) fn run(args: &BudgetListArgs) -> anyhow::Result<ExitCode> {
    let config = Config::load(&args.place.origin())?;
    let lake = Lake::open_reader(&config.lake).with_context(|| format!("open lake {}", config.lake.display()))?;
    let engine = lakeview::engine(&lake, Vec::new())?;
    let mut rows = Vec::new();
    for held in holds(&engine)? {
        let Some(budget) = config.budgets.get(&held.budget) else {
            output::note(&format!("hold {} is of budget '{}', which is gone: not measured", held.fire_id, held.budget));
            continue;
        };
        rows.push(row(&engine, budget, held)?);
    }
    if args.format == Format::Json {
        output::json(&serde_json::to_string_pretty(&rows)?);
        return Ok(ExitCode::SUCCESS);
    }
    let shown: Vec<[String; 10]> = rows
        .iter()
        .map(|row| {
            let parts = &row.parts;
            let [log, pipeline, decision, propagation, in_flight] =
                [parts.log_lag, parts.pipeline, parts.decision, parts.propagation, parts.in_flight].map(|part| part.shown(4));
            let last = parts.last_call.map_or_else(|| "-".to_owned(), |at| at.to_string());
            let (hold, target, total) = (row.hold.clone(), row.target.clone(), row.total.shown(4));
            [hold, target, row.crossed.to_string(), last, total, log, pipeline, decision, propagation, in_flight]
        })
        .collect();
    let header = ["HOLD", "TARGET", "CROSSED", "LAST CALL", "OVERSHOOT", "LOG LAG", "PIPELINE", "DECISION", "IAM", "IN FLIGHT"];
    output::rows(&header, shown.iter().map(|row| row.as_slice()), args.format.word())?;
    Ok(ExitCode::SUCCESS)
}

/// Returns the holds that breaches put: when the threshold was reached and found, and when the lever had answered.
fn holds(engine: &QueryEngine) -> anyhow::Result<Vec<Held>> {
    let texts = ["fire_id", "budget", "target"].map(|name| format!("arrow_cast(b.{name}, 'Utf8')")).join(", ");
    // A lever that was pulled names the holds it was pulled for; without one the hold itself is all there is.
    let sql = format!(
        "SELECT {texts}, b.event_time, b.detected_at, coalesce(p.applied, a.applied) AS applied, b.period_end FROM breaches b JOIN \
         (SELECT fire_id, max(at) AS applied FROM actions WHERE action = 'hold' AND state IN ('done', 'already_done') GROUP BY fire_id) a \
         ON a.fire_id = b.fire_id LEFT JOIN \
         (SELECT h.fire_id AS fire_id, min(l.at) AS applied FROM breaches h JOIN actions l ON l.inputs LIKE '%\"' || h.fire_id || '\"%' \
         WHERE l.action LIKE '%:pull' AND l.state = 'done' GROUP BY h.fire_id) p \
         ON p.fire_id = b.fire_id ORDER BY b.event_time, b.fire_id"
    );
    let mut held = Vec::new();
    for batch in engine.sql(&sql)? {
        for row in 0..batch.num_rows() {
            let text = |column: usize| batch.column(column).as_string::<i32>().value(row).to_owned();
            let time = |column: usize| {
                let column = batch.column(column).as_primitive::<TimestampMicrosecondType>();
                column.is_valid(row).then(|| Micros(column.value(row)))
            };
            held.push(Held {
                fire_id: text(0),
                budget: text(1),
                target: text(2),
                crossed: time(3).context("a breach without its time")?,
                decided: time(4).context("a breach without its time")?,
                applied: time(5).context("an action without its time")?,
                period_end: time(6),
            });
        }
    }
    Ok(held)
}

fn row(engine: &QueryEngine, budget: &Budget, held: Held) -> anyhow::Result<Row> {
    let until = held.period_end.map_or_else(|| "true".to_owned(), |end| format!("event_time < TIMESTAMP '{end}'"));
    let mine = of_target(budget, &held.target);
    let sql = format!(
        "SELECT event_time, coalesce(latency_ms, 0) AS latency_ms, arrow_cast(coalesce(cost_usd, 0), 'Decimal128(38, 12)') AS cost, ingest_time \
         FROM calls WHERE {mine} AND {until} AND error_code IS NULL AND event_time >= TIMESTAMP '{}'",
        held.crossed
    );
    let mut calls = Vec::new();
    let mut arrived: Option<Micros> = None;
    for batch in engine.sql(&sql)? {
        for row in 0..batch.num_rows() {
            let start = Micros(batch.column(0).as_primitive::<TimestampMicrosecondType>().value(row));
            let duration = batch.column(1).as_primitive::<Int64Type>().value(row).saturating_mul(1_000);
            let cost = PicoUsd(batch.column(2).as_primitive::<Decimal128Type>().value(row));
            let came = Micros(batch.column(3).as_primitive::<TimestampMicrosecondType>().value(row));
            if start == held.crossed {
                arrived = Some(arrived.map_or(came, |known| known.max(came)));
            }
            calls.push(PastCall { start, duration, cost });
        }
    }
    let arrived = arrived.unwrap_or(held.decided).min(held.decided);
    let moments = Moments { crossed: held.crossed, arrived, decided: held.decided, applied: held.applied };
    let parts = measure(&moments, calls);
    let total = parts.total();
    Ok(Row { hold: held.fire_id, budget: held.budget, target: held.target, crossed: held.crossed, applied: held.applied, total, parts })
}

/// Returns the SQL that keeps the calls of a budget's target.
fn of_target(budget: &Budget, target: &str) -> String {
    let quote = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let mut parts: Vec<String> = budget.filter.iter().map(|filter| format!("({})", filter.text())).collect();
    for dimension in &budget.each {
        let value = quote(&value_in(target, &dimension.to_string()).unwrap_or_default());
        let column = match dimension {
            Dimension::Column(column) => column.name().to_owned(),
            Dimension::Tag(key) => format!("tags[{}]", quote(key)),
        };
        parts.push(format!("coalesce({column}, '') = {value}"));
    }
    if parts.is_empty() { "true".to_owned() } else { parts.join(" AND ") }
}
