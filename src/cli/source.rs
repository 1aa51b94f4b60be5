//! `sluice source`: the shards of streams that a ledger reads, on this machine or, by a shared table, on another.

use std::process::ExitCode;

use anyhow::Context;
use serde_json::Value;
use sluice_schemas::visible::escape;

use super::args::{BudgetListArgs, Format, SourceArgs, SourceVerb};
use super::hold::order;
use crate::control::Request;
use crate::output;

pub(super) fn run(args: &SourceArgs) -> anyhow::Result<ExitCode> {
    match &args.verb {
        SourceVerb::List(args) => list(args),
        SourceVerb::Resume { shard, reason, place } => {
            let request = Request::ResumeShard { shard: shard.clone(), actor: reason.actor.clone(), reason: reason.reason.clone() };
            order(place, &request)?;
            output::line(&format!("{} goes on", escape(shard)));
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Columns of the list, with the keys of the daemon's answer.
const COLUMNS: [(&str, &str); 6] = [
    ("SHARD", "shard"),
    ("STATE", "state"),
    ("BEHIND MS", "behind_ms"),
    ("BEHIND RECORDS", "behind_records"),
    ("KEPT MS", "headroom_ms"),
    ("DETAIL", "detail"),
];

fn list(args: &BudgetListArgs) -> anyhow::Result<ExitCode> {
    let shards = order(&args.place, &Request::Sources)?;
    let rows = shards.as_array().context("the ledger answered something else than a list")?;
    match args.format {
        Format::Json => output::line(&shards.to_string()),
        Format::Table if rows.is_empty() => output::line("no streams are read; files and objects have no shards"),
        Format::Table | Format::Csv => {
            let rows: Vec<[String; COLUMNS.len()]> = rows.iter().map(|row| COLUMNS.map(|(_, key)| cell(row.get(key)))).collect();
            output::rows(&COLUMNS.map(|(title, _)| title), rows.iter().map(|row| row.as_slice()), args.format.word())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}
