//! What a failed operation asks of its caller.

/// The one question every operation error answers: what now?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// Retry with backoff and a deadline.
    Transient,
    /// This record is at fault, not us: it becomes a rejected row and the stream goes on.
    Rejected,
    /// Someone newer took over: stop at once, commit nothing.
    Fenced,
    /// Cannot work until a person changes something.
    Misconfigured,
    /// Stored bytes contradict themselves: stop, never guess.
    Corrupt,
    /// An invariant failed: stop the epoch and restart from the commit.
    Bug,
}
