//! A daemon whose configuration is files: it takes a new version by itself, and refuses one that is none.

#![cfg(test)]

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const SLUICE: &str = env!("CARGO_BIN_EXE_sluice");
const PATIENCE: Duration = Duration::from_secs(60);

/// A running daemon in a folder of its own.
struct Daemon {
    folder: tempfile::TempDir,
    process: Child,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn budget(name: &str, limit: &str) -> String {
    format!("[[budget]]\nname = '{name}'\nlimit = '{limit}'\nwindow = 'day'\n")
}

impl Daemon {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        fs::create_dir_all(at.join("logs")).unwrap();
        fs::create_dir_all(at.join("more")).unwrap();
        let config = "include = ['more/budgets.toml']\n[lake]\npath = 'lake'\n[files]\npaths = ['logs']\n[enrich]\nagents_file = 'agents.toml'\n\
                      [control]\nsocket = 'control.sock'\nconfig_refresh = '5s'\n";
        fs::write(at.join("sluice.toml"), config).unwrap();
        fs::write(at.join("more/budgets.toml"), budget("first", "1 USD")).unwrap();
        fs::write(at.join("agents.toml"), "").unwrap();
        let mut run = Command::new(SLUICE);
        run.args(["--log-format", "json", "run"]).current_dir(at).env_remove("SLUICE_CONFIG");
        let log = fs::File::create(at.join("log")).unwrap();
        let process = run.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        Self { folder, process }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn ask(&self, args: &[&str]) -> Output {
        Command::new(SLUICE).args(args).current_dir(self.folder.path()).env_remove("SLUICE_CONFIG").output().unwrap()
    }

    fn wait_for(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            // Without the configuration, which may be one that has faults.
            let output = self.ask(&["status", "--socket", "control.sock", "--format", "json"]);
            let status: Option<Value> = serde_json::from_slice(&output.stdout).ok();
            if let Some(status) = status.as_ref().filter(|status| is_so(status)) {
                return status["config"].clone();
            }
            let log = fs::read_to_string(self.path("log")).unwrap_or_default();
            assert!(begun.elapsed() < PATIENCE, "{what} did not come about: {status:#?}\n{log}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_daemon_takes_what_is_written_and_keeps_what_it_has() {
    let daemon = Daemon::start();
    let first = daemon.wait_for("a start", |status| status["stage"] == "running");
    let locations: Vec<&str> =
        first["edition"]["documents"].as_array().unwrap().iter().map(|document| document["location"].as_str().unwrap()).collect();
    assert_eq!(locations, ["sluice.toml", "more/budgets.toml", "agents.toml"]);

    fs::write(daemon.path("more/budgets.toml"), budget("first", "1 USD") + &budget("second", "2 USD")).unwrap();
    let second = daemon.wait_for("the second version", |status| status["config"]["version"] != first["version"]);
    assert!(daemon.ask(&["approve", "second"]).status.success(), "the daemon knows the new budget");

    fs::write(daemon.path("agents.toml"), "[[agent]]\nid = 'x'\nprincipals = 1\n").unwrap();
    let refused = daemon.wait_for("a refusal", |status| status["config"]["refusal"].is_string());
    assert_eq!((&refused["version"], &refused["refused"]), (&second["version"], &Value::from(1)));
    let shown = said(&daemon.ask(&["status", "--socket", "control.sock"]));
    assert!(shown.contains("a newer configuration is refused, and this one stays: agents.toml"), "{shown}");

    fs::remove_file(daemon.path("agents.toml")).unwrap();
    daemon.wait_for("trouble", |status| status["config"]["trouble"].as_str().is_some_and(|why| why.contains("agents.toml")));
    fs::write(daemon.path("agents.toml"), "").unwrap();
    let again = daemon.wait_for("peace", |status| status["config"]["trouble"].is_null() && status["config"]["refusal"].is_null());
    assert_eq!((&again["version"], &again["refused"]), (&second["version"], &Value::from(1)));

    // What a daemon reads at its start alone is refused as a whole, whoever asks.
    let config = fs::read_to_string(daemon.path("sluice.toml")).unwrap();
    fs::write(daemon.path("sluice.toml"), format!("{config}[[notify]]\nkind = 'file'\npath = 'told'\n")).unwrap();
    let reload = daemon.ask(&["config", "reload"]);
    assert!(!reload.status.success() && said(&reload).contains("notify can only change with a restart"), "{}", said(&reload));
    fs::write(daemon.path("sluice.toml"), config).unwrap();
    let reload = daemon.ask(&["config", "reload"]);
    assert!(reload.status.success() && said(&reload).contains("more/budgets.toml, sha256 "), "{}", said(&reload));
}

#[test]
fn a_health_check_needs_no_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let status = Command::new(SLUICE).args(["status", "--socket", "none.sock"]).current_dir(folder.path()).output().unwrap();
    assert_eq!(status.status.code(), Some(2));
    assert!(said(&status).contains("no daemon answers at none.sock"), "{}", said(&status));
}
