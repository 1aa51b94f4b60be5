//! What evidence beside the log record changes about an owner that agents file, session name and metadata decided.

use sluice_schemas::{AgentStatus, Micros, Profile, Rank, StringTable};

use super::claims::KeyNames;
use super::kinds::{self, Context};
use super::ladder::{Evidence, Facts};
use super::principal::Principal;
use super::saying::{Attribute, Kind, Refusal, Said, Saying, Specificity};
use super::weigh::{self, Verdict};
use crate::agents::AgentsFile;
use crate::config::MetadataKeys;
use crate::directory::Directory;
use crate::evidence::CallEvidence;
use crate::rules::Rules;

/// What attribution works with: the same for all calls.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sources<'a> {
    pub(crate) agents: &'a AgentsFile,
    pub(crate) keys: &'a MetadataKeys,
    pub(crate) key_names: &'a KeyNames,
    pub(crate) directory: &'a Directory,
    pub(crate) rules: &'a Rules,
}

/// One name with what told it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told<'a> {
    pub(crate) text: &'a str,
    pub(crate) label: &'a str,
    pub(crate) rank: Rank,
}

impl Told<'_> {
    /// Nothing.
    pub(crate) const NOTHING: Self = Told { text: "", label: "", rank: Rank::Inferred };
}

/// The owner as decided without further evidence.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Base<'a> {
    pub(crate) facts: Facts<'a>,
    /// What named the agent; `None` when nobody is named or the claim is refused.
    pub(crate) agent: Option<(Evidence, Told<'a>)>,
    /// Claim of the metadata that says the same as what named the agent; it may be nothing.
    pub(crate) agreeing: Told<'a>,
    pub(crate) status: AgentStatus,
    /// What names an agent and was not believed, and why: a claim of the metadata, or another agent's inference profile.
    pub(crate) refused: Option<(Kind, Told<'a>, Refusal)>,
    /// Session of the AgentCore name, claim of the metadata, role session name, each of which may be nothing.
    pub(crate) sessions: [(Kind, Told<'a>); 3],
    /// Claim of the metadata.
    pub(crate) team: Told<'a>,
}

/// The call whose owner it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) profile: &'a Profile,
    pub(crate) strings: &'a StringTable,
    pub(crate) entry: Option<u32>,
    pub(crate) runs_as: &'a [u32],
    pub(crate) evidence: &'a CallEvidence,
    pub(crate) at: Option<Micros>,
}

/// A name and the evidence that told it, as owned texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) text: String,
    pub(crate) label: String,
    pub(crate) rank: Rank,
}

/// What the agent becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NewAgent {
    /// What it was.
    Same,
    /// Another, or the same on other evidence.
    Named { name: Name, agent: Option<u32>, status: AgentStatus },
    /// The principal, for this claim.
    Spoofed(Name),
}

/// What changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Findings {
    pub(crate) agent: NewAgent,
    /// A claim that is not in the metadata and was not believed.
    pub(crate) claimed: Option<String>,
    pub(crate) session: Option<Name>,
    /// Team of the agent's registry record.
    pub(crate) record_team: String,
    /// Team that evidence tells.
    pub(crate) team: String,
    pub(crate) tags: Vec<(String, String)>,
}

/// What is known about a call beside its claims.
pub(crate) fn context<'a>(sources: &Sources<'a>, asked: &Asked<'a>) -> Context<'a> {
    let text = |sym| asked.strings.get(sym);
    Context {
        keys: sources.keys,
        directory: sources.directory,
        rules: sources.rules,
        principal: Principal::parse(text(asked.profile.principal_arn)),
        principal_entry: asked.entry.and_then(|at| sources.directory.numbered(at)),
        runs_as: asked.runs_as,
        account_id: text(asked.profile.account_id),
        region: text(asked.profile.region),
        operation: text(asked.profile.operation),
        model_id: text(asked.profile.model_id),
        metadata: text(asked.profile.metadata),
        evidence: asked.evidence,
        at: asked.at,
    }
}

/// Collects what everything says about a call.
fn collect<'a>(sources: &Sources<'a>, asked: &Asked<'a>, base: &Base<'a>) -> (Context<'a>, Said<'a>, Option<usize>) {
    let context = context(sources, asked);
    let mut said = Said::default();
    let base_at = base.agent.map(|(evidence, told)| {
        let (kind, specificity) = match evidence {
            Evidence::Metadata => (Kind::Metadata, Specificity::Call),
            Evidence::SessionName => (Kind::SessionName, Specificity::Session),
            Evidence::InferenceProfile => (Kind::InferenceProfile, Specificity::Profile),
            Evidence::Principal | Evidence::None => (Kind::Principal, Specificity::Principal),
        };
        said.say(kind, Attribute::Agent, told.label, told.text, (specificity, told.rank));
        said.sayings.len().saturating_sub(1)
    });
    said.say(Kind::Metadata, Attribute::Agent, base.agreeing.label, base.agreeing.text, (Specificity::Call, base.agreeing.rank));
    if let Some((kind, told, refusal)) = base.refused {
        let specificity = if kind == Kind::Metadata { Specificity::Call } else { Specificity::Profile };
        said.refuse(kind, Attribute::Agent, told.label, told.text, (specificity, told.rank, refusal));
    }
    for (kind, told) in base.sessions {
        let specificity = if kind == Kind::SessionName { Specificity::Session } else { Specificity::Run };
        said.say(kind, Attribute::Session, told.label, told.text, (specificity, told.rank));
    }
    said.say(Kind::Metadata, Attribute::Team, base.team.label, base.team.text, (Specificity::Call, base.team.rank));
    kinds::ask(&context, &mut said);
    (context, said, base_at)
}

/// What everything said comes to.
pub(crate) struct Judged<'a> {
    pub(crate) context: Context<'a>,
    pub(crate) said: Said<'a>,
    pub(crate) verdict: Verdict,
    pub(crate) spoofed: bool,
    /// Places of the sayings that name session and team.
    pub(crate) session: Option<usize>,
    pub(crate) team: Option<usize>,
}

impl Judged<'_> {
    /// Tells whether the session is the one that the metadata claims.
    pub(crate) fn names_claimed_session(&self) -> bool {
        self.session.and_then(|at| self.said.sayings.get(at)).is_some_and(|saying| saying.kind == Kind::Metadata)
    }
}

/// Decides.
pub(crate) fn judge<'a>(sources: &Sources<'a>, asked: &Asked<'a>, base: &Base<'a>) -> Judged<'a> {
    let (context, mut said, base_at) = collect(sources, asked, base);
    let weighed = weigh::weigh(sources.agents, &base.facts, base_at, &mut said);
    let verdict = if base.status == AgentStatus::Spoofed { Verdict::Base } else { weighed };
    let spoofed = base.status == AgentStatus::Spoofed || matches!(verdict, Verdict::Spoofed { .. });
    let session = weigh::session(spoofed, &mut said);
    let team = weigh::team(spoofed, &mut said);
    Judged { context, said, verdict, spoofed, session, team }
}

/// Says what a decision changes.
pub(crate) fn find(judged: Judged<'_>, base_agent: &str) -> Findings {
    let Judged { context, mut said, verdict, spoofed, session, team } = judged;
    let name = |at: usize| said.sayings.get(at).map(own).unwrap_or_default();
    let agent = match verdict {
        Verdict::Base => NewAgent::Same,
        Verdict::Named { by, agent, rank, status } => NewAgent::Named { name: Name { rank, ..name(by) }, agent, status },
        Verdict::Spoofed { by } => NewAgent::Spoofed(name(by)),
    };
    let named = match &agent {
        NewAgent::Named { name, .. } => &name.text,
        _ if spoofed => "",
        _ => base_agent,
    };
    let claimed = match &agent {
        NewAgent::Spoofed(name) => Some(name.text.clone()),
        _ => said.sayings.iter().find(|saying| is_lost_word(saying, named)).map(|saying| saying.text.clone().into_owned()),
    };
    let (session, team) = (session.map(name), team.map(name).unwrap_or_default().text);
    let record_team = kinds::team_of(&context, named).to_owned();
    kinds::record_of(&context, named, &mut said);
    let tags = said.tags.into_iter().map(|(key, value)| (key.into_owned(), value.into_owned())).collect();
    Findings { agent, claimed, session, record_team, team, tags }
}

/// Tells whether an application's own word for its agent would be lost: metadata and tags are kept anyway.
fn is_lost_word(saying: &Saying<'_>, named: &str) -> bool {
    let own_word = matches!(saying.kind, Kind::Span | Kind::Run) && saying.rank == Rank::Claimed;
    own_word && saying.about == Attribute::Agent && saying.text != named
}

fn own(saying: &Saying<'_>) -> Name {
    Name { text: saying.text.clone().into_owned(), label: saying.label.clone().into_owned(), rank: saying.rank }
}
