//! `sluice top`: the daemon's live view.

use std::io::ErrorKind;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;

use super::args::{Format, TopArgs};
use crate::config::Config;
use crate::control::{self, Client, Request};
use crate::output;
use crate::view::{Key, PlainLines, Snapshot, Terminal, render_to_text};

/// Time between two snapshots.
const EVERY: Duration = Duration::from_millis(500);

pub(super) fn run(args: &TopArgs) -> anyhow::Result<ExitCode> {
    let config = Config::load(&args.place.origin())?;
    let missing = || format!("no daemon is running on lake {}: start one with sluice run", config.lake.display());
    let mut client = control::connect(&config.socket)?.with_context(missing)?;
    let title = format!("sluice top · {}", config.lake.display());
    if args.once {
        let snapshot = ask(&mut client)?;
        match args.format {
            Format::Table => output::line(&render_to_text(&snapshot, 120, 40)),
            _ => output::json(&serde_json::to_string_pretty(&snapshot)?),
        }
        return Ok(ExitCode::SUCCESS);
    }
    if !Terminal::available() {
        let mut lines = PlainLines::default();
        loop {
            match lines.update(&ask(&mut client)?, &mut std::io::stdout().lock()) {
                // Whoever reads it has seen enough.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
                shown => shown.context("standard output")?,
            }
            std::thread::sleep(EVERY);
        }
    }
    let mut terminal = Terminal::enter()?;
    loop {
        let snapshot = ask(&mut client)?;
        terminal.draw(&snapshot, &title)?;
        if terminal.poll_key(EVERY)? == Some(Key::Quit) {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

fn ask(client: &mut Client) -> anyhow::Result<Snapshot> {
    serde_json::from_value(client.ask(&Request::Snapshot)?).context("snapshot of the daemon; are both of one version?")
}
