//! What Athena finds: a log for every table from the first start on, nothing in it that needs a newer reader, and entries of a catalogue
//! that name the same columns.

#![cfg(test)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

#[cfg(feature = "aws")]
#[path = "live/servers.rs"]
mod servers;

const SLUICE: &str = env!("CARGO_BIN_EXE_sluice");
const PATIENCE: Duration = Duration::from_secs(60);
const BUILT_IN: [&str; 11] = [
    "calls",
    "spend_minute",
    "spend_hour",
    "spend_day",
    "spend_session",
    "rejected",
    "breaches",
    "actions",
    "corrections",
    "evidence",
    "directory",
];
const CONFIG: &str = "[lake]\npath = 'lake'\ncommit_interval = '1s'\n[files]\npaths = ['logs']\n[control]\nsocket = 'control.sock'\n\
    [[window]]\nname = 'errors_by_model'\nsql = \"SELECT date_bin(INTERVAL '1 hour', event_time) AS window_start, model, \
    count(error_code) AS errors FROM calls GROUP BY 1, 2\"\n\
    [[budget]]\nname = 'agents'\neach = ['agent_id']\nlimit = '0.50 USD'\nwindow = 'day'\n\
    [[budget.threshold]]\nat = '100%'\ndo = ['notify', 'hold']\n";

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("logs")).unwrap();
    fs::write(folder.path().join("sluice.toml"), CONFIG).unwrap();
    folder
}

fn ask(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(SLUICE).args(arguments).current_dir(folder).env_remove("SLUICE_CONFIG").output().unwrap()
}

fn sluice(folder: &Path, arguments: &[&str]) -> String {
    let output = ask(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn number(folder: &Path, sql: &str) -> u64 {
    let rows: Value = serde_json::from_str(&sluice(folder, &["query", sql, "--format", "json"])).unwrap();
    rows[0]["n"].as_u64().unwrap()
}

/// The entries of a table's log, oldest first.
fn entries(folder: &Path, table: &str) -> Vec<PathBuf> {
    let listed = fs::read_dir(folder.join("lake").join(table).join("_delta_log"));
    let listed = listed.unwrap_or_else(|error| panic!("{table} has no log: {error}")).map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> = listed.filter(|path| path.extension().is_some_and(|extension| extension == "json")).collect();
    found.sort();
    found
}

/// Checks that a table's log begins with version 0 and never asks for more than the oldest readers have.
fn check_log(folder: &Path, table: &str) {
    let entries = entries(folder, table);
    assert_eq!(entries[0].file_name().unwrap(), "00000000000000000000.json", "{table}");
    let (mut protocols, mut columns) = (0, 0);
    for path in &entries {
        for line in fs::read_to_string(path).unwrap().lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            if let Some(protocol) = line.get("protocol") {
                assert_eq!(protocol, &serde_json::json!({"minReaderVersion": 1, "minWriterVersion": 2}), "{table}");
                protocols += 1;
            }
            if let Some(meta) = line.get("metaData") {
                assert_eq!(meta["configuration"], serde_json::json!({}), "{table}: no property switches a feature on");
                assert_eq!(meta["partitionColumns"], serde_json::json!(["dt"]), "{table}");
                let schema: Value = serde_json::from_str(meta["schemaString"].as_str().unwrap()).unwrap();
                for field in schema["fields"].as_array().unwrap() {
                    assert_eq!((&field["metadata"], &field["nullable"]), (&serde_json::json!({}), &Value::Bool(true)), "{table}: {field}");
                }
                columns += 1;
            }
            for action in ["add", "remove"].iter().filter_map(|action| line.get(*action)) {
                assert!(action.get("deletionVector").is_none() && action.get("baseRowId").is_none(), "{table}: {action}");
            }
        }
    }
    assert!(protocols >= 1 && columns >= 1, "{table}");
}

#[test]
fn every_table_has_a_log_before_there_is_a_call() {
    let folder = folder();
    let root = folder.path();
    let mut daemon = Command::new(SLUICE).args(["run", "--config", "sluice.toml"]).current_dir(root).stderr(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    while !root.join("control.sock").exists() {
        assert!(begun.elapsed() < PATIENCE, "no daemon");
        std::thread::sleep(Duration::from_millis(50));
    }
    for table in BUILT_IN.iter().chain(&["errors_by_model"]) {
        check_log(root, table);
    }
    assert!(Command::new("kill").args(["-TERM", &daemon.id().to_string()]).status().unwrap().success());
    assert!(daemon.wait().unwrap().success());
    // A replay of nothing makes the same.
    let other = self::folder();
    sluice(other.path(), &["replay", "logs", "--config", "sluice.toml"]);
    for table in BUILT_IN.iter().chain(&["errors_by_model"]) {
        check_log(other.path(), table);
    }
}

#[test]
fn no_table_of_a_busy_lake_needs_a_newer_reader() {
    let folder = folder();
    let root = folder.path();
    for seed in ["1", "2", "3"] {
        let made = format!("made-{seed}");
        sluice(root, &["simulate", &made, "--calls", "600", "--files", "2", "--shape", "meta", "--bad-per-100k", "2000", "--seed", seed]);
        sluice(root, &["replay", &made, "--config", "sluice.toml", "--act"]);
    }
    // Prices come for what had none: rows of calls are replaced.
    let profiles: Value =
        serde_json::from_str(&sluice(root, &["query", "SELECT DISTINCT model FROM calls WHERE NOT priced", "--format", "json"])).unwrap();
    let mut config = format!("{CONFIG}[enrich.inference_profiles]\n");
    for row in profiles.as_array().unwrap().iter().filter(|row| row["model"].as_str().unwrap().starts_with("arn:")) {
        config.push_str(&format!("{} = 'amazon.nova-lite-v1:0'\n", row["model"]));
    }
    fs::write(root.join("sluice.toml"), config).unwrap();
    sluice(root, &["prices", "rerate", "--config", "sluice.toml"]);
    for table in ["breaches", "actions", "corrections", "rejected", "errors_by_model"] {
        assert!(number(root, &format!("SELECT count(*) AS n FROM {table}")) > 0, "{table}");
    }
    let lines = entries(root, "calls").iter().map(|path| fs::read_to_string(path).unwrap()).collect::<String>();
    assert!(lines.contains("\"remove\""), "files were replaced");
    for table in BUILT_IN.iter().chain(&["errors_by_model"]) {
        check_log(root, table);
    }
}

#[test]
fn tables_are_told_to_people_athena_and_glue() {
    let folder = folder();
    let root = folder.path();
    let fails = ask(root, &["lake", "tables", "--format", "ddl"]);
    assert!(String::from_utf8_lossy(&fails.stderr).contains("open lake"), "there is none yet");
    sluice(root, &["replay", "logs", "--config", "sluice.toml"]);
    let told: Value = serde_json::from_str(&sluice(root, &["lake", "tables", "--format", "json"])).unwrap();
    let columns = |table: &str| told.as_array().unwrap().iter().filter(|row| row["table"] == table).count();
    assert!(columns("calls") > 30 && columns("errors_by_model") >= 5, "{told}");
    let fails = ask(root, &["lake", "tables", "--format", "ddl"]);
    assert!(String::from_utf8_lossy(&fails.stderr).contains("--location"), "{}", String::from_utf8_lossy(&fails.stderr));
    let ddl = sluice(root, &["lake", "tables", "--format", "ddl", "--location", "s3://bucket/lake/", "--database", "costs"]);
    assert_eq!(ddl.matches("CREATE EXTERNAL TABLE").count(), 12);
    assert!(ddl.contains("LOCATION 's3://bucket/lake/calls/'\nTBLPROPERTIES ('table_type' = 'DELTA');"), "{ddl}");
    assert!(ddl.contains("CREATE OR REPLACE VIEW costs.errors_by_model_latest AS"), "{ddl}");
    let glue = sluice(root, &["lake", "tables", "--built-in", "--format", "glue", "--location", "s3://${LakeBucket}/lake"]);
    assert_eq!(glue, include_str!("../deploy/athena/tables.json"));
    for wrong in ["bucket/lake", "s3://", "s3://b/it's"] {
        let output = ask(root, &["lake", "tables", "--built-in", "--format", "ddl", "--location", wrong]);
        assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("s3://bucket/prefix"), "{wrong}");
    }
}

/// Limits: AWS, `NamedQuery` of the Athena API reference.
#[test]
fn every_query_can_be_saved_under_its_name() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/athena/queries");
    let mut names = Vec::new();
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let text = fs::read_to_string(&path).unwrap();
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        let mut lines = text.lines();
        let name = lines.next().and_then(|line| line.strip_prefix("-- name: ")).unwrap_or_else(|| panic!("{file} has no name"));
        let about =
            lines.next().and_then(|line| line.strip_prefix("-- description: ")).unwrap_or_else(|| panic!("{file} has no description"));
        assert!(name.len() <= 128 && about.len() <= 1024, "{file}");
        assert!(!text.contains(';') && !text.contains("sluice."), "{file}: one statement, tables without a database");
        names.push((name.to_owned(), file));
    }
    assert!(names.len() >= 12);
    let documented = include_str!("../docs/athena.md");
    for (_, file) in &names {
        assert!(documented.contains(&format!("| `{}` |", file.trim_end_matches(".sql"))), "docs/athena.md does not tell of {file}");
    }
    names.sort();
    names.dedup_by(|one, other| one.0 == other.0);
    assert_eq!(names.len(), documented.lines().filter(|line| line.starts_with("| `") && line.contains("-")).count(), "names are unique");
}

#[cfg(feature = "aws")]
mod glue {
    use super::*;

    /// Calls Glue as an administrator would; the emulator takes any signature.
    fn call(url: &str, operation: &str, body: &Value) -> Value {
        let scope = "AWS4-HMAC-SHA256 Credential=test/20261001/eu-central-1/glue/aws4_request, SignedHeaders=host, Signature=0";
        let answer = ureq::post(url)
            .header("x-amz-target", format!("AWSGlue.{operation}"))
            .header("content-type", "application/x-amz-json-1.1")
            .header("authorization", scope)
            .send(body.to_string());
        let text = answer.unwrap_or_else(|error| panic!("{operation}: {error}")).body_mut().read_to_string().unwrap();
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    fn sync(root: &Path, url: &str, more: &[&str]) -> (Option<i32>, Value, String) {
        let mut command = Command::new(SLUICE);
        command.args(["lake", "sync", "--format", "json"]).args(more).current_dir(root);
        if !more.contains(&"--location") {
            command.args(["--location", "s3://bucket/lake"]);
        }
        let output = command.env_remove("SLUICE_CONFIG").env("AWS_ENDPOINT_URL", url).env("AWS_REGION", "eu-central-1").output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or(Value::Null), stderr)
    }

    fn entry_of(rows: &Value, table: &str) -> String {
        let row = rows.as_array().unwrap().iter().find(|row| row["table"] == table);
        row.unwrap_or_else(|| panic!("{table}: {rows}"))["entry"].as_str().unwrap().to_owned()
    }

    #[test]
    fn the_catalogue_follows_the_lake() {
        let Some(server) = servers::start("moto.sh") else { return };
        let url = server.url.as_str();
        let folder = folder();
        let root = folder.path();
        sluice(root, &["replay", "logs", "--config", "sluice.toml"]);
        let (code, _, stderr) = sync(root, url, &[]);
        assert!(code == Some(2) && stderr.contains("Glue database 'sluice' is not there"), "{code:?} {stderr}");
        let (code, _, stderr) = sync(root, url, &["--location", "s3://${LakeBucket}/lake"]);
        assert!(code == Some(2) && stderr.contains("is a place in a template"), "{code:?} {stderr}");
        let named = |name: &str| serde_json::json!({"DatabaseName": "sluice", "Name": name});
        call(url, "CreateDatabase", &serde_json::json!({"DatabaseInput": {"Name": "sluice"}}));
        let (code, rows, stderr) = sync(root, url, &["--dry-run"]);
        assert_eq!((code, entry_of(&rows, "calls").as_str()), (Some(0), "would be created"), "{stderr}");
        let (code, rows, stderr) = sync(root, url, &[]);
        assert_eq!((code, rows.as_array().map(Vec::len)), (Some(0), Some(12)), "{stderr}");
        assert!(rows.as_array().unwrap().iter().all(|row| row["entry"] == "created"), "{rows}");
        let calls = call(url, "GetTable", &named("calls"))["Table"].clone();
        assert_eq!(calls["StorageDescriptor"]["Location"], "s3://bucket/lake/calls/");
        assert_eq!(calls["Parameters"]["table_type"], "DELTA");
        // What the catalogue lost or others wrote: columns come back, words stay.
        let mut older = serde_json::json!({"Name": "calls", "Description": "ours", "TableType": "EXTERNAL_TABLE"});
        for part in ["StorageDescriptor", "PartitionKeys", "Parameters"] {
            older[part] = calls[part].clone();
        }
        older["StorageDescriptor"]["Columns"].as_array_mut().unwrap().truncate(5);
        call(url, "UpdateTable", &serde_json::json!({"DatabaseName": "sluice", "TableInput": older}));
        // And one of that name that is another lake's.
        let mut other = serde_json::json!({"Name": "spend_day", "TableType": "EXTERNAL_TABLE", "PartitionKeys": []});
        other["StorageDescriptor"] = serde_json::json!({"Columns": [{"Name": "x", "Type": "int"}], "Location": "s3://another/spend_day/"});
        other["Parameters"] = serde_json::json!({"table_type": "DELTA"});
        call(url, "UpdateTable", &serde_json::json!({"DatabaseName": "sluice", "TableInput": other}));
        let (code, rows, stderr) = sync(root, url, &[]);
        assert_eq!(code, Some(1), "one is left alone: {stderr}");
        let entries = ["calls", "spend_day", "spend_hour", "errors_by_model"].map(|table| entry_of(&rows, table));
        assert_eq!(entries, ["updated", "left alone", "current", "current"]);
        let updated = call(url, "GetTable", &named("calls"))["Table"].clone();
        assert_eq!(updated["StorageDescriptor"]["Columns"], calls["StorageDescriptor"]["Columns"]);
        assert_eq!(updated["Description"], "ours");
        let other = call(url, "GetTable", &named("spend_day"))["Table"].clone();
        assert_eq!(other["StorageDescriptor"]["Location"], "s3://another/spend_day/");
        let (_, rows, _) = sync(root, url, &[]);
        assert_eq!(entry_of(&rows, "calls"), "current", "the second time changes nothing");
    }
}
