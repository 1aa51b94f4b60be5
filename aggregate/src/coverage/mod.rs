//! Are the calls in the lake complete? What others counted of the same calls, compared with the lake hour by hour.
//!
//! Owns: the comparison of sums ([`sums`]), of ids ([`Missing`]), what missing calls are worth ([`Prices`]), what a report says, and the
//! questions to the lake ([`read`]). Does not own: where the other counts come from. Everything but [`read`] is pure: the time comes in
//! as an argument, and nothing is ever called complete that was not compared.

mod price;
pub mod read;
mod report;
pub mod sums;
#[cfg(test)]
mod tests;
pub mod unlogged;

use std::collections::BTreeMap;
use std::ops::AddAssign;

use serde::Serialize;
use sluice_schemas::Micros;

pub use price::{Known, ListPrice, Prices, Worth};
pub use report::{Gap, Report, Row, Side, SideReport, Totals, Unasked, Verdict};

/// What calls are compared by: where they were made, and the model by its canonical name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Key {
    /// Account.
    pub account_id: String,
    /// Region in which the calls were made.
    pub region: String,
    /// Canonical name of the model, or the id that was called where none is known.
    pub model: String,
}

/// Tokens by the classes that all sides tell apart; nobody but the log tells cache writes of five minutes from those of an hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tokens {
    /// Uncached prompt tokens.
    pub input: u64,
    /// Generated tokens.
    pub output: u64,
    /// Prompt tokens read from the cache.
    pub cache_read: u64,
    /// Prompt tokens written to the cache.
    pub cache_write: u64,
}

impl Tokens {
    /// Returns the classes in order.
    #[must_use]
    pub const fn classes(self) -> [u64; 4] {
        [self.input, self.output, self.cache_read, self.cache_write]
    }

    /// Returns tokens of the given classes.
    #[must_use]
    pub const fn of([input, output, cache_read, cache_write]: [u64; 4]) -> Self {
        Self { input, output, cache_read, cache_write }
    }

    /// Returns what is left without `part`.
    #[must_use]
    pub fn less(self, part: Self) -> Self {
        let (all, part) = (self.classes(), part.classes());
        Self::of([0, 1, 2, 3].map(|class| all[class].saturating_sub(part[class])))
    }

    /// Returns their sum.
    #[must_use]
    pub fn total(self) -> u64 {
        self.classes().into_iter().fold(0, u64::saturating_add)
    }
}

impl AddAssign for Tokens {
    fn add_assign(&mut self, other: Self) {
        let (mine, theirs) = (self.classes(), other.classes());
        *self = Self::of([0, 1, 2, 3].map(|class| mine[class].saturating_add(theirs[class])));
    }
}

/// Calls of one key in one slot of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Calls: in the lake those that succeeded, on the other side what it counts as invocations.
    pub calls: u64,
    /// Calls that failed and were not throttled.
    pub failed: u64,
    /// Tokens.
    pub tokens: Tokens,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.calls = self.calls.saturating_add(other.calls);
        self.failed = self.failed.saturating_add(other.failed);
        self.tokens += other.tokens;
    }
}

/// Counts by the start of their slot.
pub type Series = BTreeMap<Micros, Counts>;
/// Series by key.
pub type Sides = BTreeMap<Key, Series>;

/// A stretch of whole hours, and what may be said of it at which time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Start of the first hour.
    pub since: Micros,
    /// End of the last hour, exclusive.
    pub until: Micros,
    /// The time.
    pub now: Micros,
    /// How late a log or a metric may come; hours younger than that are pending.
    pub lateness: i64,
}

impl Stretch {
    /// Returns the stretch of whole hours that holds `[since, until)`.
    #[must_use]
    pub const fn new(since: Micros, until: Micros, now: Micros, lateness: i64) -> Self {
        use sluice_schemas::time::HOUR;
        Self { since: since.floor(HOUR), until: until.plus(HOUR - 1).floor(HOUR), now, lateness }
    }

    /// Returns the end of the last hour of which everything must have come by now.
    #[must_use]
    pub fn settled(&self) -> Micros {
        use sluice_schemas::time::HOUR;
        self.now.plus(-(self.lateness + sums::SKEW)).floor(HOUR).min(self.until).max(self.since)
    }

    /// Returns the starts of its hours.
    pub fn hours(&self) -> impl Iterator<Item = Micros> + use<> {
        use sluice_schemas::time::HOUR;
        (self.since.hour()..self.until.hour()).map(|hour| Micros(hour * HOUR))
    }
}

/// Calls that another side names by their ids and the lake does not hold, by key and hour.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// What was compared: all calls of the other side.
    pub seen: Sides,
    /// What the lake lacks.
    pub lacking: Sides,
    /// Calls of those of which no tokens are known.
    pub untold: BTreeMap<(Key, Micros), u64>,
    /// Ids of the first of them, at most [`IDS_MAX`].
    pub ids: Vec<MissingCall>,
}

/// Missing calls that are named.
pub const IDS_MAX: usize = 1_000;

/// A call the lake does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MissingCall {
    /// Who has it.
    pub side: Side,
    /// When it was made.
    pub event_time: Micros,
    /// Where, and of which model.
    #[serde(flatten)]
    pub key: Key,
    /// Its id.
    pub request_id: String,
}

impl Missing {
    /// Takes a call of the other side with its tokens, and what of them the lake lacks; nothing where it has the call.
    pub fn take(&mut self, call: MissingCall, tokens: Tokens, lacks: Option<Tokens>) {
        use sluice_schemas::time::HOUR;
        let hour = call.event_time.floor(HOUR);
        let counts = Counts { calls: 1, failed: 0, tokens };
        *self.seen.entry(call.key.clone()).or_default().entry(hour).or_default() += counts;
        let Some(lacks) = lacks else { return };
        *self.lacking.entry(call.key.clone()).or_default().entry(hour).or_default() += Counts { tokens: lacks, ..counts };
        if tokens.total() == 0 {
            *self.untold.entry((call.key.clone(), hour)).or_default() += 1;
        }
        if self.ids.len() < IDS_MAX {
            self.ids.push(call);
        }
    }
}
