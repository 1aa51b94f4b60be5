//! Places in sources: ordered lanes and how far each was read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::sequence::{Sequence, SequenceError};

mod sequence;

/// An ordered lane of a source: a file, a Kinesis shard, a Kafka partition. Unique in the whole ledger, for example
/// `file:2026/10/01/00/part-1.json.gz`.
pub type ShardId = String;

/// How far a shard was read. A batch covers `(from, to]`: `from` is exclusive, `to` inclusive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Bytes of the decompressed stream consumed; of a Kafka partition the next offset to read; of a Kinesis shard the moment, in
    /// milliseconds since 1970, up to which everything that was written was read.
    pub offset: u64,
    /// Number of the last record read where it does not fit `offset`: of a Kinesis shard, up to 186 bits.
    #[serde(default, skip_serializing_if = "Sequence::is_none")]
    pub sequence: Sequence,
    /// Identity of the content: hash of the first bytes of a file, so that another file under the same name is noticed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub identity: String,
    /// The shard was read to its end and cannot grow (a compressed or immutable object).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ended: bool,
}

impl Position {
    /// Returns what orders positions of one shard and identity.
    #[must_use]
    pub fn place(&self) -> (&Sequence, u64) {
        (&self.sequence, self.offset)
    }
}

/// Full positions of a commit.
pub type Positions = BTreeMap<ShardId, Position>;

/// What a batch covers of one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The shard.
    pub shard: ShardId,
    /// Where the previous batch of this shard ended; `None` for its first batch.
    pub from: Option<Position>,
    /// Where this batch ends.
    pub to: Position,
}

/// How a span relates to what is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainDecision {
    /// Follows on: accept.
    Accept,
    /// Already read: drop.
    Replay,
    /// Begins with what was already read and goes on: accept, dedup tells the new calls.
    Overlap,
    /// Leaves a hole: an error to record and to backfill.
    Gap,
}

/// Decides whether `span` follows on what was read of its shard (invariant C3).
#[must_use]
pub fn chain(last: Option<&Position>, span: &Span) -> ChainDecision {
    match (last, &span.from) {
        (None, None) => ChainDecision::Accept,
        (Some(last), Some(from)) if from == last => ChainDecision::Accept,
        (Some(last), _) if last.identity == span.to.identity && span.to.place() <= last.place() => ChainDecision::Replay,
        (Some(last), None) if last.identity != span.to.identity => ChainDecision::Accept,
        (Some(last), Some(from)) if last.identity == from.identity && from.place() < last.place() => ChainDecision::Overlap,
        _ => ChainDecision::Gap,
    }
}

#[cfg(test)]
mod tests {
    use super::{ChainDecision, Position, Sequence, Span, chain};

    fn at(number: &str) -> Position {
        Position { sequence: Sequence::parse(number).expect("a number"), ..Position::default() }
    }

    fn span(from: Option<&str>, to: &str) -> Span {
        Span { shard: "kinesis:a/0".to_owned(), from: from.map(at), to: at(to) }
    }

    #[test]
    fn sequences_chain_by_value() {
        let last = at("99");
        let decide = |from, to| chain(Some(&last), &span(from, to));
        assert_eq!(decide(Some("99"), "100"), ChainDecision::Accept);
        assert_eq!(decide(Some("9"), "99"), ChainDecision::Replay);
        assert_eq!(decide(Some("9"), "100"), ChainDecision::Overlap);
        assert_eq!(decide(Some("100"), "101"), ChainDecision::Gap);
        assert_eq!(decide(None, "100"), ChainDecision::Gap);
    }
}
