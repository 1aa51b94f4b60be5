//! What is advised: nothing that cannot work, and nothing that hands the calls of others to whoever claims them.

mod evidence_support;

use std::sync::Arc;

use evidence_support::*;
use sluice_enrich::attribution::{Change, Explanation};
use sluice_enrich::evidence::{CallEvidence, Caller};
use sluice_enrich::prices::Catalogue;
use sluice_enrich::{AgentsFile, CallToAttribute, Enricher, MetadataKeys};
use sluice_schemas::Rank;

const TEAM: &str = r#"
[[agent]]
id = "alpha"
principals = ["arn:aws:iam::123456789012:role/Team"]
session_names = ["alpha-*", "a.*"]

[[agent]]
id = "beta"
principals = ["arn:aws:iam::123456789012:role/Team"]
session_names = ["beta-*"]
pinned = true

[[agent]]
id = "gamma"
principals = ["arn:aws:iam::123456789012:role/Team"]
"#;

fn team() -> Enricher {
    Enricher::new(Catalogue::default(), AgentsFile::parse(TEAM).expect("valid"), MetadataKeys::default())
}

fn explain(enricher: &Enricher, arn: &str, metadata: &str, evidence: &CallEvidence) -> Explanation {
    let call = CallToAttribute {
        event_time: Some(AT),
        account_id: "123456789012",
        region: "us-east-1",
        model_id: NOVA,
        principal_arn: arn,
        operation: "Converse",
        metadata,
        ..CallToAttribute::default()
    };
    enricher.explain(&call, evidence)
}

fn advice(enricher: &Enricher, arn: &str, metadata: &str, evidence: &CallEvidence) -> Change {
    explain(enricher, arn, metadata, evidence).change.expect("advice")
}

fn known_caller() -> CallEvidence {
    CallEvidence { caller: Some(Arc::new(Caller { user_agent: "x".to_owned(), ..Caller::default() })), ..CallEvidence::default() }
}

fn why(explanation: &Explanation, kind: &str) -> String {
    explanation.silent.iter().find(|silent| silent.kind.as_str() == kind).map(|silent| silent.why.clone()).unwrap_or_default()
}

#[test]
fn a_liar_is_never_given_the_role() {
    let nothing = CallEvidence::default();
    let change = advice(&knowing(), &caller_arn("Tagged", "s"), r#"{"agent_id":"liar"}"#, &nothing);
    assert_eq!(change.action, "let the caller send tagged-bot as agent_id in its request metadata, or no agent_id");
    assert_eq!((change.how.as_str(), change.rank), (r#"requestMetadata: {"agent_id": "tagged-bot"}"#, Rank::Aws));
    // A known agent that is not the role's is not given it either.
    let change = advice(&knowing(), &caller_arn("Tagged", "s"), r#"{"agent_id":"checkout-bot"}"#, &nothing);
    assert!(change.how.contains("tagged-bot"), "{change:?}");
    let change = advice(&knowing(), &caller_arn("Shared", "s"), r#"{"agent_id":"liar"}"#, &nothing);
    assert_eq!(change.action, "let the caller send planner or writer as agent_id in its request metadata, or no agent_id");
    // Where nobody else is known to use the role, the effect is told.
    let change = advice(&knowing(), &caller_arn("Open", "s"), r#"{"agent_id":"checkout-bot"}"#, &nothing);
    assert!(change.effect.starts_with("every call of arn:aws:iam::123456789012:role/Open is then checkout-bot's"), "{change:?}");
    // The listing of a lake has no evidence of single calls, and the directory says as much.
    let mut owner = owner(&knowing(), (&caller_arn("Tagged", "s"), NOVA, r#"{"agent_id":"liar"}"#), &nothing);
    let arn = caller_arn("Tagged", "s");
    let call = CallToAttribute { principal_arn: &arn, model_id: NOVA, ..CallToAttribute::default() };
    assert!(knowing().cheapest_change(&call, &owner).is_some_and(|change| change.how.contains("tagged-bot")));
    owner.tags.clear();
    assert_eq!(knowing().cheapest_change(&call, &owner), None);
}

#[test]
fn an_agent_of_the_role_is_told_of_its_session_names() {
    let explanation = explain(&team(), &caller_arn("Team", "x-1"), r#"{"agent_id":"beta"}"#, &CallEvidence::default());
    assert_eq!(explanation.owner.agent_id, "spoofed:Team");
    assert_eq!(
        explanation.steps[0].why,
        "the agents file pins this agent to other session names of this principal, or this session name to another agent"
    );
    let change = explanation.change.expect("advice");
    assert_eq!(change.how, "[[agent]]\nid = \"beta\"\nsession_names = [\"beta-*\", \"x-1\"]");
    // In a session pinned to another, the claim is what is wrong.
    let change = advice(&team(), &caller_arn("Team", "beta-1"), r#"{"agent_id":"alpha"}"#, &CallEvidence::default());
    assert_eq!(change.how, r#"requestMetadata: {"agent_id": "beta"}"#);
}

#[test]
fn pins_allow_all_sessions_of_the_agent() {
    let change = advice(&team(), &caller_arn("Team", "alpha-1"), "", &CallEvidence::default());
    assert_eq!(
        change.how,
        r#"add to the statement that lets this agent assume the role: "Condition": {"StringLike": {"sts:RoleSessionName": ["alpha-*", "a.*"]}}; then set pinned = true in the agents file"#
    );
    let change = advice(&team(), &caller_arn("Team", "gamma"), "", &CallEvidence::default());
    assert!(change.how.ends_with(r#"["gamma"]}}; then set session_names = ["gamma"] and pinned = true in the agents file"#), "{change:?}");
    let change = advice(&team(), &caller_arn("Team", "x"), "", &session("Team", &[("agent_id", "gamma")]));
    assert!(change.how.ends_with("the pin is seen through [directory] (or --directory) alone"), "{change:?}");
}

#[test]
fn a_line_of_the_agents_file_comes_before_assume_role() {
    let nothing = CallEvidence::default();
    let line = "[[agent]]\nid = \"gamma\"\nsession_names = [\"gamma-*\"]";
    for metadata in ["", r#"{"agent_id":"gamma"}"#] {
        let change = advice(&team(), &caller_arn("Team", "gamma-7"), metadata, &nothing);
        assert_eq!((change.how.as_str(), change.rank), (line, Rank::Chosen), "{metadata}");
    }
    let change = advice(&team(), &caller_arn("Team", "delta-7"), "", &nothing);
    let line = "[[agent]]\nid = \"<agent>\"\nprincipals = [\"arn:aws:iam::123456789012:role/Team\"]\nsession_names = [\"delta-*\"]";
    assert_eq!(change.how, line);
    // What was advised works.
    let file = format!("{}session_names = ['gamma-*']\n", TEAM.trim_start());
    let advised = Enricher::new(Catalogue::default(), AgentsFile::parse(&file).expect("valid"), MetadataKeys::default());
    let owner = owner(&advised, (&caller_arn("Team", "gamma-7"), NOVA, ""), &nothing);
    assert_eq!((owner.agent_id.as_str(), owner.agent_rank), ("gamma", Rank::Chosen));
}

#[test]
fn what_is_absent_is_told_from_what_is_not_known() {
    let none = Enricher::new(Catalogue::default(), AgentsFile::empty(), MetadataKeys::default());
    let nothing = explain(&none, &caller_arn("Team", "x"), "", &CallEvidence::default());
    assert_eq!(why(&nothing, "session_name"), "there is no agents file");
    assert_eq!(why(&nothing, "session_tag"), "the AssumeRole event that opened the session is not known");
    assert!(nothing.change.is_some_and(|change| change.action.starts_with("read the CloudTrail trail")));
    let called = explain(&none, &caller_arn("Team", "x"), "", &known_caller());
    assert_eq!(why(&called, "session_tag"), "no session of this name was open then, or sessions of this name disagree");
    assert!(called.change.is_some_and(|change| change.effect.starts_with("every call of the role is then")));
}
