//! A histogram of durations with fixed bounds: every process and every version of it can be added up.

use std::time::Duration;

/// Upper bounds of the buckets in microseconds; one more bucket holds what is longer.
pub(crate) const BOUNDS_MICROS: [u64; 14] = [
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
];

/// How many durations fell into which bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Histogram {
    buckets: [u64; BOUNDS_MICROS.len() + 1],
    sum_micros: u64,
    max_micros: u64,
}

impl Histogram {
    /// Counts a duration `times` times; one below zero (a clock was set back) counts as zero.
    pub(crate) fn observe(&mut self, micros: i64, times: u64) {
        if times == 0 {
            return;
        }
        let micros = u64::try_from(micros).unwrap_or(0);
        let at = BOUNDS_MICROS.partition_point(|bound| *bound < micros);
        self.buckets[at] = self.buckets[at].saturating_add(times);
        self.sum_micros = self.sum_micros.saturating_add(micros.saturating_mul(times));
        self.max_micros = self.max_micros.max(micros);
    }

    /// Returns how many were counted.
    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Returns their sum.
    pub(crate) const fn sum(&self) -> Duration {
        Duration::from_micros(self.sum_micros)
    }

    /// Returns each bucket's upper bound (none for the last) and what fell into it alone.
    pub(crate) fn buckets(&self) -> impl Iterator<Item = (Option<Duration>, u64)> {
        let bounds = BOUNDS_MICROS.iter().map(|bound| Some(Duration::from_micros(*bound))).chain([None]);
        bounds.zip(self.buckets)
    }

    /// Returns a duration that `permille` thousandths of those counted do not exceed: the bound of their bucket, or the longest one
    /// seen where that is less; `None` when none was counted.
    pub(crate) fn quantile(&self, permille: u64) -> Option<Duration> {
        let count = self.count();
        let rank = u64::try_from((u128::from(count) * u128::from(permille)).div_ceil(1_000)).unwrap_or(count).max(1);
        let mut below = 0;
        for (bound, here) in self.buckets() {
            below += here;
            if count > 0 && below >= rank {
                let longest = Duration::from_micros(self.max_micros);
                return Some(bound.map_or(longest, |bound| bound.min(longest)));
            }
        }
        None
    }

    /// Returns what was counted since `earlier`; the longest one is of both.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let mut rest = self.clone();
        for (bucket, before) in rest.buckets.iter_mut().zip(earlier.buckets) {
            *bucket = bucket.saturating_sub(before);
        }
        rest.sum_micros = rest.sum_micros.saturating_sub(earlier.sum_micros);
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_upper_bounds() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(500), None);
        histogram.observe(5_000, 98);
        histogram.observe(5_001, 1);
        histogram.observe(400_000_000, 1);
        assert_eq!(histogram.count(), 100);
        assert_eq!(histogram.quantile(500), Some(Duration::from_millis(5)));
        assert_eq!(histogram.quantile(990), Some(Duration::from_millis(10)));
        assert_eq!(histogram.quantile(1_000), Some(Duration::from_secs(400)));
        assert_eq!(histogram.sum(), Duration::from_micros(98 * 5_000 + 5_001 + 400_000_000));
    }

    #[test]
    fn a_difference_holds_what_came_between() {
        let mut earlier = Histogram::default();
        earlier.observe(1, 3);
        let mut later = earlier.clone();
        later.observe(-7, 2);
        later.observe(2_000_000, 1);
        let between = later.since(&earlier);
        assert_eq!((between.count(), between.sum()), (3, Duration::from_secs(2)));
        assert_eq!(between.buckets().filter(|(_, count)| *count > 0).count(), 2);
    }
}
