//! A broker of the tests' own, topics and records on it, and a ledger that follows pieces.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures::executor::block_on;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::{Value, json};
use sluice_ingest::committed::{Committed, Durable};
use sluice_ingest::kafka::KafkaSettings;
use sluice_ingest::source::{Payload, Piece, Poll, Source};
use sluice_schemas::position::{ChainDecision, Positions, Span, chain};
use sluice_schemas::{Clock, Position, SystemClock};

/// Longest wait for anything.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// A broker in a process of its own, which ends with this one.
pub(crate) struct Broker {
    dir: tempfile::TempDir,
    port: u16,
}

impl Broker {
    /// The one that the tests share; `None`, with a word why, where live tests were not asked for.
    pub(crate) fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Broker>> = OnceLock::new();
        SHARED.get_or_init(Self::own).as_ref()
    }

    /// One for a test alone.
    #[expect(clippy::print_stdout, reason = "a test that does not run says so")]
    pub(crate) fn own() -> Option<Self> {
        if std::env::var("SLUICE_LIVE").as_deref() != Ok("1") {
            println!("not run: needs a Kafka broker; run `make test-live`, or set SLUICE_LIVE=1 (Java 17 and Maven are needed)");
            return None;
        }
        let broker = Self { dir: tempfile::tempdir().expect("a folder"), port: free_ports() };
        broker.start();
        Some(broker)
    }

    pub(crate) fn start(&self) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/live/servers/kafka.sh");
        let (port, parent) = (self.port.to_string(), std::process::id().to_string());
        let output =
            Command::new(&script).arg("start").arg(self.dir.path()).args([port, parent]).output().expect("tests/live/servers/kafka.sh");
        assert!(
            output.status.success(),
            "no Kafka broker: {} start DIR PORT says {}",
            script.display(),
            String::from_utf8_lossy(&output.stderr)
        );
    }

    pub(crate) fn kill(&self) {
        let pid = std::fs::read_to_string(self.dir.path().join("pid")).expect("the pid");
        assert!(Command::new("kill").arg("-9").arg(pid.trim()).status().expect("kill").success());
    }

    /// The plain listener.
    pub(crate) fn plain(&self) -> String {
        self.listener(0)
    }

    /// The listener that asks for a password.
    pub(crate) fn sasl(&self) -> String {
        self.listener(1)
    }

    /// The listener that speaks TLS.
    pub(crate) fn tls(&self) -> String {
        self.listener(2)
    }

    fn listener(&self, add: u16) -> String {
        format!("127.0.0.1:{}", self.port + add)
    }

    /// The authority that signed the broker's certificate.
    pub(crate) fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        ClientConfig::new().set("bootstrap.servers", self.plain()).create().expect("an admin client")
    }

    pub(crate) fn create(&self, topic: &str, partitions: i32) {
        self.create_with(topic, partitions, &[]);
    }

    pub(crate) fn create_with(&self, topic: &str, partitions: i32, settings: &[(&str, &str)]) {
        let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        for (key, value) in settings {
            new = new.set(key, value);
        }
        let made = block_on(self.admin().create_topics([&new], &AdminOptions::new())).expect("an answer");
        assert!(made.iter().all(Result::is_ok), "{made:?}");
    }

    pub(crate) fn grow(&self, topic: &str, partitions: usize) {
        let grown =
            block_on(self.admin().create_partitions([&NewPartitions::new(topic, partitions)], &AdminOptions::new())).expect("an answer");
        assert!(grown.iter().all(Result::is_ok), "{grown:?}");
    }

    /// Deletes the records of a partition below an offset.
    pub(crate) fn delete_before(&self, topic: &str, partition: i32, offset: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(offset)).expect("an offset");
        block_on(self.admin().delete_records(&list, &AdminOptions::new())).expect("deleted");
    }

    pub(crate) fn producer(&self, settings: &[(&str, &str)]) -> BaseProducer {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.plain()).set("message.max.bytes", "16000000").set("linger.ms", "1");
        for (key, value) in settings {
            config.set(*key, *value);
        }
        config.create().expect("a producer")
    }

    /// Settings of a source on the plain listener.
    pub(crate) fn settings(&self, topic: &str, group: &str, more: Value) -> KafkaSettings {
        settings(&self.plain(), topic, group, more)
    }
}

/// Four ports in a row that nobody uses.
fn free_ports() -> u16 {
    (0..200)
        .map(|_| TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port())
        .filter(|port| *port < 65_000)
        .find(|port| (1..4).all(|add| TcpListener::bind(("127.0.0.1", port + add)).is_ok()))
        .expect("four free ports in a row")
}

pub(crate) fn settings(broker: &str, topic: &str, group: &str, mut more: Value) -> KafkaSettings {
    let mut all = json!({"brokers": [broker], "topics": [topic], "group": group, "connect_wait": "15s", "properties": {
        "session.timeout.ms": "6000", "heartbeat.interval.ms": "500", "topic.metadata.refresh.interval.ms": "1000"}});
    all.as_object_mut().expect("an object").append(more.as_object_mut().expect("an object"));
    serde_json::from_value(all).expect("settings")
}

/// Sends records and waits until the broker has them.
pub(crate) fn send(producer: &BaseProducer, topic: &str, partition: i32, values: impl IntoIterator<Item = Vec<u8>>) {
    for value in values {
        let mut record = BaseRecord::<[u8], [u8]>::to(topic).partition(partition).payload(&value);
        while let Err((error, back)) = producer.send(record) {
            assert_eq!(error.rdkafka_error_code(), Some(rdkafka::error::RDKafkaErrorCode::QueueFull));
            producer.poll(Duration::from_millis(20));
            record = back;
        }
    }
    producer.flush(LONG).expect("acknowledged");
}

/// The n-th record of a partition, told apart from every other.
pub(crate) fn value(partition: i32, number: u64) -> Vec<u8> {
    format!("{{\"p\":{partition},\"n\":{number}}}").into_bytes()
}

/// Follows pieces as the ledger does: every one must follow on the one before.
#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) positions: Positions,
    /// Values by shard, in the order they came, with their offsets.
    pub(crate) values: BTreeMap<String, Vec<(u64, Vec<u8>)>>,
    /// Data gaps, in words.
    pub(crate) gaps: Vec<String>,
}

impl Ledger {
    pub(crate) fn accept(&mut self, piece: Piece) -> (String, Position) {
        let to = Position { offset: piece.to.expect("known"), identity: piece.identity.clone(), ..Position::default() };
        let span = Span { shard: piece.shard.clone(), from: piece.from.clone(), to: to.clone() };
        let last = self.positions.get(&piece.shard);
        assert_eq!(chain(last, &span), ChainDecision::Accept, "{last:?} {span:?}");
        let values = self.values.entry(piece.shard.clone()).or_default();
        match piece.payload {
            Payload::Records(records) => values.extend(records.into_iter().map(|record| (record.offset, record.data))),
            Payload::Refused { reason, .. } => self.gaps.push(reason.to_string()),
            other => panic!("{other:?}"),
        }
        self.positions.insert(piece.shard.clone(), to.clone());
        (piece.shard, to)
    }

    pub(crate) fn count(&self) -> usize {
        self.values.values().map(Vec::len).sum()
    }
}

pub(crate) fn poll(source: &mut dyn Source) -> Option<Piece> {
    match source.poll(Duration::from_millis(50), SystemClock.now()).expect("no error of the whole source") {
        Poll::Piece(piece) => Some(piece),
        Poll::Idle => None,
        Poll::Ended => panic!("a topic has no end"),
    }
}

/// Polls until `done`, committing every piece at once.
pub(crate) fn read_until(
    source: &mut dyn Source,
    ledger: &mut Ledger,
    committed: &Arc<Committed>,
    done: impl Fn(&Ledger, &dyn Source) -> bool,
) {
    let deadline = Instant::now() + LONG;
    while !done(ledger, source) {
        assert!(Instant::now() < deadline, "{} records, {:?}, {:?}", ledger.count(), ledger.positions, source.progress());
        if let Some(piece) = poll(source) {
            let (shard, to) = ledger.accept(piece);
            committed.note(Durable::Local, [(shard, to)]);
        }
    }
}
