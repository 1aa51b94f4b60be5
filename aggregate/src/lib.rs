//! Dedup, facts, windows, local state, the lake and queries over it.

pub mod correct;
pub mod coverage;
pub mod cur;
pub mod dedup;
pub mod directory;
pub mod evidence;
pub mod facts;
pub mod forget;
pub mod known;
pub mod lake;
pub mod query;
pub mod seed;
pub mod store;
pub mod windows;
