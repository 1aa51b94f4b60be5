//! Holds on the books against the bound that was stated when they began.

use std::collections::BTreeMap;

use serde::Serialize;
use sluice_schemas::{Micros, PicoUsd};

use super::Delays;
use crate::audit::{AuditEntry, inputs};
use crate::hold::{Cause, Hold};
use crate::ledger::BudgetStatus;
use crate::store::SELF;

/// What a hold let through, and what was stated beforehand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// The hold.
    pub hold: String,
    /// Who is held.
    pub target: String,
    /// Spend past the threshold, as far as it is known; the most that was seen.
    pub overshoot: PicoUsd,
    /// The bound as it was stated when the hold began.
    pub bound: PicoUsd,
    /// Whether the hold is over: this is the last word.
    pub ended: bool,
}

impl Kept {
    /// Tells whether more was let through than was stated.
    #[must_use]
    pub fn is_violated(&self) -> bool {
        self.overshoot > self.bound
    }

    /// Returns the line of the audit trail that says so.
    #[must_use]
    pub fn line(&self, now: Micros) -> AuditEntry {
        AuditEntry {
            at: now,
            fire_id: self.hold.clone(),
            action: "overshoot".to_owned(),
            target: self.target.clone(),
            state: if self.is_violated() { "violated" } else { "within" }.to_owned(),
            actor: SELF.to_owned(),
            detail: format!("{} past the threshold, bound {}", self.overshoot.shown(4), self.bound.shown(4)),
            inputs: inputs([("overshoot_usd", self.overshoot.to_string()), ("bound_usd", self.bound.to_string())]),
            ..AuditEntry::default()
        }
    }
}

#[derive(Debug)]
struct Watched {
    bound: PicoUsd,
    overshoot: PicoUsd,
    told: bool,
}

/// Follows every hold in force that a breach put. A hold of an earlier process is judged by the bound of the moment it is met again.
#[derive(Debug, Default)]
pub struct Watch {
    held: BTreeMap<String, Watched>,
}

impl Watch {
    /// Looks at the holds and the counters they are about. Returns what is to be told: each hold once when it lets more through than was
    /// stated, and once when it ends.
    pub fn look(&mut self, holds: &[Hold], status: &[BudgetStatus], delays: &Delays) -> Vec<Kept> {
        let mut told = Vec::new();
        for hold in holds {
            let Cause::Breach { budget, period, .. } = &hold.cause else { continue };
            if !hold.is_in_force() {
                if let Some(watched) = self.held.remove(&hold.id) {
                    told.push(kept(hold, &watched, true));
                }
                continue;
            }
            let of_hold = |status: &&BudgetStatus| {
                status.budget == *budget && status.target == hold.target && (status.rolling || status.period == *period)
            };
            let Some(counter) = status.iter().find(of_hold) else { continue };
            let bound = counter.exposure(delays).total();
            let watched = self.held.entry(hold.id.clone()).or_insert(Watched { bound, overshoot: PicoUsd::ZERO, told: false });
            let past = counter.hold_at.map_or(PicoUsd::ZERO, |at| PicoUsd((counter.spent.0 - at.0).max(0)));
            watched.overshoot = watched.overshoot.max(past);
            if watched.overshoot > watched.bound && !watched.told {
                watched.told = true;
                told.push(kept(hold, watched, false));
            }
        }
        told
    }
}

fn kept(hold: &Hold, watched: &Watched, ended: bool) -> Kept {
    Kept { hold: hold.id.clone(), target: hold.target.clone(), overshoot: watched.overshoot, bound: watched.bound, ended }
}
