//! Reasons for refusing a record, as columns: a code and what fills its blanks.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use sluice_schemas::RejectReason;

/// Most names kept, and the longest: the decoder has some fifty, of a few bytes.
const MAX_NAMES: usize = 256;
const MAX_NAME: usize = 64;

/// Names of fields and details are fixed words of the decoder; here they come from outside. Each is kept once for the life of the
/// process, up to a bound.
static NAMES: Mutex<Option<HashSet<&'static str>>> = Mutex::new(None);

fn fixed(name: &str) -> Option<&'static str> {
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    let names = names.get_or_insert_default();
    if let Some(known) = names.get(name) {
        return Some(known);
    }
    if name.len() > MAX_NAME || names.len() >= MAX_NAMES {
        return None;
    }
    let kept: &'static str = Box::leak(name.into());
    names.insert(kept);
    Some(kept)
}

/// A reason in columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Columns {
    pub(super) code: &'static str,
    pub(super) text: String,
    pub(super) a: u64,
    pub(super) b: u64,
}

/// Takes a reason apart.
pub(super) fn split(reason: &RejectReason) -> Columns {
    let (text, a, b) = match reason {
        RejectReason::NotJson
        | RejectReason::Unbalanced
        | RejectReason::UnknownKind
        | RejectReason::CorruptGzip
        | RejectReason::NotUtf8 => (String::new(), 0, 0),
        RejectReason::TooDeep { limit } => (String::new(), u64::from(*limit), 0),
        RejectReason::Missing { field }
        | RejectReason::Malformed { field }
        | RejectReason::Duplicate { field }
        | RejectReason::OutOfRange { field } => ((*field).to_owned(), 0, 0),
        RejectReason::Timestamp { timestamp } => (timestamp.clone(), 0, 0),
        RejectReason::TooLong { bytes, limit } => (String::new(), *bytes, *limit),
        RejectReason::GzipBomb { limit, ratio } => (String::new(), *limit, *ratio),
        RejectReason::Foreign { what } | RejectReason::ForeignRecord { what } => (what.clone(), 0, 0),
        RejectReason::CorruptAggregate { detail } => ((*detail).to_owned(), 0, 0),
        RejectReason::DataGap { detail } => (detail.clone(), 0, 0),
        RejectReason::Unreadable { message } => (message.clone(), 0, 0),
    };
    Columns { code: reason.code(), text, a, b }
}

/// Puts a reason together. One that a newer worker knows and this program does not is kept in words.
pub(super) fn join(code: &str, text: &str, a: u64, b: u64) -> RejectReason {
    let owned = || text.to_owned();
    let in_words = || RejectReason::Unreadable { message: format!("{code}: {text} ({a}, {b})") };
    match code {
        "not_json" => RejectReason::NotJson,
        "unbalanced" => RejectReason::Unbalanced,
        "unknown_kind" => RejectReason::UnknownKind,
        "corrupt_gzip" => RejectReason::CorruptGzip,
        "not_utf8" => RejectReason::NotUtf8,
        "too_deep" => RejectReason::TooDeep { limit: u32::try_from(a).unwrap_or(u32::MAX) },
        "missing_field" => fixed(text).map_or_else(in_words, |field| RejectReason::Missing { field }),
        "malformed_field" => fixed(text).map_or_else(in_words, |field| RejectReason::Malformed { field }),
        "duplicate_field" => fixed(text).map_or_else(in_words, |field| RejectReason::Duplicate { field }),
        "out_of_range" => fixed(text).map_or_else(in_words, |field| RejectReason::OutOfRange { field }),
        "bad_timestamp" => RejectReason::Timestamp { timestamp: owned() },
        "too_long" => RejectReason::TooLong { bytes: a, limit: b },
        "gzip_bomb" => RejectReason::GzipBomb { limit: a, ratio: b },
        "foreign_envelope" => RejectReason::Foreign { what: owned() },
        "foreign_record" => RejectReason::ForeignRecord { what: owned() },
        "corrupt_aggregate" => fixed(text).map_or_else(in_words, |detail| RejectReason::CorruptAggregate { detail }),
        "data_gap" => RejectReason::DataGap { detail: owned() },
        "unreadable" => RejectReason::Unreadable { message: owned() },
        _ => in_words(),
    }
}
