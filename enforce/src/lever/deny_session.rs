//! Denies one session of a shared role, or all sessions with one source identity, by an inline policy of our own on the role.
//!
//! One policy of a role holds the denies of all its sessions; every write merges with what stands in it and leaves out what has ended.

mod document;

use serde_json::Value;

use super::principal::{failed, not_denied_by, parse, unfit};
use super::{About, Done, Lever, LeverError, LeverKind, Order, Sight, Subject, Undo};
use crate::aws::Aws;
use crate::iam::evaluate::Policy;
use crate::iam::{Iam, Identity, Principal, ROLE_INLINE_MAX, there};
use document::{Denies, Key, until_minute};

const KIND: LeverKind = LeverKind::DenySession;
/// Name of our policy.
pub const POLICY_NAME: &str = "sluice-deny-sessions";

const ABOUT: About = About {
    summary: "Denies the runtime actions of Bedrock to one session, or one source identity, of a role that others share.",
    grants: &["iam:DeleteRolePolicy", "iam:GetRole", "iam:GetRolePolicy", "iam:ListRolePolicies", "iam:PutRolePolicy"],
    policy: r#"[
  {
    "Sid": "DenySessionLook",
    "Effect": "Allow",
    "Action": ["iam:GetRole", "iam:GetRolePolicy", "iam:ListRolePolicies"],
    "Resource": "arn:aws:iam::${AccountId}:role/${AgentPath}*"
  },
  {
    "Sid": "DenySessionAct",
    "Effect": "Allow",
    "Action": ["iam:PutRolePolicy", "iam:DeleteRolePolicy"],
    "Resource": "arn:aws:iam::${AccountId}:role/${AgentPath}*"
  }
]"#,
    cannot: "RISK: IAM has no condition on the name or content of an inline policy, so who holds this grant can give these roles any \
             permission, or take any inline policy from them; keep ${AgentPath} narrow and put a permissions boundary on these roles. \
             All inline policies of a role have 10,240 characters together, room for about a hundred sessions with the longest names; when \
             they are full the next lever acts. A session that is made anew under another name is another session. Denies of two sessions \
             written within the seconds that IAM needs to spread a change may undo each other; the next look puts that right.",
    undo: Undo::Exact,
};

/// The lever.
#[derive(Clone, Copy, Debug, Default)]
pub struct DenySession;

/// What stands on the role.
struct Found {
    before: Option<String>,
    denies: Denies,
    key: Key,
}

impl DenySession {
    /// Returns the lever.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }

    /// The role, and the session or source identity.
    fn target(subject: &Subject) -> Result<(Principal, &str), LeverError> {
        let (role, name) = match subject {
            Subject::RoleSession { role, session } => (role, session),
            Subject::SourceIdentity { role, identity } => (role, identity),
            _ => return Err(unfit(KIND, subject, "it acts on sessions and source identities of roles")),
        };
        let principal = parse(KIND, subject, role)?;
        // What AWS takes as either; a policy variable or a wildcard cannot be written with it.
        let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte));
        if !is_plain || !(2..=64).contains(&name.len()) {
            return Err(unfit(KIND, subject, "that is no name that AWS gives a session"));
        }
        Ok((principal, name))
    }

    fn key(subject: &Subject, name: &str, identity: &Identity) -> Key {
        match subject {
            Subject::SourceIdentity { .. } => Key::SourceIdentity(name.to_owned()),
            _ => Key::UserId(format!("{}:{name}", identity.id)),
        }
    }

    fn find(iam: &Iam<'_>, subject: &Subject, name: &str, order: &Order<'_>) -> Result<Found, LeverError> {
        let identity = iam.identity().map_err(failed(KIND, subject))?;
        let before = there(iam.inline(POLICY_NAME))?;
        let denies = before.as_deref().map_or_else(|| Ok(Denies::default()), Denies::read);
        let mut denies =
            denies.map_err(|problem| unfit(KIND, subject, format!("its inline policy {POLICY_NAME} is not ours: {problem}; rename it")))?;
        denies.prune(order.now, &identity.id);
        Ok(Found { before, denies, key: Self::key(subject, name, &identity) })
    }

    /// Writes the policy, unless it stands like this.
    fn write(iam: &Iam<'_>, subject: &Subject, found: &Found) -> Result<Option<String>, LeverError> {
        match (found.denies.write(), &found.before) {
            (None, None) => Ok(None),
            (None, Some(_)) => there(iam.delete_inline(POLICY_NAME)).map_err(LeverError::Call),
            (Some(text), Some(before)) if text == *before => Ok(None),
            (Some(text), _) => {
                Self::check_room(iam, subject, text.chars().count())?;
                iam.put_inline(POLICY_NAME, &text).map(Some).map_err(failed(KIND, subject))
            }
        }
    }

    /// Counts all inline policies of the role.
    fn check_room(iam: &Iam<'_>, subject: &Subject, own: usize) -> Result<(), LeverError> {
        let mut taken = own;
        for name in iam.inline_names().map_err(failed(KIND, subject))?.iter().filter(|name| *name != POLICY_NAME) {
            taken += there(iam.inline(name))?.map_or(0, |text| document::size(&text));
        }
        if taken <= ROLE_INLINE_MAX {
            return Ok(());
        }
        let reason = format!("its inline policies would have {taken} characters, {ROLE_INLINE_MAX} at most");
        Err(LeverError::Full { lever: KIND, subject: subject.to_string(), reason })
    }
}

impl Lever for DenySession {
    fn kind(&self) -> LeverKind {
        KIND
    }

    fn about(&self) -> About {
        ABOUT
    }

    fn fits(&self, subject: &Subject) -> Result<(), LeverError> {
        Self::target(subject).map(drop)
    }

    fn look(&self, aws: &dyn Aws, order: &Order<'_>) -> Result<Sight, LeverError> {
        let (principal, name) = Self::target(order.subject)?;
        let found = Self::find(&Iam::new(aws, &principal), order.subject, name, order)?;
        // Somebody may have edited the statements around the values.
        let policy = found.before.as_deref().map(|text| Policy::read(POLICY_NAME, text));
        let is_denied = policy.is_some_and(|policy| not_denied_by(&policy, &found.key.context()).is_none());
        let stands = is_denied && found.denies.lasts(&found.key, until_minute(order.until));
        Ok(Sight { stands, ineffective: None, image: Value::Null })
    }

    fn pull(&self, aws: &dyn Aws, order: &Order<'_>) -> Result<Done, LeverError> {
        let (principal, name) = Self::target(order.subject)?;
        let iam = Iam::new(aws, &principal);
        let mut found = Self::find(&iam, order.subject, name, order)?;
        found.denies.put(found.key.clone(), until_minute(order.until));
        let request = Self::write(&iam, order.subject, &found)?;
        Ok(Done { requests: request.into_iter().collect(), detail: format!("{POLICY_NAME} denies {name}") })
    }

    fn lift(&self, aws: &dyn Aws, order: &Order<'_>, _image: &Value) -> Result<Done, LeverError> {
        let (principal, name) = Self::target(order.subject)?;
        let iam = Iam::new(aws, &principal);
        let mut found = Self::find(&iam, order.subject, name, order)?;
        found.denies.take(&found.key);
        let request = Self::write(&iam, order.subject, &found)?;
        Ok(Done { requests: request.into_iter().collect(), detail: format!("{POLICY_NAME} does not deny {name}") })
    }
}

#[cfg(test)]
mod tests;
