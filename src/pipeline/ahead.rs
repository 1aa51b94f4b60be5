//! Counters that are ahead of the lake: late evidence moves the cost of calls that came lately in budgets and the live view at once, and
//! files follow (`settle`).
//!
//! Which calls those are, and whose, is written in the local commit of the counters. A correction of the lake takes the calls it corrects
//! out in its own, and takes back from their counters what these have. A process that starts undoes what the one before had moved and not
//! corrected: counters agree with the lake again, and everything that is filled from it with both; then the evidence moves it again.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::Context;
use arrow::array::RecordBatch;
use hashbrown::{HashMap, HashSet};
use serde::{Deserialize, Serialize};
use sluice_aggregate::correct::{Moved, NewOwner, StoredCall};
use sluice_aggregate::dedup::stored_key;
use sluice_aggregate::known::for_each_row;
use sluice_aggregate::store::LocalWrite;
use sluice_enrich::evidence::Touched;
use sluice_schemas::time::MINUTE;
use sluice_schemas::{Micros, tables};

use super::evidence_queue::Queue;
use super::settle::{REST, new_owner};
use super::{Mode, Pipeline};

/// Bytes of calls that are kept for evidence that comes late; before the first evidence there may never be any.
const RECENT_BYTES: usize = 64 << 20;
const RECENT_BYTES_BEFORE: usize = 8 << 20;
/// Calls that counters may be ahead with.
const CALLS_MAX: usize = 500_000;

/// What is stored of a call.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Entry {
    at: Micros,
    owner: NewOwner,
}

/// Calls that counters have under another owner than the lake, by key.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    calls: HashMap<u128, Entry>,
    /// Those that changed since the last local commit.
    dirty: HashSet<u128>,
    /// When counters followed evidence last, and how long they have rest.
    rested: Option<(Instant, Duration)>,
}

impl Ahead {
    /// Returns whose a call is by the counters; `None` if the lake has it so, too.
    pub(super) fn owner_of(&self, key: u128) -> Option<&NewOwner> {
        self.calls.get(&key).map(|entry| &entry.owner)
    }

    /// Notes that the lake has calls as counters do.
    pub(super) fn caught_up(&mut self, keys: &[u128]) {
        self.dirty.extend(keys.iter().filter(|key| self.calls.remove(*key).is_some()));
    }

    fn note(&mut self, key: u128, entry: Entry) {
        self.dirty.insert(key);
        self.calls.insert(key, entry);
    }

    pub(super) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Tells whether counters may follow evidence again.
    pub(super) fn rested(&self) -> bool {
        self.rested.is_none_or(|(since, pause)| since.elapsed() >= pause)
    }

    /// Gives counters rest.
    pub(super) fn rest_for(&mut self, pause: Duration) {
        self.rested = Some((Instant::now(), pause));
    }

    /// Returns what changed, for the commit that makes the counters' change true.
    pub(super) fn take_dirty(&mut self) -> anyhow::Result<Vec<(u128, Option<Vec<u8>>)>> {
        let row = |key: u128| {
            let entry = self.calls.get(&key).map(serde_json::to_vec).transpose();
            entry.map(|entry| (key, entry)).context("write whose a call is")
        };
        std::mem::take(&mut self.dirty).into_iter().map(row).collect()
    }
}

impl Pipeline {
    /// Keeps new rows of `calls` for evidence that comes late.
    pub(super) fn keep_recent(&mut self, table: &str, rows: &RecordBatch) -> anyhow::Result<()> {
        if table == tables::CALLS && self.settings.config.cloudtrail.join {
            let bytes_max = if self.join.is_used() { RECENT_BYTES } else { RECENT_BYTES_BEFORE };
            self.recent.push(rows, bytes_max)?;
        }
        Ok(())
    }

    /// Lets counters follow evidence about calls that came lately.
    pub(super) fn move_ahead(&mut self, queue: &Queue) -> anyhow::Result<()> {
        let begun = Instant::now();
        let found = self.recent.spoken_of(queue);
        if self.settings.mode == Mode::Bulk || found.is_empty() || self.ahead.calls.len() > CALLS_MAX {
            return Ok(());
        }
        self.join.evidence.use_more();
        let enricher = self.enricher();
        let (lake, join, mut failed, mut moves) = (&self.lake, &mut self.join, None, Vec::new());
        let mut owner_of = |call: &StoredCall<'_>| match new_owner(queue, join, lake, &enricher, call) {
            Ok(None) => None,
            Ok(Some((key, owner))) => {
                if call.is_of_another(&owner) {
                    moves.push((key, Entry { at: call.event_time, owner: owner.clone() }));
                }
                Some(owner)
            }
            Err(error) => {
                failed = failed.take().or(Some(error));
                None
            }
        };
        let mut moved = Moved::default();
        for (batch, rows) in &found {
            moved.add(batch, rows, &mut owner_of)?;
        }
        if let Some(error) = failed {
            return Err(error).context("evidence of calls that came lately");
        }
        self.join.evidence.evict();
        for rows in &moved.rows {
            self.recent.push(rows, RECENT_BYTES)?;
        }
        for (key, entry) in moves {
            self.ahead.note(key, entry);
        }
        let calls = moved.calls;
        let (before, after) = moved.spend();
        self.count_again(&before, &after, self.settings.clock.now())?;
        self.note_moved(calls);
        self.ahead.rest_for(begun.elapsed() * REST);
        Ok(())
    }

    /// Takes back what an earlier process moved and did not correct in the lake, and puts those calls into the queue; `false` if they are
    /// not all there, so that counters have to be made again.
    pub(super) fn undo_ahead(&mut self, stored: Vec<(u128, Vec<u8>)>) -> anyhow::Result<bool> {
        if stored.is_empty() {
            return Ok(true);
        }
        let mut ahead: HashMap<u128, Entry> = HashMap::new();
        for (key, entry) in &stored {
            match serde_json::from_slice(entry) {
                Ok(entry) => ahead.insert(*key, entry),
                Err(error) => {
                    tracing::warn!(%error, "local state does not tell whose a call is");
                    return Ok(false);
                }
            };
        }
        let mut missing: HashSet<u128> = ahead.keys().copied().collect();
        let mut moved = Moved::default();
        let mut owner_of = |call: &StoredCall<'_>| {
            let entry = ahead.get(&stored_key(call.account_id, call.region, call.request_id));
            entry.map(|entry| entry.owner.clone())
        };
        let mut add = |batch: &RecordBatch| -> anyhow::Result<()> {
            let mut rows = Vec::new();
            for_each_row(batch, |row, _, key| rows.extend(missing.remove(&key).then_some(row)))?;
            if rows.is_empty() { Ok(()) } else { Ok(moved.add(batch, &rows, &mut owner_of)?) }
        };
        let minutes: BTreeSet<i64> = ahead.values().map(|entry| entry.at.0.div_euclid(MINUTE)).collect();
        let holds = |(min, max): (Micros, Micros)| minutes.range(min.0.div_euclid(MINUTE)..=max.0.div_euclid(MINUTE)).next().is_some();
        for file in self.lake.files(tables::CALLS)?.into_iter().filter(|file| file.time.is_none_or(holds)) {
            for batch in self.lake.read(tables::CALLS, &file, None)? {
                add(&batch?)?;
            }
        }
        for (_, _, batch) in self.pending.iter().filter(|(table, ..)| table == tables::CALLS) {
            add(batch)?;
        }
        if !missing.is_empty() {
            tracing::warn!(calls = missing.len(), "calls that local state names are neither in it nor in the lake");
            return Ok(false);
        }
        let (stored_spend, moved_spend) = moved.spend();
        self.ledger.undo(moved_spend.view(), stored_spend.view());
        let write = LocalWrite {
            base: self.base.clone(),
            ledger: self.ledger.take_dirty(),
            ahead: stored.iter().map(|(key, _)| (*key, None)).collect(),
            ..LocalWrite::default()
        };
        self.local.commit(&write)?;
        let settled = self.lake.state().evidence_settled;
        for (key, entry) in ahead {
            self.join.settling.add(Touched::Request(key, entry.at), settled, self.join.turns);
        }
        Ok(true)
    }

    /// Where there are holds, settles what an earlier process was not done with before anything looks at them: they may rest on it.
    pub(super) fn settle_before_holds(&mut self) -> anyhow::Result<()> {
        if self.settings.mode == Mode::Live && self.settings.act && !self.shared.holds()?.is_empty() {
            self.settle_all()?;
        }
        Ok(())
    }
}
