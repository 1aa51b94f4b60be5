//! Members come and go, brokers too, and topics grow.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use sluice_ingest::committed::{Committed, Durable};
use sluice_ingest::kafka::{Credentials, KafkaSource, Keeper};
use sluice_ingest::source::{Payload, ShardState};
use sluice_schemas::position::Positions;

use super::support::{Broker, LONG, Ledger, poll, read_until, send, value};

/// A stateless worker: reads until told to stop, notes every record, and makes it durable a moment later.
fn worker(broker: &Broker, topic: &str, name: &'static str, stop: &AtomicBool, seen: &Mutex<Vec<(String, u64, &'static str)>>) {
    let committed = Arc::new(Committed::default());
    let settings = broker.settings(topic, "rebalance-group", json!({}));
    let provider = Arc::new(|| Credentials::from_env(&|_| None));
    let mut source = KafkaSource::connect(settings, Keeper::Group, Positions::new(), Arc::clone(&committed), provider).expect("opened");
    // What was read and is not durable yet, with the time at which it will be.
    let mut late = Vec::new();
    let mut ends: BTreeMap<String, Option<u64>> = BTreeMap::new();
    loop {
        let now = Instant::now();
        let stopping = stop.load(Ordering::Relaxed);
        late.retain(|(at, shard, position): &(Instant, String, sluice_schemas::Position)| {
            let due = *at <= now || stopping;
            if due {
                committed.note(Durable::Local, [(shard.clone(), position.clone())]);
            }
            !due
        });
        if stopping {
            return;
        }
        let Some(piece) = poll(&mut source) else { continue };
        // A shard that went away and came back begins anew; else pieces chain.
        let from = piece.from.as_ref().map(|from| from.offset);
        if let Some(end) = ends.insert(piece.shard.clone(), piece.to) {
            assert!(from >= end, "{name} {from:?} {end:?}");
        }
        if let Payload::Records(records) = &piece.payload {
            seen.lock().expect("unpoisoned").extend(records.iter().map(|record| (piece.shard.clone(), record.offset, name)));
        }
        let position = sluice_schemas::Position { offset: piece.to.expect("known"), ..Default::default() };
        late.push((now + Duration::from_millis(300), piece.shard, position));
    }
}

#[test]
fn members_join_and_leave_and_nothing_is_lost_or_read_twice() {
    let Some(broker) = Broker::shared() else { return };
    let topic = "rebalance";
    broker.create(topic, 4);
    let (seen, ends) = (Mutex::new(Vec::new()), [const { AtomicBool::new(false) }; 2]);
    let count =
        |name: Option<&str>| seen.lock().expect("unpoisoned").iter().filter(|(_, _, by)| name.is_none_or(|name| name == *by)).count();
    let wait = |what: &str, done: &dyn Fn() -> bool| {
        let deadline = Instant::now() + LONG;
        while !done() {
            assert!(Instant::now() < deadline, "{what}: a {}, b {}", count(Some("a")), count(Some("b")));
            thread::sleep(Duration::from_millis(20));
        }
    };
    let sent = std::cell::Cell::new(0);
    let producer = broker.producer(&[]);
    let feed = |rounds: u64| {
        for _ in 0..rounds {
            (0..4).for_each(|partition| send(&producer, topic, partition, (sent.get()..sent.get() + 10).map(|n| value(partition, n))));
            sent.set(sent.get() + 10);
            thread::sleep(Duration::from_millis(20));
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| worker(broker, topic, "a", &ends[0], &seen));
        feed(20);
        wait("a reads alone", &|| count(Some("a")) > 0);
        scope.spawn(|| worker(broker, topic, "b", &ends[1], &seen));
        let before = Instant::now();
        while count(Some("b")) == 0 && before.elapsed() < LONG {
            feed(5);
        }
        assert!(count(Some("b")) > 0, "b gets partitions");
        let alone = count(Some("a"));
        feed(20);
        wait("both read", &|| count(Some("a")) > alone);
        ends[1].store(true, Ordering::Relaxed);
        feed(20);
        wait("a reads the rest", &|| count(None) >= 4 * usize::try_from(sent.get()).expect("few"));
        ends[0].store(true, Ordering::Relaxed);
    });
    let mut by_shard: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for (shard, offset, _) in seen.into_inner().expect("unpoisoned") {
        by_shard.entry(shard).or_default().push(offset);
    }
    assert_eq!(by_shard.len(), 4);
    for (shard, offsets) in by_shard {
        assert!(offsets == (0..sent.get()).collect::<Vec<_>>(), "{shard}: every record once, in order");
    }
}

#[test]
fn a_broker_that_dies_is_waited_for() {
    let Some(broker) = Broker::own() else { return };
    let topic = "broker-restart";
    broker.create(topic, 2);
    send(&broker.producer(&[]), topic, 0, (0..100).map(|n| value(0, n)));
    let committed = Arc::new(Committed::default());
    let settings = broker.settings(topic, "g", json!({"properties": {"session.timeout.ms": "6000", "reconnect.backoff.max.ms": "500"}}));
    let mut source = KafkaSource::open(settings, Positions::new(), Arc::clone(&committed)).expect("opened");
    let mut ledger = Ledger::default();
    read_until(&mut source, &mut ledger, &committed, |ledger, _| ledger.count() == 100);
    broker.kill();
    read_until(&mut source, &mut ledger, &committed, |_, source| {
        let shards = source.progress().shards;
        shards.iter().any(
            |shard| matches!(&shard.state, ShardState::Stopped(why) if why.contains("cannot be reached") && why.contains("tried again")),
        )
    });
    broker.start();
    send(&broker.producer(&[]), topic, 1, (0..100).map(|n| value(1, n)));
    read_until(&mut source, &mut ledger, &committed, |ledger, source| {
        ledger.count() == 200 && source.progress().shards.iter().all(|shard| shard.state == ShardState::Reading)
    });
    for values in ledger.values.values() {
        assert_eq!(values.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
    }
    drop(source);
    broker.kill();
}

#[test]
fn new_partitions_are_read_from_their_first_record() {
    let Some(broker) = Broker::shared() else { return };
    let topic = "growth";
    broker.create(topic, 4);
    let producer = broker.producer(&[("topic.metadata.refresh.interval.ms", "500")]);
    (0..4).for_each(|partition| send(&producer, topic, partition, (0..10).map(|n| value(partition, n))));
    let committed = Arc::new(Committed::default());
    let settings = broker.settings(topic, "growth-group", json!({"start": "latest"}));
    let mut source = KafkaSource::open(settings, Positions::new(), Arc::clone(&committed)).expect("opened");
    let mut ledger = Ledger::default();
    // Each partition tells where it begins: behind what was there.
    read_until(&mut source, &mut ledger, &committed, |ledger, _| ledger.positions.len() == 4);
    assert!(ledger.positions.values().all(|position| position.offset == 10) && ledger.count() == 0);
    broker.grow(topic, 8);
    let producer = broker.producer(&[]);
    (0..8).for_each(|partition| send(&producer, topic, partition, (0..10).map(|n| value(partition, n))));
    read_until(&mut source, &mut ledger, &committed, |ledger, _| ledger.count() == 80);
    assert_eq!(ledger.values.len(), 8);
    assert!(ledger.values.values().all(|values| values.len() == 10), "all of the new partitions, nothing old of the others");
    // Lake commits show as offsets of the group.
    committed.note(Durable::Lake, ledger.positions.clone());
    read_until(&mut source, &mut ledger, &committed, |_, source| {
        source.progress().shards.iter().all(|shard| shard.behind_records == Some(0))
    });
}
