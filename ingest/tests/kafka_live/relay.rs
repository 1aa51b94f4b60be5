//! Raw records go through workers and a second topic to the ledger: every call once, refused and control records counted once,
//! although a worker dies between publishing and committing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use sluice_ingest::committed::{Committed, Durable};
use sluice_ingest::decode::Decoder;
use sluice_ingest::kafka::{Credentials, CredentialsProvider, KafkaRelay, KafkaSource, Keeper, RelayTopic};
use sluice_ingest::piece::decode_piece;
use sluice_ingest::relay::worker::{PublishError, Worker, WorkerError, run};
use sluice_ingest::relay::{MESSAGE_BYTES, Refused, admit};
use sluice_schemas::position::Positions;
use sluice_schemas::{Batch, ErrorClass, Rejected, RequestId, SystemClock};

use super::support::{Broker, LONG, poll, send};

const PERMISSION: &str = "Permissions are correctly set for Amazon Bedrock logs.";

fn call(partition: i32, number: u64) -> Vec<u8> {
    format!(
        r#"{{"timestamp":"2026-10-01T00:00:00Z","accountId":"123456789012","region":"us-east-1","requestId":"1000000{partition}-0000-4000-8000-{number:012}","modelId":"m","input":{{"inputTokenCount":7}},"output":{{"outputTokenCount":1}},"identity":{{"arn":"arn:aws:iam::123456789012:user/u{partition}"}},"schemaType":"ModelInvocationLog","schemaVersion":"1.0"}}"#
    )
    .into_bytes()
}

/// Nine calls of ten; a refused record, or a control message, in between.
fn record(partition: i32, number: u64) -> Vec<u8> {
    match number % 20 {
        9 => format!("nonsense {number}").into_bytes(),
        19 => PERMISSION.as_bytes().to_vec(),
        _ => call(partition, number),
    }
}

/// No row is ever looked up: every stretch is published whole.
struct Nothing;

impl Refused for Nothing {
    type Error = std::convert::Infallible;

    fn is_known(&mut self, shard: &str, _: &Rejected) -> Result<bool, Self::Error> {
        panic!("{shard}: a refused record of an ordered stretch is told by its place")
    }

    fn keep(&mut self, _: &str, _: &Rejected) {}
}

fn credentials() -> CredentialsProvider {
    Arc::new(|| Credentials::from_env(&|_| None))
}

/// Runs a worker until told to stop; one that is to die does so after so many publications, before it commits the last.
fn work(broker: &Broker, name: &str, stop: &AtomicBool, dies_after: Option<u64>) -> Result<u64, WorkerError> {
    let topic: RelayTopic = serde_json::from_value(json!({"brokers": [broker.plain()], "topic": "relay"})).expect("settings");
    let mut relay = KafkaRelay::open(topic, Duration::from_secs(60), credentials()).expect("a producer");
    let committed = Arc::new(Committed::default());
    let settings = broker.settings("raw", "workers", json!({}));
    let mut source =
        KafkaSource::connect(settings, Keeper::Group, Positions::new(), Arc::clone(&committed), credentials()).expect("opened");
    let published = AtomicU64::new(0);
    let mut publish = |shard: &str, messages: &[Vec<u8>]| {
        relay.publish(shard, messages)?;
        if Some(published.fetch_add(1, Ordering::Relaxed) + 1) == dies_after {
            return Err(PublishError { resource: "test".to_owned(), problem: "killed".to_owned(), class: ErrorClass::Bug });
        }
        Ok(())
    };
    let worker =
        Worker { name: name.to_owned(), limit: MESSAGE_BYTES, committed: &committed, clock: &SystemClock, stop, intake: Arc::default() };
    run(&mut source, &mut publish, &worker).map(|tally| tally.calls)
}

#[test]
fn records_go_through_workers_to_the_ledger_exactly_once() {
    let Some(broker) = Broker::shared() else { return };
    broker.create("raw", 4);
    broker.create("relay", 2);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let first = scope.spawn(|| work(broker, "first", &stop, Some(5)));
        let second = scope.spawn(|| work(broker, "second", &stop, None));
        let producer = broker.producer(&[]);
        for round in 0..25 {
            (0..4).for_each(|partition| send(&producer, "raw", partition, (round * 20..round * 20 + 20).map(|n| record(partition, n))));
            thread::sleep(Duration::from_millis(50));
        }
        let committed = Arc::new(Committed::default());
        let settings = broker.settings("relay", "ledger", json!({}));
        let mut source = KafkaSource::open(settings, Positions::new(), Arc::clone(&committed)).expect("opened");
        let (mut upstream, mut ids, mut calls, mut rejected, mut control) = (Positions::new(), BTreeSet::new(), 0, Vec::new(), 0);
        let mut repeated = 0;
        let deadline = Instant::now() + LONG;
        while ids.len() < 1_800 || rejected.len() < 100 || control < 100 {
            assert!(Instant::now() < deadline, "{} calls, {} refused, {control} control", ids.len(), rejected.len());
            let Some(piece) = poll(&mut source) else { continue };
            let mut batch = Batch::default();
            let span = decode_piece(piece, &mut Decoder::new(), &mut batch);
            let Ok(admitted) = admit(&mut batch, &mut upstream, &mut Nothing);
            assert!(admitted.gaps.is_empty(), "{admitted:?}");
            repeated += admitted.repeated_rejected + admitted.repeated_control;
            calls += batch.invocations.len();
            for call in &batch.invocations {
                assert!(!batch.strings.get(batch.profiles[call.profile as usize].principal_arn).is_empty());
                let RequestId::Uuid(id) = call.request_id else { panic!("{call:?}") };
                ids.insert(id);
            }
            rejected.extend(batch.rejected.into_iter().map(|rejected| rejected.raw));
            control += batch.control;
            committed.note(Durable::Local, [(span.shard, span.to)]);
        }
        stop.store(true, Ordering::Relaxed);
        let died = first.join().expect("the first worker");
        assert!(matches!(died, Err(WorkerError::Publish(_))), "{died:?}");
        second.join().expect("the second worker").expect("no error");
        assert_eq!((ids.len(), rejected.len(), control), (1_800, 100, 100));
        assert!(calls >= 1_800 && repeated < 400, "{calls} {repeated}");
    });
}
