//! Where stateless workers publish what they decoded, for the ledger to read: a Kafka topic or a Kinesis stream.

#[cfg(any(feature = "aws", feature = "kafka"))]
use std::time::Duration;

#[cfg(feature = "aws")]
use sluice_ingest::aws;
#[cfg(feature = "kafka")]
use sluice_ingest::kafka::{Credentials, KafkaRelay, RelayTopic};
#[cfg(feature = "aws")]
use sluice_ingest::kinesis::publish::{KinesisRelay, RelayStream};
#[cfg(any(feature = "aws", feature = "kafka"))]
use sluice_ingest::relay::worker::PublishError;
#[cfg(any(feature = "aws", feature = "kafka"))]
use sluice_ingest::source::SourceError;

#[cfg(any(feature = "aws", feature = "kafka"))]
use super::Clients;

/// The `[relay]` section, checked.
#[derive(Clone, Debug)]
pub(crate) enum RelayConfig {
    /// A topic.
    #[cfg(feature = "kafka")]
    Kafka(Box<RelayTopic>),
    /// A stream.
    #[cfg(feature = "aws")]
    Kinesis(RelayStream),
}

/// Takes messages of one shard, in order, and returns once they are safe.
#[cfg(any(feature = "aws", feature = "kafka"))]
pub(crate) type Publisher = Box<dyn FnMut(&str, &[Vec<u8>]) -> Result<(), PublishError>>;

/// Checks `[relay]`: `stream` is of Kinesis, `topic` of Kafka.
///
/// # Errors
/// Sentences for people.
pub(crate) fn parse(table: toml::Table) -> Result<RelayConfig, Vec<String>> {
    if table.contains_key("stream") {
        #[cfg(feature = "aws")]
        return table.try_into().map(RelayConfig::Kinesis).map_err(|error| super::told(&error));
        #[cfg(not(feature = "aws"))]
        return Err(vec!["this build cannot publish to a stream: build it with --features aws".to_owned()]);
    }
    #[cfg(feature = "kafka")]
    return table.try_into().map(|topic| RelayConfig::Kafka(Box::new(topic))).map_err(|error| super::told(&error));
    #[cfg(not(feature = "kafka"))]
    return Err(vec!["this build cannot publish to a topic: build it with --features kafka, or name a 'stream'".to_owned()]);
}

#[cfg(any(feature = "aws", feature = "kafka"))]
impl RelayConfig {
    /// Returns the largest message.
    pub(crate) const fn limit(&self) -> usize {
        match self {
            #[cfg(feature = "kafka")]
            Self::Kafka(topic) => topic.max_message,
            #[cfg(feature = "aws")]
            Self::Kinesis(stream) => stream.max_message,
        }
    }

    /// Returns its name for messages.
    pub(crate) fn name(&self) -> String {
        match self {
            #[cfg(feature = "kafka")]
            Self::Kafka(topic) => format!("kafka topic {}", topic.topic),
            #[cfg(feature = "aws")]
            Self::Kinesis(stream) => format!("kinesis stream {}", stream.stream),
        }
    }

    /// Opens it; a message is given up after `patience`, repetitions included.
    ///
    /// # Errors
    /// Settings that cannot work.
    #[cfg_attr(not(feature = "aws"), expect(unused_variables, reason = "the client of Kafka has threads of its own"))]
    pub(crate) fn open(&self, clients: &Clients, patience: Duration) -> Result<Publisher, SourceError> {
        match self {
            #[cfg(feature = "kafka")]
            Self::Kafka(topic) => {
                let credentials = std::sync::Arc::new(|| Credentials::from_env(&|name: &str| std::env::var(name).ok()));
                let mut relay = KafkaRelay::open((**topic).clone(), patience, credentials)?;
                Ok(Box::new(move |shard, messages| relay.publish(shard, messages)))
            }
            #[cfg(feature = "aws")]
            Self::Kinesis(stream) => {
                let runtime = clients.runtime()?;
                let sdk = runtime.block_on(aws::load(&stream.aws))?;
                let mut relay = KinesisRelay::open(stream.clone(), &sdk, runtime.clone(), patience);
                Ok(Box::new(move |shard, messages| relay.publish(shard, messages)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #[cfg(all(feature = "aws", feature = "kafka"))]
    #[test]
    fn a_relay_is_a_topic_or_a_stream() {
        use super::{RelayConfig, parse};
        let read = |text: &str| parse(text.parse().unwrap());
        assert!(matches!(read("stream = 'sluice-relay'"), Ok(RelayConfig::Kinesis(_))));
        assert!(matches!(read("brokers = ['b:9092']\ntopic = 'sluice-relay'"), Ok(RelayConfig::Kafka(_))));
        assert!(read("stream = 'x'\ntopic = 'y'").unwrap_err()[0].contains("unknown field"));
    }
}
