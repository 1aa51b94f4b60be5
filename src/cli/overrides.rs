//! `sluice budget override`: exceptions with an end.

use std::process::ExitCode;

use super::args::{BudgetListArgs, Format, OverrideVerb};
use super::hold::{lasts, order, word};
use crate::control::Request;
use crate::output;

pub(super) fn run(verb: &OverrideVerb) -> anyhow::Result<ExitCode> {
    match verb {
        OverrideVerb::List(args) => return list(args),
        OverrideVerb::Add { budget, target, extra, lasts: length, reason, place } => {
            let request = Request::Override {
                budget: budget.clone(),
                target: target.clone(),
                extra: extra.clone(),
                lasts: lasts(Some(length))?.unwrap_or_default(),
                actor: reason.actor.clone(),
                reason: reason.reason.clone(),
            };
            let granted = order(place, &request)?;
            output::line(&format!("exception {} until {}", word(&granted, "id"), word(&granted, "until")));
        }
        OverrideVerb::Revoke { id, reason, place } => {
            order(place, &Request::RevokeOverride { id: id.clone(), actor: reason.actor.clone(), reason: reason.reason.clone() })?;
            output::line(&format!("ended {id}"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(args: &BudgetListArgs) -> anyhow::Result<ExitCode> {
    let known = order(&args.place, &Request::Overrides)?;
    if args.format == Format::Json {
        output::json(&serde_json::to_string_pretty(&known)?);
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<[String; 7]> = known
        .as_array()
        .into_iter()
        .flatten()
        .map(|known| {
            let target = Some(word(known, "target")).filter(|target| !target.is_empty()).unwrap_or_else(|| "every target".to_owned());
            let what = match known["grant"]["amount"].as_str() {
                Some(amount) => format!("{amount} USD more"),
                None => "no holds".to_owned(),
            };
            [word(known, "id"), word(known, "budget"), target, what, word(known, "until"), word(known, "actor"), word(known, "reason")]
        })
        .collect();
    let header = ["ID", "BUDGET", "TARGET", "WHAT", "UNTIL", "BY", "REASON"];
    output::rows(&header, rows.iter().map(|row| row.as_slice()), args.format.word())?;
    Ok(ExitCode::SUCCESS)
}
