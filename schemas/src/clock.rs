//! The one place where the wall clock is read; everything else is handed a time.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::Micros;

/// A source of the current time, so that tests can stand still or jump.
pub trait Clock: Send + Sync {
    /// Returns the current moment.
    fn now(&self) -> Micros;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one reader of the wall clock")]
    fn now(&self) -> Micros {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}
