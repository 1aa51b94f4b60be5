//! What is advised: nothing that cannot work, and nothing that hands the calls of others to whoever claims them.

mod evidence_support;

use std::convert::Infallible;
use std::sync::Arc;

use evidence_support::*;
use sluice_enrich::attribution::{Beside, Change, Explanation, Outcome, Refusal};
use sluice_enrich::evidence::{CallEvidence, CallKey, Caller, Evidence, Session, Tie};
use sluice_enrich::prices::Catalogue;
use sluice_enrich::{AgentsFile, CallToAttribute, Enricher, MetadataKeys};
use sluice_schemas::Rank;
use sluice_schemas::trail::{AssumedSession, TrailEvent};

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
    enricher.explain(&call, evidence, Beside::default())
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
    assert!(knowing().cheapest_change(&call, &owner, Beside::default()).is_some_and(|change| change.how.contains("tagged-bot")));
    owner.tags.clear();
    assert_eq!(knowing().cheapest_change(&call, &owner, Beside::default()), None);
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
    assert_eq!(why(&called, "session_tag"), "no AssumeRole event of this session name and access key is known");
    assert!(called.change.is_some_and(|change| change.action.starts_with("set a session tag agent_id when assuming")));
    // Of a session whose event AWS cut short, nobody can say that it was opened without a tag.
    let session = |role_arn: &str| Session { role_arn: role_arn.to_owned(), expires: AT.plus(3_600_000_000), ..Session::default() };
    let opened = |role_arn| (Arc::new(session(role_arn)), Tie::AccessKey);
    let cut = explain(&none, &caller_arn("Team", "x"), "", &CallEvidence { session: Some(opened("")), ..known_caller() });
    assert!(why(&cut, "session_tag").contains("came without its parameters"), "{cut:?}");
    let whole = CallEvidence { session: Some(opened("arn:aws:iam::123456789012:role/Team")), ..known_caller() };
    assert!(why(&explain(&none, &caller_arn("Team", "x"), "", &whole), "session_tag").starts_with("the session was opened without a tag"));
}

#[test]
fn agents_of_a_role_are_told_apart_before_the_role_is_given_to_one() {
    let none = Enricher::new(Catalogue::default(), AgentsFile::empty(), MetadataKeys::default());
    let arn = caller_arn("Team", "x");
    let call = CallToAttribute { principal_arn: &arn, model_id: NOVA, ..CallToAttribute::default() };
    let owner = owner(&none, (&arn, NOVA, ""), &CallEvidence::default());
    let change = |is_shared, has_events| {
        let beside = Beside { is_shared, has_events, ..Beside::default() };
        let listed = none.cheapest_change(&call, &owner, beside).expect("advice");
        assert_eq!(none.explain(&call, &CallEvidence::default(), beside).change.as_ref(), Some(&listed), "list and explanation agree");
        listed
    };
    assert!(change(false, false).action.starts_with("read the CloudTrail trail"));
    let apart = change(false, true);
    assert_eq!(apart.action, "set a session tag agent_id when assuming arn:aws:iam::123456789012:role/Team (sts:TagSession)");
    assert!(apart.how.contains("create-inference-profile") && apart.how.contains("if one agent alone uses the role"), "{apart:?}");
    // Where several are known, the role is nobody's.
    let shared = change(true, true);
    assert!(shared.action == apart.action && !shared.how.contains("[[agent]]"), "{shared:?}");
    // A user has no sessions: alone it is registered, shared it needs profiles.
    let arn = "arn:aws:iam::123456789012:user/ci".to_owned();
    let call = CallToAttribute { principal_arn: &arn, ..call };
    let user =
        |is_shared| none.cheapest_change(&call, &owner, Beside { is_shared, has_events: true, ..Beside::default() }).expect("advice");
    assert!(user(false).action.starts_with("register ") && user(true).action.starts_with("create an application inference profile"));
}

#[test]
fn sessions_that_are_not_the_calls_are_steps_with_their_reason() {
    const HOUR: i64 = 3_600_000_000;
    let none = Enricher::new(Catalogue::default(), AgentsFile::empty(), MetadataKeys::default());
    let arn = caller_arn("Team", "x");
    let opened = |offset: i64, key: &str, agent: &str| TrailEvent {
        event_time: AT.plus(offset),
        event_id: format!("{offset}-{key}"),
        event_name: "AssumeRole".to_owned(),
        event_source: "sts.amazonaws.com".to_owned(),
        assumed: Some(Box::new(AssumedSession {
            access_key_id: key.to_owned(),
            role_arn: "arn:aws:iam::123456789012:role/Team".to_owned(),
            assumed_role_arn: arn.clone(),
            expires: Some(AT.plus(offset + HOUR)),
            tags: if agent.is_empty() { Vec::new() } else { vec![("agent_id".to_owned(), agent.to_owned())] },
            ..AssumedSession::default()
        })),
        ..TrailEvent::default()
    };
    let called = |key: &str| TrailEvent {
        event_time: AT,
        event_source: "bedrock.amazonaws.com".to_owned(),
        request_id: "1".to_owned(),
        access_key_id: key.to_owned(),
        ..TrailEvent::default()
    };
    let told = |events: &[TrailEvent]| {
        let mut evidence = Evidence::new(1 << 20);
        for event in events {
            evidence.remind(event, 1);
        }
        let key = CallKey { request: 1, principal_arn: &arn, at: AT, resources: &[] };
        let found = evidence.of_call(&key, &mut |_| Ok::<_, Infallible>(Vec::new())).expect("nothing to load");
        let over = evidence.passed_over(&key, &found);
        let call = CallToAttribute { event_time: Some(AT), principal_arn: &arn, model_id: NOVA, ..CallToAttribute::default() };
        none.explain(&call, &found, Beside { passed_over: &over, ..Beside::default() })
    };
    let steps = |events: &[TrailEvent]| {
        let steps = told(events).steps.into_iter().filter(|step| step.evidence.starts_with("session_tag"));
        steps.map(|step| (step.says, step.outcome, step.why)).collect::<Vec<_>>()
    };
    let (red, blue) = (opened(-HOUR / 2, "ASIARED", "red"), opened(-HOUR / 4, "ASIABLUE", "blue"));
    let refused = |agent: &str, why: Refusal| (agent.to_owned(), Outcome::Refused, why.to_string());
    assert_eq!(steps(&[opened(-2 * HOUR, "ASIARED", "red")]), [refused("red", Refusal::Expired)]);
    assert_eq!(steps(&[opened(60_000_000, "ASIARED", "red")]), [refused("red", Refusal::NotYetOpen)]);
    assert_eq!(steps(&[red.clone(), called("ASIAOTHER")]), [refused("red", Refusal::OtherKey)]);
    let both = [refused("blue", Refusal::Disagrees), refused("red", Refusal::Disagrees)];
    assert_eq!(steps(&[red.clone(), blue.clone()]), both);
    // Once the session is known, the other of that time is told, and those of other times are not.
    let known = steps(&[red.clone(), blue, called("ASIARED"), opened(-3 * HOUR, "ASIAOLD", "old")]);
    assert_eq!(known, [refused("blue", Refusal::OtherKey), ("red".to_owned(), Outcome::Named, String::new())]);
    assert_eq!(steps(&[red]).len(), 1, "a session that is the call's is told once");
    // One without a tag says nothing, and is not said to be unknown.
    let untagged = told(&[opened(-2 * HOUR, "ASIARED", "")]);
    let expected = "AssumeRole events of this session name are known, and none is of the call's session: the session's credentials had expired at the time of the call";
    assert_eq!(why(&untagged, "session_tag"), expected);
}
