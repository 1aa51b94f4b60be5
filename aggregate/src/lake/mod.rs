//! The lake: tables of Parquet files with a Delta log each, and one commit protocol over all of them.
//!
//! Owns: the files and logs below one root, the epochs committed to it, recovery, compaction.
//! Does not own: what the rows mean, and when an epoch ends.
//!
//! An epoch is published in four steps, each durable before the next begins:
//!
//! 1. its files, of all tables, under names that no table knows;
//! 2. a manifest that names them with their hashes, and the positions of the sources;
//! 3. one entry in the log of `calls` with `txn {sluice, epoch}` and the manifest's hash: *the moment* the epoch exists;
//! 4. one entry in the log of every other table it touches, with the same `txn`.
//!
//! Opening for writing takes the lock, claims a fence with an entry in the log of `calls` (which a writer that was overtaken runs into,
//! whatever it does next), forgets what got no further than step 2, and repeats step 4 of the last epoch. So no other table is ever ahead
//! of `calls`, none loses anything, and nothing is there twice. A reader that comes between steps 3 and 4 takes the missing files from the
//! manifest and sees every table at the same epoch.

mod action;
mod checkpoint;
mod chunk;
mod columns;
mod commit;
mod compact;
mod document;
mod encode;
mod epoch;
mod error;
mod file;
mod hybrid;
mod local;
mod log;
mod manifest;
mod merge;
mod numbers;
mod objects;
mod open;
mod place;
mod read;
mod redact;
mod rewrite;
#[cfg(feature = "aws")]
mod s3;
mod snapshot;
mod stats;
mod text;
mod vacuum;

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use serde_json::Value;
use sluice_schemas::position::Positions;
use sluice_schemas::time::{format_day, parse_day};
use sluice_schemas::{Micros, tables};

pub(crate) use action::decode_path;
pub use compact::CompactReport;
pub use encode::{EncodedGroup, encode_group};
pub use epoch::{EpochWriter, SealedEpoch};
pub use error::LakeError;
pub use local::LocalObjects;
pub use objects::{ObjectEntry, Objects, Put, StagedObject, WriterLock};
pub use place::{is_remote, objects_at};
pub use read::FileBatches;
pub use redact::RedactReport;
pub use rewrite::Edit;
#[cfg(feature = "aws")]
pub use s3::{S3Objects, S3Settings};
pub use vacuum::VacuumReport;

use epoch::Schemas;
use log::TableLog;

/// What the last commit says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LakeState {
    /// The last committed epoch; 0 for none.
    pub epoch: u64,
    /// Manifest id of that epoch; empty for epoch 0.
    pub uuid: String,
    /// Fence of this writer; of the last writer, for a reader.
    pub fence: u64,
    /// How far each source was read.
    pub positions: Positions,
    /// Greatest event time minus allowed lateness.
    pub watermark: Micros,
    /// What enforcement left in the last manifest; null if nothing.
    pub enforcement: Value,
    /// Evidence that came in up to this moment is settled.
    pub evidence_settled: Micros,
    /// Earliest time of the calls that evidence which is not settled may speak of.
    pub evidence_from: Micros,
    /// Version of `calls`.
    pub version: i64,
}

/// One file of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LakeFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its path as it stands in the table's log.
    pub name: String,
    /// Event date of its rows, in days since 1970-01-01.
    pub dt: i32,
    /// Rows in it.
    pub rows: u64,
    /// Size in bytes.
    pub bytes: u64,
    /// Range of its first time column (`event_time`, `minute`, …) where the log tells; `None` for a table without one.
    pub time: Option<(Micros, Micros)>,
}

impl LakeFile {
    /// Returns the value of the partition column, `YYYY-MM-DD`.
    #[must_use]
    pub fn dt_text(&self) -> String {
        format_day(self.dt)
    }
}

/// Tables of files with one commit over all of them.
#[derive(Debug)]
pub struct Lake {
    objects: Arc<dyn Objects>,
    tables: BTreeMap<String, TableLog>,
    schemas: Schemas,
    state: LakeState,
    /// Held by a writer for as long as it lives; `None` for a reader.
    lock: Option<WriterLock>,
    /// Epoch writers begun so far.
    attempts: u64,
    /// A commit failed and what came of it is not known.
    broken: bool,
}

impl Lake {
    /// Returns what the last commit says.
    #[must_use]
    pub const fn state(&self) -> &LakeState {
        &self.state
    }

    /// Returns the names of all tables, windows of the user included.
    #[must_use]
    pub fn tables(&self) -> Vec<String> {
        self.tables.keys().cloned().collect()
    }

    /// Returns the columns of a table's files, without the partition column.
    ///
    /// # Errors
    /// There is no such table.
    pub fn schema(&self, table: &str) -> Result<SchemaRef, LakeError> {
        Ok(Arc::clone(&self.table(table)?.schema))
    }

    /// Returns the files of a table as of the last commit.
    ///
    /// # Errors
    /// There is no such table, or another program has added a file that this one cannot place.
    pub fn files(&self, table: &str) -> Result<Vec<LakeFile>, LakeError> {
        let log = self.table(table)?;
        let time = log.schema.fields().iter().find(|field| matches!(field.data_type(), DataType::Timestamp(..)));
        let time = time.map(|field| field.name().as_str());
        log.snapshot.files.values().map(|add| self.file(table, add, time)).collect()
    }

    fn file(&self, table: &str, add: &action::Add, time: Option<&str>) -> Result<LakeFile, LakeError> {
        let inside = action::decode_path(&add.path);
        if inside.contains("://") || inside.starts_with('/') || inside.split('/').any(|part| part == "..") {
            return Err(LakeError::Unsupported { table: table.to_owned(), needs: format!("the file {inside} outside of its folder") });
        }
        let dt = add.partition_values.get(tables::PARTITION).and_then(Option::as_deref).and_then(parse_day);
        let dt = dt.ok_or_else(|| LakeError::corrupt(&inside, "the log gives it no date"))?;
        let told = add.stats.as_deref().map(|text| stats::read(text, time)).unwrap_or_default();
        let rows = match told.rows {
            Some(rows) => rows,
            // Another program's: only the file itself tells.
            None => read::rows(&self.objects, table, &add.path)?,
        };
        Ok(LakeFile {
            path: self.objects.locate(&format!("{table}/{inside}")),
            name: add.path.clone(),
            dt,
            rows,
            bytes: u64::try_from(add.size).unwrap_or(0),
            time: told.time,
        })
    }

    /// Reads the rows of a file of a table; of its columns, those given.
    ///
    /// # Errors
    /// The storage failed, or the file is gone or no Parquet file.
    pub fn read(&self, table: &str, file: &LakeFile, columns: Option<&[&str]>) -> Result<FileBatches, LakeError> {
        FileBatches::open(&self.objects, table, &file.name, columns)
    }

    /// Returns the storage.
    #[must_use]
    pub fn objects(&self) -> &Arc<dyn Objects> {
        &self.objects
    }

    /// Begins the next epoch. Tables created until it is sealed can be written to. Of several writers of one epoch one can be committed.
    #[must_use]
    pub fn begin_epoch(&mut self) -> EpochWriter {
        self.attempts += 1;
        let schemas = Arc::clone(&self.schemas);
        EpochWriter::new(Arc::clone(&self.objects), self.state.epoch + 1, self.state.fence, self.attempts, schemas)
    }

    fn table(&self, table: &str) -> Result<&TableLog, LakeError> {
        self.tables.get(table).ok_or_else(|| LakeError::UnknownTable { table: table.to_owned() })
    }

    /// Fails unless this is a writer whose commits all succeeded.
    fn check_writer(&self) -> Result<(), LakeError> {
        match (&self.lock, self.broken) {
            (None, _) => Err(LakeError::ReadHandle),
            (Some(_), true) => Err(LakeError::NeedsReopen),
            (Some(_), false) => Ok(()),
        }
    }
}

/// Returns a random 128-bit id in hexadecimal, grouped like a UUID.
pub(crate) fn random_id() -> String {
    // The keys of `RandomState` come from the system's random source; hashing nothing with two of them gives 128 bits of it.
    let word = || RandomState::new().hash_one(std::process::id());
    let (high, low) = (word(), word());
    format!(
        "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xfff,
        low >> 48 & 0xfff,
        low & 0xffff_ffff_ffff
    )
}

/// Writes bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
