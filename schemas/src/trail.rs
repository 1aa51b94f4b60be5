//! One event that says who called: a CloudTrail event, or a span of an agent, reduced to what joins, meters and attributes.
//!
//! Source of the shapes: AWS CloudTrail record contents, event version 1.11; OpenTelemetry semantic conventions for generative
//! AI and the AWS SDK. Absent fields are empty strings.

use serde::{Deserialize, Serialize};

use crate::time::Micros;

/// `event_source` of a span, which no AWS service uses.
pub const SPAN_SOURCE: &str = "opentelemetry";

/// A CloudTrail event of Bedrock, AgentCore, STS or another service, or a span.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrailEvent {
    /// `eventTime`; start of a span.
    pub event_time: Micros,
    /// `eventID`, the key that dedups it; `<trace id>:<span id>` of a span.
    pub event_id: String,
    /// `eventSource`, for example `bedrock.amazonaws.com`; [`SPAN_SOURCE`] of a span.
    pub event_source: String,
    /// `eventName`; name of a span.
    pub event_name: String,
    /// `recipientAccountId`, else `userIdentity.accountId`.
    pub account_id: String,
    /// `awsRegion`.
    pub region: String,
    /// `requestID`; equals `requestId` of the invocation log. `aws.request_id` of a span.
    pub request_id: String,
    /// `errorCode`.
    pub error_code: String,
    /// `userIdentity.type`.
    pub identity_type: String,
    /// `userIdentity.arn`.
    pub principal_arn: String,
    /// `userIdentity.principalId`, for a role session `AROA…:<session name>` (the value of `aws:userid`).
    pub principal_id: String,
    /// `userIdentity.accessKeyId`.
    pub access_key_id: String,
    /// `userIdentity.sessionContext.sessionIssuer.arn`.
    pub issuer_arn: String,
    /// `userIdentity.sessionContext.sourceIdentity`.
    pub source_identity: String,
    /// `userIdentity.inScopeOf.credentialsIssuedTo`.
    pub credentials_issued_to: String,
    /// `userIdentity.invokedBy`: the service that called on the principal's behalf.
    pub invoked_by: String,
    /// `userAgent`.
    pub user_agent: String,
    /// Whether a Bedrock API key was used (`callWithBearerToken`).
    pub bearer_token: bool,
    /// `requestParameters.modelId` or `.foundationModel`.
    pub model_id: String,
    /// `additionalEventData.inferenceRegion`.
    pub inference_region: String,
    /// `additionalEventData.inputTokens`.
    pub input_tokens: Option<u64>,
    /// `additionalEventData.outputTokens`.
    pub output_tokens: Option<u64>,
    /// `resources[].ARN`.
    pub resources: Vec<String>,
    /// Session the event opens, for `AssumeRole` and its variants. Few events have one: apart, so that the others take less.
    pub assumed: Option<Box<AssumedSession>>,
    /// Agent, flow, runtime or gateway that was invoked, for their data events and for spans.
    pub invoked: Option<Box<Invoked>>,
}

/// What an `AssumeRole…` event says about the session it opens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct AssumedSession {
    /// `requestParameters.roleArn`.
    pub role_arn: String,
    /// `requestParameters.roleSessionName`.
    pub session_name: String,
    /// `requestParameters.sourceIdentity`.
    pub source_identity: String,
    /// `responseElements.credentials.accessKeyId`: the `accessKeyId` of every later call of the session.
    pub access_key_id: String,
    /// `responseElements.assumedRoleUser.assumedRoleId`.
    pub assumed_role_id: String,
    /// `responseElements.assumedRoleUser.arn`.
    pub assumed_role_arn: String,
    /// `responseElements.credentials.expiration`; absent when it cannot be read.
    pub expires: Option<Micros>,
    /// `requestParameters.tags`, `incomingTransitiveTags` and `principalTags`, in that order of precedence.
    pub tags: Vec<(String, String)>,
    /// `requestParameters.transitiveTagKeys`.
    pub transitive_keys: Vec<String>,
    /// Keys of `incomingTransitiveTags` that the request did not set itself: an earlier role of the chain passed them on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inherited: Vec<String>,
}

/// What a data event of an agent, or a span within one, says about the run it belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Invoked {
    /// ARN of the runtime, agent alias, inline agent, flow, knowledge base or gateway: `requestParameters.agentRuntimeArn`, else of
    /// `resources`, else made of `agentId` and `agentAliasId`.
    pub resource_arn: String,
    /// `runtimeSessionId`, `sessionId`; `session.id` of a span.
    pub session_id: String,
    /// `runtimeUserId`; `sub` of the token a gateway accepted.
    pub user_id: String,
    /// `gen_ai.agent.name` of a span, name of an inline agent.
    pub agent_name: String,
    /// Other claims of the token a gateway accepted (`iss`, `client_id`, `scope`), sorted.
    pub claims: Vec<(String, String)>,
}
