//! Grammar of `init` and `man`.

use std::path::PathBuf;

use clap::Args;

use crate::init::{Each, Logs, Reaction, Tell, check_lake, check_policy};

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// File to write
    #[arg(long, short, value_name = "FILE", default_value = "sluice.toml")]
    pub(crate) out: PathBuf,
    /// Write over a file that is there
    #[arg(long)]
    pub(crate) force: bool,
    /// Print the configuration, write nothing
    #[arg(long)]
    pub(crate) print: bool,
    /// Ask nothing: what is not said has its default (so it is where standard input is no terminal)
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Where the logs are: a folder, s3://BUCKET/PREFIX, kinesis:STREAM, kafka:BROKER,BROKER/TOPIC; may be given again
    #[arg(long, value_name = "WHERE")]
    pub(crate) logs: Vec<Logs>,
    /// URL of an SQS queue that is told of new objects of the bucket
    #[arg(long, value_name = "URL")]
    pub(crate) queue: Option<String>,
    /// Region of streams, queues and tables
    #[arg(long)]
    pub(crate) region: Option<String>,
    /// Root of the lake: a folder, or s3://BUCKET/PREFIX [default: lake]
    #[arg(long, value_name = "DIR", value_parser = check_lake)]
    pub(crate) lake: Option<String>,
    /// DynamoDB table for fire ids, holds and approvals [default: a file]
    #[arg(long)]
    pub(crate) table: Option<String>,
    /// Limit of the first budget [default: 25.00 USD]
    #[arg(long, value_name = "AMOUNT")]
    pub(crate) limit: Option<String>,
    /// Its window: day, week, month, "rolling 1h", session, lifetime [default: day]
    #[arg(long)]
    pub(crate) window: Option<String>,
    /// For whom it counts [default: agent]
    #[arg(long, value_enum)]
    pub(crate) each: Option<Each>,
    /// What follows when it is spent [default: observe]
    #[arg(long, value_enum)]
    pub(crate) mode: Option<Reaction>,
    /// No budget yet
    #[arg(long, conflicts_with_all = ["limit", "window", "each", "mode"])]
    pub(crate) no_budget: bool,
    /// ARN of the policy that denies Bedrock: switches the lever deny-policy on
    #[arg(long, value_name = "ARN", value_parser = check_policy)]
    pub(crate) deny_policy: Option<String>,
    /// Who is told: sns:TOPIC-ARN, eventbridge:BUS@REGION, slack:VARIABLE, pagerduty:VARIABLE, webhook:VARIABLE, file:PATH; may be given again
    #[arg(long, value_name = "WHOM")]
    pub(crate) tell: Vec<Tell>,
    /// Agents file; one that is not there is written with an example
    #[arg(long, value_name = "FILE")]
    pub(crate) agents: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Folder to write a page for each command to; without it the page of sluice itself is printed
    pub(crate) dir: Option<PathBuf>,
}
