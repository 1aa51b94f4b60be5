//! What can be wrong with an agents file.

use sluice_schemas::ErrorClass;
use sluice_schemas::money::MoneyError;

use crate::attribution::PatternFault;

/// Why an agents file was refused. All faults are listed, not only the first.
#[derive(Debug, thiserror::Error)]
pub enum AgentsError {
    /// Not TOML.
    #[error("agents file is not TOML")]
    Syntax(#[source] toml::de::Error),
    /// TOML, but not a valid agents file.
    #[error("agents file has {} fault(s): {}", faults.len(), list(faults))]
    Faults {
        /// What is wrong, in file order.
        faults: Vec<AgentsFault>,
    },
}

impl AgentsError {
    /// Tells the caller what to do: a person has to change the file.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        ErrorClass::Misconfigured
    }
}

fn list(faults: &[AgentsFault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// One fault. `agent` is the agent's id, or `#2` for the second entry if it has none.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AgentsFault {
    /// A top-level key other than `agent`.
    #[error("unknown key '{key}'")]
    UnknownKey {
        /// The key.
        key: String,
    },
    /// `agent` is not a list of tables.
    #[error("'agent' must be written as [[agent]]")]
    NotAList,
    /// An unknown key, a missing id or a value of the wrong type.
    #[error("agent {agent}: {message}")]
    Shape {
        /// Which agent.
        agent: String,
        /// What the reader said.
        message: String,
    },
    /// An id that cannot be shown, or is too long.
    #[error("agent {agent}: an id has 1 to 128 visible characters")]
    Id {
        /// Which agent.
        agent: String,
    },
    /// An id that stands for something else.
    #[error("agent {agent}: 'unattributed' and 'spoofed:' are reserved")]
    ReservedId {
        /// Which agent.
        agent: String,
    },
    /// Two agents with one id.
    #[error("agent {agent}: occurs twice")]
    DuplicateAgent {
        /// Which agent.
        agent: String,
    },
    /// A principal that cannot be read.
    #[error("agent {agent}: principal '{principal}': {fault}")]
    Principal {
        /// Which agent.
        agent: String,
        /// The text.
        principal: String,
        /// Why.
        fault: PatternFault,
    },
    /// The same principal, profile or session name twice in one list.
    #[error("agent {agent}: '{value}' occurs twice in {field}")]
    DuplicateValue {
        /// Which agent.
        agent: String,
        /// The list.
        field: &'static str,
        /// The text.
        value: String,
    },
    /// Not the ARN of an application inference profile.
    #[error(
        "agent {agent}: inference profile '{profile}': write it like arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3d4e5f6"
    )]
    InferenceProfile {
        /// Which agent.
        agent: String,
        /// The text.
        profile: String,
    },
    /// A session name no role session can have.
    #[error("agent {agent}: session name '{name}' cannot occur")]
    SessionName {
        /// Which agent.
        agent: String,
        /// The text.
        name: String,
    },
    /// Session names say nothing without the roles they belong to.
    #[error("agent {agent}: session_names need principals")]
    SessionNamesWithoutPrincipals {
        /// Which agent.
        agent: String,
    },
    /// Nothing to pin.
    #[error("agent {agent}: pinned needs session_names")]
    PinnedWithoutSessionNames {
        /// Which agent.
        agent: String,
    },
    /// A team that cannot be shown.
    #[error("agent {agent}: a team has 1 to 256 visible characters")]
    Team {
        /// Which agent.
        agent: String,
    },
    /// A tag that cannot be shown, or whose key is reserved.
    #[error("agent {agent}: tag '{key}' has invisible characters, is too long or starts with the reserved 'claimed_'")]
    Tag {
        /// Which agent.
        agent: String,
        /// Key of the tag.
        key: String,
    },
    /// A limit that is no amount.
    #[error("agent {agent}: limit: {fault}")]
    Limit {
        /// Which agent.
        agent: String,
        /// Why.
        fault: MoneyError,
    },
    /// A limit without its currency, or not above zero.
    #[error("agent {agent}: limit '{limit}' must be above zero and name its currency, like \"25.00 USD\"")]
    LimitForm {
        /// Which agent.
        agent: String,
        /// The text.
        limit: String,
    },
}
