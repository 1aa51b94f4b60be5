//! `sluice lever`: what levers do, the kill switch, the breaker, the check of permissions.

use std::process::ExitCode;

#[cfg(feature = "aws")]
use anyhow::Context;
use serde_json::Value;
#[cfg(feature = "aws")]
use sluice_enforce::guard::Scope;
#[cfg(feature = "aws")]
use sluice_enforce::hold::Hold;
use sluice_schemas::visible::escape;

use super::args::{BudgetListArgs, Format, LeverArgs, LeverVerb, Place, Reason};
use super::hold::{order, word};
#[cfg(feature = "aws")]
use super::hold::{order_by, share_line};
#[cfg(feature = "aws")]
use crate::config::Config;
use crate::control::Request;
use crate::output;

pub(super) fn run(args: &LeverArgs) -> anyhow::Result<ExitCode> {
    match &args.verb {
        LeverVerb::List(args) => list(args),
        LeverVerb::Stop { reason, place } => switch(true, reason, place),
        LeverVerb::Start { reason, place } => switch(false, reason, place),
        LeverVerb::CloseBreaker { reason, place } => {
            let request = Request::CloseBreaker { actor: reason.actor.clone(), reason: reason.reason.clone() };
            order(place, &request)?;
            output::line("the breaker is closed: levers are pulled again");
            Ok(ExitCode::SUCCESS)
        }
        LeverVerb::Rehearse { target, place } => rehearse(target, place),
        LeverVerb::Check { place } => check(place),
    }
}

fn switch(stopped: bool, reason: &Reason, place: &Place) -> anyhow::Result<ExitCode> {
    order(place, &Request::SetStopped { stopped, actor: reason.actor.clone(), reason: reason.reason.clone() })?;
    output::line(if stopped {
        "no lever is pulled any more; what stands is lifted when its hold ends, all at once with sluice teardown"
    } else {
        "levers are pulled again"
    });
    Ok(ExitCode::SUCCESS)
}

fn list(args: &BudgetListArgs) -> anyhow::Result<ExitCode> {
    let answer = order(&args.place, &Request::Levers)?;
    if args.format == Format::Json {
        output::json(&serde_json::to_string_pretty(&answer)?);
        return Ok(ExitCode::SUCCESS);
    }
    if args.format == Format::Table {
        if answer["stopped"] == Value::Bool(true) {
            output::line("the kill switch is thrown: nothing is pulled (sluice lever start)");
        }
        if let Some(reason) = answer["breaker"]["reason"].as_str() {
            output::line(&format!("the breaker has tripped: {}; nothing is pulled (sluice lever close-breaker)", escape(reason)));
        }
    }
    let subject = |lever: &Value| {
        let parts = lever["subject"].as_object().into_iter().flatten().filter(|(key, _)| *key != "kind");
        parts.filter_map(|(_, value)| value.as_str()).filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" ")
    };
    let rows: Vec<[String; 6]> = answer["levers"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|lever| {
            let detail = ["ineffective", "trouble", "reason"].map(|key| word(lever, key)).into_iter().find(|text| !text.is_empty());
            [
                word(lever, "lever"),
                subject(lever),
                word(lever, "stage"),
                word(lever, "since"),
                word(lever, "until"),
                detail.unwrap_or_default(),
            ]
        })
        .collect();
    output::rows(&["LEVER", "SUBJECT", "STAGE", "SINCE", "UNTIL", "DETAIL"], rows.iter().map(|row| row.as_slice()), args.format.word())?;
    Ok(ExitCode::SUCCESS)
}

/// Returns what is or would be pulled: of a hold as it is noted, of a target as the ledger would decide now.
#[cfg(feature = "aws")]
fn scope(target: &str, config: &Config) -> anyhow::Result<Scope> {
    let holds: Vec<Hold> = serde_json::from_value(order_by(config, &Request::Holds)?).context("holds")?;
    if let Some(hold) = holds.into_iter().find(|hold| hold.id == target) {
        return Ok(hold.scope);
    }
    let mut daemon = crate::control::connect(&config.socket)?.context(
        "who calls through what is known to the daemon alone: run this where sluice run does, or name a hold (sluice hold list)",
    )?;
    Ok(serde_json::from_value(daemon.ask(&Request::Preview { target: target.to_owned() })?)?)
}

#[cfg(feature = "aws")]
fn rehearse(target: &str, place: &Place) -> anyhow::Result<ExitCode> {
    let config = Config::load(&place.origin())?;
    anyhow::ensure!(
        !config.enforce.levers.is_empty(),
        "no levers are configured: holds are recorded, nothing is pulled ([enforce] levers)"
    );
    let scope = scope(target, &config)?;
    for share in &scope.preview {
        output::line(&share_line(share));
    }
    if let Some(obstacle) = &scope.obstacle {
        output::line(&format!("a person would be asked: {}; {}", escape(&obstacle.reason), escape(&obstacle.advice)));
    }
    if scope.grips.is_empty() {
        output::line(&format!("nothing would be pulled for {}", escape(target)));
        return Ok(ExitCode::from(super::EXIT_FOUND));
    }
    let mut code = ExitCode::SUCCESS;
    for rehearsed in crate::enforcement::rehearsed(&config, &scope)? {
        let told = match &rehearsed.calls {
            Ok(calls) if calls.is_empty() => "stands already".to_owned(),
            Ok(calls) => format!("would call {}", calls.join(", ")),
            Err(problem) => {
                code = ExitCode::from(super::EXIT_FOUND);
                format!("could not: {}", escape(problem))
            }
        };
        output::line(&format!("{} on {}: {told}", rehearsed.pull.lever, escape(&rehearsed.pull.subject.to_string())));
    }
    Ok(code)
}

#[cfg(not(feature = "aws"))]
fn rehearse(_target: &str, _place: &Place) -> anyhow::Result<ExitCode> {
    anyhow::bail!("this build calls no AWS: build it with --features aws")
}

#[cfg(not(feature = "aws"))]
fn check(_place: &Place) -> anyhow::Result<ExitCode> {
    anyhow::bail!("this build calls no AWS: build it with --features aws")
}

/// Judges the permissions of the configuration's credentials.
#[cfg(feature = "aws")]
fn check(place: &Place) -> anyhow::Result<ExitCode> {
    let config = Config::load(&place.origin())?;
    let own = crate::enforcement::check(&config.enforce)?;
    output::line(&format!("{own} reaches neither itself nor anyone who is protected, and no more than its levers need"));
    Ok(ExitCode::SUCCESS)
}
