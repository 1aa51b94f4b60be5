//! What becomes of breaches when local state is lost, one case at a time: each that the lake holds is acted on once, and none of the past
//! again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use sluice_aggregate::lake::Lake;
use sluice_enforce::store::{Receipt, ReceiptState};
use sluice_enforce::{Action, ActionError, ActionKind, CommitPermit, Crossing, FileStore};
use sluice_ingest::source::{Payload, Piece};
use sluice_schemas::position::Sequence;
use sluice_schemas::time::{DAY, HOUR, MINUTE};
use sluice_schemas::{Clock, Micros, Position};

use super::super::{Mode, Settings};
use super::step::{Process, VirtualClock};
use super::tables::Reader;
use super::world::START;
use crate::config::{Config, Origin};

const ROLLING: &str = r#"
[[budget]]
name = "hour"
each = ["agent_id"]
limit = "0.08 USD"
window = "rolling 1h"
[[budget.threshold]]
at = "100%"
do = ["notify", "hold"]
"#;
const DAILY: &str = r#"
[[budget]]
name = "day"
limit = "0.08 USD"
window = "day"
[[budget.threshold]]
at = "100%"
do = ["notify", "hold"]
"#;
const SHARD: &str = "test:calls";

/// Actions by fire id, in order.
type Told = BTreeMap<String, Vec<Crossing>>;

/// An action that remembers what it was asked.
struct Memory {
    kind: ActionKind,
    told: Arc<Mutex<Told>>,
}

impl Action for Memory {
    fn name(&self) -> &str {
        self.kind.as_str()
    }
    fn kind(&self) -> ActionKind {
        self.kind
    }
    fn apply(&self, _permit: &CommitPermit, fire: &Crossing) -> Result<Receipt, ActionError> {
        self.told.lock().unwrap().entry(fire.breach.fire_id.clone()).or_default().push(fire.clone());
        Ok(Receipt { state: ReceiptState::Done, detail: String::new() })
    }
}

/// A lake and a shared store, and machines that come and go.
struct Machine {
    folder: tempfile::TempDir,
    clock: VirtualClock,
    told: Arc<Mutex<Told>>,
    held: Arc<Mutex<Told>>,
    read: u64,
}

impl Machine {
    fn new(budgets: &str) -> Self {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        std::fs::write(folder.path().join("prices.toml"), super::run::PRICES).unwrap();
        let machine = Self { folder, clock: VirtualClock::at(START), told: Arc::default(), held: Arc::default(), read: 0 };
        machine.configure(budgets);
        machine
    }

    fn configure(&self, budgets: &str) {
        let config = format!("[lake]\npath = 'lake'\n[files]\nworkers = 1\n[enrich]\nprices_file = 'prices.toml'\n{budgets}");
        std::fs::write(self.folder.path().join("sluice.toml"), config).unwrap();
    }

    fn start(&self, mode: Mode, act: bool) -> Process {
        let config = Config::load(&Origin { file: Some(self.folder.path().join("sluice.toml").into()), lake: None }).unwrap();
        let lake = Lake::open_writer(&config.lake, &self.clock).unwrap();
        let shared = Arc::new(FileStore::open(&config.lake.join("_sluice/shared.redb")).unwrap());
        let memory = |kind, told: &Arc<Mutex<Told>>| -> Box<dyn Action> { Box::new(Memory { kind, told: Arc::clone(told) }) };
        let actions = if act { vec![memory(ActionKind::Hold, &self.held), memory(ActionKind::Notify, &self.told)] } else { Vec::new() };
        let settings = Settings { config, mode, act, clock: Arc::new(self.clock.clone()), board: Arc::default() };
        Process::start(lake, shared, settings, actions).unwrap()
    }

    fn lose(&self, file: &str) {
        std::fs::remove_file(self.folder.path().join("lake/_sluice").join(file)).unwrap();
    }

    /// Has a process take one call of `tokens` input tokens (three dollars a million).
    fn call(&mut self, process: &mut Process, at: Micros, tokens: u64) {
        let number = self.read;
        let line = format!(
            concat!(
                r#"{{"schemaType":"ModelInvocationLog","schemaVersion":"1.0","timestamp":"{}","accountId":"111122223333","#,
                r#""identity":{{"arn":"arn:aws:sts::111122223333:assumed-role/Agents/main"}},"region":"us-east-1","requestId":"call-{}","#,
                r#""operation":"Converse","modelId":"acme.large-v1:0","requestMetadata":{{"agent_id":"a"}},"#,
                r#""input":{{"inputContentType":"application/json","inputTokenCount":{}}},"#,
                r#""output":{{"outputContentType":"application/json","outputTokenCount":0}}}}"#,
                "\n"
            ),
            at, number, tokens
        );
        let from = process.pipeline.positions.get(SHARD).cloned();
        let base_offset = from.as_ref().map_or(0, |at: &Position| at.offset);
        let to = Some(base_offset + line.len() as u64);
        let piece = Piece {
            shard: SHARD.to_owned(),
            from,
            payload: Payload::Lines(line.into_bytes()),
            arrival: self.clock.now(),
            base_offset,
            identity: "content".to_owned(),
            to,
            sequence: Sequence::default(),
            ended: false,
            source_bytes: 0,
            accepts: None,
        };
        self.read += 1;
        process.take(piece).unwrap();
        process.apply_all().unwrap();
    }

    fn settle(&self, process: &mut Process) {
        self.clock.reach(self.clock.now().plus(MINUTE));
        assert_eq!(process.effects(self.clock.now()).unwrap(), 0, "something is under way still");
    }

    /// Returns how often the receivers heard of each row of `breaches`, and fails if they heard of anything else.
    fn times_told(&self, process: &Process) -> Vec<usize> {
        let rows = Reader::default().read(&process.pipeline.lake, &process.pipeline.live_rows()).breaches;
        let told = self.told.lock().unwrap();
        assert!(told.keys().all(|id| rows.contains_key(id)), "told of what is no row: {told:?}, rows {rows:?}");
        rows.keys().map(|id| told.get(id).map_or(0, Vec::len)).collect()
    }
}

/// Spends so that a rolling window crosses, and then late, so that read again in order it crosses in another slice of time. Both are
/// in the lake when the process dies; nothing was claimed.
fn late_crossing(machine: &mut Machine, mode: Mode) {
    let mut process = machine.start(mode, true);
    machine.clock.reach(START.plus(2 * HOUR));
    machine.call(&mut process, START.plus(HOUR + 5 * MINUTE), 30_000);
    machine.call(&mut process, START.plus(HOUR - 5 * MINUTE), 30_000);
    process.commit_local().unwrap();
    process.commit_lake().unwrap();
    assert_eq!(machine.times_told(&process), [0], "one breach, and nobody told");
}

#[test]
fn a_rolling_breach_in_the_lake_is_acted_on_once_whatever_is_lost() {
    for mode in [Mode::Live, Mode::Bulk] {
        let mut machine = Machine::new(ROLLING);
        late_crossing(&mut machine, mode);
        machine.lose("local.redb");
        // Dies once more before it has done anything, and then between the lake commit and the claim.
        drop(machine.start(mode, true));
        let mut process = machine.start(Mode::Live, true);
        machine.call(&mut process, START.plus(HOUR + 6 * MINUTE), 10);
        process.commit_lake().unwrap();
        drop(process);
        machine.lose("local.redb");
        let mut process = machine.start(mode, true);
        machine.settle(&mut process);
        assert_eq!(machine.times_told(&process), [1], "{mode:?}");
        let held = machine.held.lock().unwrap().values().flatten().cloned().collect::<Vec<_>>();
        assert_eq!(held.len(), 1);
        assert!(held[0].hold.as_ref().is_some_and(|terms| terms.live_targets == 1), "the terms of the hold: {held:?}");
        // Claimed and settled, and no commit of the lake since that could say so.
        drop(process);
        machine.lose("local.redb");
        let mut process = machine.start(mode, true);
        machine.settle(&mut process);
        assert_eq!(machine.times_told(&process), [1], "{mode:?}, after it was settled");
    }
}

#[test]
fn what_was_settled_is_not_acted_on_again_though_the_shared_store_forgot() {
    let mut machine = Machine::new(&format!("{ROLLING}{DAILY}"));
    let mut process = machine.start(Mode::Live, true);
    machine.clock.reach(START.plus(2 * HOUR));
    machine.call(&mut process, START.plus(HOUR + 5 * MINUTE), 30_000);
    process.commit_local().unwrap();
    machine.settle(&mut process);
    machine.call(&mut process, START.plus(HOUR - 5 * MINUTE), 30_000);
    process.commit_lake().unwrap();
    assert_eq!(machine.times_told(&process), [1, 1]);
    drop(process);
    machine.lose("local.redb");
    machine.lose("shared.redb");
    machine.clock.reach(START.plus(400 * DAY));
    let mut process = machine.start(Mode::Live, true);
    machine.settle(&mut process);
    assert_eq!(machine.times_told(&process), [1, 1]);
    assert_eq!(process.pipeline.shared.fires().unwrap(), []);
}

#[test]
fn what_a_replay_only_wrote_down_is_not_acted_on_later() {
    let mut machine = Machine::new(&format!("{ROLLING}{DAILY}"));
    let mut process = machine.start(Mode::Bulk, false);
    machine.clock.reach(START.plus(2 * HOUR));
    machine.call(&mut process, START.plus(HOUR + 5 * MINUTE), 30_000);
    process.commit_lake().unwrap();
    drop(process);
    for lost in [false, true] {
        if lost {
            machine.lose("local.redb");
        }
        let mut process = machine.start(Mode::Live, true);
        machine.settle(&mut process);
        assert_eq!(machine.times_told(&process), [0, 0], "local state lost: {lost}");
    }
}

#[test]
fn a_replay_leaves_to_the_daemon_what_is_due() {
    let mut machine = Machine::new(ROLLING);
    late_crossing(&mut machine, Mode::Live);
    for lost in [false, true] {
        if lost {
            machine.lose("local.redb");
        }
        let mut process = machine.start(Mode::Bulk, false);
        machine.call(&mut process, START.plus(HOUR + 7 * MINUTE), 10);
        process.commit_lake().unwrap();
        machine.settle(&mut process);
        assert_eq!(machine.times_told(&process), [0]);
    }
    machine.lose("local.redb");
    let mut process = machine.start(Mode::Live, true);
    machine.settle(&mut process);
    assert_eq!(machine.times_told(&process), [1]);
}

#[test]
fn a_deleted_budget_does_not_come_back_and_a_new_one_waits_for_approval() {
    let mut machine = Machine::new(ROLLING);
    let mut process = machine.start(Mode::Live, true);
    machine.clock.reach(START.plus(2 * HOUR));
    machine.call(&mut process, START.plus(HOUR + 5 * MINUTE), 30_000);
    process.commit_lake().unwrap();
    machine.settle(&mut process);
    process.commit_lake().unwrap();
    drop(process);
    machine.configure(DAILY);
    machine.lose("local.redb");
    let mut process = machine.start(Mode::Live, true);
    assert_eq!(process.pipeline.ledger.unconfirmed().collect::<Vec<_>>(), ["day"]);
    machine.settle(&mut process);
    assert_eq!(machine.times_told(&process), [1], "the old one again, or the new one for what was there before it");
    machine.call(&mut process, START.plus(HOUR + 8 * MINUTE), 10);
    process.commit_lake().unwrap();
    drop(process);
    machine.lose("local.redb");
    let mut process = machine.start(Mode::Live, true);
    assert_eq!(process.pipeline.ledger.unconfirmed().collect::<Vec<_>>(), ["day"], "nobody approved it meanwhile");
    machine.settle(&mut process);
    assert_eq!(machine.times_told(&process), [1]);
    let crossings = process.pipeline.ledger.confirm("day", machine.clock.now());
    assert_eq!(crossings.len(), 1, "approved, it acts on what the day holds");
}

#[test]
fn a_limit_lowered_while_the_disk_was_lost_is_acted_on() {
    let mut machine = Machine::new("");
    let folder = machine.folder.path().to_owned();
    let agents = |limit: &str| {
        let text = format!("[[agent]]\nid = \"a\"\nprincipals = [\"arn:aws:iam::111122223333:role/Agents\"]\nlimit = \"{limit} USD\"\n");
        std::fs::write(folder.join("agents.toml"), text).unwrap();
    };
    agents("1.00");
    let budget = DAILY.replace("limit = \"0.08 USD\"", "each = [\"agent_id\"]\nlimit_from = \"agent\"");
    let config = std::fs::read_to_string(machine.folder.path().join("sluice.toml")).unwrap();
    std::fs::write(machine.folder.path().join("sluice.toml"), format!("{config}agents_file = 'agents.toml'\n{budget}")).unwrap();
    let mut process = machine.start(Mode::Live, true);
    machine.clock.reach(START.plus(90 * MINUTE));
    machine.call(&mut process, START.plus(-DAY), 400_000);
    machine.call(&mut process, START.plus(HOUR), 30_000);
    process.commit_lake().unwrap();
    machine.settle(&mut process);
    assert_eq!(machine.times_told(&process), [1], "yesterday's");
    drop(process);
    agents("0.05");
    machine.lose("local.redb");
    let mut process = machine.start(Mode::Live, true);
    machine.settle(&mut process);
    assert_eq!(machine.times_told(&process), [1, 1], "and today's");
}
