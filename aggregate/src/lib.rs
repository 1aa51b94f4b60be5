//! Dedup, facts, windows, local state, the lake and queries over it.

pub mod correct;
pub mod cur;
pub mod coverage;
pub mod dedup;
pub mod evidence;
pub mod directory;
pub mod facts;
pub mod known;
pub mod lake;
pub mod query;
pub mod seed;
pub mod store;
pub mod windows;
