//! The file store passes the conformance checks and tells damage from absence.

use std::io::Write;

use sluice_schemas::ErrorClass;
use tempfile::TempDir;

use super::*;
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
