//! Reads the numbers of a record exactly: counts, and seconds as milliseconds. No float is made.

use sluice_schemas::usage::MAX_TOKENS;

use super::fault::{Fault, Field};

/// Largest duration accepted, in milliseconds: a year.
const MAX_MILLIS: u64 = 366 * 86_400_000;

/// Reads a count: digits only, at most [`MAX_TOKENS`]; `null` is absent.
pub(super) fn count(token: &[u8], field: Field) -> Result<Option<u64>, Fault> {
    if token == b"null" {
        return Ok(None);
    }
    match plain(token) {
        Some(value) if value <= MAX_TOKENS => Ok(Some(value)),
        Some(_) => Err(Fault::OutOfRange(field)),
        None if token.strip_prefix(b"-").and_then(plain).is_some() => Err(Fault::OutOfRange(field)),
        None => Err(Fault::Malformed(field)),
    }
}

/// Reads a whole number without sign, point, exponent or leading zero; one beyond `u64` becomes the greatest.
pub(super) fn plain(token: &[u8]) -> Option<u64> {
    let (&first, rest) = token.split_first()?;
    if !first.is_ascii_digit() || (first == b'0' && !rest.is_empty()) {
        return None;
    }
    let mut value = 0_u64;
    for &byte in token {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.saturating_mul(10).saturating_add(u64::from(digit));
    }
    Some(value)
}

/// Reads seconds such as `6` or `5.005` as milliseconds, what is finer cut off; `null` is absent.
pub(super) fn millis(token: &[u8], field: Field) -> Result<Option<u64>, Fault> {
    if token == b"null" {
        return Ok(None);
    }
    let point = token.iter().position(|&byte| byte == b'.');
    let (whole, fraction) = point.map_or((token, &b"0"[..]), |at| (&token[..at], &token[at + 1..]));
    let seconds = match plain(whole) {
        Some(seconds) => seconds,
        None if whole.strip_prefix(b"-").and_then(plain).is_some() => return Err(Fault::OutOfRange(field)),
        None => return Err(Fault::Malformed(field)),
    };
    if fraction.is_empty() || !fraction.iter().all(u8::is_ascii_digit) {
        return Err(Fault::Malformed(field));
    }
    let thousandths = (0..3).fold(0, |sum, place| sum * 10 + fraction.get(place).map_or(0, |digit| u64::from(digit - b'0')));
    let value = seconds.saturating_mul(1000).saturating_add(thousandths);
    if value > MAX_MILLIS { Err(Fault::OutOfRange(field)) } else { Ok(Some(value)) }
}

/// Tells whether `token` is a JSON number, `true`, `false` or `null`.
pub(super) fn is_scalar(token: &[u8]) -> bool {
    matches!(token, b"true" | b"false" | b"null") || is_number(token)
}

fn is_number(token: &[u8]) -> bool {
    let token = token.strip_prefix(b"-").unwrap_or(token);
    let (whole, rest) = digits(token);
    if whole.is_empty() || (whole.len() > 1 && whole[0] == b'0') {
        return false;
    }
    let rest = match rest.strip_prefix(b".") {
        Some(tail) => match digits(tail) {
            ([], _) => return false,
            (_, rest) => rest,
        },
        None => rest,
    };
    match rest {
        [] => true,
        [b'e' | b'E', exponent @ ..] => {
            let exponent = exponent.strip_prefix(b"-").or_else(|| exponent.strip_prefix(b"+")).unwrap_or(exponent);
            !exponent.is_empty() && exponent.iter().all(u8::is_ascii_digit)
        }
        _ => false,
    }
}

fn digits(token: &[u8]) -> (&[u8], &[u8]) {
    token.split_at(token.iter().take_while(|byte| byte.is_ascii_digit()).count())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const F: Field = Field::InputTokens;
    const OUT_OF_RANGE: Result<Option<u64>, Fault> = Err(Fault::OutOfRange(F));
    const MALFORMED: Result<Option<u64>, Fault> = Err(Fault::Malformed(F));

    #[test]
    fn counts() {
        assert_eq!(count(b"0", F), Ok(Some(0)));
        assert_eq!(count(b"1099511627776", F), Ok(Some(MAX_TOKENS)));
        assert_eq!(count(b"null", F), Ok(None));
        for text in ["1099511627777", "18446744073709551616", "99999999999999999999999999999999999999999", "-1", "-0"] {
            assert_eq!(count(text.as_bytes(), F), OUT_OF_RANGE, "{text}");
        }
        for text in ["", "1.0", "1e3", "01", "+1", "NaN", "Infinity", "0x10", "1_000", "true", "--1", "-", "-1.5", "١"] {
            assert_eq!(count(text.as_bytes(), F), MALFORMED, "{text}");
        }
    }

    #[test]
    fn durations() {
        for (text, millis_expected) in [("6", 6000), ("6.0", 6000), ("5.005", 5005), ("0.9999", 999)] {
            assert_eq!(millis(text.as_bytes(), F), Ok(Some(millis_expected)), "{text}");
        }
        assert_eq!(millis(b"null", F), Ok(None));
        assert_eq!(millis(b"1e3", F), MALFORMED);
        assert_eq!(millis(b"6.", F), MALFORMED);
        assert_eq!(millis(b"-1.5", F), OUT_OF_RANGE);
        assert_eq!(millis(b"99999999999999999999", F), OUT_OF_RANGE);
    }

    proptest! {
        #[test]
        fn scalars_are_those_of_json(token in r"-?[0-9eE.+-]{0,6}|true|false|null|NaN|tru") {
            // serde_json refuses the numbers that overflow a float; the form is all that is asked here.
            let theirs = serde_json::from_str::<serde_json::Number>(&token).is_ok()
                || serde_json::from_str::<Option<bool>>(&token).is_ok()
                || serde_json::from_str::<serde_json::Number>(&token).is_err_and(|e| e.to_string().contains("out of range"));
            prop_assert_eq!(is_scalar(token.as_bytes()), theirs);
        }
    }
}
