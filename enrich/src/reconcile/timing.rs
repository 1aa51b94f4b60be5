//! Usage on the other side of midnight: AWS meters by the hour, and a call of the last hour of a day may be billed on the next one.
//!
//! Two neighbouring days of one line and principal whose differences are opposite cancel as far as both reach, and no further than
//! what our side has in the hour at that midnight.

use std::collections::BTreeMap;

use super::causes::{BilledSums, Moved};
use super::ours::OurSums;
use super::wide::{Round, ratio};

/// Both sides of one line of one principal, by day, and what was moved between the days.
pub(super) type Days = BTreeMap<i32, Day>;

/// Both sides of a day.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Day {
    pub(super) billed: BilledSums,
    pub(super) ours: OurSums,
    pub(super) moved: Moved,
}

impl Day {
    fn left(&self) -> i128 {
        self.billed.quantity - self.ours.quantity - self.moved.quantity
    }
}

/// Moves usage between neighbouring days, earliest first.
pub(super) fn match_days(days: &mut Days) {
    let dates: Vec<i32> = days.keys().copied().collect();
    for pair in dates.windows(2).filter(|pair| pair[0] + 1 == pair[1]) {
        let (Some(&first), Some(&second)) = (days.get(&pair[0]), days.get(&pair[1])) else { continue };
        let (left_first, left_second) = (first.left(), second.left());
        // The day whose calls are billed on the other one, and what it has in the hour at that midnight.
        let (source, at_midnight) = match () {
            () if left_first < 0 && left_second > 0 => (first, first.ours.last_hour),
            () if left_first > 0 && left_second < 0 => (second, second.ours.first_hour),
            () => continue,
        };
        let quantity = left_first.abs().min(left_second.abs()).min(at_midnight);
        let cost = if source.ours.priced > 0 { ratio(source.ours.cost, quantity, source.ours.priced, Round::HalfEven) } else { None };
        let Some(cost) = cost.filter(|_| quantity > source.billed.quantity_open) else { continue };
        let sign = left_first.signum();
        for (date, sign) in [(pair[0], sign), (pair[1], -sign)] {
            if let Some(day) = days.get_mut(&date) {
                day.moved.quantity += sign * quantity;
                day.moved.cost += sign * cost;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(billed: i128, ours: i128, first_hour: i128, last_hour: i128) -> Day {
        let ours =
            OurSums { calls: 1, quantity: ours, priced: ours, first_hour, last_hour, cost: ours * 3, list: ours * 3, ..OurSums::default() };
        Day { billed: BilledSums { lines: 1, quantity: billed, ..BilledSums::default() }, ours, moved: Moved::default() }
    }

    fn moved(days: &[(i32, Day)]) -> Vec<(i128, i128)> {
        let mut days: Days = days.iter().copied().collect();
        match_days(&mut days);
        days.values().map(|day| (day.moved.quantity, day.moved.cost)).collect()
    }

    #[test]
    fn late_metering_is_capped_by_the_last_hour() {
        assert_eq!(moved(&[(1, day(90, 100, 0, 50)), (2, day(110, 100, 0, 0))]), [(-10, -30), (10, 30)]);
        assert_eq!(moved(&[(1, day(90, 100, 0, 4)), (2, day(110, 100, 0, 0))]), [(-4, -12), (4, 12)]);
        assert_eq!(moved(&[(1, day(90, 100, 50, 0)), (2, day(110, 100, 50, 0))]), [(0, 0), (0, 0)]);
    }

    #[test]
    fn early_metering_is_capped_by_the_first_hour() {
        assert_eq!(moved(&[(1, day(107, 100, 0, 0)), (2, day(90, 100, 50, 0))]), [(7, 21), (-7, -21)]);
    }

    #[test]
    fn only_neighbours_and_only_opposites() {
        assert_eq!(moved(&[(1, day(90, 100, 9, 9)), (3, day(110, 100, 9, 9))]), [(0, 0), (0, 0)]);
        assert_eq!(moved(&[(1, day(90, 100, 9, 9)), (2, day(90, 100, 9, 9))]), [(0, 0), (0, 0)]);
    }

    #[test]
    fn a_day_between_two_passes_on_only_what_is_left() {
        let days = [(1, day(95, 100, 0, 50)), (2, day(98, 100, 50, 50)), (3, day(110, 100, 0, 0))];
        assert_eq!(moved(&days), [(0, 0), (-2, -6), (2, 6)]);
        let days = [(1, day(95, 100, 0, 50)), (2, day(108, 100, 50, 50)), (3, day(90, 100, 4, 0))];
        assert_eq!(moved(&days), [(-5, -15), (8, 24), (-3, -9)]);
    }
}
