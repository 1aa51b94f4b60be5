//! Other writers: a second process, other programs, a writer that was overtaken.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use sluice_aggregate::lake::{Lake, LakeError, LocalObjects, Objects, WriterLock};
use sluice_schemas::{ErrorClass, tables};

use super::support::{self, CLOCK, START, audit, publish};

#[test]
fn a_second_writer_is_told_who_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::open_writer(folder.path(), &CLOCK).unwrap();
    let error = Lake::open_writer(folder.path(), &CLOCK).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Misconfigured);
    let text = error.to_string();
    assert!(text.contains(&std::process::id().to_string()) && text.contains(&folder.path().display().to_string()), "{text}");
    drop(lake);
    assert_eq!(Lake::open_writer(folder.path(), &CLOCK).unwrap().state().fence, 2);
}

/// Storage without locks, as an object store is.
#[derive(Debug)]
struct Lockless(LocalObjects);

impl Objects for Lockless {
    fn lock(&self, _path: &str) -> Result<WriterLock, LakeError> {
        Ok(WriterLock::default())
    }
    fn put_if_absent(&self, path: &str, bytes: &[u8]) -> Result<sluice_aggregate::lake::Put, LakeError> {
        self.0.put_if_absent(path, bytes)
    }
    fn put(&self, path: &str, bytes: &[u8]) -> Result<(), LakeError> {
        self.0.put(path, bytes)
    }
    fn stage(&self, path: &str) -> Result<Box<dyn sluice_aggregate::lake::StagedObject>, LakeError> {
        self.0.stage(path)
    }
    fn get(&self, path: &str) -> Result<Option<Vec<u8>>, LakeError> {
        self.0.get(path)
    }
    fn get_range(&self, path: &str, offset: u64, length: usize) -> Result<Vec<u8>, LakeError> {
        self.0.get_range(path, offset, length)
    }
    fn size(&self, path: &str) -> Result<Option<u64>, LakeError> {
        self.0.size(path)
    }
    fn list(&self, folder: &str) -> Result<Vec<sluice_aggregate::lake::ObjectEntry>, LakeError> {
        self.0.list(folder)
    }
    fn delete(&self, path: &str) -> Result<(), LakeError> {
        self.0.delete(path)
    }
    fn delete_empty_folder(&self, folder: &str) -> Result<(), LakeError> {
        self.0.delete_empty_folder(folder)
    }
    fn settle(&self, folder: &str) -> Result<(), LakeError> {
        self.0.settle(folder)
    }
    fn locate(&self, path: &str) -> std::path::PathBuf {
        self.0.locate(path)
    }
}

#[test]
fn a_writer_that_was_overtaken_is_fenced() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Lake::open_writer_on(Arc::new(Lockless(LocalObjects::new(folder.path()))), &CLOCK).unwrap();
    let mut old = open();
    publish(&mut old, 0, 10).unwrap();
    let mut staged = old.begin_epoch();
    support::fill(&mut staged, 10, 10).unwrap();
    let sealed = staged.seal().unwrap();
    let mut new = open();
    let error = old.commit(sealed, support::positions(20), START, START).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Fenced, "{error}");
    assert!(matches!(publish(&mut old, 10, 10), Err(LakeError::NeedsReopen)));
    publish(&mut new, 10, 5).unwrap();
    audit(&new, 15, "after the takeover");
    // What the old one staged is no part of any table, and goes.
    assert!(new.vacuum(START).unwrap().orphans > 0);
    audit(&open(), 15, "after the vacuum");
}

#[test]
fn a_takeover_between_root_and_rest_is_finished_by_the_new_writer() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Lake::open_writer_on(Arc::new(Lockless(LocalObjects::new(folder.path()))), &CLOCK).unwrap();
    let mut old = open();
    publish(&mut old, 0, 10).unwrap();
    // As if the old writer had stopped after its root commit: the other tables lose their last entry.
    for table in [tables::SPEND_DAY, tables::ACTIONS] {
        fs::remove_file(folder.path().join(format!("{table}/_delta_log/{:020}.json", 1))).unwrap();
    }
    audit(&Lake::open_reader(folder.path()).unwrap(), 10, "a reader in between");
    let mut new = open();
    audit(&new, 10, "after recovery");
    assert_eq!(publish(&mut old, 10, 10).unwrap_err().class(), ErrorClass::Fenced);
    publish(&mut new, 10, 10).unwrap();
    audit(&open(), 20, "after both");
}

#[test]
fn what_other_programs_do_to_a_table_is_stepped_over() {
    let folder = tempfile::tempdir().unwrap();
    let mut lake = Lake::open_writer(folder.path(), &CLOCK).unwrap();
    publish(&mut lake, 0, 10).unwrap();
    // Another engine rewrites the one file of `calls` under another name.
    let log = folder.path().join("calls/_delta_log");
    let file = lake.files(tables::CALLS).unwrap().remove(0);
    fs::copy(&file.path, file.path.with_file_name("part%20of another.parquet")).unwrap();
    let entry = format!(
        "{}\n{}\n{}\n",
        r#"{"commitInfo":{"timestamp":1,"operation":"OPTIMIZE","engineInfo":"other"}}"#,
        format_args!(r#"{{"remove":{{"path":"{}","dataChange":false,"deletionTimestamp":1}}}}"#, file.name),
        format_args!(
            r#"{{"add":{{"path":"dt=2026-10-01/part%2520of%20another.parquet","partitionValues":{{"dt":"2026-10-01"}},"size":{},"modificationTime":1,"dataChange":false}}}}"#,
            file.bytes
        ),
    );
    fs::write(log.join(format!("{:020}.json", lake.state().version + 1)), entry).unwrap();
    publish(&mut lake, 10, 10).unwrap();
    audit(&lake, 20, "after another program's commit");
    // A replacement of what is gone is refused, and nothing is half-done by it.
    let sealed = lake.begin_epoch().seal().unwrap();
    let gone = lake.replace(sealed, &[file], START).unwrap_err();
    assert!(matches!(gone, LakeError::Conflict { .. }));
    publish(&mut lake, 20, 10).unwrap();
    drop(lake);
    audit(&Lake::open_writer(folder.path(), &CLOCK).unwrap(), 30, "after reopening");
}

#[test]
fn a_table_that_another_program_upgraded_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut lake = Lake::open_writer(folder.path(), &CLOCK).unwrap();
    let entry = r#"{"protocol":{"minReaderVersion":3,"minWriterVersion":7,"readerFeatures":["deletionVectors"],"writerFeatures":[]}}"#;
    fs::write(folder.path().join(format!("calls/_delta_log/{:020}.json", lake.state().version + 1)), entry).unwrap();
    let error = publish(&mut lake, 0, 1).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Misconfigured, "{error}");
    drop(lake);
    assert!(matches!(Lake::open_reader(folder.path()), Err(LakeError::Unsupported { .. })));
}

#[test]
fn a_log_with_a_hole_or_a_torn_entry_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut lake = Lake::open_writer(folder.path(), &CLOCK).unwrap();
    for epoch in 0..3 {
        publish(&mut lake, epoch * 2, 2).unwrap();
    }
    let (log, last) = (folder.path().join("calls/_delta_log"), lake.state().version);
    drop(lake);
    let entry = log.join(format!("{:020}.json", last - 1));
    let whole = fs::read(&entry).unwrap();
    fs::remove_file(&entry).unwrap();
    assert_eq!(Lake::open_writer(folder.path(), &CLOCK).unwrap_err().class(), ErrorClass::Corrupt);
    fs::write(&entry, &whole[..whole.len() / 2]).unwrap();
    assert_eq!(Lake::open_writer(folder.path(), &CLOCK).unwrap_err().class(), ErrorClass::Corrupt);
    fs::write(&entry, &whole).unwrap();
    audit(&Lake::open_writer(folder.path(), &CLOCK).unwrap(), 6, "restored");
}

#[test]
fn a_missing_or_altered_manifest_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    publish(&mut Lake::open_writer(folder.path(), &CLOCK).unwrap(), 0, 2).unwrap();
    let path = folder.path().join("_sluice/e000000000001-f000001.json.gz");
    let whole = fs::read(&path).unwrap();
    let mut altered = whole.clone();
    let last = altered.len() - 1;
    altered[last] ^= 1;
    fs::write(&path, &altered).unwrap();
    assert_eq!(Lake::open_reader(folder.path()).unwrap_err().class(), ErrorClass::Corrupt);
    fs::remove_file(&path).unwrap();
    assert_eq!(Lake::open_writer(folder.path(), &CLOCK).unwrap_err().class(), ErrorClass::Corrupt);
    fs::write(&path, &whole).unwrap();
    audit(&Lake::open_reader(folder.path()).unwrap(), 2, "restored");
}

#[test]
fn places_that_cannot_hold_a_lake_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a-file");
    fs::write(&file, "x").unwrap();
    let error = Lake::open_writer(&file.join("lake"), &CLOCK).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Misconfigured, "{error}");
    assert!(error.to_string().contains("a-file"), "{error}");
    let closed = folder.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o500)).unwrap();
    // The superuser writes everywhere, so there the refusal cannot be seen.
    if fs::write(closed.join("probe"), "").is_err() {
        let error = Lake::open_writer(&closed.join("lake"), &CLOCK).unwrap_err();
        assert!(matches!(error, LakeError::Permission { .. }), "{error}");
    }
}
