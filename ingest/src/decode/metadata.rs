//! Checks `requestMetadata`, the one part of a record that the caller writes: a map of strings that is kept as it came.

use std::collections::HashSet;

use super::fault::{Fault, Field};
use super::number;
use super::scan::Scanner;

/// Most pairs accepted; Bedrock itself allows sixteen.
const MAX_PAIRS: usize = 32;
/// Longest map accepted, in bytes.
const MAX_BYTES: usize = 64 * 1024;
const FIELD: Field = Field::RequestMetadata;

/// Returns the object as it came; empty for `null` and for an object without pairs.
///
/// Numbers and booleans are accepted for strings. A key may stand once only, however it is spelt: no agent may bring a second
/// `agent_id`.
pub(super) fn read<'a>(scanner: &mut Scanner<'a>) -> Result<&'a [u8], Fault> {
    match scanner.peek() {
        Some(b'{') => {}
        Some(_) if scanner.scalar() == b"null" => return Ok(&[]),
        Some(_) => return Err(Fault::Malformed(FIELD)),
        None => return Err(Fault::Truncated),
    }
    let start = scanner.at();
    let (mut keys, mut pairs, mut escaped) = ([&[][..]; MAX_PAIRS], 0, false);
    let read = scanner.entries(|scanner, key| {
        let Some((slot, earlier)) = keys.get_mut(..=pairs).and_then(<[_]>::split_last_mut) else {
            return Err(Fault::OutOfRange(FIELD));
        };
        if earlier.contains(&key.raw) {
            return Err(Fault::Duplicate(FIELD));
        }
        *slot = key.raw;
        (pairs, escaped) = (pairs + 1, escaped | key.escaped);
        key.check()?;
        value(scanner)
    });
    read.map_err(|fault| fault.at(FIELD))?;
    let raw = scanner.since(start);
    if raw.len() > MAX_BYTES {
        return Err(Fault::OutOfRange(FIELD));
    }
    if escaped && has_duplicate(raw)? {
        return Err(Fault::Duplicate(FIELD));
    }
    Ok(if pairs == 0 { &[] } else { raw })
}

fn value(scanner: &mut Scanner<'_>) -> Result<(), Fault> {
    match scanner.peek() {
        Some(b'"') => scanner.string()?.check(),
        Some(_) => match scanner.scalar() {
            b"null" => Err(Fault::Malformed(FIELD)),
            token if number::is_scalar(token) => Ok(()),
            _ => Err(Fault::Malformed(FIELD)),
        },
        None => Err(Fault::Truncated),
    }
}

/// Compares keys by what they stand for, once one of them is spelt with escapes.
fn has_duplicate(raw: &[u8]) -> Result<bool, Fault> {
    let (mut keys, mut duplicate) = (HashSet::new(), false);
    Scanner::new(raw).object(|scanner, key| {
        duplicate |= !keys.insert(key.to_vec());
        scanner.skip_value()
    })?;
    Ok(duplicate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<&str, Fault> {
        read(&mut Scanner::new(text.as_bytes())).map(|raw| std::str::from_utf8(raw).unwrap())
    }

    #[test]
    fn kept_as_it_came() {
        for text in [r#"{ "agent_id" : "a", "n": 12, "b": true }"#, r#"{"k\n":"v\u00e9"}"#] {
            assert_eq!(check(text), Ok(text));
        }
        assert_eq!(check("{ }"), Ok(""));
        assert_eq!(check("null"), Ok(""));
    }

    #[test]
    fn no_second_agent_however_it_is_spelt() {
        for text in [r#"{"agent_id":"a","x":"1","agent_id":"b"}"#, r#"{"agent_id":"a","agent\u005fid":"b"}"#, r#"{"\u0061":1,"\u0061":2}"#]
        {
            assert_eq!(check(text), Err(Fault::Duplicate(FIELD)), "{text}");
        }
    }

    #[test]
    fn bounds_and_types() {
        let pairs = |count: usize| format!("{{{}}}", (0..count).map(|n| format!("\"k{n}\":\"v\"")).collect::<Vec<_>>().join(","));
        assert!(check(&pairs(32)).is_ok());
        assert_eq!(check(&pairs(33)), Err(Fault::OutOfRange(FIELD)));
        let long = format!("{{\"k\":\"{}\"}}", "x".repeat(MAX_BYTES));
        assert_eq!(check(&long), Err(Fault::OutOfRange(FIELD)));
        for text in
            [r#"{"a":{}}"#, r#"{"a":[]}"#, r#"{"a":null}"#, r#"{"a":nul}"#, "[]", "7", "\"a\"", "{\"a\":\"\u{1}\"}", r#"{"a":"\q"}"#]
        {
            assert_eq!(check(text), Err(Fault::Malformed(FIELD)), "{text}");
        }
        assert_eq!(check(r#"{"a":"b""#), Err(Fault::Truncated));
        assert_eq!(check(r#"{"a" "b"}"#), Err(Fault::Syntax));
    }
}
