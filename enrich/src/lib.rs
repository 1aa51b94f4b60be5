//! Prices and attribution: a decoded call in, its cost and its owner out.
//!
//! Owns: the price catalogue ([`prices`]), the agents file ([`agents`]) and the decision who a call is booked to
//! ([`attribution`]), joined by the [`Enricher`]; how a bill differs from that ([`reconcile`]). Does not own: decoding, sums, files, clocks. Nothing here does any I/O: texts come in
//! as arguments, and a call is priced at its own event time.

pub mod agents;
pub mod attribution;
pub mod config;
pub mod directory;
pub mod enricher;
pub mod evidence;
pub mod informed;
mod memo;
pub mod prices;
pub mod reconcile;
pub mod rules;

pub use agents::{Agent, AgentsError, AgentsFault, AgentsFile};
pub use attribution::{CallToAttribute, OwnerTexts};
pub use config::{EnrichConfig, EnrichConfigError, EnrichFault, MetadataKeys, RawEnrich};
pub use directory::Directory;
pub use enricher::{EnrichCache, Enricher};
pub use rules::{RuleMatch, Rules, RulesError};
