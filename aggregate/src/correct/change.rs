//! What a correction changes of a call: its price, its owner, or that it is there at all.

use serde::{Deserialize, Serialize};
use sluice_schemas::{AgentStatus, PicoUsd, Rank};

use super::StoredCall;

/// A price for a stored call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPrice {
    /// Cost.
    pub cost: PicoUsd,
    /// Upper bound of the cost.
    pub cost_max: PicoUsd,
    /// Whether there is a price.
    pub priced: bool,
    /// Canonical model.
    pub model: String,
    /// Price scope.
    pub scope: String,
    /// Version of the rate card.
    pub price_version: String,
}

/// An owner for a stored call; absent texts are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewOwner {
    /// `agent_id`.
    pub agent_id: String,
    /// `agent_evidence`.
    pub agent_evidence: String,
    /// `agent_rank`.
    pub agent_rank: Rank,
    /// `agent_status`.
    pub agent_status: AgentStatus,
    /// `session_id`.
    pub session_id: String,
    /// `session_evidence`.
    pub session_evidence: String,
    /// `session_rank`.
    pub session_rank: Rank,
    /// `team`.
    pub team: String,
    /// `tags`, sorted by key.
    pub tags: Vec<(String, String)>,
}

/// What becomes of a stored call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Its price; `None` leaves it as it is.
    pub price: Option<NewPrice>,
    /// Its owner; `None` leaves it as it is.
    pub owner: Option<NewOwner>,
    /// Why it is taken out; `None` keeps it. A better record of it comes in its place.
    pub removed: Option<&'static str>,
    /// Whose it is by the counters, where they are ahead of the lake; `None` where both have one owner.
    pub counted: Option<NewOwner>,
}

impl From<NewPrice> for Change {
    fn from(price: NewPrice) -> Self {
        Self { price: Some(price), ..Self::default() }
    }
}

impl From<NewOwner> for Change {
    fn from(owner: NewOwner) -> Self {
        Self { owner: Some(owner), ..Self::default() }
    }
}

impl Change {
    /// Leaves out what is as it is stored.
    pub(super) fn against(mut self, call: &StoredCall<'_>) -> Self {
        self.price = self.price.filter(|price| call.differs(price));
        self.owner = self.owner.filter(|owner| call.is_of_another(owner));
        self
    }

    /// Tells whether anything of the stored call changes.
    pub(super) const fn is_some(&self) -> bool {
        self.price.is_some() || self.owner.is_some() || self.removed.is_some()
    }

    /// Tells whether the stored call gets another owner, and not other tags alone.
    pub(super) fn moves(&self, call: &StoredCall<'_>) -> bool {
        self.owner.as_ref().is_some_and(|owner| call.moves_to(owner))
    }

    /// Tells whether anything changes for the counters, given what changes of the stored call.
    pub(super) fn counts(&self, call: &StoredCall<'_>) -> bool {
        let Some(counted) = &self.counted else { return self.is_some() };
        let moves = self.owner.as_ref().map_or_else(|| call.is_of_another(counted), |owner| owner != counted);
        moves || self.price.is_some() || self.removed.is_some()
    }
}
