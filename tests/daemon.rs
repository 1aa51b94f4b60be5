//! A running daemon and the command line around it: spend becomes visible, orders are followed, configuration is reloaded.

#![cfg(test)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};
use serde_json::Value;

const SLUICE: &str = env!("CARGO_BIN_EXE_sluice");
/// Far longer than anything here takes; a wait that runs out is a failure, not a measurement.
const PATIENCE: Duration = Duration::from_secs(60);

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

fn config(more: &str) -> String {
    format!(
        "[lake]\npath = 'lake'\ncommit_interval = '1s'\n[files]\npaths = ['logs']\n[control]\nsocket = 'control.sock'\n\
         [[budget]]\nname = 'agents'\neach = ['agent_id']\nlimit = '1.00 USD'\nwindow = 'lifetime'\n\
         [[budget.threshold]]\nat = '100%'\ndo = ['notify', 'hold']\n{more}"
    )
}

impl Daemon {
    fn start() -> Self {
        Self::with("", &[])
    }

    /// Starts with more configuration, and files beside it.
    fn with(more: &str, files: &[(&str, String)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("logs")).unwrap();
        fs::write(folder.path().join("sluice.toml"), config(more)).unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let process = run(folder.path());
        let daemon = Self { folder, process };
        daemon.wait_until("the socket", || daemon.path("control.sock").exists());
        daemon
    }

    fn stop(&mut self) {
        let stopped = Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status().unwrap();
        assert!(stopped.success());
        assert!(self.process.wait().unwrap().success());
    }

    fn start_again(&mut self) {
        self.process = run(self.folder.path());
        self.wait_until("the socket", || self.path("control.sock").exists());
    }

    /// Appends a call of agent `late` to the followed folder.
    fn log(&self, number: u64, model: &str, at: &str) {
        let line = format!(
            r#"{{"schemaType":"ModelInvocationLog","schemaVersion":"1.0","timestamp":"{at}","accountId":"111122223333","identity":{{"arn":"arn:aws:sts::111122223333:assumed-role/Agents/main"}},"region":"us-east-1","requestId":"{number:08x}-0000-4000-8000-000000000000","operation":"Converse","modelId":"{model}","requestMetadata":{{"agent_id":"late"}},"input":{{"inputContentType":"application/json","inputTokenCount":300000}},"output":{{"outputContentType":"application/json","outputTokenCount":0}}}}"#
        );
        let mut file = fs::OpenOptions::new().create(true).append(true).open(self.path("logs/calls.jsonl")).unwrap();
        writeln!(file, "{line}").unwrap();
    }

    fn usd(&self, sql: &str) -> String {
        let rows = self.json(&["query", sql, "--format", "json"]);
        sum(&rows).to_owned()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write_logs(&self, seed: &str) {
        let output = Command::new(SLUICE)
            .arg("simulate")
            .arg(self.path("made"))
            .args([
                "--calls",
                "300",
                "--shape",
                "agent",
                "--files",
                "2",
                "--duplicates-permille",
                "0",
                "--bad-per-100k",
                "0",
                "--seed",
                seed,
            ])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        for entry in fs::read_dir(self.path("made")).unwrap().map(Result::unwrap) {
            let name = format!("{seed}-{}", entry.file_name().to_string_lossy());
            fs::rename(entry.path(), self.path("logs").join(name)).unwrap();
        }
    }

    fn ask(&self, arguments: &[&str]) -> Output {
        Command::new(SLUICE).args(arguments).arg("--config").arg(self.path("sluice.toml")).output().unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.ask(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn facts(&self) -> u64 {
        self.json(&["query", "SELECT count(*) AS calls FROM calls", "--format", "json"])[0]["calls"].as_u64().unwrap()
    }

    fn wait_until(&self, what: &str, mut done: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !done() {
            assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn run(folder: &Path) -> Child {
    Command::new(SLUICE).args(["run", "--config"]).arg(folder.join("sluice.toml")).stderr(Stdio::null()).spawn().unwrap()
}

fn sum(rows: &Value) -> &str {
    rows[0]["usd"].as_str().unwrap()
}

#[test]
fn a_daemon_shows_spend_follows_orders_and_reloads() {
    let mut daemon = Daemon::start();
    daemon.write_logs("1");
    daemon.wait_until("300 calls", || daemon.facts() == 300);

    // Uncommitted rows and committed ones add up alike in every table, whenever one asks.
    let calls = daemon.json(&["query", "SELECT sum(cost_usd) AS usd FROM calls", "--format", "json"]);
    daemon.wait_until("the lake commit", || {
        let spend = daemon.json(&["query", "SELECT sum(cost_usd) AS usd FROM spend_day", "--format", "json"]);
        spend[0]["usd"].as_str() == Some(sum(&calls))
    });

    // Budgets and holds.
    let budgets = daemon.json(&["budget", "list", "--format", "json"]);
    assert!(budgets.as_array().unwrap().iter().any(|row| row["percent_millis"].as_u64() > Some(100_000)), "{budgets}");
    assert_eq!(daemon.ask(&["budget", "check"]).status.code(), Some(1));
    daemon.wait_until("a hold", || !daemon.json(&["hold", "list", "--format", "json"]).as_array().unwrap().is_empty());
    let holds = daemon.json(&["hold", "list", "--format", "json"]);
    assert_eq!(holds[0]["mode"], "observe");
    let breaches = fs::read_to_string(daemon.path("lake/_sluice/breaches.jsonl")).unwrap();
    assert!(breaches.lines().all(|line| serde_json::from_str::<Value>(line).is_ok_and(|breach| breach["schema"] == "sluice.breach/1")));

    reads_that_end_early(&daemon);
    orders(&daemon);
    reloads(&daemon);
    stops(&mut daemon);
}

/// A reader that has seen enough ends a command quietly, one that cannot keep what it is given does not; SQL may begin with a comment.
fn reads_that_end_early(daemon: &Daemon) {
    for words in [&["top"][..], &["top", "--once"], &["query", "SELECT * FROM calls"], &["config", "reference"]] {
        let mut command = Command::new(SLUICE);
        command.args(words).current_dir(daemon.folder.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{words:?}: {output:?}");
    }
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let status =
        Command::new(SLUICE).args(["query", "SELECT 1"]).current_dir(daemon.folder.path()).stdout(full).stderr(Stdio::null()).status();
    assert_eq!(status.unwrap().code(), Some(2), "what was lost is told");
    let rows = daemon.json(&["query", "-- all of them\nSELECT count(*) AS n FROM calls", "--format", "json"]);
    assert_eq!(rows[0]["n"].as_u64(), Some(300));
    assert_eq!(daemon.ask(&["query", "--no-such-option"]).status.code(), Some(2));
}

fn orders(daemon: &Daemon) {
    assert!(daemon.ask(&["pause", "someone", "--reason", "looks odd", "--actor", "ana"]).status.success());
    let paused = |daemon: &Daemon| {
        let holds = daemon.json(&["hold", "list", "--format", "json"]);
        holds.as_array().unwrap().iter().any(|hold| hold["target"] == "agent_id=someone" && hold["state"] == "active")
    };
    assert!(paused(daemon));
    assert!(daemon.ask(&["resume", "someone", "--actor", "ana"]).status.success());
    assert!(!paused(daemon));
    let again = daemon.ask(&["resume", "someone"]);
    assert!(!again.status.success() && String::from_utf8_lossy(&again.stderr).contains("not paused"));
    assert!(!daemon.ask(&["hold", "release", "no-such-hold"]).status.success());
    let rows = daemon.json(&["query", "SELECT action, actor FROM actions WHERE actor = 'ana'", "--format", "json"]);
    assert_eq!(rows.as_array().unwrap().len(), 2, "{rows}");
}

fn reloads(daemon: &Daemon) {
    let file = daemon.path("sluice.toml");
    fs::write(&file, config("[[budget]]\nname = 'broken'\nlimit = '5'\nwindow = 'fortnight'\n")).unwrap();
    // The command line refuses the file as the daemon would; nothing reaches it.
    let refused = daemon.ask(&["config", "reload"]);
    assert!(!refused.status.success());
    fs::write(&file, config("[[budget]]\nname = 'total'\nlimit = '0.50 USD'\nwindow = 'lifetime'\n[[budget.threshold]]\nat = '100%'\ndo = ['notify', 'hold']\n")).unwrap();
    let answer = daemon.ask(&["config", "reload"]);
    assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
    let budgets = daemon.json(&["budget", "list", "--format", "json"]);
    let total = budgets.as_array().unwrap().iter().find(|row| row["budget"] == "total").cloned().unwrap();
    let spent = daemon.json(&["query", "SELECT sum(cost_usd) AS usd FROM calls", "--format", "json"]);
    assert_eq!(total["spent"].as_str(), Some(sum(&spent)), "a new budget is filled from the lake");
    assert_eq!(total["confirmed"], false, "and only notifies until it is approved");
    let holds = daemon.json(&["hold", "list", "--format", "json"]);
    assert!(holds.as_array().unwrap().iter().all(|hold| hold["cause"]["budget"] != "total"), "{holds}");
    assert!(daemon.ask(&["approve", "total", "--actor", "ana"]).status.success());
    daemon.wait_until("the hold of the approved budget", || {
        daemon.json(&["hold", "list", "--format", "json"]).as_array().unwrap().iter().any(|hold| hold["cause"]["budget"] == "total")
    });
}

fn stops(daemon: &mut Daemon) {
    daemon.write_logs("2");
    daemon.wait_until("600 calls", || daemon.facts() == 600);
    let second = Command::new(SLUICE).arg("replay").arg(daemon.path("logs")).arg("--lake").arg(daemon.path("lake")).output().unwrap();
    assert!(!second.status.success(), "two writers on one lake");
    assert!(String::from_utf8_lossy(&second.stderr).contains("in use by process"));
    daemon.stop();
    let rows = daemon.json(&["query", "SELECT count(*) AS calls FROM calls", "--format", "json"]);
    assert_eq!(rows[0]["calls"], 600);
    assert!(!Path::new(&daemon.path("control.sock")).exists());
}

/// Spend by minute, as a user declares it.
const WINDOW: &str = r#"[[window]]
name = 'by_minute'
sql = "SELECT date_bin(INTERVAL '1 minute', event_time) AS window_start, agent_id, sum(cost_usd) AS usd, count(*) AS calls FROM calls GROUP BY 1, 2"
"#;

/// A price file that knows these models.
fn prices(models: &[&str]) -> String {
    let mut text = "format = 'sluice.prices/1'\nlabel = 'own'\neffective_from = '1970-01-01T00:00:00Z'\nsource = 'made up'\n".to_owned();
    for model in models {
        text.push_str(&format!("[[card]]\nmodel = '{model}'\nusd_per_million_tokens = {{ input = '1', output = '5' }}\n"));
    }
    text
}

#[test]
fn prices_that_come_late_move_everything_while_the_daemon_runs() {
    let (known, secret, never) = ("acme.known-v1:0", "acme.secret-v1:0", "acme.never-v1:0");
    let mut daemon = Daemon::with(&format!("[enrich]\nprices_file = 'prices.toml'\n{WINDOW}"), &[("prices.toml", prices(&[known]))]);
    for (number, model) in [(1, known), (2, secret), (3, secret), (4, never)] {
        daemon.log(number, model, &format!("2026-10-01T00:0{number}:00Z"));
    }
    daemon.wait_until("4 calls", || daemon.facts() == 4);
    let rerate = |daemon: &Daemon, more: &[&str]| daemon.json(&[&["prices", "rerate", "--format", "json"], more].concat());
    assert_eq!(rerate(&daemon, &[])["changed"], 0, "nothing is known yet");

    // The price is known: looking changes nothing, then everything moves.
    fs::write(daemon.path("prices.toml"), prices(&[known, secret])).unwrap();
    let looked = rerate(&daemon, &["--dry-run"]);
    assert_eq!((&looked["changed"], &looked["still_unpriced"]), (&2.into(), &1.into()), "{looked}");
    assert_eq!(daemon.usd("SELECT sum(cost_usd) AS usd FROM calls"), "0.300000000000");
    let rated = rerate(&daemon, &[]);
    assert_eq!((&rated["calls"], &rated["changed"], &rated["still_unpriced"]), (&4.into(), &2.into(), &1.into()), "{rated}");
    assert_eq!(rated["difference_usd"], looked["difference_usd"]);
    for table in ["calls", "spend_minute", "spend_hour", "spend_day", "spend_session"] {
        assert_eq!(daemon.usd(&format!("SELECT sum(cost_usd) AS usd FROM {table}")), "0.900000000000", "{table}");
    }
    assert_eq!(daemon.usd("SELECT sum(usd) AS usd FROM by_minute_latest"), "0.900000000000", "a declared window follows");
    assert_eq!(daemon.usd("SELECT sum(cost_after_usd) - sum(cost_before_usd) AS usd FROM corrections"), "0.600000000000");
    let spent = |daemon: &Daemon| daemon.json(&["budget", "list", "--format", "json"])[0]["spent"].as_str().unwrap().to_owned();
    assert_eq!(spent(&daemon), "0.900000000000", "the budget follows");
    assert_eq!(daemon.json(&["top", "--once", "--format", "json"])["totals"]["cost"], "0.900000000000");

    // Again: nothing is left. New calls are rated by what is known now, and the budget acts on the sum.
    assert_eq!(rerate(&daemon, &[])["changed"], 0);
    daemon.log(5, secret, "2026-10-01T00:05:00Z");
    daemon.wait_until("a hold", || !daemon.json(&["hold", "list", "--format", "json"]).as_array().unwrap().is_empty());
    daemon.stop();

    // Without a daemon it is the same verb, and the counters of the next one agree.
    fs::write(daemon.path("prices.toml"), prices(&[known, secret, never])).unwrap();
    let rated = rerate(&daemon, &[]);
    assert_eq!((&rated["changed"], &rated["still_unpriced"]), (&1.into(), &0.into()), "{rated}");
    assert_eq!(daemon.usd("SELECT sum(usd) AS usd FROM by_minute_latest"), "1.500000000000");
    daemon.start_again();
    assert_eq!(spent(&daemon), "1.500000000000");
}

#[test]
fn a_restart_loses_neither_the_day_nor_the_end_of_a_window() {
    let mut daemon = Daemon::with(WINDOW, &[]);
    let model = "anthropic.claude-3-haiku-20240307-v1:0";
    daemon.log(1, model, "2026-10-01T00:01:00Z");
    daemon.wait_until("the call", || daemon.facts() == 1);
    daemon.stop();
    daemon.start_again();
    let top = daemon.json(&["top", "--once", "--format", "json"]);
    assert_eq!((&top["day"], &top["totals"]["facts"], &top["agents"][0]["calls"]), (&"2026-10-01".into(), &1.into(), &1.into()), "{top}");

    // No call of the first window comes any more; a later one closes it.
    daemon.log(2, model, "2026-10-01T00:20:00Z");
    let is_final = "SELECT count(*) AS calls FROM by_minute_latest WHERE final AND window_start = TIMESTAMP '2026-10-01T00:01:00Z'";
    daemon.wait_until("the final row", || daemon.json(&["query", is_final, "--format", "json"])[0]["calls"] == 1);
    let top = daemon.json(&["top", "--once", "--format", "json"]);
    assert_eq!(top["totals"]["facts"], 2, "{top}");
    // The next date has sums of its own.
    daemon.log(3, model, "2026-10-02T00:00:00Z");
    daemon.wait_until("the next date", || {
        let top = daemon.json(&["top", "--once", "--format", "json"]);
        top["day"] == "2026-10-02" && top["totals"]["facts"] == 1
    });
}

/// Takes posts and hands their bodies on, one connection at a time.
fn endpoint(listener: TcpListener) -> Receiver<String> {
    let (bodies, received) = bounded(16);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let (mut line, mut length) = (String::new(), 0);
            while stream.read_line(&mut line).unwrap() > 2 {
                let (name, value) = line.split_once(':').unwrap_or_default();
                if name.eq_ignore_ascii_case("content-length") {
                    length = value.trim().parse().unwrap();
                }
                line.clear();
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
            if bodies.send(String::from_utf8(body).unwrap()).is_err() {
                return;
            }
        }
    });
    received
}

#[test]
fn a_stop_does_not_wait_for_an_endpoint_that_refuses_and_the_next_start_delivers() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    // A stop that waited for the endpoint would be cut off at this deadline, with another exit code.
    let more = format!("[enforce]\nwebhook = 'http://{address}/hook'\n[operate]\ndrain = '5s'\n[enrich]\nprices_file = 'prices.toml'\n");
    let mut daemon = Daemon::with(&more, &[("prices.toml", prices(&["acme.known-v1:0"]))]);
    for number in 1..5 {
        daemon.log(number, "acme.known-v1:0", "2026-10-01T00:00:00Z");
    }
    daemon.wait_until("a hold", || !daemon.json(&["hold", "list", "--format", "json"]).as_array().unwrap().is_empty());
    daemon.stop();

    let received = endpoint(TcpListener::bind(address).unwrap());
    daemon.start_again();
    let breach: Value = serde_json::from_str(&received.recv_timeout(PATIENCE).unwrap()).unwrap();
    assert_eq!((&breach["schema"], &breach["budget"]), (&"sluice.breach/1".into(), &"agents".into()), "{breach}");
    daemon.stop();
    daemon.start_again();
    daemon.stop();
    assert!(received.try_recv().is_err(), "it was told once");
}
