//! Dedup, facts, windows, local state, the lake and queries over it.
