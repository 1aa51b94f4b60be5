//! What AWS says about the things that call: application inference profiles, roles, users, AgentCore runtimes, Bedrock agents, records of
//! the AgentCore Agent Registry.
//!
//! Owns: which questions there are, what the answers mean, and what of a trust policy is pinned. Does not own: when a question is asked,
//! nor where entries are kept. Questions read and never write.

#[cfg(feature = "aws")]
mod answers;
#[cfg(feature = "aws")]
mod ask;
#[cfg(feature = "aws")]
mod iam;
#[cfg(feature = "aws")]
mod listing;
mod pins;
mod wanted;

#[cfg(feature = "aws")]
pub use ask::{Asker, AskerSettings, LookError};
#[cfg(feature = "aws")]
pub use listing::Kind;
pub use pins::pins;
pub use wanted::{Place, Wanted};
