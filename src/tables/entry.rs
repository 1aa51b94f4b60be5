//! What an entry of the Glue Data Catalog that is there must become: made, changed where it differs, kept, or left to someone else. Pure.

use serde_json::{Map, Value, json};

/// What `UpdateTable` takes of what `GetTable` gives.
const KEPT: [&str; 12] = [
    "Name",
    "Description",
    "Owner",
    "LastAccessTime",
    "LastAnalyzedTime",
    "Retention",
    "StorageDescriptor",
    "PartitionKeys",
    "ViewOriginalText",
    "ViewExpandedText",
    "TableType",
    "Parameters",
];

/// What is to be done about an entry.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// There is none.
    Create,
    /// It says something else; this is what it must say.
    Update(Value),
    /// It says what it must.
    Keep,
    /// It is someone else's.
    LeaveAlone(String),
}

/// Compares an entry, as `GetTable` gives it, with what it should be. What others wrote beside that stays.
pub(crate) fn step(wanted: &Value, found: Option<&Value>) -> Step {
    let Some(found) = found else { return Step::Create };
    if let Some(why) = not_ours(wanted, found) {
        return Step::LeaveAlone(why);
    }
    let before: Map<String, Value> =
        KEPT.iter().filter_map(|key| Some(((*key).to_owned(), found.get(*key).filter(|value| !value.is_null())?.clone()))).collect();
    let mut after = Value::Object(before.clone());
    for pointer in ["/PartitionKeys", "/StorageDescriptor/Columns"] {
        put(&mut after, pointer, columns(wanted.pointer(pointer), found.pointer(pointer)));
    }
    for pointer in ["/Parameters", "/StorageDescriptor/SerdeInfo/Parameters"] {
        put(&mut after, pointer, overlaid(wanted.pointer(pointer), found.pointer(pointer)));
    }
    if after == Value::Object(before) { Step::Keep } else { Step::Update(after) }
}

/// Tells why an entry must not be changed.
fn not_ours(wanted: &Value, found: &Value) -> Option<String> {
    let place =
        |entry: &Value, pointer: &str| entry.pointer(pointer).and_then(Value::as_str).unwrap_or_default().trim_end_matches('/').to_owned();
    let (at, path) = ("/StorageDescriptor/Location", "/StorageDescriptor/SerdeInfo/Parameters/path");
    let ours = place(wanted, at);
    for pointer in [at, path] {
        let theirs = place(found, pointer);
        if theirs != ours && !(pointer == path && theirs.is_empty()) {
            return Some(if theirs.is_empty() { "it has no location".to_owned() } else { format!("its location is {theirs}") });
        }
    }
    let is_delta = ["table_type", "spark.sql.sources.provider"].iter().any(|key| {
        let value = found.get("Parameters").and_then(|parameters| parameters.get(*key)).and_then(Value::as_str);
        value.is_some_and(|value| value.eq_ignore_ascii_case("delta"))
    });
    (!is_delta).then(|| "it is not registered as a Delta table".to_owned())
}

/// The wanted columns, with what an entry says of those beside name and type.
fn columns(wanted: Option<&Value>, found: Option<&Value>) -> Value {
    let found = found.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let column = |wanted: &Value| {
        let mut column = found.iter().find(|found| found["Name"] == wanted["Name"]).cloned().unwrap_or_else(|| wanted.clone());
        column["Type"] = wanted["Type"].clone();
        column
    };
    Value::Array(wanted.and_then(Value::as_array).into_iter().flatten().map(column).collect())
}

/// The pairs of an entry with the wanted ones over them; upper and lower case of a value say the same.
fn overlaid(wanted: Option<&Value>, found: Option<&Value>) -> Value {
    let mut pairs = found.and_then(Value::as_object).cloned().unwrap_or_default();
    for (key, value) in wanted.and_then(Value::as_object).into_iter().flatten() {
        let same = |have: &Value| have.as_str().zip(value.as_str()).is_some_and(|(have, want)| same_text(key, have, want));
        if !pairs.get(key).is_some_and(same) {
            pairs.insert(key.clone(), value.clone());
        }
    }
    Value::Object(pairs)
}

fn same_text(key: &str, have: &str, want: &str) -> bool {
    if key == "path" { have.trim_end_matches('/') == want.trim_end_matches('/') } else { have.eq_ignore_ascii_case(want) }
}

/// Sets what a pointer names, making objects on the way.
fn put(value: &mut Value, pointer: &str, new: Value) {
    let mut at = value;
    for key in pointer.trim_start_matches('/').split('/') {
        if !at.is_object() {
            *at = json!({});
        }
        at = &mut at[key];
    }
    *at = new;
}

#[cfg(test)]
mod tests {
    use super::super::{Location, built_in, table_inputs};
    use super::*;

    fn calls() -> Value {
        table_inputs(&built_in().unwrap(), &Location::parse("s3://bucket/lake").unwrap()).remove(0)
    }

    /// An entry as Glue gives it back.
    fn stored(mut entry: Value) -> Value {
        entry["DatabaseName"] = json!("sluice");
        entry["CreateTime"] = json!(1.0);
        entry["VersionId"] = json!("3");
        entry["Owner"] = Value::Null;
        entry
    }

    #[test]
    fn what_is_right_stays() {
        assert_eq!(step(&calls(), None), Step::Create);
        assert_eq!(step(&calls(), Some(&stored(calls()))), Step::Keep);
        let mut by_athena = stored(calls());
        by_athena["Parameters"] = json!({"table_type": "delta", "EXTERNAL": "true", "spark.sql.sources.provider": "DELTA", "by": "athena"});
        by_athena["StorageDescriptor"]["Location"] = json!("s3://bucket/lake/calls");
        assert_eq!(step(&calls(), Some(&by_athena)), Step::Keep);
    }

    #[test]
    fn columns_follow_the_lake_and_words_of_others_stay() {
        let mut old = stored(calls());
        old["Description"] = json!("ours since 2025");
        old["Parameters"]["owner_team"] = json!("finops");
        let columns = old["StorageDescriptor"]["Columns"].as_array_mut().unwrap();
        columns[0]["Comment"] = json!("when");
        columns.pop();
        columns.push(json!({"Name": "gone", "Type": "string"}));
        let Step::Update(new) = step(&calls(), Some(&old)) else { panic!("an update") };
        assert_eq!(new["Description"], "ours since 2025");
        assert_eq!(new["Parameters"]["owner_team"], "finops");
        let columns = new["StorageDescriptor"]["Columns"].as_array().unwrap();
        assert_eq!(columns[0]["Comment"], "when");
        assert_eq!(columns.last().unwrap()["Name"], "ingest_time");
        assert!(new.get("DatabaseName").is_none() && new.get("VersionId").is_none() && new.get("Owner").is_none());
        assert_eq!(step(&calls(), Some(&stored(new))), Step::Keep);
    }

    #[test]
    fn an_entry_of_another_place_or_kind_is_left_alone() {
        let mut other = stored(calls());
        other["StorageDescriptor"]["Location"] = json!("s3://bucket/other/calls/");
        assert_eq!(step(&calls(), Some(&other)), Step::LeaveAlone("its location is s3://bucket/other/calls".to_owned()));
        let mut path = stored(calls());
        path["StorageDescriptor"]["SerdeInfo"]["Parameters"]["path"] = json!("s3://elsewhere/calls/");
        assert!(matches!(step(&calls(), Some(&path)), Step::LeaveAlone(_)));
        let mut parquet = stored(calls());
        parquet["Parameters"] = json!({"classification": "parquet"});
        assert!(matches!(step(&calls(), Some(&parquet)), Step::LeaveAlone(_)));
        assert!(matches!(step(&calls(), Some(&json!({"Name": "calls", "ViewOriginalText": "…"}))), Step::LeaveAlone(_)));
    }

    #[test]
    fn an_entry_without_a_path_gets_one() {
        let mut old = stored(calls());
        old["StorageDescriptor"].as_object_mut().unwrap().remove("SerdeInfo");
        let Step::Update(new) = step(&calls(), Some(&old)) else { panic!("an update") };
        assert_eq!(new["StorageDescriptor"]["SerdeInfo"]["Parameters"]["path"], "s3://bucket/lake/calls/");
    }
}
