//! The columns every version so far has written, and the check that a change of the tables keeps them.

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use sluice_schemas::tables;

/// One line a column, in the order they came: table, column, type.
const COMMITTED: &str = include_str!("../fixtures/columns.txt");

/// The type of a column in words.
fn word(kind: &DataType) -> String {
    match kind {
        DataType::Utf8 => "string".to_owned(),
        DataType::Int32 => "integer".to_owned(),
        DataType::Int64 => "long".to_owned(),
        DataType::Boolean => "boolean".to_owned(),
        DataType::Binary => "binary".to_owned(),
        DataType::Timestamp(..) if *kind == tables::timestamp() => "timestamp".to_owned(),
        DataType::Decimal128(precision, scale) => format!("decimal({precision},{scale})"),
        DataType::Map(..) if *kind == tables::string_map() => "map<string,string>".to_owned(),
        other => panic!("no word for {other}; Delta tables of the lake have none either"),
    }
}

fn current() -> BTreeMap<String, SchemaRef> {
    tables::ALL.iter().map(|table| ((*table).to_owned(), tables::schema(table).unwrap())).collect()
}

/// What is wrong with the tables, seen from the columns that lakes have.
fn faults(committed: &str, now: &BTreeMap<String, SchemaRef>) -> Vec<String> {
    let mut faults = Vec::new();
    let mut known: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in committed.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let words: Vec<&str> = line.split(' ').collect();
        let [table, column, kind] = words[..] else { panic!("not three words: {line}") };
        known.entry(table).or_default().push(column);
        match now.get(table).and_then(|schema| schema.field_with_name(column).ok()) {
            None => faults.push(format!("{table}.{column} is in lakes and was taken away")),
            Some(field) if word(field.data_type()) != kind => {
                faults.push(format!("{table}.{column} is {kind} in lakes and became {}", word(field.data_type())));
            }
            Some(field) if !field.is_nullable() => faults.push(format!("{table}.{column} can be null in lakes")),
            Some(_) => {}
        }
    }
    for (table, schema) in now {
        let known = known.remove(table.as_str()).unwrap_or_default();
        for field in schema.fields().iter().filter(|field| !known.contains(&field.name().as_str())) {
            let line = format!("{table} {} {}", field.name(), word(field.data_type()));
            faults.push(if field.is_nullable() {
                format!("new: add the line '{line}' to aggregate/tests/fixtures/columns.txt")
            } else {
                format!("new, and older files have no value for it: make it nullable: {line}")
            });
        }
    }
    faults
}

/// The tables with one of them changed.
fn with(table: &str, change: impl Fn(&Schema) -> Schema) -> BTreeMap<String, SchemaRef> {
    let mut tables = current();
    let schema = tables.get_mut(table).unwrap();
    *schema = change(schema).into();
    tables
}

#[test]
fn columns_are_only_ever_added() {
    let faults = faults(COMMITTED, &current());
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn a_column_that_goes_or_changes_is_refused() {
    let without = |schema: &Schema| Schema::new(schema.fields().iter().skip(1).cloned().collect::<Vec<_>>());
    assert_eq!(faults(COMMITTED, &with("calls", without)), ["calls.event_time is in lakes and was taken away"]);
    let retyped = |schema: &Schema| {
        let change = |field: &arrow::datatypes::FieldRef| match field.name().as_str() {
            "cost_usd" => field.as_ref().clone().with_data_type(DataType::Int64),
            _ => field.as_ref().clone(),
        };
        Schema::new(schema.fields().iter().map(change).collect::<Vec<_>>())
    };
    assert_eq!(faults(COMMITTED, &with("spend_day", retyped)), ["spend_day.cost_usd is decimal(38,12) in lakes and became long"]);
    let mut fewer = current();
    fewer.remove("directory");
    assert!(faults(COMMITTED, &fewer).iter().all(|fault| fault.starts_with("directory.") && fault.ends_with("was taken away")));
    assert!(!faults(COMMITTED, &fewer).is_empty());
}

#[test]
fn a_new_column_is_nullable_and_noted() {
    let added = |nullable: bool| {
        with("calls", |schema| {
            let field = arrow::datatypes::Field::new("colour", DataType::Utf8, nullable);
            Schema::new(schema.fields().iter().cloned().chain([field.into()]).collect::<Vec<_>>())
        })
    };
    assert_eq!(faults(COMMITTED, &added(true)), ["new: add the line 'calls colour string' to aggregate/tests/fixtures/columns.txt"]);
    assert_eq!(faults(COMMITTED, &added(false)), ["new, and older files have no value for it: make it nullable: calls colour string"]);
    let noted = format!("{COMMITTED}calls colour string\n");
    assert!(faults(&noted, &added(true)).is_empty());
}
