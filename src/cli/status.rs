//! `sluice status`: whether a running daemon is ready, and how far it is.

use std::process::ExitCode;

use anyhow::Context;

use super::EXIT_FOUND;
use super::args::{Format, StatusArgs};
use crate::config::Config;
use crate::control::{self, Request};
use crate::operate::{Status, render};
use crate::output;

pub(super) fn run(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let config = Config::load(&args.place.origin())?;
    let missing = || format!("no daemon answers on lake {}: none is running, or it still recovers its state", config.lake.display());
    let mut client = control::connect(&config.socket)?.with_context(missing)?;
    let answer = client.ask(&Request::Status)?;
    let status: Status = serde_json::from_value(answer.clone()).context("status of the daemon; are both of one version?")?;
    match args.format {
        Format::Table => output::print(&render(&status)),
        Format::Json | Format::Csv => output::json(&serde_json::to_string_pretty(&answer)?),
    }
    Ok(if status.ready { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FOUND) })
}
