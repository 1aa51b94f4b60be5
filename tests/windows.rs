//! Declared windows in a pass over old records: they see the rows of calls as queries do.

#![cfg(test)]

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

const SLUICE: &str = env!("CARGO_BIN_EXE_sluice");
const CONFIG: &str = r#"
[[window]]
name = "per_stage"
sql = "SELECT date_bin(INTERVAL '1 hour', event_time) AS window_start, tags['stage'] AS stage, count(*) AS calls FROM calls GROUP BY 1, 2"
"#;

/// Calls of one hour, the second of each three without tags.
fn records(count: usize) -> String {
    let mut lines = String::new();
    for number in 0..count {
        let metadata = ["\"requestMetadata\":{\"stage\":\"prod\"},", "", "\"requestMetadata\":{\"stage\":\"test\"},"][number % 3];
        writeln!(
            lines,
            r#"{{"schemaType":"ModelInvocationLog","schemaVersion":"1.0","timestamp":"2026-10-20T11:00:00Z","accountId":"123456789012","identity":{{"arn":"arn:aws:iam::123456789012:user/ada"}},"region":"us-east-1","requestId":"021634af-0000-4000-8000-{number:012x}","operation":"Converse","modelId":"amazon.nova-lite-v1:0",{metadata}"input":{{"inputTokenCount":10}},"output":{{"outputTokenCount":2}}}}"#
        )
        .unwrap();
    }
    lines
}

fn sluice(folder: &Path, args: &[&str]) -> Value {
    let output =
        Command::new(SLUICE).args(args).args(["--format", "json"]).current_dir(folder).env_remove("SLUICE_CONFIG").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Few rows are gathered before they are encoded, many are encoded where they are made.
#[test]
fn tags_are_maps_in_windows_and_in_tables() {
    for count in [3, 9_000] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("records.jsonl"), records(count)).unwrap();
        fs::write(folder.path().join("sluice.toml"), CONFIG).unwrap();
        sluice(folder.path(), &["replay", "records.jsonl", "--lake", "lake", "--config", "sluice.toml"]);
        let third = count / 3;
        let expected = json!([{"stage": null, "n": third}, {"stage": "prod", "n": third}, {"stage": "test", "n": third}]);
        for sql in [
            "SELECT stage, sum(calls) AS n FROM per_stage GROUP BY 1 ORDER BY 1 NULLS FIRST",
            "SELECT tags['stage'] AS stage, count(*) AS n FROM calls GROUP BY 1 ORDER BY 1 NULLS FIRST",
        ] {
            assert_eq!(sluice(folder.path(), &["query", sql, "--lake", "lake"]), expected, "{count}: {sql}");
        }
    }
}
