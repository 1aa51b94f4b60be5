//! What holds for all evidence in any combination.

mod evidence_support;

use std::sync::Arc;

use evidence_support::*;
use proptest::prelude::*;
use sluice_enrich::evidence::{CallEvidence, Caller, Session, Tie};
use sluice_enrich::prices::Catalogue;
use sluice_enrich::{AgentsFile, EnrichCache, Enricher, MetadataKeys, OwnerTexts};
use sluice_schemas::trail::Invoked;
use sluice_schemas::{AgentStatus, Batch, Invocation, Micros, Profile, Rank, RequestId};

const NAMES: [&str; 7] = ["a", "b", "checkout-bot", "planner", "writer", "spoofed:x", ""];

fn name() -> impl Strategy<Value = String> {
    prop_oneof![8 => prop::sample::select(&NAMES[..]).prop_map(str::to_owned), 1 => any::<String>()]
}

fn tie() -> impl Strategy<Value = Tie> {
    prop::sample::select(vec![Tie::Request, Tie::AccessKey, Tie::SessionName, Tie::RoleAndTime])
}

fn tags() -> impl Strategy<Value = Vec<(String, String)>> {
    let key = prop::sample::select(vec!["agent_id", "Agent", "SESSION", "team", "x", "aws:x", "claimed_agent"]);
    prop::collection::vec((key.prop_map(str::to_owned), name()), 0..4)
}

fn resource() -> impl Strategy<Value = String> {
    let lambda = |name: String| format!("arn:aws:lambda:us-east-1:123456789012:function:{name}");
    prop_oneof![name().prop_map(lambda), Just(RUNTIME.to_owned()), Just(String::new()), any::<String>()]
}

prop_compose! {
    fn caller()(source_identity in name(), credentials_issued_to in resource(), user_agent in ".{0,30}strands-agents", bearer_token: bool) -> Caller {
        Caller { source_identity, credentials_issued_to, user_agent, bearer_token, ..Caller::default() }
    }
}

prop_compose! {
    fn opened()(role_name in prop::sample::select(&ROLES[..]), source_identity in name(), tags in tags(), expires in -1_i64..2) -> Session {
        Session { role_arn: role(role_name), source_identity, tags, expires: Micros(AT.0 + expires), ..Session::default() }
    }
}

prop_compose! {
    fn invoked()(resource_arn in resource(), session_id in name(), agent_name in name(), claims in tags()) -> Invoked {
        Invoked { resource_arn, session_id, agent_name, claims, ..Invoked::default() }
    }
}

fn evidence() -> impl Strategy<Value = CallEvidence> {
    let caller = prop::option::of(caller().prop_map(Arc::new));
    let session = prop::option::of((opened().prop_map(Arc::new), tie()));
    let run = prop::option::of((invoked().prop_map(Arc::new), tie()));
    (caller, session, run).prop_map(|(caller, session, run)| CallEvidence { caller, session, run })
}

const ROLES: [&str; 8] = ["Open", "Pinned", "Tagged", "Thief", "Checkout", "Shared", "Helper", "Scout"];

/// Identity ARN, model and metadata.
fn call() -> impl Strategy<Value = (String, String, String)> {
    let session = prop::sample::select(vec!["s", "plan-1", "BedrockAgentCore-0f8fad5b-d9cb-469f-a165-70867728950e"]);
    let arn = (prop::sample::select(&ROLES[..]), session).prop_map(|(role, session)| caller_arn(role, session));
    let model = prop::sample::select(vec![NOVA, PROFILE, BARE_PROFILE]).prop_map(str::to_owned);
    let metadata = prop::option::of((name(), name())).prop_map(|claims| {
        claims.map_or_else(String::new, |(agent, session)| serde_json::json!({ "agent_id": agent, "session_id": session }).to_string())
    });
    (arn, model, metadata)
}

fn plain() -> Enricher {
    Enricher::new(Catalogue::default(), AgentsFile::parse(AGENTS).expect("valid"), MetadataKeys::default())
}

/// Owner of a call without evidence, as whole batches are attributed.
fn of_batch(enricher: &Enricher, (arn, model, metadata): &(String, String, String)) -> OwnerTexts {
    let mut batch = Batch::default();
    let [account_id, region, model_id, principal_arn, operation, metadata] =
        ["123456789012", "us-east-1", model, arn, "Converse", metadata].map(|text| batch.strings.intern(text));
    batch.profiles.push(Profile { account_id, region, model_id, principal_arn, operation, metadata, ..Profile::default() });
    batch.invocations.push(Invocation {
        event_time: AT,
        request_id: RequestId::Uuid(1),
        profile: 0,
        usage: sluice_schemas::Usage::default(),
        basis: sluice_schemas::CostBasis::Exact,
        latency_ms: None,
        extras: None,
    });
    let enriched = enricher.enrich(batch, &mut EnrichCache::default());
    OwnerTexts::new(&enriched.owners[0], &enriched.batch.strings)
}

fn asked(call: &(String, String, String)) -> (&str, &str, &str) {
    (&call.0, &call.1, &call.2)
}

fn both(one: CallEvidence, other: CallEvidence) -> CallEvidence {
    CallEvidence { caller: one.caller.or(other.caller), session: one.session.or(other.session), run: one.run.or(other.run) }
}

proptest! {
    #[test]
    fn without_evidence_nothing_changes(call in call()) {
        prop_assert_eq!(owner(&plain(), asked(&call), &CallEvidence::default()), of_batch(&plain(), &call));
        prop_assert_eq!(owner(&knowing(), asked(&call), &CallEvidence::default()), of_batch(&knowing(), &call));
        // Evidence that says nothing is no evidence.
        let silent = CallEvidence { caller: Some(Arc::default()), ..CallEvidence::default() };
        prop_assert_eq!(owner(&plain(), asked(&call), &silent), of_batch(&plain(), &call));
    }

    #[test]
    fn one_call_has_one_owner(call in call(), evidence in evidence()) {
        let enricher = knowing();
        prop_assert_eq!(owner(&enricher, asked(&call), &evidence), owner(&enricher.clone(), asked(&call), &evidence.clone()));
    }

    /// Nobody spends in the name of an agent that the agents file binds to something else.
    #[test]
    fn an_agent_is_booked_only_what_is_its_own(call in call(), evidence in evidence()) {
        let shown = owner(&knowing(), asked(&call), &evidence);
        let agents = AgentsFile::parse(AGENTS).expect("valid");
        let here: Vec<_> = agents.registered_on(&call.0).iter().map(|agent| agent.id.clone()).collect();
        prop_assert!(agents.agent(&shown.agent_id).is_none() || here.contains(&shown.agent_id), "{:?}", shown);
        let named = matches!(shown.agent_status, AgentStatus::Verified | AgentStatus::Unverified);
        prop_assert!(here.is_empty() || !named || here.contains(&shown.agent_id), "{:?}", shown);
        prop_assert_eq!(shown.agent_id.starts_with("spoofed:"), shown.agent_status == AgentStatus::Spoofed, "{:?}", shown);
        prop_assert_eq!(shown.agent_id == "unattributed", shown.agent_status == AgentStatus::Unattributed, "{:?}", shown);
        prop_assert!(shown.agent_rank > Rank::Inferred || shown.agent_status != AgentStatus::Verified, "{:?}", shown);
    }

    /// A session tag that says what is booked anyway makes it no less certain.
    #[test]
    fn agreeing_evidence_never_lowers_the_rank(call in call(), evidence in evidence(), key in prop::sample::select(vec!["agent_id", "agent"])) {
        let evidence = CallEvidence { session: None, ..evidence };
        let enricher = knowing();
        let before = owner(&enricher, asked(&call), &evidence);
        prop_assume!(matches!(before.agent_status, AgentStatus::Verified | AgentStatus::Unverified));
        let role_name = ROLES.iter().find(|name| call.0.contains(&format!("/{name}/"))).expect("one of them");
        let more = both(evidence, session(role_name, &[(key, &before.agent_id)]));
        let after = owner(&enricher, asked(&call), &more);
        // A pinned tag may show that another claim was a forgery; no other agent comes of it.
        prop_assert!(
            after.agent_status == AgentStatus::Spoofed || (after.agent_id == before.agent_id && after.agent_rank >= before.agent_rank),
            "{:?} {:?}",
            before,
            after
        );
    }

    #[test]
    fn no_text_panics(arn in any::<String>(), model in any::<String>(), metadata in any::<String>(), evidence in evidence()) {
        owner(&knowing(), (&arn, &model, &metadata), &evidence);
    }
}
