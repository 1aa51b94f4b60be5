//! Reading a data file back, batch by batch.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::file::metadata::ParquetMetaDataReader;
use parquet::file::reader::{ChunkReader, Length};

use super::LakeError;
use super::action::decode_path;
use super::encode::conform;
use super::objects::Objects;

/// Rows of a batch.
const BATCH: usize = 8_192;
/// Bytes read ahead.
const AHEAD: usize = 256 << 10;

/// The rows of one file in the form of its table.
pub(crate) struct FileReader {
    path: String,
    table: String,
    schema: SchemaRef,
    batches: ParquetRecordBatchReader,
    failed: Failed,
}

/// What the storage said last: on its way through the decoder an error becomes a text.
type Failed = Arc<Mutex<Option<LakeError>>>;

impl FileReader {
    /// Opens the file that a table's log names `name`.
    pub(crate) fn open(objects: &Arc<dyn Objects>, table: &str, name: &str, schema: &SchemaRef) -> Result<Self, LakeError> {
        let (path, chunks) = chunks(objects, table, name)?;
        let failed = Arc::clone(&chunks.failed);
        let batches = ParquetRecordBatchReaderBuilder::try_new(chunks).and_then(|builder| builder.with_batch_size(BATCH).build());
        let batches = batches.map_err(|error| taken(&failed).unwrap_or_else(|| LakeError::parquet(&path)(error)))?;
        Ok(Self { path, table: table.to_owned(), schema: Arc::clone(schema), batches, failed })
    }

    fn columns(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>, LakeError> {
        conform(&self.table, &self.schema, batch)
    }
}

impl Iterator for FileReader {
    type Item = Result<Vec<ArrayRef>, LakeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.batches.next()?;
        let batch = batch.map_err(|error| taken(&self.failed).unwrap_or_else(|| LakeError::corrupt(&self.path, error)));
        Some(batch.and_then(|batch| self.columns(&batch)))
    }
}

/// Returns the number of rows that a file says it has.
pub(crate) fn rows(objects: &Arc<dyn Objects>, table: &str, name: &str) -> Result<u64, LakeError> {
    let (path, chunks) = chunks(objects, table, name)?;
    let footer = ParquetMetaDataReader::new().parse_and_finish(&chunks);
    let footer = footer.map_err(|error| taken(&chunks.failed).unwrap_or_else(|| LakeError::parquet(&path)(error)))?;
    Ok(u64::try_from(footer.file_metadata().num_rows()).unwrap_or(0))
}

fn chunks(objects: &Arc<dyn Objects>, table: &str, name: &str) -> Result<(String, ObjectChunks), LakeError> {
    let path = format!("{table}/{}", decode_path(name));
    let size = objects.size(&path)?.ok_or_else(|| LakeError::corrupt(&path, "missing, but the table's log names it"))?;
    let chunks = ObjectChunks { objects: Arc::clone(objects), path: path.clone(), size, failed: Failed::default() };
    Ok((path, chunks))
}

fn taken(failed: &Failed) -> Option<LakeError> {
    failed.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Keeps a failure of the storage and hands on its text.
fn kept(failed: &Failed, error: LakeError) -> io::Error {
    let text = error.to_string();
    *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    io::Error::other(text)
}

/// An object as the Parquet reader wants it.
#[derive(Debug)]
struct ObjectChunks {
    objects: Arc<dyn Objects>,
    path: String,
    size: u64,
    failed: Failed,
}

impl Length for ObjectChunks {
    fn len(&self) -> u64 {
        self.size
    }
}

impl ChunkReader for ObjectChunks {
    type T = RangeReader;

    fn get_read(&self, start: u64) -> parquet::errors::Result<RangeReader> {
        let (objects, path) = (Arc::clone(&self.objects), self.path.clone());
        Ok(RangeReader { objects, path, next: start, size: self.size, ahead: Bytes::new(), failed: Arc::clone(&self.failed) })
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        let bytes = self.objects.get_range(&self.path, start, length).map_err(|error| kept(&self.failed, error))?;
        Ok(Bytes::from(bytes))
    }
}

/// Reads an object from a place on, some bytes ahead.
#[derive(Debug)]
struct RangeReader {
    objects: Arc<dyn Objects>,
    path: String,
    next: u64,
    size: u64,
    ahead: Bytes,
    failed: Failed,
}

impl Read for RangeReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.ahead.is_empty() {
            let length = usize::try_from(self.size.saturating_sub(self.next)).unwrap_or(AHEAD).min(AHEAD);
            if length == 0 {
                return Ok(0);
            }
            self.ahead = self.objects.get_range(&self.path, self.next, length).map_err(|error| kept(&self.failed, error))?.into();
            self.next += length as u64;
        }
        let count = self.ahead.len().min(into.len());
        into[..count].copy_from_slice(&self.ahead.split_to(count));
        Ok(count)
    }
}
