//! `sluice replay`: one pass over logs that are already there, and what each agent cost.

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use sluice_ingest::files::{FolderSource, Mode as FolderMode};
use sluice_ingest::merge::Named;
use sluice_ingest::source::{Progress, SourceError};
use sluice_schemas::visible::escape;
use sluice_schemas::{PicoUsd, SystemClock};

use super::args::{Format, ReplayArgs};
use crate::config::Config;
use crate::output;
use crate::pipeline::{Exit, Mode, Pipeline, Settings};
use crate::sources::{self, Clients, Keeping, Opening, Parted, Stretch};
use crate::view::AgentRow;

/// What a replay ends with.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    records: u64,
    pub(super) facts: u64,
    /// Calls of before that have another owner now.
    pub(super) moved: u64,
    /// Calls known from CloudTrail alone that the log brought.
    pub(super) replaced: u64,
    pub(super) duplicates: u64,
    pub(super) rejected: u64,
    trail_events: u64,
    control_messages: u64,
    unpriced: u64,
    spoofed: u64,
    late: u64,
    pub(super) cost_usd: PicoUsd,
    seconds: f64,
    bytes_in: u64,
    files: u64,
    breaches: u64,
    agents: Vec<AgentCost>,
    lake: String,
}

#[derive(Debug, Serialize)]
struct AgentCost {
    agent_id: String,
    status: &'static str,
    calls: u64,
    sessions: u64,
    cost_usd: PicoUsd,
}

impl From<AgentRow> for AgentCost {
    fn from(row: AgentRow) -> Self {
        Self { agent_id: row.agent_id, status: row.status.as_str(), calls: row.calls, sessions: row.sessions, cost_usd: row.cost }
    }
}

pub(super) fn run(args: &ReplayArgs) -> anyhow::Result<ExitCode> {
    let Replayed { summary, elapsed, exit } = read(args)?;
    match args.format {
        Format::Json => output::json(&serde_json::to_string(&summary)?),
        Format::Csv => output::print(&csv(&summary)),
        Format::Table => output::print(&table(&summary, elapsed, exit)),
    }
    Ok(if exit == Exit::Stopped { ExitCode::from(super::EXIT_FOUND) } else { ExitCode::SUCCESS })
}

/// A pass that is over.
pub(super) struct Replayed {
    pub(super) summary: Summary,
    elapsed: Duration,
    exit: Exit,
}

/// Reads what is named, into the lake.
pub(super) fn read(args: &ReplayArgs) -> anyhow::Result<Replayed> {
    let begun = Instant::now();
    let mut config = Config::load(&args.place.origin())?;
    config.directory.file = args.directory.clone().or(config.directory.file);
    let lake = config.lake.clone();
    let settings = Settings { config, mode: Mode::Bulk, act: args.act, clock: Arc::new(SystemClock), board: Arc::default() };
    let clients = Clients::default();
    let stretch = Stretch { since: args.since.clone(), until: args.until.clone() };
    let Parted { local: paths, remote } = sources::part(&args.paths, &stretch, settings.clock.now())?;
    // Before there is a lake: a mistyped path leaves none behind.
    for path in &paths {
        fs::metadata(path).map_err(|source| SourceError::Open { path: path.clone(), source })?;
    }
    let mut pipeline = Pipeline::open(settings)?;
    let mut open = Vec::new();
    if !paths.is_empty() {
        let source = FolderSource::open(&paths, &pipeline.positions, FolderMode::Once)?;
        open.push(Named { name: "files".to_owned(), source: Box::new(source) });
    }
    pipeline.bodies = pipeline.settings.config.offload.open(&clients)?;
    let Pipeline { settings, positions, committed, .. } = &pipeline;
    let source = sources::open(
        open,
        &remote,
        &Opening { positions, committed, clock: &settings.clock, clients: &clients, keeping: Keeping::Ledger },
    )?;
    let (handle, commands) = Pipeline::handle();
    super::stop_on_signal(&handle, || Ok(()))?;
    let bar = progress_bar(args.format);
    let mut shown = Instant::now();
    let exit = pipeline.run(source, &handle, &commands, &mut |pipeline, _| {
        if shown.elapsed() >= Duration::from_millis(100) {
            shown = Instant::now();
            show(&bar, &handle.progress(), pipeline.counts.facts, pipeline.counts.cost);
        }
    })?;
    bar.finish_and_clear();
    pipeline.compact_all()?;
    let elapsed = begun.elapsed();
    let summary = summary(&pipeline, &handle.progress(), &lake, elapsed);
    Ok(Replayed { summary, elapsed, exit })
}

fn progress_bar(format: Format) -> ProgressBar {
    if format != Format::Table {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    let style = "{spinner} {bytes}/{total_bytes} [{wide_bar}] {bytes_per_sec}, {eta} left  {msg}";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

fn show(bar: &ProgressBar, progress: &Progress, facts: u64, cost: PicoUsd) {
    bar.set_length(progress.bytes_total);
    bar.set_position(progress.bytes_done);
    bar.set_message(format!("{facts} calls, {}", cost.display(2)));
}

fn summary(pipeline: &Pipeline, progress: &Progress, lake: &Path, elapsed: Duration) -> Summary {
    let counts = pipeline.counts;
    Summary {
        records: counts.records,
        facts: counts.facts - counts.replaced.min(counts.facts),
        moved: counts.moved,
        replaced: counts.replaced,
        duplicates: counts.duplicates,
        rejected: counts.rejected,
        trail_events: counts.trail,
        control_messages: counts.control,
        unpriced: counts.unpriced,
        spoofed: counts.spoofed,
        late: counts.late,
        cost_usd: counts.cost,
        seconds: elapsed.as_secs_f64(),
        bytes_in: counts.bytes_in,
        files: progress.files_done,
        breaches: pipeline.breaches().len() as u64,
        agents: pipeline.live.ranking().into_iter().map(AgentCost::from).collect(),
        lake: lake.display().to_string(),
    }
}

/// Agents a summary for people lists.
const AGENTS_SHOWN: usize = 15;

fn table(summary: &Summary, elapsed: Duration, exit: Exit) -> String {
    let mut text = String::new();
    if !summary.agents.is_empty() {
        let mut table = output::table(&["AGENT", "STATUS", "CALLS", "SESSIONS", "COST"]);
        for agent in summary.agents.iter().take(AGENTS_SHOWN) {
            let cost = agent.cost_usd.display(4);
            table.add_row([
                escape(&agent.agent_id).into_owned(),
                agent.status.to_owned(),
                agent.calls.to_string(),
                agent.sessions.to_string(),
                cost,
            ]);
        }
        text.push_str(&format!("{table}\n"));
        if summary.agents.len() > AGENTS_SHOWN {
            text.push_str(&format!(
                "… and {} more: sluice query \"SELECT agent_id, sum(cost_usd) FROM spend_day GROUP BY 1 ORDER BY 2 DESC\" --lake {}\n",
                summary.agents.len() - AGENTS_SHOWN,
                summary.lake
            ));
        }
    }
    let rate = u128::from(summary.records) * 1_000 / elapsed.as_millis().max(1);
    let again = if summary.replaced > 0 { format!(" and {} that the log now tells", summary.replaced) } else { String::new() };
    text.push_str(&format!(
        "\n{} new calls{again}, {} in {:.2} s ({} records/s, {} files)\n",
        summary.facts,
        summary.cost_usd.display(6),
        summary.seconds,
        rate,
        summary.files
    ));
    for (count, what) in [
        (summary.duplicates, "delivered again and counted once"),
        (summary.rejected, "could not be read and are kept in table rejected"),
        (summary.unpriced, "have no price: sluice prices list, then sluice prices rerate"),
        (summary.spoofed, "claim an agent that is not registered on their principal"),
        (summary.trail_events, "CloudTrail events and spans read"),
        (summary.moved, "calls of before moved to another owner by late evidence: table corrections"),
        (summary.replaced, "calls known from CloudTrail alone gave way to the log"),
        (summary.breaches, "budget thresholds crossed: table breaches"),
    ] {
        if count > 0 {
            text.push_str(&format!("  {count} {what}\n"));
        }
    }
    if exit == Exit::Stopped {
        text.push_str("stopped early; the same command goes on where it stopped\n");
    }
    text.push_str(&format!("lake: {}\n", summary.lake));
    text
}

fn csv(summary: &Summary) -> String {
    let mut text = "agent_id,status,calls,sessions,cost_usd\n".to_owned();
    for agent in &summary.agents {
        text.push_str(&format!(
            "{},{},{},{},{}\n",
            output::csv_cell(&agent.agent_id),
            agent.status,
            agent.calls,
            agent.sessions,
            agent.cost_usd
        ));
    }
    text
}
