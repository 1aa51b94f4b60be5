//! Backfill from CloudWatch Logs: pages, the end of the wanted time, and a run that goes on where another stopped.

use std::time::Duration;

use aws_sdk_cloudwatchlogs::Client;
use aws_sdk_cloudwatchlogs::types::InputLogEvent;
use sluice_ingest::cloudwatch_logs::{LogsSettings, LogsSource, RawLogsSettings};
use sluice_ingest::source::{Poll, Source};
use sluice_schemas::{Clock, Micros, SystemClock};

use crate::harness::{Aws, Ledger, REGION, log};

const STREAM: &str = "aws/bedrock/modelinvocations";

pub(crate) struct Group {
    pub(crate) aws: Aws,
    client: Client,
    pub(crate) name: String,
    /// An hour ago, in milliseconds.
    base: i64,
}

impl Group {
    pub(crate) fn live() -> Option<Self> {
        let aws = Aws::live()?;
        let (client, name) = (Client::new(&aws.config), format!("/bedrock/{}", aws.bucket));
        aws.runtime.block_on(client.create_log_group().log_group_name(&name).send()).expect("a group");
        aws.runtime.block_on(client.create_log_stream().log_group_name(&name).log_stream_name(STREAM).send()).expect("a stream");
        Some(Self { aws, client, name, base: SystemClock.now().0 / 1_000 - 3_600_000 })
    }

    /// Writes one event for each id, `step` milliseconds apart.
    pub(crate) fn write(&self, ids: std::ops::Range<u32>, at: i64, step: i64) {
        let event = |id: u32| {
            let time = self.base + at + i64::from(id - ids.start) * step;
            InputLogEvent::builder().timestamp(time).message(log([id]).trim()).build().expect("an event")
        };
        let events = ids.clone().map(event).collect();
        let put = self.client.put_log_events().log_group_name(&self.name).log_stream_name(STREAM).set_log_events(Some(events));
        self.aws.runtime.block_on(put.send()).expect("a put");
    }

    fn source(&self, ledger: &Ledger, since: i64, until: Option<i64>) -> LogsSource {
        let text = |at: i64| Micros((self.base + at) * 1_000).to_string();
        let raw = RawLogsSettings {
            group: format!("logs://{}", self.name),
            since: Some(text(since)),
            until: until.map(text),
            ..RawLogsSettings::default()
        };
        let settings = LogsSettings::try_from(raw).expect("settings");
        LogsSource::open(settings, &ledger.positions, self.aws.runtime.handle().clone(), &self.aws.config)
    }
}

#[test]
fn a_stretch_of_time_is_read_in_pages_and_read_on() {
    let Some(group) = Group::live() else { return };
    // More than a page of ten thousand, several in each millisecond.
    group.write(0..6_000, 0, 0);
    group.write(6_000..12_000, 1, 0);
    group.write(12_000..12_100, 1_000, 10);
    let mut ledger = Ledger::default();
    let mut source = group.source(&ledger, 0, Some(1_500));
    ledger.read(&mut source, |_| false);
    assert_eq!(ledger.calls, (0..12_050).collect::<Vec<_>>());
    assert_eq!(source.progress().files_done, 1);
    assert_eq!(source.progress().bytes_done, source.progress().bytes_total);
    let shard = format!("logs:{REGION}/{}", group.name);
    assert_eq!(ledger.positions[&shard].offset, (group.base + 1_500) as u64);

    // Later, with a later end.
    ledger.calls.clear();
    let mut source = group.source(&ledger, 0, None);
    ledger.read(&mut source, |_| false);
    assert_eq!(ledger.calls, (12_050..12_100).collect::<Vec<_>>());
    assert!(ledger.rejected.is_empty());
}

#[test]
fn a_crash_between_pages_neither_loses_nor_doubles() {
    let Some(group) = Group::live() else { return };
    group.write(0..9_000, 0, 0);
    group.write(9_000..18_000, 1, 0);
    group.write(18_000..21_000, 2, 0);
    let mut ledger = Ledger::default();
    let mut source = group.source(&ledger, 0, Some(100));
    ledger.read(&mut source, |ledger| !ledger.calls.is_empty());
    drop(source);
    assert_eq!(ledger.calls.len(), 9_000, "the second millisecond is not complete yet");
    let mut source = group.source(&ledger, 0, Some(100));
    ledger.read(&mut source, |_| false);
    assert_eq!(ledger.calls, (0..21_000).collect::<Vec<_>>());
}

#[test]
fn a_group_that_does_not_exist_says_what_to_do() {
    let Some(mut group) = Group::live() else { return };
    group.name = "nowhere".to_owned();
    let mut source = group.source(&Ledger::default(), 0, None);
    let error = loop {
        match source.poll(Duration::from_secs(1), SystemClock.now()) {
            Ok(Poll::Idle) => {}
            Ok(other) => panic!("{other:?}"),
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.contains("ResourceNotFoundException") && error.contains(REGION), "{error}");
    source.poll(Duration::ZERO, SystemClock.now()).expect_err("it stays failed");
}
