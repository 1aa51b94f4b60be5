//! Rows of a watch beside those of the ledger: the rules, and what is known of each target, as JSON behind a version.

use super::{LedgerError, Reader, VERSION, put_text};

const RULE: u8 = b'v';
const WATCHED: u8 = b'w';

pub(crate) fn rule_key(rule: &str) -> Vec<u8> {
    let mut out = vec![RULE];
    put_text(&mut out, rule);
    out
}

pub(crate) fn watched_key(rule: &str, target: &str) -> Vec<u8> {
    let mut out = vec![WATCHED];
    put_text(&mut out, rule);
    put_text(&mut out, target);
    out
}

/// Tells whether a row is of a watch.
pub(crate) fn is_watch_key(key: &[u8]) -> bool {
    matches!(key.first(), Some(&RULE | &WATCHED))
}

/// Reads the rule of a watch's row, and its target if it is one of a target.
pub(crate) fn read_watch_key(bytes: &[u8]) -> Result<(String, Option<String>), LedgerError> {
    let mut reader = Reader { key: bytes, rest: bytes };
    let kind = reader.byte()?;
    let rule = reader.text()?;
    let target = if kind == WATCHED { Some(reader.text()?) } else { None };
    Ok((rule, target))
}

/// Writes what is made of texts, numbers and lists: it cannot fail, and an empty row would be refused when read.
pub(crate) fn write_json(value: &impl serde::Serialize) -> Vec<u8> {
    let mut out = vec![VERSION];
    out.extend(serde_json::to_vec(value).unwrap_or_default());
    out
}

pub(crate) fn read_json<T: serde::de::DeserializeOwned>(key: &[u8], value: &[u8]) -> Result<T, LedgerError> {
    let reader = Reader::versioned(key, value)?;
    serde_json::from_slice(reader.rest).map_err(|_| reader.corrupt("value"))
}
