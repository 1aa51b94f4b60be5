//! `sluice run --role worker`: reads shared sources, decodes, publishes for the ledger. It keeps nothing: any number may run.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, bail};
use sluice_ingest::committed::Committed;
use sluice_ingest::relay::worker::{self, Worker};
use sluice_schemas::position::Positions;
use sluice_schemas::{Clock, SystemClock};

use crate::config::Config;
use crate::sources::{self, Clients, Keeping, Opening};

/// Longest wait for a message to be taken before it is tried anew.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn run(config: &Config) -> anyhow::Result<ExitCode> {
    let Some(relay) = &config.relay else {
        bail!("nowhere to publish: set brokers and topic, or a stream, in [relay]");
    };
    if !config.paths.is_empty() {
        bail!("a worker reads streams that several workers can share; folders are followed by role 'all'");
    }
    if config.sources.is_empty() {
        bail!("nothing to read: declare a [[source]]");
    }
    let (clients, clock) = (Clients::default(), Arc::new(SystemClock) as Arc<dyn Clock>);
    let committed = Arc::new(Committed::default());
    let (positions, keeping) = (Positions::new(), Keeping::Group);
    let opening = Opening { positions: &positions, committed: &committed, clock: &clock, clients: &clients, keeping };
    let mut source = sources::open(Vec::new(), &config.sources, &opening)?;
    let mut publish = relay.open(&clients, PATIENCE)?;
    let stop = stop_on_signal()?;
    let name = name();
    tracing::info!(event = "running", role = "worker", name, relay = relay.name(), "running");
    let worker =
        Worker { name, limit: relay.limit(), committed: &committed, clock: &*clock, stop: &stop, intake: Arc::clone(&config.intake) };
    let tally = worker::run(&mut *source, &mut *publish, &worker).context("worker")?;
    tracing::info!(
        event = "stopped",
        pieces = tally.pieces,
        messages = tally.messages,
        calls = tally.calls,
        "stopped; what was read is published"
    );
    Ok(ExitCode::SUCCESS)
}

/// Names this worker: the host and the process.
fn name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}-{}", host.trim(), std::process::id())
}

fn stop_on_signal() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // The second one ends the process: nothing is lost, what was not published is read again.
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&stop))?;
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}
