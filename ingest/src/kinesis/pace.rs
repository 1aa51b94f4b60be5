//! When the next call of a shard is due: within what Kinesis allows, quick while data flows, slower in trouble.
//!
//! Source of the limits: Kinesis Data Streams, "Quotas and limits": 5 reads and 2 MB a second for each shard, shared by all
//! its polling readers.

/// Pause between two calls while records come: a little under 5 calls a second.
const BUSY_MS: u64 = 210;
/// Pause between two calls when nothing came for [`QUIET_CALLS`] calls.
const QUIET_MS: u64 = 500;
/// Empty answers after which a shard counts as quiet: about half a minute.
const QUIET_CALLS: u32 = 140;
/// Bytes a shard gives in a millisecond.
const BYTES_PER_MS: u64 = 2_000;
/// First pause after a failure.
const BACKOFF_MS: u64 = 250;
/// Longest pause after failures of the service.
const BACKOFF_MAX_MS: u64 = 15_000;
/// Pause after a refusal that only a person can end.
const REFUSED_MS: u64 = 30_000;
/// Largest pause that throttling adds between calls: others read the shard too.
const CROWDED_MAX_MS: u64 = 2_000;

/// Pauses of one shard.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    /// State of a small generator (SplitMix64): calls of many shards must not come in step.
    random: u64,
    /// Failures since the last answer.
    failures: u32,
    /// Empty answers in a row.
    empty: u32,
    /// Added between calls because of throttling.
    crowded_ms: u64,
}

impl Pace {
    /// Starts; shards with different seeds do not pause in step.
    pub(crate) const fn new(seed: u64) -> Self {
        Self { random: seed, failures: 0, empty: 0, crowded_ms: 0 }
    }

    /// Returns the failures since the last answer.
    pub(crate) const fn failures(&self) -> u32 {
        self.failures
    }

    /// Returns the milliseconds from the call that brought `bytes` to the next one.
    pub(crate) fn answered(&mut self, bytes: u64) -> u64 {
        self.failures = 0;
        self.empty = if bytes == 0 { self.empty.saturating_add(1) } else { 0 };
        self.crowded_ms -= self.crowded_ms.div_ceil(16);
        let base = if self.empty < QUIET_CALLS { BUSY_MS } else { QUIET_MS };
        base.max(bytes / BYTES_PER_MS) + self.crowded_ms
    }

    /// Returns the milliseconds to wait after a failure: grows with each, with full jitter.
    pub(crate) fn failed(&mut self) -> u64 {
        self.failures = self.failures.saturating_add(1);
        let most = (BACKOFF_MS << self.failures.min(10)).min(BACKOFF_MAX_MS);
        BACKOFF_MS + self.below(most)
    }

    /// Returns the milliseconds to wait after throttling; later calls keep more distance for a while.
    pub(crate) fn throttled(&mut self) -> u64 {
        self.crowded_ms = (self.crowded_ms * 2).clamp(BUSY_MS / 2, CROWDED_MAX_MS);
        self.failed()
    }

    /// Returns the milliseconds to wait after a refusal.
    pub(crate) fn refused(&mut self) -> u64 {
        self.failures = self.failures.saturating_add(1);
        REFUSED_MS / 2 + self.below(REFUSED_MS)
    }

    /// Returns a number below `bound`, which is at least 1.
    fn below(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_keep_to_the_limits() {
        let mut pace = Pace::new(1);
        assert!(pace.answered(100) >= 200, "no more than five a second");
        assert_eq!(pace.answered(10_000_000), 5_000, "a full answer pays for five seconds");
        for _ in 0..QUIET_CALLS {
            pace.answered(0);
        }
        assert_eq!(pace.answered(0), QUIET_MS);
        assert_eq!(pace.answered(1), BUSY_MS, "quick again with the first record");
    }

    #[test]
    fn failures_pause_longer_and_an_answer_forgives() {
        let mut pace = Pace::new(7);
        let pauses: Vec<u64> = (0..40).map(|_| pace.failed()).collect();
        assert!(pauses.iter().all(|&pause| (BACKOFF_MS..=BACKOFF_MS + BACKOFF_MAX_MS).contains(&pause)));
        assert!(pauses.iter().any(|&pause| pause > 5_000), "it grows");
        assert!(pauses.windows(2).any(|pair| pair[0] != pair[1]), "it jitters");
        pace.throttled();
        assert!(pace.answered(1) > BUSY_MS, "distance is kept after throttling");
        for _ in 0..200 {
            pace.answered(1);
        }
        assert_eq!(pace.answered(1), BUSY_MS);
        assert_eq!(pace.failures(), 0);
    }
}
