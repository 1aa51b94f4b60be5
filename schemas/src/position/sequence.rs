//! Sequence numbers of stream records, which outgrow every integer type.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Digits beyond which nothing is a sequence number: Kinesis writes at most 128.
const MAX_DIGITS: usize = 128;

/// A whole number of any size in decimal digits without leading zeros, ordered by value; empty for "none", which is the least.
/// Kinesis documents its sequence numbers as such texts (API reference, `Record.SequenceNumber`: `0|([1-9]\d{0,128})`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sequence(Box<str>);

/// A text that is no sequence number.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is no sequence number: decimal digits without leading zeros are expected")]
pub struct SequenceError {
    text: String,
}

impl Sequence {
    /// Reads a number; the empty text is "none".
    ///
    /// # Errors
    /// Anything but up to 129 decimal digits without leading zeros.
    pub fn parse(text: &str) -> Result<Self, SequenceError> {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        if digits && text.len() <= MAX_DIGITS + 1 && (text.len() <= 1 || !text.starts_with('0')) {
            Ok(Self(text.into()))
        } else {
            Err(SequenceError { text: text.chars().take(140).collect() })
        }
    }

    /// Returns whether there is no number.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Ord for Sequence {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.len().cmp(&other.0.len()).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for Sequence {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Sequence {
    type Error = SequenceError;

    fn try_from(text: String) -> Result<Self, SequenceError> {
        Self::parse(&text)
    }
}

impl From<Sequence> for String {
    fn from(sequence: Sequence) -> Self {
        sequence.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::Sequence;

    #[test]
    fn order_is_by_value_not_by_text() {
        let numbers = [
            "",
            "0",
            "9",
            "10",
            "49590338271490256608559692538361571095921575989136588898",
            "149590338271490256608559692538361571095921575989136588898",
        ];
        let parsed: Vec<Sequence> = numbers.iter().map(|text| Sequence::parse(text).expect("a number")).collect();
        assert!(parsed.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn refuses_what_is_no_number() {
        for text in ["01", "-1", "1.0", "1e3", "abc", " 1", &"9".repeat(130)] {
            assert!(Sequence::parse(text).is_err(), "{text}");
        }
    }
}
