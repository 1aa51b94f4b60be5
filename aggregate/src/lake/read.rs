//! Reading a data file back, batch by batch.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::file::metadata::ParquetMetaDataReader;
use parquet::file::reader::{ChunkReader, Length};

use super::LakeError;
use super::action::decode_path;
use super::encode::conform;
use super::objects::Objects;

/// Rows of a batch.
const BATCH: usize = 8_192;
/// Size up to which a file elsewhere is fetched as a whole.
const WHOLE: u64 = 8 << 20;
/// Bytes read ahead.
const AHEAD: usize = 256 << 10;

/// The rows of one file, batch by batch.
pub struct FileBatches {
    path: String,
    batches: ParquetRecordBatchReader,
    failed: Failed,
}

/// What the storage said last: on its way through the decoder an error becomes a text.
type Failed = Arc<Mutex<Option<LakeError>>>;

impl FileBatches {
    /// Opens the file that a table's log names `name`; of its columns, those given.
    pub(crate) fn open(objects: &Arc<dyn Objects>, table: &str, name: &str, columns: Option<&[&str]>) -> Result<Self, LakeError> {
        let chunks = chunks(objects, table, name)?;
        let (path, failed) = (chunks.path.clone(), Arc::clone(&chunks.failed));
        let batches = ParquetRecordBatchReaderBuilder::try_new(chunks).and_then(|builder| {
            let mask = match columns {
                Some(columns) => ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied()),
                None => ProjectionMask::all(),
            };
            builder.with_projection(mask).with_batch_size(BATCH).build()
        });
        let batches = batches.map_err(|error| taken(&failed).unwrap_or_else(|| LakeError::parquet(&path)(error)))?;
        Ok(Self { path, batches, failed })
    }
}

impl Iterator for FileBatches {
    type Item = Result<RecordBatch, LakeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.batches.next()?;
        Some(batch.map_err(|error| taken(&self.failed).unwrap_or_else(|| LakeError::corrupt(&self.path, error))))
    }
}

/// The rows of one file in the form of its table.
pub(crate) struct FileReader {
    table: String,
    schema: SchemaRef,
    batches: FileBatches,
}

impl FileReader {
    /// Opens the file that a table's log names `name`.
    pub(crate) fn open(objects: &Arc<dyn Objects>, table: &str, name: &str, schema: &SchemaRef) -> Result<Self, LakeError> {
        let batches = FileBatches::open(objects, table, name, None)?;
        Ok(Self { table: table.to_owned(), schema: Arc::clone(schema), batches })
    }
}

impl Iterator for FileReader {
    type Item = Result<Vec<ArrayRef>, LakeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.batches.next()?;
        Some(batch.and_then(|batch| conform(&self.table, &self.schema, &batch)))
    }
}

/// Returns the number of rows that a file says it has.
pub(crate) fn rows(objects: &Arc<dyn Objects>, table: &str, name: &str) -> Result<u64, LakeError> {
    let chunks = chunks(objects, table, name)?;
    let footer = ParquetMetaDataReader::new().parse_and_finish(&chunks);
    let footer = footer.map_err(|error| chunks.failure(error))?;
    Ok(u64::try_from(footer.file_metadata().num_rows()).unwrap_or(0))
}

/// Opens the file that a table's log names `name`.
fn chunks(objects: &Arc<dyn Objects>, table: &str, name: &str) -> Result<FileChunks, LakeError> {
    let path = format!("{table}/{}", decode_path(name));
    let missing = || LakeError::corrupt(&path, "missing, but the table's log names it");
    let size = objects.size(&path)?.ok_or_else(missing)?;
    let whole = match objects.remote() {
        Some(_) if size <= WHOLE => Some(Bytes::from(objects.get(&path)?.ok_or_else(missing)?)),
        _ => None,
    };
    Ok(FileChunks { objects: Arc::clone(objects), path, size, whole, failed: Failed::default() })
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

/// A data file as the Parquet reader wants it.
#[derive(Debug)]
struct FileChunks {
    objects: Arc<dyn Objects>,
    path: String,
    size: u64,
    /// All of it, where one call is cheaper than one for each page.
    whole: Option<Bytes>,
    failed: Failed,
}

impl FileChunks {
    /// Returns what went wrong below a decoder that failed.
    fn failure(&self, error: parquet::errors::ParquetError) -> LakeError {
        taken(&self.failed).unwrap_or_else(|| LakeError::parquet(&self.path)(error))
    }

    fn range(&self, start: u64, length: usize) -> Result<Bytes, LakeError> {
        let Some(whole) = &self.whole else { return self.objects.get_range(&self.path, start, length).map(Bytes::from) };
        let start = usize::try_from(start).unwrap_or(usize::MAX);
        let end = start.saturating_add(length);
        if end <= whole.len() { Ok(whole.slice(start..end)) } else { Err(LakeError::corrupt(&self.path, "ends too early")) }
    }
}

impl Length for FileChunks {
    fn len(&self) -> u64 {
        self.size
    }
}

impl ChunkReader for FileChunks {
    type T = RangeReader;

    fn get_read(&self, start: u64) -> parquet::errors::Result<RangeReader> {
        let (objects, path, whole) = (Arc::clone(&self.objects), self.path.clone(), self.whole.clone());
        let file = Self { objects, path, size: self.size, whole, failed: Arc::clone(&self.failed) };
        Ok(RangeReader { file, next: start, ahead: Bytes::new() })
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        Ok(self.range(start, length).map_err(|error| kept(&self.failed, error))?)
    }
}

/// Reads an object from a place on, some bytes ahead.
#[derive(Debug)]
struct RangeReader {
    file: FileChunks,
    next: u64,
    ahead: Bytes,
}

impl Read for RangeReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.ahead.is_empty() {
            let length = usize::try_from(self.file.size.saturating_sub(self.next)).unwrap_or(AHEAD).min(AHEAD);
            if length == 0 {
                return Ok(0);
            }
            self.ahead = self.file.range(self.next, length).map_err(|error| kept(&self.file.failed, error))?;
            self.next += length as u64;
        }
        let count = self.ahead.len().min(into.len());
        into[..count].copy_from_slice(&self.ahead.split_to(count));
        Ok(count)
    }
}
