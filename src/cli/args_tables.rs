//! Grammar of `prices` and `config`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::args::{Format, Place};

#[derive(Debug, Args)]
pub(crate) struct PricesArgs {
    #[command(subcommand)]
    pub(crate) verb: PricesVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PricesVerb {
    /// Prices in force
    List {
        /// Only models whose name holds this text
        model: Option<String>,
        #[command(flatten)]
        place: Place,
        /// Form of the result
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
    },
    /// Convert an AWS Price List offer file or LiteLLM's JSON into sluice's own price format
    Import {
        /// The file
        file: PathBuf,
        /// What it is
        #[arg(long, value_enum)]
        from: PriceSource,
        /// First day the prices hold, for a source that does not say (default: always)
        #[arg(long)]
        effective_from: Option<sluice_schemas::Micros>,
        /// File to write (default: standard output)
        #[arg(long, short, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// What a price file would change
    Diff {
        /// File in sluice's own format
        file: PathBuf,
        #[command(flatten)]
        place: Place,
        /// Form of the result
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
    },
    /// Rate calls without a price again, and correct the tables
    Rerate {
        #[command(flatten)]
        place: Place,
        /// Also calls that have a price, where it changed
        #[arg(long)]
        all: bool,
        /// Say what would change, change nothing
        #[arg(long)]
        dry_run: bool,
        /// Form of the summary
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
    },
}

/// A source of prices.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum PriceSource {
    /// AWS Price List offer file (`AmazonBedrock`, `AmazonBedrockFoundationModels`, `AmazonBedrockService`)
    Aws,
    /// LiteLLM's `model_prices_and_context_window.json`
    Litellm,
}

#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    pub(crate) verb: ConfigVerb,
}

/// Form of the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReferenceFormat {
    /// A configuration file
    Toml,
    /// A page with a table for each section
    Markdown,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigVerb {
    /// Check a configuration; every fault is listed
    Check {
        #[command(flatten)]
        place: Place,
    },
    /// Every key with its default, or what a configuration comes to
    Show {
        #[command(flatten)]
        place: Place,
        /// The reference file with every default
        #[arg(long)]
        reference: bool,
    },
    /// Every section and key: what it takes, its default, what it means
    Reference {
        /// Form: the file to copy from, or the page of the documentation
        #[arg(long, value_enum, default_value_t = ReferenceFormat::Toml)]
        format: ReferenceFormat,
    },
    /// Make the DynamoDB table of the shared store, which a daemon never does by itself
    CreateTable {
        #[command(flatten)]
        place: Place,
    },
    /// Make a running daemon read its configuration again
    Reload {
        #[command(flatten)]
        place: Place,
    },
}
