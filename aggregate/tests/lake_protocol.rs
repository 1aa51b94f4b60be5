//! The lake's protocol: what is committed is there once and whole, whatever fails and whoever else writes.

#[cfg(test)]
#[path = "lake_protocol/support.rs"]
mod support;

#[cfg(test)]
#[path = "lake_protocol/compaction.rs"]
mod compaction;
#[cfg(test)]
#[path = "lake_protocol/faults.rs"]
mod faults;
#[cfg(test)]
#[path = "lake_protocol/folders.rs"]
mod folders;
#[cfg(test)]
#[path = "lake_protocol/round_trip.rs"]
mod round_trip;
#[cfg(test)]
#[path = "lake_protocol/writers.rs"]
mod writers;

/// The storage under test: a folder.
#[cfg(test)]
mod storage {
    use std::sync::Arc;

    use sluice_aggregate::lake::LocalObjects;

    use super::support::Place;

    /// Edges between two that fail.
    pub(crate) const EDGE_STEP: usize = 1;

    /// Returns a folder of its own, in memory where there is such: these tests sync files by the ten thousand.
    pub(crate) fn place() -> Option<Place> {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        Some(Place { objects: Arc::new(LocalObjects::new(folder.path())), _folder: Some(folder) })
    }
}
