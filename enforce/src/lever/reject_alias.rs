//! `reject-alias`: lets an alias of a Bedrock agent reject invocations. Everything else about the alias stays as it is.
//!
//! Source: Agents for Amazon Bedrock API reference, `GetAgentAlias`, `UpdateAgentAlias`.

use serde::Deserialize;
use serde_json::{Value, json};

use super::json::{ask, code, gone, parts, rest, send, unfit};
use super::{About, Done, Lever, LeverError, LeverKind, Order, Sight, Subject, Undo};
use crate::aws::{Aws, Body, Call, CallError, Method};

const KIND: LeverKind = LeverKind::RejectAlias;
const SERVICE: (&str, &str) = ("bedrock-agent", "bedrock");
const ACCEPT: &str = "ACCEPT_INVOCATIONS";
const REJECT: &str = "REJECT_INVOCATIONS";
/// The alias that AWS keeps for trying a draft; it cannot be changed.
const TEST_ALIAS: &str = "TSTALIASID";

const ABOUT: About = About {
    summary: "lets one alias of a Bedrock agent reject invocations",
    grants: &["bedrock:GetAgentAlias", "bedrock:UpdateAgentAlias"],
    policy: r#"[{"Effect":"Allow","Action":["bedrock:GetAgentAlias","bedrock:UpdateAgentAlias"],"Resource":"arn:${Partition}:bedrock:*:${Account}:agent-alias/*"}]"#,
    cannot: "stops new invocations of this alias alone, not those of the agent's other aliases nor of its draft (TSTALIASID), and not one that is under \
             way; whoever changes name or routing of the alias between its reading and its update, which follow each other at once, is overwritten",
    undo: Undo::Exact,
};

/// The lever.
#[derive(Clone, Copy, Debug, Default)]
pub struct RejectAlias;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    agent_alias: Alias,
}

/// An alias: what an update needs to leave unchanged, as AWS wrote it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Alias {
    agent_alias_name: String,
    description: Option<String>,
    #[serde(default)]
    routing_configuration: Vec<Value>,
    alias_invocation_state: Option<String>,
}

impl Alias {
    /// An alias without a state accepts.
    fn state(&self) -> &str {
        self.alias_invocation_state.as_deref().unwrap_or(ACCEPT)
    }
}

impl RejectAlias {
    fn call(subject: &Subject, method: Method, body: Body) -> Result<Call, LeverError> {
        let Subject::AgentAlias { arn } = subject else { return Err(unfit(KIND, subject, "it is no alias of a Bedrock agent")) };
        let wrong = || unfit(KIND, subject, "its ARN is not arn:aws:bedrock:REGION:ACCOUNT:agent-alias/AGENT/ALIAS");
        let (region, account, rest_of) = parts(arn, "bedrock").ok_or_else(wrong)?;
        let (agent, alias) = rest_of.strip_prefix("agent-alias/").and_then(|names| names.split_once('/')).ok_or_else(wrong)?;
        let is_id = |id: &str| id.len() == 10 && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !is_id(agent) || !is_id(alias) {
            return Err(wrong());
        }
        if alias == TEST_ALIAS {
            return Err(unfit(KIND, subject, "the test alias of a draft cannot be changed: deny the role that invokes it"));
        }
        Ok(rest(SERVICE, (region, account), method, format!("/agents/{agent}/agentaliases/{alias}/"), body))
    }

    fn read(aws: &dyn Aws, subject: &Subject) -> Result<Alias, LeverError> {
        let call = Self::call(subject, Method::Get, Body::None)?.reading("bedrock:GetAgentAlias");
        let answer: Answer = ask(aws, &call).map_err(|error| sorted(error, subject))?;
        Ok(answer.agent_alias)
    }

    /// Sets the state and nothing else; an update names everything it does not change, too.
    fn set(aws: &dyn Aws, subject: &Subject, alias: &Alias, state: &str) -> Result<Done, LeverError> {
        let mut body = json!({
            "agentAliasName": alias.agent_alias_name,
            "routingConfiguration": alias.routing_configuration,
            "aliasInvocationState": state,
        });
        if let Some(description) = &alias.description {
            body["description"] = description.as_str().into();
        }
        let call = Self::call(subject, Method::Put, Body::Json(body.to_string()))?.writing("bedrock:UpdateAgentAlias");
        let reply = send(aws, &call).map_err(|error| sorted(error, subject))?;
        Ok(Done { requests: vec![reply.request_id], detail: format!("set {state}") })
    }
}

fn sorted(error: CallError, subject: &Subject) -> LeverError {
    if code(&error) == "ResourceNotFound" { gone(subject) } else { error.into() }
}

impl Lever for RejectAlias {
    fn kind(&self) -> LeverKind {
        KIND
    }

    fn about(&self) -> About {
        ABOUT
    }

    fn fits(&self, subject: &Subject) -> Result<(), LeverError> {
        Self::call(subject, Method::Get, Body::None).map(|_| ())
    }

    fn look(&self, aws: &dyn Aws, order: &Order<'_>) -> Result<Sight, LeverError> {
        let alias = Self::read(aws, order.subject)?;
        Ok(Sight { stands: alias.state() == REJECT, ineffective: None, image: json!({ "state": alias.state() }) })
    }

    fn pull(&self, aws: &dyn Aws, order: &Order<'_>) -> Result<Done, LeverError> {
        let alias = Self::read(aws, order.subject)?;
        if alias.state() == REJECT {
            return Ok(Done { requests: Vec::new(), detail: "it rejected invocations already".to_owned() });
        }
        Self::set(aws, order.subject, &alias, REJECT)
    }

    fn lift(&self, aws: &dyn Aws, order: &Order<'_>, image: &Value) -> Result<Done, LeverError> {
        if image.get("state").and_then(Value::as_str) == Some(REJECT) {
            return Ok(Done { requests: Vec::new(), detail: "it rejected before the hold, and goes on to".to_owned() });
        }
        let alias = Self::read(aws, order.subject)?;
        if alias.state() != REJECT {
            return Ok(Done { requests: Vec::new(), detail: "it accepts already".to_owned() });
        }
        Self::set(aws, order.subject, &alias, ACCEPT)
    }
}

#[cfg(test)]
mod tests;
