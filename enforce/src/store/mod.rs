//! What must survive the loss of local state before an effect may happen: fire ids, holds, confirmations, commands, the
//! fence and the audit trail.
//!
//! On one machine it is a file ([`FileStore`]); elsewhere a table with conditional writes. Every method is one atomic step,
//! and repeating it after a lost answer changes nothing. A handle that took the fence and lost it is refused on every write;
//! one that never took it (a person's command line) is not. [`conformance`] holds what every implementation is tested with.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sluice_schemas::{ErrorClass, Micros};

use crate::audit::{Head, Versions};
use crate::fire::Crossing;
use crate::hold::Hold;

pub mod conformance;
#[cfg(test)]
pub(crate) mod dying;
#[cfg(feature = "aws")]
mod dynamo;
mod file;
pub mod records;

pub use crate::audit::AuditEntry;
#[cfg(feature = "aws")]
pub use dynamo::{DynamoLease, DynamoSettings, DynamoStore};
pub use file::FileStore;

/// Actor of what the program does by itself.
pub const SELF: &str = "sluice";

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached or written now.
    #[error("shared store failed to {operation}: {detail}")]
    Unavailable {
        /// What was asked.
        operation: &'static str,
        /// What the backend says.
        detail: String,
    },
    /// Another process has the file open.
    #[error("shared store {place} is in use by another process")]
    Busy {
        /// Where it is.
        place: String,
    },
    /// What is stored contradicts itself.
    #[error(
        "shared store {place} is corrupt: {detail}; restore it from a copy, or move it away to start anew (running holds are then lifted by hand, and breaches of running periods may be told again)"
    )]
    Corrupt {
        /// Where.
        place: String,
        /// What was seen.
        detail: String,
    },
    /// Written by a newer program, or in a format of an older one that cannot be read.
    #[error("shared store {place} has format {found}, this program knows {known}")]
    Format {
        /// Where.
        place: String,
        /// Format found.
        found: String,
        /// Format known.
        known: u32,
    },
    /// It does not do this until a person changes something.
    #[error("shared store {place} refused to {operation}: {problem}; {fix}")]
    Refused {
        /// What was asked.
        operation: &'static str,
        /// Where it is.
        place: String,
        /// What the backend says.
        problem: String,
        /// What to change.
        fix: String,
    },
    /// A newer process has taken the fence.
    #[error("fence {own} is behind {current}: a newer process took over")]
    Fenced {
        /// Fence of the caller.
        own: u64,
        /// Fence in force.
        current: u64,
    },
    /// Someone else changed the row since it was read.
    #[error("{what} '{id}' changed meanwhile")]
    Conflict {
        /// Kind of row.
        what: &'static str,
        /// Its id.
        id: String,
    },
    /// There is no such row.
    #[error("there is no {what} '{id}'")]
    NotFound {
        /// Kind of row.
        what: &'static str,
        /// Its id.
        id: String,
    },
}

impl StoreError {
    /// Tells what is to be done.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Unavailable { .. } | Self::Conflict { .. } => ErrorClass::Transient,
            Self::Busy { .. } | Self::Format { .. } | Self::NotFound { .. } | Self::Refused { .. } => ErrorClass::Misconfigured,
            Self::Corrupt { .. } => ErrorClass::Corrupt,
            Self::Fenced { .. } => ErrorClass::Fenced,
        }
    }
}

/// A claimed fire id and what was done under it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FireRecord {
    /// The crossing, with its epoch.
    pub crossing: Crossing,
    /// Fence of the process that claimed it.
    pub fence: u64,
    /// When it was claimed.
    pub claimed_at: Micros,
    /// Receipts by name of the action.
    #[serde(default)]
    pub receipts: BTreeMap<String, Receipt>,
    /// When the last action was settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done_at: Option<Micros>,
}

impl FireRecord {
    /// Returns the fire id.
    #[must_use]
    pub fn fire_id(&self) -> &str {
        &self.crossing.breach.fire_id
    }
}

/// Answer to a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Nobody had it: the caller acts.
    New,
    /// It was claimed before, by this process or another; what is left to do stands in the record.
    Already(Box<FireRecord>),
}

/// How an action ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReceiptState {
    /// Done.
    Done,
    /// It had been done before.
    AlreadyDone,
    /// A limit of caution turned it into a notification.
    Degraded,
    /// It waits for a person.
    AwaitsApproval,
    /// Given up.
    Failed,
}

impl ReceiptState {
    /// Returns the word of the audit trail.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::AlreadyDone => "already_done",
            Self::Degraded => "degraded",
            Self::AwaitsApproval => "awaits_approval",
            Self::Failed => "failed",
        }
    }
}

/// Proof of how an action ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// How.
    pub state: ReceiptState,
    /// What the action says: an id, a status, a reason.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// How an action of a fire ended. Fire id and name of the action are those of its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The receipt.
    pub receipt: Receipt,
    /// Its line of the audit trail.
    pub audit: AuditEntry,
}

/// A person's word that a new or changed budget may act.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmation {
    /// Name of the budget.
    pub budget: String,
    /// Digest of the budget that was confirmed; a later change needs another word.
    pub digest: String,
    /// Who.
    pub actor: String,
    /// When.
    pub at: Micros,
}

/// An order to a running daemon; its id makes repeating it harmless.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Chosen by the sender.
    pub id: String,
    /// Who.
    pub actor: String,
    /// When.
    pub at: Micros,
    /// The verb, for example `pause`.
    pub verb: String,
    /// Its arguments.
    #[serde(default)]
    pub arguments: BTreeMap<String, String>,
    /// What came of it; absent while nobody took it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
}

/// The store all processes of an installation share.
pub trait SharedStore: records::Records + Send + Sync {
    /// Takes the fence: returns a number greater than any before, and refuses the effects of whoever held a lower one.
    ///
    /// # Errors
    /// Fails if the store does.
    fn take_fence(&self, owner: &str, now: Micros) -> Result<u64, StoreError>;

    /// Returns the fence in force; zero before the first.
    ///
    /// # Errors
    /// Fails if the store does.
    fn fence(&self) -> Result<u64, StoreError>;

    /// Claims a fire id (invariant C6).
    ///
    /// # Errors
    /// [`StoreError::Fenced`] if the record's fence is behind.
    fn claim(&self, record: &FireRecord) -> Result<Claim, StoreError>;

    /// Notes how an action of a claimed fire ended; the first receipt of an action stays.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if the fire is not claimed.
    fn put_receipt(&self, fire_id: &str, action: &str, receipt: &Receipt, audit: &AuditEntry) -> Result<(), StoreError>;

    /// Notes that all actions of a fire are settled.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if the fire is not claimed.
    fn mark_done(&self, fire_id: &str, at: Micros) -> Result<(), StoreError>;

    /// Returns how many rows a step of many should have, so that it takes a moment and not longer.
    fn rows_at_once(&self) -> usize {
        20
    }

    /// Claims many fire ids, each as [`SharedStore::claim`] does; the answers are in their order. After an error some may be claimed.
    ///
    /// # Errors
    /// As for [`SharedStore::claim`].
    fn claim_all(&self, records: &[FireRecord]) -> Result<Vec<Claim>, StoreError> {
        records.iter().map(|record| self.claim(record)).collect()
    }

    /// Notes how many actions ended, each as [`SharedStore::put_receipt`] does. After an error some may be noted.
    fn put_receipts(&self, ended: &[Ended]) -> Result<(), StoreError> {
        ended.iter().try_for_each(|ended| self.put_receipt(&ended.audit.fire_id, &ended.audit.action, &ended.receipt, &ended.audit))
    }

    /// Notes that all actions of many fires are settled, each as [`SharedStore::mark_done`] does. After an error some may be noted.
    fn mark_all_done(&self, fire_ids: &[String], at: Micros) -> Result<(), StoreError> {
        fire_ids.iter().try_for_each(|fire_id| self.mark_done(fire_id, at))
    }

    /// Returns a claimed fire.
    ///
    /// # Errors
    /// Fails if the store does.
    fn fire(&self, fire_id: &str) -> Result<Option<FireRecord>, StoreError>;

    /// Returns every claimed fire, settled ones included.
    ///
    /// # Errors
    /// Fails if the store does.
    fn fires(&self) -> Result<Vec<FireRecord>, StoreError>;

    /// Returns the claimed fires with unsettled actions.
    ///
    /// # Errors
    /// Fails if the store does.
    fn unfinished(&self) -> Result<Vec<FireRecord>, StoreError>;

    /// Puts a hold unless its id is known, and returns the one that is stored.
    ///
    /// # Errors
    /// Fails if the store does.
    fn put_hold(&self, hold: &Hold, audit: &AuditEntry) -> Result<Hold, StoreError>;

    /// Replaces a hold that still has the revision it was read with; the stored one has the next revision.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if it changed, [`StoreError::NotFound`] if there is none.
    fn update_hold(&self, hold: &Hold, audit: &AuditEntry) -> Result<Hold, StoreError>;

    /// Returns all holds, released ones included.
    ///
    /// # Errors
    /// Fails if the store does.
    fn holds(&self) -> Result<Vec<Hold>, StoreError>;

    /// Returns a hold.
    ///
    /// # Errors
    /// Fails if the store does.
    fn hold(&self, id: &str) -> Result<Option<Hold>, StoreError>;

    /// Notes that a budget may act.
    ///
    /// # Errors
    /// Fails if the store does.
    fn confirm(&self, confirmation: &Confirmation, audit: &AuditEntry) -> Result<(), StoreError>;

    /// Returns the latest confirmation of each budget.
    ///
    /// # Errors
    /// Fails if the store does.
    fn confirmations(&self) -> Result<Vec<Confirmation>, StoreError>;

    /// Hands in a command unless its id is known; returns what is stored under it.
    ///
    /// # Errors
    /// Fails if the store does.
    fn submit(&self, command: &Command) -> Result<Command, StoreError>;

    /// Returns the commands nobody has answered.
    ///
    /// # Errors
    /// Fails if the store does.
    fn open_commands(&self) -> Result<Vec<Command>, StoreError>;

    /// Answers a command; the first answer stays.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is none.
    fn answer(&self, id: &str, outcome: &str, audit: &AuditEntry) -> Result<(), StoreError>;

    /// Turns all levers off (`true`) or on again: the kill switch, read before every hold.
    ///
    /// # Errors
    /// Fails if the store does.
    fn set_stopped(&self, stopped: bool, audit: &AuditEntry) -> Result<(), StoreError>;

    /// Tells whether the kill switch is thrown.
    ///
    /// # Errors
    /// Fails if the store does.
    fn stopped(&self) -> Result<bool, StoreError>;

    /// Adds a line to the audit trail.
    ///
    /// # Errors
    /// Fails if the store does.
    fn audit(&self, entry: &AuditEntry) -> Result<(), StoreError>;

    /// Returns up to `most` lines of the audit trail after line `after`, with their numbers (the first is 1).
    ///
    /// # Errors
    /// Fails if the store does.
    fn audit_trail(&self, after: u64, most: usize) -> Result<Vec<(u64, AuditEntry)>, StoreError>;

    /// Returns where the chain of the audit trail stands; `None` before its first line.
    ///
    /// # Errors
    /// Fails if the store does.
    fn audit_head(&self) -> Result<Option<Head>, StoreError>;

    /// Names the versions that lines carry from here on, where they name none themselves; of this handle alone.
    fn set_versions(&self, versions: Versions);
}
