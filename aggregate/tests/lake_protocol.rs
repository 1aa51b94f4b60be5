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
#[path = "lake_protocol/round_trip.rs"]
mod round_trip;
#[cfg(test)]
#[path = "lake_protocol/writers.rs"]
mod writers;
