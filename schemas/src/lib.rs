//! The words every stage shares: money, time, records, facts, positions and table schemas.
//!
//! Owns: types and their exact arithmetic, the Arrow schemas of the lake's tables, the published JSON schemas.
//! Does not own: any I/O, any clock, any decision. Every stage depends on this crate and on no other stage.

pub mod batch;
pub mod breach;
pub mod clock;
pub mod commit;
pub mod directory;
pub mod error;
pub mod invariant;
pub mod invocation;
pub mod money;
pub mod owner;
pub mod position;
pub mod rejected;
pub mod spend;
pub mod strings;
pub mod tables;
pub mod time;
pub mod trail;
pub mod usage;
pub mod visible;

pub use batch::{Batch, Call, ControlMark, EnrichedBatch, Offloaded, PriceStatus, Pricing, Relayed};
pub use clock::{Clock, SystemClock};
pub use error::ErrorClass;
pub use invocation::{Invocation, Profile, RequestId};
pub use money::PicoUsd;
pub use owner::{AgentStatus, Owner, Rank};
pub use position::{Position, ShardId};
pub use rejected::{RejectReason, Rejected, Whole};
pub use spend::{SpendDelta, SpendView, Sums};
pub use strings::{StringTable, Sym};
pub use time::Micros;
pub use usage::{CostBasis, Extras, ServiceTier, Usage};
