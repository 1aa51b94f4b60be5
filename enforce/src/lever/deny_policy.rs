//! Attaches one fixed managed policy that denies Bedrock's runtime actions to a role or user.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};
use sluice_schemas::Micros;
use sluice_schemas::time::MINUTE;

use super::principal::{PolicyArn, failed, managed, not_denied_by, role_or_user, unfit};
use super::{About, Done, Lever, LeverError, LeverKind, Order, Sight, Subject, Undo};
use crate::aws::Aws;
use crate::iam::evaluate::{Context, Policy};
use crate::iam::{Iam, Principal};

const KIND: LeverKind = LeverKind::DenyPolicy;

const ABOUT: About = About {
    summary: "Attaches one managed policy, which denies the runtime actions of Bedrock, to a role or user.",
    grants: &[
        "iam:AttachRolePolicy",
        "iam:AttachUserPolicy",
        "iam:DetachRolePolicy",
        "iam:DetachUserPolicy",
        "iam:GetPolicy",
        "iam:GetPolicyVersion",
        "iam:ListAttachedRolePolicies",
        "iam:ListAttachedUserPolicies",
    ],
    policy: r#"[
  {
    "Sid": "DenyPolicyLook",
    "Effect": "Allow",
    "Action": ["iam:ListAttachedRolePolicies", "iam:ListAttachedUserPolicies"],
    "Resource": ["arn:aws:iam::${AccountId}:role/${AgentPath}*", "arn:aws:iam::${AccountId}:user/${AgentPath}*"]
  },
  {
    "Sid": "DenyPolicyRead",
    "Effect": "Allow",
    "Action": ["iam:GetPolicy", "iam:GetPolicyVersion"],
    "Resource": "arn:aws:iam::${AccountId}:policy/${DenyPolicyName}"
  },
  {
    "Sid": "DenyPolicyAct",
    "Effect": "Allow",
    "Action": ["iam:AttachRolePolicy", "iam:AttachUserPolicy", "iam:DetachRolePolicy", "iam:DetachUserPolicy"],
    "Resource": ["arn:aws:iam::${AccountId}:role/${AgentPath}*", "arn:aws:iam::${AccountId}:user/${AgentPath}*"],
    "Condition": {"ArnEquals": {"iam:PolicyARN": "arn:aws:iam::${AccountId}:policy/${DenyPolicyName}"}}
  }
]"#,
    cannot: "It stops all sessions of the role at once. It needs one of the ten places for managed policies. Service-linked roles and \
             roles of IAM Identity Center cannot be changed. It holds once IAM has spread it: seconds, sometimes a minute.",
    undo: Undo::Exact,
};

/// How long what the policy says is taken for known: of many stops at once each would read it twice.
const KNOWN_FOR: i64 = MINUTE;

/// The lever.
#[derive(Debug)]
pub struct DenyPolicy {
    policy: PolicyArn,
    /// What the policy of each account says, and when it was read.
    known: Mutex<HashMap<String, (Micros, Policy)>>,
}

impl DenyPolicy {
    /// Returns a lever that attaches this policy; `{account}` in the ARN stands for the account of the role or user.
    #[must_use]
    pub fn new(policy: &str) -> Self {
        Self { policy: PolicyArn::new(policy), known: Mutex::default() }
    }

    /// Returns what the policy says.
    fn document(&self, aws: &dyn Aws, order: &Order<'_>, principal: &Principal, policy: &str) -> Result<Policy, LeverError> {
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, document)) = known().get(policy)
            && (0..KNOWN_FOR).contains(&(order.now.0 - at.0))
        {
            return Ok(document.clone());
        }
        let document = managed(aws, principal, (KIND, order.subject), policy)?;
        known().insert(policy.to_owned(), (order.now, document.clone()));
        Ok(document)
    }

    fn target(&self, subject: &Subject) -> Result<(Principal, String), LeverError> {
        let principal = role_or_user(KIND, subject)?;
        let policy = self.policy.of(KIND, subject, &principal)?;
        Ok((principal, policy))
    }
}

impl Lever for DenyPolicy {
    fn kind(&self) -> LeverKind {
        KIND
    }

    fn about(&self) -> About {
        ABOUT
    }

    fn fits(&self, subject: &Subject) -> Result<(), LeverError> {
        self.target(subject).map(drop)
    }

    fn look(&self, aws: &dyn Aws, order: &Order<'_>) -> Result<Sight, LeverError> {
        let (principal, policy) = self.target(order.subject)?;
        let attached = Iam::new(aws, &principal).attached().map_err(failed(KIND, order.subject))?;
        let stands = attached.contains(&policy);
        let ineffective = if stands { not_denied_by(&self.document(aws, order, &principal, &policy)?, &Context::part()) } else { None };
        Ok(Sight { stands, ineffective, image: json!({ "attached": stands }) })
    }

    fn pull(&self, aws: &dyn Aws, order: &Order<'_>) -> Result<Done, LeverError> {
        let (principal, policy) = self.target(order.subject)?;
        // Whatever stands at this ARN is attached: it must take away, and nothing else.
        let document = self.document(aws, order, &principal, &policy)?;
        if document.allows_anything() {
            return Err(unfit(KIND, order.subject, format!("policy {policy} allows something; it is to deny only")));
        }
        if let Some(gap) = not_denied_by(&document, &Context::part()) {
            return Err(unfit(KIND, order.subject, format!("policy {policy} does not stop Bedrock: {gap}")));
        }
        let request = Iam::new(aws, &principal).attach(&policy).map_err(failed(KIND, order.subject))?;
        Ok(Done { requests: vec![request], detail: format!("attached {policy}") })
    }

    fn lift(&self, aws: &dyn Aws, order: &Order<'_>, image: &Value) -> Result<Done, LeverError> {
        let (principal, policy) = self.target(order.subject)?;
        if image["attached"] == true {
            return Ok(Done { requests: Vec::new(), detail: format!("{policy} was attached before and stays") });
        }
        match Iam::new(aws, &principal).detach(&policy) {
            Ok(request) => Ok(Done { requests: vec![request], detail: format!("detached {policy}") }),
            Err(error) if error.is_gone() => Ok(Done { requests: Vec::new(), detail: format!("{policy} is not attached") }),
            Err(error) => Err(failed(KIND, order.subject)(error)),
        }
    }
}

#[cfg(test)]
mod tests;
