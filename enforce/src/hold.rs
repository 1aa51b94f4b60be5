//! Holds: who is stopped, for which reason, until when.
//!
//! Owns: the decision whether a crossing may stop its target, people's words (release, pause, resume, approve) and the
//! reconciliation of holds with the ledger (invariant C10: a hold has a living reason, or is released).
//! Does not own: pulling a permission. A lever stands as long as any hold of its target is [`HoldState::Active`] in mode
//! `enforce`, so two budgets can want the same stop and neither lifts the other's.

use std::collections::HashMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use sluice_schemas::Micros;
use sluice_schemas::time::HOUR;

use crate::budget::Mode;
use crate::fire::Crossing;
use crate::ledger::{BudgetStatus, Overview};
use crate::ring::nine_tenths;
use crate::store::SELF;

mod orders;

pub use orders::{Approved, HoldError, apply_change, approve, pause, release, resume};

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
        self.state == HoldState::Active && self.mode == Mode::Enforce
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

/// Returns the targets that have to be stopped now, each once.
#[must_use]
pub fn targets_in_force(holds: &[Hold]) -> Vec<&str> {
    let mut targets: Vec<&str> = holds.iter().filter(|hold| hold.is_in_force()).map(|hold| hold.target.as_str()).collect();
    targets.sort_unstable();
    targets.dedup();
    targets
}

/// Open holds of a budget that no share forbids: of a few agents, any one is a large share.
pub const ALWAYS_ALLOWED: u64 = 3;

/// Limits of caution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldPolicy {
    /// Targets that are never stopped: whole targets, single pairs (`agent_id=ci`) or bare values; a final `*` stands for any rest.
    pub protected: Vec<String>,
    /// Most holds put by breaches within an hour. Each beyond it only tells.
    pub most_per_hour: u32,
    /// Most open holds of a budget, in percent of its targets; [`ALWAYS_ALLOWED`] are allowed however few it has.
    pub most_percent: u8,
}

impl Default for HoldPolicy {
    fn default() -> Self {
        Self { protected: Vec::new(), most_per_hour: 10, most_percent: 25 }
    }
}

/// What is to be done about a crossing that asks for a hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HoldDecision {
    /// Put it.
    Put(Box<Hold>),
    /// Only tell, for this reason.
    Degrade(&'static str),
}

/// Decides whether a crossing may stop its target.
#[must_use]
pub fn decide_hold(policy: &HoldPolicy, crossing: &Crossing, holds: &[Hold], stopped: bool) -> HoldDecision {
    let breach = &crossing.breach;
    let Some(terms) = &crossing.hold else { return HoldDecision::Degrade("the crossing asks for no hold") };
    if stopped {
        return HoldDecision::Degrade("the kill switch is thrown");
    }
    if policy.protected.iter().any(|pattern| protects(pattern, &breach.target)) {
        return HoldDecision::Degrade("the target is protected");
    }
    let recent = |hold: &&Hold| matches!(hold.cause, Cause::Breach { .. }) && hold.created_at.0 > breach.detected_at.0 - HOUR;
    if holds.iter().filter(recent).count() >= policy.most_per_hour as usize {
        return HoldDecision::Degrade("the most holds within an hour are reached");
    }
    let open = holds.iter().filter(|hold| hold.is_open() && hold.budget() == Some(&breach.budget)).count() as u64;
    let allowed = (terms.live_targets * u64::from(policy.most_percent) / 100).max(ALWAYS_ALLOWED);
    if open >= allowed {
        return HoldDecision::Degrade("the largest share of the budget's targets is held");
    }
    HoldDecision::Put(Box::new(Hold {
        id: breach.fire_id.clone(),
        target: breach.target.clone(),
        cause: Cause::Breach {
            fire_id: breach.fire_id.clone(),
            budget: breach.budget.clone(),
            period: breach.period.clone(),
            threshold: breach.threshold.clone(),
        },
        until: terms.until,
        mode: if breach.mode == Mode::Enforce.as_str() { Mode::Enforce } else { Mode::Observe },
        state: if terms.approval { HoldState::PendingApproval } else { HoldState::Active },
        created_at: breach.detected_at,
        approved_by: None,
        released: None,
        revision: 0,
    }))
}

/// Tells whether a pattern names a target.
fn protects(pattern: &str, target: &str) -> bool {
    let matches = |text: &str| pattern.strip_suffix('*').map_or(pattern == text, |start| text.starts_with(start));
    matches(target) || target.split(',').any(|pair| matches(pair) || pair.split_once('=').is_some_and(|(_, value)| matches(value)))
}

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
pub fn reconcile_holds(status: &[BudgetStatus], overview: &[Overview], holds: &[Hold], now: Micros) -> Vec<HoldChange> {
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
            let change = reconcile_open(hold, known, counter, now);
            changes.extend(change.map(|change| HoldChange { id: hold.id.clone(), change }));
        }
    }
    let reopened = latest.iter().filter(|(key, hold)| {
        let Cause::Breach { period, .. } = &hold.cause else { return false };
        counters.get(*key).and_then(|of_target| counter_of(of_target, period)).is_some_and(|counter| is_due_again(hold, counter, now))
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

fn reconcile_open(hold: &Hold, known: Option<&Overview>, counter: Option<&BudgetStatus>, now: Micros) -> Option<Change> {
    if hold.until.is_some_and(|until| until <= now) {
        return Some(ended("its time is over"));
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
    let keeps = if counter.rolling { nine_tenths(hold_at) } else { hold_at };
    if counter.spent < keeps {
        return Some(ended(if counter.rolling { "the rolling sum fell" } else { "the limit was raised or spend was taken back" }));
    }
    // Stepping up to enforce needs a confirmed budget; stepping down never does.
    let changes_mode = counter.mode != hold.mode && (counter.confirmed || counter.mode == Mode::Observe);
    changes_mode.then_some(Change::Mode(counter.mode))
}

fn is_due_again(hold: &Hold, counter: &BudgetStatus, now: Micros) -> bool {
    let by_itself = hold.released.as_ref().is_some_and(|released| released.actor == SELF);
    let lasts = hold.until.is_none_or(|until| now < until);
    by_itself && lasts && counter.confirmed && counter.hold_at.is_some_and(|hold_at| counter.spent >= hold_at)
}

#[cfg(test)]
mod tests;
