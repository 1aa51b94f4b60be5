//! Rows of any kind that change by revision: intents of levers, overrides, the state of the breaker.
//!
//! Kinds whose rows belong to the atomic steps of crossings and holds have methods of their own in [`super::SharedStore`]; these
//! need no more than compare-and-set.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{AuditEntry, StoreError};

/// Kinds of records; the words are keys of the store and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RecordKind {
    /// What a lever is to do, does or did on a subject.
    Intent,
    /// A person's exemption or extra budget.
    Override,
    /// State of a guard, for example the circuit breaker.
    Guard,
    /// News of a hold that somebody is still to be told.
    Notice,
    /// News that is told once for good: itself, and when everybody has heard it, that it was told.
    Told,
    /// Why an order in the shared store waits.
    Order,
}

impl RecordKind {
    /// Returns the word of the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Intent => "intent",
            Self::Override => "override",
            Self::Guard => "guard",
            Self::Notice => "notice",
            Self::Told => "told",
            Self::Order => "order",
        }
    }
}

/// A row as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Id, unique in its kind.
    pub id: String,
    /// 1 for the first write, one more for each.
    pub revision: u64,
    /// What it says.
    pub body: Value,
}

/// Rows that are compared and set.
pub trait Records {
    /// Writes a row that still has `revision` (0: that is not there), and returns its next one.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if someone else wrote it meanwhile.
    fn put_record(&self, kind: RecordKind, id: &str, revision: u64, body: &Value, audit: Option<&AuditEntry>) -> Result<u64, StoreError>;

    /// Removes a row that still has `revision`; one that is not there is removed already.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if someone else wrote it meanwhile.
    fn remove_record(&self, kind: RecordKind, id: &str, revision: u64, audit: Option<&AuditEntry>) -> Result<(), StoreError>;

    /// Returns a row.
    ///
    /// # Errors
    /// Fails if the store does.
    fn record(&self, kind: RecordKind, id: &str) -> Result<Option<Record>, StoreError>;

    /// Returns all rows of a kind, by id.
    ///
    /// # Errors
    /// Fails if the store does.
    fn records(&self, kind: RecordKind) -> Result<Vec<Record>, StoreError>;
}
