//! What `sluice runaway` is told.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::args::{Format, Place};

#[derive(Debug, Args)]
pub(crate) struct RunawayArgs {
    #[command(subcommand)]
    pub(crate) verb: RunawayVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RunawayVerb {
    /// Run the rules over the stored history: what would have been found, when, and why
    Backtest(RunawayBacktestArgs),
}

#[derive(Debug, Args)]
pub(crate) struct RunawayBacktestArgs {
    #[command(flatten)]
    pub(crate) place: Place,
    /// File with [[runaway]] entries to try instead of the configured ones
    #[arg(long, value_name = "FILE")]
    pub(crate) rules: Option<PathBuf>,
    /// First event time to tell of; what is before it is learned from (default: all history)
    #[arg(long)]
    pub(crate) since: Option<sluice_schemas::Micros>,
    /// Event time to stop before
    #[arg(long)]
    pub(crate) until: Option<sluice_schemas::Micros>,
    /// Form of the report
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
}
