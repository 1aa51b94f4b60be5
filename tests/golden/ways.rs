//! The three ways a case is run.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sluice_aggregate::lake::Lake;
use sluice_ingest::files::{FolderSource, Mode as FolderMode};
use sluice_ingest::source::{Piece, Poll, Source};
use sluice_schemas::time::{HOUR, SECOND};
use sluice_schemas::{Clock, Micros};

use super::super::simulation::step::{Process, VirtualClock};
use super::super::{Mode, Pipeline, RateOrder, Settings};
use super::report::report;
use crate::config::{Config, Origin};

/// 2026-10-20T12:00:00Z: when every case is read.
const NOW: Micros = Micros(1_792_497_600_000_000);
/// Lines a file grows by between two restarts.
const STRETCH: usize = 2;

/// A case in a folder of its own.
struct Place {
    folder: tempfile::TempDir,
    clock: VirtualClock,
}

impl Place {
    fn new(case: &Path) -> Self {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        for name in ["case.toml", "prices.toml", "agents.toml"] {
            if case.join(name).exists() {
                fs::copy(case.join(name), folder.path().join(name)).unwrap();
            }
        }
        fs::create_dir(folder.path().join("in")).unwrap();
        Self { folder, clock: VirtualClock::at(NOW) }
    }

    fn input(&self) -> PathBuf {
        self.folder.path().join("in")
    }

    fn config(&self) -> Config {
        Config::load(&Origin { file: Some(self.folder.path().join("case.toml").into()), lake: None }).unwrap()
    }

    fn settings(&self, mode: Mode, workers: usize) -> Settings {
        let config = Config { workers, ..self.config() };
        Settings { config, mode, act: true, clock: Arc::new(self.clock.clone()), board: Arc::default() }
    }

    /// Reads everything that is there, as a replay or a daemon does.
    fn run(&self, mode: Mode, workers: usize) {
        let mut pipeline = Pipeline::open(self.settings(mode, workers)).unwrap();
        let source = FolderSource::open(&[self.input()], &pipeline.positions, FolderMode::Once).unwrap();
        let (handle, commands) = Pipeline::handle();
        pipeline.run(Box::new(source), &handle, &commands, &mut |_, _| {}).unwrap();
    }

    /// Rates the lake again where prices came later, twice, and returns what a new process finds.
    fn finish(&self, case: &Path) -> String {
        self.clock.reach(NOW.plus(3 * HOUR));
        if case.join("later.toml").exists() {
            fs::copy(case.join("later.toml"), self.folder.path().join("prices.toml")).unwrap();
            assert!(self.rate_again() > 0, "nothing was rated again");
            assert_eq!(self.rate_again(), 0, "rated twice");
        }
        report(&Pipeline::open(self.settings(Mode::Live, 1)).unwrap())
    }

    fn rate_again(&self) -> u64 {
        let mut pipeline = Pipeline::open(self.settings(Mode::Bulk, 1)).unwrap();
        let summary = pipeline.rate_lake(RateOrder { all: false, dry_run: false }).unwrap();
        summary["changed"].as_u64().unwrap()
    }
}

/// Returns the files of a case with their names, in order.
fn files(case: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = fs::read_dir(case.join("in"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap()))
        .collect();
    files.sort();
    files
}

fn lines(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.split_inclusive(|byte| *byte == b'\n').collect()
}

/// One replay.
pub(super) fn straight(case: &Path) -> String {
    let place = Place::new(case);
    for (name, bytes) in files(case) {
        fs::write(place.input().join(name), bytes).unwrap();
    }
    place.run(Mode::Bulk, 2);
    place.finish(case)
}

/// Files grow by a few lines, one after the other; the process dies after each commit, in turns a local and a lake commit.
pub(super) fn with_restarts(case: &Path) -> String {
    let place = Place::new(case);
    let mut restarts = 0;
    for (name, bytes) in files(case) {
        let whole = !name.ends_with(".jsonl");
        let stretches: Vec<Vec<u8>> = if whole { vec![bytes] } else { lines(&bytes).chunks(STRETCH).map(<[&[u8]]>::concat).collect() };
        for stretch in stretches {
            let mut file = fs::OpenOptions::new().create(true).append(true).open(place.input().join(&name)).unwrap();
            file.write_all(&stretch).unwrap();
            restarts += read_on(&place, 4, SECOND / 10);
        }
    }
    // What waits for more to come has waited long enough.
    restarts += read_on(&place, 12, 10 * SECOND);
    assert!(restarts > 1, "there was nothing to restart");
    place.run(Mode::Live, 1);
    place.finish(case)
}

/// Reads until nothing comes any more, with a new process for each piece; returns how many there were.
fn read_on(place: &Place, patience: usize, pause: i64) -> usize {
    for number in 0.. {
        let mode = if number % 5 == 4 { Mode::Bulk } else { Mode::Live };
        let settings = place.settings(mode, 1);
        let lake = Lake::open_writer(&settings.config.lake, &place.clock).unwrap();
        let shared = settings.config.shared.open().unwrap();
        let mut process = Process::start(lake, shared, settings, Vec::new()).unwrap();
        let follow = FolderMode::Follow { poll_interval: Duration::from_millis(1) };
        let mut source = FolderSource::open(&[place.input()], &process.pipeline.positions, follow).unwrap();
        let Some(piece) = wait(place, &mut source, patience, pause) else { return number };
        process.take(piece).unwrap();
        process.apply_all().unwrap();
        if number % 2 == 0 {
            process.commit_local().unwrap()
        } else {
            process.commit_lake().unwrap()
        }
        process.commit_local().unwrap();
        if mode == Mode::Bulk {
            process.commit_lake().unwrap();
        }
        process.effects(place.clock.now()).unwrap();
    }
    0
}

fn wait(place: &Place, source: &mut FolderSource, patience: usize, pause: i64) -> Option<Piece> {
    for _ in 0..patience {
        if let Poll::Piece(piece) = source.poll(Duration::ZERO, place.clock.now()).unwrap() {
            return Some(piece);
        }
        place.clock.reach(place.clock.now().plus(pause));
    }
    None
}

/// The same lines in another order, in other files, read by five workers of a daemon.
pub(super) fn split_otherwise(case: &Path) -> String {
    const SHARDS: usize = 4;
    let place = Place::new(case);
    let mut shards: Vec<Vec<u8>> = vec![Vec::new(); SHARDS];
    let files = files(case);
    let growing = files.iter().filter(|(name, _)| name.ends_with(".jsonl"));
    let mut all: Vec<&[u8]> = growing.flat_map(|(_, bytes)| lines(bytes)).collect();
    // A fixed shuffle.
    let mut state = 0x5EED_u64;
    for at in (1..all.len()).rev() {
        state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
        all.swap(at, (state >> 33) as usize % (at + 1));
    }
    for (at, line) in all.into_iter().enumerate() {
        shards[at % SHARDS].extend(line);
    }
    for (number, bytes) in shards.into_iter().enumerate().filter(|(_, bytes)| !bytes.is_empty()) {
        fs::write(place.input().join(format!("shard-{number}.jsonl")), bytes).unwrap();
    }
    for (number, (name, bytes)) in files.iter().filter(|(name, _)| !name.ends_with(".jsonl")).enumerate() {
        fs::write(place.input().join(format!("{:02}-{name}", 50 - number)), bytes).unwrap();
    }
    place.run(Mode::Live, 5);
    place.finish(case)
}
