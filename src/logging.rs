//! The log on standard error.

use tracing_subscriber::EnvFilter;

use crate::cli::LogFormat;

/// Starts logging, errors to people apart: `SLUICE_LOG` (the syntax of `RUST_LOG`) wins over the flags.
pub(crate) fn start(verbose: u8, format: LogFormat, quiet: bool) {
    let level = match verbose {
        0 if quiet => "off",
        0 => "warn,sluice=info",
        1 => "info,sluice=debug,sluice_ingest=debug,sluice_enrich=debug,sluice_aggregate=debug,sluice_enforce=debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_env("SLUICE_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    match format {
        LogFormat::Text => builder.compact().init(),
        LogFormat::Json => builder.json().init(),
    }
}
