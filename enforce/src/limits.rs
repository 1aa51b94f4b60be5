//! Limits that stand in the agents file rather than in the file of budgets.

use std::collections::BTreeMap;

use sluice_schemas::PicoUsd;

/// What the agents file says about limits.
pub trait AgentLimits: Send + Sync {
    /// Returns the limit of an agent.
    fn limit(&self, agent_id: &str) -> Option<PicoUsd>;

    /// Returns a tag that the file gives an agent; it goes before a tag of the call.
    fn tag(&self, agent_id: &str, key: &str) -> Option<String>;
}

/// No agents file.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoLimits;

impl AgentLimits for NoLimits {
    fn limit(&self, _agent_id: &str) -> Option<PicoUsd> {
        None
    }

    fn tag(&self, _agent_id: &str, _key: &str) -> Option<String> {
        None
    }
}

/// Limits and tags by agent.
#[derive(Clone, Debug, Default)]
pub struct LimitTable {
    /// Limit by agent.
    pub limits: BTreeMap<String, PicoUsd>,
    /// Tags by agent and key.
    pub tags: BTreeMap<String, BTreeMap<String, String>>,
}

impl AgentLimits for LimitTable {
    fn limit(&self, agent_id: &str) -> Option<PicoUsd> {
        self.limits.get(agent_id).copied()
    }

    fn tag(&self, agent_id: &str, key: &str) -> Option<String> {
        self.tags.get(agent_id)?.get(key).cloned()
    }
}
