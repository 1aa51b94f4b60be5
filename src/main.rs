//! The sluice binary: it only wires. Records flow one way: ingest → enrich → aggregate → enforce.

mod cli;
mod config;
mod control;
mod coverage;
mod directory;
#[cfg(feature = "aws")]
#[expect(dead_code, reason = "levers are pulled by no loop yet; their live test makes its calls with it")]
mod enforcement;
mod lakeview;
#[cfg(feature = "aws")]
mod lambda;
mod live;
mod logging;
mod operate;
mod output;
mod pipeline;
mod reconcile;
mod simulate;
mod sources;
mod standby;
mod view;

// Reads the configuration beside everything else that comes from outside, so it is a test of the binary.
#[cfg(test)]
#[expect(clippy::print_stdout, reason = "bytes that break a reader are told to whoever runs it")]
#[path = "../tests/fuzz/mod.rs"]
mod fuzz;

fn main() -> std::process::ExitCode {
    cli::main()
}
