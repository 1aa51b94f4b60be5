//! Corrects a call by bodies that its record did not hold: pure, by the same rules as for bodies that records hold.

use sluice_schemas::{CostBasis, Extras, RejectReason, ServiceTier, Usage};

use super::body;
use super::envelope::Envelope;
use super::fault::Fault;
use super::record;
use super::scan::Scanner;
use super::usage::Counts;

/// A call as it was decoded without a body that lies elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uncorrected {
    /// `operation`.
    pub operation: String,
    /// `modelId`.
    pub model_id: String,
    /// Tokens as the envelope tells them.
    pub usage: Usage,
    /// What `usage` rests on.
    pub basis: CostBasis,
    /// Service tier as far as the record told.
    pub service_tier: ServiceTier,
    /// Units beside tokens as far as the record told.
    pub extras: Extras,
    /// Milliseconds the model took, as far as the record told.
    pub latency_ms: Option<u32>,
}

/// What the bodies make of a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Correction {
    /// Tokens by class.
    pub usage: Usage,
    /// What `usage` rests on; [`CostBasis::Exact`] unless the bodies leave something open too.
    pub basis: CostBasis,
    /// Service tier.
    pub service_tier: ServiceTier,
    /// Units beside tokens.
    pub extras: Extras,
    /// Milliseconds the model took.
    pub latency_ms: Option<u32>,
}

impl Uncorrected {
    /// Tells whether the request body can change the bill, once `response` was read or where there is none.
    ///
    /// Requests are by far the larger bodies. They tell a tier that a Converse answer does not repeat, and the units of calls
    /// that are not billed by output tokens.
    #[must_use]
    pub fn needs_request(&self, response: Option<&[u8]>) -> bool {
        let told = response.and_then(|bytes| body::response(&mut Scanner::new(bytes)).ok()).and_then(|facts| facts.tier);
        let tier_untold = self.operation.starts_with("Converse") && told.is_none() && self.service_tier == ServiceTier::default();
        tier_untold || self.usage.output == 0
    }

    /// The envelope's counts. A record without any has zeros here that nobody told.
    fn counts(&self) -> Counts {
        if self.usage.is_zero() {
            return Counts::default();
        }
        let Usage { input, output, cache_read, cache_write_5m, cache_write_1h } = self.usage;
        let cache_write = cache_write_5m.saturating_add(cache_write_1h);
        Counts { input: Some(input), output: Some(output), cache_read: Some(cache_read), cache_write: Some(cache_write) }
    }
}

/// Reads the usage, tier and units of a call from the bodies that were fetched; what none of them tells stays as it was.
///
/// # Errors
/// Why a body cannot be read; then the call stays as it was.
pub fn usage_from_bodies(call: &Uncorrected, request: Option<&[u8]>, response: Option<&[u8]>) -> Result<Correction, RejectReason> {
    let asked = request.map(|bytes| whole(bytes, body::request)).transpose()?;
    let answered = response.map(|bytes| whole(bytes, body::response)).transpose()?;
    let envelope = Envelope::of_bodies(call.counts(), asked, answered);
    let mut corrected = Correction {
        usage: call.usage,
        basis: call.basis,
        service_tier: call.service_tier,
        extras: call.extras.clone(),
        latency_ms: call.latency_ms,
    };
    let units = record::extras(&envelope, &call.model_id);
    if asked.is_some() {
        let (guardrail, video_ms) = (corrected.extras.guardrail, corrected.extras.video_ms);
        corrected.extras = Extras { guardrail, video_ms, ..units.clone() };
    }
    if let Some(answered) = answered {
        corrected.extras.guardrail = units.guardrail;
        corrected.latency_ms = answered.latency_ms.or(call.latency_ms);
        let (usage, basis) = envelope.response.usage.resolve(envelope.counts)?;
        // Images whose request nobody has seen leave the cost open whatever the answer tells.
        let open = call.basis == CostBasis::Envelope && call.extras.images > 0 && asked.is_none();
        (corrected.usage, corrected.basis) = (usage, if open { CostBasis::Envelope } else { basis });
    } else if asked.is_some() && corrected.usage.cache_write_5m == 0 {
        corrected.basis = CostBasis::Exact;
    }
    if asked.is_some_and(|asked| asked.tier.is_some()) || answered.is_some_and(|answered| answered.tier.is_some()) {
        corrected.service_tier = record::service_tier(&envelope, &call.operation);
    }
    Ok(corrected)
}

/// Reads a body that must be one whole value.
fn whole<T>(bytes: &[u8], read: impl FnOnce(&mut Scanner<'_>) -> Result<T, Fault>) -> Result<T, RejectReason> {
    let mut scanner = Scanner::new(bytes);
    let facts = read(&mut scanner)?;
    if scanner.peek().is_some() { Err(RejectReason::NotJson) } else { Ok(facts) }
}

#[cfg(test)]
mod tests {
    use sluice_schemas::{Batch, Micros, Offloaded};

    use super::*;
    use crate::decode::Decoder;

    const STREAM: &str = r#"[{"type":"message_start","message":{"usage":{"input_tokens":3,"cache_creation_input_tokens":28857,
        "cache_read_input_tokens":0,"cache_creation":{"ephemeral_5m_input_tokens":857,"ephemeral_1h_input_tokens":28000},"output_tokens":1}}},
        {"type":"message_delta","usage":{"output_tokens":142}},"[DONE]"]"#;

    fn record(input: &str, output: &str) -> String {
        format!(
            r#"{{"timestamp":"2026-10-01T00:00:00Z","accountId":"1","region":"r","requestId":"r-1","operation":"InvokeModelWithResponseStream","modelId":"anthropic.claude","input":{{"inputTokenCount":3,"cacheReadInputTokenCount":0,"cacheWriteInputTokenCount":28857{input}}},"output":{{"outputTokenCount":142{output}}},"schemaType":"ModelInvocationLog"}}"#
        )
    }

    fn decode(record: &str) -> Batch {
        let mut batch = Batch::default();
        Decoder::new().decode_lines(record.as_bytes(), 0, Micros::parse_utc(b"2026-10-02T00:00:00Z").expect("a time"), &mut batch);
        assert!(batch.rejected.is_empty(), "{:?}", batch.rejected);
        batch
    }

    fn uncorrected(batch: &Batch) -> Uncorrected {
        let (call, profile) = (batch.invocations[0], batch.profiles[0]);
        Uncorrected {
            operation: batch.strings.get(profile.operation).to_owned(),
            model_id: batch.strings.get(profile.model_id).to_owned(),
            usage: call.usage,
            basis: call.basis,
            service_tier: profile.service_tier,
            extras: call.extras.map_or_else(Extras::default, |at| batch.extras[at as usize].clone()),
            latency_ms: call.latency_ms,
        }
    }

    #[test]
    fn an_offloaded_body_corrects_a_call_to_what_an_inline_one_tells() {
        let inline = decode(&record("", &format!(r#","outputBodyJson":{}"#, STREAM.replace('\n', " "))));
        assert_eq!(inline.offloaded, []);
        let away = decode(&record("", r#","outputBodyS3Path":"s3://b/AWSLogs/1/data/r-1_output.json.gz""#));
        let [Offloaded { invocation: 0, request, response }] = away.offloaded[..] else { panic!("{:?}", away.offloaded) };
        assert_eq!(away.strings.get(request), "");
        assert_eq!(away.strings.get(response), "s3://b/AWSLogs/1/data/r-1_output.json.gz");
        let call = uncorrected(&away);
        assert_eq!((call.usage.cache_write_5m, call.basis), (28_857, CostBasis::Envelope));
        assert!(!call.needs_request(Some(STREAM.as_bytes())));
        let corrected = usage_from_bodies(&call, None, Some(STREAM.as_bytes())).expect("a body");
        assert_eq!((corrected.usage, corrected.basis), (inline.invocations[0].usage, CostBasis::Exact));
        assert_eq!((corrected.usage.cache_write_5m, corrected.usage.cache_write_1h), (857, 28_000));
    }

    #[test]
    fn tier_guardrail_and_latency_come_from_a_converse_answer() {
        let body = r#"{"usage":{"inputTokens":5,"outputTokens":7},"metrics":{"latencyMs":321},"serviceTier":{"type":"flex"},
            "trace":{"guardrail":{"inputAssessment":{"g":{"invocationMetrics":{"usage":{"topicPolicyUnits":2}}}}}}}"#;
        let usage = Usage { input: 5, output: 7, ..Usage::default() };
        let call = Uncorrected { operation: "Converse".to_owned(), usage, ..Uncorrected::default() };
        assert!(call.needs_request(None) && !call.needs_request(Some(body.as_bytes())));
        let corrected = usage_from_bodies(&call, None, Some(body.as_bytes())).expect("a body");
        assert_eq!((corrected.service_tier, corrected.latency_ms, corrected.extras.guardrail.topic), (ServiceTier::Flex, Some(321), 2));
        assert_eq!((corrected.usage, corrected.basis), (usage, CostBasis::Exact));
        // The tier asked for stands where the answer names none.
        let asked = usage_from_bodies(&call, Some(br#"{"serviceTier":{"type":"priority"}}"#), Some(b"{}")).expect("bodies");
        assert_eq!(asked.service_tier, ServiceTier::Priority);
        // A caller of InvokeModel cannot name a tier in a body.
        let invoke = Uncorrected { operation: "InvokeModel".to_owned(), ..call };
        let asked = usage_from_bodies(&invoke, Some(br#"{"serviceTier":{"type":"priority"}}"#), None).expect("a body");
        assert_eq!(asked.service_tier, ServiceTier::Standard);
    }

    #[test]
    fn images_are_counted_by_the_request() {
        let extras = Extras { images: 1, ..Extras::default() };
        let call =
            Uncorrected { model_id: "amazon.nova-canvas-v1:0".to_owned(), basis: CostBasis::Envelope, extras, ..Uncorrected::default() };
        assert!(call.needs_request(None));
        let request =
            br#"{"taskType":"TEXT_IMAGE","imageGenerationConfig":{"numberOfImages":3,"width":512,"height":512,"quality":"premium"}}"#;
        let corrected = usage_from_bodies(&call, Some(request), None).expect("a body");
        assert_eq!((corrected.extras.images, corrected.extras.image_width, corrected.basis), (3, 512, CostBasis::Exact));
        let corrected = usage_from_bodies(&call, None, Some(b"{\"images\": []}")).expect("a body");
        assert_eq!((corrected.extras.images, corrected.basis), (1, CostBasis::Envelope), "the request was not seen");
    }

    #[test]
    fn a_body_that_cannot_be_read_changes_nothing() {
        let call = Uncorrected { basis: CostBasis::Envelope, ..Uncorrected::default() };
        assert_eq!(usage_from_bodies(&call, None, None).map(|corrected| corrected.basis), Ok(CostBasis::Envelope));
        assert_eq!(usage_from_bodies(&call, None, Some(br#"{"usage":{"inputTokens":1"#)), Err(RejectReason::Unbalanced));
        assert_eq!(usage_from_bodies(&call, None, Some(b"{} {}")), Err(RejectReason::NotJson));
        assert!(usage_from_bodies(&call, None, Some(br#"{"usage":{"inputTokens":-1}}"#)).is_err());
        assert!(usage_from_bodies(&call, None, Some(b"\xff\xfe binary")).is_err());
    }
}
