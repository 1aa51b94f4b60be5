//! Named invariants, checked in production and by the tests' auditor.

use std::fmt;

/// A statement that always holds; a breach of one is a bug in this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Invariant {
    /// Records in = facts + duplicates + rejected + trail events + control messages, and cost of facts = spend.
    C1,
    /// The sum of a window's deltas is its total.
    C2,
    /// Positions only grow, and each batch starts where the previous one of its shard ended.
    C3,
    /// The watermark never goes back.
    C4,
    /// A child shard is not read before its parents are committed to their end.
    C5,
    /// At most one effect per fire id.
    C6,
    /// No visible effect without a committed epoch and a claimed fire id.
    C7,
    /// A budget's counter is the spend with event time in its period.
    C8,
    /// Validity intervals of one price key do not overlap.
    C9,
    /// A hold has a living reason, or is released.
    C10,
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// An invariant that failed: stop the epoch, commit nothing.
#[derive(Debug, thiserror::Error)]
#[error("invariant {invariant} failed: {detail}")]
pub struct InvariantError {
    /// Which.
    pub invariant: Invariant,
    /// What was seen.
    pub detail: String,
}
