//! Puts workers' messages on a Kinesis stream: one after the other, in order for each shard they read.
//!
//! `PutRecords` takes hundreds of records at once, but promises no order and may take some and refuse others (Kinesis Data Streams API
//! reference, "PutRecords"). A message holds up to a megabyte of records already, so each is a call of its own, which names the one
//! before it (`SequenceNumberForOrdering`).

use std::collections::HashMap;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::Builder;
use aws_sdk_kinesis::primitives::Blob;
use serde::Deserialize;
use sluice_schemas::ErrorClass;
use tokio::runtime::Handle;

use super::settings::{arn_region, is_name_or_arn};
use crate::aws::{self, AwsSettings, Fault};
use crate::framing::sha256;
use crate::relay::worker::PublishError;
use crate::units::parse_bytes;

/// Longest partition key, in characters.
const KEY_MAX: usize = 256;
/// Lanes whose last message is remembered.
const LANES_MAX: usize = 4_096;
/// Largest record a stream may be set to take, in bytes; of it the partition key is a part.
const RECORD_MAX: u64 = (10 << 20) - KEY_MAX as u64;

/// Where workers publish, as it stands in the file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    stream: String,
    #[serde(default)]
    region: Option<String>,
    #[serde(default)]
    endpoint: Option<String>,
    #[serde(default)]
    profile: Option<String>,
    #[serde(default = "a_megabyte")]
    max_message: String,
}

fn a_megabyte() -> String {
    "1000000B".to_owned()
}

/// A stream on which workers publish. Records must be distributed by their partition key: the order of a shard's messages depends on
/// it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Raw")]
pub struct RelayStream {
    /// Name or ARN of the stream.
    pub stream: String,
    /// How AWS is reached.
    pub aws: AwsSettings,
    /// Largest message; with its partition key no more than the stream's record size.
    pub max_message: usize,
}

/// Settings that cannot work.
#[derive(Debug, thiserror::Error)]
#[error("{}", faults.join("; "))]
pub struct RelayStreamError {
    /// One sentence a fault.
    pub faults: Vec<String>,
}

impl TryFrom<Raw> for RelayStream {
    type Error = RelayStreamError;

    fn try_from(raw: Raw) -> Result<Self, RelayStreamError> {
        let Raw { stream, region, endpoint, profile, max_message } = raw;
        let mut faults = Vec::new();
        if !is_name_or_arn(&stream) {
            faults.push(format!("stream: '{stream}' is neither the name nor the ARN of a Kinesis stream"));
        }
        let own = arn_region(&stream).map(str::to_owned);
        if let (Some(own), Some(region)) = (&own, &region)
            && own != region
        {
            faults.push(format!("region: the stream is in {own}, not in {region}"));
        }
        let max_message = parse_bytes("max_message", &max_message).unwrap_or_else(|fault| {
            faults.push(fault);
            0
        });
        if faults.is_empty() && !(16 << 10..=RECORD_MAX).contains(&max_message) {
            faults.push(format!("max_message is {max_message} bytes: choose between 16KiB and {RECORD_MAX}B"));
        }
        if !faults.is_empty() {
            return Err(RelayStreamError { faults });
        }
        let max_message = usize::try_from(max_message).unwrap_or(usize::MAX);
        Ok(Self { stream, aws: AwsSettings { region: region.or(own), endpoint, profile }, max_message })
    }
}

/// Publishes messages on a stream.
#[derive(Debug)]
pub struct KinesisRelay {
    settings: RelayStream,
    client: Client,
    region: String,
    runtime: Handle,
    /// Sequence number of the last message of each lane.
    last: HashMap<String, String>,
}

impl KinesisRelay {
    /// Makes a publisher that gives a message up to `patience`, repetitions included. Calls are made on `runtime`, which has threads of
    /// its own.
    #[must_use]
    pub fn open(settings: RelayStream, config: &SdkConfig, runtime: Handle, patience: Duration) -> Self {
        let attempt = patience / 2;
        let timeouts =
            TimeoutConfig::builder().connect_timeout(attempt).operation_attempt_timeout(attempt).operation_timeout(patience).build();
        let client = Client::from_conf(Builder::from(config).timeout_config(timeouts).build());
        let region = config.region().map(ToString::to_string).unwrap_or_default();
        Self { settings, client, region, runtime, last: HashMap::new() }
    }

    /// Publishes messages of one shard, in order, and returns once the stream has them.
    ///
    /// # Errors
    /// When one was not taken, or no answer came; all of them may then be published again.
    pub fn publish(&mut self, shard: &str, messages: &[Vec<u8>]) -> Result<(), PublishError> {
        let key = partition_key(shard);
        messages.iter().try_for_each(|message| self.put(&key, message))
    }

    fn put(&mut self, key: &str, message: &[u8]) -> Result<(), PublishError> {
        let stream = &self.settings.stream;
        let request = self.client.put_record().partition_key(key).data(Blob::new(message));
        let request = if stream.starts_with("arn:") { request.stream_arn(stream) } else { request.stream_name(stream) };
        let request = request.set_sequence_number_for_ordering(self.last.get(key).cloned());
        match self.runtime.block_on(request.send()) {
            Ok(output) => {
                if self.last.len() >= LANES_MAX {
                    self.last.clear();
                }
                self.last.insert(key.to_owned(), output.sequence_number);
                Ok(())
            }
            Err(error) => Err(self.refused(key, &Fault::of(&error), message.len())),
        }
    }

    fn refused(&mut self, key: &str, fault: &Fault, bytes: usize) -> PublishError {
        let Self { settings: RelayStream { stream, .. }, region, last, .. } = self;
        let (resource, is_arn) = (format!("kinesis stream {stream}"), stream.starts_with("arn:"));
        let arn = if is_arn { stream.clone() } else { format!("arn:aws:kinesis:{region}:*:stream/{stream}") };
        let call = aws::Call { resource: &resource, action: "kinesis:PutRecord", arn: &arn, region };
        let (fix, class) = aws::remedy(call, fault);
        // A number of a stream that was deleted since and made anew.
        if fault.code() == "InvalidArgumentException" && last.remove(key).is_some() {
            return PublishError { resource, problem: fault.problem.clone(), class: ErrorClass::Transient };
        }
        let problem = match fault.code() {
            "ValidationException" | "InvalidArgumentException" => format!(
                "{}; a message of {bytes} bytes may be larger than the stream takes: raise its maximum record size, or lower max_message",
                fault.problem
            ),
            _ => format!("{}; {fix}", fault.problem),
        };
        PublishError { resource, problem, class }
    }
}

/// Returns the key that keeps a shard's messages on one lane: its name, or a digest of one that is too long.
fn partition_key(shard: &str) -> String {
    if shard.chars().count() <= KEY_MAX && !shard.is_empty() {
        return shard.to_owned();
    }
    sha256(shard.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<RelayStream, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_name_is_enough() {
        let relay = read(r#"{"stream":"sluice-relay"}"#).expect("settings");
        assert_eq!((relay.max_message, relay.aws.region), (1_000_000, None));
        let relay = read(r#"{"stream":"arn:aws:kinesis:eu-central-1:1:stream/x","max_message":"5MiB"}"#).expect("settings");
        assert_eq!((relay.max_message, relay.aws.region.as_deref()), (5 << 20, Some("eu-central-1")));
    }

    #[test]
    fn faults_are_named() {
        for (text, words) in [
            (r#"{"stream":"a b"}"#, "neither the name"),
            (r#"{"stream":"arn:aws:kinesis:eu-central-1:1:stream/x","region":"us-east-1"}"#, "is in eu-central-1"),
            (r#"{"stream":"x","max_message":"1GiB"}"#, "choose between"),
            (r#"{"stream":"x","max_message":"big"}"#, "not a size"),
            (r#"{"stream":"x","topic":"y"}"#, "unknown field"),
        ] {
            let fault = read(text).expect_err(text);
            assert!(fault.contains(words), "{fault}");
        }
    }

    #[test]
    fn a_partition_key_fits() {
        assert_eq!(partition_key("kinesis:r/1/s/shardId-0"), "kinesis:r/1/s/shardId-0");
        assert_eq!(partition_key(&"x".repeat(1_000)).len(), 64);
    }
}
