//! The verbs about who calls, as a person uses them: `agents`, `explain`, `rules`.

#![cfg(test)]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

const SLUICE: &str = env!("CARGO_BIN_EXE_sluice");
/// A call of a Claude Code user, and the CloudTrail event that opened a tagged session of another role.
const RECORDS: &str = r#"{"schemaType":"ModelInvocationLog","schemaVersion":"1.0","timestamp":"2026-10-20T11:00:00Z","accountId":"123456789012","identity":{"arn":"arn:aws:sts::123456789012:assumed-role/ClaudeCode/ccwb-ada@example.com"},"region":"us-east-1","requestId":"021634af-0000-4000-8000-000000000001","operation":"Converse","modelId":"amazon.nova-lite-v1:0","input":{"inputContentType":"application/json","inputTokenCount":10},"output":{"outputContentType":"application/json","outputTokenCount":2}}
{"eventVersion":"1.11","userIdentity":{"type":"AWSService","invokedBy":"lambda.amazonaws.com"},"eventTime":"2026-10-20T11:00:00Z","eventSource":"sts.amazonaws.com","eventName":"AssumeRole","awsRegion":"us-east-1","requestParameters":{"roleArn":"arn:aws:iam::123456789012:role/Shop","roleSessionName":"run-1","tags":[{"key":"app","value":"cart"}]},"responseElements":{"credentials":{"accessKeyId":"ASIAEXAMPLE","expiration":"Oct 20, 2026, 12:00:00 PM"},"assumedRoleUser":{"assumedRoleId":"AROAEXAMPLE:run-1","arn":"arn:aws:sts::123456789012:assumed-role/Shop/run-1"}},"requestID":"r-2","eventID":"e-2","readOnly":true,"eventType":"AwsApiCall","managementEvent":true,"recipientAccountId":"123456789012","eventCategory":"Management"}
"#;
const RULES: &str = r#"
[[rule]]
name = "users"
match = { role = "ClaudeCode", session_name = "ccwb-{user}" }
agent = "claude-code/{user}"

[[rule]]
match = { "aws:PrincipalTag/App" = "{app}" }
agent = "shop-{app}"
"#;

fn sluice(folder: &Path, args: &[&str]) -> Output {
    Command::new(SLUICE).args(args).current_dir(folder).env_remove("SLUICE_CONFIG").output().unwrap()
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_str(&stdout(output)).unwrap()
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("records.jsonl"), RECORDS).unwrap();
    fs::write(folder.path().join("rules.toml"), RULES).unwrap();
    folder
}

#[test]
fn rules_are_tried_on_records_of_both_kinds() {
    let folder = folder();
    let tried =
        json(&sluice(folder.path(), &["rules", "test", "--rules", "rules.toml", "records.jsonl", "--all-used", "--format", "json"]));
    let told: Vec<_> =
        tried.as_array().unwrap().iter().map(|tried| (&tried["rule"]["rule"], &tried["rule"]["agent"], &tried["rule"]["rank"])).collect();
    let (users, second) = (Value::from("users"), Value::from("2"));
    let (ada, cart, two) = (Value::from("claude-code/ada@example.com"), Value::from("shop-cart"), Value::from(2));
    assert_eq!(told, [(&users, &ada, &two), (&second, &cart, &two)]);
    assert_eq!(tried[0]["owner"]["agent_id"], "claude-code/ada@example.com");
    // The rule that no record needs makes itself heard.
    fs::write(folder.path().join("more.toml"), format!("{RULES}\n[[rule]]\nmatch = {{ role = 'Nobody' }}\nagent = 'n'\n")).unwrap();
    let unused = sluice(folder.path(), &["rules", "test", "--rules", "more.toml", "records.jsonl", "--all-used"]);
    assert_eq!(unused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unused.stderr).contains("rule '3' in line 11 matched no record"), "{unused:?}");
}

#[test]
fn records_may_be_compressed_and_in_folders() {
    let folder = folder();
    fs::create_dir_all(folder.path().join("in/2026")).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(RECORDS.as_bytes()).unwrap();
    fs::write(folder.path().join("in/2026/records.json.gz"), gzip.finish().unwrap()).unwrap();
    fs::write(folder.path().join("in/.hidden"), "not read").unwrap();
    let args = ["rules", "test", "--rules", "rules.toml", "in", "--format"];
    let tried = json(&sluice(folder.path(), &[&args[..], &["json"]].concat()));
    assert_eq!(tried.as_array().map(Vec::len), Some(2));
    // A cell without a value is empty where a program reads it.
    fs::write(folder.path().join("none.toml"), "[[rule]]\nmatch = { role = 'Nobody' }\nagent = 'n'\n").unwrap();
    let csv = stdout(&sluice(folder.path(), &["rules", "test", "--rules", "none.toml", "in", "--format", "csv"]));
    assert!(csv.lines().nth(1).unwrap().contains(",,,,,,"), "{csv}");
    // Nothing could be read.
    fs::write(folder.path().join("broken.json"), "this is no JSON\n").unwrap();
    let refused = sluice(folder.path(), &["rules", "test", "--rules", "rules.toml", "broken.json"]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{told}");
    assert!(told.contains("record at byte 0: not JSON") && !told.contains("NotJson"), "{told}");
}

#[test]
fn a_wrong_rules_file_is_refused_with_line_and_fix() {
    let folder = folder();
    assert!(stdout(&sluice(folder.path(), &["rules", "check", "--rules", "rules.toml"])).contains("valid, 2 rules"));
    fs::write(folder.path().join("rules.toml"), "[[rule]]\nmatch = { rol = 'x' }\nagent = 'a'\n").unwrap();
    let refused = sluice(folder.path(), &["rules", "check", "--rules", "rules.toml"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("line 2: rule '1': unknown field 'rol': did you mean 'role'?"),
        "{refused:?}"
    );
    // A daemon would not start with it either.
    fs::write(folder.path().join("sluice.toml"), "[lake]\npath = 'lake'\n[enrich]\nrules_file = 'rules.toml'\n").unwrap();
    fs::write(folder.path().join("good.toml"), RULES).unwrap();
    fs::write(folder.path().join("other.toml"), "[lake]\npath = 'lake'\n[enrich]\nrules_file = 'good.toml'\n").unwrap();
    let checked = stdout(&sluice(folder.path(), &["rules", "check", "--config", "other.toml"]));
    assert_eq!(checked, "good.toml: valid, 2 rules: 'users' in line 2, '2' in line 7\n");
    // Rules are of no lake.
    fs::write(folder.path().join("bare.toml"), "[enrich]\nrules_file = 'good.toml'\n").unwrap();
    assert_eq!(stdout(&sluice(folder.path(), &["rules", "check", "--config", "bare.toml"])), checked);
    let tried = json(&sluice(folder.path(), &["rules", "test", "--config", "bare.toml", "records.jsonl", "--format", "json"]));
    assert_eq!(tried.as_array().map(Vec::len), Some(2));
    assert_eq!(sluice(folder.path(), &["config", "check"]).status.code(), Some(2));
}

#[test]
fn rules_on_tags_of_the_directory_are_tried_with_it() {
    let folder = folder();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let tagged = r#"[{"kind":"role","arn":"arn:aws:iam::123456789012:role/ClaudeCode","tags":[["squad","blue"]]}]"#;
    write("directory.json", tagged);
    write("tags.toml", "[[rule]]\nmatch = { 'aws:PrincipalTag/squad' = '{squad}' }\nagent = 'squad-{squad}'\n");
    let used = |more: &[&str]| {
        let args = ["rules", "test", "--rules", "tags.toml", "records.jsonl", "--all-used", "--format", "json"];
        sluice(folder.path(), &[&args[..], more].concat())
    };
    // Of the file that the configuration names; no lake is needed.
    write("file.toml", "[directory]\nfile = 'directory.json'\n");
    assert_eq!(json(&used(&["--config", "file.toml"]))[0]["rule"]["agent"], "squad-blue");
    // Of the lake.
    write("sluice.toml", "[lake]\npath = 'lake'\n[directory]\nfile = 'directory.json'\n");
    stdout(&sluice(folder.path(), &["replay", "records.jsonl", "--config", "sluice.toml"]));
    assert_eq!(json(&used(&["--lake", "lake"]))[0]["rule"]["agent"], "squad-blue");
    // A lake that is not there yet knows nothing.
    assert_eq!(used(&["--lake", "none"]).status.code(), Some(1));
}

/// A call by a role session of a name.
fn call(number: u32, role: &str, session: &str) -> String {
    RECORDS
        .lines()
        .next()
        .unwrap()
        .replace("ClaudeCode/ccwb-ada@example.com", &format!("{role}/{session}"))
        .replace("000000000001", &format!("{number:012}"))
        + "\n"
}

#[test]
fn sessions_that_were_passed_over_and_shared_roles_are_told() {
    let folder = folder();
    let opened = RECORDS.lines().nth(1).unwrap();
    let twice =
        opened.to_owned() + "\n" + &opened.replace("cart", "desk").replace("ASIAEXAMPLE", "ASIASECOND").replace("e-2", "e-3") + "\n";
    let tagged = twice.replace("\"app\"", "\"agent_id\"");
    let calls = call(2, "Shop", "run-1")
        + &call(3, "Many", "run-a")
        + &call(4, "Many", "run-b")
        + &call(5, "Many", "nobody")
        + &call(6, "Solo", "x1");
    fs::write(folder.path().join("in.jsonl"), tagged + &calls).unwrap();
    let rules = "[[rule]]\nmatch = { role = 'Many', session_name = 'run-a' }\nagent = 'alpha'\n[[rule]]\nmatch = { role = 'Many', session_name = 'run-b' }\nagent = 'beta'\n";
    fs::write(folder.path().join("rules.toml"), rules).unwrap();
    fs::write(folder.path().join("sluice.toml"), "[lake]\npath = 'lake'\n[enrich]\nrules_file = 'rules.toml'\n").unwrap();
    stdout(&sluice(folder.path(), &["replay", "in.jsonl", "--config", "sluice.toml"]));
    let explained = |number: u32| {
        let id = format!("021634af-0000-4000-8000-{number:012}");
        (json(&sluice(folder.path(), &["explain", &id, "--format", "json"]))[0].clone(), stdout(&sluice(folder.path(), &["explain", &id])))
    };
    // Two sessions of the name say different things: neither is hidden.
    let (shop, text) = explained(2);
    let refused = shop["steps"].as_array().unwrap().iter().filter(|step| step["evidence"] == "session_tag:agent_id");
    assert_eq!(refused.map(|step| (&step["says"], &step["outcome"])).collect::<Vec<_>>().len(), 2, "{shop}");
    assert!(text.contains("say different things") && text.contains("the cost stands with 123456789012/Shop"), "{text}");
    assert!(text.contains("cheapest change: give each agent's sessions"), "{text}");
    // The lake has events of the account, so nobody is sent to read the trail; one agent alone may still be registered.
    let (_, text) = explained(6);
    assert!(text.contains("cheapest change: set a session tag agent_id") && text.contains("if one agent alone uses the role"), "{text}");
    // Two agents are known on the other role, so it is given to none; list and explanation agree.
    let (many, text) = explained(5);
    assert!(!text.contains("if one agent alone"), "{text}");
    let agents = json(&sluice(folder.path(), &["agents", "--since", "3650d", "--format", "json"]));
    let nobody = agents.as_array().unwrap().iter().find(|agent| agent["agent_id"] == "unattributed").unwrap();
    assert!(nobody["changes"].as_array().unwrap().contains(&many["change"]), "{nobody} {many}");
}

#[test]
fn a_call_of_the_lake_is_explained_and_its_agent_listed() {
    let folder = folder();
    fs::write(folder.path().join("sluice.toml"), "[lake]\npath = 'lake'\n[enrich]\nrules_file = 'rules.toml'\n").unwrap();
    stdout(&sluice(folder.path(), &["replay", "records.jsonl", "--config", "sluice.toml"]));
    let id = "021634af-0000-4000-8000-000000000001";
    let explained = json(&sluice(folder.path(), &["explain", id, "--format", "json"]));
    assert_eq!(explained[0]["owner"]["agent_id"], "claude-code/ada@example.com");
    assert_eq!(explained[0]["steps"][0]["evidence"], "rule:users");
    let action = "set a session tag agent_id when assuming arn:aws:iam::123456789012:role/ClaudeCode (sts:TagSession)";
    assert_eq!(explained[0]["change"]["action"], action);
    assert!(
        stdout(&sluice(folder.path(), &["explain", id]))
            .contains("booked to claude-code/ada@example.com (unverified, rank 2, by rule:users)")
    );
    assert_eq!(sluice(folder.path(), &["explain", "x' OR '1'='1"]).status.code(), Some(2));

    let agents = json(&sluice(folder.path(), &["agents", "--since", "3650d", "--format", "json"]));
    assert_eq!(agents.as_array().map(Vec::len), Some(1));
    let agent = &agents[0];
    assert_eq!((&agent["agent_id"], &agent["calls"]), (&Value::from("claude-code/ada@example.com"), &Value::from(1)));
    assert_eq!((&agent["evidence"][0]["evidence"], &agent["cost_by_rank"][2]), (&Value::from("rule:users"), &agent["cost_usd"]));
    assert_eq!(agent["changes"][0]["action"], action);
    let csv = stdout(&sluice(folder.path(), &["agents", "--since", "3650d", "--format", "csv"]));
    assert!(csv.contains(&format!(",{},1,", agent["cost_usd"].as_str().unwrap())), "{csv}");
    let late = sluice(folder.path(), &["agents", "--since", "1h"]);
    assert!(
        late.status.success() && String::from_utf8_lossy(&late.stderr).contains("the lake has calls from 2026-10-20T11:00:00"),
        "{late:?}"
    );
    let table = stdout(&sluice(folder.path(), &["agents", "--since", "3650d"]));
    assert!(table.contains("2: 100%") && table.contains("rule:users unverified×1"), "{table}");
}
