//! Restarts: the same records come out wherever reading was broken off, and of another file under the same name all of them.

use std::collections::BTreeMap;
use std::fs;

use proptest::prelude::*;
use sluice_schemas::Position;
use sluice_schemas::position::Positions;

use super::{Folder, Run, gz, lines, read_once, read_some, record};

#[test]
fn a_second_run_gives_nothing() {
    let folder = Folder::new();
    folder.write("a.json", lines([1, 2]));
    folder.write("b.json.gz", gz(lines([3]).as_bytes()));
    folder.write("c.json", format!("[\n{}\n]", record(4)));
    folder.write("d.json", format!("{}{}", lines([5]), &record(6)[..90]));
    let run = folder.read();
    assert_eq!((run.ids.clone(), run.rejected.len()), (vec![1, 2, 3, 4, 5], 1));
    let ended = |name: &str| run.positions[&folder.shard(name)].ended;
    assert_eq!((ended("a.json"), ended("b.json.gz"), ended("c.json")), (false, true, false));
    assert_eq!(run.positions[&folder.shard("a.json")].offset, lines([1, 2]).len() as u64);
    let again = read_once(&folder.path(), &run.positions);
    assert_eq!((again.pieces, again.positions), (0, run.positions));
}

#[test]
fn a_torn_last_line_is_read_whole_once_it_is() {
    let folder = Folder::new();
    let content = lines([1, 2, 3]);
    folder.write("a.json", &content[..content.len() - 40]);
    let first = folder.read();
    assert_eq!((first.ids.clone(), first.rejected.len()), (vec![1, 2], 1));
    folder.write("a.json", &content);
    let second = read_once(&folder.path(), &first.positions);
    assert_eq!((second.ids, second.rejected), (vec![3], vec![]));
}

#[test]
fn a_document_that_was_cut_short_is_read_once_it_is_whole() {
    let document = format!("{{\n\"Records\": [\n{},\n{}\n]\n}}", record(1), record(2));
    let folder = Folder::new();
    folder.write("a.json", &document[..document.len() - 9]);
    folder.write("b.json.gz", gz(&document.as_bytes()[..document.len() - 9]));
    let first = folder.read();
    assert_eq!((first.ids.len(), first.reasons()), (0, vec!["unbalanced"; 2]));
    assert_eq!(read_once(&folder.path(), &first.positions).pieces, 0);
    folder.write("a.json", &document);
    folder.write("b.json.gz", [gz(&document.as_bytes()[..document.len() - 9]), gz(&document.as_bytes()[document.len() - 9..])].concat());
    let second = read_once(&folder.path(), &first.positions);
    assert_eq!((second.ids, second.rejected), (vec![1, 2, 1, 2], vec![]));
}

#[test]
fn another_file_under_the_name_is_read_from_its_start() {
    let folder = Folder::new();
    folder.write("a.json", lines(0..10));
    folder.write("b.json.gz", gz(lines(20..30).as_bytes()));
    let first = folder.read();
    folder.write("a.json", lines(100..200));
    folder.write("b.json.gz", gz(lines(200..300).as_bytes()));
    let second = read_once(&folder.path(), &first.positions);
    assert_eq!(second.ids, (100..300).collect::<Vec<_>>());
    // Cut short and begun again with the same bytes: nothing but the length tells.
    folder.write("a.json", lines(100..150));
    let third = read_once(&folder.path(), &second.positions);
    assert_eq!(third.ids, (100..150).collect::<Vec<_>>());
    folder.write("a.json", lines(100..105));
    let fourth = read_once(&folder.path(), &third.positions);
    assert_eq!(fourth.ids, (100..105).collect::<Vec<_>>());
    assert_eq!(read_once(&folder.path(), &fourth.positions).pieces, 0);
}

#[test]
fn a_foreign_position_means_from_the_start() {
    let folder = Folder::new();
    folder.write("a.json", lines([1]));
    for identity in ["something else", "1:2:3", "x:00", "5:zz", "9:00/x"] {
        let position = Position { offset: 5, identity: identity.to_owned(), ..Position::default() };
        let run = read_once(&folder.path(), &Positions::from([(folder.shard("a.json"), position)]));
        assert_eq!(run.ids, [1], "{identity}");
    }
}

#[test]
fn renamed_files_are_read_on() {
    let folder = Folder::new();
    folder.write("app.log", lines(0..10));
    folder.write("app.log.1", lines(100..110));
    let first = folder.read();
    // While nobody looked: rotated twice, and the last lines went to the renamed file.
    folder.append("app.log", lines(10..12));
    fs::rename(folder.at("app.log.1"), folder.at("app.log.2")).unwrap();
    fs::rename(folder.at("app.log"), folder.at("app.log.1")).unwrap();
    folder.write("app.log", lines(20..22));
    let second = read_once(&folder.path(), &first.positions);
    assert_eq!((second.sorted(), second.rejected.len()), (vec![10, 11, 20, 21], 0));
    assert_eq!(read_once(&folder.path(), &second.positions).pieces, 0);
}

#[test]
fn a_tree_that_was_moved_is_read_on() {
    let folder = Folder::new();
    folder.write("here/a.log", lines(0..10));
    folder.write("here/b.json.gz", gz(lines(10..20).as_bytes()));
    let first = read_once(&folder.at("here"), &BTreeMap::new());
    fs::rename(folder.at("here"), folder.at("there")).unwrap();
    folder.append("there/a.log", lines(30..31));
    let second = read_once(&folder.at("there"), &first.positions);
    assert_eq!(second.ids, [30]);
    assert_eq!(read_once(&folder.at("there"), &second.positions).pieces, 0);
    // A copy under another name elsewhere is another file.
    folder.write("elsewhere/c.log", lines(0..10));
    assert_eq!(read_once(&folder.at("elsewhere"), &first.positions).ids.len(), 10);
}

#[test]
fn progress_tells_what_earlier_runs_had_read() {
    use crate::files::{FolderSource, Mode};
    use crate::source::{Poll, Source};
    let folder = Folder::new();
    folder.write("a.json", lines(0..10));
    folder.write("b.json.gz", gz(lines(10..20).as_bytes()));
    let first = folder.read();
    let read: u64 = ["a.json", "b.json.gz"].iter().map(|name| fs::metadata(folder.at(name)).unwrap().len()).sum();
    folder.append("a.json", lines([30]));
    let mut source = FolderSource::open(&[folder.path()], &first.positions, Mode::Once).unwrap();
    while source.poll(std::time::Duration::ZERO, super::now()).unwrap() != Poll::Ended {}
    let progress = source.progress();
    assert_eq!((progress.bytes_resumed, progress.bytes_done), (read, read + lines([30]).len() as u64));
}

#[test]
fn big_plain_files_are_resumed_at_every_piece() {
    let folder = Folder::new();
    folder.write("a.jsonl", lines(0..30_000));
    folder.write("b.jsonl", lines(30_000..30_010));
    let straight = folder.read();
    assert!(straight.pieces >= 5);
    let mut whole = Run::default();
    loop {
        let some = read_some(&[folder.path()], &whole.positions, 1);
        if some.pieces == 0 {
            break;
        }
        whole.ids.extend(some.ids);
        whole.positions = some.positions;
    }
    assert_eq!((whole.ids, whole.positions), (straight.ids, straight.positions));
}

/// Pieces a writer may put into a file, good and bad.
fn chunk() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => (0_u32..1000).prop_map(|id| record(id) + "\n"),
        2 => (0_u32..1000, 0_u32..1000).prop_map(|(a, b)| record(a) + &record(b) + "\n"),
        1 => (0_u32..1000, 1_usize..400).prop_map(|(id, cut)| record(id)[cut..].to_owned() + "\n"),
        1 => Just("not json at all\n".to_owned()),
        1 => Just("\n".to_owned()),
        1 => (0_u32..1000).prop_map(record),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A file that grows in any steps, with a new process after each, gives the records of one pass: nothing twice, nothing lost.
    #[test]
    fn growing_in_any_steps_gives_the_same_records(
        chunks in prop::collection::vec(chunk(), 1..12),
        steps in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let content = chunks.concat();
        let folder = Folder::new();
        folder.write("a.log", &content);
        let straight = folder.read();
        let mut ends: Vec<usize> = steps.iter().map(|step| step.index(content.len() + 1)).collect();
        ends.sort_unstable();
        ends.push(content.len());
        let folder = Folder::new();
        let (mut positions, mut ids, mut rejected) = (Positions::new(), Vec::new(), Vec::new());
        for end in ends {
            folder.write("a.log", &content.as_bytes()[..end]);
            loop {
                let run = read_some(&[folder.path()], &positions, 1);
                if run.pieces == 0 {
                    break;
                }
                ids.extend(run.ids);
                rejected.extend(run.rejected.into_iter().map(|(_, offset, _)| offset));
                positions = run.positions;
            }
        }
        if straight.rejected.is_empty() {
            prop_assert_eq!(&ids, &straight.ids);
        }
        // Records that stood whole at the end of the file count, even if what is written behind them on the line later spoils it.
        let mut found = ids.iter();
        prop_assert!(straight.ids.iter().all(|id| found.any(|other| other == id)), "{ids:?} lacks some of {:?}", straight.ids);
        // A torn end is refused each time it is seen; what one pass refuses is refused here too.
        // Of a line whose beginning was taken before the rest came, only the rest is refused.
        let line = |offset: u64| content.bytes().take(usize::try_from(offset).expect("an offset")).filter(|byte| *byte == b'\n').count();
        for (_, offset, _) in straight.rejected {
            prop_assert!(rejected.iter().any(|other| line(*other) == line(offset)));
        }
    }
}
