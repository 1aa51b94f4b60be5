//! State of one table at one version of its log.

use std::collections::BTreeMap;

use super::LakeError;
use super::action::{Add, EPOCH_APP, FENCE_APP, Line, MetaData, Protocol, Remove, Txn};

/// Highest reader protocol this program knows.
pub(crate) const READER_VERSION: i32 = 1;
/// Highest writer protocol this program knows.
pub(crate) const WRITER_VERSION: i32 = 2;

/// What the entries of a log up to a version add up to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Snapshot {
    /// The last entry in it; -1 before the first.
    pub(crate) version: i64,
    pub(crate) protocol: Option<Protocol>,
    pub(crate) meta_data: Option<MetaData>,
    pub(crate) txns: BTreeMap<String, Txn>,
    /// Files of the table by their path as it stands in the log.
    pub(crate) files: BTreeMap<String, Add>,
    /// Files taken out of the table that may still be on disk for readers of older versions.
    pub(crate) tombstones: BTreeMap<String, Remove>,
}

impl Default for Snapshot {
    fn default() -> Self {
        Self { version: -1, protocol: None, meta_data: None, txns: BTreeMap::new(), files: BTreeMap::new(), tombstones: BTreeMap::new() }
    }
}

impl Snapshot {
    /// Adds the entry of the next version.
    pub(crate) fn apply(&mut self, table: &str, version: i64, lines: &[Line]) -> Result<(), LakeError> {
        // Within one entry a file is never both added and removed, so the order of the lines does not matter.
        for line in lines {
            if let Some(protocol) = &line.protocol {
                check_protocol(table, protocol)?;
                self.protocol = Some(protocol.clone());
            }
            if let Some(meta_data) = &line.meta_data {
                self.meta_data = Some(meta_data.clone());
            }
            if let Some(txn) = &line.txn {
                self.txns.insert(txn.app_id.clone(), txn.clone());
            }
            if let Some(add) = &line.add {
                self.tombstones.remove(&add.path);
                self.files.insert(add.path.clone(), add.clone());
            }
            if let Some(remove) = &line.remove {
                self.files.remove(&remove.path);
                self.tombstones.insert(remove.path.clone(), remove.clone());
            }
        }
        self.version = version;
        Ok(())
    }

    /// Returns the lines that alone build this state: the content of a checkpoint.
    pub(crate) fn lines(&self) -> Vec<Line> {
        let mut lines = Vec::with_capacity(self.files.len() + self.tombstones.len() + self.txns.len() + 2);
        lines.push(Line { protocol: self.protocol.clone(), ..Line::default() });
        lines.push(Line { meta_data: self.meta_data.clone(), ..Line::default() });
        lines.extend(self.txns.values().map(|txn| Line { txn: Some(txn.clone()), ..Line::default() }));
        lines.extend(self.files.values().map(|add| Line::add(Add { data_change: false, ..add.clone() })));
        lines.extend(self.tombstones.values().map(|remove| Line::remove(Remove { data_change: false, ..remove.clone() })));
        lines
    }

    /// Returns the last epoch in this table; 0 for none.
    pub(crate) fn epoch(&self) -> u64 {
        self.app_version(EPOCH_APP)
    }

    /// Returns the fence of the last writer that took over; 0 for none.
    pub(crate) fn fence(&self) -> u64 {
        self.app_version(FENCE_APP)
    }

    fn app_version(&self, app: &str) -> u64 {
        self.txns.get(app).and_then(|txn| u64::try_from(txn.version).ok()).unwrap_or(0)
    }
}

fn check_protocol(table: &str, protocol: &Protocol) -> Result<(), LakeError> {
    if protocol.min_reader_version <= READER_VERSION && protocol.min_writer_version <= WRITER_VERSION {
        return Ok(());
    }
    let needs = format!("Delta reader version {} and writer version {}", protocol.min_reader_version, protocol.min_writer_version);
    Err(LakeError::Unsupported { table: table.to_owned(), needs })
}
