//! Guards: who else a stop would hit, who may never be stopped, and how many at once.
//!
//! Owns: the index of who calls through what, the choice of levers and subjects for a target, protected principals. Pure; what it decides
//! becomes part of the hold.

pub mod protected;
pub mod reach;
pub mod scope;
pub mod usage;

pub use protected::Protected;
pub use scope::{Obstacle, Scope, ScopePolicy, Share, resolve};
pub use usage::Usage;

use std::sync::{Arc, PoisonError, RwLock};

use sluice_schemas::Micros;

/// What scopes are resolved with: the index, which whoever counts spend keeps up, and what people configured.
#[derive(Clone, Debug, Default)]
pub struct Scoping {
    /// Who called through what.
    pub usage: Arc<RwLock<Usage>>,
    /// How subjects are chosen.
    pub policy: ScopePolicy,
    /// Who is never stopped.
    pub protected: Protected,
}

impl Scoping {
    /// Returns what a hold on `target` would pull, for spend from `from` on.
    #[must_use]
    pub fn of(&self, target: &str, from: Micros) -> Scope {
        let usage = self.usage.read().unwrap_or_else(PoisonError::into_inner);
        resolve(target, from, &usage, &self.policy, &self.protected)
    }
}
