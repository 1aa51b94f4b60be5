//! The sluice binary: it only wires. Records flow one way: ingest → enrich → aggregate → enforce.

mod audit;
mod cli;
mod config;
mod control;
mod coverage;
mod directory;
mod doctor;
mod enforcement;
mod init;
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
mod tables;
mod view;

// Reads the configuration beside everything else that comes from outside, so it is a test of the binary.
#[cfg(test)]
#[expect(clippy::print_stdout, reason = "bytes that break a reader are told to whoever runs it")]
#[path = "../tests/fuzz/mod.rs"]
mod fuzz;

// Batches are made on one thread and dropped on another, texts of every length among them: of a day of a million sessions the system's
// allocator keeps a third more memory than is in use.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::main()
}
