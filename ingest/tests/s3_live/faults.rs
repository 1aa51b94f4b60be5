//! What the services do on bad days: throttle, refuse, break off, lose an answer.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sluice_ingest::cloudwatch_logs::{LogsSettings, LogsSource, RawLogsSettings};
use sluice_ingest::s3::{OffloadFetcher, OffloadResult, OffloadedCall, RawS3Settings};
use sluice_ingest::source::{Poll, Source};
use sluice_schemas::{Micros, RejectReason};

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

fn notified(aws: &Aws, queue: &str) -> RawS3Settings {
    let (queue_wait, queue_visibility) = (Some("0s".to_owned()), Some("3s".to_owned()));
    RawS3Settings { queues: vec![queue.to_owned()], queue_wait, queue_visibility, ..listing(aws) }
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
    let mut source = proxied.source(notified(&aws, &queue), &ledger);
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
    let mut source = proxied.source(notified(&aws, &queue), &ledger);
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

#[test]
fn nothing_outside_the_wanted_time_is_even_listed() {
    let Some(aws) = Aws::live() else { return };
    aws.create_bucket(false);
    let folder = "AWSLogs/111122223333/BedrockModelInvocationLogs/eu-central-1";
    for (id, hour) in ["2025/12/31/23", "2026/09/30/22", "2026/09/30/23", "2026/10/01/05", "2026/11/01/00"].into_iter().enumerate() {
        for copy in 0..10 {
            aws.put(&format!("{folder}/{hour}/{copy}.json.gz"), gzip(&log([id as u32 * 10 + copy])));
        }
    }
    let listed = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&listed);
    let url = start(&aws.url, move |head| {
        if head.contains("list-type=2") {
            seen.lock().expect("a lock").push(head.lines().next().unwrap_or_default().replace("%2F", "/"));
        }
        Verdict::Forward
    });
    let mut ledger = Ledger::default();
    let raw = RawS3Settings { since: Some("2026-09-30T23:00:00Z".to_owned()), until: Some("2026-10-02".to_owned()), ..listing(&aws) };
    ledger.read(&mut aws.through(&url).source(raw, &ledger), |_| false);
    assert_eq!(ledger.calls, (20..40).collect::<Vec<_>>());
    let listed = listed.lock().expect("a lock");
    let outside = ["/2025/", "/2026/11/", "/2026/09/30/22"];
    assert!(!listed.iter().any(|line| outside.iter().any(|folder| line.contains(folder))), "{listed:#?}");
}

#[test]
fn bodies_that_may_not_be_read_or_not_yet_are_told_apart() {
    let Some(aws) = Aws::live() else { return };
    aws.create_bucket(false);
    aws.put("closed.json", b"{}".to_vec());
    aws.put("busy.json", b"{}".to_vec());
    let url = start(&aws.url, |head| match head {
        head if head.contains("/closed.json") => s3_error(403, "AccessDenied", "Access Denied"),
        head if head.contains("/busy.json") => s3_error(503, "SlowDown", "Please reduce your request rate."),
        _ => Verdict::Forward,
    });
    let proxied = aws.through(&url);
    let mut fetcher = OffloadFetcher::open(Vec::new(), proxied.runtime.handle().clone(), &proxied.config);
    let call = |name: &str| OffloadedCall { request_id: name.to_owned(), response: Some(aws.path(name)), ..OffloadedCall::default() };
    let results = fetcher.fetch(vec![call("closed.json"), call("busy.json"), OffloadedCall::default()]);
    assert!(matches!(&results[0].1, OffloadResult::Denied(message) if message.contains("s3:GetObject")), "{:?}", results[0]);
    assert!(matches!(&results[1].1, OffloadResult::Later(message) if message.contains("SlowDown")), "{:?}", results[1]);
    assert_eq!(results[2].1, OffloadResult::Unchanged);
    assert_eq!((fetcher.counts().denied, fetcher.counts().later), (1, 1));
}

#[test]
fn a_queue_that_does_not_exist_says_what_to_do() {
    let Some(aws) = Aws::live() else { return };
    let raw = RawS3Settings { queues: vec![format!("{}/123456789012/nowhere", aws.url)], ..listing(&aws) };
    let mut source = aws.source(raw, &Ledger::default());
    let error = loop {
        match source.poll(Duration::from_secs(1), Micros(0)) {
            Ok(Poll::Idle) => {}
            Ok(other) => panic!("{other:?}"),
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.contains("nowhere") && error.contains("check its name"), "{error}");
}
