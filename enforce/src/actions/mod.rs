//! What can follow a crossing.
//!
//! An action is asked again after a crash, so each looks whether it was done before: a hold by its id, a file by its lines.
//! A webhook cannot be looked at; its receiver tells repetitions by the fire id in `Idempotency-Key`.

use sluice_schemas::ErrorClass;

use crate::budget::ActionKind;
use crate::fire::Crossing;
use crate::permit::CommitPermit;
use crate::store::{Receipt, ReceiptState, StoreError};

mod file;
mod hold;
mod log;
mod webhook;

pub use file::FileAction;
pub use hold::HoldAction;
pub use log::LogAction;
pub use webhook::{WebhookAction, WebhookUrlError};

/// Something that can follow a crossing.
pub trait Action: Send + Sync {
    /// Returns its name, unique among the configured ones and stable over restarts: receipts are kept under it.
    fn name(&self) -> &str;

    /// Returns which word of a budget asks for it.
    fn kind(&self) -> ActionKind;

    /// Does it, or finds it done.
    ///
    /// # Errors
    /// Returns what failed; [`ActionError::class`] tells whether to try again.
    fn apply(&self, permit: &CommitPermit, fire: &Crossing) -> Result<Receipt, ActionError>;
}

/// Why an action failed.
#[derive(Debug, thiserror::Error)]
pub enum ActionError {
    /// The epoch of the crossing is not committed.
    #[error("epoch {epoch} is not committed, the last one is {committed}")]
    NotCommitted {
        /// Epoch of the crossing.
        epoch: u64,
        /// Last committed epoch.
        committed: u64,
    },
    /// A file could not be read or written.
    #[error("cannot {operation} {path}")]
    File {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The file ends in something this program did not write.
    #[error("{path} does not end in a line of breaches; move it away or end its last line")]
    ForeignFile {
        /// The file.
        path: String,
    },
    /// The receiver could not be reached, or its answer did not come.
    #[error("no answer from {host}: {detail}")]
    Unreachable {
        /// The receiver.
        host: String,
        /// What the client says.
        detail: String,
    },
    /// The receiver answered with an error.
    #[error("{host} answered {status}")]
    Status {
        /// The receiver.
        host: String,
        /// The HTTP status.
        status: u16,
    },
    /// The shared store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The breach could not be written as JSON.
    #[error("the breach cannot be written as JSON")]
    Json(#[from] serde_json::Error),
}

impl ActionError {
    /// Tells what is to be done.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::NotCommitted { .. } | Self::Json(_) => ErrorClass::Bug,
            Self::File { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => ErrorClass::Misconfigured,
            Self::File { .. } | Self::Unreachable { .. } => ErrorClass::Transient,
            Self::ForeignFile { .. } => ErrorClass::Misconfigured,
            Self::Status { status: 408 | 425 | 429 | 500.., .. } => ErrorClass::Transient,
            Self::Status { .. } => ErrorClass::Misconfigured,
            Self::Store(error) => error.class(),
        }
    }
}

/// Refuses an effect of an epoch that is not committed (invariant C7).
pub(crate) fn check_permit(permit: &CommitPermit, fire: &Crossing) -> Result<(), ActionError> {
    let epoch = fire.breach.epoch;
    if permit.covers(epoch) { Ok(()) } else { Err(ActionError::NotCommitted { epoch, committed: permit.epoch() }) }
}

fn done(detail: impl Into<String>) -> Receipt {
    Receipt { state: ReceiptState::Done, detail: detail.into() }
}

#[cfg(test)]
mod tests;
