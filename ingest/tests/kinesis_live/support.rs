//! A stream to write to, what is written, and a ledger that stands behind the source.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_config::SdkConfig;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, StreamStatus};
use flate2::Compression;
use flate2::write::GzEncoder;
use md5::{Digest, Md5};
use prost::Message;
use sluice_ingest::aws::{AwsSettings, load};
use sluice_ingest::committed::{Committed, Durable};
use sluice_ingest::decode::{AllowList, Decoder, Intake};
use sluice_ingest::kinesis::{KinesisSettings, KinesisSource};
use sluice_ingest::piece::decode_piece;
use sluice_ingest::source::{Poll, Source, SourceError};
use sluice_schemas::invocation::RequestId;
use sluice_schemas::position::{ChainDecision, Positions, chain};
use sluice_schemas::{Batch, Clock, SystemClock};
use tokio::runtime::Runtime;

/// Returns where the emulator listens; nothing when live tests are not asked for.
#[expect(clippy::print_stderr, reason = "a test that did not run says so")]
pub(crate) fn endpoint() -> Option<String> {
    let endpoint = std::env::var("SLUICE_KINESIS_ENDPOINT").ok();
    let how = "tests/live/servers/kinesis_local.sh cargo test -p sluice-ingest --features aws --test kinesis_live";
    assert!(endpoint.is_some() || std::env::var("SLUICE_LIVE").as_deref() != Ok("1"), "no emulator of Kinesis: run {how}");
    if endpoint.is_none() {
        eprintln!("not run, there is no emulator of Kinesis: run {how}");
    }
    endpoint
}

/// The emulator, and the runtime that calls it.
pub(crate) struct Service {
    pub(crate) runtime: Runtime,
    pub(crate) config: SdkConfig,
    pub(crate) client: Client,
}

/// What was put: numbers of calls by shard, each with the sequence number of its record, in the order of the shard.
pub(crate) type Written = BTreeMap<String, Vec<(String, Vec<u64>)>>;

impl Service {
    pub(crate) fn new(endpoint: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let settings = AwsSettings { region: Some("eu-central-1".to_owned()), endpoint: Some(endpoint.to_owned()), profile: None };
        let config = runtime.block_on(load(&settings)).expect("a configuration");
        let client = Client::new(&config);
        Self { runtime, config, client }
    }

    pub(crate) fn create(&self, stream: &str, shards: i32) {
        self.runtime.block_on(async {
            self.client.create_stream().stream_name(stream).shard_count(shards).send().await.expect("a stream");
        });
        self.wait(stream);
    }

    /// Waits until the stream may be changed.
    pub(crate) fn wait(&self, stream: &str) {
        let status = || async {
            let described = self.client.describe_stream_summary().stream_name(stream).send().await.expect("a stream");
            described.stream_description_summary.expect("a summary").stream_status
        };
        for _ in 0..200 {
            if self.runtime.block_on(status()) == StreamStatus::Active {
                return;
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        panic!("{stream} does not become active");
    }

    /// Puts the calls of `numbers` in records of every form, and notes where they went.
    pub(crate) fn put(&self, stream: &str, numbers: std::ops::Range<u64>, written: &mut Written) {
        let records = records(numbers);
        for group in records.chunks(50) {
            let mut rest: Vec<&(Vec<u64>, Vec<u8>)> = group.iter().collect();
            while !rest.is_empty() {
                let entry = |(numbers, data): &&(Vec<u64>, Vec<u8>)| {
                    let key = format!("key-{}", numbers.first().unwrap_or(&0));
                    PutRecordsRequestEntry::builder().data(Blob::new(data.clone())).partition_key(key).build().expect("an entry")
                };
                let entries = rest.iter().map(entry).collect();
                let output = self.client.put_records().stream_name(stream).set_records(Some(entries)).send();
                let results = self.runtime.block_on(output).expect("records are put").records;
                let mut failed = Vec::new();
                for (record, result) in rest.into_iter().zip(results) {
                    match (result.shard_id, result.sequence_number) {
                        (Some(shard), Some(sequence)) => written.entry(shard).or_default().push((sequence, record.0.clone())),
                        _ => failed.push(record),
                    }
                }
                rest = failed;
            }
        }
        for records in written.values_mut() {
            records.sort_by(|(one, _), (other, _)| (one.len(), one).cmp(&(other.len(), other)));
        }
    }

    /// Returns the open shards with the range of their hash keys.
    pub(crate) fn open_shards(&self, stream: &str) -> Vec<(String, u128, u128)> {
        let listed = self.runtime.block_on(self.client.list_shards().stream_name(stream).send()).expect("a list");
        let open = listed
            .shards
            .unwrap_or_default()
            .into_iter()
            .filter(|shard| shard.sequence_number_range.as_ref().is_some_and(|range| range.ending_sequence_number.is_none()));
        let mut open: Vec<_> = open
            .filter_map(|shard| {
                let range = shard.hash_key_range?;
                Some((shard.shard_id, range.starting_hash_key.parse().ok()?, range.ending_hash_key.parse().ok()?))
            })
            .collect();
        open.sort_by_key(|(_, from, _)| *from);
        open
    }

    pub(crate) fn split(&self, stream: &str, which: usize) {
        let (shard, from, to) = self.open_shards(stream)[which].clone();
        let middle = (from / 2 + to / 2).to_string();
        let split = self.client.split_shard().stream_name(stream).shard_to_split(shard).new_starting_hash_key(middle).send();
        self.runtime.block_on(split).expect("a split");
        self.wait(stream);
    }

    pub(crate) fn merge(&self, stream: &str, which: usize) {
        let open = self.open_shards(stream);
        let merge = self
            .client
            .merge_shards()
            .stream_name(stream)
            .shard_to_merge(&open[which].0)
            .adjacent_shard_to_merge(&open[which + 1].0)
            .send();
        self.runtime.block_on(merge).expect("a merge");
        self.wait(stream);
    }
}

/// Returns an invocation record with a number for its request id.
pub(crate) fn call(number: u64) -> String {
    format!(
        "{{\"schemaType\":\"ModelInvocationLog\",\"schemaVersion\":\"1.0\",\"timestamp\":\"2026-01-01T00:00:00Z\",\
         \"accountId\":\"111122223333\",\"identity\":{{\"arn\":\"arn:aws:iam::111122223333:role/bot\"}},\"region\":\"eu-central-1\",\
         \"requestId\":\"00000000-0000-4000-8000-{number:012x}\",\"operation\":\"Converse\",\"modelId\":\"anthropic.claude-v2\",\
         \"input\":{{\"inputTokenCount\":1}},\"output\":{{\"outputTokenCount\":7}}}}"
    )
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).expect("memory");
    encoder.finish().expect("memory")
}

/// The record that CloudWatch Logs writes.
fn envelope(numbers: &[u64]) -> Vec<u8> {
    let events: Vec<serde_json::Value> = numbers
        .iter()
        .map(|number| serde_json::json!({"id": number.to_string(), "timestamp": 1_767_225_600_000_u64, "message": call(*number)}))
        .collect();
    let envelope = serde_json::json!({
        "messageType": "DATA_MESSAGE", "owner": "111122223333", "logGroup": "/aws/bedrock/calls", "logStream": "aws/bedrock/modelinvocations",
        "subscriptionFilters": ["all"], "logEvents": events,
    });
    gzip(envelope.to_string().as_bytes())
}

#[derive(Clone, PartialEq, Message)]
struct Aggregated {
    #[prost(string, repeated, tag = "1")]
    keys: Vec<String>,
    #[prost(message, repeated, tag = "3")]
    records: Vec<User>,
}

#[derive(Clone, PartialEq, Message)]
struct User {
    #[prost(uint64, tag = "1")]
    key: u64,
    #[prost(bytes = "vec", tag = "3")]
    data: Vec<u8>,
}

/// The record that the Kinesis Producer Library writes.
fn aggregate(numbers: &[u64]) -> Vec<u8> {
    let records = numbers.iter().map(|number| User { key: 0, data: call(*number).into_bytes() }).collect();
    let message = Aggregated { keys: vec!["key".to_owned()], records }.encode_to_vec();
    [&[0xf3, 0x89, 0x9a, 0xc2][..], &message, &Md5::digest(&message)].concat()
}

/// Puts calls into records: a plain one, an envelope of three, an aggregate of two, and so on.
fn records(numbers: std::ops::Range<u64>) -> Vec<(Vec<u64>, Vec<u8>)> {
    let (mut records, mut next) = (Vec::new(), numbers.start);
    while next < numbers.end {
        let form = records.len() % 3;
        let of_record: Vec<u64> = (next..numbers.end).take([1, 3, 2][form]).collect();
        next += of_record.len() as u64;
        let data = match form {
            0 => call(of_record[0]).into_bytes(),
            1 => envelope(&of_record),
            _ => aggregate(&of_record),
        };
        records.push((of_record, data));
    }
    records
}

/// What stands behind the source: chains, decodes, commits.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) positions: Positions,
    /// Numbers of calls by shard, in the order they came.
    pub(crate) read: BTreeMap<String, Vec<u64>>,
    pub(crate) rejected: Vec<String>,
}

/// A source and what stands behind it.
pub(crate) struct Reader {
    pub(crate) source: KinesisSource,
    pub(crate) ledger: Ledger,
    pub(crate) durable: Ledger,
    committed: Arc<Committed>,
    decoder: Decoder,
}

impl Reader {
    pub(crate) fn open(service: &Service, settings: &KinesisSettings, durable: Ledger) -> Result<Self, SourceError> {
        let committed = Arc::new(Committed::default());
        let runtime = service.runtime.handle().clone();
        let source =
            KinesisSource::open(settings, &durable.positions, Arc::clone(&committed), runtime, &service.config, SystemClock.now())?;
        Ok(Self { source, ledger: durable.clone(), durable, committed, decoder: Decoder::new() })
    }

    /// Refuses envelopes that are not on the list from now on.
    pub(crate) fn allow(&mut self, list: AllowList) {
        self.decoder = Decoder::taking(Arc::new(Intake { allowed: list, ..Intake::default() }));
    }

    /// Polls once.
    pub(crate) fn step(&mut self) {
        match self.source.poll(Duration::from_millis(20), SystemClock.now()).expect("a source") {
            Poll::Piece(piece) => {
                let mut batch = Batch::default();
                let span = decode_piece(piece, &mut self.decoder, &mut batch);
                assert_eq!(chain(self.ledger.positions.get(&span.shard), &span), ChainDecision::Accept, "{span:?}");
                let shard = span.shard.rsplit('/').next().expect("a name").to_owned();
                let read = self.ledger.read.entry(shard).or_default();
                read.extend(batch.invocations.iter().map(|call| match call.request_id {
                    RequestId::Uuid(id) => u64::try_from(id & 0xffff_ffff_ffff).expect("48 bits"),
                    RequestId::Other(_) => panic!("a call of nobody's"),
                }));
                self.ledger.rejected.extend(batch.rejected.iter().map(|rejected| rejected.reason.to_string()));
                self.ledger.positions.insert(span.shard, span.to);
            }
            Poll::Idle => {}
            Poll::Ended => panic!("a stream has no end"),
        }
    }

    pub(crate) fn commit(&mut self) {
        self.durable = self.ledger.clone();
        self.committed.note(Durable::Local, self.durable.positions.clone());
    }

    pub(crate) fn calls(&self) -> usize {
        self.ledger.read.values().map(Vec::len).sum()
    }

    /// Reads and commits until there are `calls` calls, and on for a little: what comes twice comes then.
    pub(crate) fn until(&mut self, calls: usize, limit: Duration) {
        let deadline = Instant::now() + limit;
        while self.calls() < calls {
            assert!(Instant::now() < deadline, "{} of {calls} calls; {:?}", self.calls(), self.source.progress().shards);
            self.step();
            self.commit();
        }
        self.during(Duration::from_millis(600));
    }

    /// Reads and commits for a while.
    pub(crate) fn during(&mut self, time: Duration) {
        let deadline = Instant::now() + time;
        while Instant::now() < deadline {
            self.step();
            self.commit();
        }
    }
}

/// Asserts that each shard was read whole, in its order, once.
pub(crate) fn assert_all_read(ledger: &Ledger, written: &Written) {
    let empty = Vec::new();
    for (shard, records) in written {
        let expected: Vec<u64> = records.iter().flat_map(|(_, numbers)| numbers).copied().collect();
        assert_eq!(ledger.read.get(shard).unwrap_or(&empty), &expected, "{shard}");
    }
    let (read, put): (usize, usize) =
        (ledger.read.values().map(Vec::len).sum(), written.values().flatten().map(|(_, numbers)| numbers.len()).sum());
    assert_eq!(read, put);
    assert_eq!(ledger.rejected, Vec::<String>::new());
}
