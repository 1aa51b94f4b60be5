//! The doctor against moto: what it asks is understood, an account that is set up is found right, and what is taken away is found.

#![cfg(test)]

#[path = "live/servers.rs"]
mod servers;

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use servers::Server;

const SLUICE: &str = env!("CARGO_BIN_EXE_sluice");
/// The account that moto gives to everyone.
const ACCOUNT: &str = "123456789012";
const REGION: &str = "eu-central-1";

/// Asks moto, which knows the service by the scope of a signature that it does not check.
fn ask(server: &Server, method: &str, service: &str, path: &str, headers: &[(&str, &str)], body: &str) -> String {
    // Moto makes buckets without a place in one region alone.
    let region = if service == "s3" { "us-east-1" } else { REGION };
    let scope = format!("AWS4-HMAC-SHA256 Credential=test/20260101/{region}/{service}/aws4_request, SignedHeaders=host, Signature=0");
    let url = format!("{}{path}", server.url);
    let request = ureq::http::Request::builder().method(method).uri(url).header("authorization", scope);
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let agent = ureq::Agent::new_with_config(ureq::Agent::config_builder().http_status_as_error(false).build());
    let mut answer = agent.run(request.body(body.to_owned()).unwrap()).unwrap();
    let text = answer.body_mut().read_to_string().unwrap();
    assert!(answer.status().is_success(), "{service} {path} {body}: {} {text}", answer.status());
    text
}

fn json_call(server: &Server, service: &str, target: &str, body: Value) -> Value {
    let kind = if matches!(service, "sqs" | "dynamodb") { "application/x-amz-json-1.0" } else { "application/x-amz-json-1.1" };
    let text = ask(server, "POST", service, "/", &[("x-amz-target", target), ("content-type", kind)], &body.to_string());
    serde_json::from_str(&text).unwrap_or_default()
}

fn form(server: &Server, service: &str, fields: &[(&str, &str)]) -> String {
    let escape = |text: &str| -> String {
        text.bytes().map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
    };
    let body: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={}", escape(value))).collect();
    ask(server, "POST", service, "/", &[("content-type", "application/x-www-form-urlencoded")], &body.join("&"))
}

fn role(server: &Server, name: &str, service: &str, action: &str) {
    let trust =
        json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}]});
    let may = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": action.split(' ').collect::<Vec<_>>(), "Resource": "*"}]});
    form(
        server,
        "iam",
        &[("Action", "CreateRole"), ("Version", "2010-05-08"), ("RoleName", name), ("AssumeRolePolicyDocument", &trust.to_string())],
    );
    let policy = may.to_string();
    form(
        server,
        "iam",
        &[("Action", "PutRolePolicy"), ("Version", "2010-05-08"), ("RoleName", name), ("PolicyName", "own"), ("PolicyDocument", &policy)],
    );
}

/// Sets an account up as it should be; returns the configuration.
fn set_up(server: &Server) -> String {
    for bucket in ["lake-bucket", "trail-bucket"] {
        ask(server, "PUT", "s3", &format!("/{bucket}"), &[], "");
    }
    ask(server, "PUT", "s3", "/trail-bucket/AWSLogs/one", &[], "{}");
    role(server, "bedrock-logging", "bedrock.amazonaws.com", "logs:CreateLogStream logs:PutLogEvents");
    role(server, "cwl", "logs.amazonaws.com", "kinesis:PutRecord");
    role(server, "sluice", "ecs-tasks.amazonaws.com", "s3:* kinesis:* sqs:* dynamodb:* sns:Publish cloudwatch:*");
    json_call(server, "logs", "Logs_20140328.CreateLogGroup", json!({"logGroupName": "/bedrock"}));
    json_call(server, "logs", "Logs_20140328.PutRetentionPolicy", json!({"logGroupName": "/bedrock", "retentionInDays": 30}));
    let config = json!({"loggingConfig": {"textDataDeliveryEnabled": false, "imageDataDeliveryEnabled": false, "embeddingDataDeliveryEnabled": false,
        "cloudWatchConfig": {"logGroupName": "/bedrock", "roleArn": format!("arn:aws:iam::{ACCOUNT}:role/bedrock-logging")}}});
    ask(server, "PUT", "bedrock", "/logging/modelinvocations", &[("content-type", "application/json")], &config.to_string());
    json_call(server, "kinesis", "Kinesis_20131202.CreateStream", json!({"StreamName": "logs", "ShardCount": 1}));
    json_call(
        server,
        "kinesis",
        "Kinesis_20131202.IncreaseStreamRetentionPeriod",
        json!({"StreamName": "logs", "RetentionPeriodHours": 168}),
    );
    let encrypt = json!({"StreamName": "logs", "EncryptionType": "KMS", "KeyId": "alias/aws/kinesis"});
    json_call(server, "kinesis", "Kinesis_20131202.StartStreamEncryption", encrypt);
    let filter = json!({"logGroupName": "/bedrock", "filterName": "sluice", "filterPattern": "", "distribution": "Random",
        "destinationArn": format!("arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/logs"), "roleArn": format!("arn:aws:iam::{ACCOUNT}:role/cwl")});
    json_call(server, "logs", "Logs_20140328.PutSubscriptionFilter", filter);
    let trail = json!({"Name": "main", "S3BucketName": "trail-bucket", "IsMultiRegionTrail": true});
    json_call(server, "cloudtrail", "com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101.CreateTrail", trail);
    json_call(server, "cloudtrail", "com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101.StartLogging", json!({"Name": "main"}));
    let queue = json_call(server, "sqs", "AmazonSQS.CreateQueue", json!({"QueueName": "events"}));
    let rule = json!({"Name": "sluice", "State": "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS",
        "EventPattern": json!({"source": ["aws.bedrock", "aws.sts"]}).to_string()});
    json_call(server, "events", "AWSEvents.PutRule", rule);
    let target = json!({"Id": "1", "Arn": format!("arn:aws:sqs:{REGION}:{ACCOUNT}:events")});
    json_call(server, "events", "AWSEvents.PutTargets", json!({"Rule": "sluice", "Targets": [target]}));
    let topic = format!("arn:aws:sns:{REGION}:{ACCOUNT}:told");
    form(server, "sns", &[("Action", "CreateTopic"), ("Version", "2010-03-31"), ("Name", "told")]);
    let endpoint = format!("arn:aws:sqs:{REGION}:{ACCOUNT}:events");
    form(
        server,
        "sns",
        &[("Action", "Subscribe"), ("Version", "2010-03-31"), ("TopicArn", &topic), ("Protocol", "sqs"), ("Endpoint", &endpoint)],
    );
    let deny = include_str!("../deploy/iam/deny-bedrock.json");
    form(
        server,
        "iam",
        &[("Action", "CreatePolicy"), ("Version", "2010-05-08"), ("PolicyName", "sluice-deny-bedrock"), ("PolicyDocument", deny)],
    );
    json_call(server, "glue", "AWSGlue.CreateDatabase", json!({"DatabaseInput": {"Name": "sluice"}}));
    format!(
        "[lake]\npath = 's3://lake-bucket/lake'\nstate = 'local.redb'\n[control]\nsocket = 'control.sock'\n[shared]\ntable = 'sluice'\n\
         [[source]]\nkind = 'kinesis'\nstreams = ['logs']\n[[source]]\nkind = 's3'\npaths = ['s3://trail-bucket/AWSLogs/']\nqueues = ['{}']\n\
         [[notify]]\nkind = 'sns'\ntopic_arn = '{topic}'\n\
         [enforce]\nlevers = ['deny-policy']\ndeny_policy_arn = 'arn:aws:iam::{{account}}:policy/sluice-deny-bedrock'\nprotected = ['Admin*']\n\
         [[budget]]\nname = 'each'\neach = ['agent_id']\nlimit = '5 USD'\nwindow = 'day'\n",
        queue["QueueUrl"].as_str().unwrap()
    )
}

struct Visit {
    code: Option<i32>,
    report: Value,
}

impl Visit {
    fn level(&self, check: &str) -> &str {
        let finding = self.report["findings"].as_array().unwrap().iter().find(|finding| finding["check"] == check);
        finding.unwrap_or_else(|| panic!("{check}: {:#}", self.report))["level"].as_str().unwrap()
    }

    fn fixes(&self) -> String {
        self.report["fixes"].to_string()
    }
}

fn sluice(server: &Server, folder: &Path, args: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(SLUICE);
    let command =
        command.args(args).arg("--config").arg(folder.join("sluice.toml")).env("AWS_ENDPOINT_URL", &server.url).env("HOME", folder);
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
}

fn doctor(server: &Server, folder: &Path, more: &[&str]) -> Visit {
    let (code, text) = sluice(server, folder, &[&["doctor", "--format", "json"], more].concat());
    let start = text.find('{').unwrap_or_else(|| panic!("{text}"));
    let report =
        serde_json::Deserializer::from_str(&text[start..]).into_iter().next().unwrap().unwrap_or_else(|error| panic!("{error}: {text}"));
    Visit { code, report }
}

#[test]
fn an_account_is_looked_at_and_what_is_taken_away_is_found() {
    let Some(server) = servers::start("moto.sh") else { return };
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("sluice.toml"), set_up(&server)).unwrap();
    let before = doctor(&server, folder.path(), &[]);
    assert_eq!((before.code, before.level("permissions.table")), (Some(1), "fail"), "{:#}", before.report);
    assert!(before.fixes().contains("sluice config create-table --config"), "{}", before.fixes());
    let (code, text) = sluice(&server, folder.path(), &["config", "create-table"]);
    assert_eq!(code, Some(0), "{text}");

    let role = format!("arn:aws:iam::{ACCOUNT}:role/sluice");
    let good = doctor(&server, folder.path(), &[]);
    for check in [
        "account.identity",
        "account.clock",
        "logging.enabled",
        "logging.group",
        "logging.role",
        "stream.filter",
        "stream.writer",
        "stream.exists",
        "stream.queue",
        "stream.bucket",
        "trail.logging",
        "trail.rules",
        "permissions.lake",
        "permissions.lake_write",
        "permissions.table",
        "permissions.table_write",
        "enforcement.topic",
        "enforcement.policy",
        "unlogged.mantle",
    ] {
        assert_eq!(good.level(check), "ok", "{check}: {:#}", good.report);
    }
    assert_eq!((good.level("athena.tables"), good.level("permissions.table_backup")), ("warn", "warn"));
    let judged = doctor(&server, folder.path(), &["--role", &role, "--only", "permissions", "--only", "enforcement"]);
    assert_eq!((judged.level("permissions.policies"), judged.level("enforcement.reach")), ("ok", "ok"), "{:#}", judged.report);

    ask(&server, "DELETE", "bedrock", "/logging/modelinvocations", &[], "");
    json_call(&server, "kinesis", "Kinesis_20131202.DeleteStream", json!({"StreamName": "logs"}));
    json_call(&server, "cloudtrail", "com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101.StopLogging", json!({"Name": "main"}));
    json_call(&server, "events", "AWSEvents.DisableRule", json!({"Name": "sluice"}));
    form(
        &server,
        "sns",
        &[("Action", "DeleteTopic"), ("Version", "2010-03-31"), ("TopicArn", &format!("arn:aws:sns:{REGION}:{ACCOUNT}:told"))],
    );
    let bad = doctor(&server, folder.path(), &[]);
    assert_eq!(bad.code, Some(1));
    for check in ["logging.enabled", "stream.exists", "trail.logging", "trail.rule_state", "enforcement.topic"] {
        assert_eq!(bad.level(check), "fail", "{check}: {:#}", bad.report);
    }
    let (code, text) = sluice(&server, folder.path(), &["doctor", "--only", "logging"]);
    assert!(code == Some(1) && text.contains("✗ FAILED enabled") && text.contains("To fix"), "{text}");
}
