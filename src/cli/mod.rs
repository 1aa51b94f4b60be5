//! The command line: its grammar, and one file for each verb.

mod agents;
mod args;
mod args_audit;
mod args_coverage;
mod args_doctor;
mod args_flag;
mod args_forget;
mod args_hold;
mod args_init;
mod args_lake;
mod args_reconcile;
mod args_runaway;
mod args_simulate;
mod args_simulate_budget;
mod args_tables;
mod args_who;
mod audit;
mod budget;
mod budget_simulate;
mod config;
mod coverage;
mod demo;
mod doctor;
mod explain;
mod flag;
mod forget;
mod hold;
mod hold_overshoot;
mod init;
mod lake;
mod lever;
mod man;
mod overrides;
mod prices;
mod query;
mod reconcile;
mod replay;
mod rerate;
mod rules;
mod run;
mod runaway;
mod simulate;
mod source;
mod status;
mod teardown;
mod top;
mod who;
#[cfg(any(feature = "aws", feature = "kafka"))]
mod worker;

use std::process::ExitCode;

use clap::Parser;

pub(crate) use args::LogFormat;
use args::{Cli, Verb};

/// Exit code of a command that worked but found what it was asked to look for, such as a breached budget.
pub(crate) const EXIT_FOUND: u8 = 1;
/// Exit code of a command that could not do its work.
pub(crate) const EXIT_FAILED: u8 = 2;
/// Exit code of a daemon that was cut off at its drain's deadline.
pub(crate) const EXIT_LATE: u8 = 3;
/// Exit code of a process that was fenced off by a newer one (`EX_TEMPFAIL`).
pub(crate) const EXIT_FENCED: u8 = 75;

/// Parses the command line and carries it out.
pub(crate) fn main() -> ExitCode {
    let cli = parse();
    // The demo has the screen to itself.
    let quiet = matches!(cli.verb, Verb::Demo(_));
    crate::logging::start(cli.verbose, cli.log_format, quiet);
    let done = carry_out(cli).and_then(|code| match crate::output::lost() {
        None => Ok(code),
        Some(problem) => Err(anyhow::anyhow!("standard output does not have everything: {problem}")),
    });
    match done {
        Ok(code) => code,
        Err(error) => {
            let exit_code = exit_code(&error);
            if crate::logging::is_json() {
                tracing::error!(event = "failed", error = format!("{error:#}"), exit_code, "failed");
            } else {
                crate::output::error(&error);
            }
            ExitCode::from(exit_code)
        }
    }
}

/// Reads the command line; a Lambda function has none and is a worker.
fn parse() -> Cli {
    #[cfg(feature = "aws")]
    if let Some(line) = crate::lambda::command_line() {
        return Cli::parse_from(line);
    }
    Cli::parse()
}

fn exit_code(error: &anyhow::Error) -> u8 {
    let by_lake = error.chain().filter_map(|cause| cause.downcast_ref::<sluice_aggregate::lake::LakeError>());
    let by_store = error.chain().filter_map(|cause| cause.downcast_ref::<sluice_enforce::StoreError>());
    let mut classes = by_lake.map(sluice_aggregate::lake::LakeError::class).chain(by_store.map(sluice_enforce::StoreError::class));
    let fenced = classes.any(|class| class == sluice_schemas::ErrorClass::Fenced);
    if fenced { EXIT_FENCED } else { EXIT_FAILED }
}

fn carry_out(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.verb {
        Verb::Init(args) => init::run(&args),
        Verb::Run(args) => run::run(&args),
        Verb::Demo(args) => demo::run(&args),
        Verb::Replay(args) => replay::run(&args),
        Verb::Simulate(args) => simulate::run(&args),
        Verb::Query(args) => query::run(&args),
        Verb::Lake(args) => lake::run(&args),
        Verb::Forget(args) => forget::run(&args),
        Verb::Top(args) => top::run(&args),
        Verb::Status(args) => status::run(&args),
        Verb::Coverage(args) => coverage::run(&args),
        Verb::Doctor(args) => doctor::run(&args),
        Verb::Budget(args) => budget::run(&args),
        Verb::Audit(args) => audit::run(&args),
        Verb::Runaway(args) => runaway::run(&args),
        Verb::Hold(args) => hold::run(&args),
        Verb::Flag(args) => flag::run(&args),
        Verb::Source(args) => source::run(&args),
        Verb::Pause(args) => hold::pause(&args),
        Verb::Resume(args) => hold::resume(&args),
        Verb::Approve(args) => hold::approve(&args),
        Verb::Lever(args) => lever::run(&args),
        Verb::Teardown(args) => teardown::run(&args),
        Verb::Prices(args) => prices::run(&args),
        Verb::Reconcile(args) => reconcile::run(&args),
        Verb::Who(verb) => who::run(&verb),
        Verb::Config(args) => config::run(&args),
        Verb::Completions { shell } => man::completions(shell),
        Verb::Man(args) => man::run(&args),
    }
}

/// Turns SIGINT and SIGTERM into a stop that commits everything read; a second one ends the process at once, which is safe too.
/// `on_stop` is called at the first.
fn stop_on_signal(handle: &crate::pipeline::Handle, on_stop: impl FnOnce() -> std::io::Result<()> + Send + 'static) -> anyhow::Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM])?;
    let handle = handle.clone();
    let mut on_stop = Some(on_stop);
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for _ in signals.forever() {
            let Some(on_stop) = on_stop.take() else { std::process::exit(130) };
            if on_stop().is_err() || !handle.stop() {
                std::process::exit(130);
            }
            crate::output::note("stopping: what was read is committed first; once more to end at once");
        }
    })?;
    Ok(())
}
