//! The decoder's memory: records without bodies cost next to no allocation once the tables have grown, and bodies cost none.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fmt::Write;

use sluice_ingest::decode::Decoder;
use sluice_schemas::{Batch, Micros};

const ARRIVAL: Micros = Micros(1_893_456_000_000_000);
const RECORDS: u64 = 10_000;

/// Allocations per thousand records, tables and vectors of a fresh batch included.
fn per_thousand(text: &str) -> u64 {
    let (mut decoder, mut batch) = (Decoder::new(), Batch::default());
    decoder.decode_lines(text.as_bytes(), 0, ARRIVAL, &mut batch);
    assert_eq!(batch.invocations.len() as u64, RECORDS);
    let spent = allocation_counter::measure(|| {
        let mut batch = Batch::default();
        decoder.decode_lines(text.as_bytes(), 0, ARRIVAL, &mut batch);
        assert!(batch.rejected.is_empty());
    });
    spent.count_total * 1000 / RECORDS
}

fn records(output: &str, session: impl Fn(u64) -> u64) -> String {
    let mut text = String::new();
    for n in 0..RECORDS {
        writeln!(
            text,
            r#"{{"timestamp":"2026-09-08T12:10:33Z","accountId":"111111111111","region":"us-east-1","requestId":"{n:08x}-1111-4222-8333-444444444444","operation":"Converse","modelId":"us.anthropic.claude-sonnet-4-5-20250929-v1:0","input":{{"inputTokenCount":{n}}},"output":{{{output}"outputTokenCount":8}},"identity":{{"arn":"arn:aws:sts::111111111111:assumed-role/AgentRole/agent-{}"}},"requestMetadata":{{"agent_id":"a","session_id":"{}"}},"schemaType":"ModelInvocationLog"}}"#,
            n % 40,
            session(n)
        )
        .unwrap();
    }
    text
}

#[test]
fn records_without_bodies() {
    let spent = per_thousand(&records("", |n| n / 100));
    assert!(spent <= 100, "{spent} allocations per 1000 records");
}

#[test]
fn sessions_that_never_repeat() {
    let spent = per_thousand(&records("", |n| n));
    assert!(spent <= 100, "{spent} allocations per 1000 records");
}

#[test]
fn bodies() {
    let body = r#""outputBodyJson":{"output":{"message":{"content":[{"text":"a\"b\n"}]}},"metrics":{"latencyMs":9},"usage":{"inputTokens":1,"cacheDetails":[]}},"#;
    let spent = per_thousand(&records(body, |n| n / 100));
    assert!(spent <= 100, "{spent} allocations per 1000 records");
}
