//! Positions of files that are not where they were read: gone for now, renamed, or overwritten by another file.
//!
//! A file that was renamed, by a log rotation or because a whole tree was moved, is known by its content and read on from where
//! it was left, not from its start.

use std::collections::HashMap;
use std::path::Path;

use sluice_schemas::position::{Position, Positions, ShardId};

use super::identity::Identity;

const PREFIX: &str = "file:";

/// Returns the shard of a file: `file:` and its absolute path without symbolic links.
///
/// An absolute path is unique in a ledger, whatever roots a run is given and however they overlap; a tree that moves is
/// recognised by content. A name that is not UTF-8 is escaped, so that no two files share a shard.
pub(super) fn shard_of(path: &Path) -> ShardId {
    let text = path.to_str().map_or_else(|| path.as_os_str().as_encoded_bytes().escape_ascii().to_string(), str::to_owned);
    let text = if std::path::MAIN_SEPARATOR == '/' { text } else { text.replace(std::path::MAIN_SEPARATOR, "/") };
    format!("{PREFIX}{text}")
}

/// Positions whose file is elsewhere or gone.
#[derive(Debug, Default)]
pub(super) struct Past {
    absent: Positions,
    orphans: HashMap<String, (ShardId, Position)>,
}

impl Past {
    /// Keeps the positions of files among `start`.
    pub(super) fn new(start: &Positions) -> Self {
        let absent = start.iter().filter(|(shard, _)| shard.starts_with(PREFIX));
        Self { absent: absent.map(|(shard, position)| (shard.clone(), position.clone())).collect(), orphans: HashMap::new() }
    }

    /// Returns how far a file that has come into sight was read.
    pub(super) fn take(&mut self, shard: &str) -> Option<Position> {
        self.absent.remove(shard)
    }

    /// Offers the positions of all absent files to files of other names.
    pub(super) fn offer_absent(&mut self) {
        let absent: Vec<_> = self.absent.iter().map(|(shard, position)| (shard.clone(), position.clone())).collect();
        absent.into_iter().for_each(|(shard, position)| self.offer(shard, position));
    }

    /// Keeps the position of a file that is gone, and offers it.
    pub(super) fn lose(&mut self, shard: ShardId, position: Position) {
        self.absent.insert(shard.clone(), position.clone());
        self.offer(shard, position);
    }

    /// Offers the position of a file whose name now stands for another.
    pub(super) fn offer(&mut self, shard: ShardId, position: Position) {
        if let Ok(identity) = position.identity.parse::<Identity>() {
            self.orphans.insert(identity.key(), (shard, position));
        }
    }

    /// Returns how far the content of a new file was read under a former name in the same folder, or under the same name in a
    /// former folder. Such a position is given once.
    pub(super) fn adopt(&mut self, shard: &str, identity: &Identity) -> Option<Position> {
        let key = identity.key();
        let (former, _) = self.orphans.get(&key)?;
        let ((folder, name), (former_folder, former_name)) = (shard.rsplit_once('/')?, former.rsplit_once('/')?);
        // Its own former position is of no use: the file was cut and begun again with the same bytes.
        if former == shard || (folder != former_folder && name != former_name) {
            return None;
        }
        self.orphans.remove(&key).map(|(_, position)| position)
    }
}
