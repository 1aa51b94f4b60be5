//! One counter: the spend of one target in one period, and the thresholds it has already crossed.

use sluice_schemas::{Micros, PicoUsd};

use crate::ring::{Geometry, Ring};
use crate::tally::{Burn, Tally};

/// How a crossing was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FiredState {
    /// All actions followed.
    Fired,
    /// The period was over: told, not stopped.
    Late,
    /// The budget was not confirmed: told, not stopped.
    Unconfirmed,
    /// Found in history while seeding: nothing followed yet.
    Seeded,
}

/// A threshold that was crossed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fired {
    /// Index of the threshold in the budget.
    pub(crate) threshold: u8,
    /// How it was recorded.
    pub(crate) state: FiredState,
    /// Event time of the crossing.
    pub(crate) event_time: Micros,
    /// Rolling windows: bucket in which it crossed.
    pub(crate) bucket: i64,
    /// Rolling windows: the sum has fallen again since.
    pub(crate) closed: bool,
    /// The fire id.
    pub(crate) fire_id: [u8; 16],
}

/// Spend of one target in one period.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counter {
    /// Sums of the period; for a rolling window of everything since the counter began.
    pub(crate) tally: Tally,
    /// Buckets of a rolling window.
    pub(crate) ring: Option<Box<Ring>>,
    /// Thresholds crossed.
    pub(crate) fired: Vec<Fired>,
    /// Smallest amount that a tag named as limit.
    pub(crate) tag_limit: Option<PicoUsd>,
    /// First minute with spend.
    pub(crate) first: Micros,
    /// Latest event.
    pub(crate) last: Micros,
    /// Times a person armed the thresholds again.
    pub(crate) generation: u32,
    /// Rate.
    pub(crate) burn: Burn,
    /// No threshold is reached below this; `None` when it has to be worked out again.
    pub(crate) next_at: Option<PicoUsd>,
    /// Number of the last batch that touched it: says which counters are idle.
    pub(crate) batch: u64,
    /// Differs from its row.
    pub(crate) dirty: bool,
    /// Its row was not read back yet: `tally` holds only what came since.
    pub(crate) unrestored: bool,
}

/// What one delta adds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addition {
    pub(crate) tally: Tally,
    pub(crate) minute: Micros,
    pub(crate) last_event: Micros,
    pub(crate) tag_limit: Option<PicoUsd>,
}

impl Counter {
    /// Adds spend; `false` if it is too late for the counter's rolling window.
    pub(crate) fn add(&mut self, addition: Addition, geometry: Option<Geometry>) -> bool {
        if let Some(geometry) = geometry {
            let ring = self.ring.get_or_insert_default();
            if !ring.add(geometry, geometry.index(addition.minute), addition.tally) {
                return false;
            }
        }
        let is_new = self.tally.calls == 0 && self.last == Micros::default();
        self.first = if is_new { addition.minute } else { self.first.min(addition.minute) };
        self.last = if is_new { addition.last_event } else { self.last.max(addition.last_event) };
        self.tally.add(addition.tally);
        self.burn.add(addition.minute, addition.tally.amount);
        if let Some(limit) = addition.tag_limit.filter(|limit| self.tag_limit.is_none_or(|known| *limit < known)) {
            self.tag_limit = Some(limit);
            self.next_at = None;
        }
        true
    }

    /// Tells whether thresholds of a sum that only grows have to be looked at: it has reached the next one, or which that is has to be worked out.
    pub(crate) fn may_have_crossed(&self) -> bool {
        !self.unrestored && self.next_at.is_none_or(|next| self.tally.amount >= next)
    }

    /// Returns what counts against the limit at `now`.
    #[must_use]
    pub(crate) fn spent(&self, geometry: Option<Geometry>, now: Micros) -> Tally {
        match (geometry, &self.ring) {
            (Some(geometry), Some(ring)) => ring.sum(geometry, geometry.index(now)),
            _ => self.tally,
        }
    }

    /// Adds what a stored row holds of the same counter.
    pub(crate) fn merge(&mut self, stored: Self) {
        let is_new = self.tally.is_zero() && self.fired.is_empty();
        self.first = if is_new { stored.first } else { self.first.min(stored.first) };
        self.last = self.last.max(stored.last);
        self.tally.add(stored.tally);
        self.generation = self.generation.max(stored.generation);
        self.tag_limit = [self.tag_limit, stored.tag_limit].into_iter().flatten().min();
        self.burn.peak = self.burn.peak.max(stored.burn.peak);
        for fired in stored.fired {
            if !self.has_fired(fired.threshold) {
                self.fired.push(fired);
            }
        }
        self.next_at = None;
    }

    /// Tells whether a threshold was crossed in this period.
    pub(crate) fn has_fired(&self, threshold: u8) -> bool {
        self.fired.iter().any(|fired| fired.threshold == threshold)
    }
}
