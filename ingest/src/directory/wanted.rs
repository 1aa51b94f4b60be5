//! What calls name that AWS can say more about: application inference profiles, roles, users.

/// Something to ask AWS about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Wanted {
    /// An application inference profile, by its ARN.
    InferenceProfile {
        /// ARN.
        arn: String,
    },
    /// A role; calls tell its name without its path.
    Role {
        /// `aws`, `aws-cn`, `aws-us-gov`.
        partition: String,
        /// Account id.
        account: String,
        /// Name.
        name: String,
    },
    /// A user.
    User {
        /// As of a role.
        partition: String,
        /// Account id.
        account: String,
        /// Name.
        name: String,
    },
}

impl Wanted {
    /// Returns what the principal of a call asks for: its role or user; nothing for a root user or a federated one.
    #[must_use]
    pub fn of_principal(arn: &str) -> Option<Self> {
        let parts = Parts::of(arn)?;
        let (kind, rest) = parts.resource.split_once('/')?;
        let (partition, account) = (parts.partition.to_owned(), parts.account.to_owned());
        let plain = |name: &str| Some(name.to_owned()).filter(|name| !name.is_empty());
        match (parts.service, kind) {
            ("sts", "assumed-role") => Some(Self::Role { partition, account, name: plain(rest.split('/').next().unwrap_or_default())? }),
            ("iam", "role") => Some(Self::Role { partition, account, name: plain(rest.rsplit('/').next().unwrap_or_default())? }),
            ("iam", "user") => Some(Self::User { partition, account, name: plain(rest.rsplit('/').next().unwrap_or_default())? }),
            _ => None,
        }
    }

    /// Returns what the model of a call asks for: the application inference profile that hides it.
    #[must_use]
    pub fn of_model(model_id: &str) -> Option<Self> {
        let parts = Parts::of(model_id)?;
        let id = parts.resource.strip_prefix("application-inference-profile/")?;
        (parts.service == "bedrock" && !id.is_empty() && !parts.region.is_empty())
            .then(|| Self::InferenceProfile { arn: model_id.to_owned() })
    }

    /// Returns the account it belongs to.
    #[must_use]
    pub fn account(&self) -> &str {
        match self {
            Self::InferenceProfile { arn } => arn.split(':').nth(4).unwrap_or_default(),
            Self::Role { account, .. } | Self::User { account, .. } => account,
        }
    }

    /// Returns the ARN, of a role or user without path.
    #[must_use]
    pub fn arn(&self) -> String {
        match self {
            Self::InferenceProfile { arn } => arn.clone(),
            Self::Role { partition, account, name } => format!("arn:{partition}:iam::{account}:role/{name}"),
            Self::User { partition, account, name } => format!("arn:{partition}:iam::{account}:user/{name}"),
        }
    }
}

/// Where calls come from, of which agents and registries are listed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// Account id.
    pub account: String,
    /// Region.
    pub region: String,
}

/// The parts of an ARN.
struct Parts<'a> {
    partition: &'a str,
    service: &'a str,
    region: &'a str,
    account: &'a str,
    resource: &'a str,
}

impl<'a> Parts<'a> {
    fn of(arn: &'a str) -> Option<Self> {
        let mut parts = arn.strip_prefix("arn:")?.splitn(5, ':');
        let (partition, service, region) = (parts.next()?, parts.next()?, parts.next()?);
        let (account, resource) = (parts.next()?, parts.next()?);
        // Names of roles end up in questions to IAM; an account is twelve digits.
        let is_account = !account.is_empty() && account.bytes().all(|byte| byte.is_ascii_digit());
        is_account.then_some(Self { partition, service, region, account, resource })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn principals_and_profiles() {
        for (arn, wanted) in [
            ("arn:aws:sts::111122223333:assumed-role/Agent/session", Some("arn:aws:iam::111122223333:role/Agent")),
            ("arn:aws-us-gov:sts::111122223333:assumed-role/Agent/a/b", Some("arn:aws-us-gov:iam::111122223333:role/Agent")),
            ("arn:aws:iam::111122223333:role/path/to/Agent", Some("arn:aws:iam::111122223333:role/Agent")),
            ("arn:aws:iam::111122223333:user/BedrockAPIKey-ab12", Some("arn:aws:iam::111122223333:user/BedrockAPIKey-ab12")),
            ("arn:aws:iam::111122223333:root", None),
            ("arn:aws:sts::111122223333:federated-user/x", None),
            ("arn:aws:iam::anonymous:user/x", None),
            ("arn:aws:sts::111122223333:assumed-role/", None),
            ("nonsense", None),
        ] {
            assert_eq!(Wanted::of_principal(arn).map(|wanted| wanted.arn()).as_deref(), wanted, "{arn}");
        }
        let profile = "arn:aws:bedrock:eu-central-1:111122223333:application-inference-profile/a1b2c3d4e5f6";
        assert_eq!(
            Wanted::of_model(profile).map(|wanted| (wanted.account().to_owned(), wanted.arn())),
            Some(("111122223333".to_owned(), profile.to_owned()))
        );
        for other in [
            "anthropic.claude-v2",
            "arn:aws:bedrock:us-east-1:111122223333:inference-profile/us.x",
            "arn:aws:bedrock::1:application-inference-profile/a",
        ] {
            assert_eq!(Wanted::of_model(other), None, "{other}");
        }
    }
}
