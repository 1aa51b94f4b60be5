//! Who may never be stopped: whoever acts here, administrators, break-glass and pipeline roles, and what IAM does not let anyone change.
//!
//! Source of the paths: AWS, "Using service-linked roles" and "IAM Identity Center: referencing permission sets in resource policies".

use super::usage;

/// The list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Protected {
    /// ARN of the role or user this program acts as, or of its session.
    pub own: Vec<String>,
    /// Patterns of the configuration: targets, pairs, values, ARNs or names of roles; a final `*` stands for any rest.
    pub patterns: Vec<String>,
}

/// Name parts of roles that get people back in. Refused even if nobody lists them.
const BREAK_GLASS: [&str; 4] = ["breakglass", "break-glass", "emergencyaccess", "organizationaccountaccessrole"];

impl Protected {
    /// Says why a role or user may not be stopped, if so.
    #[must_use]
    pub fn principal(&self, arn: &str) -> Option<String> {
        let (_, resource) = arn.rsplit_once(':').unwrap_or(("", arn));
        let name = resource.rsplit('/').next().unwrap_or(resource);
        let lower = name.to_ascii_lowercase();
        let of_session = |own: &String| usage::principal(own).unwrap_or_else(|| own.clone());
        if self.own.iter().map(of_session).any(|own| own == arn || same_role(&own, arn)) {
            return Some("it is what this program acts as".to_owned());
        }
        if resource.starts_with("role/aws-service-role/") || name.starts_with("AWSServiceRoleFor") {
            return Some("service-linked roles cannot be changed; stop the service that uses it".to_owned());
        }
        if resource.starts_with("role/aws-reserved/") || name.starts_with("AWSReservedSSO_") {
            return Some(
                "roles of IAM Identity Center cannot be changed; use a service control policy, or take the permission set away".to_owned(),
            );
        }
        if BREAK_GLASS.iter().any(|part| lower.contains(part)) {
            return Some("it is a role that gets people back in".to_owned());
        }
        let is_listed =
            |pattern: &&String| is_like(pattern, arn) || is_like(pattern, name) || is_like(pattern, resource) || same_role(pattern, arn);
        let listed = self.patterns.iter().find(is_listed);
        listed.map(|pattern| format!("it is protected by '{pattern}'"))
    }

    /// Says why a target may not be stopped, if so.
    #[must_use]
    pub fn target(&self, target: &str) -> Option<String> {
        let names = |pattern: &&String| {
            is_like(pattern, target)
                || target
                    .split(',')
                    .any(|pair| is_like(pattern, pair) || pair.split_once('=').is_some_and(|(_, value)| is_like(pattern, value)))
        };
        self.patterns.iter().find(names).map(|pattern| format!("the target is protected by '{pattern}'"))
    }
}

/// Two ARNs of one role: logs leave its path out.
fn same_role(a: &str, b: &str) -> bool {
    let parts = |arn: &str| -> Option<(String, String)> {
        let (account, resource) = arn.split_once(":iam::")?.1.split_once(':')?;
        let name = resource.strip_prefix("role/")?.rsplit('/').next()?;
        Some((account.to_owned(), name.to_owned()))
    };
    parts(a).is_some_and(|a| parts(b) == Some(a))
}

fn is_like(pattern: &str, text: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == text, |start| text.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_never_stopped() {
        let protected = Protected {
            own: vec!["arn:aws:iam::111122223333:role/ops/sluice-enforcer".to_owned()],
            patterns: vec!["ci-*".to_owned(), "agent_id=release-bot".to_owned(), "arn:aws:iam::111122223333:role/Payments".to_owned()],
        };
        let role = |name: &str| format!("arn:aws:iam::111122223333:role/{name}");
        for name in [
            "sluice-enforcer",
            "ci-deploy",
            "Payments",
            "aws-service-role/lambda.amazonaws.com/AWSServiceRoleForX",
            "AWSReservedSSO_Admin_1234",
            "aws-reserved/sso.amazonaws.com/eu-west-1/AWSReservedSSO_Admin_1234",
            "Company-BreakGlass",
            "OrganizationAccountAccessRole",
        ] {
            assert!(protected.principal(&role(name)).is_some(), "{name}");
        }
        assert_eq!(protected.principal(&role("Triage")), None);
        assert_eq!(protected.principal("arn:aws:iam::999999999999:role/sluice-enforcer"), None, "another account");
        assert!(protected.target("agent_id=release-bot,session_id=1").is_some());
        assert!(protected.target("role=ci-nightly").is_some());
        assert_eq!(protected.target("agent_id=triage"), None);
    }
}
