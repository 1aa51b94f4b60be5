//! The `[[notify]]` tables: who is told of breaches and of what becomes of holds.
//!
//! Secrets stand in the environment or in files and are read when a receiver is made, so that a configuration can be checked, shown and
//! kept anywhere.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sluice_enforce::actions::{EventBridgeSettings, PAGERDUTY_URL, SnsSettings};
use sluice_enforce::notice::{Filter, Severity};

/// A table as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawNotify {
    kind: String,
    topic_arn: Option<String>,
    bus: Option<String>,
    region: Option<String>,
    url: Option<String>,
    url_env: Option<String>,
    url_file: Option<PathBuf>,
    routing_key_env: Option<String>,
    routing_key_file: Option<PathBuf>,
    path: Option<PathBuf>,
    per_second: Option<u32>,
    severity: Option<String>,
    #[serde(default)]
    agents: Vec<String>,
    #[serde(default)]
    teams: Vec<String>,
}

/// Who is told, and of what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NotifyConfig {
    /// Whom.
    pub(crate) to: NotifyTo,
    /// Of what.
    pub(crate) filter: Filter,
}

/// A receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotifyTo {
    /// An SNS topic.
    Sns(SnsSettings),
    /// An EventBridge bus.
    EventBridge(EventBridgeSettings),
    /// A Slack-compatible incoming webhook.
    Slack(Secret),
    /// A PagerDuty integration: where events go, and its routing key.
    PagerDuty(String, Secret),
    /// Any URL.
    Webhook(Secret),
    /// A file.
    File(PathBuf),
}

#[cfg(feature = "aws")]
impl NotifyTo {
    /// Tells whether it is a service of AWS.
    pub(crate) const fn calls_aws(&self) -> bool {
        matches!(self, Self::Sns(_) | Self::EventBridge(_))
    }
}

/// Where a secret is.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Secret {
    /// In the configuration itself.
    Plain(String),
    /// In a variable of the environment.
    Env(String),
    /// In a file, which holds nothing else.
    File(PathBuf),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(_) => f.write_str("Plain(…)"),
            Self::Env(name) => write!(f, "Env({name})"),
            Self::File(path) => write!(f, "File({})", path.display()),
        }
    }
}

impl Secret {
    /// Reads it.
    ///
    /// # Errors
    /// The variable or the file is not there or is empty.
    pub(crate) fn read(&self) -> anyhow::Result<String> {
        let (text, place) = match self {
            Self::Plain(text) => (text.clone(), String::new()),
            Self::Env(name) => (std::env::var(name).unwrap_or_default(), format!("the variable {name}")),
            Self::File(path) => {
                let text = std::fs::read_to_string(path).map_err(|error| anyhow::anyhow!("cannot read {}: {error}", path.display()))?;
                (text, path.display().to_string())
            }
        };
        let text = text.trim();
        anyhow::ensure!(!text.is_empty(), "{place} holds no secret");
        Ok(text.to_owned())
    }
}

impl fmt::Display for NotifyTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sns(sns) => f.write_str(&sns.topic),
            Self::EventBridge(bus) => write!(f, "eventbridge {} in {}", bus.bus, bus.region),
            Self::Slack(url) => write!(f, "slack {url:?}"),
            Self::PagerDuty(_, key) => write!(f, "pagerduty {key:?}"),
            Self::Webhook(url) => write!(f, "webhook {url:?}"),
            Self::File(path) => write!(f, "file {}", path.display()),
        }
    }
}

/// Reads the tables; every fault is appended to `faults`.
pub(super) fn check(tables: Vec<toml::Table>, base: &Path, faults: &mut Vec<String>) -> Vec<NotifyConfig> {
    let mut all: Vec<NotifyConfig> = Vec::new();
    for (number, table) in tables.into_iter().enumerate() {
        let mut found = Vec::new();
        let raw: Result<RawNotify, _> = table.try_into();
        let read = match raw {
            Ok(raw) => one(raw, base, &mut found),
            Err(error) => {
                found.push(error.to_string().trim_end().replace('\n', " "));
                None
            }
        };
        if let Some(config) = read {
            if all.iter().any(|other| other.to == config.to) {
                found.push("the same receiver is named twice: receipts are kept by receiver".to_owned());
            }
            all.push(config);
        }
        faults.extend(found.into_iter().map(|fault| format!("notify {}: {fault}", number + 1)));
    }
    all
}

fn one(raw: RawNotify, base: &Path, faults: &mut Vec<String>) -> Option<NotifyConfig> {
    let severity = raw.severity.as_deref().unwrap_or("info");
    let least = Severity::parse(severity).unwrap_or_else(|| {
        faults.push(format!("severity: '{severity}' is not info, warning or critical"));
        Severity::Info
    });
    if raw.per_second == Some(0) {
        faults.push("per_second: at least 1".to_owned());
    }
    foreign(&raw, faults);
    let to = match raw.kind.as_str() {
        "sns" => {
            let topic = needed(raw.topic_arn.as_ref(), "topic_arn", faults)?.clone();
            if topic.split(':').collect::<Vec<_>>().get(2) != Some(&"sns") {
                faults.push(format!("topic_arn: '{topic}' is not the ARN of a topic: arn:aws:sns:REGION:ACCOUNT:NAME"));
            }
            NotifyTo::Sns(SnsSettings { topic, per_second: raw.per_second.unwrap_or(SnsSettings::PER_SECOND) })
        }
        "eventbridge" => {
            let bus = raw.bus.clone().unwrap_or_else(|| "default".to_owned());
            let of_arn = bus.strip_prefix("arn:").and_then(|rest| rest.split(':').nth(2)).map(str::to_owned);
            let region = needed(raw.region.clone().or(of_arn).as_ref(), "region", faults)?.clone();
            let per_second = raw.per_second.unwrap_or(EventBridgeSettings::PER_SECOND);
            NotifyTo::EventBridge(EventBridgeSettings { bus, region, per_second })
        }
        "slack" => NotifyTo::Slack(secret("url", [raw.url, raw.url_env], raw.url_file, base, faults)?),
        "webhook" => NotifyTo::Webhook(secret("url", [raw.url, raw.url_env], raw.url_file, base, faults)?),
        "pagerduty" => {
            let key = secret("routing_key", [None, raw.routing_key_env], raw.routing_key_file, base, faults)?;
            let url = raw.url.unwrap_or_else(|| PAGERDUTY_URL.to_owned());
            check_url(&url, faults);
            NotifyTo::PagerDuty(url, key)
        }
        "file" => NotifyTo::File(base.join(needed(raw.path.as_ref(), "path", faults)?)),
        other => {
            faults.push(format!("kind: '{other}' is not sns, eventbridge, slack, pagerduty, webhook or file"));
            return None;
        }
    };
    Some(NotifyConfig { to, filter: Filter { least, agents: raw.agents, teams: raw.teams } })
}

/// Tells of keys that mean nothing to this kind of receiver: a filter or a secret in the wrong place would be passed over silently.
fn foreign(raw: &RawNotify, faults: &mut Vec<String>) {
    let given = [
        ("topic_arn", raw.topic_arn.is_some(), &["sns"][..]),
        ("bus", raw.bus.is_some(), &["eventbridge"]),
        ("region", raw.region.is_some(), &["eventbridge"]),
        ("url", raw.url.is_some(), &["slack", "webhook", "pagerduty"]),
        ("url_env", raw.url_env.is_some(), &["slack", "webhook"]),
        ("url_file", raw.url_file.is_some(), &["slack", "webhook"]),
        ("routing_key_env", raw.routing_key_env.is_some(), &["pagerduty"]),
        ("routing_key_file", raw.routing_key_file.is_some(), &["pagerduty"]),
        ("path", raw.path.is_some(), &["file"]),
        ("per_second", raw.per_second.is_some(), &["sns", "eventbridge"]),
    ];
    for (key, is_given, kinds) in given {
        if is_given && !kinds.contains(&raw.kind.as_str()) {
            faults.push(format!("{key}: means nothing to a receiver of kind {}", raw.kind));
        }
    }
}

fn needed<'a, T: ?Sized>(value: Option<&'a T>, key: &str, faults: &mut Vec<String>) -> Option<&'a T> {
    if value.is_none() {
        faults.push(format!("{key}: is missing"));
    }
    value
}

fn secret(key: &str, [plain, env]: [Option<String>; 2], file: Option<PathBuf>, base: &Path, faults: &mut Vec<String>) -> Option<Secret> {
    let file = file.map(|file| Secret::File(base.join(file)));
    let mut given = [plain.map(Secret::Plain), env.map(Secret::Env), file].into_iter().flatten();
    match (given.next(), given.next()) {
        (Some(secret), None) => {
            if let Secret::Plain(url) = &secret {
                check_url(url, faults);
            }
            Some(secret)
        }
        (None, _) => {
            faults.push(format!("{key}_env or {key}_file: is missing"));
            None
        }
        _ => {
            faults.push(format!("{key}: is given in more than one way"));
            None
        }
    }
}

fn check_url(url: &str, faults: &mut Vec<String>) {
    if !url.starts_with("https://") && !url.starts_with("http://") {
        faults.push("url: is not an http(s) address".to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<NotifyConfig>, Vec<String>> {
        let mut faults = Vec::new();
        let table: toml::Table = text.parse().unwrap();
        let tables = table["notify"].clone().try_into().unwrap();
        let read = check(tables, Path::new("/etc/sluice"), &mut faults);
        if faults.is_empty() { Ok(read) } else { Err(faults) }
    }

    #[test]
    fn every_kind_is_read() {
        let all = read(
            "[[notify]]\nkind = 'sns'\ntopic_arn = 'arn:aws:sns:eu-central-1:111122223333:b'\nseverity = 'critical'\nteams = ['t']\n\
             [[notify]]\nkind = 'eventbridge'\nbus = 'arn:aws:events:eu-west-1:111122223333:event-bus/main'\n\
             [[notify]]\nkind = 'slack'\nurl_env = 'SLACK_URL'\n[[notify]]\nkind = 'pagerduty'\nrouting_key_file = 'key'\n\
             [[notify]]\nkind = 'webhook'\nurl = 'https://example.com/T0/secret'\n[[notify]]\nkind = 'file'\npath = 'told.jsonl'\n",
        )
        .unwrap();
        let shown: Vec<String> = all.iter().map(|config| config.to.to_string()).collect();
        let expected = [
            "arn:aws:sns:eu-central-1:111122223333:b",
            "eventbridge arn:aws:events:eu-west-1:111122223333:event-bus/main in eu-west-1",
            "slack Env(SLACK_URL)",
            "pagerduty File(/etc/sluice/key)",
            "webhook Plain(…)",
            "file /etc/sluice/told.jsonl",
        ];
        assert_eq!(shown, expected);
        assert_eq!((all[0].filter.least, all[0].filter.teams.as_slice()), (Severity::Critical, &["t".to_owned()][..]));
        assert!(!format!("{all:?}").contains("secret"));
    }

    #[test]
    fn every_fault_is_told() {
        let faults = read(
            "[[notify]]\nkind = 'sns'\nseverity = 'loud'\n[[notify]]\nkind = 'pager'\n[[notify]]\nkind = 'slack'\nurl = 'x'\nbus = 'b'\n\
             [[notify]]\nkind = 'pagerduty'\n[[notify]]\nkind = 'webhook'\nurl = 'https://x'\nurl_env = 'X'\n[[notify]]\nkind = 'eventbridge'\n\
             [[notify]]\nkind = 'file'\npath = 'a'\n[[notify]]\nkind = 'file'\npath = 'a'\n[[notify]]\nkind = 'file'\npath = 'b'\ntypo = 1\n",
        )
        .unwrap_err();
        let expected = [
            "notify 1: severity: 'loud'",
            "notify 1: topic_arn: is missing",
            "notify 2: kind: 'pager'",
            "notify 3: bus: means nothing",
            "notify 3: url: is not",
            "notify 4: routing_key_env or routing_key_file",
            "notify 5: url: is given in more than one way",
            "notify 6: region: is missing",
            "notify 8: the same receiver",
            "notify 9: ",
        ];
        assert_eq!(faults.len(), expected.len(), "{faults:#?}");
        for (fault, start) in faults.iter().zip(expected) {
            assert!(fault.starts_with(start), "{fault}: {start}");
        }
    }

    #[test]
    fn a_secret_is_read_where_it_is() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(Secret::File(file.path().to_owned()).read().is_err(), "empty");
        std::fs::write(file.path(), "s3cret\n").unwrap();
        assert_eq!(Secret::File(file.path().to_owned()).read().unwrap(), "s3cret");
        assert!(Secret::Env("SLUICE_TEST_NO_SUCH_VARIABLE".to_owned()).read().unwrap_err().to_string().contains("NO_SUCH_VARIABLE"));
    }
}
