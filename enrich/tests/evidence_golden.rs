//! Every kind of evidence as one line of a table: what is known beside the log record, and who the call is booked to.

mod evidence_support;

use std::sync::Arc;

use evidence_support::*;
use sluice_enrich::evidence::{CallEvidence, Caller, Session, Tie};
use sluice_enrich::{Directory, OwnerTexts};
use sluice_schemas::directory::{Entry, EntryKind};
use sluice_schemas::trail::Invoked;
use sluice_schemas::{Micros, Rank};

fn tied(mut evidence: CallEvidence, tie: Tie) -> CallEvidence {
    evidence.session = evidence.session.map(|(session, _)| (session, tie));
    evidence.run = evidence.run.map(|(run, _)| (run, tie));
    evidence
}

fn expired(evidence: CallEvidence) -> CallEvidence {
    let session =
        evidence.session.map(|(session, tie)| (Arc::new(Session { expires: Micros(AT.0 - 5_000_000), ..(*session).clone() }), tie));
    CallEvidence { session, ..evidence }
}

fn source_identity(identity: &str) -> CallEvidence {
    let caller = Caller { source_identity: identity.to_owned(), ..Caller::default() };
    CallEvidence { caller: Some(Arc::new(caller)), ..CallEvidence::default() }
}

fn issued_to(arn: &str) -> CallEvidence {
    let caller = Caller { credentials_issued_to: arn.to_owned(), principal_id: "AROA:s".to_owned(), ..Caller::default() };
    CallEvidence { caller: Some(Arc::new(caller)), ..CallEvidence::default() }
}

fn span(agent: &str, session: &str) -> CallEvidence {
    let run = Invoked { agent_name: agent.to_owned(), session_id: session.to_owned(), ..Invoked::default() };
    CallEvidence { run: Some((Arc::new(run), Tie::Request)), ..CallEvidence::default() }
}

fn run(arn: &str, session: &str, tie: Tie) -> CallEvidence {
    let run = Invoked { resource_arn: arn.to_owned(), session_id: session.to_owned(), ..Invoked::default() };
    CallEvidence { run: Some((Arc::new(run), tie)), ..CallEvidence::default() }
}

fn both(one: CallEvidence, other: CallEvidence) -> CallEvidence {
    CallEvidence { caller: one.caller.or(other.caller), session: one.session.or(other.session), run: one.run.or(other.run) }
}

fn show(owner: &OwnerTexts) -> (String, String, String, String) {
    let tags = owner.tags.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",");
    let session = format!("{} {} {}", owner.session_id, owner.session_evidence, owner.session_rank as u8);
    let agent = format!("{} {} {} {}", owner.agent_id, owner.agent_evidence, owner.agent_rank as u8, owner.agent_status.as_str());
    (agent, if session == "  0" { String::new() } else { session }, owner.team.clone(), tags)
}

type Row<'a> = (String, &'a str, &'a str, CallEvidence, &'a str, &'a str, &'a str, &'a str);

fn check(rows: Vec<Row<'_>>) {
    let enricher = knowing();
    for (arn, model, metadata, evidence, agent, session, team, tags) in rows {
        let shown = show(&owner(&enricher, (&arn, model, metadata), &evidence));
        assert_eq!((&*shown.0, &*shown.1, &*shown.2, &*shown.3), (agent, session, team, tags), "{arn} {metadata} {evidence:?}");
    }
}

#[test]
fn session_tags_and_source_identity() {
    let open = || caller_arn("Open", "run-7");
    let run7 = "run-7 session_name 2";
    let chosen = || session("Open", &[("agent_id", "a"), ("session_id", "s9"), ("Team", "t"), ("x", "y")]);
    let all = "aws:PrincipalTag/Team=t,aws:PrincipalTag/agent_id=a,aws:PrincipalTag/session_id=s9,aws:PrincipalTag/x=y";
    let pinned = || caller_arn("Pinned", "run-7");
    check(vec![
        (open(), NOVA, "", chosen(), "a session_tag:agent_id 2 unverified", "s9 session_tag:session_id 2", "t", all),
        (open(), NOVA, "", tied(chosen(), Tie::RoleAndTime), "a session_tag:agent_id 0 unverified", run7, "t", all),
        (open(), NOVA, "", expired(chosen()), "unattributed none 0 unattributed", run7, "", ""),
        (
            open(),
            NOVA,
            "",
            tied(session("Other", &[("agent_id", "a")]), Tie::SessionName),
            "unattributed none 0 unattributed",
            run7,
            "",
            "",
        ),
        (
            open(),
            NOVA,
            "",
            session("Open", &[("agent_id", "checkout-bot")]),
            "spoofed:Open session_tag:agent_id 2 spoofed",
            run7,
            "",
            "aws:PrincipalTag/agent_id=checkout-bot,claimed_agent=checkout-bot",
        ),
        (
            pinned(),
            NOVA,
            "",
            session("Pinned", &[("agent_id", "a")]),
            "a session_tag:agent_id 3 verified",
            run7,
            "",
            "aws:PrincipalTag/agent_id=a",
        ),
        (
            pinned(),
            NOVA,
            "",
            tied(session("Pinned", &[("agent_id", "a")]), Tie::SessionName),
            "a session_tag:agent_id 2 unverified",
            run7,
            "",
            "aws:PrincipalTag/agent_id=a",
        ),
        (
            pinned(),
            NOVA,
            "",
            session("Pinned", &[("agent", "a")]),
            "a session_tag:agent 2 unverified",
            run7,
            "",
            "aws:PrincipalTag/agent=a",
        ),
        (open(), NOVA, "", source_identity("ada"), "ada source_identity 2 unverified", run7, "", "aws:SourceIdentity=ada"),
        (pinned(), NOVA, "", source_identity("ada"), "ada source_identity 3 verified", run7, "", "aws:SourceIdentity=ada"),
        // The tag says more than the identity: it was made to name the agent.
        (
            pinned(),
            NOVA,
            "",
            both(source_identity("ada"), session("Pinned", &[("agent_id", "a")])),
            "a session_tag:agent_id 3 verified",
            run7,
            "",
            "aws:PrincipalTag/agent_id=a,aws:SourceIdentity=ada",
        ),
    ]);
}

#[test]
fn what_the_directory_tells() {
    let open = || caller_arn("Open", "s");
    let nothing = CallEvidence::default;
    let s = "s session_name 2";
    let uuid = "0f8fad5b-d9cb-469f-a165-70867728950e";
    let translated = "aws:ResourceTag/Agent=translator,aws:ResourceTag/CostCenter=4711,aws:ResourceTag/team=docs";
    let tagged = "aws:PrincipalTag/agent_id=tagged-bot,aws:PrincipalTag/app=shop";
    let registered = "registry:limit=5 USD,registry:owner=ada@example.com,registry:record=arn:aws:bedrock-agentcore:us-east-1:123456789012:registry/r/record/1";
    check(vec![
        (open(), PROFILE, "", nothing(), "translator inference_profile_tag:Agent 4 verified", s, "docs", translated),
        (open(), BARE_PROFILE, "", nothing(), "unattributed none 0 unattributed", s, "", ""),
        (caller_arn("Tagged", "s"), NOVA, "", nothing(), "tagged-bot principal_tag:agent_id 4 verified", s, "", tagged),
        // A tag cannot make a role the agent of another role.
        (
            caller_arn("Thief", "s"),
            NOVA,
            "",
            nothing(),
            "unattributed none 0 unattributed",
            s,
            "",
            "aws:PrincipalTag/agent_id=checkout-bot",
        ),
        (
            "arn:aws:iam::123456789012:user/BedrockAPIKey-x1".to_owned(),
            NOVA,
            "",
            nothing(),
            "key-bot api_key_tag:agent 4 verified",
            "",
            "",
            "aws:PrincipalTag/agent=key-bot",
        ),
        (
            caller_arn("Helper", &format!("BedrockAgentCore-{uuid}")),
            NOVA,
            "",
            nothing(),
            "helper agentcore_runtime 3 verified",
            "0f8fad5b-d9cb-469f-a165-70867728950e agentcore_session 3",
            "",
            "",
        ),
        // The role alone does not tell that the runtime called.
        (caller_arn("Helper", "s"), NOVA, "", nothing(), "unattributed none 0 unattributed", s, "", ""),
        (caller_arn("Desk", "s"), NOVA, "", nothing(), "desk bedrock_agent 4 verified", s, "", ""),
        (caller_arn("Crowd", "s"), NOVA, "", nothing(), "unattributed none 0 unattributed", s, "", ""),
        (caller_arn("Scout", "s"), NOVA, "", nothing(), "scout registry_record 3 verified", s, "research", registered),
        // By its name, whoever named it.
        (open(), NOVA, r#"{"agent":"scout"}"#, nothing(), "scout metadata:agent 1 unverified", s, "research", registered),
    ]);
}

#[test]
fn callers_and_runs() {
    let open = || caller_arn("Open", "s");
    let s = "s session_name 2";
    let endpoint = format!("{RUNTIME}/runtime-endpoint/DEFAULT");
    let lambda = "arn:aws:lambda:us-east-1:123456789012:function:ask";
    let flow = "arn:aws:bedrock:us-east-1:123456789012:flow/F1";
    check(vec![
        (
            open(),
            NOVA,
            "",
            issued_to(&endpoint),
            "helper credentials_issued_to 4 verified",
            s,
            "",
            "aws:CredentialsIssuedTo=arn:aws:bedrock-agentcore:us-east-1:123456789012:runtime/helper-AbCdEfGh12/runtime-endpoint/DEFAULT,aws:userid=AROA:s",
        ),
        (
            open(),
            NOVA,
            "",
            issued_to(lambda),
            "ask credentials_issued_to 4 verified",
            s,
            "",
            "aws:CredentialsIssuedTo=arn:aws:lambda:us-east-1:123456789012:function:ask,aws:userid=AROA:s",
        ),
        (open(), NOVA, "", span("trip", "s9"), "trip span:gen_ai.agent.name 1 unverified", "s9 span:session.id 1", "", ""),
        (
            open(),
            NOVA,
            "",
            run(RUNTIME, "s9", Tie::AccessKey),
            "helper run:resource 2 unverified",
            "s9 run:session_id 2",
            "",
            "run:resource=arn:aws:bedrock-agentcore:us-east-1:123456789012:runtime/helper-AbCdEfGh12",
        ),
        (
            open(),
            NOVA,
            "",
            run(RUNTIME, "s9", Tie::RoleAndTime),
            "helper run:resource 0 unverified",
            s,
            "",
            "run:resource=arn:aws:bedrock-agentcore:us-east-1:123456789012:runtime/helper-AbCdEfGh12",
        ),
        (
            open(),
            NOVA,
            "",
            run(flow, "s9", Tie::AccessKey),
            "flow/F1 run:resource 2 unverified",
            "s9 run:session_id 2",
            "",
            "run:resource=arn:aws:bedrock:us-east-1:123456789012:flow/F1",
        ),
    ]);
}

#[test]
fn tokens_of_gateways_and_keys_of_users() {
    let open = || caller_arn("Open", "s");
    let s = "s session_name 2";
    let claimed = |tie| {
        let claims = pairs(&[("agent", "bot"), ("client_id", "c1")]);
        let run = Invoked { claims, user_id: "ada".to_owned(), ..Invoked::default() };
        CallEvidence { run: Some((Arc::new(run), tie)), ..CallEvidence::default() }
    };
    let tags = "bedrock-agentcore:InboundJwtClaim/agent=bot,bedrock-agentcore:InboundJwtClaim/client_id=c1,run:user=ada";
    let key = Caller { bearer_token: true, user_agent: "aws-sdk x-client-framework:langchain-aws".to_owned(), ..Caller::default() };
    let key = CallEvidence { caller: Some(Arc::new(key)), ..CallEvidence::default() };
    check(vec![
        (open(), NOVA, "", claimed(Tie::AccessKey), "bot gateway:agent 3 verified", s, "", tags),
        (open(), NOVA, "", claimed(Tie::Request), "bot gateway:agent 1 unverified", s, "", tags),
        (open(), NOVA, "", claimed(Tie::RoleAndTime), "bot gateway:agent 0 unverified", s, "", tags),
        (
            "arn:aws:iam::123456789012:user/BedrockAPIKey-x1".to_owned(),
            NOVA,
            "",
            key,
            "key-bot api_key_tag:agent 4 verified",
            "",
            "",
            "aws:PrincipalTag/agent=key-bot,aws:UserAgent=langchain-aws,bedrock:CallWithBearerToken=true",
        ),
    ]);
}

#[test]
fn the_ladder() {
    let open = || caller_arn("Open", "s");
    let s = "s session_name 2";
    let tags = |agent: &str| session("Open", &[("agent_id", agent)]);
    let translated = "aws:ResourceTag/Agent=translator,aws:ResourceTag/CostCenter=4711,aws:ResourceTag/team=docs";
    let claims = |agent: &str| format!(r#"{{"agent_id":"{agent}","team":"mine"}}"#);
    check(vec![
        // A claim that AWS's word agrees with has AWS's rank.
        (
            open(),
            PROFILE,
            &claims("translator"),
            CallEvidence::default(),
            "translator inference_profile_tag:Agent 4 verified",
            s,
            "docs",
            &format!("{translated},claimed_team=mine"),
        ),
        // One that it contradicts is a forgery.
        (
            open(),
            PROFILE,
            &claims("other"),
            CallEvidence::default(),
            "spoofed:Open metadata:agent_id 1 spoofed",
            s,
            "docs",
            &format!("{translated},claimed_agent=other,claimed_team=mine"),
        ),
        (
            open(),
            PROFILE,
            "",
            span("other", "s9"),
            "spoofed:Open span:gen_ai.agent.name 1 spoofed",
            s,
            "docs",
            &format!("{translated},claimed_agent=other,claimed_session=s9").replace(",claimed_session=s9", ""),
        ),
        // The name of a function was not made to name an agent: against it a claim merely loses.
        (
            open(),
            NOVA,
            r#"{"agent_id":"b"}"#,
            issued_to("arn:aws:lambda:us-east-1:123456789012:function:ask"),
            "ask credentials_issued_to 4 verified",
            s,
            "",
            "aws:CredentialsIssuedTo=arn:aws:lambda:us-east-1:123456789012:function:ask,aws:userid=AROA:s,claimed_agent=b",
        ),
        // Against what somebody chose it merely loses.
        (
            open(),
            NOVA,
            r#"{"agent_id":"b"}"#,
            tags("a"),
            "a session_tag:agent_id 2 unverified",
            s,
            "",
            "aws:PrincipalTag/agent_id=a,claimed_agent=b",
        ),
        (open(), NOVA, r#"{"agent_id":"a"}"#, tags("a"), "a session_tag:agent_id 2 unverified", s, "", "aws:PrincipalTag/agent_id=a"),
        // The session is more specific than the profile.
        (
            open(),
            PROFILE,
            "",
            tags("a"),
            "a session_tag:agent_id 2 unverified",
            s,
            "docs",
            &format!("aws:PrincipalTag/agent_id=a,{translated}"),
        ),
        // The agents file is above all.
        (caller_arn("Checkout", "s"), PROFILE, "", CallEvidence::default(), "checkout-bot principal 4 verified", s, "payments", translated),
        // A true claim does not lower what the file says.
        (
            caller_arn("Checkout", "s"),
            NOVA,
            r#"{"agent_id":"checkout-bot"}"#,
            source_identity("ada"),
            "checkout-bot principal 4 verified",
            s,
            "payments",
            "aws:SourceIdentity=ada",
        ),
        (
            caller_arn("Shared", "s"),
            NOVA,
            r#"{"agent_id":"writer"}"#,
            session("Shared", &[("agent_id", "writer")]),
            "writer session_tag:agent_id 2 verified",
            s,
            "",
            "aws:PrincipalTag/agent_id=writer",
        ),
        (
            caller_arn("Checkout", "s"),
            NOVA,
            "",
            session("Checkout", &[("agent_id", "checkout-bot")]),
            "checkout-bot principal 4 verified",
            s,
            "payments",
            "aws:PrincipalTag/agent_id=checkout-bot",
        ),
        (
            caller_arn("Checkout", "s"),
            NOVA,
            "",
            session("Checkout", &[("agent_id", "x")]),
            "checkout-bot principal 4 verified",
            s,
            "payments",
            "aws:PrincipalTag/agent_id=x",
        ),
        (
            caller_arn("Checkout", "s"),
            NOVA,
            "",
            span("x", ""),
            "spoofed:Checkout span:gen_ai.agent.name 1 spoofed",
            s,
            "",
            "claimed_agent=x",
        ),
        // It names those that share a principal, and evidence tells them apart.
        (
            caller_arn("Shared", "s"),
            NOVA,
            "",
            session("Shared", &[("agent_id", "writer")]),
            "writer session_tag:agent_id 2 verified",
            s,
            "",
            "aws:PrincipalTag/agent_id=writer",
        ),
        (caller_arn("Shared", "s"), NOVA, "", span("writer", ""), "writer span:gen_ai.agent.name 1 unverified", s, "", ""),
        (caller_arn("Shared", "plan-1"), NOVA, "", span("planner", ""), "planner session_name 2 verified", "plan-1 session_name 2", "", ""),
        (
            caller_arn("Shared", "s"),
            NOVA,
            "",
            source_identity("stranger"),
            "unattributed none 0 unattributed",
            s,
            "",
            "aws:SourceIdentity=stranger",
        ),
        // Nobody writes AWS's words but AWS.
        (
            open(),
            NOVA,
            r#"{"aws:PrincipalTag/app":"x"}"#,
            CallEvidence::default(),
            "unattributed none 0 unattributed",
            s,
            "",
            "metadata:aws:PrincipalTag/app=x",
        ),
    ]);
}

/// A role's trust policy is about what its own request sets, not about what the caller brings along from an earlier role.
#[test]
fn what_an_earlier_role_passed_on_is_not_pinned() {
    let rank = |evidence: &CallEvidence| {
        let found = owner(&knowing(), (&caller_arn("Pinned", "s"), NOVA, ""), evidence);
        (found.agent_id.clone(), found.agent_rank)
    };
    let own = session("Pinned", &[("agent_id", "bot")]);
    assert_eq!(rank(&own), ("bot".to_owned(), Rank::Pinned));
    let with = |change: fn(&mut Session), mut evidence: CallEvidence| {
        if let Some((session, _)) = &mut evidence.session {
            change(Arc::make_mut(session));
        }
        evidence
    };
    assert_eq!(rank(&with(|session| session.inherited = vec!["Agent_ID".to_owned()], own.clone())), ("bot".to_owned(), Rank::Chosen));
    assert_eq!(rank(&with(|session| session.inherited = vec!["team".to_owned()], own)), ("bot".to_owned(), Rank::Pinned));
    let of_own = both(session("Pinned", &[]), source_identity("ada"));
    let before = rank(&of_own);
    let after = rank(&with(|session| session.inherited_identity = true, of_own));
    assert_eq!((before.1, after.1), (Rank::Pinned, Rank::Chosen), "{before:?}");
}

/// What serves agents has a role too; that names nobody, and takes the name from nobody.
#[test]
fn flows_knowledge_bases_and_gateways_of_a_role_are_no_agents() {
    let entry = |kind, arn: &str, name: &str, of: &str| Entry {
        kind,
        arn: arn.to_owned(),
        name: name.to_owned(),
        role_arn: role(of),
        ..Entry::default()
    };
    let bedrock = |thing: &str| format!("arn:aws:bedrock:us-east-1:123456789012:{thing}");
    let core = |thing: &str| format!("arn:aws:bedrock-agentcore:us-east-1:123456789012:{thing}");
    let entries = vec![
        entry(EntryKind::Agent, &bedrock("agent/A"), "desk", "Both"),
        entry(EntryKind::Agent, &bedrock("knowledge-base/K"), "docs", "Both"),
        entry(EntryKind::Agent, &bedrock("flow/F"), "mail", "Both"),
        entry(EntryKind::Agent, &bedrock("knowledge-base/L"), "papers", "Base"),
        entry(EntryKind::Runtime, &core("runtime/r"), "helper", "Core"),
        entry(EntryKind::Runtime, &core("gateway/g"), "tools", "Core"),
        entry(EntryKind::Runtime, &core("gateway/h"), "doors", "Door"),
    ];
    let enricher = knowing().with_directory(Arc::new(Directory::new(entries)));
    let of = |name: &str, session: &str| owner(&enricher, (&caller_arn(name, session), NOVA, ""), &CallEvidence::default()).agent_id;
    let by_service = "BedrockAgentCore-1b1f1a52-aaaa-4bbb-8ccc-111111111111";
    assert_eq!([of("Both", "s"), of("Base", "s")], ["desk", "unattributed"]);
    assert_eq!([of("Core", by_service), of("Door", by_service)], ["helper", "unattributed"]);
}
