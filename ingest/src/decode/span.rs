//! Reads spans of agents: who ran, in which session, and which request to Bedrock it made.
//!
//! Source of the shapes: OpenTelemetry, "OTLP/JSON" and the semantic conventions for generative AI and the AWS SDK; AWS, "Transaction
//! Search" (log group `aws/spans`, one span a message, attributes as a map). What a span says of prompts, completions and tools is
//! never looked at. A span that names no request, session or agent joins nothing: it is counted and dropped.

use sluice_schemas::trail::{Invoked, SPAN_SOURCE, TrailEvent};
use sluice_schemas::{Micros, RejectReason};

use super::fault::{Fault, Field};
use super::loose::{Loose, first};
use super::record::is_possible;
use super::scan::Scanner;

/// Longest trace or span id; OpenTelemetry has 32 and 16 digits.
const MAX_ID: usize = 64;
/// Nanoseconds of a microsecond.
const NANOS: u64 = 1000;

/// A span, nothing looked up yet.
#[derive(Debug, Default)]
struct Span<'a> {
    trace_id: Loose<'a>,
    span_id: Loose<'a>,
    name: Loose<'a>,
    start: Loose<'a>,
    attributes: Loose<'a>,
    resource: Loose<'a>,
    /// A log record of a span: it has a time of its own instead of a start.
    is_log: bool,
}

impl<'a> Span<'a> {
    fn member(&mut self, scanner: &mut Scanner<'a>, key: &[u8]) -> Result<(), Fault> {
        let (found, field) = match key {
            b"traceId" => (&mut self.trace_id, Field::TraceId),
            b"spanId" => (&mut self.span_id, Field::SpanId),
            b"name" => (&mut self.name, Field::SpanName),
            b"startTimeUnixNano" => (&mut self.start, Field::SpanStart),
            b"attributes" => (&mut self.attributes, Field::SpanAttributes),
            b"resource" => (&mut self.resource, Field::SpanResource),
            b"observedTimeUnixNano" | b"timeUnixNano" => {
                self.is_log = true;
                return scanner.skip_value();
            }
            _ => return scanner.skip_value(),
        };
        if !found.is_absent() {
            return Err(Fault::Duplicate(field));
        }
        *found = Loose::read(scanner)?;
        Ok(())
    }

    fn id(value: Loose<'_>, field: Field) -> Result<String, Fault> {
        match value.text() {
            id if id.len() > MAX_ID => Err(Fault::OutOfRange(field)),
            id if !id.is_empty() => Ok(id),
            _ if value.is_absent() => Err(Fault::Missing(field)),
            _ => Err(Fault::Malformed(field)),
        }
    }

    fn start(&self, arrival: Micros) -> Result<Micros, RejectReason> {
        let field = if self.start.is_absent() { Fault::Missing(Field::SpanStart) } else { Fault::Malformed(Field::SpanStart) };
        let nanos = self.start.number().ok_or(field)?;
        let time = Micros(i64::try_from(nanos / NANOS).unwrap_or(i64::MAX));
        if is_possible(time, arrival) { Ok(time) } else { Err(RejectReason::Timestamp { timestamp: nanos.to_string() }) }
    }
}

/// What the attributes of a span and of its resource tell.
#[derive(Debug, Default)]
struct Told {
    request_ids: [String; 3],
    sessions: [String; 2],
    agent_name: String,
    users: [String; 2],
    model: String,
    error: String,
    service: [String; 2],
    is_agent: bool,
    account: String,
    regions: [String; 2],
    resource_arn: String,
}

impl Told {
    fn take(&mut self, key: &[u8], value: Loose<'_>) {
        let place = match key {
            b"aws.request_id" => &mut self.request_ids[0],
            b"aws.request.id" => &mut self.request_ids[1],
            b"aws.requestId" => &mut self.request_ids[2],
            b"session.id" => &mut self.sessions[0],
            b"gen_ai.conversation.id" => &mut self.sessions[1],
            b"gen_ai.agent.name" => &mut self.agent_name,
            b"user.id" => &mut self.users[0],
            b"enduser.id" => &mut self.users[1],
            b"gen_ai.request.model" => &mut self.model,
            b"error.type" => &mut self.error,
            b"aws.service.name" => &mut self.service[0],
            b"service.name" => &mut self.service[1],
            b"aws.service.type" => {
                self.is_agent = value.text() == "gen_ai_agent";
                return;
            }
            b"cloud.account.id" => &mut self.account,
            b"aws.region" => &mut self.regions[0],
            b"cloud.region" => &mut self.regions[1],
            b"cloud.resource_id" => &mut self.resource_arn,
            _ => return,
        };
        *place = any_value(value);
    }

    /// Attributes as a map, or as the list of pairs that OTLP has.
    fn read(&mut self, attributes: Loose<'_>) {
        attributes.members(|key, value| self.take(key, value));
        attributes.elements(|pair| {
            let key = pair.member(b"key").text();
            self.take(key.as_bytes(), pair.member(b"value"));
        });
    }
}

/// A value as it is, or wrapped in its type.
fn any_value(value: Loose<'_>) -> String {
    let mut word = value.word();
    value.members(|key, inner| {
        if matches!(key, b"stringValue" | b"intValue") {
            word = inner.word();
        }
    });
    word
}

/// Reads one span; `None` for one that joins nothing, and for a log record. `resource` is what OTLP says of its spans together.
pub(super) fn event(text: &[u8], resource: &[u8], arrival: Micros) -> Result<Option<TrailEvent>, RejectReason> {
    let mut span = Span::default();
    Scanner::new(text).object(|scanner, key| span.member(scanner, key))?;
    if span.is_log && span.start.is_absent() {
        return Ok(None);
    }
    let (trace_id, span_id) = (Span::id(span.trace_id, Field::TraceId)?, Span::id(span.span_id, Field::SpanId)?);
    let event_time = span.start(arrival)?;
    let mut told = Told::default();
    if !resource.is_empty() {
        told.read(Loose::read(&mut Scanner::new(resource))?.member(b"attributes"));
    }
    told.read(span.resource.member(b"attributes"));
    told.read(span.attributes);
    let (request_id, session_id) = (first(told.request_ids), first(told.sessions));
    if request_id.is_empty() && session_id.is_empty() && told.agent_name.is_empty() {
        return Ok(None);
    }
    let agent_name = if told.is_agent { first([told.agent_name, first(told.service)]) } else { told.agent_name };
    let arn = if told.resource_arn.starts_with("arn:") { told.resource_arn } else { String::new() };
    let of_arn = |at: usize| arn.split(':').nth(at).unwrap_or_default().to_owned();
    Ok(Some(TrailEvent {
        event_time,
        event_id: format!("{trace_id}:{span_id}"),
        event_source: SPAN_SOURCE.to_owned(),
        event_name: span.name.text(),
        account_id: first([told.account, of_arn(4)]),
        // Where the request went; it was logged there.
        region: first([first(told.regions), of_arn(3)]),
        request_id,
        error_code: told.error,
        model_id: told.model,
        resources: Vec::from_iter(Some(arn.clone()).filter(|arn| !arn.is_empty())),
        invoked: Some(Box::new(Invoked {
            resource_arn: runtime(&arn).to_owned(),
            session_id,
            user_id: first(told.users),
            agent_name,
            claims: Vec::new(),
        })),
        ..TrailEvent::default()
    }))
}

/// The runtime that an endpoint belongs to.
fn runtime(arn: &str) -> &str {
    arn.split_once("/runtime-endpoint/").map_or(arn, |(runtime, _)| runtime)
}

/// The places of a group's spans, and of the resource they share.
#[derive(Debug, Default)]
pub(super) struct Group<'a> {
    /// The `resource` of the group.
    pub(super) resource: &'a [u8],
    /// Its spans, with their places in the text.
    pub(super) spans: Vec<std::ops::Range<usize>>,
}

/// Returns the groups of spans of an OTLP request.
pub(super) fn groups(text: &[u8]) -> Result<Vec<Group<'_>>, Fault> {
    let (mut groups, mut seen) = (Vec::new(), false);
    Scanner::new(text).object(|scanner, key| match key {
        b"resourceSpans" if seen => Err(Fault::Duplicate(Field::ResourceSpans)),
        b"resourceSpans" => {
            seen = true;
            list(scanner, |scanner| {
                groups.push(Group::default());
                let group = groups.last_mut().ok_or(Fault::Malformed(Field::ResourceSpans))?;
                group_members(scanner, group)
            })
        }
        _ => scanner.skip_value(),
    })?;
    Ok(groups)
}

fn group_members<'a>(scanner: &mut Scanner<'a>, group: &mut Group<'a>) -> Result<(), Fault> {
    object(scanner, |scanner, key| match key {
        b"resource" => {
            group.resource = Loose::read(scanner)?.raw();
            Ok(())
        }
        b"scopeSpans" | b"instrumentationLibrarySpans" => list(scanner, |scanner| {
            object(scanner, |scanner, key| match key {
                b"spans" => list(scanner, |scanner| {
                    scanner.peek();
                    let start = scanner.at();
                    scanner.skip_value()?;
                    group.spans.push(start..scanner.at());
                    Ok(())
                }),
                _ => scanner.skip_value(),
            })
        }),
        _ => scanner.skip_value(),
    })
}

fn list<'a>(scanner: &mut Scanner<'a>, each: impl FnMut(&mut Scanner<'a>) -> Result<(), Fault>) -> Result<(), Fault> {
    if scanner.peek() == Some(b'[') { scanner.array(each) } else { Err(Fault::Malformed(Field::ResourceSpans)) }
}

fn object<'a>(scanner: &mut Scanner<'a>, each: impl FnMut(&mut Scanner<'a>, &[u8]) -> Result<(), Fault>) -> Result<(), Fault> {
    if scanner.peek() == Some(b'{') { scanner.object(each) } else { Err(Fault::Malformed(Field::ResourceSpans)) }
}
