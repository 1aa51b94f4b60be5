//! A rating that is cut off at any write, and begun again: every table, window and counter tells one story, and in the end the right one.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::AsArray;
use sluice_aggregate::lake::{Lake, LocalObjects};
use sluice_ingest::files::{FolderSource, Mode as FolderMode};
use sluice_schemas::{Micros, PicoUsd};

use super::super::simulation::faults::{Armed, Faults, FaultyObjects, Kind};
use super::super::simulation::step::VirtualClock;
use super::super::{Mode, Pipeline, Settings};
use super::Order;
use crate::config::{Config, Origin};

/// 2026-10-20T12:00:00Z.
const NOW: Micros = Micros(1_792_497_600_000_000);
const ALL: Order = Order { all: false, dry_run: false };
/// Three calls of 0.3 USD are known from the start, three become known later.
const EARLY: PicoUsd = PicoUsd(900_000_000_000);
const LATE: PicoUsd = PicoUsd(1_800_000_000_000);

const CONFIG: &str = r#"[lake]
path = "lake"
[enrich]
prices_file = "prices.toml"
[[budget]]
name = "day"
limit = "1.00 USD"
window = "day"
[[budget.threshold]]
at = "100%"
do = ["notify"]
[[window]]
name = "by_hour"
sql = "SELECT date_bin(INTERVAL '1 hour', event_time) AS window_start, sum(cost_usd) AS usd, max(cost_usd) AS dearest FROM calls GROUP BY 1"
"#;

fn prices(models: &[&str]) -> String {
    let card = |model: &&str| format!("[[card]]\nmodel = '{model}'\nusd_per_million_tokens = {{ input = '1', output = '1' }}\n");
    let head = "format = 'sluice.prices/1'\nlabel = 'own'\neffective_from = '1970-01-01T00:00:00Z'\nsource = 'made up'\n";
    head.to_owned() + &models.iter().map(card).collect::<String>()
}

fn line(number: u32, model: &str) -> String {
    format!(
        r#"{{"schemaType":"ModelInvocationLog","schemaVersion":"1.0","timestamp":"2026-10-20T0{number}:00:00Z","accountId":"111122223333","identity":{{"arn":"arn:aws:iam::111122223333:user/a"}},"region":"us-east-1","requestId":"{number:08x}-0000-4000-8000-000000000000","operation":"Converse","modelId":"{model}","input":{{"inputTokenCount":300000}},"output":{{"outputTokenCount":0}}}}"#
    ) + "\n"
}

fn settings(root: &Path) -> Settings {
    let config = Config::load(&Origin { file: Some(root.join("sluice.toml").into()), lake: None }).unwrap();
    Settings { config, mode: Mode::Live, act: true, clock: Arc::new(VirtualClock::at(NOW)), board: Arc::default() }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A lake in which half of the calls have no price yet, and whose prices are known by now.
fn prepared(root: &Path) -> PathBuf {
    let (original, logs) = (root.join("original"), root.join("original/logs"));
    fs::create_dir_all(&logs).unwrap();
    fs::write(original.join("sluice.toml"), CONFIG).unwrap();
    fs::write(original.join("prices.toml"), prices(&["acme.known"])).unwrap();
    for (number, model) in (1..).zip(["acme.known", "acme.secret", "acme.known", "acme.secret", "acme.known", "acme.secret"]) {
        fs::write(logs.join(format!("{number}.jsonl")), line(number, model)).unwrap();
    }
    let mut pipeline = Pipeline::open(settings(&original)).unwrap();
    let source = FolderSource::open(&[logs], &pipeline.positions, FolderMode::Once).unwrap();
    let (handle, commands) = Pipeline::handle();
    pipeline.run(Box::new(source), &handle, &commands, &mut |_, _| {}).unwrap();
    assert_eq!(told(&pipeline), EARLY);
    drop(pipeline);
    fs::write(original.join("prices.toml"), prices(&["acme.known", "acme.secret"])).unwrap();
    original
}

/// What all calls cost, which everything must agree on.
fn told(pipeline: &Pipeline) -> PicoUsd {
    let engine = crate::lakeview::engine(&pipeline.lake, pipeline.live_rows()).unwrap();
    let sum = |sql: &str| {
        let rows = engine.sql(sql).unwrap();
        PicoUsd(rows[0].column(0).as_primitive::<arrow::datatypes::Decimal128Type>().value(0))
    };
    let calls = sum("SELECT sum(cost_usd) FROM calls");
    for table in ["spend_minute", "spend_hour", "spend_day", "spend_session"] {
        assert_eq!(sum(&format!("SELECT sum(cost_usd) FROM {table}")), calls, "{table}");
    }
    assert_eq!(sum("SELECT sum(usd) FROM by_hour_latest"), calls, "the declared window");
    let status = pipeline.budget_status();
    assert_eq!((status.len(), status[0].spent), (1, calls), "the budget");
    calls
}

fn count(pipeline: &Pipeline, table: &str) -> i64 {
    let engine = crate::lakeview::engine(&pipeline.lake, pipeline.live_rows()).unwrap();
    let rows = engine.sql(&format!("SELECT count(*) FROM {table}")).unwrap();
    rows[0].column(0).as_primitive::<arrow::datatypes::Int64Type>().value(0)
}

/// Rates on storage that fails at a write and works no more; tells whether it came to that.
fn cut_off(root: &Path, after: u64, kind: Kind) -> bool {
    let faults = Faults::default();
    let settings = settings(root);
    let inner = Arc::new(LocalObjects::new(&settings.config.lake));
    let lake = Lake::open_writer_on(Arc::new(FaultyObjects { inner, faults: faults.clone() }), &*settings.clock).unwrap();
    let shared = settings.config.shared.open().unwrap();
    let mut pipeline = Pipeline::open_on(lake, shared, settings).unwrap();
    faults.arm(Armed { after, kind, crash: true });
    let outcome = pipeline.rate_lake(ALL);
    assert_eq!(outcome.is_err(), faults.is_down(), "{outcome:?}");
    faults.is_down()
}

#[test]
fn a_rating_cut_off_at_any_write_is_none_or_whole() {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let original = prepared(folder.path());
    let (mut edges, mut found) = (0, Vec::new());
    // A third of the writes fails before its effect, another third after it: every kind of write is among them.
    for third in (0..).step_by(3) {
        let mut failed = false;
        for (after, kind) in [(third, Kind::Before), (third + 1, Kind::After)] {
            let root = folder.path().join(format!("{after}-{kind:?}"));
            copy(&original, &root);
            failed |= cut_off(&root, after, kind);
            let mut pipeline = Pipeline::open(settings(&root)).unwrap();
            let cost = told(&pipeline);
            assert!(cost == EARLY || cost == LATE, "write {after}, {kind:?}: {cost:?}");
            found.push(cost);
            pipeline.rate_lake(ALL).unwrap();
            assert_eq!(told(&pipeline), LATE, "write {after}, {kind:?}");
            let rows = (count(&pipeline, "corrections"), count(&pipeline, "breaches"));
            assert_eq!(rows, (3, 1), "write {after}, {kind:?}: one row for each move, one for the threshold crossed");
            assert_eq!(pipeline.rate_lake(ALL).unwrap()["changed"], 0);
            drop(pipeline);
            assert_eq!(told(&Pipeline::open(settings(&root)).unwrap()), LATE);
            fs::remove_dir_all(&root).unwrap();
            edges += 1;
        }
        if !failed {
            break;
        }
    }
    assert!(edges > 20 && found.contains(&EARLY) && found.contains(&LATE), "{edges} edges");
}
