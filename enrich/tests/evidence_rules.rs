//! Rules on calls, and what the explanation of a call says.

mod evidence_support;

use std::sync::Arc;

use evidence_support::*;
use sluice_enrich::attribution::{Beside, Explanation, Outcome};
use sluice_enrich::evidence::{CallEvidence, Caller, Tie};
use sluice_enrich::prices::Catalogue;
use sluice_enrich::{AgentsFile, CallToAttribute, Enricher, MetadataKeys, Rules};
use sluice_schemas::trail::Invoked;

const RULES: &str = r#"
[[rule]]
name = "users"
match = { role = "claudecode*", session_name = "ccwb-{user}" }
agent = "claude-code/{user}"
team = "developers"
tags = { user = "{user}" }

[[rule]]
match = { account = "123456789012", "aws:PrincipalTag/App" = "{app}", role = "Tagged" }
agent = "{app}"

[[rule]]
match = { user_agent = "*strands-agents*", role = "Open" }
agent = "strands"

[[rule]]
match = { "aws:ResourceTag/costcenter" = "{center}" }
session = "center-{center}"

[[rule]]
match = { "metadata/bot" = "{bot}" }
agent = "{bot}"

[[rule]]
match = { role = "Open", session_name = "as-*" }
agent = "checkout-bot"
"#;

fn ruled() -> Enricher {
    knowing().with_rules(Arc::new(Rules::parse(RULES).expect("valid rules")))
}

fn agent(arn: &str, model: &str, metadata: &str, evidence: &CallEvidence) -> String {
    let owner = owner(&ruled(), (arn, model, metadata), evidence);
    format!("{} {} {} {}", owner.agent_id, owner.agent_evidence, owner.agent_rank as u8, owner.agent_status.as_str())
}

#[test]
fn the_first_matching_rule_names_the_agent() {
    let nothing = CallEvidence::default();
    let strands = Caller { user_agent: "Boto3/1.40 strands-agents".to_owned(), ..Caller::default() };
    let strands = CallEvidence { caller: Some(Arc::new(strands)), ..CallEvidence::default() };
    let open = caller_arn("Open", "run-7");
    for (arn, model, metadata, evidence, expected) in [
        (caller_arn("ClaudeCodeUsers", "ccwb-ada@example.com"), NOVA, "", &nothing, "claude-code/ada@example.com rule:users 2 unverified"),
        (caller_arn("ClaudeCodeUsers", "other"), NOVA, "", &nothing, "unattributed none 0 unattributed"),
        // The tag of the role names the agent "tagged-bot", which is as trusted and no more specific than the rule.
        (caller_arn("Tagged", "s"), NOVA, "", &nothing, "shop rule:2 4 verified"),
        (open.clone(), NOVA, "", &strands, "strands rule:3 0 unverified"),
        (open.clone(), PROFILE, "", &nothing, "translator inference_profile_tag:Agent 4 verified"),
        (open.clone(), NOVA, r#"{"bot":"b7"}"#, &nothing, "b7 rule:5 1 unverified"),
        // No rule gives away an agent that is bound elsewhere.
        (caller_arn("Open", "as-x"), NOVA, "", &nothing, "unattributed none 0 unattributed"),
    ] {
        assert_eq!(agent(&arn, model, metadata, evidence), expected, "{arn} {metadata}");
    }
    let shown = owner(&ruled(), (&caller_arn("ClaudeCodeUsers", "ccwb-ada"), NOVA, ""), &nothing);
    assert_eq!((shown.team.as_str(), shown.tags.as_slice()), ("developers", [("user".to_owned(), "ada".to_owned())].as_slice()));
    let shown = owner(&ruled(), (&open, PROFILE, ""), &nothing);
    assert_eq!((shown.session_id.as_str(), shown.session_evidence.as_str(), shown.session_rank as u8), ("center-4711", "rule:4", 4));
}

/// Every field a rule can match on, with the rank it brings.
#[test]
fn every_field_has_its_value_and_rank() {
    let caller = Caller {
        principal_id: "AROAX:run-7".to_owned(),
        source_identity: "ada".to_owned(),
        credentials_issued_to: "arn:aws:lambda:us-east-1:123456789012:function:ask".to_owned(),
        invoked_by: "lambda.amazonaws.com".to_owned(),
        user_agent: "strands-agents".to_owned(),
        ..Caller::default()
    };
    let run = Invoked {
        agent_name: "trip".to_owned(),
        resource_arn: "arn:aws:bedrock:us-east-1:123456789012:flow/F1".to_owned(),
        claims: vec![("client_id".to_owned(), "c1".to_owned())],
        ..Invoked::default()
    };
    let evidence = CallEvidence {
        caller: Some(Arc::new(caller)),
        run: Some((Arc::new(run), Tie::AccessKey)),
        ..session("Pinned", &[("agent_id", "x"), ("free", "y")])
    };
    for (field, value, rank) in [
        ("account", "123456789012", 4),
        ("region", "us-east-1", 4),
        ("operation", "Converse", 4),
        ("model", PROFILE, 4),
        ("role", "pinned", 4),
        ("session_name", "run-7", 2),
        ("source_identity", "ada", 3),
        ("aws:userid", "AROAX:run-7", 2),
        ("user_agent", "strands-agents", 0),
        ("credentials_issued_to", "*:function:ask", 4),
        ("invoked_by", "lambda.amazonaws.com", 4),
        ("run_resource", "*:flow/F1", 2),
        ("span_agent", "trip", 1),
        ("aws:PrincipalTag/Agent_ID", "x", 3),
        ("aws:PrincipalTag/free", "y", 2),
        ("aws:ResourceTag/CostCenter", "4711", 4),
        ("bedrock-agentcore:InboundJwtClaim/client_id", "c1", 3),
        ("metadata/k", "v", 1),
    ] {
        let rules = Rules::parse(&format!("[[rule]]\nmatch = {{ '{field}' = '{value}' }}\nagent = 'a'\n")).expect(field);
        let call = CallToAttribute {
            event_time: Some(AT),
            account_id: "123456789012",
            region: "us-east-1",
            model_id: PROFILE,
            principal_arn: "arn:aws:sts::123456789012:assumed-role/Pinned/run-7",
            operation: "Converse",
            metadata: r#"{"k":"v"}"#,
            ..CallToAttribute::default()
        };
        let found = knowing().with_rules(Arc::new(rules)).rule_of(&call, &evidence);
        assert_eq!(found.map(|found| found.rank as u8), Some(rank), "{field}");
    }
}

fn explain(enricher: &Enricher, (arn, model, metadata): (&str, &str, &str), evidence: &CallEvidence) -> Explanation {
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
    let explanation = enricher.explain(&call, evidence, Beside::default());
    assert_eq!(explanation.owner, owner(enricher, (arn, model, metadata), evidence));
    explanation
}

#[test]
fn an_explanation_lists_all_in_the_order_of_the_ladder() {
    let metadata = r#"{"agent_id":"other"}"#;
    let explanation = explain(&ruled(), (&caller_arn("Open", "s"), PROFILE, metadata), &session("Open", &[("agent_id", "checkout-bot")]));
    let steps: Vec<_> =
        explanation.steps.iter().map(|step| format!("{} {} {} {:?}", step.evidence, step.says, step.rank as u8, step.outcome)).collect();
    assert_eq!(
        steps,
        [
            "metadata:agent_id other 1 Outweighed",
            "session_tag:agent_id checkout-bot 2 Accuses",
            "inference_profile_tag:Agent translator 4 Outweighed",
            "session_name s 2 Outweighed",
            "rule:4 center-4711 4 Named",
            "inference_profile_tag:team docs 4 Named",
        ]
        .map(str::to_owned)
        .into_iter()
        .collect::<Vec<_>>()
    );
    let silent: Vec<_> = explanation.silent.iter().map(|silent| silent.kind.as_str()).collect();
    assert_eq!(silent.len() + 3, 17, "{silent:?}");
    let json = serde_json::to_value(&explanation).expect("JSON");
    assert_eq!(json["steps"][1]["outcome"], "accuses");
    assert_eq!(json["owner"]["agent_rank"], 2);
    assert!(explanation.steps.iter().any(|step| step.outcome == Outcome::Named));
}

#[test]
fn a_refusal_is_explained_whatever_it_rests_on() {
    let agents = format!("{AGENTS}\n[[agent]]\nid = 'profiled'\ninference_profiles = ['{BARE_PROFILE}']\n");
    let enricher = Enricher::new(Catalogue::default(), AgentsFile::parse(&agents).expect("valid"), MetadataKeys::default());
    let nothing = CallEvidence::default();
    let line = "[[agent]]\nid = \"checkout-bot\"\nprincipals = [\"arn:aws:iam::123456789012:role/Checkout\", \"arn:aws:iam::123456789012:role/Open\"]";
    for (arn, model, metadata, refused, how) in [
        (
            caller_arn("Checkout", "s"),
            NOVA,
            r#"{"agent_id":"planner"}"#,
            "metadata:agent_id planner 1",
            r#"requestMetadata: {"agent_id": "checkout-bot"}"#,
        ),
        (caller_arn("Open", "s"), NOVA, r#"{"agent_id":"checkout-bot"}"#, "metadata:agent_id checkout-bot 1", line),
        (
            caller_arn("Checkout", "s"),
            BARE_PROFILE,
            "",
            "inference_profile profiled 4",
            "--model-id with the model's id or such a profile's ARN",
        ),
        (
            caller_arn("Open", "s"),
            NOVA,
            r#"{"agent_id":"profiled"}"#,
            "metadata:agent_id profiled 1",
            &format!("--model-id {BARE_PROFILE}"),
        ),
    ] {
        let explanation = explain(&enricher, (&arn, model, metadata), &nothing);
        assert!(explanation.owner.agent_id.starts_with("spoofed:"), "{:?}", explanation.owner);
        let step = explanation.steps.iter().find(|step| step.outcome == Outcome::Accuses).expect("something was refused");
        assert_eq!(format!("{} {} {}", step.evidence, step.says, step.rank as u8), refused);
        assert_eq!(step.why, "the agents file binds this agent to other principals or inference profiles");
        assert_eq!(explanation.change.map(|change| change.how).as_deref(), Some(how));
    }
    // What cannot be a name is no forgery.
    let explanation = explain(&enricher, (&caller_arn("Open", "s"), NOVA, r#"{"agent_id":" x"}"#), &nothing);
    let step = &explanation.steps[0];
    assert_eq!((step.says.as_str(), step.outcome), (" x", Outcome::Refused));
}

/// Twelve agents on one role: what tells them apart, and what is advised where nothing does.
#[test]
fn twelve_agents_on_one_role() {
    let numbers = || (1..=12).map(|number| format!("agent-{number}"));
    let plain = Enricher::new(Catalogue::default(), AgentsFile::empty(), MetadataKeys::default()).with_directory(Arc::new(directory()));
    let shared = |name: &str| format!("[[agent]]\nid = '{name}'\nprincipals = ['arn:aws:iam::123456789012:role/Team']\n");
    let file = AgentsFile::parse(&numbers().map(|name| shared(&name)).collect::<String>()).expect("valid");
    let registered = Enricher::new(Catalogue::default(), file, MetadataKeys::default());
    let arn = caller_arn("Team", "run-7");
    let metadata = |name: &str| format!(r#"{{"agent_id":"{name}"}}"#);
    let identity = |name: &str| {
        let caller = Caller { source_identity: name.to_owned(), ..Caller::default() };
        CallEvidence { caller: Some(Arc::new(caller)), ..CallEvidence::default() }
    };
    let span = |name: &str| {
        let run = Invoked { agent_name: name.to_owned(), ..Invoked::default() };
        CallEvidence { run: Some((Arc::new(run), Tie::Request)), ..CallEvidence::default() }
    };
    let nothing = CallEvidence::default();
    let told = |enricher: &Enricher, arn: &str, metadata: &str, evidence: &CallEvidence| {
        let explanation = explain(enricher, (arn, NOVA, metadata), evidence);
        let owner = explanation.owner;
        let rest = format!("{} {} {}", owner.agent_evidence, owner.agent_rank as u8, owner.agent_status.as_str());
        (owner.agent_id, rest, explanation.change.map(|change| change.action).unwrap_or_default())
    };
    let set_tag = "set a session tag agent_id when assuming arn:aws:iam::123456789012:role/Team (sts:TagSession)";
    let pin = |what: &str| format!("pin {what} in the trust policy of arn:aws:iam::123456789012:role/Team");
    for name in numbers() {
        let tags = session("Team", &[("agent_id", &name)]);
        let of = |evidence: &str, status: &str, change: &str| (name.clone(), format!("{evidence} {status}"), change.to_owned());
        let pin_tag = pin("the session tag agent_id");
        let pin_identity = pin("the source identity");
        assert_eq!(told(&plain, &arn, "", &tags), of("session_tag:agent_id 2", "unverified", &pin_tag));
        assert_eq!(told(&registered, &arn, "", &tags), of("session_tag:agent_id 2", "verified", &pin_tag));
        assert_eq!(told(&plain, &arn, "", &identity(&name)), of("source_identity 2", "unverified", &pin_identity));
        assert_eq!(told(&registered, &arn, "", &identity(&name)), of("source_identity 2", "verified", &pin_identity));
        let named = caller_arn("Team", &name);
        assert_eq!(told(&registered, &named, "", &nothing), of("session_name 2", "verified", &pin("session names")));
        assert_eq!(told(&plain, &arn, &metadata(&name), &nothing), of("metadata:agent_id 1", "unverified", set_tag));
        assert_eq!(told(&registered, &arn, &metadata(&name), &nothing), of("metadata:agent_id 1", "unverified", set_tag));
        assert_eq!(told(&plain, &arn, "", &span(&name)), of("span:gen_ai.agent.name 1", "unverified", set_tag));
        assert_eq!(told(&registered, &arn, "", &span(&name)), of("span:gen_ai.agent.name 1", "unverified", set_tag));
    }
    // Session tags may be there already: without CloudTrail nobody knows.
    let read_trail = "read the CloudTrail trail of the sessions of arn:aws:iam::123456789012:role/Team";
    for enricher in [&registered, &plain] {
        let (agent, rest, change) = told(enricher, &arn, "", &nothing);
        assert_eq!((&*agent, &*rest, &*change), ("unattributed", "none 0 unattributed", read_trail));
    }
    let untagged = session("Team", &[]);
    // A line of the agents file would book all twelve to one.
    for enricher in [&registered, &plain] {
        let (agent, rest, change) = told(enricher, &arn, "", &untagged);
        assert_eq!((&*agent, &*rest, &*change), ("unattributed", "none 0 unattributed", set_tag));
    }
    // A profile for each agent tells them apart for good.
    let explanation = explain(&plain, (&arn, PROFILE, ""), &nothing);
    assert_eq!((&*explanation.owner.agent_id, explanation.change), ("translator", None));
    let explanation = explain(&plain, (&arn, BARE_PROFILE, ""), &nothing);
    let change = explanation.change.expect("a tag is missing");
    assert_eq!(change.how, format!("aws bedrock tag-resource --resource-arn {BARE_PROFILE} --tags key=agent_id,value='<agent>'"));
}
