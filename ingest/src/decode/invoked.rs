//! What the data event of an agent says about the run it opens: which runtime, agent, flow or gateway, which session, which user.
//!
//! Source of the shapes: AWS, "Log API calls using AWS CloudTrail" of Bedrock and of Bedrock AgentCore. Real records of these events
//! are rare, so the ARNs under `resources` are trusted first after the parameters, and nothing is demanded.

use sluice_schemas::trail::{Invoked, TrailEvent};

use super::loose::{Loose, first};

/// Data events that run something.
const EVENTS: [&str; 14] = [
    "InvokeAgentRuntime",
    "InvokeAgentRuntimeCommand",
    "InvokeHarness",
    "InvokeGateway",
    "InvokeAgent",
    "InvokeInlineAgent",
    "InvokeFlow",
    "StartFlowExecution",
    "Retrieve",
    "RetrieveStream",
    "AgenticRetrieve",
    "AgenticRetrieveStream",
    "RetrieveAndGenerate",
    "RetrieveAndGenerateStream",
];
/// What an ARN names in its last part, the most telling first.
const RESOURCES: [&str; 10] = [
    "runtime/",
    "harness/",
    "agent-alias/",
    "inline-agent/",
    "flow/",
    "flow-alias/",
    "gateway/",
    "agent/",
    "prompt-flow/",
    "knowledge-base/",
];
/// Claims of a token that are kept, `sub` aside: who issued it to which client, and those that are named like the keys by which metadata
/// names agent, session and team unless configured; configured keys come on top. Others may tell of people.
const CLAIMS: [&[u8]; 13] = [
    b"agent",
    b"agentId",
    b"agent_id",
    b"aud",
    b"azp",
    b"client_id",
    b"iss",
    b"scope",
    b"session",
    b"sessionId",
    b"session_id",
    b"team",
    b"team_id",
];
/// Least status of an HTTP response that refuses.
const REFUSES: u64 = 400;

/// Parts an ARN is made of where the event has none.
#[derive(Default)]
struct Ids {
    runtime_arn: String,
    agent: String,
    alias: String,
    flow: String,
    flow_alias: String,
    knowledge_base: String,
}

/// Fills in the run, and the error that only the response tells. Of the claims of its token also those named in `keys` are kept.
pub(super) fn fill(event: &mut TrailEvent, request: Loose<'_>, response: Loose<'_>, additional: Loose<'_>, keys: &[String]) {
    let is_ours = matches!(event.event_source.as_str(), "bedrock.amazonaws.com" | "bedrock-agentcore.amazonaws.com");
    if !is_ours || !EVENTS.contains(&event.event_name.as_str()) {
        return;
    }
    if event.error_code.is_empty() {
        let status = response.member(b"statusCode").number().filter(|status| *status >= REFUSES);
        event.error_code = status.map(|status| status.to_string()).unwrap_or_default();
    }
    let (mut ids, mut run) = (Ids::default(), Invoked::default());
    let mut sessions = [const { String::new() }; 2];
    request.members(|key, value| match key {
        b"agentRuntimeArn" | b"harnessArn" => ids.runtime_arn = value.text(),
        b"runtimeSessionId" => sessions[0] = value.text(),
        b"sessionId" => sessions[1] = value.text(),
        b"runtimeUserId" => run.user_id = value.text(),
        b"agentName" => run.agent_name = value.text(),
        b"agentId" => ids.agent = value.text(),
        b"agentAliasId" => ids.alias = value.text(),
        b"flowIdentifier" => ids.flow = value.text(),
        b"flowAliasIdentifier" => ids.flow_alias = value.text(),
        b"knowledgeBaseId" => ids.knowledge_base = value.text(),
        b"retrieveAndGenerateConfiguration" => {
            ids.knowledge_base = value.member(b"knowledgeBaseConfiguration").member(b"knowledgeBaseId").text();
        }
        _ => {}
    });
    run.session_id = first([std::mem::take(&mut sessions[0]), std::mem::take(&mut sessions[1]), response.member(b"sessionId").text()]);
    if event.event_name == "InvokeGateway" {
        claims(additional.member(b"jwt").member(b"claims"), keys, &mut run);
    }
    run.resource_arn = resource_arn(event, ids);
    event.invoked = Some(Box::new(run));
}

/// Takes over who a gateway let in.
fn claims(claims: Loose<'_>, keys: &[String], run: &mut Invoked) {
    claims.members(|key, value| {
        if key == b"sub" {
            run.user_id = value.text();
        } else if CLAIMS.contains(&key) || keys.iter().any(|name| name.as_bytes().eq_ignore_ascii_case(key)) {
            let mut words = vec![value.text()];
            value.elements(|word| words.push(word.text()));
            words.retain(|word| !word.is_empty());
            run.claims.push((String::from_utf8_lossy(key).into_owned(), words.join(" ")));
        }
    });
    run.claims.retain(|(_, value)| !value.is_empty());
    run.claims.sort();
}

/// The ARN of what was run: a parameter, else of the resources, else made of the ids.
fn resource_arn(event: &TrailEvent, ids: Ids) -> String {
    let rank = |arn: &&String| {
        let named = arn.splitn(6, ':').nth(5).unwrap_or_default();
        let place = RESOURCES.iter().position(|kind| named.starts_with(kind));
        // An endpoint stands below its runtime.
        (place.unwrap_or(RESOURCES.len()), named.contains("/runtime-endpoint/"))
    };
    let listed = event.resources.iter().filter(|arn| rank(arn).0 < RESOURCES.len()).min_by_key(rank);
    let made = || {
        let identifier = |kind: &str, id: &str, rest: &str| match id {
            "" => String::new(),
            // Flows may be named by their ARN.
            arn if arn.starts_with("arn:") => format!("{arn}{rest}"),
            id if event.region.is_empty() || event.account_id.is_empty() => format!("{kind}/{id}{rest}"),
            id => format!("arn:{}:bedrock:{}:{}:{kind}/{id}{rest}", partition(&event.region), event.region, event.account_id),
        };
        let flow_alias = match ids.flow_alias.as_str() {
            "" => String::new(),
            arn if arn.starts_with("arn:") => return arn.to_owned(),
            alias => format!("/alias/{alias}"),
        };
        let agent = match ids.alias.as_str() {
            "" => identifier("agent", &ids.agent, ""),
            _ if ids.agent.is_empty() => String::new(),
            alias => identifier("agent-alias", &ids.agent, &format!("/{alias}")),
        };
        first([agent, identifier("flow", &ids.flow, &flow_alias), identifier("knowledge-base", &ids.knowledge_base, "")])
    };
    match listed {
        _ if !ids.runtime_arn.is_empty() => ids.runtime_arn,
        Some(arn) => arn.clone(),
        None => made(),
    }
}

/// The partition of a region.
fn partition(region: &str) -> &'static str {
    match region {
        region if region.starts_with("us-gov-") => "aws-us-gov",
        region if region.starts_with("cn-") => "aws-cn",
        _ => "aws",
    }
}

#[cfg(test)]
mod tests {
    use sluice_schemas::Micros;

    use super::super::trail;

    #[test]
    fn configured_claims_are_kept_beside_the_usual_ones() {
        let text = br#"{"eventVersion":"1.11","eventTime":"2026-08-02T14:41:00Z","eventSource":"bedrock-agentcore.amazonaws.com","eventName":"InvokeGateway","awsRegion":"us-west-2","userIdentity":{"type":"AWSAccount"},"additionalEventData":{"jwt":{"claims":{"sub":"u","scope":"read","worker":"planner","email":"u@example.com"}}},"requestID":"r","eventID":"e","recipientAccountId":"111122223333"}"#;
        let kept = |keys: &[String]| {
            let event = trail::event(text, Micros(i64::MAX / 2), keys).unwrap();
            event.invoked.unwrap().claims.into_iter().map(|(key, _)| key).collect::<Vec<_>>()
        };
        assert_eq!(kept(&[]), ["scope"]);
        assert_eq!(kept(&["Worker".to_owned()]), ["scope", "worker"], "in any case of letters");
    }
}
