//! Amounts of a report as whole numbers of 10⁻¹², from their text: a float's is the shortest that stands for it.

/// Decimal places kept.
const PLACES: i32 = 12;
/// Largest amount taken: far above any bill, far below what sums hold.
const LIMIT: i128 = 1_000_000_000_000_000_000_000_000_000_000;

/// An amount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Number {
    /// In 10⁻¹², rounded half to even.
    pub(super) value: i128,
    /// Decimal places written.
    pub(super) digits: u32,
}

impl Number {
    /// Reads `12`, `-0.0693000000`, `6.93e-05`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i16>().ok()?),
            None => (unsigned, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(fraction) || (whole.is_empty() && fraction.is_empty()) {
            return None;
        }
        let places = i32::try_from(fraction.len()).ok()? - i32::from(exponent);
        let all = format!("{whole}{fraction}");
        let all = all.trim_start_matches('0');
        let value = scale(all, places - PLACES)?;
        Some(Self { value: if negative { -value } else { value }, digits: u32::try_from(places).unwrap_or(0) })
    }

    /// Returns a decimal of a column of that scale; zeros at its end are the column's, not the amount's.
    pub(super) fn of_decimal(value: i128, scale_of_column: i8) -> Option<Self> {
        if value == 0 {
            return Some(Self::default());
        }
        let digits = value.unsigned_abs().to_string();
        let trimmed = digits.trim_end_matches('0');
        let zeros = i32::try_from(digits.len() - trimmed.len()).ok()?;
        let places = (i32::from(scale_of_column) - zeros).max(0);
        let magnitude = scale(digits.trim_start_matches('0'), i32::from(scale_of_column) - PLACES)?;
        Some(Self { value: if value < 0 { -magnitude } else { magnitude }, digits: u32::try_from(places).unwrap_or(0) })
    }
}

/// Returns digits divided by 10^`places`, rounded half to even; `None` above the limit.
fn scale(digits: &str, places: i32) -> Option<i128> {
    let Ok(cut) = usize::try_from(places) else {
        let value: i128 = if digits.is_empty() { 0 } else { digits.parse().ok()? };
        let factor = if value == 0 { 1 } else { 10_i128.checked_pow(places.unsigned_abs())? };
        return value.checked_mul(factor).filter(|value| *value <= LIMIT);
    };
    if cut > digits.len() {
        return Some(0);
    }
    let (kept, dropped) = digits.split_at(digits.len() - cut);
    let kept: i128 = if kept.is_empty() { 0 } else { kept.parse().ok()? };
    let half = match dropped.as_bytes().split_first() {
        None | Some((b'0'..=b'4', _)) => std::cmp::Ordering::Less,
        Some((b'5', rest)) if rest.iter().all(|digit| *digit == b'0') => std::cmp::Ordering::Equal,
        Some(_) => std::cmp::Ordering::Greater,
    };
    let up = half == std::cmp::Ordering::Greater || (half == std::cmp::Ordering::Equal && kept % 2 == 1);
    Some(kept + i128::from(up)).filter(|value| *value <= LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Option<(i128, u32)> {
        Number::parse(text).map(|number| (number.value, number.digits))
    }

    #[test]
    fn reads_every_way_of_writing_an_amount() {
        for (text, value, digits) in [
            ("0.0693", 69_300_000_000, 4),
            ("0.0693000000", 69_300_000_000, 10),
            ("6.93e-05", 69_300_000, 7),
            ("-12", -12_000_000_000_000, 0),
            ("+1.", 1_000_000_000_000, 0),
            (".5", 500_000_000_000, 1),
            ("1E3", 1_000_000_000_000_000, 0),
            ("0", 0, 0),
            ("0.30000000000000004", 300_000_000_000, 17),
            ("0.0000000000005", 0, 13),
            ("0.0000000000015", 2, 13),
            ("0.00000000000050000001", 1, 20),
            ("1e-300", 0, 300),
            (" 7 ", 7_000_000_000_000, 0),
        ] {
            assert_eq!(read(text), Some((value, digits)), "{text}");
        }
        for text in ["", "-", ".", "1,5", "NaN", "inf", "1e", "0x1", "1e400", "1e19", "--1", "1.2.3"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn zeros_of_a_decimal_column_are_no_digits_of_the_amount() {
        assert_eq!(Number::of_decimal(6_930_000_000, 11), Some(Number { value: 69_300_000_000, digits: 4 }));
        assert_eq!(Number::of_decimal(0, 16), Some(Number { value: 0, digits: 0 }));
        assert_eq!(Number::of_decimal(-1_500, 2), Some(Number { value: -15_000_000_000_000, digits: 0 }));
        assert_eq!(Number::of_decimal(15_000, 16), Some(Number { value: 2, digits: 13 }));
    }

    proptest! {
        #[test]
        fn a_float_reads_as_its_shortest_text(units in -1_000_000_000_i64..1_000_000_000, places in 0_u32..10) {
            let float: f64 = format!("{units}e-{places}").parse().unwrap();
            let exact = i128::from(units) * 10_i128.pow(12 - places);
            prop_assert_eq!(Number::parse(&float.to_string()).map(|number| number.value), Some(exact));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[-+0-9.eE]{0,50}") {
            prop_assert!(Number::parse(&text).is_none_or(|number| number.value.abs() <= LIMIT));
        }
    }
}
