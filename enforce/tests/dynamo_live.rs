//! The shared store in DynamoDB, against moto and DynamoDB Local, through a network that loses, delays and refuses.

#![cfg(test)]
#![expect(clippy::print_stdout, reason = "what a run met is told beside it")]

#[path = "../../tests/live/fault_proxy.rs"]
mod fault_proxy;
#[path = "../../tests/live/servers.rs"]
mod servers;
#[path = "support/store_model.rs"]
mod store_model;

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fault_proxy::{Answer, Fault, FaultProxy, Request};
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};
use servers::Server;
use sluice_enforce::store::{DynamoSettings, DynamoStore, conformance};
use sluice_enforce::{SharedStore, StoreError};
use sluice_schemas::ErrorClass;
use store_model::Step;

const SERVERS: [&str; 2] = ["moto.sh", "dynamodb_local.sh"];

fn settings(url: &str, table: &str) -> DynamoSettings {
    DynamoSettings { table: table.to_owned(), region: None, endpoint: Some(url.to_owned()), profile: None }
}

/// Makes a table of its own for each test, without the network's faults.
fn new_table(server: &Server) -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let table = format!("sluice-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    assert!(DynamoStore::ensure_table(&settings(&server.url, &table)).expect("a table"));
    table
}

fn open(url: &str, table: &str) -> DynamoStore {
    DynamoStore::open(&settings(url, table)).unwrap_or_else(|error| panic!("{error}"))
}

fn boxed(url: &str, table: &str) -> Box<dyn SharedStore> {
    Box::new(open(url, table))
}

fn each_server(test: impl Fn(&Server)) {
    for script in SERVERS {
        let Some(server) = servers::start(script) else { return };
        println!("against {script} at {}", server.url);
        test(&server);
    }
}

#[test]
fn conforms() {
    each_server(|server| {
        conformance::all(|| open(&server.url, &new_table(server)));
        let table = new_table(server);
        conformance::reopening(|| open(&server.url, &table));
        let table = new_table(server);
        conformance::zombies(&open(&server.url, &table), &open(&server.url, &table));
        let table = new_table(server);
        store_model::race(16, || boxed(&server.url, &table));
    });
}

#[test]
fn does_what_the_model_does() {
    each_server(|server| {
        run_model(6, 40, |steps| {
            let table = new_table(server);
            store_model::compare(steps, || boxed(&server.url, &table));
        });
    });
}

fn run_model(cases: u32, most: usize, test: impl Fn(&[(usize, Step)])) {
    let config = ProptestConfig { cases, max_shrink_iters: 40, failure_persistence: None, ..ProptestConfig::default() };
    let outcome = TestRunner::new(config).run(&store_model::steps(most), |steps| {
        test(&steps);
        Ok::<(), TestCaseError>(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

fn refusal(status: u16, code: &str, more: &str) -> Answer {
    let body = format!(r#"{{"__type":"com.amazonaws.dynamodb.v20120810#{code}","message":"injected"{more}}}"#);
    Answer { status, content_type: "application/x-amz-json-1.0", body }
}

/// Number of the `n`th fault: the same for the same seed.
fn draw(seed: u64, n: u64) -> u64 {
    let mut x = seed ^ n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x ^= x >> 30;
    x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^= x >> 27;
    x.wrapping_mul(0x94d0_49bb_1331_11eb) ^ (x >> 31)
}

/// A network in which about one request of three meets a fault, and never more than three in a row; each writer at work has one of its own.
fn unreliable(seed: u64) -> impl Fn(&Request) -> Fault + Send + Sync {
    let (count, in_a_row) = (AtomicU64::new(0), AtomicU64::new(0));
    move |request| {
        let n = draw(seed, count.fetch_add(1, Ordering::Relaxed));
        if !n.is_multiple_of(3) || in_a_row.fetch_add(1, Ordering::Relaxed) >= 3 {
            in_a_row.store(0, Ordering::Relaxed);
            return Fault::Pass;
        }
        let is_transaction = request.header("x-amz-target").is_some_and(|target| target.ends_with("TransactWriteItems"));
        let busy = r#","CancellationReasons":[{"Code":"None"},{"Code":"TransactionConflict","Message":"injected"}]"#;
        match n / 3 % 8 {
            0 => Fault::Instead(refusal(500, "InternalServerError", "")),
            1 => Fault::Instead(refusal(400, "ProvisionedThroughputExceededException", "")),
            2 => Fault::Instead(refusal(400, "ThrottlingException", "")),
            3 if is_transaction => Fault::Instead(refusal(400, "TransactionCanceledException", busy)),
            4 => Fault::Lost,
            5 => Fault::After(refusal(500, "InternalServerError", "")),
            6 if is_transaction => Fault::After(refusal(400, "TransactionInProgressException", "")),
            _ => Fault::AnswerLost,
        }
    }
}

#[test]
fn does_what_the_model_does_when_answers_are_lost() {
    let seed = RandomState::new().hash_one(0);
    println!("seed {seed}");
    each_server(|server| {
        let cases = AtomicU64::new(seed);
        let faults = AtomicU64::new(0);
        run_model(8, 40, |steps| {
            let table = new_table(server);
            let proxy = FaultProxy::start(&server.url, unreliable(cases.fetch_add(1, Ordering::Relaxed)));
            store_model::compare(steps, || boxed(&proxy.url, &table));
            faults.fetch_add(proxy.faults(), Ordering::Relaxed);
        });
        println!("{} faults", faults.load(Ordering::Relaxed));
        assert!(faults.load(Ordering::Relaxed) > 0);
        let table = new_table(server);
        let mut proxies = Vec::new();
        store_model::race(16, || {
            let proxy = FaultProxy::start(&server.url, unreliable(cases.fetch_add(1, Ordering::Relaxed)));
            let store = boxed(&proxy.url, &table);
            proxies.push(proxy);
            store
        });
    });
}

/// No answer within the time-out: the transaction is sent again, fails on its own success, and is told as done, once.
#[test]
fn its_own_success_is_recognised_after_a_timeout() {
    each_server(|server| {
        let table = new_table(server);
        let calls = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&calls);
        let proxy = FaultProxy::start(&server.url, move |request| {
            let is_transaction = request.header("x-amz-target").is_some_and(|target| target.ends_with("TransactWriteItems"));
            if is_transaction && seen.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) { Fault::Stalled } else { Fault::Pass }
        });
        let store = DynamoStore::open(&settings(&proxy.url, &table)).expect("opened");
        conformance::fences(&store);
        store.audit(&conformance::sample_line("once")).expect("written");
        assert_eq!(conformance::lines(&store), [(1, conformance::sample_line("once"))]);
        assert!(calls.load(Ordering::Relaxed) >= 8, "each write was sent twice");
    });
}

#[test]
fn what_a_person_has_to_change_is_named() {
    each_server(|server| {
        let missing = DynamoStore::open(&settings(&server.url, "nowhere")).err().expect("refused");
        assert_eq!(missing.class(), ErrorClass::Misconfigured);
        let text = missing.to_string();
        assert!(text.contains("table nowhere in eu-central-1") && text.contains("make the table"), "{text}");
        // The table is there already: nothing is made, nothing is changed.
        let table = new_table(server);
        assert!(!DynamoStore::ensure_table(&settings(&server.url, &table)).expect("found"));
        for (code, words) in [
            ("AccessDeniedException", "allow dynamodb:GetItem on the table"),
            ("ExpiredTokenException", "have expired"),
            ("UnrecognizedClientException", "access key"),
        ] {
            let proxy = FaultProxy::start(&server.url, move |_| Fault::Instead(refusal(400, code, "")));
            let error = DynamoStore::open(&settings(&proxy.url, &table)).err().expect("refused");
            assert_eq!(error.class(), ErrorClass::Misconfigured, "{error}");
            assert!(error.to_string().contains(words) && error.to_string().contains(&table), "{error}");
        }
        // Nobody there: worth another try, later.
        let dead = DynamoStore::open(&settings("http://127.0.0.1:9", &table)).err().expect("refused");
        assert!(matches!(dead, StoreError::Unavailable { .. }), "{dead}");
        assert_eq!(dead.class(), ErrorClass::Transient);
    });
}
