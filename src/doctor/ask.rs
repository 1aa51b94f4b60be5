//! Questions to AWS as the doctor asks them: by hand, each with the name of the permission it needs. None changes anything.
//!
//! Source of protocols, targets and names: AWS, the API reference of each service.

use serde_json::Value;
use sluice_enforce::aws::{Aws, Body, Call, CallError, Method, Reply};
use sluice_enforce::iam::wire::{escape, form};
use sluice_enforce::iam::xml::Node;
use sluice_schemas::Micros;
use sluice_schemas::time::MINUTE;

use super::finding::Finding;

/// Most pages of a list that are read.
const PAGES: usize = 20;
/// SHA-256 of nothing, which S3 wants to be told.
const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// A service that speaks JSON and is told the operation in a header.
pub(crate) struct Service {
    host: &'static str,
    target: &'static str,
    content: &'static str,
    global: bool,
}

const fn service(host: &'static str, target: &'static str) -> Service {
    Service { host, target, content: "application/x-amz-json-1.1", global: false }
}

const fn service_10(host: &'static str, target: &'static str) -> Service {
    Service { host, target, content: "application/x-amz-json-1.0", global: false }
}

pub(crate) const LOGS: Service = service("logs", "Logs_20140328");
pub(crate) const KINESIS: Service = service("kinesis", "Kinesis_20131202");
pub(crate) const CLOUDTRAIL: Service = service("cloudtrail", "com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101");
pub(crate) const EVENTS: Service = service("events", "AWSEvents");
pub(crate) const SQS: Service = service_10("sqs", "AmazonSQS");
pub(crate) const DYNAMODB: Service = service_10("dynamodb", "DynamoDB_20120810");
pub(crate) const SSM: Service = service("ssm", "AmazonSSM");
pub(crate) const COST_EXPLORER: Service = service("ce", "AWSInsightsIndexService");
pub(crate) const DATA_EXPORTS: Service = service("bcm-data-exports", "AWSBillingAndCostManagementDataExports");
pub(crate) const BUDGETS: Service = Service { global: true, ..service("budgets", "AWSBudgetServiceGateway") };
pub(crate) const GLUE: Service = service("glue", "AWSGlue");
pub(crate) const ATHENA: Service = service("athena", "AmazonAthena");

/// Someone who can be asked, in one region.
#[derive(Clone, Copy)]
pub(crate) struct Desk<'a> {
    /// Signs and sends.
    pub(crate) aws: &'a dyn Aws,
    /// Region.
    pub(crate) region: &'a str,
}

/// A call that reads, with its parts filled in later.
fn call(desk: Desk<'_>, host: &'static str, action: &'static str) -> Call {
    Call {
        account: String::new(),
        host,
        service: host,
        region: desk.region.to_owned(),
        global: false,
        method: Method::Post,
        path: "/".to_owned(),
        headers: Vec::new(),
        body: Body::None,
        action,
        writes: false,
    }
}

fn json_of(action: &'static str, reply: &Reply) -> Result<Value, CallError> {
    if reply.body.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&reply.body).map_err(|error| CallError::Garbled { action, detail: error.to_string() })
}

fn xml_of(action: &'static str, reply: &Reply) -> Result<Node, CallError> {
    let garbled = |detail: String| CallError::Garbled { action, detail };
    let text = std::str::from_utf8(&reply.body).map_err(|error| garbled(error.to_string()))?;
    Node::parse(text).map_err(|error| garbled(error.to_string()))
}

fn result_of(action: &'static str, operation: &str, reply: &Reply) -> Result<Node, CallError> {
    let root = xml_of(action, reply)?;
    let name = format!("{operation}Result");
    let detail = format!("<{}> without {name}", root.name);
    root.children.into_iter().find(|child| child.name == name).ok_or(CallError::Garbled { action, detail })
}

impl Desk<'_> {
    /// Asks a service that speaks JSON for an operation; `action` is the permission that it needs.
    pub(crate) fn json(self, service: &Service, operation: &str, action: &'static str, body: &Value) -> Result<Value, CallError> {
        let mut asked = call(self, service.host, action);
        asked.headers = vec![("x-amz-target", format!("{}.{operation}", service.target)), ("content-type", service.content.to_owned())];
        (asked.body, asked.global) = (Body::Json(body.to_string()), service.global);
        json_of(action, &self.aws.call(&asked)?)
    }

    /// Asks for all pages of a list: `list` is the member with the entries, `token` how the next page is called in answer and question.
    pub(crate) fn all(
        self,
        service: &Service,
        (operation, action): (&str, &'static str),
        mut body: Value,
        (list, token): (&str, &str),
    ) -> Result<Vec<Value>, CallError> {
        let mut found = Vec::new();
        for _ in 0..PAGES {
            let mut page = self.json(service, operation, action, &body)?;
            if let Value::Array(entries) = page[list].take() {
                found.extend(entries);
            }
            let next = page[token].take();
            if !next.is_string() {
                break;
            }
            body[token] = next;
        }
        Ok(found)
    }

    /// Asks a service for a path.
    pub(crate) fn rest(self, host: &'static str, action: &'static str, path: &str) -> Result<Value, CallError> {
        let mut asked = call(self, host, action);
        (asked.method, asked.path) = (Method::Get, path.to_owned());
        json_of(action, &self.aws.call(&asked)?)
    }

    /// Asks a query service; returns the element that holds the result.
    pub(crate) fn query(
        self,
        host: &'static str,
        (operation, version): (&str, &str),
        action: &'static str,
        fields: &[(&str, &str)],
    ) -> Result<Node, CallError> {
        let mut asked = call(self, host, action);
        asked.body = Body::Form(form(operation, version, fields));
        result_of(action, operation, &self.aws.call(&asked)?)
    }

    /// Asks IAM, which has one address for all regions of a partition.
    pub(crate) fn iam(self, operation: &str, action: &'static str, fields: &[(&str, &str)]) -> Result<Node, CallError> {
        let mut asked = call(self, "iam", action);
        asked.global = true;
        asked.body = Body::Form(form(operation, "2010-05-08", fields));
        result_of(action, operation, &self.aws.call(&asked)?)
    }

    /// Asks S3 for a path and query; the answer may be empty.
    pub(crate) fn s3(self, action: &'static str, path: &str) -> Result<Node, CallError> {
        let mut asked = call(self, "s3", action);
        (asked.method, asked.path) = (Method::Get, path.to_owned());
        asked.headers = vec![("x-amz-content-sha256", EMPTY_SHA256.to_owned())];
        xml_of(action, &self.aws.call(&asked)?)
    }

    /// Asks S3 to replace an object only if it is one that cannot be: whoever may not write is told so, whoever may is told that the
    /// condition does not hold. `Ok` if it was written nevertheless.
    pub(crate) fn s3_probe(self, bucket: &str, key: &str) -> Result<(), CallError> {
        let mut asked = call(self, "s3", "s3:PutObject");
        (asked.method, asked.path) = (Method::Put, format!("/{bucket}/{key}"));
        let never = "\"00000000000000000000000000000000\"".to_owned();
        asked.headers = vec![("x-amz-content-sha256", EMPTY_SHA256.to_owned()), ("if-match", never)];
        self.aws.call(&asked).map(drop)
    }

    /// Returns the largest value of a statistic of a metric within the last minutes; none where nothing was measured.
    pub(crate) fn metric(
        self,
        (namespace, metric): (&str, &str),
        dimensions: &[(&str, &str)],
        statistic: &str,
        (now, minutes): (Micros, i64),
    ) -> Result<Option<f64>, CallError> {
        let now = now.floor(MINUTE);
        let (start, end) = (now.plus(-minutes * MINUTE).to_string(), now.to_string());
        let period = if minutes > 180 { "3600" } else { "60" };
        let mut fields = vec![
            ("Namespace", namespace),
            ("MetricName", metric),
            ("StartTime", &start),
            ("EndTime", &end),
            ("Period", period),
            ("Statistics.member.1", statistic),
        ];
        let names: Vec<[String; 2]> =
            (1..=dimensions.len()).map(|number| ["Name", "Value"].map(|part| format!("Dimensions.member.{number}.{part}"))).collect();
        for ([name, value], (dimension, is)) in names.iter().zip(dimensions) {
            fields.extend([(name.as_str(), *dimension), (value.as_str(), *is)]);
        }
        let action = "cloudwatch:GetMetricStatistics";
        let result = self.query("monitoring", ("GetMetricStatistics", "2010-08-01"), action, &fields)?;
        let values = result.members("Datapoints").iter().filter_map(|point| point.text_at(&[statistic]).parse::<f64>().ok());
        Ok(values.reduce(f64::max))
    }
}

/// Returns a path of S3 that lists what begins with a prefix.
pub(crate) fn listing(bucket: &str, prefix: &str) -> String {
    format!("/{bucket}?list-type=2&max-keys=1&prefix={}", escape(prefix))
}

/// Tells whether the thing asked for is not there; services have many words for it.
pub(crate) fn is_gone(error: &CallError) -> bool {
    let words =
        ["NonExistentQueue", "NoSuchBucket", "NoSuchKey", "EntityNotFound", "ParameterNotFound", "QueueDoesNotExist", "NoSuchUpload"];
    error.is_gone() || is_code(error, &words)
}

/// Tells whether the code of a refusal contains one of some words.
pub(crate) fn is_code(error: &CallError, words: &[&str]) -> bool {
    matches!(error, CallError::Refused { code, .. } if words.iter().any(|word| code.contains(word)))
}

/// Says that a check could not be made, and which permission it lacks if that is why.
pub(crate) fn unasked(check: &'static str, about: &str, error: &CallError) -> Finding {
    let action = action_of(error);
    if is_denied(error) {
        let seen = format!("not looked at: these credentials lack {action}");
        return Finding::skipped(check, about, seen)
            .fix(format!("# allow {action} to whoever runs sluice doctor (deploy/iam/doctor.json)"));
    }
    let mut seen = format!("not looked at: {error}");
    if let Some((at, _)) = seen.char_indices().nth(300) {
        seen.truncate(at);
        seen.push('…');
    }
    Finding::skipped(check, about, seen)
}

/// Tells whether the caller lacks a permission; S3 says so with a status alone.
pub(crate) fn is_denied(error: &CallError) -> bool {
    error.is_denied() || matches!(error, CallError::Refused { status: 403, code, .. } if code == "403" || code.contains("Denied"))
}

/// Returns the permission a failed call needs.
pub(crate) fn action_of(error: &CallError) -> &'static str {
    match error {
        CallError::Refused { action, .. }
        | CallError::Credentials { action, .. }
        | CallError::Network { action, .. }
        | CallError::Garbled { action, .. }
        | CallError::Withheld { action, .. } => action,
    }
}

/// Returns text as one word of a shell.
pub(crate) fn quoted(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=@,+".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_shell() {
        assert_eq!([quoted("a-b/c"), quoted("a b"), quoted("it's"), quoted("")], ["a-b/c", "'a b'", r"'it'\''s'", "''"]);
        assert_eq!(quoted(r#"{"a":1}"#), r#"'{"a":1}'"#);
    }
}
