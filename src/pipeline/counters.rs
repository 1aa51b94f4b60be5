//! What an observer is told after each turn of the loop.

/// What a turn changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progressed {
    /// Time passed.
    Tick,
    /// Records became spend.
    Applied,
    /// An epoch was committed.
    Committed,
}
