//! The snapshot the coordinator publishes about once a second; everything that is shown or exported is read from it.

use std::collections::BTreeMap;

use sluice_schemas::{Micros, PicoUsd};

use super::histogram::Histogram;
use crate::live::Counts;

/// Commits of one kind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Commits {
    /// How long each took.
    pub(crate) durations: Histogram,
    /// When the last one was done; none since the start.
    pub(crate) last: Option<Micros>,
    /// How long the last one took, in microseconds.
    pub(crate) last_micros: u64,
}

/// A shard of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ShardMeasure {
    /// Its name.
    pub(crate) shard: String,
    /// `reading`, `waiting`, `stopped` or `ended`.
    pub(crate) state: &'static str,
    /// Why it stopped.
    pub(crate) stopped: Option<String>,
    /// How long its next record has waited, as far as the stream tells.
    pub(crate) behind_ms: Option<u64>,
    /// Records behind its end, as far as the stream tells.
    pub(crate) behind_records: Option<u64>,
    /// Time until the stream drops its next record, as far as the stream tells.
    pub(crate) headroom_ms: Option<u64>,
    /// Offset it was applied to; streams with sequence numbers leave it at 0.
    pub(crate) offset: u64,
    /// Sequence number it was applied to; empty without one.
    pub(crate) sequence: String,
}

/// How far the source was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SourceMeasure {
    /// Files known.
    pub(crate) files_total: u64,
    /// Files read to their end.
    pub(crate) files_done: u64,
    /// Bytes of the files known, as stored.
    pub(crate) bytes_total: u64,
    /// Bytes read, as stored.
    pub(crate) bytes_done: u64,
    /// Shards of streams.
    pub(crate) shards: Vec<ShardMeasure>,
}

/// A budget counter near its limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BudgetMeasure {
    /// Name of the budget.
    pub(crate) budget: String,
    /// What the counter stands for.
    pub(crate) target: String,
    /// What counts against the limit.
    pub(crate) spent: PicoUsd,
    /// The limit.
    pub(crate) limit: PicoUsd,
    /// Thousandths of a percent of it.
    pub(crate) percent_millis: u64,
}

/// Everything the coordinator knows of itself at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measures {
    /// When it was taken.
    pub(crate) at: Micros,
    /// Records by what became of them, cost, bytes; since the start of the process, as are all sums here.
    pub(crate) counts: Counts,
    /// Rejected records by reason.
    pub(crate) rejected: BTreeMap<&'static str, u64>,
    /// From the arrival of a record's bytes until its spend is counted.
    pub(crate) applied: Histogram,
    /// From the arrival of a record's bytes until the local commit that holds it.
    pub(crate) committed: Histogram,
    /// Local commits.
    pub(crate) local: Commits,
    /// Lake commits.
    pub(crate) lake: Commits,
    /// Since when something waits for a lake commit.
    pub(crate) waiting_since: Option<Micros>,
    /// Last epoch of the lake.
    pub(crate) lake_epoch: u64,
    /// Fence of this process in the shared store.
    pub(crate) fence: u64,
    /// Event time up to which everything is expected to have come.
    pub(crate) watermark: Option<Micros>,
    /// Shards with a position, files included.
    pub(crate) positions: u64,
    /// Pieces read and not yet applied.
    pub(crate) in_flight: u64,
    /// Request ids in memory.
    pub(crate) dedup_keys: u64,
    /// Memory they take, about.
    pub(crate) dedup_bytes: u64,
    /// Agents of the live view.
    pub(crate) agents: u64,
    /// Sessions of the live view.
    pub(crate) sessions: u64,
    /// Crossings whose actions are under way.
    pub(crate) outbox_open: u64,
    /// When the oldest of them was seen.
    pub(crate) outbox_since: Option<Micros>,
    /// Actions by kind and how they ended.
    pub(crate) actions: BTreeMap<(&'static str, &'static str), u64>,
    /// Thresholds crossed.
    pub(crate) breaches: u64,
    /// Holds that let more through than was stated.
    pub(crate) overshot: u64,
    /// Budget counters in memory and in the store alone.
    pub(crate) budget_counters: (u64, u64),
    /// Budgets that wait for a person's word before they act.
    pub(crate) unconfirmed_budgets: u64,
    /// Counters nearest to their limits, at most [`BUDGETS_MAX`].
    pub(crate) budgets: Vec<BudgetMeasure>,
    /// How far the source was read.
    pub(crate) source: SourceMeasure,
}

/// Budget counters that are measured by name.
pub(crate) const BUDGETS_MAX: usize = 20;
/// Shards that are measured by name, those most behind first.
pub(crate) const SHARDS_MAX: usize = 100;

impl SourceMeasure {
    /// Returns the shards worth naming: stopped ones, then those most behind.
    pub(crate) fn named(&self) -> Vec<&ShardMeasure> {
        let mut shards: Vec<&ShardMeasure> = self.shards.iter().collect();
        shards.sort_by_key(|shard| (shard.stopped.is_none(), std::cmp::Reverse(shard.behind_ms), &shard.shard));
        shards.truncate(SHARDS_MAX);
        shards
    }

    /// Returns how long the oldest record not yet read has waited, over all shards that tell.
    pub(crate) fn behind_ms(&self) -> Option<u64> {
        self.shards.iter().filter_map(|shard| shard.behind_ms).max()
    }

    /// Returns the shortest time until a stream drops an unread record, over all shards that tell.
    pub(crate) fn headroom_ms(&self) -> Option<u64> {
        self.shards.iter().filter_map(|shard| shard.headroom_ms).min()
    }
}

impl Measures {
    /// Returns the stretches of streams that were gone before they could be read.
    pub(crate) fn gaps(&self) -> u64 {
        self.rejected.get("data_gap").copied().unwrap_or(0)
    }
}
