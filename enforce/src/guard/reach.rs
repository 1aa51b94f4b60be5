//! What an enforcer's permissions reach that they must not: itself, those who are never stopped, and rights beyond its levers. Pure.
//!
//! A program that can attach policies can lock people out, or raise itself. So before it acts its own policies are judged as IAM would
//! judge them; what cannot be judged counts as reached.

use crate::iam::evaluate::{Context, Layers, Request, Verdict, evaluate};

/// A policy that no lever ever attaches.
const ADMINISTRATOR: &str = "arn:aws:iam::aws:policy/AdministratorAccess";

/// Says what is reached that must not be, one sentence each.
///
/// `own` is what the program acts as, `protected` are ARNs of roles and users that are never stopped, `policies` those its levers attach.
#[must_use]
pub fn overreach(layers: &Layers, own: &str, protected: &[String], policies: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    let untouchable = std::iter::once(own).chain(protected.iter().map(String::as_str));
    for arn in untouchable {
        let is_user = arn.contains(":user/");
        let (attach, put, boundary) = if is_user {
            ("iam:AttachUserPolicy", "iam:PutUserPolicy", "iam:PutUserPermissionsBoundary")
        } else {
            ("iam:AttachRolePolicy", "iam:PutRolePolicy", "iam:PutRolePermissionsBoundary")
        };
        for policy in policies.iter().map(String::as_str).chain([ADMINISTRATOR]) {
            let context = Context::whole().with("iam:PolicyARN", policy);
            ask(layers, attach, arn, &context, &format!("attach {policy} to {arn}"), &mut found);
            let context = Context::whole().with("iam:PermissionsBoundary", policy);
            ask(layers, boundary, arn, &context, &format!("set the boundary of {arn} to {policy}"), &mut found);
        }
        ask(layers, put, arn, &Context::whole(), &format!("write policies of {arn}"), &mut found);
    }
    // Any role: what would make an administrator of someone.
    let account = own.split(':').nth(4).unwrap_or_default();
    let partition = own.split(':').nth(1).unwrap_or("aws");
    let anyone = format!("arn:{partition}:iam::{account}:role/anyone");
    let context = Context::whole().with("iam:PolicyARN", ADMINISTRATOR);
    ask(layers, "iam:AttachRolePolicy", &anyone, &context, "attach AdministratorAccess to a role", &mut found);
    ask(layers, "iam:UpdateAssumeRolePolicy", &anyone, &Context::whole(), "change who may assume a role", &mut found);
    ask(layers, "iam:PassRole", &anyone, &Context::whole(), "pass a role to a service", &mut found);
    for policy in policies {
        ask(layers, "iam:CreatePolicyVersion", policy, &Context::whole(), &format!("change what {policy} says"), &mut found);
        ask(layers, "iam:SetDefaultPolicyVersion", policy, &Context::whole(), &format!("change what {policy} says"), &mut found);
    }
    found.dedup();
    found
}

fn ask(layers: &Layers, action: &str, resource: &str, context: &Context, what: &str, found: &mut Vec<String>) {
    match evaluate(layers, &Request { action, resource, context }) {
        Verdict::Allowed { by } => found.push(format!("it may {what} ({by} allows {action})")),
        Verdict::Unknown { reason } => found.push(format!("it cannot be ruled out that it may {what} ({action}: {reason})")),
        Verdict::ExplicitDeny { .. } | Verdict::ImplicitDeny { .. } => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iam::evaluate::Policy;

    const OWN: &str = "arn:aws:iam::111122223333:role/sluice-enforcer";
    const DENY: &str = "arn:aws:iam::111122223333:policy/sluice-deny-bedrock";

    fn judged(statements: &str) -> Vec<String> {
        let document = format!(r#"{{"Version":"2012-10-17","Statement":[{statements}]}}"#);
        let layers = Layers { identity: vec![Policy::read("enforcer", &document)], ..Layers::default() };
        overreach(&layers, OWN, &["arn:aws:iam::111122223333:role/ops/Admin".to_owned()], &[DENY.to_owned()])
    }

    const GOOD: &str = r#"{"Effect":"Allow","Action":["iam:AttachRolePolicy","iam:DetachRolePolicy"],
        "Resource":"arn:aws:iam::111122223333:role/agents/*",
        "Condition":{"ArnEquals":{"iam:PolicyARN":"arn:aws:iam::111122223333:policy/sluice-deny-bedrock"}}}"#;

    #[test]
    fn what_a_lever_needs_is_enough() {
        assert_eq!(judged(GOOD), [] as [String; 0]);
    }

    #[test]
    fn whatever_is_wider_is_named() {
        for (statement, word) in [
            (r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#, "attach AdministratorAccess to a role"),
            (
                &GOOD.replace("role/agents/*", "role/*"),
                "attach arn:aws:iam::111122223333:policy/sluice-deny-bedrock to arn:aws:iam::111122223333:role/ops/Admin",
            ),
            (r#"{"Effect":"Allow","Action":"iam:PutRolePolicy","Resource":"arn:aws:iam::111122223333:role/*"}"#, "write policies of"),
            (r#"{"Effect":"Allow","Action":"iam:CreatePolicyVersion","Resource":"*"}"#, "change what"),
            (r#"{"Effect":"Allow","Action":"iam:PassRole","Resource":"*"}"#, "pass a role"),
            (
                r#"{"Effect":"Allow","Action":"iam:AttachRolePolicy","Resource":"*","Condition":{"Mystery":{"a":"b"}}}"#,
                "cannot be ruled out",
            ),
        ] {
            let found = judged(statement);
            assert!(found.iter().any(|sentence| sentence.contains(word)), "{word}: {found:#?}");
        }
        let spared = r#"{"Effect":"Allow","Action":"iam:*","Resource":"*"},{"Effect":"Deny","Action":"iam:*","Resource":"*"}"#;
        assert_eq!(judged(spared), [] as [String; 0]);
    }
}
