//! `sluice init`: writes a first configuration, and says what comes next.

use std::fs::OpenOptions;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};

use super::args_init::InitArgs;
use crate::config::{Config, Location, Origin};
use crate::init::{AGENTS, Answers, Asked, Logs, Reaction, Tell, ask, render};
use crate::output;

/// Name under which a configuration is found without being named.
const USUAL: &str = "sluice.toml";

pub(super) fn run(args: &InitArgs) -> anyhow::Result<ExitCode> {
    if !args.print && !args.force && args.out.exists() {
        bail!("{} is there already: --force writes over it, --out names another file, --print only shows", args.out.display());
    }
    let asks = !args.yes && io::stdin().is_terminal() && io::stderr().is_terminal();
    let mut answers = if asks { by_questions(known(args))? } else { known(args).complete()? };
    if args.print {
        output::print(&render(&answers));
        return Ok(ExitCode::SUCCESS);
    }
    let folder = args.out.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder {
        std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        answers = answers.anchored().context("the working folder")?;
    }
    let written_agents = agents_file(&mut answers)?;
    write(&args.out, &render(&answers), args.force)?;
    let origin = Origin { file: Some(Location::File(args.out.clone())), lake: None };
    let config = Config::load(&origin).context("it is written, and differs from what this machine accepts")?;
    crate::pipeline::check(&config)?;
    output::line(&format!("wrote {}", args.out.display()));
    if let Some(file) = written_agents {
        output::line(&format!("wrote {file}, an example that registers nobody yet"));
    }
    output::print(&next(&answers, &args.out));
    Ok(ExitCode::SUCCESS)
}

fn known(args: &InitArgs) -> Asked {
    Asked {
        logs: args.logs.clone(),
        queue: args.queue.clone(),
        region: args.region.clone(),
        lake: args.lake.clone(),
        table: args.table.clone(),
        limit: args.limit.clone(),
        window: args.window.clone(),
        each: args.each,
        reaction: args.mode,
        no_budget: args.no_budget,
        deny_policy: args.deny_policy.clone(),
        tell: args.tell.clone(),
        agents: args.agents.clone(),
    }
}

fn by_questions(known: Asked) -> anyhow::Result<Answers> {
    let coloured = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let paint: fn(&str) -> String = if coloured { |text| format!("\x1b[1m{text}\x1b[0m") } else { str::to_owned };
    ask(known, &mut io::stdin().lock(), &mut io::stderr().lock(), paint)
}

/// Writes the agents file where it is not there; returns its name if it was written.
fn agents_file(answers: &mut Answers) -> anyhow::Result<Option<String>> {
    let Some((file, is_there)) = &mut answers.agents else { return Ok(None) };
    let location: Location = file.parse()?;
    let path = match location.file() {
        Some(path) => path,
        // What lies in AWS is somebody's: it is named, and not made.
        None => {
            *is_there = true;
            return Ok(None);
        }
    };
    *is_there = true;
    if path.exists() {
        return Ok(None);
    }
    write(path, AGENTS, false)?;
    Ok(Some(file.clone()))
}

fn write(path: &Path, text: &str, force: bool) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    let options = if force { options.create(true).truncate(true) } else { options.create_new(true) };
    let mut file = options.write(true).open(path).with_context(|| format!("write {}", path.display()))?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).with_context(|| format!("write {}", path.display()))
}

/// Returns the next commands.
fn next(answers: &Answers, out: &Path) -> String {
    let config = if out == Path::new(USUAL) { String::new() } else { format!(" --config {}", out.display()) };
    let mut lines = Vec::new();
    for receiver in &answers.tell {
        if let Tell::Slack(variable) | Tell::PagerDuty(variable) | Tell::Webhook(variable) = receiver {
            lines.push((format!("export {variable}=…"), "the secret, for whoever runs sluice"));
        }
    }
    if answers.table.is_some() {
        lines.push((format!("sluice config create-table{config}"), "once: the table of holds and approvals"));
    }
    if answers.deny_policy.is_some() {
        lines.push((format!("sluice lever check{config}"), "what this program could reach that it must not"));
    }
    let past = answers.logs.iter().find(|logs| matches!(logs, Logs::Path(_) | Logs::Bucket(_)));
    if let Some(past) = past.filter(|_| answers.budget.is_some()) {
        let since = if matches!(past, Logs::Bucket(_)) { " --since 30d" } else { "" };
        lines.push((format!("sluice replay {past}{since}{config}"), "the past: what each agent cost"));
        lines.push((format!("sluice budget backtest{config}"), "and what the budget would have done"));
    }
    lines.push((format!("sluice run{config}"), "follow the logs; sluice top shows what comes"));
    let holds = answers.budget.as_ref().is_some_and(|budget| budget.reaction != Reaction::Notify);
    let width = lines.iter().map(|(command, _)| command.chars().count()).max().unwrap_or_default();
    let mut text = "\nnext:\n".to_owned();
    for (command, meaning) in lines {
        text += &format!("  {command:<width$}   {meaning}\n");
    }
    if holds {
        text += "\nA new budget only notifies until it is approved: sluice approve NAME.\n";
    }
    text
}
