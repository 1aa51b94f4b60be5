//! How stateless workers hand decoded records to the ledger: messages of Arrow IPC batches, checksummed, each with what it
//! covers upstream.
//!
//! Owns: the form of a message, cutting a batch into messages, putting messages into a batch, the worker's loop, and telling a
//! second delivery from the first. Does not own: the topic or stream they travel on.
//!
//! Workers are at-least-once. The ledger makes the result exactly-once: calls and events by their ids, refused records and
//! control messages by their place upstream ([`admit`]).

mod decode;
mod encode;
mod frame;
mod items;
mod reason;
mod table;
pub mod worker;

#[cfg(test)]
mod tests;

use sluice_schemas::position::Span;
use sluice_schemas::{Batch, ControlMark, Micros};

pub use crate::admit::{Admitted, Refused, UNORDERED, UpstreamGap, admit, upstream_key};
pub use decode::decode;
pub use encode::encode;
pub use frame::is_relay;

/// Largest message by default: what Kafka and Kinesis take without being told otherwise.
pub const MESSAGE_BYTES: usize = 1_000_000;

/// What a message says of its batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The worker.
    pub worker: String,
    /// What was read of a shard upstream.
    pub span: Span,
    /// When it was read.
    pub arrival: Micros,
    /// Where the batch's control messages are, as far as known.
    pub marks: Vec<ControlMark>,
}

/// A message that was read.
#[derive(Clone, Debug)]
pub struct RelayBatch {
    /// Where it is from.
    pub origin: Origin,
    /// Whether the span is complete with it.
    pub last: bool,
    /// Its records.
    pub batch: Batch,
}

/// Why a message cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// Not a message at all.
    #[error("not a relay message")]
    Foreign,
    /// Of a version this program does not know.
    #[error("relay message of version {version}; this program knows version {known}")]
    Version {
        /// Its version.
        version: u8,
        /// The version of this program.
        known: u8,
    },
    /// Changed on its way.
    #[error("the checksum of the relay message differs")]
    Checksum,
    /// Its parts contradict one another.
    #[error("damaged relay message: {detail}")]
    Damaged {
        /// What is wrong.
        detail: &'static str,
    },
    /// Arrow refuses it.
    #[error("damaged relay message")]
    Arrow {
        /// What Arrow says.
        #[from]
        source: arrow_schema::ArrowError,
    },
}

impl RelayError {
    /// Returns what the failure asks of the caller.
    #[must_use]
    pub const fn class(&self) -> sluice_schemas::ErrorClass {
        sluice_schemas::ErrorClass::Rejected
    }

    /// Returns a few fixed words for a refused record.
    pub(crate) const fn words(&self) -> &'static str {
        match self {
            Self::Foreign => "not a relay message",
            Self::Version { .. } => "relay message of a version this program does not know",
            Self::Checksum => "relay message whose checksum differs",
            Self::Damaged { detail } => detail,
            Self::Arrow { .. } => "relay message that Arrow cannot read",
        }
    }
}
