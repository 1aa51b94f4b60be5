//! Places in sources: ordered lanes and how far each was read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// An ordered lane of a source: a file, a Kinesis shard, a Kafka partition. Unique in the whole ledger, for example
/// `file:2026/10/01/00/part-1.json.gz`.
pub type ShardId = String;

/// How far a shard was read. A batch covers `(from, to]`: `from` is exclusive, `to` inclusive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Bytes of the decompressed stream consumed; for a stream source its sequence number is in `sequence`.
    pub offset: u64,
    /// Identity of the content: hash of the first bytes of a file, so that another file under the same name is noticed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub identity: String,
    /// The shard was read to its end and cannot grow (a compressed or immutable object).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ended: bool,
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
    /// Leaves a hole: an error to record and to backfill.
    Gap,
}

/// Decides whether `span` follows on what was read of its shard (invariant C3).
#[must_use]
pub fn chain(last: Option<&Position>, span: &Span) -> ChainDecision {
    match (last, &span.from) {
        (None, None) => ChainDecision::Accept,
        (Some(last), Some(from)) if from == last => ChainDecision::Accept,
        (Some(last), _) if last.identity == span.to.identity && span.to.offset <= last.offset => ChainDecision::Replay,
        (Some(last), None) if last.identity != span.to.identity => ChainDecision::Accept,
        _ => ChainDecision::Gap,
    }
}
