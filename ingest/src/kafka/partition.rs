//! What is known of one assigned partition: where it stands, what waits to be cut into a piece, whether it stopped. Pure.
//!
//! A position is the next offset to read. Pieces chain: each begins where the last one given ended. Offsets may leap forward
//! between records (compaction, markers of transactions): no gap. An offset the broker no longer has is one.

use sluice_schemas::position::Sequence;
use sluice_schemas::{Micros, Position, RejectReason, ShardId};

use crate::source::{Payload, Piece, StreamRecord};

#[cfg(test)]
mod tests;

/// A topic and the number of a partition.
pub(super) type Key = (String, i32);

/// What a record takes beside its value: empty ones must not pile up without end.
const RECORD_BYTES: usize = 64;

/// Identity of a position that stands before a gap that was told.
const STOPPED: &str = "gap ";
/// Identity of positions behind a gap: they may be lower than those before it when a topic was made anew.
const RESUMED: &str = "run ";

/// One assigned partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Partition {
    /// Name in the ledger.
    pub(super) shard: ShardId,
    /// Where the last piece given ended; `None` before the first one.
    given: Option<Position>,
    /// Next offset to take.
    next: u64,
    identity: String,
    buffer: Vec<StreamRecord>,
    /// What waits, the records' own size included.
    bytes: usize,
    state: State,
    /// When the last record taken was written.
    written: Option<Micros>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Reading,
    /// Reading has not begun: a piece without records is to tell where it does.
    Pinned,
    /// About to go to another member: nothing more is taken or given.
    Leaving,
    /// Stopped at a gap that a piece is to tell.
    Gap(String),
    /// Stopped at a gap that was told.
    Stopped(String),
}

impl Partition {
    /// A partition somebody has read up to `position`.
    pub(super) fn resumed(shard: ShardId, position: Position) -> Self {
        let (next, identity) = (position.offset, position.identity.clone());
        let state = match identity.strip_prefix(STOPPED) {
            Some(_) => State::Stopped(format!("a data gap at offset {next}, told before")),
            None => State::Reading,
        };
        Self { shard, given: Some(position), next, identity, buffer: Vec::new(), bytes: 0, state, written: None }
    }

    /// A partition nobody has read; it begins at `next`, which a first piece without records tells.
    pub(super) const fn fresh(shard: ShardId, next: u64) -> Self {
        let identity = String::new();
        Self { shard, given: None, next, identity, buffer: Vec::new(), bytes: 0, state: State::Pinned, written: None }
    }

    /// Returns the next offset to take.
    pub(super) const fn next(&self) -> u64 {
        self.next
    }

    /// Returns where the last piece given ended.
    pub(super) const fn given(&self) -> Option<&Position> {
        self.given.as_ref()
    }

    /// Returns when the last record taken was written.
    pub(super) const fn written(&self) -> Option<Micros> {
        self.written
    }

    /// Returns the bytes that wait to be cut into a piece, those of the records themselves included.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Tells whether a piece can be cut.
    pub(super) const fn is_ready(&self) -> bool {
        !self.buffer.is_empty() || matches!(self.state, State::Gap(_) | State::Pinned)
    }

    /// Tells why it stopped, if it did.
    pub(super) fn stopped(&self) -> Option<&str> {
        match &self.state {
            State::Gap(why) | State::Stopped(why) => Some(why),
            State::Reading | State::Pinned | State::Leaving => None,
        }
    }

    /// Tells whether it is being read.
    pub(super) const fn is_reading(&self) -> bool {
        matches!(self.state, State::Reading | State::Pinned)
    }

    /// Takes a record; `false` when it was taken before, or is not to be taken now.
    pub(super) fn take(&mut self, record: StreamRecord) -> bool {
        if !self.is_reading() || record.offset < self.next {
            return false;
        }
        self.next = record.offset + 1;
        self.bytes += record.data.len() + RECORD_BYTES;
        self.written = record.written.or(self.written);
        self.buffer.push(record);
        true
    }

    /// Cuts what waits into a piece.
    pub(super) fn cut(&mut self, arrival: Micros) -> Option<Piece> {
        let (payload, offset) = match &mut self.state {
            State::Leaving | State::Stopped(_) => return None,
            State::Gap(why) => {
                let detail = std::mem::take(why);
                self.state = State::Stopped(detail.clone());
                self.identity = format!("{STOPPED}{}", run_of(&self.identity) + 1);
                (Payload::Refused { reason: RejectReason::DataGap { detail }, raw: Vec::new() }, self.next)
            }
            State::Reading if self.buffer.is_empty() => return None,
            State::Reading | State::Pinned => {
                self.state = State::Reading;
                (Payload::Records(std::mem::take(&mut self.buffer)), self.next)
            }
        };
        self.bytes = 0;
        let source_bytes = match &payload {
            Payload::Records(records) => records.iter().map(|record| record.data.len() as u64).sum(),
            _ => 0,
        };
        let from = self.given.replace(Position { offset, identity: self.identity.clone(), ..Position::default() });
        Some(Piece {
            accepts: None,
            shard: self.shard.clone(),
            base_offset: from.as_ref().map_or(offset, |from| from.offset),
            from,
            payload,
            arrival,
            identity: self.identity.clone(),
            to: Some(offset),
            sequence: Sequence::default(),
            ended: false,
            source_bytes,
        })
    }

    /// Lets go of what was not given; nothing more is taken.
    pub(super) fn leave(&mut self) {
        self.drop_buffer();
        self.state = State::Leaving;
    }

    /// Stops if the next offset lies outside what the broker has; `true` when it does.
    pub(super) fn check(&mut self, low: u64, high: u64) -> bool {
        self.drop_buffer();
        if !self.is_reading() || (low..=high).contains(&self.next) {
            return false;
        }
        let next = self.next;
        self.state = State::Gap(if next < low {
            format!("offsets {next} to {} were deleted before they were read: retention is shorter than the reading was late", low - 1)
        } else {
            format!("offset {next} lies behind the end {high}: the topic was made anew or truncated")
        });
        true
    }

    /// Goes on behind the gap, at the oldest record there is; `false` when it did not stop at one that was told.
    pub(super) fn resume(&mut self, low: u64) -> bool {
        if !matches!(self.state, State::Stopped(_)) {
            return false;
        }
        self.identity = format!("{RESUMED}{}", run_of(&self.identity));
        self.next = low;
        self.state = State::Pinned;
        true
    }

    fn drop_buffer(&mut self) {
        if let Some(first) = self.buffer.first() {
            self.next = first.offset;
        }
        self.buffer.clear();
        self.bytes = 0;
    }
}

/// Returns the number in an identity: how many gaps lie before it.
fn run_of(identity: &str) -> u64 {
    identity.strip_prefix(STOPPED).or_else(|| identity.strip_prefix(RESUMED)).and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Tells whether everything up to `wanted` is durable when `known` is.
pub(super) fn covers(known: Option<&Position>, wanted: &Position) -> bool {
    known.is_some_and(|known| match known.identity == wanted.identity {
        true => known.place() >= wanted.place(),
        false => order_of(&known.identity) > order_of(&wanted.identity),
    })
}

/// Orders identities of one shard: `""`, `gap 1`, `run 1`, `gap 2` …
fn order_of(identity: &str) -> u64 {
    run_of(identity) * 2 + u64::from(identity.starts_with(RESUMED))
}
