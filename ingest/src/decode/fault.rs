//! Why a value could not be read, in two bytes: it is handed up through every level of the scan of every record.

use sluice_schemas::RejectReason;

/// The fields that are read, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Field {
    AccountId,
    Region,
    InferenceRegion,
    Operation,
    ModelId,
    Arn,
    ErrorCode,
    RequestId,
    Timestamp,
    SchemaType,
    Identity,
    Input,
    Output,
    RequestMetadata,
    InputTokens,
    CacheRead,
    CacheWrite,
    InputBody,
    InputPath,
    OutputTokens,
    OutputBody,
    OutputPath,
    VideoSeconds,
    Usage,
    Guardrail,
    MessageType,
    Owner,
    LogGroup,
    SubscriptionFilters,
    LogEvents,
    Message,
    Records,
    DetailType,
    Detail,
    EventId,
    EventTime,
    EventSource,
    EventName,
    Recipient,
    AwsRegion,
    TrailRequestId,
    UserAgent,
    UserIdentity,
    IdentityType,
    IdentityArn,
    IdentityAccount,
    PrincipalId,
    AccessKeyId,
    InvokedBy,
    RequestParameters,
    ResponseElements,
    AdditionalData,
    Resources,
    TrailInput,
    TrailOutput,
    ResourceSpans,
    TraceId,
    SpanId,
    SpanName,
    SpanStart,
    SpanAttributes,
    SpanResource,
}

impl Field {
    /// Returns the field's path in a record.
    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::AccountId => "accountId",
            Self::Region => "region",
            Self::InferenceRegion => "inferenceRegion",
            Self::Operation => "operation",
            Self::ModelId => "modelId",
            Self::Arn => "identity.arn",
            Self::ErrorCode => "errorCode",
            Self::RequestId => "requestId",
            Self::Timestamp => "timestamp",
            Self::SchemaType => "schemaType",
            Self::Identity => "identity",
            Self::Input => "input",
            Self::Output => "output",
            Self::RequestMetadata => "requestMetadata",
            Self::InputTokens => "input.inputTokenCount",
            Self::CacheRead => "input.cacheReadInputTokenCount",
            Self::CacheWrite => "input.cacheWriteInputTokenCount",
            Self::InputBody => "input.inputBodyJson",
            Self::InputPath => "input.inputBodyS3Path",
            Self::OutputTokens => "output.outputTokenCount",
            Self::OutputBody => "output.outputBodyJson",
            Self::OutputPath => "output.outputBodyS3Path",
            Self::VideoSeconds => "output.outputVideoDurationSeconds",
            Self::Usage => "output.outputBodyJson.usage",
            Self::Guardrail => "guardrail.invocationMetrics.usage",
            Self::MessageType => "messageType",
            Self::Owner => "owner",
            Self::LogGroup => "logGroup",
            Self::SubscriptionFilters => "subscriptionFilters",
            Self::LogEvents => "logEvents",
            Self::Message => "logEvents.message",
            Self::Records => "Records",
            Self::DetailType => "detail-type",
            Self::Detail => "detail",
            Self::EventId => "eventID",
            Self::EventTime => "eventTime",
            Self::EventSource => "eventSource",
            Self::EventName => "eventName",
            Self::Recipient => "recipientAccountId",
            Self::AwsRegion => "awsRegion",
            Self::TrailRequestId => "requestID",
            Self::UserAgent => "userAgent",
            Self::UserIdentity => "userIdentity",
            Self::IdentityType => "userIdentity.type",
            Self::IdentityArn => "userIdentity.arn",
            Self::IdentityAccount => "userIdentity.accountId",
            Self::PrincipalId => "userIdentity.principalId",
            Self::AccessKeyId => "userIdentity.accessKeyId",
            Self::InvokedBy => "userIdentity.invokedBy",
            Self::RequestParameters => "requestParameters",
            Self::ResponseElements => "responseElements",
            Self::AdditionalData => "additionalEventData",
            Self::Resources => "resources",
            Self::TrailInput => "additionalEventData.inputTokens",
            Self::TrailOutput => "additionalEventData.outputTokens",
            Self::ResourceSpans => "resourceSpans",
            Self::TraceId => "traceId",
            Self::SpanId => "spanId",
            Self::SpanName => "name",
            Self::SpanStart => "startTimeUnixNano",
            Self::SpanAttributes => "attributes",
            Self::SpanResource => "resource",
        }
    }
}

/// Why a value could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The bytes end before the value does.
    Truncated,
    /// Not JSON.
    Syntax,
    /// A string with a raw control character or an escape that does not exist.
    Text,
    /// Text that is not UTF-8.
    NotUtf8,
    /// A field the record needs is absent.
    Missing(Field),
    /// A field of another type or form than documented.
    Malformed(Field),
    /// The same key twice.
    Duplicate(Field),
    /// A number or a length that no record has.
    OutOfRange(Field),
}

impl Fault {
    /// Lays broken text at the field it stands in.
    pub(super) const fn at(self, field: Field) -> Self {
        match self {
            Self::Text => Self::Malformed(field),
            fault => fault,
        }
    }

    /// Tells whether the form of the JSON is at fault, rather than what a field holds.
    pub(super) const fn is_form(self) -> bool {
        matches!(self, Self::Truncated | Self::Syntax | Self::Text)
    }
}

impl From<Fault> for RejectReason {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Truncated => Self::Unbalanced,
            Fault::Syntax | Fault::Text => Self::NotJson,
            Fault::NotUtf8 => Self::NotUtf8,
            Fault::Missing(field) => Self::Missing { field: field.path() },
            Fault::Malformed(field) => Self::Malformed { field: field.path() },
            Fault::Duplicate(field) => Self::Duplicate { field: field.path() },
            Fault::OutOfRange(field) => Self::OutOfRange { field: field.path() },
        }
    }
}
