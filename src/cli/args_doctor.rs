//! Grammar of `doctor`.

use clap::{Args, ValueEnum};

use super::args::Place;

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    pub(crate) place: Place,
    /// A region to look at, beside those of the configuration and of calls in the lake; may be repeated
    #[arg(long, value_name = "REGION")]
    pub(crate) region: Vec<String>,
    /// Check one group alone: account, logging, stream, trail, permissions, daemon, unlogged, attribution, budgets, enforcement, billing,
    /// athena; may be repeated
    #[arg(long, value_name = "GROUP")]
    pub(crate) only: Vec<String>,
    /// The role that sluice runs as: its permissions are judged by its policies, and none is tried with these credentials
    #[arg(long, value_name = "ARN")]
    pub(crate) role: Option<String>,
    /// Glue database of the lake's tables
    #[arg(long, value_name = "NAME", default_value = "sluice")]
    pub(crate) database: String,
    /// Form of the report
    #[arg(long, value_enum, default_value_t = DoctorFormat::Table)]
    pub(crate) format: DoctorFormat,
}

/// Form of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DoctorFormat {
    /// For people.
    Table,
    /// One JSON object: docs/doctor.md.
    Json,
}
