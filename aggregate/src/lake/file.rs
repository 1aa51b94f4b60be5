//! One data file in the making: Parquet on its way into a staged object, hashed as it goes.

use std::io::{self, Write};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use parquet::file::writer::SerializedFileWriter;
use sha2::{Digest, Sha256};
use sluice_schemas::commit::StagedFile;
use sluice_schemas::time::format_day;

use super::encode::{EncodedGroup, parquet_schema, properties};
use super::objects::{Objects, StagedObject};
use super::stats::Stats;
use super::{LakeError, hex};

/// Bytes gathered before they are handed to the storage.
const PIECE: usize = 1 << 20;

/// A data file that row groups are appended to.
#[derive(Debug)]
pub(crate) struct FileBuilder {
    /// Path below the table's folder.
    path: String,
    dt: i32,
    schema: SchemaRef,
    stats: Stats,
    writer: SerializedFileWriter<Sink>,
}

impl FileBuilder {
    /// Begins the file `dt=<date>/<name>` of a table.
    pub(crate) fn create(objects: &Arc<dyn Objects>, table: &str, dt: i32, name: &str, schema: &SchemaRef) -> Result<Self, LakeError> {
        let path = format!("dt={}/{name}", format_day(dt));
        let root = parquet_schema(table, schema)?;
        let staged = objects.stage(&format!("{table}/{path}"))?;
        let sink = Sink { staged, buffer: Vec::new(), hash: Sha256::new(), bytes: 0 };
        let writer = SerializedFileWriter::new(sink, root, properties(schema)).map_err(LakeError::parquet(&path))?;
        Ok(Self { path, dt, schema: Arc::clone(schema), stats: Stats::default(), writer })
    }

    /// Returns the bytes written so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.writer.bytes_written() as u64
    }

    /// Returns the encoded bytes that are still in memory.
    pub(crate) fn held(&self) -> usize {
        self.writer.inner().buffer.len()
    }

    /// Hands the encoded bytes in memory to the storage.
    pub(crate) fn hand_over(&mut self) -> Result<(), LakeError> {
        self.writer.inner_mut().hand_over()
    }

    /// Returns its columns.
    pub(crate) const fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Returns its path below the table's folder.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Adds a row group.
    pub(crate) fn append(&mut self, group: EncodedGroup) -> Result<(), LakeError> {
        let mut row_group = self.writer.next_row_group().map_err(LakeError::parquet(&self.path))?;
        for chunk in group.chunks {
            chunk.append_to(&mut row_group).map_err(LakeError::parquet(&self.path))?;
        }
        row_group.close().map_err(LakeError::parquet(&self.path))?;
        self.stats.merge(&group.stats);
        Ok(())
    }

    /// Writes the footer and makes the file durable.
    pub(crate) fn finish(self) -> Result<StagedFile, LakeError> {
        let mut sink = self.writer.into_inner().map_err(LakeError::parquet(&self.path))?;
        sink.hand_over()?;
        sink.staged.finish()?;
        Ok(StagedFile {
            dt: format_day(self.dt),
            rows: self.stats.rows,
            bytes: sink.bytes,
            sha256: hex(&sink.hash.finalize()),
            stats: self.stats.to_json(),
            path: self.path,
        })
    }
}

#[derive(Debug)]
struct Sink {
    staged: Box<dyn StagedObject>,
    buffer: Vec<u8>,
    hash: Sha256,
    bytes: u64,
}

impl Sink {
    fn hand_over(&mut self) -> Result<(), LakeError> {
        if !self.buffer.is_empty() {
            self.staged.append(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= PIECE {
            self.hand_over().map_err(io::Error::other)?;
        }
        Ok(bytes.len())
    }

    /// Does nothing: pieces go out when they are large, and what is left when the file is finished.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
