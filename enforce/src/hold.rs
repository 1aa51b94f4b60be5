//! Holds: who is stopped, for which reason, until when.
//!
//! Owns: the decision whether a crossing may stop its target (`decide`), people's words (release, pause, resume, approve) and the
//! reconciliation of holds with the ledger (invariant C10: a hold has a living reason, or is released).
//! Does not own: pulling a permission. A lever stands as long as any hold of its target is [`HoldState::Active`] in mode
//! `enforce`, so two budgets can want the same stop and neither lifts the other's.

use std::collections::HashMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use sluice_schemas::{Micros, PicoUsd};

use crate::budget::Mode;
use crate::guard::Scope;
use crate::ledger::{BudgetStatus, Overview};
use crate::lever::LeverKind;
use crate::overrides::Overrides;
use crate::reconcile::want::Grip;
use crate::ring::nine_tenths;
use crate::store::SELF;

mod decide;
mod orders;

pub use decide::{ALWAYS_ALLOWED, Decided, HoldPolicy, Switches, decide_hold};
pub use orders::{Approval, Approved, HoldError, apply_change, approve, pause, release, resume};

/// Why a target is stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Cause {
    /// A threshold was crossed.
    Breach {
        /// The fire.
        fire_id: String,
        /// The budget.
        budget: String,
        /// Id of the period.
        period: String,
        /// Text of the threshold.
        threshold: String,
    },
    /// A person said so.
    Manual {
        /// Who.
        actor: String,
        /// Why.
        note: String,
    },
}

/// Where a hold stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldState {
    /// Waits for a person.
    PendingApproval,
    /// In force.
    Active,
    /// Over.
    Released,
}

impl fmt::Display for HoldState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PendingApproval => "pending_approval",
            Self::Active => "active",
            Self::Released => "released",
        })
    }
}

/// How a hold ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Released {
    /// When.
    pub at: Micros,
    /// Who.
    pub actor: String,
    /// Why.
    pub reason: String,
}

/// A stop of one target for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// The fire id for a breach.
    pub id: String,
    /// Who is stopped.
    pub target: String,
    /// Why.
    pub cause: Cause,
    /// When it ends by itself; absent where the ledger or a person decides.
    pub until: Option<Micros>,
    /// `observe`: recorded alone.
    pub mode: Mode,
    /// Where it stands.
    pub state: HoldState,
    /// When it was put.
    pub created_at: Micros,
    /// Who approved it.
    pub approved_by: Option<String>,
    /// How it ended.
    pub released: Option<Released>,
    /// Grows with each change.
    pub revision: u64,
    /// What it pulls, and who else would be hit.
    #[serde(default)]
    pub scope: Scope,
    /// Dollars an hour that the target burned when it was put.
    #[serde(default)]
    pub burn: PicoUsd,
    /// Why it waits for a person, and what would help.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// When waiting ends without a person's word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approve_by: Option<Micros>,
}

impl Hold {
    /// Tells whether it is not over.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state != HoldState::Released
    }

    /// Tells whether it pulls a permission.
    #[must_use]
    pub fn is_in_force(&self) -> bool {
        self.state == HoldState::Active && self.mode != Mode::Observe
    }

    /// Returns what it pulls now: all of its grips in force, the flag alone where only other people's harm makes it wait for a person.
    #[must_use]
    pub fn pulls(&self) -> Vec<Grip> {
        if self.is_in_force() {
            return self.scope.grips.clone();
        }
        let waits_for_others = self.state == HoldState::PendingApproval && self.mode == Mode::Enforce && self.scope.obstacle.is_some();
        let flags = self.scope.grips.iter().flat_map(|grip| &grip.chain).find(|pull| pull.lever == LeverKind::Flag);
        let flag = flags.filter(|_| waits_for_others).map(|pull| Grip { chain: vec![pull.clone()] });
        flag.into_iter().collect()
    }

    /// Tells whether it may come into force on a person's word alone, and nobody has said it.
    #[must_use]
    pub fn needs_word(&self) -> bool {
        let is_breach = matches!(self.cause, Cause::Breach { .. });
        let harms_others = self.scope.obstacle.as_ref().is_some_and(|obstacle| obstacle.approvable);
        is_breach && self.approved_by.is_none() && (self.approve_by.is_some() || self.mode == Mode::Approve || harms_others)
    }

    /// Returns why it was put, for people.
    #[must_use]
    pub fn reason(&self) -> String {
        match &self.cause {
            Cause::Breach { budget, period, threshold, .. } => format!("budget '{budget}' at {threshold} in {period}"),
            Cause::Manual { actor, note } if note.is_empty() => format!("paused by {actor}"),
            Cause::Manual { actor, note } => format!("paused by {actor}: {note}"),
        }
    }

    /// Returns the budget it is for; `None` for a person's hold.
    #[must_use]
    pub fn budget(&self) -> Option<&str> {
        match &self.cause {
            Cause::Breach { budget, .. } => Some(budget),
            Cause::Manual { .. } => None,
        }
    }
}

/// Why a hold ended that waited for a person in vain.
const NOBODY_APPROVED: &str = "nobody approved it in time";

/// A change of a hold that follows from the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldChange {
    /// The hold.
    pub id: String,
    /// What changes.
    pub change: Change,
}

/// What changes about a hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Its reason is gone.
    Release {
        /// Why.
        reason: &'static str,
    },
    /// Its budget acts in another mode now.
    Mode(Mode),
    /// Its reason is back: it was released without a person, and the spend is at its threshold again.
    Reopen,
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Release { reason } => write!(f, "released: {reason}"),
            Self::Mode(mode) => write!(f, "its budget is in {} mode now", mode.as_str()),
            Self::Reopen => f.write_str("in force again: the spend is back at its threshold"),
        }
    }
}

/// Compares the holds with the ledger and returns what has to change (invariant C10).
///
/// What the ledger does not know is no reason to lift a stop: a budget that waits for its history, or a counter that is not
/// there, leaves the hold in place until its own end. A hold that a person released is not put back; one that ended by
/// itself is, since its fire id is spent and no crossing would bring it back.
#[must_use]
pub fn reconcile_holds(
    status: &[BudgetStatus],
    overview: &[Overview],
    holds: &[Hold],
    overrides: &Overrides,
    now: Micros,
) -> Vec<HoldChange> {
    let counters: HashMap<(&str, &str), Vec<&BudgetStatus>> = status.iter().fold(HashMap::new(), |mut counters, status| {
        counters.entry((status.budget.as_str(), status.target.as_str())).or_default().push(status);
        counters
    });
    let mut latest: HashMap<(&str, &str), &Hold> = HashMap::new();
    let mut changes = Vec::new();
    for hold in holds {
        let Cause::Breach { budget, period, .. } = &hold.cause else {
            if hold.is_open() && hold.until.is_some_and(|until| until <= now) {
                changes.push(HoldChange { id: hold.id.clone(), change: ended("its time is over") });
            }
            continue;
        };
        let key = (budget.as_str(), hold.target.as_str());
        let newest = latest.entry(key).or_insert(hold);
        if (hold.is_open(), hold.created_at) >= (newest.is_open(), newest.created_at) {
            *newest = hold;
        }
        if hold.is_open() {
            let counter = counters.get(&key).and_then(|of_target| counter_of(of_target, period));
            let known = overview.iter().find(|known| known.budget == *budget);
            let change = reconcile_open(hold, known, counter, overrides, now);
            changes.extend(change.map(|change| HoldChange { id: hold.id.clone(), change }));
        }
    }
    let reopened = latest.iter().filter(|(key, hold)| {
        let Cause::Breach { period, .. } = &hold.cause else { return false };
        counters
            .get(*key)
            .and_then(|of_target| counter_of(of_target, period))
            .is_some_and(|counter| is_due_again(hold, counter, overrides, now))
    });
    changes.extend(reopened.map(|(_, hold)| HoldChange { id: hold.id.clone(), change: Change::Reopen }));
    changes.sort_by(|a, b| a.id.cmp(&b.id));
    changes
}

const fn ended(reason: &'static str) -> Change {
    Change::Release { reason }
}

fn counter_of<'a>(of_target: &[&'a BudgetStatus], period: &str) -> Option<&'a BudgetStatus> {
    of_target.iter().copied().find(|status| status.rolling || status.period == period)
}

fn reconcile_open(
    hold: &Hold,
    known: Option<&Overview>,
    counter: Option<&BudgetStatus>,
    overrides: &Overrides,
    now: Micros,
) -> Option<Change> {
    if hold.until.is_some_and(|until| until <= now) {
        return Some(ended("its time is over"));
    }
    if hold.state == HoldState::PendingApproval && hold.approve_by.is_some_and(|by| by <= now) {
        return Some(ended(NOBODY_APPROVED));
    }
    if hold.budget().is_some_and(|budget| overrides.exempts(budget, &hold.target, now).is_some()) {
        return Some(ended("a person exempted it"));
    }
    let Some(known) = known else { return Some(ended("the budget was removed")) };
    if known.needs_seed {
        return None;
    }
    let Some(counter) = counter else {
        // A rolling counter is forgotten long after its last spend slid out.
        let gone = known.forgets_after.is_some_and(|width| hold.created_at.plus(width) <= now);
        return gone.then_some(ended("the rolling sum fell"));
    };
    let Some(hold_at) = counter.hold_at else { return Some(ended("the budget holds no more")) };
    let hold_at = overrides.raised(hold_at, hold, now);
    let keeps = if counter.rolling { nine_tenths(hold_at) } else { hold_at };
    if counter.spent < keeps {
        return Some(ended(if counter.rolling { "the rolling sum fell" } else { "the limit was raised or spend was taken back" }));
    }
    // Stepping up to enforce needs a confirmed budget; stepping down never does.
    let changes_mode = counter.mode != hold.mode && (counter.confirmed || counter.mode == Mode::Observe);
    changes_mode.then_some(Change::Mode(counter.mode))
}

fn is_due_again(hold: &Hold, counter: &BudgetStatus, overrides: &Overrides, now: Micros) -> bool {
    if hold.budget().is_some_and(|budget| overrides.exempts(budget, &hold.target, now).is_some()) {
        return false;
    }
    let by_itself = hold.released.as_ref().is_some_and(|released| released.actor == SELF && released.reason != NOBODY_APPROVED);
    let lasts = hold.until.is_none_or(|until| now < until);
    by_itself && lasts && counter.confirmed && counter.hold_at.is_some_and(|hold_at| counter.spent >= overrides.raised(hold_at, hold, now))
}

#[cfg(test)]
mod tests;
