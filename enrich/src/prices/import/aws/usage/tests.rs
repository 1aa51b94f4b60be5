//! Usage types in every documented grammar, and what must be refused.

use super::*;

fn read(usage_type: &str) -> String {
    match parse(usage_type) {
        Err(why) => format!("refused: {why}"),
        Ok(usage) => {
            let meter = match usage.meter {
                Meter::Tokens(class) => class.to_owned(),
                Meter::Unit(unit) => unit.as_str().to_owned(),
                Meter::Image { max_side, quality } => format!("image<={}{quality}", max_side.unwrap_or(0)),
            };
            let flags = [(usage.global, " global"), (usage.long_context, " long"), (usage.mantle, " mantle")];
            let flags: String = flags.iter().filter(|(set, _)| *set).map(|(_, word)| *word).collect();
            format!("{}|{}|{meter}|{}{flags}", usage.place, usage.name, usage.tier.as_str())
        }
    }
}

#[test]
fn every_grammar() {
    for (usage_type, expected) in [
        // AWS's own and open models.
        ("USE1-NovaPro-input-tokens", "USE1|NovaPro|input|standard"),
        ("USE1-NovaPro-output-tokens", "USE1|NovaPro|output|standard"),
        ("USE1-NovaPro-cache-read-input-token-count", "USE1|NovaPro|cache_read|standard"),
        ("USE1-NovaPro-cache-write-input-token-count", "USE1|NovaPro|cache_write_5m|standard"),
        ("USE1-NovaPro-cache-write-input-token-count-1-hour", "USE1|NovaPro|cache_write_1h|standard"),
        ("USE1-Claude4Sonnet-cache-write-1h-input-token-count", "USE1|Claude4Sonnet|cache_write_1h|standard"),
        ("USE1-Nova2.0Lite-input-tokens-flex", "USE1|Nova2.0Lite|input|flex"),
        ("USE1-Nova2.0Lite-output-tokens-priority", "USE1|Nova2.0Lite|output|priority"),
        ("USE1-Nova2.0Lite-input-tokens-batch", "USE1|Nova2.0Lite|input|batch"),
        ("USE1-Nova2.0Lite-input-tokens-cross-region-global", "USE1|Nova2.0Lite|input|standard global"),
        ("USE1-Nova2.0Lite-input-tokens-flex-cross-region-global", "USE1|Nova2.0Lite|input|flex global"),
        ("USE1-Nova2.0Lite-input-tokens-cross-region-global-batch", "USE1|Nova2.0Lite|input|batch global"),
        ("USE1-NovaPro-input-tokens-latency-optimized", "USE1|NovaPro|input|ultrafast"),
        ("EU-Nova2.0Pro-text-input-tokens-priority-cross-region-global", "EU|Nova2.0Pro-text|input|priority global"),
        ("USE1-Llama4-Maverick-17B-output-tokens-batch", "USE1|Llama4-Maverick-17B|output|batch"),
        ("USE1-NovaSonic-speech-input-tokens", "USE1|NovaSonic|input_audio|standard"),
        ("USE1-Qwen3-32B-input-image-token-count", "USE1|Qwen3-32B|input_image_token|standard"),
        // The other endpoint names the model id.
        ("USE1-openai.gpt-oss-120b-mantle-input-tokens-standard", "USE1|openai.gpt-oss-120b|input|standard mantle"),
        (
            "USW2-anthropic.claude-opus-4-8-mantle-cache-write-tokens-global-standard",
            "USW2|anthropic.claude-opus-4-8|cache_write_5m|standard global mantle",
        ),
        ("USW2-zai.glm-5.3-mantle-cache-write-tokens-1h-flex", "USW2|zai.glm-5.3|cache_write_1h|flex mantle"),
        // Marketplace, both spellings.
        ("USE1-MP:USE1_InputTokenCount-Units", "USE1||input|standard"),
        ("USE1-MP:USE1_OutputTokenCount_Global_Batch-Units", "USE1||output|batch global"),
        ("USE1-MP:USE1_CacheReadInputTokenCount_Global-Units", "USE1||cache_read|standard global"),
        ("USE1-MP:USE1_CacheWriteInputTokenCount-Units", "USE1||cache_write_5m|standard"),
        ("USE1-MP:USE1_CacheWrite1hInputTokenCount-Units", "USE1||cache_write_1h|standard"),
        ("USE1-MP:USE1_InputTokenCount_LongContext-Units", "USE1||input|standard long"),
        ("USE1-MP:USE1_input_tokens_standard-Units", "USE1||input|standard"),
        ("USE1_output_tokens_global_batch-Units", "USE1||output|batch global"),
        ("USE1-MP:USE1_cache_write_tokens_1h_long_ctx_global_standard-Units", "USE1||cache_write_1h|standard global long"),
        ("USE1-MP:USE1_search_units-Units", "USE1||query|standard"),
        ("USE1-MP:USE1_InputImageCount-Units", "USE1||input_image|standard"),
        ("USE1-MP:USE1_created_image-Units", "USE1||image<=0|standard"),
        // Guardrails, images, capacity.
        ("USE1-Guardrail-ContentPolicyUnitsConsumed", "USE1||guardrail_content|standard"),
        ("USE1-Canvas-T2I-1024-Standard", "USE1|Canvas|image<=1024standard|standard"),
        ("USE1-TitanImageGeneratorG1-I2I-512-Premium", "USE1|TitanImageGeneratorG1|image<=512premium|standard"),
        ("USE1-NovaPro-ProvisionedThroughput-NoCommit-ModelUnits", "USE1|NovaPro|model_unit_hour|provisioned"),
        ("USE1-NovaPro-ProvisionedThroughput-6Month-ModelUnits", "USE1|NovaPro|model_unit_hour|provisioned_6_months"),
    ] {
        assert_eq!(read(usage_type), expected, "{usage_type}");
    }
}

#[test]
fn what_is_not_known_is_refused() {
    for usage_type in [
        "",
        "Tax",
        "us-east-1",
        "USE1-",
        "USE1-NovaPro-input-tokens-turbo",
        "USE1-NovaPro-input-tokens-custom-model",
        "USE1-NovaPro-Customization-Training",
        "USE1-MP:USE1_Reserved_1Month_InputTPM_Geo-Units",
        "USE1-Guardrail-NewPolicyUnitsConsumed",
        "USE1-GuardrailChecks-ContentPolicyUnitsConsumed",
        "USE1-NovaCanvas-T2I-Huge-Standard",
        "USE1-NovaReel-T2V-720p",
        "USE1-NovaPro-ProvisionedThroughput-9Years-ModelUnits",
        "USE1-NovaPro-input-video-tokens",
        "USE1-DataAutomation-Standard-ImagesProcessed",
    ] {
        assert!(parse(usage_type).is_err(), "{usage_type}: {}", read(usage_type));
    }
}

proptest::proptest! {
    /// Any text is read or refused, and reading says the same twice.
    #[test]
    fn any_text_is_answered(text in "[A-Z0-9]{0,5}[-_](MP:[A-Z0-9]+_)?[A-Za-z0-9._ -]{0,40}(-Units)?") {
        proptest::prop_assert_eq!(parse(&text), parse(&text));
    }

    #[test]
    fn any_character_is_answered(text in ".{0,60}") {
        proptest::prop_assert_eq!(parse(&text).is_ok(), parse(&text).is_ok());
    }
}
