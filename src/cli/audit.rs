//! `sluice audit`: verify, list, export.

use std::process::ExitCode;

use super::args::Format;
use super::args_audit::{AuditArgs, AuditVerb, SpanArgs};
use crate::audit::{self, Span, Verdict};
use crate::config::Config;
use crate::output;

/// Findings that are listed for people.
const LISTED: usize = 50;

pub(super) fn run(args: &AuditArgs) -> anyhow::Result<ExitCode> {
    match &args.verb {
        AuditVerb::Verify { place, format } => verify(&Config::load(&place.origin())?, *format),
        AuditVerb::List { place, span, format } => list(&Config::load(&place.origin())?, &(*span).into(), *format),
        AuditVerb::Export { out, place, span } => {
            let pack = audit::export(&Config::load(&place.origin())?, out, &(*span).into())?;
            output::line(&format!("{} files in {}", pack.files, out.display()));
            output::line(&format!("SHA256SUMS has sha256 {}", pack.sha256));
            output::line(&format!("check it: cd {} && sha256sum -c SHA256SUMS; README.md says what is in it", out.display()));
            tell_faults(&pack.verdict);
            Ok(code(&pack.verdict))
        }
    }
}

impl From<SpanArgs> for Span {
    fn from(args: SpanArgs) -> Self {
        Self { from: args.from, to: args.to }
    }
}

fn code(verdict: &Verdict) -> ExitCode {
    if verdict.faults().next().is_none() { ExitCode::SUCCESS } else { ExitCode::from(super::EXIT_FOUND) }
}

fn verify(config: &Config, format: Format) -> anyhow::Result<ExitCode> {
    let verdict = audit::verify(config)?;
    match format {
        Format::Json => output::json(&serde_json::to_string_pretty(&verdict)?),
        Format::Csv => {
            let rows: Vec<[String; 2]> = verdict.faults().map(|fault| [fault.line.to_string(), fault.to_string()]).collect();
            output::rows(&["LINE", "FAULT"], rows.iter().map(|row| row.as_slice()), "csv")?;
        }
        Format::Table => tell(&verdict),
    }
    Ok(code(&verdict))
}

fn tell(verdict: &Verdict) {
    let chain = &verdict.chain;
    let lines = usize::try_from(chain.lines).unwrap_or(usize::MAX);
    let begins = match chain.begins_at {
        None if chain.lines == 0 => "nothing was done yet".to_owned(),
        None => "none has a hash: they are from before there was a chain".to_owned(),
        Some(1) => "chained from the first".to_owned(),
        Some(begins) => format!("the chain begins at line {begins}; those before it are from an earlier version and have no hash"),
    };
    output::line(&format!("audit trail: {}, {begins}", output::counted(lines, "line")));
    if let Some(ends) = &chain.ends {
        output::line(&format!("head: line {}, {}", ends.number, ends.hash));
    }
    match &verdict.lake {
        None => output::line("lake: there is none, so nothing to compare with"),
        Some(lake) => {
            let waiting = if lake.waiting == 0 { String::new() } else { format!(", {} on the way there", lake.waiting) };
            let rows = usize::try_from(lake.rows).unwrap_or(usize::MAX);
            output::line(&format!("lake: {} of actions{waiting}", output::counted(rows, "row")));
        }
    }
    if verdict.faults().next().is_none() {
        output::line("no line is missing, changed, reordered or inserted");
    }
    tell_faults(verdict);
}

fn tell_faults(verdict: &Verdict) {
    let faults: Vec<String> = verdict.faults().map(ToString::to_string).collect();
    for fault in faults.iter().take(LISTED) {
        output::line(&format!("FAULT: {fault}"));
    }
    if faults.len() > LISTED {
        output::line(&format!("and {} more: --format json lists all", faults.len() - LISTED));
    }
}

fn list(config: &Config, span: &Span, format: Format) -> anyhow::Result<ExitCode> {
    let mut lines = Vec::new();
    audit::walk(config, |number, entry| {
        if span.holds(entry.at) {
            lines.push((number, entry.clone()));
        }
        Ok(())
    })?;
    if format == Format::Json {
        let all: Vec<serde_json::Value> = lines
            .iter()
            .map(|(number, entry)| serde_json::to_value(entry).map(|entry| serde_json::json!({ "line": number, "entry": entry })))
            .collect::<Result<_, _>>()?;
        output::json(&serde_json::to_string_pretty(&all)?);
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<[String; 9]> = lines
        .into_iter()
        .map(|(number, line)| {
            let why = if line.detail.is_empty() { line.inputs } else { line.detail };
            [
                number.to_string(),
                line.at.to_string(),
                line.action,
                line.target,
                line.state,
                line.actor,
                why,
                line.policy_version,
                line.requests.join(" "),
            ]
        })
        .collect();
    let header = ["LINE", "AT", "ACTION", "TARGET", "STATE", "ACTOR", "WHY", "POLICY", "REQUESTS"];
    output::rows(&header, rows.iter().map(|row| row.as_slice()), format.word())?;
    Ok(ExitCode::SUCCESS)
}
