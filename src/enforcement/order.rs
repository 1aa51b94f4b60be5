//! What people order about holds, levers and exceptions, carried out on the shared store.
//!
//! One place for the daemon and for the command line without one, so both do the same.

use anyhow::{Context, bail};
use serde_json::Value;
use sluice_enforce::guard::Scope;
use sluice_enforce::hold::{self, Approval, Approved, Hold};
use sluice_enforce::overrides::{self, Grant, Override, Overrides};
use sluice_enforce::reconcile::intent::Intent;
use sluice_enforce::reconcile::{close, tripped};
use sluice_enforce::store::AuditEntry;
use sluice_enforce::store::records::RecordKind;
use sluice_enforce::{Budgets, SharedStore};
use sluice_schemas::{Micros, PicoUsd};

use crate::control::Request;
use crate::view::Level;

/// What came of an order.
pub(crate) struct Outcome {
    /// The answer.
    pub(crate) value: Value,
    /// What is told to those who watch.
    pub(crate) told: Option<String>,
    /// How grave it is.
    pub(crate) level: Level,
    /// The budget that may act now: the ledger has to be told.
    pub(crate) confirmed: Option<String>,
    /// Something was changed.
    pub(crate) changes: bool,
}

/// Returns the target that an agent named on the command line stands for.
pub(crate) fn agent_target(agent: &str) -> String {
    if agent.contains('=') { agent.to_owned() } else { format!("agent_id={agent}") }
}

impl Request {
    /// Returns the order as one of `actor`; `None` for what is no order about holds, levers, exceptions or shards.
    pub(crate) fn by(mut self, who: &str) -> Option<Self> {
        match &mut self {
            Self::Release { actor, .. }
            | Self::Pause { actor, .. }
            | Self::Resume { actor, .. }
            | Self::Approve { actor, .. }
            | Self::SetStopped { actor, .. }
            | Self::CloseBreaker { actor, .. }
            | Self::Override { actor, .. }
            | Self::RevokeOverride { actor, .. }
            | Self::ReleaseAll { actor, .. }
            | Self::ResumeShard { actor, .. } => who.clone_into(actor),
            Self::Holds | Self::Levers | Self::Overrides | Self::Sources => {}
            _ => return None,
        }
        Some(self)
    }
}

/// Carries out an order. `scope` is what a pause pulls.
///
/// # Errors
/// The store failed, or the order makes no sense as things stand.
pub(crate) fn carry_out(store: &dyn SharedStore, budgets: &Budgets, order: &Request, scope: Scope, now: Micros) -> anyhow::Result<Outcome> {
    let until = |lasts: &Option<i64>| lasts.map(|lasts| now.plus(lasts));
    Ok(match order {
        Request::Holds => seen(serde_json::to_value(store.holds()?)?),
        Request::Levers => seen(levers(store)?),
        Request::Overrides => {
            seen(serde_json::to_value(Overrides::read(store)?.iter().filter(|known| now < known.until).collect::<Vec<_>>())?)
        }
        Request::Release { id, actor, reason } => {
            let hold = hold::release(store, id, actor, reason, now)?;
            changed(&hold, Level::Info, format!("{actor} released the hold on {}", hold.target))?
        }
        Request::Pause { agent, actor, reason, lasts } => {
            let hold = hold::pause(store, &agent_target(agent), actor, reason, until(lasts), scope, now)?;
            changed(&hold, Level::Alarm, format!("{actor} paused {}", hold.target))?
        }
        Request::Resume { agent, actor, reason } => {
            let lifted = hold::resume(store, &agent_target(agent), actor, reason, now)?;
            anyhow::ensure!(!lifted.is_empty(), "{agent} is not paused");
            changed(&lifted, Level::Info, format!("{actor} resumed {agent}"))?
        }
        Request::Approve { id, actor, reason, lasts } => {
            let approval = Approval { actor, reason, until: until(lasts) };
            let note = if reason.is_empty() { String::new() } else { format!(": {reason}") };
            let told = format!("{actor} approved {id}{note}");
            match hold::approve(store, budgets, id, &approval, now)? {
                Approved::Hold(hold) => changed(&hold, Level::Info, told)?,
                Approved::Budget(confirmation) => {
                    Outcome { confirmed: Some(confirmation.budget), ..changed(&Value::Null, Level::Info, told)? }
                }
            }
        }
        Request::SetStopped { stopped, actor, reason } => {
            let (word, told) = if *stopped { ("stop", "stopped all levers") } else { ("start", "let levers be pulled again") };
            store.set_stopped(*stopped, &line(&format!("levers:{word}"), actor, reason, now))?;
            changed(&serde_json::json!({ "stopped": stopped }), Level::Alarm, format!("{actor} {told}"))?
        }
        Request::CloseBreaker { actor, reason } => {
            anyhow::ensure!(close(store, actor, reason, now)?, "the breaker has not tripped");
            changed(&serde_json::json!({ "closed": true }), Level::Info, format!("{actor} closed the breaker"))?
        }
        Request::Override { .. } => except(store, budgets, order, now)?,
        Request::RevokeOverride { id, actor, reason } => {
            let revoked = overrides::revoke(store, id, actor, reason, now)?;
            changed(&revoked, Level::Info, format!("{actor} ended an exception of budget {}", revoked.budget))?
        }
        Request::ReleaseAll { actor, reason } => {
            let open: Vec<Hold> = store.holds()?.into_iter().filter(Hold::is_open).collect();
            for hold in &open {
                hold::release(store, &hold.id, actor, reason, now)?;
            }
            changed(&serde_json::json!({ "released": open.len() }), Level::Alarm, format!("{actor} released all {} holds", open.len()))?
        }
        _ => bail!("this needs a running daemon"),
    })
}

/// Grants an exception.
fn except(store: &dyn SharedStore, budgets: &Budgets, order: &Request, now: Micros) -> anyhow::Result<Outcome> {
    let Request::Override { budget, target, extra, lasts, actor, reason } = order else { bail!("this is no exception") };
    anyhow::ensure!(budgets.get(budget).is_some(), "there is no budget '{budget}'");
    anyhow::ensure!(*lasts > 0, "an exception needs a time longer than zero");
    let grant = match extra {
        None => Grant::Exempt,
        Some(amount) => Grant::Extra { amount: dollars(amount)? },
    };
    let wanted = Override {
        id: String::new(),
        budget: budget.clone(),
        target: target.clone(),
        grant,
        since: now,
        until: now.plus(*lasts),
        actor: actor.clone(),
        reason: reason.clone(),
    };
    let granted = overrides::grant(store, wanted, now)?;
    let told = format!("{actor} gave budget {budget} {} until {}", granted.what(), granted.until);
    changed(&granted, Level::Alarm, told)
}

/// Returns what every lever does, the kill switch and the breaker.
fn levers(store: &dyn SharedStore) -> anyhow::Result<Value> {
    let mut intents = Vec::new();
    for record in store.records(RecordKind::Intent)? {
        let intent: Intent = serde_json::from_value(record.body).with_context(|| format!("intent {}", record.id))?;
        intents.push(intent);
    }
    intents.sort_by_key(|intent| intent.since);
    Ok(serde_json::json!({ "stopped": store.stopped()?, "breaker": tripped(store)?, "levers": intents }))
}

fn line(action: &str, actor: &str, reason: &str, now: Micros) -> AuditEntry {
    AuditEntry {
        at: now,
        fire_id: action.to_owned(),
        action: action.to_owned(),
        target: "*".to_owned(),
        state: "done".to_owned(),
        actor: actor.to_owned(),
        detail: reason.to_owned(),
        ..AuditEntry::default()
    }
}

fn seen(value: Value) -> Outcome {
    Outcome { value, told: None, level: Level::Info, confirmed: None, changes: false }
}

fn changed<T: serde::Serialize>(value: &T, level: Level, told: String) -> anyhow::Result<Outcome> {
    Ok(Outcome { value: serde_json::to_value(value)?, told: Some(told), level, confirmed: None, changes: true })
}

/// Reads `50 USD`.
fn dollars(text: &str) -> anyhow::Result<PicoUsd> {
    let number = text.trim().strip_suffix("USD").map(str::trim);
    let amount = number.and_then(|number| number.parse::<PicoUsd>().ok()).filter(|amount| *amount > PicoUsd::ZERO);
    amount.with_context(|| format!("'{text}' is not an amount: write it like \"50 USD\""))
}
