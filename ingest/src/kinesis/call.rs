//! What the source asks of Kinesis and what comes back, in words of its own: the decisions are made without the SDK.

use sluice_schemas::Micros;
use sluice_schemas::position::Sequence;

use super::sdk::Subscription;
use crate::source::StreamRecord;

/// Something to be asked. At most one call is under way for each shard, and one for the list of shards.
#[derive(Debug)]
pub(crate) enum Call {
    /// Which shards there are (DescribeStreamSummary and ListShards).
    List,
    /// A way to read a shard (GetShardIterator or SubscribeToShard).
    Open {
        /// The shard, as Kinesis names it.
        shard: String,
        /// Where to begin.
        begin: Begin,
    },
    /// The next records (GetRecords, or the next event of a subscription).
    Fetch {
        /// The shard, as Kinesis names it.
        shard: String,
        /// The way to read it.
        cursor: Cursor,
    },
}

impl Call {
    /// Returns the shard it is about; none for the list.
    pub(crate) fn shard(&self) -> Option<&str> {
        match self {
            Self::List => None,
            Self::Open { shard, .. } | Self::Fetch { shard, .. } => Some(shard),
        }
    }
}

/// A call to be made.
#[derive(Debug)]
pub(crate) struct Request {
    /// What is asked.
    pub(crate) call: Call,
    /// Its number among the calls of its shard, or of the list.
    pub(crate) number: u64,
    /// When it is made.
    pub(crate) called: Micros,
}

/// Where reading a shard begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    /// With the oldest record (TRIM_HORIZON).
    Oldest,
    /// With the first record written at this moment, in ms since 1970, or later (AT_TIMESTAMP).
    At(u64),
    /// Behind this record (AFTER_SEQUENCE_NUMBER).
    After(Sequence),
}

/// A way to read a shard, used up by reading.
#[derive(Debug)]
pub(crate) enum Cursor {
    /// A shard iterator: good for one call within 5 minutes.
    Iterator(String),
    /// A subscription: good for 5 minutes.
    Subscription(Box<Subscription>),
}

/// What a call came to.
#[derive(Debug)]
pub(crate) enum Reply {
    /// Of [`Call::List`].
    Listed(Overview),
    /// Of [`Call::Open`].
    Opened(Cursor),
    /// Of [`Call::Fetch`].
    Fetched(Answer),
}

/// A stream as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Overview {
    /// When it was created, in seconds since 1970.
    pub(crate) created: u64,
    /// How long it keeps a record, in milliseconds.
    pub(crate) retention_ms: u64,
    /// Its shards, closed ones included.
    pub(crate) shards: Vec<Listed>,
}

/// A shard and the shards it came from by splitting (one) or merging (two).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Its name.
    pub(crate) id: String,
    /// Names of its parents; they may be gone.
    pub(crate) parents: Vec<String>,
}

/// Records and what was said beside them.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// The records, in order.
    pub(crate) records: Vec<StreamRecord>,
    /// How to go on; none when the shard ended or a new way must be opened.
    pub(crate) next: Option<Cursor>,
    /// The shard was read to its end.
    pub(crate) ended: bool,
    /// Age of what is read, in milliseconds; 0 at the tip.
    pub(crate) behind_ms: Option<u64>,
    /// Where a subscription goes on: past all that was delivered, also where there was no record.
    pub(crate) continuation: Option<Sequence>,
    /// Children of the shard, told at its end.
    pub(crate) children: Vec<Listed>,
}

/// Why a call failed, by what follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The cursor is too old: open another at the same place.
    Expired,
    /// The place to begin at is no place in this shard, with what the service said.
    NoSuchPlace(String),
    /// Called too often.
    Throttled(String),
    /// The stream or the shard is not there.
    Gone(String),
    /// The service or the way to it has trouble, or no answer came: it may have been carried out or not.
    Trouble(String),
    /// Refused until a person changes something, with what.
    Refused(String),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Expired => f.write_str("the iterator has expired"),
            Self::NoSuchPlace(said) | Self::Throttled(said) | Self::Gone(said) | Self::Trouble(said) | Self::Refused(said) => {
                f.write_str(said)
            }
        }
    }
}

/// The end of a call.
#[derive(Debug)]
pub(crate) struct Done {
    /// The shard; none for the list.
    pub(crate) shard: Option<String>,
    /// The number of the call.
    pub(crate) number: u64,
    /// When it was made.
    pub(crate) called: Micros,
    /// What came of it.
    pub(crate) outcome: Result<Reply, Failure>,
}
