//! Grammar of `audit`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use sluice_schemas::Micros;

use super::args::{Format, Place};

#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    #[command(subcommand)]
    pub(crate) verb: AuditVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditVerb {
    /// Check the chain of the audit trail, and compare it with its copy in the lake; exit code 1 if a line was removed, changed, reordered
    /// or inserted
    Verify {
        #[command(flatten)]
        place: Place,
        /// Form of the report
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
    },
    /// Every decision and effect: when, what, on whom, by whom, why
    List {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        span: SpanArgs,
        /// Form of the list
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
    },
    /// Write an evidence pack: actions, breaches, policy and prices, agents, the check of the trail, with the sums of all files
    Export {
        /// Folder to write, empty or not there yet
        out: PathBuf,
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        span: SpanArgs,
    },
}

/// A stretch of time.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct SpanArgs {
    /// First moment (default: all there is)
    #[arg(long)]
    pub(crate) from: Option<Micros>,
    /// First moment after it
    #[arg(long)]
    pub(crate) to: Option<Micros>,
}
