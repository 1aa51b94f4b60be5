//! The lake's protocol: what is committed is there once and whole, whatever fails and whoever else writes.

#[path = "lake_protocol/support.rs"]
mod support;

#[path = "lake_protocol/compaction.rs"]
mod compaction;
#[path = "lake_protocol/faults.rs"]
mod faults;
#[path = "lake_protocol/round_trip.rs"]
mod round_trip;
#[path = "lake_protocol/writers.rs"]
mod writers;
