//! The file store passes the conformance checks and tells damage from absence.

use std::io::Write;

use sluice_schemas::ErrorClass;
use tempfile::TempDir;

use super::*;
use crate::audit::{AuditFault, FaultKind, Verifier};
use crate::store::conformance;

#[test]
fn conforms() {
    let folder = TempDir::new().expect("a folder");
    let mut number = 0;
    conformance::all(|| {
        number += 1;
        FileStore::open(&folder.path().join(format!("{number}.redb"))).expect("a new store")
    });
}

#[test]
fn outlives_its_process() {
    let folder = TempDir::new().expect("a folder");
    conformance::reopening(|| FileStore::open(&folder.path().join("s.redb")).expect("the store"));
}

#[test]
fn a_writer_without_the_fence_writes_nothing() {
    let folder = TempDir::new().expect("a folder");
    let store = FileStore::open(&folder.path().join("s.redb")).expect("a new store");
    conformance::zombies(&store, &store.share());
}

#[test]
fn a_second_process_is_kept_out() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("s.redb");
    let _held = FileStore::open(&path).expect("a new store");
    assert!(matches!(FileStore::open(&path), Err(StoreError::Busy { .. })));
}

#[test]
fn a_file_that_is_no_store_is_corrupt_and_left_alone() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("s.redb");
    let garbage = vec![7_u8; 64 * 1024];
    std::fs::write(&path, &garbage).expect("written");
    let error = FileStore::open(&path).err().expect("refused");
    assert_eq!(error.class(), ErrorClass::Corrupt, "{error}");
    assert!(error.to_string().contains("restore it from a copy"));
    assert_eq!(std::fs::read(&path).expect("still there"), garbage);
}

#[test]
fn a_row_that_is_damaged_is_named() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("s.redb");
    let store = FileStore::open(&path).expect("a new store");
    store
        .write("test", |transaction| {
            let mut holds = transaction.open_table(HOLDS).map_err(|error| store.failed("test", error))?;
            holds.insert("h", b"{\"id\":".as_slice()).map_err(|error| store.failed("test", error))?;
            Ok(())
        })
        .expect("written");
    let error = store.holds().expect_err("refused");
    assert_eq!(error.class(), ErrorClass::Corrupt);
    assert!(error.to_string().contains("row 'h' of holds"), "{error}");
}

#[test]
fn a_newer_format_is_refused() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("s.redb");
    {
        let store = FileStore::open(&path).expect("a new store");
        store.write("test", |transaction| store.set_meta(transaction, "format", "2")).expect("written");
    }
    assert!(matches!(FileStore::open(&path), Err(StoreError::Format { known: 1, .. })));
}

#[test]
fn a_truncated_file_is_refused() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("s.redb");
    drop(FileStore::open(&path).expect("a new store"));
    let mut bytes = std::fs::read(&path).expect("read");
    bytes.truncate(100);
    std::fs::File::create(&path).and_then(|mut file| file.write_all(&bytes)).expect("written");
    let error = FileStore::open(&path).err().expect("refused");
    assert_eq!(error.class(), ErrorClass::Corrupt, "{error}");
}

#[test]
fn who_was_overtaken_writes_nothing() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("s.redb");
    let old = FileStore::open(&path).expect("a new store");
    assert_eq!(old.take_fence("old", Micros(1)).expect("the fence"), 1);
    let hold = |id: &str| AuditEntry {
        at: Micros(1),
        fire_id: id.to_owned(),
        action: "note".to_owned(),
        target: String::new(),
        state: "done".to_owned(),
        actor: super::super::SELF.to_owned(),
        detail: String::new(),
        ..AuditEntry::default()
    };
    old.audit(&hold("before")).expect("a line");
    assert!(FileStore::take_from_other(&path).expect("taken"));
    let new = FileStore::open(&path).expect("the store");
    assert_eq!(new.take_fence("new", Micros(2)).expect("the fence"), 2);
    // It wakes up.
    let error = old.audit(&hold("late")).expect_err("fenced");
    assert_eq!(error.class(), ErrorClass::Fenced);
    assert_eq!(old.share().take_fence("old", Micros(3)).expect_err("fenced").class(), ErrorClass::Fenced);
    let lines = new.audit_trail(0, 10).expect("lines");
    assert_eq!(lines.iter().map(|(_, line)| line.fire_id.as_str()).collect::<Vec<_>>(), ["before"]);
    drop((old, new));
    assert!(!FileStore::take_from_other(&path).expect("nobody has it"));
    assert_eq!(FileStore::open(&path).expect("the store").fence().expect("the fence"), 2);
}

#[test]
fn a_trail_from_before_the_chain_goes_on_with_it() {
    let folder = TempDir::new().expect("a folder");
    let store = FileStore::open(&folder.path().join("s.redb")).expect("a new store");
    let old = br#"{"at":"2026-10-01T00:00:00Z","fire_id":"f","action":"hold","target":"t","state":"done","actor":"sluice","detail":""}"#;
    let write_as_before = |number: u64| {
        store.write("test", |transaction| {
            let mut trail = transaction.open_table(AUDIT).map_err(|error| store.failed("test", error))?;
            trail.insert(number, old.as_slice()).map_err(|error| store.failed("test", error))?;
            Ok(())
        })
    };
    write_as_before(1).expect("written");
    write_as_before(2).expect("written");
    store.audit(&conformance::sample_line("new")).expect("a line");
    // And once more by a program that knows no chain.
    write_as_before(4).expect("written");
    store.audit(&conformance::sample_line("newer")).expect("a line");
    let mut verifier = Verifier::default();
    let trail = store.audit_trail(0, 10).expect("lines");
    trail.iter().for_each(|(number, line)| verifier.take(*number, line));
    let report = verifier.finish(store.audit_head().expect("read").as_ref());
    assert_eq!((report.lines, report.begins_at), (5, Some(3)));
    assert_eq!(report.faults, [AuditFault { line: 4, kind: FaultKind::Unsealed }]);
}

type Lines<'a> = redb::Table<'a, u64, &'static [u8]>;

fn bytes(trail: &Lines<'_>, number: u64) -> Vec<u8> {
    trail.get(number).expect("read").expect("a line").value().to_vec()
}

/// What a hand in the file does to the trail is found in what the store reads.
#[test]
fn tampering_with_the_file_is_found() {
    let found = |tamper: fn(&mut Lines<'_>)| {
        let folder = TempDir::new().expect("a folder");
        let store = FileStore::open(&folder.path().join("s.redb")).expect("a new store");
        for action in ["a", "b", "c", "d"] {
            store.audit(&conformance::sample_line(action)).expect("a line");
        }
        store
            .write("test", |transaction| {
                tamper(&mut transaction.open_table(AUDIT).map_err(|error| store.failed("test", error))?);
                Ok(())
            })
            .expect("written");
        let mut verifier = Verifier::default();
        store.audit_trail(0, 10).expect("lines").iter().for_each(|(number, line)| verifier.take(*number, line));
        verifier.finish(store.audit_head().expect("read").as_ref()).faults
    };
    let fault = |line, kind| AuditFault { line, kind };
    assert_eq!(found(|_| {}), []);
    let edit = |trail: &mut Lines<'_>| {
        let text = String::from_utf8(bytes(trail, 2)).unwrap().replace("someone", "nobody");
        trail.insert(2, text.as_bytes()).unwrap();
    };
    assert_eq!(found(edit), [fault(2, FaultKind::Changed)]);
    let cut = |trail: &mut Lines<'_>| drop(trail.remove(4).unwrap());
    assert_eq!(found(cut), [fault(4, FaultKind::Missing { through: 4 })]);
    let swap = |trail: &mut Lines<'_>| {
        let (one, other) = (bytes(trail, 1), bytes(trail, 3));
        trail.insert(1, other.as_slice()).unwrap();
        trail.insert(3, one.as_slice()).unwrap();
    };
    let swapped = found(swap);
    assert!(swapped.contains(&fault(1, FaultKind::Moved { from: 3 })) && swapped.contains(&fault(3, FaultKind::Moved { from: 1 })));
    let append = |trail: &mut Lines<'_>| {
        let copy = bytes(trail, 4);
        trail.insert(5, copy.as_slice()).unwrap();
    };
    assert_eq!(found(append)[0].line, 5);
}
