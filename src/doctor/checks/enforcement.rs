//! Whether the enforcer can act and cannot act too far: its levers, their policies, its targets, who is protected, who is told.

use sluice_enforce::aws::{Aws, CallError};
use sluice_enforce::guard::reach::overreach;
use sluice_enforce::guard::usage;
use sluice_enforce::iam::evaluate::{Context as Keys, Layers, Policy, Request, Verdict, evaluate};
use sluice_enforce::iam::{Iam, Principal};
use sluice_enforce::lever::LeverKind;
use sluice_enforce::lever::principal::RUNTIME_ACTIONS;

use super::rights::{self, Need};
use crate::doctor::Context;
use crate::doctor::ask::{Desk, is_gone, quoted, unasked};
use crate::doctor::finding::Finding;
use crate::doctor::subject::{Thing, Way};
use crate::enforcement::EnforceConfig;
use crate::output::counted;

/// Managed policies that a role may have unless the quota was raised. Source: AWS, "IAM and AWS STS quotas".
const PLACES: usize = 10;
/// Roles that are looked at one by one, those with most calls first.
const TARGETS: usize = 10;

/// What the configuration alone tells.
pub(super) fn local(context: &Context) -> Vec<Finding> {
    let config = &context.config.enforce;
    if config.levers.is_empty() {
        let why = "holds are recorded and told, nothing is pulled; that is the way to begin";
        return vec![Finding::note("enforcement.levers", "", "no lever is configured", why)];
    }
    let words: Vec<&str> = config.levers.iter().map(|lever| lever.as_str()).collect();
    let mut found = vec![Finding::ok("enforcement.levers", "", words.join(", "))];
    if config.protected.is_empty() {
        let why = "roles of Identity Center, service-linked roles and sluice's own are never stopped; administrators and pipelines with roles of your own are, unless named";
        let fix = "# in the configuration: [enforce] protected = [\"Admin*\", \"ci-*\", \"arn:aws:iam::…:role/…\"]";
        found.push(Finding::warn("enforcement.protected", "", "nobody is named in 'protected'", why).fix(fix));
    } else {
        found.push(Finding::ok("enforcement.protected", "", format!("never stopped: {}", config.protected.join(", "))));
    }
    found
}

pub(super) fn check(context: &Context) -> Vec<Finding> {
    let mut found = local(context);
    for topic in &context.subject.topics {
        found.push(topic_of(context, topic));
    }
    if context.config.enforce.levers.is_empty() {
        return found;
    }
    // Whoever names another role than the configuration's asks with the credentials at hand.
    let own_role = context.config.enforce.own_role_arn.clone().filter(|_| context.order.role.is_none());
    let aws = match context.aws(&Way { own_role: own_role.clone(), ..context.subject.way.clone() }) {
        Ok(aws) => aws,
        Err(problem) => {
            found.push(Finding::skipped("enforcement.reach", "", problem));
            return found;
        }
    };
    let own = context.order.role.clone().or(own_role).or_else(|| usage::principal(&context.me().arn));
    let Some(own) = own else {
        found.push(Finding::skipped(
            "enforcement.reach",
            context.me().arn,
            "neither a role nor a user: name the enforcer's role with --role",
        ));
        found.extend(policies(context, &*aws));
        return found;
    };
    found.extend(policies(context, &*aws));
    match rights::layers(&*aws, &own) {
        Err(error) => found.push(unasked("enforcement.reach", &own, &error)),
        Ok(layers) => {
            found.push(reach(&context.config.enforce, &own, &layers));
            found.extend(targets(context, &*aws, &own, &layers));
        }
    }
    found.extend(accounts(context));
    found
}

/// What the start-up check of the enforcer says.
fn reach(config: &EnforceConfig, own: &str, layers: &Layers) -> Finding {
    let is_whole = |pattern: &&String| pattern.starts_with("arn:") && !pattern.ends_with('*');
    let arns: Vec<String> = config.protected.iter().filter(is_whole).cloned().collect();
    let account = own.split(':').nth(4).unwrap_or_default();
    let attached: Vec<String> =
        config.deny_policy_arn.iter().chain(&config.boundary_policy_arn).map(|arn| arn.replace("{account}", account)).collect();
    let found = overreach(layers, own, &arns, &attached);
    if found.is_empty() {
        return Finding::ok("enforcement.reach", own, "it reaches neither itself nor anyone who is protected");
    }
    let why = "a program that can lock people out, or raise itself, is not let act: it refuses to start with levers. If sluice runs as another role, name it with --role";
    Finding::fail("enforcement.reach", own, found.join("; "), why)
        .fix("# give it a role of its own with the policies deploy/iam/lever-NAME.json of its levers and deploy/iam/enforcer-guard.json, and no others")
        .fix("sluice lever check")
}

/// The policies that levers attach: there, and saying what they should.
fn policies(context: &Context, aws: &dyn Aws) -> Vec<Finding> {
    let (config, me) = (&context.config.enforce, context.me());
    let mut found = Vec::new();
    let wanted = [
        (LeverKind::DenyPolicy, &config.deny_policy_arn, "deny-bedrock.json"),
        (LeverKind::Boundary, &config.boundary_policy_arn, "bedrock-boundary.json"),
    ];
    for (lever, arn, file) in wanted {
        let Some(arn) = arn.as_ref().filter(|_| config.levers.contains(&lever)) else { continue };
        let arn = arn.replace("{account}", &me.account);
        let name = arn.rsplit('/').next().unwrap_or_default().to_owned();
        let Some(anyone) = Principal::parse(&format!("arn:{}:iam::{}:role/anyone", me.partition(), me.account)) else { continue };
        found.push(match Iam::new(aws, &anyone).managed(&arn) {
            Ok(policy) if lever == LeverKind::DenyPolicy => judge_deny(&arn, &policy),
            Ok(policy) => judge_boundary(&arn, &policy),
            Err(error) if is_gone(&error) => {
                let fix = format!("aws iam create-policy --policy-name {} --policy-document file://deploy/iam/{file}", quoted(&name));
                Finding::fail("enforcement.policy", &arn, "the policy is not there", "the lever has nothing to attach: nobody is stopped")
                    .fix(fix)
            }
            Err(error) => unasked("enforcement.policy", &arn, &error),
        });
    }
    found
}

fn everything() -> Policy {
    Policy::read("everything", r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#)
}

/// Returns the runtime actions of Bedrock that layers do not surely refuse.
fn left_open(layers: &Layers) -> Vec<String> {
    let context = Keys::part();
    let resource = "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0";
    let actions = RUNTIME_ACTIONS.iter().map(|action| action.replace('*', "Model"));
    let is_open = |action: &String| {
        let verdict = evaluate(layers, &Request { action, resource, context: &context });
        !matches!(verdict, Verdict::ExplicitDeny { .. } | Verdict::ImplicitDeny { .. })
    };
    actions.filter(is_open).collect()
}

fn judge_deny(arn: &str, policy: &Policy) -> Finding {
    let fix = format!(
        "aws iam create-policy-version --policy-arn {} --policy-document file://deploy/iam/deny-bedrock.json --set-as-default",
        quoted(arn)
    );
    let layers = Layers { identity: vec![policy.clone(), everything()], ..Layers::default() };
    let open = left_open(&layers);
    if policy.allows_anything() {
        let why = "sluice refuses to attach a policy that grants something: nobody is stopped";
        return Finding::fail("enforcement.policy", arn, "it allows something; it is to deny only", why).fix(fix);
    }
    if !open.is_empty() {
        let why = "whoever is held can go on that way";
        return Finding::fail("enforcement.policy", arn, format!("it does not deny {}", open.join(", ")), why).fix(fix);
    }
    Finding::ok("enforcement.policy", arn, "it denies the use of Bedrock and allows nothing")
}

fn judge_boundary(arn: &str, policy: &Policy) -> Finding {
    let layers = Layers { identity: vec![everything()], boundary: Some(policy.clone()), ..Layers::default() };
    let open = left_open(&layers);
    if open.is_empty() {
        return Finding::ok("enforcement.policy", arn, "as a boundary it leaves no use of Bedrock");
    }
    let fix = format!(
        "aws iam create-policy-version --policy-arn {} --policy-document file://deploy/iam/bedrock-boundary.json --set-as-default",
        quoted(arn)
    );
    Finding::fail("enforcement.policy", arn, format!("as a boundary it leaves {}", open.join(", ")), "whoever is held can go on that way")
        .fix(fix)
}

/// The roles that call most: may each be stopped?
fn targets(context: &Context, aws: &dyn Aws, own: &str, layers: &Layers) -> Vec<Finding> {
    let (config, account) = (&context.config.enforce, context.me().account);
    let protected = config.protected(vec![own.to_owned()]);
    let mine = context.facts.roles.iter().filter(|role| role.arn.split(':').nth(4) == Some(account.as_str()));
    let mut found = Vec::new();
    for role in mine.filter(|role| protected.principal(&role.arn).is_none()).take(TARGETS) {
        found.push(match target(aws, config, &role.arn, layers) {
            Ok(finding) => finding,
            Err(error) if is_gone(&error) => Finding::skipped("enforcement.target", &role.arn, "the role is not there any more"),
            Err(error) => unasked("enforcement.target", &role.arn, &error),
        });
    }
    found
}

fn target(aws: &dyn Aws, config: &EnforceConfig, arn: &str, layers: &Layers) -> Result<Finding, CallError> {
    let role = rights::role(aws, arn)?.arn;
    let action = "iam:GetRole";
    let principal = Principal::parse(&role).ok_or_else(|| CallError::Garbled { action, detail: format!("'{role}' is no role") })?;
    let attached = Iam::new(aws, &principal).attached()?;
    let lacking: Vec<(LeverKind, Vec<Need>)> = config
        .levers
        .iter()
        .filter_map(|lever| Some((*lever, grants(*lever, config, &role, &principal.account)?)))
        .map(|(lever, needs)| (lever, rights::lacks(layers, &needs).denied.into_iter().map(|(need, _)| need).collect()))
        .collect();
    Ok(judge_target(config, &role, &principal.account, &attached, &lacking))
}

fn judge_target(config: &EnforceConfig, role: &str, account: &str, attached: &[String], lacking: &[(LeverKind, Vec<Need>)]) -> Finding {
    let check = "enforcement.target";
    let able: Vec<&str> = lacking.iter().filter(|(_, needs)| needs.is_empty()).map(|(lever, _)| lever.as_str()).collect();
    if able.is_empty() && !lacking.is_empty() {
        let all: Vec<String> = lacking
            .iter()
            .map(|(lever, needs)| format!("{lever}: {}", needs.iter().map(|need| need.action).collect::<Vec<_>>().join(", ")))
            .collect();
        let why = "a hold on it would pull nothing: the grant of each lever is limited to a path of roles";
        let fix = format!(
            "# attach deploy/iam/lever-{}.json for this role's path to the enforcer, or move the role below the path: {role}",
            lacking[0].0
        );
        return Finding::fail(check, role, format!("the enforcer may not stop it ({})", all.join("; ")), why).fix(fix);
    }
    let deny = config.deny_policy_arn.as_deref().unwrap_or_default().replace("{account}", account);
    if able.contains(&"deny-policy") && attached.len() >= PLACES && !attached.contains(&deny) {
        let seen = format!("{} managed policies are attached, of {PLACES} places unless the quota was raised", attached.len());
        let why = "the deny policy needs a place of its own; without one the next lever has to do";
        let fix = "aws service-quotas request-service-quota-increase --region us-east-1 --service-code iam --quota-code L-0DA4ABF3 --desired-value 20";
        return Finding::warn("enforcement.headroom", role, seen, why).fix(fix);
    }
    Finding::ok(
        check,
        role,
        format!("can be stopped by {}", if able.is_empty() { "levers that are not judged here".to_owned() } else { able.join(", ") }),
    )
}

/// Returns what a lever needs on a role; none where that cannot be said without its subject.
fn grants(lever: LeverKind, config: &EnforceConfig, role: &str, account: &str) -> Option<Vec<Need>> {
    let on_policy = |policy: &String| {
        let policy = policy.replace("{account}", account);
        ["iam:AttachRolePolicy", "iam:DetachRolePolicy"].map(|action| Need::new(action, role).with("iam:PolicyARN", &policy))
    };
    Some(match lever {
        LeverKind::DenyPolicy => config.deny_policy_arn.iter().flat_map(on_policy).collect(),
        LeverKind::Detach => config.detach_policy_arns.iter().flat_map(on_policy).collect(),
        LeverKind::Boundary => {
            let policy = config.boundary_policy_arn.as_deref().unwrap_or_default().replace("{account}", account);
            let actions = ["iam:PutRolePermissionsBoundary", "iam:DeleteRolePermissionsBoundary"];
            actions.map(|action| Need::new(action, role).with("iam:PermissionsBoundary", &policy)).into()
        }
        LeverKind::DenySession | LeverKind::RevokeSessions => {
            ["iam:PutRolePolicy", "iam:DeleteRolePolicy"].map(|action| Need::new(action, role)).into()
        }
        LeverKind::Profile | LeverKind::Scp | LeverKind::StopSession | LeverKind::RejectAlias | LeverKind::ApiKey | LeverKind::Flag => {
            return None;
        }
    })
}

/// Whether the role of other accounts can be taken on.
fn accounts(context: &Context) -> Vec<Finding> {
    let (config, own) = (&context.config.enforce, context.me().account);
    let mut others: Vec<&String> =
        context.facts.places.iter().map(|(account, _)| account).filter(|account| !account.is_empty() && **account != own).collect();
    others.sort_unstable();
    others.dedup();
    let check = "enforcement.account";
    let mut found = Vec::new();
    for account in others.into_iter().take(TARGETS) {
        let Some(role) = &config.role_arn else {
            let why = "nobody of that account can be stopped";
            let fix = "# in the configuration: [enforce] role_arn = \"arn:aws:iam::{account}:role/sluice-enforcer\", external_id = …; deploy/iam/enforcer-trust.json";
            found.push(Finding::warn(check, account, "calls come from it, and no role is configured to act there", why).fix(fix));
            continue;
        };
        let way = Way { role: Some(role.clone()), external_id: config.external_id.clone(), ..context.subject.way.clone() };
        let asked = context.aws(&way).map(|aws| {
            let anyone = Principal::parse(&role.replace("{account}", account));
            anyone.map_or(Ok(()), |principal| Iam::new(&*aws, &principal).attached().map(drop))
        });
        found.push(match asked {
            Err(problem) => Finding::skipped(check, account, problem),
            Ok(Err(error @ CallError::Credentials { .. })) => {
                let why = "nobody of that account can be stopped";
                let fix = format!("# the trust policy of {} has to let sluice's role in, with the ExternalId of the configuration: deploy/iam/enforcer-trust.json", role.replace("{account}", account));
                Finding::fail(check, account, format!("its role cannot be taken on: {error}"), why).fix(fix)
            }
            // Whatever the role is then refused, it was taken on.
            Ok(_) => Finding::ok(check, account, "its role can be taken on"),
        });
    }
    found
}

fn topic_of(context: &Context, topic: &Thing) -> Finding {
    let check = "enforcement.topic";
    let aws = match context.aws(&topic.way) {
        Ok(aws) => aws,
        Err(problem) => return Finding::skipped(check, &topic.name, problem),
    };
    let desk = Desk { aws: &*aws, region: topic.region(&context.home) };
    let asked = desk.query("sns", ("ListSubscriptionsByTopic", "2010-03-31"), "sns:ListSubscriptionsByTopic", &[("TopicArn", &topic.name)]);
    match asked {
        Ok(answer) => {
            let states: Vec<&str> = answer.members("Subscriptions").iter().map(|one| one.text_at(&["SubscriptionArn"])).collect();
            judge_topic(&topic.name, &states)
        }
        Err(error) if is_gone(&error) => {
            let fix = format!("aws sns create-topic --region {} --name {}", desk.region, quoted(topic.short()));
            Finding::fail(check, &topic.name, "the topic is not there", "nobody is told").fix(fix)
        }
        Err(error) => unasked(check, &topic.name, &error),
    }
}

fn judge_topic(topic: &str, states: &[&str]) -> Finding {
    let check = "enforcement.topic";
    let confirmed = states.iter().filter(|state| state.starts_with("arn:")).count();
    if confirmed > 0 {
        return Finding::ok(check, topic, counted(confirmed, "confirmed subscription"));
    }
    if !states.is_empty() {
        let why = "until somebody follows the link in the confirmation message nobody is told";
        let fix = format!("aws sns list-subscriptions-by-topic --topic-arn {topic}   # then confirm, or subscribe again");
        return Finding::fail(check, topic, format!("{} subscriptions, none confirmed", states.len()), why).fix(fix);
    }
    let fix = format!("aws sns subscribe --topic-arn {topic} --protocol email --notification-endpoint oncall@example.com");
    Finding::fail(check, topic, "it has no subscription", "breaches are published, and nobody is told").fix(fix)
}

#[cfg(test)]
#[path = "enforcement_tests.rs"]
mod tests;
