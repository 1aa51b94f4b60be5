//! What is to be read from S3, as the configuration says it.

use std::time::Duration;

use serde::Deserialize;
use sluice_schemas::time::{DAY, parse_day};
use sluice_schemas::{ErrorClass, Micros};

use super::layout::{Allowed, Bounds};
use crate::aws::AwsSettings;

/// How often an empty queue is asked: each call waits this long for a message. SQS allows 20 s; an answer must come within the
/// time-out of the client.
const WAIT: Duration = Duration::from_secs(10);
/// Time for which a received message is hidden. It is extended while the message is in work, so that a longer one only delays
/// the next attempt after a crash.
const VISIBILITY: Duration = Duration::from_secs(300);

/// Section of the configuration, not yet checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawS3Settings {
    /// Region of buckets and queues.
    pub region: Option<String>,
    /// URL to send every call to, for a VPC endpoint or an emulator.
    pub endpoint: Option<String>,
    /// Profile of the shared AWS configuration files.
    pub profile: Option<String>,
    /// What to read: `s3://BUCKET` or `s3://BUCKET/PREFIX`. A notification of another place is no call of ours; without paths the queues
    /// alone say what is read.
    pub paths: Vec<String>,
    /// URLs of SQS queues that receive notifications of new objects, or events themselves.
    pub queues: Vec<String>,
    /// Whether the paths are listed, the queues read, or both; by default queues are read if there are any.
    pub mode: Option<S3Mode>,
    /// Accounts whose logs are read, as the keys name them; all if empty.
    pub accounts: Vec<String>,
    /// Organisations whose trails are read, as the keys name them; all if empty.
    pub organizations: Vec<String>,
    /// First day or moment to read when listing: `2026-10-01` or `2026-10-01T12:00:00Z`. Decided by the date folders of the
    /// keys: nothing before is even listed.
    pub since: Option<String>,
    /// First day or moment not to read.
    pub until: Option<String>,
    /// Time one call waits for a message, `0s` to `10s`. Ten seconds of an idle queue are one call; one second are ten.
    pub queue_wait: Option<String>,
    /// Time after which a crash is noticed and a message is given again, `1s` to `12h`.
    pub queue_visibility: Option<String>,
}

/// How objects are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum S3Mode {
    /// By listing the paths once.
    Listing,
    /// By notifications, without end.
    Notifications,
    /// By both, the notifications first.
    Both,
}

/// What is to be read from S3.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawS3Settings")]
pub struct S3Settings {
    /// How AWS is reached.
    pub aws: AwsSettings,
    /// How objects are found.
    pub mode: S3Mode,
    /// Queues.
    pub queues: Vec<String>,
    pub(super) paths: Vec<Path>,
    pub(super) allowed: Allowed,
    pub(super) bounds: Bounds,
    pub(crate) wait: Duration,
    pub(crate) visibility: Duration,
}

/// A bucket and the prefix of its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Path {
    /// The bucket.
    pub(super) bucket: String,
    /// The prefix; empty for all keys.
    pub(super) prefix: String,
}

/// What is wrong with a setting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum S3SettingFault {
    /// Nothing is to be read.
    #[error("neither 'paths' nor 'queues' is set: name at least one place as s3://BUCKET/PREFIX, or the URL of a queue")]
    Nothing,
    /// A mode that lists paths, without one.
    #[error("'paths' is empty, but 'mode' lists them: name at least one as s3://BUCKET/PREFIX")]
    NoPath,
    /// Not the address of a bucket or prefix.
    #[error("'paths': {text:?} is not of the form s3://BUCKET/PREFIX")]
    Path {
        /// The text.
        text: String,
    },
    /// A mode that reads queues, without one.
    #[error("'queues' is empty, but 'mode' reads notifications")]
    NoQueue,
    /// Queues that nobody would read.
    #[error("'queues' is set, but 'mode' is 'listing'")]
    UnreadQueues,
    /// Not the URL of a queue.
    #[error("'queues': {text:?} is not the URL of an SQS queue")]
    Queue {
        /// The text.
        text: String,
    },
    /// Not an account id.
    #[error("'accounts': {text:?} is not an account id of twelve digits")]
    Account {
        /// The text.
        text: String,
    },
    /// Not the id of an organisation.
    #[error("'organizations': {text:?} is not an organisation id such as o-a1b2c3d4e5")]
    Organization {
        /// The text.
        text: String,
    },
    /// Neither a day nor a moment.
    #[error("'{field}': {text:?} is neither a day such as 2026-10-01 nor a moment such as 2026-10-01T12:00:00Z")]
    Time {
        /// Name of the setting.
        field: &'static str,
        /// The text.
        text: String,
    },
    /// The end does not lie behind the start.
    #[error("'until' must lie after 'since'")]
    Reversed,
    /// Not a duration, or not one that is allowed.
    #[error("'{field}': {text:?} is not a whole number of seconds, minutes or hours ('30s', '5m', '2h') from {least} to {most} s")]
    Duration {
        /// Name of the setting.
        field: &'static str,
        /// The text.
        text: String,
        /// Least value in seconds.
        least: u64,
        /// Greatest value in seconds.
        most: u64,
    },
}

/// Settings that cannot be used, with everything that is wrong with them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("S3 source: {}", .faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct S3SettingsError {
    /// What is wrong.
    pub faults: Vec<S3SettingFault>,
}

impl S3SettingsError {
    /// Returns what the failure asks of the caller.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        ErrorClass::Misconfigured
    }
}

impl S3Settings {
    /// Returns the places that are read, for messages.
    #[must_use]
    pub fn places(&self) -> Vec<String> {
        let paths = self.paths.iter().map(|path| format!("s3://{}/{}", path.bucket, path.prefix));
        paths.chain(self.queues.iter().cloned()).collect()
    }
}

impl S3Settings {
    /// Tells whether a bucket is one that is read.
    pub(super) fn knows(&self, bucket: &str) -> bool {
        self.paths.is_empty() || self.paths.iter().any(|path| path.bucket == bucket)
    }

    /// Tells whether an object that a queue names is below what is read: anything, where no path is named.
    pub(super) fn takes(&self, bucket: &str, key: &str) -> bool {
        self.paths.is_empty() || self.paths.iter().any(|path| path.bucket == bucket && key.starts_with(&path.prefix))
    }
}

impl TryFrom<RawS3Settings> for S3Settings {
    type Error = S3SettingsError;

    fn try_from(raw: RawS3Settings) -> Result<Self, S3SettingsError> {
        let mut faults = Vec::new();
        let mode = raw.mode.unwrap_or(if raw.queues.is_empty() { S3Mode::Listing } else { S3Mode::Notifications });
        let paths = read_all(&raw.paths, path, |text| S3SettingFault::Path { text }, &mut faults);
        read_all(&raw.queues, |url| is_queue(url).then_some(()), |text| S3SettingFault::Queue { text }, &mut faults);
        read_all(&raw.accounts, |id| is_account(id).then_some(()), |text| S3SettingFault::Account { text }, &mut faults);
        let organization = |id: &str| id.starts_with("o-").then_some(());
        read_all(&raw.organizations, organization, |text| S3SettingFault::Organization { text }, &mut faults);
        let since = read_time("since", raw.since.as_deref(), &mut faults);
        let until = read_time("until", raw.until.as_deref(), &mut faults);
        let wait = read_duration("queue_wait", raw.queue_wait.as_deref(), WAIT, 0..=10, &mut faults);
        let visibility = read_duration("queue_visibility", raw.queue_visibility.as_deref(), VISIBILITY, 1..=43_200, &mut faults);
        let is_empty = raw.paths.is_empty() && raw.queues.is_empty();
        let relations = [
            (is_empty, S3SettingFault::Nothing),
            (!is_empty && mode != S3Mode::Notifications && raw.paths.is_empty(), S3SettingFault::NoPath),
            (!is_empty && mode != S3Mode::Listing && raw.queues.is_empty(), S3SettingFault::NoQueue),
            (mode == S3Mode::Listing && !raw.queues.is_empty(), S3SettingFault::UnreadQueues),
            (matches!((since, until), (Some(since), Some(until)) if until <= since), S3SettingFault::Reversed),
        ];
        faults.extend(relations.into_iter().filter_map(|(wrong, fault)| wrong.then_some(fault)));
        if !faults.is_empty() {
            return Err(S3SettingsError { faults });
        }
        let aws = AwsSettings { region: raw.region, endpoint: raw.endpoint, profile: raw.profile };
        let allowed = Allowed { accounts: raw.accounts, organizations: raw.organizations };
        Ok(Self { aws, mode, queues: raw.queues, paths, allowed, bounds: Bounds { since, until }, wait, visibility })
    }
}

/// Reads each text, or notes what is wrong with it.
fn read_all<T>(
    texts: &[String],
    read: impl Fn(&str) -> Option<T>,
    fault: impl Fn(String) -> S3SettingFault,
    faults: &mut Vec<S3SettingFault>,
) -> Vec<T> {
    let one = |text: &String| {
        let value = read(text);
        if value.is_none() {
            faults.push(fault(text.clone()));
        }
        value
    };
    texts.iter().filter_map(one).collect()
}

/// Takes `s3://BUCKET/KEY` apart.
pub(super) fn split_uri(uri: &str) -> Option<(&str, &str)> {
    let rest = uri.strip_prefix("s3://")?;
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    let named = bucket.len() >= 3 && bucket.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
    named.then_some((bucket, key))
}

fn path(uri: &str) -> Option<Path> {
    let (bucket, prefix) = split_uri(uri)?;
    Some(Path { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
}

fn is_queue(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    rest.and_then(|rest| rest.split_once('/')).is_some_and(|(host, path)| !host.is_empty() && !path.is_empty())
}

fn is_account(id: &str) -> bool {
    id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_digit())
}

/// Reads a day, whose first moment is meant, or a moment.
pub(crate) fn time(text: &str) -> Option<Micros> {
    let moment = || Micros::parse_utc(text.as_bytes());
    if text.len() == 10 { parse_day(text).map(|day| Micros(i64::from(day) * DAY)) } else { moment() }
}

fn read_time(field: &'static str, text: Option<&str>, faults: &mut Vec<S3SettingFault>) -> Option<Micros> {
    let text = text?;
    let value = time(text);
    if value.is_none() {
        faults.push(S3SettingFault::Time { field, text: text.to_owned() });
    }
    value
}

fn read_duration(
    field: &'static str,
    text: Option<&str>,
    default: Duration,
    allowed: std::ops::RangeInclusive<u64>,
    faults: &mut Vec<S3SettingFault>,
) -> Duration {
    let Some(text) = text else { return default };
    let seconds = [("s", 1), ("m", 60), ("h", 3600)].into_iter().find_map(|(unit, seconds)| {
        let number: u64 = text.strip_suffix(unit)?.trim_end().parse().ok()?;
        number.checked_mul(seconds)
    });
    match seconds.filter(|seconds| allowed.contains(seconds)) {
        Some(seconds) => Duration::from_secs(seconds),
        None => {
            let (least, most) = (*allowed.start(), *allowed.end());
            faults.push(S3SettingFault::Duration { field, text: text.to_owned(), least, most });
            default
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> Result<S3Settings, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn settings_are_read() {
        let settings =
            raw(r#"{"paths": ["s3://logs", "s3://org-logs/bedrock/"], "queues": ["https://sqs.eu-central-1.amazonaws.com/111122223333/q"],
                "accounts": ["111122223333"], "since": "2026-10-01", "until": "2026-10-02T12:00:00Z", "region": "eu-central-1",
                "queue_wait": "1s", "queue_visibility": "10m"}"#)
            .expect("settings");
        assert_eq!(settings.mode, S3Mode::Notifications);
        assert_eq!(settings.paths[1], Path { bucket: "org-logs".to_owned(), prefix: "bedrock/".to_owned() });
        assert_eq!(settings.bounds.since, Micros::parse_utc(b"2026-10-01T00:00:00Z"));
        assert_eq!(settings.bounds.until, Micros::parse_utc(b"2026-10-02T12:00:00Z"));
        assert_eq!((settings.wait.as_secs(), settings.visibility.as_secs()), (1, 600));
        assert_eq!(settings.aws.region.as_deref(), Some("eu-central-1"));
        assert_eq!(raw(r#"{"paths": ["s3://logs"]}"#).expect("settings").mode, S3Mode::Listing);
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let raw = RawS3Settings {
            paths: vec!["logs/".to_owned()],
            queues: vec!["my-queue".to_owned()],
            mode: Some(S3Mode::Listing),
            accounts: vec!["1".to_owned()],
            organizations: vec!["acme".to_owned()],
            since: Some("2026-10-02".to_owned()),
            until: Some("2026-10-01".to_owned()),
            queue_wait: Some("1 day".to_owned()),
            queue_visibility: Some("13h".to_owned()),
            ..RawS3Settings::default()
        };
        let error = S3Settings::try_from(raw).expect_err("faults");
        assert_eq!(error.faults.len(), 8, "{error}");
        assert_eq!(error.class(), ErrorClass::Misconfigured);
        let none = S3Settings::try_from(RawS3Settings { mode: Some(S3Mode::Both), ..RawS3Settings::default() }).expect_err("faults");
        assert_eq!(none.faults, [S3SettingFault::Nothing]);
    }

    #[test]
    fn a_queue_alone_is_enough_and_a_listing_needs_a_path() {
        let queue = "https://sqs.us-east-1.amazonaws.com/111122223333/trail";
        let with = |paths: &[&str], queues: &[&str], mode| {
            let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
            S3Settings::try_from(RawS3Settings { paths: owned(paths), queues: owned(queues), mode, ..RawS3Settings::default() })
                .map_err(|error| error.faults)
        };
        let alone = with(&[], &[queue], None).expect("settings");
        assert_eq!((alone.mode, alone.places()), (S3Mode::Notifications, vec![queue.to_owned()]));
        assert!(alone.takes("any-bucket", "any/key"));
        let named = with(&["s3://logs/AWSLogs/"], &[queue], None).expect("settings");
        assert!(named.takes("logs", "AWSLogs/x") && !named.takes("logs", "other/x") && !named.takes("logs-2", "AWSLogs/x"));
        assert_eq!(with(&[], &[queue], Some(S3Mode::Both)).expect_err("faults"), [S3SettingFault::NoPath]);
        assert_eq!(with(&[], &[queue], Some(S3Mode::Listing)).expect_err("faults"), [S3SettingFault::NoPath, S3SettingFault::UnreadQueues]);
        assert_eq!(with(&["s3://logs"], &[], Some(S3Mode::Both)).expect_err("faults"), [S3SettingFault::NoQueue]);
    }

    #[test]
    fn unknown_keys_are_refused() {
        assert!(raw(r#"{"paths": ["s3://logs"], "prefix": "x"}"#).is_err());
    }
}
