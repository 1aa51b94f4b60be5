//! Reading an agents file: shape first, then meaning, all faults collected.

use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;
use sluice_schemas::PicoUsd;
use toml::{Table, Value};

use super::{Agent, AgentsError, AgentsFault};
use crate::attribution::{PrincipalPattern, is_plain, is_reserved};

const MAX_ID_CHARS: usize = 128;

/// An agent as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAgent {
    id: String,
    #[serde(default)]
    principals: Vec<String>,
    #[serde(default)]
    inference_profiles: Vec<String>,
    #[serde(default)]
    session_names: Vec<String>,
    #[serde(default)]
    pinned: bool,
    team: Option<String>,
    limit: Option<String>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

/// Returns the agents with their principals read.
pub(super) fn read(text: &str) -> Result<Vec<(Agent, Vec<PrincipalPattern>)>, AgentsError> {
    let table: Table = text.parse().map_err(AgentsError::Syntax)?;
    let mut faults = Vec::new();
    let mut agents = Vec::new();
    for (key, value) in table {
        match (key.as_str(), value) {
            ("agent", Value::Array(entries)) => agents = check_all(entries, &mut faults),
            ("agent", _) => faults.push(AgentsFault::NotAList),
            _ => faults.push(AgentsFault::UnknownKey { key }),
        }
    }
    if faults.is_empty() { Ok(agents) } else { Err(AgentsError::Faults { faults }) }
}

fn check_all(entries: Vec<Value>, faults: &mut Vec<AgentsFault>) -> Vec<(Agent, Vec<PrincipalPattern>)> {
    let mut agents = Vec::with_capacity(entries.len());
    let mut ids = HashSet::new();
    for (at, entry) in entries.into_iter().enumerate() {
        let label = entry.get("id").and_then(Value::as_str).map_or_else(|| format!("#{}", at + 1), |id| id.escape_debug().to_string());
        if !ids.insert(label.clone()) {
            faults.push(AgentsFault::DuplicateAgent { agent: label.clone() });
        }
        match entry.try_into::<RawAgent>() {
            Ok(raw) => agents.push(check(raw, &label, faults)),
            Err(error) => faults.push(AgentsFault::Shape { agent: label, message: error.message().to_owned() }),
        }
    }
    agents
}

fn check(raw: RawAgent, label: &str, faults: &mut Vec<AgentsFault>) -> (Agent, Vec<PrincipalPattern>) {
    let agent = || label.to_owned();
    if !is_plain(&raw.id) || raw.id.chars().count() > MAX_ID_CHARS {
        faults.push(AgentsFault::Id { agent: agent() });
    }
    if is_reserved(&raw.id) {
        faults.push(AgentsFault::ReservedId { agent: agent() });
    }
    let principals = check_principals(&raw.principals, label, faults);
    for (field, values) in [("inference_profiles", &raw.inference_profiles), ("session_names", &raw.session_names)] {
        let mut seen = HashSet::new();
        let again = values.iter().filter(|value| !seen.insert(value.as_str()));
        faults.extend(again.map(|value| AgentsFault::DuplicateValue { agent: agent(), field, value: value.clone() }));
    }
    let profiles = raw.inference_profiles.iter().filter(|arn| !is_application_profile(arn));
    faults.extend(profiles.map(|arn| AgentsFault::InferenceProfile { agent: agent(), profile: arn.clone() }));
    let names = raw.session_names.iter().filter(|name| !is_plain(name) || name.contains(['/', ' ']));
    faults.extend(names.map(|name| AgentsFault::SessionName { agent: agent(), name: name.clone() }));
    if !raw.session_names.is_empty() && raw.principals.is_empty() {
        faults.push(AgentsFault::SessionNamesWithoutPrincipals { agent: agent() });
    }
    if raw.pinned && raw.session_names.is_empty() {
        faults.push(AgentsFault::PinnedWithoutSessionNames { agent: agent() });
    }
    if raw.team.as_deref().is_some_and(|team| !is_plain(team)) {
        faults.push(AgentsFault::Team { agent: agent() });
    }
    let tags = raw.tags.iter().filter(|(key, value)| !is_plain(key) || key.starts_with("claimed_") || !is_plain(value));
    faults.extend(tags.map(|(key, _)| AgentsFault::Tag { agent: agent(), key: key.clone() }));
    let limit = raw.limit.and_then(|limit| check_limit(limit, label, faults));
    let read = Agent {
        id: raw.id,
        principals: raw.principals,
        inference_profiles: raw.inference_profiles,
        session_names: raw.session_names,
        pinned: raw.pinned,
        team: raw.team.unwrap_or_default(),
        tags: raw.tags.into_iter().collect(),
        limit,
    };
    (read, principals)
}

/// Reads principals; two spellings of one principal are one, and said twice.
fn check_principals(arns: &[String], label: &str, faults: &mut Vec<AgentsFault>) -> Vec<PrincipalPattern> {
    let mut read = Vec::with_capacity(arns.len());
    for arn in arns {
        let agent = label.to_owned();
        match PrincipalPattern::parse(arn) {
            Ok(pattern) if read.contains(&pattern) => {
                faults.push(AgentsFault::DuplicateValue { agent, field: "principals", value: arn.clone() });
            }
            Ok(pattern) => read.push(pattern),
            Err(fault) => faults.push(AgentsFault::Principal { agent, principal: arn.clone(), fault }),
        }
    }
    read
}

/// Tells whether an ARN names an application inference profile; a system-defined one is everybody's.
fn is_application_profile(arn: &str) -> bool {
    let mut fields = arn.splitn(6, ':');
    let mut next = || fields.next().unwrap_or("");
    let (prefix, partition, service, region, account, resource) = (next(), next(), next(), next(), next(), next());
    let id = resource.strip_prefix("application-inference-profile/").unwrap_or("");
    let named = [region, account, id].iter().all(|part| is_plain(part) && !part.contains(['*', '/', ' ']));
    prefix == "arn" && partition.starts_with("aws") && service == "bedrock" && named
}

fn check_limit(limit: String, label: &str, faults: &mut Vec<AgentsFault>) -> Option<PicoUsd> {
    let agent = label.to_owned();
    let has_unit = limit.trim_end().ends_with("USD") || limit.trim_start().starts_with('$');
    match limit.parse::<PicoUsd>() {
        Ok(amount) if has_unit && amount > PicoUsd::ZERO => return Some(amount),
        Ok(_) => faults.push(AgentsFault::LimitForm { agent, limit }),
        Err(fault) => faults.push(AgentsFault::Limit { agent, fault }),
    }
    None
}
