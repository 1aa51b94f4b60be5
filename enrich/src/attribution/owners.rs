//! Owners of the profiles of one batch: reads each distinct ARN and metadata object once, decides, and names the outcome.

mod alike;
mod metadata;
mod revise;

use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use sluice_schemas::{AgentStatus, Micros, Owner, Profile, Rank, StringTable, Sym};

use self::alike::{Alike, Weighed};
pub(crate) use self::metadata::ReadClaims;
use super::claims::{Claim, ClaimReader, Claims, KeyNames, Keys};
use super::findings::{self, NewAgent, Sources};
use super::ladder::{Decision, Evidence, Facts, Named, decide};
use super::principal::{Principal, PrincipalKind};
use super::{CLAIMED_AGENT, CLAIMED_SESSION, CLAIMED_TEAM, SPOOFED_PREFIX, UNATTRIBUTED};
use crate::evidence::CallEvidence;
use crate::memo::Memo;

/// What the agents file and the directory say about one principal.
#[derive(Debug, Default)]
struct Known {
    /// `spoofed:<name>`.
    spoofed: Box<str>,
    agents: Vec<u32>,
    /// Directory entry of the role or user.
    entry: Option<u32>,
    /// Directory entries of what runs as the role.
    runs_as: Vec<u32>,
}

/// What one worker remembers across batches: principals by ARN without session. Sessions and metadata are mostly new in each batch,
/// so they are read again. Depends on the agents file it was filled with.
#[derive(Debug, Default)]
pub(crate) struct OwnerCache {
    principals: Memo<Known>,
}

impl OwnerCache {
    pub(crate) fn trim(&mut self) {
        self.principals.trim();
    }
}

/// An identity ARN as symbols of the batch.
#[derive(Clone, Copy)]
struct Caller {
    /// Number of its principal.
    principal: u32,
    role: Sym,
    session_name: Sym,
    agentcore_session: Sym,
}

/// A registered agent's texts as symbols of the batch.
struct AgentSyms {
    id: Sym,
    team: Sym,
    tags: Vec<(Sym, Sym)>,
}

/// Words every batch needs.
#[derive(Clone, Copy, Debug)]
struct Words {
    unattributed: Sym,
    none: Sym,
    invalid: Sym,
    session_name: Sym,
    agentcore_session: Sym,
    inference_profile: Sym,
    principal: Sym,
    /// Tags that keep a refused claim of an agent, a session, a team; no caller can write them.
    claimed: [Sym; 3],
}

impl Words {
    fn intern(strings: &mut StringTable) -> Self {
        Self {
            unattributed: strings.intern(UNATTRIBUTED),
            none: strings.intern("none"),
            invalid: strings.intern("metadata:invalid"),
            session_name: strings.intern("session_name"),
            agentcore_session: strings.intern("agentcore_session"),
            inference_profile: strings.intern("inference_profile"),
            principal: strings.intern("principal"),
            claimed: [CLAIMED_AGENT, CLAIMED_SESSION, CLAIMED_TEAM].map(|key| strings.intern(key)),
        }
    }
}

/// What attribution looks up in every table.
#[derive(Clone, Debug)]
struct Fixed {
    words: Words,
    keys: Arc<Keys>,
}

/// A string table that has all that attribution looks up, to begin many small ones with.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    pub(crate) strings: StringTable,
    fixed: Fixed,
}

impl Template {
    pub(crate) fn new(names: &KeyNames) -> Self {
        let mut strings = StringTable::default();
        let fixed = Fixed { words: Words::intern(&mut strings), keys: names.intern(&mut strings) };
        Self { strings, fixed }
    }
}

const UNSEEN: u32 = u32::MAX;
/// How the keys of tags begin that evidence writes.
const EVIDENCE_KEYS: [&str; 5] = ["aws:", "bedrock:", "bedrock-agentcore:", "registry:", "run:"];

/// Attributes the profiles of one batch.
pub(crate) struct Owners<'a> {
    sources: Sources<'a>,
    cache: &'a mut OwnerCache,
    words: Words,
    callers: Vec<Caller>,
    /// Position in `callers` by symbol of the ARN.
    caller_at: Vec<u32>,
    /// Reused: text of an ARN.
    arn: String,
    reader: ClaimReader,
    claims: Vec<Claims>,
    /// Position in `claims` by symbol of the metadata.
    claims_at: Vec<u32>,
    /// Agents that own calls of the batch, by number.
    registered: HashMap<u32, AgentSyms, FixedState>,
    /// What evidence came to, for calls that differ in nothing it could depend on.
    weighed: HashMap<Alike, Weighed, FixedState>,
}

impl<'a> Owners<'a> {
    /// Prepares for the strings of one batch.
    pub(crate) fn new(sources: Sources<'a>, cache: &'a mut OwnerCache, strings: &mut StringTable) -> Self {
        Self::going_on(sources, cache, strings, ReadClaims::default())
    }

    /// Prepares for a single profile, of a batch that may be large.
    pub(crate) fn of_one(sources: Sources<'a>, cache: &'a mut OwnerCache, strings: &mut StringTable) -> Self {
        let fixed = Fixed { words: Words::intern(strings), keys: sources.key_names.intern(strings) };
        Self::with(sources, cache, &fixed)
    }

    /// Prepares for a single profile whose strings are a copy of a [`Template`]'s with more behind them.
    pub(crate) fn of_template(sources: Sources<'a>, cache: &'a mut OwnerCache, template: &Template) -> Self {
        Self::with(sources, cache, &template.fixed)
    }

    fn with(sources: Sources<'a>, cache: &'a mut OwnerCache, fixed: &Fixed) -> Self {
        let reader = ClaimReader::new(Arc::clone(&fixed.keys));
        let (callers, claims, registered, weighed) = (Vec::new(), Vec::new(), HashMap::default(), HashMap::default());
        let (caller_at, claims_at, arn) = (Vec::new(), Vec::new(), String::new());
        Self { sources, cache, words: fixed.words, callers, caller_at, arn, reader, claims, claims_at, registered, weighed }
    }

    /// Returns the owner of calls of a profile of the batch whose strings these are, in the light of evidence and of the time they were
    /// made, if that is known.
    pub(crate) fn owner(&mut self, profile: &Profile, evidence: &CallEvidence, at: Option<Micros>, strings: &mut StringTable) -> Owner {
        let caller = self.caller(profile.principal_arn, strings);
        let claims = self.claims(profile.metadata, strings);
        let alike = self.alike(profile, claims, evidence, at);
        if let Some(known) = alike.as_ref().and_then(|alike| self.weighed.get(alike)) {
            let (mut owner, decision, accused, told) = known.of(self.claims[claims].session);
            self.tag(&mut owner, claims, decision, accused, &told, strings);
            return owner;
        }
        let weighed = self.weigh((profile, evidence, at), (caller, claims), strings);
        let (mut owner, decision, accused, told) = weighed.of(self.claims[claims].session);
        self.tag(&mut owner, claims, decision, accused, &told, strings);
        if let Some(alike) = alike {
            self.weighed.insert(alike, weighed);
        }
        owner
    }

    /// Decides about calls of a profile; tags that depend on no evidence are for later.
    fn weigh(
        &mut self,
        (profile, evidence, at): (&Profile, &CallEvidence, Option<Micros>),
        (caller, claims): (Caller, usize),
        strings: &mut StringTable,
    ) -> Weighed {
        let claim = self.claims[claims].agent;
        let through = self.sources.agents.on_profile(strings.get(profile.model_id));
        let mut decision = self.decide(caller, claim, through, strings);
        let mut owner = self.decided(decision, caller, claims, strings);
        let mut accused = match (decision.status, through) {
            (AgentStatus::Spoofed, &[agent]) if claim.text.is_empty() => self.registered(agent, strings),
            _ => claim.text,
        };
        let (mut told, mut claimed_session) = (Arc::default(), false);
        if self.is_more_known(caller, profile, evidence, strings) {
            let (judged, base) = self.judged((profile, evidence, at), (caller, claims, through, decision), &owner, strings);
            claimed_session = judged.names_claimed_session();
            let findings = findings::find(judged, base.agent.map_or("", |(_, told)| told.text));
            if let Some(claimed) = &findings.claimed
                && (accused.is_empty() || matches!(findings.agent, NewAgent::Spoofed(_)))
            {
                accused = strings.intern(claimed);
            }
            told = findings.tags.iter().map(|(key, value)| (strings.intern(key), strings.intern(value))).collect();
            self.revise(&mut owner, &mut decision, &findings, caller, strings);
        }
        Weighed { owner, decision, accused, told, claimed_session, evidence: evidence.clone() }
    }

    /// Returns the owner that agents file, session name and metadata decide, without tags.
    fn decided(&mut self, decision: Decision, caller: Caller, claims: usize, strings: &mut StringTable) -> Owner {
        let claim = self.claims[claims].agent;
        let agent_id = match decision.named {
            Named::Nobody => self.words.unattributed,
            Named::Agent(agent) => self.registered(agent, strings),
            Named::Claimed => claim.text,
            Named::Spoofed => strings.intern(&self.cache.principals.get(caller.principal).spoofed),
        };
        let agent_evidence = match decision.evidence {
            Evidence::None if self.claims[claims].malformed || !claim.text.is_empty() => self.words.invalid,
            Evidence::None => self.words.none,
            Evidence::Metadata => claim.evidence,
            Evidence::SessionName => self.words.session_name,
            Evidence::InferenceProfile => self.words.inference_profile,
            Evidence::Principal => self.words.principal,
        };
        let (session_id, session_evidence, session_rank) = self.session(caller, claims, decision.status);
        Owner {
            role: caller.role,
            role_session_name: caller.session_name,
            agent_id,
            agent_evidence,
            agent_rank: decision.rank,
            agent_status: decision.status,
            session_id,
            session_evidence,
            session_rank,
            team: self.team(claims, decision),
            tags: Vec::new(),
        }
    }

    /// Tells whether anything is known beyond agents file, session name and metadata.
    fn is_more_known(&self, caller: Caller, profile: &Profile, evidence: &CallEvidence, strings: &StringTable) -> bool {
        let (directory, known) = (self.sources.directory, self.cache.principals.get(caller.principal));
        let listed = || known.entry.is_some() || !known.runs_as.is_empty() || directory.has_records();
        !evidence.is_empty()
            || !self.sources.rules.is_empty()
            || !directory.is_empty() && (listed() || directory.profile(strings.get(profile.model_id)).is_some())
    }

    fn decide(&self, caller: Caller, claim: Claim, through: &[u32], strings: &StringTable) -> Decision {
        let facts = Facts {
            principal: &self.cache.principals.get(caller.principal).agents,
            profile: through,
            session_name: strings.get(caller.session_name),
            claim: claim.valid.then(|| strings.get(claim.text)),
        };
        decide(self.sources.agents, &facts)
    }

    fn session(&self, caller: Caller, claims: usize, status: AgentStatus) -> (Sym, Sym, Rank) {
        let claim = self.claims[claims].session;
        if !caller.agentcore_session.is_empty() {
            (caller.agentcore_session, self.words.agentcore_session, Rank::Pinned)
        } else if claim.valid && status != AgentStatus::Spoofed {
            (claim.text, claim.evidence, Rank::Claimed)
        } else if !caller.session_name.is_empty() {
            (caller.session_name, self.words.session_name, Rank::Chosen)
        } else {
            (Sym::EMPTY, Sym::EMPTY, Rank::Inferred)
        }
    }

    fn team(&self, claims: usize, decision: Decision) -> Sym {
        let of_agent = match decision.named {
            Named::Agent(agent) => self.registered.get(&agent).map_or(Sym::EMPTY, |agent| agent.team),
            _ => Sym::EMPTY,
        };
        let claim = self.claims[claims].team;
        let believed = claim.valid && decision.status != AgentStatus::Spoofed;
        if of_agent.is_empty() && believed { claim.text } else { of_agent }
    }

    /// Adds the agent's tags, the claims that were not believed, what evidence tells and the other pairs of the metadata, in this order
    /// of precedence.
    fn tag(&self, owner: &mut Owner, claims: usize, decision: Decision, accused: Sym, told: &[(Sym, Sym)], strings: &mut StringTable) {
        let claims = &self.claims[claims];
        // A refused claim stays, even one of the very name that it is booked to.
        let believed_agent = if decision.status == AgentStatus::Spoofed { Sym::EMPTY } else { owner.agent_id };
        let refused = [(accused, believed_agent), (claims.session.text, owner.session_id), (claims.team.text, owner.team)];
        let of_agent = match decision.named {
            Named::Agent(agent) => self.registered.get(&agent).map_or(&[][..], |agent| &agent.tags),
            _ => &[],
        };
        owner.tags.extend_from_slice(of_agent);
        for (key, (claim, believed)) in self.words.claimed.into_iter().zip(refused) {
            if !claim.is_empty() && claim != believed {
                owner.tags.push((key, claim));
            }
        }
        for &(key, value) in told {
            if !owner.tags.iter().any(|&(taken, _)| taken == key) {
                owner.tags.push((key, value));
            }
        }
        let mut own = owner.tags.len();
        for &(key, value) in &self.reader.tags[claims.tags.clone()] {
            if is_evidence_key(strings.get(key)) {
                // No caller may write what reads like evidence.
                let key = strings.intern(&format!("metadata:{}", strings.get(key)));
                owner.tags.push((key, value));
                own = own.max(1);
            } else if !self.words.claimed.contains(&key) && !owner.tags[..own].iter().any(|&(taken, _)| taken == key) {
                owner.tags.push((key, value));
            }
        }
        if own > 0 {
            owner.tags.sort_unstable_by(|(a, _), (b, _)| strings.get(*a).cmp(strings.get(*b)));
        }
    }

    fn caller(&mut self, arn: Sym, strings: &mut StringTable) -> Caller {
        let seen = self.caller_at.get(arn.0 as usize).copied().unwrap_or(UNSEEN);
        if let Some(&caller) = self.callers.get(seen as usize) {
            return caller;
        }
        // The string table cannot lend the ARN while it takes new strings.
        let mut text = std::mem::take(&mut self.arn);
        strings.get(arn).clone_into(&mut text);
        let caller = self.read_caller(&text, strings);
        self.arn = text;
        if let Some(slot) = self.caller_at.get_mut(arn.0 as usize) {
            *slot = self.callers.len() as u32;
        }
        self.callers.push(caller);
        caller
    }

    fn read_caller(&mut self, arn: &str, strings: &mut StringTable) -> Caller {
        let (agents, directory) = (self.sources.agents, self.sources.directory);
        let Some(principal) = Principal::parse(arn) else {
            let unknown = || Known { spoofed: format!("{SPOOFED_PREFIX}unknown").into(), ..Known::default() };
            let principal = self.cache.principals.number("", |_| unknown());
            return Caller { principal, role: Sym::EMPTY, session_name: Sym::EMPTY, agentcore_session: Sym::EMPTY };
        };
        let known = |_: &str| {
            let (entry, runs_as) = directory.of_principal(&principal);
            let spoofed = format!("{SPOOFED_PREFIX}{}", principal.name).into();
            Known { spoofed, agents: agents.on_principal(&principal), entry, runs_as }
        };
        let without_session = arn.strip_suffix(principal.session).unwrap_or(arn);
        let number = self.cache.principals.number(without_session, known);
        let role = if principal.kind == PrincipalKind::Role { principal.name } else { "" };
        let names = [role, principal.session, principal.agentcore_session().unwrap_or("")];
        let [role, session_name, agentcore_session] = names.map(|name| if name.is_empty() { Sym::EMPTY } else { strings.intern(name) });
        Caller { principal: number, role, session_name, agentcore_session }
    }

    /// Returns the position of the claims of a metadata object.
    fn claims(&mut self, metadata: Sym, strings: &mut StringTable) -> usize {
        let seen = self.claims_at.get(metadata.0 as usize).copied().unwrap_or(UNSEEN);
        if seen != UNSEEN {
            return seen as usize;
        }
        let claims = self.reader.read(metadata, strings);
        if let Some(slot) = self.claims_at.get_mut(metadata.0 as usize) {
            *slot = self.claims.len() as u32;
        }
        self.claims.push(claims);
        self.claims.len() - 1
    }

    /// Returns the id of a registered agent and makes its team and tags symbols of the batch.
    fn registered(&mut self, agent: u32, strings: &mut StringTable) -> Sym {
        let Some(known) = self.sources.agents.numbered(agent) else {
            return Sym::EMPTY;
        };
        let syms = self.registered.entry(agent).or_insert_with(|| AgentSyms {
            id: strings.intern(&known.id),
            team: strings.intern(&known.team),
            tags: known.tags.iter().map(|(key, value)| (strings.intern(key), strings.intern(value))).collect(),
        });
        syms.id
    }
}

/// Tells whether a tag's key is of those that evidence writes.
pub(crate) fn is_evidence_key(key: &str) -> bool {
    EVIDENCE_KEYS.iter().any(|start| key.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start)))
}
