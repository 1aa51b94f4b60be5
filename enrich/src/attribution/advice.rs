//! The cheapest change that would raise the rank of a call's attribution, or tell the agents of a principal apart.
//!
//! Cheapest first: a tag on something that exists, a line of the agents file, a parameter of `AssumeRole`, a condition of a trust policy,
//! an inference profile for each agent. Sources: AWS IAM User Guide, "Pass session tags in AWS STS" and "IAM and AWS STS condition context
//! keys"; Amazon Bedrock User Guide, "Create an application inference profile".

use std::borrow::Cow;

use serde::Serialize;
use sluice_schemas::{AgentStatus, Rank};

use super::kinds::Context;
use super::ladder::Facts;
use super::principal::{Principal, PrincipalKind};
use super::texts::{OwnerTexts, number};
use super::{CLAIMED_AGENT, is_reserved};
use crate::agents::AgentsFile;
use crate::prices::is_system_profile;

/// A change that somebody could make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What to do.
    pub action: String,
    /// How: a command, a condition of a policy, lines of the agents file.
    pub how: String,
    /// What it brings.
    pub effect: String,
    /// The rank that the agent would then have.
    #[serde(serialize_with = "number")]
    pub rank: Rank,
}

impl Change {
    fn new(rank: Rank, action: String, how: String, effect: &str) -> Self {
        Self { action, how, effect: effect.to_owned(), rank }
    }
}

/// Returns the cheapest change for a call with this owner; `None` where AWS or a trust policy vouches already.
pub(crate) fn cheapest(agents: &AgentsFile, call: &Context<'_>, facts: &Facts<'_>, owner: &OwnerTexts) -> Option<Change> {
    match owner.agent_status {
        AgentStatus::Spoofed => spoofed(agents, call, owner),
        _ if owner.agent_rank >= Rank::Pinned => None,
        AgentStatus::Unattributed => Some(unattributed(agents, call, facts)),
        _ if owner.agent_rank == Rank::Chosen => pin(call, owner).or_else(|| by_tag(call, &owner.agent_id)),
        _ => by_tag(call, &owner.agent_id),
    }
}

/// IAM ARN of the call's role or user, as the directory knows it or as it is without path.
fn iam_arn(call: &Context<'_>, principal: &Principal<'_>) -> String {
    let Principal { partition, account, kind, name, .. } = principal;
    let made = || match kind {
        PrincipalKind::Role => format!("arn:{partition}:iam::{account}:role/{name}"),
        PrincipalKind::User => format!("arn:{partition}:iam::{account}:user/{name}"),
        PrincipalKind::FederatedUser => format!("arn:{partition}:sts::{account}:federated-user/{name}"),
        PrincipalKind::Root => format!("arn:{partition}:iam::{account}:root"),
    };
    call.principal_entry.map_or_else(made, |entry| entry.arn.clone())
}

/// Quotes foreign text for a shell: advice is copied and run.
fn shell(text: &str) -> Cow<'_, str> {
    if !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "._@/=+:-".contains(c)) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("'{}'", text.replace('\'', "'\\''")))
}

/// Writes a text as JSON and TOML both read it.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn key<'a>(call: &Context<'a>) -> &'a str {
    call.keys.agent.first().map_or("agent_id", String::as_str)
}

/// What tells agents apart or raises a claim: through a tag on the profile where there is one, else through the role session.
fn by_tag(call: &Context<'_>, agent: &str) -> Option<Change> {
    let (key, principal) = (key(call), call.principal?);
    let (arn, value) = (iam_arn(call, &principal), shell(agent));
    if call.is_through_profile() {
        let how = format!("aws bedrock tag-resource --resource-arn {} --tags key={key},value={value}", shell(call.model_id));
        let action = format!("tag the application inference profile {} with its agent", call.model_id);
        return Some(Change::new(Rank::Aws, action, how, "calls through it are its agent's, verified, whoever makes them"));
    }
    match principal.kind {
        PrincipalKind::Role if principal.agentcore_session().is_none() => {
            let how = format!(
                "aws sts assume-role --role-arn {} --role-session-name … --tags Key={key},Value={value}; the role's trust policy must allow sts:TagSession, and pins the value with \"StringEquals\": {{{}: {}}}",
                shell(&arn),
                quoted(&format!("aws:RequestTag/{key}")),
                quoted(agent)
            );
            let action = format!("set a session tag {key} when assuming {arn} (sts:TagSession)");
            Some(Change::new(Rank::Pinned, action, how, "each session names its agent: rank 2, and 3 once the trust policy pins the value"))
        }
        PrincipalKind::User => {
            let how = format!("aws iam tag-user --user-name {} --tags Key={key},Value={value}", shell(principal.name));
            Some(Change::new(Rank::Aws, format!("tag the user {arn} with its agent"), how, "the user's calls are its agent's, verified"))
        }
        _ => Some(profile_each(call, agent)),
    }
}

fn profile_each(call: &Context<'_>, agent: &str) -> Change {
    let how = format!(
        "aws bedrock create-inference-profile --inference-profile-name {} --model-source copyFrom={} --tags key={},value={}",
        word(agent),
        shell(&copied(call)),
        key(call),
        shell(agent)
    );
    let action = "create an application inference profile for each agent and call the model through it".to_owned();
    Change::new(Rank::Aws, action, how, "the profile names the agent, verified, even where agents share a principal")
}

/// ARN of the model or system-defined profile that a profile for the call would be made from.
fn copied(call: &Context<'_>) -> String {
    let Context { model_id, region, account_id, .. } = call;
    let partition = call.principal.map_or("aws", |principal| principal.partition);
    if model_id.starts_with("arn:") {
        (*model_id).to_owned()
    } else if is_system_profile(model_id) {
        format!("arn:{partition}:bedrock:{region}:{account_id}:inference-profile/{model_id}")
    } else {
        format!("arn:{partition}:bedrock:{region}::foundation-model/{model_id}")
    }
}

/// Names of profiles have no characters but these.
fn word(agent: &str) -> String {
    let word: String = agent.chars().map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' }).take(64).collect();
    if word.is_empty() { "agent".to_owned() } else { word }
}

/// Pins what somebody chose.
fn pin(call: &Context<'_>, owner: &OwnerTexts) -> Option<Change> {
    let principal = call.principal.filter(|principal| principal.kind == PrincipalKind::Role)?;
    let (arn, agent) = (iam_arn(call, &principal), quoted(&owner.agent_id));
    let (what, condition, more) = match owner.agent_evidence.split_once(':') {
        Some(("session_tag", key)) => {
            (format!("the session tag {key}"), format!("\"StringEquals\": {{{}: {agent}}}", quoted(&format!("aws:RequestTag/{key}"))), "")
        }
        None if owner.agent_evidence == "source_identity" => {
            ("the source identity".to_owned(), format!("\"StringEquals\": {{\"sts:SourceIdentity\": {agent}}}"), "")
        }
        None if owner.agent_evidence == "session_name" => {
            let name = quoted(principal.session);
            (
                "session names".to_owned(),
                format!("\"StringLike\": {{\"sts:RoleSessionName\": {name}}}"),
                "; then set pinned = true in the agents file",
            )
        }
        _ => return None,
    };
    let action = format!("pin {what} in the trust policy of {arn}");
    let how = format!("add to the statement that lets this agent assume the role: \"Condition\": {{{condition}}}{more}");
    Some(Change::new(Rank::Pinned, action, how, "no other agent can take the name any more"))
}

/// Nothing names an agent.
fn unattributed(agents: &AgentsFile, call: &Context<'_>, facts: &Facts<'_>) -> Change {
    let agent = "<agent>";
    let Some(principal) = call.principal else {
        return profile_each(call, agent);
    };
    let arn = iam_arn(call, &principal);
    if call.is_through_profile() && facts.principal.is_empty() {
        return by_tag(call, agent).unwrap_or_else(|| profile_each(call, agent));
    }
    if facts.principal.len() > 1 {
        let ids: Vec<_> = facts.principal.iter().filter_map(|&at| agents.numbered(at)).map(|agent| agent.id.as_str()).collect();
        if principal.kind == PrincipalKind::Role && principal.agentcore_session().is_none() {
            let tag = key(call);
            let how = format!(
                "aws sts assume-role --role-arn {} --role-session-name … --tags Key={tag},Value=…, with one of {}; the role's trust policy must allow sts:TagSession",
                shell(&arn),
                ids.join(", ")
            );
            let action = format!("set a session tag {tag} when assuming {arn} (sts:TagSession)");
            return Change::new(Rank::Chosen, action, how, "tells the agents apart that share the role");
        }
        return profile_each(call, agent);
    }
    let how = format!("[[agent]]\nid = {}\nprincipals = [{}]", quoted(agent), quoted(&arn));
    let action = format!("register {arn} in the agents file");
    let effect = if principal.kind == PrincipalKind::Role {
        "its calls are the agent's, verified; if several agents share the role, set a session tag instead (sts:TagSession) and register none"
    } else {
        "its calls are the agent's, verified"
    };
    Change::new(Rank::Aws, action, how, effect)
}

/// A claim is refused: it is a forgery, or the agents file does not know of the principal.
fn spoofed(agents: &AgentsFile, call: &Context<'_>, owner: &OwnerTexts) -> Option<Change> {
    let claimed = owner.tags.iter().find(|(key, _)| key == CLAIMED_AGENT).map(|(_, value)| value.as_str());
    let claimed = claimed.filter(|claimed| !is_reserved(claimed))?;
    let arn = iam_arn(call, &call.principal?);
    let (action, how) = if agents.agent(claimed).is_some() {
        let action = format!("if {claimed} may use this principal, add it to the agent's principals in the agents file");
        (action, format!("[[agent]]\nid = {}\nprincipals = […, {}]", quoted(claimed), quoted(&arn)))
    } else {
        let action = format!("if {claimed} may use this principal, register it in the agents file");
        (action, format!("[[agent]]\nid = {}\nprincipals = [{}]", quoted(claimed), quoted(&arn)))
    };
    Some(Change::new(Rank::Claimed, action, how, "the claim is believed; without it, the calls stay with the principal"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_can_be_copied_whatever_an_agent_calls_itself() {
        assert_eq!(shell("checkout-bot"), "checkout-bot");
        assert_eq!(shell("x; rm -rf ~"), "'x; rm -rf ~'");
        assert_eq!(shell("it's $HOME"), "'it'\\''s $HOME'");
        assert_eq!(shell(""), "''");
        assert_eq!(quoted("a\"b\\"), "\"a\\\"b\\\\\"");
        assert_eq!(word("a b/c"), "a-b-c");
    }
}
