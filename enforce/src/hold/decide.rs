//! Whether a crossing may stop its target, and how. Pure.

use sluice_schemas::time::{DAY, HOUR};
use sluice_schemas::{Micros, PicoUsd};

use super::{Cause, Hold, HoldState, Released};
use crate::budget::Mode;
use crate::fire::{Crossing, HoldTerms};
use crate::guard::{Protected, Scope};
use crate::overrides::Overrides;
use crate::store::{ReceiptState, SELF};

/// Open holds of a budget that no share forbids: of a few agents, any one is a large share.
pub const ALWAYS_ALLOWED: u64 = 3;

/// Limits of caution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldPolicy {
    /// Most holds put by breaches within an hour. Each beyond it waits for a person.
    pub most_per_hour: u32,
    /// Most holds put by breaches within a minute.
    pub most_per_minute: u32,
    /// Most open holds of a budget, in percent of its targets; [`ALWAYS_ALLOWED`] are allowed however few it has.
    pub most_percent: u8,
    /// How long a hold waits for a person, in microseconds.
    pub approve_within: i64,
}

impl Default for HoldPolicy {
    fn default() -> Self {
        Self { most_per_hour: 10, most_per_minute: 5, most_percent: 25, approve_within: DAY }
    }
}

/// What people, and the breaker, have switched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Switches {
    /// The kill switch is thrown.
    pub stopped: bool,
    /// Why the breaker has tripped.
    pub tripped: Option<String>,
    /// Exemptions and extra budgets.
    pub overrides: Overrides,
}

/// What is done about a crossing that asks for a hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// The hold that is put; `None` if the crossing is only told.
    pub hold: Option<Box<Hold>>,
    /// How the action ends.
    pub state: ReceiptState,
    /// Why, for people.
    pub detail: String,
}

impl Decided {
    fn told(reason: impl Into<String>) -> Self {
        Self { hold: None, state: ReceiptState::Degraded, detail: reason.into() }
    }
}

/// Decides whether a crossing may stop its target. `scope` is what would be pulled.
#[must_use]
pub fn decide_hold(
    (policy, protected): (&HoldPolicy, &Protected),
    crossing: &Crossing,
    holds: &[Hold],
    switches: &Switches,
    scope: Scope,
) -> Decided {
    let breach = &crossing.breach;
    let Some(terms) = &crossing.hold else { return Decided::told("the crossing asks for no hold") };
    if switches.stopped {
        return Decided::told("the kill switch is thrown");
    }
    if let Some(reason) = &switches.tripped {
        return Decided::told(format!("the breaker has tripped: {reason}"));
    }
    if let Some(reason) = protected.target(&breach.target) {
        return Decided::told(reason);
    }
    let hold = new_hold(crossing, terms, scope);
    let within_extra = is_within_extra(crossing, &hold, switches);
    let decided = put(policy, crossing, terms, holds, hold);
    if let Some(exemption) = switches.overrides.exempts(&breach.budget, &breach.target, breach.detected_at) {
        return spared(decided, format!("exempted by {} until {}", exemption.actor, exemption.until));
    }
    if within_extra { spared(decided, "within the extra budget a person gave".to_owned()) } else { decided }
}

/// Puts the hold, active or waiting for a person.
fn put(policy: &HoldPolicy, crossing: &Crossing, terms: &HoldTerms, holds: &[Hold], hold: Hold) -> Decided {
    let breach = &crossing.breach;
    let since = |age: i64| {
        let recent = |hold: &&Hold| matches!(hold.cause, Cause::Breach { .. }) && hold.created_at.0 > breach.detected_at.0 - age;
        let active = |hold: &&Hold| hold.approved_by.is_none() && hold.state != HoldState::PendingApproval;
        // What only observes stops nobody, and takes no place from what does.
        let alike = |known: &&Hold| (known.mode == Mode::Observe) == (hold.mode == Mode::Observe);
        holds.iter().filter(recent).filter(active).filter(alike).count()
    };
    let open = holds.iter().filter(|hold| hold.is_open() && hold.budget() == Some(&breach.budget)).count() as u64;
    let allowed = (terms.live_targets * u64::from(policy.most_percent) / 100).max(ALWAYS_ALLOWED);
    let obstacle = hold.scope.obstacle.clone().filter(|_| hold.mode != Mode::Observe);
    let waits_for = if let Some(why) = &terms.why {
        Some(why.clone())
    } else if terms.approval {
        Some("the budget asks for a person's word".to_owned())
    } else if let Some(obstacle) = obstacle.as_ref().filter(|obstacle| obstacle.approvable) {
        Some(with_advice(&obstacle.reason, &obstacle.advice))
    } else if since(HOUR / 60) >= policy.most_per_minute as usize {
        Some("the most holds within a minute are reached".to_owned())
    } else if since(HOUR) >= policy.most_per_hour as usize {
        Some("the most holds within an hour are reached".to_owned())
    } else if open >= allowed {
        Some("the largest share of the budget's targets is held".to_owned())
    } else {
        None
    };
    if let Some(reason) = waits_for {
        let approve_by = Some(breach.detected_at.plus(policy.approve_within));
        let hold = Hold { state: HoldState::PendingApproval, note: Some(reason.clone()), approve_by, ..hold };
        return Decided { hold: Some(Box::new(hold)), state: ReceiptState::AwaitsApproval, detail: reason };
    }
    match obstacle {
        // Nothing can be pulled but the flag: no person's word would change that.
        Some(obstacle) => {
            let reason = with_advice(&obstacle.reason, &obstacle.advice);
            let hold = Hold { note: Some(reason.clone()), ..hold };
            Decided { hold: Some(Box::new(hold)), state: ReceiptState::Degraded, detail: reason }
        }
        None => {
            let detail = hold.id.clone();
            Decided { hold: Some(Box::new(hold)), state: ReceiptState::Done, detail }
        }
    }
}

fn with_advice(reason: &str, advice: &str) -> String {
    if advice.is_empty() { reason.to_owned() } else { format!("{reason}; {advice}") }
}

/// Keeps the hold as one that ended: it comes into force, or waits for a person, once what spares its target is over.
fn spared(decided: Decided, reason: String) -> Decided {
    let hold = decided.hold.map(|hold| {
        let released = Some(Released { at: hold.created_at, actor: SELF.to_owned(), reason: reason.clone() });
        Box::new(Hold { state: HoldState::Released, released, ..*hold })
    });
    Decided { hold, state: ReceiptState::Degraded, detail: reason }
}

/// Tells whether the spend is below the threshold of a limit raised by what people gave.
fn is_within_extra(crossing: &Crossing, hold: &Hold, switches: &Switches) -> bool {
    let breach = &crossing.breach;
    let crossed = crossing.hold.as_ref().and_then(|terms| terms.hold_at).unwrap_or(breach.limit_usd);
    breach.spent_usd < switches.overrides.raised(crossed, hold, breach.detected_at)
}

fn new_hold(crossing: &Crossing, terms: &HoldTerms, scope: Scope) -> Hold {
    let breach = &crossing.breach;
    Hold {
        id: breach.fire_id.clone(),
        target: breach.target.clone(),
        cause: Cause::Breach {
            fire_id: breach.fire_id.clone(),
            budget: breach.budget.clone(),
            period: breach.period.clone(),
            threshold: breach.threshold.clone(),
        },
        until: terms.until,
        mode: Mode::parse(&breach.mode).unwrap_or_default(),
        state: HoldState::Active,
        created_at: breach.detected_at,
        approved_by: None,
        released: None,
        revision: 0,
        scope,
        burn: burn(crossing),
        note: None,
        approve_by: None,
    }
}

/// Dollars an hour since the period began.
#[must_use]
pub(super) fn burn(crossing: &Crossing) -> PicoUsd {
    let breach = &crossing.breach;
    let passed = breach.event_time.0.saturating_sub(breach.period_start.0).max(Micros(HOUR / 60).0);
    PicoUsd(breach.spent_usd.0.saturating_mul(i128::from(HOUR)) / i128::from(passed))
}
