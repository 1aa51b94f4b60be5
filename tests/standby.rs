//! A ledger and its standby: whoever stops, dies or falls asleep, the other goes on by itself, and the lake and the actions are those of
//! one process.

#![cfg(test)]

#[cfg(feature = "aws")]
#[path = "live/servers.rs"]
mod servers;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

const SLUICE: &str = env!("CARGO_BIN_EXE_sluice");
/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// Exit code of a process that was fenced off.
const FENCED: i32 = 75;

/// What the receiver was told, in order: who told it, and of which fire.
type Told = Arc<Mutex<Vec<(String, String)>>>;

/// One machine, or several that share a lake, and what happens on it.
struct Site {
    folder: tempfile::TempDir,
    told: Told,
    /// So many were told, and were noted to be told, when last all was quiet.
    noted: usize,
    calls: u64,
}

/// A process that is the ledger, or waits to be.
struct Process {
    config: PathBuf,
    log: PathBuf,
    child: Child,
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Takes breaches and remembers who told which; tellers name themselves in the path. One that sleeps keeps no other one waiting.
fn receiver(told: Told) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let told = Arc::clone(&told);
            std::thread::spawn(move || receive(&client, &told));
        }
    });
    format!("http://{address}")
}

fn receive(mut client: &TcpStream, told: &Told) {
    let mut reader = BufReader::new(client);
    let (mut line, mut length, mut fire_id) = (String::new(), 0, String::new());
    drop(reader.read_line(&mut line));
    let teller = line.split(['/', ' ']).nth(2).unwrap_or_default().to_owned();
    line.clear();
    while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        match name.to_ascii_lowercase().as_str() {
            "idempotency-key" => value.trim().clone_into(&mut fire_id),
            "content-length" => length = value.trim().parse().unwrap(),
            _ => {}
        }
        line.clear();
    }
    if reader.read_exact(&mut vec![0; length]).is_ok() && !fire_id.is_empty() {
        told.lock().unwrap().push((teller, fire_id));
    }
    drop(client.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"));
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("logs")).unwrap();
        Self { folder, told: Arc::default(), noted: 0, calls: 0 }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a configuration for a process of that name.
    fn configure(&self, name: &str, hook: &str, lake: &str, more: &str) -> PathBuf {
        let text = format!(
            "[lake]\npath = 'lake'\ncommit_interval = '1s'\n{lake}\n[files]\npaths = ['logs']\n[control]\nsocket = 'control.sock'\n\
             [enforce]\nwebhook = '{hook}'\n[operate]\nlisten = '127.0.0.1:0'\nlease = '1s'\n{more}\n\
             [[budget]]\nname = 'agents'\neach = ['agent_id']\nlimit = '0.05 USD'\nwindow = 'lifetime'\n\
             [[budget.threshold]]\nat = '50%'\ndo = ['notify']\n[[budget.threshold]]\nat = '100%'\ndo = ['notify', 'hold']\n"
        );
        let path = self.path(&format!("{name}.toml"));
        fs::write(&path, text).unwrap();
        path
    }

    fn start(&self, name: &str, config: &Path, standby: bool) -> Process {
        let log = self.path(&format!("{name}.log"));
        let mut command = Command::new(SLUICE);
        command.args(["--log-format", "json", "run", "--config"]).arg(config);
        if standby {
            command.arg("--standby");
        }
        let child = command.stderr(fs::File::create(&log).unwrap()).spawn().unwrap();
        Process { config: config.to_owned(), log, child }
    }

    fn write_logs(&mut self, seed: u64) {
        let made = self.path(&format!("made-{seed}"));
        let arguments =
            ["--calls", "400", "--shape", "meta", "--files", "2", "--bad-per-100k", "1000", "--seed", &seed.to_string()].map(str::to_owned);
        let output = Command::new(SLUICE).arg("simulate").arg(&made).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        for entry in fs::read_dir(&made).unwrap().map(Result::unwrap) {
            fs::rename(entry.path(), self.path(&format!("logs/{seed}-{}", entry.file_name().to_string_lossy()))).unwrap();
        }
        self.calls += 400;
    }

    /// Waits until a process has counted every call there is.
    fn wait_for_calls(&self, process: &Process) {
        wait_until("all calls", process, || process.query("SELECT count(*) AS n FROM calls")[0]["n"].as_u64() == Some(self.calls));
    }

    /// Waits until every breach was told and that is noted, and checks what was told twice: nothing by one process, and nothing by another
    /// that had been noted before. What a process was stopped between telling and noting is told again, as promised.
    fn settle(&mut self, process: &Process) {
        let ids = |sql: &str| -> BTreeSet<String> {
            process.query(sql).as_array().into_iter().flatten().map(|row| row["fire_id"].as_str().unwrap().to_owned()).collect()
        };
        wait_until("every breach to be told and noted", process, || {
            let breaches = ids("SELECT fire_id FROM breaches");
            let told: BTreeSet<String> = self.told.lock().unwrap().iter().map(|(_, id)| id.clone()).collect();
            !breaches.is_empty() && told == breaches && ids("SELECT DISTINCT fire_id FROM actions WHERE action LIKE 'webhook%'") == breaches
        });
        let told = self.told.lock().unwrap().clone();
        let each: BTreeSet<_> = told.iter().collect();
        assert_eq!(each.len(), told.len(), "told twice by one process: {told:?}");
        let (noted, since) = told.split_at(self.noted);
        let again: Vec<_> = since.iter().filter(|(_, id)| noted.iter().any(|(_, known)| known == id)).collect();
        assert!(again.is_empty(), "told again: {again:?} of {told:?}");
        self.noted = told.len();
    }

    /// Checks the lake, the table of actions and the receiver.
    fn audit(&mut self, process: &Process) {
        let sum = |sql: &str| process.query(sql)[0]["usd"].as_str().unwrap().to_owned();
        let calls = process.query("SELECT count(*) AS n, count(DISTINCT request_id) AS ids FROM calls");
        assert_eq!((calls[0]["n"].as_u64(), calls[0]["ids"].as_u64()), (Some(self.calls), Some(self.calls)));
        let spent = sum("SELECT sum(cost_usd) AS usd FROM calls");
        for table in ["spend_minute", "spend_hour", "spend_day"] {
            // Its rows come with the next lake commit.
            wait_until(table, process, || sum(&format!("SELECT sum(cost_usd) AS usd FROM {table}")) == spent);
        }
        let doubled = process.query("SELECT source, \"offset\", count(*) AS n FROM rejected GROUP BY 1, 2 HAVING count(*) > 1");
        assert_eq!(doubled.as_array().map(Vec::len), Some(0), "{doubled}");
        let doubled = process.query("SELECT fire_id, count(*) AS n FROM breaches GROUP BY 1 HAVING count(*) > 1");
        assert_eq!(doubled.as_array().map(Vec::len), Some(0), "{doubled}");
        self.settle(process);
    }
}

impl Process {
    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap().success());
    }

    fn events(&self, event: &str) -> Vec<Value> {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).filter(|line| line["event"] == event).collect()
    }

    /// What `/ready` says: status and stage.
    fn ready(&self) -> (u16, String) {
        wait_until("health", self, || !self.events("http_listening").is_empty());
        let address = self.events("http_listening")[0]["address"].as_str().unwrap().to_owned();
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET /ready HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let stage = serde_json::from_str::<Value>(body).unwrap()["stage"].as_str().unwrap().to_owned();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), stage)
    }

    fn query(&self, sql: &str) -> Value {
        let output = Command::new(SLUICE).args(["query", sql, "--format", "json", "--config"]).arg(&self.config).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    fn wait_for_turn(&self) {
        wait_until("its turn", self, || !self.events("running").is_empty());
    }

    fn exit_code(&mut self) -> Option<i32> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("it goes on; the log:\n{}", fs::read_to_string(&self.log).unwrap_or_default());
    }
}

fn wait_until(what: &str, process: &Process, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        let log = || fs::read_to_string(&process.log).unwrap_or_default();
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}; the log:\n{}", log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Ledgers come and go: one falls asleep and wakes up late, one is killed, one ends in good order.
fn turns(mut site: Site, configure: impl Fn(&Site, &str, &str) -> PathBuf) {
    let hook = receiver(Arc::clone(&site.told));
    let config = |site: &Site, name: &str| configure(site, name, &format!("{hook}/{name}"));
    let mut first = site.start("first", &config(&site, "first"), false);
    first.wait_for_turn();
    site.write_logs(1);
    site.wait_for_calls(&first);
    site.settle(&first);
    let second = site.start("second", &config(&site, "second"), true);
    assert_eq!(second.ready(), (503, "standby".to_owned()));
    std::thread::sleep(Duration::from_secs(2));
    assert!(second.events("running").is_empty(), "the first one is alive");

    site.write_logs(2);
    std::thread::sleep(Duration::from_millis(150));
    first.signal("-STOP");
    second.wait_for_turn();
    wait_until("readiness", &second, || second.ready() == (200, "running".to_owned()));
    site.write_logs(3);
    site.wait_for_calls(&second);
    first.signal("-CONT");
    assert_eq!(first.exit_code(), Some(FENCED));
    site.write_logs(4);
    site.wait_for_calls(&second);
    site.audit(&second);

    // Two wait; one of them takes over from a ledger that is killed.
    let mut second = second;
    let waiting = ["third", "fourth"].map(|name| site.start(name, &config(&site, name), true));
    waiting.iter().for_each(|process| wait_until("a standby", process, || !process.events("standby").is_empty()));
    std::thread::sleep(Duration::from_millis(500));
    second.child.kill().unwrap();
    site.write_logs(5);
    wait_until("a successor", &waiting[0], || waiting.iter().any(|process| !process.events("running").is_empty()));
    let [third, fourth] = waiting;
    let (mut now, next) = if third.events("running").is_empty() { (fourth, third) } else { (third, fourth) };
    site.wait_for_calls(&now);
    site.audit(&now);

    // One that ends in good order is followed at once.
    assert_eq!(next.ready(), (503, "standby".to_owned()));
    now.signal("-TERM");
    assert_eq!(now.exit_code(), Some(0));
    next.wait_for_turn();
    assert!(next.events("taken_from_other").is_empty(), "nothing was left open");
    site.write_logs(6);
    site.wait_for_calls(&next);
    site.audit(&next);
}

#[test]
fn ledgers_of_one_machine_take_turns() {
    turns(Site::new(), |site, name, hook| site.configure(name, hook, "", ""));
}

/// A health check of either asks its own socket alone: a ledger is ready, a standby works, and nobody else answers.
#[test]
fn a_health_check_tells_a_standby_that_works_from_nobody() {
    let site = Site::new();
    let socket = |name: &str| site.path(&format!("{name}.sock"));
    let configure = |name: &str| {
        let path = site.configure(name, "http://127.0.0.1:9/", "", "");
        let text = fs::read_to_string(&path).unwrap().replace("control.sock", &format!("{name}.sock"));
        fs::write(&path, text).unwrap();
        path
    };
    let status = |name: &str, more: &[&str]| {
        let mut command = Command::new(SLUICE);
        command.arg("status").args(more).arg("--socket").arg(socket(name)).env_remove("SLUICE_CONFIG").current_dir(site.folder.path());
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert_eq!(status("first", &["--live"]).0, Some(2), "nobody is there");
    let mut first = site.start("first", &configure("first"), false);
    first.wait_for_turn();
    wait_until("readiness", &first, || status("first", &[]).0 == Some(0));
    let second = site.start("second", &configure("second"), true);
    wait_until("a standby", &second, || status("second", &["--live"]).0 == Some(0));
    let (code, told) = status("second", &[]);
    assert!(code == Some(1) && told.contains("standby"), "{code:?} {told}");
    assert!(!socket("second").exists(), "what is no question for its status goes to the shared store");
    first.signal("-TERM");
    assert_eq!(first.exit_code(), Some(0));
    assert_eq!(status("first", &["--live"]).0, Some(2), "and nobody again");
    wait_until("readiness", &second, || status("second", &["--live"]).1.contains("ready · running"));
    assert!(!site.path("second.sock.waiting").exists());
}

/// The lake is a folder both reach, the shared store a table, local state is each one's own.
#[cfg(feature = "aws")]
#[test]
fn ledgers_with_a_table_take_turns() {
    for script in ["dynamodb_local.sh", "moto.sh"] {
        let Some(server) = servers::start(script) else { return };
        let shared = format!("[shared]\ntable = 'sluice'\nregion = 'eu-central-1'\nendpoint = '{}'", server.url);
        let site = Site::new();
        let config = site.configure("table", "http://127.0.0.1:9/", "", &format!("{shared}\n"));
        let made = Command::new(SLUICE).args(["config", "create-table", "--config"]).arg(&config).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        turns(site, |site, name, hook| site.configure(name, hook, &format!("state = '{name}.redb'"), &shared));
    }
}
