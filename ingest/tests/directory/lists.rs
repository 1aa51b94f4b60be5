//! Runtimes, harnesses, agents and registry records, page by page.

use serde_json::json;
use sluice_ingest::directory::{Kind, Place};
use sluice_schemas::directory::{Entry, EntryKind};

use super::fake::{ACCOUNT, Answer, Asked, Fake, asker};

fn place() -> Place {
    Place { account: ACCOUNT.to_owned(), region: "us-east-1".to_owned() }
}

fn list(fake: &Fake, kind: Kind) -> Vec<Entry> {
    asker(fake, &[]).list(kind, &place(), &|_| None).unwrap()
}

fn runtime(id: &str) -> String {
    format!("arn:aws:bedrock-agentcore:us-east-1:{ACCOUNT}:runtime/{id}")
}

fn runtimes(asked: &Asked) -> Answer {
    let line = asked.line.as_str();
    match line {
        "POST /runtimes/?maxResults=100" => {
            Answer::ok(json!({"agentRuntimes": [{"agentRuntimeId": "a-1", "agentRuntimeArn": runtime("a-1")}], "nextToken": "n+1"}))
        }
        "POST /runtimes/?maxResults=100&nextToken=n%2B1" => {
            Answer::ok(json!({"agentRuntimes": [{"agentRuntimeId": "b-2"}, {"agentRuntimeId": "c-3"}, {}]}))
        }
        "GET /runtimes/c-3/" => Answer::refused(404, "ResourceNotFoundException"),
        _ if line.starts_with("GET /runtimes/") => {
            let id = line.trim_start_matches("GET /runtimes/").trim_end_matches('/');
            Answer::ok(
                json!({"agentRuntimeArn": runtime(id), "agentRuntimeName": id, "agentRuntimeId": id, "roleArn": format!("arn:aws:iam::{ACCOUNT}:role/r-{id}"), "environmentVariables": {"SECRET": "x"}}),
            )
        }
        _ if line.starts_with("GET /tags/arn%3Aaws%3Abedrock-agentcore%3Aus-east-1%3A111122223333%3Aruntime%2F") => {
            Answer::ok(json!({"tags": {"team": "search"}}))
        }
        other => panic!("{other}"),
    }
}

#[test]
fn runtimes_of_all_pages_with_their_roles() {
    let fake = Fake::start(|asked, _| runtimes(asked));
    let entries = list(&fake, Kind::Runtimes);
    assert_eq!(entries.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>(), ["a-1", "b-2"]);
    assert_eq!(entries[0].role_arn, format!("arn:aws:iam::{ACCOUNT}:role/r-a-1"));
    assert_eq!((entries[0].kind, entries[0].tags.len()), (EntryKind::Runtime, 1));
    assert!(entries.iter().all(|entry| entry.arn.contains(Kind::Runtimes.entries().1)));
    let asked = fake.asked.lock().unwrap();
    assert!(asked[1].authorization.contains("/us-east-1/bedrock-agentcore/aws4_request"));
}

#[test]
fn a_list_that_may_not_be_read_says_which_permission_is_missing() {
    for (kind, action) in [
        (Kind::Runtimes, "bedrock-agentcore:ListAgentRuntimes"),
        (Kind::Harnesses, "bedrock-agentcore:ListHarnesses"),
        (Kind::Gateways, "bedrock-agentcore:ListGateways"),
        (Kind::Agents, "bedrock:ListAgents"),
        (Kind::Flows, "bedrock:ListFlows"),
        (Kind::KnowledgeBases, "bedrock:ListKnowledgeBases"),
        (Kind::Records, "bedrock-agentcore:ListRegistries"),
    ] {
        let fake = Fake::start(|_, _| Answer::refused(403, "AccessDeniedException"));
        let error = asker(&fake, &[]).list(kind, &place(), &|_| None).unwrap_err();
        assert_eq!(error.denied(), Some((action, ACCOUNT)));
    }
}

#[test]
fn a_token_that_repeats_ends_the_list() {
    let fake = Fake::start(|_, _| Answer::ok(json!({"harnesses": [], "nextToken": "same"})));
    assert!(list(&fake, Kind::Harnesses).is_empty());
    assert_eq!(fake.lines(), ["GET /harnesses?maxResults=100", "GET /harnesses?maxResults=100&nextToken=same"]);
}

#[test]
fn harnesses_run_as_a_role_too() {
    let arn = format!("arn:aws:bedrock-agentcore:us-east-1:{ACCOUNT}:harness/h-1");
    let fake = Fake::start(move |asked, _| match asked.line.as_str() {
        "GET /harnesses?maxResults=100" => Answer::ok(json!({"harnesses": [{"harnessId": "h-1", "arn": arn}]})),
        "GET /harnesses/h-1" => Answer::ok(
            json!({"harness": {"harnessId": "h-1", "harnessName": "triage", "arn": arn, "executionRoleArn": "arn:aws:iam::111122223333:role/h", "systemPrompt": [{"text": "SECRET"}]}}),
        ),
        _ => Answer::refused(403, "AccessDeniedException"),
    });
    let mut somebody = asker(&fake, &[]);
    let entries = somebody.list(Kind::Harnesses, &place(), &|_| None).unwrap();
    assert_eq!((entries[0].name.as_str(), entries[0].role_arn.as_str()), ("triage", "arn:aws:iam::111122223333:role/h"));
    assert!(!format!("{entries:?}").contains("SECRET"));
    assert_eq!(somebody.take_denied().len(), 1, "tags are told as missing");
}

#[test]
fn agents_of_bedrock() {
    let arn = format!("arn:aws:bedrock:us-east-1:{ACCOUNT}:agent/AGENT12345");
    let fake = Fake::start(move |asked, _| match (asked.line.as_str(), asked.body.as_str()) {
        ("POST /agents/", r#"{"maxResults":100}"#) => Answer::ok(json!({"agentSummaries": [], "nextToken": "t"})),
        ("POST /agents/", _) => {
            assert_eq!(asked.body, json!({"maxResults": 100, "nextToken": "t"}).to_string());
            Answer::ok(json!({"agentSummaries": [{"agentId": "AGENT12345", "agentName": "triage"}]}))
        }
        ("GET /agents/AGENT12345/", _) => Answer::ok(
            json!({"agent": {"agentArn": arn, "agentName": "triage", "agentResourceRoleArn": "arn:aws:iam::111122223333:role/AmazonBedrockExecutionRoleForAgents_x", "instruction": "SECRET", "description": "d"}}),
        ),
        (line, _) if line.starts_with("GET /tags/") => Answer::ok(json!({"tags": {}})),
        other => panic!("{other:?}"),
    });
    let entries = list(&fake, Kind::Agents);
    assert_eq!((entries.len(), entries[0].kind, entries[0].name.as_str()), (1, EntryKind::Agent, "triage"));
    assert!(entries[0].role_arn.ends_with("AmazonBedrockExecutionRoleForAgents_x") && !format!("{entries:?}").contains("SECRET"));
}

#[test]
fn flows_knowledge_bases_and_gateways_run_as_a_role_too() {
    let role = |name: &str| format!("arn:aws:iam::{ACCOUNT}:role/{name}");
    let arn = |service: &str, thing: &str| format!("arn:aws:{service}:us-east-1:{ACCOUNT}:{thing}");
    let fake = Fake::start(move |asked, _| match asked.line.as_str() {
        "GET /flows/?maxResults=100" => Answer::ok(json!({"flowSummaries": [{"id": "FLOW1"}], "nextToken": "t"})),
        "GET /flows/?maxResults=100&nextToken=t" => Answer::ok(json!({"flowSummaries": [{"id": "FLOW2"}]})),
        "GET /flows/FLOW1/" => Answer::ok(
            json!({"arn": arn("bedrock", "flow/FLOW1"), "name": "mail", "executionRoleArn": role("Flow"), "definition": {"nodes": ["SECRET"]}}),
        ),
        "POST /knowledgebases/" => Answer::ok(json!({"knowledgeBaseSummaries": [{"knowledgeBaseId": "KB1"}]})),
        "GET /knowledgebases/KB1" => Answer::ok(
            json!({"knowledgeBase": {"knowledgeBaseArn": arn("bedrock", "knowledge-base/KB1"), "name": "docs", "roleArn": role("Base")}}),
        ),
        "GET /gateways/?maxResults=100" => Answer::ok(json!({"items": [{"gatewayId": "gw-1"}]})),
        "GET /gateways/gw-1/" => {
            Answer::ok(json!({"gatewayArn": arn("bedrock-agentcore", "gateway/gw-1"), "name": "tools", "roleArn": role("Gateway")}))
        }
        line if line.starts_with("GET /tags/") => Answer::ok(json!({"tags": {"team": "search"}})),
        _ => Answer::refused(404, "ResourceNotFoundException"),
    });
    for (kind, of, name, runs_as) in [
        (Kind::Flows, EntryKind::Agent, "mail", "Flow"),
        (Kind::KnowledgeBases, EntryKind::Agent, "docs", "Base"),
        (Kind::Gateways, EntryKind::Runtime, "tools", "Gateway"),
    ] {
        let entries = list(&fake, kind);
        assert_eq!((entries.len(), entries[0].kind, entries[0].name.as_str()), (1, of, name));
        assert_eq!(entries[0].role_arn, format!("arn:aws:iam::{ACCOUNT}:role/{runs_as}"));
        assert!(entries[0].arn.contains(kind.entries().1) && entries[0].tags.len() == 1 && !format!("{entries:?}").contains("SECRET"));
    }
}

#[test]
fn approved_records_of_agents() {
    let record = |id: &str, kind: &str, status: &str| json!({"recordId": id, "descriptorType": kind, "status": status, "name": id});
    let fake = Fake::start(move |asked, _| match asked.line.as_str() {
        "GET /registries?maxResults=100" => Answer::ok(json!({"registries": [{"registryId": "reg123456789"}]})),
        "GET /registries/reg123456789/records?maxResults=100" => Answer::ok(json!({"registryRecords": [
            record("custom000001", "CUSTOM", "APPROVED"), record("draft0000001", "CUSTOM", "DRAFT"), record("tool00000001", "MCP", "APPROVED"), record("a2a000000001", "A2A", "APPROVED"),
        ]})),
        "GET /registries/reg123456789/records/custom000001" => {
            Answer::ok(json!({"recordArn": "arn:1", "name": "case-agent", "descriptorType": "CUSTOM",
            "descriptors": {"custom": {"inlineContent": "{\"owner\":\"a@example.com\",\"team\":\"support\",\"limit\":\"50 USD\",\"role\":\"arn:aws:iam::111122223333:role/r\"}"}}}))
        }
        "GET /registries/reg123456789/records/a2a000000001" => {
            Answer::ok(json!({"recordArn": "arn:2", "name": "other", "descriptors": {"a2a": {"agentCard": {"inlineContent": "{}"}}}}))
        }
        other => panic!("{other}"),
    });
    let entries = list(&fake, Kind::Records);
    assert_eq!(
        entries.iter().map(|entry| (entry.name.as_str(), entry.owner.as_str(), entry.limit.as_str())).collect::<Vec<_>>(),
        [("case-agent", "a@example.com", "50 USD"), ("other", "", ""),]
    );
}
