//! The Kinesis source with the real SDK against an emulator of the service: `tests/live/servers/kinesis_local.sh` starts it.
//!
//! What the emulator cannot do is proved elsewhere, with a fake in the crate's own tests: the expiry of records and of shards,
//! streams created anew. It does not throttle, nor break connections, nor tell the end of a shard in a subscription; the
//! proxy here does.

#[path = "../../tests/live/fault_proxy.rs"]
mod fault_proxy;
#[path = "kinesis_live/proxy.rs"]
mod proxy;
#[path = "kinesis_live/pushing.rs"]
mod pushing;
#[path = "kinesis_live/relay.rs"]
mod relay;
#[path = "kinesis_live/support.rs"]
mod support;

use std::time::{Duration, Instant};

use aws_config::timeout::TimeoutConfig;
use proxy::Proxy;
use sluice_ingest::kinesis::KinesisSettings;
use sluice_ingest::source::{ShardState, Source};
use sluice_schemas::ErrorClass;
use support::{Ledger, Reader, Service, Written, assert_all_read, endpoint};

const LIMIT: Duration = Duration::from_secs(60);

fn settings(text: &str) -> KinesisSettings {
    serde_json::from_str(text).expect("settings")
}

fn oldest(stream: &str) -> KinesisSettings {
    settings(&format!(r#"{{"streams":["{stream}"]}}"#))
}

/// Reads and commits once every few pieces, so that ends and children wait for commits.
fn read_some(reader: &mut Reader, steps: usize) {
    for step in 0..steps {
        reader.step();
        if step % 5 == 0 {
            reader.commit();
        }
    }
}

#[test]
fn every_record_once_through_splits_merges_and_restarts() {
    let Some(endpoint) = endpoint() else { return };
    let (service, stream) = (Service::new(&endpoint), "resharded");
    service.create(stream, 2);
    let (mut written, mut next) = (Written::new(), 0);
    let mut put = |written: &mut Written, count: u64| {
        service.put(stream, next..next + count, written);
        next += count;
    };
    put(&mut written, 300);
    let mut reader = Reader::open(&service, &oldest(stream), Ledger::default()).expect("a source");
    read_some(&mut reader, 20);
    service.split(stream, 0);
    put(&mut written, 300);
    read_some(&mut reader, 20);
    // As after kill -9: what was read and not committed is read again.
    let mut reader = Reader::open(&service, &oldest(stream), reader.durable).expect("a source");
    service.merge(stream, 1);
    put(&mut written, 300);
    read_some(&mut reader, 20);
    service.split(stream, 1);
    put(&mut written, 100);
    let mut reader = Reader::open(&service, &oldest(stream), reader.durable).expect("a source");
    put(&mut written, 100);
    reader.until(1_100, LIMIT);
    assert_all_read(&reader.ledger, &written);
    let shards = reader.source.progress().shards;
    assert_eq!(shards.iter().filter(|shard| shard.state == ShardState::Ended).count(), 4, "{shards:?}");
    assert!(shards.iter().all(|shard| shard.state != ShardState::Waiting), "{shards:?}");
}

#[test]
fn the_number_of_shards_may_be_changed_at_once() {
    let Some(endpoint) = endpoint() else { return };
    let (service, stream) = (Service::new(&endpoint), "scaled");
    service.create(stream, 2);
    let mut written = Written::new();
    service.put(stream, 0..200, &mut written);
    let mut reader = Reader::open(&service, &oldest(stream), Ledger::default()).expect("a source");
    reader.during(Duration::from_millis(200));
    let scale = service.client.update_shard_count().stream_name(stream).target_shard_count(4);
    let scale = scale.scaling_type(aws_sdk_kinesis::types::ScalingType::UniformScaling).send();
    service.runtime.block_on(scale).expect("four shards");
    service.wait(stream);
    service.put(stream, 200..400, &mut written);
    reader.until(400, LIMIT);
    assert_all_read(&reader.ledger, &written);
}

#[test]
fn faults_on_the_way_lose_nothing_and_double_nothing() {
    let Some(endpoint) = endpoint() else { return };
    let stream = "troubled";
    let mut service = Service::new(&endpoint);
    service.create(stream, 3);
    let late = Duration::from_millis(700);
    let proxy = Proxy::start(endpoint.trim_start_matches("http://"), late);
    let mut faulty = Service::new(&proxy.url());
    let timeouts = TimeoutConfig::builder().read_timeout(late / 2).operation_attempt_timeout(late * 2).build();
    faulty.config = faulty.config.to_builder().timeout_config(timeouts).build();
    let mut written = Written::new();
    // Only what reads goes through the proxy.
    let mut reader = Reader::open(&faulty, &oldest(stream), Ledger::default()).expect("a source");
    for round in 0..8 {
        service.put(stream, round * 50..(round + 1) * 50, &mut written);
        reader.during(Duration::from_millis(1_500));
        match round {
            2 => service.split(stream, 0),
            4 => service.merge(stream, 0),
            5 => reader = Reader::open(&faulty, &oldest(stream), reader.durable).expect("a source"),
            _ => {}
        }
    }
    let injected = proxy.injected();
    for fault in ["throttled", "500", "503", "expired", "broken", "late", "twice", "partial"] {
        assert!(injected.contains_key(fault), "{fault} never came: {injected:?}");
    }
    proxy.calm();
    reader.until(400, LIMIT);
    assert_all_read(&reader.ledger, &written);
    service.client = faulty.client;
}

#[test]
fn polling_makes_a_record_wait_for_less_than_a_quarter_of_a_second() {
    let Some(endpoint) = endpoint() else { return };
    let (service, stream) = (Service::new(&endpoint), "quick");
    service.create(stream, 2);
    let mut reader = Reader::open(&service, &oldest(stream), Ledger::default()).expect("a source");
    reader.during(Duration::from_millis(500));
    let (mut written, mut times, mut calls) = (Written::new(), Vec::new(), Vec::new());
    for number in 0..20 {
        let start = Instant::now();
        service.put(stream, number..number + 1, &mut written);
        calls.push(start.elapsed());
        let put = Instant::now();
        while reader.calls() <= usize::try_from(number).expect("small") {
            assert!(put.elapsed() < LIMIT);
            reader.step();
        }
        times.push(put.elapsed());
    }
    times.sort();
    calls.sort();
    // What a call takes on a busy machine is not the source's: it is measured beside.
    let most = Duration::from_millis(250) + 4 * calls[10];
    assert!(times[10] < most, "half of them take longer than {most:?}: {times:?}; the calls to put them took {calls:?}");
    assert_all_read(&reader.ledger, &written);
}

#[test]
fn latest_begins_where_it_was_first_started() {
    let Some(endpoint) = endpoint() else { return };
    let (service, stream) = (Service::new(&endpoint), "from-now-on");
    service.create(stream, 1);
    service.put(stream, 0..50, &mut Written::new());
    // A closed shard is begun at the same moment as the others, and has nothing.
    service.split(stream, 0);
    std::thread::sleep(Duration::from_millis(50));
    let latest = settings(&format!(r#"{{"streams":["{stream}"],"start":"latest"}}"#));
    let mut reader = Reader::open(&service, &latest, Ledger::default()).expect("a source");
    // Four notes: where each of three shards begins, and that all have one.
    (0..4).for_each(|_| reader.step());
    reader.commit();
    std::thread::sleep(Duration::from_millis(50));
    let mut written = Written::new();
    service.put(stream, 50..100, &mut written);
    let mut reader = Reader::open(&service, &latest, reader.durable).expect("a source");
    reader.until(50, LIMIT);
    assert_all_read(&reader.ledger, &written);
}

#[test]
fn envelopes_that_are_not_on_the_list_are_refused() {
    let Some(endpoint) = endpoint() else { return };
    let (service, stream) = (Service::new(&endpoint), "listed");
    service.create(stream, 1);
    service.put(stream, 0..6, &mut Written::new());
    let mut reader = Reader::open(&service, &oldest(stream), Ledger::default()).expect("a source");
    reader.allow(serde_json::from_str(r#"[{"owner":"444455556666"}]"#).expect("a list"));
    reader.until(3, LIMIT);
    assert_eq!(
        reader.ledger.rejected,
        ["envelope of owner 111122223333, log group /aws/bedrock/calls, filter all that is not on the allow-list of envelopes or accounts"]
    );
}

#[test]
fn what_is_wrong_is_said_with_its_remedy() {
    let Some(endpoint) = endpoint() else { return };
    let service = Service::new(&endpoint);
    let error = Reader::open(&service, &oldest("nowhere"), Ledger::default()).err().expect("no such stream");
    let text = error.to_string();
    assert!(text.starts_with("kinesis stream nowhere: ResourceNotFoundException"), "{text}");
    assert!(text.contains("check its name, and that it is in region eu-central-1"), "{text}");
    assert_eq!(error.class(), ErrorClass::Misconfigured);
    service.create("short", 1);
    let old = r#"{"streams":["short"],"start":{"timestamp":"2026-01-01T00:00:00Z"}}"#;
    let text = Reader::open(&service, &settings(old), Ledger::default()).err().expect("too old").to_string();
    assert!(text.contains("older than the stream keeps records (24 hours)"), "{text}");
    let unreachable = Service::new("http://127.0.0.1:9");
    let error = Reader::open(&unreachable, &oldest("short"), Ledger::default()).err().expect("nobody there");
    assert!(error.to_string().contains("cannot be reached"), "{error}");
    assert_eq!(error.class(), ErrorClass::Transient);
}

#[test]
fn fan_out_pushes_records_and_goes_on_after_a_restart() {
    let Some(endpoint) = endpoint() else { return };
    let (service, stream) = (Service::new(&endpoint), "pushed");
    service.create(stream, 2);
    let mut written = Written::new();
    service.put(stream, 0..60, &mut written);
    let fan_out = settings(&format!(r#"{{"streams":["{stream}"],"mode":"fan_out","consumer":"sluice"}}"#));
    let mut reader = Reader::open(&service, &fan_out, Ledger::default()).expect("a source");
    reader.until(60, LIMIT);
    service.put(stream, 60..120, &mut written);
    reader.until(120, LIMIT);
    // One consumer has one subscription to a shard: what is left of the first reader ends with its process.
    let Reader { source, durable, .. } = reader;
    drop(source);
    let mut reader = Reader::open(&service, &fan_out, durable).expect("a source");
    service.put(stream, 120..150, &mut written);
    reader.until(150, LIMIT);
    assert_all_read(&reader.ledger, &written);
}

#[test]
fn fan_out_goes_through_splits_and_renewed_subscriptions() {
    let Some(endpoint) = endpoint() else { return };
    let (service, stream) = (Service::new(&endpoint), "pushed-on");
    service.create(stream, 2);
    let proxy = Proxy::start(endpoint.trim_start_matches("http://"), Duration::ZERO);
    proxy.calm();
    let pushing = Service::new(&proxy.url());
    let fan_out = settings(&format!(r#"{{"streams":["{stream}"],"mode":"fan_out","consumer":"sluice"}}"#));
    let mut written = Written::new();
    service.put(stream, 0..60, &mut written);
    let mut reader = Reader::open(&pushing, &fan_out, Ledger::default()).expect("a source");
    reader.until(60, LIMIT);
    service.split(stream, 0);
    service.put(stream, 60..120, &mut written);
    reader.until(120, LIMIT);
    service.merge(stream, 1);
    service.put(stream, 120..180, &mut written);
    reader.during(Duration::from_secs(2));
    let mut reader = Reader::open(&pushing, &fan_out, reader.durable).expect("a source");
    service.put(stream, 180..240, &mut written);
    reader.until(240, LIMIT);
    assert_all_read(&reader.ledger, &written);
    let ended = reader.source.progress().shards.iter().filter(|shard| shard.state == ShardState::Ended).count();
    assert_eq!(ended, 3);
    assert!(proxy.injected()["subscribed"] > 8, "{:?}", proxy.injected());
}
