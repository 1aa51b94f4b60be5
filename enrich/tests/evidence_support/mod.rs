//! A small account with its directory, and evidence of calls: what the evidence tests share.

use std::sync::Arc;

use sluice_enrich::evidence::{CallEvidence, Session, Tie};
use sluice_enrich::prices::Catalogue;
use sluice_enrich::{AgentsFile, CallToAttribute, Directory, EnrichCache, Enricher, MetadataKeys, OwnerTexts};
use sluice_schemas::directory::{Entry, EntryKind, Pins};
use sluice_schemas::{Micros, Profile, StringTable};

pub(crate) const AGENTS: &str = r#"
[[agent]]
id = "checkout-bot"
principals = ["arn:aws:iam::123456789012:role/Checkout"]
team = "payments"

[[agent]]
id = "planner"
principals = ["arn:aws:iam::123456789012:role/Shared"]
session_names = ["plan-*"]

[[agent]]
id = "writer"
principals = ["arn:aws:iam::123456789012:role/Shared"]
"#;
pub(crate) const NOVA: &str = "amazon.nova-lite-v1:0";
pub(crate) const PROFILE: &str = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3d4e5f6";
pub(crate) const BARE_PROFILE: &str = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/bare";
pub(crate) const RUNTIME: &str = "arn:aws:bedrock-agentcore:us-east-1:123456789012:runtime/helper-AbCdEfGh12";
pub(crate) const AT: Micros = Micros(1_790_000_000_000_000);

pub(crate) fn pairs(tags: &[(&str, &str)]) -> Vec<(String, String)> {
    tags.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
}

pub(crate) fn role(name: &str) -> String {
    format!("arn:aws:iam::123456789012:role/{name}")
}

pub(crate) fn caller_arn(name: &str, session: &str) -> String {
    format!("arn:aws:sts::123456789012:assumed-role/{name}/{session}")
}

pub(crate) fn directory() -> Directory {
    let entry = |kind, arn: &str, name: &str| Entry { kind, arn: arn.to_owned(), name: name.to_owned(), ..Entry::default() };
    let tagged = |entry: Entry, tags: &[(&str, &str)]| Entry { tags: pairs(tags), ..entry };
    let runs_as = |entry: Entry, name: &str| Entry { role_arn: role(name), ..entry };
    let pins = Pins { tag_keys: vec!["Agent_Id".to_owned()], source_identity: true, session_name: false };
    let agent = |id: &str, name: &str| entry(EntryKind::Agent, &format!("arn:aws:bedrock:us-east-1:123456789012:agent/{id}"), name);
    Directory::new(vec![
        tagged(
            entry(EntryKind::InferenceProfile, PROFILE, "translate"),
            &[("Agent", "translator"), ("CostCenter", "4711"), ("team", "docs")],
        ),
        entry(EntryKind::InferenceProfile, BARE_PROFILE, "bare"),
        Entry { pins, ..entry(EntryKind::Role, &role("Pinned"), "Pinned") },
        tagged(entry(EntryKind::Role, &role("Tagged"), "Tagged"), &[("agent_id", "tagged-bot"), ("app", "shop")]),
        tagged(entry(EntryKind::Role, &role("Thief"), "Thief"), &[("agent_id", "checkout-bot")]),
        tagged(entry(EntryKind::User, "arn:aws:iam::123456789012:user/BedrockAPIKey-x1", "BedrockAPIKey-x1"), &[("agent", "key-bot")]),
        runs_as(entry(EntryKind::Runtime, RUNTIME, "helper"), "Helper"),
        runs_as(agent("DESK", "desk"), "Desk"),
        runs_as(agent("ONE", "one"), "Crowd"),
        runs_as(agent("TWO", "two"), "Crowd"),
        Entry {
            owner: "ada@example.com".to_owned(),
            team: "research".to_owned(),
            limit: "5 USD".to_owned(),
            ..runs_as(
                entry(EntryKind::RegistryRecord, "arn:aws:bedrock-agentcore:us-east-1:123456789012:registry/r/record/1", "scout"),
                "Scout",
            )
        },
    ])
}

pub(crate) fn session(role_name: &str, tags: &[(&str, &str)]) -> CallEvidence {
    let session = Session {
        role_arn: role(role_name),
        access_key_id: "ASIA1".to_owned(),
        tags: pairs(tags),
        opened: Micros(AT.0 - 60_000_000),
        expires: Micros(AT.0 + 60_000_000),
        ..Session::default()
    };
    CallEvidence { session: Some((Arc::new(session), Tie::AccessKey)), ..CallEvidence::default() }
}

pub(crate) fn knowing() -> Enricher {
    let agents = AgentsFile::parse(AGENTS).expect("valid agents file");
    Enricher::new(Catalogue::default(), agents, MetadataKeys::default()).with_directory(Arc::new(directory()))
}

/// Attributes a call as text and as a profile of a batch, which must say the same.
pub(crate) fn owner(enricher: &Enricher, (arn, model, metadata): (&str, &str, &str), evidence: &CallEvidence) -> OwnerTexts {
    let call = CallToAttribute {
        event_time: Some(AT),
        account_id: "123456789012",
        region: "us-east-1",
        model_id: model,
        principal_arn: arn,
        operation: "Converse",
        metadata,
        ..CallToAttribute::default()
    };
    let owner = enricher.attribute(&call, evidence);
    let mut strings = StringTable::default();
    strings.intern("something else");
    let [account_id, region, model_id, principal_arn, operation, metadata] =
        ["123456789012", "us-east-1", model, arn, "Converse", metadata].map(|text| strings.intern(text));
    let profile = Profile { account_id, region, model_id, principal_arn, operation, metadata, ..Profile::default() };
    let of_batch = enricher.owner_at(AT, &profile, evidence, &mut strings, &mut EnrichCache::default());
    assert_eq!(OwnerTexts::new(&of_batch, &strings), owner);
    owner
}
