//! State of a window as Arrow IPC bytes, sealed with a fingerprint of its declaration and of the engine's version.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Cursor;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::ipc::reader::StreamReader;
use datafusion::arrow::ipc::writer::StreamWriter;
use sha2::{Digest, Sha256};

use super::aggregation::Aggregation;
use super::error::WindowError;

const FINGERPRINT: &str = "sluice.fingerprint";

/// Returns a text that differs whenever stored state cannot be merged with this plan's.
pub(super) fn fingerprint(aggregation: &Aggregation) -> String {
    let mut hash = Sha256::new();
    hash.update(datafusion::DATAFUSION_VERSION);
    hash.update(aggregation.describe());
    hash.finalize().iter().fold(String::with_capacity(64), |mut text, byte| {
        if write!(text, "{byte:02x}").is_err() {
            text.clear();
        }
        text
    })
}

/// Writes partial rows.
pub(super) fn write(rows: &[RecordBatch], schema: &Schema, fingerprint: &str) -> Result<Vec<u8>, ArrowError> {
    let metadata = HashMap::from([(FINGERPRINT.to_owned(), fingerprint.to_owned())]);
    let mut writer = StreamWriter::try_new(Vec::new(), &schema.clone().with_metadata(metadata))?;
    for batch in rows {
        writer.write(batch)?;
    }
    writer.into_inner()
}

/// Reads partial rows of the same declaration.
pub(super) fn read(bytes: &[u8], schema: &SchemaRef, expected: &str, window: &str) -> Result<Vec<RecordBatch>, WindowError> {
    let corrupt = |error: ArrowError| WindowError::Corrupt { window: window.to_owned(), detail: error.to_string() };
    let reader = StreamReader::try_new(Cursor::new(bytes), None).map_err(corrupt)?;
    let found = reader.schema().metadata().get(FINGERPRINT).cloned().unwrap_or_default();
    if found != expected {
        return Err(WindowError::Fingerprint { window: window.to_owned(), expected: expected.to_owned(), found });
    }
    let rows = reader.map(|batch| batch.and_then(|batch| RecordBatch::try_new(Arc::clone(schema), batch.columns().to_vec())));
    rows.collect::<Result<Vec<_>, _>>().map_err(corrupt)
}
