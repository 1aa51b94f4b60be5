//! Records that could not be read: kept, with where they were and why, and never in the way of their neighbours.
//!
//! Up to 1 MiB, four times the longest event that CloudWatch Logs delivers, they are kept whole. Of what is longer, and so is no
//! record of a call, the first 64 KiB are kept, with the length and the hash of the whole: its place tells where to find it, and
//! a folder full of such files cannot fill the memory or the lake.

use crate::position::Sequence;

/// Why a record was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectReason {
    /// Not JSON.
    #[error("not JSON")]
    NotJson,
    /// JSON that ends too early or is not balanced.
    #[error("truncated or unbalanced JSON")]
    Unbalanced,
    /// Nested deeper than 128 levels.
    #[error("nested deeper than {limit} levels")]
    TooDeep {
        /// The limit.
        limit: u32,
    },
    /// A field the record needs is absent.
    #[error("required field '{field}' is missing")]
    Missing {
        /// Path of the field.
        field: &'static str,
    },
    /// A field of another type or form than documented.
    #[error("field '{field}' is malformed")]
    Malformed {
        /// Path of the field.
        field: &'static str,
    },
    /// The same key twice in one object of the envelope: which one AWS meant cannot be told.
    #[error("field '{field}' occurs twice")]
    Duplicate {
        /// Path of the field.
        field: &'static str,
    },
    /// A number outside what a call can have.
    #[error("field '{field}' is out of range")]
    OutOfRange {
        /// Path of the field.
        field: &'static str,
    },
    /// Event time before 1970 or more than five minutes after arrival.
    #[error("timestamp {timestamp} is outside [1970, arrival + 5 min]")]
    Timestamp {
        /// The text of the timestamp.
        timestamp: String,
    },
    /// Valid JSON of a shape this program does not know.
    #[error("unknown kind of record")]
    UnknownKind,
    /// Longer than a record can be.
    #[error("record of {bytes} bytes is longer than {limit}")]
    TooLong {
        /// Its length as far as it was read.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// A gzip stream that does not inflate.
    #[error("corrupt gzip stream")]
    CorruptGzip,
    /// A gzip stream that inflates beyond the allowed size or ratio.
    #[error("gzip stream inflates beyond {limit} bytes or {ratio} times its size")]
    GzipBomb {
        /// Size cap in bytes.
        limit: u64,
        /// Ratio cap.
        ratio: u64,
    },
    /// Not UTF-8 where text is needed.
    #[error("not UTF-8")]
    NotUtf8,
    /// A CloudWatch Logs envelope of an account, log group or subscription filter that is not on the list of allowed ones, or of an account that
    /// its source does not take.
    #[error("envelope of {what} that is not on the allow-list of envelopes or accounts")]
    Foreign {
        /// What it says of itself: owner, log group, filter.
        what: String,
    },
    /// A record of an account or a region that its source does not take.
    #[error("record of {what}, which the source does not take")]
    ForeignRecord {
        /// The account and the region it names.
        what: String,
    },
    /// A KPL-aggregated record whose checksum or framing is wrong.
    #[error("corrupt aggregated record: {detail}")]
    CorruptAggregate {
        /// What is wrong.
        detail: &'static str,
    },
    /// Records of the stream that cannot be read any more.
    #[error("data gap: {detail}")]
    DataGap {
        /// From where to where, and why.
        detail: String,
    },
    /// The file or object could not be read.
    #[error("unreadable: {message}")]
    Unreadable {
        /// What the system said.
        message: String,
    },
}

impl RejectReason {
    /// Returns a short stable word for counters and the `reason` column.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotJson => "not_json",
            Self::Unbalanced => "unbalanced",
            Self::TooDeep { .. } => "too_deep",
            Self::Missing { .. } => "missing_field",
            Self::Malformed { .. } => "malformed_field",
            Self::Duplicate { .. } => "duplicate_field",
            Self::OutOfRange { .. } => "out_of_range",
            Self::Timestamp { .. } => "bad_timestamp",
            Self::UnknownKind => "unknown_kind",
            Self::TooLong { .. } => "too_long",
            Self::CorruptGzip => "corrupt_gzip",
            Self::GzipBomb { .. } => "gzip_bomb",
            Self::NotUtf8 => "not_utf8",
            Self::Foreign { .. } => "foreign_envelope",
            Self::ForeignRecord { .. } => "foreign_record",
            Self::CorruptAggregate { .. } => "corrupt_aggregate",
            Self::DataGap { .. } => "data_gap",
            Self::Unreadable { .. } => "unreadable",
        }
    }
}

/// One refused record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Byte offset of the record in the decompressed stream of its shard; of a record of a Kafka partition that record's offset.
    pub offset: u64,
    /// Sequence number of the stream record it came in; none for byte streams and Kafka.
    pub sequence: Sequence,
    /// Why.
    pub reason: RejectReason,
    /// The record as it came, compressed if it could not be inflated; its first 64 KiB if it is longer than 1 MiB.
    pub raw: Vec<u8>,
    /// What the whole was, where `raw` is its beginning.
    pub cut: Option<Box<Whole>>,
}

/// What a record was of which only the beginning is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Whole {
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256, hexadecimal; empty where it was skipped without being hashed.
    pub sha256: String,
}
