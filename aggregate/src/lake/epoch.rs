//! The rows of one epoch on their way into data files, in bounded memory.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use serde_json::Value;
use sluice_schemas::Micros;
use sluice_schemas::commit::StagedFile;

use super::encode::{EncodedGroup, conform, encode_rows};
use super::file::FileBuilder;
use super::objects::Objects;
use super::{LakeError, random_id};

/// Rows of a table and date that make a row group.
const GROUP_ROWS: usize = 65_536;
/// Bytes of rows held before the largest heap of them is encoded.
const BUFFERED: usize = 96 << 20;
/// Encoded bytes held before all of them are handed to the storage.
const HELD: usize = 64 << 20;
/// Bytes of a file after which the next one is begun.
const FILE_BYTES: u64 = 256 << 20;

/// Rows of an epoch from which on its row groups are encoded on several threads.
const WORTH_THREADS: usize = 8_192;

/// Columns of each table; shared with the lake, which may gain tables while an epoch is being written.
pub(crate) type Schemas = Arc<RwLock<HashMap<String, SchemaRef>>>;

/// Collects the rows of an epoch by table and event date and encodes them as they come.
///
/// Dropping it without [`EpochWriter::seal`] deletes what it has written.
#[derive(Debug)]
pub struct EpochWriter {
    objects: Arc<dyn Objects>,
    epoch: u64,
    fence: u64,
    /// Number of this writer among those of the lake: two of one epoch never touch the same file.
    attempt: u64,
    schemas: Schemas,
    parts: BTreeMap<(String, i32), Part>,
    buffered: usize,
    held: usize,
    rows: BTreeMap<String, u64>,
}

/// Rows of one table and date.
#[derive(Debug)]
struct Part {
    /// Columns of the table when its first rows came; a column added since is null in them.
    schema: SchemaRef,
    pending: Vec<Vec<ArrayRef>>,
    pending_rows: usize,
    pending_bytes: usize,
    open: Option<FileBuilder>,
    done: Vec<StagedFile>,
}

/// The files of an epoch: written, durable, and not yet part of any table.
#[derive(Debug)]
pub struct SealedEpoch {
    pub(crate) epoch: u64,
    pub(crate) fence: u64,
    pub(crate) uuid: String,
    pub(crate) files: BTreeMap<String, Vec<StagedFile>>,
    pub(crate) enforcement: Option<Value>,
    pub(crate) evidence_settled: Option<(Micros, Micros)>,
}

impl SealedEpoch {
    /// Returns the epoch.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Returns the id that its manifest will carry: whoever finds it in the lake knows that this epoch was committed.
    #[must_use]
    pub fn uuid(&self) -> &str {
        &self.uuid
    }

    /// Has the manifest carry what enforcement must know again if local state is lost. Without it, it carries what the one before did.
    #[must_use]
    pub fn with_enforcement(mut self, enforcement: Value) -> Self {
        self.enforcement = Some(enforcement);
        self
    }

    /// Has the manifest say up to which moment of arrival evidence is settled, and from when the calls may be that the rest speaks of.
    /// Without it, it says what the one before did.
    #[must_use]
    pub const fn with_evidence_settled(mut self, settled: Micros, from: Micros) -> Self {
        self.evidence_settled = Some((settled, from));
        self
    }

    /// Takes in the files of another writer of the same epoch.
    ///
    /// # Errors
    /// It is of another epoch, or of another process's.
    pub fn join(mut self, other: Self) -> Result<Self, LakeError> {
        if (other.epoch, other.fence) != (self.epoch, self.fence) {
            return Err(LakeError::EpochOrder { last: self.epoch.saturating_sub(1), got: other.epoch });
        }
        for (table, files) in other.files {
            self.files.entry(table).or_default().extend(files);
        }
        self.enforcement = self.enforcement.or(other.enforcement);
        self.evidence_settled = self.evidence_settled.or(other.evidence_settled);
        Ok(self)
    }

    /// Returns the files by table.
    #[must_use]
    pub const fn files(&self) -> &BTreeMap<String, Vec<StagedFile>> {
        &self.files
    }
}

impl EpochWriter {
    pub(crate) fn new(objects: Arc<dyn Objects>, epoch: u64, fence: u64, attempt: u64, schemas: Schemas) -> Self {
        Self { objects, epoch, fence, attempt, schemas, parts: BTreeMap::new(), buffered: 0, held: 0, rows: BTreeMap::new() }
    }

    /// Returns the epoch.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Returns the rows of a table so far.
    #[must_use]
    pub fn rows(&self, table: &str) -> u64 {
        self.rows.get(table).copied().unwrap_or(0)
    }

    /// Tells whether nothing was appended.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Adds rows of one event date to a table.
    ///
    /// # Errors
    /// The rows do not fit the table, or the storage failed; drop the writer and begin the epoch again.
    pub fn append(&mut self, table: &str, dt: i32, batch: RecordBatch) -> Result<(), LakeError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let part = self.part(table, dt)?;
        let columns = conform(table, &part.schema, &batch)?;
        let bytes = row_bytes(&columns);
        part.pending.push(columns);
        part.pending_rows += batch.num_rows();
        part.pending_bytes += bytes;
        let full = part.pending_rows >= GROUP_ROWS;
        self.buffered += bytes;
        self.count(table, batch.num_rows() as u64);
        if full {
            self.encode(table, dt)?;
        }
        while self.buffered > BUFFERED {
            let largest = self.parts.iter().max_by_key(|(_, part)| part.pending_bytes).map(|(key, _)| key.clone());
            let Some((table, dt)) = largest else { break };
            self.encode(&table, dt)?;
        }
        Ok(())
    }

    /// Adds a row group that was encoded elsewhere.
    ///
    /// # Errors
    /// The storage failed; drop the writer and begin the epoch again.
    pub fn append_encoded(&mut self, group: EncodedGroup) -> Result<(), LakeError> {
        if group.rows() == 0 {
            return Ok(());
        }
        let table = group.table.clone();
        self.count(&table, group.rows());
        self.write(&table, group)
    }

    fn count(&mut self, table: &str, rows: u64) {
        *self.rows.entry(table.to_owned()).or_default() += rows;
    }

    fn part(&mut self, table: &str, dt: i32) -> Result<&mut Part, LakeError> {
        match self.parts.entry((table.to_owned(), dt)) {
            Entry::Occupied(part) => Ok(part.into_mut()),
            Entry::Vacant(place) => {
                let schemas = self.schemas.read().unwrap_or_else(PoisonError::into_inner);
                let schema = schemas.get(table).cloned().ok_or_else(|| LakeError::UnknownTable { table: table.to_owned() })?;
                let (pending, done) = (Vec::new(), Vec::new());
                Ok(place.insert(Part { schema, pending, pending_rows: 0, pending_bytes: 0, open: None, done }))
            }
        }
    }

    /// Encodes the pending rows of a table and date as a row group.
    fn encode(&mut self, table: &str, dt: i32) -> Result<(), LakeError> {
        let part = self.part(table, dt)?;
        let schema = Arc::clone(&part.schema);
        let pending = std::mem::take(&mut part.pending);
        part.pending_rows = 0;
        let bytes = std::mem::take(&mut part.pending_bytes);
        self.buffered -= bytes;
        if pending.is_empty() {
            return Ok(());
        }
        let group = encode_rows(table, dt, &schema, &pending)?;
        self.write(table, group)
    }

    fn take_pending(&mut self) -> Vec<Pending> {
        self.buffered = 0;
        let parts = self.parts.iter_mut().filter(|(_, part)| part.pending_rows > 0);
        let take = |((table, dt), part): (&(String, i32), &mut Part)| {
            let rows = std::mem::take(&mut part.pending_rows);
            part.pending_bytes = 0;
            Pending { table: table.clone(), dt: *dt, schema: Arc::clone(&part.schema), columns: std::mem::take(&mut part.pending), rows }
        };
        parts.map(take).collect()
    }

    fn write(&mut self, table: &str, group: EncodedGroup) -> Result<(), LakeError> {
        let (objects, epoch, fence, attempt) = (Arc::clone(&self.objects), self.epoch, self.fence, self.attempt);
        let dt = group.dt;
        let part = self.part(table, dt)?;
        // Rows that were encoded for other columns, before the table gained some, go into a file of their own.
        if let Some(other) = part.open.take_if(|file| file.schema() != &group.schema) {
            part.done.push(other.finish()?);
        }
        let mut file = match part.open.take() {
            Some(file) => file,
            None => {
                // The fence in the name keeps a writer that was overtaken from touching a file of its successor.
                let name = format!("e{epoch:012}-f{fence:06}-{attempt}-{}.parquet", part.done.len());
                FileBuilder::create(&objects, table, dt, &name, &group.schema)?
            }
        };
        let before = file.held();
        let appended = file.append(group);
        let (after, full) = (file.held(), file.bytes() >= FILE_BYTES);
        part.open = Some(file);
        appended?;
        if full && let Some(file) = part.open.take() {
            part.done.push(file.finish()?);
        }
        self.held = (self.held + after).saturating_sub(before);
        if self.held > HELD { self.hand_over() } else { Ok(()) }
    }

    fn hand_over(&mut self) -> Result<(), LakeError> {
        self.held = 0;
        self.parts.values_mut().filter_map(|part| part.open.as_mut()).try_for_each(FileBuilder::hand_over)
    }

    /// Encodes what is left and makes every file durable.
    ///
    /// # Errors
    /// The storage failed; begin the epoch again.
    pub fn seal(mut self) -> Result<SealedEpoch, LakeError> {
        for group in encode_all(self.take_pending())? {
            self.write(&group.table.clone(), group)?;
        }
        for part in self.parts.values_mut() {
            if let Some(file) = part.open.take() {
                part.done.push(file.finish()?);
            }
        }
        let mut files: BTreeMap<String, Vec<StagedFile>> = BTreeMap::new();
        for ((table, _), part) in std::mem::take(&mut self.parts) {
            files.entry(table).or_default().extend(part.done);
        }
        Ok(SealedEpoch { epoch: self.epoch, uuid: random_id(), fence: self.fence, files, enforcement: None, evidence_settled: None })
    }
}

/// Rows of a table and date that are to become a row group.
struct Pending {
    table: String,
    dt: i32,
    schema: SchemaRef,
    columns: Vec<Vec<ArrayRef>>,
    rows: usize,
}

/// Encodes row groups, large epochs on every core.
fn encode_all(pending: Vec<Pending>) -> Result<Vec<EncodedGroup>, LakeError> {
    let encode = |part: &Pending| encode_rows(&part.table, part.dt, &part.schema, &part.columns);
    let rows: usize = pending.iter().map(|part| part.rows).sum();
    let threads = thread::available_parallelism().map_or(1, usize::from).min(pending.len());
    if rows < WORTH_THREADS || threads < 2 {
        return pending.iter().map(encode).collect();
    }
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some((at, part)) = Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| Some((at, pending.get(at)?))) {
            done.push((at, encode(part)));
        }
        done
    };
    let mut groups: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    groups.sort_unstable_by_key(|(at, _)| *at);
    groups.into_iter().map(|(_, group)| group).collect()
}

impl Drop for EpochWriter {
    fn drop(&mut self) {
        for ((table, _), part) in &self.parts {
            let paths = part.done.iter().map(|file| file.path.as_str()).chain(part.open.iter().map(FileBuilder::path));
            for path in paths {
                let path = format!("{table}/{path}");
                if let Err(error) = self.objects.delete(&path) {
                    tracing::warn!(path, %error, "file of an abandoned epoch could not be deleted");
                }
            }
        }
    }
}

/// Estimates the memory of rows. Keys of dictionary columns are shared between them, so they count once.
fn row_bytes(columns: &[ArrayRef]) -> usize {
    let mut keys = 0;
    let mut bytes = 0;
    for column in columns {
        if let DataType::Dictionary(..) = column.data_type() {
            keys = column.len() * 4;
            bytes += column.as_any_dictionary().values().get_array_memory_size();
        } else {
            bytes += column.get_array_memory_size();
        }
    }
    bytes + keys
}
