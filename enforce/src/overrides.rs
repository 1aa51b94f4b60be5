//! People's exceptions with an end: exemptions from holds, and extra budget.
//!
//! They change no counter and no fire id: the breach is told as ever. A hold whose target is exempt, or within its extra budget, is
//! released, and comes back by itself when the exception is over and its reason still there.

use serde::{Deserialize, Serialize};
use sluice_schemas::{Micros, PicoUsd};

use crate::budget::digest;
use crate::hold::Hold;
use crate::store::records::RecordKind;
use crate::store::{AuditEntry, SharedStore, StoreError};

/// What is granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Grant {
    /// No hold of the budget.
    Exempt,
    /// Thresholds of the budget lie that much higher.
    Extra {
        /// How much.
        amount: PicoUsd,
    },
}

/// An exception.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    /// Id.
    pub id: String,
    /// Name of the budget.
    pub budget: String,
    /// Target of the budget; absent for all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// What is granted.
    pub grant: Grant,
    /// From when.
    pub since: Micros,
    /// Until when.
    pub until: Micros,
    /// Who granted it.
    pub actor: String,
    /// Why.
    pub reason: String,
}

impl Override {
    fn is_for(&self, budget: &str, target: &str, now: Micros) -> bool {
        self.since <= now && now < self.until && self.budget == budget && self.target.as_deref().is_none_or(|own| own == target)
    }

    /// Says it in words.
    #[must_use]
    pub fn what(&self) -> String {
        match &self.grant {
            Grant::Exempt => "no holds".to_owned(),
            Grant::Extra { amount } => format!("{} USD more", amount.shown(2)),
        }
    }
}

/// The exceptions there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides(Vec<Override>);

impl Overrides {
    /// Returns a set of exceptions.
    #[must_use]
    pub const fn of(overrides: Vec<Override>) -> Self {
        Self(overrides)
    }

    /// Reads all of them, those that are over included.
    ///
    /// # Errors
    /// Fails if the store does.
    pub fn read(store: &dyn SharedStore) -> Result<Self, StoreError> {
        let read = |body, id: &str| {
            serde_json::from_value(body)
                .map_err(|error| StoreError::Corrupt { place: "the shared store".to_owned(), detail: format!("override {id}: {error}") })
        };
        let records = store.records(RecordKind::Override)?;
        Ok(Self(records.into_iter().map(|record| read(record.body, &record.id)).collect::<Result<_, _>>()?))
    }

    /// Returns the exemption of a target.
    #[must_use]
    pub fn exempts(&self, budget: &str, target: &str, now: Micros) -> Option<&Override> {
        self.0.iter().find(|known| known.grant == Grant::Exempt && known.is_for(budget, target, now))
    }

    /// Returns a threshold's amount with what people gave the hold's target.
    #[must_use]
    pub fn raised(&self, amount: PicoUsd, hold: &Hold, now: Micros) -> PicoUsd {
        let Some(budget) = hold.budget() else { return amount };
        self.0.iter().filter(|known| known.is_for(budget, &hold.target, now)).fold(amount, |sum, known| match &known.grant {
            Grant::Extra { amount } => sum + *amount,
            Grant::Exempt => sum,
        })
    }

    /// Iterates over them.
    pub fn iter(&self) -> impl Iterator<Item = &Override> {
        self.0.iter()
    }
}

/// Grants an exception; the same word twice is one.
///
/// # Errors
/// Fails if the store does.
pub fn grant(store: &dyn SharedStore, mut wanted: Override, now: Micros) -> Result<Override, StoreError> {
    let kind = match &wanted.grant {
        Grant::Exempt => "exempt".to_owned(),
        Grant::Extra { amount } => amount.to_string(),
    };
    let target = wanted.target.as_deref().unwrap_or_default();
    wanted.id = digest(&["override/1", &wanted.budget, target, &kind, &wanted.until.to_string(), &wanted.actor]);
    if store.record(RecordKind::Override, &wanted.id)?.is_none() {
        let audit = line(&wanted, "override", &wanted.actor, &wanted.reason, now);
        let body = serde_json::to_value(&wanted).unwrap_or_default();
        store.put_record(RecordKind::Override, &wanted.id, 0, &body, Some(&audit))?;
    }
    Ok(wanted)
}

/// Takes an exception back.
///
/// # Errors
/// [`StoreError::NotFound`] if there is none of that id.
pub fn revoke(store: &dyn SharedStore, id: &str, actor: &str, reason: &str, now: Micros) -> Result<Override, StoreError> {
    let unknown = || StoreError::NotFound { what: "override", id: id.to_owned() };
    let record = store.record(RecordKind::Override, id)?.ok_or_else(unknown)?;
    let known: Override = serde_json::from_value(record.body)
        .map_err(|error| StoreError::Corrupt { place: "the shared store".to_owned(), detail: format!("override {id}: {error}") })?;
    let audit = line(&known, "override_revoked", actor, reason, now);
    store.remove_record(RecordKind::Override, id, record.revision, Some(&audit))?;
    Ok(known)
}

fn line(known: &Override, action: &str, actor: &str, reason: &str, now: Micros) -> AuditEntry {
    let target = known.target.as_deref().unwrap_or("every target");
    AuditEntry {
        at: now,
        fire_id: known.id.clone(),
        action: action.to_owned(),
        target: format!("budget {}: {target}", known.budget),
        state: "done".to_owned(),
        actor: actor.to_owned(),
        detail: format!("{} until {}: {reason}", known.what(), known.until),
        ..AuditEntry::default()
    }
}
