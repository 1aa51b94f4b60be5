//! A rolling window as a row of time buckets.
//!
//! The sum at a moment counts the whole oldest bucket, so its error is one-sided: it never counts too little, and too much
//! by at most one bucket (a minute for windows up to an hour, about 1 % of longer ones). Only buckets with spend are kept.
//!
//! Late spend goes to its own bucket and changes every window that holds it. Buckets are kept for the window and
//! a lateness behind the newest spend of the target; what is older still is not counted here and is reported.

use sluice_schemas::time::{HOUR, MINUTE};
use sluice_schemas::{Micros, PicoUsd};

use crate::tally::Tally;

const BUCKETS_OF_A_LONG_WINDOW: i64 = 96;
/// Least lateness that is still evaluated.
const LATENESS: i64 = 6 * HOUR;

/// Widths of a rolling window, in buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Microseconds of a bucket.
    pub bucket: i64,
    /// Buckets that a window reaches back.
    pub reach: i64,
    /// Buckets behind the newest in which crossings are still looked for.
    pub late: i64,
}

impl Geometry {
    /// Returns the geometry of a window of `width` microseconds (whole minutes).
    #[must_use]
    pub fn new(width: i64) -> Self {
        let bucket = if width <= HOUR { MINUTE } else { (width / BUCKETS_OF_A_LONG_WINDOW + MINUTE - 1) / MINUTE * MINUTE };
        let reach = (width + bucket - 1) / bucket;
        Self { bucket, reach, late: reach.max(LATENESS / bucket) }
    }

    /// Returns the bucket that holds a moment.
    #[must_use]
    pub const fn index(self, at: Micros) -> i64 {
        at.0.div_euclid(self.bucket)
    }

    /// Returns the first moment of a bucket.
    #[must_use]
    pub const fn start(self, index: i64) -> Micros {
        Micros(index * self.bucket)
    }
}

/// Spend of one stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Which.
    pub index: i64,
    /// How much.
    pub tally: Tally,
}

/// A stretch in which the rolling sum was over a threshold: from the bucket in which it reached it until the sum had fallen
/// below nine tenths of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Excursion {
    /// Bucket in which the sum reached the threshold; `None` if that was before the row begins.
    pub start: Option<i64>,
    /// First bucket with spend after it ended; `None` while it lasts.
    pub end: Option<i64>,
    /// The sum at its start.
    pub at_start: Tally,
}

/// The buckets of one counter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ring {
    /// Ascending.
    buckets: Vec<Bucket>,
    /// Crossings are looked for from this bucket on.
    floor: Option<i64>,
    /// Sum of all kept buckets: an upper bound of every window.
    kept: Tally,
    changed: Vec<i64>,
    removed: Vec<i64>,
}

impl Ring {
    /// Adds spend to a bucket; `false` if it is too late to count.
    pub fn add(&mut self, geometry: Geometry, index: i64, tally: Tally) -> bool {
        if self.floor.is_some_and(|floor| index < floor - geometry.reach) {
            return false;
        }
        match self.buckets.binary_search_by_key(&index, |bucket| bucket.index) {
            Ok(at) => self.buckets[at].tally.add(tally),
            Err(at) => self.buckets.insert(at, Bucket { index, tally }),
        }
        self.kept.add(tally);
        if self.changed.last() != Some(&index) {
            self.changed.push(index);
        }
        true
    }

    /// Puts back a stored bucket.
    pub fn put_back(&mut self, bucket: Bucket) {
        self.kept.add(bucket.tally);
        match self.buckets.binary_search_by_key(&bucket.index, |known| known.index) {
            Ok(at) => self.buckets[at].tally.add(bucket.tally),
            Err(at) => self.buckets.insert(at, bucket),
        }
    }

    /// Returns the sum of the window that ends in bucket `end`.
    #[must_use]
    pub fn sum(&self, geometry: Geometry, end: i64) -> Tally {
        let mut sum = Tally::default();
        let from = self.buckets.partition_point(|bucket| bucket.index < end - geometry.reach);
        for bucket in self.buckets[from..].iter().take_while(|bucket| bucket.index <= end) {
            sum.add(bucket.tally);
        }
        sum
    }

    /// Returns the stretches over `threshold`, in order. `open` tells whether one lasted when the row begins.
    ///
    /// The result depends on the sums of the buckets alone, not on the order or the batches they were filled in.
    #[must_use]
    pub fn excursions(&self, geometry: Geometry, threshold: PicoUsd, open: bool) -> Vec<Excursion> {
        let mut found = Vec::new();
        if open {
            found.push(Excursion { start: None, end: None, at_start: Tally::default() });
        } else if self.kept.amount < threshold {
            return found;
        }
        let mut inside = open;
        let mut oldest = 0;
        let mut sum = Tally::default();
        for (at, bucket) in self.buckets.iter().enumerate() {
            // Without its own spend the sum is as low as it gets since the bucket before. A sum that was seen lower at any
            // time in between was at least this low, so a hold that ended for it finds the threshold armed.
            self.drop_before(bucket.index - geometry.reach, &mut oldest, at, &mut sum);
            let watched = self.floor.is_none_or(|floor| bucket.index >= floor);
            if watched && inside && sum.amount < nine_tenths(threshold) {
                inside = false;
                if let Some(last) = found.last_mut() {
                    last.end = Some(bucket.index);
                }
            }
            sum.add(bucket.tally);
            if watched && !inside && sum.amount >= threshold {
                inside = true;
                found.push(Excursion { start: Some(bucket.index), end: None, at_start: sum });
            }
        }
        found
    }

    fn drop_before(&self, first: i64, oldest: &mut usize, end: usize, sum: &mut Tally) {
        while *oldest < end && self.buckets[*oldest].index < first {
            sum.add(self.buckets[*oldest].tally.negated());
            *oldest += 1;
        }
    }

    /// Moves the row on: forgets buckets that no window from the new floor on can hold. Returns the new floor.
    pub fn slide(&mut self, geometry: Geometry) -> Option<i64> {
        let floor = self.next_floor(geometry)?;
        self.slide_to(geometry, floor);
        Some(floor)
    }

    /// Looks for crossings from `floor` on alone.
    pub(crate) fn slide_to(&mut self, geometry: Geometry, floor: i64) {
        let floor = self.floor.unwrap_or(i64::MIN).max(floor);
        self.floor = Some(floor);
        let gone = self.buckets.partition_point(|bucket| bucket.index < floor - geometry.reach);
        for bucket in self.buckets.drain(..gone) {
            self.kept.add(bucket.tally.negated());
            self.removed.push(bucket.index);
        }
    }

    /// Returns the floor that [`Ring::slide`] would move to.
    #[must_use]
    pub fn next_floor(&self, geometry: Geometry) -> Option<i64> {
        let newest = self.buckets.last()?.index;
        Some(self.floor.unwrap_or(i64::MIN).max(newest - geometry.late))
    }

    /// Returns the first bucket in which crossings are looked for.
    #[must_use]
    pub const fn floor(&self) -> Option<i64> {
        self.floor
    }

    pub(crate) fn set_floor(&mut self, floor: Option<i64>) {
        self.floor = floor;
    }

    /// Returns the newest bucket with spend.
    #[must_use]
    pub fn newest(&self) -> Option<i64> {
        self.buckets.last().map(|bucket| bucket.index)
    }

    /// Returns the buckets.
    #[must_use]
    pub fn buckets(&self) -> &[Bucket] {
        &self.buckets
    }

    /// Returns the indexes of all buckets that a store may hold.
    pub(crate) fn stored(&self) -> impl Iterator<Item = i64> {
        self.buckets.iter().map(|bucket| bucket.index).chain(self.removed.iter().copied())
    }

    /// Returns the buckets that changed and those that went since the last call.
    pub(crate) fn take_changes(&mut self) -> (Vec<Bucket>, Vec<i64>) {
        let mut changed = std::mem::take(&mut self.changed);
        changed.sort_unstable();
        changed.dedup();
        let bucket = |index: i64| self.buckets.binary_search_by_key(&index, |bucket| bucket.index).ok().map(|at| self.buckets[at]);
        (changed.into_iter().filter_map(bucket).collect(), std::mem::take(&mut self.removed))
    }
}

/// Below this a threshold is armed again.
#[must_use]
pub const fn nine_tenths(threshold: PicoUsd) -> PicoUsd {
    PicoUsd(threshold.0 / 10 * 9 + threshold.0 % 10 * 9 / 10)
}

#[cfg(test)]
mod tests;
