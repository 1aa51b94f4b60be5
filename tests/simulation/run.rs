//! One simulation: a world, a schedule that follows from the seed, crashes at any point, and an audit after each commit.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use sluice_aggregate::lake::{Lake, LocalObjects};
use sluice_enforce::{Action, FileStore, HoldAction, HoldPolicy, SharedStore};
use sluice_schemas::time::{HOUR, MINUTE, SECOND};
use sluice_schemas::{Clock, Micros};

use super::super::{Mode, Settings};
use super::audit::{self, Auditor};
use super::effects::{Recorder, Seen};
use super::expect;
use super::faults::{Armed, Faults, FaultyObjects, FaultyShared, Kind};
use super::random::Random;
use super::step::{Process, VirtualClock};
use super::world::{Form, Place, START, World};
use crate::config::{Config, Origin};

/// Steps of a schedule, not counting what it takes to read the rest at the end.
const STEPS: usize = 400;

/// What a run came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Hash of everything that happened, in order.
    pub(crate) trace: u64,
    pub(crate) starts: u64,
    pub(crate) epochs: u64,
    pub(crate) faults: u64,
    pub(crate) fires: u64,
    pub(crate) calls: u64,
}

struct Simulation {
    folder: tempfile::TempDir,
    random: Random,
    world: World,
    clock: VirtualClock,
    faults: Faults,
    seen: Arc<Mutex<Seen>>,
    auditor: Auditor,
    process: Option<Process>,
    /// Where the source of this process is.
    read: Vec<Place>,
    /// What the last commits made durable.
    durable: Vec<Place>,
    durable_in_lake: Vec<Place>,
    /// Keys of committed hours that dedup keeps.
    dedup_keys: Option<usize>,
    outcome: Outcome,
}

/// Runs one seed.
pub(crate) fn run(seed: u64) -> Outcome {
    let mut simulation = Simulation::new(seed);
    simulation.start();
    for step in 0..STEPS {
        simulation.step(step);
    }
    simulation.finish();
    simulation.outcome
}

fn folder_in_memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

pub(super) const PRICES: &str = r#"
format = "sluice.prices/1"
label = "test"
effective_from = "1970-01-01T00:00:00Z"
[[card]]
model = "acme.large-v1:0"
usd_per_million_tokens = { input = "3", output = "15" }
[[card]]
model = "acme.small-v1:0"
usd_per_million_tokens = { input = "1", output = "5" }
"#;

const WINDOW: &str = r#"
[[window]]
name = "by_agent"
sql = "SELECT date_bin(INTERVAL '30 minutes', event_time) AS window_start, agent_id, sum(cost_usd) AS cost, count(*) AS calls FROM calls GROUP BY 1, 2"
"#;

impl Simulation {
    fn new(seed: u64) -> Self {
        let folder = folder_in_memory();
        let mut random = Random::new(seed);
        let world = World::generate(&mut random);
        let window = if seed % 10 == 5 { WINDOW } else { "" };
        let config =
            format!("[lake]\npath = 'lake'\n[files]\nworkers = 1\n[enrich]\nprices_file = 'prices.toml'\n{}{window}", expect::BUDGETS);
        std::fs::write(folder.path().join("sluice.toml"), config).unwrap();
        std::fs::write(folder.path().join("prices.toml"), PRICES).unwrap();
        let places = vec![Place::default(); world.shards.len()];
        let dedup_keys = random.chance(50).then(|| random.below(200));
        Self {
            folder,
            random,
            world,
            clock: VirtualClock::at(START),
            faults: Faults::default(),
            seen: Arc::default(),
            auditor: Auditor::default(),
            process: None,
            read: places.clone(),
            durable: places.clone(),
            durable_in_lake: places,
            dedup_keys,
            outcome: Outcome::default(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn note(&mut self, what: impl FnOnce(&mut String)) {
        let mut line = String::new();
        what(&mut line);
        // FNV-1a.
        let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
        self.outcome.trace = line.bytes().chain(*b"\n").fold(self.outcome.trace, hash);
        if std::env::var_os("SLUICE_TRACE").is_some() {
            println!("{line}");
        }
    }

    fn try_start(&mut self, mode: Mode) -> anyhow::Result<Process> {
        let config = Config::load(&Origin { file: Some(self.path("sluice.toml").into()), lake: None })?;
        let objects = FaultyObjects { inner: Arc::new(LocalObjects::new(&config.lake)), faults: self.faults.clone() };
        let lake = Lake::open_writer_on(Arc::new(objects), &self.clock)?;
        let file = config.lake.join("_sluice/shared.redb");
        let shared: Arc<dyn SharedStore> = Arc::new(FaultyShared { inner: FileStore::open(&file)?, faults: self.faults.clone() });
        let actions: Vec<Box<dyn Action>> = vec![
            Box::new(HoldAction::new(Arc::clone(&shared), HoldPolicy { most_per_hour: 1_000, most_percent: 100, ..HoldPolicy::default() })),
            Box::new(Recorder { seen: Arc::clone(&self.seen), shared: Arc::clone(&shared) }),
        ];
        let settings = Settings { config, mode, act: true, clock: Arc::new(self.clock.clone()), board: Arc::default() };
        let mut process = Process::start(lake, shared, settings, actions)?;
        if let Some(keys) = self.dedup_keys {
            process.forget_hours_beyond(keys);
        }
        Ok(process)
    }

    /// Starts a process, however often it takes, and holds what it found against what was durable.
    fn start(&mut self) {
        let mode = if self.random.chance(75) { Mode::Live } else { Mode::Bulk };
        if self.random.chance(15) {
            self.arm(60);
        }
        let process = loop {
            match self.try_start(mode) {
                Ok(process) => break process,
                Err(error) => {
                    self.acceptable(&error);
                    self.faults.heal();
                }
            }
        };
        self.faults.heal();
        self.read = self.world.places(&process.pipeline.positions);
        for (shard, (read, durable)) in self.world.shards.iter().zip(self.read.iter().zip(&self.durable)) {
            assert!(read >= durable, "{}: {durable:?} was committed, the process begins at {read:?} (C3)", shard.name);
        }
        self.outcome.starts += 1;
        self.auditor.lake(&self.world, &process.pipeline.lake);
        self.auditor.process(&self.world, &process.pipeline, self.clock.now());
        let (starts, places) = (self.outcome.starts, self.read.clone());
        self.note(|line| write!(line, "start {starts} {mode:?} at {places:?}").unwrap());
        self.process = Some(process);
        self.durable_now();
    }

    /// Only what was planned may go wrong.
    fn acceptable(&self, error: &anyhow::Error) {
        let text = format!("{error:#}");
        assert!(text.contains("as planned") || text.contains("disk full"), "{text}\n{error:?}");
    }

    fn arm(&mut self, within: usize) {
        let kind = if self.random.chance(50) { Kind::Before } else { Kind::After };
        let armed = Armed { after: self.random.below(within) as u64, kind, crash: self.random.chance(60) };
        self.faults.arm(armed);
        self.note(|line| write!(line, "armed {armed:?}").unwrap());
    }

    fn crash(&mut self, lose_local: bool) {
        self.process = None;
        self.faults.heal();
        if lose_local {
            std::fs::remove_file(self.path("lake/_sluice/local.redb")).unwrap();
            self.durable = self.durable_in_lake.clone();
        }
        self.note(|line| write!(line, "crash, local state lost: {lose_local}").unwrap());
        self.start();
    }

    /// Does something with the process; a failure ends it.
    fn with(&mut self, what: &'static str, act: impl FnOnce(&mut Process) -> anyhow::Result<()>) -> bool {
        let mut process = self.process.take().unwrap();
        match act(&mut process) {
            Ok(()) => {
                self.process = Some(process);
                true
            }
            Err(error) => {
                self.acceptable(&error);
                self.note(|line| write!(line, "{what} failed").unwrap());
                drop(process);
                self.crash(false);
                false
            }
        }
    }

    fn step(&mut self, step: usize) {
        let dice = self.random.below(1_000);
        self.note(|line| write!(line, "step {step} {dice}").unwrap());
        match dice {
            0..380 => self.deliver(),
            380..640 => drop(self.with("apply", Process::apply_next)),
            640..740 => self.commit_local(),
            740..780 => self.commit_lake(),
            780..880 => self.effects(),
            880..920 => self.tick(),
            920..935 => self.crash(false),
            935..945 => self.crash(true),
            945..970 => self.arm(40),
            970..975 => self.compact(),
            _ => self.look(),
        }
        // What nobody heard of, because it would have been tried again, killed the process all the same.
        if self.faults.is_down() {
            self.crash(false);
        }
    }

    /// Takes a piece of a random shard, if there is a credit and the shard may be read.
    fn deliver(&mut self) {
        let number = self.random.below(self.world.shards.len());
        let most = 1 + self.random.below(8);
        let delay = self.random.between(0, 90 * SECOND);
        let again = self.random.chance(8);
        let place = self.read[number];
        let shard = &self.world.shards[number];
        let waits = shard.parent.is_some_and(|parent| !self.durable[parent].ended);
        if waits || shard.is_through(place) || self.process.as_ref().unwrap().in_flight() >= 4 {
            return;
        }
        if let Some(latest) = self.world.latest_of(number, place, most) {
            self.clock.reach(latest.plus(delay));
        }
        // A source that lost its place begins a little before it.
        let back = if again && shard.form != Form::Gzip && place.records < shard.len() {
            (1 + most / 2).min(place.records.saturating_sub(1))
        } else {
            0
        };
        let from = Place { records: place.records - back, ended: false };
        let (piece, to) = shard.piece(from, most + back, self.clock.now());
        if self.with("take", |process| process.take(piece)) {
            self.read[number] = to;
            self.note(|line| write!(line, "took {number} from {from:?} to {to:?}").unwrap());
        }
    }

    /// Notes what a commit that was reported as done made durable.
    fn durable_now(&mut self) {
        let pipeline = &self.process.as_ref().unwrap().pipeline;
        let in_lake = self.world.places(&pipeline.lake.state().positions);
        self.durable_in_lake = in_lake;
        let bulk = pipeline.settings.mode == Mode::Bulk;
        self.durable = if bulk { self.durable_in_lake.clone() } else { self.world.places(&pipeline.positions) };
        let truth = self.world.truth(&self.durable);
        self.seen.lock().unwrap().committed.extend(expect::crossings(&expect::counters(&truth)));
    }

    fn commit_local(&mut self) {
        if self.with("local commit", Process::commit_local) {
            let bulk = self.process.as_ref().unwrap().pipeline.settings.mode == Mode::Bulk;
            if !bulk {
                self.durable_now();
            }
        }
    }

    fn commit_lake(&mut self) {
        if self.with("lake commit", Process::commit_lake) {
            self.durable_now();
            let process = self.process.as_ref().unwrap();
            self.auditor.lake(&self.world, &process.pipeline.lake);
            audit::told_durable(&process.pipeline);
            let (epoch, places) = (process.pipeline.lake.state().epoch, self.durable_in_lake.clone());
            self.outcome.epochs = epoch;
            self.note(|line| write!(line, "epoch {epoch} at {places:?}").unwrap());
            // The moment at which a breach is in the lake and nobody has claimed it.
            if self.random.chance(15) {
                self.crash(true);
            }
        }
    }

    fn effects(&mut self) {
        let now = self.clock.now();
        self.with("effects", |process| process.effects(now).map(drop));
        let seen = format!("{:?}", self.seen.lock().unwrap().effects);
        self.note(|line| line.push_str(&seen));
    }

    /// Time passes: rolling sums fall, holds end.
    fn tick(&mut self) {
        let far = if self.random.chance(10) { 3 * HOUR } else { 10 * MINUTE };
        let now = self.clock.now().plus(self.random.between(0, far));
        self.clock.reach(now);
        let reconciled = self.with("tick", |process| {
            process.pipeline.ledger.advance(now);
            process.pipeline.reconcile(now)
        });
        // A change that met a fault is tried again at the next look.
        if reconciled && self.faults.happened() == self.outcome.faults {
            let pipeline = &self.process.as_ref().unwrap().pipeline;
            let holds = pipeline.shared.holds().unwrap();
            audit::holds(&self.world, pipeline, &holds);
        }
        self.outcome.faults = self.faults.happened();
    }

    fn compact(&mut self) {
        let quiet = self.with("lake commit", |process| {
            process.apply_all()?;
            process.commit_lake()
        });
        if quiet {
            self.durable_now();
            self.with("compaction", |process| process.pipeline.compact_all());
            let process = self.process.as_ref().unwrap();
            self.auditor.lake(&self.world, &process.pipeline.lake);
        }
    }

    /// Looks at everything between two commits.
    fn look(&mut self) {
        let process = self.process.as_ref().unwrap();
        self.auditor.process(&self.world, &process.pipeline, self.clock.now());
        let counts = process.pipeline.counts;
        self.note(|line| write!(line, "{counts:?}").unwrap());
    }

    /// Reads what is left, lets every effect come to its end, and looks at all of it once more.
    fn finish(&mut self) {
        self.faults.heal();
        while self.world.shards.iter().zip(&self.read).any(|(shard, place)| !shard.is_through(*place)) {
            for _ in 0..20 {
                self.deliver();
                self.with("apply", Process::apply_next);
            }
            self.commit_local();
            self.commit_lake();
        }
        self.with("apply", Process::apply_all);
        self.commit_local();
        self.commit_lake();
        loop {
            self.clock.reach(self.clock.now().plus(HOUR));
            let now = self.clock.now();
            let mut open = 0;
            self.with("effects", |process| {
                open = process.effects(now)?;
                Ok(())
            });
            if open == 0 {
                break;
            }
        }
        self.tick();
        self.commit_local();
        self.commit_lake();
        self.look();
        self.closing_audit();
    }

    fn closing_audit(&mut self) {
        let process = self.process.take().unwrap();
        let truth = self.world.truth(&self.durable);
        assert_eq!(truth.calls.len(), self.world.ids().len(), "not everything was read");
        let counters = expect::counters(&truth);
        let fires = process.pipeline.shared.fires().unwrap();
        for crossing in expect::crossings(&counters) {
            let told = fires.iter().find(|fire| {
                let breach = &fire.crossing.breach;
                crossing == (breach.budget.clone(), breach.target.clone(), breach.period.clone(), breach.threshold.clone())
            });
            assert!(told.is_some_and(|fire| fire.done_at.is_some()), "{crossing:?} was never told");
        }
        // Whatever came of local state, and in whatever order a rolling window was filled again.
        for (fire_id, crossing) in self.auditor.breaches(&process.pipeline.lake) {
            let told = fires.iter().any(|fire| fire.fire_id() == fire_id && fire.done_at.is_some());
            assert!(told, "the lake holds the breach {fire_id} {crossing:?}, and nobody was told");
        }
        let seen = self.seen.lock().unwrap();
        let faults = self.faults.happened();
        for fire in &fires {
            let times = seen.effects.get(fire.fire_id()).copied().unwrap_or(0);
            let lost = seen.lost.get(fire.fire_id()).copied().unwrap_or(0);
            assert!(
                (1..=1 + lost + faults).contains(&times),
                "{} took effect {times} times, {lost} answers were lost (C6)",
                fire.fire_id()
            );
        }
        assert_eq!(seen.effects.len(), fires.len(), "an effect without a claim (C7)");
        (self.outcome.fires, self.outcome.calls) = (fires.len() as u64, truth.calls.len() as u64);
        check_window(&process, &truth);
        let trail = process.pipeline.shared.audit_trail(0, usize::MAX).unwrap();
        let mut trail: Vec<_> = trail.into_iter().map(|(_, entry)| (entry.at, entry.fire_id, entry.action, entry.state)).collect();
        trail.sort();
        assert_eq!(self.auditor.actions(&process.pipeline.lake), trail, "rows of actions are not the audit trail");
        drop(process);
        check_reader(&mut self.auditor, &self.world, &self.folder.path().join("lake"));
    }
}

/// C2: the last word on each window is what its calls add up to.
fn check_window(process: &Process, truth: &super::world::Truth) {
    if process.pipeline.windows.is_empty() {
        return;
    }
    let mut expected: std::collections::BTreeMap<(i64, String), (i128, i64)> = Default::default();
    for call in truth.calls.values() {
        let sums = expected.entry((call.at.floor(30 * MINUTE).0, call.agent.clone())).or_default();
        sums.0 += call.cost().unwrap_or(0);
        sums.1 += 1;
    }
    let mut text = String::from("window_start,agent_id,cost,calls\n");
    for ((start, agent), (cost, calls)) in expected {
        writeln!(text, "{},{agent},{},{calls}", Micros(start), sluice_schemas::PicoUsd(cost)).unwrap();
    }
    let engine = crate::lakeview::engine(&process.pipeline.lake, Vec::new()).unwrap();
    let rows = engine.sql("SELECT window_start, agent_id, cost, calls FROM by_agent_latest ORDER BY 1, 2").unwrap();
    assert_eq!(crate::lakeview::format(&rows, "csv").replace("\r\n", "\n"), text, "windows (C2)");
}

/// A stranger who opens the lake sees the same.
fn check_reader(auditor: &mut Auditor, world: &World, lake: &Path) {
    let reader = Lake::open_reader(lake).unwrap();
    auditor.lake(world, &reader);
}
