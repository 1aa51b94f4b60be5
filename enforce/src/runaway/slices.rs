//! Sums of the last minutes in slices of event time, so that adding a call costs the same however many there were.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use sluice_schemas::{Micros, PicoUsd};

use super::shape::Seen;

/// Slices of the fast window.
pub(super) const FAST_SLICES: i64 = 6;

/// What was seen in a stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sum {
    #[serde(rename = "s")]
    pub(super) spend: i128,
    #[serde(rename = "c")]
    pub(super) calls: u32,
    #[serde(rename = "e")]
    pub(super) errors: u32,
    /// Sessions that were opened.
    #[serde(rename = "o", default)]
    pub(super) opened: u32,
}

impl Sum {
    fn add(&mut self, other: Self) {
        self.spend = self.spend.saturating_add(other.spend);
        self.calls = self.calls.saturating_add(other.calls);
        self.errors = self.errors.saturating_add(other.errors);
        self.opened = self.opened.saturating_add(other.opened);
    }

    pub(super) const fn spend(self) -> PicoUsd {
        PicoUsd(self.spend)
    }
}

/// Widths of the two windows: the slow one is a whole number of slices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Widths {
    pub(super) slice: i64,
    pub(super) slow_slices: i64,
}

impl Widths {
    pub(super) const fn new(fast: i64, slow: i64) -> Self {
        let slice = fast / FAST_SLICES;
        Self { slice, slow_slices: slow / slice }
    }
}

/// Slices that hold calls, oldest first; never more than the slow window has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Slices(VecDeque<(i64, Sum)>);

impl Slices {
    /// Adds a call to its slice; one that is older than the slow window is left out.
    pub(super) fn add(&mut self, call: &Seen, opens: bool, widths: Widths) {
        let index = call.at.div_euclid(widths.slice);
        let newest = self.0.back().map_or(index, |(newest, _)| *newest).max(index);
        while self.0.front().is_some_and(|(oldest, _)| *oldest <= newest - widths.slow_slices) {
            self.0.pop_front();
        }
        if index <= newest - widths.slow_slices {
            return;
        }
        let one = Sum { spend: i128::from(call.cost), calls: 1, errors: u32::from(call.failed), opened: u32::from(opens) };
        let place = self.0.partition_point(|(other, _)| *other < index);
        match self.0.get_mut(place).filter(|(other, _)| *other == index) {
            Some((_, sum)) => sum.add(one),
            None => self.0.insert(place, (index, one)),
        }
    }

    /// Returns the sums of the fast and of the slow window that end with the slice of `at`.
    pub(super) fn windows(&self, at: Micros, widths: Widths) -> (Sum, Sum) {
        let last = at.0.div_euclid(widths.slice);
        let (mut fast, mut slow) = (Sum::default(), Sum::default());
        for (_, sum) in self.0.iter().filter(|(index, _)| *index <= last && *index > last - widths.slow_slices) {
            slow.add(*sum);
        }
        for (_, sum) in self.0.iter().rev().filter(|(index, _)| *index <= last).take_while(|(index, _)| *index > last - FAST_SLICES) {
            fast.add(*sum);
        }
        (fast, slow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_schemas::time::{MINUTE, SECOND};

    fn call(second: i64, cost: i64) -> Seen {
        Seen { at: second * SECOND, lane: 1, prompt: 1, output: 1, cost, failed: cost == 0 }
    }

    #[test]
    fn late_calls_count_where_they_belong() {
        let widths = Widths::new(MINUTE, 10 * MINUTE);
        let times = [(605, 1), (3, 100), (640, 2), (70, 10), (641, 0)];
        let mut slices = Slices::default();
        times.iter().for_each(|(second, cost)| slices.add(&call(*second, *cost), false, widths));
        let (fast, slow) = slices.windows(Micros(641 * SECOND), widths);
        assert_eq!((fast.spend, fast.calls, fast.errors), (3, 3, 1));
        // The call of the third second is older than ten minutes.
        assert_eq!((slow.spend, slow.calls), (13, 4));
        assert!(slices.0.len() <= 60);
    }
}
