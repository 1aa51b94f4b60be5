//! The lake against CloudWatch as moto plays it: sums agree, a lost call is found, and so is traffic that is not logged.

#![cfg(test)]

#[path = "live/servers.rs"]
mod servers;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

const SLUICE: &str = env!("CARGO_BIN_EXE_sluice");
/// The account that moto gives to everyone.
const ACCOUNT: &str = "123456789012";
const REGION: &str = "eu-central-1";
const MODEL: &str = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0";
/// Start of the hour the calls are in: an hour that is settled, and that CloudWatch still has by the minute.
const AGO: i64 = 3 * 3_600;

fn now() -> i64 {
    let output = Command::new("date").arg("+%s").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

fn call(second: i64, number: usize) -> String {
    let at = sluice_schemas::Micros(second * 1_000_000);
    format!(
        r#"{{"timestamp":"{at}","accountId":"{ACCOUNT}","region":"{REGION}","requestId":"00000000-0000-4000-8000-{number:012}","operation":"Converse","modelId":"{MODEL}","input":{{"inputTokenCount":1000}},"output":{{"outputTokenCount":100}},"identity":{{"arn":"arn:aws:iam::{ACCOUNT}:user/bot"}},"schemaType":"ModelInvocationLog","schemaVersion":"1.0"}}"#
    )
}

/// Puts something into S3; moto does not look at signatures.
fn put_object(server: &str, path: &str, bytes: &[u8]) {
    let address = server.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!("PUT /{path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", bytes.len());
    stream.write_all(&[head.as_bytes(), bytes].concat()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains(" 200 "), "{answer}");
}

/// Puts numbers of one metric.
fn put(server: &str, namespace: &str, dimension: (&str, &str), numbers: &[(&str, i64, u64)]) {
    let (name, value) = dimension;
    let data: Vec<Value> = numbers
        .iter()
        .map(|(metric, second, number)| {
            json!({ "MetricName": metric, "Timestamp": second, "Value": number, "Dimensions": [{ "Name": name, "Value": value }] })
        })
        .collect();
    let body = json!({ "Namespace": namespace, "MetricData": data }).to_string();
    let address = server.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "POST / HTTP/1.1\r\nhost: {address}\r\nx-amz-target: GraniteServiceVersion20100801.PutMetricData\r\n\
         content-type: application/x-amz-json-1.0\r\ncontent-length: {}\r\nconnection: close\r\n\
         authorization: AWS4-HMAC-SHA256 Credential=test/20260101/{REGION}/monitoring/aws4_request, SignedHeaders=host, Signature=0\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains(" 200 "), "{answer}");
}

fn coverage(folder: &Path, config: &str) -> Value {
    let file = folder.join("sluice.toml");
    fs::write(&file, format!("[lake]\npath = 'lake'\n[coverage]\n{config}")).unwrap();
    let output = Command::new(SLUICE).args(["coverage", "--format", "json", "--since", "6h", "--config"]).arg(&file).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn what_cloudwatch_counted_and_the_log_lacks_is_found() {
    let Some(server) = servers::start("moto.sh") else { return };
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("logs")).unwrap();
    let hour = (now() - AGO) / 3_600 * 3_600;
    // Twelve calls, counted by CloudWatch up to a minute later; the log of four of them is lost.
    let seconds: Vec<i64> = (0..12).map(|number| hour + 600 + number * 150).collect();
    let kept: Vec<String> =
        seconds.iter().enumerate().filter(|(number, _)| number % 3 != 1).map(|(number, at)| call(*at, number)).collect();
    fs::write(folder.path().join("logs/calls.json"), kept.join("\n")).unwrap();
    let lake = folder.path().join("lake");
    let replayed = Command::new(SLUICE).arg("replay").arg(folder.path().join("logs")).arg("--lake").arg(&lake).output().unwrap();
    assert!(replayed.status.success(), "{replayed:?}");
    for at in &seconds {
        let minute = (at + 50) / 60 * 60;
        let numbers = [("Invocations", minute, 1), ("InputTokenCount", minute, 1_000), ("OutputTokenCount", minute, 100)];
        put(&server.url, "AWS/Bedrock", ("ModelId", MODEL), &numbers);
    }
    put(&server.url, "AWS/BedrockMantle", ("Model", "openai.gpt-oss-120b"), &[("Inferences", hour, 7), ("TotalInputTokens", hour, 70)]);

    let found = coverage(folder.path(), &format!("endpoint = '{}'", server.url));
    assert_eq!(found["verdict"], "gap", "{found:#}");
    let totals = &found["totals"];
    assert_eq!((&totals["calls"], &totals["tokens"]["input"], &totals["tokens"]["output"]), (&json!(4), &json!(4_000), &json!(400)));
    let gap = found["report"]["rows"].as_array().unwrap().iter().find(|row| row["verdict"] == "gap").unwrap();
    assert_eq!((&gap["side"], &gap["lake"]["calls"], &gap["other"]["calls"]), (&json!("cloudwatch"), &json!(8), &json!(12)));
    let mantle = found["unlogged"].as_array().unwrap().iter().find(|kind| kind["traffic"] == "mantle").unwrap();
    assert_eq!((&mantle["metrics"]["calls"], &mantle["metrics"]["tokens"]["input"]), (&json!(7), &json!(70)));

    // Of another account than that of the credentials: told, unless there is a role to read with.
    let found = coverage(folder.path(), &format!("endpoint = '{}'\naccounts = ['444455556666']", server.url));
    let unasked = found["report"]["unasked"].as_array().unwrap();
    let why = unasked.iter().find(|unasked| unasked["place"] == "444455556666 eu-central-1").unwrap()["why"].as_str().unwrap();
    assert!(why.contains(ACCOUNT) && why.contains("role_arn"), "{why}");
    let role = "role_arn = 'arn:aws:iam::{account}:role/reader'";
    let found = coverage(folder.path(), &format!("endpoint = '{}'\naccounts = ['444455556666']\n{role}", server.url));
    let unasked = found["report"]["unasked"].as_array().unwrap();
    assert!(unasked.iter().all(|unasked| unasked["side"] != "cloudwatch"), "{unasked:#?}");
}

#[test]
fn a_side_that_cannot_be_asked_says_why() {
    let Some(_) = servers::start("moto.sh") else { return };
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("logs")).unwrap();
    fs::write(folder.path().join("logs/calls.json"), call(now() - AGO, 1)).unwrap();
    let lake = folder.path().join("lake");
    let replayed = Command::new(SLUICE).arg("replay").arg(folder.path().join("logs")).arg("--lake").arg(&lake).output().unwrap();
    assert!(replayed.status.success(), "{replayed:?}");
    // A port on which nobody listens.
    let found = coverage(folder.path(), "endpoint = 'http://127.0.0.1:9'");
    assert_eq!(found["verdict"], "unknown", "{found:#}");
    let unasked = found["report"]["unasked"].as_array().unwrap();
    assert!(
        unasked.iter().any(|unasked| unasked["side"] == "cloudwatch" && unasked["why"].as_str().unwrap().contains("reached")),
        "{unasked:#?}"
    );
}

#[test]
fn a_copy_in_a_bucket_names_what_is_missing_and_fills_it() {
    let Some(server) = servers::start("moto.sh") else { return };
    let folder = tempfile::tempdir().unwrap();
    put_object(&server.url, "copies", b"");
    let hour = (now() - AGO) / 3_600 * 3_600;
    let lines = |numbers: std::ops::Range<i64>| -> String {
        numbers.map(|number| call(hour + number * 600, usize::try_from(number).unwrap()) + "\n").collect()
    };
    // The second half of the log was delivered late, into the folder of the next hour, and never came here.
    for (at, numbers) in [(hour, 0..3), (hour + 3_600, 3..6)] {
        let time = sluice_schemas::Micros(at * 1_000_000).to_string();
        let (day, of_day) = (time[..10].replace('-', "/"), &time[11..13]);
        let key = format!("copies/AWSLogs/{ACCOUNT}/BedrockModelInvocationLogs/{REGION}/{day}/{of_day}/part.json");
        put_object(&server.url, &key, lines(numbers).as_bytes());
    }
    fs::create_dir(folder.path().join("logs")).unwrap();
    fs::write(folder.path().join("logs/calls.json"), lines(0..3)).unwrap();
    let lake = folder.path().join("lake");
    let run = |arguments: &[&str]| {
        let mut command = Command::new(SLUICE);
        let output =
            command.args(arguments).arg("--config").arg(folder.path().join("sluice.toml")).env("AWS_ENDPOINT_URL", &server.url).output();
        let output = output.unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let config = "[lake]\npath = 'lake'\n[coverage]\ncloudwatch = false\nlog_copy = ['s3://copies/AWSLogs']\n";
    fs::write(folder.path().join("sluice.toml"), config).unwrap();
    let replayed = Command::new(SLUICE).arg("replay").arg(folder.path().join("logs")).arg("--lake").arg(&lake).output().unwrap();
    assert!(replayed.status.success(), "{replayed:?}");
    let (code, out, err) = run(&["coverage", "--since", "6h", "--fail-on-gap"]);
    assert_eq!(code, Some(1), "{out}{err}");
    assert!(out.contains("gap: 3 calls with 3300 tokens") && out.contains("00000000-0000-4000-8000-000000000005"), "{out}");
    let (code, out, err) = run(&["coverage", "--since", "6h", "--fail-on-gap", "--backfill"]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(err.contains("3 new calls") && err.contains("3 were there already"), "{err}");
}
