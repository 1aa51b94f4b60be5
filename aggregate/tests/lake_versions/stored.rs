//! The lakes that released versions wrote, kept whole: each is read, queried and added to by this one.

use std::path::Path;
use std::process::Command;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Decimal128Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{Decimal128Type, Int64Type};
use sluice_aggregate::lake::{Lake, LakeError};
use sluice_aggregate::query::QueryEngine;
use sluice_schemas::position::Positions;
use sluice_schemas::{Clock, Micros, tables};

/// 2026-10-01T06:00:00Z.
pub(crate) const NOW: Micros = Micros(1_790_834_400_000_000);
/// Pico-dollars of all calls of a stored lake.
pub(crate) const COST: i128 = 82_297_267_000;
/// Rows of its tables.
const ROWS: [(&str, i64); 12] = [
    ("calls", 25),
    ("spend_minute", 26),
    ("spend_hour", 22),
    ("spend_day", 11),
    ("spend_session", 11),
    ("rejected", 2),
    ("breaches", 2),
    ("actions", 4),
    ("corrections", 1),
    ("evidence", 1),
    ("directory", 1),
    ("errors_by_model", 22),
];

pub(crate) struct Still;

impl Clock for Still {
    fn now(&self) -> Micros {
        NOW
    }
}

/// Unpacks the lake that version 0.1.0 wrote.
pub(crate) fn unpacked() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/lake-0.1.0.tar.gz");
    let status = Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(folder.path()).status().unwrap();
    assert!(status.success());
    folder
}

pub(crate) fn write(root: &Path) -> Result<Lake, LakeError> {
    Lake::open_writer(&root.join("lake"), &Still)
}

pub(crate) fn read(root: &Path) -> Lake {
    Lake::open_reader(&root.join("lake")).unwrap_or_else(|error| panic!("{error}"))
}

/// Answers a query with one whole number or amount in pico-dollars.
pub(crate) fn number(lake: &Lake, sql: &str) -> i128 {
    let engine = QueryEngine::of_lake(lake, Vec::new(), 64 << 20).unwrap();
    let answer = engine.sql(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    let column = answer[0].column(0);
    match column.as_primitive_opt::<Int64Type>() {
        Some(count) => i128::from(count.value(0)),
        None => column.as_primitive::<Decimal128Type>().value(0),
    }
}

/// Adds a call that costs one dollar, with a few columns alone.
pub(crate) fn add_a_call(lake: &mut Lake, id: &str) {
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("event_time", std::sync::Arc::new(TimestampMicrosecondArray::from(vec![NOW.0]).with_timezone("UTC"))),
        ("request_id", std::sync::Arc::new(StringArray::from(vec![id]))),
        ("source", std::sync::Arc::new(StringArray::from(vec!["test"]))),
        ("cost_usd", std::sync::Arc::new(Decimal128Array::from(vec![1_000_000_000_000]).with_data_type(tables::MONEY))),
        ("priced", std::sync::Arc::new(BooleanArray::from(vec![true]))),
    ];
    let mut writer = lake.begin_epoch();
    writer.append(tables::CALLS, NOW.day(), RecordBatch::try_from_iter(columns).unwrap()).unwrap();
    let sealed = writer.seal().unwrap();
    lake.commit(sealed, Positions::new(), NOW, NOW).unwrap();
}

#[test]
fn every_table_of_the_stored_lake_is_read() {
    let folder = unpacked();
    let lake = read(folder.path());
    for (table, rows) in ROWS {
        assert_eq!(number(&lake, &format!("SELECT count(*) FROM {table}")), i128::from(rows), "{table}");
        let read: usize = lake
            .files(table)
            .unwrap()
            .iter()
            .flat_map(|file| lake.read(table, file, None).unwrap().map(Result::unwrap).collect::<Vec<_>>())
            .map(|batch| batch.num_rows())
            .sum();
        assert_eq!(read as i64, rows, "{table}");
        // Columns that came since are there, and null.
        let engine = QueryEngine::of_lake(&lake, Vec::new(), 64 << 20).unwrap();
        for field in tables::schema(table).iter().flat_map(|schema| schema.fields().iter().cloned().collect::<Vec<_>>()) {
            engine.sql(&format!("SELECT count(\"{}\") FROM {table}", field.name())).unwrap_or_else(|error| panic!("{table}: {error}"));
        }
    }
    for table in ["calls", "spend_minute", "spend_hour", "spend_day", "spend_session", "errors_by_model_latest"] {
        assert_eq!(number(&lake, &format!("SELECT sum(cost_usd) FROM {table}")), COST, "{table}");
    }
}

#[test]
fn the_stored_lake_is_added_to_and_merged() {
    let folder = unpacked();
    let mut lake = write(folder.path()).unwrap();
    let epoch = lake.state().epoch;
    add_a_call(&mut lake, "a new call");
    assert_eq!(lake.state().epoch, epoch + 1);
    let sum = "SELECT sum(cost_usd) FROM calls";
    assert_eq!(number(&lake, sum), COST + 1_000_000_000_000);
    for table in lake.tables() {
        lake.compact(&table, NOW.day() + 1, NOW).unwrap();
    }
    assert_eq!(number(&lake, sum), COST + 1_000_000_000_000);
    drop(lake);
    let lake = read(folder.path());
    assert_eq!(number(&lake, sum), COST + 1_000_000_000_000);
    assert_eq!(number(&lake, "SELECT sum(cost_usd) FROM spend_day"), COST);
    assert_eq!(number(&lake, "SELECT count(*) FROM calls"), 26);
}
