//! Tables as they stand: files of the lake, and rows that are not in it yet.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::PathBuf;

use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Int64Type, TimestampMicrosecondType};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use sluice_aggregate::lake::Lake;
use sluice_schemas::{Micros, tables};

use super::expect::{Crossing, Measures, SpendKey};
use crate::lakeview::LiveRows;

/// A row of `calls`: time, agent, session, model, cost, whether it has a price.
pub(crate) type CallRow = (Micros, String, String, String, i128, bool);

/// Reads files once: they never change under their names.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    files: HashMap<PathBuf, Vec<RecordBatch>>,
}

/// Rows by what names them; a row that is there twice is a fault, and told as one.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) calls: BTreeMap<String, CallRow>,
    pub(crate) rejected: BTreeMap<String, u64>,
    /// By fire id.
    pub(crate) breaches: BTreeMap<String, Crossing>,
}

fn text(batch: &RecordBatch, name: &str) -> StringArray {
    let column = batch.column_by_name(name).unwrap_or_else(|| panic!("no column {name}"));
    cast(column, &DataType::Utf8).unwrap().as_string::<i32>().clone()
}

fn value(column: &StringArray, row: usize) -> String {
    if column.is_null(row) { String::new() } else { column.value(row).to_owned() }
}

fn times(batch: &RecordBatch, name: &str) -> Vec<i64> {
    batch.column_by_name(name).unwrap().as_primitive::<TimestampMicrosecondType>().values().to_vec()
}

impl Reader {
    /// Reads the tables as a commit left them, with the given rows beside them.
    pub(crate) fn read(&mut self, lake: &Lake, live: &LiveRows) -> Found {
        let mut found = Found::default();
        for table in [tables::CALLS, tables::REJECTED, tables::BREACHES] {
            self.each(lake, table, |_, batch| found.add(table, batch));
            live.iter().filter(|(of, _, _)| of == table).for_each(|(_, _, batch)| found.add(table, batch));
        }
        found
    }

    /// Reads the additive tables, summed by key.
    pub(crate) fn spend(&mut self, lake: &Lake) -> BTreeMap<SpendKey, Measures> {
        let mut spend = BTreeMap::new();
        for table in [tables::SPEND_MINUTE, tables::SPEND_HOUR, tables::SPEND_DAY, tables::SPEND_SESSION] {
            self.each(lake, table, |dt, batch| add_spend(&mut spend, table, dt, batch));
        }
        spend.retain(|_, measures| *measures != Measures::default());
        spend
    }

    /// Returns time, fire id, action and state of every row of `actions`, sorted.
    pub(crate) fn actions(&mut self, lake: &Lake) -> Vec<(Micros, String, String, String)> {
        let mut rows = Vec::new();
        self.each(lake, tables::ACTIONS, |_, batch| {
            let [id, action, state] = ["fire_id", "action", "state"].map(|name| text(batch, name));
            let at = times(batch, "at");
            rows.extend((0..batch.num_rows()).map(|row| (Micros(at[row]), value(&id, row), value(&action, row), value(&state, row))));
        });
        rows.sort();
        rows
    }

    fn each(&mut self, lake: &Lake, table: &str, mut each: impl FnMut(i32, &RecordBatch)) {
        for file in lake.files(table).unwrap() {
            let batches = self.files.entry(file.path.clone()).or_insert_with(|| {
                let opened = File::open(&file.path).unwrap_or_else(|error| panic!("{}: {error}", file.path.display()));
                ParquetRecordBatchReaderBuilder::try_new(opened).unwrap().build().unwrap().map(Result::unwrap).collect()
            });
            batches.iter().for_each(|batch| each(file.dt, batch));
        }
    }
}

impl Found {
    fn add(&mut self, table: &str, batch: &RecordBatch) {
        match table {
            tables::CALLS => self.add_calls(batch),
            tables::REJECTED => {
                let raw = batch.column_by_name("raw").unwrap().as_binary::<i32>();
                for row in raw.iter().flatten() {
                    *self.rejected.entry(String::from_utf8_lossy(row).trim_end().to_owned()).or_default() += 1;
                }
            }
            _ => {
                let [id, budget, target, period, threshold] =
                    ["fire_id", "budget", "target", "period", "threshold"].map(|name| text(batch, name));
                for row in 0..batch.num_rows() {
                    let crossing = (value(&budget, row), value(&target, row), value(&period, row), value(&threshold, row));
                    let twice = self.breaches.insert(value(&id, row), crossing);
                    assert!(twice.is_none(), "two rows of the breach {twice:?}");
                }
            }
        }
    }

    fn add_calls(&mut self, batch: &RecordBatch) {
        let [id, agent, session, model] = ["request_id", "agent_id", "session_id", "model"].map(|name| text(batch, name));
        let at = times(batch, "event_time");
        let cost = batch.column_by_name("cost_usd").unwrap().as_primitive::<Decimal128Type>().clone();
        let priced = batch.column_by_name("priced").unwrap().as_boolean().clone();
        for (row, at) in at.into_iter().enumerate() {
            let call = (Micros(at), value(&agent, row), value(&session, row), value(&model, row), cost.value(row), priced.value(row));
            let twice = self.calls.insert(value(&id, row), call);
            assert!(twice.is_none(), "two rows of the call {} {twice:?} (C1)", value(&id, row));
        }
    }
}

fn add_spend(spend: &mut BTreeMap<SpendKey, Measures>, table: &'static str, dt: i32, batch: &RecordBatch) {
    let time = match table {
        tables::SPEND_MINUTE => times(batch, "minute"),
        tables::SPEND_HOUR => times(batch, "hour"),
        _ => vec![0; batch.num_rows()],
    };
    let [agent, model, region] = ["agent_id", "model", "region"].map(|name| text(batch, name));
    let session = batch.column_by_name("session_id").map(|_| text(batch, "session_id"));
    let longs = ["calls", "errors", "unpriced_calls", "input_tokens", "output_tokens"]
        .map(|name| batch.column_by_name(name).unwrap().as_primitive::<Int64Type>().clone());
    let cost = batch.column_by_name("cost_usd").unwrap().as_primitive::<Decimal128Type>();
    for (row, time) in time.into_iter().enumerate() {
        let session = session.as_ref().map(|column| value(column, row)).unwrap_or_default();
        let key = (table, dt, time, value(&agent, row), value(&model, row), value(&region, row), session);
        let sums = spend.entry(key).or_default();
        longs.iter().zip(sums.iter_mut()).for_each(|(column, sum)| *sum += i128::from(column.value(row)));
        sums[5] += cost.value(row);
    }
}
