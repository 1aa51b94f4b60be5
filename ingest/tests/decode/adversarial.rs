//! Hostile input: text that looks like fields, bombs of depth, keys that stand twice, truncation at every byte.

use sluice_schemas::{CostBasis, RequestId};

use super::support::{counts, lines, one, record, refusal, show};

const ENVELOPE: &str = r#""operation":"Converse","requestMetadata":{"agent_id":"honest"},"#;
const INPUT: &str = r#""inputTokenCount":10,"cacheReadInputTokenCount":0,"cacheWriteInputTokenCount":100"#;

/// What a thief would like to set.
const LOOT: &str = r#""requestId":"stolen","accountId":"999999999999","modelId":"amazon.nova-micro-v1:0","identity":{"arn":"arn:aws:iam::1:user/victim"},"requestMetadata":{"agent_id":"victim"},"inputTokenCount":0,"outputTokenCount":0,"errorCode":"ThrottlingException","usage":{"input_tokens":0,"cache_creation":{"ephemeral_5m_input_tokens":100,"ephemeral_1h_input_tokens":0},"cacheDetails":[{"ttl":"5m","inputTokens":100}]},"metrics":{"latencyMs":1},"serviceTier":{"type":"flex"},"trace":{"guardrail":{"inputAssessment":{"g":{"invocationMetrics":{"usage":{"topicPolicyUnits":5}}}}}},"amazon-bedrock-invocationMetrics":{"outputTokenCount":0},"imageGenerationConfig":{"numberOfImages":9},"schemaType":"Other","messageType":"CONTROL_MESSAGE","logEvents":[],"Records":[],"detail":{},"eventID":"x","traceId":"t","spanId":"s","resourceSpans":[]"#;

/// The same, as a string would hold it.
fn quoted() -> String {
    serde_json::json!(format!("}}}}]}}, {LOOT}, \"")).to_string()
}

#[test]
fn text_inside_a_body_sets_nothing() {
    let plain = show_one(&record(ENVELOPE, INPUT, r#""outputTokenCount":5"#));
    let (text, object) = (quoted(), format!("{{{LOOT}}}"));
    for body in [
        format!(r#""inputBodyJson":{{"messages":[{{"role":"user","content":[{{"text":{text}}}]}}]}}"#),
        format!(r#""inputBodyJson":{{"messages":[{{"role":"user","content":[{{"toolResult":{{"content":[{{"json":{object}}}]}}}}]}}]}}"#),
        format!(r#""inputBodyJson":{{"messages":[{object}],"system":{object},"toolConfig":{object}}}"#),
        format!(r#""inputBodyJson":[{object},{text}]"#),
        format!(r#""inputBodyJson":{text}"#),
        format!(
            r#""inputBodyJson":{{"prompt":{text},"usage":{{"cache_creation":{{"ephemeral_1h_input_tokens":5}}}},"metrics":{{"latencyMs":1}}}}"#
        ),
    ] {
        assert_eq!(show_one(&record(ENVELOPE, &format!("{body},{INPUT}"), r#""outputTokenCount":5"#)), plain, "{body}");
    }
    for body in [
        format!(
            r#""outputBodyJson":{{"output":{{"message":{{"content":[{{"text":{text}}},{{"toolUse":{{"input":{object}}}}}],"usage":{{"input_tokens":-9}}}}}}}}"#
        ),
        format!(r#""outputBodyJson":{{"content":[{object},{text}],"message":{object},"response":{object},"metadata":{object}}}"#),
        format!(
            r#""outputBodyJson":[{{"type":"content_block_delta","delta":{object},"message":{object},"response":{object}}},{text},[{object}]]"#
        ),
        format!(r#""outputBodyJson":{{"completion":{text}}}"#),
        format!(r#""outputBodyJson":{text}"#),
        format!(r#""outputBodyJson":[[{object}]]"#),
    ] {
        assert_eq!(show_one(&record(ENVELOPE, INPUT, &format!("{body},\"outputTokenCount\":5"))), plain, "{body}");
    }
    // Members of the envelope that are not ours, objects and strings alike.
    let strange = format!(r#""future":{object},"more":[{object}],"note":{text},{ENVELOPE}"#);
    assert_eq!(show_one(&record(&strange, INPUT, &format!(r#""future":{object},"outputTokenCount":5"#))), plain);
}

fn show_one(text: &str) -> String {
    let (batch, call) = one(text);
    assert_eq!(call.basis, CostBasis::Envelope);
    show(&batch, &call)
}

#[test]
fn other_kinds_do_not_pass_for_a_call_nor_a_call_for_them() {
    // A future field of AWS may bear the name of another kind's; the record says what it is.
    for key in ["detail", "Records", "messageType", "eventID", "traceId", "resourceSpans"] {
        one(&record(&format!("\"{key}\":[],"), "", ""));
    }
}

#[test]
fn bodies_need_balance_alone() {
    for body in
        [r#"{"a":NaN,"b":tru,"c":01}"#, r#"{"a" "b" {} []}"#, "{,}", "{\"a\":\"\u{1}\t\"}", r#"{"a":"\q\ud800"}"#, "[}", "nonsense", "-"]
    {
        let (_, call) =
            one(&record("", &format!("\"inputBodyJson\":{body},{INPUT}"), &format!("\"outputBodyJson\":{body},\"outputTokenCount\":5")));
        assert_eq!((call.usage.input, call.usage.output, call.usage.cache_write_5m), (10, 5, 100), "{body}");
    }
    let mut raw = record("", &format!("\"inputBodyJson\":{{\"a\":\"@\"}},{INPUT}"), "").into_bytes();
    let at = raw.iter().position(|&byte| byte == b'@').unwrap();
    raw[at] = 0xff;
    assert_eq!(counts(&lines(&raw)), (1, 0, 0, 0));
    for body in ["{", "[[]", r#"{"a":"}"#, "{\"a\":\"\\\"}", ""] {
        assert_eq!(counts(&lines(record("", &format!("\"inputBodyJson\":{body}"), ""))), (0, 0, 1, 0), "{body}");
    }
}

#[test]
fn depth_bombs() {
    let bomb = |levels: usize, open: &str, close: &str| format!("{}{}", open.repeat(levels), close.repeat(levels));
    for levels in [127, 128, 129, 1000, 1_000_000] {
        for (open, close) in [("[", "]"), ("{\"a\":[", "]}"), ("{\"usage\":", "}")] {
            let bomb =
                if open.ends_with(':') { format!("{}1{}", open.repeat(levels), close.repeat(levels)) } else { bomb(levels, open, close) };
            let text = record(&format!("\"future\":{bomb},"), &format!("\"inputBodyJson\":{bomb}"), "");
            assert_eq!(counts(&lines(&text)), (1, 0, 0, 0), "{levels} {open}");
        }
    }
    let deep = bomb(200_000, "[", "]");
    for text in [deep.clone(), deep[..deep.len() - 1].to_owned(), "[".repeat(300_000), "{\"a\":".repeat(300_000)] {
        assert_eq!(counts(&lines(&text)), (0, 0, 1, 0));
    }
    let trail = format!(r#"{{"eventID":"x","requestParameters":{}1{}}}"#, "[".repeat(200_000), "]".repeat(200_000));
    assert_eq!(counts(&lines(trail)), (0, 0, 1, 0));
}

#[test]
fn no_key_stands_twice() {
    let text = record(ENVELOPE, r#""inputTokenCount":1,"inputBodyJson":{}"#, r#""outputTokenCount":2,"outputBodyJson":{}"#);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    for (path, members) in [("", &value), ("input.", &value["input"]), ("output.", &value["output"]), ("identity.", &value["identity"])] {
        for (key, member) in members.as_object().unwrap() {
            if key == "schemaVersion" {
                continue;
            }
            let first = format!("\"{key}\":");
            for again in [first.clone(), format!("\"\\u{:04x}{}\":", u32::from(key.as_bytes()[0]), &key[1..])] {
                let twice = text.replacen(&first, &format!("{again}{member},{first}"), 1);
                assert_eq!(refusal(&twice), format!("field '{path}{key}' occurs twice"), "{twice}");
            }
        }
    }
    assert_eq!(refusal(text.replace("\"agent_id\"", "\"agent_id\":\"x\",\"agent_id\"")), "field 'requestMetadata' occurs twice");
    assert_eq!(refusal(text.replace("\"agent_id\"", "\"agent\\u005fid\":\"x\",\"agent_id\"")), "field 'requestMetadata' occurs twice");
    for (body, path) in [
        (r#"{"usage":{},"usage":{}}"#, "outputBodyJson.usage"),
        (r#"{"usage":{"input_tokens":1,"input_tokens":1}}"#, "outputBodyJson.usage"),
    ] {
        assert_eq!(refusal(record("", "", &format!("\"outputBodyJson\":{body}"))), format!("field 'output.{path}' occurs twice"));
    }
}

#[test]
fn required_fields() {
    let text = record("", "", "");
    for key in ["timestamp", "accountId", "region", "requestId", "modelId"] {
        let reason = format!("required field '{key}' is missing");
        assert_eq!(refusal(text.replacen(key, "other", 1)), reason);
        let value = text.split_once(&format!("\"{key}\":")).unwrap().1.split_once(',').unwrap().0;
        for absent in ["null", "\"\""] {
            assert_eq!(refusal(text.replacen(&format!("\"{key}\":{value}"), &format!("\"{key}\":{absent}"), 1)), reason, "{absent}");
        }
        for odd in ["5", "{}", "[\"x\"]", "true", "nul", "\"\u{7}\"", r#""\x""#, r#""\ud800""#] {
            let reason = format!("field '{key}' is malformed");
            assert_eq!(refusal(text.replacen(&format!("\"{key}\":{value}"), &format!("\"{key}\":{odd}"), 1)), reason, "{odd}");
        }
    }
    for absent in ["", "\"identity\":null,", "\"identity\":[],", "\"identity\":{},"] {
        let text = text.replace(r#""identity":{"arn":"arn:aws:iam::123456789012:user/u"},"#, absent);
        let (batch, _) = one(&text);
        assert!(batch.profiles[0].principal_arn.is_empty());
    }
    let listed = text.replace(r#"{"arn":"arn:aws:iam::123456789012:user/u"}"#, r#"[7,{"arn":"first"},{"arn":"second"}]"#);
    let (batch, _) = one(&listed);
    assert_eq!(batch.strings.get(batch.profiles[0].principal_arn), "first");
}

#[test]
fn times_out_of_bounds() {
    let at = |time: &str| record("", "", "").replace("2026-10-01T00:00:00Z", time);
    for time in ["1969-12-31T23:59:59Z", "2030-01-01T00:05:01Z", "9999-12-31T23:59:59Z"] {
        assert_eq!(refusal(at(time)), format!("timestamp {time} is outside [1970, arrival + 5 min]"));
    }
    for time in ["1970-01-01T00:00:00Z", "2030-01-01T00:05:00Z", "2026-10-01T00:00:00.123456789Z", "2026-10-01T00:00:00+00:00"] {
        one(&at(time));
    }
    for time in ["yesterday", "2026-02-30T00:00:00Z", "2026-10-01T00:00:00+02:00"] {
        assert_eq!(refusal(at(time)), "field 'timestamp' is malformed");
    }
}

#[test]
fn long_strings() {
    let model = |length: usize| record("", "", "").replace("\"m\"", &format!("\"{}\"", "m".repeat(length)));
    one(&model(4096));
    assert_eq!(refusal(model(4097)), "field 'modelId' is out of range");
    let id = |length: usize| record("", "", "").replace("10000000-0000-4000-8000-000000000001", &"i".repeat(length));
    one(&id(256));
    assert_eq!(refusal(id(257)), "field 'requestId' is out of range");
}

#[test]
fn ids_are_kept_as_they_are() {
    let id = |text: &str| {
        let (batch, call) = one(&record("", "", "").replace("10000000-0000-4000-8000-000000000001", text));
        match call.request_id {
            RequestId::Uuid(uuid) => format!("{uuid:x}"),
            RequestId::Other(sym) => batch.strings.get(sym).to_owned(),
        }
    };
    assert_eq!(id("0123abcd-4567-89ab-cdef-fedcba987654"), "123abcd456789abcdeffedcba987654");
    assert_eq!(id("0123\\u0061bcd-4567-89ab-cdef-fedcba987654"), "123abcd456789abcdeffedcba987654");
    for other in
        ["0123ABCD-4567-89ab-cdef-fedcba987654", "0123abcd4567-89ab-cdef-fedcba9876540", "0123abcd-4567-89ab-cdef-fedcba98765g", "x"]
    {
        assert_eq!(id(other), other);
    }
    // A different spelling of direction marks or of letters is a different text.
    assert_eq!(id("\u{202e}id\u{0}".replace('\u{0}', "\\u0000").as_str()), "\u{202e}id\u{0}");
}

#[test]
fn text_that_is_not_utf8() {
    let mut raw = record(ENVELOPE, "", "").into_bytes();
    for needle in [&b"honest"[..], b"123456789012", b"Converse", b"user/u"] {
        let at = raw.windows(needle.len()).position(|window| window == needle).unwrap();
        let kept = std::mem::replace(&mut raw[at], 0xc3);
        assert_eq!(refusal(&raw), "not UTF-8");
        raw[at] = kept;
    }
}

#[test]
fn truncation_at_every_byte_loses_no_neighbour() {
    let full = record(
        ENVELOPE,
        &format!(r#""inputBodyJson":{{"messages":["a\"b{{"]}},{INPUT}"#),
        r#""outputBodyJson":{"usage":{"cacheDetails":[]}},"outputTokenCount":5"#,
    );
    let next = record("", "", "");
    for length in 0..full.len() {
        let batch = lines(format!("{}\n{next}\n", &full[..length]));
        assert_eq!(counts(&batch), (1, 0, usize::from(length > 0), 0), "{}", &full[..length]);
        assert_eq!(batch.invocations[0].usage.input, 0);
    }
}

#[test]
fn every_byte_changed_loses_no_neighbour() {
    let full = record(ENVELOPE, &format!(r#""inputBodyJson":{{"a":"b\"c"}},{INPUT}"#), r#""outputTokenCount":5"#).into_bytes();
    let next = record("", "", "").into_bytes();
    for at in 0..full.len() {
        for byte in [0, b'"', b'\\', b'{', b'}', b']', b'0', 0xff] {
            let mut changed = full.clone();
            changed[at] = byte;
            let batch = lines([&changed[..], b"\n", &next].concat());
            assert_eq!(batch.invocations.len() + batch.rejected.len(), 2, "{}", String::from_utf8_lossy(&changed));
            assert!(!batch.invocations.is_empty());
        }
    }
}
