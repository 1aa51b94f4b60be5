//! Enforcement in a process: what of it is configured, the thread that acts, and the check before it may.
//!
//! Owns: the section `[enforce]`, the thread around the reconciler, the start-up check. Does not own: decisions (`sluice_enforce`).

mod actuator;
#[cfg(feature = "aws")]
mod aws;
#[cfg(feature = "aws")]
mod check;
mod config;
#[cfg(feature = "aws")]
mod open;
mod order;

pub(crate) use actuator::Actuator;
pub(crate) use config::{EnforceConfig, RawEnforce};
pub(crate) use order::{agent_target, carry_out};
#[cfg(feature = "aws")]
pub(crate) use open::{connect, open};
