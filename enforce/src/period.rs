//! Which period of a budget an event belongs to. Event time decides, never the clock.
//!
//! Calendar periods are those of the budget's IANA time zone: a day may have 23 or 25 hours. Periods are half-open
//! `[start, end)`. A call is placed by the minute it happened in; zone offsets since 1972 are whole minutes.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use sluice_schemas::Micros;

use crate::budget::Window;

/// A calendar period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// First moment.
    pub start: Micros,
    /// First moment after it.
    pub end: Micros,
    /// Civil date of its first day.
    first: Date,
    window: Window,
}

impl Period {
    /// Returns the calendar period that holds `at`; `None` for a window without calendar, or a time no calendar reaches.
    #[must_use]
    pub fn holding(window: Window, zone: &TimeZone, at: Micros) -> Option<Self> {
        let date = Timestamp::from_microsecond(at.0).ok()?.to_zoned(zone.clone()).date();
        let (first, length) = match window {
            Window::Day => (date, Span::new().days(1)),
            Window::Week => {
                let since_monday = i32::from(date.weekday().to_monday_zero_offset());
                (date.checked_sub(Span::new().days(since_monday)).ok()?, Span::new().weeks(1))
            }
            Window::Month => (date.first_of_month(), Span::new().months(1)),
            Window::Rolling { .. } | Window::Session | Window::Lifetime => return None,
        };
        let start = first_moment(first, zone)?;
        let end = first_moment(first.checked_add(length).ok()?, zone)?;
        Some(Self { start, end, first, window })
    }

    /// Returns the period before this one.
    #[must_use]
    pub fn previous(&self, zone: &TimeZone) -> Option<Self> {
        Self::holding(self.window, zone, self.start.plus(-1))
    }

    /// Tells whether `at` lies in the period.
    #[must_use]
    pub fn holds(&self, at: Micros) -> bool {
        self.start <= at && at < self.end
    }

    /// Returns its id: `2026-10-01`, `2026-W40` or `2026-10`.
    #[must_use]
    pub fn id(&self) -> String {
        match self.window {
            Window::Month => format!("{:04}-{:02}", self.first.year(), self.first.month()),
            Window::Week => {
                let week = self.first.iso_week_date();
                format!("{:04}-W{:02}", week.year(), week.week())
            }
            _ => self.first.to_string(),
        }
    }
}

/// First moment of a day; where midnight is skipped, the moment the clocks jump to; where it occurs twice, the first.
fn first_moment(date: Date, zone: &TimeZone) -> Option<Micros> {
    Some(Micros(date.to_zoned(zone.clone()).ok()?.timestamp().as_microsecond()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sluice_schemas::time::{DAY, HOUR, MINUTE};

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).expect("a bundled zone")
    }

    fn at(text: &str) -> Micros {
        text.parse().expect("a timestamp")
    }

    #[test]
    fn summer_time_days_have_23_and_25_hours() {
        let berlin = zone("Europe/Berlin");
        let spring = Period::holding(Window::Day, &berlin, at("2026-03-29T12:00:00Z")).expect("a day");
        assert_eq!((spring.end.0 - spring.start.0, spring.id()), (23 * HOUR, "2026-03-29".to_owned()));
        assert_eq!(spring.start, at("2026-03-28T23:00:00Z"));
        let autumn = Period::holding(Window::Day, &berlin, at("2026-10-25T12:00:00Z")).expect("a day");
        assert_eq!((autumn.end.0 - autumn.start.0, autumn.id()), (25 * HOUR, "2026-10-25".to_owned()));
        // The hour that occurs twice belongs to one day.
        for moment in ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"] {
            assert_eq!(Period::holding(Window::Day, &berlin, at(moment)), Some(autumn));
        }
    }

    #[test]
    fn a_skipped_midnight_starts_where_the_clock_lands() {
        let beirut = zone("Asia/Beirut");
        let day = Period::holding(Window::Day, &beirut, at("2026-03-29T12:00:00Z")).expect("a day");
        assert_eq!(day.start, at("2026-03-28T22:00:00Z"));
        assert_eq!(day.previous(&beirut).map(|before| before.end), Some(day.start));
    }

    #[test]
    fn weeks_start_on_monday_and_months_on_the_first() {
        let utc = zone("UTC");
        let week = Period::holding(Window::Week, &utc, at("2027-01-01T00:00:00Z")).expect("a week");
        assert_eq!((week.id(), week.start), ("2026-W53".to_owned(), at("2026-12-28T00:00:00Z")));
        let month = Period::holding(Window::Month, &utc, at("2028-02-29T23:59:59Z")).expect("a month");
        assert_eq!((month.id(), month.end), ("2028-02".to_owned(), at("2028-03-01T00:00:00Z")));
        assert_eq!(Period::holding(Window::Lifetime, &utc, Micros(0)), None);
    }

    proptest! {
        #[test]
        fn periods_tile_time(minute in 1_051_200_i64..52_560_000, window in 0_usize..3, name in 0_usize..5) {
            let zone = zone(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Pacific/Apia"][name]);
            let window = [Window::Day, Window::Week, Window::Month][window];
            let moment = Micros(minute * MINUTE);
            let period = Period::holding(window, &zone, moment).expect("a period");
            prop_assert!(period.holds(moment));
            let next = Period::holding(window, &zone, period.end).expect("a period");
            prop_assert_eq!(next.start, period.end);
            prop_assert_eq!(next.previous(&zone), Some(period));
            prop_assert_ne!(next.id(), period.id());
            prop_assert!(period.end.0 - period.start.0 >= DAY - 2 * HOUR);
        }
    }
}
