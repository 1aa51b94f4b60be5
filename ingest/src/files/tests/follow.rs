//! Following: files that grow, appear, are rotated, cut, removed, or not finished yet. Time is handed in, so nothing waits.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use proptest::prelude::*;
use sluice_schemas::Micros;
use sluice_schemas::position::Positions;
use sluice_schemas::time::SECOND;

use super::{Folder, Run, gz, gz_stored, lines, now, read_once, record};
use crate::files::{FolderSource, Mode};
use crate::source::{Poll, Source};

const INTERVAL: Duration = Duration::from_millis(100);
const TICK: i64 = SECOND / 10;

/// A follower with its own clock.
struct Follower {
    source: FolderSource,
    now: Micros,
    run: Run,
}

impl Follower {
    fn new(folder: &Folder, positions: &Positions) -> Self {
        let mode = Mode::Follow { poll_interval: INTERVAL };
        let source = FolderSource::open(&[folder.path()], positions, mode).unwrap();
        Self { source, now: now(), run: Run::from(positions) }
    }

    /// Takes all there is at this moment.
    fn drain(&mut self) {
        loop {
            match self.source.poll(Duration::ZERO, self.now).unwrap() {
                Poll::Piece(piece) => self.run.take(piece),
                Poll::Idle => return,
                Poll::Ended => panic!("following has no end"),
            }
        }
    }

    /// Lets time pass, looking as often as a caller would.
    fn pass(&mut self, micros: i64) {
        for _ in 0..micros / TICK {
            self.now = self.now.plus(TICK);
            self.drain();
        }
    }

    /// One more look, a tenth of a second later: what has been written must be seen.
    fn tick(&mut self) -> Vec<u32> {
        self.run.ids.clear();
        self.pass(TICK);
        self.run.ids.clone()
    }
}

fn follow(folder: &Folder) -> Follower {
    let mut follower = Follower::new(folder, &BTreeMap::new());
    follower.drain();
    follower
}

#[test]
fn appended_lines_and_new_files_are_seen_in_the_next_tick() {
    let folder = Folder::new();
    folder.write("a.log", lines([1]));
    folder.write("empty.log", "");
    let mut follower = follow(&folder);
    assert_eq!(follower.run.ids, [1]);
    folder.append("a.log", lines([2, 3]));
    assert_eq!(follower.tick(), [2, 3]);
    folder.append("empty.log", lines([4]));
    assert_eq!(follower.tick(), [4]);
    folder.write("new/b.json", lines([5]));
    folder.write("new/c.json.gz", gz(lines([6]).as_bytes()));
    follower.pass(TICK);
    assert_eq!(follower.tick(), Vec::<u32>::new());
    let progress = follower.source.progress();
    assert_eq!((progress.files_total, progress.files_done, progress.bytes_total), (4, 4, progress.bytes_done));
    assert_eq!(read_once(&folder.path(), &follower.run.positions).pieces, 0);
}

#[test]
fn a_partial_last_line_waits_for_its_newline() {
    let folder = Folder::new();
    let mut follower = follow(&folder);
    let line = lines([1]);
    folder.write("a.log", &line[..100]);
    assert_eq!(follower.tick(), Vec::<u32>::new());
    folder.append("a.log", &line[100..200]);
    follower.pass(3 * SECOND);
    folder.append("a.log", &line[200..]);
    assert_eq!(follower.tick(), [1]);
    assert!(follower.run.rejected.is_empty());
}

#[test]
fn a_whole_value_without_a_newline_is_taken_after_two_seconds() {
    let folder = Folder::new();
    let mut follower = follow(&folder);
    folder.write("a.log", lines([1]) + &record(2));
    assert_eq!(follower.tick(), [1]);
    follower.run.ids.clear();
    follower.pass(SECOND * 18 / 10);
    assert_eq!(follower.run.ids, Vec::<u32>::new());
    follower.pass(SECOND / 2);
    assert_eq!(follower.run.ids, [2]);
    folder.append("a.log", "\n");
    assert_eq!(follower.tick(), Vec::<u32>::new());
    folder.append("a.log", lines([3]));
    assert_eq!(follower.tick(), [3]);
    assert!(follower.run.rejected.is_empty());
}

#[test]
fn a_torn_last_line_is_reported_after_a_minute_and_read_when_it_is_whole() {
    let folder = Folder::new();
    let mut follower = follow(&folder);
    let line = lines([1]);
    folder.write("a.log", &line[..100]);
    follower.pass(59 * SECOND);
    assert!(follower.run.rejected.is_empty());
    follower.pass(3 * SECOND);
    assert_eq!(follower.run.rejected.len(), 1);
    follower.pass(300 * SECOND);
    assert_eq!(follower.run.rejected.len(), 1);
    assert_eq!(read_once(&folder.path(), &follower.run.positions).pieces, 0);
    folder.append("a.log", &line[100..]);
    assert_eq!(follower.tick(), [1]);
    assert_eq!(follower.run.rejected.len(), 1);
}

#[test]
fn rotation_by_rename() {
    let folder = Folder::new();
    folder.write("app.log", lines(0..10));
    let mut follower = follow(&folder);
    for round in 1..4_u32 {
        // The writer's last lines go to the renamed file.
        folder.append("app.log", lines([round * 100]));
        for old in (1..round).rev() {
            fs::rename(folder.at(&format!("app.log.{old}")), folder.at(&format!("app.log.{}", old + 1))).unwrap();
        }
        fs::rename(folder.at("app.log"), folder.at("app.log.1")).unwrap();
        folder.append("app.log.1", lines([round * 100 + 1]));
        let mut seen = if round % 2 == 0 { follower.tick() } else { Vec::new() };
        folder.write("app.log", lines(round * 100 + 10..round * 100 + 20));
        seen.extend(follower.tick());
        seen.sort_unstable();
        let expected: Vec<u32> = [round * 100, round * 100 + 1].into_iter().chain(round * 100 + 10..round * 100 + 20).collect();
        assert_eq!(seen, expected, "round {round}");
    }
    assert!(follower.run.rejected.is_empty(), "{:?}", follower.run.rejected);
    assert_eq!(read_once(&folder.path(), &follower.run.positions).pieces, 0);
}

#[test]
fn rotation_to_a_name_that_sorts_first() {
    let folder = Folder::new();
    folder.write("app.log", lines(0..10));
    let mut follower = follow(&folder);
    fs::rename(folder.at("app.log"), folder.at("app-1.log")).unwrap();
    folder.write("app.log", lines(10..30));
    assert_eq!(follower.tick(), (10..30).collect::<Vec<_>>());
    assert!(follower.run.rejected.is_empty());
}

#[test]
fn rotation_by_copy_and_truncate() {
    let folder = Folder::new();
    folder.write("app.log", lines(0..10));
    let mut follower = follow(&folder);
    fs::copy(folder.at("app.log"), folder.at("app.log.1")).unwrap();
    folder.write("app.log", "");
    assert_eq!(follower.tick(), Vec::<u32>::new());
    // Filled again with the same beginning and beyond its former length.
    folder.append("app.log", lines(0..20));
    assert_eq!(follower.tick(), (0..20).collect::<Vec<_>>());
    assert!(follower.run.rejected.is_empty());
    assert_eq!(read_once(&folder.path(), &follower.run.positions).pieces, 0);
}

#[test]
fn truncation_starts_over() {
    let folder = Folder::new();
    folder.write("app.log", lines(0..10));
    let mut follower = follow(&folder);
    folder.write("app.log", lines(50..52));
    assert_eq!(follower.tick(), [50, 51]);
    folder.append("app.log", lines([52]));
    assert_eq!(follower.tick(), [52]);
}

#[test]
fn a_compressed_file_in_the_making_is_waited_for() {
    let folder = Folder::new();
    let mut follower = follow(&folder);
    let whole = gz(lines(0..200).as_bytes());
    folder.write("a.json.gz", &whole[..50]);
    for end in [whole.len() / 3, whole.len() / 2, whole.len() - 1] {
        follower.pass(3 * SECOND);
        folder.write("a.json.gz", &whole[..end]);
    }
    follower.pass(3 * SECOND);
    assert_eq!((follower.run.ids.len(), follower.run.rejected.len()), (0, 0));
    folder.write("a.json.gz", &whole);
    assert_eq!(follower.tick(), (0..200).collect::<Vec<_>>());
    // A member that comes later still.
    folder.append("a.json.gz", gz(lines([300]).as_bytes()));
    follower.run.ids.clear();
    follower.pass(SECOND);
    assert_eq!((follower.run.ids.clone(), follower.run.rejected.len()), (vec![300], 0));
    assert_eq!(read_once(&folder.path(), &follower.run.positions).pieces, 0);
}

#[test]
fn a_large_compressed_file_in_the_making_is_read_as_it_comes() {
    let whole = gz_stored(lines(0..70_000).as_bytes());
    assert!(whole.len() > 34 << 20);
    let folder = Folder::new();
    let mut follower = follow(&folder);
    folder.write("a.json.gz", &whole[..33 << 20]);
    follower.pass(2 * SECOND);
    let seen = follower.run.ids.len();
    assert!(seen > 50_000, "{seen}");
    folder.write("a.json.gz", &whole);
    follower.pass(2 * SECOND);
    assert_eq!((follower.run.ids == (0..70_000).collect::<Vec<_>>(), follower.run.rejected.len()), (true, 0));
    assert!(follower.run.positions[&folder.shard("a.json.gz")].ended);
}

#[test]
fn a_compressed_file_that_stays_broken_is_refused_after_five_seconds() {
    let folder = Folder::new();
    let mut follower = follow(&folder);
    let whole = gz(lines(0..200).as_bytes());
    folder.write("a.json.gz", &whole[..whole.len() - 5]);
    follower.pass(SECOND * 48 / 10);
    assert_eq!((follower.run.ids.len(), follower.run.rejected.len()), (0, 0));
    follower.pass(SECOND);
    assert_eq!((follower.run.ids.len(), follower.run.reasons()), (200, vec!["corrupt_gzip"]));
    follower.pass(100 * SECOND);
    assert_eq!(follower.run.rejected.len(), 1);
}

#[test]
fn a_document_in_the_making_is_waited_for_and_a_torn_first_line_is_not() {
    let folder = Folder::new();
    let mut follower = follow(&folder);
    let document = format!("{{\n\"Records\": [\n{}\n,{}\n]\n}}\n", record(1), record(2));
    folder.write("doc.json", &document[..60]);
    follower.pass(SECOND);
    folder.append("doc.json", &document[60..document.len() - 4]);
    follower.pass(SECOND);
    folder.append("doc.json", &document[document.len() - 4..]);
    assert_eq!(follower.tick(), [1, 2]);
    folder.write("torn.jsonl", format!("{}\n{}", &record(3)[20..], lines([4])));
    assert_eq!(follower.tick(), [4]);
    assert_eq!(follower.run.rejected.len(), 1);
}

#[test]
fn files_that_are_removed_unread_are_reported_and_read_ones_are_not() {
    let folder = Folder::new();
    folder.write("read.log", lines([1]));
    folder.write("half.log", lines([2]) + &record(3)[..50]);
    let mut follower = follow(&folder);
    for name in ["read.log", "half.log"] {
        fs::remove_file(folder.at(name)).unwrap();
    }
    follower.pass(SECOND);
    assert_eq!(follower.run.rejected, [(folder.shard("half.log"), lines([2]).len() as u64, "unreadable")]);
    // The same file comes back, with its end.
    folder.write("half.log", lines([2, 3]));
    assert_eq!(follower.tick(), [3]);
}

#[test]
fn a_folder_that_is_gone_is_reported_once_and_its_files_come_back() {
    let folder = Folder::new();
    folder.write("root/a.log", lines([1]));
    let mode = Mode::Follow { poll_interval: INTERVAL };
    let source = FolderSource::open(&[folder.at("root")], &BTreeMap::new(), mode).unwrap();
    let mut follower = Follower { source, now: now(), run: Run::default() };
    follower.pass(SECOND);
    for _ in 0..2 {
        fs::rename(folder.at("root"), folder.at("away")).unwrap();
        follower.pass(SECOND);
        fs::rename(folder.at("away"), folder.at("root")).unwrap();
        follower.pass(SECOND);
    }
    assert_eq!(follower.run.ids, [1]);
    assert_eq!(follower.run.rejected, vec![(folder.shard("root"), 0, "unreadable"); 2]);
    fs::rename(folder.at("root"), folder.at("away")).unwrap();
    let positions = follower.run.positions.clone();
    let error = FolderSource::open(&[folder.at("root")], &positions, mode).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot open {}", folder.at("root").display()));
}

#[test]
fn a_download_under_another_name_is_no_loss() {
    let folder = Folder::new();
    let mut follower = follow(&folder);
    let whole = gz(lines(0..50).as_bytes());
    folder.write("a.json.gz.6eF5b5da", &whole[..whole.len() / 2]);
    follower.pass(SECOND);
    folder.append("a.json.gz.6eF5b5da", &whole[whole.len() / 2..]);
    fs::rename(folder.at("a.json.gz.6eF5b5da"), folder.at("a.json.gz")).unwrap();
    assert_eq!(follower.tick(), (0..50).collect::<Vec<_>>());
    assert!(follower.run.rejected.is_empty());
}

#[test]
fn an_over_long_line_in_the_making() {
    let folder = Folder::new();
    let mut follower = follow(&folder);
    let long = "x".repeat(9 << 20);
    folder.write("a.log", lines([1]) + "{\"a\":\"" + &long);
    assert_eq!(follower.tick(), [1]);
    folder.append("a.log", &long);
    follower.pass(SECOND);
    assert!(follower.run.rejected.is_empty());
    folder.append("a.log", "\n".to_owned() + &lines([2]));
    follower.run.ids.clear();
    follower.pass(SECOND);
    assert_eq!((follower.run.ids.clone(), follower.run.reasons()), (vec![2], vec!["too_long"]));
}

#[test]
fn a_clock_that_jumps_does_no_harm() {
    let folder = Folder::new();
    folder.write("a.log", lines([1]));
    let mut follower = follow(&folder);
    follower.now = follower.now.plus(-24 * 3600 * SECOND);
    folder.append("a.log", lines([2]) + &record(3));
    assert_eq!(follower.tick(), [2]);
    follower.run.ids.clear();
    follower.pass(3 * SECOND);
    assert_eq!(follower.run.ids, [3]);
}

#[test]
fn a_real_writer_is_seen_within_a_fraction_of_a_second() {
    let folder = Folder::new();
    folder.write("a.log", "");
    let mode = Mode::Follow { poll_interval: INTERVAL };
    let mut source = FolderSource::open(&[folder.path()], &BTreeMap::new(), mode).unwrap();
    assert_eq!(source.poll(Duration::ZERO, now()).unwrap(), Poll::Idle);
    let path = folder.at("a.log");
    let writer = std::thread::spawn(move || {
        for id in 0..5 {
            let line = lines([id]);
            let (head, tail) = line.split_at(line.len() / 2);
            for part in [head, tail] {
                let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
                std::io::Write::write_all(&mut file, part.as_bytes()).unwrap();
                std::thread::sleep(Duration::from_millis(60));
            }
        }
    });
    let (start, mut run) = (now(), Run::default());
    while run.ids.len() < 5 && now().0 < start.0 + 30 * SECOND {
        if let Poll::Piece(piece) = source.poll(INTERVAL, now()).unwrap() {
            run.take(piece);
        }
    }
    writer.join().unwrap();
    assert_eq!((run.ids, run.rejected), ((0..5).collect(), vec![]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever the steps in which a file is written, what is followed is what one pass gives; and so with a restart.
    #[test]
    fn following_equals_one_pass(
        ids in prop::collection::vec(0_u32..1000, 1..10),
        steps in prop::collection::vec((any::<prop::sample::Index>(), 0_i64..40, any::<bool>()), 0..8),
    ) {
        let content = lines(ids.iter().copied());
        let mut steps: Vec<_> = steps.iter().map(|(step, wait, restart)| (step.index(content.len() + 1), *wait, *restart)).collect();
        steps.sort_unstable();
        let folder = Folder::new();
        let mut follower = follow(&folder);
        for (end, wait, restart) in steps {
            folder.write("a.log", &content.as_bytes()[..end]);
            follower.pass(TICK * (1 + wait));
            if restart {
                let (seen, at) = (follower.run.ids.clone(), follower.now);
                follower = Follower::new(&folder, &follower.run.positions);
                follower.run.ids = seen;
                follower.now = at;
            }
        }
        folder.write("a.log", &content);
        follower.pass(3 * SECOND);
        prop_assert_eq!(&follower.run.ids, &ids);
        prop_assert_eq!(follower.run.rejected.len(), 0);
    }
}
