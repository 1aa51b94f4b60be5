//! Bodies in S3: what is fetched corrects a call, what cannot be had is told.

use sluice_ingest::decode::{Decoder, Uncorrected};
use sluice_ingest::s3::{OffloadCounts, OffloadFetcher, OffloadResult, OffloadedCall};
use sluice_schemas::Clock;
use sluice_schemas::{Batch, CostBasis, SystemClock, Usage};

use crate::harness::{ACCOUNT, Aws, REGION, gzip};

const RESPONSE: &str = r#"{"usage":{"input_tokens":3,"output_tokens":142,"cache_creation_input_tokens":28857,"cache_read_input_tokens":0,
    "cache_creation":{"ephemeral_5m_input_tokens":857,"ephemeral_1h_input_tokens":28000}},"content":[{"type":"text","text":"a }"}]}"#;

/// What the log says of a call whose answer lies at `uri`.
fn logged(uri: &str) -> OffloadedCall {
    let record = format!(
        r#"{{"timestamp":"2026-10-01T00:00:00Z","accountId":"{ACCOUNT}","region":"{REGION}","requestId":"r-1","operation":"InvokeModel","modelId":"anthropic.claude-sonnet-4-5","input":{{"inputBodyS3Path":"s3://nowhere/at-all","inputTokenCount":3,"cacheWriteInputTokenCount":28857}},"output":{{"outputBodyS3Path":"{uri}","outputTokenCount":142}},"schemaType":"ModelInvocationLog"}}"#
    );
    let mut batch = Batch::default();
    Decoder::new().decode_lines(record.as_bytes(), 0, SystemClock.now(), &mut batch);
    let (call, profile, bodies) = (batch.invocations[0], batch.profiles[0], batch.offloaded[0]);
    let text = |sym| batch.strings.get(sym).to_owned();
    let call = Uncorrected {
        operation: text(profile.operation),
        model_id: text(profile.model_id),
        usage: call.usage,
        basis: call.basis,
        ..Uncorrected::default()
    };
    OffloadedCall { request_id: "r-1".to_owned(), call, request: Some(text(bodies.request)), response: Some(text(bodies.response)) }
}

#[test]
fn bodies_correct_calls_and_failures_are_told_apart() {
    let Some(aws) = Aws::live() else { return };
    aws.create_bucket(false);
    let folder = format!("AWSLogs/{ACCOUNT}/BedrockModelInvocationLogs/{REGION}/2026/10/01/00/data/");
    aws.put(&format!("{folder}plain.json"), RESPONSE.as_bytes().to_vec());
    aws.put(&format!("{folder}packed.json.gz"), gzip(RESPONSE));
    aws.put(&format!("{folder}torn.json.gz"), gzip(&RESPONSE[..80]));
    let mut fetcher = OffloadFetcher::open(vec![aws.bucket.clone()], aws.runtime.handle().clone(), &aws.config);
    let names = ["plain.json", "packed.json.gz", "torn.json.gz", "gone.json.gz"];
    let mut calls: Vec<_> = names.iter().map(|name| logged(&aws.path(&format!("{folder}{name}")))).collect();
    calls.push(logged("s3://somebody-elses/body.json"));
    assert_eq!(calls[0].call.basis, CostBasis::Envelope);
    let results = fetcher.fetch(calls);
    let usage = Usage { input: 3, output: 142, cache_read: 0, cache_write_5m: 857, cache_write_1h: 28_000 };
    for (_, result) in &results[..2] {
        // The request of a text model that was billed by tokens is not even asked for.
        let OffloadResult::Corrected(correction) = result else { panic!("{result:?}") };
        assert_eq!((correction.usage, correction.basis), (usage, CostBasis::Exact));
    }
    assert!(matches!(results[2].1, OffloadResult::Unreadable(_)), "{:?}", results[2]);
    assert_eq!(results[3].1, OffloadResult::Missing);
    assert!(matches!(&results[4].1, OffloadResult::Unreadable(message) if message.contains("somebody-elses")));
    let OffloadCounts { fetched, missing, denied, unreadable, later, bytes } = fetcher.counts();
    assert_eq!((fetched, missing, denied, unreadable, later), (2, 1, 0, 2, 0));
    assert!(bytes > 0);
}
