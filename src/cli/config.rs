//! `sluice config`: check, show, reload.

use std::process::ExitCode;

use anyhow::Context;
use serde::Deserialize;
use serde_json::Value;
use sluice_schemas::visible::escape;

use super::args::{ConfigArgs, ConfigVerb, ReferenceFormat};
use crate::config::{Config, Edition, REFERENCE, reference};
use crate::control::{self, Request};
use crate::output;

/// Says what a daemon answered.
fn reloaded(answer: &Value) -> String {
    let names = |key: &str| -> Vec<String> {
        let list = answer[key].as_array().into_iter().flatten().filter_map(Value::as_str);
        list.map(|name| format!("'{}'", escape(name))).collect()
    };
    let edition = Edition::deserialize(&answer["configuration"]).unwrap_or_default();
    let mut text = "reloaded\n".to_owned();
    for document in &edition.documents {
        text += &format!("  {}\n", escape(&document.to_string()));
    }
    let (seeded, waiting) = (names("seeded"), names("only_notify_until_approved"));
    if !seeded.is_empty() {
        text += &format!("filled from the lake: {}\n", seeded.join(", "));
    }
    if !waiting.is_empty() {
        text += &format!("only notify until approved (sluice approve NAME): {}\n", waiting.join(", "));
    }
    text
}

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
        ConfigVerb::Reference { format: ReferenceFormat::Toml } => output::print(REFERENCE),
        ConfigVerb::Reference { format: ReferenceFormat::Markdown } => output::print(&reference::markdown()),
        ConfigVerb::Show { place, .. } => output::print(&Config::load(&place.origin())?.show()),
        ConfigVerb::CreateTable { place } => {
            let config = Config::load(&place.origin())?;
            let made = config.shared.create()?;
            output::line(&format!("{}: {}", config.shared, if made { "made" } else { "was there already" }));
        }
        ConfigVerb::Reload { place } => {
            let config = Config::load(&place.origin())?;
            let mut client = control::connect(&config.socket)?.context("no daemon is running on this lake")?;
            output::print(&reloaded(&client.ask(&Request::Reload)?));
        }
    }
    Ok(ExitCode::SUCCESS)
}
