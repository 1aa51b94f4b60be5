//! Grammar of `budget simulate`.

use std::time::Duration;

use clap::Args;

use super::args::{Format, Place};
use crate::config::parse_duration;

#[derive(Debug, Args)]
pub(crate) struct SimulateBudgetArgs {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Most that each agent may spend in a period
    #[arg(long, default_value = "25.00 USD")]
    pub(crate) limit: String,
    /// Length of a period; periods begin at multiples of it since 1970
    #[arg(long, default_value = "1d", value_parser = parse_duration)]
    pub(crate) period: Duration,
    /// Time between two looks of the periodic check
    #[arg(long, default_value = "5m", value_parser = parse_duration)]
    pub(crate) check_every: Duration,
    /// Age up to which the cached check trusts its copy
    #[arg(long, default_value = "60s", value_parser = parse_duration)]
    pub(crate) ttl: Duration,
    /// Make a trace of three days from this seed, instead of the lake's calls
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Agents of a made trace; every fourth runs away
    #[arg(long, default_value_t = 12)]
    pub(crate) agents: u32,
    /// Mean time between two calls of an agent of a made trace
    #[arg(long, default_value = "5m", value_parser = parse_duration)]
    pub(crate) every: Duration,
    /// First event time of stored calls
    #[arg(long)]
    pub(crate) since: Option<sluice_schemas::Micros>,
    /// Event time of stored calls to stop before
    #[arg(long)]
    pub(crate) until: Option<sluice_schemas::Micros>,
    /// Form of the report
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
}
