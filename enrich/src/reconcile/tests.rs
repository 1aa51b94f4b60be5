//! Bills against calls: six causes put into one bill and found again, and whatever a bill holds, exact sums.

use proptest::prelude::*;
use sluice_schemas::time::parse_day;
use sluice_schemas::{ServiceTier, Usage};

use super::line::LineReader;
use super::*;

const ACCOUNT: &str = "111122223333";
const REGION: &str = "us-east-1";
/// Two principals as a log and a bill write them.
const ALPHA: &str = "arn:aws:sts::111122223333:assumed-role/Alpha/one";
const BETA: &str = "arn:aws:iam::111122223333:user/beta";

pub(super) fn day(text: &str) -> i32 {
    parse_day(text).expect("a day")
}

fn pico(text: &str) -> PicoUsd {
    text.parse().expect("an amount")
}

pub(super) fn usage(date: &str, usage_type: &str, unit: &str, quantity: &str, cost: &str) -> BilledLine {
    BilledLine {
        day: day(date),
        account: ACCOUNT.to_owned(),
        principal: ALPHA.to_owned(),
        usage_type: usage_type.to_owned(),
        region: String::new(),
        product: "Amazon Bedrock".to_owned(),
        model: String::new(),
        unit: unit.to_owned(),
        description: String::new(),
        kind: LineKind::Usage,
        line_type: "Usage".to_owned(),
        lines: 1,
        quantity: pico(quantity).0,
        cost: pico(cost),
        net: pico(cost),
    }
}

pub(super) fn billed(lines: Vec<BilledLine>) -> Bill {
    Bill { lines, cost_digits: 10, quantity_digits: 10, newest: None }
}

/// Tokens of Nova Pro in us-east-1: 0.80 in, 3.20 out a million.
fn nova(at: &str, principal: &str, input: u64, output: u64) -> OurCalls {
    let cost = i128::from(input) * 800_000 + i128::from(output) * 3_200_000;
    OurCalls {
        hour: at.parse::<Micros>().expect("a time").floor(HOUR),
        account: ACCOUNT.to_owned(),
        region: REGION.to_owned(),
        principal: principal.to_owned(),
        model: "amazon.nova-pro-v1:0".to_owned(),
        scope: "geo:us".to_owned(),
        priced: true,
        price_version: "list#1".to_owned(),
        calls: 1,
        usage: Usage { input, output, ..Usage::default() },
        cost: PicoUsd(cost),
        ..OurCalls::default()
    }
}

fn compared(bill: &Bill, ours: &[OurCalls], net: bool) -> Report {
    let catalogue = Catalogue::builtin().expect("the built-in prices");
    let mut reconciliation = Reconciliation::new(Comparison { catalogue: &catalogue, listed: &catalogue, net });
    ours.iter().for_each(|calls| reconciliation.add(calls));
    let report = reconciliation.finish(bill);
    for row in &report.rows {
        assert_eq!(row.causes.sum(), row.variance(), "{row:?}");
    }
    assert_eq!(report.total.causes.sum(), report.total.variance());
    assert_eq!(report.total.ours, ours.iter().map(|calls| calls.cost).sum());
    report
}

fn causes(report: &Report) -> Vec<(&'static str, String)> {
    let named = Causes::NAMES.into_iter().zip(report.total.causes.amounts());
    named.filter(|(_, amount)| amount.0 != 0).map(|(name, amount)| (name, amount.to_string())).collect()
}

const INPUT: &str = "USE1-NovaPro-input-tokens";
const OUTPUT: &str = "USE1-NovaPro-output-tokens";
const K: &str = "1K tokens";

#[test]
fn six_causes_in_one_bill_are_found_again() {
    let ours = [
        // Dearer on the bill.
        nova("2026-11-01T10:00:00Z", ALPHA, 1_000_000, 0),
        // More of it on the bill.
        nova("2026-11-02T10:00:00Z", ALPHA, 1_000_000, 0),
        // Discounted on the bill.
        nova("2026-11-04T10:00:00Z", ALPHA, 0, 1_000_000),
        // At midnight.
        nova("2026-11-06T23:59:00Z", BETA, 500_000, 0),
        nova("2026-11-07T12:00:00Z", BETA, 100_000, 0),
        // Below the digits.
        nova("2026-11-09T12:00:00Z", BETA, 1_000_001, 0),
    ];
    let beta = |line: BilledLine| BilledLine { principal: BETA.to_owned(), ..line };
    let discount =
        BilledLine { kind: LineKind::Discount, line_type: "EdpDiscount".to_owned(), ..usage("2026-11-04", OUTPUT, K, "0", "-0.32") };
    let bill = billed(vec![
        usage("2026-11-01", INPUT, K, "1000", "0.88"),
        usage("2026-11-02", INPUT, K, "1250", "1.00"),
        // Unlogged: a batch job, the other endpoint, a region without a log.
        usage("2026-11-03", "USE1-NovaPro-input-tokens-batch", K, "1000", "0.40"),
        usage("2026-11-03", "USE1-openai.gpt-oss-120b-mantle-input-tokens-standard", "1M tokens", "1", "0.15"),
        usage("2026-11-03", "EUC1-NovaPro-input-tokens", K, "1000", "0.92"),
        usage("2026-11-04", OUTPUT, K, "1000", "3.20"),
        discount,
        beta(usage("2026-11-06", INPUT, K, "200", "0.16")),
        beta(usage("2026-11-07", INPUT, K, "400", "0.32")),
        beta(usage("2026-11-09", INPUT, K, "1000.001", "0.8000008001")),
        // What nobody knows.
        usage("2026-11-09", "USE1-MindReader9-thoughts", "Thoughts", "3", "7"),
    ]);
    let report = compared(&bill, &ours, false);
    let expected = [
        ("price", "0.080000000000"),
        ("volume", "0.200000000000"),
        ("unlogged", "1.470000000000"),
        ("discount", "-0.320000000000"),
        ("rounding", "0.000000000100"),
        ("unexplained", "7.000000000000"),
    ];
    assert_eq!(causes(&report), expected.map(|(name, amount)| (name, amount.to_owned())));
    let timing: Vec<_> =
        report.rows.iter().filter(|row| row.causes.timing.0 != 0).map(|row| (row.day, row.causes.timing.to_string())).collect();
    assert_eq!(timing.len(), 2);
    assert!(timing.contains(&(day("2026-11-06"), "-0.240000000000".to_owned())), "{timing:?}");
    assert!(timing.contains(&(day("2026-11-07"), "0.240000000000".to_owned())), "{timing:?}");
    let unlogged: Vec<_> = report.unlogged.iter().map(|(reason, amount)| (reason.as_str(), amount.to_string())).collect();
    let expected = [("batch", "0.400000000000"), ("mantle", "0.150000000000"), ("region_without_log", "0.920000000000")];
    assert_eq!(unlogged, expected.map(|(reason, amount)| (reason, amount.to_owned())));
    assert_eq!(report.unexplained.len(), 1);
    assert_eq!(report.unexplained[0].usage_type, "USE1-MindReader9-thoughts");
}

#[test]
fn both_families_of_usage_types_are_one_line() {
    let sonnet = |usage: Usage, cost: &str| OurCalls {
        model: "anthropic.claude-sonnet-4-6".to_owned(),
        scope: "geo:us".to_owned(),
        usage,
        cost: pico(cost),
        ..nova("2026-11-01T10:00:00Z", ALPHA, 0, 0)
    };
    let ours = [sonnet(Usage { input: 2_000_000, cache_write_1h: 1_000_000, output: 1_000_000, ..Usage::default() }, "29.70")];
    let market = |line: BilledLine| BilledLine { product: "Claude Sonnet 4.6 (Amazon Bedrock Edition)".to_owned(), ..line };
    let bill = billed(vec![
        usage("2026-11-01", "USE1-Claude4.6Sonnet-input-tokens", K, "1000", "3.30"),
        market(usage("2026-11-01", "USE1-MP:USE1_InputTokenCount-Units", "Units", "1", "3.30")),
        market(usage("2026-11-01", "USE1-MP:USE1_cache_write_tokens_1h_standard-Units", "Units", "1", "6.60")),
        market(usage("2026-11-01", "USE1-MP:USE1_OutputTokenCount-Units", "", "1", "16.50")),
    ]);
    let report = compared(&bill, &ours, false);
    assert_eq!(causes(&report), []);
    assert_eq!(report.rows.len(), 3);
    assert_eq!(report.assumed_units.iter().collect::<Vec<_>>(), ["USE1-MP:USE1_OutputTokenCount-Units"]);
    let both = report.rows.iter().find(|row| row.usage_types.len() == 2).expect("one row of both");
    assert_eq!((both.billed_quantity / QUANTITY_ONE, both.our_quantity / QUANTITY_ONE), (2_000_000, 2_000_000));
}

#[test]
fn every_family_of_usage_types() {
    let market = "Claude Haiku 4.5 (Amazon Bedrock Edition)";
    for (usage_type, unit, product, line, power) in [
        ("USE1-NovaPro-input-tokens", K, "", "amazon.nova-pro-v1:0 input us-east-1 regional", 3),
        ("USE1-Nova2.0Lite-input-tokens-flex-cross-region-global", K, "", "amazon.nova-2-lite-v1:0 input us-east-1 global flex", 3),
        ("EU-NovaLite-cache-write-input-token-count-1-hour", K, "", "amazon.nova-lite-v1:0 cache_write_1h eu-west-1 regional", 3),
        (
            "USW2-openai.gpt-oss-120b-mantle-output-tokens-priority",
            "1M tokens",
            "",
            "openai.gpt-oss-120b output us-west-2 regional priority (mantle)",
            6,
        ),
        ("USE1-MP:USE1_InputTokenCount-Units", "Units", market, "anthropic.claude-haiku-4-5-20251001-v1:0 input us-east-1 regional", 6),
        (
            "USE1-MP:USE1_OutputTokenCount_Global_Batch-Units",
            "Units",
            market,
            "anthropic.claude-haiku-4-5-20251001-v1:0 output us-east-1 global batch",
            6,
        ),
        (
            "USE1-MP:USE1_cache_write_tokens_1h_long_ctx_global_standard-Units",
            "Units",
            "Claude Sonnet 4.5 (Amazon Bedrock Edition)",
            "anthropic.claude-sonnet-4-5-20250929-v1:0 cache_write_1h long_context us-east-1 global",
            6,
        ),
        ("USE1-Claude4.6Sonnet-input-tokens", "", "", "anthropic.claude-sonnet-4-6 input us-east-1 regional", 3),
        ("USE1-Claude4.6Opus-output-tokens-cross-region-global", K, "", "anthropic.claude-opus-4-6-v1 output us-east-1 global", 3),
        ("USE1-Claude4.6Sonnet-cache-read-input-token-count", K, "", "anthropic.claude-sonnet-4-6 cache_read us-east-1 regional", 3),
        ("USE1-gpt-oss-120b-output-tokens-priority", K, "", "openai.gpt-oss-120b-1:0 output us-east-1 regional priority", 3),
        ("USE1-Guardrail-TopicPolicyUnitsConsumed", "Text units", "", "guardrails guardrail_topic us-east-1 regional", 0),
        ("USE1-Canvas-T2I-1024-Standard", "Image", "", "amazon.nova-canvas-v1:0 image 1024 standard us-east-1 regional", 0),
        (
            "USE1-NovaPro-ProvisionedThroughput-NoCommit-ModelUnits",
            "Hrs",
            "",
            "amazon.nova-pro-v1:0 model_unit_hour us-east-1 regional provisioned",
            0,
        ),
        ("XYZ1-NovaPro-input-tokens", K, "", "amazon.nova-pro-v1:0 input XYZ1 regional", 3),
        ("USE1-NovaReel-T2V-720p", "Second", "", "? USE1-NovaReel-T2V-720p us-east-1 regional", 0),
        ("USE1-NovaPro-input-tokens", "Bushels", "", "amazon.nova-pro-v1:0 USE1-NovaPro-input-tokens us-east-1 regional", 0),
    ] {
        let catalogue = Catalogue::builtin().expect("the built-in prices");
        let mut billed = usage("2026-11-01", usage_type, unit, "1", "1");
        product.clone_into(&mut billed.product);
        let read = LineReader::new(catalogue.models()).read(&billed);
        assert_eq!((read.line.to_string().as_str(), read.power), (line, power), "{usage_type}");
        assert_eq!(read.unit_assumed, unit.is_empty(), "{usage_type}");
    }
}

#[test]
fn what_no_log_tells_is_named() {
    let never = |usage_type: &str| {
        let unit = if usage_type.ends_with("Units") { "Hrs" } else { K };
        let bill = billed(vec![usage("2026-11-01", usage_type, unit, "1", "1")]);
        let report = compared(&bill, &[nova("2026-11-01T10:00:00Z", ALPHA, 1, 0)], false);
        report.unlogged.keys().map(|reason| reason.as_str()).collect::<Vec<_>>().join(" ")
    };
    for (usage_type, reason) in [
        ("USE1-NovaPro-input-tokens-batch", "batch"),
        ("USE1-MindReader9-input-tokens-batch", "batch"),
        ("USE1-zai.glm-5.3-mantle-input-tokens-standard", "mantle"),
        ("USE1-NovaPro-ProvisionedThroughput-NoCommit-ModelUnits", "provisioned_throughput"),
        ("USE1-MP:USE1_Reserved_1Month_InputTPM_Geo-Units", "reserved_capacity"),
        ("USE1-NovaPro-Customization-Training", "customization"),
        ("USE1-NovaReel-T2V-720p", "async"),
        ("USE1-NovaSonic-speech-input-tokens", "bidirectional_stream"),
        ("USE1-GuardrailChecks-ContentPolicyUnitsConsumed", "guardrail"),
    ] {
        assert_eq!(never(usage_type), reason, "{usage_type}");
    }
}

#[test]
fn a_bill_without_principals_is_compared_without_them() {
    let ours = [nova("2026-11-01T10:00:00Z", ALPHA, 1_000_000, 0), nova("2026-11-01T10:00:00Z", BETA, 500_000, 0)];
    let nameless = |line: BilledLine| BilledLine { principal: String::new(), ..line };
    let bill = billed(vec![nameless(usage("2026-11-01", INPUT, K, "1500", "1.20"))]);
    let report = compared(&bill, &ours, false);
    assert_eq!((causes(&report), report.by_principal, report.rows.len()), (Vec::new(), false, 1));
    // Principals from a day on: each day as exact as the bill is.
    let more = [ours[0].clone(), ours[1].clone(), nova("2026-11-02T10:00:00Z", ALPHA, 1_000, 0)];
    let bill = billed(vec![bill.lines[0].clone(), usage("2026-11-02", INPUT, K, "1", "0.0008")]);
    let report = compared(&bill, &more, false);
    assert_eq!((causes(&report), report.by_principal, report.nameless_rows, report.rows.len()), (Vec::new(), true, 1, 2));
}

#[test]
fn taxes_fees_credits_and_refunds_are_beside_usage() {
    let of =
        |kind: LineKind, cost: &str| BilledLine { kind, line_type: kind.as_str().to_owned(), ..usage("2026-11-01", "Tax", "", "0", cost) };
    let ours = [nova("2026-11-01T10:00:00Z", ALPHA, 1_000, 0)];
    let bill = billed(vec![
        usage("2026-11-01", INPUT, K, "1", "0.0008"),
        of(LineKind::Tax, "1"),
        of(LineKind::Fee, "2"),
        of(LineKind::Credit, "-3"),
        of(LineKind::Refund, "-4"),
        of(LineKind::Other, "5"),
    ]);
    let report = compared(&bill, &ours, false);
    assert_eq!(causes(&report), [("unexplained", "5.000000000000".to_owned())]);
    let beside: Vec<_> = report.beside.iter().map(|(kind, sum)| (kind.as_str(), sum.amount.display(0))).collect();
    assert_eq!(beside, [("credit", "-$3".to_owned()), ("refund", "-$4".to_owned()), ("tax", "$1".to_owned()), ("fee", "$2".to_owned())]);
}

#[test]
fn types_of_lines() {
    for (word, negative, kind) in [
        ("Usage", false, LineKind::Usage),
        ("Usage", true, LineKind::Discount),
        ("DiscountedUsage", false, LineKind::Usage),
        ("Discount", true, LineKind::Discount),
        ("EdpDiscount", true, LineKind::Discount),
        ("PrivateRateDiscount", true, LineKind::Discount),
        ("BundledDiscount", true, LineKind::Discount),
        ("Credit", true, LineKind::Credit),
        ("Refund", true, LineKind::Refund),
        ("Tax", false, LineKind::Tax),
        ("Fee", false, LineKind::Fee),
        ("RIFee", false, LineKind::Fee),
        ("SavingsPlanUpfrontFee", false, LineKind::Fee),
        ("Alms", false, LineKind::Other),
    ] {
        assert_eq!(LineKind::of(word, negative), kind, "{word}");
    }
}

#[test]
fn net_of_the_bill_is_a_discount() {
    let ours = [nova("2026-11-01T10:00:00Z", ALPHA, 1_000_000, 0)];
    let mut line = usage("2026-11-01", INPUT, K, "1000", "0.80");
    line.net = pico("0.704");
    assert_eq!(causes(&compared(&billed(vec![line.clone()]), &ours, true)), [("discount", "-0.096000000000".to_owned())]);
    assert_eq!(causes(&compared(&billed(vec![line]), &ours, false)), []);
}

#[test]
fn the_newest_days_are_marked() {
    let ours = ["2026-11-17", "2026-11-18", "2026-11-20"].map(|date| nova(&format!("{date}T10:00:00Z"), ALPHA, 1_000, 0));
    let mut bill = billed(vec![usage("2026-11-17", INPUT, K, "1", "0.0008"), usage("2026-11-18", INPUT, K, "1", "0.0008")]);
    bill.newest = "2026-11-20T05:00:00Z".parse().ok();
    let report = compared(&bill, &ours, false);
    let marked: Vec<i32> = report.by(By::Day).iter().zip([17, 18, 20]).filter(|(day, _)| day.settling.0 != 0).map(|(_, day)| day).collect();
    assert_eq!(marked, [20]);
    let settling = |date: &str| report.rows.iter().any(|row| row.day == day(date) && row.settling);
    assert_eq!(["2026-11-17", "2026-11-18", "2026-11-20"].map(settling), [false, true, true]);
    assert_eq!(report.total.settling, pico("-0.0008"));
}

#[test]
fn hidden_models_and_missing_principals_are_named() {
    let mut hidden = nova("2026-11-01T10:00:00Z", ALPHA, 1_000, 0);
    hidden.model = "arn:aws:bedrock:us-east-1:111122223333:application-inference-profile/a1b2".to_owned();
    (hidden.scope, hidden.priced, hidden.cost) = (String::new(), false, PicoUsd::ZERO);
    let bill = billed(vec![
        usage("2026-11-01", INPUT, K, "1", "0.0008"),
        BilledLine { principal: BETA.to_owned(), ..usage("2026-11-01", INPUT, K, "1", "0.0008") },
        usage("2026-11-02", INPUT, K, "1", "0.0008"),
    ]);
    let report = compared(&bill, &[hidden], false);
    let reasons: Vec<&str> = report.unlogged.keys().map(|reason| reason.as_str()).collect();
    assert_eq!(reasons, ["day_without_log", "hidden_model", "principal_without_calls"]);
    assert_eq!(report.hidden_calls, 1);
}

#[test]
fn the_share_that_may_differ() {
    let total = Group { billed: pico("100"), ours: pico("95"), ..Group::default() };
    let report = Report { total, ..Report::default() };
    assert!(report.is_above(4_999_999));
    assert!(!report.is_above(5_000_000));
    let unbilled = Report { total: Group { ours: pico("1"), ..Group::default() }, ..Report::default() };
    assert!(unbilled.is_above(1_000_000_000));
    assert!(!Report::default().is_above(0));
}

const TYPES: [&str; 8] = [
    INPUT,
    OUTPUT,
    "USE1-NovaPro-cache-read-input-token-count",
    "USE1-NovaPro-input-tokens-batch",
    "EUC1-NovaPro-input-tokens",
    "USE1-Guardrail-ContentPolicyUnitsConsumed",
    "USE1-MP:USE1_InputTokenCount-Units",
    "no usage type at all",
];
const KINDS: [LineKind; 7] =
    [LineKind::Usage, LineKind::Discount, LineKind::Credit, LineKind::Refund, LineKind::Tax, LineKind::Fee, LineKind::Other];

fn any_line() -> impl Strategy<Value = BilledLine> {
    let place = (0..3_i32, 0..TYPES.len(), 0..3_usize, 0..3_usize);
    let amounts = (
        prop_oneof![4 => Just(0_usize), 1 => 0..KINDS.len()],
        0..1_000_000_000_000_000_i128,
        -1_000_000_000_000_i128..1_000_000_000_000_000,
        0..1_000_i128,
    );
    (place, amounts).prop_map(|((after, usage_type, principal, unit), (kind, quantity, cost, off))| BilledLine {
        day: day("2026-11-01") + after,
        principal: ["", ALPHA, BETA][principal].to_owned(),
        unit: [K, "", "Units"][unit].to_owned(),
        kind: KINDS[kind],
        quantity,
        cost: PicoUsd(cost),
        net: PicoUsd(cost - off),
        ..usage("2026-11-01", TYPES[usage_type], "", "0", "0")
    })
}

fn any_calls() -> impl Strategy<Value = OurCalls> {
    let tiers = [ServiceTier::Standard, ServiceTier::Flex, ServiceTier::Batch, ServiceTier::Reserved];
    let scopes = ["in_region", "geo:us", "global", ""];
    (0..72_i64, 0..4_usize, 0..4_usize, 0..2_usize, 0..2_000_000_u64, 0..2_000_u64, 0..10_000_000_000_000_i128, any::<[bool; 2]>())
        .prop_map(move |(hour, tier, scope, principal, input, cache_read, cost, [priced, discounted])| OurCalls {
            hour: Micros(i64::from(day("2026-11-01")) * DAY + hour * HOUR),
            principal: [ALPHA, BETA][principal].to_owned(),
            tier: tiers[tier],
            scope: scopes[scope].to_owned(),
            usage: Usage { input, cache_read, ..Usage::default() },
            priced,
            price_version: if discounted { "list#1~0a" } else { "list#1" }.to_owned(),
            cost: PicoUsd(if priced { cost } else { 0 }),
            ..nova("2026-11-01T00:00:00Z", ALPHA, 0, 0)
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever stands on a bill and in a lake: each row, each sum and the whole are explained to the pico-dollar, and nothing of either
    /// side is lost.
    #[test]
    fn any_bill_is_explained_exactly(
        lines in proptest::collection::vec(any_line(), 0..25), ours in proptest::collection::vec(any_calls(), 0..25), net: bool, digits in 0_u32..14
    ) {
        let bill = Bill { cost_digits: digits, quantity_digits: digits, ..billed(lines) };
        let report = compared(&bill, &ours, net);
        let amount = |line: &BilledLine| if net { line.net } else { line.cost };
        let compared_kinds = [LineKind::Usage, LineKind::Discount, LineKind::Other];
        let expected: PicoUsd = bill.lines.iter().filter(|line| compared_kinds.contains(&line.kind)).map(amount).sum();
        prop_assert_eq!(report.total.billed, expected);
        for by in [By::Day, By::Principal, By::Model, By::UsageType] {
            let groups = report.by(by);
            prop_assert_eq!(groups.iter().map(|group| group.causes.sum()).sum::<PicoUsd>(), report.total.variance());
            prop_assert!(groups.iter().all(|group| group.causes.sum() == group.variance()));
        }
        let timing: PicoUsd = report.rows.iter().map(|row| row.causes.timing).sum();
        prop_assert_eq!(timing, PicoUsd::ZERO);
        let derived = derive_rates(&bill, &Catalogue::builtin().unwrap(), "any").unwrap();
        let again = Catalogue::from_text(&derived.catalogue.to_text()).unwrap();
        prop_assert_eq!(again.diff(&derived.catalogue), Vec::new());
    }
}
