//! The decision: which of the evidence of a call names its agent.

use sluice_schemas::{AgentStatus, Rank};

use super::is_reserved;
use super::saying::Refusal;

/// What the agents file says, as far as the decision asks. Agents are numbers.
pub(crate) trait Registry {
    /// Returns the agent with this id.
    fn by_id(&self, id: &str) -> Option<u32>;
    /// Tells whether the agent has principals or inference profiles.
    fn is_bound(&self, agent: u32) -> bool;
    /// Tells whether the agent has principals.
    fn has_principals(&self, agent: u32) -> bool;
    /// Tells whether a trust policy pins the agent's session names.
    fn is_pinned(&self, agent: u32) -> bool;
    /// Tells whether a role session of this name is the agent's.
    fn owns_session(&self, agent: u32, session_name: &str) -> bool;
}

/// Evidence of one call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    /// Agents registered on the principal.
    pub(crate) principal: &'a [u32],
    /// Agents registered on the inference profile.
    pub(crate) profile: &'a [u32],
    /// Role session name; empty when there is none.
    pub(crate) session_name: &'a str,
    /// Believable claim of the metadata.
    pub(crate) claim: Option<&'a str>,
}

/// What named the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Evidence {
    None,
    Metadata,
    SessionName,
    InferenceProfile,
    Principal,
}

/// Who a call is booked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    Nobody,
    /// An agent of the agents file.
    Agent(u32),
    /// The agent of the claim, which no file knows.
    Claimed,
    /// The principal, for naming an agent that is not its own.
    Spoofed,
}

/// The outcome for one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) named: Named,
    pub(crate) evidence: Evidence,
    pub(crate) rank: Rank,
    pub(crate) status: AgentStatus,
}

impl Decision {
    const NOBODY: Self = Self { named: Named::Nobody, evidence: Evidence::None, rank: Rank::Inferred, status: AgentStatus::Unattributed };

    const fn verified(agent: u32, evidence: Evidence, rank: Rank) -> Self {
        Self { named: Named::Agent(agent), evidence, rank, status: AgentStatus::Verified }
    }

    const fn spoofed(evidence: Evidence, rank: Rank) -> Self {
        Self { named: Named::Spoofed, evidence, rank, status: AgentStatus::Spoofed }
    }
}

/// Returns the only item, or `None` if there are none or several.
fn sole(mut agents: impl Iterator<Item = u32>) -> Option<u32> {
    let first = agents.next()?;
    agents.next().is_none().then_some(first)
}

/// Decides who a call is booked to.
pub(crate) fn decide(registry: &impl Registry, facts: &Facts<'_>) -> Decision {
    let registered = if facts.principal.is_empty() { facts.profile } else { facts.principal };
    match (registered.is_empty(), facts.claim) {
        (true, None) => Decision::NOBODY,
        (true, Some(claim)) => open(registry, claim),
        (false, Some(claim)) => {
            let allowed =
                |agent: &u32| registered.contains(agent) && is_bound_here(registry, facts, *agent) && fits_pin(registry, facts, *agent);
            let Some(agent) = registry.by_id(claim).filter(allowed) else {
                return Decision::spoofed(Evidence::Metadata, Rank::Claimed);
            };
            // What the file says without the claim is stronger than the claim: agreement raises.
            let without_claim = closed(registry, facts, registered);
            if without_claim.named == Named::Agent(agent) {
                return without_claim;
            }
            let is_sole = sole(registered.iter().copied().filter(allowed)).is_some();
            let status = if is_sole || is_session_of(registry, facts, agent) { AgentStatus::Verified } else { AgentStatus::Unverified };
            Decision { named: Named::Agent(agent), evidence: Evidence::Metadata, rank: Rank::Claimed, status }
        }
        (false, None) => closed(registry, facts, registered),
    }
}

/// A claim where no agent is registered: believed, unless the name is taken.
fn open(registry: &impl Registry, claim: &str) -> Decision {
    let agent = registry.by_id(claim);
    if is_reserved(claim) || agent.is_some_and(|agent| registry.is_bound(agent)) {
        return Decision::spoofed(Evidence::Metadata, Rank::Claimed);
    }
    let named = agent.map_or(Named::Claimed, Named::Agent);
    Decision { named, evidence: Evidence::Metadata, rank: Rank::Claimed, status: AgentStatus::Unverified }
}

/// Claims aside, where agents are registered: the binding names the agent if it is the only one, else the session name does.
fn closed(registry: &impl Registry, facts: &Facts<'_>, registered: &[u32]) -> Decision {
    let bound = || registered.iter().copied().filter(|&agent| is_bound_here(registry, facts, agent));
    let through_profile = !facts.profile.is_empty();
    match sole(bound()) {
        Some(agent) if fits_pin(registry, facts, agent) => {
            let evidence = if through_profile { Evidence::InferenceProfile } else { Evidence::Principal };
            return Decision::verified(agent, evidence, Rank::Aws);
        }
        // The one agent of the profile is pinned to sessions that this is not, or none of its agents is on this principal.
        Some(_) => return Decision::spoofed(Evidence::InferenceProfile, Rank::Aws),
        None if bound().next().is_none() => return Decision::spoofed(Evidence::InferenceProfile, Rank::Aws),
        None => {}
    }
    let by_session = |&agent: &u32| registry.owns_session(agent, facts.session_name) && fits_pin(registry, facts, agent);
    sole(bound().filter(by_session)).map_or(Decision::NOBODY, |agent| {
        let rank = if registry.is_pinned(agent) { Rank::Pinned } else { Rank::Chosen };
        Decision::verified(agent, Evidence::SessionName, rank)
    })
}

/// Tells whether evidence other than a claim may name this agent, which the agents file knows.
pub(super) fn refusal(registry: &impl Registry, facts: &Facts<'_>, agent: Option<u32>) -> Option<Refusal> {
    let registered = if facts.principal.is_empty() { facts.profile } else { facts.principal };
    let here = |agent: u32| registered.contains(&agent) && is_bound_here(registry, facts, agent) && fits_pin(registry, facts, agent);
    match agent {
        Some(agent) if here(agent) => None,
        Some(agent) if facts.principal.contains(&agent) && is_bound_here(registry, facts, agent) => Some(Refusal::OtherSession),
        Some(agent) if registry.is_bound(agent) => Some(Refusal::BoundElsewhere),
        _ => (!registered.is_empty()).then_some(Refusal::NotRegisteredHere),
    }
}

/// Returns the agents registered here that principal, profile and pins all allow.
pub(super) fn allowed<'a>(registry: &'a impl Registry, facts: &'a Facts<'_>) -> impl Iterator<Item = u32> + 'a {
    let registered = if facts.principal.is_empty() { facts.profile } else { facts.principal };
    registered.iter().copied().filter(|&agent| is_bound_here(registry, facts, agent) && fits_pin(registry, facts, agent))
}

/// Tells whether an agent is registered on the principal and only the pin of its session names speaks against it.
pub(super) fn pinned_elsewhere(registry: &impl Registry, facts: &Facts<'_>, agent: u32) -> bool {
    let taken = |&other: &u32| registry.is_pinned(other) && registry.owns_session(other, facts.session_name);
    let is_here = facts.principal.contains(&agent) && is_bound_here(registry, facts, agent);
    is_here && registry.is_pinned(agent) && !facts.principal.iter().any(taken)
}

/// Tells why a claim of this agent is not believed; what the decision already refused is refused for one of these reasons.
pub(super) fn refusal_of(registry: &impl Registry, facts: &Facts<'_>, claim: &str) -> Refusal {
    if is_reserved(claim) {
        return Refusal::Reserved;
    }
    refusal(registry, facts, registry.by_id(claim)).unwrap_or(Refusal::NotRegisteredHere)
}

/// Tells whether an agent registered here is told from the others registered here by the file and the session name alone.
pub(super) fn is_told_apart(registry: &impl Registry, facts: &Facts<'_>, agent: u32) -> bool {
    sole(allowed(registry, facts)) == Some(agent) || is_session_of(registry, facts, agent)
}

/// Tells whether the session name says of the agents that share the principal that it is this one.
fn is_session_of(registry: &impl Registry, facts: &Facts<'_>, agent: u32) -> bool {
    let owners = facts.principal.iter().copied().filter(|&other| registry.owns_session(other, facts.session_name));
    sole(owners) == Some(agent)
}

/// Tells whether the call's principal and inference profile both allow an agent that is registered on one of them.
fn is_bound_here(registry: &impl Registry, facts: &Facts<'_>, agent: u32) -> bool {
    if facts.principal.is_empty() {
        return !registry.has_principals(agent);
    }
    facts.profile.is_empty() || facts.profile.contains(&agent)
}

/// Tells whether the session name allows the agent, where several share a principal and some have their session names pinned.
fn fits_pin(registry: &impl Registry, facts: &Facts<'_>, agent: u32) -> bool {
    if facts.principal.len() < 2 {
        return true;
    }
    let owned_by_pin = |agent: u32| registry.is_pinned(agent) && registry.owns_session(agent, facts.session_name);
    owned_by_pin(agent) || (!registry.is_pinned(agent) && !facts.principal.iter().any(|&other| owned_by_pin(other)))
}
