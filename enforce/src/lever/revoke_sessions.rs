//! Refuses the tokens of a role that were issued before the order: a kick, not a hold.
//!
//! As the console's "Revoke active sessions", for the runtime actions of Bedrock alone. Source: AWS, "Revoke IAM role temporary security
//! credentials".

use serde_json::{Value, json};
use sluice_schemas::Micros;
use sluice_schemas::time::SECOND;

use super::principal::{RUNTIME_ACTIONS, failed, not_denied_by, parse, unfit};
use super::{About, Done, Lever, LeverError, LeverKind, Order, Sight, Subject, Undo};
use crate::aws::Aws;
use crate::iam::evaluate::{Context, Policy};
use crate::iam::{Iam, Principal};

const KIND: LeverKind = LeverKind::RevokeSessions;
/// Name of our policy.
pub const POLICY_NAME: &str = "sluice-revoke-sessions";
const SID: &str = "SluiceRevokeSessions";

const ABOUT: About = About {
    summary: "Denies the runtime actions of Bedrock to sessions of a role whose tokens were issued before the order.",
    grants: &["iam:DeleteRolePolicy", "iam:GetRole", "iam:GetRolePolicy", "iam:PutRolePolicy"],
    policy: r#"[
  {
    "Sid": "RevokeSessionsLook",
    "Effect": "Allow",
    "Action": ["iam:GetRole", "iam:GetRolePolicy"],
    "Resource": "arn:aws:iam::${AccountId}:role/${AgentPath}*"
  },
  {
    "Sid": "RevokeSessionsAct",
    "Effect": "Allow",
    "Action": ["iam:PutRolePolicy", "iam:DeleteRolePolicy"],
    "Resource": "arn:aws:iam::${AccountId}:role/${AgentPath}*"
  }
]"#,
    cannot: "RISK: IAM has no condition on the name or content of an inline policy, so who holds this grant can give these roles any \
             permission, or take any inline policy from them; keep ${AgentPath} narrow and put a permissions boundary on these roles. \
             It is a kick: whoever may take the role on again gets a new token and goes on. It stops all sessions of the role. Keys of \
             users are no tokens. Workloads that keep their token until it ends fail until then.",
    undo: Undo::Exact,
};

/// The lever.
#[derive(Clone, Copy, Debug, Default)]
pub struct RevokeSessions;

impl RevokeSessions {
    /// Returns the lever.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }

    fn target(subject: &Subject) -> Result<Principal, LeverError> {
        match subject {
            Subject::Role { arn } => parse(KIND, subject, arn),
            Subject::RoleSession { role, .. } | Subject::SourceIdentity { role, .. } => {
                Err(unfit(KIND, subject, format!("it acts on all sessions of {role}, not on one; name the role")))
            }
            _ => Err(unfit(KIND, subject, "it acts on roles")),
        }
    }

    /// Our policy, if it is there.
    fn found(iam: &Iam<'_>, subject: &Subject) -> Result<Option<Found>, LeverError> {
        let text = match iam.inline(POLICY_NAME) {
            Ok(text) => text,
            Err(error) if error.is_gone() => {
                iam.identity().map_err(failed(KIND, subject))?;
                return Ok(None);
            }
            Err(error) => return Err(LeverError::Call(error)),
        };
        let time = serde_json::from_str(&text).ok().and_then(|document| time_of(&document));
        let time = time.ok_or_else(|| unfit(KIND, subject, format!("its inline policy {POLICY_NAME} is not ours; rename it")))?;
        let older = Context::part().with("aws:TokenIssueTime", &time.plus(-SECOND).to_string());
        Ok(Some(Found { time, denies: not_denied_by(&Policy::read(POLICY_NAME, &text), &older).is_none() }))
    }
}

/// What our policy says.
#[derive(Clone, Copy, Debug)]
struct Found {
    /// Tokens issued before are refused.
    time: Micros,
    /// It still denies; somebody may have edited it.
    denies: bool,
}

impl Found {
    fn covers(&self, before: Micros) -> bool {
        self.denies && self.time >= before
    }
}

/// The whole second in which, or before which, the order was decided: AWS counts the issue of tokens in seconds.
fn before(order: &Order<'_>) -> Micros {
    Micros(order.since.0.saturating_add(SECOND - 1).div_euclid(SECOND).saturating_mul(SECOND))
}

fn document(before: Micros) -> Value {
    json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Sid": SID,
            "Effect": "Deny",
            "Action": RUNTIME_ACTIONS,
            "Resource": "*",
            "Condition": { "DateLessThan": { "aws:TokenIssueTime": before.to_string() } },
        }],
    })
}

/// The time in a policy that is ours: one statement, of our name.
fn time_of(found: &Value) -> Option<Micros> {
    let [statement] = found["Statement"].as_array()?.as_slice() else { return None };
    let time = statement["Condition"]["DateLessThan"]["aws:TokenIssueTime"].as_str()?.parse().ok()?;
    (statement["Sid"] == SID).then_some(time)
}

impl Lever for RevokeSessions {
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
        let principal = Self::target(order.subject)?;
        let found = Self::found(&Iam::new(aws, &principal), order.subject)?;
        Ok(Sight { stands: found.is_some_and(|found| found.covers(before(order))), ineffective: None, image: Value::Null })
    }

    fn pull(&self, aws: &dyn Aws, order: &Order<'_>) -> Result<Done, LeverError> {
        let principal = Self::target(order.subject)?;
        let (iam, before) = (Iam::new(aws, &principal), before(order));
        let found = Self::found(&iam, order.subject)?;
        if let Some(found) = found.filter(|found| found.covers(before)) {
            return Ok(Done { requests: Vec::new(), detail: format!("tokens issued before {} are refused", found.time) });
        }
        // A later time that was written by another order stays.
        let before = found.map_or(before, |found| found.time.max(before));
        let request = iam.put_inline(POLICY_NAME, &document(before).to_string()).map_err(failed(KIND, order.subject))?;
        Ok(Done { requests: vec![request], detail: format!("tokens issued before {before} are refused") })
    }

    fn lift(&self, aws: &dyn Aws, order: &Order<'_>, _image: &Value) -> Result<Done, LeverError> {
        let principal = Self::target(order.subject)?;
        let iam = Iam::new(aws, &principal);
        let done = |detail: String| Ok(Done { requests: Vec::new(), detail });
        match Self::found(&iam, order.subject)? {
            None => done("no tokens are refused".to_owned()),
            Some(found) if found.time > before(order) => done(format!("a later order refuses tokens issued before {}", found.time)),
            Some(_) => match iam.delete_inline(POLICY_NAME) {
                Ok(request) => Ok(Done { requests: vec![request], detail: "no tokens are refused any longer".to_owned() }),
                Err(error) if error.is_gone() => done("no tokens are refused".to_owned()),
                Err(error) => Err(failed(KIND, order.subject)(error)),
            },
        }
    }
}

#[cfg(test)]
mod tests;
