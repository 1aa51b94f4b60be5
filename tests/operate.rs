//! A daemon as an operator sees it: health, metrics, status, exports, the log, and how it ends when it is told to.

#![cfg(test)]

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;

const SLUICE: &str = env!("CARGO_BIN_EXE_sluice");
/// Far longer than anything here takes; a wait that runs out is a failure, not a measurement.
const PATIENCE: Duration = Duration::from_secs(60);
/// Stands for everything that must be neither logged nor exported.
const HUSH: &str = "hush-hush";

struct Daemon {
    folder: tempfile::TempDir,
    process: Child,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Already gone when the test went well.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

impl Daemon {
    /// Starts a daemon with `[operate]` and `[enforce]` as given; its log is as loud as can be.
    fn start(operate: &str, webhook: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("logs")).unwrap();
        let config = format!(
            "[lake]\npath = 'lake'\ncommit_interval = '1s'\n[files]\npaths = ['logs']\n[control]\nsocket = 'control.sock'\n\
             [enforce]\nwebhook = '{webhook}'\n\
             [[budget]]\nname = 'all'\nlimit = '0.01 USD'\nwindow = 'lifetime'\n[[budget.threshold]]\nat = '100%'\ndo = ['notify']\n\
             [operate]\nlisten = '127.0.0.1:0'\n{operate}"
        );
        fs::write(folder.path().join("sluice.toml"), config).unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new(SLUICE);
        command.args(["-vv", "--log-format", "json", "run", "--config"]).arg(folder.path().join("sluice.toml"));
        let process = command.stderr(log).stdout(fs::File::create(folder.path().join("out")).unwrap()).spawn().unwrap();
        let mut daemon = Self { folder, process };
        daemon.wait_until("the start", |daemon| !daemon.events("running").is_empty());
        daemon
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Lines of the log with this event. The last line may be half written.
    fn events(&self, event: &str) -> Vec<Value> {
        let text = self.read("log");
        text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).filter(|line| line["event"] == event).collect()
    }

    fn wait_until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let begun = Instant::now();
        while !done(self) {
            assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}; the log:\n{}", self.read("log"));
            assert!(self.process.try_wait().unwrap().is_none(), "ended while one waited for {what}; the log:\n{}", self.read("log"));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn get(&self, path: &str) -> (u16, String) {
        let address = self.events("http_listening")[0]["address"].as_str().unwrap().to_owned();
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// Value of a sample of the page.
    fn sample(&self, name: &str) -> Option<String> {
        let (_, page) = self.get("/metrics");
        page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).map(str::to_owned)
    }

    fn ask(&self, arguments: &[&str]) -> Output {
        Command::new(SLUICE).args(arguments).arg("--config").arg(self.path("sluice.toml")).output().unwrap()
    }

    fn query(&self, sql: &str) -> Value {
        let output = self.ask(&["query", sql, "--format", "json"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Lays 300 calls with prompts into the followed folder, and two records that cannot be read.
    fn write_logs(&self) {
        let mut command = Command::new(SLUICE);
        command.arg("simulate").arg(self.path("made")).args(["--calls", "300", "--files", "1", "--duplicates-permille", "0"]);
        let output = command.args(["--bad-per-100k", "0", "--shape", "agent"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let made = fs::read_dir(self.path("made")).unwrap().next().unwrap().unwrap().path();
        let mut text = fs::read_to_string(made).unwrap();
        assert_eq!(text.lines().count(), 301, "300 calls and the line of a permission check");
        for field in ["content", "text"] {
            text = text.replace(&format!("\"{field}\":\""), &format!("\"{field}\":\"{HUSH} "));
        }
        assert!(text.matches(HUSH).count() > 100);
        text += &format!("{{\"prompt\":\"{HUSH}\"}}\n{HUSH}\n");
        fs::write(self.path("logs/calls.jsonl"), text).unwrap();
    }

    fn terminate(&mut self) -> Option<i32> {
        assert!(Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status().unwrap().success());
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("it does not end; the log:\n{}", self.read("log"));
    }
}

#[test]
fn an_operator_sees_how_a_daemon_does() {
    // Nobody listens there: the action fails and is logged.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let operate = format!(
        "export_interval = '1s'\nemf = 'emf.jsonl'\ninstance = 'test'\notlp = 'http://{closed}/v1/metrics?key={HUSH}'\n\
         [operate.otlp_headers]\nauthorization = 'Bearer {HUSH}'\n"
    );
    let mut daemon = Daemon::start(&operate, &format!("http://{closed}/{HUSH}"));
    daemon.wait_until("readiness", |daemon| daemon.get("/ready").0 == 200);
    assert_eq!(daemon.get("/live").0, 200);
    assert_eq!(daemon.sample("sluice_ready"), Some("1".to_owned()));
    daemon.write_logs();
    daemon.wait_until("300 calls", |daemon| daemon.sample(r#"sluice_records_total{outcome="call"}"#) == Some("300".to_owned()));
    assert_eq!(daemon.sample(r#"sluice_records_total{outcome="rejected"}"#), Some("2".to_owned()));
    daemon.wait_until("a lake commit", |daemon| daemon.sample("sluice_lake_epoch").is_some_and(|epoch| epoch != "0"));
    daemon.wait_until("the counted latency", |daemon| daemon.sample("sluice_commit_latency_seconds_count") == Some("303".to_owned()));

    // What is shown is what the lake holds.
    let exact = daemon.query("SELECT sum(cost_usd) AS usd FROM calls")[0]["usd"].as_str().unwrap().to_owned();
    let shown = daemon.sample("sluice_spend_usd_total").unwrap();
    assert_eq!(shown.parse::<f64>().unwrap(), exact.parse::<f64>().unwrap());

    let status = daemon.ask(&["status", "--format", "json"]);
    assert_eq!(status.status.code(), Some(0), "{}", String::from_utf8_lossy(&status.stderr));
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!((&status["ready"], &status["stage"], &status["counts"]["facts"]), (&Value::Bool(true), &"running".into(), &300.into()));
    let told = String::from_utf8(daemon.ask(&["status"]).stdout).unwrap();
    assert!(told.contains("· ready · running") && told.contains("300 calls"), "{told}");

    daemon.wait_until("a breach", |daemon| daemon.sample("sluice_breaches_total") == Some("1".to_owned()));
    daemon.wait_until("a failed export", |daemon| !daemon.events("export_failed").is_empty());
    let (_, page) = daemon.get("/metrics");
    assert_eq!(daemon.terminate(), Some(0));

    let lines = daemon.read("emf.jsonl");
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let calls: f64 = lines.iter().map(|line| line["Calls"].as_f64().unwrap()).sum();
    assert_eq!(calls, 300.0, "the lines add up, the last one is written at the end");
    let log = daemon.read("log");
    events_in_order(&log);
    for (name, text) in
        [("log", &log), ("metrics", &page), ("status", &told), ("emf", &daemon.read("emf.jsonl")), ("out", &daemon.read("out"))]
    {
        assert!(!text.contains(HUSH), "{name}: {}", text.lines().find(|line| line.contains(HUSH)).unwrap_or_default());
    }
}

fn events_in_order(log: &str) {
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"))).collect();
    for line in &lines {
        assert!(["timestamp", "level", "message"].iter().all(|field| line[field].is_string()), "{line}");
    }
    let mut expected =
        ["starting", "http_listening", "recovered", "running", "ready", "lake_commit", "drain_begun", "stopped"].iter().peekable();
    for event in lines.iter().filter_map(|line| line["event"].as_str()) {
        expected.next_if(|next| **next == event);
    }
    assert_eq!(expected.next(), None, "missing or out of order in\n{log}");
    let recovered = lines.iter().find(|line| line["event"] == "recovered").unwrap();
    assert!(["epoch", "fence", "positions", "took_ms"].iter().all(|field| recovered[field].is_u64()), "{recovered}");
}

#[test]
fn a_drain_that_takes_too_long_names_who_is_late_and_loses_nothing() {
    // Takes every connection and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let webhook = format!("http://{}/{HUSH}", silent.local_addr().unwrap());
    let mut daemon = Daemon::start("drain = '2s'\n", &webhook);
    daemon.write_logs();
    daemon.wait_until("300 calls", |daemon| daemon.sample(r#"sluice_records_total{outcome="call"}"#) == Some("300".to_owned()));
    let asked = silent.accept().unwrap();
    let begun = Instant::now();
    assert_eq!(daemon.terminate(), Some(3), "{}", daemon.read("log"));
    assert!(begun.elapsed() >= Duration::from_secs(2), "not before the deadline");
    let late = daemon.events("drain_late");
    assert!(late.iter().any(|line| line["who"] == "effects" || line["who"] == "threads"), "{late:?}");
    assert_eq!(daemon.events("drain_cut_off")[0]["exit_code"], 3);
    assert!(!daemon.read("log").contains(HUSH));
    drop((asked, silent));
    // Local state holds what the lake did not get; the next process carries it there.
    let output = daemon.ask(&["replay", &daemon.path("logs").display().to_string()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rows = daemon.query("SELECT count(*) AS calls, count(DISTINCT request_id) AS ids FROM calls");
    assert_eq!((&rows[0]["calls"], &rows[0]["ids"]), (&300.into(), &300.into()));
}

#[test]
fn an_address_in_use_is_told_before_anything_is_opened() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(SLUICE);
    command.args(["run", "--lake"]).arg(folder.path().join("lake")).arg(folder.path());
    let output = command.env("SLUICE__OPERATE__LISTEN", taken.local_addr().unwrap().to_string()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("operate.listen") && told.contains(&taken.local_addr().unwrap().to_string()), "{told}");
    assert!(!folder.path().join("lake").exists());
}

#[test]
fn status_without_a_daemon_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(SLUICE).args(["status", "--lake"]).arg(folder.path().join("lake")).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no daemon answers"));
}
