//! Calls of S3 from threads without a runtime, repeated where that can help, and what their failures mean.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use bytes::Bytes;
use sluice_schemas::error::causes;
use tokio::runtime::Runtime;

use super::S3Settings;
use crate::lake::LakeError;

/// Tries of a call.
const TRIES: u32 = 8;
/// Pause before the second try; it doubles, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time to the first byte of an answer, a part of a large object being sent before it.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(60);

/// A bucket and the client that reaches it.
#[derive(Debug)]
pub(super) struct S3 {
    pub(super) client: Client,
    pub(super) bucket: String,
    region: String,
    /// Absent only while it is dropped.
    runtime: Option<Runtime>,
}

/// What was asked, for the text of its failure.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    pub(super) what: &'static str,
    /// IAM actions it needs.
    pub(super) permission: &'static str,
    pub(super) key: &'a str,
}

/// A call that failed.
#[derive(Debug)]
pub(super) struct Failure {
    /// Code of the service; empty where there was no answer.
    code: String,
    status: u16,
    problem: String,
    /// Not sent, and will not be however often it is tried.
    is_hopeless: bool,
    /// How often it was tried.
    pub(super) tries: u32,
}

impl<E: ProvideErrorMetadata + Error + 'static> From<SdkError<E>> for Failure {
    fn from(error: SdkError<E>) -> Self {
        let causes = causes(&error);
        let status = error.raw_response().map_or(0, |response| response.status().as_u16());
        let meta = error.as_service_error().map(ProvideErrorMetadata::meta);
        let code = meta.and_then(|meta| meta.code()).unwrap_or_default().to_owned();
        let problem = match meta.and_then(|meta| meta.message()) {
            Some(message) => format!("{code}: {message}"),
            None => causes.clone(),
        };
        // A source of credentials that fails for the moment is no want of them.
        let wanting = ["provider was not enabled", "not properly configured"].iter().any(|words| causes.contains(words));
        let is_hopeless = matches!(error, SdkError::ConstructionFailure(_)) || wanting;
        Self { code, status, problem, is_hopeless, tries: 0 }
    }
}

impl Failure {
    /// Returns the failure of an answer that broke off.
    pub(super) fn broken(error: impl Error + 'static) -> Self {
        Self { code: String::new(), status: 0, problem: causes(&error), is_hopeless: false, tries: 0 }
    }

    /// Tells whether the service answered with this code. Answers to HEAD have none, only a status.
    pub(super) fn is(&self, code: &str) -> bool {
        let status = match code {
            "NoSuchKey" => 404,
            "PreconditionFailed" => 412,
            _ => return self.code == code,
        };
        self.code == code || (self.status == status && !self.code.starts_with("NoSuchB") && self.code != "NoSuchUpload")
    }

    /// Tells whether an upload that failed may be complete: it is gone after more than one try, or the answer was no refusal.
    pub(super) fn may_be_done(&self) -> bool {
        (self.code == "NoSuchUpload" && self.tries > 1) || (self.code.is_empty() && self.status == 200)
    }

    /// Tells whether another try may succeed. "Error responses" of the S3 API reference.
    fn is_transient(&self) -> bool {
        if self.is_hopeless {
            return false;
        }
        match self.code.as_str() {
            "SlowDown"
            | "InternalError"
            | "ServiceUnavailable"
            | "RequestTimeout"
            | "OperationAborted"
            | "ConditionalRequestConflict"
            | "ThrottlingException"
            | "Throttling"
            | "RequestLimitExceeded"
            | "TooManyRequests"
            | "BadDigest"
            | "IncompleteBody" => true,
            _ => self.status == 0 || self.status >= 500 || matches!(self.status, 408 | 409 | 429),
        }
    }
}

impl S3 {
    pub(super) fn connect(bucket: &str, settings: &S3Settings) -> Result<Self, LakeError> {
        let place = || PathBuf::from(format!("s3://{bucket}"));
        let started = tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("lake-s3").enable_all().build();
        let runtime = started.map_err(|source| LakeError::io("reach", &place(), source))?;
        let http = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
        let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).operation_attempt_timeout(ATTEMPT_TIMEOUT).build();
        let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http).timeout_config(timeouts);
        if let Some(region) = &settings.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(endpoint) = &settings.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        if let Some(profile) = &settings.profile {
            loader = loader.profile_name(profile);
        }
        let config = call(&runtime, loader.load()).ok_or_else(|| LakeError::Remote {
            what: "reach",
            path: place(),
            problem: "loading the configuration of AWS failed".to_owned(),
            fix: "check the shared configuration files".to_owned(),
            is_transient: false,
        })?;
        let region = config.region().map_or("no region", |region| region.as_ref()).to_owned();
        // A bucket's name is no host name of an endpoint of one's own.
        let by_path = config.endpoint_url().is_some() || std::env::var_os("AWS_ENDPOINT_URL_S3").is_some();
        let config = aws_sdk_s3::config::Builder::from(&config).force_path_style(by_path).retry_config(RetryConfig::disabled()).build();
        Ok(Self { client: Client::from_conf(config), bucket: bucket.to_owned(), region, runtime: Some(runtime) })
    }

    /// Sends a call and waits for its answer; again where that may help. All calls here may be repeated.
    ///
    /// The SDK's own retries are off: they pass over connections that break before the answer.
    pub(super) fn send<T, F>(&self, make: impl Fn() -> F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        let broken = || Failure { code: String::new(), status: 0, problem: "the call broke off".to_owned(), is_hopeless: true, tries: 1 };
        let mut tries = 1;
        loop {
            let runtime = self.runtime.as_ref().ok_or_else(broken)?;
            match call(runtime, make()).ok_or_else(broken)? {
                Err(failure) if failure.is_transient() && tries < TRIES => {
                    std::thread::sleep(FIRST_PAUSE.saturating_mul(1 << (tries - 1)).min(LONGEST_PAUSE));
                    tries += 1;
                }
                answer => return answer.map_err(|failure| Failure { tries, ..failure }),
            }
        }
    }

    /// Writes an object whatever was there.
    pub(super) fn put(&self, key: &str, bytes: Bytes) -> Result<(), LakeError> {
        let call = Call { what: "write", permission: "s3:PutObject", key };
        let sent = self.send(|| {
            let put = self.client.put_object().bucket(&self.bucket).key(key).body(ByteStream::from(bytes.clone()));
            async move { put.send().await.map(drop).map_err(Failure::from) }
        });
        sent.map_err(|failure| self.explain(call, failure))
    }

    /// Returns the size of an object; `None` if it does not exist.
    pub(super) fn size(&self, key: &str) -> Result<Option<u64>, LakeError> {
        let call = Call { what: "look at", permission: "s3:GetObject and s3:ListBucket", key };
        let head = self.client.head_object().bucket(&self.bucket).key(key);
        let answer = self.send(|| {
            let head = head.clone();
            async move { head.send().await.map_err(Failure::from) }
        });
        match answer {
            Ok(found) => Ok(found.content_length().and_then(|length| u64::try_from(length).ok())),
            Err(failure) if failure.is("NoSuchKey") => Ok(None),
            Err(failure) => Err(self.explain(call, failure)),
        }
    }

    /// Returns where an object is.
    pub(super) fn locate(&self, key: &str) -> PathBuf {
        PathBuf::from(format!("s3://{}/{key}", self.bucket))
    }

    /// Turns a failure into what went wrong and what to do about it.
    pub(super) fn explain(&self, call: Call<'_>, failure: Failure) -> LakeError {
        let Self { bucket, region, .. } = self;
        let is_transient = failure.is_transient();
        let fix = match (failure.code.as_str(), failure.status) {
            _ if is_transient => "try again later".to_owned(),
            ("NoSuchBucket", _) => "make the bucket, or check its name and the account of the credentials".to_owned(),
            ("ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired", _) => {
                "the credentials have expired: renew them (for example aws sso login) or run under a role".to_owned()
            }
            ("InvalidAccessKeyId" | "SignatureDoesNotMatch" | "RequestTimeTooSkewed" | "InvalidToken", _) => {
                "check the access key and the clock of this machine: aws sts get-caller-identity".to_owned()
            }
            ("PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException", _) | (_, 301) => {
                format!("the bucket is in another region than {region}: set AWS_REGION")
            }
            (_, 403) => format!("allow {} on arn:aws:s3:::{bucket} and what is below it to the role sluice runs as", call.permission),
            _ if failure.is_hopeless => {
                "set AWS_REGION and credentials (AWS_PROFILE, AWS_ACCESS_KEY_ID), or give this machine a role".to_owned()
            }
            _ => format!("see {} in the S3 API reference", call.permission),
        };
        let path = self.locate(call.key);
        LakeError::Remote { what: call.what, path, problem: failure.problem, fix, is_transient }
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        // The ordinary way waits, which is not allowed inside another runtime.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Runs a call to its end; `None` if it panicked. The caller may be inside another runtime.
fn call<T: Send + 'static>(runtime: &Runtime, call: impl Future<Output = T> + Send + 'static) -> Option<T> {
    let (answer, answered) = sync_channel(1);
    runtime.handle().spawn(async move {
        // The caller waits below; if it could not, nobody would want the answer.
        drop(answer.send(call.await));
    });
    answered.recv().ok()
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: &str, status: u16, tries: u32) -> Failure {
        Failure { code: code.to_owned(), status, problem: String::new(), is_hopeless: false, tries }
    }

    #[test]
    fn what_may_pass_is_tried_again() {
        for (code, status, expected) in [
            ("", 0, true),
            ("SlowDown", 503, true),
            ("InternalError", 500, true),
            ("InternalError", 200, true),
            ("ConditionalRequestConflict", 409, true),
            ("RequestTimeout", 400, true),
            ("PreconditionFailed", 412, false),
            ("AccessDenied", 403, false),
            ("NoSuchBucket", 404, false),
            ("InvalidRange", 416, false),
            ("", 200, false),
        ] {
            assert_eq!(failure(code, status, 1).is_transient(), expected, "{code} {status}");
        }
        assert!(!Failure { is_hopeless: true, ..failure("", 0, 1) }.is_transient());
    }

    #[test]
    fn answers_to_head_have_no_code() {
        assert!(failure("", 404, 1).is("NoSuchKey") && failure("NoSuchKey", 404, 1).is("NoSuchKey"));
        assert!(!failure("NoSuchBucket", 404, 1).is("NoSuchKey") && !failure("NoSuchUpload", 404, 1).is("NoSuchKey"));
        assert!(failure("", 412, 1).is("PreconditionFailed"));
    }

    #[test]
    fn an_upload_that_is_gone_may_be_done() {
        assert!(failure("NoSuchUpload", 404, 2).may_be_done() && !failure("NoSuchUpload", 404, 1).may_be_done());
        assert!(failure("", 200, 1).may_be_done() && !failure("InvalidPart", 400, 3).may_be_done());
    }
}
