//! `sluice run`: the daemon.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use sluice_ingest::files::{FolderSource, Mode as FolderMode};
use sluice_ingest::merge::Named;
use sluice_schemas::{Clock, SystemClock};

use super::args::{Role, RunArgs};
use crate::config::{Config, ConfigWatch, Reloader};
use crate::control::Server;
use crate::coverage::CoverageWatch;
use crate::operate::{Board, HttpServer, Stage, Terms, Watch, watch_deadline};
use crate::pipeline::{Handle, Mode, Pipeline, Settings};
use crate::sources::{self, Clients, Keeping, Opening};
use crate::standby::{self, Keeper};
use crate::tables::EntryKeeper;

/// Lake commits that may be missed before one counts as overdue.
const COMMITS_MISSED: u32 = 3;
/// Shortest time after which a lake commit counts as overdue.
const OVERDUE_MIN: Duration = Duration::from_secs(30);

pub(super) fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let config = Config::load(&args.place.origin())?;
    if args.role == Role::Worker {
        return worker(&config);
    }
    if config.lake.as_os_str().is_empty() {
        bail!("no lake: set path in [lake], or give --lake DIR");
    }
    let paths: Vec<_> = config.paths.iter().chain(&args.paths).cloned().collect();
    if paths.is_empty() && config.sources.is_empty() {
        bail!("nothing to follow: declare a [[source]], set paths in [files], or name folders on the command line");
    }
    let clients = Clients::default();
    let (poll_interval, socket, lake) = (config.poll_interval, config.socket.clone(), config.lake.clone());
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let board = Arc::new(Board::new(Arc::clone(&clock), terms(&config)));
    let operate = config.operate.clone();
    let (version, pid, configuration) = (env!("CARGO_PKG_VERSION"), std::process::id(), config.edition.to_string());
    tracing::info!(event = "starting", version, pid, lake = %lake.display(), configuration, edition = config.edition.id(), "starting");
    // The first to open and the last to close: whoever asks is told what it waits for.
    let http = operate.listen.map(|address| HttpServer::start(address, Arc::clone(&board))).transpose()?;
    let watch = Watch::start(Arc::clone(&board), &operate)?;
    let waiting = Server::wait(&socket, Arc::clone(&board));
    let (mut pipeline, keeper) = take_turn(config, args.standby, clock, &board)?;
    pipeline.cover_day()?;
    watch.look_with(pipeline.probe());
    board.enter(Stage::Opening);
    let mut open = Vec::new();
    if !paths.is_empty() {
        let source = FolderSource::open(&paths, &pipeline.positions, FolderMode::Follow { poll_interval })?;
        open.push(Named { name: "files".to_owned(), source: Box::new(source) });
    }
    pipeline.bodies = pipeline.settings.config.offload.open(&clients)?;
    let Pipeline { settings, positions, committed, .. } = &pipeline;
    let sources = settings.config.sources.len();
    let opening = Opening { positions, committed, clock: &settings.clock, clients: &clients, keeping: Keeping::Ledger };
    let source = sources::open(open, &settings.config.sources, &opening)?;
    let (handle, commands) = Pipeline::handle();
    let reloader = Arc::new(Reloader::new(&pipeline.settings.config, handle.commands.clone(), Arc::clone(&board)));
    let server = Server::start(&socket, Arc::clone(&reloader), handle.commands.clone(), Arc::clone(&board))?;
    drop(waiting);
    drain_on_signal(&handle, &board, operate.drain)?;
    let health = http.as_ref().map(|http| tracing::field::display(http.address));
    tracing::info!(event = "running", lake = %lake.display(), paths = paths.len(), sources, socket = %socket.display(), health, "running");
    board.enter(Stage::Running);
    let watched = ConfigWatch::start(&reloader, pipeline.settings.config.refresh)?;
    let coverage = CoverageWatch::start(pipeline.settings.config.clone(), Arc::clone(&board))?;
    let entries = EntryKeeper::start(&pipeline.settings.config, &pipeline.lake)?;
    let ended = pipeline.run(source, &handle, &commands, &mut |_, _| {});
    board.enter(Stage::Stopped);
    drop(entries);
    drop(coverage);
    drop(watched);
    drop(server);
    ended?;
    let counts = pipeline.counts;
    tracing::info!(event = "stopped", calls = counts.facts, usd = %counts.cost, "stopped; everything since the start is committed");
    // Whoever waits for this process's turn finds nothing open.
    drop(pipeline);
    drop(watch);
    drop(keeper);
    drop(http);
    Ok(ExitCode::SUCCESS)
}

#[cfg(any(feature = "aws", feature = "kafka"))]
fn worker(config: &Config) -> anyhow::Result<ExitCode> {
    #[cfg(feature = "aws")]
    if let Some(api) = crate::lambda::api() {
        return crate::lambda::run(config, &api);
    }
    super::worker::run(config)
}

#[cfg(not(any(feature = "aws", feature = "kafka")))]
fn worker(_config: &Config) -> anyhow::Result<ExitCode> {
    bail!("this build has no workers: build it with --features kafka or --features aws")
}

fn terms(config: &Config) -> Terms {
    let overdue_after = (config.commit_interval * COMMITS_MISSED).max(OVERDUE_MIN);
    Terms { stuck_after: config.operate.stuck_after, overdue_after }
}

/// Opens everything, when it is this process's turn to be the ledger; it keeps the turn until it ends.
fn take_turn(config: Config, standby: bool, clock: Arc<dyn Clock>, board: &Arc<Board>) -> anyhow::Result<(Pipeline, Keeper)> {
    let standby = standby || config.operate.standby;
    if standby {
        board.stand_by();
    }
    let (lease, lasts, me) = (config.shared.lease()?, config.operate.lease, standby::name(&*clock));
    let settings = |config| Settings { config, mode: Mode::Live, act: true, clock: Arc::clone(&clock), board: Arc::clone(board) };
    if !standby {
        let pipeline = recover(settings(config))?;
        return Ok((pipeline, Keeper::seize(lease, &me, lasts, Arc::clone(board))?));
    }
    let beat = standby::wait(&*lease, &me, lasts, board);
    let keeper = Keeper::start(lease, beat, lasts, Arc::clone(board))?;
    standby::take_from_other(&config)?;
    Ok((recover(settings(newest(config)))?, keeper))
}

/// Reads the configuration again, for a standby may have waited for days: what the other one was told in the meantime holds for this one.
fn newest(config: Config) -> Config {
    let problem = match Config::load(&config.origin) {
        Ok(read) => match config.fixed_changes(&read) {
            changed if changed.is_empty() => return read,
            changed => format!("{} can only change with a restart", changed.join(", ")),
        },
        Err(error) => error.to_string(),
    };
    let edition = config.edition.id();
    tracing::warn!(event = "config_stays", problem, edition, "the configuration that the wait began with is kept");
    config
}

fn recover(settings: Settings) -> anyhow::Result<Pipeline> {
    let begun = Instant::now();
    let pipeline = Pipeline::open(settings)?;
    tracing::info!(
        event = "recovered",
        epoch = pipeline.lake.state().epoch,
        fence = pipeline.fence(),
        positions = pipeline.positions.len(),
        took_ms = begun.elapsed().as_millis() as u64,
        "lake, local state and shared store are in step"
    );
    Ok(pipeline)
}

fn drain_on_signal(handle: &Handle, board: &Arc<Board>, deadline: Duration) -> anyhow::Result<()> {
    let (board, reading) = (Arc::clone(board), Arc::clone(&handle.source.reading));
    super::stop_on_signal(handle, move || {
        board.enter(Stage::Draining);
        watch_deadline(board, reading, deadline, super::EXIT_LATE)
    })
}
