//! What every AWS source shares: how the SDK is set up, and what its failures mean to the person who runs sluice.
//!
//! Owns: the SDK configuration and the translation of SDK errors into [`SourceError::Service`] with a remedy. Does not own:
//! what is called, nor when it is called again.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use serde::Deserialize;
use sluice_schemas::ErrorClass;

use crate::source::SourceError;

/// Time to open a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time to the first byte of an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(15);
/// Time for one attempt of a call, its answer included.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);
/// Attempts of a call; what is called in a loop anyway switches them off.
const ATTEMPTS: u32 = 3;

/// How AWS is reached. What is absent comes from the environment, the shared configuration files, or the machine's role.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AwsSettings {
    /// Region, for example `eu-central-1`.
    pub region: Option<String>,
    /// URL to send every call to, for a VPC endpoint or an emulator.
    pub endpoint: Option<String>,
    /// Profile of the shared configuration files.
    pub profile: Option<String>,
}

/// Loads the configuration of the SDK: credentials chain, region, TLS, time-outs, standard retries.
///
/// # Errors
/// No region is given anywhere.
pub async fn load(settings: &AwsSettings) -> Result<SdkConfig, SourceError> {
    let http = aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .build();
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .timeout_config(timeouts)
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS));
    if let Some(region) = &settings.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(endpoint) = &settings.endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    if let Some(profile) = &settings.profile {
        loader = loader.profile_name(profile);
    }
    let config = loader.load().await;
    if config.region().is_none() {
        return Err(SourceError::Service {
            resource: "aws".to_owned(),
            problem: "no region is set".to_owned(),
            fix: "set 'region' of the source, AWS_REGION, or the region of the profile".to_owned(),
            class: ErrorClass::Misconfigured,
            source: None,
        });
    }
    Ok(config)
}

/// What was being called when a failure came: named in its text.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// What it is about, in the words of the configuration, for example `kinesis stream bedrock-logs`.
    pub resource: &'a str,
    /// The IAM action it needs, for example `kinesis:GetRecords`.
    pub action: &'a str,
    /// The ARN, or a pattern of it, on which the action must be allowed.
    pub arn: &'a str,
    /// The region it went to.
    pub region: &'a str,
}

/// Turns a failure of the SDK into what went wrong and what to do about it.
pub fn explain<E, R>(call: Call<'_>, error: SdkError<E, R>) -> SourceError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    R: fmt::Debug + Send + Sync + 'static,
{
    let fault = Fault::of(&error);
    let (fix, class) = remedy(call, &fault);
    SourceError::Service { resource: call.resource.to_owned(), problem: fault.problem, fix, class, source: Some(Box::new(error)) }
}

/// What is known of a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// How far the call came.
    pub(crate) stage: Stage,
    /// Error code of the service.
    pub(crate) code: Option<String>,
    /// In words.
    pub(crate) problem: String,
}

/// How far a call came before it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It was not sent: no credentials, or the request could not be made.
    Unsent,
    /// The service could not be reached, or the connection broke.
    Network,
    /// No answer in time; the service may have carried it out.
    Timeout,
    /// An answer that is no answer.
    Garbled,
    /// The service answered with an error.
    Service,
}

impl Fault {
    /// Takes a failure of the SDK apart.
    pub(crate) fn of<E, R>(error: &SdkError<E, R>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
        R: fmt::Debug + 'static,
    {
        let causes = causes(error);
        let stage = match error {
            SdkError::ServiceError(_) => Stage::Service,
            SdkError::TimeoutError(_) => Stage::Timeout,
            SdkError::DispatchFailure(failure) if failure.is_timeout() => Stage::Timeout,
            SdkError::DispatchFailure(_) if causes.contains("credential") => Stage::Unsent,
            SdkError::DispatchFailure(_) => Stage::Network,
            SdkError::ResponseError(_) => Stage::Garbled,
            _ => Stage::Unsent,
        };
        let meta = error.as_service_error().map(ProvideErrorMetadata::meta);
        let code = meta.and_then(|meta| meta.code()).map(|code| code.rsplit('#').next().unwrap_or(code).to_owned());
        let code = code.or_else(|| error.as_service_error().and_then(named));
        let problem = match (&code, meta.and_then(|meta| meta.message())) {
            (Some(code), Some(message)) => format!("{code}: {message}"),
            (Some(code), None) if !causes.contains(code.as_str()) => code.clone(),
            _ => causes,
        };
        Self { stage, code, problem }
    }

    /// Returns the code, or nothing.
    pub(crate) fn code(&self) -> &str {
        self.code.as_deref().unwrap_or_default()
    }
}

/// Returns the name with which the text of a modeled error begins: one that comes within an event stream has no code.
fn named(error: &impl Error) -> Option<String> {
    let text = error.to_string();
    let name = text.split(':').next().unwrap_or(&text);
    let is_name = name.starts_with(|first: char| first.is_ascii_uppercase()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_name.then(|| name.to_owned())
}

/// The texts of an error and of all that lies below it, without repetition.
fn causes(error: &(dyn Error + 'static)) -> String {
    let (mut text, mut next) = (String::new(), Some(error));
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.contains(&words) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&words);
        }
        next = cause.source();
    }
    text
}

/// Returns what to do about a failure, and its class. Codes: "Common errors" of the service APIs and the Kinesis, S3, SQS and
/// CloudWatch Logs API references.
pub(crate) fn remedy(call: Call<'_>, fault: &Fault) -> (String, ErrorClass) {
    let Call { action, arn, region, .. } = call;
    let skewed = ["Signature expired", "Signature not yet current"].iter().any(|words| fault.problem.contains(words));
    let (fix, class) = match fault.code() {
        "RequestTimeTooSkewed" | "RequestExpired" | "RequestInTheFuture" => (clock(), ErrorClass::Misconfigured),
        "InvalidSignatureException" | "SignatureDoesNotMatch" if skewed => (clock(), ErrorClass::Misconfigured),
        "InvalidSignatureException" | "SignatureDoesNotMatch" | "IncompleteSignature" | "IncompleteSignatureException" => (
            format!("check the secret access key, the clock of this machine, and that nothing between it and {region} rewrites requests"),
            ErrorClass::Misconfigured,
        ),
        "AccessDenied" | "AccessDeniedException" | "UnauthorizedOperation" | "AuthorizationError" | "Forbidden" => {
            (format!("allow {action} on {arn} to the role sluice runs as"), ErrorClass::Misconfigured)
        }
        "KMSAccessDeniedException" => {
            (format!("allow kms:Decrypt on the key that encrypts {arn} to the role sluice runs as"), ErrorClass::Misconfigured)
        }
        "KMSDisabledException" | "KMSInvalidStateException" | "KMSNotFoundException" | "KMSOptInRequired" => {
            (format!("enable or restore the KMS key that encrypts {arn}"), ErrorClass::Misconfigured)
        }
        "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" => (
            "the credentials have expired: renew them (for example aws sso login) or run under a role".to_owned(),
            ErrorClass::Misconfigured,
        ),
        "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidAccessKeyId"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "OptInRequired"
        | "SubscriptionRequiredException"
        | "NotSignedUp" => (
            format!("check the access key, and that its account may use region {region}: aws sts get-caller-identity"),
            ErrorClass::Misconfigured,
        ),
        "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException" | "IncorrectEndpoint" => {
            (format!("it is in another region than {region}: set 'region' of the source"), ErrorClass::Misconfigured)
        }
        "ResourceNotFoundException"
        | "NoSuchBucket"
        | "NoSuchKey"
        | "NotFound"
        | "QueueDoesNotExist"
        | "AWS.SimpleQueueService.NonExistentQueue" => {
            (format!("check its name, and that it is in region {region} and in the account of the credentials"), ErrorClass::Misconfigured)
        }
        code if is_throttling(code) => {
            (format!("{region} throttles the calls: they are repeated with growing pauses"), ErrorClass::Transient)
        }
        code if is_outage(code) => (format!("the service in {region} has trouble: the call is repeated"), ErrorClass::Transient),
        "" => by_stage(call, fault.stage),
        // A refusal this program does not know cannot be cured by asking again.
        _ if fault.stage == Stage::Service => (format!("see {action} in the API reference"), ErrorClass::Misconfigured),
        _ => by_stage(call, fault.stage),
    };
    (fix, class)
}

fn by_stage(call: Call<'_>, stage: Stage) -> (String, ErrorClass) {
    let Call { action, region, .. } = call;
    match stage {
        Stage::Unsent => (
            "no usable credentials: set AWS_PROFILE or AWS_ACCESS_KEY_ID, or give this machine, container or function a role".to_owned(),
            ErrorClass::Misconfigured,
        ),
        Stage::Network => {
            (format!("the endpoint in {region} cannot be reached: check DNS, route, proxy, VPC endpoint"), ErrorClass::Transient)
        }
        Stage::Timeout => (format!("no answer from {region} in time: the call is repeated"), ErrorClass::Transient),
        Stage::Garbled | Stage::Service => {
            (format!("{region} gave no proper answer to {action}: the call is repeated"), ErrorClass::Transient)
        }
    }
}

fn clock() -> String {
    "the clock of this machine is wrong by more than five minutes: set it (chrony, ntpd, w32time)".to_owned()
}

/// Tells whether a code asks to call less often.
pub(crate) fn is_throttling(code: &str) -> bool {
    matches!(
        code,
        "ProvisionedThroughputExceededException"
            | "LimitExceededException"
            | "KMSThrottlingException"
            | "Throttling"
            | "ThrottlingException"
            | "ThrottledException"
            | "RequestThrottled"
            | "RequestThrottledException"
            | "RequestLimitExceeded"
            | "TooManyRequestsException"
            | "SlowDown"
            | "BandwidthLimitExceeded"
    )
}

/// Tells whether a code says that the service itself is at fault.
pub(crate) fn is_outage(code: &str) -> bool {
    matches!(
        code,
        "InternalFailure"
            | "InternalFailureException"
            | "InternalServerError"
            | "InternalServerException"
            | "InternalError"
            | "ServiceUnavailable"
            | "ServiceUnavailableException"
            | "RequestTimeout"
            | "RequestTimeoutException"
            | "OperationAborted"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: Call<'static> = Call {
        resource: "kinesis stream logs",
        action: "kinesis:GetRecords",
        arn: "arn:aws:kinesis:eu-central-1:111122223333:stream/logs",
        region: "eu-central-1",
    };

    fn service(code: &str, message: &str) -> Fault {
        Fault { stage: Stage::Service, code: Some(code.to_owned()), problem: format!("{code}: {message}") }
    }

    #[test]
    fn each_failure_names_its_remedy() {
        let cases = [
            ("AccessDeniedException", "", "kinesis:GetRecords on arn:aws:kinesis:eu-central-1:111122223333:stream/logs", false),
            ("KMSAccessDeniedException", "", "kms:Decrypt", false),
            ("ExpiredTokenException", "", "expired", false),
            ("UnrecognizedClientException", "", "access key", false),
            ("InvalidSignatureException", "Signature expired: 20260101T000000Z is now earlier than", "clock", false),
            ("RequestTimeTooSkewed", "", "clock", false),
            ("ResourceNotFoundException", "Stream logs under account 111122223333 not found.", "region eu-central-1", false),
            ("PermanentRedirect", "", "another region", false),
            ("ProvisionedThroughputExceededException", "", "throttles", true),
            ("InternalFailure", "", "repeated", true),
            ("SomethingNew", "", "API reference", false),
        ];
        for (code, message, words, transient) in cases {
            let (fix, class) = remedy(CALL, &service(code, message));
            assert!(fix.contains(words), "{code}: {fix}");
            assert_eq!(class == ErrorClass::Transient, transient, "{code}");
        }
    }

    #[test]
    fn an_error_within_a_stream_is_told_by_its_name() {
        let error = aws_sdk_kinesis::types::error::ResourceInUseException::builder().message("another one").build();
        let fault = Fault::of(&SdkError::<_, ()>::service_error(error, ()));
        assert_eq!((fault.stage, fault.code()), (Stage::Service, "ResourceInUseException"));
        assert!(fault.problem.contains("another one"), "{}", fault.problem);
    }

    #[test]
    fn a_failure_without_a_code_is_told_by_how_far_it_came() {
        let fault = |stage| Fault { stage, code: None, problem: String::new() };
        assert!(remedy(CALL, &fault(Stage::Unsent)).0.contains("credentials"));
        assert_eq!(remedy(CALL, &fault(Stage::Unsent)).1, ErrorClass::Misconfigured);
        for stage in [Stage::Network, Stage::Timeout, Stage::Garbled, Stage::Service] {
            assert_eq!(remedy(CALL, &fault(stage)).1, ErrorClass::Transient);
        }
    }
}
