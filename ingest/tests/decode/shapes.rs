//! The shapes a record comes in, and that none is lost whatever its neighbours look like.

use sluice_ingest::decode::{Decoder, is_one_value};
use sluice_schemas::{Batch, RequestId};

use super::support::{ARRIVAL, counts, document, lines, record, refusal};

const EVENT: &str = r#"{"eventVersion":"1.11","eventID":"e-1","eventTime":"2026-10-01T00:00:00Z","eventSource":"bedrock.amazonaws.com","eventName":"Converse","requestParameters":{"modelId":"amazon.nova-pro-v1:0"},"additionalEventData":{"inputTokens":944,"outputTokens":126}}"#;

fn call(id: &str) -> String {
    record("", "", "").replace("10000000-0000-4000-8000-000000000001", id)
}

fn ids(batch: &Batch) -> Vec<&str> {
    let id = |call: &sluice_schemas::Invocation| match call.request_id {
        RequestId::Other(sym) => batch.strings.get(sym),
        RequestId::Uuid(_) => "uuid",
    };
    batch.invocations.iter().map(id).collect()
}

fn cloudwatch(messages: &[&str]) -> String {
    let events: Vec<String> =
        messages.iter().map(|message| format!(r#"{{"id":"3","timestamp":1,"message":{}}}"#, serde_json::json!(message))).collect();
    format!(
        r#"{{"messageType":"DATA_MESSAGE","owner":"1","logGroup":"g","logStream":"s","subscriptionFilters":["f"],"logEvents":[{}]}}"#,
        events.join(",")
    )
}

#[test]
fn lines_and_blanks() {
    let text = format!("\n{}\r\n   \n\t{} \nnot json\n{}", call("a"), call("b"), call("c"));
    let batch = lines(&text);
    assert_eq!(ids(&batch), ["a", "b", "c"]);
    assert_eq!(counts(&batch), (3, 0, 1, 0));
    assert_eq!((batch.rejected[0].raw.as_slice(), batch.rejected[0].offset), (&b"not json"[..], text.find("not").unwrap() as u64));
    assert_eq!(batch.bytes, text.len() as u64);
    assert_eq!(batch.profiles.len(), 1);
}

#[test]
fn offsets_count_from_the_start_of_the_stream() {
    let mut batch = Batch::default();
    Decoder::new().decode_lines(b"{}\n x", 1000, ARRIVAL, &mut batch);
    assert_eq!(batch.rejected.iter().map(|rejected| rejected.offset).collect::<Vec<_>>(), [1000, 1004]);
}

#[test]
fn documents_of_every_shape() {
    let (a, b) = (call("a"), call("b"));
    let pretty = serde_json::to_string_pretty(&serde_json::from_str::<serde_json::Value>(&a).unwrap()).unwrap();
    assert_eq!(ids(&document(&pretty)), ["a"]);
    assert_eq!(ids(&document(format!("[\n{a},\n{b}\n]\n"))), ["a", "b"]);
    assert_eq!(ids(&document(cloudwatch(&[&a, &b]))), ["a", "b"]);
    assert_eq!(ids(&document(format!("{{\"Records\":[{a},{b}]}}"))), ["a", "b"]);
    assert_eq!(ids(&document(format!("{a}\n{b}"))), ["a", "b"]);
    assert_eq!(counts(&document(format!("{{\"Records\": [{EVENT}, {EVENT}, {{}}]}}"))), (0, 2, 1, 0));
    assert_eq!(counts(&document(" \n")), (0, 0, 0, 0));
    assert_eq!(counts(&document("[]")), (0, 0, 0, 0));
}

#[test]
fn values_joined_on_one_line() {
    let (a, b) = (call("a"), call("b"));
    assert_eq!(ids(&lines(format!("{a}{b} [{a}]"))), ["a", "b", "a"]);
    let joined = lines(format!("{}{}{EVENT}{{\"modelId\":5}}{}", cloudwatch(&[&a]), cloudwatch(&[&b]), call("c")));
    assert_eq!((ids(&joined), counts(&joined)), (vec!["a", "b", "c"], (3, 1, 1, 0)));
    // What follows is no value: the line is refused whole, once.
    for tail in ["x", "]", "}", ",{}", "7"] {
        assert_eq!(counts(&lines(format!("{a}{b}{tail}"))), (0, 0, 1, 0), "{tail}");
        assert_eq!(counts(&lines(format!("{a}{tail}"))), (0, 0, 1, 0), "{tail}");
    }
}

#[test]
fn arrays_refuse_their_bad_elements_alone() {
    let text = format!("[{},7,\"x\",{{\"a\":1}},[{}],null]", call("a"), call("b"));
    let batch = lines(&text);
    assert_eq!((ids(&batch), counts(&batch)), (vec!["a", "b"], (2, 0, 4, 0)));
    assert_eq!(batch.rejected[0].offset, text.find(",7").unwrap() as u64 + 1);
    assert_eq!(refusal(format!("[{} {}]", call("a"), call("b"))), "not JSON");
    assert_eq!(refusal(format!("[{}", call("a"))), "truncated or unbalanced JSON");
}

#[test]
fn nesting_ends() {
    let deep = |levels: usize| format!("{}{}{}", "[".repeat(levels), call("a"), "]".repeat(levels));
    assert_eq!(counts(&lines(deep(16))), (1, 0, 0, 0));
    assert_eq!(counts(&lines(deep(17))), (0, 0, 1, 0));
    assert_eq!(counts(&lines(deep(2_000))), (0, 0, 1, 0));
    let mut message = call("a");
    for _ in 0..5 {
        message = cloudwatch(&[&message]);
    }
    assert_eq!(ids(&lines(message)), ["a"]);
}

#[test]
fn cloudwatch_messages() {
    let envelope =
        cloudwatch(&[&call("a\u{e9}\\n"), "Permissions are correctly set for Amazon Bedrock logs.", "oops \"x\"", EVENT, " ", &call("b")]);
    let batch = lines(&envelope);
    assert_eq!((ids(&batch), counts(&batch)), (vec!["a\u{e9}\n", "b"], (2, 1, 2, 1)));
    assert_eq!(batch.rejected[0].raw, b"oops \"x\"");
    assert_eq!(batch.rejected[0].offset, envelope.find("oops").unwrap() as u64);
    let control = envelope.replace("DATA_MESSAGE", "CONTROL_MESSAGE");
    assert_eq!(counts(&lines(control)), (0, 0, 0, 1));
}

#[test]
fn cloudwatch_envelopes_that_are_not() {
    let good = cloudwatch(&[&call("a")]);
    assert_eq!(refusal(good.replace("DATA_MESSAGE", "OTHER")), "field 'messageType' is malformed");
    assert_eq!(refusal(good.replace("\"messageType\":\"DATA_MESSAGE\",", "")), "required field 'messageType' is missing");
    assert_eq!(refusal(r#"{"messageType":"DATA_MESSAGE"}"#), "required field 'logEvents' is missing");
    assert_eq!(refusal(good.replace("\"owner\":\"1\"", "\"messageType\":\"DATA_MESSAGE\"")), "field 'messageType' occurs twice");
    assert_eq!(refusal(good.replace("\"owner\":\"1\"", "\"logEvents\":[]")), "field 'logEvents' occurs twice");
    assert_eq!(refusal(&good[..good.len() - 1]), "truncated or unbalanced JSON");
    let events =
        lines(r#"{"messageType":"DATA_MESSAGE","logEvents":[{"id":"1"},7,{"message":5},{"message":"a","message":"b"},{"message":"\q"}]}"#);
    assert_eq!(counts(&events), (0, 0, 5, 0));
    assert_eq!(events.rejected[0].raw, br#"{"id":"1"}"#);
}

#[test]
fn eventbridge() {
    let event = format!(
        r#"{{"version":"0","id":"i","detail-type":"AWS API Call via CloudTrail","source":"aws.bedrock","account":"1","time":"t","region":"us-east-1","resources":[],"detail":{EVENT}}}"#
    );
    let batch = lines(&event);
    assert_eq!(counts(&batch), (0, 1, 0, 0));
    assert_eq!(
        (batch.trail[0].event_id.as_str(), batch.trail[0].input_tokens, batch.trail[0].output_tokens),
        ("e-1", Some(944), Some(126))
    );
    assert_eq!(refusal(event.replace("API Call", "Console Sign In")), "unknown kind of record");
    assert_eq!(refusal(event.replace("\"eventID\":\"e-1\",", "")), "required field 'eventID' is missing");
    assert_eq!(refusal(event.replace("\"resources\":[]", "\"detail\":{}")), "field 'detail' occurs twice");
}

#[test]
fn trail_events() {
    let batch = lines(EVENT);
    assert_eq!(batch.trail[0].model_id, "amazon.nova-pro-v1:0");
    assert_eq!(lines(EVENT.replace("modelId", "foundationModel")).trail[0].model_id, "amazon.nova-pro-v1:0");
    assert_eq!(counts(&lines(EVENT.replace(r#"{"modelId":"amazon.nova-pro-v1:0"}"#, r#"{"modelId":{"x":[1]},"tags":7}"#))), (0, 1, 0, 0));
    assert_eq!(refusal(EVENT.replace("2026", "9999")), "timestamp 9999-10-01T00:00:00Z is outside [1970, arrival + 5 min]");
    assert_eq!(refusal(EVENT.replace("\"eventName\":\"Converse\"", "\"eventName\":5")), "field 'eventName' is malformed");
    assert_eq!(refusal(EVENT.replace("\"eventVersion\":\"1.11\"", "\"eventID\":\"e-2\"")), "field 'eventID' occurs twice");
    let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
    // Who called is known whatever the counts look like; they are unknown then, and not what is left of them.
    for unreadable in ["1099511627777", "-4", "9.5", "\"944\"", "{\"n\":944}", "true", &deep] {
        let batch = lines(EVENT.replace("944", unreadable));
        assert_eq!(counts(&batch), (0, 1, 0, 0), "{unreadable}");
        let event = &batch.trail[0];
        assert_eq!((event.event_id.as_str(), event.input_tokens, event.output_tokens), ("e-1", None, None), "{unreadable}");
    }
}

#[test]
fn what_is_nothing_we_know() {
    for text in ["{}", r#"{"a":1}"#, r#"{"schemaType":"Other","modelId":"m"}"#, r#"{"timestamp":"2026-10-01T00:00:00Z","message":"x"}"#] {
        assert_eq!(refusal(text), "unknown kind of record", "{text}");
    }
    for text in ["7", "\"x\"", "null", "x{}", "}", "Permissions are set"] {
        assert_eq!(refusal(text), "not JSON", "{text}");
    }
}

#[test]
fn one_value_or_lines() {
    for text in ["{}", " {\n\"a\": [1,\n2]}\n", "[]", "7", "\"a\nb\"".replace('\n', "\\n").as_str(), "null"] {
        assert!(is_one_value(text.as_bytes()), "{text}");
    }
    for text in ["", "  ", "{}\n{}", "{}{}", "{", "[1,2", "a b", "{} x", "\"a"] {
        assert!(!is_one_value(text.as_bytes()), "{text}");
    }
}

#[test]
fn decoders_move_between_threads() {
    let decoder = Decoder::new();
    let batch = std::thread::spawn(move || {
        let (mut decoder, mut batch) = (decoder, Batch::default());
        decoder.decode_lines(call("a").as_bytes(), 0, ARRIVAL, &mut batch);
        batch
    });
    assert_eq!(ids(&batch.join().unwrap()), ["a"]);
}

#[test]
fn one_batch_over_many_calls_and_one_decoder_over_many_batches() {
    let (mut decoder, mut first, mut second) = (Decoder::new(), Batch::default(), Batch::default());
    let other = call("b").replace("us-east-1", "eu-west-1");
    for _ in 0..3 {
        decoder.decode_lines(call("a").as_bytes(), 0, ARRIVAL, &mut first);
        decoder.decode_lines(other.as_bytes(), 0, ARRIVAL, &mut second);
        decoder.decode_lines(other.as_bytes(), 0, ARRIVAL, &mut first);
        decoder.decode_document(call("a").as_bytes(), 0, ARRIVAL, &mut second);
    }
    for batch in [&first, &second] {
        assert_eq!((batch.invocations.len(), batch.profiles.len()), (6, 2));
        for call in &batch.invocations {
            let region = batch.strings.get(batch.profiles[call.profile as usize].region);
            let RequestId::Other(id) = call.request_id else { panic!("a text id") };
            assert_eq!(region, if batch.strings.get(id) == "a" { "us-east-1" } else { "eu-west-1" });
        }
    }
}

#[test]
fn a_byte_order_mark_costs_no_record() {
    let (mark, a, b) = ("\u{feff}", call("a"), call("b"));
    // Files that begin with a mark are joined, too.
    let batch = lines(format!("{mark}{a}\n{mark}{b}\r\n{mark}\n{mark}x\n"));
    assert_eq!((ids(&batch), counts(&batch)), (vec!["a", "b"], (2, 0, 1, 0)));
    assert_eq!(batch.rejected[0].raw, b"x");
    assert_eq!(ids(&document(format!("{mark}[\n{a},\n{b}\n]\n"))), ["a", "b"]);
    assert_eq!(ids(&document(format!("{mark}{}", cloudwatch(&[&a])))), ["a"]);
    // Within a record it is text like any other.
    assert_eq!(counts(&lines(format!("{mark}{mark}{a}\n{{{mark}\"a\":1}}\n"))), (0, 0, 2, 0));
}
