//! What of a configuration the doctor looks at: streams, queues, buckets, tables, topics, and how each is reached.

use std::collections::BTreeSet;

#[cfg(feature = "aws")]
use crate::config::FlagsTable;
use crate::config::{Config, NotifyTo, SharedPlace};
use crate::sources::Part;

/// How a service is reached; what is absent comes from the environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Way {
    /// Region.
    pub(crate) region: Option<String>,
    /// URL to send every call to.
    pub(crate) endpoint: Option<String>,
    /// Profile of the shared configuration files.
    pub(crate) profile: Option<String>,
    /// Role to take on in the account of the credentials.
    pub(crate) own_role: Option<String>,
    /// Role to take on in accounts other than that of the credentials, with `{account}` for its id.
    pub(crate) role: Option<String>,
    /// External id for it.
    pub(crate) external_id: Option<String>,
}

impl Way {
    fn new(region: Option<String>, endpoint: Option<String>, profile: Option<String>) -> Self {
        Self { region, endpoint, profile, ..Self::default() }
    }
}

/// A thing and how it is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Thing {
    /// Name, ARN or URL.
    pub(crate) name: String,
    /// How.
    pub(crate) way: Way,
}

impl Thing {
    /// Returns its region: its own, that of its ARN or queue URL, or another.
    pub(crate) fn region<'a>(&'a self, otherwise: &'a str) -> &'a str {
        let of_arn = self.name.strip_prefix("arn:").and_then(|rest| rest.split(':').nth(2)).filter(|region| !region.is_empty());
        let of_url = self.name.strip_prefix("https://sqs.").and_then(|rest| rest.split('.').next());
        of_arn.or(of_url).or(self.way.region.as_deref()).unwrap_or(otherwise)
    }

    /// Returns its last name: that of an ARN or URL, else the whole.
    pub(crate) fn short(&self) -> &str {
        self.name.rsplit(['/', ':']).next().unwrap_or(&self.name)
    }
}

/// A prefix of a bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// Bucket.
    pub(crate) bucket: String,
    /// Prefix, without a slash at its ends.
    pub(crate) prefix: String,
    /// How.
    pub(crate) way: Way,
}

impl Place {
    /// Reads `s3://BUCKET/PREFIX`.
    pub(crate) fn parse(text: &str, way: &Way) -> Option<Self> {
        let (bucket, prefix) = text.strip_prefix("s3://").map(|rest| rest.split_once('/').unwrap_or((rest, "")))?;
        Some(Self { bucket: bucket.to_owned(), prefix: prefix.trim_matches('/').to_owned(), way: way.clone() })
    }

    /// Returns it as it is written.
    pub(crate) fn shown(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.prefix)
    }
}

/// What is configured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Subject {
    /// How AWS is reached where nothing else is said.
    pub(crate) way: Way,
    /// Whether anything of the configuration is in AWS.
    pub(crate) uses_aws: bool,
    /// Regions that are named.
    pub(crate) regions: BTreeSet<String>,
    /// Kinesis streams that are read.
    pub(crate) streams: Vec<Thing>,
    /// Prefixes of buckets that are read.
    pub(crate) places: Vec<Place>,
    /// Queues that are read.
    pub(crate) queues: Vec<Thing>,
    /// Whether logs come from somewhere else too: Kafka, files.
    pub(crate) has_other_sources: bool,
    /// A lake in S3.
    pub(crate) lake: Option<Place>,
    /// The shared table.
    pub(crate) table: Option<Thing>,
    /// The table of flags.
    pub(crate) flags: Option<Thing>,
    /// Topics that are published to.
    pub(crate) topics: Vec<Thing>,
    /// EventBridge buses that are put to.
    pub(crate) buses: Vec<Thing>,
    /// Whether anybody at all is told beyond the log.
    pub(crate) tells: bool,
    /// Where the configuration is, if in AWS: `ssm:…` or `s3://…`.
    pub(crate) config_at: Option<String>,
    /// Whether CloudTrail events are joined.
    pub(crate) joins: bool,
    /// Whether callers are looked up.
    pub(crate) directory: bool,
    /// Whether coverage asks CloudWatch.
    pub(crate) coverage: bool,
    /// Name of the installation.
    pub(crate) instance: String,
}

impl Subject {
    /// Takes what matters from a configuration.
    pub(crate) fn of(config: &Config, config_at: &str) -> Self {
        let [region, endpoint, profile] = config.enforce.aws.clone();
        let mut subject = Self {
            way: Way::new(region, endpoint, profile),
            joins: config.cloudtrail.join,
            directory: config.directory.enabled,
            coverage: config.coverage.cloudwatch,
            instance: config.operate.instance.clone(),
            tells: config.webhook.is_some() || !config.notify.is_empty(),
            has_other_sources: !config.paths.is_empty(),
            ..Self::default()
        };
        subject.regions.extend(config.coverage.regions.iter().cloned());
        for source in &config.sources {
            subject.add_parts(source.parts());
        }
        subject.lake = config.lake.to_str().and_then(|lake| Place::parse(lake, &subject.way));
        subject.add_tables(config);
        for notify in &config.notify {
            match &notify.to {
                NotifyTo::Sns(sns) => subject.topics.push(Thing { name: sns.topic.clone(), way: subject.way.clone() }),
                NotifyTo::EventBridge(bus) => {
                    let way = Way { region: Some(bus.region.clone()), ..subject.way.clone() };
                    subject.buses.push(Thing { name: bus.bus.clone(), way });
                }
                NotifyTo::Slack(_) | NotifyTo::PagerDuty(..) | NotifyTo::Webhook(_) | NotifyTo::File(_) => {}
            }
        }
        subject.config_at = Some(config_at.to_owned()).filter(|at| at.starts_with("ssm:") || at.starts_with("s3:"));
        subject.complete(config);
        subject
    }

    fn add_parts(&mut self, parts: Vec<Part>) {
        for part in parts {
            match part {
                Part::Stream { name, region, endpoint, profile } => {
                    self.streams.push(Thing { name, way: Way::new(region, endpoint, profile) });
                }
                Part::Objects { url, region, endpoint, profile } => {
                    self.places.extend(Place::parse(&url, &Way::new(region, endpoint, profile)));
                }
                Part::Queue { url, region, endpoint, profile } => {
                    self.queues.push(Thing { name: url, way: Way::new(region, endpoint, profile) });
                }
                Part::Other => self.has_other_sources = true,
            }
        }
    }

    #[cfg(feature = "aws")]
    fn add_tables(&mut self, config: &Config) {
        let thing = |settings: &sluice_enforce::DynamoSettings| Thing {
            name: settings.table.clone(),
            way: Way::new(settings.region.clone(), settings.endpoint.clone(), settings.profile.clone()),
        };
        if let SharedPlace::Table(settings) = &config.shared {
            self.table = Some(thing(settings));
        }
        if let Some(FlagsTable::Table(settings)) = &config.flags {
            self.flags = Some(thing(settings));
        }
    }

    #[cfg(not(feature = "aws"))]
    fn add_tables(&mut self, config: &Config) {
        let SharedPlace::File(_) = &config.shared;
    }

    /// Fills in what follows from the rest: how AWS is reached where `[enforce]` does not say it, and which regions are meant.
    fn complete(&mut self, config: &Config) {
        let things = || self.streams.iter().chain(&self.queues).chain(&self.table).chain(&self.flags);
        let ways: Vec<Way> = things().map(|thing| thing.way.clone()).chain(self.places.iter().map(|place| place.way.clone())).collect();
        let things = things().chain(&self.topics).chain(&self.buses);
        let regions: Vec<String> = things.map(|thing| thing.region("").to_owned()).filter(|region| !region.is_empty()).collect();
        self.uses_aws = !ways.is_empty() || !self.topics.is_empty() || !self.buses.is_empty() || self.lake.is_some() || self.directory;
        self.uses_aws |= !config.enforce.levers.is_empty() || self.config_at.is_some() || self.way != Way::default();
        for way in &ways {
            self.way.profile = self.way.profile.take().or_else(|| way.profile.clone());
        }
        if self.way.region.is_none() {
            self.way.region = regions.first().cloned();
        }
        self.regions.extend(regions);
    }

    /// Tells whether logs come from AWS at all.
    pub(crate) fn reads_aws(&self) -> bool {
        !self.streams.is_empty() || !self.places.is_empty() || !self.queues.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_of_things() {
        let of = |name: &str| Thing { name: name.to_owned(), way: Way::default() }.region("us-west-2").to_owned();
        assert_eq!(of("arn:aws:kinesis:eu-central-1:111122223333:stream/logs"), "eu-central-1");
        assert_eq!(of("https://sqs.us-east-1.amazonaws.com/111122223333/logs"), "us-east-1");
        assert_eq!([of("logs"), of("http://127.0.0.1:1/q")], ["us-west-2", "us-west-2"]);
        let place = Place::parse("s3://bucket/a/b/", &Way::default()).unwrap();
        assert_eq!((place.bucket.as_str(), place.prefix.as_str(), place.shown().as_str()), ("bucket", "a/b", "s3://bucket/a/b"));
        assert_eq!(Place::parse("logs", &Way::default()), None);
    }
}
