//! Writes a small lake for other programs to read: several epochs over three event dates, every kind of column, a compacted date, a
//! replaced file and a checkpoint. Prints what each table adds up to, as the reader's oracle.
//!
//! `cargo run --example write_lake -- FOLDER`

use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    Array, AsArray, BooleanArray, Decimal128Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Decimal128Type, Int64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use sluice_aggregate::facts::call_rows;
use sluice_aggregate::lake::Lake;
use sluice_schemas::position::{Position, Positions};
use sluice_schemas::time::{MINUTE, SECOND};
use sluice_schemas::{
    Batch, EnrichedBatch, Invocation, Micros, Owner, PicoUsd, PriceStatus, Pricing, Profile, RequestId, SystemClock, Usage, tables,
};

/// 2026-10-01T00:00:00Z.
const START: Micros = Micros(1_790_812_800_000_000);
const CALLS: i64 = 4_000;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("usage: write_lake FOLDER")?;
    let mut lake = Lake::open_writer(Path::new(&folder), &SystemClock)?;
    for epoch in 0..60 {
        let mut writer = lake.begin_epoch();
        let batch = calls(epoch * CALLS);
        for (dt, rows) in call_rows(&batch, &vec![true; batch.batch.invocations.len()], "example", START) {
            writer.append(tables::CALLS, dt, rows)?;
            for table in tables::ALL.into_iter().filter(|table| *table != tables::CALLS) {
                writer.append(table, dt, any_row(table, epoch)?)?;
            }
        }
        let sealed = writer.seal()?;
        let at = Position { offset: epoch.unsigned_abs(), ..Position::default() };
        lake.commit(sealed, Positions::from([("file:example".to_owned(), at)]), START.plus(epoch * MINUTE), START)?;
    }
    lake.compact(tables::CALLS, START.day() + 1, START)?;
    lake.compact(tables::SPEND_DAY, START.day() + 1, START)?;
    let mut out = std::io::stdout().lock();
    for table in lake.tables() {
        let (rows, sum) = total(&lake, &table)?;
        writeln!(out, "{table} {rows} {sum}")?;
    }
    Ok(())
}

/// Sums every integer and money column of a table, money in pico-dollars.
fn total(lake: &Lake, table: &str) -> Result<(usize, i128), Box<dyn Error>> {
    let (mut rows, mut sum) = (0, 0);
    for file in lake.files(table)? {
        for batch in ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(&file.path)?)?.build()? {
            let batch = batch?;
            rows += batch.num_rows();
            for column in batch.columns() {
                match column.data_type() {
                    DataType::Int64 => sum += column.as_primitive::<Int64Type>().iter().flatten().map(i128::from).sum::<i128>(),
                    DataType::Decimal128(..) => sum += column.as_primitive::<Decimal128Type>().iter().flatten().sum::<i128>(),
                    _ => {}
                }
            }
        }
    }
    Ok((rows, sum))
}

fn calls(first: i64) -> EnrichedBatch {
    let mut batch = Batch::default();
    let mut owners = Vec::new();
    for agent in 0..7 {
        let strings = &mut batch.strings;
        batch.profiles.push(Profile {
            account_id: strings.intern("111122223333"),
            region: strings.intern("eu-central-1"),
            model_id: strings.intern("anthropic.claude-sonnet-4-5-20250929-v1:0"),
            metadata: strings.intern("{\"agent_id\": \"a\\u00e9\"}"),
            ..Profile::default()
        });
        let tags = if agent % 2 == 0 { vec![(strings.intern("stage"), strings.intern("größe 'x' \"y\""))] } else { Vec::new() };
        owners.push(Owner { agent_id: strings.intern(&format!("agent-{agent}")), tags, ..Owner::default() });
    }
    let model = batch.strings.intern("claude-sonnet-4-5");
    let mut pricing = Vec::new();
    for number in first..first + CALLS {
        batch.invocations.push(Invocation {
            event_time: START.plus(number * SECOND),
            request_id: RequestId::Uuid(u128::from(number.unsigned_abs()).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)),
            profile: u32::try_from(number % 7).unwrap_or(0),
            usage: Usage { input: number.unsigned_abs() % 1_000, output: number.unsigned_abs() % 300, ..Usage::default() },
            basis: Default::default(),
            latency_ms: (number % 3 != 0).then_some(250),
            extras: None,
        });
        let cost = PicoUsd(i128::from(number) * 1_234_567_890_123 + 1);
        pricing.push(Pricing { cost, cost_max: cost, status: PriceStatus::Priced, model, ..Pricing::default() });
    }
    EnrichedBatch { batch, owners, pricing }
}

fn any_row(table: &str, seed: i64) -> Result<RecordBatch, Box<dyn Error>> {
    let schema = tables::schema(table).ok_or("unknown table")?;
    let column = |kind: &DataType| -> Arc<dyn Array> {
        match kind {
            DataType::Int64 => Arc::new(Int64Array::from(vec![seed])),
            DataType::Int32 => Arc::new(Int32Array::from(vec![1])),
            DataType::Boolean => Arc::new(BooleanArray::from(vec![true])),
            DataType::Timestamp(..) => Arc::new(TimestampMicrosecondArray::from(vec![START.0 + seed]).with_timezone("UTC")),
            DataType::Decimal128(..) => Arc::new(Decimal128Array::from(vec![i128::from(seed) - 30]).with_data_type(tables::MONEY)),
            DataType::Binary => Arc::new(arrow::array::BinaryArray::from_vec(vec![b"\xff\x00raw"])),
            _ => Arc::new(StringArray::from(vec![format!("text {seed}")])),
        }
    };
    let columns = schema.fields().iter().map(|field| column(field.data_type())).collect();
    Ok(RecordBatch::try_new(schema, columns)?)
}
