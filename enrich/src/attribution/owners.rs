//! Owners of the profiles of one batch: reads each distinct ARN and metadata object once, decides, and names the outcome.

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use sluice_schemas::{AgentStatus, Owner, Profile, Rank, StringTable, Sym};

use super::claims::{Claim, Claims};
use super::ladder::{Decision, Evidence, Facts, Named, decide};
use super::principal::Principal;
use super::{CLAIMED_AGENT, CLAIMED_SESSION, CLAIMED_TEAM, SPOOFED_PREFIX, UNATTRIBUTED};
use crate::agents::AgentsFile;
use crate::config::MetadataKeys;
use crate::memo::Memo;

/// What the agents file says about one identity ARN.
#[derive(Debug, Default)]
struct Caller {
    role: Box<str>,
    session_name: Box<str>,
    agentcore_session: Box<str>,
    /// `spoofed:<name>`.
    spoofed: Box<str>,
    agents: Vec<u32>,
}

impl Caller {
    fn read(arn: &str, agents: &AgentsFile) -> Self {
        let Some(principal) = Principal::parse(arn) else {
            return Self { spoofed: format!("{SPOOFED_PREFIX}unknown").into(), ..Self::default() };
        };
        let role = if principal.kind == super::PrincipalKind::Role { principal.name } else { "" };
        Self {
            role: role.into(),
            session_name: principal.session.into(),
            agentcore_session: principal.agentcore_session().unwrap_or("").into(),
            spoofed: format!("{SPOOFED_PREFIX}{}", principal.name).into(),
            agents: agents.on_principal(&principal),
        }
    }
}

/// What one worker remembers across batches. Depends on the agents file and the metadata keys it was filled with.
#[derive(Debug, Default)]
pub(crate) struct OwnerCache {
    callers: Memo<Caller>,
    claims: Memo<Claims>,
}

impl OwnerCache {
    pub(crate) fn trim(&mut self) {
        self.callers.trim();
        self.claims.trim();
    }
}

/// A caller's texts as symbols of the batch.
#[derive(Clone, Copy)]
struct CallerSyms {
    number: u32,
    role: Sym,
    session_name: Sym,
    agentcore_session: Sym,
}

/// A claim as symbols of the batch.
#[derive(Clone, Copy, Default)]
struct ClaimSym {
    text: Sym,
    evidence: Sym,
    valid: bool,
}

/// The claims of a metadata object as symbols of the batch.
struct ClaimSyms {
    number: u32,
    malformed: bool,
    agent: ClaimSym,
    session: ClaimSym,
    team: ClaimSym,
    tags: Vec<(Sym, Sym)>,
}

/// A registered agent's texts as symbols of the batch.
struct AgentSyms {
    id: Sym,
    team: Sym,
    tags: Vec<(Sym, Sym)>,
}

/// Words every batch needs.
struct Words {
    unattributed: Sym,
    none: Sym,
    invalid: Sym,
    session_name: Sym,
    agentcore_session: Sym,
    inference_profile: Sym,
    principal: Sym,
    /// `metadata:<key>` for each key of the agent.
    agent_keys: Vec<Sym>,
    /// The same for the session.
    session_keys: Vec<Sym>,
}

const UNSEEN: u32 = u32::MAX;

/// Attributes the profiles of one batch.
pub(crate) struct Owners<'a> {
    agents: &'a AgentsFile,
    keys: &'a MetadataKeys,
    cache: &'a mut OwnerCache,
    words: Words,
    callers: Vec<CallerSyms>,
    /// Position in `callers` by symbol of the ARN.
    caller_at: Vec<u32>,
    claims: Vec<ClaimSyms>,
    /// Position in `claims` by symbol of the metadata.
    claims_at: Vec<u32>,
    /// Agents that own calls of the batch, by number.
    registered: HashMap<u32, AgentSyms, FixedState>,
}

impl<'a> Owners<'a> {
    pub(crate) fn new(agents: &'a AgentsFile, keys: &'a MetadataKeys, cache: &'a mut OwnerCache, strings: &mut StringTable) -> Self {
        let unseen = vec![UNSEEN; strings.len()];
        let words = Words {
            unattributed: strings.intern(UNATTRIBUTED),
            none: strings.intern("none"),
            invalid: strings.intern("metadata:invalid"),
            session_name: strings.intern("session_name"),
            agentcore_session: strings.intern("agentcore_session"),
            inference_profile: strings.intern("inference_profile"),
            principal: strings.intern("principal"),
            agent_keys: keys.agent.iter().map(|key| strings.intern(&format!("metadata:{key}"))).collect(),
            session_keys: keys.session.iter().map(|key| strings.intern(&format!("metadata:{key}"))).collect(),
        };
        Self {
            agents,
            keys,
            cache,
            words,
            callers: Vec::new(),
            caller_at: unseen.clone(),
            claims: Vec::new(),
            claims_at: unseen,
            registered: HashMap::default(),
        }
    }

    /// Returns the owner of a profile of the batch whose strings these are.
    pub(crate) fn owner(&mut self, profile: &Profile, strings: &mut StringTable) -> Owner {
        let caller = self.caller(profile.principal_arn, strings);
        let claims = self.claims(profile.metadata, strings);
        let claim = self.claims[claims].agent;
        let through = self.agents.on_profile(strings.get(profile.model_id));
        let decision = self.decide(caller, claims, through);
        let agent_id = match decision.named {
            Named::Nobody => self.words.unattributed,
            Named::Agent(agent) => self.registered(agent, strings),
            Named::Claimed => claim.text,
            Named::Spoofed => strings.intern(&self.cache.callers.get(caller.number).spoofed),
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
        let mut owner = Owner {
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
        };
        let accused = match (decision.status, through) {
            (AgentStatus::Spoofed, &[agent]) if claim.text.is_empty() => self.registered(agent, strings),
            _ => claim.text,
        };
        self.tag(&mut owner, claims, decision, accused, strings);
        owner
    }

    fn decide(&self, caller: CallerSyms, claims: usize, through: &[u32]) -> Decision {
        let known = self.cache.callers.get(caller.number);
        let claim = self.cache.claims.get(self.claims[claims].number).agent.as_ref();
        let facts = Facts {
            principal: &known.agents,
            profile: through,
            session_name: &known.session_name,
            claim: claim.filter(|claim| claim.valid).map(|claim| &*claim.text),
        };
        decide(self.agents, &facts)
    }

    fn session(&self, caller: CallerSyms, claims: usize, status: AgentStatus) -> (Sym, Sym, Rank) {
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

    /// Adds the agent's tags, the claims that were not believed and the other pairs of the metadata, in this order of precedence.
    fn tag(&mut self, owner: &mut Owner, claims: usize, decision: Decision, accused: Sym, strings: &mut StringTable) {
        let claims = &self.claims[claims];
        // A refused claim stays, even one of the very name that it is booked to.
        let believed_agent = if decision.status == AgentStatus::Spoofed { Sym::EMPTY } else { owner.agent_id };
        let refused = [
            (CLAIMED_AGENT, accused, believed_agent),
            (CLAIMED_SESSION, claims.session.text, owner.session_id),
            (CLAIMED_TEAM, claims.team.text, owner.team),
        ];
        let of_agent = match decision.named {
            Named::Agent(agent) => self.registered.get(&agent).map_or(&[][..], |agent| &agent.tags),
            _ => &[],
        };
        owner.tags.extend_from_slice(of_agent);
        for (key, claim, believed) in refused {
            if !claim.is_empty() && claim != believed {
                owner.tags.push((strings.intern(key), claim));
            }
        }
        let own = owner.tags.len();
        for &(key, value) in &claims.tags {
            if !owner.tags[..own].iter().any(|&(taken, _)| taken == key) {
                owner.tags.push((key, value));
            }
        }
        if own > 0 {
            owner.tags.sort_unstable_by(|(a, _), (b, _)| strings.get(*a).cmp(strings.get(*b)));
        }
    }

    fn caller(&mut self, arn: Sym, strings: &mut StringTable) -> CallerSyms {
        let seen = self.caller_at.get(arn.0 as usize).copied().unwrap_or(UNSEEN);
        if let Some(&caller) = self.callers.get(seen as usize) {
            return caller;
        }
        let agents = self.agents;
        let number = self.cache.callers.number(strings.get(arn), |arn| Caller::read(arn, agents));
        let known = self.cache.callers.get(number);
        let caller = CallerSyms {
            number,
            role: strings.intern(&known.role),
            session_name: strings.intern(&known.session_name),
            agentcore_session: strings.intern(&known.agentcore_session),
        };
        if let Some(slot) = self.caller_at.get_mut(arn.0 as usize) {
            *slot = self.callers.len() as u32;
        }
        self.callers.push(caller);
        caller
    }

    /// Returns the position of the claims of a metadata object.
    fn claims(&mut self, metadata: Sym, strings: &mut StringTable) -> usize {
        let seen = self.claims_at.get(metadata.0 as usize).copied().unwrap_or(UNSEEN);
        if seen != UNSEEN {
            return seen as usize;
        }
        let keys = self.keys;
        let number = self.cache.claims.number(strings.get(metadata), |json| Claims::parse(json, keys));
        let read = self.cache.claims.get(number);
        let claims = ClaimSyms {
            number,
            malformed: read.malformed,
            agent: intern_claim(read.agent.as_ref(), &self.words.agent_keys, strings),
            session: intern_claim(read.session.as_ref(), &self.words.session_keys, strings),
            team: intern_claim(read.team.as_ref(), &[], strings),
            tags: read.tags.iter().map(|(key, value)| (strings.intern(key), strings.intern(value))).collect(),
        };
        if let Some(slot) = self.claims_at.get_mut(metadata.0 as usize) {
            *slot = self.claims.len() as u32;
        }
        self.claims.push(claims);
        self.claims.len() - 1
    }

    /// Returns the id of a registered agent and makes its team and tags symbols of the batch.
    fn registered(&mut self, agent: u32, strings: &mut StringTable) -> Sym {
        let Some(known) = self.agents.numbered(agent) else {
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

fn intern_claim(claim: Option<&Claim>, evidence: &[Sym], strings: &mut StringTable) -> ClaimSym {
    let Some(claim) = claim else {
        return ClaimSym::default();
    };
    ClaimSym { text: strings.intern(&claim.text), evidence: evidence.get(claim.key).copied().unwrap_or_default(), valid: claim.valid }
}
