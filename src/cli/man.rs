//! `sluice man` and `sluice completions`: what a package brings along.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Command, CommandFactory};
use clap_mangen::Man;

use super::args::Cli;
use super::args_init::ManArgs;
use crate::output;

pub(super) fn run(args: &ManArgs) -> anyhow::Result<ExitCode> {
    let mut command = Cli::command().version(env!("CARGO_PKG_VERSION")).disable_help_subcommand(true);
    command.build();
    match &args.dir {
        None => output::print(&String::from_utf8(page(command)?)?),
        Some(folder) => {
            std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
            let written = write(&command, folder)?;
            output::line(&format!("{} in {}", output::counted(written, "page"), folder.display()));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes the page of a command and of each below it; returns how many.
fn write(command: &Command, folder: &Path) -> anyhow::Result<usize> {
    let mut written = 1;
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        written += write(below, folder)?;
    }
    let path = folder.join(Man::new(command.clone()).get_filename());
    std::fs::write(&path, page(command.clone())?).with_context(|| format!("write {}", path.display()))?;
    Ok(written)
}

fn page(command: Command) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    Man::new(command).manual("sluice").render(&mut bytes).context("a page")?;
    Ok(bytes)
}

/// Prints a completion script.
pub(super) fn completions(shell: clap_complete::Shell) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "sluice", &mut script);
    let mut out = std::io::stdout().lock();
    match out.write_all(&script).and_then(|()| out.flush()) {
        // Whoever reads it may have seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        done => done.map(|()| ExitCode::SUCCESS).context("standard output"),
    }
}
