//! What the services do on bad days: throttle, refuse, break off, lose an answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use sluice_ingest::cloudwatch_logs::{LogsSettings, LogsSource, RawLogsSettings};
use sluice_ingest::s3::RawS3Settings;
use sluice_schemas::RejectReason;

use crate::harness::{Aws, Ledger, eventually, gzip, log};
use crate::logs::Group;
use crate::proxy::{Verdict, json_error, s3_error, start};

/// Lets something happen to the first `times` requests that match.
fn first(times: u32, matches: &'static str, fault: impl Fn() -> Verdict + Send + Sync + 'static) -> impl Fn(&str) -> Verdict + Send + Sync {
    let seen = AtomicU32::new(0);
    move |head| if head.contains(matches) && seen.fetch_add(1, Ordering::Relaxed) < times { fault() } else { Verdict::Forward }
}

fn listing(aws: &Aws) -> RawS3Settings {
    RawS3Settings { paths: vec![aws.path("")], ..RawS3Settings::default() }
}

#[test]
fn throttling_and_broken_answers_cost_time_and_nothing_else() {
    let Some(aws) = Aws::live() else { return };
    aws.create_bucket(false);
    for id in 0..5 {
        aws.put(&format!("{id}.json.gz"), gzip(&log([id])));
    }
    // More often than the client itself repeats a call.
    let slow = first(4, "GET /", || s3_error(503, "SlowDown", "Please reduce your request rate."));
    let broken = first(2, "/3.json.gz", || Verdict::BreakOff);
    let lost = first(1, "/4.json.gz", || Verdict::LoseAnswer);
    let url = start(&aws.url, move |head| match slow(head) {
        Verdict::Forward => match broken(head) {
            Verdict::Forward => lost(head),
            other => other,
        },
        other => other,
    });
    let mut ledger = Ledger::default();
    ledger.read(&mut aws.through(&url).source(listing(&aws), &ledger), |_| false);
    assert_eq!(ledger.calls, [0, 1, 2, 3, 4]);
    assert!(ledger.rejected.is_empty());
}

#[test]
fn a_large_object_survives_a_broken_stretch() {
    let Some(aws) = Aws::live() else { return };
    aws.create_bucket(false);
    aws.put("large.jsonl", log(0..100_000).into_bytes());
    let url = start(&aws.url, first(2, "range: bytes=8388608-", || Verdict::BreakOff));
    let mut ledger = Ledger::default();
    ledger.read(&mut aws.through(&url).source(listing(&aws), &ledger), |_| false);
    assert_eq!(ledger.calls, (0..100_000).collect::<Vec<_>>());
}

#[test]
fn a_denied_object_becomes_a_row_stays_in_the_queue_and_is_read_once_it_may_be() {
    let Some(aws) = Aws::live() else { return };
    aws.create_bucket(false);
    let queue = aws.create_queue();
    aws.put("closed.json.gz", gzip(&log([1])));
    aws.put("open.json.gz", gzip(&log([2])));
    let denied = Arc::new(AtomicBool::new(true));
    let is_denied = Arc::clone(&denied);
    let url = start(&aws.url, move |head| {
        let message = "User: x is not authorized to perform: kms:Decrypt on resource: arn:aws:kms:r:1:key/k";
        let fault = is_denied.load(Ordering::Relaxed) && head.contains("/closed.json.gz");
        if fault { s3_error(403, "AccessDenied", message) } else { Verdict::Forward }
    });
    let proxied = aws.through(&url);
    let mut ledger = Ledger::default();
    let raw = RawS3Settings {
        queues: vec![queue.clone()],
        queue_wait: Some("0s".to_owned()),
        queue_visibility: Some("3s".to_owned()),
        ..listing(&aws)
    };
    let mut source = proxied.source(raw, &ledger);
    ledger.read(&mut source, |ledger| ledger.calls == [2] && ledger.rejected.len() == 1);
    let RejectReason::Unreadable { message } = &ledger.rejected[0].1.reason else { panic!("{:?}", ledger.rejected) };
    assert!(message.contains("AccessDenied") && message.contains("allow kms:Decrypt on the key"), "{message}");
    ledger.commit();
    eventually("one message", || {
        let (visible, hidden) = aws.messages(&queue);
        visible + hidden == 1
    });
    denied.store(false, Ordering::Relaxed);
    ledger.read(&mut source, |ledger| ledger.calls == [2, 1]);
    ledger.commit();
    eventually("an empty queue", || aws.messages(&queue) == (0, 0));
    assert_eq!(ledger.rejected.len(), 1, "told once");
}

#[test]
fn a_queue_that_fails_in_passing_loses_and_doubles_nothing() {
    let Some(aws) = Aws::live() else { return };
    aws.create_bucket(false);
    let queue = aws.create_queue();
    for id in 0..25 {
        aws.put(&format!("{id}.json.gz"), gzip(&log([id])));
    }
    let receive =
        first(4, "AmazonSQS.ReceiveMessage", || json_error("com.amazonaws.sqs#InternalError", "We encountered an internal error"));
    // The messages of a lost answer are hidden and come again; a deletion of a lost answer is repeated.
    let lost = first(5, "AmazonSQS.ReceiveMessage", || Verdict::LoseAnswer);
    let delete = first(2, "AmazonSQS.DeleteMessageBatch", || Verdict::LoseAnswer);
    let url = start(&aws.url, move |head| match receive(head) {
        Verdict::Forward => match lost(head) {
            Verdict::Forward => delete(head),
            other => other,
        },
        other => other,
    });
    let proxied = aws.through(&url);
    let mut ledger = Ledger::default();
    let raw = RawS3Settings {
        queues: vec![queue.clone()],
        queue_wait: Some("0s".to_owned()),
        queue_visibility: Some("3s".to_owned()),
        ..listing(&aws)
    };
    let mut source = proxied.source(raw, &ledger);
    ledger.read(&mut source, |ledger| ledger.calls.len() == 25);
    ledger.commit();
    eventually("an empty queue", || aws.messages(&queue) == (0, 0));
    assert_eq!(ledger.sorted(), (0..25).collect::<Vec<_>>());
}

#[test]
fn a_log_group_is_throttled_and_forgets_its_tokens() {
    let Some(group) = Group::live() else { return };
    group.write(0..9_000, 0, 0);
    group.write(9_000..18_000, 1, 0);
    group.write(18_000..21_000, 2, 0);
    let throttled = first(4, "Logs_20140328.FilterLogEvents", || json_error("ThrottlingException", "Rate exceeded"));
    let calls = AtomicU32::new(0);
    let url = start(&group.aws.url, move |head| match throttled(head) {
        // The second page: its token has lapsed.
        Verdict::Forward if head.contains("FilterLogEvents") && calls.fetch_add(1, Ordering::Relaxed) == 1 => {
            json_error("InvalidParameterException", "The specified nextToken is invalid.")
        }
        other => other,
    });
    let proxied = group.aws.through(&url);
    let mut ledger = Ledger::default();
    let raw = RawLogsSettings { group: format!("logs://{}", group.name), ..RawLogsSettings::default() };
    let settings = LogsSettings::try_from(raw).expect("settings");
    let mut source = LogsSource::open(settings, &ledger.positions, proxied.runtime.handle().clone(), &proxied.config);
    ledger.read(&mut source, |_| false);
    assert_eq!(ledger.calls, (0..21_000).collect::<Vec<_>>());
}
