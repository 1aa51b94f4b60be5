//! ARNs of the things that hold credentials or run agents: functions, runtimes, agents, flows.
//!
//! Source of the forms: AWS Service Authorization Reference, "Resource types defined by" AWS Lambda, Amazon Bedrock and Amazon Bedrock
//! AgentCore. A runtime's id is its name, a hyphen and ten letters or digits.

use std::borrow::Cow;

/// Length of what AgentCore adds to a runtime's name.
const RUNTIME_SUFFIX: usize = 10;

/// What an ARN names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Resource<'a> {
    pub(crate) service: &'a str,
    /// `function`, `runtime`, `agent` … ; empty when the ARN does not tell.
    pub(crate) kind: &'a str,
    /// Name or id, without endpoint, version or alias.
    pub(crate) id: &'a str,
}

impl<'a> Resource<'a> {
    /// Reads an ARN; `None` for another text.
    pub(crate) fn parse(arn: &'a str) -> Option<Self> {
        let mut fields = arn.splitn(6, ':');
        let (prefix, _, service) = (fields.next()?, fields.next()?, fields.next()?);
        let resource = fields.nth(2)?;
        let (kind, rest) = resource.split_once(['/', ':']).unwrap_or(("", resource));
        let id = rest.split(['/', ':']).next().unwrap_or(rest);
        (prefix == "arn" && !id.is_empty()).then_some(Self { service, kind, id })
    }

    /// Returns the name that a person gave the thing; of Bedrock's agents, flows and knowledge bases, whose ARNs hold none, kind and id.
    pub(crate) fn name(&self) -> Option<Cow<'a, str>> {
        match (self.service, self.kind) {
            ("lambda", "function") => Some(Cow::Borrowed(self.id)),
            ("bedrock-agentcore", "runtime" | "harness") => Some(Cow::Borrowed(runtime_name(self.id))),
            ("bedrock", "agent" | "agent-alias") => Some(Cow::Owned(format!("agent/{}", self.id))),
            ("bedrock", kind @ ("flow" | "knowledge-base")) => Some(Cow::Owned(format!("{kind}/{}", self.id))),
            _ => None,
        }
    }
}

fn runtime_name(id: &str) -> &str {
    let split = id.rsplit_once('-').filter(|(name, suffix)| {
        !name.is_empty() && suffix.len() == RUNTIME_SUFFIX && suffix.bytes().all(|byte| byte.is_ascii_alphanumeric())
    });
    split.map_or(id, |(name, _)| name)
}

/// Cuts endpoint, version or alias off the ARN of a runtime, a function or an agent.
pub(crate) fn without_qualifier(arn: &str) -> &str {
    let Some(resource) = Resource::parse(arn) else {
        return arn;
    };
    // The id is part of the ARN, so its end is known from where it starts.
    let start = resource.id.as_ptr().addr().wrapping_sub(arn.as_ptr().addr());
    arn.get(..start + resource.id.len()).unwrap_or(arn)
}

/// Tells whether a thing that runs as a role is an agent. A flow, a knowledge base or a gateway serves agents: its events are tied to calls of
/// its role, but that it has the role names nobody, and takes the name from nobody.
pub(crate) fn is_agent(arn: &str) -> bool {
    ![":flow/", ":knowledge-base/", ":gateway/"].iter().any(|part| arn.contains(part))
}

/// ARN of the thing that an endpoint, version or alias belongs to.
pub(crate) fn thing(arn: &str) -> Cow<'_, str> {
    let base = without_qualifier(arn);
    if base.contains(":agent-alias/") { Cow::Owned(base.replacen(":agent-alias/", ":agent/", 1)) } else { Cow::Borrowed(base) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_and_endpoints_are_of_a_thing() {
        let of = |resource: &str| thing(&format!("arn:aws:bedrock:us-east-1:1:{resource}")).into_owned();
        let is = |resource: &str| format!("arn:aws:bedrock:us-east-1:1:{resource}");
        assert_eq!(of("agent-alias/AGENT12345/TSTALIASID"), is("agent/AGENT12345"));
        assert_eq!(of("agent/AGENT12345"), is("agent/AGENT12345"));
        assert_eq!(of("flow/FLOW123456/alias/ALIAS12345"), is("flow/FLOW123456"));
        assert_eq!(of("runtime/rt-AbCdEfGh12/runtime-endpoint/DEFAULT"), is("runtime/rt-AbCdEfGh12"));
        assert_eq!(of("knowledge-base/KB12345678"), is("knowledge-base/KB12345678"));
    }

    #[test]
    fn names_and_bases() {
        for (arn, name, base) in [
            ("arn:aws:lambda:us-east-1:1:function:ask:prod", Some("ask"), "arn:aws:lambda:us-east-1:1:function:ask"),
            (
                "arn:aws:bedrock-agentcore:us-east-1:1:runtime/my_helper-AbCdEfGh12/runtime-endpoint/DEFAULT",
                Some("my_helper"),
                "arn:aws:bedrock-agentcore:us-east-1:1:runtime/my_helper-AbCdEfGh12",
            ),
            (
                "arn:aws:bedrock-agentcore:us-east-1:1:runtime/odd-id",
                Some("odd-id"),
                "arn:aws:bedrock-agentcore:us-east-1:1:runtime/odd-id",
            ),
            ("arn:aws:bedrock:us-east-1:1:agent-alias/AGENT/ALIAS", Some("agent/AGENT"), "arn:aws:bedrock:us-east-1:1:agent-alias/AGENT"),
            ("arn:aws:ec2:us-east-1:1:instance/i-0", None, "arn:aws:ec2:us-east-1:1:instance/i-0"),
        ] {
            let resource = Resource::parse(arn).expect("an ARN");
            assert_eq!((resource.name().as_deref(), without_qualifier(arn)), (name, base));
        }
        for text in ["", "arn:aws:lambda", "arn:aws:lambda:::", "x"] {
            assert_eq!((Resource::parse(text), without_qualifier(text)), (None, text));
        }
    }
}
