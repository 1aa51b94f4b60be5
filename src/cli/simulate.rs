//! `sluice simulate`: traffic in the real log formats, with the truth beside it.

use std::process::ExitCode;

use super::args::{Format, LayoutArg, ShapeArg, SimulateArgs};
use crate::output;
use crate::simulate::{self, Envelope, Layout, Plan, Shape, Summary};

pub(super) fn run(args: &SimulateArgs) -> anyhow::Result<ExitCode> {
    let plan = Plan {
        seed: args.seed,
        calls: args.calls,
        shape: match args.shape {
            ShapeArg::Meta => Shape::Meta,
            ShapeArg::Agent => Shape::Agent,
            ShapeArg::Long => Shape::Long,
        },
        files: args.files,
        gzip: args.gzip,
        duplicates_permille: args.duplicates_permille,
        bad_per_100k: args.bad_per_100k,
        agents: args.agents,
        sessions: args.sessions,
        start: args.start,
        span_micros: i64::try_from(args.span.as_micros()).unwrap_or(i64::MAX),
        layout: match args.layout {
            LayoutArg::Flat => Layout::Flat,
            LayoutArg::S3 => Layout::S3,
        },
        envelope: if args.cloudwatch { Envelope::CloudWatch } else { Envelope::Plain },
        shuffle: args.shuffle,
        ..Plan::default()
    };
    let summary = simulate::write(&plan, &args.out, args.truth.as_deref())?;
    match args.format {
        Format::Table => output::print(&told(&summary, args)),
        Format::Json | Format::Csv => output::json(&serde_json::to_string_pretty(&summary)?),
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the summary in a few lines.
fn told(summary: &Summary, args: &SimulateArgs) -> String {
    let out = args.out.display();
    let bad: u64 = summary.bad.values().sum();
    let mut text =
        format!("{} records in {} files below {out}, {} bytes before compression\n", summary.records, summary.files, summary.bytes);
    text += &format!(
        "{} calls of {} agents, {} of them failed; {} duplicates, {bad} unreadable records, {} control records\n",
        summary.calls,
        summary.agents.len(),
        summary.errors,
        summary.duplicates,
        summary.control
    );
    if let Some(truth) = &args.truth {
        text += &format!("truth: {} and {}.summary.json\n", truth.display(), truth.display());
    }
    text += &format!("read them: sluice replay {out} --lake ./lake\n");
    text
}
