//! Entries against a catalogue in memory: what is made, changed, kept and left alone, and what happens when others write too.

use std::collections::BTreeMap;
use std::sync::Mutex;

use sluice_enforce::aws::Reply;

use super::super::{Location, built_in, table_inputs};
use super::*;

/// A catalogue that keeps versions as Glue does, and may be changed by someone else between a look and a write.
#[derive(Default)]
struct Fake {
    tables: Mutex<BTreeMap<String, (u64, Value)>>,
    writes: Mutex<Vec<String>>,
    /// Someone else changes the entry before so many writes.
    intrusions: Mutex<u32>,
    no_database: bool,
}

/// What the published policy grants.
const GRANT: &str = include_str!("../../../deploy/iam/glue-sync.json");

fn refused(action: &'static str, code: &str) -> CallError {
    CallError::Refused { action, status: 400, code: code.to_owned(), message: String::new(), request_id: String::new() }
}

impl Aws for Fake {
    fn call(&self, call: &Call) -> Result<Reply, CallError> {
        let Body::Json(text) = &call.body else { panic!("JSON") };
        let body: Value = serde_json::from_str(text).unwrap();
        let operation = call.headers.iter().find(|(name, _)| *name == "x-amz-target").unwrap().1.clone();
        assert!(GRANT.contains(&format!("\"{}\"", call.action)), "{} is not granted", call.action);
        let mut tables = self.tables.lock().unwrap();
        if operation == "AWSGlue.GetTable" {
            assert!(!call.writes);
            let found = tables.get(body["Name"].as_str().unwrap()).ok_or_else(|| refused(call.action, "EntityNotFoundException"))?;
            let mut table = found.1.clone();
            table["VersionId"] = json!(found.0.to_string());
            return Ok(Reply { body: json!({"Table": table}).to_string().into_bytes(), request_id: String::new() });
        }
        assert!(call.writes);
        if self.no_database {
            return Err(refused(call.action, "EntityNotFoundException"));
        }
        let input = body["TableInput"].clone();
        let name = input["Name"].as_str().unwrap().to_owned();
        let mut intrusions = self.intrusions.lock().unwrap();
        if *intrusions > 0 {
            *intrusions -= 1;
            let entry = tables.entry(name.clone()).or_insert_with(|| (0, input.clone()));
            *entry = (entry.0 + 1, entry.1.clone());
            let code = if operation == "AWSGlue.CreateTable" { "AlreadyExistsException" } else { "ConcurrentModificationException" };
            return Err(refused(call.action, code));
        }
        let version = tables.get(&name).map_or(0, |(version, _)| version + 1);
        tables.insert(name.clone(), (version, input));
        self.writes.lock().unwrap().push(format!("{} {name}", operation.trim_start_matches("AWSGlue.")));
        Ok(Reply { body: b"{}".to_vec(), request_id: String::new() })
    }
}

fn catalogue(aws: &Arc<Fake>, dry_run: bool) -> Catalogue {
    Catalogue { aws: Arc::clone(aws) as Arc<dyn Aws>, region: "us-east-1".to_owned(), database: "sluice".to_owned(), dry_run }
}

fn wanted() -> Vec<Value> {
    table_inputs(&built_in().unwrap(), &Location::parse("s3://bucket/lake").unwrap())
}

#[test]
fn a_second_time_changes_nothing() {
    let fake = Arc::new(Fake::default());
    let outcomes = |dry_run| wanted().iter().map(|table| catalogue(&fake, dry_run).bring(table).unwrap()).collect::<Vec<_>>();
    assert_eq!(outcomes(true), vec![Outcome::Created; 11]);
    assert!(fake.writes.lock().unwrap().is_empty());
    assert_eq!(outcomes(false), vec![Outcome::Created; 11]);
    assert_eq!(outcomes(false), vec![Outcome::Current; 11]);
    assert_eq!(fake.writes.lock().unwrap().len(), 11);
}

#[test]
fn an_older_entry_gains_columns_and_another_lake_s_is_left_alone() {
    let fake = Arc::new(Fake::default());
    let [calls, minute] = [wanted()[0].clone(), wanted()[1].clone()];
    let mut old = calls.clone();
    old["StorageDescriptor"]["Columns"].as_array_mut().unwrap().pop();
    let mut other = minute.clone();
    other["StorageDescriptor"]["Location"] = json!("s3://another/lake/spend_minute/");
    fake.tables.lock().unwrap().extend([("calls".to_owned(), (4, old)), ("spend_minute".to_owned(), (0, other.clone()))]);
    assert_eq!(catalogue(&fake, false).bring(&calls).unwrap(), Outcome::Updated);
    assert!(matches!(catalogue(&fake, false).bring(&minute).unwrap(), Outcome::LeftAlone(why) if why.contains("s3://another")));
    let tables = fake.tables.lock().unwrap();
    assert_eq!(tables["calls"].1["StorageDescriptor"]["Columns"], calls["StorageDescriptor"]["Columns"]);
    assert_eq!(tables["spend_minute"], (0, other));
}

#[test]
fn whoever_was_overtaken_looks_again_and_gives_up_in_the_end() {
    let fake = Arc::new(Fake { intrusions: Mutex::new(1), ..Fake::default() });
    assert_eq!(catalogue(&fake, false).bring(&wanted()[0]).unwrap(), Outcome::Current, "the other one wrote the same");
    let mut old = wanted()[1].clone();
    old["StorageDescriptor"]["Columns"].as_array_mut().unwrap().pop();
    fake.tables.lock().unwrap().insert("spend_minute".to_owned(), (0, old));
    *fake.intrusions.lock().unwrap() = 2;
    assert_eq!(catalogue(&fake, false).bring(&wanted()[1]).unwrap(), Outcome::Updated);
    fake.tables.lock().unwrap().get_mut("spend_minute").unwrap().1["StorageDescriptor"]["Columns"].as_array_mut().unwrap().pop();
    *fake.intrusions.lock().unwrap() = 9;
    assert!(catalogue(&fake, false).bring(&wanted()[1]).is_err());
}

#[test]
fn a_missing_database_is_told() {
    let fake = Arc::new(Fake { no_database: true, ..Fake::default() });
    let error = catalogue(&fake, false).bring(&wanted()[0]).unwrap_err();
    assert!(error.to_string().contains("Glue database 'sluice' is not there"), "{error}");
}
