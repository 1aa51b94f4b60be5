//! Opening a lake: lock, fence and recovery for a writer, one consistent epoch for a reader.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use arrow::datatypes::Schema;
use serde_json::Value;
use sha2::{Digest, Sha256};
use sluice_schemas::commit::StagedFile;
use sluice_schemas::position::Positions;
use sluice_schemas::{Clock, Micros, tables};

use super::action::{FENCE_APP, Line, Signature};
use super::local::{TEMPORARY, take_lock};
use super::log::{TableLog, log_folder};
use super::objects::{Objects, WriterLock};
use super::place::{is_remote, objects_at};
use super::{Lake, LakeError, LakeState, columns, commit, hex, manifest, random_id};

/// Bytes of a staged file that are hashed at once.
const PIECE: u64 = 4 << 20;

impl Lake {
    /// Opens the lake in a folder or at an `s3://bucket/prefix` for writing, creating what is missing, and finishes the last epoch if a crash left it half-published.
    ///
    /// # Errors
    /// Another process writes to it, the storage failed, or what is stored contradicts itself.
    pub fn open_writer(root: &Path, clock: &dyn Clock) -> Result<Self, LakeError> {
        Self::open_writer_on(objects_at(root)?, clock)
    }

    /// Opens the lake on a storage for writing; see [`Lake::open_writer`].
    ///
    /// # Errors
    /// As for [`Lake::open_writer`].
    pub fn open_writer_on(objects: Arc<dyn Objects>, clock: &dyn Clock) -> Result<Self, LakeError> {
        let lock = objects.lock(&format!("{}/lock", manifest::FOLDER))?;
        let now_ms = commit::millis(clock.now());
        let mut logs = BTreeMap::new();
        for table in table_names(&objects)? {
            // Names written before a crash must outlive the next one before anything is built on them.
            objects.settle(&log_folder(&table))?;
            if let Some(log) = TableLog::open(&objects, &table)? {
                log.check_complete()?;
                logs.insert(table, log);
            }
        }
        for table in tables::ALL {
            let schema = tables::schema(table).unwrap_or_else(|| Arc::new(Schema::empty()));
            match logs.get_mut(table) {
                Some(log) => log.widen(&schema, now_ms)?,
                None => {
                    logs.insert(table.to_owned(), TableLog::create(&objects, table, &schema, now_ms)?);
                }
            }
        }
        if let Some(calls) = logs.get_mut(tables::CALLS) {
            claim_fence(calls, now_ms)?;
        }
        let mut lake = Self::assemble(objects, logs, Some(lock))?;
        lake.recover(now_ms)?;
        lake.sweep_temporaries()?;
        Ok(lake)
    }

    /// Takes the lock of a lake from another process that holds it and is silent, so that this one can open it and put its fence; `false`
    /// if nobody holds it. A lake in S3 has a fence alone.
    ///
    /// # Errors
    /// The storage failed.
    pub fn take_lock_from_other(root: &Path) -> Result<bool, LakeError> {
        if is_remote(root) { Ok(false) } else { take_lock(root, &format!("{}/lock", manifest::FOLDER)) }
    }

    /// Opens the lake in a folder or at an `s3://bucket/prefix` for reading: every table as of the same epoch, without a lock.
    ///
    /// # Errors
    /// There is no lake, the storage failed, or what is stored contradicts itself.
    pub fn open_reader(root: &Path) -> Result<Self, LakeError> {
        Self::open_reader_on(objects_at(root)?)
    }

    /// Opens the lake on a storage for reading; see [`Lake::open_reader`].
    ///
    /// # Errors
    /// As for [`Lake::open_reader`].
    pub fn open_reader_on(objects: Arc<dyn Objects>) -> Result<Self, LakeError> {
        let no_lake = || LakeError::NotALake { path: objects.locate("") };
        let mut calls = TableLog::open(&objects, tables::CALLS)?.ok_or_else(no_lake)?;
        let first = calls.snapshot.epoch();
        let mut logs = BTreeMap::new();
        for table in table_names(&objects)? {
            if table != tables::CALLS
                && let Some(log) = TableLog::open(&objects, &table)?
            {
                logs.insert(table, log);
            }
        }
        // A lake of an earlier version, or one that is just being created, lacks some.
        for table in tables::ALL.into_iter().filter(|table| *table != tables::CALLS) {
            if let Some(schema) = tables::schema(table).filter(|_| !logs.contains_key(table)) {
                logs.insert(table.to_owned(), TableLog::absent(&objects, table, schema));
            }
        }
        // The root last, so that no other table can be ahead of it. Before `first`, all of them were complete.
        calls.catch_up(|_| Ok(()))?;
        for epoch in first.max(1)..=calls.snapshot.epoch() {
            let manifest = manifest::read(&objects, &manifest::named_by(&objects, &calls, epoch)?)?;
            for (table, files) in manifest.files.iter().filter(|(table, _)| *table != tables::CALLS) {
                // Created since the tables were listed: whole by now, or missing this epoch like any other.
                if !logs.contains_key(table)
                    && let Some(log) = TableLog::open(&objects, table)?
                {
                    logs.insert(table.clone(), log);
                }
                let log = logs.get_mut(table).ok_or_else(|| LakeError::UnknownTable { table: table.clone() })?;
                if log.snapshot.epoch() < epoch {
                    let version = log.snapshot.version;
                    log.snapshot.apply(table, version, &commit::adds(files, 0))?;
                }
            }
        }
        logs.insert(tables::CALLS.to_owned(), calls);
        Self::assemble(objects, logs, None)
    }

    /// Reads the state from the last epoch's manifest.
    fn assemble(objects: Arc<dyn Objects>, logs: BTreeMap<String, TableLog>, lock: Option<WriterLock>) -> Result<Self, LakeError> {
        let calls = logs.get(tables::CALLS).ok_or_else(|| LakeError::NotALake { path: objects.locate("") })?;
        let (epoch, fence, version) = (calls.snapshot.epoch(), calls.snapshot.fence(), calls.snapshot.version);
        let mut state = LakeState {
            epoch,
            uuid: String::new(),
            fence,
            positions: Positions::new(),
            watermark: Micros::default(),
            enforcement: Value::Null,
            evidence_settled: Micros(0),
            evidence_from: Micros(0),
            version,
        };
        if epoch > 0 {
            let manifest = manifest::read(&objects, &manifest::named_by(&objects, calls, epoch)?)?;
            state.uuid = manifest.uuid;
            state.positions = manifest.positions;
            state.watermark = manifest.watermark;
            state.enforcement = manifest.enforcement;
            state.evidence_settled = manifest.evidence_settled;
            state.evidence_from = manifest.evidence_from;
        }
        let schemas = logs.iter().map(|(name, log)| (name.clone(), Arc::clone(&log.schema))).collect();
        Ok(Self { objects, tables: logs, schemas: Arc::new(RwLock::new(schemas)), state, lock, attempts: 0, broken: false })
    }

    /// Repeats the last step of the last epoch and forgets epochs that were never committed.
    fn recover(&mut self, now_ms: i64) -> Result<(), LakeError> {
        let epoch = self.state.epoch;
        manifest::forget_after(&self.objects, epoch)?;
        if epoch == 0 {
            return Ok(());
        }
        let calls = self.table(tables::CALLS)?;
        let named = manifest::named_by(&self.objects, calls, epoch)?;
        let manifest = manifest::read(&self.objects, &named)?;
        for (table, files) in manifest.files.iter().filter(|(table, _)| *table != tables::CALLS) {
            if self.table(table)?.snapshot.epoch() < epoch {
                for file in files {
                    self.verify(table, file)?;
                }
                tracing::info!(table, epoch, "finishing a commit that was cut short");
                self.commit_table(table, &manifest, &named, now_ms)?;
            }
        }
        Ok(())
    }

    /// Checks that a staged file is what its manifest says.
    fn verify(&self, table: &str, file: &StagedFile) -> Result<(), LakeError> {
        let path = format!("{table}/{}", file.path);
        let size = self.objects.size(&path)?.ok_or_else(|| LakeError::corrupt(&path, "missing, but its epoch is committed"))?;
        let mut hash = Sha256::new();
        let mut offset = 0;
        while offset < size {
            let length = PIECE.min(size - offset);
            hash.update(self.objects.get_range(&path, offset, usize::try_from(length).unwrap_or(usize::MAX))?);
            offset += length;
        }
        let sha256 = hex(&hash.finalize());
        if size != file.bytes || sha256 != file.sha256 {
            let detail = format!("{size} bytes of SHA-256 {sha256}, the manifest names {} of {}", file.bytes, file.sha256);
            return Err(LakeError::corrupt(&path, detail));
        }
        Ok(())
    }

    /// Deletes what a crash left between writing an object and giving it its name.
    fn sweep_temporaries(&self) -> Result<(), LakeError> {
        let logs = self.tables.keys().map(|table| log_folder(table));
        for folder in logs.chain([manifest::FOLDER.to_owned()]) {
            for entry in self.objects.list(&folder)?.iter().filter(|entry| entry.name.starts_with(TEMPORARY)) {
                self.objects.delete(&format!("{folder}/{}", entry.name))?;
            }
        }
        Ok(())
    }

    /// Adds a table for the rows of a window that the user declared; one that exists may gain columns.
    ///
    /// # Errors
    /// The name cannot be one, a column has another type in the lake, or the storage failed.
    pub fn create_table(&mut self, name: &str, schema: &Schema, now: Micros) -> Result<(), LakeError> {
        self.check_writer()?;
        if !is_table_name(name) {
            return Err(LakeError::TableName { name: name.to_owned() });
        }
        let schema = columns::plain(name, schema)?;
        let now_ms = commit::millis(now);
        let log = match self.tables.entry(name.to_owned()) {
            Entry::Occupied(log) => log.into_mut(),
            Entry::Vacant(place) => place.insert(TableLog::create(&self.objects, name, &schema, now_ms)?),
        };
        log.widen(&schema, now_ms)?;
        self.schemas.write().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), Arc::clone(&log.schema));
        Ok(())
    }
}

/// Takes over: whoever wrote before finds this entry where its next one would go.
fn claim_fence(calls: &mut TableLog, now_ms: i64) -> Result<(), LakeError> {
    loop {
        let fence = calls.snapshot.fence() + 1;
        let own = Signature { uuid: random_id(), fence, ..Signature::default() };
        let lines = [Line::info("TAKE OVER", &[], own.clone(), now_ms), Line::txn(FENCE_APP, fence, now_ms)];
        match calls.commit(&lines, &own, commit::not_taken_over(&own)) {
            // The other writer committed once more before it could notice: its epoch counts, and we queue up behind it.
            Err(LakeError::Fenced { .. }) => calls.catch_up(|_| Ok(()))?,
            other => return other,
        }
    }
}

fn is_table_name(name: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    name.len() <= 128 && name.starts_with(|first: char| first.is_ascii_lowercase()) && name.bytes().all(word)
}

/// Lists the folders that can be tables.
fn table_names(objects: &Arc<dyn Objects>) -> Result<Vec<String>, LakeError> {
    let entries = objects.list("")?;
    Ok(entries.into_iter().filter(|entry| entry.folder && is_table_name(&entry.name)).map(|entry| entry.name).collect())
}
