//! Reads a message that tells of new objects, in each of the shapes S3, SNS, EventBridge and CloudTrail give it, or that is itself a
//! CloudTrail event from EventBridge.
//!
//! Sources of the shapes: AWS, "Event message structure" and "EventBridge event message structure" of the S3 user guide,
//! "Amazon SNS message and JSON formats", "Configuring Amazon SNS notifications for CloudTrail", "Events from AWS services" of the
//! EventBridge user guide.

use serde::Deserialize;
use serde_json::error::Category;
use sluice_schemas::RejectReason;

use crate::decode::{BRIDGED_CALL, check_bridged};
use crate::s3::Claim;

/// Most envelopes around an event: SNS within SNS does not occur.
const MAX_NESTING: u32 = 2;

/// An object that a message says was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Created {
    /// Its bucket.
    pub(crate) bucket: String,
    /// Its key, decoded.
    pub(crate) key: String,
    /// What is said of its version.
    pub(crate) claim: Claim,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// Objects were written; none for a test event and for what is no new object.
    Objects(Vec<Created>),
    /// It is an EventBridge event that carries a CloudTrail event.
    Event(String),
}

/// Every shape at once: a message has the keys of one.
#[derive(Deserialize)]
struct Body {
    #[serde(rename = "Records")]
    records: Option<Vec<Record>>,
    #[serde(rename = "Event")]
    event: Option<String>,
    #[serde(rename = "Type")]
    kind: Option<String>,
    #[serde(rename = "Message")]
    message: Option<String>,
    source: Option<String>,
    #[serde(rename = "detail-type")]
    detail_type: Option<String>,
    detail: Option<S3>,
    #[serde(rename = "s3Bucket")]
    trail_bucket: Option<String>,
    #[serde(rename = "s3ObjectKey")]
    trail_keys: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Record {
    #[serde(rename = "eventSource")]
    source: Option<String>,
    #[serde(rename = "eventName")]
    name: Option<String>,
    s3: Option<S3>,
}

#[derive(Deserialize)]
struct S3 {
    bucket: Option<Bucket>,
    object: Option<Object>,
}

#[derive(Deserialize)]
struct Bucket {
    name: Option<String>,
}

#[derive(Deserialize)]
struct Object {
    key: Option<String>,
    size: Option<u64>,
    #[serde(rename = "eTag", alias = "etag")]
    etag: Option<String>,
    #[serde(rename = "versionId", alias = "version-id")]
    version: Option<String>,
}

/// Returns what a message says.
///
/// # Errors
/// Why the message cannot be read; nothing of it is used then.
pub(crate) fn told(body: &str) -> Result<Told, RejectReason> {
    read(body, 0)
}

fn read(text: &str, nesting: u32) -> Result<Told, RejectReason> {
    let body: Body = serde_json::from_str(text).map_err(|error| match error.classify() {
        Category::Eof => RejectReason::Unbalanced,
        Category::Data => RejectReason::Malformed { field: "message" },
        Category::Syntax | Category::Io => RejectReason::NotJson,
    })?;
    if let Some(records) = body.records {
        let lists: Result<Vec<_>, _> = records.into_iter().map(record).collect();
        return lists.map(|lists| Told::Objects(lists.into_iter().flatten().collect()));
    }
    if let (Some(bucket), Some(keys)) = (body.trail_bucket, body.trail_keys) {
        let created = |key| Created { bucket: bucket.clone(), key, claim: Claim::default() };
        return Ok(Told::Objects(keys.into_iter().map(created).collect()));
    }
    if body.detail_type.as_deref() == Some(BRIDGED_CALL) {
        return check_bridged(text.as_bytes()).map(|()| Told::Event(text.to_owned()));
    }
    match (body.event.as_deref(), body.source.as_deref(), body.kind.as_deref(), body.message) {
        (Some("s3:TestEvent"), ..) => Ok(Told::Objects(Vec::new())),
        (_, Some("aws.s3"), ..) => match (body.detail_type.as_deref(), body.detail) {
            (Some("Object Created" | "Object Restore Completed"), Some(detail)) => Ok(Told::Objects(vec![object(detail, false)?])),
            (Some(_), Some(_)) => Ok(Told::Objects(Vec::new())),
            _ => Err(RejectReason::Missing { field: "detail" }),
        },
        (_, _, Some("Notification"), Some(message)) if nesting < MAX_NESTING => read(&message, nesting + 1),
        _ => Err(RejectReason::UnknownKind),
    }
}

fn record(record: Record) -> Result<Option<Created>, RejectReason> {
    let Some(name) = record.name else { return Err(RejectReason::Missing { field: "Records.eventName" }) };
    if record.source.as_deref().is_some_and(|source| !source.ends_with(":s3")) {
        return Err(RejectReason::UnknownKind);
    }
    let name = name.strip_prefix("s3:").unwrap_or(&name);
    // A restored object can be read from then on.
    if !name.starts_with("ObjectCreated:") && name != "ObjectRestore:Completed" {
        return Ok(None);
    }
    let Some(s3) = record.s3 else { return Err(RejectReason::Missing { field: "Records.s3" }) };
    object(s3, true).map(Some)
}

fn object(s3: S3, is_encoded: bool) -> Result<Created, RejectReason> {
    let bucket = s3.bucket.and_then(|bucket| bucket.name).filter(|name| !name.is_empty());
    let bucket = bucket.ok_or(RejectReason::Missing { field: "s3.bucket.name" })?;
    let object = s3.object.ok_or(RejectReason::Missing { field: "s3.object" })?;
    let key = object.key.filter(|key| !key.is_empty()).ok_or(RejectReason::Missing { field: "s3.object.key" })?;
    let key = if is_encoded { decode_key(&key).ok_or(RejectReason::Malformed { field: "s3.object.key" })? } else { key };
    Ok(Created { bucket, key, claim: Claim::new(object.etag.as_deref(), object.size, object.version.as_deref()) })
}

/// Undoes the encoding of keys in S3's own notifications: that of a form, with `+` for a space.
fn decode_key(key: &str) -> Option<String> {
    let mut plain = Vec::with_capacity(key.len());
    let mut bytes = key.bytes();
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(plain).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn created(body: &str) -> Result<Vec<Created>, RejectReason> {
        told(body).map(|told| match told {
            Told::Objects(created) => created,
            Told::Event(event) => panic!("an event: {event}"),
        })
    }

    fn bridged(detail: &serde_json::Value) -> String {
        json!({"version": "0", "id": "x", "detail-type": "AWS API Call via CloudTrail", "source": "aws.bedrock", "account": "111122223333",
            "time": "2026-10-01T12:00:00Z", "region": "us-east-1", "resources": [], "detail": detail})
        .to_string()
    }

    #[test]
    fn a_trail_event_is_taken_as_it_is() {
        let detail = json!({"eventVersion": "1.11", "eventID": "e-1", "eventTime": "2026-10-01T12:00:00Z", "eventSource": "bedrock.amazonaws.com",
            "eventName": "Converse", "awsRegion": "us-east-1", "recipientAccountId": "111122223333", "requestID": "r-1"});
        let event = bridged(&detail);
        assert_eq!(told(&event), Ok(Told::Event(event.clone())));
        let sns = json!({"Type": "Notification", "Message": event}).to_string();
        assert_eq!(told(&sns), Ok(Told::Event(event)));
        assert!(matches!(told(&bridged(&json!({"eventName": "Converse"}))), Err(RejectReason::Missing { .. })));
        assert!(told(&bridged(&json!("text"))).is_err());
    }

    fn s3_event(name: &str, key: &str) -> serde_json::Value {
        json!({"Records": [{"eventVersion": "2.1", "eventSource": "aws:s3", "awsRegion": "eu-central-1", "eventName": name,
            "s3": {"s3SchemaVersion": "1.0", "bucket": {"name": "logs", "arn": "arn:aws:s3:::logs"},
                   "object": {"key": key, "size": 1024, "eTag": "d41d8cd98f00b204e9800998ecf8427e", "versionId": "096fKKXTRTtl3on89fVO",
                              "sequencer": "0055AED6DCD90281E5"}}}]})
    }

    fn expected(key: &str) -> Vec<Created> {
        let claim = Claim::new(Some("d41d8cd98f00b204e9800998ecf8427e"), Some(1024), Some("096fKKXTRTtl3on89fVO"));
        vec![Created { bucket: "logs".to_owned(), key: key.to_owned(), claim }]
    }

    #[test]
    fn an_event_is_read_in_every_wrapping() {
        let event = s3_event("ObjectCreated:Put", "a%3Db/c+d%C3%A9.json.gz").to_string();
        assert_eq!(created(&event), Ok(expected("a=b/c dé.json.gz")));
        let sns = json!({"Type": "Notification", "MessageId": "x", "TopicArn": "arn:aws:sns:r:1:t", "Message": event}).to_string();
        assert_eq!(created(&sns), Ok(expected("a=b/c dé.json.gz")));
        let bridge = json!({"version": "0", "id": "x", "detail-type": "Object Created", "source": "aws.s3", "account": "1",
            "detail": {"version": "0", "bucket": {"name": "logs"}, "request-id": "r", "reason": "PutObject",
                "object": {"key": "a+b%20.gz", "size": 1024, "etag": "d41d8cd98f00b204e9800998ecf8427e", "version-id": "096fKKXTRTtl3on89fVO"}}});
        // EventBridge does not encode keys.
        assert_eq!(created(&bridge.to_string()), Ok(expected("a+b%20.gz")));
        let trail = json!({"s3Bucket": "logs", "s3ObjectKey": ["x.json.gz", "y.json.gz"]}).to_string();
        let trail = json!({"Type": "Notification", "Message": trail}).to_string();
        assert_eq!(created(&trail).expect("objects").len(), 2);
    }

    #[test]
    fn what_is_no_new_object_is_nothing() {
        let test = json!({"Service": "Amazon S3", "Event": "s3:TestEvent", "Time": "t", "Bucket": "logs", "RequestId": "r", "HostId": "h"});
        assert_eq!(created(&test.to_string()), Ok(Vec::new()));
        assert_eq!(created(&s3_event("ObjectRemoved:Delete", "a").to_string()), Ok(Vec::new()));
        assert_eq!(created(&s3_event("ObjectTagging:Put", "a").to_string()), Ok(Vec::new()));
        assert_eq!(created(&s3_event("ObjectRestore:Completed", "a").to_string()), Ok(expected("a")));
        assert_eq!(created(r#"{"Records": []}"#), Ok(Vec::new()));
    }

    #[test]
    fn what_cannot_be_read_is_refused_whole() {
        let broken = s3_event("ObjectCreated:Put", "a%2").to_string();
        for (body, reason) in [
            ("hello", RejectReason::NotJson),
            ("", RejectReason::Unbalanced),
            (r#"{"Records": "#, RejectReason::Unbalanced),
            (r#"{"Records": 7}"#, RejectReason::Malformed { field: "message" }),
            (r#"{"Records": [{"eventName": "ObjectCreated:Put"}]}"#, RejectReason::Missing { field: "Records.s3" }),
            (r#"{"Records": [], "Records": []}"#, RejectReason::Malformed { field: "message" }),
            (r#"{"Records": [{"eventSource": "aws:ses", "eventName": "x"}]}"#, RejectReason::UnknownKind),
            (r#"{"some": "thing"}"#, RejectReason::UnknownKind),
            (r#"{"source": "aws.ec2", "detail-type": "x", "detail": {}}"#, RejectReason::UnknownKind),
            (&broken, RejectReason::Malformed { field: "s3.object.key" }),
        ] {
            assert_eq!(created(body), Err(reason), "{body}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_key_survives_its_encoding(key in "\\PC{1,40}") {
            let encoded: String = key.bytes().map(|byte| match byte {
                b' ' => "+".to_owned(),
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
                byte => format!("%{byte:02X}"),
            }).collect();
            prop_assert_eq!(decode_key(&encoded), Some(key));
        }

        #[test]
        fn no_message_breaks_the_reader(body in "\\PC{0,200}") {
            let _ignored: Option<Told> = told(&body).ok();
        }
    }
}
