//! Calls, spend rows and sums for the tests of the lake.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{Decimal128Type, Int64Type};
use sluice_aggregate::facts::call_rows;
use sluice_aggregate::lake::{EpochWriter, Lake, LakeError, LakeFile, ObjectEntry, Objects, Put, StagedObject, WriterLock};
use sluice_schemas::position::{Position, Positions};
use sluice_schemas::time::{DAY, MINUTE, SECOND};
use sluice_schemas::{
    AgentStatus, Batch, Clock, CostBasis, EnrichedBatch, Invocation, Micros, Owner, PicoUsd, PriceStatus, Pricing, Profile, Rank,
    RequestId, Usage, tables,
};

/// 2026-10-01T00:00:00Z.
pub(crate) const START: Micros = Micros(1_790_812_800_000_000);

/// A clock that stands still.
pub(crate) struct Still(pub(crate) Micros);

impl Clock for Still {
    fn now(&self) -> Micros {
        self.0
    }
}

pub(crate) const CLOCK: Still = Still(START);

/// Where a test keeps its lake.
pub(crate) struct Place {
    pub(crate) objects: Arc<dyn Objects>,
    /// Removed with the place.
    pub(crate) _folder: Option<tempfile::TempDir>,
}

impl Place {
    pub(crate) fn writer(&self) -> Result<Lake, LakeError> {
        Lake::open_writer_on(Arc::clone(&self.objects), &CLOCK)
    }

    pub(crate) fn reader(&self) -> Result<Lake, LakeError> {
        Lake::open_reader_on(Arc::clone(&self.objects))
    }

    /// Opens the lake for writing although another writer has it.
    pub(crate) fn second_writer(&self) -> Lake {
        Lake::open_writer_on(Arc::new(Lockless(Arc::clone(&self.objects))), &CLOCK).unwrap()
    }

    /// Returns the names in a folder.
    pub(crate) fn names(&self, folder: &str) -> Vec<String> {
        self.objects.list(folder).unwrap().into_iter().map(|entry| entry.name).collect()
    }

    pub(crate) fn get(&self, path: &str) -> Vec<u8> {
        self.objects.get(path).unwrap().unwrap_or_else(|| panic!("no {path}"))
    }

    pub(crate) fn put(&self, path: &str, bytes: &[u8]) {
        self.objects.put(path, bytes).unwrap();
    }
}

/// Storage without locks, as an object store is.
#[derive(Debug)]
struct Lockless(Arc<dyn Objects>);

impl Objects for Lockless {
    fn lock(&self, _path: &str) -> Result<WriterLock, LakeError> {
        Ok(WriterLock::default())
    }
    fn put_if_absent(&self, path: &str, bytes: &[u8]) -> Result<Put, LakeError> {
        self.0.put_if_absent(path, bytes)
    }
    fn put(&self, path: &str, bytes: &[u8]) -> Result<(), LakeError> {
        self.0.put(path, bytes)
    }
    fn stage(&self, path: &str) -> Result<Box<dyn StagedObject>, LakeError> {
        self.0.stage(path)
    }
    fn get(&self, path: &str) -> Result<Option<Vec<u8>>, LakeError> {
        self.0.get(path)
    }
    fn get_range(&self, path: &str, offset: u64, length: usize) -> Result<Vec<u8>, LakeError> {
        self.0.get_range(path, offset, length)
    }
    fn size(&self, path: &str) -> Result<Option<u64>, LakeError> {
        self.0.size(path)
    }
    fn list(&self, folder: &str) -> Result<Vec<ObjectEntry>, LakeError> {
        self.0.list(folder)
    }
    fn delete(&self, path: &str) -> Result<(), LakeError> {
        self.0.delete(path)
    }
    fn delete_empty_folder(&self, folder: &str) -> Result<(), LakeError> {
        self.0.delete_empty_folder(folder)
    }
    fn settle(&self, folder: &str) -> Result<(), LakeError> {
        self.0.settle(folder)
    }
    fn locate(&self, path: &str) -> std::path::PathBuf {
        self.0.locate(path)
    }
    fn remote(&self) -> Option<String> {
        self.0.remote()
    }
}

/// Returns `count` calls from the `first`-th on, one each second, of eleven agents and two models.
pub(crate) fn calls(first: u64, count: u64) -> EnrichedBatch {
    let mut batch = Batch::default();
    let mut owners = Vec::new();
    let strings = &mut batch.strings;
    for agent in 0..11 {
        batch.profiles.push(Profile {
            account_id: strings.intern("111122223333"),
            region: strings.intern("us-east-1"),
            operation: strings.intern("Converse"),
            model_id: strings.intern("anthropic.claude-sonnet-4-5-20250929-v1:0"),
            principal_arn: strings.intern(&format!("arn:aws:sts::111122223333:assumed-role/agents/session-{agent}")),
            error_code: if agent == 10 { strings.intern("ThrottlingException") } else { Default::default() },
            metadata: strings.intern(&format!(r#"{{"agent_id":"agent-{agent}","stage":"prod"}}"#)),
            ..Profile::default()
        });
        let tags = if agent % 2 == 0 { vec![(strings.intern("stage"), strings.intern("prod"))] } else { Vec::new() };
        owners.push(Owner {
            role: strings.intern("agents"),
            agent_id: strings.intern(&format!("agent-{agent}")),
            agent_evidence: strings.intern("metadata:agent_id"),
            agent_rank: Rank::Claimed,
            agent_status: AgentStatus::Unverified,
            session_id: if agent == 3 { Default::default() } else { strings.intern(&format!("session-{agent}")) },
            team: strings.intern("checkout"),
            tags,
            ..Owner::default()
        });
    }
    let models = [strings.intern("claude-sonnet-4-5"), strings.intern("nova-lite")];
    let (scope, version, other) =
        (strings.intern("in_region"), strings.intern("2026-09-01"), strings.intern("a request id of another form"));
    let mut pricing = Vec::new();
    for number in first..first + count {
        let id = u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        batch.invocations.push(Invocation {
            event_time: START.plus(i64::try_from(number).unwrap() * SECOND),
            request_id: if number % 97 == 5 { RequestId::Other(other) } else { RequestId::Uuid(id) },
            profile: (number % 11) as u32,
            usage: Usage { input: number % 1_000, output: number % 300, cache_read: 7, ..Usage::default() },
            basis: if number % 13 == 0 { CostBasis::Envelope } else { CostBasis::Exact },
            latency_ms: (number % 5 != 0).then_some(100 + (number % 50) as u32),
            extras: None,
        });
        let cost = PicoUsd(i128::from(number) * 1_000_003 + 1);
        let unpriced = number % 31 == 0;
        pricing.push(Pricing {
            cost: if unpriced { PicoUsd::ZERO } else { cost },
            cost_max: if unpriced { PicoUsd::ZERO } else { cost },
            status: if unpriced { PriceStatus::Unpriced } else { PriceStatus::Priced },
            model: models[(number % 2) as usize],
            scope,
            price_version: if unpriced { Default::default() } else { version },
        });
    }
    EnrichedBatch { batch, owners, pricing }
}

/// Returns rows of `spend_day` that hold what the calls add up to.
pub(crate) fn spend_rows(count: i64, cost: i128) -> RecordBatch {
    let schema = tables::schema(tables::SPEND_DAY).unwrap();
    let columns: Vec<ArrayRef> = schema
        .fields()
        .iter()
        .map(|field| -> ArrayRef {
            match field.name().as_str() {
                "calls" => Arc::new(Int64Array::from(vec![count])),
                "cost_usd" | "cost_max_usd" => Arc::new(Decimal128Array::from(vec![cost]).with_data_type(tables::MONEY)),
                name => match field.data_type() {
                    arrow::datatypes::DataType::Utf8 => Arc::new(StringArray::from(vec![format!("some {name}")])),
                    _ => Arc::new(Int64Array::from(vec![0])),
                },
            }
        })
        .collect();
    RecordBatch::try_new(schema, columns).unwrap()
}

/// Returns one row of `actions`.
pub(crate) fn action_row(id: u64) -> RecordBatch {
    let schema = tables::schema(tables::ACTIONS).unwrap();
    let columns: Vec<ArrayRef> = schema
        .fields()
        .iter()
        .map(|field| -> ArrayRef {
            match field.data_type() {
                arrow::datatypes::DataType::Utf8 => Arc::new(StringArray::from(vec![format!("{} {id}", field.name())])),
                arrow::datatypes::DataType::Int64 => Arc::new(Int64Array::from(vec![id as i64])),
                _ => Arc::new(TimestampMicrosecondArray::from(vec![START.0]).with_timezone("UTC")),
            }
        })
        .collect();
    RecordBatch::try_new(schema, columns).unwrap()
}

/// Appends calls and the spend that belongs to them.
pub(crate) fn fill(writer: &mut EpochWriter, first: u64, count: u64) -> Result<(), LakeError> {
    let batch = calls(first, count);
    let keep = vec![true; batch.batch.invocations.len()];
    for (dt, rows) in call_rows(&batch, &keep, "test", START) {
        let cost: i128 = rows.column_by_name("cost_usd").unwrap().as_primitive::<Decimal128Type>().values().iter().sum();
        writer.append(tables::SPEND_DAY, dt, spend_rows(rows.num_rows() as i64, cost))?;
        writer.append(tables::CALLS, dt, rows)?;
    }
    if first.is_multiple_of(2) {
        writer.append(tables::ACTIONS, START.day(), action_row(first))?;
    }
    Ok(())
}

pub(crate) fn positions(offset: u64) -> Positions {
    Positions::from([("file:part-1".to_owned(), Position { offset, identity: "x".to_owned(), ..Position::default() })])
}

/// Publishes `count` calls from `first` on as one epoch.
pub(crate) fn publish(lake: &mut Lake, first: u64, count: u64) -> Result<(), LakeError> {
    let mut writer = lake.begin_epoch();
    fill(&mut writer, first, count)?;
    let sealed = writer.seal()?;
    lake.commit(sealed, positions(first + count), START.plus(i64::try_from(first).unwrap() * MINUTE), START)?;
    Ok(())
}

/// Reads all rows of a table.
pub(crate) fn rows(lake: &Lake, table: &str) -> Vec<RecordBatch> {
    lake.files(table).unwrap().iter().flat_map(|file| read(lake, table, file)).collect()
}

/// Reads all rows of a file.
pub(crate) fn read(lake: &Lake, table: &str, file: &LakeFile) -> Vec<RecordBatch> {
    lake.read(table, file, None).unwrap_or_else(|error| panic!("{error}")).map(Result::unwrap).collect()
}

/// What a table adds up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Total {
    pub(crate) rows: u64,
    pub(crate) calls: i64,
    pub(crate) cost: i128,
}

pub(crate) fn total(lake: &Lake, table: &str) -> Total {
    let mut total = Total::default();
    for batch in rows(lake, table) {
        total.rows += batch.num_rows() as u64;
        if let Some(calls) = batch.column_by_name("calls") {
            total.calls += calls.as_primitive::<Int64Type>().values().iter().sum::<i64>();
        }
        if let Some(cost) = batch.column_by_name("cost_usd") {
            total.cost += cost.as_primitive::<Decimal128Type>().values().iter().sum::<i128>();
        }
    }
    total
}

/// Returns what the calls `0..count` add up to.
pub(crate) fn expected(count: u64) -> Total {
    let cost = calls(0, count).pricing.iter().map(|pricing| pricing.cost.0).sum();
    Total { rows: count, calls: 0, cost }
}

/// Checks that exactly the calls `0..count` are in the lake, once, and that every table agrees with them.
pub(crate) fn audit(lake: &Lake, count: u64, context: &str) {
    assert_eq!(total(lake, tables::CALLS), expected(count), "{context}");
    let spend = total(lake, tables::SPEND_DAY);
    assert_eq!((spend.calls.unsigned_abs(), spend.cost), (count, expected(count).cost), "{context}");
    let offset = lake.state().positions.get("file:part-1").map_or(0, |position| position.offset);
    assert_eq!(offset, count, "{context}");
    let mut ids: BTreeMap<String, u64> = BTreeMap::new();
    for batch in rows(lake, tables::CALLS) {
        let column = batch.column_by_name("request_id").unwrap().as_string::<i32>().clone();
        for at in 0..column.len() {
            *ids.entry(column.value(at).to_owned()).or_default() += 1;
        }
    }
    assert!(ids.iter().all(|(id, seen)| *seen == 1 || id.starts_with("a request")), "{context}");
    for file in lake.files(tables::CALLS).unwrap() {
        assert_eq!(read(lake, tables::CALLS, &file).iter().map(|batch| batch.num_rows() as u64).sum::<u64>(), file.rows);
        // Another program's file may come without a range.
        let Some((first, last)) = file.time else { continue };
        assert!(first.0 >= i64::from(file.dt) * DAY && last.0 < i64::from(file.dt + 1) * DAY);
    }
}
