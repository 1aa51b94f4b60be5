//! Stored calls and their owners as texts, for calls that no batch holds any more.

use serde::{Serialize, Serializer};
use sluice_schemas::{AgentStatus, Micros, Owner, Profile, Rank, StringTable, Sym};

/// What attribution reads of a stored call. Absent texts are empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallToAttribute<'a> {
    /// When it was made; without it, sessions whose credentials had expired are not told.
    pub event_time: Option<Micros>,
    /// Account of the call.
    pub account_id: &'a str,
    /// Region of the call.
    pub region: &'a str,
    /// Model as logged.
    pub model_id: &'a str,
    /// Identity ARN.
    pub principal_arn: &'a str,
    /// Operation.
    pub operation: &'a str,
    /// Error code.
    pub error_code: &'a str,
    /// Request metadata as JSON text.
    pub metadata: &'a str,
}

impl CallToAttribute<'_> {
    /// Returns the profile of the call, in symbols of `strings`.
    pub(crate) fn profile(&self, strings: &mut StringTable) -> Profile {
        Profile {
            account_id: strings.intern(self.account_id),
            region: strings.intern(self.region),
            operation: strings.intern(self.operation),
            model_id: strings.intern(self.model_id),
            principal_arn: strings.intern(self.principal_arn),
            error_code: strings.intern(self.error_code),
            metadata: strings.intern(self.metadata),
            ..Profile::default()
        }
    }
}

/// An [`Owner`] as owned texts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OwnerTexts {
    /// Role name for an assumed role; empty for a user.
    pub role: String,
    /// Session name for an assumed role; empty for a user.
    pub role_session_name: String,
    /// The agent.
    pub agent_id: String,
    /// Which evidence named the agent.
    pub agent_evidence: String,
    /// Rank of that evidence.
    #[serde(serialize_with = "number")]
    pub agent_rank: Rank,
    /// Standing of the attribution.
    pub agent_status: AgentStatus,
    /// The session; empty when nothing names one.
    pub session_id: String,
    /// Which evidence named the session.
    pub session_evidence: String,
    /// Rank of that evidence.
    #[serde(serialize_with = "number")]
    pub session_rank: Rank,
    /// Owning team; empty when not known.
    pub team: String,
    /// Tags, sorted by key.
    pub tags: Vec<(String, String)>,
}

impl OwnerTexts {
    /// Returns the texts of an owner whose symbols are of `strings`.
    #[must_use]
    pub fn new(owner: &Owner, strings: &StringTable) -> Self {
        let text = |sym: Sym| strings.get(sym).to_owned();
        Self {
            role: text(owner.role),
            role_session_name: text(owner.role_session_name),
            agent_id: text(owner.agent_id),
            agent_evidence: text(owner.agent_evidence),
            agent_rank: owner.agent_rank,
            agent_status: owner.agent_status,
            session_id: text(owner.session_id),
            session_evidence: text(owner.session_evidence),
            session_rank: owner.session_rank,
            team: text(owner.team),
            tags: owner.tags.iter().map(|&(key, value)| (text(key), text(value))).collect(),
        }
    }
}

/// Writes a rank as the number that the lake stores.
pub(crate) fn number<S: Serializer>(rank: &Rank, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u8(*rank as u8)
}
