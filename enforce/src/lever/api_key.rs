//! `api-key`: deactivates one Bedrock API key, and activates again only what it deactivated.
//!
//! Sources: IAM API reference, `UpdateServiceSpecificCredential`; Bedrock user guide, "API keys".

use serde_json::{Value, json};

use super::json::{code, gone, parts, send, unfit};
use super::{About, Done, Lever, LeverError, LeverKind, Order, Sight, Subject, Undo};
use crate::aws::{Aws, Body, Call, CallError, Method};
use crate::query::{Form, element, members, text};

const KIND: LeverKind = LeverKind::ApiKey;
/// The only service whose keys are touched: IAM keeps those of other services under the same operations.
const SERVICE: &str = "bedrock.amazonaws.com";
const ACTIVE: &str = "Active";
const INACTIVE: &str = "Inactive";
/// Pages that are read; a user has two keys of a service at most.
const PAGES: usize = 5;

const ABOUT: About = About {
    summary: "deactivates one Bedrock API key of an IAM user",
    grants: &["iam:ListServiceSpecificCredentials", "iam:UpdateServiceSpecificCredential"],
    policy: r#"[{"Effect":"Allow","Action":["iam:ListServiceSpecificCredentials","iam:UpdateServiceSpecificCredential"],"Resource":"arn:${Partition}:iam::${Account}:user/*"}]"#,
    cannot: "does not end short-term keys, which are made from a session and live for up to 12 hours: deny their role or user; stops the key and not the \
             user, who may have another key, a password or access keys; only keys of bedrock.amazonaws.com",
    undo: Undo::Exact,
};

/// The lever.
#[derive(Clone, Debug)]
pub struct ApiKey {
    region: String,
}

impl Default for ApiKey {
    fn default() -> Self {
        Self::new("us-east-1")
    }
}

impl ApiKey {
    /// Returns the lever; `region` is the one that calls of IAM are signed for in this partition.
    #[must_use]
    pub fn new(region: &str) -> Self {
        Self { region: region.to_owned() }
    }

    /// Returns account, user name and credential id.
    fn key(subject: &Subject) -> Result<(&str, &str, &str), LeverError> {
        let Subject::ApiKey { user, credential } = subject else { return Err(unfit(KIND, subject, "it is no API key")) };
        let name = parts(user, "iam").filter(|(_, _, rest)| rest.starts_with("user/"));
        let name = name.and_then(|(_, account, rest)| Some((account, rest.rsplit('/').next().filter(|name| !name.is_empty())?)));
        let (account, name) = name.ok_or_else(|| unfit(KIND, subject, "the user's ARN is none"))?;
        if !(20..=128).contains(&credential.len()) || !credential.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return Err(unfit(KIND, subject, "the id of a service-specific credential has 20 to 128 letters and digits"));
        }
        Ok((account, name, credential))
    }

    fn call(&self, account: &str, form: Form) -> Call {
        Call {
            account: account.to_owned(),
            host: "iam",
            service: "iam",
            region: self.region.clone(),
            global: true,
            method: Method::Post,
            path: "/".to_owned(),
            headers: Vec::new(),
            body: Body::Form(form.finish()),
            action: "",
            writes: true,
        }
    }

    fn status(&self, aws: &dyn Aws, subject: &Subject) -> Result<String, LeverError> {
        const ACTION: &str = "iam:ListServiceSpecificCredentials";
        let (account, user, credential) = Self::key(subject)?;
        let mut marker: Option<String> = None;
        for _ in 0..PAGES {
            let mut form = Form::new("ListServiceSpecificCredentials", "2010-05-08");
            form.add("UserName", user);
            form.add("ServiceName", SERVICE);
            if let Some(marker) = &marker {
                form.add("Marker", marker);
            }
            let reply = send(aws, &self.call(account, form).reading(ACTION)).map_err(|error| sorted(error, subject))?;
            let answer = String::from_utf8_lossy(&reply.body).into_owned();
            let garbled = |detail: &str| CallError::Garbled { action: ACTION, detail: detail.to_owned() };
            let list = element(&answer, "ListServiceSpecificCredentialsResult").ok_or_else(|| garbled("no result"))?;
            let mut keys = members(list).filter(|key| text(key, "ServiceName").as_deref() == Some(SERVICE));
            if let Some(key) = keys.find(|key| text(key, "ServiceSpecificCredentialId").as_deref() == Some(credential)) {
                return Ok(text(key, "Status").ok_or_else(|| garbled("a key without a status"))?);
            }
            marker = text(list, "Marker").filter(|_| text(list, "IsTruncated").as_deref() == Some("true"));
            if marker.is_none() {
                break;
            }
        }
        Err(gone(subject))
    }

    fn set(&self, aws: &dyn Aws, subject: &Subject, status: &str) -> Result<Done, LeverError> {
        let (account, user, credential) = Self::key(subject)?;
        let mut form = Form::new("UpdateServiceSpecificCredential", "2010-05-08");
        form.add("UserName", user);
        form.add("ServiceSpecificCredentialId", credential);
        form.add("Status", status);
        let call = self.call(account, form).writing("iam:UpdateServiceSpecificCredential");
        let reply = send(aws, &call).map_err(|error| sorted(error, subject))?;
        Ok(Done { requests: vec![reply.request_id], detail: format!("set {status}") })
    }
}

fn sorted(error: CallError, subject: &Subject) -> LeverError {
    if code(&error) == "NoSuchEntity" { gone(subject) } else { error.into() }
}

impl Lever for ApiKey {
    fn kind(&self) -> LeverKind {
        KIND
    }

    fn about(&self) -> About {
        ABOUT
    }

    fn fits(&self, subject: &Subject) -> Result<(), LeverError> {
        Self::key(subject).map(|_| ())
    }

    fn look(&self, aws: &dyn Aws, order: &Order<'_>) -> Result<Sight, LeverError> {
        let status = self.status(aws, order.subject)?;
        Ok(Sight { stands: status != ACTIVE, ineffective: None, image: json!({ "status": status }) })
    }

    fn pull(&self, aws: &dyn Aws, order: &Order<'_>) -> Result<Done, LeverError> {
        // One that is inactive or expired stays what it is.
        match self.status(aws, order.subject)?.as_str() {
            ACTIVE => self.set(aws, order.subject, INACTIVE),
            other => Ok(Done { requests: Vec::new(), detail: format!("it was {other}") }),
        }
    }

    fn lift(&self, aws: &dyn Aws, order: &Order<'_>, image: &Value) -> Result<Done, LeverError> {
        if image.get("status").and_then(Value::as_str) != Some(ACTIVE) {
            return Ok(Done { requests: Vec::new(), detail: "it was not active before the hold, and stays so".to_owned() });
        }
        match self.status(aws, order.subject)?.as_str() {
            INACTIVE => self.set(aws, order.subject, ACTIVE),
            other => Ok(Done { requests: Vec::new(), detail: format!("it is {other}") }),
        }
    }
}

#[cfg(test)]
mod tests;
