//! Rows of `directory`: what AWS said about a thing, one row whenever that changed. Of a thing's rows the last holds.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, MapBuilder, MapFieldNames, RecordBatch, StringArray, StringBuilder, TimestampMicrosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use sluice_schemas::directory::Entry;
use sluice_schemas::tables;

use crate::known::KnownError;
use crate::lake::Lake;

/// The column that holds the whole entry.
const ENTRY: &str = "entry";

/// Returns entries as rows.
///
/// # Errors
/// An entry cannot be written as JSON.
pub fn rows(entries: &[Entry]) -> Result<RecordBatch, ArrowError> {
    let schema = tables::schema(tables::DIRECTORY).ok_or_else(|| ArrowError::SchemaError("no table directory".to_owned()))?;
    let text = |values: Vec<&str>| -> ArrayRef { Arc::new(StringArray::from(values)) };
    let whole = entries.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>();
    let whole = whole.map_err(|error| ArrowError::ExternalError(Box::new(error)))?;
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMicrosecondArray::from_iter_values(entries.iter().map(|entry| entry.seen_at.0)).with_timezone("UTC")),
        text(entries.iter().map(|entry| entry.kind.as_str()).collect()),
        text(entries.iter().map(|entry| entry.arn.as_str()).collect()),
        text(entries.iter().map(|entry| entry.name.as_str()).collect()),
        Arc::new(entries.iter().map(|entry| Some(entry.deleted)).collect::<BooleanArray>()),
        tags(entries)?,
        text(whole.iter().map(String::as_str).collect()),
    ];
    RecordBatch::try_new(schema, columns)
}

fn tags(entries: &[Entry]) -> Result<ArrayRef, ArrowError> {
    let names = MapFieldNames { entry: "key_value".to_owned(), key: "key".to_owned(), value: "value".to_owned() };
    let mut builder = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for entry in entries {
        for (key, value) in &entry.tags {
            builder.keys().append_value(key);
            builder.values().append_value(value);
        }
        builder.append(true)?;
    }
    Ok(Arc::new(builder.finish()))
}

/// Returns the entries of rows. One that another version wrote in a way this one cannot read is left out and told: AWS will say it again.
///
/// # Errors
/// The rows lack the column.
pub fn entries(batch: &RecordBatch) -> Result<Vec<Entry>, KnownError> {
    let column = batch.column_by_name(ENTRY).ok_or_else(|| ArrowError::SchemaError(format!("no column {ENTRY}")))?;
    let column = cast(column, &DataType::Utf8)?;
    let texts = column.as_string::<i32>();
    let mut found = Vec::with_capacity(texts.len());
    for text in texts.iter().flatten() {
        match serde_json::from_str(text) {
            Ok(entry) => found.push(entry),
            Err(error) => tracing::warn!(%error, "an entry of the directory cannot be read"),
        }
    }
    Ok(found)
}

/// Returns the entries of a lake, oldest first.
///
/// # Errors
/// A file could not be read.
pub fn of_lake(lake: &Lake) -> Result<Vec<Entry>, KnownError> {
    let mut found = Vec::new();
    for file in lake.files(tables::DIRECTORY)? {
        for batch in lake.read(tables::DIRECTORY, &file, Some(&[ENTRY]))? {
            found.extend(entries(&batch?)?);
        }
    }
    found.sort_by_key(|entry| entry.seen_at);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use sluice_schemas::Micros;
    use sluice_schemas::directory::{EntryKind, Pins};

    use super::*;

    #[test]
    fn entries_come_back_whole() {
        let one = Entry {
            kind: EntryKind::Role,
            arn: "arn:aws:iam::1:role/path/r".to_owned(),
            name: "r".to_owned(),
            seen_at: Micros(7),
            deleted: true,
            tags: vec![("team".to_owned(), "search".to_owned()), ("x".to_owned(), String::new())],
            pins: Pins { tag_keys: vec!["team".to_owned()], source_identity: true, session_name: false },
            ..Entry::default()
        };
        let all = [one, Entry::default()];
        let batch = rows(&all).expect("rows");
        assert_eq!(batch.schema(), tables::schema(tables::DIRECTORY).expect("a schema"));
        assert_eq!(entries(&batch).expect("entries"), all);
        assert_eq!(rows(&[]).expect("rows").num_rows(), 0);
    }
}
