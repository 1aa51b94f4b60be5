//! Calls known from CloudTrail, from the log, or from both, in every order: each counts once, at the best that is known.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{Decimal128Type, Int64Type};
use sluice_aggregate::lake::{Lake, LocalObjects};
use sluice_ingest::files::{FolderSource, Mode as FolderMode};
use sluice_schemas::{Micros, PicoUsd};

use super::super::simulation::faults::{Armed, Faults, FaultyObjects, Kind};
use super::super::simulation::step::VirtualClock;
use super::super::{Mode, Pipeline, Settings};
use crate::config::{Config, Origin};

/// 2026-10-20T12:00:00Z.
const NOW: Micros = Micros(1_792_497_600_000_000);

const CONFIG: &str = r#"[lake]
path = "lake"
[enrich]
prices_file = "prices.toml"
[[budget]]
name = "told"
limit = "100.00 USD"
window = "day"
[[budget.threshold]]
at = "100%"
do = ["notify"]
[[budget]]
name = "bounds"
limit = "100.00 USD"
window = "day"
lower_bound = true
[[budget.threshold]]
at = "100%"
do = ["notify"]
"#;
const PRICES: &str = "format = 'sluice.prices/1'\nlabel = 'own'\neffective_from = '1970-01-01T00:00:00Z'\nsource = 'made up'\n[[card]]\nmodel = 'acme.known'\nusd_per_million_tokens = { input = '1', output = '1', cache_read = '1' }\n";

/// A log record: a million tokens, and as many from the cache, which CloudTrail does not tell of.
fn logged(number: u32, region: &str, at: &str) -> String {
    format!(
        r#"{{"schemaType":"ModelInvocationLog","schemaVersion":"1.0","timestamp":"2026-10-20T{at}Z","accountId":"111122223333","identity":{{"arn":"arn:aws:iam::111122223333:user/a"}},"region":"{region}","requestId":"{number:08x}-0000-4000-8000-000000000000","operation":"Converse","modelId":"acme.known","input":{{"inputTokenCount":1000000,"cacheReadInputTokenCount":1000000}},"output":{{"outputTokenCount":0}}}}"#
    ) + "\n"
}

/// CloudTrail's event of a call, with or without token counts.
fn called(number: u32, region: &str, at: &str, tokens: bool) -> String {
    let data = if tokens { r#"{"inputTokens":1000000,"outputTokens":0}"# } else { "null" };
    format!(
        r#"{{"eventVersion":"1.10","userIdentity":{{"type":"IAMUser","arn":"arn:aws:iam::111122223333:user/a","accountId":"111122223333","accessKeyId":"AKIAA"}},"eventTime":"2026-10-20T{at}Z","eventSource":"bedrock.amazonaws.com","eventName":"Converse","awsRegion":"{region}","requestParameters":{{"modelId":"acme.known"}},"additionalEventData":{data},"requestID":"{number:08x}-0000-4000-8000-000000000000","eventID":"{number:08x}-0000-4000-8000-0000000000cc","eventType":"AwsApiCall","recipientAccountId":"111122223333"}}"#
    ) + "\n"
}

fn settings(root: &Path, mode: Mode) -> Settings {
    let config = Config::load(&Origin { file: Some(root.join("sluice.toml").into()), lake: None }).unwrap();
    Settings { config, mode, act: true, clock: Arc::new(VirtualClock::at(NOW)), board: Arc::default() }
}

/// Reads everything in the folder to its end.
fn read(root: &Path, mode: Mode) -> Pipeline {
    let mut pipeline = Pipeline::open(settings(root, mode)).unwrap();
    let source = FolderSource::open(&[root.join("logs")], &pipeline.positions, FolderMode::Once).unwrap();
    let (handle, commands) = Pipeline::handle();
    pipeline.run(Box::new(source), &handle, &commands, &mut |_, _| {}).unwrap();
    pipeline
}

fn prepare(root: &Path) -> PathBuf {
    let logs = root.join("logs");
    fs::create_dir_all(&logs).unwrap();
    fs::write(root.join("sluice.toml"), CONFIG).unwrap();
    fs::write(root.join("prices.toml"), PRICES).unwrap();
    logs
}

/// Calls and whole dollars by basis of cost; every table must agree.
fn told(pipeline: &Pipeline) -> Vec<(String, i64, i128)> {
    let engine = crate::lakeview::engine(&pipeline.lake, pipeline.live_rows()).unwrap();
    let total = |table: &str| {
        let rows = engine.sql(&format!("SELECT sum(cost_usd) FROM {table}")).unwrap();
        rows[0].column(0).as_primitive::<Decimal128Type>().value(0)
    };
    for table in ["spend_minute", "spend_hour", "spend_day", "spend_session"] {
        assert_eq!(total(table), total("calls"), "{table}");
    }
    let rows = engine.sql("SELECT arrow_cast(cost_basis, 'Utf8'), count(*), sum(cost_usd) FROM calls GROUP BY 1 ORDER BY 1").unwrap();
    let mut found: Vec<(String, i64, i128)> = Vec::new();
    for batch in rows {
        let (basis, calls, cost) = (
            batch.column(0).as_string::<i32>(),
            batch.column(1).as_primitive::<Int64Type>(),
            batch.column(2).as_primitive::<Decimal128Type>(),
        );
        found.extend((0..batch.num_rows()).map(|row| (basis.value(row).to_owned(), calls.value(row), cost.value(row) / 1_000_000_000_000)));
    }
    let budget = |name: &str| {
        let of_budget = pipeline.budget_status().into_iter().filter(|status| status.budget == name);
        of_budget.map(|status| status.spent).sum::<PicoUsd>().0 / 1_000_000_000_000
    };
    let exact: i128 = found.iter().filter(|(basis, ..)| basis != "lower_bound").map(|(.., usd)| usd).sum();
    assert_eq!((budget("told"), budget("bounds")), (exact, found.iter().map(|(.., usd)| usd).sum()), "{found:?}");
    found
}

fn is(basis: &str, calls: i64, usd: i128) -> (String, i64, i128) {
    (basis.to_owned(), calls, usd)
}

#[test]
fn what_no_log_brings_is_metered_whether_or_not_logs_are_on() {
    for mode in [Mode::Live, Mode::Bulk] {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let logs = prepare(folder.path());
        let mut text = logged(1, "us-east-1", "09:00:00") + &called(1, "us-east-1", "09:00:03", true);
        // Its log was off just then.
        text += &called(2, "us-east-1", "09:10:00", true);
        text += &called(3, "eu-west-1", "09:20:00", true);
        text += &called(3, "eu-west-1", "09:20:00", true);
        text += &called(4, "eu-west-1", "09:30:00", false);
        // One that failed cost nothing, unless tokens are told of it.
        let fails = |event: String| event.replace(r#""eventType""#, r#""errorCode":"ThrottlingException","eventType""#);
        text += &fails(called(5, "eu-west-1", "09:40:00", false));
        text += &fails(called(6, "eu-west-1", "09:50:00", true));
        fs::write(logs.join("1.jsonl"), text).unwrap();
        let pipeline = read(folder.path(), mode);
        assert_eq!(told(&pipeline), [is("exact", 1, 2), is("lower_bound", 4, 3)]);
        let engine = crate::lakeview::engine(&pipeline.lake, pipeline.live_rows()).unwrap();
        let unpriced = engine.sql("SELECT count(*) FROM calls WHERE NOT priced AND region = 'eu-west-1'").unwrap();
        assert_eq!(unpriced[0].column(0).as_primitive::<Int64Type>().value(0), 1, "unknown is not zero");
        drop(pipeline);
        assert_eq!(told(&read(folder.path(), mode)), [is("exact", 1, 2), is("lower_bound", 4, 3)], "a second pass changes nothing");
    }
}

#[test]
fn order_and_split_of_log_and_events_change_nothing() {
    // The log of the second is written when its stream ends, an hour later; of the fourth there is none, and it is one more than is
    // waited for by name.
    let times = [("09:10:00", "09:10:02"), ("11:01:00", "09:59:30"), ("09:59:59", "10:00:01")];
    let logs: Vec<String> = (0..).zip(times).map(|(number, (log, _))| logged(number, "us-east-1", log)).collect();
    let mut events: Vec<String> = (0..).zip(times).map(|(number, (_, event))| called(number, "us-east-1", event, true)).collect();
    events.push(called(3, "us-east-1", "09:30:00", true));
    let (logs, events) = (logs.concat(), events.concat());
    let passes: [&[&str]; 5] = [
        &[&(logs.clone() + &events)],
        &[&(events.clone() + &logs)],
        &[&logs, &events],
        &[&events, &logs],
        &[&events, &logs, &events, &logs],
    ];
    for mode in [Mode::Live, Mode::Bulk] {
        for passes in passes {
            let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
            let place = prepare(folder.path());
            let mut last = Vec::new();
            for (number, text) in passes.iter().enumerate() {
                fs::write(place.join(format!("{number}.jsonl")), text).unwrap();
                last = told(&read(folder.path(), mode));
            }
            assert_eq!(last, [is("exact", 3, 6), is("lower_bound", 1, 1)], "{mode:?}, {} passes", passes.len());
        }
    }
}

#[test]
fn an_event_whose_log_could_not_take_its_place_is_not_metered() {
    for mode in [Mode::Live, Mode::Bulk] {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let logs = prepare(folder.path());
        let event = || called(1, "us-east-1", "09:00:03", true);
        let id = |number: u32, event: String| event.replace("0000000000cc", &format!("0000000000{number:02}"));
        let region = |name: &str| event().replace(r#""awsRegion":"us-east-1""#, &format!(r#""awsRegion":{name}"#));
        let recipient =
            |name: &str| event().replace(r#""recipientAccountId":"111122223333""#, &format!(r#""recipientAccountId":"{name}""#));
        // As told to the owner of what another account called.
        let others =
            recipient("222222222222").replace(r#""type":"IAMUser","arn":"arn:aws:iam::111122223333:user/a""#, r#""type":"AWSAccount""#);
        let odd = [region("null"), region(r#""XX-XXXX-1""#), recipient("XXXXXXXXXX"), recipient("222222222222"), others];
        let odd: String = (0..).zip(odd).map(|(number, event)| id(number, event)).collect();
        fs::write(logs.join("1.jsonl"), odd + &logged(1, "us-east-1", "09:00:00")).unwrap();
        assert_eq!(told(&read(folder.path(), mode)), [is("exact", 1, 2)]);
    }
}

#[test]
fn the_log_takes_the_place_of_what_was_metered_whenever_it_comes() {
    for mode in [Mode::Live, Mode::Bulk] {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let logs = prepare(folder.path());
        // Just before the hour by the log, just after it by CloudTrail.
        let calls = [("09:59:58", "10:00:01"), ("09:30:00", "09:30:02"), ("10:05:00", "10:05:01")];
        let events: String = (0..).zip(calls).map(|(number, (_, event))| called(number, "us-east-1", event, true)).collect();
        fs::write(logs.join("1.jsonl"), events).unwrap();
        assert_eq!(told(&read(folder.path(), mode)), [is("lower_bound", 3, 3)]);
        let first = logged(0, "us-east-1", calls[0].0) + &logged(1, "us-east-1", calls[1].0);
        fs::write(logs.join("2.jsonl"), first).unwrap();
        let pipeline = read(folder.path(), mode);
        assert_eq!(told(&pipeline), [is("exact", 2, 4), is("lower_bound", 1, 1)]);
        let engine = crate::lakeview::engine(&pipeline.lake, pipeline.live_rows()).unwrap();
        let removed = engine.sql("SELECT count(*) FROM corrections WHERE kind = 'removed' AND cost_after_usd = 0").unwrap();
        assert_eq!(removed[0].column(0).as_primitive::<Int64Type>().value(0), 2);
        drop(pipeline);
        // The events and the log once more, and the rest.
        fs::copy(logs.join("1.jsonl"), logs.join("3.jsonl")).unwrap();
        fs::write(logs.join("4.jsonl"), logged(1, "us-east-1", calls[1].0) + &logged(2, "us-east-1", calls[2].0)).unwrap();
        assert_eq!(told(&read(folder.path(), mode)), [is("exact", 3, 6)]);
        assert_eq!(told(&read(folder.path(), mode)), [is("exact", 3, 6)]);
    }
}

/// Reads on storage that fails at a write and works no more; tells whether it came to that.
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
fn metering_and_giving_way_cut_off_at_any_write_are_gone_on_with() {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let mut edges = 0;
    // First the metering is cut off, then the log that takes its place; local state is lost every other time.
    for third in (0..).step_by(3) {
        let mut failed = false;
        for (after, kind) in [(third, Kind::Before), (third + 1, Kind::After)] {
            let root = folder.path().join(format!("{after}-{kind:?}"));
            let logs = prepare(&root);
            let lose = |root: &Path| {
                let config = Config::load(&Origin { file: Some(root.join("sluice.toml").into()), lake: None }).unwrap();
                if after % 2 == 0 {
                    fs::remove_file(&config.state).unwrap();
                }
            };
            let events = called(0, "us-east-1", "10:00:01", true) + &called(1, "us-east-1", "09:30:02", true);
            fs::write(logs.join("1.jsonl"), events).unwrap();
            failed |= cut_off(&root, after, kind);
            lose(&root);
            assert_eq!(told(&read(&root, Mode::Live)), [is("lower_bound", 2, 2)], "metered, write {after}, {kind:?}");
            fs::write(logs.join("2.jsonl"), logged(0, "us-east-1", "09:59:58") + &logged(1, "us-east-1", "09:30:00")).unwrap();
            failed |= cut_off(&root, after, kind);
            lose(&root);
            assert_eq!(told(&read(&root, Mode::Live)), [is("exact", 2, 4)], "replaced, write {after}, {kind:?}");
            fs::remove_dir_all(&root).unwrap();
            edges += 1;
        }
        if !failed {
            break;
        }
    }
    assert!(edges > 10, "{edges} edges");
}

#[test]
fn the_log_of_a_call_that_is_metered_just_now_is_not_lost() {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let logs = prepare(folder.path());
    let config = CONFIG.to_owned() + "[cloudtrail]\nmeter_after = \"0s\"\n";
    fs::write(folder.path().join("sluice.toml"), config).unwrap();
    // Each piece of the log comes when the event before it is due.
    let calls = ["09:10:00", "09:59:59", "10:20:00", "10:40:00"];
    for (number, at) in (0..).zip(calls) {
        fs::write(logs.join(format!("{number}-event.jsonl")), called(number, "us-east-1", at, true)).unwrap();
        fs::write(logs.join(format!("{number}-log.jsonl")), logged(number, "us-east-1", at)).unwrap();
    }
    assert_eq!(told(&read(folder.path(), Mode::Live)), [is("exact", 4, 8)]);
    assert_eq!(told(&read(folder.path(), Mode::Live)), [is("exact", 4, 8)]);
}
