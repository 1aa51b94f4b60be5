//! A stream on an emulator of Kinesis, by its plain API: the emulator checks no signature.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

/// Returns where the emulator listens; nothing when live tests are not asked for.
#[expect(clippy::print_stderr, reason = "a test that did not run says so")]
pub(crate) fn endpoint() -> Option<String> {
    let endpoint = std::env::var("SLUICE_KINESIS_ENDPOINT").ok();
    let how = "tests/live/servers/kinesis_local.sh cargo test --features aws,kafka --test lambda_live --test accounts_live";
    assert!(endpoint.is_some() || std::env::var("SLUICE_LIVE").as_deref() != Ok("1"), "no emulator of Kinesis: run {how}");
    if endpoint.is_none() {
        eprintln!("not run, there is no emulator of Kinesis: run {how}");
    }
    endpoint
}

pub(crate) fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// Writes bytes as base64.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for at in 0..4 {
            text.push(if at <= group.len() { DIGITS[(bits >> (18 - 6 * at) & 63) as usize] as char } else { '=' });
        }
    }
    text
}

/// A record where the stream put it.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    pub(crate) sequence: String,
    pub(crate) data: Vec<u8>,
}

pub(crate) struct Service {
    endpoint: String,
    region: String,
    agent: ureq::Agent,
}

impl Service {
    pub(crate) fn new(endpoint: &str, region: &str) -> Self {
        Self {
            endpoint: endpoint.to_owned(),
            region: region.to_owned(),
            agent: ureq::Agent::config_builder().http_status_as_error(false).build().into(),
        }
    }

    fn call(&self, action: &str, body: &Value) -> Value {
        let scope = format!("111122223333/20261001/{}/kinesis/aws4_request", self.region);
        let request = self
            .agent
            .post(&self.endpoint)
            .header("Content-Type", "application/x-amz-json-1.1")
            .header("X-Amz-Target", format!("Kinesis_20131202.{action}"))
            .header("X-Amz-Date", "20261001T000000Z")
            .header("Authorization", format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"));
        let mut answer = request.send(body.to_string().as_bytes()).unwrap();
        let text = answer.body_mut().read_to_string().unwrap();
        assert_eq!(answer.status(), 200, "{action}: {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    pub(crate) fn create(&self, stream: &str, shards: u32) {
        self.call("CreateStream", &json!({"StreamName": stream, "ShardCount": shards}));
        for _ in 0..200 {
            let summary = self.call("DescribeStreamSummary", &json!({"StreamName": stream}));
            if summary["StreamDescriptionSummary"]["StreamStatus"] == "ACTIVE" {
                return;
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        panic!("{stream} does not become active");
    }

    /// Puts records and returns where they are, by shard and in its order.
    pub(crate) fn put(&self, stream: &str, records: &[Vec<u8>]) -> BTreeMap<String, Vec<Placed>> {
        let mut placed: BTreeMap<String, Vec<Placed>> = BTreeMap::new();
        for (number, group) in records.chunks(100).enumerate() {
            let entry = |(at, data): (usize, &Vec<u8>)| json!({"Data": base64(data), "PartitionKey": format!("{number}-{at}")});
            let entries: Vec<Value> = group.iter().enumerate().map(entry).collect();
            let answer = self.call("PutRecords", &json!({"StreamName": stream, "Records": entries}));
            for (data, result) in group.iter().zip(answer["Records"].as_array().unwrap()) {
                let text = |name: &str| result[name].as_str().unwrap_or_else(|| panic!("{result}")).to_owned();
                placed.entry(text("ShardId")).or_default().push(Placed { sequence: text("SequenceNumber"), data: data.clone() });
            }
        }
        for records in placed.values_mut() {
            records.sort_by(|one, other| (one.sequence.len(), &one.sequence).cmp(&(other.sequence.len(), &other.sequence)));
        }
        placed
    }
}
