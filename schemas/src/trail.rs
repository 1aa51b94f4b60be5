//! One CloudTrail event, reduced to what joins, meters and attributes.
//!
//! Source of the shape: AWS CloudTrail record contents, event version 1.11. Absent fields are empty strings.

use crate::time::Micros;

/// A CloudTrail event of Bedrock, AgentCore, STS or another service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrailEvent {
    /// `eventTime`.
    pub event_time: Micros,
    /// `eventID`, the key that dedups it.
    pub event_id: String,
    /// `eventSource`, for example `bedrock.amazonaws.com`.
    pub event_source: String,
    /// `eventName`.
    pub event_name: String,
    /// `recipientAccountId`, else `userIdentity.accountId`.
    pub account_id: String,
    /// `awsRegion`.
    pub region: String,
    /// `requestID`; equals `requestId` of the invocation log.
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
    /// Session the event opens, for `AssumeRole` and its variants.
    pub assumed: Option<AssumedSession>,
}

/// What an `AssumeRole…` event says about the session it opens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    /// `requestParameters.tags`, `incomingTransitiveTags` and `principalTags`, in that order of precedence.
    pub tags: Vec<(String, String)>,
    /// `requestParameters.transitiveTagKeys`.
    pub transitive_keys: Vec<String>,
}
