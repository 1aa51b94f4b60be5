//! Who calls: agents, how each of them can be told from a log, and their sessions.

use std::sync::Arc;

use super::Plan;
use super::models::{Form, MODELS, Model, Naming, at, name};
use super::put::Put;
use super::random::Random;

/// What a log shows of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// Request metadata, on a role that many agents share.
    Metadata,
    /// A role of its own, sessions in the role session name.
    SessionName,
    /// A role of its own whose sessions AgentCore Runtime names.
    AgentCore,
    /// An IAM user of its own, sessions in the request metadata.
    User,
    /// A role of its own, and in every other session the claim to be another agent.
    Spoofer,
    /// A role, and nothing that names an agent.
    Nobody,
}

impl Identity {
    /// Returns the word written to the truth.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Metadata => "metadata",
            Self::SessionName => "session_name",
            Self::AgentCore => "agent_core",
            Self::User => "user",
            Self::Spoofer => "spoofer",
            Self::Nobody => "nobody",
        }
    }
}

/// One agent.
#[derive(Clone, Debug)]
pub(crate) struct Agent {
    /// Its true name.
    pub(crate) id: Arc<str>,
    /// Its team.
    pub(crate) team: &'static str,
    /// How it can be told.
    pub(crate) identity: Identity,
    /// Its account.
    pub(crate) account_id: Arc<str>,
    /// Its role's name, or its user's.
    pub(crate) role: Arc<str>,
    /// The models it calls: mostly the first.
    pub(crate) models: Vec<usize>,
    /// Which of the usual metadata keys it writes.
    pub(crate) keys: usize,
    /// Whether it adds a trace id to every call's metadata.
    pub(crate) traced: bool,
}

impl Agent {
    /// Returns the ARN of its role or user, without a session.
    pub(crate) fn principal(&self) -> String {
        let kind = if self.identity == Identity::User { "user" } else { "role" };
        format!("arn:aws:iam::{}:{kind}/{}", self.account_id, self.role)
    }
}

/// One session of an agent: everything its calls share, and how long its context has grown.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    /// Place of its agent.
    pub(crate) agent: usize,
    /// Its id.
    pub(crate) id: Arc<str>,
    /// Its region.
    pub(crate) region: Arc<str>,
    /// `identity.arn` of its calls.
    pub(crate) principal_arn: Arc<str>,
    /// `requestMetadata` without its closing brace; empty when it sends none.
    pub(crate) metadata: String,
    /// The agent it claims to be in its metadata.
    pub(crate) claimed_agent: Option<Arc<str>>,
    /// The session it claims in its metadata.
    pub(crate) claimed_session: Option<Arc<str>>,
    /// Its models, named for its region and account.
    pub(crate) models: Vec<(Model, Naming)>,
    /// Decides its operations.
    pub(crate) style: u64,
    /// Key order of its records.
    pub(crate) order: Order,
    /// Lifetimes of its cache writes.
    pub(crate) caching: Caching,
    /// Tokens of context so far.
    pub(crate) context: u64,
    /// Whether that context is in the prompt cache.
    pub(crate) warm: bool,
    /// Whether it has lost its brakes.
    pub(crate) runaway: bool,
}

/// Order of a record's keys: AWS changed it over the years and promises none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Schema first.
    SchemaFirst,
    /// Time and identity first, schema last.
    SchemaLast,
    /// Identity and schema last.
    IdentityLast,
}

/// What a session asks of the prompt cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caching {
    /// Nothing.
    Off,
    /// Five minutes.
    Short,
    /// One hour.
    Long,
    /// The system prompt for an hour, the rest for five minutes.
    Both,
}

/// Everybody.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cast {
    /// Agents.
    pub(crate) agents: Vec<Agent>,
    /// Sessions.
    pub(crate) sessions: Vec<Session>,
}

const NAMES: [(&str, &str); 20] = [
    ("checkout-bot", "checkout"),
    ("support-triage", "support"),
    ("doc-indexer", "search"),
    ("research-planner", "research"),
    ("code-reviewer", "platform"),
    ("invoice-matcher", "finance"),
    ("release-notes", "platform"),
    ("fraud-screen", "risk"),
    ("catalog-writer", "commerce"),
    ("oncall-helper", "platform"),
    ("lead-scorer", "sales"),
    ("nightly-batch", "data"),
    ("contract-reader", "legal"),
    ("refund-desk", "support"),
    ("route-planner", "logistics"),
    ("test-author", "platform"),
    ("meeting-scribe", "office"),
    ("price-watcher", "commerce"),
    ("data-steward", "data"),
    ("survey-digest", "research"),
];

const IDENTITIES: [Identity; 12] = [
    Identity::Metadata,
    Identity::SessionName,
    Identity::Metadata,
    Identity::Metadata,
    Identity::AgentCore,
    Identity::Metadata,
    Identity::User,
    Identity::Metadata,
    Identity::Metadata,
    Identity::SessionName,
    Identity::Spoofer,
    Identity::Nobody,
];

const PREFERENCES: [&[usize]; 8] = [
    &[at::HAIKU, at::SONNET],
    &[at::NOVA_LITE, at::HAIKU],
    &[at::TITAN_EMBED, at::NOVA_MICRO],
    &[at::SONNET, at::OPUS],
    &[at::SONNET, at::HAIKU],
    &[at::NOVA_PRO, at::NOVA_2_LITE],
    &[at::GPT_OSS, at::LLAMA_8B],
    &[at::LLAMA_70B, at::TITAN_EMBED],
];

/// Pairs of metadata keys seen in the wild.
const KEYS: [(&str, &str); 3] = [("agent_id", "session_id"), ("agent", "session"), ("agentId", "sessionId")];

impl Cast {
    /// Makes up the cast of a plan.
    pub(crate) fn of(plan: &Plan, random: &mut Random) -> Self {
        let mut cast = Self::default();
        for number in 0..plan.agents as usize {
            let (name, team) = NAMES[number % NAMES.len()];
            let id = if number < NAMES.len() { name.to_owned() } else { format!("{name}-{number:04}") };
            let identity = IDENTITIES[number % IDENTITIES.len()];
            let account_id = plan.account_ids[number % plan.account_ids.len()].as_str();
            let models = PREFERENCES[number % PREFERENCES.len()];
            cast.agents.push(agent(&id, team, identity, account_id, models, number));
        }
        for number in 0..plan.sessions.max(plan.agents) as usize {
            let region = plan.regions[(number / cast.agents.len() + number) % plan.regions.len()].as_str();
            let (ordinal, agent) = (number / cast.agents.len(), number % cast.agents.len());
            let form = match random.below(50) {
                0 => Form::Application(random.next() >> 17),
                1..8 => Form::Arn,
                _ => Form::Id,
            };
            let session = cast.session(agent, ordinal, region, form, random);
            cast.sessions.push(session);
        }
        cast
    }

    /// Opens the session `ordinal` of an agent in a region.
    pub(crate) fn session(&self, number: usize, ordinal: usize, region: &str, form: Form, random: &mut Random) -> Session {
        let agent = &self.agents[number];
        let id: Arc<str> = if random.chance(1, 2) { random.uuid() } else { format!("s-{:010x}", random.next() >> 24) }.into();
        let account_id = &agent.account_id;
        let role_session = match agent.identity {
            Identity::Metadata => format!("app-{:02}", random.below(4)),
            Identity::SessionName => format!("{}-{id}", agent.id).chars().take(64).collect(),
            Identity::AgentCore => format!("BedrockAgentCore-{}", random.uuid()),
            Identity::User => String::new(),
            Identity::Spoofer => format!("{}-{:02}", agent.id, random.below(4)),
            Identity::Nobody => "botocore-session-1790812800".to_owned(),
        };
        let principal_arn = match agent.identity {
            Identity::User => agent.principal(),
            _ => format!("arn:aws:sts::{account_id}:assumed-role/{}/{role_session}", agent.role),
        };
        let claimed_agent = match agent.identity {
            Identity::Metadata => Some(Arc::clone(&agent.id)),
            Identity::Spoofer if ordinal.is_multiple_of(2) => self.agents.first().map(|victim| Arc::clone(&victim.id)),
            _ => None,
        };
        let claims_session = matches!(agent.identity, Identity::Metadata | Identity::User | Identity::Spoofer);
        let claimed_session = claims_session.then(|| Arc::clone(&id));
        let metadata = metadata(agent.keys, claimed_agent.as_deref(), claimed_session.as_deref(), agent.team, random);
        let global = random.chance(1, 4);
        let named = |model: usize| {
            let form = if let Form::Application(number) = form { Form::Application(number + model as u64) } else { form };
            (MODELS[model], name(&MODELS[model], region, account_id, form, global))
        };
        let models = agent.models.iter().map(|&model| named(model)).collect();
        Session {
            agent: number,
            id,
            region: region.into(),
            principal_arn: principal_arn.into(),
            metadata,
            claimed_agent,
            claimed_session,
            models,
            style: random.below(20),
            order: random.pick(&[Order::SchemaFirst, Order::SchemaLast, Order::IdentityLast, Order::IdentityLast]),
            caching: random.pick(&[Caching::Off, Caching::Short, Caching::Short, Caching::Long, Caching::Both]),
            context: random.range(1500, 12_000),
            warm: false,
            runaway: false,
        }
    }
}

/// Makes an agent; `number` varies its role and its habits.
pub(crate) fn agent(id: &str, team: &'static str, identity: Identity, account_id: &str, models: &[usize], number: usize) -> Agent {
    let role = match identity {
        Identity::Metadata => "agents-shared".to_owned(),
        Identity::User => id.to_owned(),
        Identity::AgentCore => format!("AmazonBedrockAgentCoreSDKRuntime-us-east-1-{:010x}", Random::new(number as u64).next() >> 24),
        Identity::SessionName | Identity::Spoofer => format!("svc-{id}"),
        Identity::Nobody => "legacy-batch".to_owned(),
    };
    Agent {
        id: id.into(),
        team,
        identity,
        account_id: account_id.into(),
        role: role.into(),
        models: models.to_vec(),
        keys: number % KEYS.len(),
        traced: number % 13 == 5,
    }
}

/// Writes the metadata of a session, open for more pairs; nothing when there is nothing to say.
fn metadata(keys: usize, agent: Option<&str>, session: Option<&str>, team: &str, random: &mut Random) -> String {
    let (agent_key, session_key) = KEYS[keys];
    let mut out = Vec::new();
    if let Some(agent) = agent {
        out.pair(agent_key, agent);
    }
    if let Some(session) = session {
        out.pair(session_key, session);
    }
    if !out.is_empty() && random.chance(1, 3) {
        out.pair("team", team).pair("env", "prod");
    }
    if let Some(first) = out.first_mut() {
        *first = b'{';
    }
    String::from_utf8_lossy(&out).into_owned()
}
