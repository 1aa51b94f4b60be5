//! What the lake already knows, read back: spend to seed budgets, calls to rebuild a window, request ids to dedup an old
//! hour, calls without a price.
//!
//! Memory is bounded by the number of distinct callers in a stretch, never by the number of calls.

mod callers;

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, AsArray, BooleanArray, Decimal128Array, Int32Array, Int64Array, MapArray, RecordBatch, StringViewArray,
    TimestampMicrosecondArray,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Decimal128Type, Int32Type, Int64Type, Schema, TimestampMicrosecondType};
use datafusion::arrow::error::ArrowError;
use sluice_schemas::time::MINUTE;
use sluice_schemas::{EnrichedBatch, ErrorClass, Micros, PicoUsd, SpendDelta, SpendView, Sums, Usage, tables};

use crate::query::{QueryEngine, QueryError};
use crate::windows::{WINDOW_START, WindowError, WindowPlan};
use callers::Callers;

/// Deltas handed on at once.
const DELTAS_MAX: usize = 64 * 1024;
/// Text kept before deltas are handed on.
const TEXT_MAX: usize = 16 << 20;

/// Calls without a price, by what would price them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unpriced {
    /// Model as logged.
    pub model_id: String,
    /// Where the call was made.
    pub region: String,
    /// Service tier.
    pub service_tier: String,
    /// How many calls.
    pub calls: u64,
    /// Their tokens.
    pub usage: Usage,
    /// Earliest of them.
    pub first_event: Micros,
    /// Latest of them.
    pub last_event: Micros,
}

/// Hands on the spend of all calls in `[from, to)` in pieces; pieces may repeat a caller and minute, their sum is the spend.
///
/// # Errors
/// See [`QueryError`]; pieces handed on before are then not the whole.
pub fn for_each_spend(
    engine: &QueryEngine,
    from: Micros,
    to: Option<Micros>,
    each: &mut dyn FnMut(SpendView<'_>),
) -> Result<(), QueryError> {
    let mut callers = Callers::default();
    engine.for_each(&spend_sql(from, to), |rows| {
        fold(&mut callers, rows)?;
        if callers.deltas.len() >= DELTAS_MAX || callers.text >= TEXT_MAX {
            let full = std::mem::take(&mut callers);
            each(SpendView { batch: &full.batch, deltas: &full.deltas });
        }
        Ok(())
    })?;
    if !callers.deltas.is_empty() {
        each(SpendView { batch: &callers.batch, deltas: &callers.deltas });
    }
    Ok(())
}

/// Returns the spend of all calls in `[from, to)` by minute and caller; the batch has profiles and owners and no calls.
///
/// # Errors
/// See [`QueryError`].
pub fn spend_since(engine: &QueryEngine, from: Micros, to: Option<Micros>) -> Result<(EnrichedBatch, Vec<SpendDelta>), QueryError> {
    let mut callers = Callers::default();
    engine.for_each(&spend_sql(from, to), |rows| fold(&mut callers, rows))?;
    Ok((callers.batch, callers.deltas))
}

/// Hands on each call in `[from, to)` as a delta of its own, in no order; returns what their symbols and profiles refer to.
///
/// # Errors
/// See [`QueryError`]; calls handed on before are then not the whole.
pub fn for_each_call(
    engine: &QueryEngine,
    from: Micros,
    to: Option<Micros>,
    each: &mut dyn FnMut(&SpendDelta),
) -> Result<EnrichedBatch, QueryError> {
    let mut callers = Callers::default();
    engine.for_each(&spend_sql(from, to), |rows| deltas(&mut callers, rows, |_, delta| each(&delta)))?;
    Ok(callers.batch)
}

/// Returns the calls without a price, most calls first.
///
/// # Errors
/// See [`QueryError`].
pub fn unpriced_calls(engine: &QueryEngine) -> Result<Vec<Unpriced>, QueryError> {
    let sums = tables::TOKENS.map(|name| format!("sum({name}) AS {name}")).join(", ");
    let sql = format!(
        "SELECT model_id, region, service_tier, count(*) AS calls, {sums}, min(event_time) AS first_event, max(event_time) AS last_event \
         FROM calls WHERE NOT priced GROUP BY model_id, region, service_tier ORDER BY calls DESC, model_id, region, service_tier"
    );
    let mut found = Vec::new();
    engine.for_each(&sql, |rows| {
        let [model_id, region, service_tier] = ["model_id", "region", "service_tier"].map(|name| text(rows, name));
        let (model_id, region, service_tier) = (model_id?, region?, service_tier?);
        let (calls, tokens) = (long(rows, "calls")?, tokens(rows)?);
        let (first, last) = (times(rows, "first_event")?, times(rows, "last_event")?);
        for row in 0..rows.num_rows() {
            found.push(Unpriced {
                model_id: value(model_id, row).to_owned(),
                region: value(region, row).to_owned(),
                service_tier: value(service_tier, row).to_owned(),
                calls: count("calls", calls, row)?,
                usage: usage(&tokens, row)?,
                first_event: Micros(first.value(row)),
                last_event: Micros(last.value(row)),
            });
        }
        Ok(())
    })?;
    Ok(found)
}

/// Spend by minute and caller.
#[derive(Debug, Default)]
pub struct Spend {
    batch: EnrichedBatch,
    deltas: Vec<SpendDelta>,
}

impl Spend {
    /// Returns it as budgets take it.
    #[must_use]
    pub fn view(&self) -> SpendView<'_> {
        SpendView { batch: &self.batch, deltas: &self.deltas }
    }
}

/// Spend of rows of `calls` as a file holds them.
#[derive(Debug, Default)]
pub(crate) struct SpendOfRows(Callers);

impl SpendOfRows {
    /// Adds rows.
    pub(crate) fn add(&mut self, rows: &RecordBatch) -> Result<(), QueryError> {
        fold(&mut self.0, &as_views(rows).map_err(|error| QueryError::of_plan(error.into()))?)
    }

    pub(crate) fn finish(self) -> Spend {
        Spend { batch: self.0.batch, deltas: self.0.deltas }
    }
}

/// Gives texts the type that the engine gives them.
fn as_views(rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let (mut fields, mut columns) = (Vec::with_capacity(rows.num_columns()), Vec::with_capacity(rows.num_columns()));
    for (field, column) in rows.schema().fields().iter().zip(rows.columns()) {
        let is_text = matches!(field.data_type(), DataType::Utf8 | DataType::Dictionary(..));
        fields.push(if is_text { Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8View)) } else { Arc::clone(field) });
        columns.push(if is_text { cast(column, &DataType::Utf8View)? } else { Arc::clone(column) });
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

/// Returns the windows of a declaration whose latest row in the lake is not final, oldest first.
///
/// # Errors
/// See [`QueryError`].
pub fn open_windows(engine: &QueryEngine, name: &str) -> Result<Vec<Micros>, QueryError> {
    let mut open = Vec::new();
    let sql = format!("SELECT DISTINCT {WINDOW_START} FROM \"{name}_latest\" WHERE NOT final ORDER BY 1");
    engine.for_each(&sql, |rows| -> Result<(), QueryError> {
        open.extend(times(rows, WINDOW_START)?.iter().flatten().map(Micros));
        Ok(())
    })?;
    Ok(open)
}

/// A window that could not be rebuilt; it is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// Its calls could not be read.
    #[error("the calls of a window cannot be read")]
    Query(#[from] QueryError),
    /// Its calls could not be folded.
    #[error("the calls of a window cannot be folded")]
    Window(#[from] WindowError),
}

impl RebuildError {
    /// Returns what the failure asks of the caller.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Query(error) => error.class(),
            Self::Window(error) => error.class(),
        }
    }
}

/// Rebuilds a window from all its calls, reading only the columns it needs and keeping none of the rows. The engine must
/// hold the rows that are not committed yet, too.
///
/// # Errors
/// See [`RebuildError`].
pub fn rebuild_window(engine: &QueryEngine, plan: &mut WindowPlan, window: Micros) -> Result<(), RebuildError> {
    let columns: Vec<String> = plan.columns().map(|name| format!("\"{name}\"")).collect();
    let sql = format!("SELECT {} FROM calls WHERE {}", columns.join(", "), span(window, Some(plan.window_end(window))));
    let mut fresh = WindowPlan::begin_rebuild(window);
    engine.for_each(&sql, |rows| -> Result<(), RebuildError> { Ok(plan.fold_into(&mut fresh, rows)?) })?;
    plan.replace(fresh);
    Ok(())
}

fn spend_sql(from: Micros, to: Option<Micros>) -> String {
    let columns = tables::CALL_TEXTS.join(", ");
    let tokens = tables::TOKENS.join(", ");
    let span = span(from, to);
    format!(
        "SELECT event_time, {columns}, tags, agent_rank, session_rank, {tokens}, cost_usd, cost_max_usd, cost_basis, priced FROM calls WHERE {span}"
    )
}

/// Returns the predicate of `[from, to)`; which files can have such rows follows from it.
fn span(from: Micros, to: Option<Micros>) -> String {
    let at = |time: Micros| format!("arrow_cast({}, 'Timestamp(Microsecond, Some(\"UTC\"))')", time.0);
    let from = if from.0 == i64::MIN { "true".to_owned() } else { format!("event_time >= {}", at(from)) };
    to.map_or_else(|| from.clone(), |to| format!("{from} AND event_time < {}", at(to)))
}

/// Adds rows of `calls` to the sums of their callers.
fn fold(callers: &mut Callers, rows: &RecordBatch) -> Result<(), QueryError> {
    deltas(callers, rows, Callers::add)
}

/// Hands on each row of `calls` as a delta.
fn deltas(callers: &mut Callers, rows: &RecordBatch, mut each: impl FnMut(&mut Callers, SpendDelta)) -> Result<(), QueryError> {
    let at = times(rows, "event_time")?;
    let tokens = tokens(rows)?;
    let (cost, cost_max) = (money(rows, "cost_usd")?, money(rows, "cost_max_usd")?);
    let priced = column::<BooleanArray>(rows, "priced", |column| column.as_boolean_opt())?;
    callers.read(rows)?;
    for row in 0..rows.num_rows() {
        if at.is_null(row) || priced.is_null(row) || (priced.value(row) && cost.is_null(row)) {
            return Err(bad("event_time, priced or cost_usd", "null"));
        }
        let (profile, model, scope, failed) = callers.caller(row)?;
        let cost = if cost.is_null(row) { 0 } else { cost.value(row) };
        let sums = Sums {
            calls: 1,
            errors: u64::from(failed),
            unpriced: u64::from(!priced.value(row)),
            usage: usage(&tokens, row)?,
            cost: PicoUsd(cost),
            cost_max: PicoUsd(if cost_max.is_null(row) { cost } else { cost_max.value(row) }),
        };
        let last_event = Micros(at.value(row));
        each(callers, SpendDelta { minute: last_event.floor(MINUTE), last_event, profile, model, scope, sums });
    }
    Ok(())
}

pub(crate) fn tokens(rows: &RecordBatch) -> Result<[&Int64Array; 5], QueryError> {
    let [input, output, cache_read, cache_write_5m, cache_write_1h] = tables::TOKENS.map(|name| long(rows, name));
    Ok([input?, output?, cache_read?, cache_write_5m?, cache_write_1h?])
}

pub(crate) fn usage(tokens: &[&Int64Array; 5], row: usize) -> Result<Usage, QueryError> {
    let mut counts = [0; 5];
    for (at, (name, column)) in tables::TOKENS.into_iter().zip(tokens).enumerate() {
        counts[at] = count(name, column, row)?;
    }
    let [input, output, cache_read, cache_write_5m, cache_write_1h] = counts;
    Ok(Usage { input, output, cache_read, cache_write_5m, cache_write_1h })
}

pub(crate) fn count(name: &str, column: &Int64Array, row: usize) -> Result<u64, QueryError> {
    let found = if column.is_null(row) { 0 } else { column.value(row) };
    u64::try_from(found).map_err(|_| bad(name, &found.to_string()))
}

/// Returns the text of a row; the empty text for null.
pub(crate) fn value(column: &StringViewArray, row: usize) -> &str {
    if column.is_null(row) { "" } else { column.value(row) }
}

pub(crate) fn column<'a, T>(rows: &'a RecordBatch, name: &str, read: impl Fn(&'a dyn Array) -> Option<&'a T>) -> Result<&'a T, QueryError> {
    let column = rows.column_by_name(name).ok_or_else(|| bad(name, "nothing"))?;
    read(column.as_ref()).ok_or_else(|| bad(name, &column.data_type().to_string()))
}

pub(crate) fn text<'a>(rows: &'a RecordBatch, name: &str) -> Result<&'a StringViewArray, QueryError> {
    column(rows, name, |column| column.as_string_view_opt())
}
pub(crate) fn long<'a>(rows: &'a RecordBatch, name: &str) -> Result<&'a Int64Array, QueryError> {
    column(rows, name, |column| column.as_primitive_opt::<Int64Type>())
}
fn int<'a>(rows: &'a RecordBatch, name: &str) -> Result<&'a Int32Array, QueryError> {
    column(rows, name, |column| column.as_primitive_opt::<Int32Type>())
}
pub(crate) fn money<'a>(rows: &'a RecordBatch, name: &str) -> Result<&'a Decimal128Array, QueryError> {
    column(rows, name, |column| column.as_primitive_opt::<Decimal128Type>())
}
pub(crate) fn times<'a>(rows: &'a RecordBatch, name: &str) -> Result<&'a TimestampMicrosecondArray, QueryError> {
    column(rows, name, |column| column.as_primitive_opt::<TimestampMicrosecondType>())
}
fn map<'a>(rows: &'a RecordBatch, name: &str) -> Result<&'a MapArray, QueryError> {
    column(rows, name, |column| column.as_map_opt())
}

pub(crate) fn bad(column: &str, value: &str) -> QueryError {
    QueryError::Value { table: tables::CALLS.to_owned(), column: column.to_owned(), value: value.to_owned() }
}
