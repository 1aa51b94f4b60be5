//! Members with a name that come back within their session, while what they read has grown: nothing stays unread.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use sluice_ingest::committed::{Committed, Durable};
use sluice_ingest::kafka::{Credentials, KafkaSource, Keeper};
use sluice_ingest::source::Source;
use sluice_schemas::position::Positions;

use super::support::{Broker, LONG, Ledger, poll, read_until, send, value};

/// Far longer than a test: nothing here happens because a session has ended.
const SESSION: &str = "300000";
/// Well below a session, and below librdkafka's own look at a topic, too.
const SOON: Duration = Duration::from_secs(20);

/// A member of that name, which does not look at topics by itself.
fn member(broker: &Broker, topics: &[&str], group: &str, name: &str, keeper: Keeper, known: &Positions) -> (KafkaSource, Arc<Committed>) {
    let committed = Arc::new(Committed::default());
    let more = json!({"topics": topics, "group_instance_id": name, "revoke_wait": "2s", "properties": {
        "session.timeout.ms": SESSION, "heartbeat.interval.ms": "500", "topic.metadata.refresh.interval.ms": "300000"}});
    let provider = Arc::new(|| Credentials::from_env(&|_| None));
    let settings = broker.settings(topics[0], group, more);
    (KafkaSource::connect(settings, keeper, known.clone(), Arc::clone(&committed), provider).expect("opened"), committed)
}

fn fill(broker: &Broker, topic: &str, partitions: std::ops::Range<i32>, numbers: std::ops::Range<u64>) {
    let producer = broker.producer(&[]);
    partitions.for_each(|partition| send(&producer, topic, partition, numbers.clone().map(|n| value(partition, n))));
}

fn each_once(ledger: &Ledger, per_partition: u64) {
    for (shard, values) in &ledger.values {
        let offsets: Vec<u64> = values.iter().map(|(offset, _)| *offset).collect();
        assert_eq!(offsets, (0..per_partition).collect::<Vec<_>>(), "{shard}: every record once, in order");
    }
}

#[test]
fn a_named_member_that_comes_back_in_time_reads_what_was_added_meanwhile() {
    let Some(broker) = Broker::shared() else { return };
    broker.create("named", 4);
    fill(broker, "named", 0..4, 0..10);
    let mut ledger = Ledger::default();
    let (mut source, committed) = member(broker, &["named"], "named-group", "ledger", Keeper::Caller, &Positions::new());
    read_until(&mut source, &mut ledger, &committed, |ledger, _| ledger.count() == 40);
    drop(source);
    // The topic grows, and another one is to be read, too.
    broker.grow("named", 6);
    broker.create("named-too", 2);
    fill(broker, "named", 4..6, 0..10);
    fill(broker, "named-too", 0..2, 0..10);
    let back = Instant::now();
    let (mut source, committed) =
        member(broker, &["named", "named-too"], "named-group", "ledger", Keeper::Caller, &ledger.positions.clone());
    read_until(&mut source, &mut ledger, &committed, |ledger, _| ledger.count() == 80);
    assert!(back.elapsed() < SOON, "{:?}", back.elapsed());
    // Every partition goes on.
    fill(broker, "named", 0..6, 10..20);
    fill(broker, "named-too", 0..2, 10..20);
    read_until(&mut source, &mut ledger, &committed, |ledger, _| ledger.count() == 160);
    each_once(&ledger, 20);
    assert_eq!(ledger.values.len(), 8);
}

#[test]
fn members_who_share_a_topic_leave_each_other_alone_until_it_grows() {
    let Some(broker) = Broker::shared() else { return };
    let (topic, topics) = ("named-shared", ["named-shared"]);
    broker.create(topic, 4);
    let open = |name| member(broker, &topics, "named-shared-group", name, Keeper::Group, &Positions::new());
    let shards = |source: &KafkaSource| source.progress().shards.into_iter().map(|shard| shard.shard).collect::<BTreeSet<_>>();
    let mut seen = Vec::new();
    // Polls both until `done`, and commits what they read.
    let mut poll_until = |members: &mut [(KafkaSource, Arc<Committed>); 2], done: &mut dyn FnMut(&[BTreeSet<String>; 2], usize) -> bool| {
        let deadline = Instant::now() + LONG;
        loop {
            let held = [shards(&members[0].0), shards(&members[1].0)];
            if done(&held, seen.len()) {
                return;
            }
            assert!(Instant::now() < deadline, "{held:?}, {} records", seen.len());
            for (source, committed) in members.iter_mut() {
                let Some(piece) = poll(source) else { continue };
                let position = sluice_schemas::Position { offset: piece.to.expect("known"), ..Default::default() };
                if let sluice_ingest::source::Payload::Records(records) = piece.payload {
                    seen.extend(records.into_iter().map(|record| (piece.shard.clone(), record.offset)));
                }
                committed.note(Durable::Local, [(piece.shard, position)]);
            }
        }
    };
    let mut members = [open("a"), open("b")];
    poll_until(&mut members, &mut |held, _| held.iter().all(|held| held.len() == 2));
    // Longer than a handover may take.
    let (calm, mut before) = (Instant::now(), None);
    poll_until(&mut members, &mut |held, _| {
        assert_eq!(before.get_or_insert_with(|| held.clone()), held, "nothing moves");
        calm.elapsed() > Duration::from_secs(9)
    });
    fill(broker, topic, 0..4, 0..10);
    poll_until(&mut members, &mut |_, count| count == 40);
    drop(members);
    broker.grow(topic, 6);
    fill(broker, topic, 4..6, 0..10);
    let mut members = [open("a"), open("b")];
    let back = Instant::now();
    poll_until(&mut members, &mut |held, count| count >= 60 && held.iter().all(|held| held.len() == 3));
    assert!(back.elapsed() < SOON + Duration::from_secs(7), "{:?}", back.elapsed());
    seen.sort_unstable();
    let once = seen.windows(2).all(|pair| pair[0] != pair[1]);
    assert!(once && seen.len() == 60, "{} records, each once: {once}", seen.len());
}
