//! The doctor on files alone: what the lake and the configuration tell, without AWS.

#![cfg(test)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

const SLUICE: &str = env!("CARGO_BIN_EXE_sluice");

fn sluice(folder: &Path, args: &[&str]) -> Output {
    let bare = ["AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "SLUICE_CONFIG"];
    let mut command = Command::new(SLUICE);
    for name in bare {
        command.env_remove(name);
    }
    command.args(args).current_dir(folder).output().unwrap()
}

fn doctor(folder: &Path) -> (Option<i32>, Value) {
    let output = sluice(folder, &["doctor", "--config", "sluice.toml", "--format", "json"]);
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    (output.status.code(), report)
}

/// One finding as `level about: seen`.
fn told(report: &Value, check: &str) -> Vec<String> {
    let findings = report["findings"].as_array().unwrap().iter().filter(|finding| finding["check"] == check);
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
    findings.map(|finding| format!("{} {}: {}", text(finding, "level"), text(finding, "about"), text(finding, "seen"))).collect()
}

/// Two agents of one role that claim their names, a call of nobody, a model without a price; of an hour ago.
fn records() -> String {
    let output = Command::new("date").args(["-u", "-d", "1 hour ago", "+%Y-%m-%dT%H:%M:%SZ"]).output().unwrap();
    let at = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    let record = |number: u32, model: &str, metadata: &str| {
        format!(
            r#"{{"schemaType":"ModelInvocationLog","schemaVersion":"1.0","timestamp":"{at}","accountId":"123456789012","identity":{{"arn":"arn:aws:sts::123456789012:assumed-role/Shared/run"}},"region":"us-east-1","requestId":"00000000-0000-4000-8000-{number:012}","operation":"Converse","modelId":"{model}","input":{{"inputTokenCount":10}},"output":{{"outputTokenCount":2}}{metadata}}}"#
        )
    };
    let agent = |name: &str| format!(r#","requestMetadata":{{"agent_id":"{name}"}}"#);
    let nova = "amazon.nova-lite-v1:0";
    [record(1, nova, &agent("a")), record(2, nova, &agent("b")), record(3, nova, ""), record(4, "acme.unheard-of-v1:0", &agent("a"))]
        .join("\n")
}

#[test]
fn what_the_lake_tells_is_heard() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("records.jsonl"), records() + "\n").unwrap();
    fs::write(folder.path().join("rules.toml"), "[[rule]]\nname = 'nightly'\nmatch = { role = 'Nightly' }\nagent = 'n'\n").unwrap();
    let config = "[lake]\npath = 'lake'\n[enrich]\nrules_file = 'rules.toml'\n\
        [[budget]]\nname = 'shop'\nwhere = \"team = 'shop'\"\nlimit = '1 USD'\nwindow = 'day'\n\
        [[budget]]\nname = 'only a'\nwhere = \"agent_id = 'a'\"\nlimit = '1 USD'\nwindow = 'day'\n";
    fs::write(folder.path().join("sluice.toml"), config).unwrap();
    let replayed = sluice(folder.path(), &["replay", "records.jsonl", "--config", "sluice.toml"]);
    assert!(replayed.status.success(), "{replayed:?}");

    let (code, report) = doctor(folder.path());
    assert_eq!((code, report["verdict"].as_str()), (Some(0), Some("ok")), "{report:#}");
    assert!(told(&report, "attribution.calls")[0].starts_with("ok : 4 calls"), "{report:#}");
    assert_eq!(told(&report, "attribution.rules"), ["warn : rules that named no agent in 7 days: nightly"]);
    assert_eq!(told(&report, "attribution.unpriced").len(), 1, "{report:#}");
    assert_eq!(told(&report, "budgets.matched"), ["warn shop: it counted no call of the last 7 days", "ok only a: 2 calls in 7 days"]);
    let left = &told(&report, "budgets.left_out")[0];
    assert!(left.starts_with("warn : 2 agents are in no budget: ") && left.contains('b'), "{left}");
    assert_eq!(told(&report, "budgets.told"), ["warn : nobody is told of breaches"]);
    assert!(told(&report, "daemon.running")[0].starts_with("warn"), "{report:#}");
    assert_eq!(told(&report, "logging.all"), ["skipped : AWS is not asked: nothing of this configuration is in AWS"]);
    assert!(report["fixes"].as_array().unwrap().iter().all(|fix| !fix["run"].as_str().unwrap().is_empty()));

    let text = sluice(folder.path(), &["doctor", "--config", "sluice.toml", "--only", "budgets"]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.starts_with("budgets  limits, and whom they count\n  ✓ any: 2 budgets") && !text.contains('\u{1b}'), "{text}");
}

#[test]
fn what_cannot_run_ends_with_two() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("sluice.toml"), "[lake]\npath = 'lake'\ntypo = 1\n").unwrap();
    assert_eq!(sluice(folder.path(), &["doctor", "--config", "sluice.toml"]).status.code(), Some(2));
    fs::write(folder.path().join("sluice.toml"), "[lake]\npath = 'lake'\n").unwrap();
    let wrong = sluice(folder.path(), &["doctor", "--config", "sluice.toml", "--only", "loging"]);
    assert!(wrong.status.code() == Some(2) && String::from_utf8_lossy(&wrong.stderr).contains("use account, logging"), "{wrong:?}");
}

#[test]
fn every_check_is_documented() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/doctor.md")).unwrap();
    let mut checks = std::collections::BTreeSet::new();
    for entry in fs::read_dir(root.join("src/doctor/checks")).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        let quoted = text.split('"').skip(1).step_by(2).filter_map(|text| text.split_once('.'));
        let is_word = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        checks.extend(
            quoted.filter(|(group, name)| is_word(group) && is_word(name)).map(|(group, name)| (group.to_owned(), name.to_owned())),
        );
    }
    let row = |group: &str| page.lines().find(|line| line.starts_with(&format!("| `{group}` |")));
    let known = checks.iter().filter(|(_, name)| name != "all").filter_map(|(group, name)| Some((row(group)?, group, name)));
    let missing: Vec<String> =
        known.filter(|(row, _, name)| !row.contains(&format!("`{name}`"))).map(|(_, group, name)| format!("{group}.{name}")).collect();
    assert!(checks.len() > 60 && missing.is_empty(), "{} checks, not in docs/doctor.md: {missing:?}", checks.len());
}
