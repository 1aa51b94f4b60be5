//! Calls of IAM as levers need them, typed; the wire stands in [`wire`] and [`xml`].
//!
//! Reading calls follow pages to their end. Writing ones give the service's id of the request and read nothing of the answer. Source of
//! names and shapes: AWS, "IAM API reference".

pub mod evaluate;
pub mod fake;
pub mod principal;
pub mod wire;
pub mod xml;

pub use principal::{Principal, PrincipalKind};

use crate::aws::{Aws, Body, Call, CallError, Method, Reply};
use evaluate::Policy;
use xml::Node;

/// Version of the query API.
const VERSION: &str = "2010-05-08";
/// Most pages of a list: a role has at most twenty managed policies, and what fits of inline ones.
const MAX_PAGES: usize = 100;
/// Most characters of all inline policies of a role, without white space. Source: AWS, "IAM and AWS STS quotas".
pub const ROLE_INLINE_MAX: usize = 10_240;

/// A role or user as IAM tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// With its path.
    pub arn: String,
    /// The id that is never used again: `AROA…` or `AIDA…`.
    pub id: String,
    /// Path, `/` where there is none.
    pub path: String,
    /// ARN of its permissions boundary.
    pub boundary: Option<String>,
    /// Description of a role.
    pub description: String,
}

/// What a principal's own policies say.
#[derive(Clone, Debug, Default)]
pub struct Granted {
    /// Attached, inline and those of a user's groups.
    pub identity: Vec<Policy>,
    /// Its permissions boundary.
    pub boundary: Option<Policy>,
}

/// Returns the ARN of the credentials, of a session where they are of one.
///
/// # Errors
/// See [`CallError`].
pub fn caller_arn(aws: &dyn Aws) -> Result<String, CallError> {
    let action = "sts:GetCallerIdentity";
    let call = Call {
        account: String::new(),
        host: "sts",
        service: "sts",
        region: "us-east-1".to_owned(),
        global: true,
        method: Method::Post,
        path: "/".to_owned(),
        headers: Vec::new(),
        body: Body::Form(wire::form("GetCallerIdentity", "2011-06-15", &[])),
        action,
        writes: false,
    };
    arn_of(&aws.call(&call)?)
}

/// Returns the ARN that an answer of `GetCallerIdentity` names, as it is.
///
/// # Errors
/// It is no such answer.
pub fn arn_of(reply: &Reply) -> Result<String, CallError> {
    Ok(result("sts:GetCallerIdentity", reply)?.text_at(&["Arn"]).to_owned())
}

/// Returns the element of an answer that holds the result.
fn result(action: &'static str, reply: &Reply) -> Result<Node, CallError> {
    let garbled = |detail: String| CallError::Garbled { action, detail };
    let text = std::str::from_utf8(&reply.body).map_err(|error| garbled(error.to_string()))?;
    let mut root = Node::parse(text).map_err(|error| garbled(error.to_string()))?;
    let wanted = format!("{}Result", name(action));
    let result = root.children.iter().position(|child| child.name == wanted);
    Ok(root.children.swap_remove(result.ok_or_else(|| garbled(format!("<{}> without {wanted}", root.name)))?))
}

/// Calls about one role or user.
#[derive(Clone, Copy)]
pub struct Iam<'a> {
    aws: &'a dyn Aws,
    principal: &'a Principal,
}

impl<'a> Iam<'a> {
    /// Returns a caller about a principal.
    #[must_use]
    pub const fn new(aws: &'a dyn Aws, principal: &'a Principal) -> Self {
        Self { aws, principal }
    }

    fn by_kind(&self, role: &'static str, user: &'static str) -> &'static str {
        match self.principal.kind {
            PrincipalKind::Role => role,
            PrincipalKind::User => user,
        }
    }

    /// Field that names the principal.
    fn named(&self) -> (&'static str, &'a str) {
        (self.by_kind("RoleName", "UserName"), &self.principal.name)
    }

    fn call(&self, action: &'static str, fields: &[(&str, &str)]) -> Result<Reply, CallError> {
        let name = name(action);
        let region = match self.principal.partition.as_str() {
            "aws-cn" => "cn-north-1",
            "aws-us-gov" => "us-gov-west-1",
            _ => "us-east-1",
        };
        self.aws.call(&Call {
            account: self.principal.account.clone(),
            host: "iam",
            service: "iam",
            region: region.to_owned(),
            global: true,
            method: Method::Post,
            path: "/".to_owned(),
            headers: Vec::new(),
            body: Body::Form(wire::form(name, VERSION, fields)),
            action,
            writes: !name.starts_with("Get") && !name.starts_with("List"),
        })
    }

    /// Asks and returns the element that holds the result.
    fn ask(&self, action: &'static str, fields: &[(&str, &str)]) -> Result<Node, CallError> {
        result(action, &self.call(action, fields)?)
    }

    /// Asks for all pages of a list and returns its members.
    fn list(&self, action: &'static str, field: (&str, &str), list: &str) -> Result<Vec<Node>, CallError> {
        Ok(self.pages(action, field)?.iter().flat_map(|page| page.members(list)).cloned().collect())
    }

    fn pages(&self, action: &'static str, field: (&str, &str)) -> Result<Vec<Node>, CallError> {
        let (mut found, mut marker) = (Vec::new(), String::new());
        for _ in 0..MAX_PAGES {
            let page = self.ask(action, &[field, ("Marker", &marker)])?;
            // An answer that does not say so is none: taken for an empty list, it would say that nothing is attached.
            let next = page.text_at(&["Marker"]).to_owned();
            let goes_on = page.text_at(&["IsTruncated"]).to_owned();
            found.push(page);
            match &*goes_on {
                "true" => {}
                "false" => return Ok(found),
                _ => break,
            }
            if next.is_empty() || next == marker {
                break;
            }
            marker = next;
        }
        Err(CallError::Garbled { action, detail: "a list without an end".to_owned() })
    }

    fn write(&self, action: &'static str, fields: &[(&str, &str)]) -> Result<String, CallError> {
        let named = self.named();
        self.call(action, &[&[named], fields].concat()).map(|reply| reply.request_id)
    }

    /// Looks at the principal itself.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn identity(&self) -> Result<Identity, CallError> {
        let action = self.by_kind("iam:GetRole", "iam:GetUser");
        let result = self.ask(action, &[self.named()])?;
        let kind = self.by_kind("Role", "User");
        let text = |path: &[&str]| result.text_at(&[&[kind][..], path].concat()).to_owned();
        let boundary = text(&["PermissionsBoundary", "PermissionsBoundaryArn"]);
        let identity = Identity {
            arn: text(&["Arn"]),
            id: text(&[self.by_kind("RoleId", "UserId")]),
            path: text(&["Path"]),
            boundary: Some(boundary).filter(|arn| !arn.is_empty()),
            description: text(&["Description"]),
        };
        let is_whole = !identity.arn.is_empty() && !identity.id.is_empty();
        if is_whole { Ok(identity) } else { Err(CallError::Garbled { action, detail: format!("no {kind} in it") }) }
    }

    /// Lists the ARNs of the managed policies attached.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn attached(&self) -> Result<Vec<String>, CallError> {
        let action = self.by_kind("iam:ListAttachedRolePolicies", "iam:ListAttachedUserPolicies");
        let found = self.list(action, self.named(), "AttachedPolicies")?;
        Ok(found.iter().map(|policy| policy.text_at(&["PolicyArn"]).to_owned()).collect())
    }

    /// Attaches a managed policy; one that is attached stays.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn attach(&self, policy: &str) -> Result<String, CallError> {
        self.write(self.by_kind("iam:AttachRolePolicy", "iam:AttachUserPolicy"), &[("PolicyArn", policy)])
    }

    /// Detaches a managed policy.
    ///
    /// # Errors
    /// See [`CallError`]; it is gone if the policy is not attached.
    pub fn detach(&self, policy: &str) -> Result<String, CallError> {
        self.write(self.by_kind("iam:DetachRolePolicy", "iam:DetachUserPolicy"), &[("PolicyArn", policy)])
    }

    /// Lists the names of the inline policies.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn inline_names(&self) -> Result<Vec<String>, CallError> {
        let action = self.by_kind("iam:ListRolePolicies", "iam:ListUserPolicies");
        let found = self.list(action, self.named(), "PolicyNames")?;
        Ok(found.into_iter().map(|name| name.text.trim().to_owned()).collect())
    }

    /// Reads an inline policy.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn inline(&self, name: &str) -> Result<String, CallError> {
        let action = self.by_kind("iam:GetRolePolicy", "iam:GetUserPolicy");
        document(action, &self.ask(action, &[self.named(), ("PolicyName", name)])?, &["PolicyDocument"])
    }

    /// Writes an inline policy, in the place of one of the same name.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn put_inline(&self, name: &str, document: &str) -> Result<String, CallError> {
        let action = self.by_kind("iam:PutRolePolicy", "iam:PutUserPolicy");
        self.write(action, &[("PolicyName", name), ("PolicyDocument", document)])
    }

    /// Deletes an inline policy.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn delete_inline(&self, name: &str) -> Result<String, CallError> {
        self.write(self.by_kind("iam:DeleteRolePolicy", "iam:DeleteUserPolicy"), &[("PolicyName", name)])
    }

    /// Sets the permissions boundary, in the place of any other.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn put_boundary(&self, policy: &str) -> Result<String, CallError> {
        let action = self.by_kind("iam:PutRolePermissionsBoundary", "iam:PutUserPermissionsBoundary");
        self.write(action, &[("PermissionsBoundary", policy)])
    }

    /// Takes the permissions boundary away.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn delete_boundary(&self) -> Result<String, CallError> {
        self.write(self.by_kind("iam:DeleteRolePermissionsBoundary", "iam:DeleteUserPermissionsBoundary"), &[])
    }

    /// Reads the default version of a managed policy.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn managed(&self, arn: &str) -> Result<Policy, CallError> {
        let policy = self.ask("iam:GetPolicy", &[("PolicyArn", arn)])?;
        let version = policy.text_at(&["Policy", "DefaultVersionId"]);
        let action = "iam:GetPolicyVersion";
        let result = self.ask(action, &[("PolicyArn", arn), ("VersionId", version)])?;
        Ok(Policy::read(arn, &document(action, &result, &["PolicyVersion", "Document"])?))
    }

    /// Lists the roles, users and groups of the account that a managed policy is attached to, each as its kind and name.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn holders(&self, policy: &str) -> Result<Vec<String>, CallError> {
        let pages = self.pages("iam:ListEntitiesForPolicy", ("PolicyArn", policy))?;
        let lists = [("PolicyRoles", "role", "RoleName"), ("PolicyUsers", "user", "UserName"), ("PolicyGroups", "group", "GroupName")];
        let of = |page: &Node, (list, kind, field): (&str, &str, &str)| {
            page.members(list).iter().map(|member| format!("{kind} {}", member.text_at(&[field]))).collect::<Vec<_>>()
        };
        Ok(pages.iter().flat_map(|page| lists.iter().flat_map(|list| of(page, *list))).collect())
    }

    /// Reads all that the principal's own policies say, but for some managed ones.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn granted(&self, but: &[String]) -> Result<Granted, CallError> {
        let mut granted = Granted::default();
        for arn in self.attached()?.iter().filter(|arn| !but.contains(arn)) {
            granted.identity.extend(there(self.managed(arn))?);
        }
        for name in self.inline_names()? {
            let text = there(self.inline(&name))?;
            granted.identity.extend(text.map(|text| Policy::read(&format!("inline policy {name}"), &text)));
        }
        if self.principal.kind == PrincipalKind::User {
            self.granted_by_groups(&mut granted)?;
        }
        if let Some(arn) = self.identity()?.boundary {
            granted.boundary = Some(self.managed(&arn)?);
        }
        Ok(granted)
    }

    fn granted_by_groups(&self, granted: &mut Granted) -> Result<(), CallError> {
        for group in self.list("iam:ListGroupsForUser", self.named(), "Groups")? {
            let group = group.text_at(&["GroupName"]);
            let named = ("GroupName", group);
            for policy in self.list("iam:ListAttachedGroupPolicies", named, "AttachedPolicies")? {
                granted.identity.extend(there(self.managed(policy.text_at(&["PolicyArn"])))?);
            }
            for name in self.list("iam:ListGroupPolicies", named, "PolicyNames")? {
                let (action, name) = ("iam:GetGroupPolicy", name.text.trim());
                let text = self.ask(action, &[named, ("PolicyName", name)]);
                let text = there(text.and_then(|result| document(action, &result, &["PolicyDocument"])))?;
                granted.identity.extend(text.map(|text| Policy::read(&format!("inline policy {name} of group {group}"), &text)));
            }
        }
        Ok(())
    }
}

/// Name of an operation, of that of its permission.
fn name(action: &'static str) -> &'static str {
    action.split_once(':').map_or(action, |(_, name)| name)
}

/// What is gone is none: it was deleted since it was listed.
///
/// # Errors
/// All others.
pub fn there<T>(found: Result<T, CallError>) -> Result<Option<T>, CallError> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.is_gone() => Ok(None),
        Err(error) => Err(error),
    }
}

/// A policy document in an answer: URL-encoded after RFC 3986.
fn document(action: &'static str, result: &Node, path: &[&str]) -> Result<String, CallError> {
    let text = wire::unescape(result.text_at(path)).filter(|text| !text.is_empty());
    text.ok_or_else(|| CallError::Garbled { action, detail: "no policy document in it".to_owned() })
}

#[cfg(test)]
mod tests;
