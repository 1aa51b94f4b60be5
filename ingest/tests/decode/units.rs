//! Tokens, tiers and other units: who wins where envelope and body both speak, and what only a body tells.

use sluice_schemas::{CostBasis, Extras, ServiceTier};

use super::support::{one, record, refusal};

/// `input/output/cache_read/write_5m/write_1h basis` of a record.
fn tokens(input: &str, output: &str) -> String {
    let (_, call) = one(&record("", input, output));
    let usage = call.usage;
    let basis = if call.basis == CostBasis::Exact { "exact" } else { "envelope" };
    format!("{}/{}/{}/{}/{} {basis}", usage.input, usage.output, usage.cache_read, usage.cache_write_5m, usage.cache_write_1h)
}

fn extras(envelope: &str, input: &str, output: &str) -> Option<Extras> {
    let (batch, call) = one(&record(envelope, input, output).replacen(r#""modelId":"m","#, "", usize::from(envelope.contains("modelId"))));
    call.extras.map(|at| batch.extras[at as usize].clone())
}

fn tier(envelope: &str, input: &str, output: &str) -> ServiceTier {
    let (batch, call) = one(&record(envelope, input, output));
    batch.profiles[call.profile as usize].service_tier
}

const CACHED: &str = r#""inputTokenCount":3,"cacheReadInputTokenCount":50,"cacheWriteInputTokenCount":300"#;

#[test]
fn cache_writes_without_a_body_are_five_minute_ones_and_say_so() {
    assert_eq!(tokens(CACHED, r#""outputTokenCount":9"#), "3/9/50/300/0 envelope");
    assert_eq!(tokens(CACHED, r#""outputTokenCount":9,"outputBodyS3Path":"s3://b/k""#), "3/9/50/300/0 envelope");
    assert_eq!(tokens(CACHED, r#""outputTokenCount":9,"outputBodyJson":{"usage":{"cache_creation":null}}"#), "3/9/50/300/0 envelope");
    assert_eq!(tokens(CACHED, r#""outputTokenCount":9,"outputBodyJson":{"usage":{"cacheDetails":[]}}"#), "3/9/50/300/0 envelope");
    let unknown = r#""outputTokenCount":9,"outputBodyJson":{"usage":{"cacheDetails":[{"ttl":"24h","inputTokens":300}]}}"#;
    assert_eq!(tokens(CACHED, unknown), "3/9/50/300/0 envelope");
    assert_eq!(tokens(r#""inputTokenCount":3,"cacheWriteInputTokenCount":0"#, r#""outputTokenCount":9"#), "3/9/0/0/0 exact");
}

#[test]
fn bodies_split_cache_writes() {
    let anthropic = r#""outputBodyJson":{"usage":{"cache_creation":{"ephemeral_5m_input_tokens":100,"ephemeral_1h_input_tokens":200}}},"outputTokenCount":9"#;
    assert_eq!(tokens(CACHED, anthropic), "3/9/50/100/200 exact");
    let converse = r#""outputBodyJson":{"usage":{"cacheDetails":[{"ttl":"1h","inputTokens":200},{"inputTokens":100,"ttl":"5m"}]}},"outputTokenCount":9"#;
    assert_eq!(tokens(CACHED, converse), "3/9/50/100/200 exact");
    let nova = r#""outputBodyJson":{"usage":{"cacheReadInputTokenCount":50,"cacheWriteInputTokenCount":300}},"outputTokenCount":9"#;
    assert_eq!(tokens(CACHED, nova), "3/9/50/300/0 exact");
    let stream = r#""outputBodyJson":[{"message":{"usage":{"cache_creation":{"ephemeral_1h_input_tokens":300}}},"type":"message_start"},"[DONE]"],"outputTokenCount":9"#;
    assert_eq!(tokens(CACHED, stream), "3/9/50/0/300 exact");
}

#[test]
fn a_split_that_does_not_add_up_yields_to_the_envelope() {
    let split = |five: u32, hour: u32| {
        format!(
            r#""outputBodyJson":{{"usage":{{"cache_creation":{{"ephemeral_5m_input_tokens":{five},"ephemeral_1h_input_tokens":{hour}}}}}}}"#
        )
    };
    assert_eq!(tokens(CACHED, &split(0, 1000)), "3/0/50/0/300 exact");
    assert_eq!(tokens(CACHED, &split(1000, 10)), "3/0/50/290/10 exact");
    assert_eq!(tokens(CACHED, &split(0, 0)), "3/0/50/300/0 exact");
}

#[test]
fn a_body_supplies_what_the_envelope_lacks() {
    let body = r#""outputBodyJson":{"usage":{"input_tokens":7,"output_tokens":8,"cache_read_input_tokens":5,"cache_creation_input_tokens":30,"cache_creation":{"ephemeral_5m_input_tokens":10,"ephemeral_1h_input_tokens":20}}}"#;
    assert_eq!(tokens("", body), "7/8/5/10/20 exact");
    assert_eq!(
        tokens(r#""inputTokenCount":1,"cacheReadInputTokenCount":2"#, &format!("{body},\"outputTokenCount\":3")),
        "1/3/2/10/20 exact"
    );
    // The split alone tells the sum.
    let split = r#""outputBodyJson":{"usage":{"cacheDetails":[{"ttl":"1h","inputTokens":20}]}}"#;
    assert_eq!(tokens("", split), "0/0/0/0/20 exact");
}

#[test]
fn the_last_word_of_a_stream_counts() {
    let stream = r#""outputBodyJson":[{"type":"message_start","message":{"usage":{"input_tokens":7,"output_tokens":1}}},{"type":"content_block_delta","delta":{"usage":{"output_tokens":999}}},{"type":"message_delta","usage":{"output_tokens":8}}]"#;
    assert_eq!(tokens("", stream), "7/8/0/0/0 exact");
    let metrics = stream.replace("}}]", r#"}},{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":6,"outputTokenCount":9,"cacheReadInputTokenCount":4,"cacheWriteInputTokenCount":2,"invocationLatency":77,"firstByteLatency":5}}]"#);
    assert_eq!(tokens("", &metrics), "6/9/4/2/0 envelope");
    assert_eq!(one(&record("", "", &metrics)).1.latency_ms, Some(77));
    let nova = r#""outputBodyJson":[{"metadata":{"usage":{"inputTokens":4,"outputTokens":2}}}]"#;
    assert_eq!(tokens("", nova), "4/2/0/0/0 exact");
}

#[test]
fn usage_stands_once_in_each_object() {
    for body in [
        r#"[{"usage":{},"usage":{}}]"#,
        r#"[{"type":"message_start","message":{"usage":{},"usage":{}}}]"#,
        r#"[{"usage":{"output_tokens":1,"output_tokens":2}}]"#,
    ] {
        assert_eq!(
            refusal(record("", "", &format!("\"outputBodyJson\":{body}"))),
            "field 'output.outputBodyJson.usage' occurs twice",
            "{body}"
        );
    }
}

#[test]
fn openai_prompts_hold_their_cached_tokens() {
    let chat = r#""outputBodyJson":{"usage":{"prompt_tokens":100,"completion_tokens":9,"prompt_tokens_details":{"cached_tokens":80}}}"#;
    assert_eq!(tokens("", chat), "20/9/80/0/0 exact");
    assert_eq!(tokens(r#""inputTokenCount":100"#, chat), "20/9/80/0/0 exact", "the envelope holds the whole prompt");
    assert_eq!(tokens(r#""inputTokenCount":20"#, chat), "20/9/80/0/0 exact", "the envelope holds the uncached part");
    assert_eq!(tokens(r#""inputTokenCount":20,"cacheReadInputTokenCount":80"#, chat), "20/9/80/0/0 exact");
    let responses = r#""outputBodyJson":{"usage":{"input_tokens":100,"output_tokens":9,"input_tokens_details":{"cached_tokens":80}}}"#;
    assert_eq!(tokens("", responses), "20/9/80/0/0 exact");
    let streamed = r#""outputBodyJson":[{"type":"response.completed","response":{"usage":{"input_tokens":100,"output_tokens":9,"input_tokens_details":{"cached_tokens":80}}}}]"#;
    assert_eq!(tokens("", streamed), "20/9/80/0/0 exact");
    let plain = r#""outputBodyJson":{"usage":{"prompt_tokens":100,"completion_tokens":9,"prompt_tokens_details":null}}"#;
    assert_eq!(tokens("", plain), "100/9/0/0/0 exact");
    let absurd = chat.replace(":80", ":101");
    assert_eq!(refusal(record("", "", &absurd)), "field 'output.outputBodyJson.usage' is out of range");
}

#[test]
fn failed_calls_are_calls_without_tokens() {
    let (batch, call) = one(&record(r#""errorCode":"ThrottlingException","#, "", ""));
    assert!(call.usage.is_zero());
    assert_eq!(batch.strings.get(batch.profiles[0].error_code), "ThrottlingException");
    assert_eq!(tokens("", ""), "0/0/0/0/0 exact");
}

#[test]
fn tiers_are_those_of_converse() {
    let served = r#""outputBodyJson":{"serviceTier":{"type":"flex"}}"#;
    let asked = r#""inputBodyJson":{"serviceTier":{"type":"priority"}}"#;
    assert_eq!(tier(r#""operation":"Converse","#, asked, served), ServiceTier::Flex);
    assert_eq!(tier(r#""operation":"ConverseStream","#, asked, ""), ServiceTier::Priority);
    assert_eq!(tier(r#""operation":"Converse","#, "", r#""outputBodyJson":{"serviceTier":{"type":"default"}}"#), ServiceTier::Standard);
    assert_eq!(tier(r#""operation":"Conver\u0073e","#, "", served), ServiceTier::Flex);
    // Elsewhere the words are the caller's: a model that ignores the field would be booked at half its price.
    assert_eq!(tier(r#""operation":"InvokeModel","#, r#""inputBodyJson":{"serviceTier":{"type":"flex"}}"#, served), ServiceTier::Standard);
}

#[test]
fn guardrail_units_are_summed() {
    let assessment = |units: u32| {
        format!(
            r#"{{"topicPolicy":{{"topics":[]}},"invocationMetrics":{{"guardrailProcessingLatency":3,"usage":{{"topicPolicyUnits":{units},"contentPolicyUnits":1,"automatedReasoningPolicyUnits":null,"newUnits":5}}}}}}"#
        )
    };
    let (one, two) = (assessment(1), assessment(2));
    for body in [
        format!(r#"{{"trace":{{"guardrail":{{"inputAssessment":{{"g":{one}}},"outputAssessments":[{{"g":{two}}}]}}}}}}"#),
        format!(r#"{{"trace":{{"guardrail":{{"inputAssessment":{{"g":{one}}},"outputAssessments":{{"g":[{two}]}}}}}}}}"#),
        format!(r#"{{"amazon-bedrock-trace":{{"guardrail":{{"input":{{"g":{one}}},"outputs":[{{"g":{two}}}]}}}}}}"#),
        format!(
            r#"[{{"amazon-bedrock-trace":{{"guardrail":{{"input":{{"g":{one}}}}}}}}},{{"amazon-bedrock-trace":{{"guardrail":{{"outputs":[{{"g":{two}}}]}}}}}}]"#
        ),
    ] {
        let units = extras("", "", &format!("\"outputBodyJson\":{body}")).unwrap().guardrail;
        assert_eq!((units.topic, units.content, units.word), (3, 2, 0), "{body}");
    }
}

#[test]
fn images() {
    let config = r#""inputBodyJson":{"taskType":"TEXT_IMAGE","imageGenerationConfig":{"numberOfImages":3,"quality":"premium","width":1280,"height":720}}"#;
    let made = extras("", config, r#""outputBodyS3Path":"s3://b/k""#).unwrap();
    assert_eq!((made.images, made.image_width, made.image_height, made.image_quality.as_str()), (3, 1280, 720, "premium"));
    let stability =
        extras(r#""modelId":"stability.stable-diffusion-xl-v1","#, r#""inputBodyJson":{"samples":2,"steps":50,"width":512}"#, "").unwrap();
    assert_eq!((stability.images, stability.image_steps, stability.image_width), (2, 50, 512));
    let one_image = extras("", r#""inputBodyJson":{"taskType":"BACKGROUND_REMOVAL"}"#, "").unwrap();
    assert_eq!(one_image.images, 1);
    // Bodies off: at least one image, and what is not known is said.
    let (batch, call) = one(&record("", r#""inputContentType":"application/json""#, "").replace("\"m\"", "\"amazon.nova-canvas-v1:0\""));
    assert_eq!((batch.extras[0].images, call.basis), (1, CostBasis::Envelope));
    // Failed before the model was asked.
    let failed = record(r#""errorCode":"ValidationException","#, "", "").replace("\"m\"", "\"amazon.nova-canvas-v1:0\"");
    assert_eq!(one(&failed).1.extras, None);
}

#[test]
fn a_caller_of_a_text_model_adds_nothing_to_its_bill() {
    let body = r#""inputBodyJson":{"taskType":"TEXT_IMAGE","imageGenerationConfig":{"numberOfImages":3},"inputImage":"x","documents":[1,2],"samples":9}"#;
    assert_eq!(extras("", body, r#""outputTokenCount":5"#), None);
    // Nor does an odd form of such a field have the call refused.
    for odd in [
        r#"{"serviceTier":7,"imageGenerationConfig":[],"samples":-1,"steps":"x","taskType":{},"queries":{},"documents":5}"#,
        r#"{"serviceTier":{"type":"\ud800"}}"#,
        r#"{"imageGenerationConfig":{"numberOfImages":1e99,"width":99999999999999,"quality":7}}"#,
    ] {
        assert_eq!(
            tokens(&format!("\"inputBodyJson\":{odd},\"inputTokenCount\":1"), r#""outputTokenCount":5"#),
            "1/5/0/0/0 exact",
            "{odd}"
        );
    }
}

#[test]
fn embeddings_reranks_and_videos() {
    let embedded =
        |body: &str| extras("", &format!("\"inputBodyJson\":{body},\"inputTokenCount\":5"), "").map(|extras| extras.input_images);
    assert_eq!(embedded(r#"{"inputText":"t","inputImage":"aGk="}"#), Some(1));
    assert_eq!(embedded(r#"{"taskType":"SINGLE_EMBEDDING","singleEmbeddingParams":{"image":{"format":"png"}}}"#), Some(1));
    assert_eq!(embedded(r#"{"images":["a","b"],"input_type":"image"}"#), Some(2));
    assert_eq!(embedded(r#"{"inputText":"t"}"#), None);
    let rerank = |body: &str| extras(r#""modelId":"cohere.rerank-v3-5:0","#, body, r#""outputContentType":"a""#).unwrap().queries;
    assert_eq!(rerank(""), 1);
    assert_eq!(rerank(r#""inputBodyJson":{"query":"q","documents":["a"]}"#), 1);
    assert_eq!(rerank(&format!("\"inputBodyJson\":{{\"documents\":[{}]}}", vec!["1"; 350].join(","))), 4);
    assert_eq!(rerank(r#""inputBodyJson":{"queries":["a","b"]}"#), 2);
    assert_eq!(extras("", "", r#""outputVideoDurationSeconds":6.5"#).unwrap().video_ms, 6500);
}

#[test]
fn numbers_that_no_call_has() {
    for (input, reason) in [
        (r#""inputTokenCount":-1"#, "field 'input.inputTokenCount' is out of range"),
        (r#""inputTokenCount":1099511627777"#, "field 'input.inputTokenCount' is out of range"),
        (r#""inputTokenCount":99999999999999999999999999999"#, "field 'input.inputTokenCount' is out of range"),
        (r#""inputTokenCount":1.0"#, "field 'input.inputTokenCount' is malformed"),
        (r#""inputTokenCount":1e3"#, "field 'input.inputTokenCount' is malformed"),
        (r#""inputTokenCount":NaN"#, "field 'input.inputTokenCount' is malformed"),
        (r#""inputTokenCount":Infinity"#, "field 'input.inputTokenCount' is malformed"),
        (r#""inputTokenCount":"5""#, "field 'input.inputTokenCount' is malformed"),
        (r#""inputTokenCount":[5]"#, "field 'input.inputTokenCount' is malformed"),
        (r#""cacheWriteInputTokenCount":007"#, "field 'input.cacheWriteInputTokenCount' is malformed"),
    ] {
        assert_eq!(refusal(record("", input, "")), reason, "{input}");
    }
    assert_eq!(refusal(record("", "", r#""outputVideoDurationSeconds":1e9"#)), "field 'output.outputVideoDurationSeconds' is malformed");
    for usage in [r#"{"input_tokens":-1}"#, r#"{"cache_creation":{"ephemeral_1h_input_tokens":1099511627777}}"#] {
        let output = format!("\"outputBodyJson\":{{\"usage\":{usage}}}");
        assert_eq!(refusal(record("", "", &output)), "field 'output.outputBodyJson.usage' is out of range", "{usage}");
    }
    for usage in [r#""x""#, "[]", r#"{"input_tokens":1.5}"#, r#"{"cache_creation":7}"#, r#"{"cacheDetails":{}}"#] {
        let output = format!("\"outputBodyJson\":{{\"usage\":{usage}}}");
        assert_eq!(refusal(record("", "", &output)), "field 'output.outputBodyJson.usage' is malformed", "{usage}");
    }
}
