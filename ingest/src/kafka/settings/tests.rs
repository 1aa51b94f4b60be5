//! Faults are named all at once, and what breaks correctness is refused.

use std::time::Duration;

use serde_json::{Value, json};

use super::{KafkaSettings, Start};

fn read(mut change: Value) -> Result<KafkaSettings, String> {
    let mut settings = json!({"brokers": ["127.0.0.1:9092"], "topics": ["logs"], "group": "sluice"});
    let map = settings.as_object_mut().expect("an object");
    map.append(change.as_object_mut().expect("an object"));
    serde_json::from_value(settings).map_err(|error| error.to_string())
}

#[test]
fn defaults_and_units() {
    let settings = read(json!({})).expect("settings");
    assert_eq!((settings.start, settings.max_record, settings.revoke_wait), (Start::Earliest, 16 << 20, Duration::from_secs(30)));
    let settings = read(json!({"start": "2026-10-01T00:00:00Z", "max_record": "64MiB", "revoke_wait": "1500ms"})).expect("settings");
    assert_eq!(settings.start, Start::At("2026-10-01T00:00:00Z".parse().expect("a moment")));
    assert_eq!((settings.max_record, settings.revoke_wait), (64 << 20, Duration::from_millis(1500)));
    let told = settings.consumer(&|_| None).expect("no secrets");
    assert_eq!((told["isolation.level"].as_str(), told["auto.offset.reset"].as_str()), ("read_committed", "error"));
    assert_eq!((told["fetch.max.bytes"].as_str(), told["receive.message.max.bytes"].as_str()), ("67108864", "68157440"));
}

#[test]
fn every_fault_is_named() {
    let error = read(json!({"brokers": ["here"], "topics": ["a", "a", "b*"], "group": " ", "properties": {
        "enable.auto.commit": "true", "auto.offset.reset": "latest", "linger.ms": "5"}}));
    let error = error.expect_err("faults");
    for part in [
        "broker 'here' is not of the form host:port",
        "topic 'a' is named twice",
        "topic 'b*'",
        "group is empty",
        "'enable.auto.commit' cannot be set",
        "'auto.offset.reset' cannot be set: records lost",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(!error.contains("linger"), "{error}");
    for (bad, why) in [
        (json!({"start": "yesterday"}), "start 'yesterday' is none of"),
        (json!({"max_record": "5"}), "max_record: '5' is not a size"),
        (json!({"revoke_wait": "1h"}), "revoke_wait is longer than 4m"),
        (json!({"topic": "x"}), "unknown field `topic`"),
        (json!({"security": {"kind": "tls", "cert": "c.pem"}}), "cert and key belong together"),
        (json!({"security": {"kind": "tls", "password": "x"}}), "unknown field `password`"),
        (json!({"security": {"kind": "sasl", "mechanism": "PLAIN", "user": "u", "password_env": "P", "tls": false}}), "in the clear"),
        (json!({"security": {"kind": "sasl", "mechanism": "SCRAM-SHA-512", "user": "u"}}), "either password_env or password_file"),
        (json!({"security": {"kind": "msk_iam", "region": "EU west"}}), "'EU west' is not a region"),
        (json!({"properties": {"ssl.cipher.suites": "x"}}), "has no effect: security is not encrypted"),
    ] {
        let error = read(bad).expect_err(why);
        assert!(error.contains(why), "{why}: {error}");
    }
}

#[test]
fn secrets_come_from_elsewhere() {
    let sasl = json!({"security": {"kind": "sasl", "mechanism": "SCRAM-SHA-512", "user": "u", "password_env": "SLUICE_KAFKA_PASSWORD"}});
    let settings = read(sasl).expect("settings");
    let told = settings.consumer(&|name| (name == "SLUICE_KAFKA_PASSWORD").then(|| "s3cret\n".to_owned())).expect("a password");
    assert_eq!((told["sasl.password"].as_str(), told["security.protocol"].as_str()), ("s3cret", "sasl_ssl"));
    assert_eq!(settings.consumer(&|_| None).expect_err("none"), "the environment variable SLUICE_KAFKA_PASSWORD is not set");
    assert!(!format!("{settings:?}").contains("s3cret"));
}
