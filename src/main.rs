//! The sluice binary: it only wires. Records flow one way: ingest → enrich → aggregate → enforce.

mod cli;
mod config;
mod control;
mod lakeview;
mod live;
mod logging;
mod operate;
mod output;
mod pipeline;
mod simulate;
mod sources;
mod view;

fn main() -> std::process::ExitCode {
    cli::main()
}
