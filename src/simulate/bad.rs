//! Damage: records no reader can book, each of a kind that real streams have brought or an attacker would send.

use super::put::Put;
use super::random::Random;

/// A kind of damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Damage {
    /// Cut off in the middle.
    Truncated,
    /// Text that is not JSON.
    NotJson,
    /// JSON, but not of an invocation.
    UnknownShape,
    /// A field of another type.
    WrongType,
    /// A number no call can have.
    AbsurdNumber,
    /// A count below zero.
    NegativeNumber,
    /// No request id.
    MissingRequestId,
    /// No time.
    MissingTimestamp,
    /// A time in the far future.
    AbsurdTimestamp,
    /// The same key twice.
    DuplicateKey,
    /// A raw control character in a string of the envelope.
    ControlCharacter,
    /// Bytes that are not UTF-8 in a string of the envelope.
    NotUtf8,
}

impl Damage {
    /// All kinds, in the order in which they are dealt out.
    pub(crate) const ALL: [Self; 12] = [
        Self::Truncated,
        Self::NotJson,
        Self::WrongType,
        Self::AbsurdNumber,
        Self::MissingRequestId,
        Self::DuplicateKey,
        Self::ControlCharacter,
        Self::AbsurdTimestamp,
        Self::NegativeNumber,
        Self::UnknownShape,
        Self::MissingTimestamp,
        Self::NotUtf8,
    ];

    /// Returns the word written to the summary.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::NotJson => "not_json",
            Self::UnknownShape => "unknown_shape",
            Self::WrongType => "wrong_type",
            Self::AbsurdNumber => "absurd_number",
            Self::NegativeNumber => "negative_number",
            Self::MissingRequestId => "missing_request_id",
            Self::MissingTimestamp => "missing_timestamp",
            Self::AbsurdTimestamp => "absurd_timestamp",
            Self::DuplicateKey => "duplicate_key",
            Self::ControlCharacter => "control_character",
            Self::NotUtf8 => "not_utf8",
        }
    }

    /// Damages a good record that has no bodies.
    pub(crate) fn apply(self, record: &[u8], random: &mut Random) -> Vec<u8> {
        match self {
            Self::Truncated => record[..random.range(20, record.len() as u64 - 1) as usize].to_vec(),
            Self::NotJson => b"ERROR 503 upstream connect error or disconnect/reset before headers".to_vec(),
            Self::UnknownShape => random.pick(&[r#"{"hello":"world","count":3}"#, "true", "42", "null", r#""text""#]).as_bytes().to_vec(),
            Self::WrongType => match random.below(3) {
                0 => replace_value(record, "inputTokenCount", b"{\"tokens\":12}"),
                1 => replace_value(record, "requestId", b"[\"a\",\"b\"]"),
                _ => replace_value(record, "timestamp", b"1790812800"),
            },
            Self::AbsurdNumber => {
                let absurd = random.pick(&["99999999999999999999999999", "2199023255553", "18446744073709551616", "1e300"]);
                replace_value(record, "inputTokenCount", absurd.as_bytes())
            }
            Self::NegativeNumber => replace_value(record, "inputTokenCount", b"-5"),
            Self::MissingRequestId => rename_key(record, "requestId", "requestID_"),
            Self::MissingTimestamp => rename_key(record, "timestamp", "timestemp"),
            Self::AbsurdTimestamp => {
                replace_value(record, "timestamp", random.pick(&["\"9999-12-31T23:59:59Z\"", "\"1969-12-31T23:59:59Z\""]).as_bytes())
            }
            Self::DuplicateKey => before(record, "\"operation\"", b"\"requestId\":\"00000000-0000-4000-8000-000000000bad\","),
            Self::ControlCharacter => before(record, ":assumed-role/", b"\x07"),
            Self::NotUtf8 => before(record, ":assumed-role/", &[0xC3, 0x28]),
        }
    }
}

/// Returns where a quoted key ends, its colon included.
fn after_key(record: &[u8], key: &str) -> Option<usize> {
    let mut needle = Vec::new();
    needle.text("\"").text(key).text("\":");
    find(record, &needle).map(|at| at + needle.len())
}

fn find(record: &[u8], needle: &[u8]) -> Option<usize> {
    record.windows(needle.len()).position(|window| window == needle)
}

/// Replaces the scalar value of a key.
fn replace_value(record: &[u8], key: &str, value: &[u8]) -> Vec<u8> {
    let Some(from) = after_key(record, key) else { return record.to_vec() };
    let quoted = record.get(from) == Some(&b'"');
    let rest = &record[from + usize::from(quoted)..];
    let ends = |byte: &u8| if quoted { *byte == b'"' } else { matches!(byte, b',' | b'}') };
    let length = rest.iter().position(ends).unwrap_or(rest.len());
    let to = from + length + 2 * usize::from(quoted);
    [&record[..from], value, &record[to..]].concat()
}

fn rename_key(record: &[u8], key: &str, name: &str) -> Vec<u8> {
    let Some(end) = after_key(record, key) else { return record.to_vec() };
    let from = end - key.len() - 3;
    let mut out = record[..from].to_vec();
    out.text("\"").text(name).text("\":");
    out.extend_from_slice(&record[end..]);
    out
}

/// Inserts bytes before a piece of text, or before the user's name where the principal is no role.
fn before(record: &[u8], text: &str, bytes: &[u8]) -> Vec<u8> {
    let at = find(record, text.as_bytes()).or_else(|| find(record, b":user/")).unwrap_or(1);
    [&record[..at], bytes, &record[at..]].concat()
}
