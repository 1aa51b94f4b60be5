//! What CloudTrail events and spans say about who makes calls, kept until the calls it speaks of have come.

use std::sync::Arc;

use sluice_schemas::Micros;
use sluice_schemas::trail::Invoked;

/// A role session, from the `AssumeRole…` event that opened it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Session {
    /// `AssumeRole`, `AssumeRoleWithSAML` or `AssumeRoleWithWebIdentity`.
    pub opened_through: String,
    /// Who opened it: `userIdentity.arn` of the event.
    pub opened_by: String,
    /// ARN of the role, path included.
    pub role_arn: String,
    /// Access key id of its credentials.
    pub access_key_id: String,
    /// Source identity; empty when none was set.
    pub source_identity: String,
    /// Session tags, those of earlier roles of the chain that were passed on included; sorted by key.
    pub tags: Vec<(String, String)>,
    /// When it was opened.
    pub opened: Micros,
    /// When its credentials expire.
    pub expires: Micros,
}

/// The caller as CloudTrail's own event of a call tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Caller {
    /// `userIdentity.principalId`, for a role session the value of `aws:userid`.
    pub principal_id: String,
    /// `userIdentity.accessKeyId`.
    pub access_key_id: String,
    /// `userIdentity.sessionContext.sourceIdentity`.
    pub source_identity: String,
    /// `userIdentity.inScopeOf.credentialsIssuedTo`: ARN of the resource (function, runtime) that holds the credentials.
    pub credentials_issued_to: String,
    /// `userIdentity.invokedBy`.
    pub invoked_by: String,
    /// `userAgent`.
    pub user_agent: String,
    /// Whether a Bedrock API key was used.
    pub bearer_token: bool,
}

/// How a session or a run was tied to a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Tie {
    /// By the request id of the call.
    #[default]
    Request,
    /// By the access key of the call.
    AccessKey,
    /// By role and session name, where all sessions of that name at that time say the same.
    SessionName,
    /// By the role and the time alone, where only one run was under way.
    RoleAndTime,
}

/// What is known about the caller of one call beside the call's own record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CallEvidence {
    /// From the call's own CloudTrail event.
    pub caller: Option<Arc<Caller>>,
    /// The role session that made it.
    pub session: Option<(Arc<Session>, Tie)>,
    /// The span or data event of the run that it belongs to.
    pub run: Option<(Arc<Invoked>, Tie)>,
}

impl CallEvidence {
    /// Tells whether nothing is known.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.caller.is_none() && self.session.is_none() && self.run.is_none()
    }
}
