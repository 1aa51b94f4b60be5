//! Repeats a call that failed in passing, with growing pauses, until it is time to say so.

use std::future::Future;
use std::time::Duration;

use sluice_schemas::ErrorClass;

use crate::source::SourceError;

/// Pauses between attempts. They add up to about two minutes; the client itself repeats each attempt a few times.
const PAUSES_MS: [u64; 10] = [200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_000, 30_000, 30_000];

/// A failure that may pass or not.
pub(crate) trait Passing {
    /// Tells whether another attempt may go well.
    fn may_pass(&self) -> bool;
}

impl Passing for SourceError {
    fn may_pass(&self) -> bool {
        self.class() == ErrorClass::Transient
    }
}

/// Calls until it goes well, fails for good, or has failed in passing too often.
///
/// # Errors
/// Those of the last call.
pub(crate) async fn persist<T, E, F>(what: &str, mut call: impl FnMut() -> F) -> Result<T, E>
where
    E: Passing + std::fmt::Display,
    F: Future<Output = Result<T, E>>,
{
    for pause in PAUSES_MS {
        match call().await {
            Err(error) if error.may_pass() => {
                tracing::warn!(what, %error, pause_ms = pause, "a call failed and is repeated");
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
            done => return done,
        }
    }
    call().await
}
