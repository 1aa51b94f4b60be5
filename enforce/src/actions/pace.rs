//! How fast a receiver is called: a bucket of tokens whose rate halves when the receiver says it is too much, and recovers.
//!
//! [`Bucket`] is the arithmetic, [`Pacer`] sleeps.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::budget::digest;

/// Tries of a call that is throttled, within one telling; after them the outbox waits longer.
pub(super) const TRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
const MILLION: i64 = 1_000_000;

/// Tokens, in millionths, and the rate at which they come; times are microseconds of any clock that does not go back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bucket {
    /// Highest rate, tokens a second.
    most: i64,
    /// Rate in force.
    rate: i64,
    /// Negative where tokens are promised to someone who waits.
    tokens: i64,
    last: i64,
    /// Last time the rate was cut.
    cut: i64,
}

impl Bucket {
    /// A second's worth of tokens, and `most` more each second.
    fn new(most: u32) -> Self {
        let most = i64::from(most.max(1));
        Self { most, rate: most, tokens: most * MILLION, last: 0, cut: i64::MIN }
    }

    /// Takes `count` tokens and returns how many microseconds to wait first.
    fn take(&mut self, count: usize, now: i64) -> i64 {
        let passed = now.saturating_sub(self.last).clamp(0, 3600 * MILLION);
        self.last = self.last.max(now);
        self.tokens = self.tokens.saturating_add(passed.saturating_mul(self.rate)).min(self.rate * MILLION);
        self.tokens -= i64::try_from(count).unwrap_or(i64::MAX / MILLION).saturating_mul(MILLION);
        if self.tokens >= 0 { 0 } else { self.tokens.saturating_neg() / self.rate }
    }

    /// Halves the rate, at most every second: calls that were under way together are one hint, not many.
    fn cut(&mut self, now: i64) {
        if now.saturating_sub(self.cut) >= MILLION {
            (self.rate, self.cut) = ((self.rate / 2).max(1), now);
            self.tokens = self.tokens.min(0);
        }
    }

    /// Raises the rate by a fiftieth of the highest, for a call that went well.
    fn raise(&mut self) {
        self.rate = (self.rate + (self.most / 50).max(1)).min(self.most);
    }
}

/// Paces the calls of one receiver, from any thread.
#[derive(Debug)]
pub(super) struct Pacer {
    bucket: Mutex<Bucket>,
    start: Instant,
}

impl Pacer {
    /// At most `per_second` messages a second over time, and a second's worth at once.
    pub(super) fn new(per_second: u32) -> Self {
        Self { bucket: Mutex::new(Bucket::new(per_second)), start: Instant::now() }
    }

    fn now(&self) -> i64 {
        i64::try_from(self.start.elapsed().as_micros()).unwrap_or(i64::MAX)
    }

    fn with<T>(&self, change: impl FnOnce(&mut Bucket, i64) -> T) -> T {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut bucket, self.now())
    }

    /// Waits until `count` messages may go.
    pub(super) fn wait(&self, count: usize) {
        let pause = self.with(|bucket, now| bucket.take(count, now));
        if let Ok(pause @ 1..) = u64::try_from(pause) {
            std::thread::sleep(Duration::from_micros(pause));
        }
    }

    /// Notes a call that went well.
    pub(super) fn went_well(&self) {
        self.with(|bucket, _| bucket.raise());
    }

    /// Notes that the receiver asked for less, and waits before try `attempt` (from 0) of what `key` names.
    pub(super) fn back_off(&self, attempt: u32, key: &str) {
        self.with(Bucket::cut);
        std::thread::sleep(pause(attempt, key));
    }
}

/// Returns a pause that doubles with each attempt, and of which the second half depends on `key`, so that many do not return together.
fn pause(attempt: u32, key: &str) -> Duration {
    let whole = FIRST_PAUSE.saturating_mul(1 << attempt.min(10)).min(LONGEST_PAUSE);
    let lot = u32::from_str_radix(digest(&[key, &attempt.to_string()]).get(..4).unwrap_or("0"), 16).unwrap_or(0);
    whole / 2 + (whole / 2).saturating_mul(lot) / 0x1_0000
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_second_at_once_then_the_rate() {
        let mut bucket = Bucket::new(100);
        assert_eq!((bucket.take(100, 0), bucket.take(10, 0), bucket.take(10, 0)), (0, 100_000, 200_000));
        assert_eq!(bucket.take(1, 200_000), 10_000, "what was promised comes first");
        assert_eq!(bucket.take(100, 9_000_000), 0, "no more than a second's worth is saved up");
        assert_eq!(bucket.take(1, 9_000_000), 10_000);
    }

    #[test]
    fn hints_halve_the_rate_once_a_second_and_success_brings_it_back() {
        let mut bucket = Bucket::new(1000);
        (0..20).for_each(|_| bucket.cut(5));
        assert_eq!(bucket.rate, 500);
        bucket.cut(MILLION + 5);
        assert_eq!(bucket.rate, 250);
        (0..100).for_each(|_| bucket.raise());
        assert_eq!(bucket.rate, 1000);
        let mut slow = Bucket::new(1);
        (0..20).for_each(|second| slow.cut(second * MILLION));
        assert_eq!((slow.rate, slow.take(3, 0)), (1, 3_000_000));
    }

    proptest! {
        #[test]
        fn never_more_than_the_rate_and_a_second_ahead(steps in proptest::collection::vec((0_i64..400_000, 1_usize..50), 1..200)) {
            let mut bucket = Bucket::new(100);
            let (mut now, mut sent) = (0, 0_i64);
            for (passed, count) in steps {
                now += passed;
                now += bucket.take(count, now);
                sent += i64::try_from(count).expect("small");
                prop_assert!(sent * MILLION <= 100 * MILLION + 100 * now + 100, "{sent} by {now}");
            }
        }

        #[test]
        fn pauses_grow_within_bounds(attempt in 0_u32..40, key in any::<String>()) {
            let whole = FIRST_PAUSE.saturating_mul(1 << attempt.min(10)).min(LONGEST_PAUSE);
            let pause = pause(attempt, &key);
            prop_assert!(pause >= whole / 2 && pause <= whole, "{pause:?}");
        }
    }
}
