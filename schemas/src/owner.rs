//! Who a call is booked to, which evidence said so, and how far that evidence can be trusted.

use serde::{Deserialize, Serialize};

use crate::strings::Sym;

/// How hard it is to forge a piece of evidence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Rank {
    /// Inferred.
    #[default]
    Inferred = 0,
    /// The caller's own word: request metadata.
    Claimed = 1,
    /// Chosen by whoever assumed the role: a session name, an unpinned tag.
    Chosen = 2,
    /// Pinned by a trust policy, or a name that only the service may set.
    Pinned = 3,
    /// Set by AWS: principal, role, inference profile.
    Aws = 4,
}

/// Standing of a call's agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentStatus {
    /// Nothing names an agent: a visible owner, not a null.
    #[default]
    Unattributed,
    /// Named by a claim on a principal with no registered agents.
    Unverified,
    /// Named by evidence that agrees with the agents file, or that AWS set.
    Verified,
    /// Claims another agent than the ones registered on its principal: booked to the principal.
    Spoofed,
}

impl AgentStatus {
    /// Returns the word stored in the lake.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unattributed => "unattributed",
            Self::Unverified => "unverified",
            Self::Verified => "verified",
            Self::Spoofed => "spoofed",
        }
    }
}

/// Attribution of one [`crate::Profile`]; all symbols are of the batch's string table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// Role name for an assumed role; empty for a user.
    pub role: Sym,
    /// Session name for an assumed role; empty for a user.
    pub role_session_name: Sym,
    /// The agent; `unattributed` when nothing names one, `spoofed:<principal>` for a claim that is refused.
    pub agent_id: Sym,
    /// Which evidence named the agent, for example `metadata:agent_id`, `principal`, `none`.
    pub agent_evidence: Sym,
    /// Rank of that evidence.
    pub agent_rank: Rank,
    /// Standing of the attribution.
    pub agent_status: AgentStatus,
    /// The session; empty when nothing names one.
    pub session_id: Sym,
    /// Which evidence named the session; empty when there is none.
    pub session_evidence: Sym,
    /// Rank of that evidence.
    pub session_rank: Rank,
    /// Owning team; empty when not known.
    pub team: Sym,
    /// Metadata pairs and agent tags without a column of their own, sorted by key.
    pub tags: Vec<(Sym, Sym)>,
}
