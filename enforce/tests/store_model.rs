//! The file store against the model.

#![cfg(test)]

#[path = "support/store_model.rs"]
mod store_model;

use proptest::prelude::*;
use sluice_enforce::FileStore;

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_file_store_does_what_the_model_does(steps in store_model::steps(80)) {
        let folder = tempfile::tempdir().unwrap();
        let store = FileStore::open(&folder.path().join("s.redb")).unwrap();
        store_model::compare(&steps, || Box::new(store.share()));
    }
}

#[test]
fn one_of_many_claimers_wins() {
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::open(&folder.path().join("s.redb")).unwrap();
    store_model::race(16, || Box::new(store.share()));
}
