//! Judgements about subscriptions, streams and queues.

#![cfg(test)]

use super::*;
use crate::doctor::finding::Level;

fn thing(name: &str) -> Thing {
    Thing { name: name.to_owned(), ..Thing::default() }
}

fn filter(target: &str) -> Value {
    json!({"filterName": "sluice", "destinationArn": target, "filterPattern": "", "distribution": "Random", "roleArn": "arn:aws:iam::111122223333:role/cwl"})
}

const OURS: &str = "arn:aws:kinesis:us-east-1:111122223333:stream/logs";

fn levels(filters: &[Value], bucket_too: bool) -> Vec<(&'static str, Level)> {
    let (found, _) = judge_filters(("us-east-1", &Identity::default()), "/bedrock", filters, &[thing("logs")], bucket_too);
    found.into_iter().map(|finding| (finding.check, finding.level)).collect()
}

#[test]
fn a_filter_has_to_lead_to_a_stream_of_ours() {
    let other = || filter("arn:aws:firehose:us-east-1:111122223333:deliverystream/x");
    assert_eq!(levels(&[filter(OURS)], false), [("stream.filter", Level::Ok)]);
    assert_eq!(levels(&[other(), filter(OURS)], false), [("stream.filter", Level::Ok)]);
    assert_eq!(levels(&[other()], false), [("stream.filter", Level::Fail)]);
    assert_eq!(levels(&[other()], true), [("stream.source", Level::Ok)]);
    let (found, _) = judge_filters(("us-east-1", &Identity::default()), "/bedrock", &[other(), other()], &[thing("logs")], false);
    assert!(found[0].seen.contains("both places") && found[0].fix.len() == 4, "{found:?}");
    let destination = filter("arn:aws:logs:us-east-1:111122223333:destination:central");
    assert_eq!(levels(&[destination], false), [("stream.filter", Level::Ok)]);
}

#[test]
fn a_filter_passes_everything_and_spreads_it() {
    let mut one = filter(OURS);
    one["filterPattern"] = json!("{ $.operation = Converse }");
    assert_eq!(levels(&[one], false)[1], ("stream.pattern", Level::Fail));
    let mut one = filter(OURS);
    one["distribution"] = json!("ByLogStream");
    assert_eq!(levels(&[one], false)[1], ("stream.distribution", Level::Warn));
}

#[test]
fn a_stream_is_active_encrypted_and_keeps_records() {
    let judged = |status: &str, encryption: &str, hours: i64| -> Vec<(&'static str, Level)> {
        let summary = json!({"StreamStatus": status, "EncryptionType": encryption, "RetentionPeriodHours": hours, "OpenShardCount": 2});
        judge_stream("r", &thing("logs"), &summary).into_iter().map(|finding| (finding.check, finding.level)).collect()
    };
    assert_eq!(judged("ACTIVE", "KMS", 168), [("stream.exists", Level::Ok)]);
    assert_eq!(judged("DELETING", "KMS", 168), [("stream.exists", Level::Fail)]);
    assert_eq!(judged("ACTIVE", "NONE", 168)[1], ("stream.encryption", Level::Warn));
    assert_eq!(judged("ACTIVE", "KMS", 24)[1], ("stream.retention", Level::Warn));
}

#[test]
fn a_lag_is_held_against_what_the_stream_keeps() {
    let level = |age: Option<f64>| judge_age("logs", age, 24).level;
    assert_eq!(
        [level(Some(900.0)), level(Some(61_000.0)), level(Some(43_201_000.0)), level(None)],
        [Level::Ok, Level::Warn, Level::Fail, Level::Warn]
    );
}

#[test]
fn a_queue_has_a_place_for_what_cannot_be_read() {
    let attributes = json!({"ApproximateNumberOfMessages": "3", "RedrivePolicy": "{}", "MessageRetentionPeriod": "1209600"});
    assert_eq!(judge_queue(&thing("q"), &attributes).len(), 1);
    let short = json!({"ApproximateNumberOfMessages": "3", "MessageRetentionPeriod": "3600"});
    let checks: Vec<&str> = judge_queue(&thing("q"), &short).iter().map(|finding| finding.check).collect();
    assert_eq!(checks, ["stream.queue", "stream.dead_letters", "stream.queue_retention"]);
}
