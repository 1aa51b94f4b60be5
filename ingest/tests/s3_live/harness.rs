//! A moto server on loopback, a client for it, and a ledger that accepts what a source gives.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use aws_config::SdkConfig;
use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider};
use aws_sdk_s3::primitives::ByteStream;
use flate2::Compression;
use flate2::write::GzEncoder;
use sluice_ingest::aws::{AwsSettings, load};
use sluice_ingest::committed::{Committed, Durable};
use sluice_ingest::decode::Decoder;
use sluice_ingest::piece::decode_piece;
use sluice_ingest::s3::{RawS3Settings, S3Settings, S3Source};
use sluice_ingest::source::{Poll, Source};
use sluice_schemas::position::{ChainDecision, Positions, chain};
use sluice_schemas::{Batch, Clock, Rejected, RequestId, ShardId, SystemClock};
use tokio::runtime::Runtime;

pub(crate) const ACCOUNT: &str = "111122223333";
pub(crate) const REGION: &str = "eu-central-1";

/// The server, for as long as the tests run: it ends when its standard input is closed.
struct Moto {
    _child: Mutex<Child>,
    url: String,
}

fn moto() -> &'static Moto {
    static MOTO: OnceLock<Moto> = OnceLock::new();
    MOTO.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/live/servers/moto.sh");
        let mut child = Command::new(&script)
            // Short pages: every listing of more than a few objects takes several.
            .env("MOTO_S3_DEFAULT_MAX_KEYS", "7")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{} cannot be started ({error}); it needs sh and python3", script.display()));
        let mut url = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut url).expect("its first line");
        assert!(url.starts_with("http://127.0.0.1:"), "moto did not start: run {} to see why", script.display());
        Moto { _child: Mutex::new(child), url: url.trim().to_owned() }
    })
}

/// An AWS of one's own: a bucket, a queue, a group.
pub(crate) struct Aws {
    pub(crate) runtime: Runtime,
    pub(crate) config: SdkConfig,
    pub(crate) s3: aws_sdk_s3::Client,
    pub(crate) sqs: aws_sdk_sqs::Client,
    pub(crate) bucket: String,
    pub(crate) url: String,
}

impl Aws {
    /// Connects, unless live tests are not asked for.
    #[expect(clippy::print_stderr, reason = "a test that was not run must say so")]
    pub(crate) fn live() -> Option<Self> {
        if std::env::var("SLUICE_LIVE").as_deref() != Ok("1") {
            eprintln!("not run: needs a moto server; make test-live, or SLUICE_LIVE=1 to start one by tests/live/servers/moto.sh");
            return None;
        }
        Some(Self::at(&moto().url))
    }

    /// Connects to a server that speaks for AWS.
    pub(crate) fn at(url: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let settings = AwsSettings { region: Some(REGION.to_owned()), endpoint: Some(url.to_owned()), profile: None };
        let config = runtime.block_on(load(&settings)).expect("a configuration");
        let key = Credentials::new("AKIAIOSFODNN7EXAMPLE", "secret", None, None, "test");
        let config = config.into_builder().credentials_provider(SharedCredentialsProvider::new(key)).build();
        let s3 = aws_sdk_s3::config::Builder::from(&config).force_path_style(true).build();
        let (s3, sqs) = (aws_sdk_s3::Client::from_conf(s3), aws_sdk_sqs::Client::new(&config));
        Self { runtime, config, s3, sqs, bucket: format!("logs-{number}"), url: url.to_owned() }
    }

    /// Connects to the same bucket by another way.
    pub(crate) fn through(&self, url: &str) -> Self {
        Self { bucket: self.bucket.clone(), ..Self::at(url) }
    }

    pub(crate) fn create_bucket(&self, versioned: bool) {
        use aws_sdk_s3::types::{BucketLocationConstraint, BucketVersioningStatus, CreateBucketConfiguration, VersioningConfiguration};
        let place = CreateBucketConfiguration::builder().location_constraint(BucketLocationConstraint::EuCentral1).build();
        let create = self.s3.create_bucket().bucket(&self.bucket).create_bucket_configuration(place);
        self.runtime.block_on(create.send()).expect("a bucket");
        if versioned {
            let on = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
            self.runtime
                .block_on(self.s3.put_bucket_versioning().bucket(&self.bucket).versioning_configuration(on).send())
                .expect("versions");
        }
    }

    pub(crate) fn put(&self, key: &str, bytes: Vec<u8>) {
        self.runtime.block_on(self.s3.put_object().bucket(&self.bucket).key(key).body(ByteStream::from(bytes)).send()).expect("a put");
    }

    pub(crate) fn delete(&self, key: &str) {
        self.runtime.block_on(self.s3.delete_object().bucket(&self.bucket).key(key).send()).expect("a delete");
    }

    /// Creates a queue and has the bucket tell it of new objects.
    pub(crate) fn create_queue(&self) -> String {
        use aws_sdk_s3::types::{Event, NotificationConfiguration, QueueConfiguration};
        let queue = self.runtime.block_on(self.sqs.create_queue().queue_name(format!("{}-queue", self.bucket)).send()).expect("a queue");
        let url = queue.queue_url.expect("its URL");
        let arn = format!("arn:aws:sqs:{REGION}:123456789012:{}-queue", self.bucket);
        let told = QueueConfiguration::builder().queue_arn(arn).events(Event::S3ObjectCreated).build().expect("a rule");
        let rules = NotificationConfiguration::builder().queue_configurations(told).build();
        let put = self.s3.put_bucket_notification_configuration().bucket(&self.bucket).notification_configuration(rules);
        self.runtime.block_on(put.send()).expect("notifications");
        url
    }

    /// Returns the versions of an object, the newest first.
    pub(crate) fn versions(&self, key: &str) -> Vec<aws_sdk_s3::types::ObjectVersion> {
        let ask = self.s3.list_object_versions().bucket(&self.bucket).prefix(key);
        self.runtime.block_on(ask.send()).expect("versions").versions.unwrap_or_default()
    }

    pub(crate) fn purge(&self, queue: &str) {
        self.runtime.block_on(self.sqs.purge_queue().queue_url(queue).send()).expect("a purge");
    }

    pub(crate) fn send(&self, queue: &str, body: &str) {
        self.runtime.block_on(self.sqs.send_message().queue_url(queue).message_body(body).send()).expect("a message");
    }

    /// Returns the messages of a queue: those that can be seen, and those that are hidden.
    pub(crate) fn messages(&self, queue: &str) -> (u32, u32) {
        use aws_sdk_sqs::types::QueueAttributeName::{ApproximateNumberOfMessages, ApproximateNumberOfMessagesNotVisible};
        let ask = self.sqs.get_queue_attributes().queue_url(queue);
        let ask = ask.attribute_names(ApproximateNumberOfMessages).attribute_names(ApproximateNumberOfMessagesNotVisible);
        let answer = self.runtime.block_on(ask.send()).expect("attributes").attributes.expect("attributes");
        let count = |name| answer.get(&name).and_then(|text| text.parse().ok()).expect("a count");
        (count(ApproximateNumberOfMessages), count(ApproximateNumberOfMessagesNotVisible))
    }

    pub(crate) fn source(&self, raw: RawS3Settings, ledger: &Ledger) -> S3Source {
        let settings = S3Settings::try_from(raw).expect("settings");
        S3Source::open(settings, &ledger.positions, &ledger.committed, self.runtime.handle().clone(), &self.config).expect("a source")
    }

    pub(crate) fn path(&self, prefix: &str) -> String {
        format!("s3://{}/{prefix}", self.bucket)
    }
}

pub(crate) fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).expect("memory");
    encoder.finish().expect("memory")
}

/// An invocation log of calls with these ids.
pub(crate) fn log(ids: impl IntoIterator<Item = u32>) -> String {
    let line = |id| {
        format!(
            r#"{{"schemaType":"ModelInvocationLog","schemaVersion":"1.0","timestamp":"2026-10-01T12:00:00Z","accountId":"{ACCOUNT}","region":"{REGION}","requestId":"{id:08x}-0000-0000-0000-000000000000","operation":"Converse","modelId":"amazon.nova-micro-v1:0","input":{{"inputTokenCount":1}},"output":{{"outputTokenCount":2}}}}"#
        ) + "\n"
    };
    ids.into_iter().map(line).collect()
}

/// What was read, and how far.
#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) positions: Positions,
    pub(crate) committed: Arc<Committed>,
    /// Ids in the order in which they came, one as often as it was read.
    pub(crate) calls: Vec<u32>,
    pub(crate) trail: usize,
    pub(crate) rejected: Vec<(ShardId, Rejected)>,
    pub(crate) shards: BTreeMap<ShardId, u32>,
}

impl Ledger {
    /// Accepts pieces until the source ends, or `until` is content.
    pub(crate) fn read(&mut self, source: &mut dyn Source, until: impl Fn(&Self) -> bool) {
        let (mut decoder, deadline) = (Decoder::new(), Instant::now() + Duration::from_secs(60));
        while !until(self) {
            assert!(Instant::now() < deadline, "nothing more came: {:?}, {:?}", source.progress(), self.rejected);
            match source.poll(Duration::from_millis(100), SystemClock.now()).expect("a source that works") {
                Poll::Piece(piece) => {
                    let mut batch = Batch::default();
                    let span = decode_piece(piece, &mut decoder, &mut batch);
                    assert_eq!(chain(self.positions.get(&span.shard), &span), ChainDecision::Accept, "{span:?}");
                    for call in &batch.invocations {
                        let RequestId::Uuid(uuid) = call.request_id else { panic!("another id") };
                        self.calls.push((uuid >> 96) as u32);
                    }
                    self.trail += batch.trail.len();
                    self.rejected.extend(batch.rejected.into_iter().map(|rejected| (span.shard.clone(), rejected)));
                    *self.shards.entry(span.shard.clone()).or_default() += 1;
                    self.positions.insert(span.shard, span.to);
                }
                Poll::Idle => {}
                Poll::Ended => return,
            }
        }
    }

    /// Makes everything durable in the lake.
    pub(crate) fn commit(&self) {
        self.committed.note(Durable::Lake, self.positions.clone());
    }

    /// Returns what a new process finds after a crash: only what was made durable.
    pub(crate) fn crashed(positions: Positions) -> Self {
        let ledger = Self { positions, ..Self::default() };
        ledger.commit();
        ledger
    }

    pub(crate) fn sorted(&self) -> Vec<u32> {
        let mut calls = self.calls.clone();
        calls.sort_unstable();
        calls
    }
}

/// Waits until something holds.
pub(crate) fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "{what} never came true");
        std::thread::sleep(Duration::from_millis(100));
    }
}
