//! What the configured features need, judged by the policies of a role, and tried where a harmless call can try it.

use sluice_enforce::guard::usage;

use super::rights::{self, Need};
use super::tables;
use crate::doctor::ask::{Desk, SSM, is_code, is_denied, is_gone, listing, quoted, unasked};
use crate::doctor::finding::Finding;
use crate::doctor::subject::{Place, Subject, Thing};
use crate::doctor::{Context, Identity};

pub(super) fn check(context: &Context) -> Vec<Finding> {
    let (subject, tries) = (&context.subject, context.order.role.is_none());
    let mut found = policies(context);
    if let Some(lake) = &subject.lake {
        found.extend(lake_of(context, lake, tries));
    }
    if let Some(table) = &subject.table {
        found.extend(tables::check(context, table, &tables::STORE, tries));
    }
    if let Some(table) = &subject.flags {
        found.extend(tables::check(context, table, &tables::FLAGS, tries));
    }
    found.extend(config_place(context));
    found
}

/// Returns whose permissions are judged.
fn judged(context: &Context) -> Option<String> {
    context.order.role.clone().or_else(|| usage::principal(&context.me().arn))
}

/// Judges the policies of the role as IAM would.
fn policies(context: &Context) -> Vec<Finding> {
    let check = "permissions.policies";
    let Some(principal) = judged(context) else {
        return vec![Finding::skipped(
            check,
            context.me().arn,
            "these credentials are of neither a role nor a user: name sluice's role with --role",
        )];
    };
    let needs = needs(&context.subject, &context.me(), &context.home);
    let read = context.base().and_then(|aws| rights::layers(&*aws, &principal).map_err(|error| error.to_string()));
    let layers = match read {
        Ok(layers) => layers,
        Err(problem) => return vec![Finding::skipped(check, principal, format!("its policies cannot be read: {problem}"))],
    };
    let lacks = rights::lacks(&layers, &needs);
    let mut found = Vec::new();
    if lacks.denied.is_empty() {
        found.push(Finding::ok(
            check,
            &principal,
            format!("its policies allow all {} permissions that this configuration needs", needs.len()),
        ));
    } else {
        let named: Vec<String> = lacks
            .denied
            .iter()
            .map(|(need, by)| {
                format!("{} on {}{}", need.action, need.resource, by.iter().map(|by| format!(" (denied by {by})")).collect::<String>())
            })
            .collect();
        let why = if context.order.role.is_some() {
            "the feature that needs it fails"
        } else {
            "the feature that needs it fails, if sluice runs with these credentials; judge another role with --role ARN"
        };
        let fix = rights::grant_fix(&principal, "sluice-missing", lacks.denied.iter().map(|(need, _)| need));
        found.push(Finding::fail(check, &principal, format!("it may not: {}", named.join("; ")), why).fix(fix));
    }
    if let Some((need, reason)) = lacks.unknown.first() {
        let seen = format!("{} permissions cannot be judged, {} for example: {reason}", lacks.unknown.len(), need.action);
        found.push(Finding::note(
            "permissions.conditions",
            &principal,
            seen,
            "a condition rests on something that is known at the time of the call alone",
        ));
    }
    found
}

/// Returns the permissions that a configuration needs.
fn needs(subject: &Subject, me: &Identity, home: &str) -> Vec<Need> {
    let (partition, account) = (me.partition(), me.account.as_str());
    let arn = |service: &str, thing: &Thing, kind: &str| {
        if thing.name.starts_with("arn:") {
            return thing.name.clone();
        }
        format!("arn:{partition}:{service}:{}:{account}:{kind}{}", thing.region(home), thing.short())
    };
    let mut needs = Vec::new();
    let mut on =
        |actions: &[&'static str], resource: String| needs.extend(actions.iter().map(|action| Need::new(action, resource.clone())));
    for stream in &subject.streams {
        on(&["kinesis:ListShards", "kinesis:GetShardIterator", "kinesis:GetRecords"], arn("kinesis", stream, "stream/"));
    }
    for queue in &subject.queues {
        on(&["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility"], arn("sqs", queue, ""));
    }
    let objects = |place: &Place| {
        let prefix = if place.prefix.is_empty() { String::new() } else { format!("{}/", place.prefix) };
        format!("arn:{partition}:s3:::{}/{prefix}any", place.bucket)
    };
    for place in &subject.places {
        on(&["s3:GetObject"], objects(place));
    }
    if let Some(lake) = &subject.lake {
        on(&["s3:GetObject", "s3:PutObject", "s3:DeleteObject"], objects(lake));
    }
    if let Some(table) = &subject.table {
        on(&STORE, arn("dynamodb", table, "table/"));
    }
    for topic in &subject.topics {
        on(&["sns:Publish"], topic.name.clone());
    }
    for bus in &subject.buses {
        on(&["events:PutEvents"], arn("events", bus, "event-bus/"));
    }
    if subject.coverage {
        on(&["cloudwatch:GetMetricData", "cloudwatch:ListMetrics"], "*".to_owned());
    }
    if subject.directory {
        on(&["iam:GetRole", "iam:ListRoleTags"], format!("arn:{partition}:iam::{account}:role/any"));
    }
    if let Some(name) = subject.config_at.as_ref().and_then(|at| at.strip_prefix("ssm:")) {
        on(&["ssm:GetParameter"], format!("arn:{partition}:ssm:{home}:{account}:parameter{name}"));
    }
    for place in subject.places.iter().chain(&subject.lake) {
        let bucket = format!("arn:{partition}:s3:::{}", place.bucket);
        needs.push(Need::new("s3:ListBucket", bucket).with("s3:prefix", &format!("{}/", place.prefix)));
    }
    needs
}

/// What the shared store does with its table.
const STORE: [&str; 5] = ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:DeleteItem", "dynamodb:Query", "dynamodb:ConditionCheckItem"];

/// Lists the lake, and asks for a write that cannot happen.
fn lake_of(context: &Context, lake: &Place, tries: bool) -> Vec<Finding> {
    let shown = lake.shown();
    let aws = match context.aws(&lake.way) {
        Ok(aws) => aws,
        Err(problem) => return vec![Finding::skipped("permissions.lake", shown, problem)],
    };
    let desk = Desk { aws: &*aws, region: &context.home };
    match desk.s3("s3:ListBucket", &listing(&lake.bucket, &lake.prefix)) {
        Ok(_) => {}
        Err(error) if is_gone(&error) => {
            let fix = format!("aws s3 mb s3://{}", quoted(&lake.bucket));
            return vec![Finding::fail("permissions.lake", shown, "the bucket is not there", "nothing can be kept").fix(fix)];
        }
        Err(error) if is_denied(&error) && tries => return vec![denied(context, "permissions.lake", &shown, "s3:ListBucket")],
        Err(error) => return vec![unasked("permissions.lake", &shown, &error)],
    }
    let mut found = vec![Finding::ok("permissions.lake", &shown, "can be listed")];
    // A prefix with other characters would need another escape for the signature.
    let is_plain = lake.prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte));
    if tries && is_plain {
        let key = if lake.prefix.is_empty() { "_sluice/doctor".to_owned() } else { format!("{}/_sluice/doctor", lake.prefix) };
        found.push(judge_write(context, &shown, desk.s3_probe(&lake.bucket, &key)));
    }
    found
}

fn judge_write(context: &Context, shown: &str, answer: Result<(), sluice_enforce::aws::CallError>) -> Finding {
    let check = "permissions.lake_write";
    match answer {
        Err(error) if is_code(&error, &["PreconditionFailed", "NoSuchKey", "412", "404"]) => {
            Finding::ok(check, shown, "these credentials may write to it, and conditions are kept")
        }
        Err(error) if is_denied(&error) => denied(context, check, shown, "s3:PutObject"),
        Err(error) => unasked(check, shown, &error),
        Ok(()) => {
            let why = "commits rest on conditions: two writers could destroy each other's tables";
            Finding::fail(check, shown, "a write whose condition cannot hold was accepted", why).fix(format!(
                "aws s3 rm {}/_sluice/doctor   # and use a store that keeps conditional writes",
                quoted(shown.trim_end_matches('/'))
            ))
        }
    }
}

/// Says that a permission lacks that sluice needs.
pub(super) fn denied(context: &Context, check: &'static str, about: &str, action: &'static str) -> Finding {
    let principal = usage::principal(&context.me().arn).unwrap_or_else(|| context.me().arn);
    let why = "sluice cannot work with these credentials; if it runs as another role, judge that one: sluice doctor --role ARN";
    let resource = about.strip_prefix("s3://").map_or_else(
        || if about.starts_with("arn:") { about.to_owned() } else { "*".to_owned() },
        |place| {
            format!(
                "arn:{}:s3:::{}*",
                context.me().partition(),
                if action == "s3:ListBucket" { place.split('/').next().unwrap_or_default() } else { place }
            )
        },
    );
    let fix = rights::grant_fix(&principal, "sluice-missing", std::iter::once(&Need::new(action, resource)));
    Finding::fail(check, about, format!("these credentials lack {action}"), why).fix(fix)
}

/// The place of the configuration itself.
fn config_place(context: &Context) -> Option<Finding> {
    let (check, at) = ("permissions.config", context.subject.config_at.as_deref()?);
    let aws = match context.base() {
        Ok(aws) => aws,
        Err(problem) => return Some(Finding::skipped(check, at, problem)),
    };
    let desk = Desk { aws: &*aws, region: &context.home };
    let asked = match at.strip_prefix("ssm:") {
        Some(name) => {
            let body = serde_json::json!({"Name": name, "WithDecryption": true});
            desk.json(&SSM, "GetParameter", "ssm:GetParameter", &body).map(drop)
        }
        // It was read to come here.
        None => Ok(()),
    };
    Some(match asked {
        Ok(()) => Finding::ok(check, at, "can be read"),
        Err(error) => unasked(check, at, &error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::subject::Way;

    #[test]
    fn each_feature_needs_its_permissions_and_no_other() {
        let me = Identity { arn: "arn:aws:sts::111122223333:assumed-role/sluice/x".to_owned(), account: "111122223333".to_owned() };
        let thing = |name: &str| Thing { name: name.to_owned(), way: Way::default() };
        assert_eq!(needs(&Subject::default(), &me, "us-east-1"), []);
        let subject = Subject {
            streams: vec![thing("logs")],
            lake: Place::parse("s3://b/lake", &Way::default()),
            topics: vec![thing("arn:aws:sns:us-east-1:111122223333:told")],
            config_at: Some("ssm:/sluice/config".to_owned()),
            ..Subject::default()
        };
        let all: Vec<String> =
            needs(&subject, &me, "us-east-1").into_iter().map(|need| format!("{} {}", need.action, need.resource)).collect();
        for one in [
            "kinesis:GetRecords arn:aws:kinesis:us-east-1:111122223333:stream/logs",
            "s3:PutObject arn:aws:s3:::b/lake/any",
            "s3:ListBucket arn:aws:s3:::b",
            "sns:Publish arn:aws:sns:us-east-1:111122223333:told",
            "ssm:GetParameter arn:aws:ssm:us-east-1:111122223333:parameter/sluice/config",
        ] {
            assert!(all.iter().any(|found| found == one), "{one}: {all:#?}");
        }
        assert_eq!(all.len(), 3 + 3 + 1 + 1 + 1);
    }
}
