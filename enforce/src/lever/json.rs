//! Calls of AWS services that speak JSON, and what their answers say, as several levers use them.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{LeverError, LeverKind, Subject};
use crate::aws::{Aws, Body, Call, CallError, Method, Reply};

/// Codes by which a service says that the same call may go through in a moment, other than throttling.
const IN_A_MOMENT: [&str; 4] = ["PolicyChangesInProgress", "RetryableConflict", "Conflict", "ConcurrentModification"];

/// Region and account of an ARN of `service`, and what follows them.
pub(super) fn parts<'a>(arn: &'a str, service: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let mut parts = arn.splitn(6, ':');
    let (head, _partition, named) = (parts.next()?, parts.next()?, parts.next()?);
    let (region, account, rest) = (parts.next()?, parts.next()?, parts.next()?);
    let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
    (head == "arn" && named == service && is_account && !rest.is_empty()).then_some((region, account, rest))
}

/// Returns the error of a lever that does not act on a subject.
pub(super) fn unfit(lever: LeverKind, subject: &Subject, reason: &str) -> LeverError {
    LeverError::Unfit { lever, subject: subject.to_string(), reason: reason.to_owned() }
}

/// Returns the error of a full quota.
pub(super) fn full(lever: LeverKind, subject: &Subject, reason: &str) -> LeverError {
    LeverError::Full { lever, subject: subject.to_string(), reason: reason.to_owned() }
}

/// Returns the error of a subject that is not there.
pub(super) fn gone(subject: &Subject) -> LeverError {
    LeverError::Gone { subject: subject.to_string() }
}

/// Returns the service's code of an error, without its last word.
pub(super) fn code(error: &CallError) -> &str {
    match error {
        CallError::Refused { code, .. } => code.strip_suffix("Exception").unwrap_or(code),
        _ => "",
    }
}

/// A call of a service whose operations are paths.
pub(super) fn rest(service: (&'static str, &'static str), place: (&str, &str), method: Method, path: String, body: Body) -> Call {
    let ((host, service), (region, account)) = (service, place);
    Call {
        account: account.to_owned(),
        host,
        service,
        region: region.to_owned(),
        global: false,
        method,
        path,
        headers: Vec::new(),
        body,
        action: "",
        writes: true,
    }
}

/// A call of a service whose operations are named in a header.
pub(super) fn target(service: &'static str, place: (&str, &str), version: &str, target: String, body: &Value) -> Call {
    let call = rest((service, service), place, Method::Post, "/".to_owned(), Body::Json(body.to_string()));
    let headers = vec![("content-type", format!("application/x-amz-json-{version}")), ("x-amz-target", target)];
    Call { headers, ..call }
}

impl Call {
    /// Names what IAM grants, for a call that changes something.
    pub(super) fn writing(self, action: &'static str) -> Self {
        Self { action, writes: true, ..self }
    }

    /// Names what IAM grants, for a call that only reads.
    pub(super) fn reading(self, action: &'static str) -> Self {
        Self { action, writes: false, ..self }
    }
}

/// Makes a call; conflicts that pass by themselves become errors that are tried again.
pub(super) fn send(aws: &dyn Aws, call: &Call) -> Result<Reply, CallError> {
    aws.call(call).map_err(|error| match error {
        CallError::Refused { action, code, message, request_id, .. }
            if IN_A_MOMENT.contains(&code.strip_suffix("Exception").unwrap_or(&code)) =>
        {
            // As throttling: the service asks for patience.
            CallError::Refused { action, status: 429, code, message, request_id }
        }
        other => other,
    })
}

/// Makes a call and reads its answer.
pub(super) fn ask<T: DeserializeOwned>(aws: &dyn Aws, call: &Call) -> Result<T, CallError> {
    let reply = send(aws, call)?;
    serde_json::from_slice(&reply.body).map_err(|error| CallError::Garbled { action: call.action, detail: error.to_string() })
}

#[cfg(test)]
pub(crate) mod tests;
