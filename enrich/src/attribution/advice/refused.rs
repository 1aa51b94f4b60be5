//! What would have a call believed whose claim was refused: never a line that hands the calls of others to the claimed agent.

use sluice_schemas::Rank;

use super::{Case, Change, iam_arn, list, quoted, shell};
use crate::agents::Agent;
use crate::attribution::ladder::{Facts, Registry, allowed, pinned_elsewhere};
use crate::attribution::saying::Attribute;
use crate::attribution::texts::OwnerTexts;
use crate::attribution::{CLAIMED_AGENT, is_reserved};

/// Returns the cheapest change for a call that is booked to its principal for what it claims; `None` where all that is known of it
/// does not tell.
pub(super) fn change(case: &Case<'_>, owner: &OwnerTexts) -> Option<Change> {
    let claimed = owner.tags.iter().find(|(key, _)| key == CLAIMED_AGENT).map(|(_, value)| value.as_str());
    let claimed = claimed.filter(|claimed| !is_reserved(claimed))?;
    let Case { agents, call, facts, .. } = *case;
    let said = case.said.sayings.iter().filter(|saying| saying.about == Attribute::Agent && saying.refused.is_none());
    let mut named: Vec<_> =
        said.filter(|saying| saying.rank >= Rank::Chosen && saying.text != claimed).map(|saying| (saying.rank, &*saying.text)).collect();
    named.sort_unstable_by(|a, b| b.cmp(a));
    if let Some(&(rank, other)) = named.first() {
        return Some(conform(owner, &[other], rank));
    }
    let known = agents.by_id(claimed);
    if let Some(agent) = known.filter(|&agent| pinned_elsewhere(agents, facts, agent)).and_then(|agent| agents.numbered(agent)) {
        return Some(allow_session(agent, facts.session_name));
    }
    // Where the profile is what is refused, those count whom the principal names without it.
    let through = if owner.agent_evidence == "inference_profile" { &[][..] } else { facts.profile };
    let without = Facts { profile: through, ..*facts };
    let others: Vec<_> = allowed(agents, &without).filter_map(|at| agents.numbered(at)).map(|agent| agent.id.as_str()).collect();
    let others: Vec<_> = others.into_iter().filter(|other| *other != claimed).collect();
    match others.as_slice() {
        [] => {}
        [_] => return Some(conform(owner, &others, Rank::Aws)),
        _ => return Some(conform(owner, &others, Rank::Claimed)),
    }
    let agent = known.filter(|_| facts.principal.is_empty()).and_then(|at| agents.numbered(at))?;
    if let ([], Some(profile)) = (agent.principals.as_slice(), agent.inference_profiles.first()) {
        let action = format!("if the caller is {claimed}, call the model through its inference profile");
        return Some(Change::new(
            Rank::Aws,
            action,
            format!("--model-id {}", shell(profile)),
            "calls through it are its agent's, verified",
        ));
    }
    let arn = iam_arn(call, &call.principal?);
    let action = format!("if {claimed} alone uses {arn}, add it to the agent's principals in the agents file");
    let principals = list(agent.principals.iter().map(String::as_str).chain([arn.as_str()]));
    let how = format!("[[agent]]\nid = {}\nprincipals = {principals}", quoted(claimed));
    let effect = format!("every call of {arn} is then {claimed}'s, verified, whoever makes it; without it, they stay with the principal");
    Some(Change::new(Rank::Aws, action, how, &effect))
}

/// The caller says who it is known to be, or nothing.
fn conform(owner: &OwnerTexts, others: &[&str], rank: Rank) -> Change {
    let names = others.join(" or ");
    let name = if let [only] = others { only } else { "…" };
    let (action, how) = match owner.agent_evidence.split_once(':') {
        Some(("metadata", key)) => (
            format!("let the caller send {names} as {key} in its request metadata, or no {key}"),
            format!("requestMetadata: {{{}: {}}}", quoted(key), quoted(name)),
        ),
        Some(("span", key)) => (format!("let the application name {names} in its spans, or no agent"), format!("{key} = {}", quoted(name))),
        Some(("session_tag", key)) => (
            format!("let whoever assumes the role set {names} as session tag {key}, or no such tag"),
            format!("--tags Key={},Value={}", shell(key), shell(name)),
        ),
        _ if owner.agent_evidence == "source_identity" => {
            (format!("let whoever assumes the role set {names} as source identity, or none"), format!("--source-identity {}", shell(name)))
        }
        _ => (
            format!("let the caller use the model itself, or an inference profile of {names}"),
            "--model-id with the model's id or such a profile's ARN".to_owned(),
        ),
    };
    let effect = format!("the calls are then booked to {names}; an agent that is none of these needs a principal of its own");
    Change::new(rank, action, how, &effect)
}

/// The agent is registered here, with other session names.
fn allow_session(agent: &Agent, session: &str) -> Change {
    let names = list(agent.session_names.iter().map(String::as_str).chain([session]));
    let action = format!("if {} opens sessions named {session}, add the name to its session_names and to the pin", agent.id);
    let how = format!("[[agent]]\nid = {}\nsession_names = {names}", quoted(&agent.id));
    let effect = "sessions of this name are the agent's; the trust policy must allow the name to it alone, as it does the others";
    Change::new(Rank::Pinned, action, how, effect)
}
