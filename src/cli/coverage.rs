//! `sluice coverage`: whether the lake holds every call, and, if not, which hours to read again.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use sluice_schemas::time::HOUR;
use sluice_schemas::{Clock, Micros, SystemClock};

use super::args::{Format, ReplayArgs};
use super::args_coverage::CoverageArgs;
use super::replay;
use crate::config::Config;
use crate::coverage::{self, Outcome, Question, STRETCH_MAX, folders_of, is_remote, moment};
use crate::sources::Clients;
use crate::{control, output};

pub(super) fn run(args: &CoverageArgs) -> anyhow::Result<ExitCode> {
    let config = Config::load(&args.place.origin())?;
    let question = question(args, &config)?;
    let clients = Clients::default();
    let mut outcome = coverage::check(&config, &question, &clients)?;
    if args.backfill && outcome.verdict == "gap" {
        backfill(args, &config, &question, &outcome)?;
        outcome = coverage::check(&config, &question, &clients)?;
    }
    match args.format {
        Format::Json => output::json(&coverage::json(&outcome)?),
        Format::Csv => output::print(&coverage::csv(&outcome)),
        Format::Table => output::print(&coverage::table(&outcome)),
    }
    let found = args.fail_on_gap && outcome.verdict != "complete";
    Ok(if found { ExitCode::from(super::EXIT_FOUND) } else { ExitCode::SUCCESS })
}

fn question(args: &CoverageArgs, config: &Config) -> anyhow::Result<Question> {
    let now = SystemClock.now();
    let since = moment(&args.since, now).context("--since")?;
    let until = args.until.as_deref().map_or(Ok(now), |until| moment(until, now)).context("--until")?;
    if until <= since {
        bail!("--until must lie after --since");
    }
    if until.0.saturating_sub(since.0) > STRETCH_MAX {
        bail!("at most 455 days at once: CloudWatch keeps no more");
    }
    let copies = config.coverage.log_copy.iter().chain(&args.log_copy).cloned().collect();
    Ok(Question { since, until, now, copies, copied: Default::default() })
}

/// Replays the hours that lack something; calls that are there already are told by their ids.
fn backfill(args: &CoverageArgs, config: &Config, question: &Question, outcome: &Outcome) -> anyhow::Result<()> {
    if question.copies.is_empty() {
        bail!("nowhere to read the missing calls from: set log_copy in [coverage], or give --log-copy PATH");
    }
    if control::connect(&config.socket)?.is_some() {
        bail!("a daemon writes to this lake: stop it for the backfill, or add the copy as a [[source]] or to paths in [files]");
    }
    let hours = outcome.report.gap_hours();
    let (Some(first), Some(last)) = (hours.first(), hours.last()) else { return Ok(()) };
    let (remote, local): (Vec<PathBuf>, Vec<PathBuf>) = question.copies.iter().cloned().partition(|path| is_remote(path));
    let folders = folders_of(&local, &|hour: Micros| hours.contains(&hour))?;
    let mut read = (0, 0, 0, sluice_schemas::PicoUsd::ZERO);
    let stretch = (Some(first.to_string()), Some(last.plus(HOUR).to_string()));
    for (paths, (since, until)) in [(folders, (None, None)), (remote, stretch)] {
        if paths.is_empty() {
            continue;
        }
        let replay = ReplayArgs { paths, place: args.place.clone(), since, until, format: args.format, act: false, directory: None };
        let summary = replay::read(&replay).context("backfill")?.summary;
        read = (read.0 + summary.facts, read.1 + summary.duplicates, read.2 + summary.rejected, read.3 + summary.cost_usd);
    }
    let (new, known, rejected, cost) = read;
    output::note(&format!(
        "backfill of {} hours: {new} new calls, {}; {known} were there already, {rejected} could not be read",
        hours.len(),
        cost.display(6)
    ));
    Ok(())
}
