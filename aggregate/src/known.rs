//! What the lake and pending rows hold already: dedup keys of one event hour, and keys of refused records.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimestampMicrosecondType};
use arrow::error::ArrowError;
use sha2::{Digest, Sha256};
use sluice_schemas::time::{DAY, HOUR};
use sluice_schemas::{ErrorClass, Micros, Rejected, tables};

use crate::dedup::stored_key;
use crate::lake::{Lake, LakeError, hex};

const COLUMNS: [&str; 4] = ["event_time", "request_id", "account_id", "region"];
const REFUSED: [&str; 4] = ["source", "sequence", "offset", "sha256"];

/// Why known ids could not be read.
#[derive(Debug, thiserror::Error)]
pub enum KnownError {
    /// The lake's file list or a file of it could not be read.
    #[error("read what the lake holds already")]
    Lake(#[from] LakeError),
    /// Rows do not have the columns of their table.
    #[error("rows without the columns of their table")]
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
    for_each_row(batch, |_, at, key| each(at, key))
}

/// Calls `each` with number, event time and key of every row of `calls`.
///
/// # Errors
/// The rows lack a column.
pub fn for_each_row(batch: &RecordBatch, mut each: impl FnMut(u32, Micros, u128)) -> Result<(), KnownError> {
    let times = column(batch, "event_time")?.as_primitive::<TimestampMicrosecondType>();
    let (ids, accounts, regions) = (text(batch, "request_id")?, text(batch, "account_id")?, text(batch, "region")?);
    for row in 0..batch.num_rows() {
        if times.is_null(row) || ids.is_null(row) {
            continue;
        }
        let part = |column: &StringArray| if column.is_null(row) { String::new() } else { column.value(row).to_owned() };
        each(row as u32, Micros(times.value(row)), stored_key(&part(&accounts), &part(&regions), ids.value(row)));
    }
    Ok(())
}

pub(crate) fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef, ArrowError> {
    batch.column_by_name(name).ok_or_else(|| ArrowError::SchemaError(format!("no column {name}")))
}

pub(crate) fn text(batch: &RecordBatch, name: &str) -> Result<StringArray, ArrowError> {
    Ok(cast(column(batch, name)?, &DataType::Utf8)?.as_string::<i32>().clone())
}

/// Returns the keys of all refused records in the lake.
///
/// # Errors
/// A file could not be read.
pub fn refused_keys(lake: &Lake) -> Result<Vec<u128>, KnownError> {
    let mut keys = Vec::new();
    for file in lake.files(tables::REJECTED)? {
        for batch in lake.read(tables::REJECTED, &file, Some(&REFUSED))? {
            for_each_refused(&batch?, |key| keys.push(key))?;
        }
    }
    Ok(keys)
}

/// Calls `each` with the key of every row of `rejected`.
///
/// # Errors
/// The rows lack a column.
pub fn for_each_refused(batch: &RecordBatch, mut each: impl FnMut(u128)) -> Result<(), KnownError> {
    let (sources, sequences, hashes) = (text(batch, "source")?, text(batch, "sequence")?, text(batch, "sha256")?);
    let offsets = column(batch, "offset")?.as_primitive::<Int64Type>();
    for row in 0..batch.num_rows() {
        let sequence = if sequences.is_null(row) { "" } else { sequences.value(row) };
        let offset = if offsets.is_null(row) { 0 } else { offsets.value(row) };
        each(key_of_refused(sources.value(row), sequence, offset, hashes.value(row)));
    }
    Ok(())
}

/// Returns the key of a refused record of a shard: its place and its content.
#[must_use]
pub fn refused_key(shard: &str, rejected: &Rejected) -> u128 {
    let offset = i64::try_from(rejected.offset).unwrap_or_default();
    key_of_refused(shard, rejected.sequence.as_str(), offset, &sha256_of(rejected).unwrap_or_default())
}

fn key_of_refused(shard: &str, sequence: &str, offset: i64, sha256: &str) -> u128 {
    let digest = Sha256::digest(format!("{shard}\n{sequence}\n{offset}\n{sha256}"));
    digest.iter().take(16).fold(0, |key, byte| key << 8 | u128::from(*byte))
}

/// Returns the SHA-256 of a whole record, in hexadecimal digits, also where only its beginning is kept; `None` if it was never read.
pub(crate) fn sha256_of(rejected: &Rejected) -> Option<String> {
    match &rejected.cut {
        Some(cut) => Some(cut.sha256.clone()).filter(|hash| !hash.is_empty()),
        None => Some(hex(&Sha256::digest(&rejected.raw))),
    }
}

#[cfg(test)]
mod tests {
    use sluice_schemas::position::Sequence;
    use sluice_schemas::{Batch, RejectReason};

    use super::*;

    #[test]
    fn a_row_has_the_key_of_its_record() {
        let record = |sequence: &str, offset, raw: &[u8]| Rejected {
            offset,
            sequence: Sequence::parse(sequence).expect("a number"),
            reason: RejectReason::NotJson,
            raw: raw.to_vec(),
            cut: None,
        };
        let rejected = vec![record("7", 0, b"a"), record("7", 1 << 32, b"a"), record("", 3, b"b")];
        let batch = Batch { rejected, ..Batch::default() };
        let rows = crate::facts::rejected_rows(&batch, "kinesis:s/0", Micros(0)).expect("rows");
        let mut keys = Vec::new();
        for_each_refused(&rows, |key| keys.push(key)).expect("columns");
        let expected: Vec<u128> = batch.rejected.iter().map(|rejected| refused_key("kinesis:s/0", rejected)).collect();
        assert_eq!(keys, expected);
        assert!(keys[0] != keys[1] && !keys.contains(&refused_key("kinesis:s/1", &batch.rejected[0])));
    }
}
