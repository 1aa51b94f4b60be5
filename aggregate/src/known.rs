//! Dedup keys of one event hour as the lake and pending rows hold them.

use std::fs::File;
use std::path::Path;

use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use arrow::error::ArrowError;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::errors::ParquetError;
use sluice_schemas::time::{DAY, HOUR};
use sluice_schemas::{ErrorClass, Micros, tables};

use crate::dedup::stored_key;
use crate::lake::{Lake, LakeError};

const COLUMNS: [&str; 4] = ["event_time", "request_id", "account_id", "region"];

/// Why known ids could not be read.
#[derive(Debug, thiserror::Error)]
pub enum KnownError {
    /// The lake's file list could not be read.
    #[error("list files of calls")]
    Lake(#[from] LakeError),
    /// A file of the lake is missing or not readable.
    #[error("read {path}")]
    Open {
        /// The file.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A file of the lake is not the Parquet file it should be.
    #[error("decode {path}")]
    Parquet {
        /// The file.
        path: String,
        /// What the decoder said.
        #[source]
        source: ParquetError,
    },
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
            Self::Open { .. } => ErrorClass::Transient,
            Self::Parquet { .. } | Self::Columns(_) => ErrorClass::Corrupt,
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
        read_file(&file.path, start, end, &mut keys)?;
    }
    Ok(keys)
}

fn read_file(path: &Path, start: Micros, end: Micros, keys: &mut Vec<u128>) -> Result<(), KnownError> {
    let name = || path.display().to_string();
    let parquet = |source| KnownError::Parquet { path: name(), source };
    let file = File::open(path).map_err(|source| KnownError::Open { path: name(), source })?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(parquet)?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), COLUMNS);
    let reader = builder.with_projection(mask).with_batch_size(8_192).build().map_err(parquet)?;
    for batch in reader {
        for_each_key(&batch?, |at, key| {
            if at >= start && at < end {
                keys.push(key);
            }
        })?;
    }
    Ok(())
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
