//! `sluice config`: check, show, reload.

use std::process::ExitCode;

use anyhow::Context;

use super::args::{ConfigArgs, ConfigVerb};
use crate::config::{Config, REFERENCE};
use crate::control::{self, Request};
use crate::output;

pub(super) fn run(args: &ConfigArgs) -> anyhow::Result<ExitCode> {
    match &args.verb {
        ConfigVerb::Check { place } => {
            let config = Config::load(&place.origin())?;
            crate::pipeline::check(&config)?;
            output::line(&format!(
                "{}: valid, {}, {}, {}",
                place.name(),
                output::counted(config.budgets.len(), "budget"),
                output::counted(config.windows.len(), "window"),
                output::counted(config.agents.agents().count(), "agent")
            ));
        }
        ConfigVerb::Show { reference: true, .. } => output::print(REFERENCE),
        ConfigVerb::Show { place, .. } => output::print(&Config::load(&place.origin())?.show()),
        ConfigVerb::CreateTable { place } => {
            let config = Config::load(&place.origin())?;
            let made = config.shared.create()?;
            output::line(&format!("{}: {}", config.shared, if made { "made" } else { "was there already" }));
        }
        ConfigVerb::Reload { place } => {
            let config = Config::load(&place.origin())?;
            let mut client = control::connect(&config.socket)?.context("no daemon is running on this lake")?;
            let answer = client.ask(&Request::Reload)?;
            output::line(answer.as_str().unwrap_or("reloaded"));
        }
    }
    Ok(ExitCode::SUCCESS)
}
