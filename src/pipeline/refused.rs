//! The refused records that have their row: asked where the place of a record upstream does not tell whether it came before.
//!
//! That is seldom: a Lambda function that hands a batch in again, or out of turn. The lake is read once then, and what it held is
//! kept in memory under a bound, with what was added since.

use std::collections::VecDeque;

use hashbrown::HashSet;
use sluice_aggregate::known::{KnownError, for_each_refused, refused_key, refused_keys};
use sluice_aggregate::lake::Lake;
use sluice_aggregate::store::segment::Rows;
use sluice_schemas::{Rejected, tables};

/// Keys kept in memory; beyond them the lake is read again when it is needed.
const KEYS_MAX: usize = 1 << 20;

/// What is known of refused records.
#[derive(Debug, Default)]
pub(super) struct Refused {
    /// All there are, once they were asked for.
    all: Option<HashSet<u128>>,
    /// Those that may not be in the lake yet, each with the number of its batch.
    recent: VecDeque<(u64, u128)>,
    /// Batches looked at so far.
    looked: u64,
    /// Epoch of the lake at the last look.
    epoch: u64,
    /// Batches that were part of every state at the last look.
    applied: u64,
}

impl Refused {
    /// Turns to the next batch; `applied` batches are part of every state.
    pub(super) fn turn(&mut self, epoch: u64, applied: u64) {
        if epoch != self.epoch {
            // Whatever was applied at the last look went into a commit since.
            while self.recent.front().is_some_and(|(number, _)| *number < self.applied) {
                self.recent.pop_front();
            }
        }
        (self.epoch, self.applied) = (epoch, applied);
        if self.all.as_ref().is_some_and(|all| all.len() > KEYS_MAX) {
            self.all = None;
        }
        self.looked += 1;
    }

    /// Looks for a batch; `pending` are rows that are not in the lake.
    pub(super) fn look<'a>(&'a mut self, lake: &'a Lake, pending: &'a [Rows]) -> Look<'a> {
        Look { refused: self, lake, pending }
    }
}

/// A look for one batch.
pub(super) struct Look<'a> {
    refused: &'a mut Refused,
    lake: &'a Lake,
    /// Rows of an earlier process that are not in the lake.
    pending: &'a [Rows],
}

impl sluice_ingest::admit::Refused for Look<'_> {
    type Error = KnownError;

    fn is_known(&mut self, shard: &str, rejected: &Rejected) -> Result<bool, KnownError> {
        let all = match self.refused.all.take() {
            Some(all) => all,
            None => {
                let mut all: HashSet<u128> = refused_keys(self.lake)?.into_iter().collect();
                for (_, _, rows) in self.pending.iter().filter(|(table, _, _)| table == tables::REJECTED) {
                    for_each_refused(rows, |key| {
                        all.insert(key);
                    })?;
                }
                all.extend(self.refused.recent.iter().map(|(_, key)| *key));
                all
            }
        };
        Ok(self.refused.all.insert(all).contains(&refused_key(shard, rejected)))
    }

    fn keep(&mut self, shard: &str, rejected: &Rejected) {
        let key = refused_key(shard, rejected);
        self.refused.recent.push_back((self.refused.looked - 1, key));
        if let Some(all) = &mut self.refused.all {
            all.insert(key);
        }
    }
}
