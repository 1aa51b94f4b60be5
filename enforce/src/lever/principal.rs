//! What the levers on roles and users have in common: whom they refuse, what Bedrock's runtime actions are, what an error means.

use crate::aws::{Aws, CallError};
use crate::iam::evaluate::{Context, Layers, Policy, Request, Verdict, evaluate};
use crate::iam::{Granted, Iam, Principal, PrincipalKind};

use super::{LeverError, LeverKind, Subject};

/// Actions that use models and cost money, and none that configure, list or look. Source: AWS, "Actions, resources, and condition keys
/// for Amazon Bedrock", "… Amazon Bedrock Powered by AWS Mantle", "… Amazon Bedrock Agentcore". Converse is authorised as
/// `InvokeModel`; every action whose name begins with `Invoke` runs something.
pub const RUNTIME_ACTIONS: [&str; 12] = [
    "bedrock:Invoke*",
    "bedrock:StartFlowExecution",
    "bedrock:RetrieveAndGenerate*",
    "bedrock:Retrieve",
    "bedrock:Rerank",
    "bedrock:GenerateQuery",
    "bedrock:OptimizePrompt",
    "bedrock:CreateModelInvocationJob",
    "bedrock:CallWithBearerToken",
    "bedrock-mantle:CreateInference",
    "bedrock-mantle:CallWithBearerToken",
    "bedrock-agentcore:InvokeAgentRuntime*",
];

/// The actions whose permission is looked at to tell whether calls are stopped.
const PROBED: [&str; 3] = ["bedrock:InvokeModel", "bedrock:InvokeModelWithResponseStream", "bedrock:InvokeAgent"];
/// A model of no importance.
const MODEL: &str = "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0";

/// A managed policy by ARN; `{account}` in it stands for the account of the principal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PolicyArn(String);

impl PolicyArn {
    pub(super) fn new(arn: &str) -> Self {
        Self(arn.to_owned())
    }

    /// Returns the ARN for a principal. IAM attaches policies of the same account and of AWS only.
    pub(super) fn of(&self, lever: LeverKind, subject: &Subject, principal: &Principal) -> Result<String, LeverError> {
        let arn = self.0.replace("{account}", &principal.account);
        let owner = arn.split(':').nth(4).unwrap_or_default();
        if owner == principal.account || owner == "aws" {
            return Ok(arn);
        }
        let reason =
            format!("policy {arn} is not of its account; write {{account}} for the account id, and have the policy in each account");
        Err(unfit(lever, subject, reason))
    }
}

pub(super) fn unfit(lever: LeverKind, subject: &Subject, reason: impl Into<String>) -> LeverError {
    LeverError::Unfit { lever, subject: subject.to_string(), reason: reason.into() }
}

/// The role or user that a subject is.
pub(super) fn role_or_user(lever: LeverKind, subject: &Subject) -> Result<Principal, LeverError> {
    match subject {
        Subject::Role { arn } | Subject::User { arn } => parse(lever, subject, arn),
        _ => Err(unfit(lever, subject, "it acts on roles and users")),
    }
}

/// The role that a subject is, or has sessions of.
pub(super) fn parse(lever: LeverKind, subject: &Subject, arn: &str) -> Result<Principal, LeverError> {
    let kind = if matches!(subject, Subject::User { .. }) { PrincipalKind::User } else { PrincipalKind::Role };
    let found = Principal::parse(arn).filter(|principal| principal.kind == kind);
    let principal = found.ok_or_else(|| unfit(lever, subject, format!("{arn} is no ARN of a role or user")))?;
    match principal.is_protected() {
        Some(reason) => Err(unfit(lever, subject, reason)),
        None => Ok(principal),
    }
}

/// What a failed call on the principal itself means.
pub(super) fn failed(lever: LeverKind, subject: &Subject) -> impl Fn(CallError) -> LeverError {
    let name = subject.to_string();
    move |error| match error {
        error if error.is_gone() => LeverError::Gone { subject: name.clone() },
        error if error.is_limit() => LeverError::Full { lever, subject: name.clone(), reason: error.to_string() },
        error if error.is_unmodifiable() => {
            let reason = format!("{error}; stop the workload where it is configured, or attach a service control policy to its account");
            LeverError::Unfit { lever, subject: name.clone(), reason }
        }
        error => LeverError::Call(error),
    }
}

/// Reads a managed policy that this program's operator is to have made.
pub(super) fn managed(
    aws: &dyn Aws,
    principal: &Principal,
    (lever, subject): (LeverKind, &Subject),
    arn: &str,
) -> Result<Policy, LeverError> {
    Iam::new(aws, principal).managed(arn).map_err(|error| match error {
        error if error.is_gone() => unfit(lever, subject, format!("policy {arn} is not there; create it from deploy/iam")),
        error => LeverError::Call(error),
    })
}

fn verdict(layers: &Layers, action: &str, resource: &str, context: &Context) -> Verdict {
    evaluate(layers, &Request { action, resource, context })
}

fn everything() -> Policy {
    Policy::read("everything", r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}"#)
}

/// Says which runtime action is possible under a policy that is to deny them all to requests with these keys, whatever else is allowed.
pub(super) fn not_denied_by(policy: &Policy, context: &Context) -> Option<String> {
    let layers = Layers { identity: vec![policy.clone(), everything()], ..Layers::default() };
    still_allowed(&layers, &[MODEL.to_owned()], context)
}

/// Says which runtime action is possible under a policy that is the boundary, whatever else is allowed.
pub(super) fn not_bounded_by(policy: &Policy) -> Option<String> {
    let layers = Layers { identity: vec![everything()], boundary: Some(policy.clone()), ..Layers::default() };
    still_allowed(&layers, &[MODEL.to_owned()], &Context::part())
}

/// Says which runtime action a principal's own policies still allow, and which of them does.
pub(super) fn still_granted(granted: Granted) -> Option<String> {
    let mut resources = vec![MODEL.to_owned()];
    let sampled = granted.identity.iter().flat_map(|policy| PROBED.iter().flat_map(|action| policy.sample_resources(action)));
    resources.extend(sampled);
    resources.sort_unstable();
    resources.dedup();
    let layers = Layers { identity: granted.identity, boundary: granted.boundary, ..Layers::default() };
    still_allowed(&layers, &resources, &Context::part())
}

fn still_allowed(layers: &Layers, resources: &[String], context: &Context) -> Option<String> {
    let mut doubt = None;
    for (action, resource) in PROBED.iter().flat_map(|action| resources.iter().map(move |resource| (*action, resource))) {
        match verdict(layers, action, resource, context) {
            Verdict::Allowed { by } => return Some(format!("{by} allows {action} on {resource}")),
            Verdict::Unknown { reason } => {
                doubt = doubt.or(Some(format!("it cannot be told that {action} on {resource} is stopped: {reason}")))
            }
            Verdict::ExplicitDeny { .. } | Verdict::ImplicitDeny { .. } => {}
        }
    }
    doubt
}

#[cfg(test)]
mod tests;
