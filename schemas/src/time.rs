//! Event time as microseconds since the Unix epoch, UTC, and the arithmetic of fixed windows.
//!
//! Windows are half-open `[start, end)` and right for times before 1970 (`div_euclid`, never `/`).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A moment: microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Micros(pub i64);

/// One second in [`Micros`].
pub const SECOND: i64 = 1_000_000;
/// One minute in [`Micros`].
pub const MINUTE: i64 = 60 * SECOND;
/// One hour in [`Micros`].
pub const HOUR: i64 = 60 * MINUTE;
/// One day in [`Micros`].
pub const DAY: i64 = 24 * HOUR;

/// Why a timestamp text was refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("'{text}' is not a UTC timestamp like 2026-10-01T00:00:00Z")]
pub struct TimeError {
    /// The refused text.
    pub text: String,
}

impl Micros {
    /// Returns the start of the window of `width` microseconds (greater than zero) that holds this moment.
    #[must_use]
    pub const fn floor(self, width: i64) -> Self {
        Self(self.0 - self.0.rem_euclid(width))
    }

    /// Returns the number of whole days since 1970-01-01.
    #[must_use]
    pub const fn day(self) -> i32 {
        self.0.div_euclid(DAY) as i32
    }

    /// Returns the number of whole hours since 1970-01-01T00.
    #[must_use]
    pub const fn hour(self) -> i64 {
        self.0.div_euclid(HOUR)
    }

    /// Returns the moment `micros` later.
    #[must_use]
    pub const fn plus(self, micros: i64) -> Self {
        Self(self.0.saturating_add(micros))
    }

    /// Reads `YYYY-MM-DDTHH:MM:SS[.fraction]Z` (also `+00:00`), the form of invocation logs and CloudTrail.
    #[must_use]
    pub fn parse_utc(text: &[u8]) -> Option<Self> {
        let (head, tail) = text.split_at_checked(19)?;
        let pair = |at: usize| -> Option<i64> {
            let (high, low) = (head[at].wrapping_sub(b'0'), head[at + 1].wrapping_sub(b'0'));
            (high <= 9 && low <= 9).then_some(i64::from(high) * 10 + i64::from(low))
        };
        let marks = head[4] == b'-' && head[7] == b'-' && matches!(head[10], b'T' | b't' | b' ') && head[13] == b':' && head[16] == b':';
        if !marks {
            return None;
        }
        let (year, month, day) = (pair(0)? * 100 + pair(2)?, pair(5)?, pair(8)?);
        let (hour, minute, second) = (pair(11)?, pair(14)?, pair(17)?);
        let in_range =
            (1..=12).contains(&month) && (1..=days_in_month(year, month)).contains(&day) && hour < 24 && minute < 60 && second < 61;
        if !in_range {
            return None;
        }
        let (fraction, zone) = split_fraction(tail)?;
        if !matches!(zone, b"Z" | b"z" | b"+00:00" | b"+0000") {
            return None;
        }
        let days = days_from_civil(year, month, day);
        Some(Self(days * DAY + hour * HOUR + minute * MINUTE + second * SECOND + fraction))
    }
}

/// Splits `.123456789Z` into microseconds (further digits are cut) and the zone.
fn split_fraction(tail: &[u8]) -> Option<(i64, &[u8])> {
    let Some(rest) = tail.strip_prefix(b".") else {
        return Some((0, tail));
    };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 {
        return None;
    }
    let shown = rest[..digits].iter().map(|digit| i64::from(digit - b'0')).chain(std::iter::repeat(0));
    let micros = shown.take(6).fold(0, |micros, digit| micros * 10 + digit);
    Some((micros, &rest[digits..]))
}

const fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a proleptic Gregorian date.
#[must_use]
pub const fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Year, month and day of a number of days since 1970-01-01.
#[must_use]
pub const fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + (month <= 2) as i64;
    (year, month, day)
}

/// Formats a number of days since 1970-01-01 as `YYYY-MM-DD`, the value of every `dt` partition.
#[must_use]
pub fn format_day(days: i32) -> String {
    let (year, month, day) = civil_from_days(i64::from(days));
    format!("{year:04}-{month:02}-{day:02}")
}

/// Reads `YYYY-MM-DD` as days since 1970-01-01.
#[must_use]
pub fn parse_day(text: &str) -> Option<i32> {
    Micros::parse_utc(format!("{text}T00:00:00Z").as_bytes()).map(Micros::day)
}

impl fmt::Display for Micros {
    /// Writes RFC 3339 in UTC, with microseconds only where there are any.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of_day = self.0.rem_euclid(DAY);
        let (hour, minute, second) = (of_day / HOUR, of_day / MINUTE % 60, of_day / SECOND % 60);
        write!(f, "{}T{hour:02}:{minute:02}:{second:02}", format_day(self.day()))?;
        match of_day % SECOND {
            0 => f.write_str("Z"),
            micros => write!(f, ".{micros:06}Z"),
        }
    }
}

impl FromStr for Micros {
    type Err = TimeError;
    fn from_str(text: &str) -> Result<Self, TimeError> {
        Self::parse_utc(text.as_bytes()).ok_or_else(|| TimeError { text: text.to_owned() })
    }
}

impl Serialize for Micros {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Micros {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_the_forms_of_the_logs() {
        assert_eq!("1970-01-01T00:00:00Z".parse(), Ok(Micros(0)));
        assert_eq!("2026-10-01T00:00:01.5Z".parse::<Micros>().map(|t| t.to_string()), Ok("2026-10-01T00:00:01.500000Z".to_owned()));
        for bad in [
            "",
            "2026-02-30T00:00:00Z",
            "2026-10-01T00:00:00",
            "2026-10-01T24:00:00Z",
            "2026-10-01T00:00:00.Z",
            "2026-10-01T00:00:00+02:00",
            "２026-10-01T00:00:00Z",
        ] {
            assert!(bad.parse::<Micros>().is_err(), "{bad}");
        }
    }

    #[test]
    fn floor_is_right_before_1970() {
        assert_eq!(Micros(-1).floor(MINUTE), Micros(-MINUTE));
        assert_eq!(Micros(-1).day(), -1);
    }

    proptest! {
        #[test]
        fn text_round_trips(micros in -62_135_596_800_000_000_i64..253_402_300_799_999_999) {
            prop_assert_eq!(Micros(micros).to_string().parse::<Micros>(), Ok(Micros(micros)));
        }
    }
}
