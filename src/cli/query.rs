//! `sluice query`: SQL over the lake and, through the daemon, over rows that are not in the lake yet.

use std::process::ExitCode;

use anyhow::Context;
use sluice_aggregate::lake::Lake;

use super::args::{Format, QueryArgs};
use crate::config::Config;
use crate::control::{self, Request};
use crate::{lakeview, output};

pub(super) fn run(args: &QueryArgs) -> anyhow::Result<ExitCode> {
    let config = Config::load(&args.place.origin())?;
    let text = answer(args, &config)?;
    match args.format {
        Format::Json => output::json(&text),
        Format::Table | Format::Csv => output::print(&text),
    }
    Ok(ExitCode::SUCCESS)
}

fn answer(args: &QueryArgs, config: &Config) -> anyhow::Result<String> {
    let format = args.format.word();
    if let Some(mut client) = control::connect(&config.socket)? {
        let answer = client.ask(&Request::Query { sql: args.sql.clone(), format: format.to_owned() })?;
        return Ok(answer.as_str().unwrap_or_default().to_owned());
    }
    let lake = Lake::open_reader(&config.lake).with_context(|| format!("open lake {}", config.lake.display()))?;
    let engine = lakeview::engine(&lake, Vec::new())?;
    Ok(lakeview::format(&engine.sql(&args.sql)?, format))
}
