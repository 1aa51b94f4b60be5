//! Signed calls of AWS services for which no client is built in: a request, its signature, its answer.
//!
//! Owns: Signature Version 4, credentials and their renewal, time-outs, and what an error answer means. Does not own: what is asked and
//! how often. Blocking, for threads that have nothing else to do.

use std::time::{Duration, SystemTime};

pub use aws_config::SdkConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use sluice_schemas::{ErrorClass, Micros};
use tokio::runtime::Runtime;
use ureq::Agent;
use ureq::http::{self, Request};

/// Time for a call and its whole answer.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Longest answer: a registry record holds up to 100 KiB, a page of a list a hundred short ones.
const MAX_ANSWER: u64 = 8 << 20;
/// How long before their end credentials are renewed.
const RENEW_BEFORE: Duration = Duration::from_secs(300);

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// First part of the host name, for example `bedrock-agent`.
    pub host: &'static str,
    /// Service name in the signature, for example `bedrock`.
    pub service: &'static str,
    /// Region, for the host and the signature.
    pub region: String,
    /// Whether the host name has no region, as that of IAM.
    pub global: bool,
    /// Path and query, escaped.
    pub path: String,
    /// Method and body.
    pub body: Body,
}

/// Method and body of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// `GET`.
    None,
    /// `POST` of JSON.
    Json(String),
    /// `POST` of a form, for query services.
    Form(String),
}

/// How a question is sent, where its body does not say it all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manner {
    /// HTTP method; by default `GET` without a body and `POST` with one.
    pub method: Option<http::Method>,
    /// Further headers, all signed; `content-type` takes the place of the body's.
    pub headers: Vec<(&'static str, String)>,
    /// Time for the call and its whole answer.
    pub timeout: Option<Duration>,
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Its body.
    pub body: Vec<u8>,
    /// The service's id of the request; empty if it gave none.
    pub request_id: String,
}

/// A role to take on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssumedRole {
    /// ARN.
    pub arn: String,
    /// Name of the session, as CloudTrail shows it.
    pub session: String,
    /// What its trust policy asks for in `sts:ExternalId`.
    pub external_id: Option<String>,
}

impl Body {
    const fn method(&self) -> http::Method {
        match self {
            Self::None => http::Method::GET,
            Self::Json(_) | Self::Form(_) => http::Method::POST,
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::None => &[],
            Self::Json(text) | Self::Form(text) => text.as_bytes(),
        }
    }

    const fn content_type(&self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Json(_) => Some("application/json"),
            Self::Form(_) => Some("application/x-www-form-urlencoded; charset=utf-8"),
        }
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The service refused.
    #[error("{code}: {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Error code of the service, or the status.
        code: String,
        /// In its words.
        message: String,
        /// The service's id of the request; empty if it gave none.
        request_id: String,
    },
    /// There are no credentials, or they cannot be renewed.
    #[error("no usable credentials: {detail}")]
    Credentials {
        /// Why.
        detail: String,
    },
    /// The service cannot be reached.
    #[error("{host} cannot be reached: {source}")]
    Network {
        /// Host.
        host: String,
        /// Cause.
        source: Box<ureq::Error>,
    },
    /// An answer that is none, or a request that cannot be made.
    #[error("{detail}")]
    Garbled {
        /// What is wrong.
        detail: String,
    },
}

impl AskError {
    /// Tells whether the service asks to be called less often.
    #[must_use]
    pub fn is_throttling(&self) -> bool {
        matches!(self, Self::Refused { status, code, .. } if *status == 429 || crate::aws::is_throttling(code))
    }

    /// Tells whether the caller lacks a permission.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        let denied = ["AccessDenied", "AccessDeniedException", "UnauthorizedOperation"];
        matches!(self, Self::Refused { code, .. } if denied.contains(&code.as_str()))
    }

    /// Tells whether the thing asked for is not there.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        let gone = ["ResourceNotFoundException", "NoSuchEntity", "NoSuchEntityException"];
        matches!(self, Self::Refused { code, .. } if gone.contains(&code.as_str()))
    }

    /// Returns what the error asks of its caller.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Refused { status, .. } if *status >= 500 || self.is_throttling() => ErrorClass::Transient,
            Self::Network { .. } | Self::Garbled { .. } => ErrorClass::Transient,
            Self::Refused { .. } | Self::Credentials { .. } => ErrorClass::Misconfigured,
        }
    }
}

/// A caller with the credentials of one account.
#[derive(Debug)]
pub struct SignedClient {
    agent: Agent,
    provider: SharedCredentialsProvider,
    runtime: Runtime,
    credentials: Option<Credentials>,
    endpoint: Option<String>,
}

impl SignedClient {
    /// Returns a client with the credentials of a configuration, or of a role that they may take on.
    ///
    /// # Errors
    /// The configuration has no credentials, or no runtime can be started.
    pub fn new(config: &SdkConfig, role: Option<&str>) -> Result<Self, AskError> {
        let session = "sluice-directory".to_owned();
        let role = role.map(|role| AssumedRole { arn: role.to_owned(), session, external_id: None });
        Self::with_role(config, role.as_ref())
    }

    /// Returns a client with the credentials of a configuration, or of a role that they may take on, in a session of a given name.
    ///
    /// # Errors
    /// The configuration has no credentials, or no runtime can be started.
    pub fn with_role(config: &SdkConfig, role: Option<&AssumedRole>) -> Result<Self, AskError> {
        let unusable = |detail: String| AskError::Credentials { detail };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| unusable(error.to_string()))?;
        let own = || config.credentials_provider().ok_or_else(|| unusable("none are configured".to_owned()));
        let provider = match role {
            None => own()?,
            Some(role) => {
                let builder = AssumeRoleProvider::builder(&role.arn).configure(config).session_name(&role.session);
                let builder = role.external_id.iter().fold(builder, |builder, id| builder.external_id(id));
                SharedCredentialsProvider::new(runtime.block_on(builder.build()))
            }
        };
        let agent = Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("sluice/", env!("CARGO_PKG_VERSION")))
            .build();
        let endpoint = config.endpoint_url().map(|url| url.trim_end_matches('/').to_owned());
        Ok(Self { agent: Agent::new_with_config(agent), provider, runtime, credentials: None, endpoint })
    }

    /// Asks once and returns the body of the answer.
    ///
    /// # Errors
    /// See [`AskError`].
    pub fn ask(&mut self, question: &Question, now: Micros) -> Result<Vec<u8>, AskError> {
        self.send(question, &Manner::default(), now).map(|answer| answer.body)
    }

    /// Asks once, in a given manner.
    ///
    /// # Errors
    /// See [`AskError`].
    pub fn send(&mut self, question: &Question, manner: &Manner, now: Micros) -> Result<Answer, AskError> {
        let time = SystemTime::UNIX_EPOCH + Duration::from_micros(u64::try_from(now.0).unwrap_or_default());
        let credentials = self.credentials(time)?;
        self.run(signed(question, manner, self.endpoint.as_deref(), credentials, time)?, manner)
    }

    /// Signs a question and returns all headers of the request but `host`; nothing is sent.
    ///
    /// # Errors
    /// There are no credentials, or the question makes no request.
    pub fn sign(&mut self, question: &Question, manner: &Manner, now: Micros) -> Result<Vec<(String, String)>, AskError> {
        let time = SystemTime::UNIX_EPOCH + Duration::from_micros(u64::try_from(now.0).unwrap_or_default());
        let credentials = self.credentials(time)?;
        let request = signed(question, manner, self.endpoint.as_deref(), credentials, time)?;
        Ok(request.headers().iter().map(plain_header).collect())
    }

    /// Asks once with what somebody else has signed, which stands in the headers of `manner`; the credentials of this client stay here.
    ///
    /// # Errors
    /// See [`AskError`].
    pub fn forward(&self, question: &Question, manner: &Manner) -> Result<Answer, AskError> {
        self.run(plain(question, manner, self.endpoint.as_deref())?, manner)
    }

    fn run(&self, request: Request<Vec<u8>>, manner: &Manner) -> Result<Answer, AskError> {
        let request = self.agent.configure_request(request).timeout_global(Some(manner.timeout.unwrap_or(TIMEOUT))).build();
        let host = request.uri().host().unwrap_or_default().to_owned();
        let unreachable = |source: ureq::Error| AskError::Network { host: host.clone(), source: Box::new(source) };
        let response = self.agent.run(request).map_err(unreachable)?;
        let status = response.status().as_u16();
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        let named = header("x-amzn-errortype");
        let request_id = [header("x-amzn-requestid"), header("x-amz-request-id")].into_iter().find(|id| !id.is_empty());
        let request_id = request_id.unwrap_or_default();
        let body = response.into_body().into_with_config().limit(MAX_ANSWER).read_to_vec().map_err(unreachable)?;
        if (200..300).contains(&status) { Ok(Answer { body, request_id }) } else { Err(refusal(status, &named, &body, request_id)) }
    }

    fn credentials(&mut self, now: SystemTime) -> Result<Credentials, AskError> {
        let lasts = |credentials: &&Credentials| credentials.expiry().is_none_or(|end| end > now + RENEW_BEFORE);
        if let Some(credentials) = self.credentials.as_ref().filter(lasts) {
            return Ok(credentials.clone());
        }
        let fresh = self.runtime.block_on(self.provider.provide_credentials());
        let fresh = fresh.map_err(|error| AskError::Credentials { detail: sluice_schemas::error::causes(&error) })?;
        Ok(self.credentials.insert(fresh).clone())
    }
}

/// Returns the request with its signature.
fn signed(
    question: &Question,
    manner: &Manner,
    endpoint: Option<&str>,
    credentials: Credentials,
    time: SystemTime,
) -> Result<Request<Vec<u8>>, AskError> {
    let garbled = |detail: String| AskError::Garbled { detail };
    let mut request = plain(question, manner, endpoint)?;
    let identity = credentials.into();
    let params = SigningParams::builder()
        .identity(&identity)
        .region(&question.region)
        .name(question.service)
        .time(time)
        .settings(SigningSettings::default())
        .build()
        .map_err(|error| garbled(error.to_string()))?
        .into();
    let headers: Vec<(String, String)> = request.headers().iter().map(plain_header).collect();
    let signable = SignableRequest::new(
        request.method().as_str(),
        request.uri().to_string(),
        headers.iter().map(|(name, value)| (name.as_str(), value.as_str())),
        SignableBody::Bytes(request.body()),
    );
    let instructions = signable.and_then(|signable| sign(signable, &params)).map_err(|error| garbled(error.to_string()))?.into_parts().0;
    instructions.apply_to_request_http1x(&mut request);
    Ok(request)
}

/// Returns the request as it is before it is signed.
fn plain(question: &Question, manner: &Manner, endpoint: Option<&str>) -> Result<Request<Vec<u8>>, AskError> {
    let base = endpoint.map_or_else(|| host(question), str::to_owned);
    let method = manner.method.clone().unwrap_or_else(|| question.body.method());
    let mut request = Request::builder().method(method).uri(format!("{base}{}", question.path));
    let has_kind = manner.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    if let Some(kind) = question.body.content_type().filter(|_| !has_kind) {
        request = request.header("content-type", kind);
    }
    for (name, value) in &manner.headers {
        request = request.header(*name, value);
    }
    request.body(question.body.bytes().to_vec()).map_err(|error| AskError::Garbled { detail: error.to_string() })
}

fn plain_header((name, value): (&http::HeaderName, &http::HeaderValue)) -> (String, String) {
    (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// The address of a service; source: AWS, "Service endpoints and quotas".
fn host(question: &Question) -> String {
    let suffix = if question.region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    match (question.global, question.region.split_once('-')) {
        (true, Some(("cn", _))) => format!("https://{}.cn-north-1.{suffix}", question.host),
        (true, Some(("us", rest))) if rest.starts_with("gov-") => format!("https://{}.us-gov.{suffix}", question.host),
        (true, _) => format!("https://{}.{suffix}", question.host),
        (false, _) => format!("https://{}.{}.{suffix}", question.host, question.region),
    }
}

/// Reads an error answer: a header or members of JSON services, elements of query services.
fn refusal(status: u16, named: &str, body: &[u8], request_id: String) -> AskError {
    let json: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let text = String::from_utf8_lossy(body);
    let element = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        rest.split_once(&format!("</{name}>")).map(|(value, _)| value.to_owned())
    };
    let member = |names: &[&str]| names.iter().find_map(|name| json[*name].as_str()).map(str::to_owned);
    let code =
        Some(named.to_owned()).filter(|code| !code.is_empty()).or_else(|| member(&["__type", "code", "Code"])).or_else(|| element("Code"));
    let code = code.unwrap_or_else(|| status.to_string());
    let bare = code.rsplit('#').next().unwrap_or(&code).split(':').next().unwrap_or(&code).to_owned();
    let message = member(&["message", "Message", "errorMessage"]).or_else(|| element("Message")).unwrap_or_default();
    AskError::Refused { status, code: bare, message: message.chars().take(300).collect(), request_id }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(region: &str, global: bool) -> Question {
        Question { host: "iam", service: "iam", region: region.to_owned(), global, path: "/".to_owned(), body: Body::None }
    }

    #[test]
    fn hosts_of_every_partition() {
        for (region, global, wanted) in [
            ("eu-central-1", false, "https://iam.eu-central-1.amazonaws.com"),
            ("us-east-1", true, "https://iam.amazonaws.com"),
            ("us-gov-west-1", true, "https://iam.us-gov.amazonaws.com"),
            ("us-gov-west-1", false, "https://iam.us-gov-west-1.amazonaws.com"),
            ("cn-north-1", true, "https://iam.cn-north-1.amazonaws.com.cn"),
            ("cn-north-1", false, "https://iam.cn-north-1.amazonaws.com.cn"),
        ] {
            assert_eq!(host(&question(region, global)), wanted);
        }
    }

    #[test]
    fn error_answers_of_both_kinds() {
        let json = refusal(429, "ThrottlingException:http://internal/", br#"{"message":"slow down"}"#, String::new());
        assert!(json.is_throttling() && json.class() == ErrorClass::Transient, "{json}");
        assert_eq!(json.to_string(), "ThrottlingException: slow down");
        let body = refusal(403, "", br#"{"__type":"com.amazon.coral#AccessDeniedException","Message":"no"}"#, String::new());
        assert!(body.is_denied() && body.class() == ErrorClass::Misconfigured, "{body}");
        let xml = refusal(
            404,
            "",
            b"<ErrorResponse><Error><Type>Sender</Type><Code>NoSuchEntity</Code><Message>gone</Message></Error></ErrorResponse>",
            String::new(),
        );
        assert!(xml.is_gone(), "{xml}");
        assert_eq!(refusal(502, "", b"<html>", String::new()).to_string(), "502: ");
        assert_eq!(refusal(502, "", b"", String::new()).class(), ErrorClass::Transient);
    }

    #[test]
    fn a_request_carries_its_signature() {
        let asked = Question {
            host: "bedrock",
            service: "bedrock",
            region: "us-east-1".to_owned(),
            global: false,
            path: "/listTagsForResource".to_owned(),
            body: Body::Json("{}".to_owned()),
        };
        let credentials = Credentials::new("AKIDEXAMPLE", "secret", Some("token".to_owned()), None, "test");
        let request = signed(&asked, &Manner::default(), None, credentials, SystemTime::UNIX_EPOCH).expect("a request");
        let header = |name: &str| request.headers()[name].to_str().expect("text").to_owned();
        assert!(header("authorization").starts_with("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/19700101/us-east-1/bedrock/aws4_request"));
        assert!(header("authorization").contains("content-type;host;x-amz-date;x-amz-security-token"), "{}", header("authorization"));
        assert_eq!((header("x-amz-date").as_str(), header("x-amz-security-token").as_str()), ("19700101T000000Z", "token"));
        assert_eq!(request.uri(), "https://bedrock.us-east-1.amazonaws.com/listTagsForResource");
    }

    #[test]
    fn methods_headers_and_kinds_of_content() {
        let credentials = || Credentials::new("AKIDEXAMPLE", "secret", None, None, "test");
        let asked = Question { body: Body::Json("{}".to_owned()), ..question("us-east-1", false) };
        let manner = Manner {
            method: Some(http::Method::PUT),
            headers: vec![
                ("x-amz-target", "AWSOrganizationsV20161128.AttachPolicy".to_owned()),
                ("content-type", "application/x-amz-json-1.1".to_owned()),
            ],
            timeout: None,
        };
        let request = signed(&asked, &manner, Some("http://127.0.0.1:1"), credentials(), SystemTime::UNIX_EPOCH).expect("a request");
        assert_eq!((request.method(), request.uri().to_string().as_str()), (&http::Method::PUT, "http://127.0.0.1:1/"));
        assert_eq!(request.headers().get_all("content-type").iter().count(), 1);
        assert_eq!(request.headers()["content-type"], "application/x-amz-json-1.1");
        let signature = request.headers()["authorization"].to_str().expect("text");
        assert!(signature.contains("SignedHeaders=content-type;host;x-amz-date;x-amz-target,"), "{signature}");
        let bad = Manner { headers: vec![("x-a", "line\nbreak".to_owned())], ..Manner::default() };
        assert!(matches!(signed(&asked, &bad, None, credentials(), SystemTime::UNIX_EPOCH), Err(AskError::Garbled { .. })));
        let delete = Manner { method: Some(http::Method::DELETE), ..Manner::default() };
        let request = signed(&question("us-east-1", false), &delete, None, credentials(), SystemTime::UNIX_EPOCH).expect("a request");
        assert!(request.method() == http::Method::DELETE && !request.headers().contains_key("content-type"));
    }
}
