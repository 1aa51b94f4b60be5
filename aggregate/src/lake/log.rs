//! The log of one table: reading it, adding an entry to it, checkpoints and cleaning.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};

use super::action::{Format, Line, MetaData, Protocol, Signature, parse_lines, write_lines};
use super::checkpoint::{self, LastCheckpoint};
use super::columns;
use super::objects::{Objects, Put};
use super::snapshot::{READER_VERSION, Snapshot, WRITER_VERSION};
use super::{LakeError, random_id};

/// Entries between two checkpoints.
const CHECKPOINT_EVERY: i64 = 50;
/// Entries that are kept although a checkpoint covers them: the recovery horizon.
pub(crate) const KEEP_ENTRIES: i64 = 200;

/// A table's log and the state its entries add up to.
#[derive(Debug)]
pub(crate) struct TableLog {
    objects: Arc<dyn Objects>,
    pub(crate) table: String,
    pub(crate) snapshot: Snapshot,
    /// Columns of the table's files.
    pub(crate) schema: SchemaRef,
    /// Version of the newest checkpoint, 0 for none.
    checkpointed: i64,
}

impl TableLog {
    /// Returns the log of a table without rows that is not there yet.
    pub(crate) fn absent(objects: &Arc<dyn Objects>, table: &str, schema: SchemaRef) -> Self {
        Self { objects: Arc::clone(objects), table: table.to_owned(), snapshot: Snapshot::default(), schema, checkpointed: 0 }
    }

    /// Reads the log of a table; `None` if there is no such table.
    pub(crate) fn open(objects: &Arc<dyn Objects>, table: &str) -> Result<Option<Self>, LakeError> {
        let mut log = Self::absent(objects, table, Arc::new(Schema::empty()));
        log.load_checkpoint()?;
        log.catch_up(|_| Ok(()))?;
        if log.snapshot.version < 0 {
            return Ok(None);
        }
        let meta_data = log.snapshot.meta_data.as_ref().ok_or_else(|| LakeError::corrupt(log.folder(), "no metaData in the log"))?;
        log.schema = columns::from_delta(table, &meta_data.schema_string)?;
        Ok(Some(log))
    }

    /// Creates a table with its first entry, unless another program does so at the same time.
    pub(crate) fn create(objects: &Arc<dyn Objects>, table: &str, schema: &SchemaRef, now_ms: i64) -> Result<Self, LakeError> {
        let signature = Signature { uuid: random_id(), ..Signature::default() };
        let protocol = Protocol { min_reader_version: READER_VERSION, min_writer_version: WRITER_VERSION };
        let meta_data = MetaData {
            id: random_id(),
            name: Some(table.to_owned()),
            format: Format { provider: "parquet".to_owned(), options: Default::default() },
            schema_string: columns::to_delta(schema),
            partition_columns: vec![sluice_schemas::tables::PARTITION.to_owned()],
            configuration: Default::default(),
            created_time: Some(now_ms),
        };
        let lines = [
            Line::info("CREATE TABLE", &[], signature, now_ms),
            Line { protocol: Some(protocol), ..Line::default() },
            Line { meta_data: Some(meta_data), ..Line::default() },
        ];
        let path = entry_path(table, 0);
        objects.put_if_absent(&path, &encode(&lines, &path)?)?;
        Self::open(objects, table)?.ok_or_else(|| LakeError::corrupt(path, "the table was created and is gone"))
    }

    fn folder(&self) -> String {
        log_folder(&self.table)
    }

    /// Starts from the newest checkpoint that can be read, if there is one.
    fn load_checkpoint(&mut self) -> Result<(), LakeError> {
        let pointer = format!("{}/_last_checkpoint", self.folder());
        let Some(bytes) = self.objects.get(&pointer)? else {
            return Ok(());
        };
        let last: LastCheckpoint = serde_json::from_slice(&bytes).map_err(|error| LakeError::corrupt(&pointer, error))?;
        // Written in parts by another engine, or deleted: start from another one, or from the first entry.
        let version = match last.parts {
            None if self.objects.size(&self.checkpoint_path(last.version))?.is_some() => Some(last.version),
            _ => self.listed_checkpoints()?.last().copied(),
        };
        let Some(version) = version else {
            return Ok(());
        };
        let path = self.checkpoint_path(version);
        let bytes = self.objects.get(&path)?.ok_or_else(|| LakeError::corrupt(&path, "deleted while it was read"))?;
        let lines = checkpoint::read(bytes, &path)?;
        self.snapshot.apply(&self.table, version, &lines)?;
        self.checkpointed = version;
        Ok(())
    }

    fn listed_checkpoints(&self) -> Result<Vec<i64>, LakeError> {
        let entries = self.objects.list(&self.folder())?;
        let version = |name: &str| name.strip_suffix(".checkpoint.parquet").filter(|digits| digits.len() == 20)?.parse().ok();
        Ok(entries.iter().filter_map(|entry| version(&entry.name)).collect())
    }

    /// Reads what was added to the log since, asking `judge` about each entry.
    pub(crate) fn catch_up(&mut self, judge: impl Fn(&[Line]) -> Result<(), LakeError>) -> Result<(), LakeError> {
        while let Some(lines) = self.read_entry(self.snapshot.version + 1)? {
            judge(&lines)?;
            self.apply(&lines)?;
        }
        Ok(())
    }

    /// Returns the lines of an entry; `None` if it does not exist.
    pub(crate) fn read_entry(&self, version: i64) -> Result<Option<Vec<Line>>, LakeError> {
        let path = entry_path(&self.table, version);
        let Some(bytes) = self.objects.get(&path)? else {
            return Ok(None);
        };
        parse_lines(&bytes).map(Some).map_err(|error| LakeError::corrupt(&path, error))
    }

    /// Fails if the log has entries beyond a missing one: adding to it would bring back a state that was overtaken.
    pub(crate) fn check_complete(&self) -> Result<(), LakeError> {
        let entries = self.objects.list(&self.folder())?;
        let version = |name: &str| name.strip_suffix(".json").filter(|digits| digits.len() == 20)?.parse::<i64>().ok();
        match entries.iter().filter_map(|entry| version(&entry.name)).max() {
            Some(last) if last > self.snapshot.version => {
                Err(LakeError::corrupt(entry_path(&self.table, self.snapshot.version + 1), format!("missing, but entry {last} exists")))
            }
            _ => Ok(()),
        }
    }

    /// Adds an entry at the next free version. An entry found there is either `own`, which makes this a success, or is handed to `judge`
    /// and stepped over.
    pub(crate) fn commit(
        &mut self,
        lines: &[Line],
        own: &Signature,
        judge: impl Fn(&[Line]) -> Result<(), LakeError>,
    ) -> Result<(), LakeError> {
        let bytes = encode(lines, &self.folder())?;
        loop {
            let version = self.snapshot.version + 1;
            let path = entry_path(&self.table, version);
            if self.objects.put_if_absent(&path, &bytes)? == Put::Created {
                break self.apply(lines);
            }
            let found = self.read_entry(version)?.ok_or_else(|| LakeError::corrupt(&path, "deleted while it was read"))?;
            if signature(&found).is_some_and(|theirs| theirs.uuid == own.uuid) {
                break self.apply(lines);
            }
            judge(&found)?;
            self.refuse_redefinition(&found)?;
            self.apply(&found)?;
        }
    }

    /// Another program may add and rearrange rows, but a table redefined under a running writer would take rows that do not fit.
    fn refuse_redefinition(&self, lines: &[Line]) -> Result<(), LakeError> {
        if lines.iter().any(|line| line.meta_data.is_some()) {
            let needs = "its new columns or settings, made by another program while this one was writing".to_owned();
            return Err(LakeError::Unsupported { table: self.table.clone(), needs });
        }
        Ok(())
    }

    fn apply(&mut self, lines: &[Line]) -> Result<(), LakeError> {
        self.snapshot.apply(&self.table, self.snapshot.version + 1, lines)
    }

    /// Lets the table take rows of `wanted`, adding columns where it lacks them.
    pub(crate) fn widen(&mut self, wanted: &SchemaRef, now_ms: i64) -> Result<(), LakeError> {
        let columns::Fit::Widen(wide) = columns::fit(&self.table, &self.schema, wanted)? else {
            return Ok(());
        };
        let Some(meta_data) = &self.snapshot.meta_data else {
            return Err(LakeError::corrupt(self.folder(), "no metaData in the log"));
        };
        let meta_data = MetaData { schema_string: columns::to_delta(&wide), ..meta_data.clone() };
        let signature = Signature { uuid: random_id(), ..Signature::default() };
        let lines = [Line::info("ADD COLUMNS", &[], signature.clone(), now_ms), Line { meta_data: Some(meta_data), ..Line::default() }];
        self.commit(&lines, &signature, |_| Ok(()))?;
        self.schema = wide;
        Ok(())
    }

    /// Writes a checkpoint if one is due, and deletes what no reader and no recovery needs any more.
    pub(crate) fn maintain(&mut self) -> Result<(), LakeError> {
        let version = self.snapshot.version;
        if version - self.checkpointed < CHECKPOINT_EVERY {
            return Ok(());
        }
        let path = self.checkpoint_path(version);
        let (bytes, actions) = checkpoint::write(&self.snapshot, &path)?;
        self.objects.put(&path, &bytes)?;
        let last = LastCheckpoint { version, size: i64::try_from(actions).unwrap_or(i64::MAX), parts: None };
        let pointer = format!("{}/_last_checkpoint", self.folder());
        let bytes = serde_json::to_vec(&last).map_err(|error| LakeError::corrupt(&pointer, error))?;
        self.objects.put(&pointer, &bytes)?;
        self.checkpointed = version;
        self.clean()
    }

    /// Deletes entries and checkpoints before the newest checkpoint that lies beyond the recovery horizon.
    fn clean(&self) -> Result<(), LakeError> {
        let horizon = self.snapshot.version - KEEP_ENTRIES;
        let Some(first) = self.listed_checkpoints()?.into_iter().rfind(|version| *version <= horizon) else {
            return Ok(());
        };
        for entry in self.objects.list(&self.folder())? {
            let version = entry.name.get(..20).and_then(|digits| digits.parse::<i64>().ok());
            if version.is_some_and(|version| version < first) {
                self.objects.delete(&format!("{}/{}", self.folder(), entry.name))?;
            }
        }
        Ok(())
    }

    fn checkpoint_path(&self, version: i64) -> String {
        format!("{}/{version:020}.checkpoint.parquet", self.folder())
    }
}

/// Returns the folder of a table's log.
pub(crate) fn log_folder(table: &str) -> String {
    format!("{table}/_delta_log")
}

/// Returns the path of a log entry.
pub(crate) fn entry_path(table: &str, version: i64) -> String {
    format!("{table}/_delta_log/{version:020}.json")
}

/// Returns what this program wrote into an entry to recognise it; `None` for an entry of another program.
pub(crate) fn signature(lines: &[Line]) -> Option<&Signature> {
    lines.iter().find_map(|line| line.commit_info.as_ref()?.sluice.as_ref())
}

fn encode(lines: &[Line], path: &str) -> Result<Vec<u8>, LakeError> {
    write_lines(lines).map_err(|error| LakeError::corrupt(path, error))
}
