//! What librdkafka tells: partitions that come and go, errors, statistics, logs, and its wish for a token.

use std::collections::{HashMap, VecDeque};
use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;
use sluice_schemas::{Clock, SystemClock};

use super::iam::{self, Credentials, CredentialsError};
use super::partition::Key;

/// Gives the AWS credentials of the moment.
pub type CredentialsProvider = Arc<dyn Fn() -> Result<Credentials, CredentialsError> + Send + Sync>;

/// Most errors kept until they are looked at.
const MAX_ERRORS: usize = 64;

/// A change of the assignment that waits to be carried out.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// Partitions come.
    Assign(TopicPartitionList),
    /// Partitions go; `lost` when the group has given them to others already.
    Revoke { list: TopicPartitionList, lost: bool },
}

/// What the statistics tell of a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks {
    /// Oldest offset there is.
    pub(super) low: i64,
    /// First offset that cannot be read yet.
    pub(super) end: i64,
    /// Next offset to fetch.
    pub(super) fetch: i64,
    /// Records fetched and not yet taken.
    pub(super) queued: i64,
}

/// Makes tokens for Amazon MSK.
pub(super) struct TokenMaker {
    pub(super) region: String,
    pub(super) provider: CredentialsProvider,
}

/// Receives what librdkafka tells.
#[derive(Default)]
pub(super) struct Context {
    tokens: Option<TokenMaker>,
    pub(super) closing: AtomicBool,
    changes: Mutex<VecDeque<Change>>,
    errors: Mutex<VecDeque<(RDKafkaErrorCode, String)>>,
    marks: Mutex<HashMap<Key, Marks>>,
    connected: AtomicBool,
    uncommitted: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Context {
    pub(super) fn new(tokens: Option<TokenMaker>) -> Self {
        Self { tokens, ..Self::default() }
    }

    pub(super) fn next_change(&self) -> Option<Change> {
        lock(&self.changes).pop_front()
    }

    pub(super) fn next_error(&self) -> Option<(RDKafkaErrorCode, String)> {
        lock(&self.errors).pop_front()
    }

    pub(super) fn marks(&self, key: &Key) -> Option<Marks> {
        lock(&self.marks).get(key).copied()
    }

    /// Tells whether a connection stood since the last call.
    pub(super) fn was_connected(&self) -> bool {
        self.connected.swap(false, Ordering::Relaxed)
    }

    /// Tells whether a commit of the group's offsets failed since the last call.
    pub(super) fn commit_failed(&self) -> bool {
        self.uncommitted.swap(false, Ordering::Relaxed)
    }

    fn note(&self, code: RDKafkaErrorCode, reason: &str) {
        let mut errors = lock(&self.errors);
        if errors.len() < MAX_ERRORS {
            errors.push_back((code, reason.to_owned()));
        }
    }
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn stats(&self, statistics: Statistics) {
        let up = statistics.brokers.values().any(|broker| broker.nodeid >= 0 && broker.state == "UP");
        if up {
            self.connected.store(true, Ordering::Relaxed);
        }
        let mut marks = lock(&self.marks);
        marks.clear();
        for (name, topic) in statistics.topics {
            for (number, partition) in topic.partitions {
                let of = Marks {
                    low: partition.lo_offset,
                    end: partition.ls_offset,
                    fetch: partition.next_offset,
                    queued: partition.fetchq_cnt,
                };
                marks.insert((name.clone(), number), of);
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if let Some(code) = error.rdkafka_error_code() {
            self.note(code, reason);
        }
    }

    fn generate_oauth_token(&self, _config: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        generate(self.tokens.as_ref())
    }
}

/// Makes the token librdkafka asks for.
pub(super) fn generate(tokens: Option<&TokenMaker>) -> Result<OAuthToken, Box<dyn Error>> {
    let maker = tokens.ok_or("no region was given")?;
    let credentials = (maker.provider)().inspect_err(|error| tracing::warn!(%error, "no token for the brokers"))?;
    let token = iam::token(&maker.region, &credentials, SystemClock.now());
    Ok(OAuthToken { token: token.text, principal_name: credentials.access_key, lifetime_ms: token.expires.0.div_euclid(1_000) })
}

/// Passes on a line of librdkafka's log.
pub(super) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => {
            tracing::warn!(facility, "kafka client: {message}");
        }
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => tracing::debug!(facility, "kafka client: {message}"),
    }
}

impl ConsumerContext for Context {
    /// Keeps the change for the source, which carries it out once its pieces allow; while closing it is done at once.
    fn rebalance(&self, consumer: &BaseConsumer<Self>, kind: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let assign = kind == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.closing.load(Ordering::Relaxed) {
            let done = if assign { consumer.incremental_assign(list) } else { consumer.incremental_unassign(list) };
            if let Err(error) = done {
                tracing::debug!(%error, "partitions at the close");
            }
            return;
        }
        let lost = consumer.assignment_lost();
        let change = if assign { Change::Assign(list.clone()) } else { Change::Revoke { list: list.clone(), lost } };
        lock(&self.changes).push_back(change);
    }

    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        if let Err(error) = result {
            self.uncommitted.store(true, Ordering::Relaxed);
            tracing::debug!(%error, "offsets of the group were not committed");
        }
    }
}
