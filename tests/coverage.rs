//! Dark spend as a user meets it: logs that were lost are named, a gap ends with exit code 1, the copy of the log fills it.

#![cfg(test)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

const SLUICE: &str = env!("CARGO_BIN_EXE_sluice");
const HOURS: usize = 4;
/// Calls of each hour.
const CALLS: usize = 5;

fn sluice(arguments: &[&str]) -> Output {
    Command::new(SLUICE).args(arguments).env_remove("SLUICE_CONFIG").output().unwrap()
}

fn call(hour: usize, number: usize) -> String {
    format!(
        r#"{{"timestamp":"2026-10-01T{hour:02}:{:02}:00Z","accountId":"111122223333","region":"eu-central-1","requestId":"00000000-0000-4000-8000-{:012}","operation":"Converse","modelId":"anthropic.claude-sonnet-4-5-20250929-v1:0","input":{{"inputTokenCount":1000}},"output":{{"outputTokenCount":100}},"identity":{{"arn":"arn:aws:iam::111122223333:user/bot"}},"requestMetadata":{{"agent_id":"bot"}},"schemaType":"ModelInvocationLog","schemaVersion":"1.0"}}"#,
        number * 10 + 5,
        hour * 100 + number
    )
}

/// Writes the log as Bedrock lays it out, without the hours of `lost`.
fn logs(root: &Path, lost: &[usize]) -> PathBuf {
    let region = root.join("AWSLogs/111122223333/BedrockModelInvocationLogs/eu-central-1/2026/10/01");
    for hour in (0..HOURS).filter(|hour| !lost.contains(hour)) {
        let folder = region.join(format!("{hour:02}"));
        fs::create_dir_all(&folder).unwrap();
        let lines: Vec<String> = (0..CALLS).map(|number| call(hour, number)).collect();
        fs::write(folder.join("part.json"), lines.join("\n")).unwrap();
    }
    root.join("AWSLogs")
}

struct Lake {
    folder: tempfile::TempDir,
}

impl Lake {
    /// A lake of everything but the lost hours, and the whole log beside it.
    fn without(lost: &[usize]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let delivered = logs(&folder.path().join("delivered"), lost);
        logs(&folder.path().join("copy"), &[]);
        let replayed = sluice(&["replay", delivered.to_str().unwrap(), "--lake", folder.path().join("lake").to_str().unwrap()]);
        assert!(replayed.status.success(), "{replayed:?}");
        // Nobody but the copy is asked: no test may meet the credentials of whoever runs it.
        fs::write(
            folder.path().join("sluice.toml"),
            "[lake]\npath = 'lake'\n[coverage]\ncloudwatch = false\nlog_copy = ['copy/AWSLogs']\n",
        )
        .unwrap();
        Self { folder }
    }

    fn coverage(&self, arguments: &[&str]) -> (i32, String, String) {
        let config = self.folder.path().join("sluice.toml");
        let first = ["coverage", "--config", config.to_str().unwrap(), "--since", "2026-10-01", "--until", "2026-10-01T04:00:00Z"];
        let output = sluice(&[&first, arguments].concat());
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    fn json(&self) -> Value {
        let (code, out, err) = self.coverage(&["--format", "json"]);
        assert_eq!(code, 0, "{err}");
        serde_json::from_str(&out).unwrap()
    }
}

#[test]
fn a_lake_that_holds_all_is_complete() {
    let lake = Lake::without(&[]);
    let (code, out, err) = lake.coverage(&["--fail-on-gap"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("complete: the lake holds every call"), "{out}");
    let found = lake.json();
    assert_eq!((&found["verdict"], &found["totals"]["compared"]), (&Value::from("complete"), &Value::from(4)));
    let unasked: Vec<&str> = found["report"]["unasked"].as_array().unwrap().iter().map(|side| side["side"].as_str().unwrap()).collect();
    assert_eq!(unasked, ["cloudtrail", "cloudwatch"]);
}

#[test]
fn lost_calls_are_named_priced_and_brought_back() {
    let lake = Lake::without(&[2]);
    let (code, out, err) = lake.coverage(&["--fail-on-gap"]);
    assert_eq!(code, 1, "{out}{err}");
    // 1,000 tokens in at 3.30 USD and 100 out at 16.50 USD a million, five times.
    assert!(out.contains("gap: 5 calls with 5500 tokens, about $0.0248"), "{out}");
    assert!(out.contains("00000000-0000-4000-8000-000000000204"), "{out}");
    let found = lake.json();
    let totals = &found["totals"];
    assert_eq!((&totals["calls"], &totals["tokens"]["output"]), (&Value::from(5), &Value::from(500)));
    assert_eq!(found["report"]["missing"].as_array().unwrap().len(), 5);
    let (_, csv, _) = lake.coverage(&["--format", "csv"]);
    let row = csv.lines().find(|line| line.contains(",gap,")).unwrap();
    assert!(row.starts_with("2026-10-01T02:00:00Z,log_copy,111122223333,eu-central-1,"), "{row}");
    assert!(row.ends_with(",gap,0,5,5,5000,500,0,0,0.024750000000,average"), "{row}");

    let (code, out, err) = lake.coverage(&["--backfill", "--fail-on-gap"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(err.contains("backfill of 1 hours: 5 new calls, $0.024750"), "{err}");
    assert!(out.contains("complete"), "{out}");
    let (code, _, err) = lake.coverage(&["--backfill", "--fail-on-gap"]);
    assert_eq!((code, err.contains("backfill")), (0, false), "{err}");
}

#[test]
fn nothing_to_compare_with_is_not_complete() {
    let lake = Lake::without(&[]);
    let config = lake.folder.path().join("sluice.toml");
    fs::write(&config, "[lake]\npath = 'lake'\n[coverage]\ncloudwatch = false\n").unwrap();
    let (code, out, _) = lake.coverage(&["--fail-on-gap"]);
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("unknown: there was nothing to compare the lake with"), "{out}");
    assert!(out.contains("no copy is named") && out.contains("no CloudTrail events"), "{out}");
    assert!(out.contains("switched off") || out.contains("no AWS clients"), "{out}");
    let (code, _, err) = lake.coverage(&["--log-copy", "nowhere"]);
    assert_eq!(code, 2);
    assert!(err.contains("nowhere"), "{err}");
}

#[test]
fn a_copy_without_calls_is_named_as_not_compared() {
    let lake = Lake::without(&[]);
    let config = lake.folder.path().join("sluice.toml");
    fs::write(&config, "[lake]\npath = 'lake'\n[coverage]\ncloudwatch = false\n").unwrap();
    let empty = lake.folder.path().join("empty");
    fs::create_dir_all(empty.join("AWSLogs/2026")).unwrap();
    let other = lake.folder.path().join("other");
    fs::create_dir_all(&other).unwrap();
    fs::write(other.join("readme.json"), "{\"a\": 1}\n").unwrap();
    for (copy, why) in [(&empty, "no file is there"), (&other, "no call of that time is in it, and 1 records could not be read")] {
        let (code, out, err) = lake.coverage(&["--fail-on-gap", "--log-copy", copy.to_str().unwrap()]);
        assert_eq!(code, 1, "{out}{err}");
        assert!(out.contains(why), "{out}");
        assert_eq!(out.matches("log copy ").count(), 1, "{out}");
    }
    // Beside a copy that was compared the empty one is named.
    let whole = lake.folder.path().join("copy/AWSLogs");
    let (code, out, err) = lake.coverage(&["--fail-on-gap", "--log-copy", empty.to_str().unwrap(), "--log-copy", whole.to_str().unwrap()]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("4 models and hours compared") && out.contains("no file is there"), "{out}");
}

#[test]
fn a_lake_is_found_from_beside_it() {
    let lake = Lake::without(&[]);
    let beside = lake.folder.path().join("work/deep");
    fs::create_dir_all(&beside).unwrap();
    let query = ["query", "SELECT count(*) AS calls FROM calls", "--format", "csv", "--lake", "../../lake"];
    let output = Command::new(SLUICE).args(query).current_dir(&beside).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().collect::<Vec<_>>(), ["calls", "20"], "{output:?}");
}

#[test]
fn a_replay_of_nothing_leaves_no_lake() {
    let folder = tempfile::tempdir().unwrap();
    let lake = folder.path().join("lake");
    let output = sluice(&["replay", folder.path().join("typo").to_str().unwrap(), "--lake", lake.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("typo"), "{output:?}");
    assert!(!lake.exists());
}
