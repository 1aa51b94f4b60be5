//! Which calls of an hour are known from CloudTrail alone.

use std::collections::HashSet;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use arrow::error::ArrowError;
use sluice_schemas::time::{DAY, HOUR};
use sluice_schemas::{CostBasis, Micros, tables};

use crate::dedup::stored_key;
use crate::known::{KnownError, column, text};
use crate::lake::Lake;

const COLUMNS: [&str; 5] = ["event_time", "request_id", "account_id", "region", "cost_basis"];

/// Returns the keys of the calls of an hour that the lake has from CloudTrail alone.
///
/// # Errors
/// A file could not be read.
pub fn metered_of_hour(lake: &Lake, hour: i64) -> Result<HashSet<u128>, KnownError> {
    let (start, end) = (Micros(hour * HOUR), Micros((hour + 1) * HOUR));
    let mut metered = HashSet::new();
    for file in lake.files(tables::CALLS)? {
        let outside = file.time.is_some_and(|(min, max)| max < start || min >= end);
        if i64::from(file.dt) != start.0.div_euclid(DAY) || outside {
            continue;
        }
        for batch in lake.read(tables::CALLS, &file, Some(&COLUMNS))? {
            add(&batch?, start, end, &mut metered)?;
        }
    }
    Ok(metered)
}

fn add(batch: &RecordBatch, start: Micros, end: Micros, metered: &mut HashSet<u128>) -> Result<(), KnownError> {
    let times = column(batch, "event_time")?.as_primitive_opt::<TimestampMicrosecondType>();
    let times = times.ok_or_else(|| ArrowError::SchemaError("event_time is not a time".to_owned()))?;
    let (ids, accounts) = (text(batch, "request_id")?, text(batch, "account_id")?);
    let (regions, basis) = (text(batch, "region")?, text(batch, "cost_basis")?);
    for row in 0..batch.num_rows() {
        let is_metered = basis.value(row) == CostBasis::LowerBound.as_str();
        if is_metered && (start.0..end.0).contains(&times.value(row)) {
            metered.insert(stored_key(accounts.value(row), regions.value(row), ids.value(row)));
        }
    }
    Ok(())
}
