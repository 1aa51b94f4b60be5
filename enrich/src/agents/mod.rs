//! The agents file: which agents exist, which principals, inference profiles and sessions are theirs, and who owns them.
//!
//! ```toml
//! [[agent]]
//! id = "checkout-bot"                     # 1 to 128 visible characters
//! principals = ["arn:aws:iam::123456789012:role/Checkout*"]
//! inference_profiles = ["arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3d4e5f6"]
//! session_names = ["checkout-*"]          # of those principals; absent = the id itself
//! pinned = true                           # the roles' trust policies allow these session names to this agent alone
//! team = "checkout"
//! limit = "25.00 USD"                     # for budgets that take their limit from here
//! tags = { cost_center = "4711" }
//! ```
//!
//! Logs hold a role's name without its path, so a principal is matched by partition, account, kind and name; `*` may stand in the
//! name alone. Several agents may share a principal or a profile; none of them is then named by it alone.

mod fault;
mod read;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use sha2::{Digest, Sha256};
use sluice_schemas::PicoUsd;

use crate::attribution::{Glob, Principal, PrincipalPattern, Registry};

pub use fault::{AgentsError, AgentsFault};

/// One registered agent.
#[derive(Clone, Debug, Default)]
pub struct Agent {
    /// Its id, the `agent_id` of its calls.
    pub id: String,
    /// ARNs of its roles and users as written, `*` allowed in the name.
    pub principals: Vec<String>,
    /// ARNs of its application inference profiles.
    pub inference_profiles: Vec<String>,
    /// Patterns of the role session names that are its own.
    pub session_names: Vec<String>,
    /// Whether a trust policy pins those session names.
    pub pinned: bool,
    /// Owning team; empty when not told.
    pub team: String,
    /// Tags of its calls, sorted by key.
    pub tags: Vec<(String, String)>,
    /// Limit for budgets that take theirs from here.
    pub limit: Option<PicoUsd>,
}

/// Version where there is no file.
const NO_FILE: &str = "none";

type Index<V> = HashMap<String, V, FixedState>;

/// A validated agents file, indexed for look-ups by id, principal and inference profile.
#[derive(Clone, Debug, Default)]
pub struct AgentsFile {
    version: String,
    agents: Vec<Agent>,
    sessions: Vec<Vec<Glob>>,
    by_id: Index<u32>,
    /// Agents by `scope/name`, for names without `*`.
    by_principal: Index<Vec<u32>>,
    /// Agents by scope, for names with `*`.
    by_pattern: Index<Vec<(Glob, u32)>>,
    by_profile: Index<Vec<u32>>,
}

impl AgentsFile {
    /// Reads and checks the text of an agents file.
    ///
    /// # Errors
    /// [`AgentsError::Syntax`] for a text that is not TOML, else every fault there is.
    pub fn parse(toml: &str) -> Result<Self, AgentsError> {
        let agents = read::read(toml)?;
        let digest = Sha256::digest(toml.as_bytes());
        let version = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        Ok(Self::index(version, agents))
    }

    /// Returns a file without agents: every principal is open.
    #[must_use]
    pub fn empty() -> Self {
        Self { version: NO_FILE.to_owned(), ..Self::default() }
    }

    /// Tells whether there is no file.
    pub(crate) fn is_none(&self) -> bool {
        self.version == NO_FILE
    }

    /// Returns the start of the SHA-256 of the text, or `none` for [`AgentsFile::empty`].
    #[must_use]
    pub fn version(&self) -> String {
        self.version.clone()
    }

    /// Iterates over the agents in file order.
    pub fn agents(&self) -> impl ExactSizeIterator<Item = &Agent> {
        self.agents.iter()
    }

    /// Returns the agent with this id.
    #[must_use]
    pub fn agent(&self, agent_id: &str) -> Option<&Agent> {
        self.by_id.get(agent_id).and_then(|&at| self.agents.get(at as usize))
    }

    /// Returns the limit the file states for an agent.
    #[must_use]
    pub fn limit(&self, agent_id: &str) -> Option<PicoUsd> {
        self.agent(agent_id)?.limit
    }

    /// Returns the agents registered on the principal of an identity ARN, in file order.
    #[must_use]
    pub fn registered_on(&self, principal_arn: &str) -> Vec<&Agent> {
        let found = Principal::parse(principal_arn).map(|principal| self.on_principal(&principal)).unwrap_or_default();
        found.iter().filter_map(|&at| self.agents.get(at as usize)).collect()
    }

    /// Returns the numbers of the agents registered on a principal, ascending.
    pub(crate) fn on_principal(&self, principal: &Principal<'_>) -> Vec<u32> {
        if self.agents.is_empty() {
            return Vec::new();
        }
        let (scope, name) = (principal.scope(), principal.name.to_ascii_lowercase());
        let mut found = self.by_principal.get(&format!("{scope}/{name}")).cloned().unwrap_or_default();
        let patterns = self.by_pattern.get(&scope).into_iter().flatten();
        found.extend(patterns.filter(|(pattern, _)| pattern.fits(&name)).map(|&(_, agent)| agent));
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Returns the numbers of the agents registered on an inference profile, ascending.
    pub(crate) fn on_profile(&self, model_id: &str) -> &[u32] {
        self.by_profile.get(model_id).map_or(&[], Vec::as_slice)
    }

    /// Returns the agent with this number.
    pub(crate) fn numbered(&self, agent: u32) -> Option<&Agent> {
        self.agents.get(agent as usize)
    }

    fn index(version: String, read: Vec<(Agent, Vec<PrincipalPattern>)>) -> Self {
        let mut file = Self { version, ..Self::default() };
        for (at, (agent, principals)) in (0..).zip(read) {
            file.by_id.insert(agent.id.clone(), at);
            for pattern in principals {
                match pattern.glob() {
                    Some(glob) => file.by_pattern.entry(pattern.scope).or_default().push((glob, at)),
                    None => file.by_principal.entry(format!("{}/{}", pattern.scope, pattern.name)).or_default().push(at),
                }
            }
            for profile in &agent.inference_profiles {
                file.by_profile.entry(profile.clone()).or_default().push(at);
            }
            let own = std::slice::from_ref(&agent.id);
            let names = if agent.session_names.is_empty() { own } else { agent.session_names.as_slice() };
            file.sessions.push(names.iter().map(|name| Glob::new(name)).collect());
            file.agents.push(agent);
        }
        file
    }
}

impl Registry for AgentsFile {
    fn by_id(&self, id: &str) -> Option<u32> {
        self.by_id.get(id).copied()
    }

    fn is_bound(&self, agent: u32) -> bool {
        self.numbered(agent).is_some_and(|agent| !agent.principals.is_empty() || !agent.inference_profiles.is_empty())
    }

    fn has_principals(&self, agent: u32) -> bool {
        self.numbered(agent).is_some_and(|agent| !agent.principals.is_empty())
    }

    fn is_pinned(&self, agent: u32) -> bool {
        self.numbered(agent).is_some_and(|agent| agent.pinned)
    }

    fn owns_session(&self, agent: u32, session_name: &str) -> bool {
        let patterns = self.sessions.get(agent as usize);
        !session_name.is_empty() && patterns.is_some_and(|patterns| patterns.iter().any(|pattern| pattern.fits(session_name)))
    }
}
