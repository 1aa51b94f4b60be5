//! What a position in a Kinesis shard means, and how it is written into [`Position::identity`].
//!
//! A position holds the number of the last record read in `sequence`, and in `offset` a moment, in milliseconds since 1970,
//! up to which everything that was written has been read. The second is what tells a gap: the stream drops records by age,
//! and sequence numbers have holes by nature, so only the age of a position says whether its next record can be gone.

use std::fmt;

use sluice_schemas::position::Sequence;
use sluice_schemas::{Micros, Position};

/// How a shard goes on from a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// With the first record written at this moment or later (ms since 1970); nothing was read yet. It is chosen once, at the
    /// first start, so that a restart before the first record begins at the same place.
    At(u64),
    /// With the oldest record there is; what was written since this moment (ms since 1970) must not be missing.
    Oldest(u64),
    /// Behind the last record read.
    Reading,
    /// Not at all before an operator says so: records are missing.
    Gap,
}

/// Content a position belongs to: a stream, told from another of the same name by when it was created, and how to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// When the stream was created, in seconds since 1970.
    pub(crate) created: u64,
    /// How to go on.
    pub(crate) mark: Mark,
}

impl Identity {
    /// Reads what [`fmt::Display`] wrote.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (created, mark) = text.split_once(' ')?;
        let mark = match mark.split_once('=') {
            Some(("at", moment)) => Mark::At(moment.parse().ok()?),
            Some(("oldest", since)) => Mark::Oldest(since.parse().ok()?),
            None if mark == "reading" => Mark::Reading,
            None if mark == "gap" => Mark::Gap,
            _ => return None,
        };
        Some(Self { created: created.parse().ok()?, mark })
    }

    /// Returns a position with this identity.
    pub(crate) fn position(self, sequence: Sequence, through: u64, ended: bool) -> Position {
        Position { offset: through, sequence, identity: self.to_string(), ended }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { created, mark } = self;
        match mark {
            Mark::At(moment) => write!(f, "{created} at={moment}"),
            Mark::Oldest(since) => write!(f, "{created} oldest={since}"),
            Mark::Reading => write!(f, "{created} reading"),
            Mark::Gap => write!(f, "{created} gap"),
        }
    }
}

/// What the names of the shards of a stream begin with in the ledger.
pub(crate) fn lanes_of(stream_arn: &str) -> String {
    let mut parts = stream_arn.splitn(6, ':').skip(3);
    let (region, account, resource) = (parts.next(), parts.next(), parts.next());
    let name = resource.map(|resource| resource.strip_prefix("stream/").unwrap_or(resource));
    format!("kinesis:{}/{}/{}", region.unwrap_or_default(), account.unwrap_or_default(), name.unwrap_or_default())
}

/// A moment as milliseconds since 1970.
pub(crate) fn millis(now: Micros) -> u64 {
    u64::try_from(now.0 / 1_000).unwrap_or(0)
}

/// A moment given in milliseconds since 1970.
pub(crate) fn moment(millis: u64) -> Micros {
    Micros(i64::try_from(millis).unwrap_or(i64::MAX / 1_000).saturating_mul(1_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_survive_being_written() {
        for mark in [Mark::At(1_790_000_000_123), Mark::Oldest(0), Mark::Reading, Mark::Gap] {
            let identity = Identity { created: 1_760_000_000, mark };
            assert_eq!(Identity::parse(&identity.to_string()), Some(identity));
        }
        for text in ["", "1760000000", "x reading", "1 at=", "1 oldest=-1", "1 other"] {
            assert_eq!(Identity::parse(text), None, "{text}");
        }
    }
}
