//! What is read: the subscription that fills the stream, the stream, queues, buckets.

use serde_json::{Value, json};
use sluice_enforce::aws::Aws;

use super::logging::{self, Destination};
use super::rights::{self, Need};
use crate::doctor::ask::{Desk, KINESIS, LOGS, SQS, is_gone, listing, quoted, unasked};
use crate::doctor::finding::Finding;
use crate::doctor::subject::{Place, Thing};
use crate::doctor::{Context, Identity};
use crate::output::counted;

/// Subscription filters that a group may have. Source: AWS, "CloudWatch Logs quotas".
const FILTERS: usize = 2;
/// Who takes on the role of a subscription.
const SERVICE: &str = "logs.amazonaws.com";
/// A lag that is worth a word, in milliseconds.
const LAG_WARN: f64 = 60_000.0;

pub(super) fn check(context: &Context) -> Vec<Finding> {
    let subject = &context.subject;
    if !subject.reads_aws() {
        let seen = if subject.has_other_sources { "logs come from Kafka or files alone" } else { "no [[source]] is configured" };
        return vec![Finding::skipped("stream.source", "", seen)];
    }
    std::thread::scope(|scope| {
        let mut parts = Vec::new();
        for region in &context.regions {
            parts.push(scope.spawn(move || subscription(context, region)));
        }
        for one in &subject.streams {
            parts.push(scope.spawn(move || with(context, one, "stream.exists", stream)));
        }
        for one in &subject.queues {
            parts.push(scope.spawn(move || with(context, one, "stream.queue", queue)));
        }
        for place in &subject.places {
            parts.push(scope.spawn(move || bucket(context, place)));
        }
        parts.into_iter().flat_map(|part| part.join().unwrap_or_default()).collect()
    })
}

/// Looks at a thing with the caller of its way.
fn with(context: &Context, thing: &Thing, check: &'static str, look: fn(&Context, Desk<'_>, &Thing) -> Vec<Finding>) -> Vec<Finding> {
    match context.aws(&thing.way) {
        Ok(aws) => look(context, Desk { aws: &*aws, region: thing.region(&context.home) }, thing),
        Err(problem) => vec![Finding::skipped(check, &thing.name, problem)],
    }
}

/// The subscription of a region's log group, if logs go to one.
fn subscription(context: &Context, region: &str) -> Vec<Finding> {
    let aws = match context.base() {
        Ok(aws) => aws,
        Err(problem) => return vec![Finding::skipped("stream.filter", region, problem)],
    };
    // What is wrong with the logging configuration itself is told by its own group.
    let Ok(Some((destination, _))) = logging::destination(&*aws, region) else { return Vec::new() };
    let Some(group) = &destination.group else { return from_bucket(context, &destination, region) };
    let desk = Desk { aws: &*aws, region };
    let asked = desk.all(
        &LOGS,
        ("DescribeSubscriptionFilters", "logs:DescribeSubscriptionFilters"),
        json!({"logGroupName": group}),
        ("subscriptionFilters", "nextToken"),
    );
    let filters = match asked {
        Ok(filters) => filters,
        Err(error) if is_gone(&error) => return Vec::new(),
        Err(error) => return vec![unasked("stream.filter", group, &error)],
    };
    let streams = &context.subject.streams;
    let bucket_too = destination.bucket.as_ref().is_some_and(|bucket| context.subject.places.iter().any(|place| place.bucket == *bucket));
    let (mut found, ours) = judge_filters((region, &context.me()), group, &filters, streams, bucket_too);
    if let Some(filter) = ours {
        found.extend(writer(&*aws, region, context, &filter));
        found.extend(delivered(context, desk, group, &filter));
    }
    found
}

/// Logs that go to a bucket alone are read there, or not at all.
fn from_bucket(context: &Context, destination: &Destination, region: &str) -> Vec<Finding> {
    let Some(bucket) = &destination.bucket else { return Vec::new() };
    if context.subject.places.iter().any(|place| place.bucket == *bucket) {
        return vec![Finding::ok("stream.source", bucket, "the bucket of the log is read")];
    }
    let why = "logs of this region are written and never read: they are in no sum";
    let fix = format!("# in the configuration: [[source]] kind = \"s3\", paths = [\"s3://{bucket}/\"], region = \"{region}\"");
    vec![Finding::fail("stream.source", bucket, "logging writes to a bucket that no [[source]] reads", why).fix(fix)]
}

/// Returns the commands that make a stream the destination of a group.
fn subscribe_fix(region: &str, me: &Identity, group: &str, streams: &[Thing]) -> Vec<String> {
    let stream = streams.iter().find(|stream| stream.region(region) == region);
    let Some(stream) = stream else {
        return vec![format!("# a [[source]] kind = \"kinesis\" with a stream in {region}, then sluice doctor again")];
    };
    let arn = if stream.name.starts_with("arn:") {
        stream.name.clone()
    } else {
        format!("arn:{}:kinesis:{region}:{}:stream/{}", me.partition(), me.account, stream.name)
    };
    let role = format!("arn:{}:iam::{}:role/sluice-subscription", me.partition(), me.account);
    let mut fixes = rights::make_fix(&role, SERVICE, &me.account, &[Need::new("kinesis:PutRecord", arn.clone())]);
    fixes.push(format!(
        "aws logs put-subscription-filter --region {region} --log-group-name {} --filter-name sluice --filter-pattern '' --distribution Random --destination-arn {} --role-arn {role}",
        quoted(group),
        quoted(&arn)
    ));
    fixes
}

/// Judges the filters of a group, and returns the one that fills a stream of ours.
fn judge_filters(
    (region, me): (&str, &Identity),
    group: &str,
    filters: &[Value],
    streams: &[Thing],
    bucket_too: bool,
) -> (Vec<Finding>, Option<Value>) {
    let target = |filter: &Value| filter["destinationArn"].as_str().unwrap_or_default().to_owned();
    let is_ours = |filter: &&Value| {
        let arn = target(filter);
        // A destination stands before a stream of another account; a function may be a worker: what is behind them is not told here.
        streams.iter().any(|stream| arn == stream.name || arn.ends_with(&format!(":stream/{}", stream.short())))
            || arn.contains(":destination:")
            || arn.contains(":lambda:")
    };
    let Some(ours) = filters.iter().find(is_ours) else {
        if bucket_too {
            return (vec![Finding::ok("stream.source", group, "no subscription is needed: the bucket of the log is read")], None);
        }
        let why = "nothing of this log group reaches sluice: its calls are in no sum, and no budget stops them";
        let puts = subscribe_fix(region, me, group, streams);
        if filters.len() >= FILTERS {
            let seen = format!(
                "both places for subscription filters are taken by others: {}",
                filters.iter().map(target).collect::<Vec<_>>().join(", ")
            );
            let fix =
                "# free one, or let one of them feed a stream that sluice may read too; a log group has two places at most".to_owned();
            return (vec![Finding::fail("stream.filter", group, seen, why).fix(fix).fixes(puts)], None);
        }
        return (vec![Finding::fail("stream.filter", group, "no subscription filter leads to a configured stream", why).fixes(puts)], None);
    };
    let name = ours["filterName"].as_str().unwrap_or_default();
    let mut found = vec![Finding::ok("stream.filter", group, format!("{name} leads to {}", target(ours)))];
    let put = format!(
        "aws logs put-subscription-filter --region {region} --log-group-name {} --filter-name {} --filter-pattern '' --distribution Random --destination-arn {} --role-arn {}",
        quoted(group),
        quoted(name),
        quoted(&target(ours)),
        quoted(ours["roleArn"].as_str().unwrap_or("ROLE"))
    );
    if ours["filterPattern"].as_str().is_some_and(|pattern| !pattern.trim().is_empty()) {
        let why = "records that do not match are never seen: their calls are in no sum";
        found.push(
            Finding::fail("stream.pattern", group, format!("the filter has a pattern: {}", ours["filterPattern"]), why).fix(put.clone()),
        );
    }
    if ours["distribution"].as_str() != Some("Random") && target(ours).contains(":kinesis:") {
        let why = "Bedrock writes one log stream, so all records go to one shard: 1 MB/s, however many shards there are";
        found.push(Finding::warn("stream.distribution", group, "records are distributed by log stream", why).fix(put));
    }
    (found, Some(ours.clone()))
}

/// The role by which CloudWatch Logs writes to the stream.
fn writer(aws: &dyn Aws, region: &str, context: &Context, filter: &Value) -> Vec<Finding> {
    let (Some(role), Some(target)) = (filter["roleArn"].as_str(), filter["destinationArn"].as_str()) else { return Vec::new() };
    if !target.contains(":kinesis:") {
        return Vec::new();
    }
    let info = match rights::role(aws, role) {
        Ok(info) => info,
        Err(error) if is_gone(&error) => {
            let why = "CloudWatch Logs takes on this role to write; without it records are skipped and lost";
            let fixes = rights::make_fix(role, SERVICE, &context.me().account, &[Need::new("kinesis:PutRecord", target)]);
            return vec![Finding::fail("stream.writer", role, "the role of the subscription is not there", why).fixes(fixes)];
        }
        Err(error) => return vec![unasked("stream.writer", role, &error)],
    };
    if !rights::trusts(&info.trust, SERVICE, region) {
        let why = "CloudWatch Logs cannot take on the role: records are skipped and lost";
        return vec![Finding::fail("stream.writer", role, "its trust policy does not let CloudWatch Logs in", why).fix(rights::trust_fix(
            role,
            SERVICE,
            &context.me().account,
        ))];
    }
    let needs = [Need::new("kinesis:PutRecord", target)];
    vec![match rights::layers(aws, &info.arn).map(|layers| rights::lacks(&layers, &needs)) {
        Err(error) => unasked("stream.writer", role, &error),
        Ok(lacks) if lacks.denied.is_empty() => Finding::ok("stream.writer", role, "CloudWatch Logs may take it on and write with it"),
        Ok(_) => {
            let fix = rights::grant_fix(&info.arn, "sluice-stream", needs.iter());
            Finding::fail("stream.writer", role, "it may not kinesis:PutRecord", "records are skipped and lost").fix(fix)
        }
    }]
}

/// Whether CloudWatch Logs could deliver in the last day.
fn delivered(context: &Context, desk: Desk<'_>, group: &str, filter: &Value) -> Vec<Finding> {
    let name = filter["filterName"].as_str().unwrap_or_default();
    let dimensions = [("LogGroupName", group), ("DestinationType", "Kinesis"), ("FilterName", name)];
    let mut found = Vec::new();
    for (metric, check) in [("DeliveryErrors", "stream.delivery"), ("DeliveryThrottling", "stream.throttling")] {
        match desk.metric(("AWS/Logs", metric), &dimensions, "Sum", (context.now, 24 * 60)) {
            Err(error) => return vec![unasked(check, group, &error)],
            Ok(Some(count)) if count > 0.0 => {
                let seen = format!("{metric}: up to {count:.0} an hour in the last day");
                found.push(if metric == "DeliveryErrors" {
                    let why = "what could not be delivered is dropped: these calls are missing from the stream";
                    let fix = format!("sluice coverage{} --since 24h", context.flag());
                    Finding::fail(check, group, seen, why).fix(fix)
                } else {
                    let fix = format!(
                        "aws kinesis update-stream-mode --stream-arn {} --stream-mode-details StreamMode=ON_DEMAND",
                        quoted(filter["destinationArn"].as_str().unwrap_or_default())
                    );
                    Finding::warn(check, group, seen, "the stream is too small: records come late, and after a day are dropped").fix(fix)
                });
            }
            Ok(_) => {}
        }
    }
    if found.is_empty() {
        found.push(Finding::ok("stream.delivery", group, "no failed delivery in the last day"));
    }
    found
}

fn stream(context: &Context, desk: Desk<'_>, thing: &Thing) -> Vec<Finding> {
    let name = &thing.name;
    let body = if name.starts_with("arn:") { json!({"StreamARN": name}) } else { json!({"StreamName": name}) };
    let summary = match desk.json(&KINESIS, "DescribeStreamSummary", "kinesis:DescribeStreamSummary", &body) {
        Ok(mut answer) => answer["StreamDescriptionSummary"].take(),
        Err(error) if is_gone(&error) => {
            let why = "there is nothing to read: no call is counted";
            let fix = format!(
                "aws kinesis create-stream --region {} --stream-name {} --stream-mode-details StreamMode=ON_DEMAND",
                desk.region,
                quoted(thing.short())
            );
            return vec![Finding::fail("stream.exists", name, "the stream is not there", why).fix(fix)];
        }
        Err(error) => return vec![unasked("stream.exists", name, &error)],
    };
    let mut found = judge_stream(desk.region, thing, &summary);
    let hours = summary["RetentionPeriodHours"].as_i64().unwrap_or(24);
    let dimensions = [("StreamName", thing.short())];
    match desk.metric(("AWS/Kinesis", "GetRecords.IteratorAgeMilliseconds"), &dimensions, "Maximum", (context.now, 15)) {
        Ok(age) => found.push(judge_age(name, age, hours)),
        Err(error) => found.push(unasked("stream.lag", name, &error)),
    }
    match desk.metric(("AWS/Kinesis", "WriteProvisionedThroughputExceeded"), &dimensions, "Maximum", (context.now, 24 * 60)) {
        Ok(Some(refused)) if refused > 0.0 => {
            let why = "the stream is too small: records come late";
            let fix = format!(
                "aws kinesis update-shard-count --region {} --stream-name {} --scaling-type UNIFORM_SCALING --target-shard-count {}",
                desk.region,
                quoted(thing.short()),
                summary["OpenShardCount"].as_i64().unwrap_or(1).saturating_mul(2)
            );
            found.push(Finding::warn("stream.writes", name, "writes were throttled in the last day", why).fix(fix));
        }
        Ok(_) => {}
        Err(error) => found.push(unasked("stream.writes", name, &error)),
    }
    found
}

fn judge_stream(region: &str, thing: &Thing, summary: &Value) -> Vec<Finding> {
    let name = &thing.name;
    let (status, short) = (summary["StreamStatus"].as_str().unwrap_or_default(), quoted(thing.short()));
    let mut found = vec![match status {
        "ACTIVE" | "UPDATING" => {
            let shards = summary["OpenShardCount"].as_u64().and_then(|shards| usize::try_from(shards).ok()).unwrap_or(0);
            Finding::ok("stream.exists", name, format!("{}, {}", status.to_lowercase(), counted(shards, "open shard")))
        }
        other => {
            let fix = format!("aws kinesis wait stream-exists --region {region} --stream-name {short}");
            Finding::fail("stream.exists", name, format!("its status is {other}"), "it cannot be read now").fix(fix)
        }
    }];
    if summary["EncryptionType"].as_str().unwrap_or("NONE") == "NONE" {
        let fix = format!(
            "aws kinesis start-stream-encryption --region {region} --stream-name {short} --encryption-type KMS --key-id alias/aws/kinesis"
        );
        found.push(
            Finding::warn(
                "stream.encryption",
                name,
                "records are not encrypted at rest",
                "they name who calls what, and hold prompts if those are delivered",
            )
            .fix(fix),
        );
    }
    let hours = summary["RetentionPeriodHours"].as_i64().unwrap_or(24);
    if hours < 48 {
        let why = "if sluice stands still for longer, calls are lost: a weekend is 60 hours";
        let fix =
            format!("aws kinesis increase-stream-retention-period --region {region} --stream-name {short} --retention-period-hours 168");
        found.push(Finding::warn("stream.retention", name, format!("records are kept for {hours} hours"), why).fix(fix));
    }
    if summary["RecordDistributionStrategy"].as_str() == Some("AUTO") {
        let why = "messages of workers need their order within a shard; log records do not";
        found.push(Finding::note("stream.strategy", name, "records are distributed whatever their partition key", why));
    }
    found
}

fn judge_age(name: &str, age: Option<f64>, hours: i64) -> Finding {
    let Some(age) = age else {
        let why = "CloudWatch has no reads of the last 15 minutes: no daemon polls this stream (a fan-out reader is not counted here)";
        return Finding::warn("stream.lag", name, "nobody reads it", why).fix("sluice status   # on the machine of the daemon");
    };
    let half: i64 = hours.saturating_mul(1_800_000);
    let seconds = (age as i64) / 1_000;
    let seen = format!("{seconds} s behind at most in the last 15 minutes");
    if age as i64 > half {
        let why = "more than half of what the stream keeps: soon calls are lost before they are read";
        return Finding::fail("stream.lag", name, seen, why)
            .fix("sluice status   # which shard, and why; more CPU or more shards let it catch up");
    }
    if age > LAG_WARN {
        let why = "budgets are crossed before they are seen to be: overshoot grows with the lag";
        return Finding::warn("stream.lag", name, seen, why).fix("sluice status   # which shard, and why");
    }
    Finding::ok("stream.lag", name, seen)
}

fn queue(_context: &Context, desk: Desk<'_>, thing: &Thing) -> Vec<Finding> {
    let body = json!({"QueueUrl": thing.name, "AttributeNames": ["All"]});
    match desk.json(&SQS, "GetQueueAttributes", "sqs:GetQueueAttributes", &body) {
        Ok(answer) => judge_queue(thing, &answer["Attributes"]),
        Err(error) if is_gone(&error) => {
            let why = "notifications and events have nowhere to go: what they name is not read";
            let fix = format!("aws sqs create-queue --region {} --queue-name {}", desk.region, quoted(thing.short()));
            vec![Finding::fail("stream.queue", &thing.name, "the queue is not there", why).fix(fix)]
        }
        Err(error) => vec![unasked("stream.queue", &thing.name, &error)],
    }
}

fn judge_queue(thing: &Thing, attributes: &Value) -> Vec<Finding> {
    let number = |name: &str| attributes[name].as_str().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let waiting = number("ApproximateNumberOfMessages");
    let mut found = vec![Finding::ok("stream.queue", &thing.name, format!("reachable, about {waiting} messages wait"))];
    if attributes["RedrivePolicy"].is_null() {
        let why = "a message that can never be read comes back until it expires, unseen; a dead-letter queue keeps it and can be watched";
        let policy = r#"{"deadLetterTargetArn":"ARN_OF_A_QUEUE","maxReceiveCount":"10"}"#;
        let attributes = json!({"RedrivePolicy": policy}).to_string();
        let fix = format!("aws sqs set-queue-attributes --queue-url {} --attributes {}", quoted(&thing.name), quoted(&attributes));
        found.push(Finding::warn("stream.dead_letters", &thing.name, "it has no dead-letter queue", why).fix(fix));
    }
    let keeps = number("MessageRetentionPeriod");
    if keeps > 0 && keeps < 4 * 86_400 {
        let why = "events that wait for longer are lost, and with them who called";
        let fix = format!("aws sqs set-queue-attributes --queue-url {} --attributes MessageRetentionPeriod=1209600", quoted(&thing.name));
        found.push(
            Finding::warn("stream.queue_retention", &thing.name, format!("messages are kept for {} hours", keeps / 3_600), why).fix(fix),
        );
    }
    found
}

fn bucket(context: &Context, place: &Place) -> Vec<Finding> {
    let shown = place.shown();
    let aws = match context.aws(&place.way) {
        Ok(aws) => aws,
        Err(problem) => return vec![Finding::skipped("stream.bucket", shown, problem)],
    };
    let desk = Desk { aws: &*aws, region: place.way.region.as_deref().unwrap_or(&context.home) };
    vec![match desk.s3("s3:ListBucket", &listing(&place.bucket, &place.prefix)) {
        Ok(answer) if answer.text_at(&["KeyCount"]) == "0" => {
            let why = "either nothing was delivered yet, or the prefix is another: then nothing is ever read";
            Finding::warn("stream.bucket", &shown, "nothing is there", why)
                .fix(format!("aws s3 ls s3://{}/ --recursive | head", quoted(&place.bucket)))
        }
        Ok(_) => Finding::ok("stream.bucket", shown, "can be listed, and objects are there"),
        Err(error) if is_gone(&error) => {
            Finding::fail("stream.bucket", shown, "the bucket is not there", "there is nothing to read: no call is counted")
                .fix("# name the bucket that logging writes to in [[source]] paths")
        }
        Err(error) => unasked("stream.bucket", &shown, &error),
    }]
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
