//! What is kept of people, as an owner of the data uses it: `forget`, pseudonyms, retention.

#![cfg(test)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

const SLUICE: &str = env!("CARGO_BIN_EXE_sluice");
const TABLES: [&str; 10] =
    ["calls", "spend_minute", "spend_hour", "spend_day", "spend_session", "evidence", "corrections", "breaches", "rejected", "directory"];
const RULES: &str =
    "[[rule]]\nname = 'users'\nmatch = { role = 'ClaudeCode', session_name = 'ccwb-{user}' }\nagent = 'claude-code/{user}'\n";
const CONFIG: &str = "[lake]\npath = 'lake'\n[enrich]\nrules_file = 'rules.toml'\n[[budget]]\nname = 'people'\neach = ['principal_arn']\nlimit = '0.0000001 USD'\nwindow = 'day'\n[[budget.threshold]]\nat = '100%'\ndo = ['notify']\n[personal]\nprefixes = ['ccwb-']\n";

fn call(number: u32, name: &str, day: &str) -> String {
    format!(
        r#"{{"schemaType":"ModelInvocationLog","schemaVersion":"1.0","timestamp":"{day}T11:{number:02}:00Z","accountId":"123456789012","identity":{{"arn":"arn:aws:sts::123456789012:assumed-role/ClaudeCode/{name}"}},"region":"us-east-1","requestId":"{number:08x}-0000-4000-8000-000000000001","operation":"Converse","modelId":"amazon.nova-lite-v1:0","requestMetadata":{{"user":"{name}"}},"input":{{"inputTokenCount":10}},"output":{{"outputTokenCount":2}}}}"#
    ) + "\n"
}

fn event(number: u32, name: &str, day: &str) -> String {
    format!(
        r#"{{"eventVersion":"1.10","userIdentity":{{"type":"AssumedRole","principalId":"AROAX:{name}","arn":"arn:aws:sts::123456789012:assumed-role/ClaudeCode/{name}","accountId":"123456789012","accessKeyId":"ASIAX"}},"eventTime":"{day}T11:{number:02}:01Z","eventSource":"bedrock.amazonaws.com","eventName":"Converse","awsRegion":"us-east-1","requestParameters":{{"modelId":"amazon.nova-lite-v1:0"}},"responseElements":null,"requestID":"{number:08x}-0000-4000-8000-000000000001","eventID":"{number:08x}-0000-4000-8000-0000000000ee","eventType":"AwsApiCall","recipientAccountId":"123456789012"}}"#
    ) + "\n"
}

/// Calls of two people with their events, and a record of one of them that cannot be read.
fn folder(config: &str) -> tempfile::TempDir {
    folder_of(config, "2026-10-20")
}

fn folder_of(config: &str, day: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut records = String::new();
    for number in 0..6 {
        let name = if number % 3 == 0 { "ccwb-bob@example.com" } else { "ccwb-ada@example.com" };
        records += &call(number, name, day);
        records += &event(number, name, day);
    }
    records += "{\"schemaType\":\"ModelInvocationLog\",\"identity\":{\"arn\":\"ccwb-ada@example.com\"\n";
    fs::create_dir(folder.path().join("logs")).unwrap();
    fs::write(folder.path().join("logs/records.jsonl"), records).unwrap();
    fs::write(folder.path().join("rules.toml"), RULES).unwrap();
    fs::write(folder.path().join("sluice.toml"), config).unwrap();
    folder
}

fn sluice(folder: &Path, args: &[&str]) -> Output {
    Command::new(SLUICE).args(args).current_dir(folder).env_remove("SLUICE_CONFIG").env("USER", "eve").output().unwrap()
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn query(folder: &Path, sql: &str) -> Value {
    serde_json::from_str(&stdout(&sluice(folder, &["query", sql, "--format", "json"]))).unwrap()
}

/// Every row of every table but the sealed ones, as text.
fn everything(folder: &Path) -> String {
    TABLES
        .map(|table| {
            let columns = if table == "rejected" { "source, detail, arrow_cast(raw, 'Utf8') AS raw" } else { "*" };
            query(folder, &format!("SELECT {columns} FROM {table}")).to_string()
        })
        .concat()
}

/// Calls and cost of every table that has them, by what is nobody's name.
fn sums(folder: &Path) -> Vec<Value> {
    let of_table = |(table, calls)| {
        query(folder, &format!("SELECT model, {calls} AS calls, sum(cost_usd) AS usd, sum(input_tokens) AS t FROM {table} GROUP BY model"))
    };
    [
        ("calls", "count(*)"),
        ("spend_minute", "sum(calls)"),
        ("spend_hour", "sum(calls)"),
        ("spend_day", "sum(calls)"),
        ("spend_session", "sum(calls)"),
    ]
    .map(of_table)
    .to_vec()
}

#[test]
fn a_name_is_taken_out_of_every_table_and_every_sum_stays() {
    let folder = folder(CONFIG);
    let root = folder.path();
    stdout(&sluice(root, &["replay", "logs"]));
    let (before, all) = (sums(root), everything(root));
    assert!(all.matches("ada@example.com").count() > 20, "{all}");
    let breaches = query(root, "SELECT fire_id FROM breaches ORDER BY 1");
    assert_eq!(breaches.as_array().unwrap().len(), 2);

    // Looking changes nothing.
    let looked = stdout(&sluice(root, &["forget", "ada@example.com"]));
    assert!(looked.contains("nothing was changed") && looked.contains("spend_day") && looked.contains("evidence"), "{looked}");
    assert_eq!(everything(root), all);
    let without_reason = sluice(root, &["forget", "ada@example.com", "--yes"]);
    assert_eq!(without_reason.status.code(), Some(2), "{without_reason:?}");

    let done = stdout(&sluice(root, &["forget", "ada@example.com", "--yes", "--reason", "asked to", "--as", "gone-1"]));
    assert!(done.contains("every sum is as it was"), "{done}");
    let after = everything(root);
    assert!(!after.contains("ada@"), "{after}");
    assert!(after.contains("ccwb-gone-1") && after.contains("claude-code/gone-1"), "{after}");
    assert_eq!(after.matches("bob@example.com").count(), all.matches("bob@example.com").count(), "somebody else");
    assert_eq!(sums(root), before);
    let again = stdout(&sluice(root, &["forget", "ada@example.com"]));
    assert!(again.contains("stands nowhere"), "{again}");

    // What is made again from the lake goes on by the alias, and nothing is told twice.
    fs::write(root.join("logs/more.jsonl"), call(9, "ccwb-bob@example.com", "2026-10-20")).unwrap();
    stdout(&sluice(root, &["replay", "logs"]));
    assert_eq!(query(root, "SELECT fire_id FROM breaches ORDER BY 1"), breaches);
    assert!(!everything(root).contains("ada@"));
    let audit = stdout(&sluice(root, &["audit", "list", "--format", "json"]));
    assert!(audit.contains("\"forget\"") && audit.contains("asked to") && !audit.contains("ada@"), "{audit}");
}

#[test]
fn a_name_of_one_role_is_somebody_else_in_another() {
    let folder = folder(CONFIG);
    let root = folder.path();
    let other = call(20, "worker", "2026-10-20").replace("ClaudeCode", "Other");
    fs::write(root.join("logs/workers.jsonl"), call(21, "worker", "2026-10-20") + &other).unwrap();
    stdout(&sluice(root, &["replay", "logs"]));
    let arn = |role: &str| format!("arn:aws:sts::123456789012:assumed-role/{role}/worker");
    stdout(&sluice(root, &["forget", &arn("ClaudeCode"), "--yes", "--reason", "asked to", "--as", "gone-2"]));
    let all = everything(root);
    assert!(
        !all.contains(&arn("ClaudeCode")) && all.contains(&arn("Other")) && all.contains(&arn("ClaudeCode").replace("worker", "gone-2"))
    );
    let names = query(root, "SELECT role_session_name AS name, metadata FROM calls WHERE role_session_name NOT LIKE 'ccwb%' ORDER BY 1");
    assert_eq!(names[0]["name"], "gone-2");
    assert_eq!(names[1]["name"], "worker");
    assert!(names[0]["metadata"].as_str().unwrap().contains("gone-2") && names[1]["metadata"].as_str().unwrap().contains("worker"));
    for nobody in ["arn:aws:iam::123456789012:role/ClaudeCode", "x", "two words"] {
        assert_eq!(sluice(root, &["forget", nobody]).status.code(), Some(2), "{nobody}");
    }
}

#[test]
fn pseudonyms_stand_in_place_of_names_before_anything_is_kept() {
    let folder = folder(&CONFIG.replace("[personal]\n", "[personal]\nkey = 'pseudonyms.key'\n"));
    let root = folder.path();
    fs::write(root.join("pseudonyms.key"), "0123456789abcdef0123456789abcdef\n").unwrap();
    stdout(&sluice(root, &["replay", "logs"]));
    let all = everything(root);
    assert!(!all.contains("ada@") && !all.contains("bob@"), "{all}");
    // Two people are two people, with their calls and the agents that rules make of them.
    let people = query(root, "SELECT agent_id, count(*) AS calls FROM calls GROUP BY 1 ORDER BY 2");
    let agents: Vec<&str> = people.as_array().unwrap().iter().map(|row| row["agent_id"].as_str().unwrap()).collect();
    assert!(agents.len() == 2 && agents.iter().all(|agent| agent.starts_with("claude-code/p-")), "{people}");
    assert_eq!(query(root, "SELECT count(*) AS n FROM calls WHERE session_evidence IS NOT NULL")[0]["n"], 6);
    let files = Command::new("grep").args(["-rl", "ada@", "lake"]).current_dir(root).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&files.stdout), "", "nor in any file of the lake");
    // A key that can be guessed is refused, and so is a lever that has to know names.
    fs::write(root.join("pseudonyms.key"), "short").unwrap();
    let refused = sluice(root, &["config", "check"]);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("can be guessed"), "{refused:?}");
}

#[test]
fn rows_are_let_go_when_their_time_is_over_and_are_not_counted_twice() {
    let config = CONFIG.replace(
        "path = 'lake'\n",
        "path = 'lake'\n[lake.retention]\ncalls = '62d'\nspend_session = '62d'\nevidence = '2d'\nrejected = '2d'\n",
    );
    // More than 62 days before any day on which this runs.
    let folder = folder_of(CONFIG, "2026-06-20");
    let root = folder.path();
    stdout(&sluice(root, &["replay", "logs"]));
    let calls = |of: &str| query(root, &format!("SELECT count(*) AS n FROM {of}"))[0]["n"].clone();
    assert_eq!((calls("calls"), calls("evidence")), (6.into(), 6.into()));
    fs::write(root.join("sluice.toml"), config).unwrap();
    // Of yesterday: one of today's noon would be of the future in the morning, and refused.
    let day = query(root, "SELECT arrow_cast(now() - INTERVAL '1 day', 'Utf8') AS day")[0]["day"].as_str().unwrap()[..10].to_owned();
    fs::create_dir(root.join("late")).unwrap();
    fs::write(root.join("late/new.jsonl"), call(0, "ccwb-bob@example.com", &day).replace("00000000-0000", "00000077-0000")).unwrap();
    stdout(&sluice(root, &["replay", "late"]));
    assert_eq!(calls("evidence"), 0);
    assert_eq!(calls("rejected").as_i64().unwrap(), 1, "kept from the day it came");
    assert_eq!((calls("calls"), calls("spend_session")), (1.into(), 1.into()));
    let spent = query(root, "SELECT sum(calls) AS n FROM spend_day")[0]["n"].clone();
    assert_eq!(spent, 7, "sums of days stay");
    // The same records from another place: those of dates that are gone cannot be looked up, and are not counted again.
    fs::create_dir(root.join("copy")).unwrap();
    fs::copy(root.join("logs/records.jsonl"), root.join("copy/records.jsonl")).unwrap();
    stdout(&sluice(root, &["replay", "copy"]));
    assert_eq!(query(root, "SELECT sum(calls) AS n FROM spend_day")[0]["n"], 7);
}
