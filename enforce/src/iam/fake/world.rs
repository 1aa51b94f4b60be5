//! What there is: roles, users, groups and policies, and what they may do.

use std::collections::BTreeMap;

use super::{Context, Layers, Policy, Principal, PrincipalKind, Request, Verdict, evaluate};

/// A role, user or group.
#[derive(Clone, Debug, Default)]
pub(super) struct Holder {
    pub(super) path: String,
    pub(super) id: String,
    pub(super) attached: Vec<String>,
    pub(super) inline: BTreeMap<String, String>,
    pub(super) boundary: Option<String>,
    /// Names of a user's groups.
    pub(super) groups: Vec<String>,
}

/// Account, kind and name: names do not depend on paths.
type Key = (String, &'static str, String);

/// Everything.
#[derive(Clone, Debug, Default)]
pub(super) struct World {
    pub(super) holders: BTreeMap<Key, Holder>,
    pub(super) policies: BTreeMap<String, String>,
    pub(super) organization: Vec<Vec<Policy>>,
    made: u64,
}

pub(super) const fn kind(kind: PrincipalKind) -> &'static str {
    match kind {
        PrincipalKind::Role => "role",
        PrincipalKind::User => "user",
    }
}

fn key(principal: &Principal) -> Key {
    (principal.account.clone(), kind(principal.kind), principal.name.clone())
}

impl World {
    pub(super) fn create(&mut self, principal: &Principal) -> String {
        self.made += 1;
        let prefix = if principal.kind == PrincipalKind::Role { "AROA" } else { "AIDA" };
        let id = format!("{prefix}{:017}", self.made);
        let holder = Holder { path: principal.path.clone(), id: id.clone(), ..Holder::default() };
        self.holders.insert(key(principal), holder);
        id
    }

    pub(super) fn delete(&mut self, principal: &Principal) {
        self.holders.remove(&key(principal));
    }

    #[expect(clippy::panic, reason = "a test that edits what is not there is wrong")]
    pub(super) fn holder(&mut self, principal: &Principal) -> &mut Holder {
        self.holders.get_mut(&key(principal)).unwrap_or_else(|| panic!("{principal} is not there"))
    }

    pub(super) fn delete_policy(&mut self, arn: &str) {
        self.policies.remove(arn);
        self.holders.values_mut().for_each(|holder| holder.attached.retain(|attached| attached != arn));
    }

    pub(super) fn join_group(&mut self, user: &Principal, name: &str, managed: Option<&str>, inline: Option<&str>) {
        let group = self.holders.entry((user.account.clone(), "group", name.to_owned())).or_default();
        group.path = "/".to_owned();
        group.attached.extend(managed.map(str::to_owned));
        group.inline.extend(inline.map(|document| ("inline".to_owned(), document.to_owned())));
        self.holder(user).groups.push(name.to_owned());
    }

    /// The resource and the keys that a call of IAM is judged by.
    pub(super) fn asked_of(&self, account: &str, fields: &[(String, String)]) -> (String, Context) {
        let field = |name: &str| fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str());
        let mut context = Context::whole();
        let policy = field("PolicyArn");
        let named = [("RoleName", "role"), ("UserName", "user"), ("GroupName", "group")];
        let named = named.into_iter().find_map(|(name, kind)| Some((kind, field(name)?)));
        let Some((kind, name)) = named else { return (policy.unwrap_or("*").to_owned(), context) };
        let holder = self.holders.get(&(account.to_owned(), kind, name.to_owned()));
        if let Some(policy) = policy {
            context = context.with("iam:PolicyARN", policy);
        }
        let boundary = field("PermissionsBoundary").or_else(|| holder.and_then(|holder| holder.boundary.as_deref()));
        if let Some(boundary) = boundary {
            context = context.with("iam:PermissionsBoundary", boundary);
        }
        let path = holder.map_or("/", |holder| holder.path.as_str());
        (format!("arn:aws:iam::{account}:{kind}{path}{name}"), context)
    }

    pub(super) fn may(&self, principal: &str, action: &str, resource: &str, extra: &[(&str, &str)]) -> Verdict {
        let unknown = || Verdict::Unknown { reason: format!("{principal} is not there") };
        let account = principal.split(':').nth(4).unwrap_or_default();
        let (kind, name, session) = match principal.splitn(6, ':').nth(5).map(|rest| rest.split('/').collect::<Vec<_>>()) {
            Some(parts) if parts.len() == 3 && parts[0] == "assumed-role" => ("role", parts[1].to_owned(), Some(parts[2].to_owned())),
            _ => match Principal::parse(principal) {
                Some(principal) => (self::kind(principal.kind), principal.name, None),
                None => return unknown(),
            },
        };
        let key = (account.to_owned(), kind, name.clone());
        let Some(holder) = self.holders.get(&key) else { return unknown() };
        let userid = session.map_or_else(|| holder.id.clone(), |session| format!("{}:{session}", holder.id));
        let arn = format!("arn:aws:iam::{account}:{kind}{}{name}", holder.path);
        let mut context = Context::whole().with("aws:PrincipalArn", &arn).with("aws:userid", &userid).with("aws:PrincipalAccount", account);
        if kind == "user" {
            context = context.with("aws:username", &name);
        }
        for (key, value) in extra {
            context = context.with(key, value);
        }
        evaluate(&self.layers(account, holder), &Request { action, resource, context: &context })
    }

    fn layers(&self, account: &str, holder: &Holder) -> Layers {
        let managed = |arn: &String| Policy::read(arn, self.policies.get(arn).map_or("", String::as_str));
        let own = |holder: &Holder| {
            let inline = holder.inline.iter().map(|(name, document)| Policy::read(name, document));
            holder.attached.iter().map(managed).chain(inline).collect::<Vec<_>>()
        };
        let group = |name: &String| self.holders.get(&(account.to_owned(), "group", name.clone())).map(own).unwrap_or_default();
        Layers {
            identity: own(holder).into_iter().chain(holder.groups.iter().flat_map(group)).collect(),
            boundary: holder.boundary.as_ref().map(managed),
            organization: self.organization.clone(),
            session: None,
        }
    }
}
