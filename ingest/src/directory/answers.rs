//! Reads what AWS answers into entries.
//!
//! Source of the shapes: the service models of Amazon Bedrock, Agents for Amazon Bedrock and Bedrock AgentCore Control. A member that is
//! absent or of another type reads as nothing.

use serde_json::Value;
use sluice_schemas::Micros;
use sluice_schemas::directory::{Entry, EntryKind};

/// Names of a record's owner, team, limit and role, as people write them in a custom descriptor.
const OWNER: [&str; 2] = ["owner", "contact"];
const TEAM: [&str; 1] = ["team"];
const LIMIT: [&str; 2] = ["limit", "budget"];
const ROLE: [&str; 3] = ["role", "role_arn", "roleArn"];

/// `GetInferenceProfile`.
pub(super) fn profile(answer: &Value, now: Micros) -> Entry {
    let models = answer["models"].as_array().into_iter().flatten().map(|model| text(&model["modelArn"]));
    Entry {
        kind: EntryKind::InferenceProfile,
        arn: text(&answer["inferenceProfileArn"]),
        name: text(&answer["inferenceProfileName"]),
        seen_at: now,
        models: models.filter(|arn| !arn.is_empty()).collect(),
        description: text(&answer["description"]),
        ..Entry::default()
    }
}

/// A thing that runs as a role, by the members of its ARN, name and role.
fn running(kind: EntryKind, thing: &Value, [arn, name, role_arn]: [&str; 3], now: Micros) -> Entry {
    Entry {
        kind,
        arn: text(&thing[arn]),
        name: text(&thing[name]),
        seen_at: now,
        role_arn: text(&thing[role_arn]),
        description: text(&thing["description"]),
        ..Entry::default()
    }
}

/// `GetAgentRuntime`.
pub(super) fn runtime(answer: &Value, now: Micros) -> Entry {
    running(EntryKind::Runtime, answer, ["agentRuntimeArn", "agentRuntimeName", "roleArn"], now)
}

/// `GetHarness`.
pub(super) fn harness(answer: &Value, now: Micros) -> Entry {
    let harness = &answer["harness"];
    Entry {
        kind: EntryKind::Runtime,
        arn: text(&harness["arn"]),
        name: text(&harness["harnessName"]),
        seen_at: now,
        role_arn: text(&harness["executionRoleArn"]),
        ..Entry::default()
    }
}

/// `GetAgent`.
pub(super) fn agent(answer: &Value, now: Micros) -> Entry {
    running(EntryKind::Agent, &answer["agent"], ["agentArn", "agentName", "agentResourceRoleArn"], now)
}

/// `GetFlow`.
pub(super) fn flow(answer: &Value, now: Micros) -> Entry {
    running(EntryKind::Agent, answer, ["arn", "name", "executionRoleArn"], now)
}

/// `GetKnowledgeBase`.
pub(super) fn knowledge_base(answer: &Value, now: Micros) -> Entry {
    running(EntryKind::Agent, &answer["knowledgeBase"], ["knowledgeBaseArn", "name", "roleArn"], now)
}

/// `GetGateway`.
pub(super) fn gateway(answer: &Value, now: Micros) -> Entry {
    running(EntryKind::Runtime, answer, ["gatewayArn", "name", "roleArn"], now)
}

/// `GetRegistryRecord`; a custom descriptor may say who owns the agent, what it may spend and which role it runs as.
pub(super) fn record(answer: &Value, now: Micros) -> Entry {
    let inline = answer["descriptors"]["custom"]["inlineContent"].as_str().unwrap_or_default();
    let custom: Value = serde_json::from_str(inline).unwrap_or_default();
    let said = |names: &[&str]| names.iter().map(|name| word(&custom[*name])).find(|word| !word.is_empty()).unwrap_or_default();
    Entry {
        kind: EntryKind::RegistryRecord,
        arn: text(&answer["recordArn"]),
        name: text(&answer["name"]),
        seen_at: now,
        tags: tag_map(&custom["tags"]),
        role_arn: said(&ROLE),
        owner: said(&OWNER),
        team: said(&TEAM),
        limit: said(&LIMIT),
        description: text(&answer["description"]),
        ..Entry::default()
    }
}

/// Tags as Bedrock lists them, sorted.
pub(super) fn tag_list(tags: &Value) -> Vec<(String, String)> {
    let pairs = tags.as_array().into_iter().flatten().map(|tag| (text(&tag["key"]), text(&tag["value"])));
    sorted(pairs.collect())
}

/// Tags as a map, sorted.
pub(super) fn tag_map(tags: &Value) -> Vec<(String, String)> {
    let pairs = tags.as_object().into_iter().flatten().filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
    sorted(pairs.collect())
}

/// Tags in order; of a key that stands twice, the first.
pub(super) fn sorted(mut tags: Vec<(String, String)>) -> Vec<(String, String)> {
    tags.retain(|(key, _)| !key.is_empty());
    tags.sort();
    tags.dedup_by(|later, first| later.0 == first.0);
    tags
}

/// A string; empty for anything else.
pub(super) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A string, or a number as it is written.
fn word(value: &Value) -> String {
    if value.is_number() { value.to_string() } else { text(value) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_custom_record_says_who_owns_the_agent() {
        let custom = json!({"owner": "a@example.com", "team": "search", "limit": "50 USD", "role": "arn:aws:iam::1:role/r", "tags": {"b": "2", "a": "1", "n": 7}});
        let answer = json!({"recordArn": "arn:record", "name": "case-agent", "description": "d", "descriptorType": "CUSTOM",
            "descriptors": {"custom": {"inlineContent": custom.to_string()}}});
        let entry = record(&answer, Micros(5));
        assert_eq!((entry.owner.as_str(), entry.team.as_str(), entry.limit.as_str()), ("a@example.com", "search", "50 USD"));
        assert_eq!(entry.role_arn, "arn:aws:iam::1:role/r");
        assert_eq!(entry.tags, [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())]);
        for inline in ["", "not json", "[]", "7", r#"{"owner":[]}"#] {
            let entry = record(&json!({"recordArn": "a", "descriptors": {"custom": {"inlineContent": inline}}}), Micros(5));
            assert_eq!((entry.arn.as_str(), entry.owner.as_str()), ("a", ""), "{inline}");
        }
        let number = record(&json!({"descriptors": {"custom": {"inlineContent": "{\"budget\":12.5}"}}}), Micros(5));
        assert_eq!(number.limit, "12.5");
    }

    #[test]
    fn answers_of_another_shape_are_empty() {
        for odd in [json!(null), json!([]), json!({"models": 7, "agent": 7, "harness": []})] {
            for entry in [
                profile(&odd, Micros(1)),
                runtime(&odd, Micros(1)),
                harness(&odd, Micros(1)),
                agent(&odd, Micros(1)),
                record(&odd, Micros(1)),
            ] {
                assert_eq!((entry.arn.as_str(), entry.models.len()), ("", 0));
            }
        }
        assert!(tag_list(&json!({"a": 1})).is_empty() && tag_map(&json!([1])).is_empty());
    }
}
