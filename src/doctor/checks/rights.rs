//! What a role may do, by its own policies, and whom its trust policy lets in.

use serde_json::{Value, json};
use sluice_enforce::aws::{Aws, CallError};
use sluice_enforce::iam::evaluate::{Context, Layers, Request, Verdict, evaluate};
use sluice_enforce::iam::wire::unescape;
use sluice_enforce::iam::{Iam, Principal};

use crate::doctor::ask::{Desk, quoted};

/// A permission that something needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Need {
    /// IAM action.
    pub(super) action: &'static str,
    /// ARN.
    pub(super) resource: String,
    /// Keys of the request.
    pub(super) keys: Vec<(&'static str, String)>,
}

impl Need {
    pub(super) fn new(action: &'static str, resource: impl Into<String>) -> Self {
        Self { action, resource: resource.into(), keys: Vec::new() }
    }

    pub(super) fn with(mut self, key: &'static str, value: &str) -> Self {
        self.keys.push((key, value.to_owned()));
        self
    }
}

/// What a set of policies lacks of what is needed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lacks {
    /// Not allowed, with what denies it if anything does.
    pub(super) denied: Vec<(Need, Option<String>)>,
    /// Cannot be told.
    pub(super) unknown: Vec<(Need, String)>,
}

/// Says what policies lack.
pub(super) fn lacks(layers: &Layers, needs: &[Need]) -> Lacks {
    let mut lacks = Lacks::default();
    for need in needs {
        let context = need.keys.iter().fold(Context::part(), |context, (key, value)| context.with(key, value));
        match evaluate(layers, &Request { action: need.action, resource: &need.resource, context: &context }) {
            Verdict::Allowed { .. } => {}
            Verdict::ImplicitDeny { .. } => lacks.denied.push((need.clone(), None)),
            Verdict::ExplicitDeny { by } => lacks.denied.push((need.clone(), Some(by))),
            Verdict::Unknown { reason } => lacks.unknown.push((need.clone(), reason)),
        }
    }
    lacks
}

/// Reads the policies of a role or user.
pub(super) fn layers(aws: &dyn Aws, arn: &str) -> Result<Layers, CallError> {
    let action = "iam:GetRole";
    let principal = Principal::parse(arn).ok_or_else(|| CallError::Garbled { action, detail: format!("'{arn}' is no role or user") })?;
    let granted = Iam::new(aws, &principal).granted(&[])?;
    Ok(Layers { identity: granted.identity, boundary: granted.boundary, ..Layers::default() })
}

/// What IAM tells of a role.
#[derive(Clone, Debug, Default)]
pub(super) struct RoleInfo {
    /// ARN with its path.
    pub(super) arn: String,
    /// Trust policy.
    pub(super) trust: Value,
}

/// Reads a role by its ARN or name.
pub(super) fn role(aws: &dyn Aws, arn: &str) -> Result<RoleInfo, CallError> {
    let name = arn.rsplit('/').next().unwrap_or(arn);
    let desk = Desk { aws, region: "us-east-1" };
    let answer = desk.iam("GetRole", "iam:GetRole", &[("RoleName", name)])?;
    let document = unescape(answer.text_at(&["Role", "AssumeRolePolicyDocument"])).unwrap_or_default();
    let trust = serde_json::from_str(&document).unwrap_or_default();
    Ok(RoleInfo { arn: answer.text_at(&["Role", "Arn"]).to_owned(), trust })
}

fn list(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(values) => values.iter().filter_map(Value::as_str).collect(),
        value => value.as_str().into_iter().collect(),
    }
}

/// Tells whether a trust policy lets a service in; of the services some, as `logs.amazonaws.com`, have a name for each region too.
pub(super) fn trusts(trust: &Value, service: &str, region: &str) -> bool {
    let (name, suffix) = service.split_once('.').unwrap_or((service, "amazonaws.com"));
    let regional = format!("{name}.{region}.{suffix}");
    let statements = match &trust["Statement"] {
        Value::Array(statements) => statements.iter().collect(),
        one => vec![one],
    };
    statements.iter().any(|statement| {
        let principals = list(&statement["Principal"]["Service"]);
        let lets_in = principals.iter().any(|principal| *principal == service || *principal == regional);
        statement["Effect"] == "Allow"
            && lets_in
            && list(&statement["Action"]).iter().any(|action| action.eq_ignore_ascii_case("sts:AssumeRole"))
    })
}

/// Returns the command that lets a service take on a role.
pub(super) fn trust_fix(role: &str, service: &str, account: &str) -> String {
    let statement = json!({"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"aws:SourceAccount": account}}});
    let document = json!({"Version": "2012-10-17", "Statement": [statement]}).to_string();
    let name = role.rsplit('/').next().unwrap_or(role);
    format!("aws iam update-assume-role-policy --role-name {} --policy-document {}", quoted(name), quoted(&document))
}

/// Returns the commands that make a role which a service may take on for what is needed.
pub(super) fn make_fix(role: &str, service: &str, account: &str, needs: &[Need]) -> Vec<String> {
    let name = role.rsplit('/').next().unwrap_or(role);
    let trust = trust_fix(role, service, account);
    let document = trust.split_once(" --policy-document ").map_or("", |(_, document)| document);
    let create = format!("aws iam create-role --role-name {} --assume-role-policy-document {document}", quoted(name));
    vec![create, grant_fix(role, "sluice", needs.iter())]
}

/// Returns the command that grants what is needed, as one inline policy.
pub(super) fn grant_fix<'a>(principal: &str, policy: &str, needs: impl Iterator<Item = &'a Need>) -> String {
    let mut by_resource: Vec<(&str, Vec<&str>)> = Vec::new();
    for need in needs {
        match by_resource.iter_mut().find(|(resource, _)| *resource == need.resource) {
            Some((_, actions)) => actions.push(need.action),
            None => by_resource.push((&need.resource, vec![need.action])),
        }
    }
    let statements: Vec<Value> =
        by_resource.iter().map(|(resource, actions)| json!({"Effect": "Allow", "Action": actions, "Resource": resource})).collect();
    let document = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
    let name = principal.rsplit('/').next().unwrap_or(principal);
    let verb = if principal.contains(":user/") { "put-user-policy --user-name" } else { "put-role-policy --role-name" };
    format!("aws iam {verb} {} --policy-name {policy} --policy-document {}", quoted(name), quoted(&document))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_let_in() {
        let trust =
            |service: &str| json!({"Statement": [{"Effect": "Allow", "Principal": {"Service": [service]}, "Action": "sts:AssumeRole"}]});
        assert!(trusts(&trust("logs.amazonaws.com"), "logs.amazonaws.com", "eu-central-1"));
        assert!(trusts(&trust("logs.eu-central-1.amazonaws.com"), "logs.amazonaws.com", "eu-central-1"));
        assert!(!trusts(&trust("logs.us-east-1.amazonaws.com"), "logs.amazonaws.com", "eu-central-1"));
        assert!(!trusts(&json!({}), "logs.amazonaws.com", "eu-central-1"));
    }

    #[test]
    fn one_statement_a_resource() {
        let needs = [Need::new("a:B", "r"), Need::new("a:C", "r"), Need::new("a:D", "s")];
        let command = grant_fix("arn:aws:iam::111122223333:role/x/sluice", "sluice-missing", needs.iter());
        assert!(
            command.starts_with("aws iam put-role-policy --role-name sluice --policy-name sluice-missing --policy-document '"),
            "{command}"
        );
        assert!(command.contains(r#""Action":["a:B","a:C"]"#) && command.matches("Effect").count() == 2, "{command}");
    }
}
