//! What every source offers: pieces of shards in order, and how far it has come.
//!
//! One thread polls a source; the pieces it gives are inflated and decoded elsewhere ([`crate::piece::decode_piece`]).

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sluice_schemas::position::Sequence;
use sluice_schemas::{ErrorClass, Micros, Position, RejectReason, ShardId};

use crate::decode::Accepts;

/// A stretch of one shard: bytes still to be decoded, and what they cover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The shard.
    pub shard: ShardId,
    /// Where the previous piece of this shard ended; `None` for the first one and when the shard was started over.
    pub from: Option<Position>,
    /// The bytes.
    pub payload: Payload,
    /// When they were read.
    pub arrival: Micros,
    /// Place of the payload's first byte in the decompressed stream.
    pub base_offset: u64,
    /// Identity of the content, for the position this piece leads to.
    pub identity: String,
    /// Offset this piece leads to; `None` when only inflating it tells.
    pub to: Option<u64>,
    /// Sequence number this piece leads to; none for byte streams and Kafka.
    pub sequence: Sequence,
    /// The shard ends with this piece.
    pub ended: bool,
    /// Bytes read from disk or network for it.
    pub source_bytes: u64,
    /// Accounts and regions its source takes; any where there is nothing.
    pub accepts: Option<Arc<Accepts>>,
}

/// The bytes of a [`Piece`] and how they are to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Whole records, one a line or back to back. Only the last piece of a shard may end within a record.
    Lines(Vec<u8>),
    /// One JSON value, over as many lines as it likes.
    Document(Vec<u8>),
    /// A whole gzip file.
    Gzip(Vec<u8>),
    /// Whole records of a stream, each with the bytes of a JSON value, of lines or of a gzip stream of either.
    Records(Vec<StreamRecord>),
    /// A record, or the rest of a stream, that is refused without a look inside.
    Refused {
        /// Why.
        reason: RejectReason,
        /// Its first 64 KiB as they were stored.
        raw: Vec<u8>,
    },
    /// The file could not be read, with what the system said; the position stays, so that a later run tries again.
    Unreadable(String),
}

/// One record of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamRecord {
    /// Offset in its Kafka partition; 0 where records have sequence numbers.
    pub offset: u64,
    /// Its sequence number in a Kinesis shard; none for Kafka.
    pub sequence: Sequence,
    /// When the stream received it, as far as the stream tells.
    pub written: Option<Micros>,
    /// Its bytes.
    pub data: Vec<u8>,
}

/// Answer of [`Source::poll`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "a piece is moved once or twice and stands for megabytes")]
pub enum Poll {
    /// More to decode.
    Piece(Piece),
    /// Nothing yet.
    Idle,
    /// Nothing ever again.
    Ended,
}

/// A place records come from.
pub trait Source: Send {
    /// Returns the next piece, waiting for at most `wait`; `now` is the time at the call.
    ///
    /// # Errors
    /// When the source as a whole cannot be read. A single file that cannot be read is a piece.
    fn poll(&mut self, wait: Duration, now: Micros) -> Result<Poll, SourceError>;

    /// Returns how far the source was read.
    fn progress(&self) -> Progress;

    /// Carries out an operator's order; `false` when it concerns no shard of this source.
    fn order(&mut self, _order: &Order) -> bool {
        false
    }
}

/// What an operator may ask of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Go on behind the gap at which this shard stopped.
    Resume(ShardId),
}

/// How a shard of a stream is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardHealth {
    /// The shard.
    pub shard: ShardId,
    /// What it is doing.
    pub state: ShardState,
    /// Milliseconds its next record has waited in the stream, as far as the stream tells.
    pub behind_ms: Option<u64>,
    /// Records behind its end, as far as the stream tells.
    pub behind_records: Option<u64>,
    /// Milliseconds until the stream drops its next record; 0 when it may be gone already.
    pub headroom_ms: Option<u64>,
}

/// What a shard of a stream is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShardState {
    /// It is being read.
    Reading,
    /// It waits until its parents are read and committed to their end.
    Waiting,
    /// It stopped at a gap or a fault only an operator can end, for this reason.
    Stopped(String),
    /// It was read to its end.
    Ended,
}

/// How far a source was read. Bytes are as stored: compressed ones where files are compressed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Files known.
    pub files_total: u64,
    /// Files read to their end, those of earlier runs included.
    pub files_done: u64,
    /// Bytes of the files known.
    pub bytes_total: u64,
    /// Bytes read, those of earlier runs included.
    pub bytes_done: u64,
    /// The part of `bytes_done` that earlier runs had read: subtract it to get this run's speed.
    pub bytes_resumed: u64,
    /// The file being read.
    pub current: Option<PathBuf>,
    /// Shards of streams, in the order of their names; none for files.
    pub shards: Vec<ShardHealth>,
}

/// Why a source cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// There is nothing to read from.
    #[error("no path was given")]
    NoPath,
    /// A service refused, or what was asked for is not there.
    #[error("{resource}: {problem}; {fix}")]
    Service {
        /// The stream, topic, queue, bucket or group.
        resource: String,
        /// What is wrong with it, in the words of the service where it has any.
        problem: String,
        /// What to do.
        fix: String,
        /// What the failure asks of the caller.
        class: ErrorClass,
        /// What the client said.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// A path that was asked for does not exist or cannot be reached.
    #[error("cannot open {path}")]
    Open {
        /// The path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A path that was asked for is a device, a socket or a pipe.
    #[error("{path} is neither a file nor a folder")]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
}

impl SourceError {
    /// Returns what the failure asks of the caller.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Service { class, .. } => *class,
            Self::NoPath | Self::Open { .. } | Self::NotAFile { .. } => ErrorClass::Misconfigured,
        }
    }
}
