//! A configuration in the Parameter Store and in S3, of an emulator: `tests/live/servers/moto.sh` starts it.
//!
//! It checks neither signatures nor permissions here; what a refusal is told as is tested beside the code.

#![cfg(test)]

#[path = "live/servers.rs"]
mod servers;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use servers::Server;
use sluice_ingest::aws::{AwsSettings, load};
use sluice_ingest::signed::{Body, Manner, Question, SignedClient};
use sluice_schemas::{Clock, SystemClock};
use ureq::http;

const SLUICE: &str = env!("CARGO_BIN_EXE_sluice");
const PATIENCE: Duration = Duration::from_secs(60);

/// Parameters and objects of an emulated account, and a folder for what lies beside.
struct Account {
    server: Option<Server>,
    url: String,
    client: SignedClient,
    folder: tempfile::TempDir,
}

impl Account {
    fn new() -> Option<Self> {
        let server = servers::start("moto.sh")?;
        let settings = AwsSettings { region: Some("eu-central-1".to_owned()), endpoint: Some(server.url.clone()), profile: None };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = SignedClient::with_role(&runtime.block_on(load(&settings)).unwrap(), None).unwrap();
        let (url, folder) = (server.url.clone(), tempfile::tempdir().unwrap());
        Some(Self { server: Some(server), url, client, folder })
    }

    fn send(&mut self, service: &'static str, path: &str, body: Body, method: http::Method, headers: Vec<(&'static str, String)>) {
        let question = Question { host: service, service, region: "eu-central-1".to_owned(), global: false, path: path.to_owned(), body };
        let manner = Manner { method: Some(method), headers, timeout: None };
        self.client.send(&question, &manner, SystemClock.now()).unwrap_or_else(|error| panic!("{service} {path}: {error}"));
    }

    /// Writes a parameter; a new version if it is there.
    fn put_parameter(&mut self, name: &str, text: &str) {
        let body = Body::Json(json!({ "Name": name, "Value": text, "Type": "SecureString", "Overwrite": true }).to_string());
        let target = ("x-amz-target", "AmazonSSM.PutParameter".to_owned());
        self.send("ssm", "/", body, http::Method::POST, vec![target, ("content-type", "application/x-amz-json-1.1".to_owned())]);
    }

    /// Writes an object.
    fn put_object(&mut self, path: &str, text: &str) {
        let unsigned = ("x-amz-content-sha256", "UNSIGNED-PAYLOAD".to_owned());
        self.send("s3", path, Body::Form(text.to_owned()), http::Method::PUT, vec![unsigned, ("content-type", "text/plain".to_owned())]);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(SLUICE);
        command.args(args).current_dir(self.folder.path()).env("AWS_ENDPOINT_URL", &self.url);
        command.env_remove("SLUICE_CONFIG");
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    fn status(&self) -> Option<Value> {
        let socket = self.path("control.sock");
        let output = self.run(&["status", "--socket", socket.to_str().unwrap(), "--format", "json"]);
        serde_json::from_slice(&output.stdout).ok()
    }

    fn wait_for(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let status = self.status();
            if let Some(status) = status.as_ref().filter(|status| is_so(status)) {
                return status.clone();
            }
            assert!(begun.elapsed() < PATIENCE, "{what} did not come about: {status:#?}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

/// A daemon, ended with the test.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn budget(name: &str, limit: &str) -> String {
    format!("[[budget]]\nname = '{name}'\nlimit = '{limit}'\nwindow = 'day'\n")
}

fn config(folder: &Path) -> String {
    let at = |name: &str| folder.join(name).display().to_string();
    format!(
        "include = ['ssm:/sluice/budgets', 's3://conf/sluice/notify.toml']\n[lake]\npath = '{}'\n[files]\npaths = ['{}']\n\
         [enrich]\nagents_file = 's3://conf/agents.toml'\n[control]\nsocket = '{}'\nconfig_refresh = '5s'\n{}",
        at("lake"),
        at("logs"),
        at("control.sock"),
        budget("everything", "100 USD")
    )
}

fn fill(account: &mut Account) {
    let folder = account.folder.path().to_owned();
    std::fs::create_dir(folder.join("logs")).unwrap();
    let place = "<LocationConstraint>eu-central-1</LocationConstraint>";
    account.put_object("/conf", &format!("<CreateBucketConfiguration>{place}</CreateBucketConfiguration>"));
    account.put_object("/conf/agents.toml", "[[agent]]\nid = 'bot'\n");
    account
        .put_object("/conf/sluice/notify.toml", &format!("[[notify]]\nkind = 'file'\npath = '{}'\n", folder.join("told.jsonl").display()));
    account.put_parameter("/sluice/budgets", &budget("first", "1 USD"));
    account.put_parameter("/sluice/config", &config(&folder));
}

#[test]
fn a_configuration_is_read_from_where_it_lies_and_what_is_wrong_is_told() {
    let Some(mut account) = Account::new() else { return };
    fill(&mut account);
    let check = |account: &Account, at: &str| account.run(&["config", "check", "--config", at]);
    let found = check(&account, "ssm:/sluice/config");
    assert!(found.status.success() && said(&found).contains("valid, 2 budgets, 0 windows, 1 agent"), "{}", said(&found));
    let shown = said(&account.run(&["config", "show", "--config", "ssm:/sluice/config"]));
    for line in [
        "ssm:/sluice/config, version 1",
        "ssm:/sluice/budgets, version 1",
        "s3://conf/sluice/notify.toml, etag ",
        "s3://conf/agents.toml, etag ",
    ] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    let none = check(&account, "ssm:/sluice/none");
    assert_eq!(none.status.code(), Some(2));
    assert!(said(&none).contains("aws ssm put-parameter --name /sluice/none"), "{}", said(&none));
    let none = check(&account, "s3://conf/none.toml");
    assert!(said(&none).contains("NoSuchKey") && said(&none).contains("aws s3 cp FILE s3://conf/none.toml"), "{}", said(&none));
    account.put_parameter("/sluice/relative", "[lake]\npath = 'lake'\n[enrich]\nrules_file = 'rules.toml'\n[[budget]]\nname = 'x'\n");
    let relative = said(&check(&account, "ssm:/sluice/relative"));
    for fault in ["lake.path: 'lake' is relative", "enrich.rules_file: 'rules.toml' is relative", "budget 'x'"] {
        assert!(relative.contains(fault), "{fault}: {relative}");
    }
    account.put_parameter("/sluice/config", &config(account.folder.path().to_owned().as_path()).replace("1 USD", "2 USD"));
    let older = said(&account.run(&["config", "show", "--config", "ssm:/sluice/config:1"]));
    assert!(older.contains("ssm:/sluice/config:1, version 1"), "{older}");
}

#[test]
fn a_daemon_takes_new_versions_refuses_bad_ones_and_outlives_the_service() {
    let Some(mut account) = Account::new() else { return };
    fill(&mut account);
    let log = std::fs::File::create(account.path("log")).unwrap();
    let mut run = account.command(&["--log-format", "json", "run", "--config", "ssm:/sluice/config"]);
    let _daemon = Daemon(run.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap());
    let first = account.wait_for("a start", |status| status["stage"] == "running");
    assert_eq!(first["config"]["edition"]["documents"].as_array().unwrap().len(), 4, "{first:#}");
    let version = first["config"]["version"].clone();

    account.put_parameter("/sluice/budgets", &(budget("first", "1 USD") + &budget("second", "3 USD")));
    let second = account.wait_for("the second version", |status| status["config"]["version"] != version);
    let of_budgets = |status: &Value| {
        let documents = status["config"]["edition"]["documents"].as_array().unwrap().clone();
        documents.iter().find(|document| document["location"] == "ssm:/sluice/budgets").unwrap()["version"].clone()
    };
    assert_eq!(of_budgets(&second), "version 2");
    let approved = account.run(&["approve", "second", "--config", "ssm:/sluice/config"]);
    assert!(approved.status.success(), "the daemon knows the new budget: {}", said(&approved));

    account.put_parameter("/sluice/budgets", &budget("first", "much"));
    let refused = account.wait_for("a refusal", |status| status["config"]["refusal"].is_string());
    assert!(refused["config"]["refusal"].as_str().unwrap().contains("'much' is not an amount"), "{refused:#}");
    assert_eq!((&of_budgets(&refused), &refused["ready"]), (&json!("version 2"), &json!(true)), "what was in force stays");
    std::thread::sleep(Duration::from_secs(11));
    assert_eq!(account.status().unwrap()["config"]["refused"], 1, "each version is told once");

    let restart = config(account.folder.path()).replace("[control]", "[operate]\ninstance = 'other'\n[control]");
    account.put_parameter("/sluice/budgets", &budget("first", "1 USD"));
    account.put_parameter("/sluice/config", &restart);
    let told =
        |status: &Value| status["config"]["refusal"].as_str().is_some_and(|why| why.contains("operate can only change with a restart"));
    account.wait_for("a refusal of what needs a restart", told);
    account.put_parameter("/sluice/config", &config(account.folder.path()));
    let good = account.wait_for("a good version", |status| status["config"]["refusal"].is_null() && of_budgets(status) == "version 4");
    assert!(good["config"]["trouble"].is_null());

    account.server = None;
    let alone = account.wait_for("trouble", |status| status["config"]["trouble"].is_string());
    assert_eq!((&alone["ready"], &of_budgets(&alone)), (&json!(true), &json!("version 4")), "{alone:#}");
    let log = std::fs::read_to_string(account.path("log")).unwrap();
    let times = |event: &str| log.matches(&format!("\"event\":\"{event}\"")).count();
    assert_eq!((times("config_refused"), times("config_unreadable")), (2, 1), "{log}");
    assert!(times("config_in_force") >= 2, "{log}");
}
