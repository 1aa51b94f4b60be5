//! What a counter stands for: the value of each dimension of a budget, as one text.
//!
//! Invariant: two different combinations of values never give the same text, so no caller can choose an id that is booked
//! to someone else's counter.

use std::fmt;

use crate::predicate::{Row, TextColumn};

/// The target of a budget with one counter.
pub const ALL: &str = "*";

/// Columns that `each` may name.
pub const COLUMNS: [&str; 9] =
    ["account_id", "region", "agent_id", "session_id", "team", "principal_arn", "role", "role_session_name", "model"];

/// One key of `each`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dimension {
    /// A text column of the call.
    Column(TextColumn),
    /// A tag.
    Tag(String),
}

impl Dimension {
    /// Reads `agent_id`, `tag:cost-center` or `tags['cost-center']`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bracketed = || text.strip_prefix("tags['")?.strip_suffix("']");
        if let Some(key) = text.strip_prefix("tag:").or_else(bracketed).filter(|key| !key.is_empty()) {
            return Some(Self::Tag(key.to_owned()));
        }
        COLUMNS.contains(&text).then(|| TextColumn::parse(text)).flatten().map(Self::Column)
    }

    /// Tells whether this is the named column.
    #[must_use]
    pub fn is(&self, column: &str) -> bool {
        matches!(self, Self::Column(own) if own.name() == column)
    }

    /// Returns the value for a call.
    #[must_use]
    pub fn value<'a>(&self, row: &Row<'a>) -> Option<&'a str> {
        match self {
            Self::Column(column) => row.text(*column),
            Self::Tag(key) => row.tag(key),
        }
    }
}

impl Dimension {
    fn write(&self, out: &mut String) {
        match self {
            Self::Column(column) => out.push_str(column.name()),
            Self::Tag(key) => {
                out.push_str("tag:");
                escape_into(key, out);
            }
        }
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.write(&mut text);
        f.write_str(&text)
    }
}

/// Returns the target of a call: `agent_id=a,session_id=b`; a dimension that the call does not have has an empty value.
#[must_use]
pub fn of(each: &[Dimension], row: &Row<'_>) -> String {
    from_values(each.iter().map(|dimension| (dimension, dimension.value(row).unwrap_or_default())))
}

/// Joins dimensions and values to a target.
pub fn from_values<'a>(pairs: impl Iterator<Item = (&'a Dimension, &'a str)>) -> String {
    let mut pairs = pairs.peekable();
    if pairs.peek().is_none() {
        return ALL.to_owned();
    }
    let mut text = String::with_capacity(64);
    for (dimension, value) in pairs {
        if !text.is_empty() {
            text.push(',');
        }
        dimension.write(&mut text);
        text.push('=');
        escape_into(value, &mut text);
    }
    text
}

/// Returns the (unescaped) value that a target gives a dimension.
#[must_use]
pub fn value_in(target: &str, dimension: &str) -> Option<String> {
    let raw = target.split(',').find_map(|pair| pair.split_once('=').filter(|(name, _)| *name == dimension)).map(|(_, value)| value)?;
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = (first == b'%').then(|| tail.get(..2)).flatten();
        let byte = escaped.and_then(|pair| std::str::from_utf8(pair).ok()).and_then(|pair| u8::from_str_radix(pair, 16).ok());
        bytes.push(byte.unwrap_or(first));
        rest = if byte.is_some() { tail.get(2..).unwrap_or_default() } else { tail };
    }
    String::from_utf8(bytes).ok()
}

/// Writes `%XX` for the characters that have a meaning in a target and for control characters.
pub(crate) fn escape_into(value: &str, out: &mut String) {
    let is_plain = |byte: u8| (b' '..0x7f).contains(&byte) && !matches!(byte, b'%' | b',' | b'=' | b'*');
    if value.bytes().all(is_plain) {
        return out.push_str(value);
    }
    for char in value.chars() {
        if matches!(char, '%' | ',' | '=' | '*') || char.is_control() {
            let mut utf8 = [0; 4];
            for byte in char.encode_utf8(&mut utf8).bytes() {
                out.push('%');
                out.push_str(&crate::budget::hex(&[byte]).to_ascii_uppercase());
            }
        } else {
            out.push(char);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn different_values_have_different_targets(a in any::<(String, String)>(), b in any::<(String, String)>()) {
            let each = [Dimension::parse("agent_id").expect("known"), Dimension::parse("tag:x=,y").expect("a tag")];
            let target = |values: &(String, String)| from_values(each.iter().zip([values.0.as_str(), values.1.as_str()]));
            prop_assert_eq!(target(&a) == target(&b), a == b);
            prop_assert_eq!(value_in(&target(&a), "agent_id"), Some(a.0));
        }
    }

    #[test]
    fn dimensions() {
        assert_eq!(Dimension::parse("tag:cost").map(|d| d.to_string()), Some("tag:cost".to_owned()));
        assert_eq!(Dimension::parse("tags['cost']").map(|d| d.to_string()), Some("tag:cost".to_owned()));
        assert_eq!(Dimension::parse("metadata"), None);
        assert_eq!(Dimension::parse("tag:"), None);
        assert_eq!(from_values(std::iter::empty()), ALL);
    }
}
