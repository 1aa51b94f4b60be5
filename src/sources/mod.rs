//! The configured sources: each `[[source]]` opened by its stage, all of them read as one.
//!
//! Owns: which kinds there are in this build, and the runtime their clients live on. Does not own: what a kind reads and how.

pub(crate) mod bodies;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "aws")]
mod kinesis;
#[cfg(feature = "aws")]
mod logs;
#[cfg(feature = "aws")]
mod offload;
pub(crate) mod relay;
mod remote;
#[cfg(feature = "aws")]
mod s3;

use std::fmt;
use std::sync::Arc;

use sluice_ingest::accept::Accepting;
use sluice_ingest::committed::Committed;
use sluice_ingest::decode::Accepts;
use sluice_ingest::merge::{Merged, Named};
use sluice_ingest::source::{Source, SourceError};
use sluice_schemas::Clock;
use sluice_schemas::position::Positions;
#[cfg(feature = "aws")]
use tokio::runtime::Handle;

pub(crate) use remote::{Parted, Stretch, part};

/// Kinds of sources and the feature of the build each needs.
const KINDS: [(&str, &str); 4] = [("kinesis", "aws"), ("s3", "aws"), ("logs", "aws"), ("kafka", "kafka")];
/// Threads that carry out calls of clients: they wait far more than they work.
#[cfg(feature = "aws")]
const CLIENT_THREADS: usize = 2;

/// A source that passed every check and is not opened yet.
pub(crate) trait Configured: fmt::Debug + Send + Sync {
    /// Returns its name for messages.
    fn name(&self) -> String;

    /// Returns what it reads, for whoever checks that this is there.
    fn parts(&self) -> Vec<Part> {
        vec![Part::Other]
    }

    /// Tells whether what it names is looked through again at every start: then the position of each thing is kept for ever.
    fn lists_again(&self) -> bool {
        false
    }

    /// Opens it.
    ///
    /// # Errors
    /// What is wrong with the service or with what it was told, and what to do.
    fn open(&self, opening: &Opening<'_>) -> Result<Box<dyn Source>, SourceError>;
}

/// Something that a source reads, and how AWS is reached for it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "aws"), expect(dead_code, reason = "a build without clients reads none of these"))]
pub(crate) enum Part {
    /// A Kinesis stream, by name or ARN.
    Stream { name: String, region: Option<String>, endpoint: Option<String>, profile: Option<String> },
    /// A prefix of a bucket, as `s3://BUCKET/PREFIX`.
    Objects { url: String, region: Option<String>, endpoint: Option<String>, profile: Option<String> },
    /// An SQS queue, by its URL.
    Queue { url: String, region: Option<String>, endpoint: Option<String>, profile: Option<String> },
    /// Something that is not asked about.
    Other,
}

/// What every source is opened with.
#[cfg_attr(not(feature = "aws"), expect(dead_code, reason = "a build without clients opens nothing"))]
pub(crate) struct Opening<'a> {
    /// Where the last run ended.
    pub(crate) positions: &'a Positions,
    /// What is durable.
    pub(crate) committed: &'a Arc<Committed>,
    /// The time.
    pub(crate) clock: &'a Arc<dyn Clock>,
    /// Where clients make their calls.
    pub(crate) clients: &'a Clients,
    /// Who keeps the positions.
    pub(crate) keeping: Keeping,
}

/// Who keeps the positions of what was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeping {
    /// The ledger: they are handed in.
    Ledger,
    /// The source itself: several stateless workers share it.
    #[cfg_attr(not(any(feature = "aws", feature = "kafka")), expect(dead_code, reason = "a build without clients has no workers"))]
    Group,
}

/// Refuses a source whose parts several workers cannot share.
#[cfg(feature = "aws")]
fn not_shared(name: String, fix: &str) -> SourceError {
    SourceError::Service {
        resource: name,
        problem: "several workers cannot share it".to_owned(),
        fix: fix.to_owned(),
        class: sluice_schemas::ErrorClass::Misconfigured,
        source: None,
    }
}

/// The threads on which clients make their calls, started for the first that needs them; sources need them as long as they live.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    #[cfg(feature = "aws")]
    runtime: std::sync::OnceLock<tokio::runtime::Runtime>,
}

#[cfg(feature = "aws")]
impl Clients {
    /// Returns where calls are made.
    ///
    /// # Errors
    /// The system refused a thread.
    pub(crate) fn runtime(&self) -> Result<&Handle, SourceError> {
        if let Some(runtime) = self.runtime.get() {
            return Ok(runtime.handle());
        }
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let built = builder.worker_threads(CLIENT_THREADS).thread_name("client").enable_all().build();
        let built = built.map_err(|source| SourceError::Service {
            resource: "the clients of services".to_owned(),
            problem: "the system gives them no thread".to_owned(),
            fix: "raise the limit of threads".to_owned(),
            class: sluice_schemas::ErrorClass::Misconfigured,
            source: Some(Box::new(source)),
        })?;
        Ok(self.runtime.get_or_init(|| built).handle())
    }
}

/// Checks one `[[source]]`.
///
/// # Errors
/// Sentences for people.
pub(crate) fn parse(mut table: toml::Table) -> Result<Arc<dyn Configured>, Vec<String>> {
    let own = ["accounts", "regions"].into_iter().filter_map(|key| table.remove_entry(key));
    let accepts: Accepts = toml::Table::from_iter(own).try_into().map_err(|error| told(&error))?;
    let source = parse_kind(table);
    let faults: Vec<String> = accepts.faults().into_iter().chain(source.as_ref().err().into_iter().flatten().cloned()).collect();
    match source {
        Ok(source) if faults.is_empty() && accepts.takes_all() => Ok(source),
        Ok(source) if faults.is_empty() => Ok(Arc::new(Limited { source, accepts: Arc::new(accepts) })),
        _ => Err(faults),
    }
}

/// A source of which some accounts and regions are taken.
#[derive(Debug)]
struct Limited {
    source: Arc<dyn Configured>,
    accepts: Arc<Accepts>,
}

impl Configured for Limited {
    fn name(&self) -> String {
        self.source.name()
    }

    fn parts(&self) -> Vec<Part> {
        self.source.parts()
    }

    fn open(&self, opening: &Opening<'_>) -> Result<Box<dyn Source>, SourceError> {
        Ok(Box::new(Accepting::new(self.source.open(opening)?, Arc::clone(&self.accepts))))
    }
}

fn parse_kind(mut table: toml::Table) -> Result<Arc<dyn Configured>, Vec<String>> {
    let kinds = || KINDS.map(|(kind, _)| kind).join(", ");
    let Some(toml::Value::String(kind)) = table.remove("kind") else {
        return Err(vec![format!("kind is missing: one of {}", kinds())]);
    };
    match kind.as_str() {
        #[cfg(feature = "aws")]
        "kinesis" => kinesis::parse(table),
        #[cfg(feature = "aws")]
        "s3" => s3::parse(table),
        #[cfg(feature = "aws")]
        "logs" => logs::parse(table),
        #[cfg(feature = "kafka")]
        "kafka" => kafka::parse(table),
        kind => Err(vec![match KINDS.iter().find(|(name, _)| *name == kind) {
            Some((_, feature)) => format!("this build cannot read '{kind}': build it with --features {feature}"),
            None => format!("kind '{kind}' is none of {}", kinds()),
        }]),
    }
}

/// What is known of offloaded bodies: nothing, or where they may be fetched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OffloadConfig {
    #[cfg(feature = "aws")]
    settings: Option<offload::OffloadSettings>,
}

impl OffloadConfig {
    /// Checks `[offload]`.
    ///
    /// # Errors
    /// Sentences for people.
    #[cfg(feature = "aws")]
    pub(crate) fn parse(table: toml::Table) -> Result<Self, Vec<String>> {
        Ok(Self { settings: Some(offload::parse(table)?) })
    }

    /// Says which build fetches bodies.
    ///
    /// # Errors
    /// Always: this build does not.
    #[cfg(not(feature = "aws"))]
    pub(crate) fn parse(_table: toml::Table) -> Result<Self, Vec<String>> {
        Err(vec!["this build cannot fetch bodies: build it with --features aws".to_owned()])
    }

    /// Opens the fetcher, if there is one to open.
    ///
    /// # Errors
    /// AWS cannot be reached as configured.
    #[cfg(feature = "aws")]
    pub(crate) fn open(&self, clients: &Clients) -> Result<Option<Arc<dyn bodies::Bodies>>, SourceError> {
        self.settings.as_ref().map(|settings| offload::open(settings, clients.runtime()?)).transpose()
    }

    /// Opens nothing.
    ///
    /// # Errors
    /// None.
    #[cfg(not(feature = "aws"))]
    pub(crate) fn open(&self, _clients: &Clients) -> Result<Option<Arc<dyn bodies::Bodies>>, SourceError> {
        Ok(None)
    }
}

/// Says what TOML found wrong, on one line.
fn told(error: &toml::de::Error) -> Vec<String> {
    vec![error.to_string().trim_end().replace('\n', " ")]
}

/// Opens the configured sources beside those that are open already.
///
/// # Errors
/// As [`Configured::open`]; the system refused a thread.
pub(crate) fn open(mut sources: Vec<Named>, configured: &[Arc<dyn Configured>], opening: &Opening<'_>) -> anyhow::Result<Box<dyn Source>> {
    for config in configured {
        sources.push(Named { name: config.name(), source: config.open(opening)? });
    }
    Ok(match sources.len() {
        1 => sources.remove(0).source,
        _ => Box::new(Merged::open(sources, opening.clock)?),
    })
}

#[cfg(test)]
mod tests {
    use super::parse;

    fn faults(text: &str) -> Vec<String> {
        parse(text.parse().unwrap()).unwrap_err()
    }

    #[test]
    fn a_kind_is_asked_for_and_explained() {
        assert!(faults("streams = ['a']")[0].contains("kinesis, s3, logs, kafka"));
        assert!(faults("kind = 'pubsub'")[0].contains("'pubsub' is none of"));
    }

    #[cfg(not(feature = "aws"))]
    #[test]
    fn a_build_without_a_client_names_the_feature() {
        assert_eq!(faults("kind = 'kinesis'\nstreams = ['a']"), ["this build cannot read 'kinesis': build it with --features aws"]);
    }

    #[cfg(feature = "kafka")]
    #[test]
    fn a_source_may_be_limited_to_accounts_and_regions() {
        let source =
            |more: &str| parse(format!("kind = 'kafka'\nbrokers = ['b:9092']\ntopics = ['t']\ngroup = 'g'\n{more}").parse().unwrap());
        assert!(source("accounts = ['111122223333']\nregions = ['eu-central-1']").is_ok());
        assert!(source("accounts = ['prod']").unwrap_err()[0].contains("'prod'"));
        assert_eq!(source("accounts = [1]\ngroups = 1").unwrap_err().len(), 1);
    }

    #[cfg(feature = "aws")]
    #[test]
    fn settings_are_checked_when_they_are_read() {
        assert!(parse("kind = 'kinesis'\nstreams = ['bedrock-logs']".parse().unwrap()).is_ok());
        assert!(faults("kind = 'kinesis'\nstreams = []")[0].contains("'streams' is empty"));
        assert!(faults("kind = 's3'\nbucket = 'x'")[0].contains("unknown field"));
    }
}
