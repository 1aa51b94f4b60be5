//! Bedrock's invocation logging: on in every region, to a group or bucket that is there, by a role that may write to it.

use serde_json::{Value, json};
use sluice_enforce::aws::Aws;

use super::rights::{self, Need};
use crate::doctor::ask::{Desk, LOGS, is_gone, listing, quoted, unasked};
use crate::doctor::finding::Finding;
use crate::doctor::{Context, Identity};

/// Who takes on the role of the logging configuration.
const SERVICE: &str = "bedrock.amazonaws.com";

/// Where the logs of a region go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Destination {
    /// Log group.
    pub(super) group: Option<String>,
    /// Role that writes to it.
    pub(super) role: String,
    /// Bucket.
    pub(super) bucket: Option<String>,
}

pub(super) fn check(context: &Context) -> Vec<Finding> {
    let mut found: Vec<Finding> = std::thread::scope(|scope| {
        let regions: Vec<_> = context.regions.iter().map(|region| scope.spawn(move || in_region(context, region))).collect();
        regions.into_iter().flat_map(|region| region.join().unwrap_or_default()).collect()
    });
    let own = context.me().account;
    let others: Vec<&str> =
        context.facts.places.iter().map(|(account, _)| account.as_str()).filter(|account| !account.is_empty() && *account != own).collect();
    if let Some(first) = others.first() {
        let seen = format!("calls come from other accounts too, {first} for example; logging there was not looked at");
        found.push(Finding::note("logging.accounts", "", seen, "run sluice doctor with credentials of each account"));
    }
    found
}

/// Asks where the logs of a region go.
pub(super) fn destination(aws: &dyn Aws, region: &str) -> Result<Option<(Destination, Value)>, sluice_enforce::aws::CallError> {
    let desk = Desk { aws, region };
    let answer = desk.rest("bedrock", "bedrock:GetModelInvocationLoggingConfiguration", "/logging/modelinvocations")?;
    let config = answer["loggingConfig"].clone();
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let destination = Destination {
        group: text(&config["cloudWatchConfig"]["logGroupName"]),
        role: text(&config["cloudWatchConfig"]["roleArn"]).unwrap_or_default(),
        bucket: text(&config["s3Config"]["bucketName"]),
    };
    Ok((destination != Destination::default()).then_some((destination, config)))
}

fn in_region(context: &Context, region: &str) -> Vec<Finding> {
    let aws = match context.base() {
        Ok(aws) => aws,
        Err(problem) => return vec![Finding::skipped("logging.enabled", region, problem)],
    };
    let desk = Desk { aws: &*aws, region };
    let (destination, config) = match destination(&*aws, region) {
        Err(error) => return vec![unasked("logging.enabled", region, &error)],
        Ok(None) => return vec![off(region, &context.me(), &context.subject.instance)],
        Ok(Some(found)) => found,
    };
    let mut found = vec![enabled(region, &destination), bodies(region, &config)];
    if let Some(name) = &destination.group {
        found.extend(group(desk, name));
        found.extend(role(&*aws, context, region, (name, &destination.role)));
    }
    if let Some(bucket) = &destination.bucket {
        found.push(match desk.s3("s3:ListBucket", &listing(bucket, "")) {
            Ok(_) => Finding::ok("logging.bucket", bucket, "there"),
            Err(error) if is_gone(&error) => {
                let why = "Bedrock cannot deliver to a bucket that is not there";
                Finding::fail("logging.bucket", bucket, "the bucket is not there", why)
                    .fix(format!("aws s3 mb s3://{} --region {region}", quoted(bucket)))
            }
            Err(error) => unasked("logging.bucket", bucket, &error),
        });
    }
    found.push(delivery(context, desk, &destination));
    found
}

/// Returns what the role of the logging configuration needs.
fn writes(region: &str, me: &Identity, group: &str) -> [Need; 2] {
    let stream = format!("arn:{}:logs:{region}:{}:log-group:{group}:log-stream:aws/bedrock/modelinvocations", me.partition(), me.account);
    ["logs:CreateLogStream", "logs:PutLogEvents"].map(|action| Need::new(action, stream.clone()))
}

fn off(region: &str, me: &Identity, instance: &str) -> Finding {
    let group = format!("/sluice/{instance}/bedrock");
    let role = format!("arn:{}:iam::{}:role/{instance}-bedrock-logging", me.partition(), me.account);
    let kinds = ["text", "image", "embedding", "video", "audio"].map(|kind| (format!("{kind}DataDeliveryEnabled"), json!(false)));
    let mut config: Value = kinds.into_iter().collect();
    config["cloudWatchConfig"] = json!({"logGroupName": group, "roleArn": role});
    let why = "calls of this region leave no record: they are in no sum, and no budget stops them";
    Finding::fail("logging.enabled", region, "invocation logging is off", why)
        .fix(format!("aws logs create-log-group --region {region} --log-group-name {group}"))
        .fixes(rights::make_fix(&role, SERVICE, &me.account, &writes(region, me, &group)))
        .fix(format!(
            "aws bedrock put-model-invocation-logging-configuration --region {region} --logging-config {}",
            quoted(&config.to_string())
        ))
}

fn enabled(region: &str, destination: &Destination) -> Finding {
    let group = destination.group.iter().map(|group| format!("log group {group}"));
    let bucket = destination.bucket.iter().map(|bucket| format!("bucket {bucket}"));
    let to: Vec<String> = group.chain(bucket).collect();
    Finding::ok("logging.enabled", region, format!("on, to {}", to.join(" and ")))
}

fn bodies(region: &str, config: &Value) -> Finding {
    let kinds = ["text", "image", "embedding", "video", "audio"];
    // What is not said is on: that is the default of the service.
    let on: Vec<&str> = kinds.into_iter().filter(|kind| config[format!("{kind}DataDeliveryEnabled")] != json!(false)).collect();
    if on.is_empty() {
        let seen = "prompts and answers are not delivered; tokens are";
        let why = "cheapest and most private; the price of 1-hour cache writes and of service tiers stands in bodies alone, so such calls cost 'at least'";
        return Finding::note("logging.bodies", region, seen, why);
    }
    let seen = format!("prompts and answers are delivered ({})", on.join(", "));
    let why = "exact cache classes and tiers; ingestion of log bytes is charged by AWS, and whoever reads the log reads prompts. sluice skips them";
    Finding::note("logging.bodies", region, seen, why)
}

fn group(desk: Desk<'_>, name: &str) -> Vec<Finding> {
    let answer =
        desk.all(&LOGS, ("DescribeLogGroups", "logs:DescribeLogGroups"), json!({"logGroupNamePrefix": name}), ("logGroups", "nextToken"));
    match answer {
        Err(error) => vec![unasked("logging.group", name, &error)],
        Ok(groups) => judge_group(desk.region, name, &groups),
    }
}

fn judge_group(region: &str, name: &str, groups: &[Value]) -> Vec<Finding> {
    let Some(group) = groups.iter().find(|group| group["logGroupName"] == *name) else {
        let why = "Bedrock does not make the group: every record is lost until it is there";
        let fix = format!("aws logs create-log-group --region {region} --log-group-name {}", quoted(name));
        return vec![Finding::fail("logging.group", name, "the log group is not there", why).fix(fix)];
    };
    let mut found = vec![Finding::ok("logging.group", name, "there")];
    if group["logGroupClass"].as_str().is_some_and(|class| class != "STANDARD") {
        let seen = format!("class {}", group["logGroupClass"].as_str().unwrap_or_default());
        let why = "only groups of class STANDARD have subscription filters: nothing can be streamed from this one";
        found.push(Finding::fail("logging.class", name, seen, why).fix("# the class of a group cannot change: log to a new group"));
    }
    if group["retentionInDays"].is_null() {
        let fix = format!("aws logs put-retention-policy --region {region} --log-group-name {} --retention-in-days 30", quoted(name));
        found.push(
            Finding::warn("logging.retention", name, "kept for ever", "storage is charged for ever, and so are prompts if delivered")
                .fix(fix),
        );
    }
    found
}

fn role(aws: &dyn Aws, context: &Context, region: &str, (group, role): (&str, &str)) -> Vec<Finding> {
    let me = context.me();
    let info = match rights::role(aws, role) {
        Ok(info) => info,
        Err(error) if is_gone(&error) => {
            let why = "Bedrock takes on this role to write; without it nothing is delivered";
            let fixes = rights::make_fix(role, SERVICE, &me.account, &writes(region, &me, group));
            return vec![Finding::fail("logging.role", role, "the role is not there", why).fixes(fixes)];
        }
        Err(error) => return vec![unasked("logging.role", role, &error)],
    };
    if !rights::trusts(&info.trust, SERVICE, region) {
        let why = "Bedrock cannot take on the role, so nothing is delivered";
        let fix = rights::trust_fix(role, SERVICE, &me.account);
        return vec![Finding::fail("logging.role", role, "its trust policy does not let Bedrock in", why).fix(fix)];
    }
    let needs = writes(region, &me, group);
    vec![match rights::layers(aws, &info.arn).map(|layers| rights::lacks(&layers, &needs)) {
        Err(error) => unasked("logging.role", role, &error),
        Ok(lacks) if lacks.denied.is_empty() => Finding::ok("logging.role", role, "Bedrock may take it on and write with it"),
        Ok(lacks) => {
            let seen = format!("it may not {}", lacks.denied.iter().map(|(need, _)| need.action).collect::<Vec<_>>().join(", "));
            let fix = rights::grant_fix(&info.arn, "bedrock-logging", lacks.denied.iter().map(|(need, _)| need));
            Finding::fail("logging.role", role, seen, "nothing is delivered without it").fix(fix)
        }
    }]
}

/// Whether Bedrock says that it could not deliver.
fn delivery(context: &Context, desk: Desk<'_>, destination: &Destination) -> Finding {
    let metrics = [("CloudWatch", destination.group.is_some()), ("S3", destination.bucket.is_some())];
    for (to, _) in metrics.iter().filter(|(_, is_used)| *is_used) {
        let name = format!("ModelInvocationLogs{to}DeliveryFailure");
        match desk.metric(("AWS/Bedrock", &name), &[], "Sum", (context.now, 24 * 60)) {
            Err(error) => return unasked("logging.delivery", desk.region, &error),
            Ok(Some(failed)) if failed > 0.0 => {
                let seen = format!("Bedrock could not deliver to {to}: up to {failed:.0} records an hour in the last day");
                let why = "these calls are missing from every sum; the other copy of the log may have them";
                let fix = format!(
                    "sluice coverage{} --since 24h   # which calls are missing; then read the copy with --backfill",
                    context.flag()
                );
                return Finding::fail("logging.delivery", desk.region, seen, why).fix(fix);
            }
            Ok(_) => {}
        }
    }
    Finding::ok("logging.delivery", desk.region, "no failed delivery in the last day")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Level;

    #[test]
    fn a_group_is_found_by_its_whole_name() {
        let groups =
            [json!({"logGroupName": "/bedrock/other", "retentionInDays": 30}), json!({"logGroupName": "/bedrock", "retentionInDays": 30})];
        assert_eq!(judge_group("r", "/bedrock", &groups), [Finding::ok("logging.group", "/bedrock", "there")]);
        assert_eq!(judge_group("r", "/bedr", &groups)[0].level, Level::Fail);
        let infrequent = [json!({"logGroupName": "/b", "logGroupClass": "INFREQUENT_ACCESS", "retentionInDays": 1})];
        assert_eq!(judge_group("r", "/b", &infrequent)[1].check, "logging.class");
        assert_eq!(judge_group("r", "/b", &[json!({"logGroupName": "/b"})])[1].check, "logging.retention");
    }

    #[test]
    fn bodies_that_are_not_mentioned_are_delivered() {
        assert!(bodies("r", &json!({"textDataDeliveryEnabled": false})).seen.contains("image"));
        let none: Value = ["text", "image", "embedding", "video", "audio"]
            .map(|kind| (format!("{kind}DataDeliveryEnabled"), json!(false)))
            .into_iter()
            .collect();
        assert!(bodies("r", &none).seen.contains("not delivered"));
    }
}
