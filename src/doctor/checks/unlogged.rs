//! Use of Bedrock that no invocation log holds: the mantle endpoint, batch jobs, asynchronous calls.

use sluice_schemas::time::DAY;

use crate::doctor::Context;
use crate::doctor::ask::{Desk, unasked};
use crate::doctor::facts::DAYS;
use crate::doctor::finding::Finding;

/// What the events in the lake show.
pub(super) fn local(context: &Context) -> Vec<Finding> {
    let finding = |seen: &sluice_aggregate::coverage::unlogged::Unlogged| {
        let events = seen.events.or(seen.calls).unwrap_or(0);
        let why = format!("{}; its cost is on the bill and in no budget", seen.why);
        Finding::warn("unlogged.events", seen.what, format!("{events} times in the last {DAYS} days"), why)
            .fix(format!("sluice coverage{} --since {DAYS}d   # docs/coverage.md, \"What no log holds\"", context.flag()))
    };
    context.facts.unlogged.iter().map(finding).collect()
}

pub(super) fn check(context: &Context) -> Vec<Finding> {
    let mut found = local(context);
    let asked: Vec<Finding> = std::thread::scope(|scope| {
        let regions: Vec<_> = context.regions.iter().map(|region| scope.spawn(move || in_region(context, region))).collect();
        regions.into_iter().flat_map(|region| region.join().unwrap_or_default()).collect()
    });
    found.extend(asked);
    found
}

fn in_region(context: &Context, region: &str) -> Vec<Finding> {
    let aws = match context.base() {
        Ok(aws) => aws,
        Err(problem) => return vec![Finding::skipped("unlogged.mantle", region, problem)],
    };
    let desk = Desk { aws: &*aws, region };
    let fields = [("Namespace", "AWS/BedrockMantle")];
    let mantle = desk.query("monitoring", ("ListMetrics", "2010-08-01"), "cloudwatch:ListMetrics", &fields);
    let since = context.now.plus(-DAYS * DAY).floor(DAY);
    let path = format!("/model-invocation-jobs?maxResults=10&submitTimeAfter={}", since.to_string().replace(':', "%3A"));
    let jobs = desk.rest("bedrock", "bedrock:ListModelInvocationJobs", &path);
    vec![
        mantle.map_or_else(
            |error| unasked("unlogged.mantle", region, &error),
            |answer| judge_mantle(region, answer.members("Metrics").len()),
        ),
        jobs.map_or_else(
            |error| unasked("unlogged.batch", region, &error),
            |answer| judge_jobs(region, answer["invocationJobSummaries"].as_array().map_or(0, Vec::len)),
        ),
    ]
}

fn judge_mantle(region: &str, metrics: usize) -> Finding {
    if metrics == 0 {
        return Finding::ok("unlogged.mantle", region, "the bedrock-mantle endpoint has no metrics");
    }
    let why = "Bedrock does not log that endpoint: its calls are on the bill and in no budget";
    let fix = format!(
        "aws cloudwatch list-metrics --region {region} --namespace AWS/BedrockMantle   # then deny bedrock-mantle:* to agents, or budget it by the bill"
    );
    Finding::warn("unlogged.mantle", region, "the bedrock-mantle endpoint is in use", why).fix(fix)
}

fn judge_jobs(region: &str, jobs: usize) -> Finding {
    if jobs == 0 {
        return Finding::ok("unlogged.batch", region, format!("no batch job in the last {DAYS} days"));
    }
    let more = if jobs >= 10 { " or more" } else { "" };
    let why = "batch jobs are not logged: their cost is on the bill and in no budget";
    let fix = format!("aws bedrock list-model-invocation-jobs --region {region}   # the manifest of each job has its tokens");
    Finding::warn("unlogged.batch", region, format!("{jobs}{more} batch jobs in the last {DAYS} days"), why).fix(fix)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Level;

    #[test]
    fn use_that_is_not_logged_is_named() {
        assert_eq!([judge_mantle("r", 0).level, judge_mantle("r", 2).level], [Level::Ok, Level::Warn]);
        assert_eq!([judge_jobs("r", 0).level, judge_jobs("r", 10).level], [Level::Ok, Level::Warn]);
    }
}
