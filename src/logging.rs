//! The log on standard error.

use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use sluice_schemas::visible::{escape_json, escape_lines};
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
        // What credentials lack is said by whoever needs them.
        0 => "warn,aws_config=error,sluice=info",
        1 => "info,sluice=debug,sluice_ingest=debug,sluice_enrich=debug,sluice_aggregate=debug,sluice_enforce=debug",
        // Libraries stay as they are: at this level they would print requests with their headers.
        _ => "info,sluice=trace,sluice_ingest=trace,sluice_enrich=trace,sluice_aggregate=trace,sluice_enforce=trace",
    };
    let filter = EnvFilter::try_from_env("SLUICE_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        // What comes from logs and callers is escaped line by line, and colours could not be told from it.
        .with_ansi(false);
    match format {
        LogFormat::Text => builder.with_writer(|| Escaping(escape_lines)).compact().init(),
        LogFormat::Json => {
            JSON.store(true, Ordering::Relaxed);
            builder.with_writer(|| Escaping(escape_json)).json().flatten_event(true).with_current_span(false).with_span_list(false).init();
        }
    }
}

/// Standard error, with everything escaped that could drive a terminal. A line of the log comes in one piece.
struct Escaping(fn(&str) -> Cow<'_, str>);

impl Write for Escaping {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        io::stderr().lock().write_all(self.0(&text).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
