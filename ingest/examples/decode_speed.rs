//! Measures the decoder on records made in memory: `cargo run --release -p sluice-ingest --example decode_speed`.
//! Arguments, for runs under an instrument: a divisor of the count of records, and part of a name.

use std::fmt::Write;
use std::hint::black_box;

use sluice_ingest::decode::Decoder;
use sluice_schemas::{Batch, Micros};

const ARRIVAL: Micros = Micros(1_900_000_000_000_000);

fn main() -> std::process::ExitCode {
    let prose = "The gate stood open, and the water said \\\"no\\\".\\nA second line follows, with a brace { and a bracket ]. ";
    let long = |bytes: usize| prose.repeat(bytes / prose.len());
    let quoted = |bytes: usize| "{\\\"k\\\":\\\"v\\\",\\\"n\\\":[1,2]}".repeat(bytes / 24);
    let converse = |text: &str| {
        (
            format!(r#""inputBodyJson":{{"messages":[{{"role":"user","content":[{{"text":"{text}"}}]}}]}},"#),
            r#""outputBodyJson":{"output":{"message":{"role":"assistant","content":[{"text":"x"}]}},"stopReason":"end_turn","metrics":{"latencyMs":900},"usage":{"inputTokens":10,"outputTokens":20,"totalTokens":30,"cacheDetails":[]}},"#.to_owned(),
        )
    };
    let chunks = r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" provided"}},"#.repeat(600);
    let stream = format!(
        r#""outputBodyJson":[{{"type":"message_start","message":{{"id":"m","usage":{{"input_tokens":3,"cache_creation":{{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":20000}}}}}}}},{chunks}{{"type":"message_stop","amazon-bedrock-invocationMetrics":{{"inputTokenCount":3,"outputTokenCount":9,"invocationLatency":100}}}}],"#
    );
    let none = (String::new(), String::new());
    let scale = std::env::args().nth(1).and_then(|text| text.parse::<usize>().ok()).unwrap_or(1);
    report("no bodies", &lines(400_000 / scale, &none, false));
    report("no bodies, metadata of its own each", &lines(400_000 / scale, &none, true));
    report("bodies of 8 KiB prose", &lines(12_000 / scale, &converse(&long(8 << 10)), false));
    report("bodies of 64 KiB prose", &lines(1_500 / scale, &converse(&long(64 << 10)), false));
    report("bodies of 64 KiB quoted JSON", &lines(1_500 / scale, &converse(&quoted(64 << 10)), false));
    report("streams of 600 chunks", &lines(1_500 / scale, &(String::new(), stream), false));
    report("CloudWatch envelopes of 100", &envelopes(&lines(100_000 / scale, &none, false)));
    std::process::ExitCode::SUCCESS
}

fn lines(count: usize, (input, output): &(String, String), unique: bool) -> (usize, Vec<u8>) {
    let mut text = String::new();
    for n in 0..count {
        let (agent, session) = (n * 7 % 60, if unique { n } else { n / 400 % 50 });
        writeln!(
            text,
            r#"{{"timestamp":"2026-09-08T12:{:02}:{:02}Z","accountId":"111111111111","region":"us-east-1","requestId":"{:08x}-1111-4222-8333-{:012x}","operation":"Converse","modelId":"us.anthropic.claude-sonnet-4-5-20250929-v1:0","input":{{"inputContentType":"application/json",{input}"inputTokenCount":{n}}},"output":{{"outputContentType":"application/json",{output}"outputTokenCount":8}},"identity":{{"arn":"arn:aws:sts::111111111111:assumed-role/AgentRole/agent-{agent}"}},"inferenceRegion":"us-west-2","requestMetadata":{{"agent_id":"agent-{agent}","session_id":"session-{session:06}"}},"schemaType":"ModelInvocationLog","schemaVersion":"1.0"}}"#,
            n / 60 % 60,
            n % 60,
            n,
            n * 31,
        )
        .unwrap_or_default();
    }
    (count, text.into_bytes())
}

fn envelopes((count, text): &(usize, Vec<u8>)) -> (usize, Vec<u8>) {
    let records: Vec<&[u8]> = text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).collect();
    let mut out = String::new();
    for batch in records.chunks(100) {
        let events: Vec<String> = batch
            .iter()
            .map(|record| {
                format!(r#"{{"id":"3195","timestamp":1754000000000,"message":{}}}"#, serde_json::json!(String::from_utf8_lossy(record)))
            })
            .collect();
        writeln!(out, r#"{{"messageType":"DATA_MESSAGE","owner":"1","logGroup":"g","logStream":"s","logEvents":[{}]}}"#, events.join(","))
            .unwrap_or_default();
    }
    (*count, out.into_bytes())
}

/// Nanoseconds this thread has spent on a processor, so that neighbours on the machine count less.
fn busy() -> u64 {
    let schedule = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    schedule.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or_default()
}

#[expect(clippy::print_stdout, clippy::float_arithmetic, clippy::unwrap_used, reason = "a measurement that is read by a person")]
fn report(name: &str, (records, bytes): &(usize, Vec<u8>)) {
    if *records == 0 || std::env::args().nth(2).is_some_and(|part| !name.contains(&part)) {
        return;
    }
    let mut decoder = Decoder::new();
    let best = (0..15)
        .map(|_| {
            let start = busy();
            let mut seen = 0;
            // The size of the pieces that a source hands on.
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                let cut = rest.len().min(4 << 20);
                let cut = cut + rest[cut..].iter().position(|&byte| byte == b'\n').map_or(rest.len() - cut, |at| at + 1);
                let mut batch = Batch::default();
                decoder.decode_lines(&rest[..cut], 0, ARRIVAL, &mut batch);
                seen += black_box(&batch).invocations.len();
                assert!(batch.rejected.is_empty());
                rest = &rest[cut..];
            }
            assert_eq!(seen, *records);
            busy() - start
        })
        .min()
        .unwrap();
    let seconds = best as f64 / 1e9;
    println!(
        "{name:38} {:>9} B/record {:>8.0} ns/record {:>8.0} MB/s",
        bytes.len() / records,
        seconds * 1e9 / *records as f64,
        bytes.len() as f64 / seconds / 1e6
    );
}
