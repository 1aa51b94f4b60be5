//! Tables and files with fewer or more columns than the program has, made from a stored lake: nulls for what a file lacks, nothing lost of
//! what the program does not know, and no step onto another type.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};
use sluice_aggregate::lake::LakeError;

use super::stored::{COST, NOW, add_a_call, number, read, unpacked, write};

const DOLLAR: i128 = 1_000_000_000_000;

fn entries(table: &Path) -> Vec<PathBuf> {
    let listed = fs::read_dir(table.join("_delta_log")).unwrap().map(|entry| entry.unwrap().path());
    listed.filter(|path| path.extension().is_some_and(|extension| extension == "json")).collect()
}

/// Changes each line of a table's log.
fn edit(table: &Path, change: impl Fn(&mut Value)) {
    for path in entries(table) {
        let mut text = String::new();
        for line in fs::read_to_string(&path).unwrap().lines() {
            let mut line: Value = serde_json::from_str(line).unwrap();
            change(&mut line);
            text.push_str(&format!("{line}\n"));
        }
        fs::write(path, text).unwrap();
    }
}

/// Changes the columns that the log names.
fn edit_columns(table: &Path, change: impl Fn(&mut Vec<Value>)) {
    edit(table, |line| {
        if let Some(text) = line["metaData"]["schemaString"].as_str() {
            let mut schema: Value = serde_json::from_str(text).unwrap();
            change(schema["fields"].as_array_mut().unwrap());
            line["metaData"]["schemaString"] = json!(schema.to_string());
        }
    });
}

/// Writes every file of a table again with other columns.
fn rewrite(table: &Path, change: impl Fn(&RecordBatch) -> RecordBatch) {
    let days = fs::read_dir(table).unwrap().map(|entry| entry.unwrap().path());
    for day in days.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("dt=")) {
        for file in fs::read_dir(day).unwrap().map(|entry| entry.unwrap().path()) {
            let batches: Vec<RecordBatch> = ParquetRecordBatchReaderBuilder::try_new(File::open(&file).unwrap())
                .unwrap()
                .build()
                .unwrap()
                .map(Result::unwrap)
                .collect();
            let changed: Vec<RecordBatch> = batches.iter().map(&change).collect();
            let mut writer = ArrowWriter::try_new(File::create(&file).unwrap(), changed[0].schema(), None).unwrap();
            changed.iter().for_each(|batch| writer.write(batch).unwrap());
            writer.close().unwrap();
            let size = fs::metadata(&file).unwrap().len();
            let name = file.strip_prefix(table).unwrap().to_string_lossy().into_owned();
            edit(table, |line| {
                if line["add"]["path"] == json!(name) {
                    line["add"]["size"] = json!(size);
                }
            });
        }
    }
}

fn without(batch: &RecordBatch, gone: &[&str]) -> RecordBatch {
    let kept: Vec<usize> =
        batch.schema().fields().iter().enumerate().filter(|(_, field)| !gone.contains(&field.name().as_str())).map(|(at, _)| at).collect();
    batch.project(&kept).unwrap()
}

#[test]
fn an_older_table_gains_columns_and_its_files_stay() {
    let folder = unpacked();
    let table = folder.path().join("lake/calls");
    let gone = ["extras", "source", "ingest_time"];
    edit_columns(&table, |fields| fields.retain(|field| gone.iter().all(|gone| field["name"] != *gone)));
    rewrite(&table, |batch| without(batch, &gone));
    // A reader alone changes nothing and sees nulls.
    let lake = read(folder.path());
    assert_eq!((number(&lake, "SELECT sum(cost_usd) FROM calls"), number(&lake, "SELECT count(source) FROM calls")), (COST, 0));
    let before = entries(&table).len();
    drop(lake);
    let mut lake = write(folder.path()).unwrap();
    let columns: Vec<String> = lake.schema("calls").unwrap().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(columns[columns.len() - 3..], gone, "new columns come last");
    assert!(entries(&table).len() > before, "the log tells other readers of them");
    add_a_call(&mut lake, "a new call");
    let (sum, filled) = ("SELECT sum(cost_usd) FROM calls", "SELECT count(source) FROM calls");
    assert_eq!((number(&lake, sum), number(&lake, filled)), (COST + DOLLAR, 1));
    lake.compact("calls", NOW.day() + 1, NOW).unwrap();
    assert_eq!((number(&lake, sum), number(&lake, filled)), (COST + DOLLAR, 1), "merged with files that lack it");
    assert_eq!(number(&read(folder.path()), "SELECT count(*) FROM calls"), 26);
}

#[test]
fn what_a_newer_program_added_is_kept() {
    let folder = unpacked();
    let table = folder.path().join("lake/calls");
    let field = json!({"name": "from_tomorrow", "type": "string", "nullable": true, "metadata": {}});
    edit_columns(&table, |fields| fields.insert(fields.len() - 1, field.clone()));
    rewrite(&table, |batch| {
        let mut fields: Vec<_> = batch.schema().fields().iter().cloned().collect();
        fields.push(Arc::new(Field::new("from_tomorrow", DataType::Utf8, true)));
        let mut columns = batch.columns().to_vec();
        columns.push(Arc::new(StringArray::from(vec!["x"; batch.num_rows()])));
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
    });
    let mut lake = write(folder.path()).unwrap();
    add_a_call(&mut lake, "a new call");
    let (sum, filled) = ("SELECT sum(cost_usd) FROM calls", "SELECT count(from_tomorrow) FROM calls");
    assert_eq!((number(&lake, sum), number(&lake, filled)), (COST + DOLLAR, 25));
    lake.compact("calls", NOW.day() + 1, NOW).unwrap();
    assert_eq!((number(&lake, sum), number(&lake, filled)), (COST + DOLLAR, 25), "merged");
    assert_eq!(number(&read(folder.path()), filled), 25);
}

#[test]
fn files_that_have_more_columns_than_the_log_are_read() {
    let folder = unpacked();
    // A newer program's table that was made again by an older one: its files still have the column.
    edit_columns(&folder.path().join("lake/calls"), |fields| fields.retain(|field| field["name"] != "extras"));
    assert_eq!(number(&read(folder.path()), "SELECT sum(cost_usd) FROM calls"), COST);
}

#[test]
fn a_column_of_another_type_ends_the_writer() {
    let folder = unpacked();
    edit_columns(&folder.path().join("lake/calls"), |fields| {
        fields.iter_mut().filter(|field| field["name"] == "cost_usd").for_each(|field| field["type"] = json!("double"));
    });
    match write(folder.path()) {
        Err(LakeError::SchemaChanged { table, column, .. }) => assert_eq!((table.as_str(), column.as_str()), ("calls", "cost_usd")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_table_that_needs_a_newer_reader_is_refused() {
    for feature in [json!({"minReaderVersion": 2, "minWriterVersion": 5}), json!({"minReaderVersion": 3, "minWriterVersion": 7})] {
        let folder = unpacked();
        edit(&folder.path().join("lake/calls"), |line| {
            if line["protocol"].is_object() {
                line["protocol"] = feature.clone();
            }
        });
        assert!(matches!(write(folder.path()), Err(LakeError::Unsupported { .. })), "{feature}");
    }
}
