//! The cheapest change that would raise the rank of a call's attribution, or tell the agents of a principal apart.
//!
//! Cheapest first: a tag on something that exists, a line of the agents file, a parameter of `AssumeRole`, a condition of a trust policy,
//! an inference profile for each agent. Sources: AWS IAM User Guide, "Pass session tags in AWS STS" and "IAM and AWS STS condition context
//! keys"; Amazon Bedrock User Guide, "Create an application inference profile".

mod refused;

use std::borrow::Cow;

use serde::Serialize;
use sluice_schemas::{AgentStatus, Rank};

use super::explain::Beside;
use super::kinds::Context;
use super::ladder::{Facts, Registry};
use super::principal::{Principal, PrincipalKind};
use super::saying::Said;
use super::texts::{OwnerTexts, number};
use crate::agents::AgentsFile;
use crate::evidence::{Passed, PassedOver};
use crate::prices::is_system_profile;

/// Where session tags are seen.
const SEEN_IN_TRAIL: &str = "; CloudTrail tells the tags, so its trail must be a source";
/// Where pins are seen.
const SEEN_IN_DIRECTORY: &str = "; the pin is seen through [directory] (or --directory) alone";

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

/// What advice rests on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case<'a> {
    pub(crate) agents: &'a AgentsFile,
    pub(crate) call: &'a Context<'a>,
    pub(crate) facts: &'a Facts<'a>,
    pub(crate) said: &'a Said<'a>,
    pub(crate) beside: Beside<'a>,
}

/// Returns the cheapest change for a call with this owner; `None` where AWS or a trust policy vouches already.
pub(crate) fn cheapest(case: &Case<'_>, owner: &OwnerTexts) -> Option<Change> {
    match owner.agent_status {
        AgentStatus::Spoofed => refused::change(case, owner),
        _ if owner.agent_rank >= Rank::Pinned => None,
        AgentStatus::Unattributed => Some(unattributed(case)),
        _ if owner.agent_rank == Rank::Chosen => pin(case, owner).or_else(|| by_tag(case.call, &owner.agent_id)),
        _ => name_sessions(case, Some(&owner.agent_id)).or_else(|| by_tag(case.call, &owner.agent_id)),
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

/// Writes texts as a list that JSON and TOML both read.
fn list<'t>(texts: impl Iterator<Item = &'t str>) -> String {
    format!("[{}]", texts.map(quoted).collect::<Vec<_>>().join(", "))
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
                "aws sts assume-role --role-arn {} --role-session-name … --tags Key={key},Value={value}; the role's trust policy must allow sts:TagSession, and pins the value with \"StringEquals\": {{{}: {}}}{SEEN_IN_TRAIL}",
                shell(&arn),
                quoted(&format!("aws:RequestTag/{key}")),
                quoted(agent)
            );
            let action = format!("set a session tag {key} when assuming {arn} (sts:TagSession)");
            Some(Change::new(
                Rank::Pinned,
                action,
                how,
                "each session names its agent: rank 2, and 3 once [directory] (or --directory) shows that the trust policy pins the value",
            ))
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
fn pin(case: &Case<'_>, owner: &OwnerTexts) -> Option<Change> {
    let principal = case.call.principal.filter(|principal| principal.kind == PrincipalKind::Role)?;
    let (arn, agent) = (iam_arn(case.call, &principal), quoted(&owner.agent_id));
    let (what, condition, more) = match owner.agent_evidence.split_once(':') {
        Some(("session_tag", key)) => {
            let condition = format!("\"StringEquals\": {{{}: {agent}}}", quoted(&format!("aws:RequestTag/{key}")));
            (format!("the session tag {key}"), condition, SEEN_IN_DIRECTORY.to_owned())
        }
        None if owner.agent_evidence == "source_identity" => {
            let condition = format!("\"StringEquals\": {{\"sts:SourceIdentity\": {agent}}}");
            ("the source identity".to_owned(), condition, SEEN_IN_DIRECTORY.to_owned())
        }
        None if owner.agent_evidence == "session_name" => {
            // All of the agent's sessions, not only the one seen; without patterns they are named like the agent.
            let known = case.agents.agent(&owner.agent_id).map_or(&[][..], |agent| agent.session_names.as_slice());
            let (names, more) = if known.is_empty() {
                let names = format!("[{agent}]");
                (names.clone(), format!("; then set session_names = {names} and pinned = true in the agents file"))
            } else {
                (list(known.iter().map(String::as_str)), "; then set pinned = true in the agents file".to_owned())
            };
            ("session names".to_owned(), format!("\"StringLike\": {{\"sts:RoleSessionName\": {names}}}"), more)
        }
        _ => return None,
    };
    let action = format!("pin {what} in the trust policy of {arn}");
    let how = format!("add to the statement that lets this agent assume the role: \"Condition\": {{{condition}}}{more}");
    Some(Change::new(Rank::Pinned, action, how, "no other agent can take the name any more"))
}

/// Gives sessions named like this one to an agent of the role, where its name or the habit of the role tells whose they are.
fn name_sessions(case: &Case<'_>, agent: Option<&str>) -> Option<Change> {
    let Case { agents, call, facts, .. } = *case;
    let principal = call.principal.filter(|principal| principal.kind == PrincipalKind::Role && principal.agentcore_session().is_none())?;
    let session = principal.session;
    if facts.principal.len() < 2 || session.is_empty() || facts.principal.iter().any(|&at| agents.owns_session(at, session)) {
        return None;
    }
    let here: Vec<_> = facts.principal.iter().filter_map(|&at| agents.numbered(at)).collect();
    let (stem, pattern) = match session.find(['-', '_', '.', '@', '=', '+', ',']) {
        Some(end) => session.split_at_checked(end).map(|(stem, rest)| (stem, format!("{stem}{}*", rest.get(..1).unwrap_or(""))))?,
        None => (session, session.to_owned()),
    };
    let alike = |id: &str| session.starts_with(id) || (!stem.is_empty() && id.starts_with(stem));
    let mut candidates = here.iter().filter(|known| alike(&known.id) && agent.is_none_or(|agent| agent == known.id));
    let (id, how) = match (candidates.next(), candidates.next()) {
        (Some(known), None) if !known.pinned => {
            let names = list(known.session_names.iter().map(String::as_str).chain([pattern.as_str()]));
            (known.id.as_str(), format!("[[agent]]\nid = {}\nsession_names = {names}", quoted(&known.id)))
        }
        (None, None) if agent.is_none() && here.iter().any(|known| !known.session_names.is_empty()) => {
            let principals = list([iam_arn(call, &principal).as_str()].into_iter());
            let names = list([pattern.as_str()].into_iter());
            ("its agent", format!("[[agent]]\nid = \"<agent>\"\nprincipals = {principals}\nsession_names = {names}"))
        }
        _ => return None,
    };
    let action = format!("if one agent alone opens sessions named {pattern}, give them to {id} in the agents file");
    Some(Change::new(Rank::Chosen, action, how, "the session name then tells the agent from the others on the role, verified"))
}

/// Nothing names an agent.
fn unattributed(case: &Case<'_>) -> Change {
    let agent = "<agent>";
    let Case { agents, call, facts, .. } = *case;
    let Some(principal) = call.principal else {
        return profile_each(call, agent);
    };
    let arn = iam_arn(call, &principal);
    if call.is_through_profile() && facts.principal.is_empty() {
        return by_tag(call, agent).unwrap_or_else(|| profile_each(call, agent));
    }
    if let Some(change) = name_sessions(case, None) {
        return change;
    }
    let opened = principal.kind == PrincipalKind::Role && principal.agentcore_session().is_none();
    if opened && !case.beside.has_events && call.evidence.is_empty() {
        return read_trail(&arn);
    }
    if facts.principal.len() > 1 {
        let ids: Vec<_> = facts.principal.iter().filter_map(|&at| agents.numbered(at)).map(|agent| agent.id.as_str()).collect();
        if opened {
            let tag = key(call);
            let how = format!(
                "aws sts assume-role --role-arn {} --role-session-name … --tags Key={tag},Value=…, with one of {}; the role's trust policy must allow sts:TagSession{SEEN_IN_TRAIL}",
                shell(&arn),
                ids.join(", ")
            );
            let action = format!("set a session tag {tag} when assuming {arn} (sts:TagSession)");
            return Change::new(Rank::Chosen, action, how, "tells the agents apart that share the role");
        }
        return profile_each(call, agent);
    }
    if opened {
        return tell_apart(case, &arn);
    }
    if case.beside.is_shared {
        return profile_each(call, agent);
    }
    let effect = if principal.kind == PrincipalKind::Role {
        "every call of the role is then the agent's, verified; if several agents share the role, give each an inference profile and register none"
    } else {
        "every call of it is then the agent's, verified"
    };
    Change::new(Rank::Aws, format!("register {arn} in the agents file"), registered(&arn), effect)
}

/// Lines of the agents file that give a principal to one agent.
fn registered(arn: &str) -> String {
    format!("[[agent]]\nid = \"<agent>\"\nprincipals = [{}]", quoted(arn))
}

/// Tells the agents of a role apart, of which nothing is registered. Whether there are several, no record says; where it is one alone, a line
/// of the agents file is enough.
fn tell_apart(case: &Case<'_>, arn: &str) -> Change {
    let (call, agent) = (case.call, "<agent>");
    let tag = key(call);
    let says = |over: &PassedOver| over.why == Passed::Disagrees && over.session.tags.iter().any(|(known, _)| call.keys.is_of_agent(known));
    if case.beside.passed_over.iter().any(says) {
        // Its agents set the tag already.
        let how = format!("aws sts assume-role --role-arn {} --role-session-name {}-…", shell(arn), shell(agent));
        let action = format!("give each agent's sessions of {arn} names of their own");
        return Change::new(
            Rank::Chosen,
            action,
            how,
            "the session tag then counts for calls whose own CloudTrail event is not there, too",
        );
    }
    let mut how = format!(
        "aws sts assume-role --role-arn {} --role-session-name … --tags Key={tag},Value={}; the role's trust policy must allow sts:TagSession{SEEN_IN_TRAIL}\nwhere a service opens the sessions (Lambda, ECS, EC2), a profile for each agent: {}",
        shell(arn),
        shell(agent),
        profile_each(call, agent).how
    );
    if !case.beside.is_shared {
        how.push_str("\nif one agent alone uses the role, in the agents file instead:\n");
        how.push_str(&registered(arn));
    }
    let action = format!("set a session tag {tag} when assuming {arn} (sts:TagSession)");
    Change::new(Rank::Chosen, action, how, "tells apart the agents that share the role: each session names its agent")
}

/// Nothing of CloudTrail is known: what sessions say of themselves may be there already.
fn read_trail(arn: &str) -> Change {
    let how = "add the bucket of the trail as a source to the configuration, or replay its files: sluice replay …";
    let effect = "AssumeRole events tell the session tags and source identities that agents set already; without any, each agent of the role has to set one";
    Change::new(Rank::Chosen, format!("read the CloudTrail trail of the sessions of {arn}"), how.to_owned(), effect)
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
