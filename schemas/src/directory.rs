//! What AWS says about the things that call: inference profiles, principals, runtimes, agents, registry records.
//!
//! Entries are remembered after the thing itself is deleted: calls of the past keep their names.

use serde::{Deserialize, Serialize};

use crate::time::Micros;

/// What an entry describes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// An application inference profile: `GetInferenceProfile`, `ListTagsForResource`.
    #[default]
    InferenceProfile,
    /// A role: `GetRole` (trust policy), `ListRoleTags`.
    Role,
    /// A user: `ListUserTags`; owner of Bedrock API keys.
    User,
    /// An AgentCore runtime or harness: `GetAgentRuntime`.
    Runtime,
    /// A Bedrock agent: `GetAgent`.
    Agent,
    /// A record of the AgentCore Agent Registry: `GetRegistryRecord`.
    RegistryRecord,
}

impl EntryKind {
    /// Every kind.
    pub const ALL: [Self; 6] = [Self::InferenceProfile, Self::Role, Self::User, Self::Runtime, Self::Agent, Self::RegistryRecord];

    /// Returns the word stored in the lake.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InferenceProfile => "inference_profile",
            Self::Role => "role",
            Self::User => "user",
            Self::Runtime => "runtime",
            Self::Agent => "agent",
            Self::RegistryRecord => "registry_record",
        }
    }

    /// Reads the word stored in the lake.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// What AWS said about one thing at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Entry {
    /// What it is.
    pub kind: EntryKind,
    /// Its ARN; of a role the IAM ARN with path.
    pub arn: String,
    /// Its name.
    pub name: String,
    /// When AWS said so.
    pub seen_at: Micros,
    /// Whether AWS no longer knows it.
    pub deleted: bool,
    /// Tags, sorted by key.
    pub tags: Vec<(String, String)>,
    /// Models behind an inference profile: ARNs, one for each destination region.
    pub models: Vec<String>,
    /// Role that a runtime or an agent runs as; the user that an API key belongs to.
    pub role_arn: String,
    /// What a role's trust policy allows its callers to choose.
    pub pins: Pins,
    /// Owner of a registry record.
    pub owner: String,
    /// Team of a registry record.
    pub team: String,
    /// Description of a registry record.
    pub description: String,
    /// Spending limit of a registry record, as written.
    pub limit: String,
}

/// What a trust policy pins: a condition of every statement that allows the role to be assumed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pins {
    /// Keys of session tags whose value the policy fixes or takes from the caller's own tags (`aws:RequestTag/<key>`).
    pub tag_keys: Vec<String>,
    /// Whether `sts:SourceIdentity` is fixed or taken from the caller.
    pub source_identity: bool,
    /// Whether `sts:RoleSessionName` is fixed or taken from the caller (`${aws:username}`).
    pub session_name: bool,
}
