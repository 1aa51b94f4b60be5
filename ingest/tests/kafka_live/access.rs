//! Who may come in, and what is said to whom may not.

use std::sync::Arc;

use serde_json::{Value, json};
use sluice_ingest::committed::Committed;
use sluice_ingest::kafka::{KafkaSettings, KafkaSource};
use sluice_ingest::source::{Source, SourceError};
use sluice_schemas::position::Positions;
use sluice_schemas::{Clock, ErrorClass, SystemClock};

use super::support::{Broker, LONG, Ledger, read_until, send, settings, value};

fn open(settings: KafkaSettings) -> Result<KafkaSource, SourceError> {
    KafkaSource::open(settings, Positions::new(), Arc::new(Committed::default()))
}

/// The error of the whole source, at the start or soon after.
fn refused(settings: KafkaSettings) -> SourceError {
    let mut source = match open(settings) {
        Ok(source) => source,
        Err(error) => return error,
    };
    let deadline = std::time::Instant::now() + LONG;
    while std::time::Instant::now() < deadline {
        if let Err(error) = source.poll(std::time::Duration::from_millis(50), SystemClock.now()) {
            return error;
        }
    }
    panic!("not refused: {:?}", source.progress())
}

fn scram(user: &str, password_file: &std::path::Path) -> Value {
    json!({"kind": "sasl", "mechanism": "SCRAM-SHA-512", "user": user, "password_file": password_file, "tls": false})
}

fn says(error: &SourceError, class: ErrorClass, parts: &[&str]) {
    let text = error.to_string();
    assert!(error.class() == class && parts.iter().all(|part| text.contains(part)), "{class:?} {parts:?}: {:?} {text}", error.class());
}

#[test]
fn scram_lets_in_who_knows_the_password() {
    let Some(broker) = Broker::shared() else { return };
    let topic = "scram";
    broker.create(topic, 1);
    send(&broker.producer(&[]), topic, 0, (0..3).map(|n| value(0, n)));
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, password: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, format!("{password}\n")).expect("written");
        path
    };
    let (alice, wrong, bob) = (file("alice", "alice-secret"), file("wrong", "guessed"), file("bob", "bob-secret"));
    let at = |security: Value| settings(&broker.sasl(), topic, "scram-group", json!({"security": security}));

    let committed = Arc::new(Committed::default());
    let mut source = KafkaSource::open(at(scram("alice", &alice)), Positions::new(), Arc::clone(&committed)).expect("opened");
    let mut ledger = Ledger::default();
    read_until(&mut source, &mut ledger, &committed, |ledger, _| ledger.count() == 3);
    drop(source);

    let error = refused(at(scram("alice", &wrong)));
    says(&error, ErrorClass::Misconfigured, &["kafka 127.0.0.1:", "authentication failed", "check user, password and mechanism"]);
    assert!(!error.to_string().contains("guessed"), "{error}");
    let error = refused(at(scram("bob", &bob)));
    // Bob may use neither: whichever refusal arrives first is the one that is told.
    let group = ["kafka group scram-group", "not allowed to use the group", "grant Describe and Read on the group"];
    let of_topic = ["kafka topic scram on 127.0.0.1:", "not allowed to read the topic", "grant Describe and Read on the topic"];
    let told = if error.to_string().starts_with(group[0]) { group } else { of_topic };
    says(&error, ErrorClass::Misconfigured, &told);
    let sha256 = json!({"kind": "sasl", "mechanism": "SCRAM-SHA-256", "user": "alice", "password_file": alice, "tls": false});
    says(&refused(at(sha256)), ErrorClass::Misconfigured, &["SASL mechanism"]);
}

#[test]
fn tls_is_told_from_no_tls() {
    let Some(broker) = Broker::shared() else { return };
    let topic = "tls";
    broker.create(topic, 1);
    send(&broker.producer(&[]), topic, 0, (0..3).map(|n| value(0, n)));
    let at = |address: &str, security: Value| settings(address, topic, "tls-group", json!({"security": security, "connect_wait": "5s"}));
    let trusted = json!({"kind": "tls", "ca": broker.ca()});
    let committed = Arc::new(Committed::default());
    let mut source = KafkaSource::open(at(&broker.tls(), trusted.clone()), Positions::new(), Arc::clone(&committed)).expect("opened");
    let mut ledger = Ledger::default();
    read_until(&mut source, &mut ledger, &committed, |ledger, _| ledger.count() == 3);
    drop(source);

    says(
        &refused(at(&broker.tls(), json!({"kind": "tls"}))),
        ErrorClass::Misconfigured,
        &["the TLS handshake failed", "`ca` holds the authority"],
    );
    says(&refused(at(&broker.plain(), trusted)), ErrorClass::Transient, &["looks like a plain listener"]);
    says(&refused(at(&broker.tls(), json!({"kind": "plaintext"}))), ErrorClass::Transient, &["that `security` fits the listener"]);
}

#[test]
fn what_is_not_there_is_named() {
    let Some(broker) = Broker::shared() else { return };
    let quick = json!({"connect_wait": "5s"});
    let error = refused(broker.settings("no-such-topic", "g", quick.clone()));
    says(
        &error,
        ErrorClass::Misconfigured,
        &["kafka topic no-such-topic on 127.0.0.1:", "there is no such topic", "create it, or correct `topics`"],
    );
    let error = refused(settings("127.0.0.1:1", "t", "g", quick));
    says(&error, ErrorClass::Transient, &["kafka 127.0.0.1:1", "cannot be reached", "check `brokers`"]);
}

#[test]
fn a_second_process_with_the_same_name_takes_over() {
    let Some(broker) = Broker::shared() else { return };
    broker.create("fenced", 1);
    let named = || broker.settings("fenced", "fenced-group", json!({"group_instance_id": "me"}));
    let mut first = open(named()).expect("opened");
    let committed = Arc::new(Committed::default());
    read_until(&mut first, &mut Ledger::default(), &committed, |ledger, _| ledger.positions.len() == 1);
    let second = std::thread::scope(|scope| {
        let second = scope.spawn(|| {
            let mut second = open(named()).expect("opened");
            read_until(&mut second, &mut Ledger::default(), &Arc::new(Committed::default()), |ledger, _| ledger.positions.len() == 1);
            second
        });
        let error = loop {
            match first.poll(std::time::Duration::from_millis(50), SystemClock.now()) {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        says(&error, ErrorClass::Fenced, &["kafka member me", "another process has joined with the same group_instance_id"]);
        drop(first);
        second.join().expect("the second")
    });
    drop(second);
}
