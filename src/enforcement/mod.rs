//! Enforcement in a process: what of it is configured, the thread that acts, and the check before it may.
//!
//! Owns: the section `[enforce]`, the thread around the reconciler, the start-up check. Does not own: decisions (`sluice_enforce`).

#[cfg(feature = "aws")]
mod actuator;
#[cfg(feature = "aws")]
mod aws;
#[cfg(feature = "aws")]
mod check;
mod config;
#[cfg(feature = "aws")]
mod open;
mod order;
#[cfg(feature = "aws")]
mod prove;
mod teller;

#[cfg(feature = "aws")]
pub(crate) use actuator::Actuator;
#[cfg(feature = "aws")]
pub(crate) use aws::{Caller, CallerSettings};
pub(crate) use config::{EnforceConfig, RawEnforce};
#[cfg(feature = "aws")]
pub(crate) use open::{attached, check, connect, open, rehearsed};
pub(crate) use order::{agent_target, carry_out};
#[cfg(feature = "aws")]
pub(crate) use prove::{Giver, Prover};
pub(crate) use teller::Teller;

/// Nobody can be asked who runs this command: only a table is ordered that way, and a build without AWS knows none.
#[cfg(not(feature = "aws"))]
pub(crate) struct Giver {
    pub(crate) arn: String,
}

#[cfg(not(feature = "aws"))]
impl Giver {
    /// # Errors
    /// Always.
    pub(crate) fn open(_config: &EnforceConfig) -> anyhow::Result<Self> {
        anyhow::bail!("this build calls no AWS: build it with --features aws")
    }

    /// # Errors
    /// Always.
    pub(crate) fn prove(&self, _binding: &str) -> anyhow::Result<String> {
        anyhow::bail!("this build calls no AWS: build it with --features aws")
    }
}

/// What a turn of the thread that acts came to.
pub(crate) type Acted = Result<sluice_enforce::reconcile::event::Turn, sluice_enforce::StoreError>;

/// Nothing acts in a build without AWS.
#[cfg(not(feature = "aws"))]
pub(crate) struct Actuator;

#[cfg(not(feature = "aws"))]
impl Actuator {
    /// Returns what it did since the last call.
    pub(crate) fn acted(&self) -> std::iter::Empty<Acted> {
        std::iter::empty()
    }
}
