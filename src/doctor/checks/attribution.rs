//! Who called: rules that match nothing, roles that several agents share, trust policies that pin nothing.

use serde_json::Value;
use sluice_schemas::directory::Pins;

use super::rights;
use crate::doctor::Context;
use crate::doctor::ask::{is_gone, quoted, unasked};
use crate::doctor::facts::{DAYS, Facts, RoleUse};
use crate::doctor::finding::Finding;

/// Shared roles that are looked at one by one.
const ROLES: usize = 10;

/// What the configuration and the lake tell.
pub(super) fn local(context: &Context) -> Vec<Finding> {
    let (facts, config) = (&context.facts, &context.config);
    if let Some(problem) = &facts.problem {
        return vec![Finding::skipped("attribution.calls", "", format!("the lake cannot be asked: {problem}"))];
    }
    if facts.calls == 0 {
        return vec![Finding::skipped("attribution.calls", "", format!("the lake has no call of the last {DAYS} days"))];
    }
    let rules: Vec<&str> = config.rules.names().map(|(name, _)| name).collect();
    let mut found = judge_calls(facts, &context.flag());
    found.extend(judge_rules(facts, &rules, &context.flag()));
    found.extend(judge_prices(facts, &context.flag()));
    found
}

pub(super) fn check(context: &Context) -> Vec<Finding> {
    let mut found = local(context);
    let shared: Vec<&RoleUse> = context.facts.roles.iter().filter(|role| role.agents.len() > 1).take(ROLES).collect();
    if shared.is_empty() {
        return found;
    }
    let aws = match context.base() {
        Ok(aws) => aws,
        Err(problem) => {
            found.push(Finding::skipped("attribution.shared", "", problem));
            return found;
        }
    };
    let own = context.me().account;
    for role in shared {
        if role.arn.split(':').nth(4).is_some_and(|account| !account.is_empty() && account != own) {
            found.push(judge_shared(role, None));
            continue;
        }
        found.push(match rights::role(&*aws, &role.arn) {
            Ok(info) => judge_shared(role, Some(&pins(&info.trust))),
            Err(error) if is_gone(&error) => judge_shared(role, None),
            Err(error) => unasked("attribution.shared", &role.arn, &error),
        });
    }
    found
}

#[cfg(feature = "aws")]
fn pins(trust: &Value) -> Pins {
    sluice_ingest::directory::pins(trust)
}

#[cfg(not(feature = "aws"))]
fn pins(_trust: &Value) -> Pins {
    Pins::default()
}

fn judge_calls(facts: &Facts, flag: &str) -> Vec<Finding> {
    let mut found = vec![Finding::ok(
        "attribution.calls",
        "",
        format!("{} calls of the last {DAYS} days, the last at {}", facts.calls, facts.last.as_deref().unwrap_or("?")),
    )];
    if facts.unattributed > 0 {
        let why = "no budget of an agent counts them";
        let fix = format!("sluice agents{flag}   # what would name an agent for each");
        found.push(Finding::warn("attribution.nobody", "", format!("{} calls name no agent", facts.unattributed), why).fix(fix));
    }
    if facts.spoofed > 0 {
        let why = "somebody claimed to be an agent that the role is not registered for; the call is booked to the role";
        let fix = format!(
            "sluice query{flag} \"SELECT agent_id, principal_arn, count(*) FROM calls WHERE agent_status = 'spoofed' GROUP BY 1, 2\""
        );
        found.push(Finding::warn("attribution.spoofed", "", format!("{} calls claim an agent they are not", facts.spoofed), why).fix(fix));
    }
    found
}

fn judge_rules(facts: &Facts, rules: &[&str], flag: &str) -> Option<Finding> {
    let unused: Vec<&str> = rules.iter().filter(|name| !facts.evidence.contains(&format!("rule:{name}"))).copied().collect();
    if rules.is_empty() {
        return None;
    }
    if unused.is_empty() {
        return Some(Finding::ok("attribution.rules", "", format!("all {} rules named agents", rules.len())));
    }
    let fix = format!("sluice rules test{flag} LOG_RECORDS   # which rule matches what");
    let why = "its pattern is wrong, or nobody calls that way, or other evidence is more specific";
    Some(Finding::warn("attribution.rules", "", format!("rules that named no agent in {DAYS} days: {}", unused.join(", ")), why).fix(fix))
}

fn judge_prices(facts: &Facts, flag: &str) -> Vec<Finding> {
    let finding = |(model, calls): &(String, u64)| {
        let why = "their cost is unknown: budgets count them at their worst case, or not at all";
        let fix = format!("sluice prices list{flag}   # then prices_file in [enrich], and: sluice prices rerate{flag}");
        Finding::warn("attribution.unpriced", model.as_str(), format!("{calls} calls without a price"), why).fix(fix)
    };
    facts.unpriced.iter().map(finding).collect()
}

/// Judges a role that several agents call through.
fn judge_shared(role: &RoleUse, pins: Option<&Pins>) -> Finding {
    let check = "attribution.shared";
    let some = role.agents.iter().take(4).map(String::as_str).collect::<Vec<_>>().join(", ");
    let seen = format!(
        "{} agents call through it ({some}); {} of {} calls rest on the caller's own word",
        role.agents.len(),
        role.weak,
        role.calls
    );
    let pinned = pins.is_some_and(|pins| pins.session_name || pins.source_identity || !pins.tag_keys.is_empty());
    if role.weak == 0 || pinned {
        return Finding::ok(check, &role.arn, if pinned { format!("{seen}; its trust policy pins who is who") } else { seen });
    }
    let name = role.arn.rsplit('/').next().unwrap_or(&role.arn);
    let why = "one agent can spend in the name of another, and stopping one stops all: an inference profile or a pinned session name of its own tells each apart";
    let agent = role.agents.first().map_or("AGENT", String::as_str);
    Finding::warn(check, &role.arn, seen, why)
        .fix(format!("aws bedrock create-inference-profile --inference-profile-name {} --model-source copyFrom=MODEL_OR_PROFILE_ARN --tags key=agent,value={}", quoted(agent), quoted(agent)))
        .fix(format!("# or, in the trust policy of {name}: \"Condition\": {{\"StringEquals\": {{\"sts:RoleSessionName\": \"${{aws:username}}\"}}}}; sluice agents says which is cheapest"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Level;

    #[test]
    fn rules_that_never_named_anyone() {
        let facts = Facts { evidence: vec!["rule:ci".to_owned()], ..Facts::default() };
        assert_eq!(judge_rules(&facts, &[], ""), None);
        assert_eq!(judge_rules(&facts, &["ci"], "").map(|finding| finding.level), Some(Level::Ok));
        let found = judge_rules(&facts, &["ci", "nightly"], "").unwrap();
        assert!(found.level == Level::Warn && found.seen.ends_with(": nightly"), "{found:?}");
    }

    #[test]
    fn a_shared_role_needs_something_that_tells_agents_apart() {
        let role =
            |weak: u64| RoleUse { arn: "arn:aws:iam::1:role/r".to_owned(), calls: 9, agents: vec!["a".to_owned(), "b".to_owned()], weak };
        assert_eq!(judge_shared(&role(0), None).level, Level::Ok);
        assert_eq!(judge_shared(&role(5), Some(&Pins::default())).level, Level::Warn);
        assert_eq!(judge_shared(&role(5), Some(&Pins { session_name: true, ..Pins::default() })).level, Level::Ok);
    }

    #[test]
    fn calls_of_nobody_and_of_impostors() {
        let facts = Facts { calls: 9, unattributed: 1, spoofed: 1, unpriced: vec![("m".to_owned(), 2)], ..Facts::default() };
        let checks: Vec<&str> = judge_calls(&facts, "").iter().map(|finding| finding.check).collect();
        assert_eq!(checks, ["attribution.calls", "attribution.nobody", "attribution.spoofed"]);
        assert_eq!(judge_prices(&facts, "").len(), 1);
    }
}
