//! Reads the envelope of an invocation log record in one forward pass, whatever the order of its keys.
//!
//! Source of the shape: AWS, "Monitor model invocation using Amazon CloudWatch Logs and Amazon S3".
//! A key that is read may stand once only: of two values, which one the service meant cannot be told.

use super::body::{self, RequestFacts, ResponseFacts};
use super::fault::{Fault, Field};
use super::metadata;
use super::number;
use super::scan::{Scanner, Text};
use super::usage::Counts;

/// The first fields of [`Field`] are plain strings.
pub(super) const TEXTS: usize = Field::SchemaType as usize + 1;

/// What a JSON object turned out to be, by the keys only that kind has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A CloudWatch Logs subscription envelope.
    CloudWatch,
    /// A CloudTrail log file.
    TrailFile,
    /// An EventBridge event.
    EventBridge,
    /// A CloudTrail event.
    TrailEvent,
    /// A span of an agent, or a log record of one.
    Span,
    /// Spans as OTLP groups them, by resource and scope.
    Spans,
}

impl Kind {
    const fn of(key: &[u8]) -> Option<Self> {
        Some(match key {
            b"messageType" | b"logEvents" => Self::CloudWatch,
            b"Records" => Self::TrailFile,
            b"detail" | b"detail-type" => Self::EventBridge,
            b"eventID" | b"eventName" | b"eventSource" | b"eventTime" | b"eventVersion" => Self::TrailEvent,
            b"traceId" | b"spanId" | b"startTimeUnixNano" | b"observedTimeUnixNano" => Self::Span,
            b"resourceSpans" => Self::Spans,
            _ => return None,
        })
    }
}

/// One record as it was read, nothing looked up yet.
#[derive(Debug, Default)]
pub(super) struct Envelope<'a> {
    seen: u32,
    /// `input` or `output` has a member.
    has_members: bool,
    texts: [Text<'a>; TEXTS],
    /// `requestMetadata` as it came; empty when absent or without a pair.
    pub(super) metadata: &'a [u8],
    /// Token counts.
    pub(super) counts: Counts,
    /// `outputVideoDurationSeconds`, in milliseconds.
    pub(super) video_ms: u64,
    /// Where a request body and a response body lie that are not here.
    pub(super) paths: [Text<'a>; 2],
    /// What the request body tells.
    pub(super) request: RequestFacts,
    /// What the response body tells.
    pub(super) response: ResponseFacts,
    /// The other kind of object that a key speaks for.
    pub(super) foreign: Option<Kind>,
}

impl<'a> Envelope<'a> {
    /// Returns a string field; empty when absent.
    pub(super) const fn text(&self, field: Field) -> Text<'a> {
        self.texts[field as usize]
    }

    /// Tells whether the record has the field, `null` or not.
    pub(super) const fn has(&self, field: Field) -> bool {
        self.seen >> field as u8 & 1 == 1
    }

    /// Tells whether the object is an invocation record: it says so, or says nothing and names a model.
    pub(super) fn is_invocation(&self, foreign: Option<Kind>) -> bool {
        match self.text(Field::SchemaType).bytes().as_deref() {
            Ok(b"ModelInvocationLog") => true,
            Ok(b"") => foreign.is_none() && self.has(Field::ModelId),
            _ => false,
        }
    }

    /// Tells whether `input` and `output` are empty: the call failed before the model was asked.
    pub(super) const fn is_bare(&self) -> bool {
        !self.has_members
    }

    /// Makes the envelope of a call of which only counts and bodies are known.
    pub(super) fn of_bodies(counts: Counts, request: Option<RequestFacts>, response: Option<ResponseFacts>) -> Self {
        let seen = u32::from(request.is_some()) << Field::InputBody as u8;
        let (request, response) = (request.unwrap_or_default(), response.unwrap_or_default());
        Self { seen, has_members: true, counts, request, response, ..Self::default() }
    }

    /// Reads the object at the scanner.
    pub(super) fn read(&mut self, scanner: &mut Scanner<'a>) -> Result<(), Fault> {
        scanner.object(|scanner, key| self.member(scanner, key))
    }

    fn member(&mut self, scanner: &mut Scanner<'a>, key: &[u8]) -> Result<(), Fault> {
        let Some(field) = top_level(key) else {
            self.foreign = self.foreign.or(Kind::of(key));
            return scanner.skip_value();
        };
        self.claim(field)?;
        match field {
            Field::Input => object_or_null(scanner, field, |scanner, key| self.input_member(scanner, key)),
            Field::Output => object_or_null(scanner, field, |scanner, key| self.output_member(scanner, key)),
            Field::Identity => self.identity(scanner),
            Field::RequestMetadata => metadata::read(scanner).map(|raw| self.metadata = raw),
            _ => self.read_text(scanner, field),
        }
    }

    fn input_member(&mut self, scanner: &mut Scanner<'a>, key: &[u8]) -> Result<(), Fault> {
        self.has_members = true;
        let field = match key {
            b"inputTokenCount" => Field::InputTokens,
            b"cacheReadInputTokenCount" => Field::CacheRead,
            b"cacheWriteInputTokenCount" => Field::CacheWrite,
            b"inputBodyJson" => Field::InputBody,
            b"inputBodyS3Path" => Field::InputPath,
            _ => return scanner.skip_value(),
        };
        self.claim(field)?;
        match field {
            Field::InputTokens => self.counts.input = read_count(scanner, field)?,
            Field::CacheRead => self.counts.cache_read = read_count(scanner, field)?,
            Field::CacheWrite => self.counts.cache_write = read_count(scanner, field)?,
            Field::InputPath => self.paths[0] = read_path(scanner)?,
            _ => self.request = body::request(scanner)?,
        }
        Ok(())
    }

    fn output_member(&mut self, scanner: &mut Scanner<'a>, key: &[u8]) -> Result<(), Fault> {
        self.has_members = true;
        let field = match key {
            b"outputTokenCount" => Field::OutputTokens,
            b"outputBodyJson" => Field::OutputBody,
            b"outputBodyS3Path" => Field::OutputPath,
            b"outputVideoDurationSeconds" => Field::VideoSeconds,
            _ => return scanner.skip_value(),
        };
        self.claim(field)?;
        match field {
            Field::OutputTokens => self.counts.output = read_count(scanner, field)?,
            Field::VideoSeconds => {
                scanner.peek();
                self.video_ms = number::millis(scanner.scalar(), field)?.unwrap_or(0);
            }
            Field::OutputPath => self.paths[1] = read_path(scanner)?,
            _ => self.response = body::response(scanner)?,
        }
        Ok(())
    }

    /// `{"arn": …}`; of a list, its first object.
    fn identity(&mut self, scanner: &mut Scanner<'a>) -> Result<(), Fault> {
        if scanner.peek() != Some(b'[') {
            return object_or_null(scanner, Field::Identity, |scanner, key| self.identity_member(scanner, key));
        }
        let mut first = true;
        scanner.array(|scanner| match scanner.peek() {
            Some(b'{') if std::mem::take(&mut first) => scanner.object(|scanner, key| self.identity_member(scanner, key)),
            _ => scanner.skip_value(),
        })
    }

    fn identity_member(&mut self, scanner: &mut Scanner<'a>, key: &[u8]) -> Result<(), Fault> {
        if key != b"arn" {
            return scanner.skip_value();
        }
        self.claim(Field::Arn)?;
        self.read_text(scanner, Field::Arn)
    }

    #[inline]
    fn claim(&mut self, field: Field) -> Result<(), Fault> {
        if self.has(field) {
            return Err(Fault::Duplicate(field));
        }
        self.seen |= 1 << field as u8;
        Ok(())
    }

    fn read_text(&mut self, scanner: &mut Scanner<'a>, field: Field) -> Result<(), Fault> {
        match scanner.peek() {
            Some(b'"') => {
                self.texts[field as usize] = scanner.string().map_err(|fault| fault.at(field))?;
                Ok(())
            }
            _ => null(scanner, field),
        }
    }
}

/// Looks a key up by its length first: most names differ in it, and one of known length is compared in a step or two.
#[inline]
fn top_level(key: &[u8]) -> Option<Field> {
    Some(match key.len() {
        5 if key == b"input" => Field::Input,
        6 if key == b"output" => Field::Output,
        6 if key == b"region" => Field::Region,
        7 if key == b"modelId" => Field::ModelId,
        8 if key == b"identity" => Field::Identity,
        9 if key == b"timestamp" => Field::Timestamp,
        9 if key == b"accountId" => Field::AccountId,
        9 if key == b"requestId" => Field::RequestId,
        9 if key == b"operation" => Field::Operation,
        9 if key == b"errorCode" => Field::ErrorCode,
        10 if key == b"schemaType" => Field::SchemaType,
        15 if key == b"inferenceRegion" => Field::InferenceRegion,
        15 if key == b"requestMetadata" => Field::RequestMetadata,
        _ => return None,
    })
}

fn read_count(scanner: &mut Scanner<'_>, field: Field) -> Result<Option<u64>, Fault> {
    scanner.peek();
    number::count(scanner.scalar(), field)
}

/// Reads where a body lies; anything but a string counts as absent.
fn read_path<'a>(scanner: &mut Scanner<'a>) -> Result<Text<'a>, Fault> {
    match scanner.peek() {
        Some(b'"') => scanner.string(),
        _ => scanner.skip_value().map(|()| Text::default()),
    }
}

fn null(scanner: &mut Scanner<'_>, field: Field) -> Result<(), Fault> {
    if scanner.peek().is_none() {
        return Err(Fault::Truncated);
    }
    if scanner.scalar() == b"null" { Ok(()) } else { Err(Fault::Malformed(field)) }
}

fn object_or_null<'a>(
    scanner: &mut Scanner<'a>,
    field: Field,
    each: impl FnMut(&mut Scanner<'a>, &[u8]) -> Result<(), Fault>,
) -> Result<(), Fault> {
    match scanner.peek() {
        Some(b'{') => scanner.object(each),
        _ => null(scanner, field),
    }
}
