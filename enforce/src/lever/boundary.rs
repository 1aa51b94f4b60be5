//! Sets a permissions boundary that allows all but Bedrock's runtime actions, where there is none.

use serde_json::{Value, json};

use super::principal::{PolicyArn, failed, managed, not_bounded_by, role_or_user, unfit};
use super::{About, Done, Lever, LeverError, LeverKind, Order, Sight, Subject, Undo};
use crate::aws::Aws;
use crate::iam::{Iam, Principal};

const KIND: LeverKind = LeverKind::Boundary;

const ABOUT: About = About {
    summary: "Sets a permissions boundary that allows everything but the runtime actions of Bedrock on a role or user that has none.",
    grants: &[
        "iam:DeleteRolePermissionsBoundary",
        "iam:DeleteUserPermissionsBoundary",
        "iam:GetPolicy",
        "iam:GetPolicyVersion",
        "iam:GetRole",
        "iam:GetUser",
        "iam:PutRolePermissionsBoundary",
        "iam:PutUserPermissionsBoundary",
    ],
    policy: r#"[
  {
    "Sid": "BoundaryLook",
    "Effect": "Allow",
    "Action": ["iam:GetRole", "iam:GetUser"],
    "Resource": ["arn:aws:iam::${AccountId}:role/${AgentPath}*", "arn:aws:iam::${AccountId}:user/${AgentPath}*"]
  },
  {
    "Sid": "BoundaryRead",
    "Effect": "Allow",
    "Action": ["iam:GetPolicy", "iam:GetPolicyVersion"],
    "Resource": "arn:aws:iam::${AccountId}:policy/${BoundaryPolicyName}"
  },
  {
    "Sid": "BoundaryAct",
    "Effect": "Allow",
    "Action": [
      "iam:PutRolePermissionsBoundary", "iam:DeleteRolePermissionsBoundary",
      "iam:PutUserPermissionsBoundary", "iam:DeleteUserPermissionsBoundary"
    ],
    "Resource": ["arn:aws:iam::${AccountId}:role/${AgentPath}*", "arn:aws:iam::${AccountId}:user/${AgentPath}*"],
    "Condition": {"ArnEquals": {"iam:PermissionsBoundary": "arn:aws:iam::${AccountId}:policy/${BoundaryPolicyName}"}}
  }
]"#,
    cannot: "A role or user has one boundary: where there is another it does not act. A boundary does not limit what the policy of a \
             resource grants to a session or user directly. It needs none of the ten places for managed policies.",
    undo: Undo::Exact,
};

/// The lever.
#[derive(Clone, Debug)]
pub struct Boundary {
    policy: PolicyArn,
}

impl Boundary {
    /// Returns a lever that sets this policy; `{account}` in the ARN stands for the account of the role or user.
    #[must_use]
    pub fn new(policy: &str) -> Self {
        Self { policy: PolicyArn::new(policy) }
    }

    fn target(&self, subject: &Subject) -> Result<(Principal, String), LeverError> {
        let principal = role_or_user(KIND, subject)?;
        let policy = self.policy.of(KIND, subject, &principal)?;
        Ok((principal, policy))
    }

    /// The boundary there is.
    fn found(iam: &Iam<'_>, subject: &Subject) -> Result<Option<String>, LeverError> {
        iam.identity().map(|identity| identity.boundary).map_err(failed(KIND, subject))
    }
}

/// Refuses where another boundary stands.
fn refuse_other(found: Option<&String>, policy: &str, subject: &Subject) -> Result<bool, LeverError> {
    match found {
        Some(other) if other != policy => {
            Err(unfit(KIND, subject, format!("its permissions boundary is {other}, which is left alone; use deny-policy")))
        }
        found => Ok(found.is_some()),
    }
}

impl Lever for Boundary {
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
        let found = Self::found(&Iam::new(aws, &principal), order.subject)?;
        let stands = refuse_other(found.as_ref(), &policy, order.subject)?;
        let ineffective = if stands { not_bounded_by(&managed(aws, &principal, (KIND, order.subject), &policy)?) } else { None };
        Ok(Sight { stands, ineffective, image: json!({ "set": stands }) })
    }

    fn pull(&self, aws: &dyn Aws, order: &Order<'_>) -> Result<Done, LeverError> {
        let (principal, policy) = self.target(order.subject)?;
        let iam = Iam::new(aws, &principal);
        // Setting a boundary replaces another one without a word.
        if refuse_other(Self::found(&iam, order.subject)?.as_ref(), &policy, order.subject)? {
            return Ok(Done { requests: Vec::new(), detail: format!("{policy} is set") });
        }
        if let Some(gap) = not_bounded_by(&managed(aws, &principal, (KIND, order.subject), &policy)?) {
            return Err(unfit(KIND, order.subject, format!("policy {policy} does not stop Bedrock: {gap}")));
        }
        let request = iam.put_boundary(&policy).map_err(failed(KIND, order.subject))?;
        Ok(Done { requests: vec![request], detail: format!("set the boundary {policy}") })
    }

    fn lift(&self, aws: &dyn Aws, order: &Order<'_>, image: &Value) -> Result<Done, LeverError> {
        let (principal, policy) = self.target(order.subject)?;
        let done = |detail: String| Ok(Done { requests: Vec::new(), detail });
        if image["set"] == true {
            return done(format!("{policy} was set before and stays"));
        }
        let iam = Iam::new(aws, &principal);
        match Self::found(&iam, order.subject)? {
            None => done("no boundary is set".to_owned()),
            Some(other) if other != policy => done(format!("the boundary {other} is not ours and stays")),
            Some(_) => match iam.delete_boundary() {
                Ok(request) => Ok(Done { requests: vec![request], detail: format!("took the boundary {policy} away") }),
                Err(error) if error.is_gone() => done("no boundary is set".to_owned()),
                Err(error) => Err(failed(KIND, order.subject)(error)),
            },
        }
    }
}

#[cfg(test)]
mod tests;
