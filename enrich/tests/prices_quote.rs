//! What a call costs: exact, additive, monotone, and unpriced where a price is not known.

use std::sync::LazyLock;

use proptest::prelude::*;
use sluice_enrich::prices::{Catalogue, ProfileRates, UnpricedReason};
use sluice_schemas::usage::{GuardrailUnits, MAX_TOKENS};
use sluice_schemas::{CostBasis, Extras, Micros, PicoUsd, PriceStatus, ServiceTier, Usage};

const NOW: Micros = Micros(1_790_000_000_000_000);

fn builtin() -> Catalogue {
    static BUILTIN: LazyLock<Catalogue> = LazyLock::new(|| Catalogue::builtin().expect("the built-in prices"));
    BUILTIN.clone()
}

fn file(cards: &str) -> Catalogue {
    Catalogue::from_text(&format!("format = \"sluice.prices/1\"\nlabel = \"test\"\n{cards}")).expect("a price file")
}

fn rates(catalogue: &Catalogue, model: &str, region: &str) -> ProfileRates {
    catalogue.resolve(model, region, "", ServiceTier::Standard, "Converse")
}

fn usd(text: &str) -> PicoUsd {
    text.parse().expect("an amount")
}

fn tokens(input: u64, output: u64) -> Usage {
    Usage { input, output, ..Usage::default() }
}

fn exact(rates: &ProfileRates, usage: Usage) -> (PriceStatus, PicoUsd, Option<UnpricedReason>) {
    let quote = rates.quote(NOW, &usage, None, CostBasis::Exact, false);
    assert_eq!(quote.cost, quote.cost_max);
    assert_eq!(quote.price_version.is_empty(), quote.status != PriceStatus::Priced);
    (quote.status, quote.cost, quote.reason)
}

#[test]
fn five_classes_have_five_prices() {
    let rates = rates(&builtin(), "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "us-east-1");
    assert_eq!((rates.model.as_str(), rates.scope.as_str()), ("anthropic.claude-sonnet-4-5-20250929-v1:0", "geo:us"));
    let usage = Usage { input: 2, output: 500, cache_read: 95_500, cache_write_5m: 1_000, cache_write_1h: 1_000 };
    // 2 × 3.30 + 500 × 16.50 + 95,500 × 0.33 + 1,000 × 4.125 + 1,000 × 6.60, in USD per million.
    assert_eq!(exact(&rates, usage), (PriceStatus::Priced, usd("0.0504966"), None));
}

#[test]
fn scope_and_source_region_choose_the_card() {
    let catalogue = builtin();
    let million = tokens(1_000_000, 0);
    for (model, region, scope, cost) in [
        ("global.anthropic.claude-haiku-4-5-20251001-v1:0", "us-east-1", "global", "1"),
        ("us.anthropic.claude-haiku-4-5-20251001-v1:0", "us-east-1", "geo:us", "1.1"),
        // Calls in the region cost what calls through its geographic profile cost; the bare entry of the list is the global price.
        ("anthropic.claude-haiku-4-5-20251001-v1:0", "us-east-1", "in_region", "1.1"),
        ("anthropic.claude-haiku-4-5-20251001-v1:0", "us-gov-west-1", "in_region", "1.2"),
        ("amazon.nova-2-lite-v1:0", "eu-central-1", "in_region", "0.429"),
        ("amazon.nova-2-lite-v1:0", "ap-northeast-1", "in_region", "0.396"),
        // A region of its own, one without, and one of no geography.
        ("deepseek.v3.2", "eu-north-1", "in_region", "0.74"),
        ("minimax.minimax-m2.1", "eu-west-2", "in_region", "0.47"),
        ("minimax.minimax-m2.1", "eu-west-3", "in_region", "0.3"),
        ("amazon.nova-2-lite-v1:0", "me-central-1", "in_region", "0.3"),
        // A profile without a card: the region's geography, then any region.
        ("ca.amazon.nova-2-lite-v1:0", "ca-central-1", "geo:ca", "0.33"),
        ("zz.amazon.nova-pro-v1:0", "zz-east-1", "geo:zz", "0.8"),
    ] {
        let rates = rates(&catalogue, model, region);
        assert_eq!(rates.scope, scope, "{model}");
        assert_eq!(exact(&rates, million), (PriceStatus::Priced, usd(cost), None), "{model} in {region}");
    }
}

#[test]
fn where_a_call_ran_does_not_change_its_price() {
    let catalogue = builtin();
    let priced = |inference: &str| {
        let rates = catalogue.resolve("eu.amazon.nova-2-lite-v1:0", "eu-central-1", inference, ServiceTier::Standard, "Converse");
        exact(&rates, tokens(10, 10))
    };
    assert_eq!(priced("eu-north-1"), priced(""));
}

#[test]
fn long_prompts_are_repriced_as_a_whole_from_the_first_token_above() {
    let catalogue = builtin();
    for (model, above, short, long) in [
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", 200_000, ("0.33", "16.5"), ("0.66", "24.75")),
        ("us.anthropic.claude-haiku-5-5", 100_000, ("0.011", "0.55"), ("0.055", "2.75")),
        ("us.openai.gpt-5.4", 272_000, ("0.275", "16.5"), ("0.55", "24.75")),
    ] {
        let rates = rates(&catalogue, model, "us-east-1");
        for (prompt, (read, output)) in [(above, short), (above + 1, long)] {
            // Cached tokens count towards the length.
            let usage = Usage { output: 1_000_000, cache_read: prompt, ..Usage::default() };
            let expected = usd(output).0 + usd(read).0 * i128::from(prompt) / 1_000_000;
            assert_eq!(exact(&rates, usage), (PriceStatus::Priced, PicoUsd(expected), None), "{model} {prompt}");
        }
    }
}

#[test]
fn a_missing_class_is_unpriced_and_never_another_class() {
    let catalogue = builtin();
    let nova = rates(&catalogue, "us.amazon.nova-lite-v1:0", "us-east-1");
    assert_eq!(exact(&nova, tokens(1, 1)).0, PriceStatus::Priced);
    let written = Usage { cache_write_1h: 1, ..tokens(1, 1) };
    assert_eq!(exact(&nova, written), (PriceStatus::Unpriced, PicoUsd::ZERO, Some(UnpricedReason::NoRate)));
    // A tier without a price, and a tier whose long prompts have an unknown one.
    let flex = catalogue.resolve("us.anthropic.claude-opus-5-5", "us-east-1", "", ServiceTier::Flex, "Converse");
    assert_eq!(exact(&flex, tokens(1, 1)), (PriceStatus::Unpriced, PicoUsd::ZERO, Some(UnpricedReason::NoCard)));
    assert_eq!(flex.model, "anthropic.claude-opus-5-5");
    let batch = catalogue.resolve("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "us-east-1", "", ServiceTier::Batch, "");
    assert_eq!(exact(&batch, tokens(200_000, 1)).0, PriceStatus::Priced);
    assert_eq!(exact(&batch, tokens(200_001, 1)).2, Some(UnpricedReason::NoRate));
}

#[test]
fn a_tier_has_no_price_from_another_place() {
    let catalogue = builtin();
    let model = "anthropic.claude-haiku-4-5-20251001-v1:0";
    for (region, tier, cost) in [
        ("us-gov-west-1", ServiceTier::Standard, Some("1.2")),
        // The commercial regions have a batch price, at their own level.
        ("us-gov-west-1", ServiceTier::Batch, None),
        ("us-east-1", ServiceTier::Batch, Some("0.55")),
    ] {
        let rates = catalogue.resolve(model, region, "", tier, "Converse");
        let expected = cost.map_or((PriceStatus::Unpriced, PicoUsd::ZERO), |cost| (PriceStatus::Priced, usd(cost)));
        let (status, found, _) = exact(&rates, tokens(1_000_000, 0));
        assert_eq!((status, found), expected, "{region} {tier:?}");
    }
}

#[test]
fn batch_jobs_are_at_the_batch_tier() {
    let job = builtin().resolve("amazon.nova-pro-v1:0", "us-east-1", "", ServiceTier::Standard, "CreateModelInvocationJob");
    assert_eq!(exact(&job, tokens(1_000_000, 0)).1, usd("0.4"));
}

#[test]
fn unknown_is_not_zero() {
    let catalogue = builtin();
    for (model, reason) in [
        ("acme.brand-new-v1:0", UnpricedReason::UnknownModel),
        ("arn:aws:bedrock:us-east-1:111122223333:application-inference-profile/abcdefghijkl", UnpricedReason::ApplicationProfile),
        ("arn:aws:bedrock:us-east-1:111122223333:imported-model/abcdefghijkl", UnpricedReason::ImportedModel),
        ("arn:aws:bedrock:us-east-1:111122223333:custom-model-deployment/abcdefghijkl", UnpricedReason::CustomModel),
        ("arn:aws:bedrock:us-east-1:111122223333:default-prompt-router/anthropic.claude:1", UnpricedReason::PromptRouter),
        ("arn:aws:sagemaker:us-east-1:111122223333:endpoint/x", UnpricedReason::UnknownModel),
        ("openai.gpt-5.6-cyber", UnpricedReason::UnknownModel),
        ("claude-sonnet-5", UnpricedReason::UnknownModel),
        ("", UnpricedReason::UnknownModel),
    ] {
        let rates = rates(&catalogue, model, "us-east-1");
        assert_eq!((rates.model.as_str(), rates.scope.as_str()), (model, ""));
        for usage in [tokens(1, 1), Usage::default()] {
            assert_eq!(exact(&rates, usage), (PriceStatus::Unpriced, PicoUsd::ZERO, Some(reason)), "{model}");
        }
    }
}

#[test]
fn an_alias_names_the_model_behind_an_arn() {
    let profile = "arn:aws:bedrock:us-east-1:111122223333:application-inference-profile/abcdefghijkl";
    let bought = "arn:aws:bedrock:us-east-1:111122223333:provisioned-model/abcdefghijkl";
    let model = "anthropic.claude-haiku-4-5-20251001-v1:0";
    for (target, inference, scope, cost) in [
        (format!("global.{model}"), "", "global", "1"),
        (format!("arn:aws:bedrock:::foundation-model/{model}"), "", "global", "1"),
        (format!("arn:aws:bedrock:us-east-1::foundation-model/{model}"), "", "in_region", "1.1"),
        (format!("arn:aws:bedrock:us-east-1::foundation-model/{model}"), "us-west-2", "geo:us", "1.1"),
        (format!("arn:aws:bedrock:us-east-1::foundation-model/{model}"), "eu-west-1", "global", "1"),
    ] {
        let catalogue = builtin().with_aliases([(profile.to_owned(), target.clone())]);
        let rates = catalogue.resolve(profile, "us-east-1", inference, ServiceTier::Standard, "Converse");
        assert_eq!((rates.model.as_str(), rates.scope.as_str()), (model, scope), "{target}");
        assert_eq!(exact(&rates, tokens(1_000_000, 0)).1, usd(cost), "{target}");
    }
    let catalogue = builtin().with_aliases([(bought.to_owned(), model.to_owned())]);
    let rates = catalogue.resolve(bought, "us-east-1", "", ServiceTier::Standard, "Converse");
    assert_eq!((rates.model.as_str(), rates.no_token_price), (model, true));
    assert_eq!(exact(&rates, tokens(9, 9)).0, PriceStatus::NoCharge);
}

#[test]
fn bought_capacity_and_failures_cost_nothing_per_token() {
    let catalogue = builtin();
    let bought = rates(&catalogue, "arn:aws:bedrock:us-east-1:111122223333:provisioned-model/abcdefghijkl", "us-east-1");
    assert_eq!(exact(&bought, tokens(1_000, 1_000)).0, PriceStatus::NoCharge);
    let reserved = catalogue.resolve("us.anthropic.claude-opus-5-5", "us-east-1", "", ServiceTier::Reserved, "Converse");
    assert_eq!(exact(&reserved, tokens(1_000, 1_000)).0, PriceStatus::NoCharge);
    let known = rates(&catalogue, "amazon.nova-pro-v1:0", "us-east-1");
    let unknown = rates(&catalogue, "acme.brand-new-v1:0", "us-east-1");
    for rates in [&known, &unknown] {
        assert_eq!(rates.quote(NOW, &Usage::default(), None, CostBasis::Exact, true).status, PriceStatus::NoCharge);
    }
    // A failed call that consumed tokens is paid; a successful one without any costs zero, priced.
    let failed = known.quote(NOW, &tokens(1_000_000, 0), None, CostBasis::Exact, true);
    assert_eq!((failed.status, failed.cost), (PriceStatus::Priced, usd("0.8")));
    assert_eq!(exact(&known, Usage::default()), (PriceStatus::Priced, PicoUsd::ZERO, None));
}

#[test]
fn guardrail_units_are_paid_beside_and_without_tokens() {
    let catalogue = builtin();
    let guardrail =
        GuardrailUnits { topic: 2, content: 3, word: 7, sensitive: 1, sensitive_free: 9, grounding: 1, content_image: 1, reasoning: 1 };
    let extras = Extras { guardrail, ..Extras::default() };
    let sum = usd("0.00187");
    let model = rates(&catalogue, "amazon.nova-pro-v1:0", "us-east-1");
    for (rates, usage, failed, expected) in [
        (&model, Usage::default(), false, sum),
        (&model, Usage::default(), true, sum),
        (&model, tokens(1_000, 0), false, PicoUsd(sum.0 + usd("0.0008").0)),
        (&rates(&catalogue, "arn:aws:bedrock:us-east-1:1:provisioned-model/x", "us-east-1"), tokens(5, 5), false, sum),
    ] {
        let quote = rates.quote(NOW, &usage, Some(&extras), CostBasis::Exact, failed);
        assert_eq!((quote.status, quote.cost), (PriceStatus::Priced, expected));
    }
    // A model without a price makes the call unpriced, whatever the guardrail cost.
    let unknown = rates(&catalogue, "acme.brand-new-v1:0", "us-east-1");
    assert_eq!(unknown.quote(NOW, &tokens(1, 1), Some(&extras), CostBasis::Exact, false).status, PriceStatus::Unpriced);
}

#[test]
fn images_by_size_steps_and_quality() {
    let catalogue = builtin();
    let sdxl = rates(&catalogue, "stability.stable-diffusion-xl-v0", "us-east-1");
    let image = |side, steps| Extras { images: 3, image_width: side, image_height: 64, image_steps: steps, ..Extras::default() };
    for (side, steps, each) in
        [(512, 50, "0.018"), (512, 51, "0.036"), (513, 50, "0.036"), (4_096, 150, "0.072"), (512, 0, "0.018"), (0, 0, "0.036")]
    {
        let quote = sdxl.quote(NOW, &Usage::default(), Some(&image(side, steps)), CostBasis::Exact, false);
        assert_eq!((quote.status, quote.cost.0), (PriceStatus::Priced, usd(each).0 * 3), "{side} {steps}");
    }
    // Larger than any card says: not the price of the largest.
    let one = rates(&catalogue, "stability.stable-diffusion-xl-v1", "us-east-1");
    assert_eq!(one.quote(NOW, &Usage::default(), Some(&image(1_025, 50)), CostBasis::Exact, false).reason, Some(UnpricedReason::NoRate));
    // Not logged how many: unpriced, not free. Asked for, but failed: nothing to pay.
    assert_eq!(exact(&one, Usage::default()).2, Some(UnpricedReason::UnitsNotLogged));
    let failed = one.quote(NOW, &Usage::default(), Some(&image(512, 50)), CostBasis::Exact, true);
    assert_eq!((failed.status, failed.cost), (PriceStatus::NoCharge, PicoUsd::ZERO));
    let quality = file(
        "[[card]]\nmodel = \"acme.paint\"\nusd_per_image = [{ max_side = 1024, quality = \"premium\", usd = \"0.06\" }, { max_side = 1024, quality = \"standard\", usd = \"0.04\" }]",
    );
    let paint = rates(&quality, "acme.paint", "us-east-1");
    for (quality, each) in [("premium", Some("0.06")), ("standard", Some("0.04")), ("", Some("0.04")), ("royal", None)] {
        let extras = Extras { images: 1, image_quality: quality.to_owned(), ..Extras::default() };
        let quote = paint.quote(NOW, &Usage::default(), Some(&extras), CostBasis::Exact, false);
        assert_eq!(quote.cost, each.map_or(PicoUsd::ZERO, usd), "{quality}");
        assert_eq!(quote.status == PriceStatus::Priced, each.is_some());
    }
}

#[test]
fn embeddings_reranks_and_what_the_log_does_not_tell() {
    let catalogue = builtin();
    let price = |model: &str, usage: Usage, extras: Option<Extras>| {
        let rates = rates(&catalogue, model, "us-east-1");
        let quote = rates.quote(NOW, &usage, extras.as_ref(), CostBasis::Exact, false);
        (quote.cost, quote.reason)
    };
    let queries = |queries| Some(Extras { queries, ..Extras::default() });
    assert_eq!(price("amazon.titan-embed-text-v2:0", tokens(1_000_000, 0), None), (usd("0.02"), None));
    assert_eq!(price("cohere.rerank-v3-5:0", tokens(120, 0), queries(3)), (usd("0.006"), None));
    // Tokens of a rerank are free, the queries are not: without their number there is no price.
    assert_eq!(price("cohere.rerank-v3-5:0", tokens(120, 0), None).1, Some(UnpricedReason::UnitsNotLogged));
    let picture = Some(Extras { input_images: 2, ..Extras::default() });
    assert_eq!(price("amazon.titan-embed-image-v1", tokens(1_000, 0), picture), (usd("0.00092"), None));
    assert_eq!(price("amazon.titan-embed-image-v1", tokens(1_000, 0), None), (usd("0.0008"), None));
    // Video input is priced by seconds and speech by its own token price; the log has neither.
    assert_eq!(price("twelvelabs.pegasus-1-2-v1:0", tokens(0, 100), None).1, Some(UnpricedReason::UnitsNotLogged));
    assert_eq!(price("amazon.nova-2-sonic-v1:0", tokens(100, 100), None).1, Some(UnpricedReason::UnitsNotLogged));
    // Speech and text at one price can be told apart no better, but need not be.
    assert_eq!(price("us.amazon.nova-2-pro-preview-20251202-v1:0", tokens(1_000_000, 0), None), (usd("1.375"), None));
    let film = file("[[card]]\nmodel = \"acme.film\"\nusd_per_unit = { output_video_second = \"0.08\" }");
    let extras = Extras { video_ms: 6_001, ..Extras::default() };
    let quote = rates(&film, "acme.film", "").quote(NOW, &Usage::default(), Some(&extras), CostBasis::Exact, false).cost;
    assert_eq!(quote, usd("0.48008"));
}

#[test]
fn the_bound_of_an_envelope_takes_every_write_for_an_hour() {
    let catalogue = builtin();
    let usage = Usage { input: 3, output: 142, cache_write_5m: 28_857, ..Usage::default() };
    let rates = rates(&catalogue, "us.anthropic.claude-haiku-4-5-20251001-v1:0", "us-east-1");
    let quote = rates.quote(NOW, &usage, None, CostBasis::Envelope, false);
    let hour = Usage { cache_write_5m: 0, cache_write_1h: 28_857, ..usage };
    assert_eq!(quote.cost, exact(&rates, usage).1);
    assert_eq!(quote.cost_max, exact(&rates, hour).1);
    assert!(quote.cost_max > quote.cost);
    // No one-hour price: nothing dearer is possible.
    let gpt = self::rates(&catalogue, "us.openai.gpt-5.6-sol", "us-east-1");
    let quote = gpt.quote(NOW, &usage, None, CostBasis::Envelope, false);
    assert_eq!((quote.status, quote.cost_max), (PriceStatus::Priced, quote.cost));
}

#[test]
fn prices_beyond_measure_are_unpriced_not_wrapped() {
    let dear = file("[[card]]\nmodel = \"acme.gold\"\nusd_per_million_tokens = { input = \"9999999999\", output = \"1\" }");
    let rates = rates(&dear, "acme.gold", "us-east-1");
    assert_eq!(exact(&rates, tokens(1, 0)).1, usd("9999.999999"));
    assert_eq!(exact(&rates, tokens(u64::MAX, 0)), (PriceStatus::Unpriced, PicoUsd::ZERO, Some(UnpricedReason::Overflow)));
    let usage =
        Usage { input: MAX_TOKENS, output: MAX_TOKENS, cache_read: MAX_TOKENS, cache_write_5m: MAX_TOKENS, cache_write_1h: MAX_TOKENS };
    let opus = self::rates(&builtin(), "us.anthropic.claude-opus-4-20250514-v1:0", "us-east-1");
    let most = exact(&opus, Usage { cache_write_1h: 0, ..usage });
    assert_eq!(most, (PriceStatus::Priced, usd("121221156.962304"), None));
}

#[test]
fn one_rounding_a_call_half_to_even() {
    // 0.0000005 pico-dollars a token: half a pico-dollar at a million tokens.
    let file =
        file("[[card]]\nmodel = \"acme.dust\"\nusd_per_million_tokens = { input = \"0.0000000000005\", output = \"0.0000000000005\" }");
    let rates = rates(&file, "acme.dust", "us-east-1");
    for (input, output, pico) in [(1_000_000, 0, 0), (1_000_000, 1_000_000, 1), (3_000_000, 0, 2), (5_000_000, 0, 2), (500_000, 500_001, 1)]
    {
        assert_eq!(exact(&rates, tokens(input, output)).1, PicoUsd(pico), "{input} {output}");
    }
}

fn usages() -> impl Strategy<Value = Usage> {
    let count = || prop_oneof![Just(0_u64), 0_u64..500_000, 0_u64..=MAX_TOKENS];
    (count(), count(), count(), count(), count()).prop_map(|(input, output, cache_read, cache_write_5m, cache_write_1h)| Usage {
        input,
        output,
        cache_read,
        cache_write_5m,
        cache_write_1h,
    })
}

fn sum(a: Usage, b: Usage) -> Usage {
    Usage {
        input: a.input + b.input,
        output: a.output + b.output,
        cache_read: a.cache_read + b.cache_read,
        cache_write_5m: a.cache_write_5m + b.cache_write_5m,
        cache_write_1h: a.cache_write_1h + b.cache_write_1h,
    }
}

proptest! {
    /// Without a long-context step, the cost of two calls is the cost of one call with all their tokens, roundings apart.
    #[test]
    fn costs_add_up(a in usages(), b in usages()) {
        let rates = rates(&builtin(), "us.anthropic.claude-opus-5-5", "us-east-1");
        let (whole, parts) = (exact(&rates, sum(a, b)).1.0, exact(&rates, a).1.0 + exact(&rates, b).1.0);
        prop_assert!((whole - parts).abs() <= 1, "{whole} {parts}");
    }

    /// More tokens never cost less, steps included, and the bound is never below the cost.
    #[test]
    fn costs_are_monotone(a in usages(), b in usages(), step in any::<bool>()) {
        let model = if step { "us.anthropic.claude-sonnet-4-5-20250929-v1:0" } else { "us.anthropic.claude-opus-5-5" };
        let rates = rates(&builtin(), model, "us-east-1");
        prop_assert!(exact(&rates, sum(a, b)).1 >= exact(&rates, a).1);
        let bound = rates.quote(NOW, &a, None, CostBasis::Envelope, false);
        prop_assert!(bound.cost_max >= bound.cost);
    }

    /// Any text resolves to something, and anything quoted is priced, unpriced at zero or not charged.
    #[test]
    fn any_call_has_an_answer(
        model in "(us\\.|global\\.|arn:aws:bedrock:)?[a-z0-9.:/-]{0,40}",
        region in "[a-z0-9-]{0,16}",
        usage in usages(),
        at in any::<i64>(),
    ) {
        let rates = builtin().resolve(&model, &region, "", ServiceTier::Standard, "Converse");
        let quote = rates.quote(Micros(at), &usage, None, CostBasis::Exact, false);
        prop_assert!(quote.status == PriceStatus::Priced || quote.cost == PicoUsd::ZERO);
        prop_assert_eq!(quote.reason.is_some(), quote.status == PriceStatus::Unpriced);
    }
}
