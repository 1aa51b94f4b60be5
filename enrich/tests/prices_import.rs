//! Price lists of others become rate cards; whatever does not is listed with the reason.

use std::collections::BTreeSet;

use sluice_enrich::prices::import::{self, ImportError};
use sluice_enrich::prices::{CallToRate, Catalogue, Endpoint, Scope, Tier, Unit, rerate};
use sluice_schemas::{Micros, PicoUsd, PriceStatus, ServiceTier, Usage};

const LITELLM: &str = include_str!("data/litellm_bedrock.json");
const OFFER: &str = include_str!("data/aws_offer_bedrock.constructed.json");
const MARKETPLACE: &str = include_str!("data/aws_offer_foundation_models.constructed.json");

fn at(text: &str) -> Micros {
    text.parse().expect("a timestamp")
}

fn cost(catalogue: &Catalogue, call: &CallToRate<'_>) -> (PriceStatus, PicoUsd) {
    let rated = rerate(catalogue, call);
    (rated.status, rated.cost)
}

#[test]
fn every_litellm_entry_is_converted_or_listed() {
    let import = import::litellm(LITELLM, Micros(0)).expect("the list");
    let entries = import.skipped.iter().filter(|(key, _)| !key.contains('#')).count();
    assert_eq!(import.converted + entries, 614);
    assert_eq!(import.converted, 607);
    let skipped: BTreeSet<&str> = import.skipped.iter().filter(|(key, _)| !key.contains('#')).map(|(key, _)| key.as_str()).collect();
    let expected = [
        // Routes and spellings of another program; the models themselves are priced.
        "anthropic.claude-haiku-4-5@20251001",
        "bedrock/invoke/anthropic.claude-3-5-sonnet-20240620-v1:0",
        "bedrock/moonshotai.kimi-k2.5",
        "bedrock/us-gov-east-1/claude-sonnet-4-5-20250929-v1:0",
        "bedrock/us-gov-west-1/claude-sonnet-4-5-20250929-v1:0",
        "bedrock/us.anthropic.claude-3-5-haiku-20241022-v1:0",
        "claude-sonnet-4-5-20250929-v1:0",
    ];
    assert_eq!(skipped, expected.into_iter().collect());
    let fields: BTreeSet<&str> = import.skipped.iter().filter_map(|(key, _)| key.split_once('#')).map(|(_, field)| field).collect();
    assert_eq!(fields, BTreeSet::from(["provider_specific_entry"]));
}

#[test]
fn the_built_in_prices_are_that_list() {
    let import = import::litellm(LITELLM, Micros(0)).expect("the list");
    let builtin = Catalogue::from_text(include_str!("../data/bedrock.toml")).expect("the file");
    assert!(builtin.diff(&import.catalogue).is_empty());
    let label = builtin.version().split_once('#').map_or("", |(label, _)| label);
    assert_eq!(import.catalogue.relabelled(label).expect("one list").to_text(), include_str!("../data/bedrock.toml"));
    let tiers = |tier| builtin.cards().filter(|card| card.key.tier == tier).count();
    assert_eq!((tiers(Tier::Batch), tiers(Tier::Flex), tiers(Tier::Priority), tiers(Tier::Ultrafast)), (152, 139, 122, 6));
    assert_eq!((tiers(Tier::HourlyUnit1Month), tiers(Tier::HourlyUnit6Months)), (14, 14));
    assert_eq!(builtin.cards().filter(|card| card.key.endpoint == Endpoint::Mantle && card.key.tier == Tier::Standard).count(), 50);
}

#[test]
fn amendments_add_models_and_prices_of_images_and_change_no_token_price() {
    let list = Catalogue::from_text(include_str!("../data/bedrock.toml")).expect("the file");
    let builtin = Catalogue::builtin().expect("the built-in prices");
    let listed: BTreeSet<&str> = list.models().collect();
    for change in list.diff(&builtin) {
        let known = listed.contains(change.key.model.as_str());
        assert!(!known || change.item.starts_with("image.") || change.item == "input_image", "{change:?}");
    }
    let added: BTreeSet<&str> = builtin.models().filter(|model| !listed.contains(model)).collect();
    let expected = [
        "anthropic.claude-3-haiku-20240307-v1:0",
        "anthropic.claude-3-sonnet-20240229-v1:0",
        "anthropic.claude-v2",
        "cohere.command-r-plus-v1:0",
        "cohere.command-r-v1:0",
    ];
    assert_eq!(added, expected.into_iter().collect());
}

#[test]
fn numbers_are_read_from_their_text() {
    let json = r#"{"acme.m": {"litellm_provider": "bedrock", "input_cost_per_token": 3.3e-06, "output_cost_per_token": "1.65E-5"},
                   "gpt": {"litellm_provider": "openai", "input_cost_per_token": "what"}}"#;
    let import = import::litellm(json, Micros(0)).expect("the list");
    let card = import.catalogue.cards().next().expect("a card");
    assert_eq!(card.tokens.input.map(|price| price.to_text(6)), Some("3.3".to_owned()));
    assert_eq!(card.tokens.output.map(|price| price.to_text(6)), Some("16.5".to_owned()));
    assert!(import.skipped.is_empty());
}

#[test]
fn unknown_and_negative_prices_are_listed() {
    let json = r#"{"acme.m": {"litellm_provider": "bedrock", "input_cost_per_token": 1e-6, "output_cost_per_token": -1e-6,
                   "output_cost_per_dream": 1, "cache_read_input_token_cost": 1e-40, "cache_creation_input_token_cost": null},
                   "acme.free": {"litellm_provider": "bedrock"}, "acme.odd": 7}"#;
    let import = import::litellm(json, Micros(0)).expect("the list");
    let listed: BTreeSet<&str> = import.skipped.iter().map(|(key, _)| key.as_str()).collect();
    let expected = [
        "acme.free",
        "acme.m#cache_creation_input_token_cost",
        "acme.m#cache_read_input_token_cost",
        "acme.m#output_cost_per_dream",
        "acme.m#output_cost_per_token",
        "acme.odd",
    ];
    assert_eq!(listed, expected.into_iter().collect());
}

#[test]
fn what_is_no_price_list_is_refused() {
    for text in ["", "[]", "{", "nonsense"] {
        assert!(matches!(import::litellm(text, Micros(0)), Err(ImportError::Syntax { .. })), "{text}");
        assert!(matches!(import::aws_offer(text), Err(ImportError::Syntax { .. })), "{text}");
    }
    assert!(matches!(import::litellm("{}", Micros(0)), Err(ImportError::Empty { .. })));
    assert!(matches!(import::aws_offer(r#"{"products": {}, "terms": {}}"#), Err(ImportError::Empty { .. })));
}

#[test]
fn an_aws_offer_prices_calls_from_its_effective_date() {
    let import = import::aws_offer(OFFER).expect("the offer");
    let catalogue = Catalogue::builtin().and_then(|builtin| builtin.overlay(&import.catalogue)).expect("an overlay");
    let usage = Usage { input: 1_000_000, output: 1_000_000, cache_read: 1_000_000, ..Usage::default() };
    let call = CallToRate { model_id: "us.amazon.nova-2-lite-v1:0", region: "us-east-1", usage, ..CallToRate::default() };
    // All its prices are known from the fifth on; before that the built-in card holds. Both say the same here.
    for (time, version) in [("2026-10-04T23:59:59Z", "bedrock-2026-11-21"), ("2026-10-05T00:00:00Z", "AmazonBedrock-20261101000000")] {
        let rated = rerate(&catalogue, &CallToRate { event_time: at(time), ..call });
        assert_eq!(rated.cost, "3.1625".parse().expect("an amount"), "{time}");
        assert!(rated.price_version.starts_with(version), "{time} {}", rated.price_version);
    }
    let now = at("2026-11-01T00:00:00Z");
    let plain = Usage { input: 1_000_000, output: 1_000_000, ..Usage::default() };
    for (model_id, region, tier, amount) in [
        ("amazon.nova-2-lite-v1:0", "us-east-1", ServiceTier::Standard, "3.08"),
        ("global.amazon.nova-2-lite-v1:0", "us-east-1", ServiceTier::Standard, "2.8"),
        ("us.amazon.nova-2-lite-v1:0", "us-east-1", ServiceTier::Flex, "1.54"),
        // The billing code alone tells the region.
        ("apac.amazon.nova-pro-v1:0", "ap-northeast-1", ServiceTier::Standard, "4.8"),
        ("jp.amazon.nova-pro-v1:0", "ap-northeast-1", ServiceTier::Standard, "4.8"),
        ("amazon.nova-pro-v1:0", "ap-northeast-1", ServiceTier::Standard, "4.8"),
    ] {
        let call = CallToRate { event_time: now, model_id, region, tier, usage: plain, ..CallToRate::default() };
        assert_eq!(cost(&catalogue, &call), (PriceStatus::Priced, amount.parse().expect("an amount")), "{model_id} {region}");
    }
}

#[test]
fn an_aws_offer_lists_what_it_cannot_use() {
    let import = import::aws_offer(OFFER).expect("the offer");
    let listed: Vec<String> = import.skipped.iter().map(|(key, why)| format!("{key}: {why}")).collect();
    for expected in [
        "USE1-NovaPro-input-tokens-custom-model: prices of custom models",
        "USE1-MindReader9-input-tokens: no known model is called",
        "USE1-NovaPro-input-tokens-turbo: unknown word 'turbo'",
        "USE1-NovaPro-input-tokens: unknown unit '1k bytes'",
        "ZZZ9-NovaPro-input-tokens: unknown billing region 'ZZZ9'",
        // A single side of a model would shadow the complete card that is known.
        "amazon.nova-pro-v1:0 in_region us-east-1 standard: no price of input tokens",
        "amazon.nova-2-lite-v1:0 in_region us-east-1 priority: no price of output tokens",
    ] {
        assert!(listed.iter().any(|line| line.contains(expected)), "{expected}\n{listed:#?}");
    }
    let products = 25;
    let skipped = import.skipped.iter().filter(|(key, _)| key.starts_with("SKU")).count();
    assert_eq!(import.converted + skipped, products);
    let units = |model: &str, tier| {
        let card =
            import.catalogue.cards().find(|card| card.key.model == model && card.key.tier == tier && card.key.scope == Scope::InRegion);
        card.cloned().expect("a card")
    };
    assert_eq!(units("guardrails", Tier::Standard).units[&Unit::GuardrailContent].to_string(), "0.00015");
    assert_eq!(units("amazon.nova-pro-v1:0", Tier::HourlyUnit).units[&Unit::ModelUnitHour].to_string(), "108.15");
    let canvas = units("amazon.nova-canvas-v1:0", Tier::Standard);
    let images: Vec<String> =
        canvas.images.iter().map(|rate| format!("{:?} {} {}", rate.max_side.unwrap_or(0), rate.quality, rate.price)).collect();
    assert_eq!(images, ["1024 premium 0.06", "1024 standard 0.04", "2048 premium 0.08", "2048 standard 0.06"]);
    let mantle = import.catalogue.cards().find(|card| card.key.endpoint == Endpoint::Mantle).expect("a card of the other endpoint");
    assert_eq!((mantle.key.model.as_str(), &mantle.key.scope), ("anthropic.claude-opus-4-8", &Scope::Global));
}

#[test]
fn marketplace_prices_by_scope_tier_and_length() {
    let import = import::aws_offer(MARKETPLACE).expect("the offer");
    let usage = |input| Usage { input, output: 1_000, ..Usage::default() };
    let call = CallToRate { event_time: at("2026-11-01T00:00:00Z"), region: "us-east-1", ..CallToRate::default() };
    for (model_id, tier, usage, amount) in [
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", ServiceTier::Standard, usage(1_000), Some("0.0198")),
        ("anthropic.claude-sonnet-4-5-20250929-v1:0", ServiceTier::Standard, usage(1_000), Some("0.0198")),
        ("global.anthropic.claude-sonnet-4-5-20250929-v1:0", ServiceTier::Standard, usage(1_000), Some("0.018")),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", ServiceTier::Batch, usage(1_000), Some("0.0099")),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", ServiceTier::Standard, usage(200_000), Some("0.6765")),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", ServiceTier::Standard, usage(200_001), Some("1.3447566")),
        // The threshold of this model is known to be another one.
        ("us.anthropic.claude-haiku-5-5", ServiceTier::Standard, usage(100_000), Some("0.01155")),
        ("us.anthropic.claude-haiku-5-5", ServiceTier::Standard, usage(100_001), Some("0.05775055")),
        // Two prices are listed for it: neither is taken.
        ("us.anthropic.claude-opus-4-1-20250805-v1:0", ServiceTier::Standard, usage(1_000), None),
    ] {
        let expected =
            amount.map_or((PriceStatus::Unpriced, PicoUsd::ZERO), |amount| (PriceStatus::Priced, amount.parse().expect("an amount")));
        assert_eq!(cost(&import.catalogue, &CallToRate { model_id, tier, usage, ..call }), expected, "{model_id} {usage:?}");
    }
    assert!(import.skipped.iter().any(|(key, why)| key.contains("InputTPM") && why.contains("reserved")));
    assert!(import.skipped.iter().any(|(key, why)| key.starts_with("anthropic.claude-opus-4-1") && why.contains("two prices")));
    let rerank = import.catalogue.cards().find(|card| card.key.model == "cohere.rerank-v3-5:0").expect("a rerank card");
    assert_eq!(rerank.units[&Unit::Query].to_string(), "0.002");
}

/// Name of the service, usage type, unit, price, and the description that tells what a unit is.
type Row<'a> = (&'a str, &'a str, &'a str, &'a str, &'a str);

/// An offer file of these rows, in the outline of the real ones.
fn offer(code: &str, rows: &[Row<'_>]) -> String {
    let (mut products, mut terms) = (serde_json::Map::new(), serde_json::Map::new());
    for (number, (service, usage_type, unit, usd, description)) in rows.iter().enumerate() {
        let sku = format!("SKU{number:03}");
        let attributes = serde_json::json!({
            "servicecode": code, "location": "US East (N. Virginia)", "locationType": "AWS Region", "usagetype": usage_type,
            "operation": "", "regionCode": "us-east-1", "servicename": service,
        });
        products.insert(sku.clone(), serde_json::json!({ "sku": sku, "attributes": attributes }));
        let dimension = serde_json::json!({
            "rateCode": format!("{sku}.JRTCKXETXF.6YS6EN2CT7"), "description": description, "beginRange": "0", "endRange": "Inf",
            "unit": unit, "pricePerUnit": { "USD": usd }, "appliesTo": [],
        });
        let term = serde_json::json!({
            "offerTermCode": "JRTCKXETXF", "sku": sku, "effectiveDate": "2026-10-01T00:00:00Z",
            "priceDimensions": { format!("{sku}.JRTCKXETXF.6YS6EN2CT7"): dimension }, "termAttributes": {},
        });
        terms.insert(sku.clone(), serde_json::json!({ format!("{sku}.JRTCKXETXF"): term }));
    }
    let offer = serde_json::json!({
        "formatVersion": "v1.0", "disclaimer": "", "offerCode": code, "version": "20261001000000",
        "publicationDate": "2026-10-01T00:00:00Z", "products": products, "terms": { "OnDemand": terms, "Reserved": {} },
    });
    offer.to_string()
}

/// Cost of a call of 1,000 input and 100 output tokens by an offer alone.
fn costs(import: &import::Import, model_id: &str, tier: ServiceTier) -> Option<String> {
    let usage = Usage { input: 1_000, output: 100, ..Usage::default() };
    let call = CallToRate { event_time: at("2026-11-01T00:00:00Z"), region: "us-east-1", model_id, tier, usage, ..CallToRate::default() };
    let (status, amount) = cost(&import.catalogue, &call);
    (status == PriceStatus::Priced).then(|| amount.to_string())
}

#[test]
fn names_and_units_as_the_three_offers_have_them() {
    let haiku = "Claude Haiku 4.5 (Amazon Bedrock Edition)";
    let sonnet = "Claude Sonnet 4.6 (Amazon Bedrock Edition)";
    let said = |what: &str| format!("AWS Marketplace software usage|us-east-1|{what}");
    let [input, output, regional, new, thousand, both] = [
        "Million Input Tokens Global",
        "Million Response Tokens Global",
        "Million Input Tokens Regional CRIS",
        "Million Tokens of a new kind",
        "1K Input Tokens",
        "1K Input Tokens, million",
    ]
    .map(said);
    let marketplace = import::aws_offer(&offer(
        "AmazonBedrockFoundationModels",
        &[
            // One model in units, one in millions of tokens: both are dollars a million.
            (haiku, "USE1-MP:USE1_InputTokenCount_Global-Units", "1M tokens", "1.0000000000", &input),
            (haiku, "USE1-MP:USE1_OutputTokenCount_Global-Units", "1M tokens", "5.0000000000", &output),
            (sonnet, "USE1-MP:USE1_InputTokenCount-Units", "Units", "3.3000000000", &regional),
            (sonnet, "USE1-MP:USE1_OutputTokenCount-Units", "Units", "16.5000000000", &output),
            (sonnet, "USE1-MP:USE1_InputTokenCount_Batch-Units", "Units", "0.00165", &thousand),
            (sonnet, "USE1-MP:USE1_OutputTokenCount_Batch-Units", "Units", "8.25", &output),
            (sonnet, "USE1-MP:USE1_CacheReadInputTokenCount_Global-Units", "Units", "0.3", &both),
            (sonnet, "USE1-MP:USE1_ThinkingTokenCount-Units", "Units", "1", &new),
            (sonnet, "USE1-MP:USE1_InputTokenCount_Lunar-Units", "Units", "1", &new),
            (sonnet, "USE1-MP:USE1_ProvisionedThroughput_1MonthCommit_ModelUnits_Usage-Units", "Units", "21.18", "1 month"),
            (sonnet, "USE1-MP:USE1_Reserved_1Month_InputTPM_Geo-Units", "Units", "0.02", ""),
            ("Somebody's Model (Amazon Bedrock Edition)", "USE1-MP:USE1_InputTokenCount-Units", "Units", "1", &input),
        ],
    ))
    .expect("an offer");
    assert_eq!(
        costs(&marketplace, "global.anthropic.claude-haiku-4-5-20251001-v1:0", ServiceTier::Standard).as_deref(),
        Some("0.001500000000")
    );
    assert_eq!(costs(&marketplace, "us.anthropic.claude-sonnet-4-6", ServiceTier::Standard).as_deref(), Some("0.004950000000"));
    assert_eq!(costs(&marketplace, "us.anthropic.claude-sonnet-4-6", ServiceTier::Batch).as_deref(), Some("0.002475000000"));
    let listed = |import: &import::Import, word: &str| import.skipped.iter().any(|(key, _)| key.contains(word));
    for word in ["CacheReadInputTokenCount_Global", "Thinking", "Lunar", "ProvisionedThroughput", "Reserved_1Month"] {
        assert!(listed(&marketplace, word), "{word}: {:#?}", marketplace.skipped);
    }
    assert_eq!(marketplace.converted + marketplace.skipped.iter().filter(|(key, _)| key.starts_with("SKU")).count(), 12, "none is dropped");

    // The first-party offer prices thousands, and names tier and scope behind the meter.
    let own = [
        ("input-tokens", "0.00033", "output-tokens", "0.00275"),
        ("input-tokens-flex", "0.000165", "output-tokens-flex", "0.001375"),
        ("input-tokens-priority", "0.0005775", "output-tokens-priority", "0.0048125"),
        ("input-tokens-cross-region-global", "0.0003", "output-tokens-cross-region-global", "0.0025"),
    ];
    let names: Vec<[String; 2]> =
        own.iter().map(|(input, _, output, _)| [format!("USE1-Nova2.0Lite-{input}"), format!("USE1-Nova2.0Lite-{output}")]).collect();
    let rows: Vec<Row<'_>> = own
        .iter()
        .zip(&names)
        .flat_map(|((_, of_input, _, of_output), [input, output])| {
            [("Amazon Bedrock", input.as_str(), "1K tokens", *of_input, ""), ("Amazon Bedrock", output, "1K tokens", *of_output, "")]
        })
        .collect();
    for code in ["AmazonBedrock", "AmazonBedrockService"] {
        let import = import::aws_offer(&offer(code, &rows)).expect("an offer");
        assert_eq!((import.converted, import.skipped.len()), (8, 0), "{:#?}", import.skipped);
        for (model_id, tier, expected) in [
            ("us.amazon.nova-2-lite-v1:0", ServiceTier::Standard, "0.000605000000"),
            ("amazon.nova-2-lite-v1:0", ServiceTier::Flex, "0.000302500000"),
            ("amazon.nova-2-lite-v1:0", ServiceTier::Priority, "0.001058750000"),
            ("global.amazon.nova-2-lite-v1:0", ServiceTier::Standard, "0.000550000000"),
        ] {
            assert_eq!(costs(&import, model_id, tier).as_deref(), Some(expected), "{code} {model_id}");
        }
    }
}
