//! `sluice hold`, `pause`, `resume`, `approve`: orders to the daemon, to the shared store when none is running.

use std::collections::HashMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Deserialize;
use serde_json::Value;
use sluice_enforce::audit::sha256;
use sluice_enforce::guard::Scope;
use sluice_enforce::hold::Hold;
use sluice_enforce::proof::{LASTS, PROOF, REQUEST};
use sluice_enforce::reconcile::intent::{Intent, id};
use sluice_enforce::store::Command;
use sluice_enforce::store::records::RecordKind;
use sluice_schemas::time::MINUTE;
use sluice_schemas::visible::escape;
use sluice_schemas::{Clock, SystemClock};

use super::args::{ApproveArgs, BudgetListArgs, Format, HoldArgs, HoldVerb, PauseArgs, Place};
use super::args_hold::ResumeArgs;
use crate::config::{Config, SharedPlace, parse_duration};
use crate::control::{self, Request};
use crate::enforcement::{Giver, carry_out};
use crate::output;

/// How long an answer to an order in the shared store is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn run(args: &HoldArgs) -> anyhow::Result<ExitCode> {
    match &args.verb {
        HoldVerb::List(args) => list(args),
        HoldVerb::Show { id, place, format } => show(id, place, *format),
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
    let request = Request::Pause { agent, actor: reason.actor, reason: reason.reason, lasts: lasts(args.lasts.as_deref())? };
    let held: Hold = serde_json::from_value(order(&args.place, &request)?).context("the answer is no hold")?;
    output::line(&format!("paused {} (hold {})", escape(&args.agent), held.id));
    if held.scope.grips.is_empty() {
        output::line("recorded, and told by sluice flag check; IAM is not touched: no lever of the configuration acts on it");
    }
    for share in &held.scope.preview {
        output::line(&share_line(share));
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn resume(args: &ResumeArgs) -> anyhow::Result<ExitCode> {
    let (agent, reason) = (args.agent.clone(), args.reason.clone());
    order(&args.place, &Request::Resume { agent, actor: reason.actor, reason: reason.reason })?;
    output::line(&format!("resumed {}", escape(&args.agent)));
    Ok(ExitCode::SUCCESS)
}

pub(super) fn approve(args: &ApproveArgs) -> anyhow::Result<ExitCode> {
    let (id, reason) = (args.id.clone(), args.reason.clone());
    let lasts = lasts(args.lasts.as_deref())?;
    order(&args.place, &Request::Approve { id, actor: reason.actor, reason: reason.reason, lasts })?;
    output::line(&format!("approved {}", escape(&args.id)));
    Ok(ExitCode::SUCCESS)
}

/// Reads a duration of the command line as microseconds.
pub(super) fn lasts(text: Option<&str>) -> anyhow::Result<Option<i64>> {
    let read = |text: &str| parse_duration(text).map_err(anyhow::Error::msg);
    text.map(|text| read(text).map(|time| i64::try_from(time.as_micros()).unwrap_or(i64::MAX))).transpose()
}

/// Returns a member as text.
pub(super) fn word(value: &Value, key: &str) -> String {
    match value.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}

/// Carries an order out: by the daemon of this machine, by the ledger elsewhere that reads the shared table, or where the store is a
/// file that nobody has open, here.
pub(super) fn order(place: &Place, request: &Request) -> anyhow::Result<Value> {
    order_by(&Config::load(&place.origin())?, request)
}

/// Carries an order out as [`order`] does, with a configuration that was read.
pub(super) fn order_by(config: &Config, request: &Request) -> anyhow::Result<Value> {
    if let Some(mut client) = control::connect(&config.socket)? {
        return client.ask(request);
    }
    let of_sources = matches!(request, Request::Sources | Request::ResumeShard { .. });
    if of_sources && config.shared.table().is_none() {
        anyhow::bail!("no daemon is running at {}: sluice run", config.socket.display());
    }
    let now = SystemClock.now();
    let store = config.shared.open()?;
    let reads = matches!(request, Request::Holds | Request::Levers | Request::Overrides);
    if reads || matches!(config.shared, SharedPlace::File(_)) {
        return Ok(carry_out(&*store, &config.budgets, request, Scope::default(), now)?.value);
    }
    let table = config.shared.table().context("the shared store is no table")?;
    let giver = Giver::open(&config.enforce)?;
    let actor = giver.arn.clone();
    let order = request.clone().by(&actor).context("this needs a running daemon")?;
    let text = serde_json::to_string(&order)?;
    let verb = serde_json::to_value(&order)?["verb"].as_str().unwrap_or_default().to_owned();
    // The same order of the same person within a minute is one: sent again after a lost answer it changes nothing.
    let mut command = Command {
        id: format!("{verb}-{}", &sha256(format!("{text} {}", now.0 / 60_000_000).as_bytes())[..32]),
        actor,
        at: now,
        verb,
        arguments: [(REQUEST.to_owned(), text)].into(),
        outcome: None,
    };
    command.arguments.insert(PROOF.to_owned(), giver.prove(&command.binding(table))?);
    let id = store.submit(&command)?.id;
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(500));
        // Handing it in again changes nothing and tells what came of it.
        if let Some(answered) = store.submit(&command)?.outcome {
            let value: Value = serde_json::from_str(&answered).unwrap_or(Value::String(answered));
            return match value.get("error").and_then(Value::as_str) {
                Some(error) => Err(anyhow::anyhow!("the ledger refused: {error}")),
                None => Ok(value),
            };
        }
    }
    let waits = store.record(RecordKind::Order, &id)?.map(|record| format!("; it waits: {}", word(&record.body, "waits")));
    let until = if config.prove_actor { format!("within {} minutes", LASTS / MINUTE) } else { "at all".to_owned() };
    anyhow::bail!(
        "no ledger answered within {} s; the order {id} stays in {} and is carried out if one does {until}{}",
        PATIENCE.as_secs(),
        config.shared,
        waits.unwrap_or_default()
    )
}

pub(super) fn share_line(share: &sluice_enforce::guard::Share) -> String {
    let percent = |thousandths: u32| format!("{}.{} %", thousandths / 1_000, thousandths % 1_000 / 100);
    let pull = share.pull.as_ref().map_or_else(|| "no lever".to_owned(), |pull| format!("{} on {}", pull.lever, pull.subject));
    let others: Vec<String> = share.others.iter().map(|(agent, calls)| format!("{} ({calls} calls)", escape(agent))).collect();
    let shared = if others.is_empty() {
        "nobody else".to_owned()
    } else {
        format!("{} of its calls are of {}", percent(share.innocent), others.join(", "))
    };
    format!("  {} of its spend through {}: {pull}; {shared}", percent(share.of_spend), escape(&share.principal))
}

fn show(id_or_start: &str, place: &Place, format: Format) -> anyhow::Result<ExitCode> {
    let holds: Vec<Hold> = serde_json::from_value(order(place, &Request::Holds)?).context("holds")?;
    let hold = holds.iter().find(|hold| hold.id == id_or_start).with_context(|| format!("there is no hold '{id_or_start}'"))?;
    let levers = order(place, &Request::Levers)?;
    let known: HashMap<String, &Value> = levers["levers"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|intent| Some((Intent::deserialize(intent).ok()?.id(), intent)))
        .collect();
    let of_hold = |pull: &sluice_enforce::reconcile::want::Pull| known.get(&id(pull.lever, &pull.subject)).copied();
    if format == Format::Json {
        let stands: Vec<&Value> = hold.scope.grips.iter().flat_map(|grip| &grip.chain).filter_map(of_hold).collect();
        output::json(&serde_json::to_string_pretty(&serde_json::json!({ "hold": hold, "levers": stands }))?);
        return Ok(ExitCode::SUCCESS);
    }
    output::line(&format!("{}  {}", hold.id, escape(&hold.target)));
    output::line(&format!("  {} since {} ({} mode): {}", hold.state, hold.created_at, hold.mode.as_str(), escape(&hold.reason())));
    if let Some(note) = &hold.note {
        output::line(&format!("  {}", escape(note)));
    }
    if let Some(until) = hold.until {
        output::line(&format!("  ends at {until}"));
    }
    for share in &hold.scope.preview {
        output::line(&share_line(share));
    }
    for pull in hold.scope.grips.iter().flat_map(|grip| &grip.chain) {
        if let Some(intent) = of_hold(pull) {
            let detail = ["ineffective", "trouble"].map(|key| word(intent, key)).join(" ");
            output::line(&format!(
                "  {} on {}: {} {}",
                pull.lever,
                escape(&pull.subject.to_string()),
                word(intent, "stage"),
                escape(detail.trim())
            ));
        }
    }
    Ok(ExitCode::SUCCESS)
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
