//! Evidence in every order, and settling that is cut off at any write: calls, spend tables, windows and counters tell one story.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Decimal128Type;
use sluice_aggregate::lake::{Lake, LocalObjects};
use sluice_enforce::{Hold, HoldState};
use sluice_ingest::files::{FolderSource, Mode as FolderMode};
use sluice_schemas::time::SECOND;
use sluice_schemas::{Clock, Micros, PicoUsd};

use super::super::simulation::faults::{Armed, Faults, FaultyObjects, Kind};
use super::super::{Mode, Pipeline, Settings};
use crate::config::{Config, Origin};

/// 2026-10-20T12:00:00Z.
const NOW: Micros = Micros(1_792_497_600_000_000);
/// Price of one call.
const CALL: PicoUsd = PicoUsd(300_000_000_000);

const CONFIG: &str = r#"[lake]
path = "lake"
[enrich]
prices_file = "prices.toml"
[[budget]]
name = "agents"
each = ["agent_id"]
limit = "0.50 USD"
window = "lifetime"
[[budget.threshold]]
at = "100%"
do = ["notify", "hold"]
[[window]]
name = "by_agent"
sql = "SELECT date_bin(INTERVAL '1 hour', event_time) AS window_start, agent_id, sum(cost_usd) AS usd FROM calls GROUP BY 1, 2"
"#;
const PRICES: &str = "format = 'sluice.prices/1'\nlabel = 'own'\neffective_from = '1970-01-01T00:00:00Z'\nsource = 'made up'\n[[card]]\nmodel = 'acme.known'\nusd_per_million_tokens = { input = '1', output = '1' }\n";

const ROLE: &str = "arn:aws:sts::111122223333:assumed-role/Shared/worker";

/// A call of the shared role, at a minute of the hour 09.
fn call(number: u32, minute: u32) -> String {
    format!(
        r#"{{"schemaType":"ModelInvocationLog","schemaVersion":"1.0","timestamp":"2026-10-20T09:{minute:02}:00Z","accountId":"111122223333","identity":{{"arn":"{ROLE}"}},"region":"us-east-1","requestId":"{number:08x}-0000-4000-8000-000000000000","operation":"Converse","modelId":"acme.known","input":{{"inputTokenCount":300000}},"output":{{"outputTokenCount":0}}}}"#
    ) + "\n"
}

/// The event that opens a session of the shared role for an agent.
fn opened(number: u32, minute: u32, key: &str, agent: &str) -> String {
    format!(
        r#"{{"eventVersion":"1.08","userIdentity":{{"type":"AssumedRole","arn":"arn:aws:sts::111122223333:assumed-role/Broker/b","accountId":"111122223333","accessKeyId":"ASIABROKER"}},"eventTime":"2026-10-20T09:{minute:02}:00Z","eventSource":"sts.amazonaws.com","eventName":"AssumeRole","awsRegion":"us-east-1","requestParameters":{{"roleArn":"arn:aws:iam::111122223333:role/Shared","roleSessionName":"worker","tags":[{{"key":"agent_id","value":"{agent}"}}]}},"responseElements":{{"credentials":{{"accessKeyId":"{key}","expiration":"Oct 20, 2026, 10:{minute:02}:00 AM"}},"assumedRoleUser":{{"assumedRoleId":"AROASHARED:worker","arn":"{ROLE}"}}}},"requestID":"{number:08x}-0000-4000-8000-0000000000aa","eventID":"{number:08x}-0000-4000-8000-0000000000bb","eventType":"AwsApiCall","recipientAccountId":"111122223333"}}"#
    ) + "\n"
}

/// CloudTrail's own event of a call, some seconds later.
fn called(number: u32, minute: u32, key: &str) -> String {
    format!(
        r#"{{"eventVersion":"1.10","userIdentity":{{"type":"AssumedRole","principalId":"AROASHARED:worker","arn":"{ROLE}","accountId":"111122223333","accessKeyId":"{key}"}},"eventTime":"2026-10-20T09:{minute:02}:07Z","eventSource":"bedrock.amazonaws.com","eventName":"Converse","awsRegion":"us-east-1","requestParameters":{{"modelId":"acme.known"}},"responseElements":null,"requestID":"{number:08x}-0000-4000-8000-000000000000","eventID":"{number:08x}-0000-4000-8000-0000000000cc","eventType":"AwsApiCall","recipientAccountId":"111122223333"}}"#
    ) + "\n"
}

/// Two agents share role and session name; three calls each, told apart by CloudTrail alone.
fn records() -> Vec<String> {
    let mut records = vec![opened(100, 0, "ASIARED", "red"), opened(101, 1, "ASIABLUE", "blue")];
    for number in 0..6 {
        records.push(call(number, 10 + number));
        records.push(called(number, 10 + number, if number < 4 { "ASIARED" } else { "ASIABLUE" }));
    }
    records
}

/// A clock that is a while later whenever it is looked at, so that nothing is saved by happening in the same moment.
#[derive(Debug)]
struct Ticking(AtomicI64);

impl Clock for Ticking {
    fn now(&self) -> Micros {
        Micros(self.0.fetch_add(17 * SECOND, Ordering::SeqCst))
    }
}

fn settings(root: &Path, mode: Mode) -> Settings {
    let config = Config::load(&Origin { file: Some(root.join("sluice.toml").into()), lake: None }).unwrap();
    // Each process begins later than the one before ended.
    static STARTS: AtomicI64 = AtomicI64::new(0);
    let start = NOW.0 + STARTS.fetch_add(1, Ordering::SeqCst) * 3_600 * SECOND;
    Settings { config, mode, act: true, clock: Arc::new(Ticking(AtomicI64::new(start))), board: Arc::default() }
}

/// Reads everything in the folder to its end.
fn read(pipeline: &mut Pipeline, root: &Path) {
    let source = FolderSource::open(&[root.join("logs")], &pipeline.positions, FolderMode::Once).unwrap();
    let (handle, commands) = Pipeline::handle();
    pipeline.run(Box::new(source), &handle, &commands, &mut |_, _| {}).unwrap();
}

fn prepare(root: &Path) -> PathBuf {
    let logs = root.join("logs");
    fs::create_dir_all(&logs).unwrap();
    fs::write(root.join("sluice.toml"), CONFIG).unwrap();
    fs::write(root.join("prices.toml"), PRICES).unwrap();
    logs
}

fn sums(rows: &[RecordBatch]) -> BTreeMap<String, PicoUsd> {
    let mut sums = BTreeMap::new();
    for batch in rows {
        let costs = batch.column(1).as_primitive::<Decimal128Type>();
        sums.extend((0..batch.num_rows()).map(|row| (batch.column(0).as_string::<i32>().value(row).to_owned(), PicoUsd(costs.value(row)))));
    }
    sums.retain(|_, sum| *sum != PicoUsd::ZERO);
    sums
}

/// What each agent spent, which everything must agree on.
fn told(pipeline: &Pipeline) -> BTreeMap<String, PicoUsd> {
    let engine = crate::lakeview::engine(&pipeline.lake, pipeline.live_rows()).unwrap();
    let by_agent = |table: &str, money: &str| {
        sums(&engine.sql(&format!("SELECT arrow_cast(agent_id, 'Utf8'), sum({money}) FROM {table} GROUP BY 1")).unwrap())
    };
    let calls = by_agent("calls", "cost_usd");
    for table in ["spend_minute", "spend_hour", "spend_day", "spend_session"] {
        assert_eq!(by_agent(table, "cost_usd"), calls, "{table}");
    }
    assert_eq!(by_agent("by_agent_latest", "usd"), calls, "the declared window");
    let budget = pipeline.budget_status().into_iter().map(|status| (status.target.clone(), status.spent));
    let budget: BTreeMap<String, PicoUsd> = budget.filter(|(_, spent)| *spent != PicoUsd::ZERO).collect();
    let counted: BTreeMap<String, PicoUsd> = calls.iter().map(|(agent, sum)| (format!("agent_id={agent}"), *sum)).collect();
    assert_eq!(budget, counted, "the budget");
    calls
}

fn right() -> BTreeMap<String, PicoUsd> {
    BTreeMap::from([("blue".to_owned(), PicoUsd(CALL.0 * 2)), ("red".to_owned(), PicoUsd(CALL.0 * 4))])
}

fn count(pipeline: &Pipeline, what: &str) -> i64 {
    let engine = crate::lakeview::engine(&pipeline.lake, pipeline.live_rows()).unwrap();
    let rows = engine.sql(&format!("SELECT count(*) FROM {what}")).unwrap();
    rows[0].column(0).as_primitive::<arrow::datatypes::Int64Type>().value(0)
}

/// A shuffle that depends on the seed alone.
fn shuffled(seed: u64) -> Vec<String> {
    let mut records = records();
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    for at in (1..records.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        records.swap(at, (state >> 33) as usize % (at + 1));
    }
    records
}

#[test]
fn the_order_of_calls_and_evidence_changes_nothing() {
    for seed in 0..12_u64 {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let logs = prepare(folder.path());
        let mode = if seed % 2 == 0 { Mode::Live } else { Mode::Bulk };
        // Some records a run, so that evidence meets calls in memory, in local state and in the lake; some come twice.
        for (run, records) in shuffled(seed).chunks(1 + seed as usize % 5).enumerate() {
            let text = records.concat() + if run % 3 == 0 { &records[0] } else { "" };
            fs::write(logs.join(format!("{run:02}.jsonl")), text).unwrap();
            let mut pipeline = Pipeline::open(settings(folder.path(), mode)).unwrap();
            read(&mut pipeline, folder.path());
            told(&pipeline);
        }
        let pipeline = Pipeline::open(settings(folder.path(), mode)).unwrap();
        assert_eq!(told(&pipeline), right(), "seed {seed}");
        assert_eq!(count(&pipeline, "evidence"), 8, "seed {seed}: one row an event");
    }
}

#[test]
fn a_move_is_written_down_once_and_a_hold_without_reason_is_let_go() {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let logs = prepare(folder.path());
    // Only one of the two sessions is known at first, so every call seems to be red's.
    let calls: Vec<String> = (0..6).map(|number| call(number, 10 + number)).collect();
    fs::write(logs.join("1.jsonl"), opened(100, 0, "ASIARED", "red") + &calls.concat()).unwrap();
    let mut pipeline = Pipeline::open(settings(folder.path(), Mode::Live)).unwrap();
    read(&mut pipeline, folder.path());
    assert_eq!(told(&pipeline), BTreeMap::from([("red".to_owned(), PicoUsd(CALL.0 * 6))]));
    let late: String = (0..6).map(|number| called(number, 10 + number, "ASIABLUE")).collect();
    fs::write(logs.join("2.jsonl"), opened(101, 1, "ASIABLUE", "blue") + &late).unwrap();
    read(&mut pipeline, folder.path());
    assert_eq!(told(&pipeline), BTreeMap::from([("blue".to_owned(), PicoUsd(CALL.0 * 6))]));
    assert_eq!(count(&pipeline, "corrections WHERE kind = 'owner' AND from_agent = 'red' AND to_agent = 'blue'"), 6);
    let (red, blue) = ("breaches WHERE target = 'agent_id=red'", "breaches WHERE target = 'agent_id=blue'");
    assert_eq!((count(&pipeline, red), count(&pipeline, blue)), (1, 1));
    let active = |hold: &Hold| hold.state == HoldState::Active;
    let holds: Vec<String> = pipeline.shared.holds().unwrap().into_iter().filter(active).map(|hold| hold.target).collect();
    assert_eq!(holds, ["agent_id=blue"]);
    // The same evidence once more moves nothing.
    fs::write(logs.join("3.jsonl"), late).unwrap();
    read(&mut pipeline, folder.path());
    assert_eq!(count(&pipeline, "corrections"), 6);
}

#[test]
fn more_tags_of_a_caller_are_no_move_and_budgets_follow_them_all_the_same() {
    const BUDGET: &str =
        "[[budget]]\nname = 'caller'\nwhere = \"tags['aws:userid'] = 'AROASHARED:worker'\"\nlimit = '9 USD'\nwindow = 'day'\n";
    for mode in [Mode::Live, Mode::Bulk] {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let logs = prepare(folder.path());
        fs::write(folder.path().join("sluice.toml"), CONFIG.to_owned() + BUDGET).unwrap();
        let spent = |pipeline: &Pipeline, budget: &str| {
            let of = pipeline.budget_status().into_iter().filter(|status| status.budget == budget && status.spent != PicoUsd::ZERO);
            of.map(|status| (status.target, status.spent)).collect::<Vec<_>>()
        };
        let kinds = |pipeline: &Pipeline| ["tags", "owner"].map(|kind| count(pipeline, &format!("corrections WHERE kind = '{kind}'")));
        fs::write(logs.join("1.jsonl"), (0..3).map(|number| call(number, 10 + number)).collect::<String>()).unwrap();
        let mut pipeline = Pipeline::open(settings(folder.path(), mode)).unwrap();
        read(&mut pipeline, folder.path());
        assert_eq!(spent(&pipeline, "caller"), []);
        // The calls' own events tell the user id of the caller, and nothing of an agent.
        fs::write(logs.join("2.jsonl"), (0..3).map(|number| called(number, 10 + number, "ASIARED")).collect::<String>()).unwrap();
        read(&mut pipeline, folder.path());
        assert_eq!(spent(&pipeline, "agents"), [("agent_id=unattributed".to_owned(), PicoUsd(CALL.0 * 3))]);
        assert_eq!(spent(&pipeline, "caller").iter().map(|(_, spent)| *spent).collect::<Vec<_>>(), [PicoUsd(CALL.0 * 3)], "{mode:?}");
        assert_eq!((kinds(&pipeline), pipeline.counts.moved), ([3, 0], 0), "{mode:?}");
        assert_eq!(count(&pipeline, "corrections WHERE from_agent <> to_agent OR reason <> 'more is known of its caller'"), 0);
        // Whose session it was comes last: now they move, and are told once.
        fs::write(logs.join("3.jsonl"), opened(100, 0, "ASIARED", "red")).unwrap();
        read(&mut pipeline, folder.path());
        assert_eq!(spent(&pipeline, "agents"), [("agent_id=red".to_owned(), PicoUsd(CALL.0 * 3))]);
        assert_eq!((kinds(&pipeline), pipeline.counts.moved), ([3, 3], 3), "{mode:?}");
        assert_eq!(count(&pipeline, "calls WHERE tags['aws:userid'] = 'AROASHARED:worker'"), 3);
    }
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

/// Reads late evidence on storage that fails at a write and works no more; tells whether it came to that.
fn cut_off(root: &Path, after: u64, kind: Kind) -> bool {
    let faults = Faults::default();
    let settings = settings(root, Mode::Live);
    let inner = Arc::new(LocalObjects::new(&settings.config.lake));
    let lake = Lake::open_writer_on(Arc::new(FaultyObjects { inner, faults: faults.clone() }), &*settings.clock).unwrap();
    let shared = settings.config.shared.open().unwrap();
    let mut pipeline = Pipeline::open_on(lake, shared, settings).unwrap();
    faults.arm(Armed { after, kind, crash: true });
    let source = FolderSource::open(&[root.join("logs")], &pipeline.positions, FolderMode::Once).unwrap();
    let (handle, commands) = Pipeline::handle();
    let outcome = pipeline.run(Box::new(source), &handle, &commands, &mut |_, _| {});
    assert_eq!(outcome.is_err(), faults.is_down(), "{outcome:?}");
    faults.is_down()
}

#[test]
fn settling_cut_off_at_any_write_is_gone_on_with() {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let original = folder.path().join("original");
    let logs = prepare(&original);
    let (evidence, calls): (Vec<_>, Vec<_>) = records().into_iter().partition(|record| record.contains("eventVersion"));
    // Of three calls only the lake knows; three more come in the process that is cut off, so that counters follow before files.
    fs::write(logs.join("1.jsonl"), calls[..3].concat()).unwrap();
    read(&mut Pipeline::open(settings(&original, Mode::Live)).unwrap(), &original);
    fs::write(logs.join("2.jsonl"), calls[3..].concat()).unwrap();
    fs::write(logs.join("3.jsonl"), evidence.concat()).unwrap();
    let mut edges = 0;
    for third in (0..).step_by(3) {
        let mut failed = false;
        for (after, kind) in [(third, Kind::Before), (third + 1, Kind::After)] {
            let root = folder.path().join(format!("{after}-{kind:?}"));
            copy(&original, &root);
            failed |= cut_off(&root, after, kind);
            // Every other time local state is lost, too.
            if after % 2 == 0 {
                let config = Config::load(&Origin { file: Some(root.join("sluice.toml").into()), lake: None }).unwrap();
                fs::remove_file(&config.state).unwrap();
            }
            let mut pipeline = Pipeline::open(settings(&root, Mode::Live)).unwrap();
            told(&pipeline);
            read(&mut pipeline, &root);
            assert_eq!(told(&pipeline), right(), "write {after}, {kind:?}");
            assert_eq!(count(&pipeline, "corrections"), 6, "write {after}, {kind:?}: one row for each move");
            drop(pipeline);
            assert_eq!(told(&Pipeline::open(settings(&root, Mode::Live)).unwrap()), right());
            fs::remove_dir_all(&root).unwrap();
            edges += 1;
        }
        if !failed {
            break;
        }
    }
    assert!(edges > 20, "{edges} edges");
}

mod ahead;
