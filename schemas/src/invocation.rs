//! One decoded model invocation, free of text bodies.
//!
//! Source of the shape: AWS, "Monitor model invocation using Amazon CloudWatch Logs and Amazon S3", schema
//! `ModelInvocationLog` version 1.0.

use crate::strings::Sym;
use crate::time::Micros;
use crate::usage::{CostBasis, ServiceTier, Usage};

/// `requestId` of an invocation log, the key that dedups a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RequestId {
    /// A lower-case hyphenated UUID, as AWS writes them: its own 128-bit key.
    Uuid(u128),
    /// Any other text, kept as it was.
    Other(Sym),
}

/// What calls of one kind share: everything about a call but its time, its id and its units.
///
/// Calls repeat a few of these, so attribution and string work are done once for each distinct one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Profile {
    /// `accountId`.
    pub account_id: Sym,
    /// `region`: where the call was made.
    pub region: Sym,
    /// `inferenceRegion`: where it ran; empty when it was not routed elsewhere.
    pub inference_region: Sym,
    /// `operation`, for example `ConverseStream`.
    pub operation: Sym,
    /// `modelId` exactly as logged: a bare id, a profile id or an ARN.
    pub model_id: Sym,
    /// `identity.arn`.
    pub principal_arn: Sym,
    /// `errorCode`; empty for a call that succeeded.
    pub error_code: Sym,
    /// The `requestMetadata` object as JSON text, white space kept; empty when absent.
    pub metadata: Sym,
    /// Service tier as far as the log tells.
    pub service_tier: ServiceTier,
    /// Whether the call is known from CloudTrail alone, so that its cost is a lower bound: budgets do not count it unless they say so.
    pub lower_bound: bool,
}

/// One call to a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// `timestamp`, one-second resolution.
    pub event_time: Micros,
    /// `requestId`.
    pub request_id: RequestId,
    /// Index into the batch's profiles.
    pub profile: u32,
    /// Tokens by class.
    pub usage: Usage,
    /// What `usage` rests on.
    pub basis: CostBasis,
    /// Milliseconds the model took; `None` when the log does not tell.
    pub latency_ms: Option<u32>,
    /// Index into the batch's extras; `None` for a call of tokens alone.
    pub extras: Option<u32>,
}
