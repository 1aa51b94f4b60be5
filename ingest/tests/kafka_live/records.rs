//! What comes out is what went in: codecs, large records, tombstones, transactions, gaps, and where reading begins.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::producer::{BaseRecord, Producer};
use serde_json::json;
use sluice_ingest::committed::Committed;
use sluice_ingest::decode::Decoder;
use sluice_ingest::kafka::KafkaSource;
use sluice_ingest::piece::decode_piece;
use sluice_ingest::source::{Order, ShardState, Source};
use sluice_schemas::Batch;
use sluice_schemas::position::Positions;

use super::support::{Broker, LONG, Ledger, poll, read_until, send, value};

fn open(broker: &Broker, topic: &str, positions: &Positions, more: serde_json::Value) -> (KafkaSource, Arc<Committed>) {
    let committed = Arc::new(Committed::default());
    let settings = broker.settings(topic, &format!("{topic}-group"), more);
    (KafkaSource::open(settings, positions.clone(), Arc::clone(&committed)).expect("opened"), committed)
}

#[test]
fn every_codec_and_a_large_record() {
    let Some(broker) = Broker::shared() else { return };
    let topic = "codecs";
    broker.create(topic, 1);
    let mut sent = Vec::new();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let values: Vec<_> = (0..50).map(|n| format!("{codec} {n} {}", "x".repeat(200)).into_bytes()).collect();
        send(&broker.producer(&[("compression.type", codec)]), topic, 0, values.clone());
        sent.extend(values);
    }
    let large: Vec<u8> = (0..5_u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    send(&broker.producer(&[]), topic, 0, [large.clone()]);
    sent.push(large);
    let (mut source, committed) = open(broker, topic, &Positions::new(), json!({}));
    let mut ledger = Ledger::default();
    read_until(&mut source, &mut ledger, &committed, |ledger, _| ledger.count() == 251);
    let got: Vec<_> = ledger.values.values().flatten().map(|(_, data)| data.clone()).collect();
    assert!(got == sent, "every byte in order");
}

#[test]
fn a_tombstone_is_passed_and_counted() {
    let Some(broker) = Broker::shared() else { return };
    broker.create("tombstones", 1);
    let producer = broker.producer(&[]);
    producer.send(BaseRecord::<str, [u8]>::to("tombstones").key("k")).expect("queued");
    producer.flush(LONG).expect("acknowledged");
    let (mut source, _) = open(broker, "tombstones", &Positions::new(), json!({}));
    let (mut batch, mut to) = (Batch::default(), 0);
    let deadline = Instant::now() + LONG;
    while to < 1 && Instant::now() < deadline {
        if let Some(piece) = poll(&mut source) {
            to = decode_piece(piece, &mut Decoder::new(), &mut batch).to.offset;
        }
    }
    assert_eq!((to, batch.control, batch.rejected.len()), (1, 1, 0));
}

#[test]
fn aborted_transactions_leave_holes_and_no_gap() {
    let Some(broker) = Broker::shared() else { return };
    let topic = "transactions";
    broker.create(topic, 1);
    let producer = broker.producer(&[("transactional.id", "t")]);
    producer.init_transactions(LONG).expect("transactions");
    for (round, commit) in [(0, true), (1, false), (2, true)] {
        producer.begin_transaction().expect("begun");
        send(&producer, topic, 0, (0..10).map(|n| value(round, n)));
        if commit { producer.commit_transaction(LONG) } else { producer.abort_transaction(LONG) }.expect("ended");
    }
    let (mut source, committed) = open(broker, topic, &Positions::new(), json!({}));
    let mut ledger = Ledger::default();
    // At the end there is nothing but a marker: nobody is behind.
    read_until(&mut source, &mut ledger, &committed, |ledger, source| {
        ledger.count() == 20 && source.progress().shards.iter().all(|shard| shard.behind_records == Some(0))
    });
    let expected: Vec<_> = [0, 2].into_iter().flat_map(|round| (0..10).map(move |n| value(round, n))).collect();
    let got: Vec<_> = ledger.values.values().flatten().map(|(_, data)| data.clone()).collect();
    assert_eq!(got, expected);
    assert!(ledger.gaps.is_empty());
}

#[test]
fn deleted_records_are_a_gap_that_is_told_once() {
    let Some(broker) = Broker::shared() else { return };
    let topic = "gap";
    broker.create(topic, 1);
    send(&broker.producer(&[]), topic, 0, (0..10).map(|n| value(0, n)));
    let mut ledger = Ledger::default();
    let (mut source, committed) = open(broker, topic, &Positions::new(), json!({}));
    read_until(&mut source, &mut ledger, &committed, |ledger, _| ledger.count() == 10);
    drop(source);
    send(&broker.producer(&[]), topic, 0, (10..100).map(|n| value(0, n)));
    broker.delete_before(topic, 0, 50);

    let (mut source, committed) = open(broker, topic, &ledger.positions, json!({}));
    read_until(&mut source, &mut ledger, &committed, |ledger, _| !ledger.gaps.is_empty());
    assert_eq!(
        ledger.gaps,
        ["data gap: offsets 10 to 49 were deleted before they were read: retention is shorter than the reading was late"]
    );
    stays_stopped(&mut source);
    drop(source);

    // After a restart it is still stopped, and says so without a second piece.
    let (mut source, committed) = open(broker, topic, &ledger.positions, json!({}));
    read_until(&mut source, &mut ledger, &committed, |_, source| !source.progress().shards.is_empty());
    let shard = stays_stopped(&mut source);
    assert!(!source.order(&Order::Resume("kafka:elsewhere/gap/0".to_owned())));
    assert!(source.order(&Order::Resume(shard)));
    read_until(&mut source, &mut ledger, &committed, |ledger, _| ledger.count() == 60);
    let got: Vec<u64> = ledger.values.values().flatten().map(|(offset, _)| *offset).collect();
    assert_eq!(got, (0..10).chain(50..100).collect::<Vec<_>>());
    assert_eq!(ledger.gaps.len(), 1);
}

/// Polls for a second: nothing comes, and the one shard says that it stopped.
fn stays_stopped(source: &mut KafkaSource) -> String {
    let until = Instant::now() + Duration::from_secs(1);
    while Instant::now() < until {
        assert_eq!(poll(source), None);
    }
    let shards = source.progress().shards;
    assert!(matches!(&shards[0].state, ShardState::Stopped(why) if why.contains("offset")), "{shards:?}");
    shards[0].shard.clone()
}

#[test]
fn a_gap_while_reading_stops_only_its_partition() {
    let Some(broker) = Broker::shared() else { return };
    let topic = "gap-while-reading";
    broker.create(topic, 2);
    let producer = broker.producer(&[]);
    (0..2).for_each(|partition| send(&producer, topic, partition, (0..10).map(|n| value(partition, n))));
    let (mut source, committed) = open(broker, topic, &Positions::new(), json!({}));
    let mut ledger = Ledger::default();
    read_until(&mut source, &mut ledger, &committed, |ledger, _| ledger.count() == 20);
    drop(source);
    // The ledger goes back to an older backup of its state: partition 1 stands where records are gone.
    let mut old = ledger.positions.clone();
    old.iter_mut().filter(|(shard, _)| shard.ends_with("/1")).for_each(|(_, position)| position.offset = 2);
    broker.delete_before(topic, 1, 5);
    send(&producer, topic, 0, (10..20).map(|n| value(0, n)));
    let (mut source, committed) = open(broker, topic, &old, json!({}));
    let mut ledger = Ledger { positions: old, ..Ledger::default() };
    read_until(&mut source, &mut ledger, &committed, |ledger, _| ledger.count() == 10 && ledger.gaps.len() == 1);
    assert!(ledger.gaps[0].contains("offsets 2 to 4"), "{:?}", ledger.gaps);
}

#[test]
fn a_restart_goes_on_where_the_ledger_stands() {
    let Some(broker) = Broker::shared() else { return };
    let topic = "restart";
    broker.create(topic, 3);
    let producer = broker.producer(&[]);
    (0..3).for_each(|partition| send(&producer, topic, partition, (0..100).map(|n| value(partition, n))));
    let mut ledger = Ledger::default();
    for round in 1..=3 {
        let (mut source, committed) = open(broker, topic, &ledger.positions, json!({"group_instance_id": "one"}));
        read_until(&mut source, &mut ledger, &committed, |ledger, _| ledger.count() == 300 * round);
        drop(source);
        (0..3).for_each(|partition| send(&producer, topic, partition, (0..100).map(|n| value(partition, n))));
    }
    for values in ledger.values.values() {
        assert_eq!(values.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), (0..300).collect::<Vec<_>>());
    }
}

#[test]
fn latest_is_pinned_before_the_first_record() {
    let Some(broker) = Broker::shared() else { return };
    let topic = "pinned";
    broker.create(topic, 1);
    let producer = broker.producer(&[]);
    send(&producer, topic, 0, (0..10).map(|n| value(0, n)));
    let begins = |source: &mut KafkaSource| {
        let deadline = Instant::now() + LONG;
        loop {
            assert!(Instant::now() < deadline);
            if let Some(piece) = poll(source) {
                return (piece.from, piece.to);
            }
        }
    };
    let (mut source, _) = open(broker, topic, &Positions::new(), json!({"start": "latest"}));
    assert_eq!(begins(&mut source), (None, Some(10)));
    // It crashes before its ledger commits; meanwhile more is written.
    drop(source);
    send(&producer, topic, 0, (10..15).map(|n| value(0, n)));
    let (mut source, committed) = open(broker, topic, &Positions::new(), json!({"start": "latest"}));
    let mut ledger = Ledger::default();
    read_until(&mut source, &mut ledger, &committed, |ledger, _| ledger.count() == 5);
    drop(source);
    // A moment is found by the records' own times.
    let (mut source, _) = open(broker, topic, &Positions::new(), json!({"start": "2100-01-01T00:00:00Z", "group": "another"}));
    assert_eq!(begins(&mut source), (None, Some(15)));
    let (mut source, _) = open(broker, topic, &Positions::new(), json!({"start": "2001-01-01T00:00:00Z", "group": "a-third"}));
    assert_eq!(begins(&mut source).0, None);
}
