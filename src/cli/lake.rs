//! `sluice lake`: what catalogues are told of the lake's tables.

use std::process::ExitCode;

use anyhow::Context;
use sluice_aggregate::lake::{Lake, is_remote};

use super::args::Place;
use super::args_lake::{LakeArgs, LakeSyncArgs, LakeTablesArgs, LakeVerb, TablesFormat};
use crate::config::Config;
use crate::output;
use crate::tables::{self, Location, Table};

pub(super) fn run(args: &LakeArgs) -> anyhow::Result<ExitCode> {
    match &args.verb {
        LakeVerb::Tables(args) => show(args),
        LakeVerb::Sync(args) => sync(args),
    }
}

fn show(args: &LakeTablesArgs) -> anyhow::Result<ExitCode> {
    let tables = found(&args.place, args.built_in)?;
    let location = || location(&args.place, args.location.as_ref());
    match args.format {
        TablesFormat::Ddl => output::print(&tables::statements(&tables, &args.database, &location()?)),
        TablesFormat::Glue => output::json(&serde_json::to_string_pretty(&tables::table_inputs(&tables, &location()?))?),
        TablesFormat::Table => columns(&tables, "table")?,
        TablesFormat::Csv => columns(&tables, "csv")?,
        TablesFormat::Json => columns(&tables, "json")?,
    }
    Ok(ExitCode::SUCCESS)
}

fn columns(tables: &[Table], format: &str) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for table in tables {
        for column in table.columns.iter().chain(&[Table::partition()]) {
            rows.push([table.name.clone(), column.name.clone(), column.kind.clone()]);
        }
    }
    output::rows(&["TABLE", "COLUMN", "TYPE"], rows.iter().map(|row| row.as_slice()), format)
}

/// Returns the tables of the lake, or those that every lake has.
fn found(place: &Place, built_in: bool) -> anyhow::Result<Vec<Table>> {
    if built_in {
        return tables::built_in();
    }
    let config = Config::load(&place.origin())?;
    let lake = Lake::open_reader(&config.lake).with_context(|| format!("open lake {}", config.lake.display()))?;
    tables::of_lake(&lake)
}

fn location(place: &Place, given: Option<&Location>) -> anyhow::Result<Location> {
    if let Some(given) = given {
        return Ok(given.clone());
    }
    let lake = Config::load(&place.origin())?.lake;
    anyhow::ensure!(is_remote(&lake), "the lake {} is not in S3: name where Athena finds it with --location", lake.display());
    Location::parse(&lake.to_string_lossy()).map_err(anyhow::Error::msg)
}

/// Returns the database that the daemon of this place keeps; none where no configuration is read.
#[cfg(feature = "aws")]
fn glue_of(args: &LakeSyncArgs) -> anyhow::Result<Option<tables::GlueDatabase>> {
    if args.built_in && args.place.origin().file.is_none() {
        return Ok(None);
    }
    Ok(Config::load(&args.place.origin())?.glue)
}

#[cfg(feature = "aws")]
fn sync(args: &LakeSyncArgs) -> anyhow::Result<ExitCode> {
    use crate::tables::sync::{Catalogue, Outcome};

    let tables = found(&args.place, args.built_in)?;
    let location = location(&args.place, args.location.as_ref())?;
    let is_real = !location.to_string().contains("${");
    anyhow::ensure!(is_real, "{location} is a place in a template, not in a bucket: put the bucket's name in");
    let configured = if args.database.is_some() { None } else { glue_of(args)? };
    let database =
        configured.as_ref().map(|glue| glue.name.clone()).or_else(|| args.database.clone()).unwrap_or_else(|| "sluice".to_owned());
    let region = args.region.clone().or_else(|| configured.and_then(|glue| glue.region));
    let catalogue = Catalogue::connect(region, &database, args.dry_run)?;
    let mut rows = Vec::new();
    let mut code = ExitCode::SUCCESS;
    for wanted in tables::table_inputs(&tables, &location) {
        let (word, detail) = match catalogue.bring(&wanted)? {
            Outcome::Created => (if args.dry_run { "would be created" } else { "created" }, String::new()),
            Outcome::Updated => (if args.dry_run { "would be updated" } else { "updated" }, String::new()),
            Outcome::Current => ("current", String::new()),
            Outcome::LeftAlone(why) => {
                code = ExitCode::from(super::EXIT_FOUND);
                ("left alone", why)
            }
        };
        rows.push([wanted["Name"].as_str().unwrap_or_default().to_owned(), word.to_owned(), detail]);
    }
    output::rows(&["TABLE", "ENTRY", "DETAIL"], rows.iter().map(|row| row.as_slice()), args.format.word())?;
    Ok(code)
}

#[cfg(not(feature = "aws"))]
fn sync(args: &LakeSyncArgs) -> anyhow::Result<ExitCode> {
    let database = args.database.as_deref().unwrap_or("sluice");
    anyhow::bail!("this build calls no AWS, so database '{database}' cannot be reached: build it with --features aws")
}
