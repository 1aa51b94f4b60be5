//! Grammar of the command line.

use std::path::PathBuf;
use std::sync::LazyLock;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::args_who::WhoVerb;

pub(crate) use super::args_hold::{ApproveArgs, HoldArgs, HoldVerb, LeverArgs, LeverVerb, OverrideVerb, PauseArgs, TeardownArgs};
pub(crate) use super::args_simulate::{LayoutArg, ShapeArg, SimulateArgs};
pub(crate) use super::args_tables::{ConfigArgs, ConfigVerb, PriceSource, PricesArgs, PricesVerb, ReferenceFormat};

/// Version, and how it was built: the commit and its day, where the build was told them, and the clients in it.
pub(crate) static VERSION: LazyLock<String> = LazyLock::new(|| {
    let clients = match (cfg!(feature = "aws"), cfg!(feature = "kafka")) {
        (true, true) => "aws kafka",
        (true, false) => "aws",
        (false, true) => "kafka",
        (false, false) => "no clients",
    };
    let commit = option_env!("SLUICE_COMMIT").filter(|commit| !commit.is_empty());
    let built: Vec<&str> = commit.into_iter().chain([clients]).collect();
    format!("{} ({})", env!("CARGO_PKG_VERSION"), built.join(", "))
});

/// Which AI agent and which session spends what on Amazon Bedrock, within seconds, and a stop for the one that goes over its budget.
#[derive(Debug, Parser)]
#[command(name = "sluice", version = VERSION.as_str(), max_term_width = 110)]
pub(crate) struct Cli {
    /// Log more (-v debug, -vv trace)
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub(crate) verbose: u8,
    /// Form of the log on standard error
    #[arg(long, value_enum, default_value_t = LogFormat::Text, global = true)]
    pub(crate) log_format: LogFormat,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// Form of the log.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Form of what a command prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// JSON, amounts as exact decimal strings.
    Json,
    /// Comma-separated values.
    Csv,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Write a first configuration, by questions or by flags
    Init(super::args_init::InitArgs),
    /// Follow the configured sources until stopped: spend, budgets, breaches, lake
    Run(RunArgs),
    /// See it work: simulated agents, live spend, a runaway that is caught; no AWS account, under a minute
    Demo(DemoArgs),
    /// Read logs you already have, once, into a lake, and say what each agent cost
    Replay(ReplayArgs),
    /// Write traffic in the real log formats, with the truth beside it
    Simulate(SimulateArgs),
    /// Ask the lake (and a running daemon's uncommitted rows) in SQL
    Query(QueryArgs),
    /// Show the lake's tables, for people, Athena and the Glue Data Catalog; keep the entries there up to date
    Lake(super::args_lake::LakeArgs),
    /// Take a person's name out of the lake; every sum stays
    Forget(super::args_forget::ForgetArgs),
    /// Watch agents, sessions and budgets of a running daemon
    Top(TopArgs),
    /// Tell whether a running daemon is ready and how far it is; exit code 1 if it is not ready
    Status(StatusArgs),
    /// Tell whether the lake holds every call: against CloudWatch, CloudTrail and the copy of the log
    Coverage(super::args_coverage::CoverageArgs),
    /// Check the whole chain, from the logging configuration to the lever, and say what to fix, with commands to paste
    Doctor(super::args_doctor::DoctorArgs),
    /// Show and test budgets
    Budget(BudgetArgs),
    /// Find agents that loop, snowball or burn more than they usually do
    Runaway(super::args_runaway::RunawayArgs),
    /// Show and release holds
    Hold(HoldArgs),
    /// Check, list and export the audit trail
    Audit(super::args_audit::AuditArgs),
    /// Tell whether an agent may call; make the table that agents elsewhere look at
    Flag(super::args_flag::FlagArgs),
    /// Show the shards of streams; let one that stopped at a gap go on
    Source(SourceArgs),
    /// Hold an agent by hand
    Pause(PauseArgs),
    /// Undo a pause
    Resume(super::args_hold::ResumeArgs),
    /// Approve a hold or a changed budget that waits for a person
    Approve(ApproveArgs),
    /// Show levers and what they hold; the kill switch, the breaker, the check of permissions
    Lever(LeverArgs),
    /// Release every hold, lift every lever, and look that not one stop is left
    Teardown(TeardownArgs),
    /// Show, import and compare prices; rate calls again
    Prices(PricesArgs),
    /// Compare a Cost and Usage Report of AWS with the lake, and explain the difference
    Reconcile(super::args_reconcile::ReconcileArgs),
    #[command(flatten)]
    Who(WhoVerb),
    /// Check and show the configuration
    Config(ConfigArgs),
    /// Write manual pages
    Man(super::args_init::ManArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Where the configuration and the lake are.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Place {
    /// Configuration: a file, s3://BUCKET/KEY, or ssm:/NAME of a parameter
    #[arg(long, short, env = "SLUICE_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<crate::config::Location>,
    /// Root folder of the lake; wins over the configuration
    #[arg(long, value_name = "DIR")]
    pub(crate) lake: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Which part to run
    #[arg(long, value_enum, default_value_t = Role::All)]
    pub(crate) role: Role,
    /// Wait while another process is the ledger of this lake, and take over once it has ended or fallen silent
    #[arg(long)]
    pub(crate) standby: bool,
    /// Folders and files to follow, beside those of the configuration
    pub(crate) paths: Vec<PathBuf>,
}

/// Which part of the pipeline a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Everything, in one process; also the ledger, when a [[source]] is the topic or stream that workers publish to.
    #[value(alias = "ledger")]
    All,
    /// Reads and decodes alone, and publishes to the topic or stream of [relay]; any number may run, also as Lambda functions.
    Worker,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Keep logs and lake in this folder (default: a temporary one, kept as well and named at the end)
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// How long the agents run
    #[arg(long, default_value = "35s", value_parser = crate::config::parse_duration)]
    pub(crate) duration: std::time::Duration,
    /// Plain lines even on a terminal
    #[arg(long)]
    pub(crate) plain: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// Files and folders, s3://BUCKET/PREFIX, logs://GROUP: JSON lines, documents, CloudWatch envelopes, CloudTrail files, gzip or not
    #[arg(required = true)]
    pub(crate) paths: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) place: Place,
    /// Of s3:// and logs://, the first day or moment to fetch, or a time ago: 2026-10-01, 2026-10-01T12:00:00Z, 30d
    #[arg(long, value_name = "WHEN")]
    pub(crate) since: Option<String>,
    /// Of s3:// and logs://, the first day or moment not to fetch
    #[arg(long, value_name = "WHEN")]
    pub(crate) until: Option<String>,
    /// Form of the summary
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
    /// What AWS says of callers, from a file: a JSON list as the table `directory` keeps it
    #[arg(long, value_name = "FILE")]
    pub(crate) directory: Option<PathBuf>,
    /// Carry out the actions of breaches; without it a replay only records them
    #[arg(long)]
    pub(crate) act: bool,
}

#[derive(Debug, Args)]
pub(crate) struct QueryArgs {
    /// One SELECT statement; tables: calls, spend_minute, spend_hour, spend_day, spend_session, rejected, breaches, actions, corrections,
    /// evidence, directory
    #[arg(allow_hyphen_values = true, value_parser = statement)]
    pub(crate) sql: String,
    #[command(flatten)]
    pub(crate) place: Place,
    /// Form of the result
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Print one snapshot and end
    #[arg(long)]
    pub(crate) once: bool,
    /// Form of the snapshot with --once
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Ask the daemon at this socket and read no configuration, as a health check does
    #[arg(long, value_name = "PATH", conflicts_with_all = ["config", "lake"])]
    pub(crate) socket: Option<PathBuf>,
    /// Exit code 0 for any process that works, ready or not: a standby, one that recovers, one that waits for AWS
    #[arg(long)]
    pub(crate) live: bool,
    /// Form of the status
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct BudgetArgs {
    #[command(subcommand)]
    pub(crate) verb: BudgetVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BudgetVerb {
    /// Every counter: spent, limit, projection, what has fired
    List(BudgetListArgs),
    /// End with exit code 1 if any budget is over its limit now
    Check(BudgetListArgs),
    /// Run budgets over the stored history: what would have fired, when, what it would have saved
    Backtest(BacktestArgs),
    /// Exceptions with an end: no holds for a while, or more budget
    #[command(subcommand)]
    Override(OverrideVerb),
    /// Compare this way of watching a budget with the usual ones, on the same calls: overshoot and calls refused wrongly
    Simulate(super::args_simulate_budget::SimulateBudgetArgs),
}

#[derive(Debug, Args)]
pub(crate) struct BudgetListArgs {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Form of the result
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct BacktestArgs {
    #[command(flatten)]
    pub(crate) place: Place,
    /// File with [[budget]] entries to try instead of the configured ones
    #[arg(long, value_name = "FILE")]
    pub(crate) budgets: Option<PathBuf>,
    /// First event time (default: all history)
    #[arg(long)]
    pub(crate) since: Option<sluice_schemas::Micros>,
    /// Event time to stop before
    #[arg(long)]
    pub(crate) until: Option<sluice_schemas::Micros>,
    /// Form of the report
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct SourceArgs {
    #[command(subcommand)]
    pub(crate) verb: SourceVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SourceVerb {
    /// Every shard of a running daemon: what it does, how far behind it is, how long its records are kept
    List(BudgetListArgs),
    /// Go on behind the gap at which a shard stopped, best after the gap was backfilled with replay
    Resume {
        /// The shard, as listed
        shard: String,
        #[command(flatten)]
        reason: Reason,
        #[command(flatten)]
        place: Place,
    },
}

/// Who orders something, and why.
#[derive(Clone, Debug, Args)]
pub(crate) struct Reason {
    /// Why, for the record
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
    /// Who, for the record
    #[arg(long, env = "USER", default_value = "unknown")]
    pub(crate) actor: String,
}

/// Takes an SQL statement. It may begin with a comment, `-- …`; one word of that form is an option that nobody knows.
fn statement(text: &str) -> Result<String, String> {
    let is_option = text.starts_with('-') && !text.contains(char::is_whitespace);
    if is_option { Err("there is no such option, and it is no SQL".to_owned()) } else { Ok(text.to_owned()) }
}

impl Place {
    /// Returns where the configuration comes from.
    pub(crate) fn origin(&self) -> crate::config::Origin {
        let default = std::path::Path::new("sluice.toml");
        let named = self.config.clone();
        // A lake named on the command line stands alone: no file is looked for.
        let file = named.or_else(|| (self.lake.is_none() && default.exists()).then(|| default.to_owned().into()));
        crate::config::Origin { file, lake: self.lake.clone() }
    }

    /// Returns how to call it in a message.
    pub(crate) fn name(&self) -> String {
        self.origin().file.map_or_else(|| "configuration".to_owned(), |file| file.to_string())
    }
}

impl Format {
    /// Returns its word.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Json => "json",
            Self::Csv => "csv",
        }
    }
}
