//! How long the position of an object or a message is kept that no notification can name again.
//!
//! Without an end to it positions would grow by an object every few minutes of each account and region, and every lake commit
//! writes all of them. The moment at which one was first read stands at the end of its identity, as `~SECONDS`.

use sluice_schemas::time::{DAY, SECOND};
use sluice_schemas::{Micros, Position};

/// How long a source remembers what it read: a queue keeps a message for 14 days at the most (Amazon SQS Developer Guide, "Amazon SQS
/// message quotas").
pub const SOURCE: i64 = 15 * DAY;
/// How long the ledger remembers it: longer than any source, or a source would follow on what the ledger has forgotten.
pub const LEDGER: i64 = SOURCE + DAY;

/// Separates an identity from the moment it was first read.
const MARK: char = '~';

/// Returns an identity with the moment at which it was first read.
#[must_use]
pub fn stamp(identity: &str, now: Micros) -> String {
    format!("{identity}{MARK}{}", now.0.div_euclid(SECOND))
}

/// Takes an identity and the moment it was first read apart.
#[must_use]
pub fn split(stamped: &str) -> (&str, Option<Micros>) {
    let parts = stamped.rsplit_once(MARK).and_then(|(identity, seconds)| {
        let seconds: i64 = seconds.parse().ok()?;
        Some((identity, Micros(seconds.checked_mul(SECOND)?)))
    });
    parts.map_or((stamped, None), |(identity, at)| (identity, Some(at)))
}

/// Tells whether a position may be forgotten: it was first read `keep` ago, and nothing of it is still to be read.
#[must_use]
pub fn is_past(position: &Position, now: Micros, keep: i64) -> bool {
    let is_done = position.ended || position.offset == 0;
    is_done && split(&position.identity).1.is_some_and(|at| now.0.saturating_sub(at.0) > keep)
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: Micros = Micros(1_792_497_600_000_000);

    fn position(identity: &str, offset: u64, ended: bool) -> Position {
        Position { identity: identity.to_owned(), offset, ended, ..Position::default() }
    }

    #[test]
    fn an_identity_is_stamped_once_and_read_back() {
        assert_eq!(split(&stamp("abc:7@v~1", READ)), ("abc:7@v~1", Some(READ)));
        assert_eq!(split(&stamp("", READ)), ("", Some(READ)));
        for foreign in ["", "abc:7", "abc:7~", "abc~x:7", "9f~99999999999999999999", "a~9223372036854775807"] {
            assert_eq!(split(foreign), (foreign, None), "{foreign}");
        }
    }

    #[test]
    fn only_what_was_read_to_its_end_long_ago_is_past() {
        let stamped = stamp("abc:7", READ);
        let is_past = |position: &Position, days: i64| is_past(position, READ.plus(days * DAY), SOURCE);
        assert!(!is_past(&position(&stamped, 7, true), 15));
        assert!(is_past(&position(&stamped, 7, true), 16));
        assert!(is_past(&position(&stamped, 0, false), 16), "refused, and never begun");
        assert!(!is_past(&position(&stamped, 3, false), 99), "still to be read on");
        assert!(!is_past(&position("abc:7", 7, true), 99), "nobody knows when");
        assert!(!is_past(&position(&stamped, 7, true), -99), "a clock that went back");
        const { assert!(LEDGER > SOURCE) };
    }
}
