//! Puts workers' messages on a topic: idempotent, acknowledged by every replica in sync, in order for each shard.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use serde::Deserialize;
use sluice_schemas::ErrorClass;

use super::connect::{client_config, env, token_maker};
use super::context::{CredentialsProvider, TokenMaker, generate, log};
use super::fault;
use super::security::Security;
use super::settings::{KafkaSettings, SettingsError};
use crate::relay::worker::PublishError;
use crate::source::SourceError;
use crate::units::parse_bytes;

/// Where workers publish, as it stands in the file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    brokers: Vec<String>,
    topic: String,
    #[serde(default)]
    security: Security,
    #[serde(default = "a_megabyte")]
    max_message: String,
    #[serde(default)]
    properties: BTreeMap<String, String>,
}

fn a_megabyte() -> String {
    "1000000B".to_owned()
}

/// Where workers publish.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Raw")]
pub struct RelayTopic {
    /// `host:port` of some brokers.
    pub brokers: Vec<String>,
    /// The topic. Its number of partitions must stay while workers run: the order of a shard's messages depends on it.
    pub topic: String,
    /// How brokers are reached.
    pub security: Security,
    /// Largest message; no more than the topic's `max.message.bytes`.
    pub max_message: usize,
    connection: KafkaSettings,
}

/// Settings of librdkafka that this producer gives itself.
const RESERVED: [&str; 8] = [
    "acks",
    "request.required.acks",
    "enable.idempotence",
    "max.in.flight.requests.per.connection",
    "partitioner",
    "transactional.id",
    "delivery.timeout.ms",
    "message.timeout.ms",
];

impl TryFrom<Raw> for RelayTopic {
    type Error = SettingsError;

    fn try_from(raw: Raw) -> Result<Self, SettingsError> {
        let mut faults: Vec<String> = Vec::new();
        let max_message = parse_bytes("max_message", &raw.max_message).unwrap_or_else(|fault| {
            faults.push(fault);
            0
        });
        if faults.is_empty() && !(16 << 10..=64 << 20).contains(&max_message) {
            faults.push(format!("max_message is {max_message} bytes: choose between 16KiB and 64MiB"));
        }
        let reserved = raw.properties.keys().filter(|key| RESERVED.contains(&key.as_str()));
        faults.extend(reserved.map(|key| format!("properties: '{key}' cannot be set: messages would be lost or come out of order")));
        match KafkaSettings::for_producer(raw.brokers, raw.topic, raw.security, raw.properties) {
            Ok(connection) if faults.is_empty() => Ok(Self {
                brokers: connection.brokers.clone(),
                topic: connection.topics.concat(),
                security: connection.security.clone(),
                max_message: usize::try_from(max_message).unwrap_or(usize::MAX),
                connection,
            }),
            Ok(_) => Err(SettingsError { faults }),
            Err(error) => Err(SettingsError { faults: [faults, error.faults].concat() }),
        }
    }
}

/// Notes what became of messages.
struct Deliveries {
    tokens: Option<TokenMaker>,
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    done: usize,
    failed: Option<KafkaError>,
    /// The last thing librdkafka complained of.
    said: String,
}

impl Deliveries {
    fn told<T>(&self, with: impl FnOnce(&mut Told) -> T) -> T {
        with(&mut self.told.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ClientContext for Deliveries {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() != Some(Code::AllBrokersDown) {
            self.told(|told| reason.clone_into(&mut told.said));
        }
    }

    fn generate_oauth_token(&self, _config: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        generate(self.tokens.as_ref())
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        self.told(|told| {
            told.done += 1;
            if let Err((error, _)) = result {
                told.failed.get_or_insert_with(|| error.clone());
            }
        });
    }
}

/// Publishes messages on a topic.
pub struct KafkaRelay {
    settings: RelayTopic,
    /// Longest wait for an acknowledgement, retries included.
    patience: Duration,
    credentials: CredentialsProvider,
    producer: BaseProducer<Deliveries>,
}

impl KafkaRelay {
    /// Makes a producer that gives a message up after `patience`; it connects when the first one is published.
    ///
    /// # Errors
    /// Settings that cannot work.
    pub fn open(settings: RelayTopic, patience: Duration, credentials: CredentialsProvider) -> Result<Self, SourceError> {
        let producer = producer(&settings, patience, Arc::clone(&credentials))?;
        Ok(Self { settings, patience, credentials, producer })
    }

    /// Publishes messages of one shard, in order, and returns once all in-sync replicas have them.
    ///
    /// # Errors
    /// When one was not acknowledged; all of them may then be published again.
    pub fn publish(&mut self, shard: &str, messages: &[Vec<u8>]) -> Result<(), PublishError> {
        if self.producer.client().fatal_error().is_some() {
            // After a fatal error an idempotent producer refuses everything; a new one begins anew.
            self.producer = producer(&self.settings, self.patience, Arc::clone(&self.credentials))
                .map_err(|error| self.error(error.to_string(), error.class()))?;
        }
        let deliveries = Arc::clone(self.producer.context());
        deliveries.told(|told| (told.done, told.failed) = (0, None));
        let mut sent = 0;
        for message in messages {
            match self.send(shard, message) {
                Ok(()) => sent += 1,
                Err(error) => {
                    self.settle(sent, &deliveries);
                    return Err(self.refused(&error, message.len(), &deliveries));
                }
            }
        }
        self.settle(sent, &deliveries);
        match deliveries.told(|told| told.failed.take()) {
            Some(error) => Err(self.refused(&error, messages.iter().map(Vec::len).max().unwrap_or(0), &deliveries)),
            None if deliveries.told(|told| told.done) < sent => {
                Err(self.error("messages were not acknowledged".to_owned(), ErrorClass::Transient))
            }
            None => Ok(()),
        }
    }

    fn send(&self, shard: &str, message: &[u8]) -> Result<(), KafkaError> {
        let until = Instant::now() + self.patience;
        let mut record = BaseRecord::to(&self.settings.topic).key(shard).payload(message);
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((error, back)) => {
                    if error.rdkafka_error_code() != Some(Code::QueueFull) || Instant::now() > until {
                        return Err(error);
                    }
                    record = back;
                    self.producer.poll(Duration::from_millis(20));
                }
            }
        }
    }

    /// Waits until something became of each message; librdkafka gives up on one when the patience is over.
    fn settle(&self, sent: usize, deliveries: &Deliveries) {
        let until = Instant::now() + self.patience + Duration::from_secs(10);
        while deliveries.told(|told| told.done) < sent && Instant::now() < until {
            self.producer.poll(Duration::from_millis(50));
        }
    }

    fn refused(&self, error: &KafkaError, bytes: usize, deliveries: &Deliveries) -> PublishError {
        let (mut problem, class) = match error.rdkafka_error_code() {
            Some(Code::MessageSizeTooLarge) => (
                format!("a message of {bytes} bytes is larger than the topic takes: raise its max.message.bytes, or lower max_message"),
                ErrorClass::Misconfigured,
            ),
            Some(Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed) => {
                ("not allowed to write: grant Write and Describe on the topic and IdempotentWrite".to_owned(), ErrorClass::Misconfigured)
            }
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => {
                ("there is no such topic: create it".to_owned(), ErrorClass::Misconfigured)
            }
            _ => (error.to_string(), ErrorClass::Transient),
        };
        let said = deliveries.told(|told| std::mem::take(&mut told.said));
        if !said.is_empty() {
            problem = format!("{problem} ({said})");
        }
        self.error(problem, class)
    }

    fn error(&self, problem: String, class: ErrorClass) -> PublishError {
        PublishError { resource: format!("kafka topic {} on {}", self.settings.topic, self.settings.brokers.join(",")), problem, class }
    }
}

fn producer(settings: &RelayTopic, patience: Duration, credentials: CredentialsProvider) -> Result<BaseProducer<Deliveries>, SourceError> {
    let resource = format!("kafka {}", settings.brokers.join(","));
    let mut all = settings.connection.connection(&env).map_err(|problem| fault::misconfigured(resource.clone(), problem, None))?;
    // A single call that is larger than a message should be is still tried: the topic decides.
    let largest = (settings.max_message * 2).max(16 << 20);
    let fixed = [
        ("enable.idempotence", "true".to_owned()),
        ("acks", "all".to_owned()),
        ("compression.type", "lz4".to_owned()),
        ("linger.ms", "5".to_owned()),
        ("partitioner", "murmur2_random".to_owned()),
        ("message.max.bytes", largest.to_string()),
        ("delivery.timeout.ms", patience.as_millis().to_string()),
    ];
    all.extend(fixed.map(|(key, value)| (key.to_owned(), value)));
    all.extend(settings.connection.properties.clone());
    let deliveries = Deliveries { tokens: token_maker(&settings.security, credentials), told: Mutex::default() };
    BaseProducer::from_config_and_context(&client_config(&all), deliveries).map_err(|error| {
        let problem = format!("librdkafka refuses the settings: {error}");
        fault::misconfigured(resource, problem, Some(error))
    })
}
