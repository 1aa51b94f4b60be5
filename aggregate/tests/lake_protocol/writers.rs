//! Other writers: other programs, and a writer that was overtaken.

use sluice_aggregate::lake::LakeError;
use sluice_schemas::{ErrorClass, tables};

use super::storage::place;
use super::support::{self, START, audit, publish};

#[test]
fn a_writer_that_was_overtaken_is_fenced() {
    let Some(place) = place() else { return };
    let open = || place.second_writer();
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
    let Some(place) = place() else { return };
    let open = || place.second_writer();
    let mut old = open();
    publish(&mut old, 0, 10).unwrap();
    // As if the old writer had stopped after its root commit: the other tables lose their last entry.
    for table in [tables::SPEND_DAY, tables::ACTIONS] {
        place.objects.delete(&format!("{table}/_delta_log/{:020}.json", 1)).unwrap();
    }
    audit(&place.reader().unwrap(), 10, "a reader in between");
    let mut new = open();
    audit(&new, 10, "after recovery");
    assert_eq!(publish(&mut old, 10, 10).unwrap_err().class(), ErrorClass::Fenced);
    publish(&mut new, 10, 10).unwrap();
    audit(&open(), 20, "after both");
}

#[test]
fn what_other_programs_do_to_a_table_is_stepped_over() {
    let Some(place) = place() else { return };
    let mut lake = place.writer().unwrap();
    publish(&mut lake, 0, 10).unwrap();
    // Another engine rewrites the one file of `calls` under another name.
    let file = lake.files(tables::CALLS).unwrap().remove(0);
    place.put("calls/dt=2026-10-01/part%20of another.parquet", &place.get(&format!("calls/{}", file.name)));
    let entry = format!(
        "{}\n{}\n{}\n",
        r#"{"commitInfo":{"timestamp":1,"operation":"OPTIMIZE","engineInfo":"other"}}"#,
        format_args!(r#"{{"remove":{{"path":"{}","dataChange":false,"deletionTimestamp":1}}}}"#, file.name),
        format_args!(
            r#"{{"add":{{"path":"dt=2026-10-01/part%2520of%20another.parquet","partitionValues":{{"dt":"2026-10-01"}},"size":{},"modificationTime":1,"dataChange":false}}}}"#,
            file.bytes
        ),
    );
    place.put(&format!("calls/_delta_log/{:020}.json", lake.state().version + 1), entry.as_bytes());
    publish(&mut lake, 10, 10).unwrap();
    audit(&lake, 20, "after another program's commit");
    // A replacement of what is gone is refused, and nothing is half-done by it.
    let sealed = lake.begin_epoch().seal().unwrap();
    let gone = lake.replace(sealed, &[file], START).unwrap_err();
    assert!(matches!(gone, LakeError::Conflict { .. }));
    publish(&mut lake, 20, 10).unwrap();
    drop(lake);
    audit(&place.writer().unwrap(), 30, "after reopening");
}

#[test]
fn a_table_that_another_program_upgraded_is_left_alone() {
    let Some(place) = place() else { return };
    let mut lake = place.writer().unwrap();
    let entry = r#"{"protocol":{"minReaderVersion":3,"minWriterVersion":7,"readerFeatures":["deletionVectors"],"writerFeatures":[]}}"#;
    place.put(&format!("calls/_delta_log/{:020}.json", lake.state().version + 1), entry.as_bytes());
    let error = publish(&mut lake, 0, 1).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Misconfigured, "{error}");
    drop(lake);
    assert!(matches!(place.reader(), Err(LakeError::Unsupported { .. })));
}

#[test]
fn a_log_with_a_hole_or_a_torn_entry_is_refused() {
    let Some(place) = place() else { return };
    let mut lake = place.writer().unwrap();
    for epoch in 0..3 {
        publish(&mut lake, epoch * 2, 2).unwrap();
    }
    let entry = format!("calls/_delta_log/{:020}.json", lake.state().version - 1);
    drop(lake);
    let whole = place.get(&entry);
    place.objects.delete(&entry).unwrap();
    assert_eq!(place.writer().unwrap_err().class(), ErrorClass::Corrupt);
    place.put(&entry, &whole[..whole.len() / 2]);
    assert_eq!(place.writer().unwrap_err().class(), ErrorClass::Corrupt);
    place.put(&entry, &whole);
    audit(&place.writer().unwrap(), 6, "restored");
}

#[test]
fn a_missing_or_altered_manifest_is_refused() {
    let Some(place) = place() else { return };
    publish(&mut place.writer().unwrap(), 0, 2).unwrap();
    let path = "_sluice/e000000000001-f000001.json.gz";
    let whole = place.get(path);
    let mut altered = whole.clone();
    let last = altered.len() - 1;
    altered[last] ^= 1;
    place.put(path, &altered);
    assert_eq!(place.reader().unwrap_err().class(), ErrorClass::Corrupt);
    place.objects.delete(path).unwrap();
    assert_eq!(place.writer().unwrap_err().class(), ErrorClass::Corrupt);
    place.put(path, &whole);
    audit(&place.reader().unwrap(), 2, "restored");
}
