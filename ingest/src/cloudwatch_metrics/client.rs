//! CloudWatch over HTTPS: two operations in its JSON protocol, signed.
//!
//! The SDK's client of CloudWatch would switch on features of crates that DataFusion stands on, which would then be compiled twice.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::thread;
use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use serde_json::Value;
use sluice_schemas::{Clock, ErrorClass, SystemClock};
use tokio::runtime::Handle;

use super::Answer;
use crate::aws::{self, AwsSettings, Call, Fault, Stage};
use crate::source::SourceError;

/// Prefix of the operation in `X-Amz-Target`.
const TARGET: &str = "GraniteServiceVersion20100801";
/// Time for one try.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Tries of a call that is throttled or meets an outage.
const TRIES: u32 = 8;
/// Pause before the second try; doubled before each further one.
const PAUSE: Duration = Duration::from_millis(250);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Largest answer: 100,800 numbers with their times take about four megabytes.
const ANSWER_MAX: u64 = 64 << 20;

/// What is wrong where nobody gives credentials.
const NO_CREDENTIALS: &str = "it cannot be asked without credentials";

/// How CloudWatch of one account and region is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CloudWatchSettings {
    /// Region.
    pub region: String,
    /// Role to read with, in the account that is asked.
    pub role_arn: Option<String>,
    /// URL to send every call to, for a VPC endpoint or an emulator.
    pub endpoint: Option<String>,
    /// Profile of the shared configuration files.
    pub profile: Option<String>,
}

/// CloudWatch of one account and region.
pub struct CloudWatch {
    account_id: String,
    region: String,
    url: String,
    credentials: Credentials,
    agent: ureq::Agent,
}

impl std::fmt::Debug for CloudWatch {
    /// Leaves out what is secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CloudWatch").field("account_id", &self.account_id).field("url", &self.url).finish_non_exhaustive()
    }
}

impl CloudWatch {
    /// Takes credentials and finds out whose they are.
    ///
    /// # Errors
    /// There are no credentials, or they are refused.
    pub fn open(settings: &CloudWatchSettings, runtime: &Handle) -> Result<Self, SourceError> {
        let reach =
            AwsSettings { region: Some(settings.region.clone()), endpoint: settings.endpoint.clone(), profile: settings.profile.clone() };
        let (config, credentials, account_id) = runtime.block_on(async {
            let mut config = aws::load(&reach).await?;
            if let Some(role) = &settings.role_arn {
                let role = AssumeRoleProvider::builder(role).session_name("sluice-coverage").configure(&config).build().await;
                config = config.into_builder().credentials_provider(SharedCredentialsProvider::new(role)).build();
            }
            let credentials = credentials(&config, settings).await?;
            let account_id = account(&config, settings).await?;
            Ok::<_, SourceError>((config, credentials, account_id))
        })?;
        let url = config.endpoint_url().map_or_else(|| url(&settings.region), |url| format!("{}/", url.trim_end_matches('/')));
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("sluice/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Self { account_id, region: settings.region.clone(), url, credentials, agent: ureq::Agent::new_with_config(agent) })
    }

    /// Returns the account whose metrics these are.
    #[must_use]
    pub fn account_id(&self) -> &str {
        &self.account_id
    }

    fn call_of(&self, operation: &'static str) -> (String, &'static str) {
        let action = if operation == "ListMetrics" { "cloudwatch:ListMetrics" } else { "cloudwatch:GetMetricData" };
        (self.name(), action)
    }

    fn fail(&self, operation: &'static str, fault: Fault) -> SourceError {
        let (resource, action) = self.call_of(operation);
        let (fix, class) = aws::remedy(Call { resource: &resource, action, arn: "*", region: &self.region }, &fault);
        SourceError::Service { resource, problem: fault.problem, fix, class, source: None }
    }

    /// Carries out one try.
    fn attempt(&self, operation: &'static str, body: &[u8]) -> Result<Value, Fault> {
        let target = format!("{TARGET}.{operation}");
        let headers = [("content-type", "application/x-amz-json-1.0"), ("x-amz-target", target.as_str())];
        let mut request = self.agent.post(&self.url);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        for (name, value) in self.signature(&headers, body).map_err(|problem| Fault { stage: Stage::Unsent, code: None, problem })? {
            request = request.header(name, value);
        }
        let mut response = request.send(body).map_err(|error| fault_of(&error))?;
        let status = response.status().as_u16();
        let text = response.body_mut().with_config().limit(ANSWER_MAX).read_to_vec().map_err(|error| fault_of(&error))?;
        let answer: Option<Value> = serde_json::from_slice(&text).ok();
        match answer {
            Some(answer) if status == 200 => Ok(answer),
            answer => Err(refusal(status, answer.as_ref())),
        }
    }

    fn signature(&self, headers: &[(&str, &str)], body: &[u8]) -> Result<Vec<(String, String)>, String> {
        let identity = self.credentials.clone().into();
        let now = SystemTime::UNIX_EPOCH + Duration::from_micros(u64::try_from(SystemClock.now().0).unwrap_or(0));
        let params = v4::SigningParams::builder().identity(&identity).region(&self.region).name("monitoring").time(now);
        let params = params.settings(SigningSettings::default()).build().map_err(|error| error.to_string())?.into();
        let request = SignableRequest::new("POST", &self.url, headers.iter().copied(), SignableBody::Bytes(body));
        let signed = sign(request.map_err(|error| error.to_string())?, &params).map_err(|error| error.to_string())?;
        let (instructions, _) = signed.into_parts();
        Ok(instructions.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }
}

impl Answer for CloudWatch {
    fn call(&mut self, operation: &'static str, body: &Value) -> Result<Value, SourceError> {
        let body = body.to_string().into_bytes();
        let mut pause = PAUSE;
        for last in (0..TRIES).map(|number| number + 1 == TRIES) {
            match self.attempt(operation, &body) {
                Ok(answer) => return Ok(answer),
                Err(fault) => {
                    let error = self.fail(operation, fault);
                    if last || error.class() != ErrorClass::Transient {
                        return Err(error);
                    }
                    tracing::debug!(operation, %error, "called again");
                }
            }
            // Up to half as much again, so that several that were throttled together do not come back together.
            let more = pause.as_millis() as u64 / 2;
            thread::sleep(pause + Duration::from_millis(RandomState::new().hash_one(operation) % more.max(1)));
            pause = (pause * 2).min(PAUSE_MAX);
        }
        Err(self.fail(operation, Fault { stage: Stage::Timeout, code: None, problem: "no answer".to_owned() }))
    }

    fn name(&self) -> String {
        format!("CloudWatch of account {} in {}", self.account_id, self.region)
    }
}

async fn credentials(config: &SdkConfig, settings: &CloudWatchSettings) -> Result<Credentials, SourceError> {
    let missing = |problem: String, source: Option<Box<dyn std::error::Error + Send + Sync>>| {
        let resource = format!("CloudWatch in {}", settings.region);
        let fault = Fault { stage: Stage::Unsent, code: None, problem };
        let call = Call {
            resource: &resource,
            action: "sts:AssumeRole",
            arn: settings.role_arn.as_deref().unwrap_or("*"),
            region: &settings.region,
        };
        let (fix, class) = aws::remedy(call, &fault);
        SourceError::Service { resource: resource.clone(), problem: fault.problem, fix, class, source }
    };
    let provider = config.credentials_provider().ok_or_else(|| missing(NO_CREDENTIALS.to_owned(), None))?;
    provider.provide_credentials().await.map_err(|error| {
        let what = settings.role_arn.as_ref().map_or_else(|| NO_CREDENTIALS.to_owned(), |role| format!("{role} cannot be assumed"));
        missing(what, Some(Box::new(error)))
    })
}

/// Asks whose credentials they are; needs no permission.
async fn account(config: &SdkConfig, settings: &CloudWatchSettings) -> Result<String, SourceError> {
    let answer = aws_sdk_sts::Client::new(config).get_caller_identity().send().await;
    let call = Call { resource: "the credentials", action: "sts:GetCallerIdentity", arn: "*", region: &settings.region };
    let answer = answer.map_err(|error| aws::explain(call, error))?;
    Ok(answer.account.unwrap_or_default())
}

/// Returns the endpoint of a region.
fn url(region: &str) -> String {
    let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    format!("https://monitoring.{region}.{domain}/")
}

fn fault_of(error: &ureq::Error) -> Fault {
    let stage = if matches!(error, ureq::Error::Timeout(_)) { Stage::Timeout } else { Stage::Network };
    Fault { stage, code: None, problem: error.to_string() }
}

/// Returns what an answer that is none says.
fn refusal(status: u16, answer: Option<&Value>) -> Fault {
    let field = |names: [&str; 2]| names.into_iter().find_map(|name| answer?.get(name)?.as_str());
    let code = field(["__type", "code"]).map(|code| code.rsplit('#').next().unwrap_or(code).to_owned());
    let code = code.or_else(|| (status == 429).then(|| "TooManyRequestsException".to_owned()));
    let code = code.or_else(|| (status >= 500).then(|| "ServiceUnavailable".to_owned()));
    let problem = match (&code, field(["message", "Message"])) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.clone(),
        (None, _) => format!("status {status} and no reason"),
    };
    Fault { stage: if code.is_some() { Stage::Service } else { Stage::Garbled }, code, problem }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn refusals_are_told_apart() {
        let throttled = refusal(400, Some(&serde_json::json!({ "__type": "com.amazon#ThrottlingException", "message": "Rate exceeded" })));
        assert_eq!((throttled.code(), throttled.problem.as_str()), ("ThrottlingException", "ThrottlingException: Rate exceeded"));
        assert_eq!(refusal(503, None).code(), "ServiceUnavailable");
        assert_eq!(refusal(429, None).code(), "TooManyRequestsException");
        assert_eq!(refusal(404, None).stage, Stage::Garbled);
    }

    /// Answers each connection with the next of the given answers and returns what was asked of it.
    fn played(answers: &'static [(u16, &'static str)]) -> (String, thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let answer = move |(status, body): &(u16, &str)| {
            let mut stream = BufReader::new(listener.accept().unwrap().0);
            let (mut head, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).unwrap();
                if let Some(bytes) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = bytes.trim().parse().unwrap();
                }
                if line.trim().is_empty() {
                    break;
                }
                head.push_str(&line);
            }
            stream.read_exact(&mut vec![0; length]).unwrap();
            let length = body.len();
            write!(stream.get_mut(), "HTTP/1.1 {status} x\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}").unwrap();
            head
        };
        (url, thread::spawn(move || answers.iter().map(answer).collect()))
    }

    fn client(url: String) -> CloudWatch {
        CloudWatch {
            account_id: "111122223333".to_owned(),
            region: "eu-central-1".to_owned(),
            url,
            credentials: Credentials::new("AKIDEXAMPLE", "secret", Some("token".to_owned()), None, "test"),
            agent: ureq::Agent::config_builder().http_status_as_error(false).build().into(),
        }
    }

    #[test]
    fn a_call_that_is_throttled_is_made_again_and_signed() {
        static ANSWERS: [(u16, &str); 3] =
            [(400, r#"{"__type":"com.amazonaws#Throttling","message":"Rate exceeded"}"#), (503, ""), (200, r#"{"Metrics":[]}"#)];
        let (url, server) = played(&ANSWERS);
        let answer = client(url).call("ListMetrics", &serde_json::json!({ "Namespace": "AWS/Bedrock" })).unwrap();
        assert_eq!(answer, serde_json::json!({ "Metrics": [] }));
        let asked = server.join().unwrap();
        assert_eq!(asked.len(), 3);
        for head in asked {
            let head = head.to_ascii_lowercase();
            assert!(head.contains("x-amz-target: graniteserviceversion20100801.listmetrics"), "{head}");
            assert!(head.contains("authorization: aws4-hmac-sha256 credential=akidexample/"), "{head}");
            assert!(head.contains("x-amz-security-token: token"), "{head}");
        }
    }

    #[test]
    fn a_refusal_is_not_asked_again_and_names_the_permission() {
        static ANSWERS: [(u16, &str); 1] = [(400, r#"{"__type":"AccessDenied","message":"no"}"#)];
        let (url, server) = played(&ANSWERS);
        let error = client(url).call("GetMetricData", &serde_json::json!({})).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Misconfigured);
        assert!(error.to_string().contains("allow cloudwatch:GetMetricData"), "{error}");
        assert_eq!(server.join().unwrap().len(), 1);
    }

    #[test]
    fn china_has_a_domain_of_its_own() {
        assert_eq!(url("eu-central-1"), "https://monitoring.eu-central-1.amazonaws.com/");
        assert_eq!(url("cn-north-1"), "https://monitoring.cn-north-1.amazonaws.com.cn/");
    }
}
