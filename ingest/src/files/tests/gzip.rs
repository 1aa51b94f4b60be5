//! Compressed files: damage, growth, bombs, and big ones that are none.

use std::collections::BTreeMap;

use super::{Folder, gz, gz_stored, lines, read_once, read_some};

/// The ids of the lines that lie wholly within the first `bytes` of `content`.
fn whole_lines(content: &str, bytes: usize) -> usize {
    content.as_bytes()[..bytes].iter().filter(|&&byte| byte == b'\n').count()
}

#[test]
fn records_before_the_damage_are_kept() {
    let content = lines(0..300);
    let whole = gz(content.as_bytes());
    let mut kept = 0;
    for end in (0..whole.len()).step_by(whole.len() / 37).skip(1).chain([whole.len() - 9, whole.len() - 1]) {
        let folder = Folder::new();
        folder.write("a.json.gz", lines([1001]));
        folder.write("b.json.gz", &whole[..end]);
        folder.write("c.json.gz", gz(lines([1002]).as_bytes()));
        let run = folder.read();
        assert_eq!(run.reasons(), ["corrupt_gzip"], "cut at {end}");
        let ids = &run.ids[1..run.ids.len() - 1];
        assert_eq!((run.ids[0], run.ids[run.ids.len() - 1]), (1001, 1002));
        assert_eq!(ids, (0..ids.len() as u32).collect::<Vec<_>>(), "cut at {end}");
        assert!(ids.len() >= kept, "a longer piece holds no less");
        kept = ids.len();
        let (shard, offset, _) = &run.rejected[0];
        assert_eq!(*shard, folder.shard("b.json.gz"));
        assert_eq!((whole_lines(&content, *offset as usize), *offset), (kept, run.positions[shard].offset));
        let again = read_once(&folder.path(), &run.positions);
        assert_eq!(again.pieces, 0, "what was dealt with is not dealt with again");
    }
    assert_eq!(kept, 300);
}

#[test]
fn no_changed_byte_becomes_a_call() {
    let content = lines(0..40);
    let whole = gz(content.as_bytes());
    for at in (0..whole.len()).step_by(7) {
        let folder = Folder::new();
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        folder.write("a.json.gz", &damaged);
        let run = folder.read();
        if run.rejected.is_empty() && !run.ids.is_empty() {
            assert_eq!(run.ids, (0..40).collect::<Vec<_>>(), "flipped at {at}");
        } else {
            assert!(!run.rejected.is_empty(), "flipped at {at}");
            assert!(run.ids.iter().zip(0..).all(|(id, expected)| *id == expected), "flipped at {at}");
        }
    }
}

#[test]
fn a_file_that_was_cut_short_is_read_on_when_it_is_whole() {
    let folder = Folder::new();
    let whole = gz(lines(0..300).as_bytes());
    folder.write("a.json.gz", &whole[..whole.len() / 2]);
    let first = folder.read();
    assert_eq!(first.reasons(), ["corrupt_gzip"]);
    folder.write("a.json.gz", &whole);
    let second = read_once(&folder.path(), &first.positions);
    assert_eq!(([first.ids, second.ids].concat(), second.rejected), ((0..300).collect(), vec![]));
    assert!(second.positions[&folder.shard("a.json.gz")].ended);
}

#[test]
fn members_appended_later_are_read() {
    let folder = Folder::new();
    folder.write("a.json.gz", gz(lines(0..10).as_bytes()));
    let first = folder.read();
    folder.append("a.json.gz", gz(lines(10..20).as_bytes()));
    let second = read_once(&folder.path(), &first.positions);
    assert_eq!((second.ids, second.rejected), ((10..20).collect(), vec![]));
    // A line torn between two members is refused once, and whole when the rest is there.
    let folder = Folder::new();
    let content = lines(0..3);
    let (head, tail) = content.split_at(1000);
    folder.write("a.json.gz", gz(head.as_bytes()));
    let first = folder.read();
    assert_eq!((first.ids, first.rejected.len()), (vec![0], 1));
    folder.append("a.json.gz", gz(tail.as_bytes()));
    let second = read_once(&folder.path(), &first.positions);
    assert_eq!((second.ids, second.rejected), (vec![1, 2], vec![]));
}

#[test]
fn a_bomb_is_one_refused_record() {
    let folder = Folder::new();
    folder.write("a.json", lines([1]));
    folder.write("b.json.gz", gz(&vec![b'0'; 1 << 20]).repeat(70));
    let line = lines([7]).replace("{ }{ [", &"0".repeat(20_000));
    folder.write("c.json.gz", gz(line.repeat((1 << 20) / line.len()).as_bytes()).repeat(75));
    folder.write("d.json", lines([2]));
    let run = folder.read();
    assert_eq!((run.ids.clone(), run.reasons()), (vec![1, 2], vec!["gzip_bomb"; 2]));
    assert!(run.rejected.iter().all(|(_, offset, _)| *offset == 0));
    assert_eq!(read_once(&folder.path(), &run.positions).pieces, 0);
}

/// Its last member is small, so the stated size misleads: it goes to a worker, which has to look through it first.
#[test]
fn a_big_file_is_no_bomb() {
    let part = lines(0..10_000);
    let times = (66 << 20) / part.len() + 1;
    let folder = Folder::new();
    folder.write("a.json.gz", gz(part.as_bytes()).repeat(times));
    let run = folder.read();
    assert_eq!((run.ids == (0..10_000).collect::<Vec<_>>().repeat(times), run.pieces, run.rejected), (true, 1, vec![]));
}

#[test]
fn a_streamed_file_is_resumed_at_every_piece() {
    let ids: Vec<u32> = (0..70_000).collect();
    let mut whole = gz_stored(lines(0..70_000).as_bytes());
    let folder = Folder::new();
    folder.write("a.json.gz", &whole);
    let (mut positions, mut seen, mut restarts) = (BTreeMap::new(), Vec::new(), 0);
    loop {
        let some = read_some(&[folder.path()], &positions, 4);
        if some.pieces == 0 {
            break;
        }
        assert_eq!(some.rejected, []);
        restarts += 1;
        seen.extend(some.ids);
        positions = some.positions;
    }
    assert!(seen == ids && restarts >= 2 && positions[&folder.shard("a.json.gz")].ended);
    // A wrong checksum shows at the end only: what was given before stays, the rest does not follow.
    let at = whole.len() - 1;
    whole[at] ^= 1;
    folder.write("a.json.gz", &whole);
    let damaged = folder.read();
    assert_eq!(damaged.reasons(), ["corrupt_gzip"]);
    assert!(ids.starts_with(&damaged.ids) && damaged.ids.len() > 50_000);
}
