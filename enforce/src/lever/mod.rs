//! Levers: ways to stop someone, each with its grant, its undo and what it cannot do.
//!
//! A lever looks, pulls and lifts; each is one or a few calls and may be repeated after a lost answer. It keeps nothing: what stood
//! before is read by [`Lever::look`], kept by the reconciler before the first effect, and handed back to [`Lever::lift`]. What this
//! program did not put is never taken away.

pub mod api_key;
pub mod boundary;
pub mod deny_policy;
pub mod deny_session;
pub mod detach;
pub mod flag;
pub mod principal;
pub mod profile;
pub mod reject_alias;
pub mod revoke_sessions;
pub mod scp;
pub mod stop_session;

#[cfg(test)]
mod iam_bench;
mod json;

use std::fmt;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sluice_schemas::{ErrorClass, Micros};

use crate::aws::{Aws, Call, CallError, Reply};

/// The levers there are; the words are those of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LeverKind {
    /// Attaches one fixed managed policy that denies Bedrock runtime actions to a role or user.
    DenyPolicy,
    /// Detaches the configured policies that grant Bedrock.
    Detach,
    /// Denies one session of a shared role.
    DenySession,
    /// Refuses tokens issued before now: a kick, not a hold.
    RevokeSessions,
    /// Sets a permissions boundary that allows all but Bedrock.
    Boundary,
    /// Denies one application inference profile.
    Profile,
    /// Attaches a service control policy to an account or organizational unit.
    Scp,
    /// Stops one AgentCore runtime session.
    StopSession,
    /// Lets a Bedrock agent alias reject invocations.
    RejectAlias,
    /// Deactivates a Bedrock API key.
    ApiKey,
    /// Writes a row that applications and gateways look at.
    Flag,
}

impl LeverKind {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::DenyPolicy,
        Self::Detach,
        Self::DenySession,
        Self::RevokeSessions,
        Self::Boundary,
        Self::Profile,
        Self::Scp,
        Self::StopSession,
        Self::RejectAlias,
        Self::ApiKey,
        Self::Flag,
    ];

    /// Returns the word of the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DenyPolicy => "deny-policy",
            Self::Detach => "detach",
            Self::DenySession => "deny-session",
            Self::RevokeSessions => "revoke-sessions",
            Self::Boundary => "boundary",
            Self::Profile => "profile",
            Self::Scp => "scp",
            Self::StopSession => "stop-session",
            Self::RejectAlias => "reject-alias",
            Self::ApiKey => "api-key",
            Self::Flag => "flag",
        }
    }

    /// Reads a word of the configuration.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

impl fmt::Display for LeverKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a lever acts on: always a thing AWS records by itself, or the budget's target for a flag.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Subject {
    /// An IAM role, by ARN without path-less shortcuts: `arn:aws:iam::111122223333:role/agents/triage`.
    Role {
        /// ARN.
        arn: String,
    },
    /// An IAM user.
    User {
        /// ARN.
        arn: String,
    },
    /// One session of a role, by the name AWS records in `aws:userid`.
    RoleSession {
        /// ARN of the role.
        role: String,
        /// Role session name.
        session: String,
    },
    /// All sessions of a role that carry one source identity.
    SourceIdentity {
        /// ARN of the role.
        role: String,
        /// The source identity.
        identity: String,
    },
    /// An application inference profile called by a role or user.
    Profile {
        /// ARN of the profile.
        arn: String,
    },
    /// An account or organizational unit of an organization.
    OrganizationTarget {
        /// Account id, `ou-…` or `r-…`.
        id: String,
    },
    /// One session of an AgentCore runtime.
    RuntimeSession {
        /// ARN of the runtime.
        runtime: String,
        /// Endpoint name; empty for the default one.
        qualifier: String,
        /// `runtimeSessionId`.
        session: String,
    },
    /// An alias of a Bedrock agent.
    AgentAlias {
        /// ARN of the alias: `arn:aws:bedrock:REGION:ACCOUNT:agent-alias/AGENT/ALIAS`.
        arn: String,
    },
    /// A Bedrock API key: a service-specific credential of a user.
    ApiKey {
        /// ARN of the user.
        user: String,
        /// Credential id (`ACCA…`).
        credential: String,
    },
    /// A target of a budget, for rows that applications read.
    Target {
        /// For example `agent_id=a`.
        target: String,
    },
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Role { arn } | Self::User { arn } | Self::Profile { arn } | Self::AgentAlias { arn } => f.write_str(arn),
            Self::RoleSession { role, session } => write!(f, "{role} session {session}"),
            Self::SourceIdentity { role, identity } => write!(f, "{role} source identity {identity}"),
            Self::OrganizationTarget { id } => f.write_str(id),
            Self::RuntimeSession { runtime, qualifier, session } if qualifier.is_empty() => write!(f, "{runtime} session {session}"),
            Self::RuntimeSession { runtime, qualifier, session } => write!(f, "{runtime}:{qualifier} session {session}"),
            Self::ApiKey { user, credential } => write!(f, "{user} key {credential}"),
            Self::Target { target } => f.write_str(target),
        }
    }
}

/// How a lever can be undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undo {
    /// Everything is put back as it was.
    Exact,
    /// There is nothing to put back: it only interrupts.
    Nothing,
}

/// What people have to know of a lever.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// One sentence: what it does.
    pub summary: &'static str,
    /// IAM actions it needs, reading ones included.
    pub grants: &'static [&'static str],
    /// Statement of an IAM policy that grants exactly these, as JSON with `${…}` for what differs between installations.
    pub policy: &'static str,
    /// What it cannot do, or what it costs.
    pub cannot: &'static str,
    /// How it is undone.
    pub undo: Undo,
}

/// An order for a lever.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// On whom.
    pub subject: &'a Subject,
    /// Ids of the holds that ask for it.
    pub holds: &'a [String],
    /// Why, for people: budget, period.
    pub reason: &'a str,
    /// When it was first decided: the same in every repetition.
    pub since: Micros,
    /// When it ends by itself, where that is known.
    pub until: Option<Micros>,
    /// The clock.
    pub now: Micros,
}

/// What a lever sees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sight {
    /// Whether the stop stands: everything this lever does is in place.
    pub stands: bool,
    /// What allows the calls nevertheless, if anything does.
    pub ineffective: Option<String>,
    /// What a lift needs to put back; kept with the intent before the first effect. `null` where nothing is needed.
    pub image: Value,
}

/// What a lever did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Request ids of the calls that changed something.
    pub requests: Vec<String>,
    /// For people.
    pub detail: String,
}

/// Why a lever did not act.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeverError {
    /// A call failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The subject is not there: there is nothing to stop.
    #[error("{subject} is not there")]
    Gone {
        /// The subject.
        subject: String,
    },
    /// The lever does not act on this subject, now or ever; the next lever of the chain may.
    #[error("{lever} cannot act on {subject}: {reason}")]
    Unfit {
        /// The lever.
        lever: LeverKind,
        /// The subject.
        subject: String,
        /// Why, and what to do about it.
        reason: String,
    },
    /// A quota is full; the next lever of the chain may act.
    #[error("{lever} has no room at {subject}: {reason}")]
    Full {
        /// The lever.
        lever: LeverKind,
        /// The subject.
        subject: String,
        /// Which quota.
        reason: String,
    },
}

impl LeverError {
    /// Returns what the error asks of its caller.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Call(error) => error.class(),
            Self::Gone { .. } | Self::Unfit { .. } | Self::Full { .. } => ErrorClass::Misconfigured,
        }
    }

    /// Tells whether another lever should be tried instead.
    #[must_use]
    pub const fn falls_back(&self) -> bool {
        matches!(self, Self::Unfit { .. } | Self::Full { .. })
    }
}

/// A way to stop someone.
pub trait Lever: Send + Sync {
    /// Returns which one it is.
    fn kind(&self) -> LeverKind;

    /// Returns what people have to know.
    fn about(&self) -> About;

    /// Says, without a call, whether it can act on a subject at all.
    ///
    /// # Errors
    /// [`LeverError::Unfit`].
    fn fits(&self, subject: &Subject) -> Result<(), LeverError>;

    /// Looks how things stand.
    ///
    /// # Errors
    /// [`LeverError::Gone`] if the subject is not there, [`LeverError::Unfit`] if it shows only now that it cannot act.
    fn look(&self, aws: &dyn Aws, order: &Order<'_>) -> Result<Sight, LeverError>;

    /// Makes the stop stand. Repeating it changes nothing.
    ///
    /// # Errors
    /// See [`LeverError`].
    fn pull(&self, aws: &dyn Aws, order: &Order<'_>) -> Result<Done, LeverError>;

    /// Puts back what `image`, read before the first pull, says. Repeating it changes nothing.
    ///
    /// # Errors
    /// See [`LeverError`].
    fn lift(&self, aws: &dyn Aws, order: &Order<'_>, image: &Value) -> Result<Done, LeverError>;
}

/// Returns the calls a pull would make now that change something, without making them: none where the stop stands.
///
/// # Errors
/// The lever cannot act on the subject, or failed to look.
pub fn rehearse(lever: &dyn Lever, aws: &dyn Aws, order: &Order<'_>) -> Result<Vec<Call>, LeverError> {
    lever.fits(order.subject)?;
    let dry = DryRun::new(aws);
    if !lever.look(&dry, order)?.stands {
        lever.pull(&dry, order)?;
    }
    Ok(dry.listed())
}

/// Lets reading calls through and only lists the others.
pub struct DryRun<'a> {
    aws: &'a dyn Aws,
    listed: Mutex<Vec<Call>>,
}

impl<'a> DryRun<'a> {
    /// Wraps what makes calls.
    #[must_use]
    pub fn new(aws: &'a dyn Aws) -> Self {
        Self { aws, listed: Mutex::new(Vec::new()) }
    }

    /// Returns the calls that would have been made.
    #[must_use]
    pub fn listed(&self) -> Vec<Call> {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Aws for DryRun<'_> {
    fn call(&self, call: &Call) -> Result<Reply, CallError> {
        if !call.writes {
            return self.aws.call(call);
        }
        self.listed.lock().unwrap_or_else(PoisonError::into_inner).push(call.clone());
        Ok(Reply::default())
    }
}
