//! `profile`: denies one application inference profile by a tag that a standing policy refuses.
//!
//! Nothing in AWS says "deny this profile to whoever uses it" in one call: a policy would have to be attached to every principal.
//! A tag does: a fixed policy (a service control policy, or a managed policy on the principals) denies every call through a profile
//! whose tag `sluice-hold` is `held`, and the lever only sets and takes away that tag. The profile itself is never deleted.
//! Sources: Service Authorization Reference, "Amazon Bedrock" (resource type application-inference-profile, `aws:ResourceTag`); Bedrock API
//! reference, `TagResource`.

use serde::Deserialize;
use serde_json::{Value, json};

use super::json::{ask, code, full, gone, parts, rest, send, unfit};
use super::{About, Done, Lever, LeverError, LeverKind, Order, Sight, Subject, Undo};
use crate::aws::{Aws, Body, Call, CallError, Method};

/// Key of the tag.
pub const TAG: &str = "sluice-hold";
/// Its value while the stop stands.
pub const HELD: &str = "held";
const SERVICE: (&str, &str) = ("bedrock", "bedrock");
const KIND: LeverKind = LeverKind::Profile;

const ABOUT: About = About {
    summary: "tags one application inference profile so that a standing policy denies calls through it",
    grants: &["bedrock:ListTagsForResource", "bedrock:TagResource", "bedrock:UntagResource"],
    policy: r#"[{"Effect":"Allow","Action":"bedrock:ListTagsForResource","Resource":"arn:${Partition}:bedrock:*:${Account}:application-inference-profile/*"},{"Effect":"Allow","Action":["bedrock:TagResource","bedrock:UntagResource"],"Resource":"arn:${Partition}:bedrock:*:${Account}:application-inference-profile/*","Condition":{"ForAllValues:StringEquals":{"aws:TagKeys":["sluice-hold"]}}}]"#,
    cannot: "does nothing without the standing policy of docs/levers-other.md, and cannot see whether it covers a principal; does not stop calls of \
             the same model by its id or by another profile, nor whoever may untag the profile; calls under way go on",
    undo: Undo::Exact,
};

/// The lever.
#[derive(Clone, Copy, Debug, Default)]
pub struct Profile;

#[derive(Deserialize)]
struct Tags {
    #[serde(default)]
    tags: Vec<Tag>,
}

#[derive(Deserialize)]
struct Tag {
    key: String,
    value: String,
}

impl Profile {
    /// Returns the ARN, region and account of a profile.
    fn place(subject: &Subject) -> Result<(&str, (&str, &str)), LeverError> {
        let Subject::Profile { arn } = subject else { return Err(unfit(KIND, subject, "it is no inference profile")) };
        match parts(arn, "bedrock") {
            Some((region, account, rest)) if rest.starts_with("application-inference-profile/") => Ok((arn, (region, account))),
            _ => Err(unfit(KIND, subject, "only application inference profiles belong to an account; name one for each agent")),
        }
    }

    fn call(place: (&str, &str), path: &str, body: &Value) -> Call {
        rest(SERVICE, place, Method::Post, path.to_owned(), Body::Json(body.to_string()))
    }

    /// Returns the tag's value, if it has one.
    fn tag(aws: &dyn Aws, subject: &Subject) -> Result<Option<String>, LeverError> {
        let (arn, place) = Self::place(subject)?;
        let call = Self::call(place, "/listTagsForResource", &json!({ "resourceARN": arn })).reading("bedrock:ListTagsForResource");
        let tags: Tags = ask(aws, &call).map_err(|error| sorted(error, subject))?;
        Ok(tags.tags.into_iter().find(|tag| tag.key == TAG).map(|tag| tag.value))
    }

    fn set(aws: &dyn Aws, subject: &Subject, value: &str) -> Result<Done, LeverError> {
        let (arn, place) = Self::place(subject)?;
        let body = json!({ "resourceARN": arn, "tags": [{ "key": TAG, "value": value }] });
        let reply =
            send(aws, &Self::call(place, "/tagResource", &body).writing("bedrock:TagResource")).map_err(|error| sorted(error, subject))?;
        Ok(Done { requests: vec![reply.request_id], detail: format!("tagged {TAG}={value}") })
    }
}

fn sorted(error: CallError, subject: &Subject) -> LeverError {
    match code(&error) {
        "ResourceNotFound" => gone(subject),
        "TooManyTags" => full(KIND, subject, "it has all the tags it may have"),
        _ => error.into(),
    }
}

impl Lever for Profile {
    fn kind(&self) -> LeverKind {
        KIND
    }

    fn about(&self) -> About {
        ABOUT
    }

    fn fits(&self, subject: &Subject) -> Result<(), LeverError> {
        Self::place(subject).map(|_| ())
    }

    fn look(&self, aws: &dyn Aws, order: &Order<'_>) -> Result<Sight, LeverError> {
        let tag = Self::tag(aws, order.subject)?;
        Ok(Sight { stands: tag.as_deref() == Some(HELD), ineffective: None, image: json!({ "tag": tag }) })
    }

    fn pull(&self, aws: &dyn Aws, order: &Order<'_>) -> Result<Done, LeverError> {
        Self::set(aws, order.subject, HELD)
    }

    fn lift(&self, aws: &dyn Aws, order: &Order<'_>, image: &Value) -> Result<Done, LeverError> {
        let subject = order.subject;
        let before = image.get("tag").and_then(Value::as_str);
        if before == Some(HELD) {
            return Ok(Done { requests: Vec::new(), detail: "it was tagged before the hold, and stays so".to_owned() });
        }
        if Self::tag(aws, subject)?.as_deref() != Some(HELD) {
            return Ok(Done { requests: Vec::new(), detail: "the tag is not ours any more".to_owned() });
        }
        if let Some(value) = before {
            return Self::set(aws, subject, value);
        }
        let (arn, place) = Self::place(subject)?;
        let call = Self::call(place, "/untagResource", &json!({ "resourceARN": arn, "tagKeys": [TAG] })).writing("bedrock:UntagResource");
        let reply = send(aws, &call).map_err(|error| sorted(error, subject))?;
        Ok(Done { requests: vec![reply.request_id], detail: format!("took the tag {TAG} away") })
    }
}

#[cfg(test)]
mod tests;
