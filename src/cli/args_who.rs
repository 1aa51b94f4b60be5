//! Grammar of the verbs about who calls: `agents`, `explain`, `rules`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::args::{Format, Place};

#[derive(Debug, Subcommand)]
pub(crate) enum WhoVerb {
    /// Every agent of the lake: what names it, how far that can be trusted, what would make it more certain
    Agents(AgentsArgs),
    /// Why a call is booked to whom: all evidence, what was refused, and the cheapest change
    Explain(ExplainArgs),
    /// Check the rules that tell agents from names, and try them on records
    Rules(RulesArgs),
}

#[derive(Debug, Args)]
pub(crate) struct AgentsArgs {
    /// How far to look back, like 12h or 30d
    #[arg(long, default_value = "7d", value_parser = crate::config::parse_duration)]
    pub(crate) since: std::time::Duration,
    #[command(flatten)]
    pub(crate) place: Place,
    /// Form of the result
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// Request id of the call
    pub(crate) request_id: String,
    #[command(flatten)]
    pub(crate) place: Place,
    /// Form of the result
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct RulesArgs {
    #[command(subcommand)]
    pub(crate) verb: RulesVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RulesVerb {
    /// Check the rules file; every fault is listed with its line
    Check {
        /// A rules file instead of the configured one
        #[arg(long, value_name = "FILE")]
        rules: Option<PathBuf>,
        #[command(flatten)]
        place: Place,
    },
    /// Try the rules on log records and CloudTrail events: which rule matches, and what it says
    Test(RulesTestArgs),
}

#[derive(Debug, Args)]
pub(crate) struct RulesTestArgs {
    /// Files of records, gzip or not, or folders of them; standard input without any
    pub(crate) files: Vec<PathBuf>,
    /// A rules file instead of the configured one
    #[arg(long, value_name = "FILE")]
    pub(crate) rules: Option<PathBuf>,
    /// Exit code 1 if a rule matched no record
    #[arg(long)]
    pub(crate) all_used: bool,
    #[command(flatten)]
    pub(crate) place: Place,
    /// Form of the result
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
}
