//! Rows of `evidence` as events: those of an hour, or those that came in after a moment.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use arrow::error::ArrowError;
use sluice_schemas::time::{DAY, HOUR};
use sluice_schemas::trail::{SPAN_SOURCE, TrailEvent};
use sluice_schemas::{Micros, tables};

use super::{event_key, request_key};
use crate::dedup::stored_key;
use crate::known::{KnownError, column, text};
use crate::lake::Lake;

/// Which events of an hour are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hour {
    /// Hours since 1970.
    pub hour: i64,
    /// Only those that open a session or tell of a run.
    pub openings: bool,
}

/// Returns the stored events of an hour with the keys of their requests.
///
/// # Errors
/// A file could not be read: the hour must then not be taken for empty.
pub fn events_of_hour(lake: &Lake, wanted: Hour) -> Result<Vec<(u128, TrailEvent)>, KnownError> {
    let (start, end) = (Micros(wanted.hour * HOUR), Micros((wanted.hour + 1) * HOUR));
    let mut found = Vec::new();
    each_batch(lake, start, end, None, |batch| {
        let opens = if wanted.openings { opens(batch)? } else { Vec::new() };
        events(
            batch,
            |row, at| at >= start && at < end && (!wanted.openings || opens[row]),
            |event| found.push((request_key(&event), event)),
        )
    })?;
    Ok(found)
}

/// Returns the stored events of `[from, to]` whose requests have a key that `wanted` picks, with those keys.
///
/// # Errors
/// A file could not be read.
pub fn events_of_requests(
    lake: &Lake,
    (from, to): (Micros, Micros),
    wanted: &dyn Fn(u128) -> bool,
) -> Result<Vec<(u128, TrailEvent)>, KnownError> {
    let mut found = Vec::new();
    each_batch(lake, from, to.plus(1), None, |batch| {
        let mut keys = vec![None; batch.num_rows()];
        each_request_key(batch, |row, key| keys[row] = Some(key))?;
        let is_one = |row: usize, at: Micros| (from..=to).contains(&at) && keys[row].is_some_and(wanted);
        events(batch, is_one, |event| found.push((request_key(&event), event)))
    })?;
    Ok(found)
}

/// Calls `each` with the key of the request of every stored event of an hour that has one and one of `names`, and its time.
///
/// # Errors
/// A file could not be read: the hour must then not be taken for empty.
pub fn for_each_request(lake: &Lake, hour: i64, names: &[&str], each: &mut dyn FnMut(u128, Micros)) -> Result<(), KnownError> {
    let (start, end) = (Micros(hour * HOUR), Micros((hour + 1) * HOUR));
    each_batch(lake, start, end, Some(&["event_time", "event_name", "request_id", "account_id", "region"]), |batch| {
        let (at, events) = (times(batch, "event_time")?, text(batch, "event_name")?);
        each_request_key(batch, |row, key| match at.get(row) {
            Some(at) if (start..end).contains(at) && names.contains(&events.value(row)) => each(key, *at),
            _ => {}
        })
    })
}

fn each_request_key(batch: &RecordBatch, mut each: impl FnMut(usize, u128)) -> Result<(), KnownError> {
    let [accounts, regions, ids] = ["account_id", "region", "request_id"].map(|name| text(batch, name));
    let (accounts, regions, ids) = (accounts?, regions?, ids?);
    for row in (0..batch.num_rows()).filter(|row| ids.is_valid(*row)) {
        each(row, stored_key(accounts.value(row), regions.value(row), ids.value(row)));
    }
    Ok(())
}

/// Returns the keys of all events of an hour of event time in the lake.
///
/// # Errors
/// A file could not be read: the hour must then not be taken for empty.
pub fn event_keys_of_hour(lake: &Lake, hour: i64) -> Result<Vec<u128>, KnownError> {
    let (start, end) = (Micros(hour * HOUR), Micros((hour + 1) * HOUR));
    let mut keys = Vec::new();
    each_batch(lake, start, end, Some(&["event_time", "event_id"]), |batch| {
        for_each_event_key(batch, |at, key| {
            if at >= start && at < end {
                keys.push(key);
            }
        })
    })?;
    Ok(keys)
}

/// Calls `each` with the events that came in after a moment and happened after another, as many at once as are read at once, each with the
/// key of its request. There may be more of them than memory holds.
///
/// # Errors
/// A file could not be read.
pub fn for_each_event_since(
    lake: &Lake,
    moment: Micros,
    from: Micros,
    mut each: impl FnMut(Vec<(u128, TrailEvent)>),
) -> Result<(), KnownError> {
    each_batch(lake, from, Micros(i64::MAX), None, |batch| {
        let arrived = times(batch, "ingest_time")?;
        let recent = |row: usize, _| arrived.get(row).is_some_and(|at| *at > moment);
        let mut found = Vec::new();
        events(batch, recent, |event| found.push((request_key(&event), event)))?;
        each(found);
        Ok(())
    })
}

/// Calls `each` with event time and key of every row of `evidence`.
///
/// # Errors
/// The rows lack a column.
pub fn for_each_event_key(batch: &RecordBatch, mut each: impl FnMut(Micros, u128)) -> Result<(), KnownError> {
    let (at, ids) = (times(batch, "event_time")?, text(batch, "event_id")?);
    for (row, at) in at.into_iter().enumerate().filter(|(row, _)| ids.is_valid(*row)) {
        each(at, event_key(ids.value(row)));
    }
    Ok(())
}

/// Calls `each` with the events of rows of `evidence` that `wanted` picks by row and event time.
///
/// # Errors
/// The rows lack a column.
pub fn events(batch: &RecordBatch, wanted: impl Fn(usize, Micros) -> bool, mut each: impl FnMut(TrailEvent)) -> Result<(), KnownError> {
    let at = times(batch, "event_time")?;
    let rows: Vec<usize> = (0..batch.num_rows()).filter(|row| at.get(*row).is_some_and(|at| wanted(*row, *at))).collect();
    if rows.is_empty() {
        return Ok(());
    }
    let columns = ["event_id", "request_id"].into_iter().chain(tables::EVIDENCE_TEXTS).map(|name| text(batch, name));
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let bearer = column(batch, "bearer_token")?.as_boolean_opt().ok_or_else(|| wrong("bearer_token"))?.clone();
    let counts = ["input_tokens", "output_tokens"]
        .map(|name| column(batch, name).and_then(|column| column.as_primitive_opt::<Int64Type>().cloned().ok_or_else(|| wrong(name))));
    let [input, output] = counts;
    let (input, output) = (input?, output?);
    for row in rows {
        let borrowed = |place: usize| columns.get(place).filter(|column| column.is_valid(row)).map_or("", |column| column.value(row));
        let text = |place: usize| borrowed(place).to_owned();
        let count = |column: &arrow::array::Int64Array| column.is_valid(row).then(|| u64::try_from(column.value(row)).unwrap_or_default());
        each(TrailEvent {
            event_time: at.get(row).copied().unwrap_or_default(),
            event_id: text(0),
            request_id: text(1),
            event_source: text(2),
            event_name: text(3),
            account_id: text(4),
            region: text(5),
            error_code: text(6),
            identity_type: text(7),
            principal_arn: text(8),
            principal_id: text(9),
            access_key_id: text(10),
            issuer_arn: text(11),
            source_identity: text(12),
            credentials_issued_to: text(13),
            invoked_by: text(14),
            user_agent: text(15),
            model_id: text(16),
            inference_region: text(17),
            resources: Some(text(18)).filter(|arn| !arn.is_empty()).into_iter().collect(),
            assumed: json(borrowed(19), "assumed")?,
            invoked: json(borrowed(20), "invoked")?,
            bearer_token: bearer.is_valid(row) && bearer.value(row),
            input_tokens: count(&input),
            output_tokens: count(&output),
        });
    }
    Ok(())
}

/// Tells of each row whether it opens a session or tells of a run.
fn opens(batch: &RecordBatch) -> Result<Vec<bool>, KnownError> {
    let (assumed, invoked, source) = (text(batch, "assumed")?, text(batch, "invoked")?, text(batch, "event_source")?);
    let is_span = |row: usize| source.is_valid(row) && source.value(row) == SPAN_SOURCE;
    Ok((0..batch.num_rows()).map(|row| assumed.is_valid(row) || invoked.is_valid(row) && !is_span(row)).collect())
}

fn each_batch(
    lake: &Lake,
    start: Micros,
    end: Micros,
    columns: Option<&[&str]>,
    mut each: impl FnMut(&RecordBatch) -> Result<(), KnownError>,
) -> Result<(), KnownError> {
    for file in lake.files(tables::EVIDENCE)? {
        let outside = file.time.is_some_and(|(min, max)| max < start || min >= end);
        if outside || i64::from(file.dt) < start.0.div_euclid(DAY) {
            continue;
        }
        for batch in lake.read(tables::EVIDENCE, &file, columns)? {
            each(&batch?)?;
        }
    }
    Ok(())
}

fn json<T: serde::de::DeserializeOwned>(text: &str, name: &str) -> Result<Option<T>, ArrowError> {
    if text.is_empty() {
        return Ok(None);
    }
    serde_json::from_str(text).map(Some).map_err(|_| wrong(name))
}

fn wrong(name: &str) -> ArrowError {
    ArrowError::SchemaError(format!("{name} of evidence is not of its type"))
}

fn times(batch: &RecordBatch, name: &str) -> Result<Vec<Micros>, ArrowError> {
    let times = column(batch, name)?.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(|| wrong(name))?;
    Ok(times.values().iter().map(|at| Micros(*at)).collect())
}
