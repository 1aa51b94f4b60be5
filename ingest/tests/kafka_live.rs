//! The Kafka source against a real broker: `make test-live`, or SLUICE_LIVE=1 with `cargo test --features kafka --test kafka_live`.

#[path = "kafka_live/access.rs"]
mod access;
#[path = "kafka_live/group.rs"]
mod group;
#[path = "kafka_live/named.rs"]
mod named;
#[path = "kafka_live/records.rs"]
mod records;
#[path = "kafka_live/relay.rs"]
mod relay;
#[path = "kafka_live/support.rs"]
mod support;
