//! Which calls of an hour are known from CloudTrail alone, and which accounts and regions wrote invocation logs then.

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

/// What the calls of an hour rest on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rests {
    /// Keys of calls that are metered from CloudTrail.
    pub metered: HashSet<u128>,
    /// Accounts and regions of the others.
    pub logged: HashSet<(String, String)>,
}

/// Returns what the calls of an hour of the lake rest on.
///
/// # Errors
/// A file could not be read.
pub fn rests_of_hour(lake: &Lake, hour: i64) -> Result<Rests, KnownError> {
    let (start, end) = (Micros(hour * HOUR), Micros((hour + 1) * HOUR));
    let mut rests = Rests::default();
    for file in lake.files(tables::CALLS)? {
        let outside = file.time.is_some_and(|(min, max)| max < start || min >= end);
        if i64::from(file.dt) != start.0.div_euclid(DAY) || outside {
            continue;
        }
        for batch in lake.read(tables::CALLS, &file, Some(&COLUMNS))? {
            add(&batch?, start, end, &mut rests)?;
        }
    }
    Ok(rests)
}

fn add(batch: &RecordBatch, start: Micros, end: Micros, rests: &mut Rests) -> Result<(), KnownError> {
    let times = column(batch, "event_time")?.as_primitive_opt::<TimestampMicrosecondType>();
    let times = times.ok_or_else(|| ArrowError::SchemaError("event_time is not a time".to_owned()))?;
    let (ids, accounts) = (text(batch, "request_id")?, text(batch, "account_id")?);
    let (regions, basis) = (text(batch, "region")?, text(batch, "cost_basis")?);
    let mut last = ("", "");
    for row in 0..batch.num_rows() {
        if !(start.0..end.0).contains(&times.value(row)) {
            continue;
        }
        let pair = (accounts.value(row), regions.value(row));
        if basis.value(row) == CostBasis::LowerBound.as_str() {
            rests.metered.insert(stored_key(pair.0, pair.1, ids.value(row)));
        } else if last != pair {
            rests.logged.insert((pair.0.to_owned(), pair.1.to_owned()));
            last = pair;
        }
    }
    Ok(())
}
