//! Reads CloudTrail events, alone or in an EventBridge envelope, down to what joins, meters and attributes.
//!
//! Source of the shape: AWS, "CloudTrail record contents". What is the service's own is read into fixed fields, where a
//! key that stands twice is an error. Parameters and responses differ with every event, so they are looked at without
//! demands: another service's event is never refused for the shape of its parameters.

use std::ops::Range;

use sluice_schemas::trail::{AssumedSession, TrailEvent};
use sluice_schemas::{Micros, RejectReason};

use super::expiry::expiry;
use super::fault::{Fault, Field};
use super::invoked;
use super::loose::{Loose, MAX_TEXT, first};
use super::number;
use super::record::event_time;
use super::scan::{Scanner, Text};

/// `detail-type` of the EventBridge events that carry a CloudTrail event.
pub(super) const DETAIL_TYPE: &str = "AWS API Call via CloudTrail";

/// The strings of an event, in the order they are kept.
const TEXTS: [(&[u8], Field); 9] = [
    (b"eventID", Field::EventId),
    (b"eventTime", Field::EventTime),
    (b"eventSource", Field::EventSource),
    (b"eventName", Field::EventName),
    (b"recipientAccountId", Field::Recipient),
    (b"awsRegion", Field::AwsRegion),
    (b"requestID", Field::TrailRequestId),
    (b"errorCode", Field::ErrorCode),
    (b"userAgent", Field::UserAgent),
];
/// The strings of its `userIdentity`.
const IDENTITY: [(&[u8], Field); 6] = [
    (b"type", Field::IdentityType),
    (b"arn", Field::IdentityArn),
    (b"accountId", Field::IdentityAccount),
    (b"principalId", Field::PrincipalId),
    (b"accessKeyId", Field::AccessKeyId),
    (b"invokedBy", Field::InvokedBy),
];

/// One event as it was read, nothing looked up yet.
#[derive(Debug, Default)]
struct Event<'a> {
    texts: [Option<Text<'a>>; TEXTS.len()],
    identity: [Option<Text<'a>>; IDENTITY.len()],
    has_identity: bool,
    issuer_arn: Text<'a>,
    source_identity: Text<'a>,
    issued_to: Text<'a>,
    request: Loose<'a>,
    response: Loose<'a>,
    additional: Loose<'a>,
    resources: Loose<'a>,
    /// Something that only an invocation record has.
    is_invocation: bool,
}

impl<'a> Event<'a> {
    fn member(&mut self, scanner: &mut Scanner<'a>, key: &[u8]) -> Result<(), Fault> {
        if let Some(at) = TEXTS.iter().position(|(name, _)| *name == key) {
            return read_text(scanner, &mut self.texts[at], TEXTS[at].1);
        }
        match key {
            b"userIdentity" if self.has_identity => Err(Fault::Duplicate(Field::UserIdentity)),
            b"userIdentity" => {
                self.has_identity = true;
                match scanner.peek() {
                    Some(b'{') => scanner.object(|scanner, key| self.identity_member(scanner, key)),
                    Some(_) if scanner.scalar() == b"null" => Ok(()),
                    Some(_) => Err(Fault::Malformed(Field::UserIdentity)),
                    None => Err(Fault::Truncated),
                }
            }
            b"requestParameters" => once(scanner, &mut self.request, Field::RequestParameters),
            b"responseElements" => once(scanner, &mut self.response, Field::ResponseElements),
            b"additionalEventData" => once(scanner, &mut self.additional, Field::AdditionalData),
            b"resources" => once(scanner, &mut self.resources, Field::Resources),
            b"schemaType" => {
                self.is_invocation = true;
                scanner.skip_value()
            }
            _ => scanner.skip_value(),
        }
    }

    fn identity_member(&mut self, scanner: &mut Scanner<'a>, key: &[u8]) -> Result<(), Fault> {
        if let Some(at) = IDENTITY.iter().position(|(name, _)| *name == key) {
            return read_text(scanner, &mut self.identity[at], IDENTITY[at].1);
        }
        match key {
            b"sessionContext" => object_or_any(scanner, |scanner, key| match key {
                b"sessionIssuer" => object_or_any(scanner, |scanner, key| match key {
                    b"arn" => text_or_any(scanner, &mut self.issuer_arn),
                    _ => scanner.skip_value(),
                }),
                b"sourceIdentity" => text_or_any(scanner, &mut self.source_identity),
                _ => scanner.skip_value(),
            }),
            b"inScopeOf" => object_or_any(scanner, |scanner, key| match key {
                b"credentialsIssuedTo" => text_or_any(scanner, &mut self.issued_to),
                _ => scanner.skip_value(),
            }),
            _ => scanner.skip_value(),
        }
    }

    fn resources(&self) -> Vec<String> {
        let mut arns = Vec::new();
        self.resources.elements(|resource| arns.push(resource.member(b"ARN").text()));
        arns.retain(|arn| !arn.is_empty());
        arns
    }

    /// Fills in what the parameters of a call of a model say, and what Bedrock adds to them.
    fn call(&self, event: &mut TrailEvent) {
        let (mut model, mut foundation, mut counts) = (String::new(), String::new(), [Loose::default(); 2]);
        self.request.members(|key, value| match key {
            b"modelId" => model = value.text(),
            b"foundationModel" => foundation = value.text(),
            b"callWithBearerToken" => event.bearer_token |= value.is_true(),
            b"bearerTokenType" => event.bearer_token |= !value.text().is_empty(),
            _ => {}
        });
        self.additional.members(|key, value| match key {
            b"inferenceRegion" => event.inference_region = value.text(),
            b"inputTokens" => counts[0] = value,
            b"outputTokens" => counts[1] = value,
            b"callWithBearerToken" => event.bearer_token |= value.is_true(),
            b"bearerTokenType" => event.bearer_token |= !value.text().is_empty(),
            _ => {}
        });
        event.model_id = first([model, foundation]);
        // Counts that cannot be read are unknown ones: the event tells who called all the same. One alone would pass for the whole.
        if let (Ok(input), Ok(output)) = (tokens(counts[0], Field::TrailInput), tokens(counts[1], Field::TrailOutput)) {
            (event.input_tokens, event.output_tokens) = (input, output);
        }
    }
}

/// Reads one CloudTrail event. Claims of tokens that are named like one of `claims` are kept beside the usual ones.
pub(super) fn event(text: &[u8], arrival: Micros, claims: &[String]) -> Result<TrailEvent, RejectReason> {
    let mut read = Event::default();
    Scanner::new(text).object(|scanner, key| read.member(scanner, key))?;
    finish(&read, arrival, claims)
}

/// Reads text that begins as CloudTrail writes its events, and is nothing else; `None` leaves it to those who ask what it is.
pub(super) fn certain(text: &[u8], arrival: Micros, claims: &[String]) -> Option<TrailEvent> {
    if !text.starts_with(br#"{"eventVersion":"#) {
        return None;
    }
    let (mut read, mut scanner) = (Event::default(), Scanner::new(text));
    let whole = scanner.object(|scanner, key| read.member(scanner, key)).is_ok() && scanner.peek().is_none();
    if whole && !read.is_invocation { finish(&read, arrival, claims).ok() } else { None }
}

fn finish(read: &Event<'_>, arrival: Micros, claims: &[String]) -> Result<TrailEvent, RejectReason> {
    let texts = |at: usize| read.texts[at].map_or_else(|| Ok(String::new()), |text| owned(text, TEXTS[at].1));
    let identity = |at: usize| read.identity[at].map_or_else(|| Ok(String::new()), |text| owned(text, IDENTITY[at].1));
    let required = |at: usize| texts(at).and_then(|text| if text.is_empty() { Err(Fault::Missing(TEXTS[at].1)) } else { Ok(text) });
    let loose = |text: Text<'_>| owned(text, Field::UserIdentity).unwrap_or_default();
    let account = texts(4)?;
    let mut event = TrailEvent {
        event_time: event_time(texts(1)?.as_bytes(), Field::EventTime.path(), arrival)?,
        event_id: required(0)?,
        event_source: required(2)?,
        event_name: required(3)?,
        account_id: if account.is_empty() { identity(2)? } else { account },
        region: texts(5)?,
        request_id: texts(6)?,
        error_code: texts(7)?,
        user_agent: match texts(8) {
            // The caller's own words are no reason to refuse the event.
            Err(Fault::OutOfRange(_)) => String::new(),
            text => text?,
        },
        identity_type: identity(0)?,
        principal_arn: identity(1)?,
        principal_id: identity(3)?,
        access_key_id: identity(4)?,
        invoked_by: identity(5)?,
        issuer_arn: loose(read.issuer_arn),
        source_identity: loose(read.source_identity),
        credentials_issued_to: loose(read.issued_to),
        resources: read.resources(),
        ..TrailEvent::default()
    };
    read.call(&mut event);
    if event.event_source == "sts.amazonaws.com" && event.event_name.starts_with("AssumeRole") && event.error_code.is_empty() {
        event.assumed = assumed_session(read.request, read.response).map(Box::new);
    }
    invoked::fill(&mut event, read.request, read.response, read.additional, claims);
    Ok(event)
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
    let (mut is_call, mut detail, mut of_aws) = (None, None, None);
    Scanner::new(text).object(|scanner, key| match key {
        b"detail-type" if is_call.is_some() => Err(Fault::Duplicate(Field::DetailType)),
        b"detail-type" if scanner.peek() == Some(b'"') => {
            is_call = Some(*scanner.string()?.bytes()? == *DETAIL_TYPE.as_bytes());
            Ok(())
        }
        // Anyone may put events on a bus, but under no source that begins so.
        b"source" if of_aws.is_none() && scanner.peek() == Some(b'"') => {
            of_aws = Some(scanner.string()?.bytes()?.starts_with(b"aws."));
            Ok(())
        }
        b"source" => {
            of_aws = Some(false);
            scanner.skip_value()
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
        Some(true) if of_aws == Some(true) => Ok(detail.ok_or(Fault::Missing(Field::Detail))?),
        _ => Err(RejectReason::UnknownKind),
    }
}

/// What `AssumeRole` and its variants say about the session they open; `None` where the parameters were left out.
fn assumed_session(request: Loose<'_>, response: Loose<'_>) -> Option<AssumedSession> {
    if !request.raw().starts_with(b"{") {
        return None;
    }
    let (mut session, mut tags) = (AssumedSession::default(), [const { Vec::new() }; 3]);
    request.members(|key, value| match key {
        b"roleArn" => session.role_arn = value.text(),
        b"roleSessionName" => session.session_name = value.text(),
        b"sourceIdentity" => session.source_identity = value.text(),
        b"tags" => value.elements(|tag| tags[0].push((tag.member(b"key").text(), tag.member(b"value").text()))),
        b"incomingTransitiveTags" => tags[1] = pairs(value),
        b"principalTags" => tags[2] = pairs(value),
        b"transitiveTagKeys" => value.elements(|key| session.transitive_keys.push(key.text())),
        _ => {}
    });
    let mut confirmed = String::new();
    response.members(|key, value| match key {
        b"sourceIdentity" => confirmed = value.text(),
        b"credentials" => value.members(|key, value| match key {
            b"accessKeyId" => session.access_key_id = value.text(),
            b"expiration" => session.expires = expiry(&value.text()),
            _ => {}
        }),
        b"assumedRoleUser" => value.members(|key, value| match key {
            b"assumedRoleId" => session.assumed_role_id = value.text(),
            b"arn" => session.assumed_role_arn = value.text(),
            _ => {}
        }),
        _ => {}
    });
    if session.source_identity.is_empty() {
        session.source_identity = confirmed;
    }
    let asked: Vec<String> = tags[0].iter().map(|(key, _)| key.to_ascii_lowercase()).collect();
    let inherited = tags[1].iter().filter(|(key, _)| !key.is_empty() && !asked.contains(&key.to_ascii_lowercase()));
    session.inherited = inherited.map(|(key, _)| key.clone()).collect();
    session.tags = tags.into_iter().flatten().filter(|(key, _)| !key.is_empty()).collect();
    session.transitive_keys.retain(|key| !key.is_empty());
    Some(session)
}

/// The texts of a map, as they stand.
fn pairs(map: Loose<'_>) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    map.members(|key, value| {
        if value.raw().starts_with(b"\"") {
            pairs.push((String::from_utf8_lossy(key).into_owned(), value.text()));
        }
    });
    pairs
}

fn read_text<'a>(scanner: &mut Scanner<'a>, found: &mut Option<Text<'a>>, field: Field) -> Result<(), Fault> {
    if found.is_some() {
        return Err(Fault::Duplicate(field));
    }
    *found = Some(match scanner.peek() {
        Some(b'"') => scanner.string().map_err(|fault| fault.at(field))?,
        Some(_) if scanner.scalar() == b"null" => Text::default(),
        Some(_) => return Err(Fault::Malformed(field)),
        None => return Err(Fault::Truncated),
    });
    Ok(())
}

/// Reads an object; steps over anything else.
fn object_or_any<'a>(scanner: &mut Scanner<'a>, each: impl FnMut(&mut Scanner<'a>, &[u8]) -> Result<(), Fault>) -> Result<(), Fault> {
    if scanner.peek() == Some(b'{') { scanner.object(each) } else { scanner.skip_value() }
}

/// Reads a string; steps over anything else.
fn text_or_any<'a>(scanner: &mut Scanner<'a>, found: &mut Text<'a>) -> Result<(), Fault> {
    if scanner.peek() != Some(b'"') {
        return scanner.skip_value();
    }
    *found = scanner.string()?;
    Ok(())
}

fn once<'a>(scanner: &mut Scanner<'a>, found: &mut Loose<'a>, field: Field) -> Result<(), Fault> {
    if !found.is_absent() {
        return Err(Fault::Duplicate(field));
    }
    *found = Loose::read(scanner)?;
    Ok(())
}

/// Returns the string a text stands for.
pub(super) fn owned(text: Text<'_>, field: Field) -> Result<String, Fault> {
    let bytes = text.bytes().map_err(|fault| fault.at(field))?;
    if bytes.len() > MAX_TEXT {
        return Err(Fault::OutOfRange(field));
    }
    String::from_utf8(bytes.into_owned()).map_err(|_| Fault::NotUtf8)
}

fn tokens(value: Loose<'_>, field: Field) -> Result<Option<u64>, Fault> {
    if value.is_absent() {
        return Ok(None);
    }
    number::count(value.raw(), field)
}
