//! Kafka topics as a source: a member of a consumer group that keeps its own positions.
//!
//! Owns: the settings, the way in (TLS, SCRAM, Amazon MSK's IAM), partitions that come and go, where each begins, gaps, lag.
//! Does not own: decoding ([`crate::piece`]).
//!
//! - The ledger's positions are the truth; the group's offsets follow what the lake has, for lag displays. Stateless workers
//!   have no ledger: for them the group's offsets are the truth, and follow what was published.
//! - A partition goes to another member once what was read of it is durable, or the wait for it has lasted long enough.
//! - Pieces chain (C3). Offsets that are not there because of compaction or transactions are no gap; offsets deleted before they
//!   were read are one: it is told once, and the partition stops until an operator lets it go on.
//! - No partition of the topics stays without a member: one that nobody is assigned has the group share out anew.

mod assignment;
mod connect;
mod context;
mod fault;
mod iam;
mod partition;
mod publish;
mod security;
mod settings;
mod source;
mod start;
mod unread;

pub use context::CredentialsProvider;
pub use iam::{Credentials, CredentialsError, Token, token};
pub use publish::{KafkaRelay, RelayTopic};
pub use security::{Mechanism, Security};
pub use settings::{KafkaSettings, SettingsError, Start};
pub use source::KafkaSource;
pub use start::Keeper;
