//! A CloudWatch Logs group read once over a stretch of time: the backfill of accounts that log nowhere else.
//!
//! Owns: that a run that goes on where another stopped neither loses nor doubles an event. Does not own: following a group as
//! it grows; a subscription to a stream does that. Upholds C3: a group is one shard whose position is a moment.

mod boundary;
mod pager;

use std::path::PathBuf;
use std::time::Duration;

use aws_config::SdkConfig;
use serde::Deserialize;
use sluice_schemas::position::{Positions, Sequence};
use sluice_schemas::time::MINUTE;
use sluice_schemas::{ErrorClass, Micros, Position, ShardId};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::aws::AwsSettings;
use crate::s3::time;
use crate::source::{Payload, Piece, Poll, Progress, Source, SourceError};
use boundary::{Boundary, Event};
use pager::{Pager, Step};

/// Pages read ahead, of a megabyte each.
const AHEAD: usize = 4;
/// Time after which no event of a moment is expected any more.
const SETTLED: i64 = 2 * MINUTE;

/// Section of the configuration, not yet checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawLogsSettings {
    /// Region of the group.
    pub region: Option<String>,
    /// URL to send every call to, for a VPC endpoint or an emulator.
    pub endpoint: Option<String>,
    /// Profile of the shared AWS configuration files.
    pub profile: Option<String>,
    /// `logs://NAME`, or the ARN of a group that another account shares.
    pub group: String,
    /// First day or moment to read; from the first event on if absent.
    pub since: Option<String>,
    /// First day or moment not to read; up to two minutes ago if absent.
    pub until: Option<String>,
}

/// What is to be read of a log group.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawLogsSettings")]
pub struct LogsSettings {
    /// How AWS is reached.
    pub aws: AwsSettings,
    group: String,
    since_ms: u64,
    until_ms: Option<u64>,
}

/// What is wrong with a setting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogsSettingFault {
    /// Not the address of a log group.
    #[error("'group': {text:?} is neither logs://NAME nor the ARN of a log group")]
    Group {
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
}

/// Settings that cannot be used, with everything that is wrong with them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("CloudWatch Logs source: {}", .faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct LogsSettingsError {
    /// What is wrong.
    pub faults: Vec<LogsSettingFault>,
}

impl LogsSettingsError {
    /// Returns what the failure asks of the caller.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        ErrorClass::Misconfigured
    }
}

impl LogsSettings {
    /// Returns the name or ARN of the group.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.group
    }
}

impl TryFrom<RawLogsSettings> for LogsSettings {
    type Error = LogsSettingsError;

    fn try_from(raw: RawLogsSettings) -> Result<Self, LogsSettingsError> {
        let mut faults = Vec::new();
        let group = raw.group.strip_prefix("logs://").or_else(|| raw.group.starts_with("arn:").then_some(&*raw.group));
        let group = group.map_or("", |group| group.trim_end_matches(":*"));
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_-/.#:".contains(&byte);
        if group.is_empty() || !group.bytes().all(is_name) {
            faults.push(LogsSettingFault::Group { text: raw.group.clone() });
        }
        let mut read = |field, text: Option<&str>| {
            let millis = text.map(|text| time(text).and_then(|at| u64::try_from(at.0 / 1_000).ok()).ok_or_else(|| text.to_owned()));
            millis.transpose().unwrap_or_else(|text| {
                faults.push(LogsSettingFault::Time { field, text });
                None
            })
        };
        let (since, until_ms) = (read("since", raw.since.as_deref()), read("until", raw.until.as_deref()));
        let since_ms = since.unwrap_or(0);
        if until_ms.is_some_and(|until| until <= since_ms) {
            faults.push(LogsSettingFault::Reversed);
        }
        if !faults.is_empty() {
            return Err(LogsSettingsError { faults });
        }
        let aws = AwsSettings { region: raw.region, endpoint: raw.endpoint, profile: raw.profile };
        Ok(Self { aws, group: group.to_owned(), since_ms, until_ms })
    }
}

/// A log group as a source.
#[derive(Debug)]
pub struct LogsSource {
    handle: Handle,
    client: aws_sdk_cloudwatchlogs::Client,
    region: String,
    settings: LogsSettings,
    shard: ShardId,
    position: Option<Position>,
    /// Where this run began and where it ends, in milliseconds.
    span: (u64, u64),
    steps: Option<mpsc::Receiver<Result<Step, SourceError>>>,
    pager: JoinSet<()>,
    state: State,
    progress: Progress,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Reading,
    Ended,
    Failed(ErrorClass),
}

impl LogsSource {
    /// Opens the group, to be read on from where `start` left it. `handle` is of a runtime of several threads; polls must not
    /// come from one of them.
    #[must_use]
    pub fn open(settings: LogsSettings, start: &Positions, handle: Handle, config: &SdkConfig) -> Self {
        let region = config.region().map(ToString::to_string).unwrap_or_default();
        let shard = if settings.group.starts_with("arn:") {
            format!("logs:{}", settings.group)
        } else {
            format!("logs:{region}/{}", settings.group)
        };
        let position = start.get(&shard).filter(|known| continues(known, settings.since_ms)).cloned();
        let client = aws_sdk_cloudwatchlogs::Client::new(config);
        let progress = Progress { files_total: 1, current: Some(PathBuf::from(&shard)), ..Progress::default() };
        let pager = JoinSet::new();
        Self { handle, client, region, settings, shard, position, span: (0, 0), steps: None, pager, state: State::Reading, progress }
    }

    /// Starts to read; what has not settled at `now` is left to a later run.
    fn start(&mut self, now: Micros) -> mpsc::Receiver<Result<Step, SourceError>> {
        let settled = u64::try_from(now.plus(-SETTLED).0 / 1_000).unwrap_or(0);
        let from = self.position.as_ref().map_or(self.settings.since_ms, |position| position.offset);
        let until_ms = self.settings.until_ms.map_or(settled, |until| until.min(settled)).max(from);
        self.span = (from, until_ms);
        let (steps, receiver) = mpsc::channel(AHEAD);
        let (client, region, group) = (self.client.clone(), self.region.clone(), self.settings.group.clone());
        let pager = Pager { client, region, group, boundary: Boundary::new(from, until_ms), until_ms, steps };
        if from < until_ms {
            self.pager.spawn_on(pager.run(), &self.handle);
        } else {
            self.state = State::Ended;
        }
        receiver
    }

    /// Makes a piece of a step that brings events or leads further.
    fn piece(&mut self, step: Step, now: Micros) -> Option<Piece> {
        let identity = self.position.as_ref().map_or_else(|| identity(self.settings.since_ms), |position| position.identity.clone());
        let source_bytes = step.events.iter().map(|event| event.message.len() as u64).sum();
        let to = Position { offset: step.at_ms, identity: identity.clone(), ..Position::default() };
        self.progress.bytes_done += source_bytes;
        self.estimate(step.at_ms);
        if step.events.is_empty() && self.position.as_ref() == Some(&to) {
            return None;
        }
        Some(Piece {
            accepts: None,
            shard: self.shard.clone(),
            from: self.position.replace(to),
            payload: Payload::Records(step.events.into_iter().map(Event::record).collect()),
            arrival: now,
            base_offset: 0,
            identity,
            to: Some(step.at_ms),
            sequence: Sequence::default(),
            ended: false,
            source_bytes,
        })
    }

    /// Estimates the bytes to come by the time that is left: the service tells no total.
    fn estimate(&mut self, at_ms: u64) {
        let (from, until) = self.span;
        let (done, whole) = (u128::from(at_ms.saturating_sub(from)).max(1), u128::from(until.saturating_sub(from)));
        let total = u128::from(self.progress.bytes_done) * whole.max(done) / done;
        self.progress.bytes_total = u64::try_from(total).unwrap_or(u64::MAX);
    }

    fn take(&mut self, step: Option<Result<Step, SourceError>>, now: Micros) -> Result<Poll, SourceError> {
        match step {
            Some(Ok(step)) => {
                if step.is_last {
                    self.state = State::Ended;
                    (self.progress.files_done, self.progress.current) = (1, None);
                }
                Ok(self.piece(step, now).map_or(Poll::Idle, Poll::Piece))
            }
            Some(Err(error)) => {
                self.state = State::Failed(error.class());
                Err(error)
            }
            None => {
                self.state = State::Failed(ErrorClass::Bug);
                Err(self.given_up(ErrorClass::Bug))
            }
        }
    }

    fn given_up(&self, class: ErrorClass) -> SourceError {
        SourceError::Service {
            resource: self.settings.group.clone(),
            problem: "it was given up after a failure".to_owned(),
            fix: "start again once its cause is gone".to_owned(),
            class,
            source: None,
        }
    }
}

/// Identity of a reading that began at a millisecond: its position says nothing of the time before.
fn identity(since_ms: u64) -> String {
    format!("since:{since_ms}")
}

/// Tells whether a reading from `since_ms` on may go on at a position: it must have begun no later and left no hole.
fn continues(known: &Position, since_ms: u64) -> bool {
    let began = known.identity.strip_prefix("since:").and_then(|began| began.parse::<u64>().ok());
    began.is_some_and(|began| began <= since_ms) && since_ms <= known.offset
}

impl Source for LogsSource {
    fn poll(&mut self, wait: Duration, now: Micros) -> Result<Poll, SourceError> {
        let mut steps = match self.steps.take() {
            Some(steps) => steps,
            None => self.start(now),
        };
        let polled = match self.state {
            State::Ended => Ok(Poll::Ended),
            State::Failed(class) => Err(self.given_up(class)),
            State::Reading => match self.handle.block_on(async { timeout(wait, steps.recv()).await }) {
                Ok(step) => self.take(step, now),
                Err(_) => Ok(Poll::Idle),
            },
        };
        self.steps = Some(steps);
        polled
    }

    fn progress(&self) -> Progress {
        self.progress.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_and_all_faults_told() {
        let raw = RawLogsSettings {
            group: "logs:///aws/bedrock/calls".to_owned(),
            since: Some("2026-10-01".to_owned()),
            ..RawLogsSettings::default()
        };
        let settings = LogsSettings::try_from(raw).expect("settings");
        assert_eq!((settings.group.as_str(), settings.since_ms), ("/aws/bedrock/calls", 1_790_812_800_000));
        let raw = RawLogsSettings {
            group: "calls".to_owned(),
            since: Some("yesterday".to_owned()),
            until: Some("1970-01-01".to_owned()),
            ..RawLogsSettings::default()
        };
        let error = LogsSettings::try_from(raw).expect_err("faults");
        assert_eq!(error.faults.len(), 3, "{error}");
    }

    #[test]
    fn a_position_is_gone_on_from_only_without_a_hole() {
        let known = |identity: &str, offset| Position { identity: identity.to_owned(), offset, ..Position::default() };
        assert!(continues(&known("since:100", 200), 100));
        assert!(continues(&known("since:100", 200), 150), "a narrower stretch lies within what was read");
        assert!(!continues(&known("since:100", 200), 50), "what lies before was never read");
        assert!(!continues(&known("since:100", 200), 201), "what lies between would count as read");
        assert!(!continues(&known("", 200), 100));
    }
}
