//! Backfill: what is listed, in which order, and that it is read once.

use sluice_ingest::s3::RawS3Settings;
use sluice_ingest::source::Source;
use sluice_schemas::RejectReason;

use crate::harness::{ACCOUNT, Aws, Ledger, REGION, gzip, log};

fn bedrock(hour: &str, name: &str) -> String {
    format!("AWSLogs/{ACCOUNT}/BedrockModelInvocationLogs/{REGION}/{hour}/{name}")
}

fn listing(aws: &Aws) -> RawS3Settings {
    RawS3Settings { paths: vec![aws.path("")], ..RawS3Settings::default() }
}

fn trail_file(ids: std::ops::Range<u32>) -> String {
    let event = |id| {
        format!(
            r#"{{"eventVersion":"1.09","eventTime":"2026-10-01T12:00:00Z","eventSource":"sts.amazonaws.com","eventName":"AssumeRole","awsRegion":"{REGION}","eventID":"{id:08x}-0000-0000-0000-000000000001","recipientAccountId":"{ACCOUNT}","userIdentity":{{"type":"AWSService"}},"requestParameters":{{}}}}"#
        )
    };
    format!(r#"{{"Records":[{}]}}"#, ids.map(event).collect::<Vec<_>>().join(","))
}

#[test]
fn both_layouts_are_read_in_order_and_once() {
    let Some(aws) = Aws::live() else { return };
    aws.create_bucket(false);
    aws.put(&format!("AWSLogs/{ACCOUNT}/BedrockModelInvocationLogs/amazon-bedrock-logs-permission-check"), b"check".to_vec());
    for hour in 0..3_u32 {
        let folder = format!("2026/10/01/{hour:02}");
        aws.put(&bedrock(&folder, "a.json.gz"), gzip(&log(hour * 10..hour * 10 + 5)));
        aws.put(&bedrock(&folder, "b.json"), log(hour * 10 + 5..hour * 10 + 8).into_bytes());
        aws.put(&bedrock(&folder, "data/x_input.json.gz"), gzip("{\"messages\": []}"));
    }
    let trail = format!("AWSLogs/o-abc123def4/{ACCOUNT}");
    aws.put(&format!("{trail}/CloudTrail/{REGION}/2026/10/01/t.json.gz"), gzip(&trail_file(0..4)));
    aws.put(&format!("{trail}/CloudTrail-Digest/{REGION}/2026/10/01/d.json.gz"), gzip("{}"));
    let mut ledger = Ledger::default();
    let mut source = aws.source(listing(&aws), &ledger);
    ledger.read(&mut source, |_| false);
    let expected: Vec<_> = (0..3).flat_map(|hour| hour * 10..hour * 10 + 8).collect();
    assert_eq!(ledger.calls, expected, "in the order of the keys");
    assert_eq!((ledger.trail, ledger.rejected.len()), (4, 0), "{:?}", ledger.rejected);
    let progress = source.progress();
    assert_eq!((progress.files_total, progress.files_done, progress.bytes_done), (7, 7, progress.bytes_total));

    // A second run reads nothing, and what has come since.
    aws.put(&bedrock("2026/10/01/03", "c.json.gz"), gzip(&log([90])));
    ledger.calls.clear();
    let mut source = aws.source(listing(&aws), &ledger);
    ledger.read(&mut source, |_| false);
    assert_eq!((ledger.calls.as_slice(), ledger.trail), ([90].as_slice(), 4));
    assert_eq!(source.progress().files_done, 8);
    assert!(source.progress().bytes_resumed > 0);

    // An object that was overwritten is another version.
    aws.put(&bedrock("2026/10/01/03", "c.json.gz"), gzip(&log([91, 92])));
    ledger.calls.clear();
    ledger.read(&mut aws.source(listing(&aws), &ledger), |_| false);
    assert_eq!(ledger.calls, [91, 92]);
}

#[test]
fn since_and_until_choose_the_folders() {
    let Some(aws) = Aws::live() else { return };
    aws.create_bucket(false);
    for (id, hour) in ["2026/09/30/23", "2026/10/01/00", "2026/10/01/13", "2026/10/02/00", "2026/10/02/01"].into_iter().enumerate() {
        aws.put(&bedrock(hour, "a.json.gz"), gzip(&log([id as u32])));
    }
    for day in ["30", "01"] {
        let month = if day == "30" { "09" } else { "10" };
        aws.put(&format!("AWSLogs/{ACCOUNT}/CloudTrail/{REGION}/2026/{month}/{day}/t.json.gz"), gzip(&trail_file(0..1)));
    }
    let mut ledger = Ledger::default();
    let raw = RawS3Settings { since: Some("2026-10-01".to_owned()), until: Some("2026-10-02".to_owned()), ..listing(&aws) };
    ledger.read(&mut aws.source(raw, &ledger), |_| false);
    // The hour after the end is read too: what was delivered late lies there.
    assert_eq!((ledger.calls.as_slice(), ledger.trail), ([1, 2, 3].as_slice(), 1));
}

#[test]
fn many_pages_and_more_objects_than_are_held_at_once() {
    let Some(aws) = Aws::live() else { return };
    aws.create_bucket(false);
    for id in 0..120 {
        aws.put(&format!("any/prefix/{id:04}.jsonl"), log([id]).into_bytes());
    }
    let mut ledger = Ledger::default();
    let raw = RawS3Settings { paths: vec![aws.path("any/")], ..RawS3Settings::default() };
    ledger.read(&mut aws.source(raw, &ledger), |_| false);
    assert_eq!(ledger.calls, (0..120).collect::<Vec<_>>());
}

#[test]
fn a_large_object_is_read_by_stretches_and_read_on_after_a_crash() {
    let Some(aws) = Aws::live() else { return };
    aws.create_bucket(true);
    // Above what is held in memory, and three stretches.
    let calls = 150_000;
    let text = log(0..calls);
    assert!(text.len() > 40 << 20);
    aws.put("large.jsonl", text.into_bytes());
    let mut ledger = Ledger::default();
    let mut source = aws.source(listing(&aws), &ledger);
    ledger.read(&mut source, |ledger| ledger.shards.values().sum::<u32>() == 3);
    drop(source);
    let first = ledger.calls.len();
    assert!(first > 0 && first < calls as usize);
    ledger.read(&mut aws.source(listing(&aws), &ledger), |_| false);
    assert_eq!(ledger.calls, (0..calls).collect::<Vec<_>>());
    assert!(ledger.rejected.is_empty());
}

#[test]
fn other_accounts_are_named_and_not_read() {
    let Some(aws) = Aws::live() else { return };
    aws.create_bucket(false);
    aws.put(&bedrock("2026/10/01/00", "a.json.gz"), gzip(&log([1])));
    for name in ["a", "b"] {
        let key = format!("AWSLogs/999999999999/BedrockModelInvocationLogs/{REGION}/2026/10/01/00/{name}.json.gz");
        aws.put(&key, gzip(&log([2])));
    }
    let mut ledger = Ledger::default();
    let raw = RawS3Settings { accounts: vec![ACCOUNT.to_owned()], ..listing(&aws) };
    ledger.read(&mut aws.source(raw, &ledger), |_| false);
    assert_eq!(ledger.calls, [1]);
    let what = format!("{}/", aws.path("AWSLogs/999999999999"));
    let reasons: Vec<_> = ledger.rejected.iter().map(|(_, rejected)| rejected.reason.clone()).collect();
    assert_eq!(reasons, [RejectReason::Foreign { what }]);
}

#[test]
fn a_bucket_that_does_not_exist_says_what_to_do() {
    let Some(aws) = Aws::live() else { return };
    let ledger = Ledger::default();
    let mut source = aws.source(listing(&aws), &ledger);
    let error = loop {
        match source.poll(std::time::Duration::from_secs(1), sluice_schemas::Micros(0)) {
            Ok(sluice_ingest::source::Poll::Idle) => {}
            Ok(other) => panic!("{other:?}"),
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.contains("NoSuchBucket") && error.contains(REGION), "{error}");
    source.poll(std::time::Duration::ZERO, sluice_schemas::Micros(0)).expect_err("it stays failed");
}
