//! What the lake holds, asked in SQL: calls by slot of time, what they cost, and which CloudTrail events have no call.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{Decimal128Type, Int64Type};
use hashbrown::{HashMap, HashSet};
use sluice_schemas::{Micros, PicoUsd};

use super::sums::LEAD;
use super::unlogged::Seen;
use super::{Counts, Key, Known, Missing, MissingCall, Side, Sides, Tokens};
use crate::dedup::stored_key;
use crate::query::{QueryEngine, QueryError};

/// Table of CloudTrail events, one row an event; a lake may have none.
pub const EVIDENCE: &str = "evidence";

/// Calls of a stretch of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LakeCalls {
    /// By key and slot: calls that succeeded, calls that failed and were not throttled, tokens.
    pub sides: Sides,
    /// What the calls with a price cost.
    pub known: BTreeMap<Key, Known>,
    /// Accounts and regions that made calls.
    pub places: BTreeSet<(String, String)>,
    /// Canonical model by the id that was called, and by the last part of it.
    models: BTreeMap<String, String>,
}

impl LakeCalls {
    /// Returns the canonical model of an id that was called, as far as a call in the lake tells.
    #[must_use]
    pub fn model_of(&self, model_id: &str) -> Option<&str> {
        let found = self.models.get(model_id).or_else(|| self.models.get(last_part(model_id)));
        found.map(String::as_str)
    }

    /// Returns the ids that were called, whole and by their last part.
    pub fn model_ids(&self) -> impl Iterator<Item = &str> {
        self.models.keys().map(String::as_str)
    }
}

/// Returns what follows the last slash: an ARN and a bare id name one model.
fn last_part(model_id: &str) -> &str {
    model_id.rsplit('/').next().unwrap_or(model_id)
}

/// Returns the predicate of `[from, to)`; which files can have such rows follows from it.
fn within(from: Micros, to: Micros) -> String {
    let at = |time: Micros| format!("arrow_cast({}, 'Timestamp(Microsecond, Some(\"UTC\"))')", time.0);
    format!("event_time >= {} AND event_time < {}", at(from), at(to))
}

/// Reads the calls of `[from, to)` in slots of `slot` microseconds.
///
/// # Errors
/// See [`QueryError`].
pub fn calls(engine: &QueryEngine, from: Micros, to: Micros, slot: i64) -> Result<LakeCalls, QueryError> {
    // Texts of the log are empty where it says nothing; a table of another writer may have null.
    let sql = format!(
        "SELECT {texts}, arrow_cast(event_time, 'Int64') / {slot} AS slot, \
         sum(CASE WHEN coalesce(error_code, '') = '' THEN 1 ELSE 0 END) AS calls, \
         sum(CASE WHEN coalesce(error_code, '') IN ('', 'ThrottlingException') THEN 0 ELSE 1 END) AS failed, \
         sum(input_tokens) AS input, sum(output_tokens) AS output, sum(cache_read_tokens) AS cache_read, \
         sum(cache_write_5m_tokens + cache_write_1h_tokens) AS cache_write, \
         sum(CASE WHEN {paid} THEN 1 ELSE 0 END) AS paid_calls, sum(CASE WHEN {paid} THEN cost_usd END) AS cost, \
         sum(CASE WHEN {paid} THEN input_tokens ELSE 0 END) AS paid_input, \
         sum(CASE WHEN {paid} THEN output_tokens ELSE 0 END) AS paid_output, \
         sum(CASE WHEN {paid} THEN cache_read_tokens ELSE 0 END) AS paid_cache_read, \
         sum(CASE WHEN {paid} THEN cache_write_5m_tokens + cache_write_1h_tokens ELSE 0 END) AS paid_cache_write \
         FROM calls WHERE {span} GROUP BY account_id, region, model_id, model, slot",
        texts = texts(&["account_id", "region", "model_id", "model"]),
        // A call that failed has a price, too: nothing. It says nothing of what the others cost.
        paid = "(priced AND coalesce(error_code, '') = '')",
        span = within(from, to),
    );
    let mut read = LakeCalls::default();
    engine.for_each(&sql, |rows| -> Result<(), QueryError> {
        for row in 0..rows.num_rows() {
            read.take(rows, row, slot);
        }
        Ok(())
    })?;
    Ok(read)
}

impl LakeCalls {
    fn take(&mut self, rows: &RecordBatch, row: usize, slot: i64) {
        let [account_id, region, model_id, model] = [0, 1, 2, 3].map(|column| text(rows, column, row));
        let count = |column: usize| count(rows, column, row);
        let tokens = Tokens { input: count(7), output: count(8), cache_read: count(9), cache_write: count(10) };
        let key = Key { account_id, region, model };
        let at = rows.column(4).as_primitive::<Int64Type>().value(row).saturating_mul(slot);
        *self.sides.entry(key.clone()).or_default().entry(Micros(at)).or_default() += Counts { calls: count(5), failed: count(6), tokens };
        let known = self.known.entry(key.clone()).or_default();
        known.calls += count(11);
        known.tokens += Tokens { input: count(13), output: count(14), cache_read: count(15), cache_write: count(16) };
        let cost = rows.column(12).as_primitive::<Decimal128Type>();
        known.cost += PicoUsd(if cost.is_null(row) { 0 } else { cost.value(row) });
        self.models.insert(last_part(&model_id).to_owned(), key.model.clone());
        self.models.insert(model_id, key.model);
        self.places.insert((key.account_id, key.region));
    }
}

/// Calls that are in the lake and are no calls like others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peculiar {
    /// Of provisioned throughput: they are logged, and paid by the hour.
    pub provisioned: u64,
    /// Known from CloudTrail alone: what they cost is a lower bound.
    pub lower_bound: u64,
}

/// Counts the peculiar calls of `[from, to)`.
///
/// # Errors
/// See [`QueryError`].
pub fn peculiar(engine: &QueryEngine, from: Micros, to: Micros) -> Result<Peculiar, QueryError> {
    let sql = format!(
        "SELECT sum(CASE WHEN model_id LIKE '%:provisioned-model/%' THEN 1 ELSE 0 END) AS provisioned, \
         sum(CASE WHEN cost_basis = '{LOWER_BOUND}' THEN 1 ELSE 0 END) AS lower_bound FROM calls WHERE {}",
        within(from, to)
    );
    let mut found = Peculiar::default();
    engine.for_each(&sql, |rows| -> Result<(), QueryError> {
        for row in 0..rows.num_rows() {
            found = Peculiar { provisioned: count(rows, 0, row), lower_bound: count(rows, 1, row) };
        }
        Ok(())
    })?;
    Ok(found)
}

/// Basis of cost of calls known from CloudTrail alone.
const LOWER_BOUND: &str = "lower_bound";

/// What the lake holds of an hour, by the keys of calls.
#[derive(Clone, Debug, Default)]
pub struct Held {
    /// Calls that a log brought.
    logged: HashSet<u128>,
    /// Calls that only CloudTrail tells of, with the tokens it names.
    metered: HashMap<u128, Tokens>,
}

impl Held {
    /// Returns what the lake lacks of a logged call: nothing, or the tokens that are not in it yet.
    #[must_use]
    pub fn lacks(&self, key: u128, tokens: Tokens) -> Option<Tokens> {
        if self.logged.contains(&key) {
            return None;
        }
        Some(self.metered.get(&key).map_or(tokens, |metered| tokens.less(*metered)))
    }
}

/// Reads what the lake holds of an hour.
///
/// # Errors
/// See [`QueryError`].
pub fn held(engine: &QueryEngine, hour: Micros) -> Result<Held, QueryError> {
    let sql = format!(
        "SELECT {texts}, coalesce(cost_basis, '') = '{LOWER_BOUND}' AS metered, input_tokens, output_tokens FROM calls WHERE {span}",
        texts = texts(&["account_id", "region", "request_id"]),
        span = within(hour, hour.plus(sluice_schemas::time::HOUR)),
    );
    let mut held = Held::default();
    engine.for_each(&sql, |rows| -> Result<(), QueryError> {
        let [accounts, regions, ids] = [0, 1, 2].map(|column| rows.column(column).as_string::<i32>());
        let metered = rows.column(3).as_boolean();
        for row in 0..rows.num_rows() {
            let key = stored_key(accounts.value(row), regions.value(row), ids.value(row));
            if metered.value(row) {
                let tokens = Tokens { input: count(rows, 4, row), output: count(rows, 5, row), ..Tokens::default() };
                held.metered.insert(key, tokens);
            } else {
                held.logged.insert(key);
            }
        }
        Ok(())
    })?;
    Ok(held)
}

/// Operations that Bedrock logs, as CloudTrail names them.
const LOGGED: &str = "'InvokeModel', 'InvokeModelWithResponseStream', 'Converse', 'ConverseStream'";

/// Compares the CloudTrail events of one hour with the calls by their request ids; returns how many events of logged operations there
/// are. `model` names the model of an id that was called in a region.
///
/// A lake without the table has no events.
///
/// # Errors
/// See [`QueryError`].
pub fn compare_trail(
    engine: &QueryEngine,
    hour: Micros,
    model: &dyn Fn(&str, &str) -> String,
    missing: &mut Missing,
) -> Result<u64, QueryError> {
    if !has_evidence(engine) {
        return Ok(0);
    }
    let end = hour.plus(sluice_schemas::time::HOUR);
    // An event carries the time of its end, a call that of its request: calls of the hours around are looked through as well.
    let sql = format!(
        "SELECT {texts}, arrow_cast(e.event_time, 'Int64') AS at, e.input, e.output, c.request_id IS NOT NULL AS held FROM \
         (SELECT account_id, region, request_id, max(model_id) AS model_id, min(event_time) AS event_time, \
         coalesce(max(input_tokens), 0) AS input, coalesce(max(output_tokens), 0) AS output FROM {EVIDENCE} WHERE {events} AND \
         event_source = 'bedrock.amazonaws.com' AND event_name IN ({LOGGED}) AND coalesce(error_code, '') = '' AND \
         coalesce(request_id, '') <> '' GROUP BY account_id, region, request_id) e LEFT JOIN \
         (SELECT DISTINCT account_id, region, request_id FROM calls WHERE {calls}) c \
         ON e.account_id = c.account_id AND e.region = c.region AND e.request_id = c.request_id",
        texts = texts(&["e.account_id", "e.region", "e.model_id", "e.request_id"]),
        events = within(hour, end),
        calls = within(hour.plus(-LEAD), end.plus(LEAD)),
    );
    let mut events = 0;
    engine.for_each(&sql, |rows| -> Result<(), QueryError> {
        let held = rows.column(7).as_boolean();
        for row in 0..rows.num_rows() {
            let [account_id, region, model_id, request_id] = [0, 1, 2, 3].map(|column| text(rows, column, row));
            let event_time = Micros(rows.column(4).as_primitive::<Int64Type>().value(row));
            let key = Key { model: model(&model_id, &region), account_id, region };
            let tokens = Tokens { input: count(rows, 5, row), output: count(rows, 6, row), ..Tokens::default() };
            let call = MissingCall { side: Side::Cloudtrail, event_time, key, request_id };
            missing.take(call, tokens, (!held.value(row)).then_some(tokens));
            events += 1;
        }
        Ok(())
    })?;
    Ok(events)
}

/// Returns the CloudTrail events of `[from, to)` by service and operation; `None` where the lake holds no events at all of that time.
///
/// # Errors
/// See [`QueryError`].
pub fn trail_operations(engine: &QueryEngine, from: Micros, to: Micros) -> Result<Option<Vec<Seen>>, QueryError> {
    if !has_evidence(engine) {
        return Ok(None);
    }
    let sql = format!(
        "SELECT {texts}, count(*) AS events, sum(coalesce(input_tokens, 0)) AS input, sum(coalesce(output_tokens, 0)) AS output \
         FROM {EVIDENCE} WHERE {span} GROUP BY event_source, event_name",
        texts = texts(&["event_source", "event_name"]),
        span = within(from, to),
    );
    let mut seen = Vec::new();
    engine.for_each(&sql, |rows| -> Result<(), QueryError> {
        for row in 0..rows.num_rows() {
            seen.push(Seen {
                event_source: text(rows, 0, row),
                event_name: text(rows, 1, row),
                events: count(rows, 2, row),
                tokens: Tokens { input: count(rows, 3, row), output: count(rows, 4, row), ..Tokens::default() },
            });
        }
        Ok(())
    })?;
    Ok((!seen.is_empty()).then_some(seen))
}

fn has_evidence(engine: &QueryEngine) -> bool {
    engine.tables().iter().any(|table| table == EVIDENCE)
}

/// Returns columns as plain texts, whatever form the engine gives them.
fn texts(columns: &[&str]) -> String {
    let plain = |name: &&str| format!("arrow_cast(coalesce({name}, ''), 'Utf8') AS {}", name.rsplit('.').next().unwrap_or(name));
    columns.iter().map(plain).collect::<Vec<_>>().join(", ")
}

fn text(rows: &RecordBatch, column: usize, row: usize) -> String {
    rows.column(column).as_string::<i32>().value(row).to_owned()
}

fn count(rows: &RecordBatch, column: usize, row: usize) -> u64 {
    let values = rows.column(column).as_primitive::<Int64Type>();
    if values.is_null(row) { 0 } else { u64::try_from(values.value(row)).unwrap_or(0) }
}
