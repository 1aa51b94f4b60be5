//! Small texts that lie in AWS: objects of S3 and parameters of the Parameter Store, each with its version.
//!
//! Owns: how one is fetched, and what is to be done when it cannot be. Does not own: what stands in it, and how often it is looked at.
//! Blocking, for the start of a program or for a thread of its own.

use std::time::Duration;

use aws_config::{Region, SdkConfig};
use aws_sdk_s3::Client;
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::get_object::{GetObjectError, GetObjectOutput};
use serde::Deserialize;
use sluice_schemas::{Clock, ErrorClass};
use tokio::runtime::Runtime;

use crate::aws::{self, AwsSettings, Call, Fault, Stage};
use crate::signed::{AskError, Body, Manner, Question, SignedClient};
use crate::source::SourceError;

/// Largest object: a price file or an agents file, not data.
const SIZE_MAX: i64 = 16 << 20;
/// Tries of a call that is throttled or meets an outage.
const TRIES: u32 = 3;
/// Pause before the second try; doubled before each further one.
const PAUSE: Duration = Duration::from_millis(200);
/// Header in which S3 names the region of a bucket that was asked for elsewhere.
const REGION_HEADER: &str = "x-amz-bucket-region";

/// A text and its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The text.
    pub text: String,
    /// What AWS calls this state of it: the number of a parameter's version, the version id or the entity tag of an object.
    pub version: String,
}

/// Fetches documents, with the region, the credentials and the endpoint of the environment.
#[derive(Debug)]
pub struct Documents {
    runtime: Runtime,
    config: SdkConfig,
    region: String,
    objects: Client,
    parameters: Option<SignedClient>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ParameterAnswer {
    parameter: Parameter,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Parameter {
    value: String,
    version: i64,
}

impl Documents {
    /// Reads the environment; nothing is asked yet.
    ///
    /// # Errors
    /// No region is given anywhere, or the system gives no runtime.
    pub fn open() -> Result<Self, SourceError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|source| SourceError::Service {
            resource: "the clients of AWS".to_owned(),
            problem: "the system gives them no runtime".to_owned(),
            fix: "raise the limit of open files".to_owned(),
            class: ErrorClass::Misconfigured,
            source: Some(Box::new(source)),
        })?;
        let config = runtime.block_on(aws::load(&AwsSettings::default())).map_err(|error| match error {
            SourceError::Service { resource, problem, class, source, .. } => {
                let fix = "set AWS_REGION, or the region of the profile, to that of the configuration".to_owned();
                SourceError::Service { resource, problem, fix, class, source }
            }
            other => other,
        })?;
        let region = config.region().map(ToString::to_string).unwrap_or_default();
        let objects = client(&config, None);
        Ok(Self { runtime, config, region, objects, parameters: None })
    }

    /// Fetches an object of S3.
    ///
    /// # Errors
    /// What is wrong, and what to do about it.
    pub fn object(&mut self, bucket: &str, key: &str) -> Result<Document, SourceError> {
        let (runtime, objects) = (&self.runtime, &self.objects);
        let get = |client: &Client| runtime.block_on(client.get_object().bucket(bucket).key(key).send()).map_err(Box::new);
        let answer = get(objects).or_else(|error| match elsewhere(&error) {
            Some(region) if region != self.region => get(&client(&self.config, Some(region))),
            _ => Err(error),
        });
        let answer = answer.map_err(|error| self.explain_object(bucket, key, &error))?;
        self.read(bucket, key, answer)
    }

    fn read(&self, bucket: &str, key: &str, answer: GetObjectOutput) -> Result<Document, SourceError> {
        let resource = format!("s3://{bucket}/{key}");
        let fail = |problem: String, fix: &str, class: ErrorClass| {
            let fix = fix.to_owned();
            SourceError::Service { resource: resource.clone(), problem, fix, class, source: None }
        };
        let size = answer.content_length().unwrap_or_default();
        if size > SIZE_MAX {
            let problem = format!("it has {size} bytes, more than the {SIZE_MAX} of a configuration file");
            return Err(fail(problem, "name the right object", ErrorClass::Misconfigured));
        }
        let etag = answer.e_tag().map(|etag| format!("etag {}", etag.trim_matches('"')));
        let version = answer.version_id().filter(|id| *id != "null").map(str::to_owned).or(etag).unwrap_or_default();
        let bytes = self.runtime.block_on(answer.body.collect());
        let bytes = bytes.map_err(|error| fail(format!("the answer broke off: {error}"), "it is fetched again", ErrorClass::Transient))?;
        let text = String::from_utf8(bytes.into_bytes().into());
        let text = text.map_err(|_| fail("it is no UTF-8 text".to_owned(), "store it as plain text", ErrorClass::Misconfigured))?;
        Ok(Document { text, version })
    }

    fn explain_object(&self, bucket: &str, key: &str, error: &SdkError<GetObjectError>) -> SourceError {
        let (resource, arn) = (format!("s3://{bucket}/{key}"), format!("arn:aws:s3:::{bucket}/{key}"));
        let fault = Fault::of(error);
        let call = Call { resource: &resource, action: "s3:GetObject", arn: &arn, region: &self.region };
        let (mut fix, class) = aws::remedy(call, &fault);
        match fault.code() {
            "NoSuchKey" | "NotFound" => fix = format!("put it there: aws s3 cp FILE {resource}"),
            "NoSuchBucket" => fix = "check the name of the bucket".to_owned(),
            "AccessDenied" if fault.problem.contains("kms:") => fix = decrypt(&resource),
            "AccessDenied" => fix += "; without s3:ListBucket S3 says the same of an object that does not exist",
            _ => {}
        }
        SourceError::Service { resource, problem: fault.problem, fix, class, source: None }
    }

    /// Fetches a parameter, decrypted if it is a secure string. Its name may end in a version or a label: `/sluice/config:3`.
    ///
    /// # Errors
    /// What is wrong, and what to do about it.
    pub fn parameter(&mut self, name: &str, clock: &dyn Clock) -> Result<Document, SourceError> {
        let question = Question {
            host: "ssm",
            service: "ssm",
            region: self.region.clone(),
            global: false,
            path: "/".to_owned(),
            body: Body::Json(serde_json::json!({ "Name": name, "WithDecryption": true }).to_string()),
        };
        let headers =
            vec![("content-type", "application/x-amz-json-1.1".to_owned()), ("x-amz-target", "AmazonSSM.GetParameter".to_owned())];
        let manner = Manner { headers, ..Manner::default() };
        let mut pause = PAUSE;
        for is_last in (1..=TRIES).map(|number| number == TRIES) {
            let body = self.parameters().and_then(|client| client.send(&question, &manner, clock.now()).map(|answer| answer.body));
            match body.and_then(|body| parameter(&body)) {
                Ok(document) => return Ok(document),
                Err(error) if is_last || error.class() != ErrorClass::Transient => return Err(self.explain_parameter(name, &error)),
                Err(error) => tracing::debug!(name, %error, "asked again"),
            }
            std::thread::sleep(pause);
            pause *= 2;
        }
        Err(self.explain_parameter(name, &AskError::Garbled { detail: "no answer".to_owned() }))
    }

    fn parameters(&mut self) -> Result<&mut SignedClient, AskError> {
        if self.parameters.is_none() {
            self.parameters = Some(SignedClient::with_role(&self.config, None)?);
        }
        self.parameters.as_mut().ok_or_else(|| AskError::Credentials { detail: "there is no client".to_owned() })
    }

    fn explain_parameter(&self, name: &str, error: &AskError) -> SourceError {
        let region = &self.region;
        let (bare, _) = name.split_once(':').unwrap_or((name, ""));
        let (resource, arn) = (format!("ssm:{name}"), format!("arn:aws:ssm:{region}:*:parameter{bare}"));
        let (stage, code) = match error {
            AskError::Refused { code, .. } => (Stage::Service, Some(code.clone())),
            AskError::Credentials { .. } => (Stage::Unsent, None),
            AskError::Network { .. } => (Stage::Network, None),
            AskError::Garbled { .. } => (Stage::Garbled, None),
        };
        let fault = Fault { stage, code, problem: error.to_string() };
        let (mut fix, class) = aws::remedy(Call { resource: &resource, action: "ssm:GetParameter", arn: &arn, region }, &fault);
        match fault.code() {
            "ParameterNotFound" => {
                fix = format!(
                    "there is none of that name in {region} in the account of the credentials: aws ssm put-parameter --name {bare} \
                     --type String --value file://sluice.toml"
                );
            }
            "ParameterVersionNotFound" | "ParameterVersionLabelLimitExceeded" => {
                fix = format!("list its versions: aws ssm get-parameter-history --name {bare}");
            }
            "AccessDeniedException" | "InvalidKeyId" if fault.problem.contains("kms") || fault.code() == "InvalidKeyId" => {
                fix = decrypt(&resource);
            }
            "ValidationException" => fix = "write it like ssm:/sluice/config".to_owned(),
            _ => {}
        }
        SourceError::Service { resource, problem: fault.problem, fix, class, source: None }
    }
}

fn decrypt(resource: &str) -> String {
    format!("allow kms:Decrypt on the key that encrypts {resource} to the role sluice runs as")
}

fn client(config: &SdkConfig, region: Option<String>) -> Client {
    let builder = aws_sdk_s3::config::Builder::from(config).force_path_style(config.endpoint_url().is_some());
    Client::from_conf(region.into_iter().fold(builder, |builder, region| builder.region(Region::new(region))).build())
}

/// Returns the region that a bucket is in, where S3 says that it is another one.
fn elsewhere(error: &SdkError<GetObjectError>) -> Option<String> {
    error.raw_response()?.headers().get(REGION_HEADER).map(str::to_owned)
}

fn parameter(body: &[u8]) -> Result<Document, AskError> {
    let answer: ParameterAnswer =
        serde_json::from_slice(body).map_err(|error| AskError::Garbled { detail: format!("an answer that is no parameter: {error}") })?;
    Ok(Document { text: answer.parameter.value, version: answer.parameter.version.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_read() {
        let body = br#"{"Parameter": {"Name": "/s", "Type": "String", "Value": "a = 1\n", "Version": 7, "ARN": "arn:x"}}"#;
        let read = parameter(body).expect("a parameter");
        assert_eq!(read, Document { text: "a = 1\n".to_owned(), version: "7".to_owned() });
        assert!(matches!(parameter(b"{}"), Err(AskError::Garbled { .. })));
    }

    #[test]
    fn what_is_wrong_with_a_parameter_is_told() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let config =
            SdkConfig::builder().region(Region::new("eu-central-1")).behavior_version(aws_config::BehaviorVersion::latest()).build();
        let objects = client(&config, None);
        let documents = Documents { runtime, config, region: "eu-central-1".to_owned(), objects, parameters: None };
        let refused = |code: &str, message: &str| {
            let (code, message) = (code.to_owned(), message.to_owned());
            let error = AskError::Refused { status: 400, code, message, request_id: String::new() };
            documents.explain_parameter("/sluice/config:3", &error).to_string()
        };
        for (code, message, wanted) in [
            ("ParameterNotFound", "", "put-parameter --name /sluice/config "),
            (
                "AccessDeniedException",
                "User: x is not authorized",
                "ssm:GetParameter on arn:aws:ssm:eu-central-1:*:parameter/sluice/config ",
            ),
            ("AccessDeniedException", "x is not authorized to perform: kms:Decrypt", "kms:Decrypt on the key"),
            ("ParameterVersionNotFound", "", "get-parameter-history"),
            ("ThrottlingException", "Rate exceeded", "throttles"),
        ] {
            let told = refused(code, message);
            assert!(told.starts_with("ssm:/sluice/config:3: ") && told.contains(wanted), "{told}");
        }
    }
}
