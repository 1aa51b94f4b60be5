//! The audit trail as a person uses it: verify, list, export, and what they say of a trail that lost lines.

#![cfg(test)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use sluice_enforce::audit::chain::sha256;

const SLUICE: &str = env!("CARGO_BIN_EXE_sluice");
const CONFIG: &str = r#"
[lake]
path = "lake"
state = "state/local.redb"
shared = "state/shared.redb"

[enforce]
breaches_file = "breaches.jsonl"

[[budget]]
name = "everyone, daily"
each = ["agent_id"]
limit = "0.50 USD"
window = "day"
mode = "enforce"
[[budget.threshold]]
at = "50%"
do = ["notify"]
[[budget.threshold]]
at = "100%"
do = ["notify", "hold"]
"#;

fn sluice(folder: &Path, args: &[&str]) -> Output {
    Command::new(SLUICE).args(args).current_dir(folder).env_remove("SLUICE_CONFIG").output().unwrap()
}

fn stdout(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

fn json(folder: &Path, args: &[&str]) -> Value {
    serde_json::from_str(&stdout(&sluice(folder, args))).unwrap()
}

fn query(folder: &Path, sql: &str) -> Vec<Value> {
    json(folder, &["query", sql, "--config", "sluice.toml", "--format", "json"]).as_array().unwrap().clone()
}

/// A folder with a lake whose budgets were acted on.
fn acted() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::write(path.join("sluice.toml"), CONFIG).unwrap();
    stdout(&sluice(path, &["simulate", "logs", "--calls", "3000", "--shape", "meta", "--seed", "7"]));
    stdout(&sluice(path, &["replay", "logs", "--config", "sluice.toml", "--act"]));
    folder
}

#[test]
fn a_trail_is_listed_checked_and_packed() {
    let folder = acted();
    let path = folder.path();
    let verdict = json(path, &["audit", "verify", "--config", "sluice.toml", "--format", "json"]);
    let lines = verdict["chain"]["lines"].as_u64().unwrap();
    assert!(lines > 0, "nothing was done: {verdict}");
    assert_eq!((verdict["chain"]["begins_at"].as_u64(), verdict["lake"]["rows"].as_u64()), (Some(1), Some(lines)));
    assert_eq!((&verdict["chain"]["faults"], &verdict["lake"]["faults"]), (&serde_json::json!([]), &serde_json::json!([])));

    let listed = json(path, &["audit", "list", "--config", "sluice.toml", "--format", "json"]);
    let listed = listed.as_array().unwrap();
    assert_eq!(listed.len() as u64, lines);
    let first = &listed[0]["entry"];
    let inputs: Value = serde_json::from_str(first["inputs"].as_str().unwrap()).unwrap();
    assert_eq!((&inputs["budget"], &inputs["limit_usd"]), (&Value::from("everyone, daily"), &Value::from("0.500000000000")));
    for version in ["policy_version", "price_version", "hash"] {
        assert!(first[version].as_str().is_some_and(|text| !text.is_empty()), "{version} of {first}");
    }
    let stored = query(path, "SELECT line, inputs, hash, policy_version FROM actions ORDER BY line LIMIT 1");
    assert_eq!((&stored[0]["hash"], &stored[0]["inputs"]), (&first["hash"], &first["inputs"]));
    let named = query(path, "SELECT DISTINCT policy_version, price_version FROM breaches");
    assert_eq!((named.len(), &named[0]["policy_version"]), (1, &first["policy_version"]));

    let told = stdout(&sluice(path, &["audit", "export", "pack", "--config", "sluice.toml"]));
    check_pack(path, &told);
    let again = sluice(path, &["audit", "export", "pack", "--config", "sluice.toml"]);
    assert_eq!(again.status.code(), Some(2), "a pack gets a folder of its own");
}

fn check_pack(path: &Path, told: &str) {
    let pack = path.join("pack");
    let sums = fs::read_to_string(pack.join("SHA256SUMS")).unwrap();
    assert!(told.contains(&sha256(sums.as_bytes())), "{told}");
    for line in sums.lines() {
        let (sum, name) = line.split_once("  ").unwrap();
        assert_eq!(sum, sha256(&fs::read(pack.join(name)).unwrap()), "{name}");
    }
    let manifest: Value = serde_json::from_slice(&fs::read(pack.join("manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["files"].as_array().unwrap().len() + 1, sums.lines().count());
    let count = |name: &str| fs::read_to_string(pack.join(name)).unwrap().lines().count() as u64;
    for (file, table) in [("actions.jsonl", "actions"), ("breaches.jsonl", "breaches")] {
        assert_eq!(Some(count(file)), query(path, &format!("SELECT count(*) AS n FROM {table}"))[0]["n"].as_u64(), "{file}");
    }
    // The table of agents says what the lake says to anyone who asks.
    let asked = query(
        path,
        "SELECT coalesce(a.agent_id, '') AS agent_id, a.calls, a.errors, a.cost, p.p95 FROM \
         (SELECT agent_id, count(*) AS calls, count(error_code) AS errors, sum(cost_usd) AS cost FROM calls GROUP BY agent_id) a LEFT JOIN \
         (SELECT agent_id, min(latency_ms) AS p95 FROM (SELECT agent_id, latency_ms, row_number() OVER (PARTITION BY agent_id ORDER BY \
         latency_ms) AS n, count(*) OVER (PARTITION BY agent_id) AS m FROM calls WHERE latency_ms IS NOT NULL) WHERE n * 100 >= m * 95 \
         GROUP BY agent_id) p ON coalesce(a.agent_id, '') = coalesce(p.agent_id, '') ORDER BY 1",
    );
    let table = fs::read_to_string(pack.join("agents.csv")).unwrap();
    let rows: Vec<Vec<&str>> = table.lines().skip(1).map(|line| line.split(',').collect()).collect();
    assert_eq!(rows.len(), asked.len());
    for (row, asked) in rows.iter().zip(&asked) {
        let number = |key: &str| asked[key].as_u64().map(|number| number.to_string()).unwrap_or_default();
        assert_eq!((row[0], row[1], row[2]), (asked["agent_id"].as_str().unwrap(), &*number("calls"), &*number("errors")));
        assert_eq!((row[4], row[8]), (asked["cost"].as_str().unwrap_or("0.000000000000"), &*number("p95")));
    }
    let readme = fs::read_to_string(pack.join("README.md")).unwrap();
    assert!(readme.contains("supports monitoring, measurement, analysis and evaluation") && !readme.to_lowercase().contains("complian"));
    // A span takes what lies in it.
    stdout(&sluice(path, &["audit", "export", "none", "--config", "sluice.toml", "--to", "2000-01-01T00:00:00Z"]));
    assert_eq!(fs::read_to_string(path.join("none/actions.jsonl")).unwrap(), "");
}

#[test]
fn a_trail_that_is_gone_is_missed_by_the_lake() {
    let folder = acted();
    let path = folder.path();
    fs::remove_file(path.join("state/shared.redb")).unwrap();
    let verified = sluice(path, &["audit", "verify", "--config", "sluice.toml"]);
    let text = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert_eq!(verified.status.code(), Some(1), "{text}");
    assert!(text.contains("line 1 is in the lake alone: it was removed from the shared store"), "{text}");
    assert!(!path.join("state/shared.redb").exists(), "looking makes no store");
}

#[test]
fn what_was_let_through_is_sorted_and_adds_up() {
    let folder = acted();
    let path = folder.path();
    // The days of the log are over, and nobody is held for what is over; a budget without an end holds.
    fs::write(path.join("sluice.toml"), CONFIG.replace("window = \"day\"", "window = \"lifetime\"").replace("\"lake\"", "\"other\""))
        .unwrap();
    fs::remove_dir_all(path.join("state")).unwrap();
    stdout(&sluice(path, &["replay", "logs", "--config", "sluice.toml", "--act"]));
    let holds = json(path, &["hold", "overshoot", "--config", "sluice.toml", "--format", "json"]);
    let holds = holds.as_array().unwrap();
    assert!(!holds.is_empty());
    for hold in holds {
        let pico = |key: &str| hold[key].as_str().unwrap().replace('.', "").parse::<i128>().unwrap();
        let parts: i128 = ["log_lag", "pipeline", "decision", "propagation", "in_flight"].map(pico).into_iter().sum();
        assert_eq!(pico("total"), parts, "{hold}");
        let agent = hold["target"].as_str().unwrap().trim_start_matches("agent_id=");
        let crossed = hold["crossed"].as_str().unwrap();
        let sql = format!(
            "SELECT sum(cost_usd) AS cost, count(*) AS n FROM calls WHERE agent_id = '{agent}' AND event_time > TIMESTAMP '{crossed}' AND error_code IS NULL"
        );
        let asked = &query(path, &sql)[0];
        assert_eq!(
            (asked["cost"].as_str().unwrap_or("0.000000000000"), &asked["n"]),
            (hold["total"].as_str().unwrap(), &hold["calls"]),
            "{hold}"
        );
    }
    let counters = json(path, &["budget", "list", "--config", "sluice.toml", "--format", "json"]);
    let bound = |counter: &Value| counter["exposure"].as_str().unwrap().parse::<f64>().unwrap();
    assert!(counters.as_array().unwrap().iter().all(|counter| bound(counter) > 0.0 && counter["delays"]["propagation"] == 60_000_000));
}

#[test]
fn ways_of_watching_are_compared_on_the_same_calls() {
    let folder = acted();
    let path = folder.path();
    let stored = ["budget", "simulate", "--config", "sluice.toml", "--limit", "0.50 USD", "--format", "json"];
    for args in [&stored[..], &["budget", "simulate", "--seed", "1", "--agents", "4", "--format", "json"]] {
        let outcomes = json(path, args);
        assert_eq!(outcomes, json(path, args), "the same for the same seed");
        let outcomes = outcomes.as_array().unwrap();
        assert_eq!(outcomes.len(), 5);
        let of = |way: usize, key: &str| outcomes[way][key].as_str().unwrap().replace('.', "").parse::<i128>().unwrap();
        assert!(outcomes[0]["way"].as_str().unwrap().starts_with("sluice") && outcomes[1]["way"] == "post-charge check");
        assert!(of(1, "overshoot_usd") <= of(0, "overshoot_usd") && of(0, "overshoot_usd") < of(4, "overshoot_usd"), "{outcomes:?}");
    }
}
