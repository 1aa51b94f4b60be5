//! Arguments of `sluice simulate`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::args::Format;

#[derive(Debug, Args)]
pub(crate) struct SimulateArgs {
    /// Folder to write to
    pub(crate) out: PathBuf,
    /// Distinct good calls
    #[arg(long, default_value_t = 10_000)]
    pub(crate) calls: u64,
    /// What a record holds
    #[arg(long, value_enum, default_value_t = ShapeArg::Agent)]
    pub(crate) shape: ShapeArg,
    /// Files to spread them over
    #[arg(long, default_value_t = 24)]
    pub(crate) files: u32,
    /// Compress the files
    #[arg(long)]
    pub(crate) gzip: bool,
    /// Records delivered twice, in thousandths of the calls
    #[arg(long, default_value_t = 10)]
    pub(crate) duplicates_permille: u32,
    /// Broken records, in hundred-thousandths of the calls
    #[arg(long, default_value_t = 100)]
    pub(crate) bad_per_100k: u32,
    /// Agents
    #[arg(long, default_value_t = 12)]
    pub(crate) agents: u32,
    /// Sessions
    #[arg(long, default_value_t = 400)]
    pub(crate) sessions: u32,
    /// First event time
    #[arg(long, default_value = "2026-10-01T00:00:00Z")]
    pub(crate) start: sluice_schemas::Micros,
    /// Time the calls are spread over
    #[arg(long, default_value = "24h", value_parser = crate::config::parse_duration)]
    pub(crate) span: std::time::Duration,
    /// Layout of the folder
    #[arg(long, value_enum, default_value_t = LayoutArg::Flat)]
    pub(crate) layout: LayoutArg,
    /// Wrap the records in CloudWatch Logs subscription envelopes
    #[arg(long)]
    pub(crate) cloudwatch: bool,
    /// Write the records in random order
    #[arg(long)]
    pub(crate) shuffle: bool,
    /// Seed: the same gives the same files
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Write the truth (one JSON line a distinct good call, and a summary) to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) truth: Option<PathBuf>,
    /// Form of the summary; with json all of it, every agent among it
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
}

/// What a simulated record holds.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ShapeArg {
    /// No bodies, about 550 bytes.
    Meta,
    /// Bodies of about 8 kB.
    Agent,
    /// Bodies of about 64 kB.
    Long,
}

/// Layout of a simulated folder.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LayoutArg {
    /// All files in one folder.
    Flat,
    /// As Bedrock lays them out in S3.
    S3,
}
