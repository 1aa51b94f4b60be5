//! Reads from a body the few facts that only bodies hold, each at its one documented path, and steps over the rest.
//!
//! A response body is written by the service, so a usage field of another form than documented refuses the record. A
//! request body is the caller's own, so there an odd field counts as absent: no caller can have a call refused.
//! A body that is balanced but not an object or an array of chunks tells nothing.

use sluice_schemas::ServiceTier;
use sluice_schemas::usage::GuardrailUnits;

use super::fault::{Fault, Field};
use super::number;
use super::scan::{Scanner, Text};
use super::usage::{BodyUsage, read_metrics, read_usage};

/// What a response body tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ResponseFacts {
    /// Token counts.
    pub(super) usage: BodyUsage,
    /// Milliseconds the model took.
    pub(super) latency_ms: Option<u32>,
    /// Tier that served the call.
    pub(super) tier: Option<ServiceTier>,
    /// Guardrail units, summed over all assessments.
    pub(super) guardrail: GuardrailUnits,
}

/// What a request body tells; the caller wrote it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RequestFacts {
    /// Tier asked for.
    pub(super) tier: Option<ServiceTier>,
    /// The body is one of an image generator.
    pub(super) asks_for_images: bool,
    /// `imageGenerationConfig.numberOfImages`, or `samples`.
    pub(super) images: Option<u64>,
    /// `standard` or `premium`.
    pub(super) quality: Option<&'static str>,
    /// Width in pixels.
    pub(super) width: u32,
    /// Height in pixels.
    pub(super) height: u32,
    /// Diffusion steps.
    pub(super) steps: u32,
    /// Images to embed.
    pub(super) input_images: u64,
    /// Length of `queries`.
    pub(super) queries: u64,
    /// Length of `documents`.
    pub(super) documents: u64,
}

/// Reads `output.outputBodyJson`.
pub(super) fn response(scanner: &mut Scanner<'_>) -> Result<ResponseFacts, Fault> {
    let mut facts = ResponseFacts::default();
    let mut ahead = *scanner;
    let read = match ahead.peek() {
        Some(b'{') => ahead.object(|scanner, key| response_member(scanner, key, &mut facts)),
        Some(b'[') => ahead.array(|scanner| match scanner.peek() {
            Some(b'{') => chunk(scanner, &mut facts),
            _ => scanner.skip_any(),
        }),
        _ => Err(Fault::Syntax),
    };
    match read {
        Ok(()) => {
            *scanner = ahead;
            Ok(facts)
        }
        Err(fault) if fault.is_form() => scanner.skip_any().map(|()| ResponseFacts::default()),
        Err(fault) => Err(fault),
    }
}

/// One member of a response that is a single object: a provider's answer, or that of Converse.
fn response_member(scanner: &mut Scanner<'_>, key: &[u8], facts: &mut ResponseFacts) -> Result<(), Fault> {
    match key {
        b"usage" if facts.usage.read => Err(Fault::Duplicate(Field::Usage)),
        b"usage" => read_usage(scanner, &mut facts.usage),
        b"metrics" => members(scanner, |scanner, key| match key {
            b"latencyMs" => lenient_u32(scanner).map(|millis| facts.latency_ms = millis),
            _ => scanner.skip_any(),
        }),
        b"serviceTier" => read_tier(scanner).map(|tier| facts.tier = tier),
        b"trace" => read_guardrail(scanner, b"inputAssessment", b"outputAssessments", &mut facts.guardrail),
        _ => provider_member(scanner, key, facts),
    }
}

/// A member that stands in an answer and in a chunk of a stream alike.
fn provider_member(scanner: &mut Scanner<'_>, key: &[u8], facts: &mut ResponseFacts) -> Result<(), Fault> {
    match key {
        b"amazon-bedrock-invocationMetrics" => {
            let latency = read_metrics(scanner, &mut facts.usage)?;
            facts.latency_ms = latency.or(facts.latency_ms);
            Ok(())
        }
        b"amazon-bedrock-trace" => read_guardrail(scanner, b"input", b"outputs", &mut facts.guardrail),
        _ => scanner.skip_any(),
    }
}

/// One chunk of a stream. Counts are cumulative, so a later chunk overrides an earlier one count by count.
fn chunk(scanner: &mut Scanner<'_>, facts: &mut ResponseFacts) -> Result<(), Fault> {
    let (mut kind, mut seen, mut of_message, mut of_response) = (Text::default(), false, None, None);
    scanner.object(|scanner, key| match key {
        b"type" if scanner.peek() == Some(b'"') => {
            kind = scanner.string()?;
            Ok(())
        }
        b"usage" if std::mem::replace(&mut seen, true) => Err(Fault::Duplicate(Field::Usage)),
        b"usage" => read_usage(scanner, &mut facts.usage),
        b"metadata" => usage_within(scanner).map(|usage| facts.usage.merge(&usage)),
        b"message" => usage_within(scanner).map(|usage| of_message = Some(usage)),
        b"response" => usage_within(scanner).map(|usage| of_response = Some(usage)),
        _ => provider_member(scanner, key, facts),
    })?;
    if of_message.is_some() || of_response.is_some() {
        let kind = kind.bytes()?;
        let counted = if *kind == *b"message_start" { of_message } else { of_response.filter(|_| kind.starts_with(b"response.")) };
        facts.usage.merge(&counted.unwrap_or_default());
    }
    Ok(())
}

fn usage_within(scanner: &mut Scanner<'_>) -> Result<BodyUsage, Fault> {
    let mut usage = BodyUsage::default();
    members(scanner, |scanner, key| match key {
        b"usage" if usage.read => Err(Fault::Duplicate(Field::Usage)),
        b"usage" => read_usage(scanner, &mut usage),
        _ => scanner.skip_any(),
    })?;
    Ok(usage)
}

/// Reads the members of an object; a value of another kind is stepped over.
fn members(scanner: &mut Scanner<'_>, each: impl FnMut(&mut Scanner<'_>, &[u8]) -> Result<(), Fault>) -> Result<(), Fault> {
    match scanner.peek() {
        Some(b'{') => scanner.object(each),
        _ => scanner.skip_any(),
    }
}

fn lenient_number(scanner: &mut Scanner<'_>) -> Result<Option<u64>, Fault> {
    match scanner.peek() {
        Some(b'0'..=b'9') => Ok(number::plain(scanner.scalar())),
        _ => {
            scanner.skip_any()?;
            Ok(None)
        }
    }
}

/// Reads a number whose absence is no fault and which moves no money by itself.
pub(super) fn lenient_u32(scanner: &mut Scanner<'_>) -> Result<Option<u32>, Fault> {
    Ok(lenient_number(scanner)?.and_then(|value| u32::try_from(value).ok()))
}

fn read_tier(scanner: &mut Scanner<'_>) -> Result<Option<ServiceTier>, Fault> {
    let mut tier = None;
    members(scanner, |scanner, key| match (key, scanner.peek()) {
        (b"type", Some(b'"')) => {
            let word = scanner.string()?.bytes()?;
            tier = std::str::from_utf8(&word).ok().and_then(ServiceTier::parse);
            Ok(())
        }
        _ => scanner.skip_any(),
    })?;
    Ok(tier)
}

/// Adds up the units below `guardrail.<input>` and `guardrail.<outputs>`.
fn read_guardrail(scanner: &mut Scanner<'_>, input: &[u8], outputs: &[u8], units: &mut GuardrailUnits) -> Result<(), Fault> {
    members(scanner, |scanner, key| match key {
        b"guardrail" => members(scanner, |scanner, key| match key {
            key if key == input || key == outputs => read_assessments(scanner, units),
            _ => scanner.skip_any(),
        }),
        _ => scanner.skip_any(),
    })
}

/// `{id: assessment}`, or a list of such.
fn read_assessments(scanner: &mut Scanner<'_>, units: &mut GuardrailUnits) -> Result<(), Fault> {
    match scanner.peek() {
        Some(b'[') => scanner.array(|scanner| members(scanner, |scanner, _| read_assessment(scanner, units))),
        _ => members(scanner, |scanner, _| read_assessment(scanner, units)),
    }
}

/// `{…, invocationMetrics: {usage: {…}}}`, or a list of such.
fn read_assessment(scanner: &mut Scanner<'_>, units: &mut GuardrailUnits) -> Result<(), Fault> {
    match scanner.peek() {
        Some(b'[') => scanner.array(|scanner| members(scanner, |scanner, key| read_units(scanner, key, units))),
        _ => members(scanner, |scanner, key| read_units(scanner, key, units)),
    }
}

fn read_units(scanner: &mut Scanner<'_>, key: &[u8], units: &mut GuardrailUnits) -> Result<(), Fault> {
    if key != b"invocationMetrics" {
        return scanner.skip_any();
    }
    members(scanner, |scanner, key| match key {
        b"usage" => members(scanner, |scanner, key| {
            let unit = match key {
                b"topicPolicyUnits" => &mut units.topic,
                b"contentPolicyUnits" => &mut units.content,
                b"wordPolicyUnits" => &mut units.word,
                b"sensitiveInformationPolicyUnits" => &mut units.sensitive,
                b"sensitiveInformationPolicyFreeUnits" => &mut units.sensitive_free,
                b"contextualGroundingPolicyUnits" => &mut units.grounding,
                b"contentPolicyImageUnits" => &mut units.content_image,
                b"automatedReasoningPolicyUnits" => &mut units.reasoning,
                _ => return scanner.skip_any(),
            };
            scanner.peek();
            let count = number::count(scanner.scalar(), Field::Guardrail)?;
            *unit = unit.saturating_add(count.unwrap_or(0));
            Ok(())
        }),
        _ => scanner.skip_any(),
    })
}

/// Reads `input.inputBodyJson`.
pub(super) fn request(scanner: &mut Scanner<'_>) -> Result<RequestFacts, Fault> {
    let mut facts = RequestFacts::default();
    let mut ahead = *scanner;
    if ahead.peek() == Some(b'{') && ahead.object(|scanner, key| request_member(scanner, key, &mut facts)).is_ok() {
        *scanner = ahead;
        return Ok(facts);
    }
    scanner.skip_any()?;
    Ok(RequestFacts::default())
}

fn request_member(scanner: &mut Scanner<'_>, key: &[u8], facts: &mut RequestFacts) -> Result<(), Fault> {
    match key {
        b"serviceTier" => read_tier(scanner).map(|tier| facts.tier = tier),
        b"taskType" => read_task(scanner, facts),
        b"imageGenerationConfig" => {
            facts.asks_for_images = true;
            members(scanner, |scanner, key| image_member(scanner, key, facts))
        }
        b"samples" => lenient_number(scanner).map(|samples| facts.images = samples),
        b"steps" => lenient_u32(scanner).map(|steps| facts.steps = steps.unwrap_or(0)),
        b"width" | b"height" => image_member(scanner, key, facts),
        b"inputImage" => present(scanner).map(|images| facts.input_images = images),
        b"singleEmbeddingParams" => members(scanner, |scanner, key| match key {
            b"image" => present(scanner).map(|images| facts.input_images = images),
            _ => scanner.skip_any(),
        }),
        b"images" => length(scanner).map(|images| facts.input_images = images),
        b"queries" => length(scanner).map(|queries| facts.queries = queries),
        b"documents" => length(scanner).map(|documents| facts.documents = documents),
        _ => scanner.skip_any(),
    }
}

/// Tells image tasks from the embedding tasks that use the same key.
fn read_task(scanner: &mut Scanner<'_>, facts: &mut RequestFacts) -> Result<(), Fault> {
    if scanner.peek() != Some(b'"') {
        return scanner.skip_any();
    }
    facts.asks_for_images |= matches!(
        scanner.string()?.raw,
        b"TEXT_IMAGE"
            | b"INPAINTING"
            | b"OUTPAINTING"
            | b"IMAGE_VARIATION"
            | b"COLOR_GUIDED_GENERATION"
            | b"BACKGROUND_REMOVAL"
            | b"VIRTUAL_TRY_ON"
    );
    Ok(())
}

fn image_member(scanner: &mut Scanner<'_>, key: &[u8], facts: &mut RequestFacts) -> Result<(), Fault> {
    match (key, scanner.peek()) {
        (b"numberOfImages", _) => facts.images = lenient_number(scanner)?,
        (b"width", _) => facts.width = lenient_u32(scanner)?.unwrap_or(0),
        (b"height", _) => facts.height = lenient_u32(scanner)?.unwrap_or(0),
        (b"quality", Some(b'"')) => {
            facts.quality = match scanner.string()?.raw {
                b"standard" => Some("standard"),
                b"premium" => Some("premium"),
                _ => None,
            };
        }
        _ => scanner.skip_any()?,
    }
    Ok(())
}

/// One for a value that is there, none for `null`.
fn present(scanner: &mut Scanner<'_>) -> Result<u64, Fault> {
    let there = scanner.peek() != Some(b'n');
    scanner.skip_any()?;
    Ok(u64::from(there))
}

/// The number of elements of an array, none for another value.
fn length(scanner: &mut Scanner<'_>) -> Result<u64, Fault> {
    let mut elements = 0;
    match scanner.peek() {
        Some(b'[') => scanner.array(|scanner| {
            elements += 1;
            scanner.skip_any()
        })?,
        _ => scanner.skip_any()?,
    }
    Ok(elements)
}
