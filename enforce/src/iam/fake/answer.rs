//! Calls and their answers on the wire.

use super::world::{Holder, World};
use super::{Policy, Principal};
use crate::iam::xml::escape;
use crate::iam::{ROLE_INLINE_MAX, wire};

/// Most managed policies of a role or user, unless the quota was raised.
const MANAGED_MAX: usize = 10;
/// Most characters of all inline policies of a user.
const USER_INLINE_MAX: usize = 2_048;

type Refusal = (u16, &'static str, String);

/// One call.
pub(super) struct Asked<'a> {
    pub(super) account: &'a str,
    pub(super) fields: &'a [(String, String)],
    pub(super) page: Option<usize>,
}

impl Asked<'_> {
    fn field(&self, name: &str) -> &str {
        self.fields.iter().find(|(field, _)| field == name).map_or("", |(_, value)| value.as_str())
    }

    fn action(&self) -> &str {
        self.field("Action")
    }

    /// Kind and name of what the call is about.
    fn about(&self) -> (&'static str, String) {
        let named = [("RoleName", "role"), ("UserName", "user"), ("GroupName", "group")];
        let named = named.into_iter().find(|(field, _)| !self.field(field).is_empty());
        named.map_or(("", String::new()), |(field, kind)| (kind, self.field(field).to_owned()))
    }

    fn key(&self) -> (String, &'static str, String) {
        let (kind, name) = self.about();
        (self.account.to_owned(), kind, name)
    }

    fn wrap(&self, result: &str) -> String {
        let action = self.action();
        let result = if result.is_empty() { String::new() } else { format!("<{action}Result>{result}</{action}Result>") };
        format!(
            r#"<{action}Response xmlns="https://iam.amazonaws.com/doc/2010-05-08/">{result}<ResponseMetadata><RequestId>fake</RequestId></ResponseMetadata></{action}Response>"#
        )
    }

    fn list(&self, name: &str, members: &[String]) -> String {
        let from: usize = self.field("Marker").parse().unwrap_or_default();
        let to = (from + self.page.unwrap_or(100)).min(members.len());
        let more = if to < members.len() {
            format!("<IsTruncated>true</IsTruncated><Marker>{to}</Marker>")
        } else {
            "<IsTruncated>false</IsTruncated>".to_owned()
        };
        let shown: String = members[from.min(to)..to].iter().map(|member| format!("<member>{member}</member>")).collect();
        self.wrap(&format!("<{name}>{shown}</{name}>{more}"))
    }
}

fn gone(what: &str) -> Refusal {
    (404, "NoSuchEntity", format!("{what} cannot be found."))
}

/// Answers a call that reads.
pub(super) fn read(world: &World, asked: &Asked<'_>) -> Result<String, Refusal> {
    let managed = || {
        let arn = asked.field("PolicyArn");
        world.policies.get(arn).map(|document| (arn, document)).ok_or_else(|| gone(&format!("Policy {arn}")))
    };
    match asked.action() {
        "GetPolicy" => {
            let (arn, _) = managed()?;
            let name = arn.rsplit('/').next().unwrap_or_default();
            return Ok(asked.wrap(&format!(
                "<Policy><PolicyName>{name}</PolicyName><Arn>{arn}</Arn><DefaultVersionId>v1</DefaultVersionId></Policy>"
            )));
        }
        "GetPolicyVersion" => {
            let document = wire::escape(managed()?.1);
            return Ok(asked.wrap(&format!("<PolicyVersion><Document>{document}</Document><VersionId>v1</VersionId></PolicyVersion>")));
        }
        _ => {}
    }
    let (kind, name) = asked.about();
    let holder = world.holders.get(&asked.key()).ok_or_else(|| gone(&format!("The {kind} with name {name}")))?;
    read_of(holder, asked, kind, &name)
}

fn read_of(holder: &Holder, asked: &Asked<'_>, kind: &str, name: &str) -> Result<String, Refusal> {
    let policy =
        |arn: &String| format!("<PolicyName>{0}</PolicyName><PolicyArn>{arn}</PolicyArn>", arn.rsplit('/').next().unwrap_or_default());
    Ok(match asked.action() {
        "GetRole" => asked.wrap(&format!("<Role>{}</Role>", identity(holder, asked.account, kind, "RoleId", name))),
        "GetUser" => asked.wrap(&format!("<User>{}</User>", identity(holder, asked.account, kind, "UserId", name))),
        "ListAttachedRolePolicies" | "ListAttachedUserPolicies" | "ListAttachedGroupPolicies" => {
            asked.list("AttachedPolicies", &holder.attached.iter().map(policy).collect::<Vec<_>>())
        }
        "ListRolePolicies" | "ListUserPolicies" | "ListGroupPolicies" => {
            asked.list("PolicyNames", &holder.inline.keys().map(|name| escape(name)).collect::<Vec<_>>())
        }
        "GetRolePolicy" | "GetUserPolicy" | "GetGroupPolicy" => {
            let wanted = asked.field("PolicyName");
            let document = holder.inline.get(wanted).ok_or_else(|| gone(&format!("The policy with name {wanted}")))?;
            asked.wrap(&format!("<PolicyName>{}</PolicyName><PolicyDocument>{}</PolicyDocument>", escape(wanted), wire::escape(document)))
        }
        "ListGroupsForUser" => {
            let groups: Vec<String> = holder.groups.iter().map(|group| format!("<GroupName>{group}</GroupName>")).collect();
            asked.list("Groups", &groups)
        }
        other => return Err((400, "InvalidAction", format!("{other} is not known here"))),
    })
}

fn identity(holder: &Holder, account: &str, kind: &str, id: &str, name: &str) -> String {
    let boundary = holder.boundary.as_ref().map_or_else(String::new, |arn| {
        format!(
            "<PermissionsBoundary><PermissionsBoundaryType>PermissionsBoundaryPolicy</PermissionsBoundaryType>\
             <PermissionsBoundaryArn>{arn}</PermissionsBoundaryArn></PermissionsBoundary>"
        )
    });
    format!(
        "<Path>{0}</Path><Arn>arn:aws:iam::{account}:{kind}{0}{name}</Arn><{id}>{1}</{id}><Description>a &lt;{kind}&gt;</Description>{boundary}",
        holder.path, holder.id
    )
}

/// Carries out a call that writes.
pub(super) fn write(world: &mut World, asked: &Asked<'_>) -> Result<String, Refusal> {
    let (kind, name) = asked.about();
    let arn = asked.field("PolicyArn");
    let boundary = asked.field("PermissionsBoundary");
    let has_policy = |arn: &str| world.policies.contains_key(arn);
    let (has_arn, has_boundary) = (has_policy(arn), has_policy(boundary));
    let holder = world.holders.get_mut(&asked.key()).ok_or_else(|| gone(&format!("The {kind} with name {name}")))?;
    let shown = format!("arn:aws:iam::{}:{kind}{}{name}", asked.account, holder.path);
    if Principal::parse(&shown).is_some_and(|principal| principal.is_protected().is_some()) {
        return Err((400, "UnmodifiableEntity", format!("Cannot perform the operation on the protected role '{name}'")));
    }
    match asked.action() {
        "AttachRolePolicy" | "AttachUserPolicy" if !has_arn => return Err(gone(&format!("Policy {arn}"))),
        "AttachRolePolicy" | "AttachUserPolicy" => attach(holder, arn)?,
        "DetachRolePolicy" | "DetachUserPolicy" => {
            let at = holder.attached.iter().position(|attached| attached == arn).ok_or_else(|| gone(&format!("Policy {arn}")))?;
            holder.attached.remove(at);
        }
        "PutRolePolicy" | "PutUserPolicy" => put_inline(holder, kind, asked.field("PolicyName"), asked.field("PolicyDocument"))?,
        "DeleteRolePolicy" | "DeleteUserPolicy" => {
            let name = asked.field("PolicyName");
            holder.inline.remove(name).ok_or_else(|| gone(&format!("The policy with name {name}")))?;
        }
        "PutRolePermissionsBoundary" | "PutUserPermissionsBoundary" if !has_boundary => {
            return Err(gone(&format!("Policy {boundary}")));
        }
        "PutRolePermissionsBoundary" | "PutUserPermissionsBoundary" => holder.boundary = Some(boundary.to_owned()),
        "DeleteRolePermissionsBoundary" | "DeleteUserPermissionsBoundary" => {
            holder.boundary.take().ok_or_else(|| gone("Permissions boundary"))?;
        }
        other => return Err((400, "InvalidAction", format!("{other} is not known here"))),
    }
    Ok(asked.wrap(""))
}

fn attach(holder: &mut Holder, arn: &str) -> Result<(), Refusal> {
    if holder.attached.iter().any(|attached| attached == arn) {
        return Ok(());
    }
    if holder.attached.len() >= MANAGED_MAX {
        return Err((409, "LimitExceeded", format!("Cannot exceed quota for PoliciesPerRole: {MANAGED_MAX}")));
    }
    holder.attached.push(arn.to_owned());
    Ok(())
}

fn put_inline(holder: &mut Holder, kind: &str, name: &str, document: &str) -> Result<(), Refusal> {
    if let Some(fault) = Policy::read(name, document).fault() {
        return Err((400, "MalformedPolicyDocument", fault.to_owned()));
    }
    let most = if kind == "role" { ROLE_INLINE_MAX } else { USER_INLINE_MAX };
    let size = |document: &str| document.chars().filter(|character| !character.is_whitespace()).count();
    let others: usize = holder.inline.iter().filter(|(other, _)| *other != name).map(|(_, document)| size(document)).sum();
    if others + size(document) > most {
        return Err((409, "LimitExceeded", format!("Maximum policy size of {most} bytes exceeded for {kind}")));
    }
    holder.inline.insert(name.to_owned(), document.to_owned());
    Ok(())
}
