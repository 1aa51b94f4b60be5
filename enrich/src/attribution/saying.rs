//! What one piece of evidence says about a call: an agent, a session or a team, how specific it is and how far it can be trusted.

use std::borrow::Cow;

use serde::Serialize;
use sluice_schemas::Rank;

use super::text::{escape, is_plain};

/// Most tags that evidence may add to a call; AWS allows 50 on a principal and on a session.
const MAX_TAGS: usize = 64;
/// Longest key and value of such a tag, in characters: what IAM allows.
const MAX_TAG_CHARS: usize = 256;

/// What a saying is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Attribute {
    /// The agent.
    Agent,
    /// The session.
    Session,
    /// The team.
    Team,
}

/// How much evidence speaks of: from all calls of a principal to one call. The more specific is the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Specificity {
    /// Everything that looks alike.
    Hint,
    /// A role or a user.
    Principal,
    /// The thing that runs as a role.
    RunsAs,
    /// The resource that holds the credentials.
    Resource,
    /// The application inference profile.
    Profile,
    /// A role session.
    Session,
    /// A run of an agent.
    Run,
    /// One call.
    Call,
}

/// Kinds of evidence, in the order of the ladder: the most specific first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A rule of the rules file, as specific as the most specific field it matches on.
    Rule,
    /// A span of the agent, tied to the call.
    Span,
    /// Request metadata.
    Metadata,
    /// A data event: the run of a runtime, an agent, a flow, a knowledge base.
    Run,
    /// Claims of the token that a gateway accepted.
    Gateway,
    /// Session tags.
    SessionTag,
    /// Source identity.
    SourceIdentity,
    /// Role session name.
    SessionName,
    /// Application inference profile, and its tags.
    InferenceProfile,
    /// The resource that holds the credentials.
    IssuedTo,
    /// The AgentCore runtime that runs as the role.
    Runtime,
    /// The Bedrock agent that runs as the role.
    BedrockAgent,
    /// Record of the Agent Registry.
    Registry,
    /// User of a Bedrock API key.
    ApiKey,
    /// Tags of the role or user.
    PrincipalTag,
    /// The role or user, by the agents file.
    Principal,
    /// User agent.
    UserAgent,
}

impl Kind {
    /// Every kind, the most specific first.
    pub const ALL: [Self; 17] = [
        Self::Rule,
        Self::Span,
        Self::Metadata,
        Self::Run,
        Self::Gateway,
        Self::SessionTag,
        Self::SourceIdentity,
        Self::SessionName,
        Self::InferenceProfile,
        Self::IssuedTo,
        Self::Runtime,
        Self::BedrockAgent,
        Self::Registry,
        Self::ApiKey,
        Self::PrincipalTag,
        Self::Principal,
        Self::UserAgent,
    ];

    /// Returns the word that evidence names begin with.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rule => "rule",
            Self::Span => "span",
            Self::Metadata => "metadata",
            Self::Run => "run",
            Self::Gateway => "gateway",
            Self::SessionTag => "session_tag",
            Self::SourceIdentity => "source_identity",
            Self::SessionName => "session_name",
            Self::InferenceProfile => "inference_profile",
            Self::IssuedTo => "credentials_issued_to",
            Self::Runtime => "agentcore_runtime",
            Self::BedrockAgent => "bedrock_agent",
            Self::Registry => "registry_record",
            Self::ApiKey => "api_key",
            Self::PrincipalTag => "principal_tag",
            Self::Principal => "principal",
            Self::UserAgent => "user_agent",
        }
    }
}

impl Kind {
    /// Tells whether it was written to name an agent. The names of functions, runtimes and records were not: an honest caller may call
    /// its agent something else.
    pub(crate) const fn declares(self) -> bool {
        !matches!(self, Self::IssuedTo | Self::Runtime | Self::BedrockAgent | Self::Registry | Self::Run)
    }
}

/// Why a piece of evidence is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// A text that cannot be a name.
    #[error("empty, too long or with invisible characters: it cannot be a name")]
    NotAName,
    /// A word that stands for something else.
    #[error("'unattributed' and 'spoofed:' are reserved")]
    Reserved,
    /// An agent that the agents file binds to other principals or profiles.
    #[error("the agents file binds this agent to other principals or inference profiles")]
    BoundElsewhere,
    /// An agent of this principal, in a session that a pin gives to another, or not to it.
    #[error("the agents file pins this agent to other session names of this principal, or this session name to another agent")]
    OtherSession,
    /// An agent that the agents file does not register on this principal or profile.
    #[error("the agents file registers other agents here")]
    NotRegisteredHere,
    /// Credentials that had expired.
    #[error("the session's credentials had expired at the time of the call")]
    Expired,
    /// A session of another role than the call's.
    #[error("the session is of another role than the call")]
    OtherRole,
    /// A session that was opened after the call.
    #[error("the session was opened after the call")]
    NotYetOpen,
    /// A session of another access key than the call's.
    #[error("the call was made with the access key of another session")]
    OtherKey,
    /// Sessions of one name that say different things.
    #[error("several sessions of this name lived then and say different things, and no access key tells which of them called")]
    Disagrees,
    /// Several things run as the role.
    #[error("several run as this role, and nothing tells which of them called")]
    Ambiguous,
    /// The refused call's own word.
    #[error("it comes from the same mouth as the claim that was refused")]
    SameMouth,
}

/// One piece of evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Saying<'a> {
    pub(crate) kind: Kind,
    pub(crate) about: Attribute,
    /// `session_tag:agent_id`, as `agent_evidence` shows it.
    pub(crate) label: Cow<'a, str>,
    pub(crate) text: Cow<'a, str>,
    pub(crate) specificity: Specificity,
    pub(crate) rank: Rank,
    pub(crate) refused: Option<Refusal>,
}

impl Saying<'_> {
    /// Tells whether it is the word of the caller itself: one that disagrees with better evidence is a forgery.
    pub(crate) fn is_own_word(&self) -> bool {
        matches!(self.kind, Kind::Span | Kind::Metadata) && self.rank == Rank::Claimed
    }

    /// Tells whether a caller who says this of an agent that is not its own is refused, rather than the saying alone.
    pub(crate) fn accuses(&self) -> bool {
        match self.refused {
            None | Some(Refusal::NotAName | Refusal::Expired | Refusal::OtherRole | Refusal::Ambiguous | Refusal::SameMouth) => false,
            Some(Refusal::NotYetOpen | Refusal::OtherKey | Refusal::Disagrees) => false,
            Some(Refusal::NotRegisteredHere) => self.is_own_word(),
            Some(Refusal::Reserved | Refusal::BoundElsewhere | Refusal::OtherSession) => {
                let chosen = matches!(self.kind, Kind::SessionTag | Kind::SourceIdentity) && self.rank <= Rank::Chosen;
                self.is_own_word() || chosen
            }
        }
    }
}

/// What all evidence of one call says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Said<'a> {
    pub(crate) sayings: Vec<Saying<'a>>,
    /// Tags, the first of a key holds.
    pub(crate) tags: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> Said<'a> {
    /// Adds a saying, refused if its text cannot be a name.
    pub(crate) fn say(
        &mut self,
        kind: Kind,
        about: Attribute,
        label: impl Into<Cow<'a, str>>,
        text: impl Into<Cow<'a, str>>,
        (specificity, rank): (Specificity, Rank),
    ) {
        let text = text.into();
        if text.is_empty() {
            return;
        }
        let plain = is_plain(&text);
        let text = if plain { text } else { Cow::Owned(shorten(&text).into_owned()) };
        let refused = (!plain).then_some(Refusal::NotAName);
        self.sayings.push(Saying { kind, about, label: label.into(), text, specificity, rank, refused });
    }

    /// Adds a saying that is refused from the start.
    pub(crate) fn refuse(
        &mut self,
        kind: Kind,
        about: Attribute,
        label: impl Into<Cow<'a, str>>,
        text: &'a str,
        (specificity, rank, refusal): (Specificity, Rank, Refusal),
    ) {
        let (label, text) = (label.into(), shorten(text));
        self.sayings.push(Saying { kind, about, label, text, specificity, rank, refused: Some(refusal) });
    }

    /// Adds a tag, invisible characters escaped, unless its key is taken or there are too many. IAM compares keys without case.
    pub(crate) fn tag(&mut self, key: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, str>>) {
        let value = value.into();
        if value.is_empty() || self.tags.len() >= MAX_TAGS {
            return;
        }
        let key = shortened(key.into());
        if !self.tags.iter().any(|(taken, _)| taken.eq_ignore_ascii_case(&key)) {
            self.tags.push((key, shortened(value)));
        }
    }
}

fn shortened(text: Cow<'_, str>) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => shorten(text),
        Cow::Owned(text) => Cow::Owned(shorten(&text).into_owned()),
    }
}

/// Escapes what cannot be seen and cuts what is too long.
fn shorten(text: &str) -> Cow<'_, str> {
    let end = text.char_indices().nth(MAX_TAG_CHARS).map_or(text.len(), |(at, _)| at);
    escape(text.get(..end).unwrap_or(text))
}
