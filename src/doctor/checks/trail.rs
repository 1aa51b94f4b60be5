//! CloudTrail: a trail that records who assumed which role and who called, and the rules that bring these events here.

use serde_json::{Value, json};
use sluice_enforce::aws::{Aws, CallError};

use crate::doctor::Context;
use crate::doctor::ask::{CLOUDTRAIL, Desk, EVENTS, quoted, unasked};
use crate::doctor::finding::{Finding, Level};

/// State of a rule that is given events that only read, which calls of models are.
const ALL_EVENTS: &str = "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS";
/// Services whose events tell who called.
const SERVICES: [&str; 2] = ["bedrock", "sts"];

/// A trail and all that is known of it.
#[derive(Clone, Debug, Default)]
struct Trail {
    about: Value,
    status: Value,
    selectors: Value,
    /// Why its selectors are not known.
    hidden: Option<String>,
}

pub(super) fn check(context: &Context) -> Vec<Finding> {
    let aws = match context.base() {
        Ok(aws) => aws,
        Err(problem) => return vec![Finding::skipped("trail.logging", "", problem)],
    };
    let trails = match trails(&*aws, &context.home) {
        Ok(trails) => trails,
        Err(error) => return vec![unasked("trail.logging", "", &error)],
    };
    let mut found: Vec<Finding> = context.regions.iter().map(|region| logging(context, region, &trails)).collect();
    found.push(data_events(&trails));
    found.extend(trails.iter().filter_map(delivery));
    let rules = std::thread::scope(|scope| {
        let regions: Vec<_> = context.regions.iter().map(|region| scope.spawn(move || rules(context, region))).collect();
        regions.into_iter().flat_map(|region| region.join().unwrap_or_default()).collect::<Vec<_>>()
    });
    found.extend(rules);
    if !context.subject.joins {
        // Nobody waits for events: what lacks is worth knowing only.
        for finding in found.iter_mut().filter(|finding| finding.level == Level::Fail || finding.level == Level::Warn) {
            finding.level = Level::Note;
            finding.seen.push_str(" (events are not joined: join = false in [cloudtrail])");
        }
    }
    found
}

fn trails(aws: &dyn Aws, home: &str) -> Result<Vec<Trail>, CallError> {
    let desk = Desk { aws, region: home };
    let mut answer = desk.json(&CLOUDTRAIL, "DescribeTrails", "cloudtrail:DescribeTrails", &json!({"includeShadowTrails": true}))?;
    let Value::Array(listed) = answer["trailList"].take() else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for about in listed {
        let arn = about["TrailARN"].as_str().or(about["Name"].as_str()).unwrap_or_default().to_owned();
        let desk = Desk { aws, region: about["HomeRegion"].as_str().unwrap_or(home) };
        let status = desk.json(&CLOUDTRAIL, "GetTrailStatus", "cloudtrail:GetTrailStatus", &json!({"Name": arn}));
        let selectors = desk.json(&CLOUDTRAIL, "GetEventSelectors", "cloudtrail:GetEventSelectors", &json!({"TrailName": arn}));
        let hidden = status.as_ref().err().or(selectors.as_ref().err()).map(ToString::to_string);
        found.push(Trail { status: status.unwrap_or_default(), selectors: selectors.unwrap_or_default(), hidden, about });
    }
    Ok(found)
}

impl Trail {
    fn name(&self) -> &str {
        self.about["Name"].as_str().unwrap_or_default()
    }

    fn covers(&self, region: &str) -> bool {
        self.about["IsMultiRegionTrail"] == json!(true) || self.about["HomeRegion"] == *region
    }

    /// Says what keeps it from telling who called.
    fn lacks(&self) -> Option<String> {
        if let Some(hidden) = &self.hidden {
            return Some(format!("cannot be looked into: {hidden}"));
        }
        if self.status["IsLogging"] != json!(true) {
            return Some("is stopped".to_owned());
        }
        let selects = |selectors: &Value, judge: fn(&Value) -> bool| selectors.as_array().is_some_and(|all| all.iter().any(judge));
        let takes = selects(&self.selectors["EventSelectors"], basic) || selects(&self.selectors["AdvancedEventSelectors"], advanced);
        // A trail without selectors of its own records all management events.
        let is_default =
            ["EventSelectors", "AdvancedEventSelectors"].iter().all(|kind| self.selectors[*kind].as_array().is_none_or(Vec::is_empty));
        (!takes && !is_default).then(|| "does not record management events that only read, of Bedrock and STS".to_owned())
    }
}

fn basic(selector: &Value) -> bool {
    let excluded = selector["ExcludeManagementEventSources"].as_array().is_some_and(|sources| sources.iter().any(is_needed));
    selector["IncludeManagementEvents"] != json!(false) && selector["ReadWriteType"] != json!("WriteOnly") && !excluded
}

fn advanced(selector: &Value) -> bool {
    let fields = selector["FieldSelectors"].as_array().map(Vec::as_slice).unwrap_or_default();
    let of = |name: &str| fields.iter().find(|field| field["Field"] == *name);
    let has = |field: Option<&Value>, operator: &str, value: &str| {
        field.and_then(|field| field[operator].as_array()).is_some_and(|values| values.iter().any(|one| *one == *value))
    };
    let excluded = of("eventSource").and_then(|field| field["NotEquals"].as_array()).is_some_and(|sources| sources.iter().any(is_needed));
    let writes_alone = has(of("readOnly"), "Equals", "false");
    has(of("eventCategory"), "Equals", "Management") && !excluded && !writes_alone
}

fn is_needed(source: &Value) -> bool {
    SERVICES.iter().any(|service| source.as_str() == Some(&format!("{service}.amazonaws.com")))
}

fn logging(context: &Context, region: &str, trails: &[Trail]) -> Finding {
    judge_logging(region, trails, &context.me().account)
}

fn judge_logging(region: &str, trails: &[Trail], account: &str) -> Finding {
    let covering: Vec<&Trail> = trails.iter().filter(|trail| trail.covers(region)).collect();
    if let Some(good) = covering.iter().find(|trail| trail.lacks().is_none()) {
        let all = if good.about["IsMultiRegionTrail"] == json!(true) { "all regions" } else { "this region alone" };
        return Finding::ok("trail.logging", region, format!("trail {} records management events of {all}", good.name()));
    }
    let why = "who assumed a shared role, and calls that no log has, are known from these events alone; EventBridge passes none on without a trail";
    match covering.first() {
        None => {
            let bucket = format!("sluice-trail-{account}");
            Finding::fail("trail.logging", region, "no trail records management events", why)
                .fix(format!("aws cloudtrail create-trail --name sluice --is-multi-region-trail --s3-bucket-name {bucket}   # a bucket that CloudTrail may write to"))
                .fix("aws cloudtrail start-logging --name sluice")
        }
        Some(trail) if trail.hidden.is_some() => {
            Finding::warn("trail.logging", region, format!("trail {} {}", trail.name(), trail.lacks().unwrap_or_default()), why)
        }
        Some(trail) => {
            let (name, home) = (quoted(trail.name()), trail.about["HomeRegion"].as_str().unwrap_or(region));
            let seen = format!("trail {} {}", trail.name(), trail.lacks().unwrap_or_default());
            let fix = if trail.status["IsLogging"] == json!(true) {
                let selectors = r#"[{"Name":"management","FieldSelectors":[{"Field":"eventCategory","Equals":["Management"]}]}]"#;
                format!(
                    "aws cloudtrail put-event-selectors --region {home} --trail-name {name} --advanced-event-selectors {}   # beside those it has",
                    quoted(selectors)
                )
            } else {
                format!("aws cloudtrail start-logging --region {home} --name {name}")
            };
            Finding::fail("trail.logging", region, seen, why).fix(fix)
        }
    }
}

/// Agents and AgentCore say who called in data events, which cost.
fn data_events(trails: &[Trail]) -> Finding {
    let text: String = trails.iter().map(|trail| trail.selectors.to_string()).collect();
    let kinds = ["AWS::BedrockAgentCore::Runtime", "AWS::Bedrock::AgentAlias", "AWS::Bedrock::Model"];
    let missing: Vec<&str> = kinds.into_iter().filter(|kind| !text.contains(kind)).collect();
    if missing.is_empty() {
        return Finding::ok("trail.data_events", "", "data events of agents, AgentCore and models are recorded");
    }
    let why = "they tie calls to runs of agents and AgentCore, and show asynchronous and bidirectional calls; each costs $0.10 a 100,000";
    Finding::note("trail.data_events", "", format!("no trail records data events of {}", missing.join(", ")), why)
}

fn delivery(trail: &Trail) -> Option<Finding> {
    let error = trail.status["LatestDeliveryError"].as_str().filter(|error| !error.is_empty())?;
    let why = "events reach neither the bucket nor, read from there, the lake";
    let fix = format!("aws cloudtrail get-trail-status --name {}   # then the policy of its bucket and key", quoted(trail.name()));
    Some(Finding::warn("trail.delivery", trail.name(), format!("its last delivery failed: {error}"), why).fix(fix))
}

/// A rule with its targets.
#[derive(Clone, Debug, Default)]
struct Rule {
    about: Value,
    targets: Vec<Value>,
}

impl Rule {
    fn name(&self) -> &str {
        self.about["Name"].as_str().unwrap_or_default()
    }

    fn passes(&self, service: &str) -> bool {
        let pattern: Value = self.about["EventPattern"].as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let names = |value: &Value, name: &str| value.as_array().is_some_and(|values| values.iter().any(|one| *one == *name));
        names(&pattern["source"], &format!("aws.{service}"))
            || names(&pattern["detail"]["eventSource"], &format!("{service}.amazonaws.com"))
    }
}

fn rules(context: &Context, region: &str) -> Vec<Finding> {
    let aws = match context.base() {
        Ok(aws) => aws,
        Err(problem) => return vec![Finding::skipped("trail.rules", region, problem)],
    };
    let desk = Desk { aws: &*aws, region };
    let listed = match desk.all(&EVENTS, ("ListRules", "events:ListRules"), json!({}), ("Rules", "NextToken")) {
        Ok(listed) => listed,
        Err(error) => return vec![unasked("trail.rules", region, &error)],
    };
    let mut rules = Vec::new();
    for about in listed {
        let mut rule = Rule { about, targets: Vec::new() };
        if !SERVICES.iter().any(|service| rule.passes(service)) {
            continue;
        }
        match desk.all(&EVENTS, ("ListTargetsByRule", "events:ListTargetsByRule"), json!({"Rule": rule.name()}), ("Targets", "NextToken")) {
            Ok(targets) => rule.targets = targets,
            Err(error) => return vec![unasked("trail.rules", region, &error)],
        }
        rules.push(rule);
    }
    let reads_bucket = context.subject.places.iter().any(|place| place.prefix.contains("CloudTrail")) || context.facts.events;
    judge_rules(region, &rules, reads_bucket)
}

fn judge_rules(region: &str, rules: &[Rule], has_another_way: bool) -> Vec<Finding> {
    let mut found = Vec::new();
    for service in SERVICES {
        let all: Vec<&Rule> = rules.iter().filter(|rule| rule.passes(service)).collect();
        let about = format!("{region} {service}");
        let good = all.iter().find(|rule| rule.about["State"] == ALL_EVENTS && !rule.targets.is_empty());
        if let Some(rule) = good {
            let targets: Vec<&str> = rule.targets.iter().filter_map(|target| target["Arn"].as_str()).collect();
            found.push(Finding::ok("trail.rules", about, format!("rule {} passes its events to {}", rule.name(), targets.join(", "))));
            let unsafe_target = rule.targets.iter().find(|target| target["DeadLetterConfig"]["Arn"].is_null());
            if let Some(target) = unsafe_target {
                let why = "an event that cannot be delivered within a day is gone, and with it who called";
                let fix = format!(
                    "aws events put-targets --region {region} --rule {} --targets Id={},Arn={},DeadLetterConfig={{Arn=ARN_OF_A_QUEUE}}",
                    quoted(rule.name()),
                    target["Id"].as_str().unwrap_or("1"),
                    target["Arn"].as_str().unwrap_or_default()
                );
                found.push(Finding::warn("trail.dead_letters", rule.name(), "its target has no dead-letter queue", why).fix(fix));
            }
            continue;
        }
        if let Some(rule) = all.first() {
            found.push(weak_rule(region, rule));
        } else if has_another_way {
            found.push(Finding::note(
                "trail.rules",
                about,
                "no EventBridge rule; events come from the trail's bucket",
                "they are minutes later than by a rule",
            ));
        } else {
            let pattern = format!(r#"{{"source":["aws.{service}"],"detail-type":["AWS API Call via CloudTrail"]}}"#);
            let why = "sessions of shared roles are told apart by these events; without them several agents of a role are one";
            let fix = format!(
                "aws events put-rule --region {region} --name sluice-{service} --state {ALL_EVENTS} --event-pattern {}",
                quoted(&pattern)
            );
            let more = format!(
                "aws events put-targets --region {region} --rule sluice-{service} --targets Id=sluice,Arn=ARN_OF_THE_QUEUE_THAT_SLUICE_READS"
            );
            found.push(Finding::warn("trail.rules", about, "no rule passes its events on", why).fix(fix).fix(more));
        }
    }
    found
}

fn weak_rule(region: &str, rule: &Rule) -> Finding {
    let (state, name) = (rule.about["State"].as_str().unwrap_or_default(), quoted(rule.name()));
    if rule.targets.is_empty() {
        let fix =
            format!("aws events put-targets --region {region} --rule {name} --targets Id=sluice,Arn=ARN_OF_THE_QUEUE_THAT_SLUICE_READS");
        return Finding::fail("trail.targets", rule.name(), "the rule has no target", "its events go nowhere").fix(fix);
    }
    let why = "calls of models and AssumeRole only read, and a rule is given such events in one state alone";
    let pattern = rule.about["EventPattern"].as_str().unwrap_or_default();
    let fix = format!("aws events put-rule --region {region} --name {name} --state {ALL_EVENTS} --event-pattern {}", quoted(pattern));
    Finding::fail("trail.rule_state", rule.name(), format!("the rule is {state}"), why).fix(fix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trail(selectors: Value) -> Trail {
        let about = json!({"Name": "main", "IsMultiRegionTrail": true, "HomeRegion": "us-east-1"});
        Trail { about, status: json!({"IsLogging": true}), selectors, hidden: None }
    }

    fn rule(state: &str, targets: Vec<Value>) -> Rule {
        let pattern = json!({"source": ["aws.bedrock", "aws.sts"]}).to_string();
        Rule { about: json!({"Name": "sluice", "State": state, "EventPattern": pattern}), targets }
    }

    #[test]
    fn what_a_trail_has_to_record() {
        let level = |selectors: Value| judge_logging("eu-central-1", &[trail(selectors)], "1").level;
        let basic = |kind: &str, excluded: Value| json!({"EventSelectors": [{"ReadWriteType": kind, "IncludeManagementEvents": true, "ExcludeManagementEventSources": excluded}]});
        assert_eq!(level(basic("All", json!(["kms.amazonaws.com"]))), Level::Ok);
        assert_eq!(level(basic("WriteOnly", json!([]))), Level::Fail);
        assert_eq!(level(basic("All", json!(["sts.amazonaws.com"]))), Level::Fail);
        let advanced = |fields: Value| json!({"AdvancedEventSelectors": [{"FieldSelectors": fields}]});
        let management = json!({"Field": "eventCategory", "Equals": ["Management"]});
        assert_eq!(level(advanced(json!([management]))), Level::Ok);
        assert_eq!(level(advanced(json!([management, {"Field": "readOnly", "Equals": ["false"]}]))), Level::Fail);
        assert_eq!(level(advanced(json!([management, {"Field": "eventSource", "NotEquals": ["bedrock.amazonaws.com"]}]))), Level::Fail);
        assert_eq!(level(advanced(json!([{"Field": "eventCategory", "Equals": ["Data"]}]))), Level::Fail);
        assert_eq!(judge_logging("r", &[], "1").level, Level::Fail);
        let stopped = Trail { status: json!({"IsLogging": false}), ..trail(advanced(json!([management]))) };
        assert!(judge_logging("r", &[stopped], "1").fix[0].contains("start-logging"));
    }

    #[test]
    fn a_rule_is_given_events_that_only_read_and_has_a_target() {
        let target = json!({"Id": "1", "Arn": "arn:aws:sqs:us-east-1:1:q", "DeadLetterConfig": {"Arn": "arn:aws:sqs:us-east-1:1:dead"}});
        let levels = |rules: &[Rule], other: bool| -> Vec<(&str, Level)> {
            judge_rules("r", rules, other).into_iter().map(|finding| (finding.check, finding.level)).collect()
        };
        assert_eq!(levels(&[rule(ALL_EVENTS, vec![target.clone()])], false), [("trail.rules", Level::Ok); 2]);
        assert_eq!(levels(&[rule("ENABLED", vec![target])], false), [("trail.rule_state", Level::Fail); 2]);
        assert_eq!(levels(&[rule(ALL_EVENTS, Vec::new())], false), [("trail.targets", Level::Fail); 2]);
        assert_eq!(levels(&[], false), [("trail.rules", Level::Warn); 2]);
        assert_eq!(levels(&[], true), [("trail.rules", Level::Note); 2]);
        assert_eq!(levels(&[rule(ALL_EVENTS, vec![json!({"Id": "1", "Arn": "a"})])], false)[1], ("trail.dead_letters", Level::Warn));
    }

    #[test]
    fn a_failed_delivery_is_told() {
        let mut broken = trail(json!({}));
        broken.status["LatestDeliveryError"] = json!("AccessDenied");
        assert_eq!(delivery(&broken).map(|finding| finding.level), Some(Level::Warn));
        assert_eq!(delivery(&trail(json!({}))), None);
    }
}
