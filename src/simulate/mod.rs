//! Traffic in the real formats of Amazon Bedrock's model-invocation logs, with the truth about it beside it.
//!
//! Owns: who calls what and when (from a seed), the records' text, damage and redelivery, files as AWS lays them out.
//! Does not own: prices, attribution; the truth says only what a reader of the log can know.

mod bad;
mod body;
mod call;
mod cast;
mod demo;
mod error;
mod files;
mod generator;
mod models;
mod put;
mod random;
mod record;
mod response;
mod run;
mod text;

#[cfg(test)]
mod tests;

use sluice_schemas::Micros;
use sluice_schemas::time::HOUR;

pub(crate) use demo::DemoTraffic;
pub(crate) use error::SimulateError;
pub(crate) use run::{Summary, write};

/// How much text the records carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Shape {
    /// No bodies, as with every data delivery switched off: about 600 bytes a record.
    #[default]
    Meta,
    /// Bodies of an agent's turn, about 8 kB a record.
    Agent,
    /// Bodies of a long context, about 64 kB a record.
    Long,
}

/// Where the files go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Numbered files in one folder.
    #[default]
    Flat,
    /// Account, region and hour folders, as Bedrock writes them to S3.
    S3,
}

/// What is around a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Envelope {
    /// One record a line.
    #[default]
    Plain,
    /// One CloudWatch Logs subscription message a line, many records in each.
    CloudWatch,
}

/// What to write. The same plan writes the same bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Seed of every choice.
    pub(crate) seed: u64,
    /// Distinct readable calls.
    pub(crate) calls: u64,
    /// How much text they carry.
    pub(crate) shape: Shape,
    /// Files to spread them over, at least; folders may make it more.
    pub(crate) files: u32,
    /// Whether files are compressed.
    pub(crate) gzip: bool,
    /// Calls in a thousand that are delivered twice.
    pub(crate) duplicates_permille: u32,
    /// Unreadable records for every 100,000 calls.
    pub(crate) bad_per_100k: u32,
    /// Distinct agents.
    pub(crate) agents: u32,
    /// Distinct sessions, shared out among the agents.
    pub(crate) sessions: u32,
    /// Event time of the first call.
    pub(crate) start: Micros,
    /// Microseconds of event time the calls are spread over.
    pub(crate) span_micros: i64,
    /// Accounts, at least one.
    pub(crate) account_ids: Vec<String>,
    /// Regions, at least one.
    pub(crate) regions: Vec<String>,
    /// Where the files go.
    pub(crate) layout: Layout,
    /// What is around a record.
    pub(crate) envelope: Envelope,
    /// Whether event times are out of order inside a file.
    pub(crate) shuffle: bool,
    /// Agent (by number) that runs away in the second half.
    pub(crate) runaway: Option<u32>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            seed: 1,
            calls: 10_000,
            shape: Shape::Meta,
            files: 8,
            gzip: false,
            duplicates_permille: 10,
            bad_per_100k: 100,
            agents: 20,
            sessions: 200,
            start: Micros(1_790_812_800_000_000),
            span_micros: HOUR,
            account_ids: vec!["111122223333".to_owned()],
            regions: ["us-east-1", "us-west-2", "eu-central-1"].map(str::to_owned).to_vec(),
            layout: Layout::Flat,
            envelope: Envelope::Plain,
            shuffle: false,
            runaway: None,
        }
    }
}
