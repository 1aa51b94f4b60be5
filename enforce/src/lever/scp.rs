//! `scp`: attaches one fixed service control policy to an account or organizational unit.
//!
//! Sources: Organizations API reference, `AttachPolicy`; Organizations user guide, "Service control policies", "Quotas" (five policies of a
//! kind on each target).

use serde::Deserialize;
use serde_json::{Value, json};

use super::json::{ask, code, full, gone, send, target, unfit};
use super::{About, Done, Lever, LeverError, LeverKind, Order, Sight, Subject, Undo};
use crate::aws::{Aws, Call, CallError};

const KIND: LeverKind = LeverKind::Scp;
/// Pages of policies that are read; a target has five at most.
const PAGES: usize = 5;

const ABOUT: About = About {
    summary: "attaches one fixed service control policy to an account or organizational unit",
    grants: &[
        "organizations:DescribeOrganization",
        "organizations:ListPoliciesForTarget",
        "organizations:AttachPolicy",
        "organizations:DetachPolicy",
    ],
    policy: r#"[{"Effect":"Allow","Action":"organizations:DescribeOrganization","Resource":"*"},{"Effect":"Allow","Action":"organizations:ListPoliciesForTarget","Resource":"*"},{"Effect":"Allow","Action":["organizations:AttachPolicy","organizations:DetachPolicy"],"Resource":["arn:${Partition}:organizations::${ManagementAccount}:policy/${Organization}/service_control_policy/${PolicyId}","arn:${Partition}:organizations::${ManagementAccount}:account/${Organization}/*","arn:${Partition}:organizations::${ManagementAccount}:ou/${Organization}/*"]}]"#,
    cannot: "stops every principal of the target, not one agent; has no hold on the management account, on service-linked roles and on principals of \
             other organizations; runs from the management account or a delegated administrator alone; takes minutes at times",
    undo: Undo::Exact,
};

/// The lever.
#[derive(Clone, Debug)]
pub struct Scp {
    policy: String,
    region: String,
    account: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Organization {
    organization: Master,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Master {
    master_account_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    #[serde(default)]
    policies: Vec<Listed>,
    next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    id: String,
}

impl Scp {
    /// Returns a lever that attaches `policy` (`p-…`). Calls are made in `account`, that of the organization's management or a delegated
    /// administrator (empty for that of the program's credentials), in the region of the partition's Organizations endpoint.
    #[must_use]
    pub fn new(policy: &str, account: &str, region: &str) -> Self {
        Self { policy: policy.to_owned(), region: region.to_owned(), account: account.to_owned() }
    }

    fn target<'a>(&self, subject: &'a Subject) -> Result<&'a str, LeverError> {
        let Subject::OrganizationTarget { id } = subject else {
            return Err(unfit(KIND, subject, "it is no account or organizational unit"));
        };
        let is_account = id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_digit());
        if id.starts_with("r-") {
            return Err(unfit(KIND, subject, "the root is everyone: name an account or an organizational unit"));
        }
        if is_account || id.starts_with("ou-") { Ok(id) } else { Err(unfit(KIND, subject, "it is neither an account id nor ou-…")) }
    }

    fn call(&self, operation: &str, body: &Value) -> Call {
        let operation = format!("AWSOrganizationsV20161128.{operation}");
        target("organizations", (&self.region, &self.account), "1.1", operation, body)
    }

    fn refuse_management(&self, aws: &dyn Aws, subject: &Subject, id: &str) -> Result<(), LeverError> {
        if id.starts_with("ou-") {
            return Ok(());
        }
        let call = self.call("DescribeOrganization", &json!({})).reading("organizations:DescribeOrganization");
        let found: Organization = ask(aws, &call).map_err(|error| self.sorted(error, subject))?;
        if found.organization.master_account_id == id {
            return Err(unfit(KIND, subject, "it is the management account, which no service control policy restricts"));
        }
        Ok(())
    }

    fn attached(&self, aws: &dyn Aws, subject: &Subject, id: &str) -> Result<bool, LeverError> {
        let mut token: Option<String> = None;
        for _ in 0..PAGES {
            let mut body = json!({ "TargetId": id, "Filter": "SERVICE_CONTROL_POLICY", "MaxResults": 20 });
            if let Some(token) = token.take() {
                body["NextToken"] = token.into();
            }
            let call = self.call("ListPoliciesForTarget", &body).reading("organizations:ListPoliciesForTarget");
            let page: Page = ask(aws, &call).map_err(|error| self.sorted(error, subject))?;
            if page.policies.iter().any(|policy| policy.id == self.policy) {
                return Ok(true);
            }
            token = page.next_token;
            if token.is_none() {
                return Ok(false);
            }
        }
        let detail = "more pages of policies than a target can have".to_owned();
        Err(CallError::Garbled { action: "organizations:ListPoliciesForTarget", detail }.into())
    }

    fn sorted(&self, error: CallError, subject: &Subject) -> LeverError {
        match code(&error) {
            "TargetNotFound" => gone(subject),
            "PolicyNotFound" => {
                unfit(KIND, subject, &format!("there is no policy {}: make it and name it in the configuration", self.policy))
            }
            "PolicyTypeNotEnabled" => unfit(KIND, subject, "service control policies are not enabled in the organization"),
            "AWSOrganizationsNotInUse" => unfit(KIND, subject, "the account belongs to no organization"),
            "ConstraintViolation" => full(KIND, subject, &format!("five service control policies are the most a target may have: {error}")),
            _ => error.into(),
        }
    }
}

impl Lever for Scp {
    fn kind(&self) -> LeverKind {
        KIND
    }

    fn about(&self) -> About {
        ABOUT
    }

    fn fits(&self, subject: &Subject) -> Result<(), LeverError> {
        self.target(subject).map(|_| ())
    }

    fn look(&self, aws: &dyn Aws, order: &Order<'_>) -> Result<Sight, LeverError> {
        let id = self.target(order.subject)?;
        self.refuse_management(aws, order.subject, id)?;
        let attached = self.attached(aws, order.subject, id)?;
        Ok(Sight { stands: attached, ineffective: None, image: json!({ "attached": attached }) })
    }

    fn pull(&self, aws: &dyn Aws, order: &Order<'_>) -> Result<Done, LeverError> {
        let id = self.target(order.subject)?;
        let body = json!({ "PolicyId": self.policy, "TargetId": id });
        match send(aws, &self.call("AttachPolicy", &body).writing("organizations:AttachPolicy")) {
            Ok(reply) => Ok(Done { requests: vec![reply.request_id], detail: format!("attached {}", self.policy) }),
            Err(error) if code(&error) == "DuplicatePolicyAttachment" => {
                Ok(Done { requests: Vec::new(), detail: format!("{} was attached", self.policy) })
            }
            Err(error) => Err(self.sorted(error, order.subject)),
        }
    }

    fn lift(&self, aws: &dyn Aws, order: &Order<'_>, image: &Value) -> Result<Done, LeverError> {
        let id = self.target(order.subject)?;
        if image.get("attached").and_then(Value::as_bool).unwrap_or(false) {
            return Ok(Done { requests: Vec::new(), detail: "it was attached before the hold, and stays so".to_owned() });
        }
        let body = json!({ "PolicyId": self.policy, "TargetId": id });
        match send(aws, &self.call("DetachPolicy", &body).writing("organizations:DetachPolicy")) {
            Ok(reply) => Ok(Done { requests: vec![reply.request_id], detail: format!("detached {}", self.policy) }),
            Err(error) if code(&error) == "PolicyNotAttached" => {
                Ok(Done { requests: Vec::new(), detail: format!("{} was not attached any more", self.policy) })
            }
            // The last policy of a target cannot go: that is no quota, and no other lever would help.
            Err(error) if code(&error) == "ConstraintViolation" => Err(error.into()),
            Err(error) => Err(self.sorted(error, order.subject)),
        }
    }
}

#[cfg(test)]
mod tests;
