//! Stored calls as sums that a bill can be compared with: by hour and everything that decides line and rate.

use datafusion::arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use sluice_schemas::time::format_day;
use sluice_schemas::{Micros, PicoUsd, Usage, tables};

use super::DaySpan;
use crate::query::{QueryEngine, QueryError};
use crate::seed::{bad, column, count, long, money, text, times, tokens, usage, value};

/// Operation of a batch job.
const BATCH_OPERATION: &str = "CreateModelInvocationJob";
/// Text columns that calls are grouped by.
const TEXTS: [&str; 8] = ["account_id", "region", "principal_arn", "model", "price_scope", "service_tier", "price_version", "extras"];

/// Calls of one hour that agree in everything that decides line and rate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredCalls {
    /// Start of the hour.
    pub hour: Micros,
    /// `account_id`.
    pub account: String,
    /// `region`.
    pub region: String,
    /// `principal_arn`.
    pub principal: String,
    /// `model`.
    pub model: String,
    /// `price_scope`.
    pub scope: String,
    /// `service_tier`.
    pub tier: String,
    /// `price_version`.
    pub price_version: String,
    /// `extras`, the JSON of each of them.
    pub extras: String,
    /// A batch job.
    pub batch: bool,
    /// Whether they failed.
    pub failed: bool,
    /// Whether they have a price.
    pub priced: bool,
    /// The largest of the thresholds that each of their prompts exceeds; 0 for none.
    pub prompt_above: u64,
    /// How many.
    pub calls: u64,
    /// Their tokens.
    pub usage: Usage,
    /// Of the tokens written to the cache for five minutes, those whose lifetime the log does not tell.
    pub lifetime_unknown: u64,
    /// Their cost.
    pub cost: PicoUsd,
}

/// Hands on the calls of a span of days, day by day. `thresholds` are the prompt lengths from which on prices may differ.
///
/// # Errors
/// See [`QueryError`]; or what `each` returns.
pub fn for_each_stored<E: From<QueryError>>(
    engine: &QueryEngine,
    span: DaySpan,
    thresholds: &[u64],
    mut each: impl FnMut(StoredCalls) -> Result<(), E>,
) -> Result<(), E> {
    for date in engine.call_dates() {
        let day = sluice_schemas::time::parse_day(date).ok_or_else(|| bad(tables::PARTITION, date))?;
        if span.holds(day) {
            engine.for_each(&sql(day, thresholds), |rows| read(rows, &mut each))?;
        }
    }
    Ok(())
}

fn sql(day: i32, thresholds: &[u64]) -> String {
    let mut thresholds = thresholds.to_vec();
    thresholds.sort_unstable_by(|a, b| b.cmp(a));
    let prompt = ["input_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens"];
    let prompt = prompt.map(|name| format!("coalesce({name}, 0)")).join(" + ");
    let steps: String = thresholds.iter().map(|above| format!("WHEN {prompt} > {above} THEN {above} ")).collect();
    let above = if steps.is_empty() { "0".to_owned() } else { format!("CASE {steps}ELSE 0 END") };
    let sums = tables::TOKENS.map(|name| format!("sum({name}) AS {name}")).join(", ");
    let texts = TEXTS.join(", ");
    // Every column before the first sum.
    let keys = (1..=TEXTS.len() + 5).map(|place| place.to_string()).collect::<Vec<_>>().join(", ");
    format!(
        "SELECT date_trunc('hour', event_time) AS hour, {texts}, coalesce(operation = '{BATCH_OPERATION}', false) AS batch, \
         coalesce(error_code <> '', false) AS failed, coalesce(priced, false) AS is_priced, arrow_cast({above}, 'Int64') AS prompt_above, \
         count(*) AS calls, {sums}, sum(CASE WHEN cost_basis = 'envelope' THEN cache_write_5m_tokens ELSE 0 END) AS lifetime_unknown, \
         sum(cost_usd) AS cost_usd FROM calls WHERE dt = '{}' GROUP BY {keys}",
        format_day(day)
    )
}

fn read<E: From<QueryError>>(rows: &RecordBatch, each: &mut impl FnMut(StoredCalls) -> Result<(), E>) -> Result<(), E> {
    let hours = times(rows, "hour")?;
    let [account, region, principal, model, scope, tier, price_version, extras] = TEXTS.map(|name| text(rows, name));
    let (account, region, principal, model) = (account?, region?, principal?, model?);
    let (scope, tier, price_version, extras) = (scope?, tier?, price_version?, extras?);
    let flag = |name| column::<BooleanArray>(rows, name, |column| column.as_boolean_opt());
    let (batch, failed, priced) = (flag("batch")?, flag("failed")?, flag("is_priced")?);
    let (above, calls, lifetime) = (long(rows, "prompt_above")?, long(rows, "calls")?, long(rows, "lifetime_unknown")?);
    let (tokens, cost) = (tokens(rows)?, money(rows, "cost_usd")?);
    for row in 0..rows.num_rows() {
        if hours.is_null(row) {
            return Err(bad("event_time", "null").into());
        }
        let text = |column| value(column, row).to_owned();
        each(StoredCalls {
            hour: Micros(hours.value(row)),
            account: text(account),
            region: text(region),
            principal: text(principal),
            model: text(model),
            scope: text(scope),
            tier: text(tier),
            price_version: text(price_version),
            extras: text(extras),
            batch: batch.value(row),
            failed: failed.value(row),
            priced: priced.value(row),
            prompt_above: count("prompt_above", above, row)?,
            calls: count("calls", calls, row)?,
            usage: usage(&tokens, row)?,
            lifetime_unknown: count("lifetime_unknown", lifetime, row)?,
            cost: PicoUsd(if cost.is_null(row) { 0 } else { cost.value(row) }),
        })?;
    }
    Ok(())
}
