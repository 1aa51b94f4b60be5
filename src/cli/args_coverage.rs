//! Grammar of `coverage`.

use std::path::PathBuf;

use clap::Args;

use super::args::{Format, Place};

#[derive(Debug, Args)]
pub(crate) struct CoverageArgs {
    #[command(flatten)]
    pub(crate) place: Place,
    /// First day or moment, or a time ago: 2026-10-01, 2026-10-01T12:00:00Z, 7d; whole hours are compared
    #[arg(long, value_name = "WHEN", default_value = "24h")]
    pub(crate) since: String,
    /// First day or moment not to compare (default: now)
    #[arg(long, value_name = "WHEN")]
    pub(crate) until: Option<String>,
    /// A copy of the invocation log, as Bedrock lays it out: a folder, or s3://BUCKET/PREFIX; beside those of the configuration
    #[arg(long, value_name = "PATH")]
    pub(crate) log_copy: Vec<PathBuf>,
    /// Read the hours that lack calls from the copy of the log into the lake, and compare again
    #[arg(long)]
    pub(crate) backfill: bool,
    /// End with exit code 1 unless the lake is complete
    #[arg(long)]
    pub(crate) fail_on_gap: bool,
    /// Form of the report
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
}
