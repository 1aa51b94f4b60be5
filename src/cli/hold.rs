//! `sluice hold`, `pause`, `resume`, `approve`: through the daemon, or on the flags table when none is running.

use std::process::ExitCode;

use anyhow::Context;
use serde_json::Value;
use sluice_enforce::hold;
use sluice_schemas::visible::escape;
use sluice_schemas::{Clock, SystemClock};

use super::args::{ApproveArgs, BudgetListArgs, Format, HoldArgs, HoldVerb, PauseArgs, Place};
use crate::config::Config;
use crate::control::{self, Request};
use crate::output;
use crate::pipeline::agent_target;

pub(super) fn run(args: &HoldArgs) -> anyhow::Result<ExitCode> {
    match &args.verb {
        HoldVerb::List(args) => list(args),
        HoldVerb::Overshoot(args) => super::hold_overshoot::run(args),
        HoldVerb::Release { id, reason, place } => {
            let request = Request::Release { id: id.clone(), actor: reason.actor.clone(), reason: reason.reason.clone() };
            order(place, &request)?;
            output::line(&format!("released {id}"));
            Ok(ExitCode::SUCCESS)
        }
    }
}

pub(super) fn pause(args: &PauseArgs) -> anyhow::Result<ExitCode> {
    let (agent, reason) = (args.agent.clone(), args.reason.clone());
    let held = order(&args.place, &Request::Pause { agent, actor: reason.actor, reason: reason.reason })?;
    output::line(&format!("paused {} (hold {}): flagged; IAM is not touched", escape(&args.agent), word(&held, "id")));
    Ok(ExitCode::SUCCESS)
}

pub(super) fn resume(args: &PauseArgs) -> anyhow::Result<ExitCode> {
    let (agent, reason) = (args.agent.clone(), args.reason.clone());
    order(&args.place, &Request::Resume { agent, actor: reason.actor, reason: reason.reason })?;
    output::line(&format!("resumed {}", escape(&args.agent)));
    Ok(ExitCode::SUCCESS)
}

pub(super) fn approve(args: &ApproveArgs) -> anyhow::Result<ExitCode> {
    let (id, reason) = (args.id.clone(), args.reason.clone());
    order(&args.place, &Request::Approve { id, actor: reason.actor, reason: reason.reason })?;
    output::line(&format!("approved {}", escape(&args.id)));
    Ok(ExitCode::SUCCESS)
}

fn word(value: &Value, key: &str) -> String {
    match value.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}

/// Carries an order out, in the daemon if there is one.
fn order(place: &Place, request: &Request) -> anyhow::Result<Value> {
    let config = Config::load(&place.origin())?;
    if let Some(mut client) = control::connect(&config.socket)? {
        return client.ask(request);
    }
    let store = config.shared.open()?;
    let now = SystemClock.now();
    let value = match request {
        Request::Holds => serde_json::to_value(store.holds()?),
        Request::Release { id, actor, reason } => serde_json::to_value(hold::release(&*store, id, actor, reason, now)?),
        Request::Pause { agent, actor, reason } => {
            serde_json::to_value(hold::pause(&*store, &agent_target(agent), actor, reason, None, now)?)
        }
        Request::Resume { agent, actor, reason } => {
            let lifted = hold::resume(&*store, &agent_target(agent), actor, reason, now)?;
            anyhow::ensure!(!lifted.is_empty(), "{agent} is not paused");
            serde_json::to_value(lifted)
        }
        Request::Approve { id, actor, .. } => {
            hold::approve(&*store, &config.budgets, id, actor, now)?;
            Ok(Value::Null)
        }
        _ => anyhow::bail!("this needs a running daemon"),
    };
    value.context("answer")
}

fn list(args: &BudgetListArgs) -> anyhow::Result<ExitCode> {
    let holds = order(&args.place, &Request::Holds)?;
    if args.format == Format::Json {
        output::json(&serde_json::to_string_pretty(&holds)?);
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<[String; 7]> = holds
        .as_array()
        .into_iter()
        .flatten()
        .map(|hold| {
            let cause = hold.get("cause").cloned().unwrap_or_default();
            let reason = match word(&cause, "kind").as_str() {
                "manual" => format!("by {}: {}", word(&cause, "actor"), word(&cause, "note")),
                _ => format!("{} crossed in {} ({})", word(&cause, "threshold"), word(&cause, "period"), word(&cause, "budget")),
            };
            [
                word(hold, "id"),
                word(hold, "target"),
                word(hold, "state"),
                word(hold, "mode"),
                reason,
                word(hold, "created_at"),
                word(hold, "until"),
            ]
        })
        .collect();
    output::rows(
        &["ID", "TARGET", "STATE", "MODE", "REASON", "SINCE", "UNTIL"],
        rows.iter().map(|row| row.as_slice()),
        args.format.word(),
    )?;
    Ok(ExitCode::SUCCESS)
}
