//! Notifications end to end: read once, deleted only when durable, whatever comes twice, late, broken or not at all.

use std::time::Duration;

use serde_json::json;
use sluice_ingest::s3::RawS3Settings;
use sluice_ingest::source::{Poll, Source};
use sluice_schemas::position::Positions;
use sluice_schemas::{Clock, RejectReason, SystemClock};

use crate::harness::{ACCOUNT, Aws, Ledger, REGION, eventually, gzip, log};

fn settings(aws: &Aws, queue: &str) -> RawS3Settings {
    RawS3Settings {
        paths: vec![aws.path("AWSLogs/")],
        queues: vec![queue.to_owned()],
        queue_wait: Some("0s".to_owned()),
        queue_visibility: Some("3s".to_owned()),
        ..RawS3Settings::default()
    }
}

fn key(name: &str) -> String {
    format!("AWSLogs/{ACCOUNT}/BedrockModelInvocationLogs/{REGION}/2026/10/01/12/{name}")
}

/// Polls for a while and expects nothing.
fn stays_silent(source: &mut dyn Source, for_seconds: u64) {
    let until = std::time::Instant::now() + Duration::from_secs(for_seconds);
    while std::time::Instant::now() < until {
        let poll = source.poll(Duration::from_millis(100), SystemClock.now()).expect("a source that works");
        assert_eq!(poll, Poll::Idle);
    }
}

#[test]
fn a_message_is_deleted_once_the_lake_has_its_object_and_not_before() {
    let Some(aws) = Aws::live() else { return };
    aws.create_bucket(false);
    let queue = aws.create_queue();
    let mut ledger = Ledger::default();
    let mut source = aws.source(settings(&aws, &queue), &ledger);
    aws.put(&key("a b=c.json.gz"), gzip(&log(0..5)));
    aws.put(&key("data/x.json.gz"), gzip("{}"));
    ledger.read(&mut source, |ledger| ledger.calls.len() == 5);
    // Longer than a message is hidden: it is kept hidden while it is in work.
    stays_silent(&mut source, 5);
    assert_eq!(aws.messages(&queue), (0, 1), "the offloaded body is nobody's; the object waits for the lake");
    ledger.commit();
    eventually("an empty queue", || aws.messages(&queue) == (0, 0));
    assert_eq!((ledger.calls.len(), ledger.rejected.len()), (5, 0));
}

#[test]
fn a_crash_before_the_commit_brings_the_message_again_and_after_it_the_object_is_not_read_twice() {
    let Some(aws) = Aws::live() else { return };
    aws.create_bucket(false);
    let queue = aws.create_queue();
    aws.put(&key("a.json.gz"), gzip(&log(0..5)));
    let mut ledger = Ledger::default();
    let mut source = aws.source(settings(&aws, &queue), &ledger);
    ledger.read(&mut source, |ledger| ledger.calls.len() == 5);
    drop(source);

    // Nothing was committed: the next process is given the message again and reads the object.
    let mut second = Ledger::crashed(Positions::new());
    let mut source = aws.source(settings(&aws, &queue), &second);
    second.read(&mut source, |ledger| ledger.calls.len() == 5);
    drop(source);

    // The lake has it, the message was not deleted yet: the third process deletes it unread.
    let third = Ledger::crashed(second.positions);
    let mut source = aws.source(settings(&aws, &queue), &third);
    let silent = std::thread::spawn(move || stays_silent(&mut source, 7));
    eventually("an empty queue", || aws.messages(&queue) == (0, 0));
    silent.join().expect("nothing is read twice");
}

/// The message S3 writes for one version.
fn told(aws: &Aws, key: &str, version: &aws_sdk_s3::types::ObjectVersion) -> String {
    let (size, etag) = (version.size(), version.e_tag().map(|etag| etag.trim_matches('"')));
    json!({"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": aws.bucket}, "object": {"key": key, "size": size, "eTag": etag, "versionId": version.version_id()}}}]})
    .to_string()
}

#[test]
fn what_comes_twice_or_out_of_order_is_read_once_by_version() {
    let Some(aws) = Aws::live() else { return };
    aws.create_bucket(true);
    let queue = aws.create_queue();
    let settings = || RawS3Settings { queue_visibility: Some("60s".to_owned()), ..settings(&aws, &queue) };
    let key = key("a.json.gz");
    aws.put(&key, gzip(&log([1])));
    aws.put(&key, gzip(&log([2])));
    aws.purge(&queue);
    let versions = aws.versions(&key);
    // Each twice, in turns, and once more by another road that names no version.
    for version in [&versions[0], &versions[1], &versions[0], &versions[1]] {
        aws.send(&queue, &told(&aws, &key, version));
    }
    let again = json!({"s3Bucket": aws.bucket, "s3ObjectKey": [key]}).to_string();
    let again = json!({"Type": "Notification", "Message": again}).to_string();
    aws.send(&queue, &again);
    let mut ledger = Ledger::default();
    let mut source = aws.source(settings(), &ledger);
    ledger.read(&mut source, |ledger| ledger.calls.len() == 2);
    assert_eq!(ledger.sorted(), [1, 2]);
    stays_silent(&mut source, 3);
    ledger.commit();
    eventually("an empty queue", || aws.messages(&queue) == (0, 0));
    stays_silent(&mut source, 1);
}

#[test]
fn a_version_that_was_overwritten_unread_is_told_as_lost() {
    let Some(aws) = Aws::live() else { return };
    aws.create_bucket(false);
    let queue = aws.create_queue();
    aws.put(&key("a.json.gz"), gzip(&log([1])));
    aws.put(&key("a.json.gz"), gzip(&log([2])));
    let mut ledger = Ledger::default();
    let mut source = aws.source(settings(&aws, &queue), &ledger);
    ledger.read(&mut source, |ledger| ledger.calls.len() == 1 && ledger.rejected.len() == 1);
    assert_eq!(ledger.calls, [2]);
    assert!(ledger.rejected[0].1.reason.to_string().contains("overwritten"));
    stays_silent(&mut source, 2);
    ledger.commit();
    eventually("an empty queue", || aws.messages(&queue) == (0, 0));
}

#[test]
fn trail_events_from_eventbridge_are_messages_themselves() {
    let Some(aws) = Aws::live() else { return };
    aws.create_bucket(false);
    let queue = aws.create_queue();
    let event = |id: &str| {
        json!({"version": "0", "id": id, "detail-type": "AWS API Call via CloudTrail", "source": "aws.bedrock", "account": ACCOUNT,
            "region": REGION, "detail": {"eventVersion": "1.11", "eventID": id, "eventTime": "2026-10-01T12:00:00Z",
                "eventSource": "bedrock.amazonaws.com", "eventName": "Converse", "awsRegion": REGION, "recipientAccountId": ACCOUNT}})
    };
    aws.send(&queue, &event("e-1").to_string());
    aws.send(&queue, &json!({"Type": "Notification", "Message": event("e-2").to_string()}).to_string());
    let mut broken = event("e-3");
    broken["detail"]["eventTime"] = json!("soon");
    aws.send(&queue, &broken.to_string());
    let mut ledger = Ledger::default();
    let mut source = aws.source(RawS3Settings { queue_visibility: Some("60s".to_owned()), ..settings(&aws, &queue) }, &ledger);
    ledger.read(&mut source, |ledger| ledger.trail == 2 && ledger.rejected.len() == 1);
    stays_silent(&mut source, 2);
    assert_eq!(aws.messages(&queue), (0, 3), "they wait for the lake");
    ledger.commit();
    eventually("an empty queue", || aws.messages(&queue) == (0, 0));
    drop(source);

    // A later process has a shard of its own.
    let shards = ledger.shards.len();
    let mut source = aws.source(settings(&aws, &queue), &ledger);
    aws.send(&queue, &event("e-4").to_string());
    ledger.read(&mut source, |ledger| ledger.trail == 3);
    assert_eq!(ledger.shards.len(), shards + 1);
}

#[test]
fn a_queue_alone_says_what_is_read() {
    let Some(aws) = Aws::live() else { return };
    aws.create_bucket(false);
    let queue = aws.create_queue();
    let event = json!({"version": "0", "id": "e-1", "detail-type": "AWS API Call via CloudTrail", "source": "aws.bedrock", "account": ACCOUNT,
        "region": REGION, "detail": {"eventVersion": "1.11", "eventID": "e-1", "eventTime": "2026-10-01T12:00:00Z",
            "eventSource": "bedrock.amazonaws.com", "eventName": "Converse", "awsRegion": REGION, "recipientAccountId": ACCOUNT}});
    aws.send(&queue, &event.to_string());
    let mut ledger = Ledger::default();
    let mut source = aws.source(RawS3Settings { paths: Vec::new(), ..settings(&aws, &queue) }, &ledger);
    ledger.read(&mut source, |ledger| ledger.trail == 1);
    aws.put(&key("a.json.gz"), gzip(&log(0..5)));
    aws.put(&format!("elsewhere/{}", key("b.json.gz")), gzip(&log(5..8)));
    ledger.read(&mut source, |ledger| ledger.calls.len() == 8);
    ledger.commit();
    eventually("an empty queue", || aws.messages(&queue) == (0, 0));
    assert!(ledger.rejected.is_empty());
}

#[test]
fn what_cannot_be_read_becomes_a_row_and_the_rest_goes_on() {
    let Some(aws) = Aws::live() else { return };
    aws.create_bucket(false);
    let queue = aws.create_queue();
    aws.put(&key("gone.json.gz"), gzip(&log([1])));
    aws.delete(&key("gone.json.gz"));
    aws.put(&key("torn.json.gz"), gzip(&log([2]))[..40].to_vec());
    aws.send(&queue, "{\"Records\": ");
    aws.send(&queue, &json!({"Event": "s3:TestEvent", "Bucket": aws.bucket}).to_string());
    let foreign = json!({"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": "somebody-elses"}, "object": {"key": "k", "size": 1, "eTag": "e"}}}]});
    aws.send(&queue, &foreign.to_string());
    aws.put(&key("good.json.gz"), gzip(&log([3])));
    let mut ledger = Ledger::default();
    let mut source = aws.source(settings(&aws, &queue), &ledger);
    ledger.read(&mut source, |ledger| ledger.calls.len() == 1 && ledger.rejected.len() == 4);
    let mut codes: Vec<_> = ledger.rejected.iter().map(|(_, rejected)| rejected.reason.code()).collect();
    codes.sort_unstable();
    assert_eq!(codes, ["corrupt_gzip", "foreign_envelope", "unbalanced", "unreadable"]);
    let gone = ledger.rejected.iter().find_map(|(shard, rejected)| match &rejected.reason {
        RejectReason::Unreadable { message } => Some((shard.clone(), message.clone())),
        _ => None,
    });
    let (shard, message) = gone.expect("the deleted object");
    assert!(shard.ends_with("gone.json.gz") && message.contains("NoSuchKey"), "{shard}: {message}");
    ledger.commit();
    eventually("an empty queue", || aws.messages(&queue) == (0, 0));
}

#[test]
fn a_message_that_cannot_be_read_is_told_once_though_its_reader_dies() {
    let Some(aws) = Aws::live() else { return };
    aws.create_bucket(false);
    let queue = aws.create_queue();
    for body in ["{\"Records\": ", "nor this"] {
        aws.send(&queue, body);
    }
    let mut ledger = Ledger::default();
    let mut source = aws.source(settings(&aws, &queue), &ledger);
    ledger.read(&mut source, |ledger| ledger.rejected.len() == 2);
    drop(source);
    // The lake has the rows, and nobody lived to delete the messages.
    let again = Ledger::crashed(ledger.positions);
    let mut source = aws.source(settings(&aws, &queue), &again);
    stays_silent(&mut source, 4);
    eventually("an empty queue", || aws.messages(&queue) == (0, 0));
}

#[test]
fn listing_and_notifications_together_read_each_object_once() {
    let Some(aws) = Aws::live() else { return };
    aws.create_bucket(true);
    let queue = aws.create_queue();
    for id in 0..10 {
        aws.put(&key(&format!("{id}.json.gz")), gzip(&log([id])));
    }
    let mut ledger = Ledger::default();
    let raw = RawS3Settings { mode: Some(sluice_ingest::s3::S3Mode::Both), ..settings(&aws, &queue) };
    let mut source = aws.source(raw, &ledger);
    ledger.read(&mut source, |ledger| ledger.calls.len() == 10);
    stays_silent(&mut source, 2);
    ledger.commit();
    eventually("an empty queue", || aws.messages(&queue) == (0, 0));
    assert_eq!(ledger.sorted(), (0..10).collect::<Vec<_>>());
}

#[test]
fn a_message_that_lies_harms_nothing() {
    let Some(aws) = Aws::live() else { return };
    aws.create_bucket(true);
    let queue = aws.create_queue();
    let key = key("a.json.gz");
    aws.put(&key, gzip(&log([1])));
    aws.purge(&queue);
    let lie = |object: serde_json::Value| {
        let event = json!({"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put",
            "s3": {"bucket": {"name": aws.bucket}, "object": object}}]});
        aws.send(&queue, &event.to_string());
    };
    lie(json!({"key": key, "size": 1_u64 << 50}));
    lie(json!({"key": key, "size": 1, "eTag": "00000000000000000000000000000000"}));
    let mut ledger = Ledger::default();
    let mut source = aws.source(settings(&aws, &queue), &ledger);
    ledger.read(&mut source, |ledger| ledger.calls.len() == 1 && ledger.rejected.len() == 1);
    assert!(ledger.rejected[0].1.reason.to_string().contains("overwritten"));
    stays_silent(&mut source, 1);
    ledger.commit();
    eventually("an empty queue", || aws.messages(&queue) == (0, 0));
}
