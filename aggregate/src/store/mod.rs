//! Local state: one redb transaction an epoch, so that positions, pending facts, budget counters and due actions advance together.
//!
//! Owns: the file, its tables, their codecs. Does not own: what the rows of the ledger mean.
//! The file is a cache: lost or out of step with the lake, it is rebuilt from the lake and the source ([`recovery`]).

pub mod recovery;
pub mod segment;

use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};
use sluice_schemas::position::{Position, Positions};
use sluice_schemas::{ErrorClass, Micros, ShardId};

const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
const POSITIONS: TableDefinition<&str, &[u8]> = TableDefinition::new("positions");
const PENDING: TableDefinition<u64, &[u8]> = TableDefinition::new("pending");
const LEDGER: TableDefinition<&[u8], &[u8]> = TableDefinition::new("ledger");
const AHEAD: TableDefinition<u128, &[u8]> = TableDefinition::new("ahead");
const BASE: &str = "base";

/// A store operation that failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the file.
    #[error("local state {path} is in use by another sluice process; stop it, or give this one its own --lake")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file's content contradicts itself.
    #[error("local state {path} is corrupt; it only caches what the lake holds: delete it and start again")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What was found.
        #[source]
        source: Box<redb::Error>,
    },
    /// A stored value does not decode.
    #[error("local state {path} holds an unreadable {what}; it only caches what the lake holds: delete it and start again")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Kind of value.
        what: &'static str,
    },
    /// The file system refused.
    #[error("local state {path} cannot be written; check free space and permissions")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: Box<redb::Error>,
    },
}

impl StoreError {
    /// Returns what the caller is to do.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::InUse { .. } | Self::Io { .. } => ErrorClass::Misconfigured,
            Self::Corrupt { .. } | Self::Unreadable { .. } => ErrorClass::Corrupt,
        }
    }
}

/// How local state relates to the lake.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// Last lake epoch whose facts are no longer pending here.
    pub lake_epoch: u64,
    /// Manifest id of that epoch; empty for epoch 0.
    pub lake_uuid: String,
    /// A lake commit that was begun and is not known to have ended.
    pub sealing: Option<Sealing>,
    /// Sequence of the next pending segment.
    pub next_segment: u64,
    /// Watermark.
    pub watermark: Micros,
    /// Number of the last commit, the epoch that effects wait for.
    #[serde(default)]
    pub commit: u64,
}

/// A lake commit under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealing {
    /// The epoch it publishes.
    pub epoch: u64,
    /// Its manifest id.
    pub uuid: String,
    /// First segment it does not hold.
    pub next_segment: u64,
}

/// What one local commit writes, all or nothing.
#[derive(Debug, Default)]
pub struct LocalWrite {
    /// Replaces the base.
    pub base: Base,
    /// Positions that moved.
    pub positions: Vec<(ShardId, Position)>,
    /// Shards whose position is forgotten.
    pub forgotten: Vec<ShardId>,
    /// A segment of facts not yet in the lake.
    pub segment: Option<(u64, Vec<u8>)>,
    /// Segments below this one are in the lake.
    pub drop_segments_below: Option<u64>,
    /// Changed rows of the ledger; `None` deletes.
    pub ledger: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// Calls whose move the counters are ahead of the lake with, by key; `None` where the lake has caught up.
    pub ahead: Vec<(u128, Option<Vec<u8>>)>,
}

/// Everything the file holds, read at start.
#[derive(Debug, Default)]
pub struct LocalState {
    /// How it relates to the lake.
    pub base: Base,
    /// Positions, pending segments included.
    pub positions: Positions,
    /// Facts not yet in the lake, oldest first.
    pub segments: Vec<(u64, Vec<u8>)>,
    /// Rows of the ledger.
    pub ledger: Vec<(Vec<u8>, Vec<u8>)>,
    /// Calls whose move the counters are ahead of the lake with, by key.
    pub ahead: Vec<(u128, Vec<u8>)>,
}

/// The open file.
#[derive(Debug)]
pub struct LocalStore {
    path: PathBuf,
    database: Database,
}

impl LocalStore {
    /// Opens or creates the file and reads it; `None` when it is new.
    ///
    /// # Errors
    /// In use, corrupt, or refused by the file system.
    pub fn open(path: &Path) -> Result<(Self, Option<LocalState>), StoreError> {
        let database = Database::create(path).map_err(|error| classify(path, error.into()))?;
        let store = Self { path: path.to_owned(), database };
        let state = store.read()?;
        Ok((store, state))
    }

    /// Writes one epoch, durable when this returns.
    ///
    /// # Errors
    /// Refused by the file system; nothing of the epoch is then visible.
    pub fn commit(&self, write: &LocalWrite) -> Result<(), StoreError> {
        self.try_commit(write).map_err(|error| classify(&self.path, error))
    }

    /// Deletes everything, to be made again from the lake.
    ///
    /// # Errors
    /// Refused by the file system.
    pub fn clear(&self) -> Result<(), StoreError> {
        self.try_clear().map_err(|error| classify(&self.path, error))
    }

    fn try_clear(&self) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        transaction.delete_table(META)?;
        transaction.delete_table(POSITIONS)?;
        transaction.delete_table(PENDING)?;
        transaction.delete_table(LEDGER)?;
        transaction.delete_table(AHEAD)?;
        transaction.commit()?;
        Ok(())
    }

    fn try_commit(&self, write: &LocalWrite) -> Result<(), redb::Error> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_quick_repair(true);
        {
            let mut positions = transaction.open_table(POSITIONS)?;
            for (shard, position) in &write.positions {
                positions.insert(shard.as_str(), encode(position).as_slice())?;
            }
            for shard in &write.forgotten {
                positions.remove(shard.as_str())?;
            }
            let mut pending = transaction.open_table(PENDING)?;
            if let Some((sequence, bytes)) = &write.segment {
                pending.insert(sequence, bytes.as_slice())?;
            }
            if let Some(below) = write.drop_segments_below {
                pending.retain_in(..below, |_, _| false)?;
            }
            let mut ledger = transaction.open_table(LEDGER)?;
            for (key, value) in &write.ledger {
                match value {
                    Some(value) => ledger.insert(key.as_slice(), value.as_slice())?,
                    None => ledger.remove(key.as_slice())?,
                };
            }
            if !write.ahead.is_empty() {
                let mut ahead = transaction.open_table(AHEAD)?;
                for (key, value) in &write.ahead {
                    match value {
                        Some(value) => ahead.insert(key, value.as_slice())?,
                        None => ahead.remove(key)?,
                    };
                }
            }
            transaction.open_table(META)?.insert(BASE, encode(&write.base).as_slice())?;
        }
        transaction.commit()?;
        Ok(())
    }

    fn read(&self) -> Result<Option<LocalState>, StoreError> {
        let failed = |error: redb::Error| classify(&self.path, error);
        let transaction = self.database.begin_read().map_err(|error| failed(error.into()))?;
        let meta = match transaction.open_table(META) {
            Ok(meta) => meta,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => return Err(failed(error.into())),
        };
        let Some(base) = meta.get(BASE).map_err(|error| failed(error.into()))? else {
            return Ok(None);
        };
        let mut state = LocalState { base: self.decode(base.value(), "base")?, ..LocalState::default() };
        let positions = transaction.open_table(POSITIONS).map_err(|error| failed(error.into()))?;
        for row in positions.iter().map_err(|error| failed(error.into()))? {
            let (shard, position) = row.map_err(|error| failed(error.into()))?;
            state.positions.insert(shard.value().to_owned(), self.decode(position.value(), "position")?);
        }
        let pending = transaction.open_table(PENDING).map_err(|error| failed(error.into()))?;
        for row in pending.iter().map_err(|error| failed(error.into()))? {
            let (sequence, bytes) = row.map_err(|error| failed(error.into()))?;
            state.segments.push((sequence.value(), bytes.value().to_vec()));
        }
        let ledger = transaction.open_table(LEDGER).map_err(|error| failed(error.into()))?;
        for row in ledger.iter().map_err(|error| failed(error.into()))? {
            let (key, value) = row.map_err(|error| failed(error.into()))?;
            state.ledger.push((key.value().to_vec(), value.value().to_vec()));
        }
        let ahead = match transaction.open_table(AHEAD) {
            Ok(ahead) => ahead,
            // As an earlier version made it, or nothing ever moved.
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Some(state)),
            Err(error) => return Err(failed(error.into())),
        };
        for row in ahead.iter().map_err(|error| failed(error.into()))? {
            let (key, value) = row.map_err(|error| failed(error.into()))?;
            state.ahead.push((key.value(), value.value().to_vec()));
        }
        Ok(Some(state))
    }

    fn decode<'a, T: Deserialize<'a>>(&self, bytes: &'a [u8], what: &'static str) -> Result<T, StoreError> {
        serde_json::from_slice(bytes).map_err(|_| StoreError::Unreadable { path: self.path.clone(), what })
    }
}

fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    // Structs of numbers, strings and options: serialising them to memory cannot fail.
    serde_json::to_vec(value).unwrap_or_default()
}

fn classify(path: &Path, error: redb::Error) -> StoreError {
    let path = path.to_owned();
    match error {
        redb::Error::DatabaseAlreadyOpen => StoreError::InUse { path },
        redb::Error::Io(ref io) if io.kind() != std::io::ErrorKind::InvalidData && io.kind() != std::io::ErrorKind::UnexpectedEof => {
            StoreError::Io { path, source: Box::new(error) }
        }
        redb::Error::PreviousIo => StoreError::Io { path, source: Box::new(error) },
        other => StoreError::Corrupt { path, source: Box::new(other) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_committed_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("local.redb");
        {
            let (store, state) = LocalStore::open(&path).unwrap();
            assert!(state.is_none());
            let write = LocalWrite {
                base: Base { next_segment: 2, ..Base::default() },
                positions: vec![("file:a".into(), Position { offset: 7, ..Position::default() })],
                segment: Some((1, vec![1, 2, 3])),
                ledger: vec![(b"k".to_vec(), Some(b"v".to_vec()))],
                ahead: vec![(7, Some(b"red".to_vec())), (8, Some(b"blue".to_vec()))],
                drop_segments_below: None,
                forgotten: Vec::new(),
            };
            store.commit(&write).unwrap();
            assert!(matches!(LocalStore::open(&path), Err(StoreError::InUse { .. })));
        }
        let (store, state) = LocalStore::open(&path).unwrap();
        let state = state.unwrap();
        assert_eq!(state.positions["file:a"].offset, 7);
        assert_eq!(state.segments, vec![(1, vec![1, 2, 3])]);
        assert_eq!(state.ledger, vec![(b"k".to_vec(), b"v".to_vec())]);
        assert_eq!(state.ahead, vec![(7, b"red".to_vec()), (8, b"blue".to_vec())]);
        let write = LocalWrite {
            base: state.base,
            drop_segments_below: Some(2),
            ledger: vec![(b"k".to_vec(), None)],
            ahead: vec![(7, None)],
            forgotten: vec!["file:a".into(), "file:never".into()],
            ..LocalWrite::default()
        };
        store.commit(&write).unwrap();
        let state = store.read().unwrap().unwrap();
        assert!(state.segments.is_empty() && state.ledger.is_empty() && state.positions.is_empty());
        assert_eq!(state.ahead, vec![(8, b"blue".to_vec())]);
        store.clear().unwrap();
        assert!(store.read().unwrap().is_none());
    }

    #[test]
    fn a_corrupt_file_is_named_and_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("local.redb");
        std::fs::write(&path, b"not a database at all, but long enough to be read as one").unwrap();
        let error = LocalStore::open(&path).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Corrupt);
        assert!(error.to_string().contains("delete it"), "{error}");
    }
}
