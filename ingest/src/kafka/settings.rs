//! What a Kafka source is told: where, what, as whom, from when. Checked whole before the first connection is made.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use sluice_schemas::Micros;

use super::security::Security;
use crate::units::{parse_bytes, parse_duration};

#[cfg(test)]
mod tests;

/// Settings of librdkafka that this source gives itself, and why nobody else may.
const RESERVED: [(&str, &str); 25] = [
    ("allow.auto.create.topics", "a misspelt topic must be an error"),
    ("auto.commit.interval.ms", "positions are committed only once they are durable"),
    ("auto.offset.reset", "records lost to retention must be reported and not skipped; use `start`"),
    ("bootstrap.servers", "use `brokers`"),
    ("check.crcs", "damaged records must be noticed"),
    ("enable.auto.commit", "positions are committed only once they are durable"),
    ("enable.auto.offset.store", "positions are committed only once they are durable"),
    ("enable.partition.eof", "it is not an error to be at the end"),
    ("enable.sasl.oauthbearer.unsecure.jwt", "use `security`"),
    ("fetch.max.bytes", "use `max_record`"),
    ("group.id", "use `group`"),
    ("group.instance.id", "use `group_instance_id`"),
    ("group.protocol", "the way partitions are handed over depends on it"),
    ("group.remote.assignor", "the way partitions are handed over depends on it"),
    ("isolation.level", "records of aborted transactions must not be counted"),
    ("message.max.bytes", "use `max_record`"),
    ("metadata.broker.list", "use `brokers`"),
    ("partition.assignment.strategy", "the way partitions are handed over depends on it"),
    ("receive.message.max.bytes", "use `max_record`"),
    ("sasl.mechanism", "use `security`"),
    ("sasl.mechanisms", "use `security`"),
    ("sasl.password", "use `security`"),
    ("sasl.username", "use `security`"),
    ("security.protocol", "use `security`"),
    ("statistics.interval.ms", "the lag is read from it"),
];

/// The `[source.kafka]` table as it stands in the file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    brokers: Vec<String>,
    topics: Vec<String>,
    group: String,
    group_instance_id: Option<String>,
    #[serde(default = "earliest")]
    start: String,
    #[serde(default)]
    security: Security,
    #[serde(default = "max_record")]
    max_record: String,
    #[serde(default = "prefetch")]
    prefetch: String,
    #[serde(default = "half_a_minute")]
    revoke_wait: String,
    #[serde(default = "half_a_minute")]
    connect_wait: String,
    #[serde(default)]
    properties: BTreeMap<String, String>,
}

fn earliest() -> String {
    "earliest".to_owned()
}

fn max_record() -> String {
    "16MiB".to_owned()
}

fn prefetch() -> String {
    "8MiB".to_owned()
}

fn half_a_minute() -> String {
    "30s".to_owned()
}

/// Where a partition begins that nobody has read yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the oldest record there is.
    Earliest,
    /// Behind the newest record there is.
    Latest,
    /// At the first record written at or after this moment.
    At(Micros),
}

/// How Kafka is read.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Raw")]
pub struct KafkaSettings {
    /// `host:port` of some brokers; the others are found.
    pub brokers: Vec<String>,
    /// Topics to read.
    pub topics: Vec<String>,
    /// Consumer group: its offsets show the lag, and its members share the partitions.
    pub group: String,
    /// Name of this member: with one, a restart within the session timeout moves no partition.
    pub group_instance_id: Option<String>,
    /// Where a partition begins that nobody has read yet.
    pub start: Start,
    /// How brokers are reached.
    pub security: Security,
    /// Largest record that is read; a larger one costs memory, a smaller value would stop the partition at it.
    pub max_record: u64,
    /// Bytes read ahead of decoding, a partition: more hides slow brokers, and costs memory times partitions.
    pub prefetch: u64,
    /// How long a partition that goes to another member waits until what was read of it is durable: longer holds up the group,
    /// shorter has more records read twice.
    pub revoke_wait: Duration,
    /// How long the first connection may take.
    pub connect_wait: Duration,
    /// Further settings of librdkafka, by its names.
    pub properties: BTreeMap<String, String>,
}

/// Everything that is wrong with the settings.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("kafka: {}", faults.join("; "))]
pub struct SettingsError {
    /// One sentence a fault.
    pub faults: Vec<String>,
}

impl TryFrom<Raw> for KafkaSettings {
    type Error = SettingsError;

    fn try_from(raw: Raw) -> Result<Self, SettingsError> {
        let mut faults = Vec::new();
        let start = keep(&mut faults, parse_start(&raw.start), Start::Earliest);
        let max_record = keep(&mut faults, parse_bytes("max_record", &raw.max_record), 0);
        let prefetch = keep(&mut faults, parse_bytes("prefetch", &raw.prefetch), 0);
        let revoke_wait = keep(&mut faults, parse_duration("revoke_wait", &raw.revoke_wait), Duration::ZERO);
        let connect_wait = keep(&mut faults, parse_duration("connect_wait", &raw.connect_wait), Duration::ZERO);
        let settings = Self {
            brokers: raw.brokers,
            topics: raw.topics,
            group: raw.group,
            group_instance_id: raw.group_instance_id,
            start,
            security: raw.security,
            max_record,
            prefetch,
            revoke_wait,
            connect_wait,
            properties: raw.properties,
        };
        if faults.is_empty() {
            settings.check(&mut faults);
        }
        if faults.is_empty() { Ok(settings) } else { Err(SettingsError { faults }) }
    }
}

/// Returns the value, or notes the fault and returns a stand-in.
fn keep<T>(faults: &mut Vec<String>, parsed: Result<T, String>, stand_in: T) -> T {
    parsed.unwrap_or_else(|fault| {
        faults.push(fault);
        stand_in
    })
}

fn parse_start(text: &str) -> Result<Start, String> {
    match text {
        "earliest" => Ok(Start::Earliest),
        "latest" => Ok(Start::Latest),
        moment => moment
            .parse()
            .map(Start::At)
            .map_err(|_| format!("start '{text}' is none of earliest, latest, a moment like 2026-10-01T00:00:00Z")),
    }
}

impl KafkaSettings {
    /// The part that a producer needs.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub(super) fn for_producer(
        brokers: Vec<String>,
        topic: String,
        security: Security,
        properties: BTreeMap<String, String>,
    ) -> Result<Self, SettingsError> {
        let (topics, group, group_instance_id) = (vec![topic], "none".to_owned(), None);
        let (start, max_record, prefetch) = (earliest(), max_record(), prefetch());
        let (revoke_wait, connect_wait) = (half_a_minute(), half_a_minute());
        Raw { brokers, topics, group, group_instance_id, start, security, max_record, prefetch, revoke_wait, connect_wait, properties }
            .try_into()
    }

    fn check(&self, faults: &mut Vec<String>) {
        if self.brokers.is_empty() {
            faults.push("brokers is empty: name at least one host:port".to_owned());
        }
        for broker in &self.brokers {
            let port = broker.rsplit_once(':').filter(|(host, _)| !host.is_empty()).and_then(|(_, port)| port.parse::<u16>().ok());
            if port.is_none_or(|port| port == 0) || broker.contains([',', '/', ' ']) {
                faults.push(format!("broker '{broker}' is not of the form host:port"));
            }
        }
        if self.topics.is_empty() {
            faults.push("topics is empty: name at least one".to_owned());
        }
        for (at, topic) in self.topics.iter().enumerate() {
            let legal = topic.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
            if !legal || topic.is_empty() || topic.len() > 249 || matches!(topic.as_str(), "." | "..") {
                faults.push(format!(
                    "topic '{topic}' is not a topic name: letters, digits, '.', '_' and '-', at most 249; patterns are not read"
                ));
            }
            if self.topics[..at].contains(topic) {
                faults.push(format!("topic '{topic}' is named twice"));
            }
        }
        if self.group.trim().is_empty() {
            faults.push("group is empty".to_owned());
        }
        if self.group_instance_id.as_deref().is_some_and(|id| id.trim().is_empty()) {
            faults.push("group_instance_id is empty: leave it out, or give each member its own".to_owned());
        }
        self.check_limits(faults);
        self.security.check(faults);
        for (key, value) in &self.properties {
            if let Some((_, why)) = RESERVED.iter().find(|(reserved, _)| reserved == key) {
                faults.push(format!("properties: '{key}' cannot be set: {why}"));
            } else if key.starts_with("ssl.") && !self.security.is_encrypted() {
                faults.push(format!("properties: '{key}' has no effect: security is not encrypted"));
            } else if key.contains('\0') || value.contains('\0') {
                faults.push(format!("properties: '{key}' holds a NUL"));
            }
        }
    }

    fn check_limits(&self, faults: &mut Vec<String>) {
        if !(1024..=900 << 20).contains(&self.max_record) {
            faults.push(format!("max_record is {} bytes: choose between 1KiB and 900MiB", self.max_record));
        }
        if !(64 << 10..=1 << 30).contains(&self.prefetch) {
            faults.push(format!("prefetch is {} bytes: choose between 64KiB and 1GiB", self.prefetch));
        }
        // A member that is silent for longer than librdkafka's poll interval (5 minutes) is thrown out of the group.
        if self.revoke_wait > Duration::from_secs(240) {
            faults.push("revoke_wait is longer than 4m: the group would throw this member out first".to_owned());
        }
        if self.connect_wait < Duration::from_secs(1) || self.connect_wait > Duration::from_secs(600) {
            faults.push("connect_wait is not between 1s and 10m".to_owned());
        }
    }

    /// Returns what librdkafka is told to reach the brokers, secrets included.
    ///
    /// # Errors
    /// A secret that cannot be read, with what to do.
    pub(crate) fn connection(&self, env: &dyn Fn(&str) -> Option<String>) -> Result<BTreeMap<String, String>, String> {
        let mut all: BTreeMap<String, String> = BTreeMap::new();
        let mut set = |key: &str, value: String| all.insert(key.to_owned(), value);
        set("bootstrap.servers", self.brokers.join(","));
        set("client.id", "sluice".to_owned());
        set("socket.keepalive.enable", "true".to_owned());
        set("reconnect.backoff.max.ms", "5000".to_owned());
        self.security.properties(env, &mut all)?;
        Ok(all)
    }

    /// Returns everything librdkafka is told for reading.
    ///
    /// # Errors
    /// As [`Self::connection`].
    pub(crate) fn consumer(&self, env: &dyn Fn(&str) -> Option<String>) -> Result<BTreeMap<String, String>, String> {
        let mut all = self.connection(env)?;
        let fetch = self.max_record.max(50 << 20);
        let fixed = [
            ("group.id", self.group.clone()),
            ("partition.assignment.strategy", "cooperative-sticky".to_owned()),
            ("enable.auto.commit", "false".to_owned()),
            ("enable.auto.offset.store", "false".to_owned()),
            ("auto.offset.reset", "error".to_owned()),
            ("isolation.level", "read_committed".to_owned()),
            ("check.crcs", "true".to_owned()),
            ("allow.auto.create.topics", "false".to_owned()),
            ("statistics.interval.ms", "1000".to_owned()),
            ("message.max.bytes", self.max_record.to_string()),
            ("fetch.message.max.bytes", self.prefetch.min(1 << 20).to_string()),
            ("fetch.max.bytes", fetch.to_string()),
            ("receive.message.max.bytes", (fetch + (1 << 20)).to_string()),
            ("queued.max.messages.kbytes", (self.prefetch >> 10).to_string()),
            // New partitions are seen this often.
            ("topic.metadata.refresh.interval.ms", "10000".to_owned()),
        ];
        all.extend(fixed.map(|(key, value)| (key.to_owned(), value)));
        if let Some(id) = &self.group_instance_id {
            all.insert("group.instance.id".to_owned(), id.clone());
        }
        all.extend(self.properties.clone());
        Ok(all)
    }
}
