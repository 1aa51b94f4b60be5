//! What a failed operation asks of its caller, and how it is told.

use std::error::Error;

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

/// Returns the texts of an error and of all that lies below it, without repetition.
#[must_use]
pub fn causes(error: &(dyn Error + 'static)) -> String {
    let (mut text, mut next) = (String::new(), Some(error));
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.contains(&words) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&words);
        }
        next = cause.source();
    }
    text
}
