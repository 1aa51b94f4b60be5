//! One simulated call: what a reader of the log can know of it, and how the record will look.

use std::sync::Arc;

use sluice_schemas::time::SECOND;
use sluice_schemas::usage::GuardrailUnits;
use sluice_schemas::{CostBasis, Micros, ServiceTier, Usage};

use super::cast::Order;
use super::models::Family;
use super::put::Put;

/// What a reader of the log can know of one call; the truth a run is measured against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TruthCall {
    /// `requestId`.
    pub(crate) request_id: String,
    /// `timestamp`, whole seconds.
    pub(crate) event_time: Micros,
    /// `accountId`.
    pub(crate) account_id: Arc<str>,
    /// `region`.
    pub(crate) region: Arc<str>,
    /// `inferenceRegion`, where it differs.
    pub(crate) inference_region: Option<&'static str>,
    /// `operation`.
    pub(crate) operation: &'static str,
    /// `modelId`.
    pub(crate) model_id: Arc<str>,
    /// `identity.arn`.
    pub(crate) principal_arn: Arc<str>,
    /// The agent that really called.
    pub(crate) agent_id: Arc<str>,
    /// How that agent can be told.
    pub(crate) identity: &'static str,
    /// The session it really belongs to.
    pub(crate) session_id: Arc<str>,
    /// The agent named in the metadata.
    pub(crate) claimed_agent: Option<Arc<str>>,
    /// The session named in the metadata.
    pub(crate) claimed_session: Option<Arc<str>>,
    /// Tokens as the log reveals them: cache writes of unknown lifetime count as five-minute ones.
    pub(crate) usage: Usage,
    /// Whether their lifetime is known.
    pub(crate) basis: CostBasis,
    /// Tier as the log reveals it.
    pub(crate) service_tier: ServiceTier,
    /// `errorCode`; empty for success.
    pub(crate) error_code: &'static str,
    /// Latency as the log reveals it.
    pub(crate) latency_ms: Option<u32>,
    /// Guardrail units as the log reveals them.
    pub(crate) guardrail: GuardrailUnits,
}

impl TruthCall {
    /// Appends the call as one line of JSON.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let optional = |out: &mut Vec<u8>, key: &str, value: Option<&str>| match value {
            Some(value) => {
                out.pair(key, value);
            }
            None => {
                out.key(key).text("null");
            }
        };
        out.text("{\"request_id\":").string(&self.request_id).pair("event_time", &self.event_time.to_string());
        out.pair("account_id", &self.account_id).pair("region", &self.region);
        optional(out, "inference_region", self.inference_region);
        out.pair("operation", self.operation).pair("model_id", &self.model_id).pair("principal_arn", &self.principal_arn);
        out.pair("agent_id", &self.agent_id).pair("identity", self.identity).pair("session_id", &self.session_id);
        optional(out, "claimed_agent", self.claimed_agent.as_deref());
        optional(out, "claimed_session", self.claimed_session.as_deref());
        let usage = &self.usage;
        out.count("input", usage.input).count("output", usage.output).count("cache_read", usage.cache_read);
        out.count("cache_write", usage.cache_write_5m + usage.cache_write_1h);
        out.count("cache_write_5m", usage.cache_write_5m).count("cache_write_1h", usage.cache_write_1h);
        out.pair("basis", self.basis.as_str()).pair("service_tier", self.service_tier.as_str()).pair("error_code", self.error_code);
        match self.latency_ms {
            Some(latency) => out.count("latency_ms", u64::from(latency)),
            None => out.key("latency_ms").text("null"),
        };
        let units = &self.guardrail;
        if *units == GuardrailUnits::default() {
            out.key("guardrail").text("null");
        } else {
            out.key("guardrail").text("{\"topic\":").number(units.topic).count("content", units.content).count("word", units.word);
            out.count("sensitive", units.sensitive).count("sensitive_free", units.sensitive_free);
            out.count("grounding", units.grounding).text("}");
        }
        out.text("}\n");
    }
}

/// Whether and where a body is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// Not delivered.
    #[default]
    None,
    /// In the record.
    Inline,
    /// In an object of its own under `data/`.
    Offloaded,
}

/// What a guardrail did to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guard {
    /// Looked at the prompt and the answer and let them pass.
    Passed,
    /// Blocked the prompt: no tokens, units all the same.
    BlockedInput,
    /// Blocked the answer: its tokens are billed.
    BlockedOutput,
}

/// A call with everything that its record is made from.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// What the log will reveal.
    pub(crate) truth: TruthCall,
    /// Tokens as they were, cache writes by lifetime.
    pub(crate) usage: Usage,
    /// Shape of its bodies.
    pub(crate) family: Family,
    /// Model name inside bodies.
    pub(crate) model: &'static str,
    /// Whether the model knows prompt caching: the envelope then has the cache fields.
    pub(crate) caches: bool,
    /// Tier asked for.
    pub(crate) asked_tier: Option<&'static str>,
    /// Tier it was served at.
    pub(crate) served_tier: Option<&'static str>,
    /// Milliseconds it took.
    pub(crate) latency_ms: u32,
    /// What a guardrail did.
    pub(crate) guard: Option<Guard>,
    /// Where the request body is.
    pub(crate) request: Delivery,
    /// Where the response body is.
    pub(crate) response: Delivery,
    /// Key order.
    pub(crate) order: Order,
    /// `requestMetadata` as JSON text; empty for none.
    pub(crate) metadata: String,
}

impl Call {
    /// Returns the tokens written to the cache.
    pub(crate) const fn written(&self) -> u64 {
        self.usage.cache_write_5m + self.usage.cache_write_1h
    }

    /// Returns the folder of the hour the call was logged in, as Bedrock names it in S3.
    pub(crate) fn folder(&self) -> String {
        hour_folder(&self.truth.account_id, &self.truth.region, self.truth.event_time)
    }
}

/// Returns `AWSLogs/<account>/BedrockModelInvocationLogs/<region>/YYYY/MM/DD/HH`.
pub(crate) fn hour_folder(account_id: &str, region: &str, moment: Micros) -> String {
    let text = moment.to_string();
    let (date, time) = text.split_at(text.find('T').unwrap_or(text.len()));
    let hour = time.get(1..3).unwrap_or("00");
    format!("AWSLogs/{account_id}/BedrockModelInvocationLogs/{region}/{}/{hour}", date.replace('-', "/"))
}

/// Returns the moment a log would show: whole seconds.
pub(crate) const fn logged(moment: Micros) -> Micros {
    moment.floor(SECOND)
}
