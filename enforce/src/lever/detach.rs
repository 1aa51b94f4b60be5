//! Detaches the configured policies that grant Bedrock, and attaches again what was attached.

use serde_json::{Value, json};

use super::principal::{PolicyArn, failed, role_or_user, still_granted, unfit};
use super::{About, Done, Lever, LeverError, LeverKind, Order, Sight, Subject, Undo};
use crate::aws::Aws;
use crate::iam::{Iam, Principal};

const KIND: LeverKind = LeverKind::Detach;

const ABOUT: About = About {
    summary: "Detaches the configured managed policies from a role or user and attaches them again.",
    grants: &[
        "iam:AttachRolePolicy",
        "iam:AttachUserPolicy",
        "iam:DetachRolePolicy",
        "iam:DetachUserPolicy",
        "iam:GetGroupPolicy",
        "iam:GetPolicy",
        "iam:GetPolicyVersion",
        "iam:GetRole",
        "iam:GetRolePolicy",
        "iam:GetUser",
        "iam:GetUserPolicy",
        "iam:ListAttachedGroupPolicies",
        "iam:ListAttachedRolePolicies",
        "iam:ListAttachedUserPolicies",
        "iam:ListGroupPolicies",
        "iam:ListGroupsForUser",
        "iam:ListRolePolicies",
        "iam:ListUserPolicies",
    ],
    policy: r#"[
  {
    "Sid": "DetachLook",
    "Effect": "Allow",
    "Action": [
      "iam:GetRole", "iam:GetRolePolicy", "iam:ListAttachedRolePolicies", "iam:ListRolePolicies",
      "iam:GetUser", "iam:GetUserPolicy", "iam:ListAttachedUserPolicies", "iam:ListUserPolicies", "iam:ListGroupsForUser"
    ],
    "Resource": ["arn:aws:iam::${AccountId}:role/${AgentPath}*", "arn:aws:iam::${AccountId}:user/${AgentPath}*"]
  },
  {
    "Sid": "DetachRead",
    "Effect": "Allow",
    "Action": ["iam:GetPolicy", "iam:GetPolicyVersion", "iam:GetGroupPolicy", "iam:ListAttachedGroupPolicies", "iam:ListGroupPolicies"],
    "Resource": ["arn:aws:iam::${AccountId}:policy/*", "arn:aws:iam::aws:policy/*", "arn:aws:iam::${AccountId}:group/*"]
  },
  {
    "Sid": "DetachAct",
    "Effect": "Allow",
    "Action": ["iam:AttachRolePolicy", "iam:AttachUserPolicy", "iam:DetachRolePolicy", "iam:DetachUserPolicy"],
    "Resource": ["arn:aws:iam::${AccountId}:role/${AgentPath}*", "arn:aws:iam::${AccountId}:user/${AgentPath}*"],
    "Condition": {"ArnEquals": {"iam:PolicyARN": ["arn:aws:iam::${AccountId}:policy/${GrantingPolicyName}"]}}
  }
]"#,
    cannot: "What else a policy allows goes with it. Anything else that allows Bedrock - another policy, an inline one, a group - keeps \
             allowing it, and is named. A configured policy that people attach while it is held is detached too, and not put back.",
    undo: Undo::Exact,
};

/// The lever.
#[derive(Clone, Debug)]
pub struct Detach {
    policies: Vec<PolicyArn>,
}

impl Detach {
    /// Returns a lever that detaches these policies; `{account}` in an ARN stands for the account of the role or user.
    #[must_use]
    pub fn new<'a>(policies: impl IntoIterator<Item = &'a str>) -> Self {
        Self { policies: policies.into_iter().map(PolicyArn::new).collect() }
    }

    fn target(&self, subject: &Subject) -> Result<(Principal, Vec<String>), LeverError> {
        let principal = role_or_user(KIND, subject)?;
        let policies = self.policies.iter().map(|policy| policy.of(KIND, subject, &principal)).collect::<Result<Vec<_>, _>>()?;
        if policies.is_empty() {
            return Err(unfit(KIND, subject, "no policy is configured that it could detach"));
        }
        Ok((principal, policies))
    }
}

impl Lever for Detach {
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
        let (principal, policies) = self.target(order.subject)?;
        let iam = Iam::new(aws, &principal);
        let attached = iam.attached().map_err(failed(KIND, order.subject))?;
        let ours: Vec<&String> = policies.iter().filter(|policy| attached.contains(policy)).collect();
        let ineffective = still_granted(iam.granted(&policies)?);
        Ok(Sight { stands: ours.is_empty(), ineffective, image: json!({ "detached": ours }) })
    }

    fn pull(&self, aws: &dyn Aws, order: &Order<'_>) -> Result<Done, LeverError> {
        let (principal, policies) = self.target(order.subject)?;
        let iam = Iam::new(aws, &principal);
        let (mut requests, mut detached) = (Vec::new(), Vec::new());
        for policy in &policies {
            match iam.detach(policy) {
                Ok(request) => {
                    requests.push(request);
                    detached.push(policy.as_str());
                }
                Err(error) if error.is_gone() => {}
                Err(error) => return Err(failed(KIND, order.subject)(error)),
            }
        }
        if detached.is_empty() {
            // Either none is attached, or there is no such role or user.
            iam.attached().map_err(failed(KIND, order.subject))?;
        }
        let detail =
            if detached.is_empty() { "nothing was left to detach".to_owned() } else { format!("detached {}", detached.join(", ")) };
        Ok(Done { requests, detail })
    }

    fn lift(&self, aws: &dyn Aws, order: &Order<'_>, image: &Value) -> Result<Done, LeverError> {
        let (principal, policies) = self.target(order.subject)?;
        let Some(detached) = image["detached"].as_array() else {
            let reason = format!("it is not known which of {} were attached; attach them by hand", policies.join(", "));
            return Err(unfit(KIND, order.subject, reason));
        };
        let iam = Iam::new(aws, &principal);
        let (mut requests, mut words, mut refused) = (Vec::new(), Vec::new(), None);
        for policy in detached.iter().filter_map(Value::as_str) {
            match iam.attach(policy) {
                Ok(request) => {
                    requests.push(request);
                    words.push(format!("attached {policy}"));
                }
                Err(error) if error.is_gone() => {
                    iam.attached().map_err(failed(KIND, order.subject))?;
                    words.push(format!("{policy} no longer exists"));
                }
                // The others are put back first.
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        match refused {
            Some(error) => Err(failed(KIND, order.subject)(error)),
            None => Ok(Done { requests, detail: words.join(", ") }),
        }
    }
}

#[cfg(test)]
mod tests;
