//! The way in: connects, learns the cluster's name, makes sure the topics are there, joins the group.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode as Code;
use sluice_schemas::Micros;
use sluice_schemas::position::Positions;

use super::context::{Context, CredentialsProvider, TokenMaker};
use super::fault::{self, Weight, weigh};
use super::iam::Credentials;
use super::security::Security;
use super::settings::KafkaSettings;
use super::source::KafkaSource;
use super::start::Keeper;
use super::unread::Watch;
use crate::committed::Committed;
use crate::source::SourceError;

/// One try to reach a broker.
const TRY: Duration = Duration::from_secs(1);

/// Reads a variable of the environment.
pub(crate) fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

impl KafkaSource {
    /// Joins the group for a caller that keeps the positions: `positions` are those of the last run, `committed` tells what became
    /// durable since.
    ///
    /// For `msk_iam` the credentials are those of the environment; [`Self::connect`] takes others.
    ///
    /// # Errors
    /// Settings that cannot work, brokers that cannot be reached within `connect_wait`, a refused login, an unknown topic.
    pub fn open(settings: KafkaSettings, positions: Positions, committed: Arc<Committed>) -> Result<Self, SourceError> {
        Self::connect(settings, Keeper::Caller, positions, committed, Arc::new(|| Credentials::from_env(&env)))
    }

    /// Joins the group; `keeper` says whose positions are the truth.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn connect(
        settings: KafkaSettings,
        keeper: Keeper,
        positions: Positions,
        committed: Arc<Committed>,
        credentials: CredentialsProvider,
    ) -> Result<Self, SourceError> {
        let brokers = resource(&settings);
        let config = settings.consumer(&env).map_err(|problem| fault::misconfigured(brokers.clone(), problem, None))?;
        let context = Context::new(token_maker(&settings.security, credentials));
        let consumer: BaseConsumer<Context> = client_config(&config).create_with_context(context).map_err(|error| {
            let problem = format!("librdkafka refuses the settings: {error}");
            fault::misconfigured(brokers.clone(), problem, Some(error))
        })?;
        let deadline = Instant::now() + settings.connect_wait;
        for topic in &settings.topics {
            find(&consumer, &settings, topic, deadline)?;
        }
        let cluster = consumer.client().fetch_cluster_id(TRY).unwrap_or_else(|| {
            let mut brokers = settings.brokers.clone();
            brokers.sort();
            brokers.join(",")
        });
        subscribe(&consumer, &settings)?;
        Ok(Self {
            consumer,
            cluster: format!("kafka:{cluster}"),
            settings,
            keeper,
            known: positions,
            committed,
            partitions: BTreeMap::new(),
            pending: VecDeque::new(),
            at_first: BTreeMap::new(),
            shown: BTreeMap::new(),
            resumes: Vec::new(),
            current: (String::new(), -1),
            has_read: false,
            draining: false,
            waiting: 0,
            trouble: None,
            refetch: None,
            tell_at: Micros(0),
            watch: Watch::default(),
            now: Micros(0),
        })
    }
}

/// Joins the group, or does so as soon as it has been left.
pub(super) fn subscribe(consumer: &BaseConsumer<Context>, settings: &KafkaSettings) -> Result<(), SourceError> {
    let topics: Vec<&str> = settings.topics.iter().map(String::as_str).collect();
    consumer.subscribe(&topics).map_err(|error| {
        let problem = format!("cannot subscribe: {error}");
        fault::misconfigured(resource(settings), problem, Some(error))
    })
}

/// Names the brokers for messages.
pub(super) fn resource(settings: &KafkaSettings) -> String {
    format!("kafka {}", settings.brokers.join(","))
}

/// Names what an error is about.
pub(super) fn concerned(settings: &KafkaSettings, code: Code) -> String {
    match code {
        Code::GroupAuthorizationFailed | Code::InvalidGroupId | Code::InconsistentGroupProtocol => {
            format!("kafka group {}", settings.group)
        }
        Code::TopicAuthorizationFailed | Code::UnknownTopicOrPartition => format!("kafka topics {}", settings.topics.join(", ")),
        Code::FencedInstanceId => format!("kafka member {}", settings.group_instance_id.as_deref().unwrap_or_default()),
        _ => resource(settings),
    }
}

/// Returns librdkafka's settings.
pub(crate) fn client_config(all: &BTreeMap<String, String>) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set_log_level(RDKafkaLogLevel::Warning);
    for (key, value) in all {
        config.set(key, value);
    }
    config
}

pub(crate) fn token_maker(security: &Security, provider: CredentialsProvider) -> Option<TokenMaker> {
    match security {
        Security::MskIam { region, .. } => Some(TokenMaker { region: region.clone(), provider }),
        Security::Plaintext | Security::Tls { .. } | Security::Sasl { .. } => None,
    }
}

/// Waits until the cluster tells of the topic.
fn find(consumer: &BaseConsumer<Context>, settings: &KafkaSettings, topic: &str, deadline: Instant) -> Result<(), SourceError> {
    let (brokers, security) = (resource(settings), settings.security.name());
    let mut last = (Code::BrokerTransportFailure, String::new());
    loop {
        let answer = consumer.fetch_metadata(Some(topic), TRY);
        serve(consumer);
        while let Some((code, reason)) = consumer.context().next_error() {
            if weigh(code) == Weight::Lasting {
                return Err(fault::service(concerned(settings, code), code, &reason, security));
            }
            // That all are down says less than why one is.
            if code != Code::AllBrokersDown || last.1.is_empty() {
                last = (code, reason);
            }
        }
        match answer {
            Ok(metadata) => match metadata.topics().first().and_then(|topic| topic.error()) {
                None if metadata.topics().iter().any(|topic| !topic.partitions().is_empty()) => return Ok(()),
                None => last = (Code::UnknownTopicOrPartition, String::new()),
                Some(error) => {
                    let code = Code::from(error);
                    // A topic made a moment ago is unknown to some brokers for another.
                    let fresh =
                        matches!(code, Code::UnknownTopicOrPartition) && Instant::now() + settings.connect_wait < deadline + 3 * TRY;
                    if weigh(code) == Weight::Lasting && !fresh {
                        return Err(fault::service(format!("kafka topic {topic} on {}", settings.brokers.join(",")), code, "", security));
                    }
                    last = (code, String::new());
                }
            },
            Err(error) => {
                if last.1.is_empty() {
                    last.0 = error.rdkafka_error_code().unwrap_or(last.0);
                }
            }
        }
        if Instant::now() >= deadline {
            return Err(fault::service(brokers, last.0, &last.1, security));
        }
    }
}

/// Hears what the client has to tell, its wish for a token too. Nothing is subscribed, so no record comes.
fn serve(consumer: &BaseConsumer<Context>) {
    let until = Instant::now() + Duration::from_millis(50);
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        drop(consumer.poll(left));
    }
}
