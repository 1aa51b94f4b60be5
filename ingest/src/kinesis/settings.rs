//! Settings of the Kinesis source.

use serde::Deserialize;
use sluice_schemas::Micros;

use crate::aws::AwsSettings;

/// Which streams are read, from where, and how.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KinesisSettings {
    /// Names or ARNs of the streams.
    pub streams: Vec<String>,
    /// Region; that of an ARN, of the environment or of the profile where absent.
    #[serde(default)]
    pub region: Option<String>,
    /// URL of a VPC endpoint or an emulator.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// Profile of the shared AWS configuration files.
    #[serde(default)]
    pub profile: Option<String>,
    /// Where a stream is begun that has no committed position; of no effect on one that has been begun.
    #[serde(default)]
    pub start: Start,
    /// How records are fetched.
    #[serde(default)]
    pub mode: Mode,
    /// Name under which a fan-out reader registers with each stream. One that reads needs a name of its own: a second one takes
    /// the shards from the first.
    #[serde(default)]
    pub consumer: Option<String>,
    /// What happens when the stream dropped records before they were read.
    #[serde(default)]
    pub on_gap: OnGap,
}

/// Where a stream is begun that has no committed position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// With the oldest record the stream still has.
    #[default]
    TrimHorizon,
    /// With the first record written after the first start, by this machine's clock.
    Latest,
    /// With the first record written at that moment or later: `start = { timestamp = "2026-10-01T00:00:00Z" }`.
    Timestamp(Micros),
}

/// How records are fetched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// About 5 calls a second and shard, which all polling readers of the stream share; visible within about 250 ms.
    #[default]
    Poll,
    /// Enhanced fan-out: 2 MB a second and shard of its own, visible within about 70 ms; AWS charges each consumer-shard hour
    /// and each GB. The consumer stays registered until an operator removes it.
    FanOut,
}

/// What happens when the stream dropped records before they were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnGap {
    /// The gap is recorded and the shard stops until an operator orders it to go on.
    #[default]
    Stop,
    /// The gap is recorded and the shard goes on with the oldest record there is.
    Resume,
}

impl KinesisSettings {
    /// Returns how AWS is reached.
    #[must_use]
    pub fn aws(&self) -> AwsSettings {
        let region = self.region.clone().or_else(|| self.streams.iter().find_map(|stream| arn_region(stream)).map(str::to_owned));
        AwsSettings { region, endpoint: self.endpoint.clone(), profile: self.profile.clone() }
    }

    /// Returns everything that is wrong with the settings.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.streams.is_empty() {
            faults.push("'streams' is empty: name at least one stream".to_owned());
        }
        for (number, stream) in self.streams.iter().enumerate() {
            if !is_name_or_arn(stream) {
                faults.push(format!("'{stream}' in 'streams' is neither the name nor the ARN of a Kinesis stream"));
            }
            if self.streams[..number].iter().any(|other| name_of(other) == name_of(stream) && same_place(other, stream)) {
                faults.push(format!("'{stream}' is named twice in 'streams'"));
            }
        }
        let regions: Vec<&str> =
            self.region.as_deref().into_iter().chain(self.streams.iter().filter_map(|stream| arn_region(stream))).collect();
        if let Some(other) = regions.iter().find(|region| **region != regions[0]) {
            faults.push(format!("the streams are in the regions {} and {other}: give each region a source of its own", regions[0]));
        }
        match (self.mode, self.consumer.as_deref()) {
            (Mode::FanOut, None) => faults.push("mode = \"fan_out\" needs 'consumer', a name for this reader".to_owned()),
            (Mode::Poll, Some(_)) => faults.push("'consumer' is of use with mode = \"fan_out\" only".to_owned()),
            (_, Some(name)) if !is_name(name) => {
                faults.push(format!("'{name}' is no consumer name: letters, digits, '_', '.', '-', up to 128"))
            }
            _ => {}
        }
        faults
    }
}

/// Names of streams and consumers, by the API reference of CreateStream and RegisterStreamConsumer.
fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    !name.is_empty() && name.len() <= 128 && name.bytes().all(fits)
}

pub(super) fn is_name_or_arn(stream: &str) -> bool {
    let Some(rest) = stream.strip_prefix("arn:") else { return is_name(stream) };
    let parts: Vec<&str> = rest.splitn(5, ':').collect();
    matches!(parts[..], [_, "kinesis", region, account, resource]
        if !region.is_empty() && !account.is_empty() && resource.strip_prefix("stream/").is_some_and(is_name))
}

pub(super) fn arn_region(stream: &str) -> Option<&str> {
    stream.strip_prefix("arn:")?.split(':').nth(2)
}

fn name_of(stream: &str) -> &str {
    stream.rsplit('/').next().unwrap_or(stream)
}

/// A name may stand for the stream of the same name in the account of the credentials.
fn same_place(one: &str, other: &str) -> bool {
    !(one.starts_with("arn:") && other.starts_with("arn:")) || one == other
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> KinesisSettings {
        serde_json::from_str(text).expect("settings")
    }

    #[test]
    fn the_least_there_is_to_say_is_a_name() {
        let settings = read(r#"{"streams":["bedrock-logs"]}"#);
        assert_eq!(settings.faults(), Vec::<String>::new());
        assert_eq!((settings.start, settings.mode, settings.on_gap), (Start::TrimHorizon, Mode::Poll, OnGap::Stop));
        assert_eq!(read(r#"{"streams":["a"],"start":"latest"}"#).start, Start::Latest);
        let dated = read(r#"{"streams":["a"],"start":{"timestamp":"2026-10-01T00:00:00Z"}}"#).start;
        assert_eq!(dated, Start::Timestamp(Micros::parse_utc(b"2026-10-01T00:00:00Z").expect("a moment")));
        assert!(serde_json::from_str::<KinesisSettings>(r#"{"streams":["a"],"shards":3}"#).is_err());
    }

    #[test]
    fn an_arn_brings_its_region() {
        let settings = read(r#"{"streams":["arn:aws:kinesis:eu-central-1:111122223333:stream/logs"]}"#);
        assert_eq!(settings.faults(), Vec::<String>::new());
        assert_eq!(settings.aws().region.as_deref(), Some("eu-central-1"));
    }

    #[test]
    fn every_fault_is_named() {
        let settings = read(
            r#"{"streams":["a b","arn:aws:kinesis:eu-central-1:1:stream/x","arn:aws:sqs:eu-central-1:1:x","x"],
                "region":"us-east-1","mode":"fan_out"}"#,
        );
        let faults = settings.faults().join("\n");
        for words in ["'a b'", "arn:aws:sqs", "'x' is named twice", "us-east-1 and eu-central-1", "needs 'consumer'"] {
            assert!(faults.contains(words), "{words}: {faults}");
        }
        assert_eq!(read(r#"{"streams":[],"consumer":"c"}"#).faults().len(), 2);
    }
}
