//! What only a folder can do: it has a lock, and it may be no place for a lake.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use sluice_aggregate::lake::{Lake, LakeError};
use sluice_schemas::ErrorClass;

use super::support::CLOCK;

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
