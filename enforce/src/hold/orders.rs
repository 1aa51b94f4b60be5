//! People's words on holds, and the changes that follow from the ledger, written with their audit line in one step.

use sluice_schemas::time::DAY;
use sluice_schemas::{ErrorClass, Micros, PicoUsd};

use super::{Cause, Change, Hold, HoldChange, HoldState, Released};
use crate::audit::inputs;
use crate::budget::{Mode, digest};
use crate::config::Budgets;
use crate::guard::Scope;
use crate::store::{AuditEntry, Confirmation, SELF, SharedStore, StoreError};

/// Why an order about a hold was not followed.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// Neither a hold nor a budget has this id.
    #[error("'{id}' is neither a hold nor a budget")]
    Unknown {
        /// The id.
        id: String,
    },
    /// The hold is in a state in which this makes no sense.
    #[error("hold '{id}' is {state}")]
    State {
        /// The hold.
        id: String,
        /// Its state.
        state: HoldState,
    },
    /// The hold's time is over; it ends with the next look at it.
    #[error("hold '{id}' ended at {at}: a new breach makes a new one, a person sluice pause")]
    Over {
        /// The hold.
        id: String,
        /// When.
        at: Micros,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl HoldError {
    /// Tells what is to be done.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Unknown { .. } | Self::State { .. } | Self::Over { .. } => ErrorClass::Misconfigured,
            Self::Store(error) => error.class(),
        }
    }
}

/// What was approved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Approved {
    /// A hold; it is in force.
    Hold(Box<Hold>),
    /// A budget; the ledger has to be told ([`crate::Ledger::confirm`]).
    Budget(Confirmation),
}

fn entry(hold: &Hold, action: &str, actor: &str, detail: &str, now: Micros) -> AuditEntry {
    let text = |text: &str| text.to_owned();
    AuditEntry {
        at: now,
        fire_id: hold.id.clone(),
        action: text(action),
        target: hold.target.clone(),
        state: text("done"),
        actor: text(actor),
        detail: text(detail),
        inputs: match &hold.cause {
            Cause::Breach { budget, period, threshold, .. } => {
                inputs([("budget", budget.clone()), ("period", period.clone()), ("threshold", threshold.clone())])
            }
            Cause::Manual { .. } => String::new(),
        },
        ..AuditEntry::default()
    }
}

fn open_hold(store: &dyn SharedStore, id: &str) -> Result<Hold, HoldError> {
    let hold = store.hold(id)?.ok_or_else(|| HoldError::Unknown { id: id.to_owned() })?;
    if hold.is_open() { Ok(hold) } else { Err(HoldError::State { id: hold.id, state: hold.state }) }
}

/// Lifts a hold.
///
/// # Errors
/// Fails if there is no such open hold, or if the store does.
pub fn release(store: &dyn SharedStore, id: &str, actor: &str, reason: &str, now: Micros) -> Result<Hold, HoldError> {
    let hold = open_hold(store, id)?;
    let released = Some(Released { at: now, actor: actor.to_owned(), reason: reason.to_owned() });
    let hold = Hold { state: HoldState::Released, released, ..hold };
    Ok(store.update_hold(&hold, &entry(&hold, "release", actor, reason, now))?)
}

/// Stops a target on a person's word, until another word or `until`: `scope` says what is pulled. Pausing what is paused changes nothing.
///
/// # Errors
/// Fails if the store does.
pub fn pause(
    store: &dyn SharedStore,
    target: &str,
    actor: &str,
    note: &str,
    until: Option<Micros>,
    scope: Scope,
    now: Micros,
) -> Result<Hold, HoldError> {
    if let Some(hold) = paused(store, target)?.into_iter().next() {
        return Ok(hold);
    }
    let hold = Hold {
        id: digest(&["manual/1", target, &now.to_string()]),
        target: target.to_owned(),
        cause: Cause::Manual { actor: actor.to_owned(), note: note.to_owned() },
        until,
        mode: Mode::Enforce,
        state: HoldState::Active,
        created_at: now,
        approved_by: None,
        released: None,
        revision: 0,
        // A person who names a target has seen who shares what it acts through, or was shown it.
        scope: Scope { obstacle: None, ..scope },
        burn: PicoUsd::ZERO,
        note: None,
        approve_by: None,
    };
    Ok(store.put_hold(&hold, &entry(&hold, "pause", actor, note, now))?)
}

/// Lifts every manual hold of a target, and returns them. Holds for breaches stay.
///
/// # Errors
/// Fails if the store does.
pub fn resume(store: &dyn SharedStore, target: &str, actor: &str, reason: &str, now: Micros) -> Result<Vec<Hold>, HoldError> {
    paused(store, target)?.into_iter().map(|hold| release(store, &hold.id, actor, reason, now)).collect()
}

fn paused(store: &dyn SharedStore, target: &str) -> Result<Vec<Hold>, StoreError> {
    let manual = |hold: &Hold| hold.is_open() && hold.target == target && matches!(hold.cause, Cause::Manual { .. });
    Ok(store.holds()?.into_iter().filter(manual).collect())
}

/// A person's approval.
#[derive(Clone, Copy, Debug)]
pub struct Approval<'a> {
    /// Who.
    pub actor: &'a str,
    /// Why.
    pub reason: &'a str,
    /// When a hold that is approved ends, if before its own end.
    pub until: Option<Micros>,
}

/// Approves a waiting hold by its id, or a new or changed budget by its name.
///
/// # Errors
/// Fails if there is nothing of that id to approve, or if the store does.
pub fn approve(store: &dyn SharedStore, budgets: &Budgets, id: &str, by: &Approval<'_>, now: Micros) -> Result<Approved, HoldError> {
    let actor = by.actor;
    if store.hold(id)?.is_some() {
        let hold = open_hold(store, id)?;
        if hold.state != HoldState::PendingApproval {
            return Err(HoldError::State { id: hold.id, state: hold.state });
        }
        if let Some(at) = [hold.until, hold.approve_by].into_iter().flatten().min().filter(|at| *at <= now) {
            return Err(HoldError::Over { id: hold.id, at });
        }
        let until = [hold.until, by.until].into_iter().flatten().min();
        let hold = Hold { state: HoldState::Active, approved_by: Some(actor.to_owned()), until, note: None, approve_by: None, ..hold };
        return Ok(Approved::Hold(Box::new(store.update_hold(&hold, &entry(&hold, "approve", actor, by.reason, now))?)));
    }
    let budget = budgets.get(id).ok_or_else(|| HoldError::Unknown { id: id.to_owned() })?;
    let confirmation = Confirmation { budget: budget.name.clone(), digest: budget.digest(), actor: actor.to_owned(), at: now };
    let audit = AuditEntry {
        at: now,
        fire_id: confirmation.digest.clone(),
        action: "approve".to_owned(),
        target: format!("budget {}", budget.name),
        state: "done".to_owned(),
        actor: actor.to_owned(),
        detail: by.reason.to_owned(),
        policy_version: budgets.version(),
        ..AuditEntry::default()
    };
    store.confirm(&confirmation, &audit)?;
    Ok(Approved::Budget(confirmation))
}

/// Makes a change that [`reconcile_holds`] found due.
///
/// # Errors
/// Fails if the store does, or if the hold ended meanwhile.
pub fn apply_change(store: &dyn SharedStore, change: &HoldChange, now: Micros) -> Result<Hold, HoldError> {
    match &change.change {
        Change::Release { reason } => release(store, &change.id, SELF, reason, now),
        Change::Reopen => {
            let hold = store.hold(&change.id)?.ok_or_else(|| HoldError::Unknown { id: change.id.clone() })?;
            if hold.released.as_ref().is_none_or(|released| released.actor != SELF) {
                return Err(HoldError::State { id: hold.id, state: hold.state });
            }
            let hold = waiting_if_needed(Hold { state: HoldState::Active, released: None, ..hold }, now);
            Ok(store.update_hold(&hold, &entry(&hold, "hold", SELF, "its reason is back", now))?)
        }
        Change::Mode(mode) => {
            let hold = open_hold(store, &change.id)?;
            let pulled_nothing = hold.mode == Mode::Observe && hold.state == HoldState::Active;
            let hold = Hold { mode: *mode, ..hold };
            let hold = if pulled_nothing { waiting_if_needed(hold, now) } else { hold };
            Ok(store.update_hold(&hold, &entry(&hold, "mode", SELF, mode.as_str(), now))?)
        }
    }
}

/// Lets a hold that would come into force wait for a person, if it may not without one and nobody has approved it.
fn waiting_if_needed(hold: Hold, now: Micros) -> Hold {
    if hold.mode == Mode::Observe && hold.approve_by.is_none() || !hold.needs_word() {
        return hold;
    }
    // Never the same end as before: it is another question.
    let approve_by = hold.approve_by.map_or(now.plus(DAY), |by| by.plus(1).max(now.plus(DAY)));
    let of_others = || hold.scope.obstacle.as_ref().map(|obstacle| obstacle.reason.clone());
    let note = hold.note.clone().or_else(of_others).or_else(|| Some("the budget asks for a person's word".to_owned()));
    Hold { state: HoldState::PendingApproval, approve_by: Some(approve_by), note, ..hold }
}
