//! CloudTrail events and spans that are not as documented, and some that mean harm.

use super::support::{counts, document, lines, refusal};

const EVENT: &str = r#"{"eventVersion":"1.11","userIdentity":{"type":"AssumedRole","arn":"arn:aws:sts::1:assumed-role/r/s","accountId":"1","sessionContext":{"sessionIssuer":{"arn":"arn:aws:iam::1:role/r"},"sourceIdentity":"alice"},"inScopeOf":{"credentialsIssuedTo":"arn:aws:lambda:us-east-1:1:function:f"}},"eventTime":"2026-10-01T00:00:00Z","eventSource":"bedrock-agentcore.amazonaws.com","eventName":"InvokeAgentRuntime","awsRegion":"us-east-1","requestParameters":{"agentRuntimeArn":"arn:aws:bedrock-agentcore:us-east-1:1:runtime/x","runtimeSessionId":"s"},"responseElements":null,"requestID":"r-1","eventID":"e-1","recipientAccountId":"1"}"#;
const SPAN: &str = r#"{"resource":{"attributes":{"cloud.account.id":"1"}},"traceId":"t","spanId":"s","name":"chat","startTimeUnixNano":1763746200000000000,"attributes":{"aws.request_id":"r-1"}}"#;

#[test]
fn an_event_is_the_same_however_it_is_written() {
    let plain = lines(EVENT);
    assert_eq!(counts(&plain), (0, 1, 0, 0));
    let event = &plain.trail[0];
    assert_eq!((event.issuer_arn.as_str(), event.source_identity.as_str()), ("arn:aws:iam::1:role/r", "alice"));
    assert_eq!(event.credentials_issued_to, "arn:aws:lambda:us-east-1:1:function:f");
    let value: serde_json::Value = serde_json::from_str(EVENT).unwrap();
    let others = [
        serde_json::to_string(&value).unwrap(),
        serde_json::to_string_pretty(&value).unwrap(),
        EVENT.replace("{\"eventVersion\"", "{ \"eventVersion\""),
        EVENT.replace("\"eventVersion\":\"1.11\",", ""),
        EVENT.replace("\"userIdentity\"", "\"\\u0075serIdentity\""),
        format!("{EVENT}\n\n"),
        format!("[{EVENT}]"),
        format!("{{\"Records\":[{EVENT}]}}"),
    ];
    for text in others {
        assert_eq!(document(&text).trail, plain.trail, "{text}");
    }
    assert_eq!(lines(format!("{EVENT}{EVENT}")).trail.len(), 2);
}

#[test]
fn what_is_wrong_is_named_and_what_is_foreign_is_not_asked_for() {
    for (from, to, why) in [
        ("\"eventID\":\"e-1\",", "", "required field 'eventID' is missing"),
        ("\"eventID\":\"e-1\"", "\"eventID\":\"\"", "required field 'eventID' is missing"),
        ("\"eventID\":\"e-1\"", "\"eventID\":\"\\q\"", "field 'eventID' is malformed"),
        ("\"eventID\":\"e-1\"", "\"eventID\":\"e-1\",\"eventID\":\"e-1\"", "field 'eventID' occurs twice"),
        ("\"type\":\"AssumedRole\"", "\"type\":\"A\",\"arn\":\"b\"", "field 'userIdentity.arn' occurs twice"),
        ("\"responseElements\":null", "\"userIdentity\":{}", "field 'userIdentity' occurs twice"),
        ("\"responseElements\":null", "\"requestParameters\":{}", "field 'requestParameters' occurs twice"),
        ("\"userIdentity\":{", "\"userIdentity\":7,\"x\":{", "field 'userIdentity' is malformed"),
        ("\"awsRegion\":\"us-east-1\"", "\"awsRegion\":[]", "field 'awsRegion' is malformed"),
        ("2026-10-01T00:00:00Z", "yesterday", "field 'eventTime' is malformed"),
    ] {
        assert_eq!(refusal(EVENT.replacen(from, to, 1)), why);
    }
    assert_eq!(
        refusal(EVENT.replace("us-east-1\",\"requestParameters", &format!("{}\",\"requestParameters", "x".repeat(5000)))),
        "field 'awsRegion' is out of range"
    );
    assert_eq!(refusal(&EVENT[..EVENT.len() - 1]), "truncated or unbalanced JSON");
    for odd in ["null", "[]", "7", "\"x\"", "{}", r#"{"agentRuntimeArn":7,"runtimeSessionId":[],"x":{"y":[1,2,{}]}}"#, r#"{"a" "b"}"#] {
        let text = EVENT.replace(r#"{"agentRuntimeArn":"arn:aws:bedrock-agentcore:us-east-1:1:runtime/x","runtimeSessionId":"s"}"#, odd);
        let batch = lines(&text);
        assert_eq!(counts(&batch), (0, 1, 0, 0), "{text}");
        assert_eq!(batch.trail[0].invoked.as_ref().map(|run| (run.resource_arn.as_str(), run.session_id.as_str())), Some(("", "")));
    }
    for odd in ["{}", "null", "\"x\"", r#"{"sessionIssuer":7,"sourceIdentity":{}}"#] {
        let text = EVENT.replace(r#"{"sessionIssuer":{"arn":"arn:aws:iam::1:role/r"},"sourceIdentity":"alice"}"#, odd);
        assert_eq!(lines(&text).trail[0].issuer_arn, "", "{text}");
    }
}

#[test]
fn parameters_of_other_services_say_nothing() {
    let other = EVENT.replace("bedrock-agentcore.amazonaws.com", "evil.example.com");
    assert_eq!(lines(&other).trail[0].invoked, None);
    let pods = EVENT.replace("InvokeAgentRuntime", "AssumeRoleForPodIdentity");
    assert_eq!(lines(&pods).trail[0].assumed, None);
    let name = EVENT.replace("\"InvokeAgentRuntime\"", "\"GetAgentRuntime\"");
    assert_eq!(lines(&name).trail[0].invoked, None);
}

#[test]
fn a_user_agent_of_any_length_refuses_nothing() {
    let long = EVENT.replace("\"awsRegion\"", &format!("\"userAgent\":\"{}\",\"awsRegion\"", "x".repeat(5000)));
    let batch = lines(long);
    assert_eq!((counts(&batch), batch.trail[0].user_agent.as_str()), ((0, 1, 0, 0), ""));
}

#[test]
fn an_invocation_record_is_one_whatever_it_begins_with() {
    let call = r#"{"eventVersion":"1.11","eventID":"e","eventTime":"2026-10-01T00:00:00Z","eventSource":"s","eventName":"n","timestamp":"2026-10-01T00:00:00Z","accountId":"1","region":"us-east-1","requestId":"q","modelId":"m","input":{"inputTokenCount":1},"output":{"outputTokenCount":1},"schemaType":"ModelInvocationLog"}"#;
    assert_eq!(counts(&lines(call)), (1, 0, 0, 0));
}

#[test]
fn spans() {
    let batch = lines(SPAN);
    assert_eq!(counts(&batch), (0, 1, 0, 0));
    for (from, to, why) in [
        ("\"traceId\":\"t\",", "", "required field 'traceId' is missing"),
        ("\"spanId\":\"s\"", "\"spanId\":7", "field 'spanId' is malformed"),
        ("\"spanId\":\"s\"", "\"spanId\":\"s\",\"spanId\":\"s\"", "field 'spanId' occurs twice"),
        ("1763746200000000000", "\"soon\"", "field 'startTimeUnixNano' is malformed"),
        ("\"startTimeUnixNano\":1763746200000000000,", "", "required field 'startTimeUnixNano' is missing"),
        ("1763746200000000000", "18446744073709551615", "timestamp 18446744073709551615 is outside [1970, arrival + 5 min]"),
        ("\"name\":\"chat\"", "\"attributes\":{}", "field 'attributes' occurs twice"),
    ] {
        assert_eq!(refusal(SPAN.replacen(from, to, 1)), why);
    }
    for nothing in [r#"{"gen_ai.prompt":"p"}"#, "{}", "[]", "null", "7", r#"{"aws.request_id":""}"#, r#"{"aws.request_id":{}}"#] {
        let text = SPAN.replace(r#"{"aws.request_id":"r-1"}"#, nothing);
        assert_eq!(counts(&lines(&text)), (0, 0, 0, 1), "{text}");
    }
    let log = SPAN.replace("startTimeUnixNano", "observedTimeUnixNano");
    assert_eq!(counts(&lines(log)), (0, 0, 0, 1), "a log record of a span is no span");
}

#[test]
fn spans_in_groups_are_refused_alone() {
    let group = |spans: &str| format!(r#"{{"resourceSpans":[{{"resource":{{"attributes":[]}},"scopeSpans":[{{"spans":{spans}}}]}}]}}"#);
    let bad = SPAN.replace("\"traceId\":\"t\",", "");
    let quiet = SPAN.replace("aws.request_id", "other");
    let batch = lines(group(&format!("[{SPAN},{bad},{quiet}]")));
    assert_eq!(counts(&batch), (0, 1, 1, 1));
    assert_eq!(batch.rejected[0].raw, bad.as_bytes());
    for wrong in ["7", "{}", "\"x\""] {
        assert_eq!(refusal(group(wrong)), "field 'resourceSpans' is malformed");
    }
    assert_eq!(refusal(r#"{"resourceSpans":[],"resourceSpans":[]}"#), "field 'resourceSpans' occurs twice");
    let deep = group(&"[".repeat(100_000));
    assert_eq!(counts(&lines(deep)), (0, 0, 1, 0));
}

/// The record with a few bytes changed, cut out or doubled.
fn damaged(text: &str, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut roll = |sides: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % sides as u64) as usize
    };
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..=roll(3) {
        let at = roll(bytes.len());
        let end = (at + roll(12)).min(bytes.len());
        match roll(4) {
            0 => bytes[at] = b"\"\\{}[]:,x0\xff "[roll(12)],
            1 => drop(bytes.drain(at..end)),
            2 => {
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            _ => bytes.truncate(at.max(2)),
        }
    }
    bytes.retain(|&byte| byte != b'\n');
    bytes
}

#[test]
fn damage_loses_nothing_and_both_ways_of_reading_agree() {
    for sample in ["trail-agents.jsonl", "trail-sts.jsonl", "trail-iam-user-guide.jsonl", "spans.jsonl"] {
        let text = std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(sample)).unwrap();
        for (number, line) in text.lines().enumerate() {
            for seed in 0..400 {
                let bytes = damaged(line, seed << 8 | number as u64);
                // What begins otherwise than CloudTrail writes it is read by asking first what it is.
                let spaced = [b"{ ", bytes.strip_prefix(b"{").unwrap_or(&bytes)].concat();
                let (one, other) = (lines(&bytes), lines(&spaced));
                let whole = |batch: &sluice_schemas::Batch| {
                    (batch.invocations.len() + batch.trail.len() + batch.rejected.len()) as u64 + batch.control
                };
                assert_eq!((one.seen, other.seen), (whole(&one), whole(&other)));
                if bytes.starts_with(b"{") {
                    assert_eq!(one.trail, other.trail, "{}", String::from_utf8_lossy(&bytes));
                    let why = |batch: &sluice_schemas::Batch| batch.rejected.iter().map(|one| one.reason.to_string()).collect::<Vec<_>>();
                    assert_eq!(why(&one), why(&other), "{}", String::from_utf8_lossy(&bytes));
                }
            }
        }
    }
}
