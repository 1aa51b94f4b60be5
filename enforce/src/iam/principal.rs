//! Roles and users by their ARNs.

use std::fmt;

/// Which of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrincipalKind {
    /// A role.
    Role,
    /// A user.
    User,
}

/// A role or user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// `aws`, `aws-cn`, `aws-us-gov`.
    pub partition: String,
    /// Account id.
    pub account: String,
    /// Which of both.
    pub kind: PrincipalKind,
    /// Path, `/` where there is none.
    pub path: String,
    /// Name, unique in the account whatever the path.
    pub name: String,
}

impl Principal {
    /// Reads `arn:aws:iam::111122223333:role/agents/triage`.
    #[must_use]
    pub fn parse(arn: &str) -> Option<Self> {
        let mut parts = arn.splitn(6, ':');
        let (Some("arn"), Some(partition), Some("iam"), Some("")) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return None;
        };
        let (account, resource) = (parts.next()?, parts.next()?);
        let (kind, path_and_name) = match resource.split_once('/')? {
            ("role", rest) => (PrincipalKind::Role, rest),
            ("user", rest) => (PrincipalKind::User, rest),
            _ => return None,
        };
        let (path, name) = path_and_name.rsplit_once('/').unwrap_or(("", path_and_name));
        let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte));
        let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
        let path = if path.is_empty() { "/".to_owned() } else { format!("/{path}/") };
        let (partition, account, name) = (partition.to_owned(), account.to_owned(), name.to_owned());
        (is_name && is_account).then_some(Self { partition, account, kind, path, name })
    }

    /// Says why nobody may change it, if so.
    #[must_use]
    pub fn is_protected(&self) -> Option<&'static str> {
        if self.path.starts_with("/aws-service-role/") || self.name.starts_with("AWSServiceRoleFor") {
            return Some(
                "it is a service-linked role, which only its service may change; stop the workload in that service, or attach a service control \
                 policy to an account of its own",
            );
        }
        if self.path.starts_with("/aws-reserved/sso.amazonaws.com/") || self.name.starts_with("AWSReservedSSO_") {
            return Some(
                "it is a role of IAM Identity Center, which only Identity Center may change; change its permission set, or attach a service control \
                 policy to the account",
            );
        }
        None
    }
}

impl fmt::Display for Principal {
    /// Writes its ARN.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            PrincipalKind::Role => "role",
            PrincipalKind::User => "user",
        };
        write!(f, "arn:{}:iam::{}:{kind}{}{}", self.partition, self.account, self.path, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arns_there_and_back() {
        for arn in [
            "arn:aws:iam::111122223333:role/triage",
            "arn:aws-cn:iam::111122223333:role/agents/eu/triage",
            "arn:aws:iam::111122223333:user/bots/a.b@c",
        ] {
            assert_eq!(Principal::parse(arn).unwrap().to_string(), arn);
        }
        for arn in [
            "",
            "arn:aws:iam::111122223333:role",
            "arn:aws:iam::111122223333:role/",
            "arn:aws:iam::111122223333:group/a",
            "arn:aws:iam::1:role/a",
            "arn:aws:iam::111122223333:role/a:b",
            "arn:aws:sts::111122223333:assumed-role/a/b",
            "arn:aws:iam:us-east-1:111122223333:role/a",
        ] {
            assert_eq!(Principal::parse(arn), None, "{arn}");
        }
    }

    #[test]
    fn protected_ones() {
        let why = |resource: &str| Principal::parse(&format!("arn:aws:iam::111122223333:{resource}")).unwrap().is_protected();
        assert!(why("role/aws-service-role/bedrock.amazonaws.com/AWSServiceRoleForX").unwrap().contains("service-linked"));
        assert!(why("role/aws-reserved/sso.amazonaws.com/eu-west-1/AWSReservedSSO_Dev_1").unwrap().contains("permission set"));
        assert!(why("role/AWSReservedSSO_Dev_1").is_some(), "as a log names it, without its path");
        assert_eq!(why("role/agents/triage"), None);
    }
}
