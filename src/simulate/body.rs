//! Request bodies in the shapes of the operations and model families, with traps for careless readers.
//!
//! Source of the shapes: AWS, "Converse" and "InvokeModel" in the Amazon Bedrock API Reference; Anthropic's Messages API.

use super::call::Call;
use super::models::Family;
use super::put::Put;
use super::record::Ink;

/// Tokens that must never be booked: they stand in bodies where no usage belongs.
pub(crate) const TRAP: u64 = 987_654_321;

/// Appends the request body.
pub(crate) fn request(call: &Call, ink: &mut Ink<'_>, out: &mut Vec<u8>) {
    let converse = call.truth.operation.starts_with("Converse");
    match call.family {
        _ if converse => converse_request(call, ink, out),
        Family::Claude | Family::Nova => messages_request(call, ink, out),
        Family::Llama => {
            out.text("{\"prompt\":");
            ink.filler.quoted(ink.random, ink.request_bytes, out);
            out.text(",\"max_gen_len\":512,\"temperature\":0.5}");
        }
        Family::OpenAi => {
            out.text("{\"model\":").string(call.model).text(",\"messages\":[{\"role\":\"user\",\"content\":");
            ink.filler.quoted(ink.random, ink.request_bytes, out);
            out.text("}],\"max_completion_tokens\":4096,\"usage\":{\"prompt_tokens\":").number(TRAP).text("}}");
        }
        Family::Embedding => {
            out.text("{\"inputText\":");
            ink.filler.quoted(ink.random, ink.request_bytes.min(2000), out);
            out.text(",\"dimensions\":256,\"normalize\":true}");
        }
    }
}

fn converse_request(call: &Call, ink: &mut Ink<'_>, out: &mut Vec<u8>) {
    out.text("{\"messages\":[{\"role\":\"user\",\"content\":[{\"text\":");
    ink.filler.quoted(ink.random, ink.request_bytes / 2, out);
    out.text("}]},{\"role\":\"assistant\",\"content\":[{\"toolUse\":{\"toolUseId\":\"tooluse_1\",\"name\":\"lookup\",\"input\":");
    trap(out);
    out.text("}}]},{\"role\":\"user\",\"content\":[{\"toolResult\":{\"toolUseId\":\"tooluse_1\",\"content\":[{\"json\":");
    trap(out);
    out.text("},{\"text\":");
    ink.filler.quoted(ink.random, ink.request_bytes / 3, out);
    out.text("}]}}]}],\"system\":[{\"text\":");
    ink.filler.quoted(ink.random, ink.request_bytes / 6, out);
    out.text("},{\"cachePoint\":{\"type\":\"default\"}}],\"inferenceConfig\":{\"maxTokens\":4096,\"temperature\":0.7}");
    if let Some(tier) = call.asked_tier {
        out.text(",\"serviceTier\":{\"type\":").string(tier).text("}");
    }
    if !call.metadata.is_empty() {
        out.key("requestMetadata").text(&call.metadata);
    }
    out.text(",\"additionalModelRequestFields\":{\"top_k\":250}}");
}

fn messages_request(call: &Call, ink: &mut Ink<'_>, out: &mut Vec<u8>) {
    match call.family {
        Family::Claude => out.text(
            "{\"anthropic_version\":\"bedrock-2023-05-31\",\"max_tokens\":4096,\"temperature\":1,\"system\":[{\"type\":\"text\",\"text\":",
        ),
        _ => out.text("{\"schemaVersion\":\"messages-v1\",\"inferenceConfig\":{\"maxTokens\":1024},\"system\":[{\"text\":"),
    };
    ink.filler.quoted(ink.random, ink.request_bytes / 5, out);
    out.text("}],\"messages\":[{\"role\":\"user\",\"content\":[{\"text\":");
    ink.filler.quoted(ink.random, ink.request_bytes * 4 / 5, out);
    out.text("}]}],\"metadata\":");
    trap(out);
    out.text("}");
}

/// Appends an object with every key that matters elsewhere, in a place where it means nothing.
pub(crate) fn trap(out: &mut Vec<u8>) {
    out.text("{\"requestId\":\"00000000-0000-4000-8000-00000000dead\",\"errorCode\":\"ThrottlingException\",\"inputTokenCount\":")
        .number(TRAP);
    out.text(",\"usage\":{\"input_tokens\":").number(TRAP).text(",\"inputTokens\":").number(TRAP);
    out.text(",\"cacheDetails\":[{\"ttl\":\"1h\",\"inputTokens\":").number(TRAP).text("}]},\"serviceTier\":{\"type\":\"priority\"}}");
}
