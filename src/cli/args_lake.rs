//! Grammar of `lake`.

use clap::{Args, Subcommand, ValueEnum};

use super::args::{Format, Place};
use crate::tables::{Location, database_name};

#[derive(Debug, Args)]
pub(crate) struct LakeArgs {
    #[command(subcommand)]
    pub(crate) verb: LakeVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LakeVerb {
    /// Columns of every table; as statements for Athena, or as entries of the Glue Data Catalog
    Tables(LakeTablesArgs),
    /// Make the entries of the Glue Data Catalog, or bring them up to the lake's columns; exit code 1 if one is someone else's
    Sync(LakeSyncArgs),
}

#[derive(Debug, Args)]
pub(crate) struct LakeTablesArgs {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Form of the result
    #[arg(long, value_enum, default_value_t = TablesFormat::Table)]
    pub(crate) format: TablesFormat,
    /// Only the tables that every lake has; no lake is read
    #[arg(long)]
    pub(crate) built_in: bool,
    /// Where Athena finds the lake (default: where the lake is, if that is in S3)
    #[arg(long, value_name = "S3-URL", value_parser = Location::parse)]
    pub(crate) location: Option<Location>,
    /// Database in the statements
    #[arg(long, default_value = "sluice", value_parser = database_name)]
    pub(crate) database: String,
}

#[derive(Debug, Args)]
pub(crate) struct LakeSyncArgs {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Database of the entries; it has to be there (default: glue_database in [lake], else sluice)
    #[arg(long, value_parser = database_name)]
    pub(crate) database: Option<String>,
    /// Where Athena finds the lake (default: where the lake is, if that is in S3)
    #[arg(long, value_name = "S3-URL", value_parser = Location::parse)]
    pub(crate) location: Option<Location>,
    /// Only the tables that every lake has; no lake is read
    #[arg(long)]
    pub(crate) built_in: bool,
    /// Region of the catalogue (default: glue_region in [lake], else that of the environment)
    #[arg(long)]
    pub(crate) region: Option<String>,
    /// Say what would change, change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Form of the result
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
}

/// Form of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TablesFormat {
    /// Columns and types, for people.
    Table,
    /// The same as comma-separated values.
    Csv,
    /// The same as JSON.
    Json,
    /// Statements for Athena.
    Ddl,
    /// A JSON list of `TableInput`, as Glue and CloudFormation take it.
    Glue,
}
