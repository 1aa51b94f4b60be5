//! Exact money: `i128` pico-dollars (10⁻¹² USD), the unit of every sum in the project.
//!
//! A float never touches money: the sum of `f64` amounts changes with the order and the split of a batch.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Neg, Sub, SubAssign};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Decimal places of a pico-dollar amount, the scale of every money column (`Decimal128(38, 12)`).
pub const SCALE: u32 = 12;
const ONE_USD: i128 = 1_000_000_000_000;
/// Largest magnitude a `Decimal128(38, 12)` column can hold.
const MAX_DECIMAL38: i128 = 99_999_999_999_999_999_999_999_999_999_999_999_999;

/// An amount in pico-dollars.
///
/// Sums saturate nowhere: the largest single call (2⁴⁰ tokens of each class at 1 USD a token) is below 10²⁵ pico-dollars,
/// so 10¹³ of them fit before `i128` could overflow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PicoUsd(pub i128);

/// Why a money text was refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MoneyError {
    /// Not of the form `[-]digits[.digits]`, optionally followed by ` USD`.
    #[error("'{text}' is not an amount: write it like \"25.00 USD\"")]
    Syntax {
        /// The refused text.
        text: String,
    },
    /// More than twelve decimal places.
    #[error("'{text}' has more than 12 decimal places")]
    TooPrecise {
        /// The refused text.
        text: String,
    },
    /// Beyond what `Decimal128(38, 12)` holds.
    #[error("'{text}' is too large")]
    TooLarge {
        /// The refused text.
        text: String,
    },
}

impl PicoUsd {
    /// No money.
    pub const ZERO: Self = Self(0);

    /// Returns an amount of whole dollars.
    #[must_use]
    pub const fn from_dollars(dollars: i64) -> Self {
        Self(dollars as i128 * ONE_USD)
    }

    /// Returns the sum, or `None` past the range of a money column.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).filter(|sum| sum.abs() <= MAX_DECIMAL38).map(Self)
    }

    /// Returns `self * percent_millis / 100_000`, rounded down: the amount at a threshold given in thousandths of a percent.
    #[must_use]
    pub fn at_percent_millis(self, percent_millis: u32) -> Self {
        let percent = i128::from(percent_millis);
        let whole = self.0 / 100_000 * percent;
        Self(whole + self.0 % 100_000 * percent / 100_000)
    }

    /// Formats with a dollar sign and `places` decimals, rounded half away from zero; for people, never for sums.
    #[must_use]
    pub fn display(self, places: u32) -> String {
        let places = places.min(SCALE);
        let unit = 10_i128.pow(SCALE - places);
        let rounded = (self.0.abs() + unit / 2) / unit;
        let sign = if self.0 < 0 && rounded != 0 { "-" } else { "" };
        let base = 10_i128.pow(places);
        let (whole, fraction) = (rounded / base, rounded % base);
        let digits = whole.to_string();
        let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index) % 3 == 0 {
                grouped.push(',');
            }
            grouped.push(digit);
        }
        if places == 0 {
            return format!("{sign}${grouped}");
        }
        format!("{sign}${grouped}.{fraction:0width$}", width = places as usize)
    }
}

impl PicoUsd {
    /// Writes an amount as [`PicoUsd::display`] does; one that would round to zero and is not gets the decimals of its first two digits.
    #[must_use]
    pub fn shown(self, places: u32) -> String {
        let magnitude = self.0.unsigned_abs();
        let one = |places: u32| 10_u128.pow(SCALE - places.min(SCALE));
        let mut places = places.min(SCALE);
        if magnitude > 0 && magnitude < one(places).div_ceil(2) {
            while magnitude < one(places) {
                places += 1;
            }
            places += 1;
        }
        self.display(places)
    }
}

impl fmt::Display for PicoUsd {
    /// Writes the exact amount with all twelve decimals, without a unit.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let magnitude = self.0.unsigned_abs();
        let one = ONE_USD.unsigned_abs();
        let sign = if self.0 < 0 { "-" } else { "" };
        write!(f, "{sign}{}.{:012}", magnitude / one, magnitude % one)
    }
}

impl FromStr for PicoUsd {
    type Err = MoneyError;

    /// Reads `25`, `25.00`, `25.00 USD` or `$25.00`, exactly.
    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let syntax = || MoneyError::Syntax { text: text.to_owned() };
        let too_large = || MoneyError::TooLarge { text: text.to_owned() };
        let body = text.trim();
        let body = body.strip_suffix("USD").map_or(body, str::trim_end);
        let (negative, body) = match body.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, body),
        };
        let body = body.strip_prefix('$').unwrap_or(body);
        let (whole, fraction) = body.split_once('.').unwrap_or((body, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(fraction) {
            return Err(syntax());
        }
        let fraction = fraction.trim_end_matches('0');
        if fraction.len() > SCALE as usize {
            return Err(MoneyError::TooPrecise { text: text.to_owned() });
        }
        let whole: i128 = whole.parse().map_err(|_| too_large())?;
        let padded = format!("{fraction:0<12}");
        let fraction: i128 = padded.parse().map_err(|_| syntax())?;
        let amount = whole.checked_mul(ONE_USD).and_then(|pico| pico.checked_add(fraction)).ok_or_else(too_large)?;
        if amount > MAX_DECIMAL38 {
            return Err(too_large());
        }
        Ok(Self(if negative { -amount } else { amount }))
    }
}

impl Serialize for PicoUsd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PicoUsd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl Add for PicoUsd {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}
impl AddAssign for PicoUsd {
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}
impl Sub for PicoUsd {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}
impl SubAssign for PicoUsd {
    fn sub_assign(&mut self, other: Self) {
        self.0 -= other.0;
    }
}
impl Neg for PicoUsd {
    type Output = Self;
    fn neg(self) -> Self {
        Self(-self.0)
    }
}
impl Sum for PicoUsd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_people_write() {
        assert_eq!("25.00 USD".parse(), Ok(PicoUsd::from_dollars(25)));
        assert_eq!("$0.000000000001".parse(), Ok(PicoUsd(1)));
        assert_eq!("-3.5".parse(), Ok(PicoUsd(-3_500_000_000_000)));
        assert!(matches!("1e3".parse::<PicoUsd>(), Err(MoneyError::Syntax { .. })));
        assert!(matches!("NaN".parse::<PicoUsd>(), Err(MoneyError::Syntax { .. })));
        assert!(matches!("0.0000000000001".parse::<PicoUsd>(), Err(MoneyError::TooPrecise { .. })));
        assert!(matches!("9".repeat(30).parse::<PicoUsd>(), Err(MoneyError::TooLarge { .. })));
    }

    #[test]
    fn displays_for_people() {
        assert_eq!(PicoUsd::from_dollars(1_234_567).display(2), "$1,234,567.00");
        assert_eq!(PicoUsd(-1_995_000_000_000).display(2), "-$2.00");
        assert_eq!(PicoUsd(999_999_999_999).display(0), "$1");
        let shown = |pico: i128| PicoUsd(pico).shown(2);
        assert_eq!([0, 3_300_000_000, 5_000_000_000, 1_234_567_000_000].map(shown), ["$0.00", "$0.0033", "$0.01", "$1.23"]);
        assert_eq!([1, -15, 99, 9_990_000].map(shown), ["$0.000000000001", "-$0.000000000015", "$0.000000000099", "$0.0000100"]);
    }

    proptest! {
        #[test]
        fn text_round_trips(pico in -MAX_DECIMAL38..=MAX_DECIMAL38) {
            prop_assert_eq!(PicoUsd(pico).to_string().parse::<PicoUsd>(), Ok(PicoUsd(pico)));
        }

        #[test]
        fn threshold_is_exact_floor(cents in 0_i128..1_000_000_000_000, percent in 0_u32..200_000) {
            let limit = PicoUsd(cents * 10_000_000_000);
            prop_assert_eq!(limit.at_percent_millis(percent).0, limit.0 * i128::from(percent) / 100_000);
        }
    }
}
