//! Exact unit prices: whole multiples of 10⁻²⁴ USD, and the one rounding of a call to pico-dollars.
//!
//! 24 places hold a price per million tokens written with 18 decimals. A deeper or larger text is refused, never cut.

use std::fmt;

use sluice_schemas::PicoUsd;

/// Decimal places of a unit price.
const PLACES: u32 = 24;
/// Unit-price steps in one pico-dollar.
const PER_PICO: u128 = 1_000_000_000_000;
/// Largest unit price, in USD: an hour of bought capacity stays below it, and 2⁴⁰ tokens at 100 USD do not overflow.
const MAX_USD: u128 = 10_000;
const ONE_USD: u128 = 10_u128.pow(PLACES);

/// Price of one unit (a token, an image, a query, a second), never negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitPrice(u128);

/// Why the text of a price was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PriceTextError {
    /// Not a decimal number without a sign.
    #[error("'{text}' is not a price: write digits like \"0.25\"")]
    Syntax {
        /// The refused text.
        text: String,
    },
    /// Not a whole multiple of 10⁻²⁴ USD a unit.
    #[error("'{text}' is finer than 10^-24 USD a unit")]
    TooDeep {
        /// The refused text.
        text: String,
    },
    /// Above 10,000 USD a unit.
    #[error("'{text}' is above 10000 USD a unit")]
    TooLarge {
        /// The refused text.
        text: String,
    },
}

impl UnitPrice {
    /// Free.
    pub const ZERO: Self = Self(0);

    /// Reads `0.25` as USD for `10^power` units, exactly: `power` 0 for one unit, 3 for a thousand, 6 for a million.
    pub fn parse(text: &str, power: u32) -> Result<Self, PriceTextError> {
        if text.bytes().any(|byte| matches!(byte, b'e' | b'E')) {
            return Err(PriceTextError::Syntax { text: text.to_owned() });
        }
        Self::parse_number(text, power)
    }

    /// Like [`UnitPrice::parse`], also for the exponent form of JSON numbers (`3.3e-06`), read from the text as written.
    pub fn parse_number(text: &str, power: u32) -> Result<Self, PriceTextError> {
        let syntax = || PriceTextError::Syntax { text: text.to_owned() };
        let too_deep = || PriceTextError::TooDeep { text: text.to_owned() };
        let too_large = || PriceTextError::TooLarge { text: text.to_owned() };
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i16>().map_err(|_| syntax())?),
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(fraction) {
            return Err(syntax());
        }
        let fraction = fraction.trim_end_matches('0');
        let all = format!("{whole}{fraction}");
        let significant = all.trim_start_matches('0');
        let trimmed = significant.trim_end_matches('0');
        if trimmed.is_empty() {
            return Ok(Self::ZERO);
        }
        let value: u128 = trimmed.parse().map_err(|_| too_deep())?;
        let zeros = (significant.len() - trimmed.len()) as i64;
        let shift = i64::from(PLACES) + zeros + i64::from(exponent) - fraction.len() as i64 - i64::from(power);
        let shift = u32::try_from(shift).map_err(|_| too_deep())?;
        let scaled = 10_u128.checked_pow(shift).and_then(|factor| value.checked_mul(factor)).ok_or_else(too_large)?;
        if scaled > MAX_USD * ONE_USD {
            return Err(too_large());
        }
        Ok(Self(scaled))
    }

    /// Returns the price as multiples of 10⁻²⁴ USD.
    #[must_use]
    pub const fn steps(self) -> u128 {
        self.0
    }

    /// Returns the price of so many multiples of 10⁻²⁴ USD, or `None` above the largest price.
    pub(crate) fn from_steps(steps: u128) -> Option<Self> {
        (steps <= MAX_USD * ONE_USD).then_some(Self(steps))
    }

    /// Tells whether the unit is free.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// Returns `self * factor`, or `None` above the largest price.
    #[must_use]
    pub fn times(self, factor: u32) -> Option<Self> {
        self.0.checked_mul(u128::from(factor)).filter(|steps| *steps <= MAX_USD * ONE_USD).map(Self)
    }

    /// Returns `self * numerator / denominator`; digits below 10⁻²⁴ USD are rounded half to even, which cannot move a call
    /// by more than one pico-dollar.
    #[must_use]
    pub(super) fn scaled(self, numerator: u128, denominator: u128) -> Self {
        Self(round_half_even(self.0.saturating_mul(numerator), denominator))
    }

    /// Writes the price of `10^power` units in USD, exactly and without trailing zeros.
    #[must_use]
    pub fn to_text(self, power: u32) -> String {
        let places = PLACES.saturating_sub(power);
        let unit = 10_u128.pow(places);
        let (whole, fraction) = (self.0 / unit, self.0 % unit);
        let fraction = format!("{fraction:0width$}", width = places as usize);
        let fraction = fraction.trim_end_matches('0');
        if fraction.is_empty() { whole.to_string() } else { format!("{whole}.{fraction}") }
    }
}

impl fmt::Display for UnitPrice {
    /// Writes USD a unit.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_text(0))
    }
}

/// Divides, rounding half to even.
pub(super) const fn round_half_even(value: u128, divisor: u128) -> u128 {
    let quotient = value / divisor;
    // A second 128-bit division for the rest would cost as much as the first.
    let rest = value - quotient * divisor;
    let double = rest * 2;
    if double > divisor || (double == divisor && !quotient.is_multiple_of(2)) { quotient + 1 } else { quotient }
}

/// Rounds a sum of units × [`UnitPrice::steps`] to pico-dollars, half to even: the one rounding of a call.
#[must_use]
pub(super) const fn to_pico(sum: u128) -> PicoUsd {
    // A quotient by 10¹² of any `u128` fits.
    PicoUsd(round_half_even(sum, PER_PICO) as i128)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_prices_and_refuses_what_it_cannot_hold() {
        assert_eq!(UnitPrice::parse("3.3", 6), UnitPrice::parse_number("3.3e-06", 0));
        assert_eq!(UnitPrice::parse_number("3.3E-6", 0).map(|price| price.to_text(6)), Ok("3.3".to_owned()));
        assert_eq!(UnitPrice::parse("0.00", 6), Ok(UnitPrice::ZERO));
        assert_eq!(UnitPrice::parse("10000", 0).map(|price| price.to_string()), Ok("10000".to_owned()));
        assert_eq!(UnitPrice::parse("0.000000000000000001", 6).map(UnitPrice::steps), Ok(1));
        for bad in ["", ".", "1.", "-1", "+1", "NaN", "1e3", "1_0", "0x1", " 1", "1,5"] {
            assert!(matches!(UnitPrice::parse(bad, 6), Err(PriceTextError::Syntax { .. })), "{bad}");
        }
        assert!(matches!(UnitPrice::parse("0.0000000000000000001", 6), Err(PriceTextError::TooDeep { .. })));
        assert!(matches!(UnitPrice::parse_number("1e-25", 0), Err(PriceTextError::TooDeep { .. })));
        assert!(matches!(UnitPrice::parse("10000.1", 0), Err(PriceTextError::TooLarge { .. })));
        assert!(matches!(UnitPrice::parse_number("1e4000", 0), Err(PriceTextError::TooLarge { .. })));
        assert!(matches!(UnitPrice::parse_number("1e99999", 0), Err(PriceTextError::Syntax { .. })));
    }

    #[test]
    fn halves_go_to_the_even_neighbour() {
        let half = PER_PICO / 2;
        for (steps, pico) in [(half, 0), (half + 1, 1), (3 * half, 2), (5 * half, 2), (5 * half - 1, 2), (5 * half + 1, 3)] {
            assert_eq!(to_pico(steps), PicoUsd(pico), "{steps}");
        }
    }

    proptest! {
        #[test]
        fn text_round_trips(steps in 0..MAX_USD * ONE_USD, power in prop_oneof![Just(0_u32), Just(3), Just(6)]) {
            let price = UnitPrice(steps);
            prop_assert_eq!(UnitPrice::parse(&price.to_text(power), power), Ok(price));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9.eE+-]{0,40}") {
            if let Ok(price) = UnitPrice::parse_number(&text, 6) {
                prop_assert_eq!(UnitPrice::parse(&price.to_text(6), 6), Ok(price));
            }
        }
    }
}
