//! Grammar of `flag`.

use clap::{Args, Subcommand};

use super::args::Place;

#[derive(Debug, Args)]
pub(crate) struct FlagArgs {
    #[command(subcommand)]
    pub(crate) verb: FlagVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum FlagVerb {
    /// Tell whether an agent may call: exit code 0 allowed, 3 held, 2 if that cannot be told
    Check {
        /// The agent
        #[arg(long, value_name = "AGENT")]
        agent: String,
        /// One of its sessions
        #[arg(long, value_name = "SESSION")]
        session: Option<String>,
        #[command(flatten)]
        place: Place,
    },
    /// Make the DynamoDB table of [flags], which a daemon never does by itself
    CreateTable {
        #[command(flatten)]
        place: Place,
    },
}
