//! What is usual for a target: the highest value of each of its active days, the median of them, and how far they lie apart.
//!
//! Days without calls do not count, so that a weekly job is compared with its own runs. One bad day, or two, hardly move a median: a
//! runaway does not teach the detectors that running away is normal, and a lasting change is learned within as many days as it takes
//! to be the majority.

use serde::{Deserialize, Serialize};
use sluice_schemas::Micros;

/// Active days that are remembered.
const DAYS: usize = 14;
/// Active days after which a target is known.
const KNOWN_AFTER: usize = 3;
/// How many median deviations above the median are still usual.
const DEVIATIONS: i128 = 6;
/// Days that are no accident, though they are not most days: the two deploys of each week.
const OFTEN: usize = 3;

/// The highest values of past days, and of the current one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Peaks {
    #[serde(rename = "d")]
    day: i32,
    #[serde(rename = "t")]
    today: i128,
    /// Oldest first.
    #[serde(rename = "p", default, skip_serializing_if = "Vec::is_empty")]
    past: Vec<i128>,
    /// The usual, worked out once a day.
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    usual: Option<Usual>,
}

/// What is usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Usual {
    /// Median of the highest values of the days.
    pub(super) median: i128,
    /// Median distance from it.
    pub(super) spread: i128,
    /// The highest value that as many days reached as are no accident.
    #[serde(default)]
    pub(super) often: i128,
}

impl Usual {
    /// Returns the value from which it is no longer usual.
    pub(super) fn limit(self, times: u32) -> i128 {
        let by_times = self.median.saturating_mul(i128::from(times));
        by_times.max(self.median.saturating_add(self.spread.saturating_mul(DEVIATIONS))).max(self.beyond_often())
    }

    /// Returns the same of scores, which hardly differ from day to day: half as much again.
    pub(super) fn by_half(self) -> i128 {
        self.median.saturating_add(self.median / 2).max(self.beyond_often())
    }

    fn beyond_often(self) -> i128 {
        self.often.saturating_add(self.often / 4)
    }
}

impl Peaks {
    /// Moves on to the day of a moment; an earlier day than the current one changes nothing.
    pub(super) fn reach(&mut self, at: Micros) {
        let day = at.day();
        if day <= self.day {
            return;
        }
        if self.today > 0 {
            if self.past.len() == DAYS {
                self.past.remove(0);
            }
            self.past.push(self.today);
            self.usual = usual(&self.past);
        }
        (self.day, self.today) = (day, 0);
    }

    /// Notes a value of the current day.
    pub(super) fn note(&mut self, value: i128) {
        self.today = self.today.max(value);
    }

    /// Returns what is usual; `None` while too few days are known.
    pub(super) const fn usual(&self) -> Option<Usual> {
        self.usual
    }

    /// Returns what is usual, or after fewer days the most that was seen; `None` if nothing was.
    pub(super) fn known_or_seen(&self) -> Option<Usual> {
        self.usual.or_else(|| self.past.iter().max().map(|most| Usual { median: *most, spread: 0, often: 0 }))
    }
}

fn usual(past: &[i128]) -> Option<Usual> {
    if past.len() < KNOWN_AFTER {
        return None;
    }
    let mut sorted = past.to_vec();
    sorted.sort_unstable();
    let often = sorted.len().checked_sub(OFTEN).and_then(|at| sorted.get(at)).copied().unwrap_or_default();
    let median = median(sorted);
    Some(Usual { median, spread: self::median(past.iter().map(|value| (value - median).abs()).collect()), often })
}

/// Returns the upper median.
fn median(mut values: Vec<i128>) -> i128 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_schemas::time::DAY;

    fn after(days: &[i128]) -> Peaks {
        let mut peaks = Peaks::default();
        for (day, value) in days.iter().enumerate() {
            peaks.reach(Micros((day as i64 + 1) * DAY));
            peaks.note(*value);
        }
        peaks.reach(Micros((days.len() as i64 + 1) * DAY));
        peaks
    }

    #[test]
    fn a_target_is_known_after_three_active_days() {
        assert_eq!(after(&[5, 0, 7]).usual(), None);
        assert_eq!(after(&[5, 0, 7, 6]).usual(), Some(Usual { median: 6, spread: 1, often: 5 }));
    }

    #[test]
    fn bad_days_do_not_teach_that_they_are_normal() {
        let usual = after(&[10, 11, 900, 9, 10, 800, 12]).usual().expect("known");
        assert_eq!(usual, Usual { median: 11, spread: 1, often: 12 });
        assert_eq!(usual.limit(4), 44);
        assert_eq!(Usual { median: 10, spread: 9, often: 0 }.limit(4), 64);
    }

    #[test]
    fn only_the_last_fourteen_days_count() {
        let days: Vec<i128> = (0..20).map(|_| 5).chain((0..14).map(|_| 50)).collect();
        let peaks = after(&days);
        assert_eq!(peaks.past.len(), DAYS);
        assert_eq!(peaks.usual(), Some(Usual { median: 50, spread: 0, often: 50 }));
    }

    #[test]
    fn what_three_days_of_fourteen_reach_is_usual() {
        let usual = after(&[10, 10, 90, 10, 10, 100, 10, 10, 95, 10, 10]).usual().expect("known");
        assert_eq!((usual.median, usual.limit(3), usual.by_half()), (10, 112, 112));
        let twice = after(&[10, 10, 90, 10, 10, 100, 10, 10, 10, 10, 10]).usual().expect("known");
        assert_eq!((twice.limit(3), twice.by_half()), (30, 15));
    }
}
