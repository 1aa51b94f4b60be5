//! The doctor on an account in memory: everything right, then one thing wrong at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use sluice_enforce::aws::{Aws, Body, Call, CallError, Reply};
use sluice_enforce::iam::fake::FakeAws;
use sluice_enforce::iam::wire;

use super::facts::RoleUse;
use super::finding::Level;
use super::*;
use crate::config::{Location, Origin};

const ACCOUNT: &str = "111122223333";
const DENY: &str = "arn:aws:iam::111122223333:policy/sluice-deny-bedrock";
const TOPIC: &str = "arn:aws:sns:us-east-1:111122223333:told";
const GRANT: &str = include_str!("../../deploy/iam/doctor.json");

const CONFIG: &str = r#"
[lake]
path = "s3://lake-bucket/lake"
state = "local.redb"
[control]
socket = "control.sock"
[shared]
table = "sluice"
[[source]]
kind = "kinesis"
streams = ["logs"]
region = "us-east-1"
[[source]]
kind = "s3"
paths = ["s3://trail-bucket/AWSLogs/"]
queues = ["https://sqs.us-east-1.amazonaws.com/111122223333/events"]
[[notify]]
kind = "sns"
topic_arn = "arn:aws:sns:us-east-1:111122223333:told"
[enforce]
region = "us-east-1"
levers = ["deny-policy"]
deny_policy_arn = "arn:aws:iam::{account}:policy/sluice-deny-bedrock"
protected = ["Admin*"]
[[budget]]
name = "each agent"
each = ["agent_id"]
limit = "25.00 USD"
window = "day"
mode = "enforce"
[[budget.threshold]]
at = "100%"
do = ["notify", "hold"]
"#;

/// An account: IAM, and one answer for each question of the other services.
struct Account {
    iam: FakeAws,
    trust: BTreeMap<&'static str, &'static str>,
    answers: BTreeMap<&'static str, Result<String, CallError>>,
    asked: Mutex<BTreeSet<&'static str>>,
    wrote: Mutex<Vec<String>>,
}

struct Shared(Arc<Account>, i64);

impl Reach for Shared {
    fn aws(&self, _way: &Way) -> Result<Arc<dyn Aws>, String> {
        Ok(Arc::clone(&self.0) as Arc<dyn Aws>)
    }

    fn region(&self) -> String {
        "us-east-1".to_owned()
    }

    fn clocks(&self) -> Result<(Micros, Micros), String> {
        Ok((Micros(self.1), Micros(0)))
    }
}

impl Aws for Account {
    fn call(&self, call: &Call) -> Result<Reply, CallError> {
        self.asked.lock().unwrap().insert(call.action);
        if call.writes {
            self.wrote.lock().unwrap().push(call.action.to_owned());
        }
        if call.host == "iam" {
            let mut reply = self.iam.call(&Call { account: ACCOUNT.to_owned(), ..call.clone() })?;
            if let (Body::Form(form), "iam:GetRole") = (&call.body, call.action) {
                let name = wire::fields(form).into_iter().find(|(field, _)| field == "RoleName").map(|(_, name)| name).unwrap_or_default();
                let service = self.trust.get(name.as_str()).copied().unwrap_or("ecs-tasks.amazonaws.com");
                let document = json!({"Statement": [{"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}]});
                let element =
                    format!("<AssumeRolePolicyDocument>{}</AssumeRolePolicyDocument></Role>", wire::escape(&document.to_string()));
                reply.body = String::from_utf8(reply.body).unwrap().replace("</Role>", &element).into_bytes();
            }
            return Ok(reply);
        }
        let metric = match &call.body {
            Body::Form(form) => wire::fields(form).into_iter().find(|(field, _)| field == "MetricName").map(|(_, name)| name),
            _ => None,
        };
        let key = metric.filter(|name| self.answers.contains_key(name.as_str())).unwrap_or_else(|| call.action.to_owned());
        let answer = self.answers.get(key.as_str()).unwrap_or_else(|| panic!("nobody answers {key}"));
        answer.clone().map(|body| Reply { body: body.into_bytes(), request_id: String::new() })
    }
}

fn refused(action: &'static str, status: u16, code: &str) -> CallError {
    CallError::Refused { action, status, code: code.to_owned(), message: "as planned".to_owned(), request_id: String::new() }
}

fn points(metric: &str, value: &str) -> String {
    format!("<R><GetMetricStatisticsResult><Label>{metric}</Label><Datapoints>{value}</Datapoints></GetMetricStatisticsResult></R>")
}

fn age(millis: &str) -> String {
    points("age", &format!("<member><Maximum>{millis}</Maximum></member>"))
}

fn attributes() -> Value {
    json!({"Attributes": {"ApproximateNumberOfMessages": "0", "RedrivePolicy": "{}", "MessageRetentionPeriod": "1209600"}})
}

fn stream() -> Value {
    json!({"StreamDescriptionSummary": {"StreamStatus": "ACTIVE", "EncryptionType": "KMS", "RetentionPeriodHours": 168, "OpenShardCount": 2}})
}

fn filter() -> Value {
    json!({"filterName": "sluice", "filterPattern": "", "distribution": "Random", "roleArn": "arn:aws:iam::111122223333:role/cwl",
        "destinationArn": "arn:aws:kinesis:us-east-1:111122223333:stream/logs"})
}

fn rule(state: &str) -> Value {
    let pattern = json!({"source": ["aws.bedrock", "aws.sts"]}).to_string();
    json!({"Rules": [{"Name": "sluice", "State": state, "EventPattern": pattern}]})
}

fn table() -> Value {
    let keys = [("pk", "HASH"), ("sk", "RANGE")];
    json!({"Table": {"TableStatus": "ACTIVE",
        "KeySchema": (keys.map(|(name, role)| json!({"AttributeName": name, "KeyType": role}))),
        "AttributeDefinitions": (keys.map(|(name, _)| json!({"AttributeName": name, "AttributeType": "S"})))}})
}

fn glue() -> Value {
    let table = |name: &str| json!({"Name": name, "Parameters": {"table_type": "delta"}, "StorageDescriptor": {"Location": format!("s3://lake-bucket/lake/{name}")}});
    let tables = ["calls", "spend_minute", "spend_day", "breaches"].map(table);
    json!({ "TableList": tables })
}

fn answers() -> BTreeMap<&'static str, Result<String, CallError>> {
    let logging = json!({"loggingConfig": {"cloudWatchConfig": {"logGroupName": "/bedrock", "roleArn": "arn:aws:iam::111122223333:role/bedrock-logging"},
        "textDataDeliveryEnabled": false}});
    let selectors = json!({"AdvancedEventSelectors": [{"FieldSelectors": [{"Field": "eventCategory", "Equals": ["Management"]}]}]});
    let target =
        json!({"Targets": [{"Id": "1", "Arn": "arn:aws:sqs:us-east-1:111122223333:events", "DeadLetterConfig": {"Arn": "arn:aws:sqs:x"}}]});
    let export = json!({"Export": {"Name": "cur", "DataQuery": {"TableConfigurations": {"COST_AND_USAGE_REPORT": {"INCLUDE_IAM_PRINCIPAL_DATA": "TRUE"}}}},
        "ExportStatus": {"StatusCode": "HEALTHY"}});
    let me = format!(
        "<R><GetCallerIdentityResult><Arn>arn:aws:sts::{ACCOUNT}:assumed-role/sluice/x</Arn><Account>{ACCOUNT}</Account></GetCallerIdentityResult></R>"
    );
    let subscribed = format!(
        "<R><ListSubscriptionsByTopicResult><Subscriptions><member><SubscriptionArn>{TOPIC}:1</SubscriptionArn></member></Subscriptions></ListSubscriptionsByTopicResult></R>"
    );
    let json = |value: Value| Ok(value.to_string());
    BTreeMap::from([
        ("sts:GetCallerIdentity", Ok(me)),
        ("bedrock:GetModelInvocationLoggingConfiguration", json(logging)),
        ("bedrock:ListModelInvocationJobs", json(json!({"invocationJobSummaries": []}))),
        ("logs:DescribeLogGroups", json(json!({"logGroups": [{"logGroupName": "/bedrock", "retentionInDays": 30}]}))),
        ("logs:DescribeSubscriptionFilters", json(json!({"subscriptionFilters": [filter()]}))),
        ("kinesis:DescribeStreamSummary", json(stream())),
        ("cloudwatch:GetMetricStatistics", Ok(points("none", ""))),
        ("GetRecords.IteratorAgeMilliseconds", Ok(age("250.0"))),
        ("cloudwatch:ListMetrics", Ok("<R><ListMetricsResult><Metrics/></ListMetricsResult></R>".to_owned())),
        ("sqs:GetQueueAttributes", json(attributes())),
        ("s3:ListBucket", Ok("<ListBucketResult><KeyCount>1</KeyCount></ListBucketResult>".to_owned())),
        ("s3:PutObject", Err(refused("s3:PutObject", 412, "PreconditionFailed"))),
        (
            "cloudtrail:DescribeTrails",
            json(json!({"trailList": [{"Name": "main", "TrailARN": "arn:t", "IsMultiRegionTrail": true, "HomeRegion": "us-east-1"}]})),
        ),
        ("cloudtrail:GetTrailStatus", json(json!({"IsLogging": true}))),
        ("cloudtrail:GetEventSelectors", json(selectors)),
        ("events:ListRules", json(rule("ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"))),
        ("events:ListTargetsByRule", json(target)),
        ("dynamodb:DescribeTable", json(table())),
        ("dynamodb:DescribeTimeToLive", json(json!({"TimeToLiveDescription": {"TimeToLiveStatus": "ENABLED", "AttributeName": "ttl"}}))),
        (
            "dynamodb:DescribeContinuousBackups",
            json(json!({"ContinuousBackupsDescription": {"PointInTimeRecoveryDescription": {"PointInTimeRecoveryStatus": "ENABLED"}}})),
        ),
        ("dynamodb:PutItem", Err(refused("dynamodb:PutItem", 400, "ConditionalCheckFailedException"))),
        ("sns:ListSubscriptionsByTopic", Ok(subscribed)),
        ("ce:ListCostAllocationTags", json(json!({"CostAllocationTags": [{"TagKey": "team"}]}))),
        ("bcm-data-exports:ListExports", json(json!({"Exports": [{"ExportArn": "arn:e"}]}))),
        ("bcm-data-exports:GetExport", json(export)),
        ("budgets:ViewBudget", json(json!({"Budgets": [{"BudgetName": "b", "BudgetType": "COST"}]}))),
        ("glue:GetTables", json(glue())),
        (
            "athena:GetWorkGroup",
            json(json!({"WorkGroup": {"State": "ENABLED", "Configuration": {"ResultConfiguration": {"OutputLocation": "s3://b/"}}}})),
        ),
        ("ssm:GetParameter", json(json!({"Parameter": {"Value": ""}}))),
    ])
}

impl Account {
    fn new() -> Self {
        let iam = FakeAws::new();
        let role = |name: &str, document: &str| {
            let arn = format!("arn:aws:iam::{ACCOUNT}:role/{name}");
            iam.create(&arn);
            iam.put_inline(&arn, "own", document);
        };
        let lever = include_str!("../../deploy/iam/lever-deny-policy.json");
        let lever =
            lever.replace("${AccountId}", ACCOUNT).replace("${AgentPath}", "agents/").replace("${DenyPolicyName}", "sluice-deny-bedrock");
        role("sluice", &lever);
        let needs = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Resource": "*",
            "Action": ["s3:*", "kinesis:*", "sqs:*", "dynamodb:*", "sns:Publish", "cloudwatch:*", "ssm:GetParameter"]}]});
        iam.put_policy("arn:aws:iam::111122223333:policy/sluice-needs", &needs.to_string());
        iam.attach("arn:aws:iam::111122223333:role/sluice", "arn:aws:iam::111122223333:policy/sluice-needs");
        let may = |action: &str| {
            json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": action, "Resource": "*"}]}).to_string()
        };
        role("bedrock-logging", &may("logs:*"));
        role("cwl", &may("kinesis:PutRecord"));
        role("agents/triage", &may("bedrock:InvokeModel"));
        iam.create("arn:aws:iam::111122223333:user/ops");
        iam.join_group(
            "arn:aws:iam::111122223333:user/ops",
            "ops",
            Some("arn:aws:iam::111122223333:policy/sluice-needs"),
            Some(&may("sns:*")),
        );
        iam.put_inline("arn:aws:iam::111122223333:user/ops", "own", &may("s3:*"));
        iam.put_policy(DENY, include_str!("../../deploy/iam/deny-bedrock.json"));
        let trust = BTreeMap::from([("bedrock-logging", "bedrock.amazonaws.com"), ("cwl", "logs.us-east-1.amazonaws.com")]);
        Self { iam, trust, answers: answers(), asked: Mutex::default(), wrote: Mutex::default() }
    }

    fn with(mut self, key: &'static str, answer: Value) -> Self {
        self.answers.insert(key, Ok(answer.to_string()));
        self
    }

    fn with_text(mut self, key: &'static str, answer: &str) -> Self {
        self.answers.insert(key, Ok(answer.to_owned()));
        self
    }

    fn refusing(mut self, key: &'static str, code: &str) -> Self {
        let status = if code == "AccessDenied" { 403 } else { 400 };
        self.answers.insert(key, Err(refused(key, status, code)));
        self
    }

    fn trusting(mut self, role: &'static str, service: &'static str) -> Self {
        self.trust.insert(role, service);
        self
    }
}

fn facts() -> Facts {
    let role = RoleUse { arn: "arn:aws:iam::111122223333:role/triage".to_owned(), calls: 10, agents: vec!["triage".to_owned()], weak: 0 };
    let places = vec![(ACCOUNT.to_owned(), "us-east-1".to_owned())];
    Facts { calls: 10, places, roles: vec![role], ..Facts::default() }
}

fn examined(account: &Arc<Account>, config: &str, facts: Facts, order: Order, clock: i64) -> Report {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sluice.toml");
    std::fs::write(&file, config).unwrap();
    let config = Config::load(&Origin { file: Some(Location::File(file)), lake: None }).unwrap();
    let subject = Subject::of(&config, &order.config_at);
    // The daemon is asked over a socket and is looked at elsewhere.
    let only = GROUPS.iter().map(|(group, ..)| (*group).to_owned()).filter(|group| group != "daemon").collect();
    let order = Order { only, database: "sluice".to_owned(), ..order };
    let reach: Box<dyn Reach> = Box::new(Shared(Arc::clone(account), clock));
    let report = examine_with(config, subject, facts, order, Some(Ok(reach))).unwrap();
    assert_eq!(*account.wrote.lock().unwrap(), [] as [String; 0], "the doctor changes nothing");
    report
}

fn wrong(report: &Report) -> Vec<(&'static str, Level)> {
    let is_wrong = |finding: &&Finding| !matches!(finding.level, Level::Ok | Level::Note);
    report.findings.iter().filter(is_wrong).map(|finding| (finding.check, finding.level)).collect()
}

fn diagnosed(account: Account) -> Vec<(&'static str, Level)> {
    wrong(&examined(&Arc::new(account), CONFIG, facts(), Order::default(), 0))
}

#[test]
fn an_account_with_everything_right_has_nothing_to_fix() {
    let report = examined(&Arc::new(Account::new()), CONFIG, facts(), Order::default(), 0);
    assert_eq!(wrong(&report), [], "{report:#?}");
    assert_eq!((report.verdict, report.counts.fail, report.regions), ("ok", 0, vec!["us-east-1".to_owned()]));
    for (group, ..) in GROUPS.iter().filter(|(group, ..)| *group != "daemon") {
        assert!(report.findings.iter().any(|finding| finding.group() == *group && finding.level == Level::Ok), "{group}");
    }
}

#[test]
fn one_thing_wrong_is_one_finding() {
    use Level::{Fail, Warn};
    let new = Account::new;
    let filters = |change: fn(&mut Value)| {
        let mut one = filter();
        change(&mut one);
        json!({"subscriptionFilters": [one]})
    };
    let streams = |key: &str, value: Value| {
        let mut one = stream();
        one["StreamDescriptionSummary"][key] = value;
        one
    };
    let failed = "<member><Sum>3.0</Sum></member>";
    let cases: Vec<(Account, &[(&str, Level)])> = vec![
        (new().with("logs:DescribeLogGroups", json!({"logGroups": []})), &[("logging.group", Fail)]),
        (new().with("logs:DescribeLogGroups", json!({"logGroups": [{"logGroupName": "/bedrock"}]})), &[("logging.retention", Warn)]),
        (new().trusting("bedrock-logging", "ec2.amazonaws.com"), &[("logging.role", Fail)]),
        (new().with_text("ModelInvocationLogsCloudWatchDeliveryFailure", &points("f", failed)), &[("logging.delivery", Fail)]),
        (new().with("logs:DescribeSubscriptionFilters", json!({"subscriptionFilters": []})), &[("stream.filter", Fail)]),
        (new().with("logs:DescribeSubscriptionFilters", filters(|one| one["filterPattern"] = json!("x"))), &[("stream.pattern", Fail)]),
        (
            new().with("logs:DescribeSubscriptionFilters", filters(|one| one["distribution"] = json!("ByLogStream"))),
            &[("stream.distribution", Warn)],
        ),
        (new().trusting("cwl", "ec2.amazonaws.com"), &[("stream.writer", Fail)]),
        (new().with_text("DeliveryErrors", &points("f", failed)), &[("stream.delivery", Fail)]),
        (new().with_text("DeliveryThrottling", &points("f", failed)), &[("stream.throttling", Warn)]),
        (new().refusing("kinesis:DescribeStreamSummary", "ResourceNotFoundException"), &[("stream.exists", Fail)]),
        (new().with("kinesis:DescribeStreamSummary", streams("StreamStatus", json!("DELETING"))), &[("stream.exists", Fail)]),
        (new().with("kinesis:DescribeStreamSummary", streams("EncryptionType", json!("NONE"))), &[("stream.encryption", Warn)]),
        (new().with("kinesis:DescribeStreamSummary", streams("RetentionPeriodHours", json!(24))), &[("stream.retention", Warn)]),
        (new().with_text("GetRecords.IteratorAgeMilliseconds", &age("120000.0")), &[("stream.lag", Warn)]),
        (new().with_text("GetRecords.IteratorAgeMilliseconds", &age("4.0E8")), &[("stream.lag", Fail)]),
        (new().refusing("sqs:GetQueueAttributes", "QueueDoesNotExist"), &[("stream.queue", Fail)]),
        (new().with("cloudtrail:DescribeTrails", json!({"trailList": []})), &[("trail.logging", Fail)]),
        (new().with("cloudtrail:GetTrailStatus", json!({"IsLogging": false})), &[("trail.logging", Fail)]),
        (
            new().with("cloudtrail:GetTrailStatus", json!({"IsLogging": true, "LatestDeliveryError": "AccessDenied"})),
            &[("trail.delivery", Warn)],
        ),
        (new().with("events:ListRules", rule("ENABLED")), &[("trail.rule_state", Fail)]),
        (new().with("events:ListTargetsByRule", json!({"Targets": []})), &[("trail.targets", Fail)]),
        (new().with("events:ListRules", json!({"Rules": []})), &[("trail.rules", Warn), ("trail.rules", Warn)]),
        (new().refusing("dynamodb:DescribeTable", "ResourceNotFoundException"), &[("permissions.table", Fail)]),
        (new().with("dynamodb:DescribeTimeToLive", json!({})), &[("permissions.table_expiry", Warn)]),
        (new().with("dynamodb:DescribeContinuousBackups", json!({})), &[("permissions.table_backup", Warn)]),
        (new().refusing("dynamodb:PutItem", "AccessDenied"), &[("permissions.table_write", Fail)]),
        (new().refusing("s3:PutObject", "AccessDenied"), &[("permissions.lake_write", Fail)]),
        (new().with_text("s3:PutObject", ""), &[("permissions.lake_write", Fail)]),
        (
            new().with_text("cloudwatch:ListMetrics", "<R><ListMetricsResult><Metrics><member/></Metrics></ListMetricsResult></R>"),
            &[("unlogged.mantle", Warn)],
        ),
        (new().with("bedrock:ListModelInvocationJobs", json!({"invocationJobSummaries": [{}]})), &[("unlogged.batch", Warn)]),
        (new().refusing("sns:ListSubscriptionsByTopic", "NotFound"), &[("enforcement.topic", Fail)]),
        (new().with("ce:ListCostAllocationTags", json!({"CostAllocationTags": []})), &[("billing.tags", Warn)]),
        (new().with("bcm-data-exports:ListExports", json!({"Exports": []})), &[("billing.export", Warn)]),
        (new().with("glue:GetTables", json!({"TableList": []})), &[("athena.tables", Warn)]),
        (new().with("athena:GetWorkGroup", json!({"WorkGroup": {"State": "DISABLED"}})), &[("athena.workgroup", Warn)]),
    ];
    for (number, (account, expected)) in cases.into_iter().enumerate() {
        assert_eq!(diagnosed(account), expected, "case {number}");
    }
}

#[test]
fn logging_that_is_off_is_a_failure_with_a_command() {
    let account = Account::new().with("bedrock:GetModelInvocationLoggingConfiguration", json!({}));
    let report = examined(&Arc::new(account), CONFIG, facts(), Order::default(), 0);
    assert_eq!(wrong(&report), [("logging.enabled", Level::Fail)]);
    assert!(report.fixes[3].run.contains("put-model-invocation-logging-configuration --region us-east-1"), "{:?}", report.fixes);
    assert_eq!(report.verdict, "failed");
}

#[test]
fn permissions_of_iam_are_judged_by_policies() {
    let own = "arn:aws:iam::111122223333:role/sluice";
    let account = Account::new();
    account.iam.detach(own, "arn:aws:iam::111122223333:policy/sluice-needs");
    assert_eq!(diagnosed(account), [("permissions.policies", Level::Fail)]);
    let account = Account::new();
    account.iam.delete_inline(own, "own");
    assert_eq!(diagnosed(account), [("enforcement.target", Level::Fail)]);
    let account = Account::new();
    account.iam.put_inline(own, "more", r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:*","Resource":"*"}]}"#);
    assert_eq!(diagnosed(account), [("enforcement.reach", Level::Fail)]);
    let account = Account::new();
    account.iam.delete_policy(DENY);
    assert_eq!(diagnosed(account), [("enforcement.policy", Level::Fail)]);
    let account = Account::new();
    account
        .iam
        .put_policy(DENY, r#"{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"bedrock:InvokeAgent","Resource":"*"}]}"#);
    assert_eq!(diagnosed(account), [("enforcement.policy", Level::Fail)]);
    let account = Account::new();
    (0..10).for_each(|number| {
        account.iam.attach("arn:aws:iam::111122223333:role/agents/triage", &format!("arn:aws:iam::aws:policy/p{number}"))
    });
    assert_eq!(diagnosed(account), [("enforcement.headroom", Level::Warn)]);
}

#[test]
fn clocks_credentials_and_denials() {
    let account = Arc::new(Account::new());
    let minutes = |minutes: i64| wrong(&examined(&account, CONFIG, facts(), Order::default(), minutes * sluice_schemas::time::MINUTE));
    assert_eq!(minutes(2), [("account.clock", Level::Warn)]);
    assert_eq!(minutes(-6), [("account.clock", Level::Fail)]);
    let report =
        examined(&Arc::new(Account::new().refusing("sts:GetCallerIdentity", "ExpiredToken")), CONFIG, facts(), Order::default(), 0);
    assert_eq!((report.counts.fail, report.findings[0].check), (1, "account.identity"));
    assert!(report.findings.iter().any(|finding| finding.check == "logging.all" && finding.level == Level::Skipped));
    let report = examined(&Arc::new(Account::new().refusing("events:ListRules", "AccessDenied")), CONFIG, facts(), Order::default(), 0);
    assert_eq!(wrong(&report), [("trail.rules", Level::Skipped)]);
    assert!(report.fixes[0].run.contains("events:ListRules"), "{:?}", report.fixes);
}

#[test]
fn the_published_grant_is_what_the_doctor_asks_for() {
    let account = Arc::new(Account::new());
    examined(&account, CONFIG, facts(), Order { config_at: "ssm:/sluice/config".to_owned(), ..Order::default() }, 0);
    examined(&account, CONFIG, facts(), Order { role: Some("arn:aws:iam::111122223333:user/ops".to_owned()), ..Order::default() }, 0);
    let mut asked = account.asked.lock().unwrap().clone();
    // Looks whether writing is allowed, with a condition that cannot hold; anybody may ask who they are.
    for free in ["s3:PutObject", "dynamodb:PutItem", "sts:GetCallerIdentity"] {
        assert!(asked.remove(free), "{free}");
    }
    let grant: Value = serde_json::from_str(GRANT).unwrap();
    let statements = grant["Statement"].as_array().unwrap().iter();
    let granted: BTreeSet<&str> =
        statements.flat_map(|one| one["Action"].as_array().unwrap()).map(|action| action.as_str().unwrap()).collect();
    assert_eq!(granted, asked.into_iter().collect());
    assert!(
        granted.iter().all(|action| ["Get", "List", "Describe", "View"].iter().any(|verb| action
            .split(':')
            .nth(1)
            .unwrap()
            .starts_with(verb)))
    );
}

#[test]
fn a_role_that_is_named_is_judged_and_nothing_is_tried() {
    let account = Arc::new(Account::new());
    let order = Order { role: Some("arn:aws:iam::111122223333:role/sluice".to_owned()), ..Order::default() };
    assert_eq!(wrong(&examined(&account, CONFIG, facts(), order, 0)), []);
    let asked = account.asked.lock().unwrap();
    assert!(!asked.contains("s3:PutObject") && !asked.contains("dynamodb:PutItem"));
}

#[test]
fn files_alone_ask_no_aws() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sluice.toml");
    std::fs::write(&file, "[lake]\npath = 'lake'\n[files]\npaths = ['logs']").unwrap();
    let config = Config::load(&Origin { file: Some(Location::File(file)), lake: None }).unwrap();
    let report = examine(config, Order { database: "sluice".to_owned(), ..Order::default() }).unwrap();
    assert_eq!((report.counts.fail, report.identity.as_str()), (0, ""));
    let skipped = |check: &str| report.findings.iter().any(|finding| finding.check == check && finding.level == Level::Skipped);
    assert!(skipped("logging.all") && skipped("billing.all"));
    let wrong = examine_with(
        Config::load(&Origin { file: None, lake: Some(folder.path().to_owned()) }).unwrap(),
        Subject::default(),
        Facts::default(),
        Order { only: vec!["loging".to_owned()], ..Order::default() },
        None,
    );
    assert!(wrong.unwrap_err().to_string().contains("logging"));
}
