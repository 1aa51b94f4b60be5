//! The audit trail: its lines, the chain that ties them together, and the search for what was done to them.
//!
//! Owns: what a line says, how its hash is made ([`chain`]), what a walk over the trail finds ([`Verifier`]) and how the trail of
//! the shared store and its copy in the lake are compared ([`Comparison`]). Pure.
//! Does not own: where lines are numbered and written ([`crate::store`]).
//!
//! The hash has no key: who may rewrite the whole store can make another chain that holds. That the lake keeps each line too, with
//! its number and hash and under other permissions, is what such a hand would have to undo as well; an exported pack is a third
//! witness.

pub mod chain;
mod compare;
mod entry;
mod fault;
#[cfg(test)]
mod tests;
mod verify;

pub use chain::{Head, sha256};
pub use compare::Comparison;
pub(crate) use entry::inputs_of;
pub use entry::{AuditEntry, Versions, inputs};
pub use fault::{AuditFault, FaultKind};
pub use verify::{ChainReport, Verifier};
