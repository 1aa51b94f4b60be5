//! Workers as Lambda functions before a ledger, on an emulator of Kinesis and a runtime API of the test's own: functions are killed,
//! publishing fails and loses answers, batches of a shard overtake one another and come twice. The lake must hold row for row what
//! one process makes of the same stream.

#![cfg(test)]

#[path = "live/fault_proxy.rs"]
mod fault_proxy;
#[path = "lambda_live/mapping.rs"]
mod mapping;
#[path = "live/kinesis_stream.rs"]
mod stream;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fault_proxy::{Answer, Fault, FaultProxy};
use mapping::{Function, Mapping};
use serde_json::Value;
use stream::Service;

const SLUICE: &str = env!("CARGO_BIN_EXE_sluice");
/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(120);
const CALLS: u64 = 1_500;

/// A ledger and its lake.
struct Ledger {
    config: PathBuf,
    process: Child,
}

impl Drop for Ledger {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

impl Ledger {
    fn start(folder: &Path, name: &str, stream: &str, endpoint: &str) -> Self {
        let config = folder.join(format!("{name}.toml"));
        let text = format!(
            "[lake]\npath = '{name}'\ncommit_interval = '1s'\n[control]\nsocket = '{name}.sock'\n\
             [[source]]\nkind = 'kinesis'\nstreams = ['{stream}']\nregion = 'eu-central-1'\nendpoint = '{endpoint}'\n"
        );
        fs::write(&config, text).unwrap();
        let log = fs::File::create(folder.join(format!("{name}.log"))).unwrap();
        let process = Command::new(SLUICE).args(["run", "--config"]).arg(&config).stderr(log).spawn().unwrap();
        Self { config, process }
    }

    fn ask(&self, arguments: &[&str]) -> Option<Value> {
        let output = Command::new(SLUICE).args(arguments).arg("--config").arg(&self.config).stderr(Stdio::null()).output().unwrap();
        if output.status.success() { serde_json::from_slice(&output.stdout).ok() } else { None }
    }

    /// Calls and refused records so far.
    fn counts(&self) -> (u64, u64) {
        let top = self.ask(&["top", "--once", "--format", "json"]);
        let count = |name: &str| top.as_ref().and_then(|top| top["totals"][name].as_u64()).unwrap_or(0);
        (count("facts"), count("rejected"))
    }

    fn stop(mut self) -> Self {
        assert!(Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status().unwrap().success());
        assert!(self.process.wait().unwrap().success());
        self
    }

    fn rows(&self, sql: &str) -> Vec<Value> {
        let rows = self.ask(&["query", sql, "--format", "json"]).unwrap_or_else(|| panic!("{sql}"));
        rows.as_array().unwrap().clone()
    }
}

/// Refuses, loses and forgets a part of what is put, for stretches that outlast the tries of an invocation.
fn trouble(upstream: &str) -> FaultProxy {
    let puts = AtomicU64::new(0);
    FaultProxy::start(upstream, move |request| {
        if request.header("x-amz-target") != Some("Kinesis_20131202.PutRecord") {
            return Fault::Pass;
        }
        let number = puts.fetch_add(1, Ordering::Relaxed);
        let refused = Answer {
            status: 500,
            content_type: "application/x-amz-json-1.1",
            body: r#"{"__type":"InternalFailureException","message":"trouble"}"#.to_owned(),
        };
        match number % 100 {
            20..60 => Fault::Instead(refused),
            60..63 => Fault::AnswerLost,
            63 => Fault::After(refused),
            64 => Fault::Lost,
            65 => Fault::Stalled,
            _ => Fault::Pass,
        }
    })
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Records in the forms they come in: some lines each, some of them compressed.
fn records(folder: &Path) -> Vec<Vec<u8>> {
    let made = folder.join("made");
    let calls = CALLS.to_string();
    let arguments =
        ["--calls", &calls, "--shape", "meta", "--files", "1", "--bad-per-100k", "2000", "--duplicates-permille", "0", "--seed", "7"];
    let output = Command::new(SLUICE).arg("simulate").arg(&made).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut records = Vec::new();
    for file in fs::read_dir(&made).unwrap().map(Result::unwrap) {
        let text = fs::read(file.path()).unwrap();
        let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
        for (number, group) in lines.chunks(4).enumerate() {
            let plain = group.concat();
            records.push(if number % 3 == 0 { stream::gzip(&plain) } else { plain });
        }
    }
    records
}

const CALLS_SQL: &str = "SELECT source, request_id, event_time, account_id, agent_id, session_id, model, input_tokens, output_tokens, \
                         cost_usd, cost_basis, priced FROM calls";
const REJECTED_SQL: &str = "SELECT source, sequence, \"offset\", reason, sha256 FROM rejected";

fn table(ledger: &Ledger, sql: &str) -> Vec<String> {
    let mut rows: Vec<String> = ledger.rows(sql).iter().map(Value::to_string).collect();
    rows.sort();
    rows
}

#[test]
fn functions_before_a_ledger_give_what_one_process_gives() {
    let Some(endpoint) = stream::endpoint() else { return };
    let folder = tempfile::tempdir().unwrap();
    let service = Service::new(&endpoint, "eu-central-1");
    service.create("lambda-raw", 2);
    service.create("lambda-relay", 2);
    let placed = service.put("lambda-raw", &records(folder.path()));
    let direct = Ledger::start(folder.path(), "direct", "lambda-raw", &endpoint);
    let relayed = Ledger::start(folder.path(), "relayed", "lambda-relay", &endpoint);

    let proxy = trouble(&endpoint);
    let config = folder.path().join("sluice.toml");
    let relay = format!("[relay]\nstream = 'lambda-relay'\nregion = 'eu-central-1'\nendpoint = '{}'\n", proxy.url);
    fs::write(&config, relay).unwrap();
    let mapping = Arc::new(Mapping::default());
    let mut functions: Vec<Function> = (0..3).map(|number| Function::start(number, folder.path(), &mapping)).collect();
    let lanes: Vec<_> = placed.into_iter().map(|(shard, records)| mapping::lane(&mapping, "lambda-raw", shard, records)).collect();
    // Functions die in the middle of an invocation.
    for round in 0..4 {
        std::thread::sleep(Duration::from_millis(700));
        functions[round % 3].kill();
    }
    let mut told = mapping::Told::default();
    lanes.into_iter().flatten().for_each(|lane| told.add(&lane.join().expect("a lane of the mapping")));
    assert!(proxy.faults() > 0 && told.partial > 0 && told.lost > 0, "{told:?}, {} faults", proxy.faults());

    wait_until("the direct ledger", || direct.counts().0 == CALLS && direct.counts().1 > 0);
    wait_until("the relayed ledger", || relayed.counts() == direct.counts());
    // What is still on its way comes twice and counts nothing.
    std::thread::sleep(Duration::from_secs(2));
    let (direct, relayed) = (direct.stop(), relayed.stop());
    for sql in [CALLS_SQL, REJECTED_SQL] {
        let (expected, found) = (table(&direct, sql), table(&relayed, sql));
        assert_eq!(expected.len(), found.len(), "{sql}");
        assert!(expected == found, "{sql}: {:?}", expected.iter().zip(&found).find(|(one, other)| one != other));
    }
}

/// What is wrong with a function is told to the runtime API, in words that help.
#[test]
fn a_function_that_cannot_work_says_why() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("sluice.toml"), "[lake]\npath = 'lake'\n").unwrap();
    let mapping = Arc::new(Mapping::default());
    let function = Function::start(0, folder.path(), &mapping);
    wait_until("a complaint", || !mapping.complaints().is_empty());
    assert!(mapping.complaints()[0].contains("[relay]"), "{:?}", mapping.complaints());
    drop(function);
}
