//! JSON whose form nobody promised: parameters and responses of events, attributes of spans.
//!
//! What is not as expected reads as nothing and refuses nothing; only its balance was asked when it was stepped over.

use super::fault::Fault;
use super::number;
use super::scan::{Scanner, Text};

/// Longest text, in bytes; a longer one is no name.
pub(super) const MAX_TEXT: usize = 4096;

/// A value as it stands in its record; empty for an absent one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Loose<'a>(&'a [u8]);

impl<'a> Loose<'a> {
    /// Steps over the next value and keeps its place.
    pub(super) fn read(scanner: &mut Scanner<'a>) -> Result<Self, Fault> {
        scanner.peek();
        let start = scanner.at();
        scanner.skip_value()?;
        Ok(Self(scanner.since(start)))
    }

    /// Hands every member of an object to `each`, up to the first that is none; nothing of another value.
    pub(super) fn members(self, mut each: impl FnMut(&[u8], Self)) {
        if self.0.first() != Some(&b'{') {
            return;
        }
        let read = Scanner::new(self.0).object(|scanner, key| {
            each(key, Self::read(scanner)?);
            Ok(())
        });
        // What stood before a fault was read; there is no more.
        read.unwrap_or_default();
    }

    /// Hands every element of an array to `each`, likewise.
    pub(super) fn elements(self, mut each: impl FnMut(Self)) {
        if self.0.first() != Some(&b'[') {
            return;
        }
        let read = Scanner::new(self.0).array(|scanner| {
            each(Self::read(scanner)?);
            Ok(())
        });
        read.unwrap_or_default();
    }

    /// Returns the member of this name; of several, the last.
    pub(super) fn member(self, name: &[u8]) -> Self {
        let mut found = Self::default();
        self.members(|key, value| {
            if key == name {
                found = value;
            }
        });
        found
    }

    /// Returns a string; an empty one for anything else, and for one longer than any name.
    pub(super) fn text(self) -> String {
        let Some(raw) = self.0.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")) else { return String::new() };
        let text = Text { raw, escaped: memchr::memchr(b'\\', raw).is_some() };
        let plain = text.bytes().ok().filter(|bytes| bytes.len() <= MAX_TEXT);
        plain.and_then(|bytes| String::from_utf8(bytes.into_owned()).ok()).unwrap_or_default()
    }

    /// Returns a string, or a number or truth value as it is written.
    pub(super) fn word(self) -> String {
        match self.0.first() {
            Some(b'"') => self.text(),
            Some(_) if self.0 != b"null" && number::is_scalar(self.0) => String::from_utf8_lossy(self.0).into_owned(),
            _ => String::new(),
        }
    }

    /// Returns a whole number, written as one or as a string of digits.
    pub(super) fn number(self) -> Option<u64> {
        let digits = self.0.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(self.0);
        number::plain(digits)
    }

    /// Tells whether the value is `true`, as a truth value or a word.
    pub(super) fn is_true(self) -> bool {
        matches!(self.0, b"true" | b"\"true\"")
    }

    /// Returns the bytes.
    pub(super) const fn raw(self) -> &'a [u8] {
        self.0
    }

    /// Tells whether there is no value.
    pub(super) const fn is_absent(self) -> bool {
        self.0.is_empty()
    }
}

/// Returns the first text that is not empty.
pub(super) fn first<const N: usize>(texts: [String; N]) -> String {
    texts.into_iter().find(|text| !text.is_empty()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loose(text: &str) -> Loose<'_> {
        Loose::read(&mut Scanner::new(text.as_bytes())).expect("a value")
    }

    #[test]
    fn what_is_not_as_expected_is_nothing() {
        for text in ["null", "7", "[]", "{}", "true"] {
            assert_eq!((loose(text).text(), loose(text).member(b"a").is_absent()), (String::new(), true), "{text}");
        }
        assert_eq!(loose(&format!("\"{}\"", "x".repeat(MAX_TEXT + 1))).text(), "");
        assert_eq!(Loose::default().text(), "");
        let mut seen = 0;
        loose(r#"{"a":1}"#).elements(|_| seen += 1);
        loose("[1]").members(|_, _| seen += 1);
        assert_eq!(seen, 0);
    }

    #[test]
    fn what_stands_before_a_fault_is_read() {
        assert_eq!(loose(r#"{"a":"x","b" "y"}"#).member(b"a").text(), "x");
        assert_eq!(loose(r#"{"a":"x","a":"y"}"#).member(b"a").text(), "y");
    }

    #[test]
    fn scalars() {
        assert_eq!(["\"a\\u0062\"", "12", "true", "null", "[1]"].map(|text| loose(text).word()), ["ab", "12", "true", "", ""]);
        assert_eq!(["\"12\"", "12", "-1", "1.5", "\"x\""].map(|text| loose(text).number()), [Some(12), Some(12), None, None, None]);
        assert_eq!(["true", "\"true\"", "1", "\"yes\""].map(|text| loose(text).is_true()), [true, true, false, false]);
    }
}
