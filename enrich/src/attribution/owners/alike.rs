//! Calls that evidence says the same of: they differ in the session their callers claim and in tags of their own, and in nothing that
//! weighing could depend on, so it is done once for all of them.

use std::sync::Arc;

use sluice_schemas::{Micros, Owner, Profile, Sym};

use super::super::claims::Claim;
use super::super::ladder::Decision;
use super::Owners;
use crate::evidence::CallEvidence;

/// Everything that weighing depends on but the text of a claimed session: that can win or lose, and neither by what it says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Alike {
    /// Principal, account, region, operation, model.
    profile: [Sym; 5],
    /// Where the evidence is; see [`CallEvidence::addresses`].
    evidence: [usize; 3],
    agent: (Sym, Sym, bool),
    team: (Sym, Sym, bool),
    /// What told the claimed session, and whether it can be one.
    session: (Sym, bool),
    malformed: bool,
}

/// What weighing came to.
#[derive(Clone, Debug)]
pub(super) struct Weighed {
    /// Without tags.
    pub(super) owner: Owner,
    pub(super) decision: Decision,
    /// A claim that was not believed.
    pub(super) accused: Sym,
    /// Tags that evidence tells.
    pub(super) told: Arc<[(Sym, Sym)]>,
    /// Whether the session is the one that the metadata claims.
    pub(super) claimed_session: bool,
    #[expect(dead_code, reason = "held so that no other evidence comes to stand where it is")]
    pub(super) evidence: CallEvidence,
}

/// Owner, decision, the agent that a refused claim named, and tags.
pub(super) type Found = (Owner, Decision, Sym, Arc<[(Sym, Sym)]>);

impl Weighed {
    /// Returns owner, decision, claim and tags for a call that claims a session.
    pub(super) fn of(&self, session: Claim) -> Found {
        let mut owner = self.owner.clone();
        if self.claimed_session {
            owner.session_id = session.text;
        }
        (owner, self.decision, self.accused, Arc::clone(&self.told))
    }
}

impl Owners<'_> {
    /// Returns what a call has in common with others; `None` where the time or the whole of its metadata may decide, or nothing is
    /// known that is worth remembering.
    pub(super) fn alike(&self, profile: &Profile, claims: usize, evidence: &CallEvidence, at: Option<Micros>) -> Option<Alike> {
        if at.is_some() || evidence.is_empty() || !self.sources.rules.is_empty() {
            return None;
        }
        let claims = &self.claims[claims];
        let whole = |claim: Claim| (claim.text, claim.evidence, claim.valid);
        Some(Alike {
            profile: [profile.principal_arn, profile.account_id, profile.region, profile.operation, profile.model_id],
            evidence: evidence.addresses(),
            agent: whole(claims.agent),
            team: whole(claims.team),
            session: (claims.session.evidence, claims.session.valid),
            malformed: claims.malformed,
        })
    }
}
