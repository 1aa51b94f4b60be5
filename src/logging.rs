//! The log on standard error.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing_subscriber::EnvFilter;

use crate::cli::LogFormat;

static JSON: AtomicBool = AtomicBool::new(false);

/// Tells whether standard error holds JSON lines and nothing else.
pub(crate) fn is_json() -> bool {
    JSON.load(Ordering::Relaxed)
}

/// Starts logging, errors to people apart: `SLUICE_LOG` (the syntax of `RUST_LOG`) wins over the flags.
pub(crate) fn start(verbose: u8, format: LogFormat, quiet: bool) {
    let level = match verbose {
        0 if quiet => "off",
        0 => "warn,sluice=info",
        1 => "info,sluice=debug,sluice_ingest=debug,sluice_enrich=debug,sluice_aggregate=debug,sluice_enforce=debug",
        // Libraries stay as they are: at this level they would print requests with their headers.
        _ => "info,sluice=trace,sluice_ingest=trace,sluice_enrich=trace,sluice_aggregate=trace,sluice_enforce=trace",
    };
    let filter = EnvFilter::try_from_env("SLUICE_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => builder.compact().init(),
        LogFormat::Json => {
            JSON.store(true, Ordering::Relaxed);
            builder.json().flatten_event(true).with_current_span(false).with_span_list(false).init();
        }
    }
}
