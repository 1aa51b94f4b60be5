//! Owners in the light of further evidence: what is weighed, what changes, and why.

use sluice_schemas::{AgentStatus, Micros, Owner, Profile, Rank, StringTable, Sym};

use super::super::advice::{self, Case, Change};
use super::super::claims::Claim;
use super::super::explain::{self, Beside, Explanation};
use super::super::findings::{self, Asked, Base, Findings, Judged, Name, NewAgent, Told};
use super::super::kinds;
use super::super::ladder::{Decision, Evidence, Facts, Named, refusal_of};
use super::super::saying::{Kind, Refusal, Said};
use super::super::texts::OwnerTexts;
use super::{Caller, Owners};
use crate::evidence::CallEvidence;
use crate::rules::RuleMatch;

impl Owners<'_> {
    /// Weighs everything that is known about a call.
    pub(super) fn judged<'s>(
        &'s self,
        (profile, evidence, at): (&'s Profile, &'s CallEvidence, Option<Micros>),
        (caller, claims, through, decision): (Caller, usize, &'s [u32], Decision),
        owner: &Owner,
        strings: &'s StringTable,
    ) -> (Judged<'s>, Base<'s>) {
        let known = self.cache.principals.get(caller.principal);
        let claims = &self.claims[claims];
        let told = |text, label, rank| Told { text: strings.get(text), label: strings.get(label), rank };
        let claimed = |claim: Claim| if claim.valid { told(claim.text, claim.evidence, Rank::Claimed) } else { Told::NOTHING };
        let names = !matches!(decision.status, AgentStatus::Unattributed | AgentStatus::Spoofed);
        let facts = Facts {
            principal: &known.agents,
            profile: through,
            session_name: strings.get(caller.session_name),
            claim: claims.agent.valid.then(|| strings.get(claims.agent.text)),
        };
        let believed = names && decision.evidence == Evidence::Metadata;
        let agrees = names && !believed && claims.agent.valid && claims.agent.text == owner.agent_id;
        let claim = (!claims.agent.text.is_empty() && !believed && !agrees).then(|| {
            let told = told(claims.agent.text, claims.agent.evidence, Rank::Claimed);
            let refusal = if claims.agent.valid { refusal_of(self.sources.agents, &facts, told.text) } else { Refusal::NotAName };
            (Kind::Metadata, told, refusal)
        });
        let misused = decision.status == AgentStatus::Spoofed && decision.evidence == Evidence::InferenceProfile;
        let of_profile = through.first().filter(|_| misused).and_then(|&agent| self.sources.agents.numbered(agent)).map(|agent| {
            let label = strings.get(self.words.inference_profile);
            (Kind::InferenceProfile, Told { text: &agent.id, label, rank: Rank::Aws }, Refusal::BoundElsewhere)
        });
        let refused = claim.filter(|_| !misused).or(of_profile);
        let base = Base {
            facts,
            agent: names.then(|| (decision.evidence, told(owner.agent_id, owner.agent_evidence, owner.agent_rank))),
            agreeing: if agrees { claimed(claims.agent) } else { Told::NOTHING },
            status: decision.status,
            refused,
            sessions: [
                (Kind::Runtime, told(caller.agentcore_session, self.words.agentcore_session, Rank::Pinned)),
                (Kind::Metadata, claimed(claims.session)),
                (Kind::SessionName, told(caller.session_name, self.words.session_name, Rank::Chosen)),
            ],
            team: claimed(claims.team),
        };
        let asked = Asked { profile, strings, entry: known.entry, runs_as: &known.runs_as, evidence, at };
        (findings::judge(&self.sources, &asked, &base), base)
    }

    /// Explains the owner of calls of a profile, which it is given.
    pub(crate) fn explain(
        &mut self,
        (profile, evidence, at): (&Profile, &CallEvidence, Option<Micros>),
        owner: OwnerTexts,
        beside: Beside<'_>,
        strings: &mut StringTable,
    ) -> Explanation {
        let caller = self.caller(profile.principal_arn, strings);
        let claims = self.claims(profile.metadata, strings);
        let through = self.sources.agents.on_profile(strings.get(profile.model_id));
        let decision = self.decide(caller, self.claims[claims].agent, through, strings);
        let decided = self.decided(decision, caller, claims, strings);
        let (judged, base) = self.judged((profile, evidence, at), (caller, claims, through, decision), &decided, strings);
        explain::explain(&self.sources, &judged, &base, owner, beside)
    }

    /// Returns what the first matching rule says of calls of a profile.
    pub(crate) fn rule(
        &mut self,
        (profile, evidence, at): (&Profile, &CallEvidence, Option<Micros>),
        strings: &mut StringTable,
    ) -> Option<RuleMatch> {
        let caller = self.caller(profile.principal_arn, strings);
        let known = self.cache.principals.get(caller.principal);
        let asked = Asked { profile, strings, entry: known.entry, runs_as: &known.runs_as, evidence, at };
        self.sources.rules.first_match(&findings::context(&self.sources, &asked))
    }

    /// Returns the cheapest change for calls of a profile with this owner.
    pub(crate) fn cheapest_change(
        &mut self,
        profile: &Profile,
        owner: &OwnerTexts,
        beside: Beside<'_>,
        strings: &mut StringTable,
    ) -> Option<Change> {
        let caller = self.caller(profile.principal_arn, strings);
        let known = self.cache.principals.get(caller.principal);
        let agents = self.sources.agents;
        let facts = Facts {
            principal: &known.agents,
            profile: agents.on_profile(strings.get(profile.model_id)),
            session_name: strings.get(caller.session_name),
            claim: None,
        };
        let nothing = CallEvidence::default();
        let asked = Asked { profile, strings, entry: known.entry, runs_as: &known.runs_as, evidence: &nothing, at: None };
        let (call, mut said) = (findings::context(&self.sources, &asked), Said::default());
        kinds::ask(&call, &mut said);
        advice::cheapest(&Case { agents, call: &call, facts: &facts, said: &said, beside }, owner)
    }

    /// Makes the changes that further evidence calls for.
    pub(super) fn revise(
        &mut self,
        owner: &mut Owner,
        decision: &mut Decision,
        findings: &Findings,
        caller: Caller,
        strings: &mut StringTable,
    ) {
        let name = match &findings.agent {
            NewAgent::Same => None,
            NewAgent::Named { name, agent, status } => {
                (decision.named, decision.status) = (agent.map_or(Named::Claimed, Named::Agent), *status);
                owner.agent_id = agent.map_or(Sym::EMPTY, |agent| self.registered(agent, strings));
                if owner.agent_id.is_empty() {
                    owner.agent_id = strings.intern(&name.text);
                }
                Some(name)
            }
            NewAgent::Spoofed(name) => {
                (decision.named, decision.status) = (Named::Spoofed, AgentStatus::Spoofed);
                owner.agent_id = strings.intern(&self.cache.principals.get(caller.principal).spoofed);
                Some(name)
            }
        };
        if let Some(name) = name {
            (owner.agent_evidence, owner.agent_rank, owner.agent_status) = (strings.intern(&name.label), name.rank, decision.status);
        }
        let nothing = Name::default();
        let session = findings.session.as_ref().unwrap_or(&nothing);
        (owner.session_id, owner.session_evidence) = (strings.intern(&session.text), strings.intern(&session.label));
        owner.session_rank = session.rank;
        let of_agent = match decision.named {
            Named::Agent(agent) => self.registered.get(&agent).map_or(Sym::EMPTY, |agent| agent.team),
            _ => Sym::EMPTY,
        };
        let told = if findings.record_team.is_empty() { &findings.team } else { &findings.record_team };
        owner.team = if of_agent.is_empty() { strings.intern(told) } else { of_agent };
    }
}
