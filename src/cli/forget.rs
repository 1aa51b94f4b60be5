//! `sluice forget`: a person's name taken out of the lake.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::bail;
use serde_json::json;
use sluice_aggregate::forget::Person;
use sluice_schemas::SystemClock;

use super::args::Format;
use super::args_forget::ForgetArgs;
use crate::config::Config;
use crate::control;
use crate::output;
use crate::pipeline::{ForgetOrder, Mode, Pipeline, Settings};

pub(super) fn run(args: &ForgetArgs) -> anyhow::Result<ExitCode> {
    let alias = args.alias.clone().unwrap_or_else(Person::any_alias);
    let config = Config::load(&args.place.origin())?;
    let mut person = Person::parse(&args.principal, &alias)?.behind(&config.prefixes);
    if control::connect(&config.socket)?.is_some() {
        bail!("a daemon writes to this lake: stop it, forget, and start it again; it makes its counters again from the lake");
    }
    let order = args.yes.then(|| ForgetOrder { actor: args.actor.clone(), reason: args.reason.clone().unwrap_or_default() });
    if order.is_some() && args.format == Format::Table {
        output::line(&format!("'{alias}' stands for the name from here on; if this is cut off, give it again with --as {alias}"));
    }
    let settings = Settings { config, mode: Mode::Bulk, act: false, clock: Arc::new(SystemClock), board: Arc::default() };
    let found = Pipeline::open(settings)?.forget(&mut person, order.as_ref())?;
    if args.format == Format::Json {
        let tables: serde_json::Map<_, _> =
            found.iter().map(|(table, edited)| (table.clone(), json!({ "files": edited.files, "rows": edited.rows }))).collect();
        output::json(&json!({ "alias": order.is_some().then_some(&alias), "forgotten": order.is_some(), "tables": tables }).to_string());
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<[String; 3]> =
        found.iter().map(|(table, edited)| [table.clone(), edited.files.to_string(), edited.rows.to_string()]).collect();
    output::rows(&["TABLE", "FILES WITH IT", "ROWS IN THEM"], rows.iter().map(|row| row.as_slice()), args.format.word())?;
    if args.format == Format::Csv {
        return Ok(ExitCode::SUCCESS);
    }
    output::line(match (found.is_empty(), order.is_some()) {
        (true, _) => "the name stands nowhere in the lake",
        (false, true) => {
            "the name is taken out; every sum is as it was. Files of before are deleted after 7 days, by a daemon or the next replay.\n\
             The audit trail keeps what was done to whom, and sources may still hold their records: see docs/personal-data.md"
        }
        (false, false) => "nothing was changed: --yes with a --reason takes it out, for good",
    });
    Ok(ExitCode::SUCCESS)
}
