//! Dedup keys of one event hour as the lake and pending rows hold them.

use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use arrow::error::ArrowError;
use sluice_schemas::time::{DAY, HOUR};
use sluice_schemas::{ErrorClass, Micros, tables};

use crate::dedup::stored_key;
use crate::lake::{Lake, LakeError};

const COLUMNS: [&str; 4] = ["event_time", "request_id", "account_id", "region"];

/// Why known ids could not be read.
#[derive(Debug, thiserror::Error)]
pub enum KnownError {
    /// The lake's file list or a file of it could not be read.
    #[error("read calls")]
    Lake(#[from] LakeError),
    /// Rows do not have the columns of `calls`.
    #[error("rows without the columns of calls")]
    Columns(#[from] ArrowError),
}

impl KnownError {
    /// Returns what the caller is to do.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Lake(error) => error.class(),
            Self::Columns(_) => ErrorClass::Corrupt,
        }
    }
}

/// Returns the keys of all calls of an event hour in the lake.
///
/// # Errors
/// A file could not be read: the hour must then not be taken for empty.
pub fn keys_of_hour(lake: &Lake, hour: i64) -> Result<Vec<u128>, KnownError> {
    let (start, end) = (Micros(hour * HOUR), Micros((hour + 1) * HOUR));
    let mut keys = Vec::new();
    for file in lake.files(tables::CALLS)? {
        let outside = file.time.is_some_and(|(min, max)| max < start || min >= end);
        if file.dt != start.0.div_euclid(DAY) as i32 || outside {
            continue;
        }
        for batch in lake.read(tables::CALLS, &file, Some(&COLUMNS))? {
            for_each_key(&batch?, |at, key| {
                if at >= start && at < end {
                    keys.push(key);
                }
            })?;
        }
    }
    Ok(keys)
}

/// Calls `each` with event time and key of every row of `calls`.
///
/// # Errors
/// The rows lack a column.
pub fn for_each_key(batch: &RecordBatch, mut each: impl FnMut(Micros, u128)) -> Result<(), KnownError> {
    let column = |name: &str| batch.column_by_name(name).ok_or_else(|| ArrowError::SchemaError(format!("no column {name}")));
    let text = |name: &str| -> Result<StringArray, ArrowError> { Ok(cast(column(name)?, &DataType::Utf8)?.as_string::<i32>().clone()) };
    let times = column("event_time")?.as_primitive::<TimestampMicrosecondType>();
    let (ids, accounts, regions) = (text("request_id")?, text("account_id")?, text("region")?);
    for row in 0..batch.num_rows() {
        if times.is_null(row) || ids.is_null(row) {
            continue;
        }
        let part = |column: &StringArray| if column.is_null(row) { String::new() } else { column.value(row).to_owned() };
        each(Micros(times.value(row)), stored_key(&part(&accounts), &part(&regions), ids.value(row)));
    }
    Ok(())
}
