//! The file as it is written, and the checks that turn it into a [`Config`].

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use sluice_enforce::{Budgets, runaway};
use sluice_enrich::agents::{AgentsError, AgentsFile};
use sluice_enrich::config::{EnrichConfig, RawEnrich};
use sluice_enrich::rules::{Rules, RulesError};
use sluice_ingest::decode::{Accepts, AllowList, Intake};

use super::cloudtrail::RawCloudTrail;
use super::personal::{RawPersonal, claims};
use super::reader::Reader;
use super::retention::RawRetention;
use super::{Config, Edition, FlagsTable, Location, Origin, PriceFile, SharedPlace, notify, parse_duration};
use crate::coverage::RawCoverage;
use crate::directory::RawDirectory;
use crate::enforcement::RawEnforce;
use crate::operate::RawOperate;
use crate::sources::{self, Configured, OffloadConfig};
use crate::tables::GlueDatabase;

/// Every key with its default, as shipped in `deploy/config.reference.toml` (a test compares the defaults).
pub(crate) const REFERENCE: &str = include_str!("../../deploy/config.reference.toml");
/// Shortest and longest time between two looks for a new version.
const REFRESH_MIN: Duration = Duration::from_secs(5);
const REFRESH_MAX: Duration = Duration::from_secs(86_400);

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    lake: RawLake,
    files: RawFiles,
    cloudtrail: RawCloudTrail,
    enrich: RawEnrich,
    enforce: RawEnforce,
    control: RawControl,
    operate: RawOperate,
    coverage: RawCoverage,
    directory: RawDirectory,
    personal: RawPersonal,
    budget: Vec<toml::Table>,
    runaway: Vec<toml::Table>,
    window: Vec<RawWindow>,
    notify: Vec<toml::Table>,
    flags: Option<toml::Table>,
    source: Vec<toml::Table>,
    relay: Option<toml::Table>,
    worker: Accepts,
    shared: Option<toml::Table>,
    allow: AllowList,
    offload: Option<toml::Table>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawLake {
    path: Option<PathBuf>,
    commit_interval: String,
    state: Option<PathBuf>,
    shared: Option<PathBuf>,
    glue_database: Option<String>,
    glue_region: Option<String>,
    retention: RawRetention,
}

impl Default for RawLake {
    fn default() -> Self {
        let commit_interval = "30s".to_owned();
        let retention = RawRetention::default();
        Self { path: None, commit_interval, state: None, shared: None, glue_database: None, glue_region: None, retention }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawFiles {
    paths: Vec<PathBuf>,
    poll_interval: String,
    workers: u64,
}

impl Default for RawFiles {
    fn default() -> Self {
        Self { paths: Vec::new(), poll_interval: "100ms".to_owned(), workers: 0 }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawControl {
    socket: Option<PathBuf>,
    config_refresh: String,
    prove_actor: bool,
}

impl Default for RawControl {
    fn default() -> Self {
        Self { socket: None, config_refresh: "1m".to_owned(), prove_actor: true }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWindow {
    name: String,
    sql: String,
}

/// Checks the content of all texts; every fault is appended to `faults`.
pub(crate) fn validate(table: toml::Table, origin: &Origin, reader: &mut Reader, faults: &mut Vec<String>) -> Option<Config> {
    let base = origin.file.as_ref().and_then(Location::folder).unwrap_or(Path::new(""));
    let raw: Raw = match table.try_into() {
        Ok(raw) => raw,
        Err(error) => {
            faults.push(error.to_string().trim_end().replace('\n', " "));
            return None;
        }
    };
    let (lake, remote) = lake_of(raw.lake.path.as_deref(), base, origin, raw.relay.is_none(), faults);
    let beside = if remote { state_folder(&lake, faults) } else { lake.join("_sluice") };
    let inside = |name: &str| beside.join(name);
    let place = |path: Option<PathBuf>, name: &str| path.map_or_else(|| inside(name), |path| base.join(path));
    let commit_interval = commit_interval(&raw.lake.commit_interval, faults);
    let poll_interval = interval(&raw.files.poll_interval, "files.poll_interval", faults);
    let enrich = EnrichConfig::try_from(raw.enrich).map_err(|error| error.faults.iter().map(ToString::to_string).collect());
    let enrich = within("enrich", enrich, faults);
    let mut texts = Texts { origin, reader };
    let named = |path: fn(&EnrichConfig) -> Option<&PathBuf>| enrich.as_ref().and_then(path);
    let agents = agents(texts.read("enrich.agents_file", named(|enrich| enrich.agents_file.as_ref()), faults), faults);
    let rules = rules(texts.read("enrich.rules_file", named(|enrich| enrich.rules_file.as_ref()), faults), faults);
    let prices = texts.read("enrich.prices_file", named(|enrich| enrich.prices_file.as_ref()), faults);
    let key = texts.read("personal.key", raw.personal.key.as_ref(), faults);
    let budgets = budgets(raw.budget, faults);
    let runaway = runaway(raw.runaway, budgets.as_ref(), faults);
    let webhook = webhook(raw.enforce.webhook.clone(), faults);
    let breaches_file = place(raw.enforce.breaches_file.clone(), "breaches.jsonl");
    let enforce = raw.enforce.check(raw.flags.is_some(), faults);
    let (pseudonyms, prefixes) = key.and_then(|key| raw.personal.check(key, &enforce.levers, faults)).unzip();
    let is_handed = raw.source.is_empty() && raw.files.paths.is_empty();
    Some(Config {
        glue: glue(&raw.lake, &lake, origin, faults),
        commit_interval,
        state: place(raw.lake.state, "local.redb"),
        shared: SharedPlace::choose(raw.shared, place(raw.lake.shared, "shared.redb"))
            .map_err(|fault| faults.push(format!("[shared] {fault}")))
            .ok()?,
        offload: raw.offload.and_then(|table| within("offload", OffloadConfig::parse(table), faults)).unwrap_or_default(),
        intake: Arc::new(Intake { allowed: raw.allow, pseudonyms: pseudonyms?, claims: claims(enrich.as_ref()) }),
        retention: raw.lake.retention.check(faults),
        prefixes: prefixes?,
        sources: sources(raw.source, faults),
        relay: raw.relay.and_then(|table| within("relay", sources::relay::parse(table), faults)),
        worker: accepts(raw.worker, is_handed, faults),
        paths: raw.files.paths.iter().map(|path| base.join(path)).collect(),
        poll_interval,
        prices_file: prices?.map(|(location, text)| PriceFile { location, text }),
        cloudtrail: raw.cloudtrail.check(faults),
        enrich: enrich?,
        agents: agents?,
        rules: Arc::new(rules?),
        budgets: budgets?,
        runaway: runaway?,
        windows: windows(raw.window, faults),
        breaches_file,
        webhook,
        enforce,
        flags: raw.flags.and_then(|table| FlagsTable::parse(table).map_err(|fault| faults.push(format!("[flags] {fault}"))).ok()),
        notify: notify::check(raw.notify, base, faults),
        socket: raw.control.socket.map_or_else(|| inside("control.sock"), |path| base.join(path)),
        refresh: refresh(&raw.control.config_refresh, faults),
        prove_actor: raw.control.prove_actor,
        workers: workers(raw.files.workers),
        operate: raw.operate.check(base, faults),
        coverage: raw.coverage.check(base, faults),
        directory: raw.directory.check(base, faults),
        origin: origin.clone(),
        edition: Edition::default(),
        lake,
    })
}

/// Takes what a section comes to, or notes its faults under its name.
fn within<T>(section: &str, read: Result<T, Vec<String>>, faults: &mut Vec<String>) -> Option<T> {
    read.map_err(|found| faults.extend(found.into_iter().map(|fault| format!("[{section}] {fault}")))).ok()
}

/// The texts that the configuration names.
struct Texts<'a> {
    origin: &'a Origin,
    reader: &'a mut Reader,
}

impl Texts<'_> {
    /// Reads the text that a key names: nothing where the key is not set; none after a fault.
    fn read(&mut self, key: &str, path: Option<&PathBuf>, faults: &mut Vec<String>) -> Option<Option<(Location, String)>> {
        let Some(path) = path else { return Some(None) };
        let text = path.to_string_lossy();
        let location = self.origin.file.as_ref().map_or_else(|| text.parse(), |origin| origin.beside(&text));
        let location = location.map_err(|error| faults.push(format!("{key}: {error}"))).ok()?;
        let read = self.reader.read(&location).map_err(|error| faults.push(format!("{key}: {}", error.problem))).ok()?;
        Some(Some((location, read)))
    }
}

fn commit_interval(text: &str, faults: &mut Vec<String>) -> Duration {
    let found = interval(text, "lake.commit_interval", faults);
    if found > Duration::from_secs(30) {
        faults.push("lake.commit_interval: at most 30s, or a crash makes the sources be read again for too long".to_owned());
    }
    found
}

fn webhook(url: Option<String>, faults: &mut Vec<String>) -> Option<String> {
    if let Some(url) = url.as_deref().filter(|url| !url.starts_with("https://") && !url.starts_with("http://")) {
        faults.push(format!("enforce.webhook: '{url}' is not an http(s) address"));
    }
    url
}

/// Returns the lake, and whether it is a place in S3; nothing where none is named, which a worker does not need.
fn lake_of(path: Option<&Path>, base: &Path, origin: &Origin, needed: bool, faults: &mut Vec<String>) -> (PathBuf, bool) {
    let named = || path.map(|path| if is_remote(path) { path.to_owned() } else { base.join(path) });
    let lake = origin.lake.clone().or_else(named);
    if lake.is_none() && needed {
        faults.push("no lake: set path in [lake], or give --lake DIR".to_owned());
    }
    let lake = lake.unwrap_or_default();
    let remote = is_remote(&lake);
    // Absolute, so that what a daemon wrote is found from wherever a command runs.
    (if remote { lake } else { local(&lake) }, remote)
}

/// Takes the database of the catalogue, which is that of the configuration's own lake.
fn glue(raw: &RawLake, lake: &Path, origin: &Origin, faults: &mut Vec<String>) -> Option<GlueDatabase> {
    let found = GlueDatabase::check(raw.glue_database.as_deref(), raw.glue_region.clone(), lake, origin.lake.is_some());
    found.map_err(|fault| faults.push(format!("lake.{fault}"))).ok().flatten()
}

fn is_remote(lake: &Path) -> bool {
    lake.to_str().is_some_and(|lake| lake.starts_with("s3://"))
}

/// Returns the absolute path of a local lake, without `..`, which an object store refuses. Where folders exist the system says what `..` leads
/// to, for links are followed there; behind them it takes the last name away.
fn local(lake: &Path) -> PathBuf {
    let lake = std::path::absolute(lake).unwrap_or_default();
    if !lake.components().any(|part| part == Component::ParentDir) {
        return lake;
    }
    let mut found = PathBuf::new();
    for part in lake.components() {
        if part == Component::ParentDir {
            found.pop();
        } else {
            found.push(part);
        }
        if let Ok(real) = std::fs::canonicalize(&found) {
            found = real;
        }
    }
    found
}

/// Returns the local folder of what a daemon keeps beside a remote lake: that of systemd, or one of the user's.
fn state_folder(lake: &Path, faults: &mut Vec<String>) -> PathBuf {
    let var = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let root = var("STATE_DIRECTORY").or_else(|| var("XDG_STATE_HOME").map(|home| home.join("sluice")));
    let root = root.or_else(|| var("HOME").map(|home| home.join(".local/state/sluice")));
    let Some(root) = root else {
        faults.push("no folder for local state: set STATE_DIRECTORY, XDG_STATE_HOME or HOME".to_owned());
        return PathBuf::new();
    };
    let name: String = lake.to_string_lossy().trim_start_matches("s3://").trim_end_matches('/').replace('/', "_");
    root.join(name)
}

fn interval(text: &str, key: &str, faults: &mut Vec<String>) -> Duration {
    match parse_duration(text) {
        Ok(value) if !value.is_zero() => value,
        Ok(_) => {
            faults.push(format!("{key}: must be longer than zero"));
            Duration::from_secs(1)
        }
        Err(error) => {
            faults.push(format!("{key}: {error}"));
            Duration::from_secs(1)
        }
    }
}

fn refresh(text: &str, faults: &mut Vec<String>) -> Duration {
    match parse_duration(text) {
        Ok(value) if value.is_zero() || (REFRESH_MIN..=REFRESH_MAX).contains(&value) => value,
        Ok(_) => {
            faults.push("control.config_refresh: from 5s to 1d, or 0s for never".to_owned());
            Duration::ZERO
        }
        Err(error) => {
            faults.push(format!("control.config_refresh: {error}"));
            Duration::ZERO
        }
    }
}

fn agents(read: Option<Option<(Location, String)>>, faults: &mut Vec<String>) -> Option<AgentsFile> {
    let Some((location, text)) = read? else {
        return Some(AgentsFile::empty());
    };
    let told = |fault: &dyn std::fmt::Display| format!("{location}: {fault}");
    let agents = AgentsFile::parse(&text).map_err(|error| match &error {
        AgentsError::Faults { faults } => faults.iter().map(|fault| told(fault)).collect(),
        AgentsError::Syntax(source) => vec![told(source)],
    });
    agents.map_err(|found: Vec<String>| faults.extend(found)).ok()
}

fn rules(read: Option<Option<(Location, String)>>, faults: &mut Vec<String>) -> Option<Rules> {
    let Some((location, text)) = read? else {
        return Some(Rules::default());
    };
    let told = |fault: &dyn std::fmt::Display| format!("{location}: {fault}");
    let rules = Rules::parse(&text).map_err(|error| match &error {
        RulesError::Faults { faults } => faults.iter().map(|fault| told(fault)).collect(),
        RulesError::Syntax(source) => vec![told(source)],
    });
    rules.map_err(|found: Vec<String>| faults.extend(found)).ok()
}

fn budgets(budgets: Vec<toml::Table>, faults: &mut Vec<String>) -> Option<Budgets> {
    let mut table = toml::Table::new();
    if !budgets.is_empty() {
        table.insert("budget".to_owned(), toml::Value::Array(budgets.into_iter().map(toml::Value::Table).collect()));
    }
    match Budgets::parse(&table.to_string()) {
        Ok(budgets) => Some(budgets),
        Err(error) => {
            faults.push(error.to_string());
            None
        }
    }
}

fn runaway(rules: Vec<toml::Table>, budgets: Option<&Budgets>, faults: &mut Vec<String>) -> Option<runaway::Rules> {
    let rules = runaway::Rules::from_entries(rules.into_iter().map(toml::Value::Table).collect());
    let rules = rules.map_err(|error| faults.extend(error.faults.iter().map(ToString::to_string))).ok()?;
    let known = |name: &str| budgets.is_some_and(|budgets| budgets.get(name).is_some());
    for rule in rules.iter().filter(|rule| known(&rule.name)) {
        faults.push(format!("runaway '{}': a budget has that name, and holds tell them apart by it", rule.name));
    }
    Some(rules)
}

fn sources(tables: Vec<toml::Table>, faults: &mut Vec<String>) -> Vec<Arc<dyn Configured>> {
    let mut sources = Vec::new();
    for (number, table) in tables.into_iter().enumerate() {
        match sources::parse(table) {
            Ok(source) => sources.push(source),
            Err(found) => faults.extend(found.into_iter().map(|fault| format!("source {}: {fault}", number + 1))),
        }
    }
    sources
}

fn accepts(worker: Accepts, is_handed: bool, faults: &mut Vec<String>) -> Option<Arc<Accepts>> {
    if !worker.takes_all() && !is_handed {
        faults.push("[worker] is of a worker that is handed its records: name accounts and regions in each [[source]]".to_owned());
    }
    faults.extend(worker.faults().into_iter().map(|fault| format!("[worker] {fault}")));
    (!worker.takes_all()).then(|| Arc::new(worker))
}

fn windows(windows: Vec<RawWindow>, faults: &mut Vec<String>) -> Vec<(String, String)> {
    let mut names: Vec<&str> = windows.iter().map(|window| window.name.as_str()).collect();
    names.sort_unstable();
    for pair in names.windows(2).filter(|pair| pair[0] == pair[1]) {
        faults.push(format!("window '{}' is declared twice", pair[0]));
    }
    for window in &windows {
        let plain = window.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        if !plain || window.name.is_empty() || window.name.starts_with('_') || sluice_schemas::tables::ALL.contains(&window.name.as_str()) {
            faults.push(format!("window '{}': a name is lower-case letters, digits and _, and not a built-in table", window.name));
        }
    }
    windows.into_iter().map(|window| (window.name, window.sql)).collect()
}

fn workers(configured: u64) -> usize {
    match usize::try_from(configured) {
        Ok(0) | Err(_) => std::thread::available_parallelism().map_or(2, std::num::NonZero::get),
        Ok(workers) => workers.min(64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<Config, Vec<String>> {
        let mut faults = Vec::new();
        let origin = Origin { file: Some(PathBuf::from("/etc/sluice/sluice.toml").into()), lake: None };
        let config = validate(text.parse().unwrap(), &origin, &mut Reader::default(), &mut faults);
        if faults.is_empty() { Ok(config.unwrap()) } else { Err(faults) }
    }

    #[test]
    fn paths_are_relative_to_the_file() {
        let config = check("[lake]\npath = 'lake'\n[files]\npaths = ['logs', '/var/log/x']").unwrap();
        assert_eq!(config.lake, Path::new("/etc/sluice/lake"));
        assert_eq!(config.state, Path::new("/etc/sluice/lake/_sluice/local.redb"));
        assert_eq!(config.paths, [Path::new("/etc/sluice/logs"), Path::new("/var/log/x")]);
    }

    #[test]
    fn a_lake_is_found_by_a_path_that_goes_up() {
        let folder = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(folder.path()).unwrap();
        std::fs::create_dir_all(root.join("far/away/lake")).unwrap();
        std::os::unix::fs::symlink(root.join("far/away"), root.join("near")).unwrap();
        for (written, meant) in [
            ("near/../lake", "far/lake"),
            ("far/away/../away/lake", "far/away/lake"),
            ("new/deep/../lake", "new/lake"),
            ("new/../../x/../far/lake", ""),
        ] {
            let found = local(&root.join(written));
            let meant = if meant.is_empty() { root.parent().unwrap().join("far/lake") } else { root.join(meant) };
            assert_eq!(found, meant, "{written}");
        }
        assert_eq!(local(&root.join("near/lake")), root.join("near/lake"));
        assert_eq!(local(Path::new("/../../lake")), Path::new("/lake"));
    }

    #[test]
    fn every_fault_is_told_at_once() {
        let faults = check("[lake]\ncommit_interval = '45s'\n[files]\npoll_interval = '7'\n[enforce]\nwebhook = 'ftp://x'").unwrap_err();
        assert_eq!(faults.len(), 4, "{faults:?}");
        assert!(check("[lake]\npath = 'x'\ntypo = 1").unwrap_err()[0].contains("typo"));
    }

    #[test]
    fn runaway_rules_and_budgets_share_their_names() {
        let budget = "[lake]\npath = 'x'\n[[budget]]\nname = 'a'\nlimit = '1 USD'\nwindow = 'day'\n";
        assert_eq!(check(&format!("{budget}[[runaway]]\nname = 'b'")).unwrap().runaway.iter().len(), 1);
        assert_eq!(check(&format!("{budget}[[runaway]]\nname = 'a'")).unwrap_err().len(), 1);
        assert!(check(&format!("{budget}[[runaway]]\nname = 'b'\nsettle = 'soon'")).unwrap_err()[0].starts_with("runaway 'b': settle"));
    }

    #[test]
    fn a_check_that_would_not_be_made_is_a_fault() {
        let worker = "[worker]\naccounts = ['111122223333']\n";
        assert!(check(&format!("[lake]\npath = 'x'\n{worker}")).is_ok());
        assert!(check(&format!("[lake]\npath = 'x'\n[files]\npaths = ['logs']\n{worker}")).unwrap_err()[0].contains("[[source]]"));
        assert!(check("[lake]\npath = 'x'\n[worker]\naccounts = ['prod']").unwrap_err()[0].contains("[worker] accounts: 'prod'"));
    }

    #[test]
    fn the_reference_file_is_valid_and_says_the_defaults() {
        let reference = check(REFERENCE).unwrap();
        let default = check("[lake]\npath = 'lake'").unwrap();
        assert_eq!(reference.commit_interval, default.commit_interval);
        assert_eq!(reference.poll_interval, default.poll_interval);
        assert_eq!(reference.enrich.metadata, default.enrich.metadata);
        assert_eq!(reference.workers, default.workers);
        assert_eq!(reference.operate, default.operate);
        assert_eq!(reference.coverage, default.coverage);
        assert_eq!(reference.directory, default.directory);
        assert_eq!(reference.enforce, default.enforce);
    }
}
