//! Prices that come late: sums move by exactly the price, every move has its row, and neither a repetition nor a crash at any write
//! changes what comes of it.

#![cfg(test)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Int64Type, TimestampMicrosecondType};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use sluice_aggregate::correct::{Change, CorrectError, CorrectionReport, NewPrice, StoredCall, Terms, correct_files};
use sluice_aggregate::facts::{call_rows, spend_deltas};
use sluice_aggregate::lake::{Lake, LakeError, LocalObjects, ObjectEntry, Objects, Put, StagedObject, WriterLock};
use sluice_aggregate::seed::Spend;
use sluice_aggregate::windows::Rollups;
use sluice_schemas::position::Positions;
use sluice_schemas::time::HOUR;
use sluice_schemas::{
    Batch, Clock, CostBasis, EnrichedBatch, Invocation, Micros, Owner, PicoUsd, PriceStatus, Pricing, Profile, RequestId, SpendView, Usage,
    tables,
};

/// 2026-10-01T00:00:00Z.
const START: Micros = Micros(1_790_812_800_000_000);
const CALLS: u64 = 120;
/// Price of a token that becomes known later, in pico-dollars.
const LATER: i128 = 7_000_003;

struct Still;

impl Clock for Still {
    fn now(&self) -> Micros {
        START
    }
}

/// Which calls have no price at first, and which have none even later.
fn unpriced(number: u64) -> bool {
    number.is_multiple_of(5)
}

fn never_priced(number: u64) -> bool {
    number.is_multiple_of(15)
}

/// What the calls of the secret model cost once its price is known.
fn later_price(usage: &Usage) -> PicoUsd {
    PicoUsd(i128::from(usage.input + usage.output) * LATER)
}

/// Calls `first..first + count`, one each quarter of an hour; `rated` tells whether the later price is known.
fn calls(first: u64, count: u64, rated: bool) -> EnrichedBatch {
    let mut batch = Batch::default();
    let mut owners = Vec::new();
    for agent in 0..4 {
        let strings = &mut batch.strings;
        let texts =
            [format!("agent-{agent}"), format!("session-{agent}"), format!("arn:aws:sts::111122223333:assumed-role/Agents/{agent}")];
        let [agent_id, session_id, principal_arn] = texts.map(|text| strings.intern(&text));
        let (account_id, region) = (strings.intern("111122223333"), strings.intern("us-east-1"));
        let model_id = strings.intern("acme.secret-v1:0");
        let error_code = if agent == 3 { strings.intern("ThrottlingException") } else { Default::default() };
        batch.profiles.push(Profile { account_id, region, model_id, principal_arn, error_code, ..Profile::default() });
        owners.push(Owner { agent_id, session_id, team: strings.intern("search"), ..Owner::default() });
    }
    let [logged, canonical, in_region, card] =
        ["acme.secret-v1:0", "acme.secret", "in_region", "2026-10-01"].map(|text| batch.strings.intern(text));
    let mut pricing = Vec::new();
    for number in first..first + count {
        let usage = Usage { input: 100 + number, output: number * 3 % 50, cache_read: 5, ..Usage::default() };
        batch.invocations.push(Invocation {
            event_time: START.plus(i64::try_from(number).unwrap() * HOUR / 4),
            request_id: RequestId::Uuid(u128::from(number) << 64 | 7),
            profile: (number % 4) as u32,
            usage,
            basis: CostBasis::Exact,
            latency_ms: None,
            extras: None,
        });
        let known = if !unpriced(number) {
            Some(PicoUsd(i128::from(number) * 1_000_003 + 1))
        } else if rated && !never_priced(number) {
            Some(later_price(&usage))
        } else {
            None
        };
        let cost = known.unwrap_or_default();
        // The catalogue that knows the price knows the model's own name, too.
        let model = if known.is_some() { canonical } else { logged };
        let (status, price_version) =
            if known.is_some() { (PriceStatus::Priced, card) } else { (PriceStatus::Unpriced, Default::default()) };
        pricing.push(Pricing { cost, cost_max: cost, status, model, scope: in_region, price_version });
    }
    EnrichedBatch { batch, owners, pricing }
}

/// Publishes calls and the spend they add up to, as the pipeline does.
fn publish(lake: &mut Lake, first: u64, count: u64, rated: bool) {
    let batch = calls(first, count, rated);
    let keep = vec![true; batch.batch.invocations.len()];
    let mut rollups = Rollups::new().unwrap();
    rollups.fold_view(SpendView { batch: &batch, deltas: &spend_deltas(&batch, &keep) }).unwrap();
    let mut epoch = lake.begin_epoch();
    for (dt, rows) in call_rows(&batch, &keep, "test", START) {
        epoch.append(tables::CALLS, dt, rows).unwrap();
    }
    for (table, dt, rows) in rollups.finish().unwrap() {
        epoch.append(&table, dt, rows).unwrap();
    }
    lake.commit(epoch.seal().unwrap(), Positions::new(), START, START).unwrap();
}

fn filled(root: &Path, rated: bool) -> Lake {
    let mut lake = Lake::open_writer(root, &Still).unwrap();
    publish(&mut lake, 0, 50, rated);
    publish(&mut lake, 50, 20, rated);
    publish(&mut lake, 70, CALLS - 70, rated);
    lake
}

/// The price as it is known later.
fn price(call: &StoredCall<'_>) -> Option<NewPrice> {
    let number = u64::try_from((call.event_time.0 - START.0) / (HOUR / 4)).unwrap();
    if call.priced {
        return None;
    }
    if never_priced(number) {
        return Some(call.price());
    }
    let cost = later_price(&call.usage);
    let (model, scope, price_version) = ("acme.secret".to_owned(), "in_region".to_owned(), "2026-10-01".to_owned());
    Some(NewPrice { cost, cost_max: cost, priced: true, model, scope, price_version })
}

/// Rates all files again in one step, each call once.
fn correct(lake: &mut Lake, dry_run: bool) -> Result<CorrectionReport, CorrectError> {
    let files = lake.files(tables::CALLS)?;
    let terms = Terms { now: START, dry_run, reason: "later" };
    let mut asked = std::collections::BTreeSet::new();
    let epoch = lake.begin_epoch();
    let correction = correct_files(
        lake,
        epoch,
        &files,
        terms,
        &mut |call| {
            assert!(asked.insert(call.request_id.to_owned()), "{} is rated twice", call.request_id);
            price(call).map(Change::from)
        },
        &mut |_| Ok(()),
    )?;
    let moved = |spend: &Spend| spend.view().deltas.iter().map(|delta| delta.sums.cost).sum::<PicoUsd>();
    assert_eq!(moved(&correction.after) - moved(&correction.before), correction.report.difference_usd);
    if let Some(epoch) = correction.epoch {
        lake.replace(epoch.seal()?, &correction.replaced, START)?;
    }
    Ok(correction.report)
}

fn rows(lake: &Lake, table: &str) -> Vec<(i32, RecordBatch)> {
    let read = |path: &Path| -> Vec<RecordBatch> {
        let file = std::fs::File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap().map(Result::unwrap).collect()
    };
    lake.files(table).unwrap().iter().flat_map(|file| read(&file.path).into_iter().map(|batch| (file.dt, batch))).collect()
}

fn text(batch: &RecordBatch, name: &str) -> StringArray {
    cast(batch.column_by_name(name).unwrap(), &DataType::Utf8).unwrap().as_string::<i32>().clone()
}

fn money(batch: &RecordBatch, name: &str) -> Vec<i128> {
    batch.column_by_name(name).unwrap().as_primitive::<Decimal128Type>().values().to_vec()
}

/// Sums of a spend table by its keys; keys that add up to nothing are left out.
fn sums(lake: &Lake, table: &str) -> Sums {
    let mut sums = Sums::new();
    for (dt, batch) in rows(lake, table) {
        let schema = batch.schema();
        for row in 0..batch.num_rows() {
            let (mut key, mut measures) = (vec![dt.to_string()], Vec::new());
            for (field, column) in schema.fields().iter().zip(batch.columns()) {
                match field.data_type() {
                    // The span of a session is no measure: its rows are added up with the least and the greatest.
                    DataType::Timestamp(..) if table == tables::SPEND_SESSION => {}
                    DataType::Timestamp(..) => key.push(column.as_primitive::<TimestampMicrosecondType>().value(row).to_string()),
                    DataType::Int64 => measures.push(i128::from(column.as_primitive::<Int64Type>().value(row))),
                    DataType::Decimal128(..) => measures.push(column.as_primitive::<Decimal128Type>().value(row)),
                    _ => key.push(text(&batch, field.name()).value(row).to_owned()),
                }
            }
            let sum = sums.entry(key).or_insert_with(|| vec![0; measures.len()]);
            sum.iter_mut().zip(measures).for_each(|(sum, measure)| *sum += measure);
        }
    }
    sums.retain(|_, measures| measures.iter().any(|measure| *measure != 0));
    sums
}

/// Cost, model and version of each call by its id.
fn costs(lake: &Lake) -> Costs {
    let mut costs = Costs::new();
    for (_, batch) in rows(lake, tables::CALLS) {
        let [ids, model, version] = ["request_id", "model", "price_version"].map(|name| text(&batch, name));
        let (cost, cost_max) = (money(&batch, "cost_usd"), money(&batch, "cost_max_usd"));
        let priced = batch.column_by_name("priced").unwrap().as_boolean().clone();
        for row in 0..batch.num_rows() {
            let version = if version.is_null(row) { "" } else { version.value(row) };
            let call = (cost[row], cost_max[row], priced.value(row), model.value(row).to_owned(), version.to_owned());
            assert!(costs.insert(ids.value(row).to_owned(), call).is_none(), "{} is there twice", ids.value(row));
        }
    }
    costs
}

/// Request id, cost before and after of every correction, sorted.
fn corrections(lake: &Lake) -> Vec<(String, i128, i128)> {
    let mut found = Vec::new();
    for (_, batch) in rows(lake, tables::CORRECTIONS) {
        let ids = text(&batch, "request_id");
        let (before, after) = (money(&batch, "cost_before_usd"), money(&batch, "cost_after_usd"));
        found.extend((0..batch.num_rows()).map(|row| (ids.value(row).to_owned(), before[row], after[row])));
    }
    found.sort();
    found
}

const SPEND: [&str; 4] = [tables::SPEND_MINUTE, tables::SPEND_HOUR, tables::SPEND_DAY, tables::SPEND_SESSION];

type Costs = BTreeMap<String, (i128, i128, bool, String, String)>;
type Sums = BTreeMap<Vec<String>, Vec<i128>>;

/// A lake whose prices were known from the start: what a corrected one must look like.
fn known_from_the_start() -> &'static (Costs, [Sums; 4]) {
    static KNOWN: OnceLock<(Costs, [Sums; 4])> = OnceLock::new();
    KNOWN.get_or_init(|| {
        let folder = folder();
        let lake = filled(folder.path(), true);
        (costs(&lake), SPEND.map(|table| sums(&lake, table)))
    })
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn check(lake: &Lake, context: &str) {
    let (known, known_sums) = known_from_the_start();
    assert_eq!(&costs(lake), known, "{context}");
    for (table, known) in SPEND.into_iter().zip(known_sums) {
        assert_eq!(&sums(lake, table), known, "{context}: {table}");
    }
    let moved: Vec<u64> = (0..CALLS).filter(|number| unpriced(*number) && !never_priced(*number)).collect();
    let log = corrections(lake);
    let mut ids: Vec<&str> = log.iter().map(|(id, _, _)| id.as_str()).collect();
    ids.dedup();
    assert_eq!((log.len(), ids.len()), (moved.len(), moved.len()), "{context}: one row for each move");
    assert!(log.iter().all(|(_, before, after)| *before == 0 && *after > 0), "{context}: {log:?}");
}

#[test]
fn sums_move_by_exactly_the_price() {
    let folder = folder();
    let mut lake = filled(folder.path(), false);
    let before: i128 = costs(&lake).values().map(|call| call.0).sum();
    let epoch = lake.state().epoch;

    let tried = correct(&mut lake, true).unwrap();
    assert_eq!((lake.state().epoch, corrections(&lake).len()), (epoch, 0), "a dry run changed something");
    let report = correct(&mut lake, false).unwrap();
    assert_eq!(report, tried, "a dry run says what would happen");

    let never = (0..CALLS).filter(|number| never_priced(*number)).count() as u64;
    let changed = (0..CALLS).filter(|number| unpriced(*number)).count() as u64 - never;
    assert_eq!((report.calls, report.changed, report.still_unpriced), (CALLS, changed, never));
    let after: i128 = costs(&lake).values().map(|call| call.0).sum();
    assert_eq!(after - before, report.difference_usd.0);
    let listed: i128 = corrections(&lake).iter().map(|(_, before, after)| after - before).sum();
    assert_eq!(listed, report.difference_usd.0);
    assert_eq!(lake.state().epoch, epoch + 1, "one commit");
    check(&lake, "corrected");

    // Again: nothing is left to do.
    let report = correct(&mut lake, false).unwrap();
    assert_eq!((report.changed, report.files, report.difference_usd, report.still_unpriced), (0, 0, PicoUsd::ZERO, never));
    assert_eq!(lake.state().epoch, epoch + 1);
    check(&lake, "corrected twice");
    drop(lake);
    check(&Lake::open_reader(folder.path()).unwrap(), "opened again");
}

#[test]
fn merged_files_are_corrected_alike() {
    let folder = folder();
    let mut lake = filled(folder.path(), false);
    for table in tables::ALL {
        lake.compact(table, i32::MAX, START).unwrap();
    }
    correct(&mut lake, false).unwrap();
    check(&lake, "merged before");
    for table in tables::ALL {
        lake.compact(table, i32::MAX, START).unwrap();
    }
    check(&lake, "merged after");
}

#[test]
fn a_call_without_a_price_is_told_wherever_it_lies() {
    let folder = folder();
    let mut lake = Lake::open_writer(folder.path(), &Still).unwrap();
    publish(&mut lake, 0, 1, false);
    publish(&mut lake, 5, 1, false);
    // The first has no price later either; nothing in its file changes.
    let report = correct(&mut lake, false).unwrap();
    assert_eq!((report.changed, report.files, report.still_unpriced), (1, 1, 1));
}

/// Storage on which one write fails, before or after its effect, and nothing works from then on.
#[derive(Clone, Debug)]
struct Failing {
    inner: Arc<LocalObjects>,
    at: u64,
    done: bool,
    writes: Arc<AtomicU64>,
    down: Arc<AtomicBool>,
}

impl Failing {
    fn write<T>(&self, path: &str, effect: impl FnOnce() -> Result<T, LakeError>) -> Result<T, LakeError> {
        let failed = || LakeError::io("write", Path::new(path), std::io::Error::from(std::io::ErrorKind::StorageFull));
        if self.down.load(Ordering::SeqCst) {
            return Err(failed());
        }
        if self.writes.fetch_add(1, Ordering::SeqCst) != self.at {
            return effect();
        }
        self.down.store(true, Ordering::SeqCst);
        if self.done {
            effect()?;
        }
        Err(failed())
    }
}

#[derive(Debug)]
struct FailingStaged {
    inner: Box<dyn StagedObject>,
    path: String,
    storage: Failing,
}

impl StagedObject for FailingStaged {
    fn append(&mut self, bytes: &[u8]) -> Result<(), LakeError> {
        let (storage, inner) = (&self.storage, &mut self.inner);
        storage.write(&self.path, || inner.append(bytes))
    }
    fn finish(self: Box<Self>) -> Result<(), LakeError> {
        let Self { inner, path, storage } = *self;
        storage.write(&path, || inner.finish())
    }
}

impl Objects for Failing {
    fn put_if_absent(&self, path: &str, bytes: &[u8]) -> Result<Put, LakeError> {
        self.write(path, || self.inner.put_if_absent(path, bytes))
    }
    fn put(&self, path: &str, bytes: &[u8]) -> Result<(), LakeError> {
        self.write(path, || self.inner.put(path, bytes))
    }
    fn stage(&self, path: &str) -> Result<Box<dyn StagedObject>, LakeError> {
        let inner = self.write(path, || self.inner.stage(path))?;
        Ok(Box::new(FailingStaged { inner, path: path.to_owned(), storage: self.clone() }))
    }
    fn delete(&self, path: &str) -> Result<(), LakeError> {
        self.write(path, || self.inner.delete(path))
    }
    fn get(&self, path: &str) -> Result<Option<Vec<u8>>, LakeError> {
        self.inner.get(path)
    }
    fn get_range(&self, path: &str, offset: u64, length: usize) -> Result<Vec<u8>, LakeError> {
        self.inner.get_range(path, offset, length)
    }
    fn size(&self, path: &str) -> Result<Option<u64>, LakeError> {
        self.inner.size(path)
    }
    fn list(&self, folder: &str) -> Result<Vec<ObjectEntry>, LakeError> {
        self.inner.list(folder)
    }
    fn delete_empty_folder(&self, folder: &str) -> Result<(), LakeError> {
        self.inner.delete_empty_folder(folder)
    }
    fn settle(&self, folder: &str) -> Result<(), LakeError> {
        self.inner.settle(folder)
    }
    fn lock(&self, path: &str) -> Result<WriterLock, LakeError> {
        self.inner.lock(path)
    }
    fn locate(&self, path: &str) -> PathBuf {
        self.inner.locate(path)
    }
}

/// Copies a lake, files and folders.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_crash_at_any_write_and_once_more_is_the_same() {
    let folder = folder();
    let original = folder.path().join("original");
    drop(filled(&original, false));
    let total = |lake: &Lake| costs(lake).values().map(|call| call.0).sum::<i128>();
    let before = total(&Lake::open_reader(&original).unwrap());
    let (mut edges, mut happened) = (0, false);
    'edges: for at in 0.. {
        for done in [false, true] {
            let root = folder.path().join(format!("{at}-{done}"));
            copy(&original, &root);
            let (writes, down) = Default::default();
            let storage = Failing { inner: Arc::new(LocalObjects::new(&root)), at, done, writes, down };
            let context = format!("write {at}, done: {done}");
            let outcome = Lake::open_writer_on(Arc::new(storage.clone()), &Still)
                .map_err(CorrectError::from)
                .and_then(|mut lake| correct(&mut lake, false));
            if !storage.down.load(Ordering::SeqCst) {
                outcome.unwrap();
                break 'edges;
            }
            edges += 1;
            let mut lake = Lake::open_writer(&root, &Still).unwrap_or_else(|error| panic!("{context}: {error:?}"));
            let found = total(&lake);
            let report = correct(&mut lake, false).unwrap_or_else(|error| panic!("{context}: {error:?}"));
            // All of it happened before the crash, or nothing did.
            assert!((found == before) == (report.changed > 0), "{context}: {report:?}");
            happened |= report.changed == 0;
            check(&lake, &context);
            std::fs::remove_dir_all(&root).unwrap();
        }
    }
    assert!(edges > 20 && happened, "{edges} edges");
}
