//! Whole lakes over a network that fails, and queries over them.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::AsArray;
use arrow::datatypes::{Decimal128Type, Int64Type};
use sluice_aggregate::known::keys_of_hour;
use sluice_aggregate::lake::{Lake, Objects};
use sluice_aggregate::query::{Listing, MEMORY_LIMIT, QueryEngine};
use sluice_schemas::tables;
use sluice_schemas::time::DAY;

use super::fault_proxy::{Answer, Fault, FaultProxy, Request};
use super::storage::{new_url, objects, place, server};
use super::support::{self, CLOCK, Place, START, audit, publish};

fn refusal(status: u16, code: &str) -> Answer {
    let body = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>injected</Message></Error>");
    Answer { status, content_type: "application/xml", body }
}

/// A network in which about one request of four meets a fault.
fn unreliable(seed: u64) -> impl Fn(&Request) -> Fault + Send + Sync {
    let count = AtomicU64::new(0);
    move |request| {
        let mut x = seed ^ count.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^= x >> 31;
        if !x.is_multiple_of(4) {
            return Fault::Pass;
        }
        match x / 4 % 6 {
            0 => Fault::Instead(refusal(503, "SlowDown")),
            1 => Fault::After(refusal(500, "InternalError")),
            2 => Fault::Lost,
            3 if request.header("if-none-match").is_some() => Fault::Instead(refusal(409, "ConditionalRequestConflict")),
            _ => Fault::AnswerLost,
        }
    }
}

#[test]
fn a_lake_is_whole_whatever_the_network_does() {
    let Some(server) = server() else { return };
    let seed = RandomState::new().hash_one(0);
    let proxy = FaultProxy::start(server, unreliable(seed));
    let url = new_url();
    let through: Arc<dyn Objects> = Arc::new(objects(&proxy.url, &url));
    let direct = Place { objects: Arc::new(objects(server, &url)), _folder: None };
    let mut count = 0;
    for _ in 0..2 {
        let mut lake = Lake::open_writer_on(Arc::clone(&through), &CLOCK).unwrap();
        for _ in 0..6 {
            publish(&mut lake, count, 7).unwrap();
            count += 7;
        }
        lake.compact(tables::CALLS, START.day() + 1, START).unwrap();
        lake.vacuum(START.plus(9 * DAY)).unwrap();
        audit(&direct.reader().unwrap(), count, "for a reader with a network that works");
    }
    // A takeover through the same network.
    let mut old = Lake::open_writer_on(Arc::clone(&through), &CLOCK).unwrap();
    let mut new = Lake::open_writer_on(Arc::clone(&through), &CLOCK).unwrap();
    assert_eq!(publish(&mut old, count, 3).unwrap_err().class(), sluice_schemas::ErrorClass::Fenced);
    publish(&mut new, count, 3).unwrap();
    audit(&direct.reader().unwrap(), count + 3, "after a takeover");
    assert!(proxy.faults() > 50, "only {} faults of seed {seed}", proxy.faults());
}

/// The commit of the root table meets each fault in turn; the epoch is there once.
#[test]
fn the_moment_survives_each_fault() {
    let Some(server) = server() else { return };
    for fault in [
        Fault::Instead(refusal(409, "ConditionalRequestConflict")),
        Fault::After(refusal(409, "ConditionalRequestConflict")),
        Fault::Instead(refusal(503, "SlowDown")),
        Fault::After(refusal(503, "SlowDown")),
        Fault::AnswerLost,
        Fault::Lost,
    ] {
        let url = new_url();
        let direct = Place { objects: Arc::new(objects(server, &url)), _folder: None };
        publish(&mut direct.writer().unwrap(), 0, 5).unwrap();
        let (count, what) = (AtomicU64::new(0), fault.clone());
        let proxy = FaultProxy::start(server, move |request| {
            let is_root = request.method == "PUT" && request.path.contains("/calls/_delta_log/");
            if is_root && count.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) { what.clone() } else { Fault::Pass }
        });
        let mut lake = Lake::open_writer_on(Arc::new(objects(&proxy.url, &url)), &CLOCK).unwrap();
        publish(&mut lake, 5, 5).unwrap();
        publish(&mut lake, 10, 5).unwrap();
        assert_eq!(lake.state().epoch, 3, "{fault:?}");
        drop(lake);
        assert!(proxy.faults() >= 3, "{fault:?}");
        audit(&direct.reader().unwrap(), 15, &format!("{fault:?}"));
        assert_eq!(direct.writer().unwrap().state().epoch, 3, "{fault:?}");
    }
}

#[test]
fn queries_read_a_lake_in_a_bucket() {
    let Some(place) = place() else { return };
    let mut lake = place.writer().unwrap();
    publish(&mut lake, 0, 90_000).unwrap();
    publish(&mut lake, 90_000, 100).unwrap();
    let expected = support::expected(90_100);
    let listed = Listing::of(&lake).unwrap();
    for engine in
        [QueryEngine::of_lake(&lake, Vec::new(), MEMORY_LIMIT).unwrap(), QueryEngine::of_listing(listed, Vec::new(), MEMORY_LIMIT).unwrap()]
    {
        let rows = engine.sql("SELECT count(*), sum(cost_usd) FROM calls").unwrap();
        let count = rows[0].column(0).as_primitive::<Int64Type>().value(0);
        let cost = rows[0].column(1).as_primitive::<Decimal128Type>().value(0);
        assert_eq!((count, cost), (90_100, expected.cost));
        let rows = engine.sql("SELECT count(*) FROM calls WHERE dt = '2026-10-02' AND agent_id = 'agent-3'").unwrap();
        let day: i64 = (86_400..90_100).filter(|number| number % 11 == 3).count().try_into().unwrap();
        assert_eq!(rows[0].column(0).as_primitive::<Int64Type>().value(0), day);
    }
    assert_eq!(keys_of_hour(&lake, START.hour() + 1).unwrap().len(), 3_600);
}
