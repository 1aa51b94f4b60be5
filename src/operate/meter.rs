//! The coordinator's own tallies: plain additions on one thread, copied once a second.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sluice_schemas::Micros;

use super::board::Board;
use super::histogram::Histogram;
use super::measures::{Commits, Measures};

/// Kinds of action that are told apart; any other is `other`, so that no foreign text becomes a label.
const ACTIONS: [&str; 14] =
    ["hold", "log", "file", "webhook", "sns", "iam", "eventbridge", "release", "pause", "resume", "approve", "confirm", "deny", "restore"];
/// Ends of an action that are told apart.
const STATES: [&str; 6] = ["done", "already_done", "degraded", "failed", "active", "pending_approval"];

/// What happened since the start.
#[derive(Debug)]
pub(crate) struct Meter {
    /// Where readers look.
    pub(crate) board: Arc<Board>,
    applied: Histogram,
    committed: Histogram,
    /// Arrival and number of records that were applied after the last local commit.
    uncommitted: Vec<(Micros, u64)>,
    rejected: BTreeMap<&'static str, u64>,
    actions: BTreeMap<(&'static str, &'static str), u64>,
    breaches: u64,
    overshot: u64,
    local: Commits,
    lake: Commits,
    waiting_since: Option<Micros>,
}

impl Meter {
    /// Creates a meter that publishes on `board`.
    pub(crate) fn new(board: Arc<Board>) -> Self {
        Self {
            board,
            applied: Histogram::default(),
            committed: Histogram::default(),
            uncommitted: Vec::new(),
            rejected: BTreeMap::new(),
            actions: BTreeMap::new(),
            breaches: 0,
            overshot: 0,
            local: Commits::default(),
            lake: Commits::default(),
            waiting_since: None,
        }
    }

    /// Counts records that became spend now.
    pub(crate) fn applied(&mut self, arrival: Micros, now: Micros, records: u64) {
        self.applied.observe(now.0.saturating_sub(arrival.0), records);
        if records > 0 {
            self.uncommitted.push((arrival, records));
        }
    }

    /// Counts rejected records by reason.
    pub(crate) fn rejected(&mut self, reasons: &[(&'static str, u64)]) {
        for (reason, count) in reasons {
            *self.rejected.entry(reason).or_default() += count;
        }
    }

    /// Counts a crossed threshold.
    pub(crate) fn breached(&mut self) {
        self.breaches += 1;
    }

    /// Counts a hold that let more through than was stated.
    pub(crate) fn overshot(&mut self) {
        self.overshot += 1;
    }

    /// Counts a line of the audit trail.
    pub(crate) fn acted(&mut self, action: &str, state: &str) {
        let kind = action.split(':').next().unwrap_or_default();
        let known = |words: &[&'static str], word: &str| words.iter().copied().find(|known| *known == word).unwrap_or("other");
        *self.actions.entry((known(&ACTIONS, kind), known(&STATES, state))).or_default() += 1;
    }

    /// Notes a local commit; `waits` tells that it holds rows for the next lake commit.
    pub(crate) fn local_committed(&mut self, took: Duration, now: Micros, waits: bool) {
        note(&mut self.local, took, now);
        for (arrival, records) in self.uncommitted.drain(..) {
            self.committed.observe(now.0.saturating_sub(arrival.0), records);
        }
        if waits && self.waiting_since.is_none() {
            self.waiting_since = Some(now);
        }
    }

    /// Notes a lake commit.
    pub(crate) fn lake_committed(&mut self, took: Duration, now: Micros) {
        note(&mut self.lake, took, now);
        self.waiting_since = None;
        // In bulk mode rows go to the lake at once.
        for (arrival, records) in self.uncommitted.drain(..) {
            self.committed.observe(now.0.saturating_sub(arrival.0), records);
        }
    }

    /// Returns a snapshot with what this meter knows; the rest is left to the caller.
    pub(crate) fn measures(&self, at: Micros) -> Measures {
        Measures {
            at,
            rejected: self.rejected.clone(),
            applied: self.applied.clone(),
            committed: self.committed.clone(),
            local: self.local.clone(),
            lake: self.lake.clone(),
            waiting_since: self.waiting_since,
            actions: self.actions.clone(),
            breaches: self.breaches,
            overshot: self.overshot,
            ..Measures::default()
        }
    }
}

fn note(commits: &mut Commits, took: Duration, now: Micros) {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    commits.durations.observe(i64::try_from(micros).unwrap_or(i64::MAX), 1);
    commits.last = Some(now);
    commits.last_micros = micros;
}
