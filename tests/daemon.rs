//! A running daemon and the command line around it: spend becomes visible, orders are followed, configuration is reloaded.

#![cfg(test)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

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
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("logs")).unwrap();
        fs::write(folder.path().join("sluice.toml"), config("")).unwrap();
        let process =
            Command::new(SLUICE).args(["run", "--config"]).arg(folder.path().join("sluice.toml")).stderr(Stdio::null()).spawn().unwrap();
        let daemon = Self { folder, process };
        daemon.wait_until("the socket", || daemon.path("control.sock").exists());
        daemon
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
        self.json(&["top", "--once", "--format", "json"])["totals"]["facts"].as_u64().unwrap()
    }

    fn wait_until(&self, what: &str, mut done: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !done() {
            assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
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

    orders(&daemon);
    reloads(&daemon);
    stops(&mut daemon);
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
    let stopped = Command::new("kill").args(["-TERM", &daemon.process.id().to_string()]).status().unwrap();
    assert!(stopped.success());
    assert!(daemon.process.wait().unwrap().success());
    let rows = daemon.json(&["query", "SELECT count(*) AS calls FROM calls", "--format", "json"]);
    assert_eq!(rows[0]["calls"], 600);
    assert!(!Path::new(&daemon.path("control.sock")).exists());
}
