//! Runaway detection: agents that loop, snowball, retry or burn more than they usually do, told from the shapes and times of their calls.
//!
//! Owns: rules, detectors, what is remembered of each target. Does not own: budgets (limits that somebody set), what follows a finding
//! (a [`crate::Crossing`] like a budget's). Amounts are integers; time is event time; prompts are never seen.
//!
//! The way of a call: [`Watch::apply`] puts the calls of a target in order → every detector follows them → the first that finds
//! something begins an episode, which fires once.

mod backtest;
mod config;
mod growth;
mod lane;
mod peaks;
mod repeat;
mod rule;
mod shape;
mod slices;
mod target;
mod verdict;
mod watch;
mod words;

pub use backtest::{Backtest, Replayed};
pub use config::{RuleFault, RulesError};
pub use lane::MOST_LANES;
pub use rule::{BaselineTerms, BurnTerms, ErrorTerms, FanOutTerms, GrowthTerms, LoopTerms, Rule, Rules};
pub use shape::{CallShape, ShapeView};
pub use target::MOST_WAITING;
pub use verdict::{Detector, Finding, fire_id};
pub use watch::{MOST_TARGETS, RuleStatus, Watch};

#[cfg(test)]
mod tests;
