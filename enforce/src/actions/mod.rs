//! What can follow a crossing.
//!
//! An action is asked again after a crash, so each looks whether it was done before: a hold by its id, a file by its lines.
//! Those who are told elsewhere cannot be looked at; they tell repetitions by the id of the message ([`crate::notice`]).

use sluice_schemas::ErrorClass;

use crate::aws::CallError;
use crate::budget::ActionKind;
use crate::fire::Crossing;
use crate::notice::Notice;
use crate::permit::CommitPermit;
use crate::store::{Receipt, ReceiptState, StoreError};

mod eventbridge;
mod file;
mod filtered;
mod hold;
mod http;
mod log;
mod pace;
mod paced;
mod pagerduty;
mod slack;
mod sns;
mod webhook;

pub use eventbridge::{EventBridge, EventBridgeSettings};
pub use file::FileAction;
pub use filtered::Filtered;
pub use hold::HoldAction;
pub use http::WebhookUrlError;
pub use log::LogAction;
pub use pagerduty::{PAGERDUTY_URL, PagerDuty};
pub use slack::Slack;
pub use sns::{Sns, SnsSettings, TopicError};
pub use webhook::WebhookAction;

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

    /// Does it for up to [`Action::most_at_once`] crossings; one result for each, in their order.
    fn apply_all(&self, permit: &CommitPermit, fires: &[&Crossing]) -> Vec<Result<Receipt, ActionError>> {
        fires.iter().map(|fire| self.apply(permit, fire)).collect()
    }

    /// Returns how many crossings one call takes.
    fn most_at_once(&self) -> usize {
        1
    }

    /// Returns how many calls may be under way at a time.
    fn lanes(&self) -> usize {
        1
    }
}

/// Whoever is told follows crossings once they are committed.
impl<R: crate::notice::Receiver> Action for R {
    fn name(&self) -> &str {
        crate::notice::Receiver::name(self)
    }

    fn kind(&self) -> ActionKind {
        ActionKind::Notify
    }

    fn apply(&self, permit: &CommitPermit, fire: &Crossing) -> Result<Receipt, ActionError> {
        check_permit(permit, fire)?;
        self.tell(&Notice::Breach(&fire.breach))
    }

    fn apply_all(&self, permit: &CommitPermit, fires: &[&Crossing]) -> Vec<Result<Receipt, ActionError>> {
        if fires.iter().any(|fire| check_permit(permit, fire).is_err()) {
            return fires.iter().map(|fire| self.apply(permit, fire)).collect();
        }
        let notices: Vec<Notice<'_>> = fires.iter().map(|fire| Notice::Breach(&fire.breach)).collect();
        self.tell_all(&notices)
    }

    fn most_at_once(&self) -> usize {
        crate::notice::Receiver::most_at_once(self)
    }

    fn lanes(&self) -> usize {
        crate::notice::Receiver::lanes(self)
    }
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
    /// A call of AWS failed.
    #[error("{receiver}: {source}")]
    Call {
        /// The receiver.
        receiver: String,
        /// Why.
        source: CallError,
    },
    /// The receiver took the call and not this message of it.
    #[error("{receiver} refused the message: {code}: {detail}")]
    Refused {
        /// The receiver.
        receiver: String,
        /// Its code.
        code: String,
        /// In its words.
        detail: String,
        /// Whether another try may help.
        again: bool,
    },
    /// The message is larger than the receiver takes.
    #[error("{receiver} takes {most} bytes, the message has {bytes}")]
    TooLarge {
        /// The receiver.
        receiver: String,
        /// Size of the message.
        bytes: usize,
        /// Most it takes.
        most: usize,
    },
    /// A receiver did not say how a message fared.
    #[error("{receiver} did not say how the message fared")]
    NoResult {
        /// The receiver.
        receiver: String,
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
            Self::NotCommitted { .. } | Self::Json(_) | Self::NoResult { .. } => ErrorClass::Bug,
            Self::File { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => ErrorClass::Misconfigured,
            Self::File { .. } | Self::Unreachable { .. } => ErrorClass::Transient,
            Self::ForeignFile { .. } => ErrorClass::Misconfigured,
            Self::Status { status: 408 | 425 | 429 | 500.., .. } => ErrorClass::Transient,
            Self::Status { .. } => ErrorClass::Misconfigured,
            Self::Call { source, .. } => source.class(),
            Self::Refused { again: true, .. } => ErrorClass::Transient,
            Self::Refused { .. } | Self::TooLarge { .. } => ErrorClass::Misconfigured,
            Self::Store(error) => error.class(),
        }
    }

    /// Returns the same failure for another message of the same call.
    #[must_use]
    pub fn repeated(&self) -> Self {
        match self {
            Self::File { operation, path, source } => {
                let source = std::io::Error::new(source.kind(), source.to_string());
                Self::File { operation, path: path.clone(), source }
            }
            Self::ForeignFile { path } => Self::ForeignFile { path: path.clone() },
            Self::Unreachable { host, detail } => Self::Unreachable { host: host.clone(), detail: detail.clone() },
            Self::Status { host, status } => Self::Status { host: host.clone(), status: *status },
            Self::Call { receiver, source } => Self::Call { receiver: receiver.clone(), source: source.clone() },
            other => Self::Refused {
                receiver: "the receiver".to_owned(),
                code: "call".to_owned(),
                detail: other.to_string(),
                again: other.class() == ErrorClass::Transient,
            },
        }
    }

    /// Tells whether the receiver gave no answer at all, so that others would wait for it as long.
    #[must_use]
    pub const fn is_silence(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Call { source: CallError::Network { .. }, .. })
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
