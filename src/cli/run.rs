//! `sluice run`: the daemon.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::bail;
use sluice_ingest::files::{FolderSource, Mode as FolderMode};
use sluice_ingest::merge::Named;
use sluice_schemas::SystemClock;

use super::args::RunArgs;
use crate::config::Config;
use crate::control::Server;
use crate::output;
use crate::pipeline::{Mode, Pipeline, Settings};
use crate::sources::{self, Opening};

pub(super) fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let config = Config::load(&args.place.origin())?;
    let paths: Vec<_> = config.paths.iter().chain(&args.paths).cloned().collect();
    if paths.is_empty() && config.sources.is_empty() {
        bail!("nothing to follow: declare a [[source]], set paths in [files], or name folders on the command line");
    }
    let runtime = sources::runtime()?;
    let (poll_interval, socket, lake) = (config.poll_interval, config.socket.clone(), config.lake.clone());
    let mut pipeline = Pipeline::open(Settings { config, mode: Mode::Live, act: true, clock: Arc::new(SystemClock) })?;
    let mut open = Vec::new();
    if !paths.is_empty() {
        let source = FolderSource::open(&paths, &pipeline.positions, FolderMode::Follow { poll_interval })?;
        open.push(Named { name: "files".to_owned(), source: Box::new(source) });
    }
    let Pipeline { settings, positions, committed, .. } = &pipeline;
    let opening = Opening { positions, committed, clock: &settings.clock, runtime: runtime.handle() };
    let source = sources::open(open, &settings.config.sources, &opening)?;
    let (handle, commands) = Pipeline::handle();
    let server = Server::start(&socket, handle.commands.clone())?;
    super::stop_on_signal(&handle)?;
    tracing::info!(lake = %lake.display(), paths = paths.len(), sources = pipeline.settings.config.sources.len(), socket = %socket.display(), "running");
    pipeline.run(source, &handle, &commands, &mut |_, _| {})?;
    drop(server);
    let counts = pipeline.counts;
    output::note(&format!("stopped; {} calls, {} since the start, all committed", counts.facts, counts.cost.display(6)));
    Ok(ExitCode::SUCCESS)
}
