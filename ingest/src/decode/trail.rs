//! Reads CloudTrail events, alone or in an EventBridge envelope, down to what joins, meters and attributes.
//!
//! Source of the shape: AWS, "CloudTrail record contents". What is the service's own is read into fixed fields, where a
//! key that stands twice is an error. Parameters and responses differ with every event, so they are looked at without
//! demands: another service's event is never refused for the shape of its parameters.

use std::borrow::Cow;
use std::ops::Range;

use serde::Deserialize;
use serde_json::Value;
use serde_json::error::Category;
use sluice_schemas::trail::{AssumedSession, TrailEvent};
use sluice_schemas::usage::MAX_TOKENS;
use sluice_schemas::{Micros, RejectReason};

use super::fault::{Fault, Field};
use super::record::event_time;
use super::scan::Scanner;

/// `detail-type` of the EventBridge events that carry a CloudTrail event.
pub(super) const DETAIL_TYPE: &str = "AWS API Call via CloudTrail";
/// Longest string field, in bytes.
const MAX_TEXT: usize = 4096;
/// Deepest nesting that is read.
const MAX_DEPTH: u32 = 128;

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Event<'a> {
    #[serde(rename = "eventID", borrow)]
    event_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    event_time: Option<Cow<'a, str>>,
    #[serde(borrow)]
    event_source: Option<Cow<'a, str>>,
    #[serde(borrow)]
    event_name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    recipient_account_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    aws_region: Option<Cow<'a, str>>,
    #[serde(rename = "requestID", borrow)]
    request_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    error_code: Option<Cow<'a, str>>,
    #[serde(borrow)]
    user_agent: Option<Cow<'a, str>>,
    #[serde(borrow)]
    user_identity: Option<Identity<'a>>,
    request_parameters: Value,
    response_elements: Value,
    additional_event_data: Value,
    resources: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Identity<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    principal_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    arn: Option<Cow<'a, str>>,
    #[serde(borrow)]
    account_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    access_key_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    invoked_by: Option<Cow<'a, str>>,
    session_context: Value,
    in_scope_of: Value,
}

/// Reads one CloudTrail event.
pub(super) fn event(text: &[u8], arrival: Micros) -> Result<TrailEvent, RejectReason> {
    let event: Event<'_> = serde_json::from_slice(text).map_err(|error| refusal(text, &error))?;
    let identity = event.user_identity.unwrap_or_default();
    let account = take(event.recipient_account_id, "recipientAccountId")?;
    let assumed = assumed_session(&event.event_name, &event.error_code, &event.request_parameters, &event.response_elements);
    let model = |key| text_at(&event.request_parameters, &[key]);
    Ok(TrailEvent {
        event_time: event_time(take(event.event_time, "eventTime")?.as_bytes(), "eventTime", arrival)?,
        event_id: required(event.event_id, "eventID")?,
        event_source: required(event.event_source, "eventSource")?,
        event_name: required(event.event_name, "eventName")?,
        account_id: if account.is_empty() { take(identity.account_id, "userIdentity.accountId")? } else { account },
        region: take(event.aws_region, "awsRegion")?,
        request_id: take(event.request_id, "requestID")?,
        error_code: take(event.error_code, "errorCode")?,
        identity_type: take(identity.kind, "userIdentity.type")?,
        principal_arn: take(identity.arn, "userIdentity.arn")?,
        principal_id: take(identity.principal_id, "userIdentity.principalId")?,
        access_key_id: take(identity.access_key_id, "userIdentity.accessKeyId")?,
        issuer_arn: text_at(&identity.session_context, &["sessionIssuer", "arn"]),
        source_identity: text_at(&identity.session_context, &["sourceIdentity"]),
        credentials_issued_to: text_at(&identity.in_scope_of, &["credentialsIssuedTo"]),
        invoked_by: take(identity.invoked_by, "userIdentity.invokedBy")?,
        user_agent: event.user_agent.filter(|text| text.len() <= MAX_TEXT).unwrap_or_default().into_owned(),
        bearer_token: event.request_parameters["callWithBearerToken"] == Value::Bool(true)
            || event.additional_event_data["callWithBearerToken"] == Value::Bool(true),
        model_id: Some(model("modelId")).filter(|id| !id.is_empty()).unwrap_or_else(|| model("foundationModel")),
        inference_region: text_at(&event.additional_event_data, &["inferenceRegion"]),
        input_tokens: tokens(&event.additional_event_data["inputTokens"], "additionalEventData.inputTokens")?,
        output_tokens: tokens(&event.additional_event_data["outputTokens"], "additionalEventData.outputTokens")?,
        resources: elements(&event.resources).map(|resource| text_at(resource, &["ARN"])).filter(|arn| !arn.is_empty()).collect(),
        assumed,
        invoked: None,
    })
}

/// Returns the places of the events of a CloudTrail log file.
pub(super) fn records(text: &[u8]) -> Result<Vec<Range<usize>>, Fault> {
    let mut found = None;
    Scanner::new(text).object(|scanner, key| match key {
        b"Records" if found.is_some() => Err(Fault::Duplicate(Field::Records)),
        b"Records" if scanner.peek() == Some(b'[') => {
            found = Some(scanner.elements()?);
            Ok(())
        }
        b"Records" => Err(Fault::Malformed(Field::Records)),
        _ => scanner.skip_value(),
    })?;
    found.ok_or(Fault::Missing(Field::Records))
}

/// Finds the CloudTrail event of an EventBridge event.
pub(super) fn bridged(text: &[u8]) -> Result<&[u8], RejectReason> {
    let (mut is_call, mut detail) = (None, None);
    Scanner::new(text).object(|scanner, key| match key {
        b"detail-type" if is_call.is_some() => Err(Fault::Duplicate(Field::DetailType)),
        b"detail-type" if scanner.peek() == Some(b'"') => {
            is_call = Some(*scanner.string()?.bytes()? == *DETAIL_TYPE.as_bytes());
            Ok(())
        }
        b"detail" if detail.is_some() => Err(Fault::Duplicate(Field::Detail)),
        b"detail" => {
            scanner.peek();
            let start = scanner.at();
            scanner.skip_value()?;
            detail = Some(scanner.since(start));
            Ok(())
        }
        _ => scanner.skip_value(),
    })?;
    match is_call {
        Some(true) => Ok(detail.ok_or(Fault::Missing(Field::Detail))?),
        _ => Err(RejectReason::UnknownKind),
    }
}

/// What `AssumeRole` and its variants say about the session they open; `None` for other events and for refused ones.
fn assumed_session(name: &Option<Cow<'_, str>>, error: &Option<Cow<'_, str>>, request: &Value, response: &Value) -> Option<AssumedSession> {
    let opens = name.as_deref().is_some_and(|name| name.starts_with("AssumeRole")) && error.as_deref().is_none_or(str::is_empty);
    if !opens || !request.is_object() {
        return None;
    }
    let listed = elements(&request["tags"]).map(|tag| (text_at(tag, &["key"]), text_at(tag, &["value"])));
    let mapped = ["incomingTransitiveTags", "principalTags"].into_iter().flat_map(|key| request[key].as_object().into_iter().flatten());
    let mapped = mapped.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
    let source_identity = text_at(request, &["sourceIdentity"]);
    Some(AssumedSession {
        role_arn: text_at(request, &["roleArn"]),
        session_name: text_at(request, &["roleSessionName"]),
        source_identity: if source_identity.is_empty() { text_at(response, &["sourceIdentity"]) } else { source_identity },
        access_key_id: text_at(response, &["credentials", "accessKeyId"]),
        assumed_role_id: text_at(response, &["assumedRoleUser", "assumedRoleId"]),
        assumed_role_arn: text_at(response, &["assumedRoleUser", "arn"]),
        expires: None,
        tags: listed.chain(mapped).filter(|(key, _)| !key.is_empty()).collect(),
        transitive_keys: elements(&request["transitiveTagKeys"]).filter_map(|key| Some(key.as_str()?.to_owned())).collect(),
    })
}

fn elements(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// The string at a path; empty when there is none, or one longer than any name.
fn text_at(value: &Value, path: &[&str]) -> String {
    let found = path.iter().try_fold(value, |value, key| value.get(key)).and_then(Value::as_str);
    found.filter(|text| text.len() <= MAX_TEXT).unwrap_or_default().to_owned()
}

fn tokens(value: &Value, field: &'static str) -> Result<Option<u64>, RejectReason> {
    match value {
        Value::Null => Ok(None),
        Value::Number(number) => match number.as_u64() {
            Some(count) if count <= MAX_TOKENS => Ok(Some(count)),
            Some(_) => Err(RejectReason::OutOfRange { field }),
            None => Err(RejectReason::Malformed { field }),
        },
        _ => Err(RejectReason::Malformed { field }),
    }
}

fn take(text: Option<Cow<'_, str>>, field: &'static str) -> Result<String, RejectReason> {
    match text {
        Some(text) if text.len() > MAX_TEXT => Err(RejectReason::OutOfRange { field }),
        text => Ok(text.unwrap_or_default().into_owned()),
    }
}

fn required(text: Option<Cow<'_, str>>, field: &'static str) -> Result<String, RejectReason> {
    match take(text, field)? {
        text if text.is_empty() => Err(RejectReason::Missing { field }),
        text => Ok(text),
    }
}

/// Says why an event could not be parsed; the parser itself tells neither depth nor encoding apart.
fn refusal(text: &[u8], error: &serde_json::Error) -> RejectReason {
    match error.classify() {
        _ if std::str::from_utf8(text).is_err() => RejectReason::NotUtf8,
        Category::Data => RejectReason::Malformed { field: "CloudTrail event" },
        Category::Eof => RejectReason::Unbalanced,
        _ if depth(text) >= MAX_DEPTH => RejectReason::TooDeep { limit: MAX_DEPTH },
        _ => RejectReason::NotJson,
    }
}

/// The deepest nesting, brackets in strings left out.
fn depth(text: &[u8]) -> u32 {
    let (mut depth, mut deepest, mut inside, mut escaped) = (0_u32, 0, false, false);
    for byte in text {
        match byte {
            _ if std::mem::take(&mut escaped) => {}
            b'\\' => escaped = true,
            b'"' => inside = !inside,
            b'{' | b'[' if !inside => depth += 1,
            b'}' | b']' if !inside => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}
