//! Identity ARNs: who called, as the log tells it, and patterns of callers, as the agents file writes them.
//!
//! Source of the forms: AWS IAM User Guide, "IAM identifiers" and "Policy variables". A log names an assumed role by its role's name
//! and the session; the role's path is not in it. Role and user names are unique in an account without regard to case, so they are
//! compared without it.

use super::glob::Glob;
use super::text::is_plain;

/// What kind of caller an ARN names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PrincipalKind {
    /// A role, assumed or named.
    Role,
    /// An IAM user.
    User,
    /// A session of `GetFederationToken`.
    FederatedUser,
    /// The account's root user.
    Root,
}

impl PrincipalKind {
    const fn word(self) -> &'static str {
        match self {
            Self::Role => "role",
            Self::User => "user",
            Self::FederatedUser => "federated-user",
            Self::Root => "root",
        }
    }
}

/// A caller, read from an ARN of any partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Principal<'a> {
    /// `aws`, `aws-cn`, `aws-us-gov` …
    pub partition: &'a str,
    /// Account of the principal; that of the call may differ.
    pub account: &'a str,
    /// What it is.
    pub kind: PrincipalKind,
    /// Name without path; `root` for the root user.
    pub name: &'a str,
    /// Session name of an assumed role; empty for the others.
    pub session: &'a str,
}

/// Parts of an ARN that names an identity.
struct Parts<'a> {
    partition: &'a str,
    account: &'a str,
    service: &'a str,
    resource: &'a str,
}

fn parts(arn: &str) -> Option<Parts<'_>> {
    let mut fields = arn.splitn(6, ':');
    let mut next = || fields.next();
    let (prefix, partition, service, region, account, resource) = (next()?, next()?, next()?, next()?, next()?, next()?);
    let well_formed = prefix == "arn" && partition.starts_with("aws") && region.is_empty() && is_plain(account) && is_plain(partition);
    well_formed.then_some(Parts { partition, account, service, resource })
}

/// Splits `path/name` at the last slash.
fn base_name(text: &str) -> (&str, &str) {
    text.rsplit_once('/').unwrap_or(("", text))
}

impl<'a> Principal<'a> {
    /// Reads `identity.arn`; `None` for a text that names no principal.
    #[must_use]
    pub fn parse(arn: &'a str) -> Option<Self> {
        let Parts { partition, account, service, resource } = parts(arn)?;
        let (kind, name, session) = match (service, resource.split_once('/')) {
            ("iam", None) if resource == "root" => (PrincipalKind::Root, resource, ""),
            ("iam", Some(("user", rest))) => (PrincipalKind::User, base_name(rest).1, ""),
            ("iam", Some(("role", rest))) => (PrincipalKind::Role, base_name(rest).1, ""),
            ("sts", Some(("federated-user", name))) => (PrincipalKind::FederatedUser, name, ""),
            ("sts", Some(("assumed-role", rest))) => {
                let (role, session) = rest.split_once('/').filter(|(_, session)| is_plain(session) && !session.contains('/'))?;
                (PrincipalKind::Role, role, session)
            }
            _ => return None,
        };
        is_plain(name).then_some(Self { partition, account, kind, name, session })
    }

    /// Returns the key of all principals of its partition, account and kind.
    pub(crate) fn scope(&self) -> String {
        scope(self.partition, self.account, self.kind)
    }

    /// Returns the uuid of an AgentCore session, whose name `BedrockAgentCore-<uuid>` only the service sets.
    #[must_use]
    pub fn agentcore_session(&self) -> Option<&'a str> {
        self.session.strip_prefix("BedrockAgentCore-").filter(|id| is_uuid(id))
    }
}

fn scope(partition: &str, account: &str, kind: PrincipalKind) -> String {
    format!("{partition}:{account}:{}", kind.word())
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Why a principal of the agents file was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternFault {
    /// Not an ARN of a role, a user, a federated user or the root user.
    #[error("write it like arn:aws:iam::123456789012:role/Name")]
    NotAPrincipal,
    /// `*` outside the name.
    #[error("'*' may stand in the name alone")]
    StarOutsideName,
    /// A path before a name with `*`: logs hold no path, so it would widen instead of narrow.
    #[error("logs do not hold the path of a role, so a name with '*' cannot be limited by one")]
    PathBeforeStar,
    /// An assumed-role ARN with a session.
    #[error("name the role here, and its sessions in session_names")]
    Session,
}

/// A principal of the agents file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PrincipalPattern {
    /// As [`Principal::scope`].
    pub(crate) scope: String,
    /// Name in lower case.
    pub(crate) name: String,
}

impl PrincipalPattern {
    /// Reads an ARN whose name may hold `*`.
    pub(crate) fn parse(arn: &str) -> Result<Self, PatternFault> {
        let Parts { partition, account, service, resource } = parts(arn).ok_or(PatternFault::NotAPrincipal)?;
        let (kind, path, name) = match (service, resource.split_once('/')) {
            ("iam", None) if resource == "root" => (PrincipalKind::Root, "", resource),
            ("iam", Some((kind @ ("user" | "role"), rest))) => {
                let (path, name) = base_name(rest);
                (if kind == "user" { PrincipalKind::User } else { PrincipalKind::Role }, path, name)
            }
            ("sts", Some(("federated-user", name))) => (PrincipalKind::FederatedUser, "", name),
            ("sts", Some(("assumed-role", rest))) => match rest.split_once('/') {
                None | Some((_, "*")) => (PrincipalKind::Role, "", rest.split('/').next().unwrap_or(rest)),
                Some(_) => return Err(PatternFault::Session),
            },
            _ => return Err(PatternFault::NotAPrincipal),
        };
        if !is_plain(name) || name.contains('/') {
            return Err(PatternFault::NotAPrincipal);
        }
        if [partition, account, path].iter().any(|part| part.contains('*')) {
            return Err(PatternFault::StarOutsideName);
        }
        if name.contains('*') && !path.is_empty() {
            return Err(PatternFault::PathBeforeStar);
        }
        Ok(Self { scope: scope(partition, account, kind), name: name.to_ascii_lowercase() })
    }

    /// Returns the pattern of the name, or `None` if it is a plain name.
    pub(crate) fn glob(&self) -> Option<Glob> {
        self.name.contains('*').then(|| Glob::new(&self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_every_form_of_caller() {
        use PrincipalKind::{FederatedUser, Role, Root, User};
        for (arn, kind, account, name, session) in [
            ("arn:aws:sts::123456789012:assumed-role/Checkout/run-7", Role, "123456789012", "Checkout", "run-7"),
            ("arn:aws-cn:sts::123456789012:assumed-role/Checkout/a@b.com", Role, "123456789012", "Checkout", "a@b.com"),
            ("arn:aws-us-gov:iam::1:user/alice", User, "1", "alice", ""),
            ("arn:aws:iam::123456789012:user/division/team/alice", User, "123456789012", "alice", ""),
            ("arn:aws:iam::123456789012:role/service-role/Checkout", Role, "123456789012", "Checkout", ""),
            ("arn:aws:iam::123456789012:root", Root, "123456789012", "root", ""),
            ("arn:aws:sts::123456789012:federated-user/bob", FederatedUser, "123456789012", "bob", ""),
        ] {
            let read = Principal::parse(arn).unwrap_or_else(|| panic!("{arn}"));
            assert_eq!((read.kind, read.account, read.name, read.session), (kind, account, name, session), "{arn}");
        }
    }

    #[test]
    fn malformed_is_nobody() {
        for arn in [
            "",
            "arn",
            "arn:aws:sts::1:assumed-role",
            "arn:aws:sts::1:assumed-role/Role",
            "arn:aws:sts::1:assumed-role/Role/",
            "arn:aws:sts::1:assumed-role//s",
            "arn:aws:sts::1:assumed-role/path/Role/s",
            "arn:aws:sts::1:assumed-role/Ro\u{202e}le/s",
            "arn:aws:sts:us-east-1:1:assumed-role/Role/s",
            "arn:gcp:sts::1:assumed-role/Role/s",
            "arn:aws:sts:::assumed-role/Role/s",
            "arn:aws:iam::1:user/",
            "arn:aws:iam::1:group/g",
            "arn:aws:iam::1:assumed-role/Role/s",
            "ARN:aws:iam::1:user/x",
        ] {
            assert_eq!(Principal::parse(arn), None, "{arn}");
        }
    }

    #[test]
    fn agentcore_names_are_known_by_their_uuid() {
        let session = |name: &str| {
            let arn = format!("arn:aws:sts::1:assumed-role/R/{name}");
            Principal::parse(&arn).and_then(|read| read.agentcore_session().map(str::to_owned))
        };
        let uuid = "0f8fad5b-d9cb-469f-a165-70867728950e";
        assert_eq!(session(&format!("BedrockAgentCore-{uuid}")).as_deref(), Some(uuid));
        assert_eq!(session("BedrockAgentCore-prod"), None);
        assert_eq!(session(&format!("bedrockagentcore-{uuid}")), None);
        assert_eq!(session(&format!("BedrockAgentCore-{uuid}0")), None);
    }

    #[test]
    fn patterns_only_widen_where_they_say_so() {
        let ok = |arn: &str| PrincipalPattern::parse(arn).map(|pattern| (pattern.scope, pattern.name));
        let role = |name: &str| Ok(("aws:1:role".to_owned(), name.to_owned()));
        assert_eq!(ok("arn:aws:iam::1:role/service-role/Checkout"), role("checkout"));
        assert_eq!(ok("arn:aws:sts::1:assumed-role/Checkout"), role("checkout"));
        assert_eq!(ok("arn:aws:sts::1:assumed-role/Checkout/*"), role("checkout"));
        assert_eq!(ok("arn:aws:iam::1:role/Checkout*"), role("checkout*"));
        assert_eq!(ok("arn:aws:iam::1:role/agents/Checkout*"), Err(PatternFault::PathBeforeStar));
        assert_eq!(ok("arn:aws:iam::1:role/*/Checkout"), Err(PatternFault::StarOutsideName));
        assert_eq!(ok("arn:aws:iam::*:role/Checkout"), Err(PatternFault::StarOutsideName));
        assert_eq!(ok("arn:aws:sts::1:assumed-role/Checkout/run-7"), Err(PatternFault::Session));
        assert_eq!(ok("Checkout"), Err(PatternFault::NotAPrincipal));
        assert_eq!(ok("arn:aws:iam::1:policy/Checkout"), Err(PatternFault::NotAPrincipal));
    }

    proptest! {
        #[test]
        fn no_text_panics(arn in any::<String>(), pieces in "(arn|aws|sts|iam|:|/|\\*|assumed-role|role|user|1|\u{202e}|ü){0,14}") {
            for text in [&arn, &pieces] {
                let read = Principal::parse(text);
                let pattern = PrincipalPattern::parse(text);
                // What a log can hold and has no star can be registered, unless it names a session.
                if let (Some(read), Err(fault)) = (read, pattern) {
                    prop_assert!(!read.session.is_empty() || text.contains('*') || text.contains('/'), "{} {}", text, fault);
                }
            }
        }

        #[test]
        fn a_role_session_always_reads_back(role in "[a-zA-Z0-9+=,.@_-]{1,64}", session in "[a-zA-Z0-9+=,.@_-]{2,64}", account in "[0-9]{12}") {
            let arn = format!("arn:aws:sts::{account}:assumed-role/{role}/{session}");
            let read = Principal::parse(&arn).expect("well formed");
            prop_assert_eq!((read.account, read.name, read.session), (account.as_str(), role.as_str(), session.as_str()));
        }
    }
}
