//! The configuration: read from a file, S3 or the Parameter Store, overridden from the environment, checked as a whole.
//!
//! Owns: sections of the root and how stages' own sections are cut out of the file. Does not own: what a stage accepts in
//! its section. Values carry units (`"30s"`, `"64MiB"`, `"25.00 USD"`); unknown keys are faults, and all faults are told at once.

mod cloudtrail;
mod duration;
mod flags;
mod include;
mod location;
mod notify;
mod overrides;
mod paths;
mod personal;
mod prices;
mod raw;
mod reader;
pub(crate) mod reference;
mod retention;
mod shared;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sluice_enforce::Budgets;
use sluice_enrich::agents::AgentsFile;
use sluice_enrich::config::EnrichConfig;
use sluice_enrich::rules::Rules;
use sluice_ingest::decode::{Accepts, Intake};
use sluice_schemas::visible::escape_lines;

use crate::coverage::CoverageConfig;
use crate::directory::DirectoryConfig;
use crate::enforcement::EnforceConfig;
use crate::operate::OperateConfig;
use crate::sources::relay::RelayConfig;
use crate::sources::{Configured, OffloadConfig};
use crate::tables::GlueDatabase;

pub(crate) use cloudtrail::CloudTrailConfig;
pub(crate) use duration::parse_duration;
pub(crate) use flags::FlagsTable;
pub(crate) use location::Location;
pub(crate) use notify::{NotifyConfig, NotifyTo};
pub(crate) use prices::PriceFile;
pub(crate) use raw::REFERENCE;
pub(crate) use reader::{Edition, Reader};
pub(crate) use retention::Retention;
pub(crate) use shared::SharedPlace;
pub(crate) use watch::{ConfigMeasure, ConfigWatch, Reloader};

/// A configuration that passed every check.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Root folder of the lake.
    pub(crate) lake: PathBuf,
    /// Database of the Glue Data Catalog whose entries the daemon keeps in step with the lake.
    pub(crate) glue: Option<GlueDatabase>,
    /// Longest time between two lake commits.
    pub(crate) commit_interval: Duration,
    /// Local state file.
    pub(crate) state: PathBuf,
    /// Place of fire ids, holds and approvals: must survive the loss of `state`.
    pub(crate) shared: SharedPlace,
    /// Folders and files to follow.
    pub(crate) paths: Vec<PathBuf>,
    /// Streams, topics and buckets to follow.
    pub(crate) sources: Vec<Arc<dyn Configured>>,
    /// What is taken in, from whatever source, and how.
    pub(crate) intake: Arc<Intake>,
    /// What stands before names of people without being part of them.
    pub(crate) prefixes: Vec<String>,
    /// How long rows are kept.
    pub(crate) retention: Retention,
    /// Where bodies of calls may be fetched that the log only points to.
    pub(crate) offload: OffloadConfig,
    /// Where workers publish.
    #[cfg_attr(not(any(feature = "aws", feature = "kafka")), expect(dead_code, reason = "a build without clients has no workers"))]
    pub(crate) relay: Option<RelayConfig>,
    /// Accounts and regions that a worker takes records of which is handed them and has no source of its own; any without it.
    #[cfg_attr(not(feature = "aws"), expect(dead_code, reason = "a build without the AWS clients is no Lambda function"))]
    pub(crate) worker: Option<Arc<Accepts>>,
    /// How often followed folders are looked at.
    pub(crate) poll_interval: Duration,
    /// What is done with CloudTrail events.
    pub(crate) cloudtrail: CloudTrailConfig,
    /// Metadata keys, profile aliases and discounts.
    pub(crate) enrich: EnrichConfig,
    /// Registered agents.
    pub(crate) agents: AgentsFile,
    /// Rules that tell agents from an account's own names.
    pub(crate) rules: Arc<Rules>,
    /// Own prices, laid over the built-in ones.
    pub(crate) prices_file: Option<PriceFile>,
    /// Budgets.
    pub(crate) budgets: Budgets,
    /// Rules of runaway detection.
    pub(crate) runaway: sluice_enforce::runaway::Rules,
    /// User-declared windows: name and SQL.
    pub(crate) windows: Vec<(String, String)>,
    /// Where breaches are appended as JSON lines.
    pub(crate) breaches_file: PathBuf,
    /// Where breaches are posted.
    pub(crate) webhook: Option<String>,
    /// Levers, caps, who is never stopped.
    pub(crate) enforce: EnforceConfig,
    /// Table of the rows that agents elsewhere look at.
    pub(crate) flags: Option<FlagsTable>,
    /// Who else is told.
    pub(crate) notify: Vec<NotifyConfig>,
    /// Unix socket of the daemon.
    pub(crate) socket: PathBuf,
    /// How often a daemon looks whether there is a new version; never when zero.
    pub(crate) refresh: Duration,
    /// Whether an order in a shared table is carried out only with proof of its giver.
    pub(crate) prove_actor: bool,
    /// Decode threads.
    pub(crate) workers: usize,
    /// Health, metrics, exports, drain.
    pub(crate) operate: OperateConfig,
    /// Checks of completeness.
    pub(crate) coverage: CoverageConfig,
    /// What AWS is asked about callers.
    pub(crate) directory: DirectoryConfig,
    /// Where the configuration came from, for messages and reload.
    pub(crate) origin: Origin,
    /// What it was read from.
    pub(crate) edition: Edition,
}

/// Where a configuration came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The file, object or parameter, if there is one.
    pub(crate) file: Option<Location>,
    /// Lake named on the command line.
    pub(crate) lake: Option<PathBuf>,
}

/// Everything that is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
#[error("{} in the configuration{}:\n{}", count(faults.len()), place(origin), list(faults))]
pub(crate) struct ConfigError {
    /// Where it came from.
    pub(crate) origin: Box<Origin>,
    /// One line each.
    pub(crate) faults: Vec<String>,
    /// What was read of it.
    pub(crate) edition: Edition,
    /// Whether a part of it could not be read, so that nothing is known of the whole.
    pub(crate) is_unread: bool,
}

fn count(faults: usize) -> String {
    if faults == 1 { "1 fault".to_owned() } else { format!("{faults} faults") }
}

fn place(origin: &Origin) -> String {
    origin.file.as_ref().map(|file| if file.is_remote() { format!(" {file}") } else { format!(" file {file}") }).unwrap_or_default()
}

fn list(faults: &[String]) -> String {
    // Names in them are of whoever wrote the file; a line end in one must not pass for the next fault.
    faults.iter().map(|fault| format!("  - {}", escape_lines(fault).replace('\n', "\n    "))).collect::<Vec<_>>().join("\n")
}

impl Config {
    /// Reads what the origin names with all that it includes, applies `SLUICE__SECTION__KEY` overrides and the lake of the command
    /// line, and checks everything.
    ///
    /// # Errors
    /// All faults at once.
    pub(crate) fn load(origin: &Origin) -> Result<Self, ConfigError> {
        Self::load_with(origin, &mut Reader::default())
    }

    /// As [`Config::load`], with a reader that is kept for the next time.
    ///
    /// # Errors
    /// All faults at once.
    pub(crate) fn load_with(origin: &Origin, reader: &mut Reader) -> Result<Self, ConfigError> {
        let mut faults = Vec::new();
        reader.begin();
        let table = match &origin.file {
            Some(file) => include::gather(file, reader, &mut faults),
            None => Some(toml::Table::new()),
        };
        let config = table.and_then(|table| Self::check(table, origin, reader, &mut faults));
        let edition = reader.edition().clone();
        match config {
            Some(config) if faults.is_empty() => Ok(Self { edition, ..config }),
            _ => Err(ConfigError { origin: Box::new(origin.clone()), faults, edition, is_unread: reader.has_failed() }),
        }
    }

    fn check(mut table: toml::Table, origin: &Origin, reader: &mut Reader, faults: &mut Vec<String>) -> Option<Self> {
        overrides::apply(&mut table, std::env::vars()).map_err(|fault| faults.push(fault)).ok()?;
        if let Some(place) = origin.file.as_ref().filter(|place| place.is_remote()) {
            paths::refuse_relative(&mut table, place, faults);
        }
        raw::validate(table, origin, reader, faults)
    }
}

impl Config {
    /// Returns the keys in which another configuration differs and that a daemon reads at its start alone.
    pub(crate) fn fixed_changes(&self, other: &Self) -> Vec<&'static str> {
        let fixed = [
            ("lake.path", self.lake != other.lake),
            ("lake.glue_database", self.glue != other.glue),
            ("lake.state", self.state != other.state),
            ("lake.shared", self.shared != other.shared),
            ("files", self.paths != other.paths || self.workers != other.workers || self.poll_interval != other.poll_interval),
            ("control.socket", self.socket != other.socket),
            ("source", format!("{:?}", self.sources) != format!("{:?}", other.sources)),
            ("offload", self.offload != other.offload),
            ("allow", self.intake.allowed != other.intake.allowed),
            ("personal", self.intake.pseudonyms != other.intake.pseudonyms),
            ("window", self.windows != other.windows),
            ("cloudtrail", self.cloudtrail != other.cloudtrail),
            ("directory", self.directory != other.directory),
            ("operate", self.operate != other.operate),
            ("coverage", self.coverage != other.coverage),
            ("enforce", self.enforce != other.enforce || self.breaches_file != other.breaches_file || self.webhook != other.webhook),
            ("flags", self.flags != other.flags),
            ("notify", self.notify != other.notify),
        ];
        fixed.iter().filter(|(_, changed)| *changed).map(|(key, _)| *key).collect()
    }

    /// Returns what the configuration comes to, for people.
    pub(crate) fn show(&self) -> String {
        let paths: Vec<String> = self.paths.iter().map(|path| path.display().to_string()).collect();
        let mut text: String = self.edition.documents.iter().map(|document| format!("configuration    {document}\n")).collect();
        text += &format!("lake             {}\n", self.lake.display());
        if let Some(glue) = &self.glue {
            text += &format!("glue database    {glue}\n");
        }
        text += &format!("commit interval  {:?}\n", self.commit_interval);
        text += &format!("local state      {}\n", self.state.display());
        text += &format!("shared store     {}\n", self.shared);
        text += &format!("follows          {}\n", if paths.is_empty() { "nothing".to_owned() } else { paths.join(", ") });
        for source in &self.sources {
            text += &format!("source           {}\n", source.name());
        }
        text += &format!("poll interval    {:?}\n", self.poll_interval);
        text += &format!("workers          {}\n", self.workers);
        text += &format!("agents           {}\n", self.agents.agents().count());
        text += &format!("rules            {}\n", self.rules.names().len());
        text += &format!("breaches file    {}\n", self.breaches_file.display());
        text += &format!("webhook          {}\n", self.webhook.as_deref().unwrap_or("none"));
        let levers: Vec<&str> = self.enforce.levers.iter().map(|lever| lever.as_str()).collect();
        text +=
            &format!("levers           {}\n", if levers.is_empty() { "none: holds are recorded".to_owned() } else { levers.join(", ") });
        for notify in &self.notify {
            text += &format!("told             {}\n", notify.to);
        }
        text += &format!("control socket   {}\n", self.socket.display());
        let refresh = if self.refresh.is_zero() { "never".to_owned() } else { format!("every {:?}", self.refresh) };
        text += &format!("looked for anew  {refresh}\n");
        if self.shared.table().is_some() {
            let word = if self.prove_actor { "proven by STS" } else { "as the order says" };
            text += &format!("giver of an order {word}\n");
        }
        let listen = self.operate.listen.map_or_else(|| "nowhere".to_owned(), |address| address.to_string());
        text += &format!("health, metrics  {listen}\n");
        text += &format!("drain            {:?}\n", self.operate.drain);
        for budget in self.budgets.iter() {
            text += &format!("budget           {}\n", budget.name);
        }
        for (name, sql) in &self.windows {
            text += &format!("window           {name}: {sql}\n");
        }
        text
    }
}
