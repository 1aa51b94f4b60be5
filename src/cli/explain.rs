//! `sluice explain`: why a call is booked to whom.

use std::process::ExitCode;

use anyhow::{Context, bail};
use sluice_enrich::CallToAttribute;
use sluice_enrich::attribution::{Attribute, Beside, Explanation, Outcome, Step};
use sluice_schemas::visible::escape;
use sluice_schemas::{AgentStatus, Micros};

use super::args::Format;
use super::args_who::ExplainArgs;
use super::who::{self, Known};
use crate::output;

/// Columns of `calls` that attribution and the heading ask for.
const COLUMNS: [&str; 14] = [
    "arrow_cast(event_time, 'Int64')",
    "account_id",
    "region",
    "model_id",
    "principal_arn",
    "operation",
    "error_code",
    "metadata",
    "agent_id",
    "agent_evidence",
    "agent_rank",
    "agent_status",
    "cost_usd",
    who::CALLER,
];
/// Place of the caller without its session among them.
const CALLER_AT: usize = 13;

pub(super) fn run(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let known = who::open(&args.place)?;
    let id = args.request_id.replace('\'', "''");
    let rows = who::texts(&known.engine, &COLUMNS, &format!("FROM calls WHERE request_id = '{id}'"))?;
    if rows.is_empty() {
        bail!("no call {} in the lake: is it of another account, or not delivered yet?", escape(&args.request_id));
    }
    let mut told = Vec::with_capacity(rows.len());
    for row in &rows {
        told.push(explain(&known, &args.request_id, row)?);
    }
    match args.format {
        Format::Json => output::json(&serde_json::to_string_pretty(&told)?),
        Format::Csv => {
            let rows: Vec<Vec<String>> = told.iter().flat_map(|explanation| explanation.steps.iter().map(cells)).collect();
            output::rows(&HEADER, rows.iter().map(Vec::as_slice), "csv")?;
        }
        Format::Table => {
            for (explanation, row) in told.iter().zip(&rows) {
                print(&args.request_id, row, explanation)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn explain(known: &Known, request_id: &str, row: &[String]) -> anyhow::Result<Explanation> {
    let text = |at: usize| row.get(at).map_or("", String::as_str);
    let call = CallToAttribute {
        event_time: Some(Micros(text(0).parse().context("event_time of the call")?)),
        account_id: text(1),
        region: text(2),
        model_id: text(3),
        principal_arn: text(4),
        operation: text(5),
        error_code: text(6),
        metadata: text(7),
    };
    let (evidence, passed_over) = who::evidence_of(known, request_id, &call)?;
    let caller = text(CALLER_AT).replace('\'', "''");
    let beside = Beside {
        passed_over: &passed_over,
        is_shared: !who::shared_callers(known, &format!("FROM calls WHERE {} = '{caller}'", who::CALLER))?.is_empty(),
        has_events: who::accounts_with_events(known)?.contains(call.account_id),
    };
    Ok(known.enricher.explain(&call, &evidence, beside))
}

const HEADER: [&str; 6] = ["EVIDENCE", "NAMES", "SAYS", "RANK", "OUTCOME", "WHY"];

fn cells(step: &Step) -> Vec<String> {
    let about = match step.about {
        Attribute::Agent => "agent",
        Attribute::Session => "session",
        Attribute::Team => "team",
    };
    let outcome = match step.outcome {
        Outcome::Named => "named",
        Outcome::Agrees => "agrees",
        Outcome::Outweighed => "outweighed",
        Outcome::Refused => "refused",
        Outcome::Accuses => "forged",
    };
    let texts = [&step.evidence, about, &step.says, &(step.rank as u8).to_string(), outcome, &step.why];
    texts.into_iter().map(str::to_owned).collect()
}

fn print(request_id: &str, row: &[String], explanation: &Explanation) -> anyhow::Result<()> {
    let text = |at: usize| escape(row.get(at).map_or("", String::as_str));
    let owner = &explanation.owner;
    let status = owner.agent_status.as_str();
    output::line(&format!("call      {} at {}", escape(request_id), Micros(text(0).parse()?)));
    output::line(&format!("caller    {}", text(4)));
    output::line(&format!("model     {} in {}", text(3), text(2)));
    let rank = owner.agent_rank as u8;
    output::line(&format!("booked to {} ({status}, rank {rank}, by {})", escape(&owner.agent_id), escape(&owner.agent_evidence)));
    if owner.agent_status == AgentStatus::Unattributed {
        output::line(&format!("          the cost stands with {}", text(CALLER_AT)));
    }
    if row.get(8).is_some_and(|stored| *stored != owner.agent_id) {
        output::line(&format!(
            "          the lake has it booked to {} by {}: it was attributed with less or other knowledge",
            text(8),
            text(9)
        ));
    }
    output::line("");
    let rows: Vec<Vec<String>> = explanation.steps.iter().map(cells).collect();
    output::rows(&HEADER, rows.iter().map(Vec::as_slice), "table")?;
    output::line("\nnames no agent:");
    for silent in &explanation.silent {
        output::line(&format!("  {:<22} {}", silent.kind.as_str(), escape(&silent.why)));
    }
    if let Some(change) = &explanation.change {
        output::line(&format!("\ncheapest change: {}", escape(&change.action)));
        for line in change.how.lines() {
            output::line(&format!("  {}", escape(line)));
        }
        output::line(&format!("  → {}", change.effect));
    }
    output::line("");
    Ok(())
}
