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
    // A health check must not fail because the configuration cannot be fetched.
    let (socket, place) = match &args.socket {
        Some(socket) => (socket.clone(), format!("at {}", socket.display())),
        None => {
            let config = Config::load(&args.place.origin())?;
            (config.socket, format!("on lake {}", config.lake.display()))
        }
    };
    let missing = || format!("no daemon answers {place}: none is running");
    let client = control::connect(&socket)?.map_or_else(|| control::connect_waiting(&socket), |client| Ok(Some(client)))?;
    let mut client = client.with_context(missing)?;
    let answer = client.ask(&Request::Status)?;
    let status: Status = serde_json::from_value(answer.clone()).context("status of the daemon; are both of one version?")?;
    match args.format {
        Format::Table => output::print(&render(&status)),
        Format::Json | Format::Csv => output::json(&serde_json::to_string_pretty(&answer)?),
    }
    let is_well = if args.live { status.live } else { status.ready };
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FOUND) })
}
