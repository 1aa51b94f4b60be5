//! The traffic against a reader of its own: what is written can be read, and says what the truth says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use serde_json::{Value, json};
use sluice_schemas::time::HOUR;
use tempfile::TempDir;

use super::run::Summary;
use super::*;

const CONTROL: &str = "Permissions are correctly set for Amazon Bedrock logs.";

/// Every file below a folder, in order of its path.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

fn content(path: &Path) -> Vec<u8> {
    let bytes = fs::read(path).unwrap();
    if path.extension().is_none_or(|extension| extension != "gz") {
        return bytes;
    }
    let mut out = Vec::new();
    MultiGzDecoder::new(&bytes[..]).read_to_end(&mut out).unwrap();
    out
}

/// The records of a run: lines, or the messages inside subscription lines. Bodies under `data/` are no records.
fn records(folder: &Path) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for path in files(folder) {
        if path.components().any(|part| part.as_os_str() == "data") {
            continue;
        }
        let bytes = content(&path);
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match serde_json::from_slice::<Value>(line) {
                Ok(message) if message["messageType"] == "DATA_MESSAGE" => {
                    let events = message["logEvents"].as_array().unwrap();
                    found.extend(events.iter().map(|event| event["message"].as_str().unwrap().as_bytes().to_vec()));
                }
                Ok(message) if message["messageType"] == "CONTROL_MESSAGE" => {}
                _ if line == CONTROL.as_bytes() => {}
                _ => found.push(line.to_vec()),
            }
        }
    }
    found
}

fn run(plan: &Plan) -> (TempDir, Summary, BTreeMap<String, Value>) {
    let folder = tempfile::tempdir().unwrap();
    let truth = folder.path().join("truth.jsonl");
    let summary = write(plan, &folder.path().join("out"), Some(&truth)).unwrap();
    let lines = fs::read_to_string(truth).unwrap();
    let calls: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let by_id = calls.iter().map(|call| (call["request_id"].as_str().unwrap().to_owned(), call.clone())).collect();
    (folder, summary, by_id)
}

/// The tier of a Converse request: what is left where the response was not delivered.
fn asked(record: &Value) -> Option<&str> {
    let converse = record["operation"].as_str()?.starts_with("Converse");
    record["input"]["inputBodyJson"]["serviceTier"]["type"].as_str().filter(|_| converse)
}

/// What a reader of one record can know, found by walking the parsed JSON.
fn read(record: &Value) -> Value {
    let body = &record["output"]["outputBodyJson"];
    let usage = if body.is_array() { &body[0]["message"]["usage"] } else { &body["usage"] };
    let split = &usage["cache_creation"];
    let lifetime = |ttl: &str| {
        let details = usage["cacheDetails"].as_array()?;
        Some(details.iter().filter(|detail| detail["ttl"] == ttl).map(|detail| detail["inputTokens"].as_u64().unwrap()).sum::<u64>())
    };
    let written = record["input"]["cacheWriteInputTokenCount"].as_u64().unwrap_or(0);
    let hour = split["ephemeral_1h_input_tokens"].as_u64().or_else(|| lifetime("1h"));
    let short = split["ephemeral_5m_input_tokens"].as_u64().or_else(|| lifetime("5m"));
    let metrics = body.as_array().and_then(|chunks| chunks.iter().rev().find_map(|chunk| chunk.get("amazon-bedrock-invocationMetrics")));
    let latency = body["metrics"]["latencyMs"].as_u64().or_else(|| metrics.and_then(|metrics| metrics["invocationLatency"].as_u64()));
    if let Some(metrics) = metrics {
        assert_eq!(metrics["outputTokenCount"], record["output"]["outputTokenCount"]);
    }
    if let Some(output) = usage["outputTokens"].as_u64().or_else(|| usage["completion_tokens"].as_u64()) {
        assert_eq!(Some(output), record["output"]["outputTokenCount"].as_u64());
    }
    let mut assessments: Vec<&Value> = vec![&body["trace"]["guardrail"]["inputAssessment"]];
    assessments.extend(body["trace"]["guardrail"]["outputAssessments"].as_array().into_iter().flatten());
    let content: u64 = assessments
        .iter()
        .filter_map(|one| one.as_object())
        .flat_map(|one| one.values())
        .map(|one| one["invocationMetrics"]["usage"]["contentPolicyUnits"].as_u64().unwrap())
        .sum();
    let served = body["serviceTier"]["type"].as_str().or_else(|| asked(record));
    let tier = served.unwrap_or("default").replace("default", "standard");
    json!({
        "event_time": record["timestamp"], "account_id": record["accountId"], "region": record["region"],
        "inference_region": record["inferenceRegion"], "operation": record["operation"], "model_id": record["modelId"],
        "principal_arn": record["identity"]["arn"], "error_code": record["errorCode"].as_str().unwrap_or(""),
        "input": record["input"]["inputTokenCount"].as_u64().unwrap_or(0),
        "output": record["output"]["outputTokenCount"].as_u64().unwrap_or(0),
        "cache_read": record["input"]["cacheReadInputTokenCount"].as_u64().unwrap_or(0),
        "cache_write": written, "cache_write_5m": short.unwrap_or(written), "cache_write_1h": hour.unwrap_or(0),
        "basis": if written > 0 && hour.is_none() { "envelope" } else { "exact" },
        "service_tier": tier, "latency_ms": latency, "content": content,
    })
}

/// Compares every readable record with the truth. Returns how often each call was delivered, and the records that are bad.
fn audit(folder: &Path, truth: &BTreeMap<String, Value>) -> (BTreeMap<String, u64>, u64) {
    let mut delivered = BTreeMap::new();
    let mut bad = 0;
    for line in records(folder) {
        let parsed: Option<Value> = serde_json::from_slice(&line).ok();
        let known = parsed.as_ref().and_then(|record| record["requestId"].as_str()).filter(|id| truth.contains_key(*id));
        let (Some(record), Some(id)) = (&parsed, known) else {
            bad += 1;
            continue;
        };
        *delivered.entry(id.to_owned()).or_default() += 1;
        let (seen, expected) = (read(record), &truth[id]);
        for (field, value) in seen.as_object().unwrap().iter().filter(|(field, _)| *field != "content") {
            assert_eq!(value, &expected[field], "{field} of {id}");
        }
        assert_eq!(seen["content"].as_u64(), expected["guardrail"]["content"].as_u64().or(Some(0)), "guardrail of {id}");
        let claim = ["agent_id", "agent", "agentId"].iter().find_map(|key| record["requestMetadata"][key].as_str());
        assert_eq!(claim, expected["claimed_agent"].as_str());
        let session = ["session_id", "session", "sessionId"].iter().find_map(|key| record["requestMetadata"][key].as_str());
        assert_eq!(session, expected["claimed_session"].as_str());
    }
    (delivered, bad)
}

fn check(plan: &Plan) -> Summary {
    let (folder, summary, truth) = run(plan);
    assert_eq!(summary.calls, plan.calls);
    assert_eq!(truth.len() as u64, plan.calls, "request ids are distinct");
    let (delivered, bad) = audit(&folder.path().join("out"), &truth);
    assert_eq!(delivered.len() as u64, plan.calls);
    assert_eq!(delivered.values().sum::<u64>(), plan.calls + summary.duplicates);
    assert_eq!(bad, summary.bad.values().sum::<u64>());
    assert_eq!(summary.records, summary.calls + summary.duplicates + bad);
    let sum = |field: &str| truth.values().map(|call| call[field].as_u64().unwrap()).sum::<u64>();
    assert_eq!(summary.tokens.input, sum("input"));
    assert_eq!(summary.tokens.cache_write_5m + summary.tokens.cache_write_1h, sum("cache_write"));
    summary
}

#[test]
fn records_without_bodies_say_what_the_truth_says() {
    let plan = Plan { calls: 4000, bad_per_100k: 2000, duplicates_permille: 50, ..Plan::default() };
    let summary = check(&plan);
    assert!(summary.bad.len() == 12 && summary.duplicates > 100 && summary.errors > 10 && summary.false_claims > 0);
    assert!(summary.envelope_basis > 100, "without bodies the lifetime of cache writes is unknown");
}

#[test]
fn records_with_bodies_say_what_the_truth_says() {
    for (shape, calls) in [(Shape::Agent, 400), (Shape::Long, 40)] {
        let plan = Plan { calls, shape, layout: Layout::S3, gzip: true, bad_per_100k: 1000, runaway: Some(3), ..Plan::default() };
        let summary = check(&plan);
        assert!(shape == Shape::Long || summary.data_objects > 0);
        assert!(summary.tokens.cache_write_1h > 0);
    }
}

#[test]
fn subscription_messages_carry_the_same_records() {
    let plan = Plan { calls: 2000, envelope: Envelope::CloudWatch, gzip: true, bad_per_100k: 2000, shuffle: true, ..Plan::default() };
    let summary = check(&plan);
    assert!(summary.control >= 1);
}

#[test]
fn the_same_plan_writes_the_same_bytes() {
    for layout in [Layout::Flat, Layout::S3] {
        let plan = Plan { calls: 60, shape: Shape::Agent, layout, gzip: true, bad_per_100k: 5000, ..Plan::default() };
        let (first, second) = (run(&plan), run(&plan));
        let (left, right) = (files(first.0.path()), files(second.0.path()));
        assert_eq!(left.len(), right.len());
        for (left, right) in left.iter().zip(&right) {
            assert_eq!(left.strip_prefix(first.0.path()).unwrap(), right.strip_prefix(second.0.path()).unwrap());
            assert_eq!(fs::read(left).unwrap(), fs::read(right).unwrap());
        }
        let (_folder, other, _) = run(&Plan { seed: 2, ..plan });
        assert_ne!(other, first.1);
    }
}

#[test]
fn records_lie_in_the_folder_of_their_hour() {
    let plan = Plan { calls: 600, layout: Layout::S3, span_micros: 3 * HOUR, duplicates_permille: 0, bad_per_100k: 0, ..Plan::default() };
    let (folder, summary, _) = run(&plan);
    assert!(summary.files >= 9);
    for path in files(&folder.path().join("out")) {
        let text = path.to_string_lossy().into_owned();
        if text.contains("/data/") || text.ends_with("permission-check") {
            continue;
        }
        for line in content(&path).split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let record: Value = serde_json::from_slice(line).unwrap();
            let stamp = record["timestamp"].as_str().unwrap();
            let hour = stamp[..13].replace(['-', 'T'], "/");
            let wanted = format!(
                "/{}/BedrockModelInvocationLogs/{}/{hour}/",
                record["accountId"].as_str().unwrap(),
                record["region"].as_str().unwrap()
            );
            assert!(text.contains(&wanted), "{text} holds {stamp}");
        }
    }
}

#[test]
fn shuffled_time_is_out_of_order_and_complete() {
    let plan = Plan { calls: 1000, files: 1, shuffle: true, ..Plan::default() };
    let (_folder, _, truth) = run(&plan);
    let times: BTreeSet<&str> = truth.values().map(|call| call["event_time"].as_str().unwrap()).collect();
    assert_eq!(times.len(), 1000, "every moment once");
}

#[test]
fn every_damage_is_done() {
    let mut generator = generator::Generator::new(&Plan::default());
    let mut random = random::Random::new(5);
    for _ in 0..200 {
        let mut record = Vec::new();
        generator.next_bare_record(Plan::default().start, &mut record);
        assert!(serde_json::from_slice::<Value>(&record).is_ok());
        for damage in bad::Damage::ALL {
            let damaged = damage.apply(&record, &mut random);
            assert_ne!(damaged, record, "{}", damage.as_str());
            assert!(!damaged.contains(&b'\n'));
        }
    }
}

#[test]
fn impossible_plans_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |plan: Plan| write(&plan, folder.path(), None).unwrap_err().to_string();
    assert_eq!(refused(Plan { agents: 0, ..Plan::default() }), "the plan needs at least one agent");
    assert_eq!(refused(Plan { duplicates_permille: 1001, ..Plan::default() }), "duplicates per thousand is 1001, more than 1000");
    assert_eq!(refused(Plan { runaway: Some(20), ..Plan::default() }), "the runaway's number is 20, more than 19");
    fs::write(folder.path().join("file"), "").unwrap();
    let error = write(&Plan::default(), &folder.path().join("file"), None).unwrap_err();
    assert!(matches!(error, SimulateError::Write { .. }));
}

#[test]
fn the_demo_is_calm_then_one_agent_runs_away() {
    let folder = tempfile::tempdir().unwrap();
    let start = Plan::default().start;
    let mut traffic = DemoTraffic::new(7);
    let mut written = 0;
    let mut tick = |traffic: &mut DemoTraffic, millis: u64| {
        written += traffic.tick(Duration::from_millis(millis), start.plus(millis as i64 * 1000), folder.path()).unwrap();
        written
    };
    for millis in (0..8000).step_by(100) {
        tick(&mut traffic, millis);
    }
    let calm = tick(&mut traffic, 8000);
    assert!((16..=56).contains(&calm), "{calm} calls in eight calm seconds");
    for millis in (8100..20_000).step_by(100) {
        tick(&mut traffic, millis);
    }
    let prompt_tokens = |records: &[Vec<u8>]| -> u64 {
        let records = records.iter().map(|line| serde_json::from_slice::<Value>(line).unwrap());
        records
            .filter(|record| record["modelId"].as_str().unwrap().contains("opus"))
            .map(|record| record["input"]["inputTokenCount"].as_u64().unwrap_or(0))
            .sum()
    };
    let burnt = prompt_tokens(&records(folder.path()));
    assert!(burnt > 2_000_000, "the runaway burnt {burnt} tokens");
    let total = tick(&mut traffic, 25_000);
    assert_eq!(records(folder.path()).len() as u64, total);
}
