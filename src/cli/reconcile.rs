//! `sluice reconcile`: a bill against the lake, and why they differ.

use std::process::ExitCode;

use anyhow::Context;

use super::args::Format;
use super::args_reconcile::{GroupBy, ReconcileArgs};
use crate::config::Config;
use crate::output;
use crate::reconcile::{self, By, Options};

pub(super) fn run(args: &ReconcileArgs) -> anyhow::Result<ExitCode> {
    let config = Config::load(&args.place.origin())?;
    if let (Some(from), Some(to)) = (args.from, args.to) {
        anyhow::ensure!(from <= to, "--from is after --to: name the first day and the last one");
    }
    let options = Options { from: args.from, to: args.to, net: args.net };
    let mut compared = reconcile::compare(&config, &args.path, &options)?;
    if let Some(path) = &args.derive_rates {
        let (text, found) = compared.derive_rates(&config)?;
        std::fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
        output::note(&format!("{found} rates written to {}: sluice prices diff {} shows what they change", path.display(), path.display()));
    }
    let by = args.by.map(|by| match by {
        GroupBy::Day => By::Day,
        GroupBy::Principal => By::Principal,
        GroupBy::Model => By::Model,
        GroupBy::UsageType => By::UsageType,
    });
    match args.format {
        Format::Json => output::json(&serde_json::to_string_pretty(&compared.json(by))?),
        Format::Csv => output::print(&compared.csv(by)),
        Format::Table => output::print(&compared.table(by)),
    }
    if args.format != Format::Json {
        compared.notes.iter().for_each(|note| output::note(&format!("note: {note}")));
    }
    let above = args.fail_above.is_some_and(|percent| compared.report.is_above(percent));
    Ok(if above { ExitCode::from(super::EXIT_FOUND) } else { ExitCode::SUCCESS })
}
