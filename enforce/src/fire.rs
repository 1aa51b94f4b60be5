//! Crossings and their identity.
//!
//! A fire id names (budget, period, threshold, target, configured limit, generation) and nothing that depends on when or
//! in which batches spend arrived, so a ledger rebuilt from the lake names the same crossings by the same ids and the
//! shared store recognises them. The configured limit is part of it so that raising a limit arms its thresholds anew; the
//! generation grows only when a person asks for it.

use serde::{Deserialize, Serialize};
use sluice_schemas::breach::Breach;
use sluice_schemas::{Micros, PicoUsd};

use crate::budget::{ActionKind, Budget, Mode, Threshold, digest};

/// Value of [`Breach::schema`].
pub const BREACH_SCHEMA: &str = "sluice.breach/1";

/// A threshold was crossed: the fact, and what is to follow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crossing {
    /// The fact. Its epoch is the one named by [`crate::Ledger::begin_epoch`].
    pub breach: Breach,
    /// What follows.
    pub actions: Vec<ActionKind>,
    /// Why a hold that the budget asks for does not follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withheld: Option<Withheld>,
    /// How a hold is to be put, where one follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<HoldTerms>,
}

/// What a hold needs to know beside the breach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldTerms {
    /// Whether a person has to approve it.
    pub approval: bool,
    /// When it ends by itself; `None` where only the ledger can tell (rolling, session, lifetime).
    pub until: Option<Micros>,
    /// Targets that the budget counted in the period when it fired: what a cap by percent refers to.
    pub live_targets: u64,
    /// Spend at which it follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_at: Option<PicoUsd>,
    /// Why a person has to approve it, where the budget alone does not ask for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// Why a hold does not follow a crossing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Withheld {
    /// Late data crossed in a period that is over, or in a rolling window that has slid on: a stop would come too late.
    PeriodOver,
    /// The budget is new or changed and nobody confirmed it yet.
    Unconfirmed,
}

impl Withheld {
    /// Returns the reason as it is told.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PeriodOver => "the period was over when the spend arrived",
            Self::Unconfirmed => "the budget is new or changed and not confirmed",
        }
    }
}

impl Crossing {
    /// Replaces the epoch whose commit makes the crossing true.
    #[must_use]
    pub fn committed_in(mut self, epoch: u64) -> Self {
        self.breach.epoch = epoch;
        self
    }
}

/// Everything that names a crossing.
#[derive(Clone, Copy, Debug)]
pub struct FireKey<'a> {
    /// Name of the budget.
    pub budget: &'a str,
    /// Id of the period.
    pub period: &'a str,
    /// Canonical text of the threshold.
    pub threshold: &'a str,
    /// The target.
    pub target: &'a str,
    /// The limit as configured for the target.
    pub limit: &'a str,
    /// Grows when a person arms the thresholds again.
    pub generation: u32,
}

impl FireKey<'_> {
    /// Returns the fire id: 32 hexadecimal digits.
    #[must_use]
    pub fn id(&self) -> String {
        digest(&["fire/1", self.budget, self.period, self.threshold, self.target, self.limit, &self.generation.to_string()])
    }
}

/// Where and when a threshold was crossed.
#[derive(Clone, Debug)]
pub(crate) struct Moment {
    pub(crate) period: String,
    pub(crate) start: Micros,
    pub(crate) end: Option<Micros>,
    pub(crate) limit: PicoUsd,
    pub(crate) spent: PicoUsd,
    pub(crate) unpriced: u64,
    pub(crate) event_time: Micros,
    pub(crate) now: Micros,
    pub(crate) withheld: Option<Withheld>,
}

/// Puts a crossing together.
pub(crate) fn crossing(budget: &Budget, target: &str, threshold: &Threshold, fire_id: String, at: Moment) -> Crossing {
    let mut actions = threshold.actions.clone();
    let holds = actions.contains(&ActionKind::Hold);
    let withheld = at.withheld.filter(|_| holds);
    if withheld.is_some() {
        actions.retain(|kind| *kind != ActionKind::Hold);
        // Someone has to hear of a hold that was not put.
        actions.push(ActionKind::Notify);
        actions.sort_unstable();
        actions.dedup();
    }
    let calendar_end = at.end.filter(|_| budget.window.is_calendar());
    let projected = calendar_end.and_then(|end| project(at.spent, at.start, end, at.event_time));
    let hold = (holds && withheld.is_none()).then(|| HoldTerms {
        approval: budget.approval || budget.mode == Mode::Approve,
        until: calendar_end,
        live_targets: 0,
        hold_at: Some(threshold.at.amount(at.limit)),
        why: None,
    });
    let breach = Breach {
        schema: BREACH_SCHEMA.to_owned(),
        fire_id,
        budget: budget.name.clone(),
        target: target.to_owned(),
        period: at.period,
        period_start: at.start,
        period_end: at.end,
        threshold: threshold.text.clone(),
        limit_usd: at.limit,
        spent_usd: at.spent,
        projected_usd: projected,
        projection: projected.map(|_| "linear".to_owned()),
        unpriced_calls: at.unpriced,
        event_time: at.event_time,
        detected_at: at.now,
        actions: actions.iter().map(|kind| kind.as_str().to_owned()).collect(),
        mode: budget.mode.as_str().to_owned(),
        epoch: 0,
        note: withheld.map(|reason| format!("hold not put: {}", reason.as_str())),
        explanation: None,
    };
    Crossing { breach, actions, withheld, hold }
}

/// Returns the spend at the period's end if it goes on as it did until `now`; `None` before any time has passed.
#[must_use]
pub fn project(spent: PicoUsd, start: Micros, end: Micros, now: Micros) -> Option<PicoUsd> {
    if now >= end {
        return Some(spent);
    }
    let elapsed = i128::from(now.0.checked_sub(start.0).filter(|elapsed| *elapsed > 0)?);
    let length = i128::from(end.0.checked_sub(start.0)?);
    let whole = (spent.0 / elapsed).checked_mul(length)?;
    let rest = (spent.0 % elapsed).checked_mul(length)? / elapsed;
    whole.checked_add(rest).map(PicoUsd)
}

#[cfg(test)]
pub(crate) mod tests;
