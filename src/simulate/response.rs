//! Response bodies in the shapes of the operations and model families: where usage, tier and guardrail units really stand.
//!
//! Source of the shapes: AWS, "Converse" and "InvokeModel" in the Amazon Bedrock API Reference; Anthropic's Messages API.

use sluice_schemas::usage::GuardrailUnits;

use super::body::trap;
use super::call::{Call, Guard};
use super::models::Family;
use super::put::Put;
use super::record::Ink;

/// Chunks of text in a stream.
const CHUNKS: usize = 8;

/// Appends the response body.
pub(crate) fn response(call: &Call, ink: &mut Ink<'_>, out: &mut Vec<u8>) {
    let stream = call.truth.operation == "InvokeModelWithResponseStream";
    match call.family {
        _ if call.truth.operation.starts_with("Converse") => converse(call, ink, out),
        Family::Claude if stream => claude_stream(call, ink, out),
        Family::Claude => claude(call, ink, out),
        Family::Nova => nova(call, ink, out),
        Family::Llama => llama(call, ink, out),
        Family::OpenAi if stream => openai_stream(call, ink, out),
        Family::OpenAi => openai(call, ink, out),
        Family::Embedding => embedding(call, ink, out),
    }
}

fn converse(call: &Call, ink: &mut Ink<'_>, out: &mut Vec<u8>) {
    out.text("{\"output\":{\"message\":{\"role\":\"assistant\",\"content\":[{\"text\":");
    ink.filler.quoted(ink.random, ink.response_bytes, out);
    out.text("},{\"toolUse\":{\"toolUseId\":\"tooluse_2\",\"name\":\"store\",\"input\":");
    trap(out);
    let blocked = matches!(call.guard, Some(Guard::BlockedInput | Guard::BlockedOutput));
    let stop = if blocked { "guardrail_intervened" } else { "end_turn" };
    out.text("}}]}}").pair("stopReason", stop).text(",\"metrics\":{\"latencyMs\":").number(u64::from(call.latency_ms)).text("}");
    let usage = &call.usage;
    out.text(",\"usage\":{\"inputTokens\":").number(usage.input).count("outputTokens", usage.output);
    out.count("totalTokens", usage.prompt() + usage.output);
    if call.caches {
        out.count("cacheReadInputTokens", usage.cache_read).count("cacheWriteInputTokens", call.written()).text(",\"cacheDetails\":[");
        let lifetimes = [("1h", usage.cache_write_1h), ("5m", usage.cache_write_5m)];
        for (at, (ttl, tokens)) in lifetimes.into_iter().filter(|(_, tokens)| *tokens > 0).enumerate() {
            out.text(if at == 0 { "" } else { "," }).text("{\"ttl\":").string(ttl).count("inputTokens", tokens).text("}");
        }
        out.text("]");
    }
    out.text("}");
    if let Some(tier) = call.served_tier {
        out.text(",\"serviceTier\":{\"type\":").string(tier).text("}");
    }
    if let Some(guard) = call.guard {
        guardrail_trace(guard, &call.truth.guardrail, out);
    }
    out.text("}");
}

/// Appends `trace.guardrail`; the units are split over the assessments of prompt and answer where there are both.
fn guardrail_trace(guard: Guard, units: &GuardrailUnits, out: &mut Vec<u8>) {
    out.text(",\"trace\":{\"guardrail\":{\"inputAssessment\":");
    if guard == Guard::BlockedInput {
        assessment(units, out);
    } else {
        let prompt =
            GuardrailUnits { topic: units.topic / 2, content: units.content / 3, word: units.word / 2, ..GuardrailUnits::default() };
        let answer = GuardrailUnits {
            topic: units.topic - prompt.topic,
            content: units.content - prompt.content,
            word: units.word - prompt.word,
            ..*units
        };
        assessment(&prompt, out);
        out.text(",\"outputAssessments\":[");
        assessment(&answer, out);
        out.text("]");
    }
    out.text("}}");
}

fn assessment(units: &GuardrailUnits, out: &mut Vec<u8>) {
    out.text("{\"gr7n9e426how\":{\"invocationMetrics\":{\"guardrailProcessingLatency\":312,\"usage\":{\"topicPolicyUnits\":")
        .number(units.topic);
    out.count("contentPolicyUnits", units.content).count("wordPolicyUnits", units.word);
    out.count("sensitiveInformationPolicyUnits", units.sensitive).count("sensitiveInformationPolicyFreeUnits", units.sensitive_free);
    out.count("contextualGroundingPolicyUnits", units.grounding);
    out.text("},\"guardrailCoverage\":{\"textCharacters\":{\"guarded\":135,\"total\":136}}}}}");
}

/// Appends Anthropic's usage; `output` is a placeholder at the start of a stream.
fn claude_usage(call: &Call, output: u64, out: &mut Vec<u8>) {
    let usage = &call.usage;
    out.text("{\"input_tokens\":").number(usage.input);
    out.count("cache_creation_input_tokens", call.written()).count("cache_read_input_tokens", usage.cache_read);
    out.text(",\"cache_creation\":{\"ephemeral_5m_input_tokens\":").number(usage.cache_write_5m);
    out.count("ephemeral_1h_input_tokens", usage.cache_write_1h).text("}").count("output_tokens", output).text("}");
}

fn claude(call: &Call, ink: &mut Ink<'_>, out: &mut Vec<u8>) {
    out.text("{\"model\":")
        .string(call.model)
        .text(",\"id\":\"msg_bdrk_01\",\"type\":\"message\",\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":");
    ink.filler.quoted(ink.random, ink.response_bytes, out);
    out.text("},{\"type\":\"tool_use\",\"id\":\"toolu_bdrk_01\",\"name\":\"store\",\"input\":");
    trap(out);
    out.text("}],\"stop_reason\":\"end_turn\",\"stop_sequence\":null,\"usage\":");
    claude_usage(call, call.usage.output, out);
    out.text("}");
}

fn claude_stream(call: &Call, ink: &mut Ink<'_>, out: &mut Vec<u8>) {
    out.text("[{\"type\":\"message_start\",\"message\":{\"model\":").string(call.model);
    out.text(",\"id\":\"msg_bdrk_02\",\"type\":\"message\",\"role\":\"assistant\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":");
    claude_usage(call, call.usage.output.min(2), out);
    out.text("}},{\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"tool_use\",\"id\":\"toolu_bdrk_02\",\"name\":\"store\",\"input\":");
    trap(out);
    out.text("}}");
    for _ in 0..CHUNKS {
        out.text(",{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":");
        ink.filler.quoted(ink.random, ink.response_bytes / CHUNKS, out);
        out.text("}}");
    }
    out.text(",{\"type\":\"content_block_stop\",\"index\":0},{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":");
    out.number(call.usage.output).text("}},{\"type\":\"message_stop\"");
    invocation_metrics(call, out);
    out.text(if ink.random.chance(1, 4) { "},\"[DONE]\"]" } else { "}]" });
}

/// Appends what Bedrock adds to the last chunk of a stream.
fn invocation_metrics(call: &Call, out: &mut Vec<u8>) {
    out.text(",\"amazon-bedrock-invocationMetrics\":{\"inputTokenCount\":")
        .number(call.usage.input)
        .count("outputTokenCount", call.usage.output);
    out.count("invocationLatency", u64::from(call.latency_ms)).count("firstByteLatency", u64::from(call.latency_ms / 4));
    if call.caches {
        out.count("cacheReadInputTokenCount", call.usage.cache_read).count("cacheWriteInputTokenCount", call.written());
    }
    out.text("}");
}

fn nova(call: &Call, ink: &mut Ink<'_>, out: &mut Vec<u8>) {
    out.text("{\"output\":{\"message\":{\"content\":[{\"text\":");
    ink.filler.quoted(ink.random, ink.response_bytes, out);
    out.text("}],\"role\":\"assistant\"}},\"stopReason\":\"end_turn\",\"usage\":{\"inputTokens\":").number(call.usage.input);
    out.count("outputTokens", call.usage.output).count("totalTokens", call.usage.prompt() + call.usage.output);
    out.count("cacheReadInputTokenCount", call.usage.cache_read).count("cacheWriteInputTokenCount", call.written()).text("}}");
}

fn llama(call: &Call, ink: &mut Ink<'_>, out: &mut Vec<u8>) {
    out.text("{\"generation\":");
    ink.filler.quoted(ink.random, ink.response_bytes, out);
    out.count("prompt_token_count", call.usage.input).count("generation_token_count", call.usage.output);
    out.text(",\"stop_reason\":\"stop\"}");
}

fn openai_usage(call: &Call, out: &mut Vec<u8>) {
    out.text("\"usage\":{\"prompt_tokens\":").number(call.usage.input).count("completion_tokens", call.usage.output);
    out.count("total_tokens", call.usage.input + call.usage.output).text("}");
}

fn openai(call: &Call, ink: &mut Ink<'_>, out: &mut Vec<u8>) {
    out.text("{\"id\":\"chatcmpl-01\",\"object\":\"chat.completion\",\"created\":1790812800,\"model\":").string(call.model);
    out.text(",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":");
    ink.filler.quoted(ink.random, ink.response_bytes, out);
    out.text("},\"finish_reason\":\"stop\"}],");
    openai_usage(call, out);
    out.text("}");
}

fn openai_stream(call: &Call, ink: &mut Ink<'_>, out: &mut Vec<u8>) {
    out.text("[");
    for _ in 0..CHUNKS {
        out.text("{\"id\":\"chatcmpl-02\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"content\":");
        ink.filler.quoted(ink.random, ink.response_bytes / CHUNKS, out);
        out.text("},\"finish_reason\":null}]},");
    }
    out.text("{\"id\":\"chatcmpl-02\",\"object\":\"chat.completion.chunk\",\"choices\":[],");
    openai_usage(call, out);
    invocation_metrics(call, out);
    out.text("},\"[DONE]\"]");
}

fn embedding(call: &Call, ink: &mut Ink<'_>, out: &mut Vec<u8>) {
    out.text("{\"embedding\":[");
    for at in 0..64 {
        out.text(if at == 0 { "0.0" } else { ",-0.0" }).number(ink.random.range(100_000, 999_999));
    }
    out.text("],\"inputTextTokenCount\":").number(call.usage.input).text("}");
}
