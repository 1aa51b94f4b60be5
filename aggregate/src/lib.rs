//! Dedup, facts, windows, local state, the lake and queries over it.

pub mod dedup;
pub mod store;
