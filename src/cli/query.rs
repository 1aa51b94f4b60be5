//! `sluice query`: SQL over the lake and, through the daemon, over rows that are not in the lake yet.

use std::process::ExitCode;

use anyhow::Context;
use sluice_aggregate::lake::Lake;

use super::args::QueryArgs;
use crate::config::Config;
use crate::control::{self, Request};
use crate::{lakeview, output};

pub(super) fn run(args: &QueryArgs) -> anyhow::Result<ExitCode> {
    let config = Config::load(&args.place.origin())?;
    let format = args.format.word();
    if let Some(mut client) = control::connect(&config.socket)? {
        let answer = client.ask(&Request::Query { sql: args.sql.clone(), format: format.to_owned() })?;
        output::print(answer.as_str().unwrap_or_default());
        return Ok(ExitCode::SUCCESS);
    }
    let lake = Lake::open_reader(&config.lake).with_context(|| format!("open lake {}", config.lake.display()))?;
    let engine = lakeview::engine(&lake, Vec::new())?;
    let rows = engine.sql(&args.sql)?;
    output::print(&lakeview::format(&rows, format));
    Ok(ExitCode::SUCCESS)
}
