//! The catalogue: file format, overlays, discounts, differences, and invariant C9.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use proptest::prelude::*;
use sluice_enrich::prices::{Catalogue, CatalogueError, Discount, PriceKey, RateCard, UnitPrice, extras_from_json};
use sluice_schemas::{CostBasis, ErrorClass, Micros, PicoUsd, PriceStatus, ServiceTier, Usage};

fn builtin() -> Catalogue {
    static BUILTIN: LazyLock<Catalogue> = LazyLock::new(|| Catalogue::builtin().expect("the built-in prices"));
    BUILTIN.clone()
}

fn file(label: &str, cards: &str) -> Result<Catalogue, CatalogueError> {
    Catalogue::from_text(&format!("format = \"sluice.prices/1\"\nlabel = \"{label}\"\n{cards}"))
}

fn day(day: u32) -> Micros {
    format!("2026-10-{day:02}T00:00:00Z").parse().expect("a date")
}

fn discount(toml: &str) -> Discount {
    toml::from_str(toml).expect("a discount")
}

/// Cost of a million input tokens, in USD, and the version of the card.
fn million(catalogue: &Catalogue, model: &str, at: Micros) -> (String, String) {
    let rates = catalogue.resolve(model, "us-east-1", "", ServiceTier::Standard, "Converse");
    let quote = rates.quote(at, &Usage { input: 1_000_000, ..Usage::default() }, None, CostBasis::Exact, false);
    let cost = if quote.status == PriceStatus::Priced { quote.cost.display(4) } else { "unpriced".to_owned() };
    (cost, quote.price_version.to_owned())
}

#[test]
fn the_file_round_trips_with_its_version() {
    let catalogue = builtin();
    let list = Catalogue::from_text(include_str!("../data/bedrock.toml")).expect("the file");
    assert!(list.version().starts_with("bedrock-2026-11-21#"), "{}", list.version());
    assert!(catalogue.version().ends_with(&format!("+{}", list.version())), "{}", catalogue.version());
    assert_eq!(Catalogue::from_text(&list.to_text()).expect("the written file").version(), list.version());
    let again = Catalogue::from_text(&catalogue.to_text()).expect("the written file");
    assert_eq!(again.version(), catalogue.version());
    assert!(catalogue.cards().eq(again.cards()));
    // A merged one keeps the version of each card.
    let own = file(
        "acme",
        "[[card]]\nmodel = \"amazon.nova-pro-v1:0\"\neffective_from = \"2026-10-01T00:00:00Z\"\nusd_per_million_tokens = { input = \"0.5\" }",
    );
    let merged = catalogue.overlay(&own.expect("a price file")).expect("an overlay").with_discounts(&[discount("percent = \"1.25\"")]);
    let again = Catalogue::from_text(&merged.to_text()).expect("the written file");
    assert_eq!(again.version(), merged.version());
    assert!(merged.cards().eq(again.cards()));
    assert_eq!(again.to_text(), merged.to_text());
}

#[test]
fn a_version_says_what_the_cards_say() {
    let with =
        |price: &str| file("x", &format!("[[card]]\nmodel = \"a.b\"\nusd_per_million_tokens = {{ input = \"{price}\" }}")).expect("a file");
    assert_eq!(with("1").version(), with("1.00").version());
    assert_ne!(with("1").version(), with("1.01").version());
}

#[test]
fn what_is_wrong_in_a_file_is_refused_with_its_place() {
    for (cards, says) in [
        ("[[card]]\nmodel = \"a.b\"\nprize = 1", "not a price file"),
        ("[[card]]\nmodel = \"a.b\"\nusd_per_million_tokens = { input = 3.0 }", "not a price file"),
        ("[[card]]\nmodel = \"a.b\"\nusd_per_million_tokens = { inptu = \"3\" }", "a.b: 'inptu' is not a token class"),
        ("[[card]]\nmodel = \"a.b\"\nusd_per_unit = { output_audio = \"3\" }", "a.b: 'output_audio' is not a unit"),
        ("[[card]]\nmodel = \"a.b\"\nusd_per_million_tokens = { input = \"-3\" }", "a.b: price of 'input'"),
        ("[[card]]\nmodel = \"a.b\"\ntier = \"turbo\"", "a.b: 'turbo' is not a tier"),
        ("[[card]]\nmodel = \"a.b\"\nscope = \"geo:\"", "a.b: 'geo:' is not a scope"),
        ("[[card]]\nmodel = \"a.b\"\neffective_from = \"soon\"", "not a price file"),
        (
            "[[card]]\nmodel = \"a.b\"\n[[card]]\nmodel = \"a.b\"",
            "two rate cards of 'a.b in_region * standard' hold at 1970-01-01T00:00:00Z",
        ),
        (
            "[[card]]\nmodel = \"a.b\"\neffective_from = \"2026-10-02T00:00:00Z\"\neffective_to = \"2026-10-02T00:00:00Z\"",
            "the rate card of 'a.b in_region * standard' from 2026-10-02T00:00:00Z ends at 2026-10-02T00:00:00Z",
        ),
    ] {
        let error = file("x", cards).expect_err(cards);
        assert_eq!(error.to_string(), says, "{cards}");
        assert_eq!(error.class(), ErrorClass::Misconfigured);
    }
    let other = Catalogue::from_text("format = \"sluice.prices/9\"\nlabel = \"x\"").expect_err("another format");
    assert_eq!(other.to_string(), "price format 'sluice.prices/9' is not 'sluice.prices/1'");
}

#[test]
fn an_overlay_supersedes_from_its_dates_and_only_its_keys() {
    let below = file(
        "below",
        "[[card]]\nmodel = \"a.b\"\nusd_per_million_tokens = { input = \"4\" }\n[[card]]\nmodel = \"a.c\"\nusd_per_million_tokens = { input = \"9\" }",
    );
    let above = file(
        "above",
        "[[card]]\nmodel = \"a.b\"\neffective_from = \"2026-10-05T00:00:00Z\"\neffective_to = \"2026-10-07T00:00:00Z\"\nusd_per_million_tokens = { input = \"2\" }\n\
         [[card]]\nmodel = \"a.b\"\neffective_from = \"2026-10-09T00:00:00Z\"\nusd_per_million_tokens = { input = \"3\" }",
    );
    let (below, above) = (below.expect("a file"), above.expect("a file"));
    let merged = below.overlay(&above).expect("an overlay");
    for (at, cost, version) in [
        (1, "$4.0000", "below"),
        (5, "$2.0000", "above"),
        (6, "$2.0000", "above"),
        (7, "$4.0000", "below"),
        (8, "$4.0000", "below"),
        (9, "$3.0000", "above"),
        (31, "$3.0000", "above"),
    ] {
        let (found, by) = million(&merged, "a.b", day(at));
        assert_eq!(found, cost, "{at}");
        assert!(by.starts_with(version), "{at} {by}");
        assert_eq!(million(&merged, "a.c", day(at)).0, "$9.0000");
    }
    assert_eq!(merged.version(), format!("{}+{}", above.version(), below.version()));
    // Laying the same thing twice changes nothing.
    assert_eq!(merged.overlay(&above).expect("an overlay").to_text(), merged.to_text());
}

#[test]
fn an_unknown_time_is_unpriced() {
    let dated = file("x", "[[card]]\nmodel = \"a.b\"\neffective_from = \"2026-10-05T00:00:00Z\"\neffective_to = \"2026-10-07T00:00:00Z\"\nusd_per_million_tokens = { input = \"2\" }").expect("a file");
    let costs: Vec<String> = [4, 5, 6, 7].map(|at| million(&dated, "a.b", day(at)).0).into();
    assert_eq!(costs, ["unpriced", "$2.0000", "$2.0000", "unpriced"]);
    let last = Micros(day(7).0 - 1);
    assert_eq!(million(&dated, "a.b", last).0, "$2.0000");
}

#[test]
fn a_regional_card_gives_way_where_it_does_not_hold_yet() {
    let cards = "[[card]]\nmodel = \"a.b\"\nusd_per_million_tokens = { input = \"4\" }\n\
                 [[card]]\nmodel = \"a.b\"\nregion = \"us-east-1\"\neffective_from = \"2026-10-05T00:00:00Z\"\nusd_per_million_tokens = { input = \"5\" }";
    let catalogue = file("x", cards).expect("a file");
    assert_eq!((million(&catalogue, "a.b", day(4)).0, million(&catalogue, "a.b", day(5)).0), ("$4.0000".to_owned(), "$5.0000".to_owned()));
}

#[test]
fn discounts_multiply_exactly_within_their_time() {
    let catalogue = builtin();
    let reduced = catalogue.with_discounts(&[
        discount("provider = \"anthropic\"\npercent = \"12.5\"\nfrom = \"2026-10-05T00:00:00Z\"\nto = \"2026-10-07T00:00:00Z\""),
        discount("model = \"*-sonnet-*\"\npercent = \"10\""),
        discount("provider = \"amazon\"\npercent = \"-50\""),
    ]);
    let sonnet = "global.anthropic.claude-sonnet-4-6";
    for (at, cost) in [(4, "$2.7000"), (5, "$2.3625"), (6, "$2.3625"), (7, "$2.7000")] {
        assert_eq!(million(&reduced, sonnet, day(at)).0, cost, "{at}");
    }
    assert_eq!(million(&reduced, "global.anthropic.claude-haiku-4-5-20251001-v1:0", day(5)).0, "$0.8750");
    assert_eq!(million(&reduced, "amazon.nova-pro-v1:0", day(5)).0, "$1.2000");
    assert_eq!(million(&reduced, "cohere.embed-v4:0", day(5)), million(&catalogue, "cohere.embed-v4:0", day(5)));
    let (plain, marked) = (million(&catalogue, sonnet, day(5)).1, million(&reduced, sonnet, day(5)).1);
    assert!(marked.starts_with(&format!("{plain}~")) && marked != plain, "{marked}");
    assert_eq!(catalogue.with_discounts(&[]).to_text(), catalogue.to_text());
}

#[test]
fn a_difference_is_told_price_by_price_and_time_by_time() {
    let before = file("a", "[[card]]\nmodel = \"a.b\"\nusd_per_million_tokens = { input = \"4\", output = \"8\" }").expect("a file");
    let cards = "[[card]]\nmodel = \"a.b\"\neffective_from = \"2026-10-05T00:00:00Z\"\nusd_per_million_tokens = { input = \"5\", output = \"8\" }\nlong_context = [{ above_prompt_tokens = 200000, usd_per_million_tokens = { input = \"7\" } }]";
    let after = before.overlay(&file("b", cards).expect("a file")).expect("an overlay");
    let told: Vec<String> = before
        .diff(&after)
        .into_iter()
        .map(|change| {
            let text = |price: Option<UnitPrice>| price.map_or("-".to_owned(), |price| price.to_text(6));
            format!("{} {} from {}: {} -> {}", change.key, change.item, change.from, text(change.before), text(change.after))
        })
        .collect();
    assert_eq!(
        told,
        [
            "a.b in_region * standard above_200000.input from 2026-10-05T00:00:00Z: - -> 7",
            "a.b in_region * standard input from 2026-10-05T00:00:00Z: 4 -> 5"
        ]
    );
    assert!(after.diff(&after).is_empty());
    assert_eq!(after.diff(&before).len(), 2);
}

#[test]
fn stored_units_are_read_back() {
    assert_eq!(extras_from_json(" ").expect("no units"), None);
    let extras = extras_from_json(r#"{"images": 2, "guardrail": {"topic": 3}}"#).expect("units").expect("some");
    assert_eq!((extras.images, extras.guardrail.topic, extras.queries), (2, 3, 0));
    assert_eq!(extras_from_json("{").expect_err("not JSON").class(), ErrorClass::Corrupt);
}

fn cards() -> impl Strategy<Value = Vec<(u8, u32, Option<u32>, u64)>> {
    proptest::collection::vec((0_u8..2, 1_u32..20, proptest::option::of(1_u32..10), 1_u64..9), 0..6)
}

/// Cards as drawn, those that would overlap an earlier one left out.
fn catalogue(label: &str, drawn: Vec<(u8, u32, Option<u32>, u64)>) -> Catalogue {
    let mut kept: Vec<RateCard> = Vec::new();
    for (model, from, length, price) in drawn {
        let key = PriceKey { model: format!("a.m{model}"), region: "*".to_owned(), ..PriceKey::default() };
        let mut card = RateCard::new(key, day(from));
        card.effective_to = length.map(|length| day(from.saturating_add(length)));
        card.tokens.input = UnitPrice::parse(&price.to_string(), 6).ok();
        let trial = Catalogue::from_cards(label, kept.iter().cloned().chain([card.clone()]));
        if trial.is_ok() {
            kept.push(card);
        }
    }
    Catalogue::from_cards(label, kept).expect("cards apart")
}

/// Input price of each model and day.
fn prices(catalogue: &Catalogue) -> BTreeMap<(u8, u32), Option<String>> {
    let at = |model: u8, at: u32| {
        let mut cards = catalogue.cards().filter(|card| card.key.model == format!("a.m{model}") && card.holds_at(day(at)));
        let price = cards.next().and_then(|card| card.tokens.input).map(|price| price.to_text(6));
        assert!(cards.next().is_none(), "two cards at once");
        price
    };
    (0..2).flat_map(|model| (1..31).map(move |day| (model, day))).map(|(model, day)| ((model, day), at(model, day))).collect()
}

proptest! {
    /// An overlay is, at every moment, the upper catalogue where it has a price and the lower one elsewhere, and no two
    /// cards of a key ever hold at once (C9); so are discounts, and the file says the same.
    #[test]
    fn overlays_never_overlap(below in cards(), above in cards(), from in 1_u32..30, length in 0_u32..9) {
        let (below, above) = (catalogue("below", below), catalogue("above", above));
        let merged = below.overlay(&above).expect("an overlay");
        let (low, high) = (prices(&below), prices(&above));
        for (at, price) in prices(&merged) {
            prop_assert_eq!(&price, if high[&at].is_some() { &high[&at] } else { &low[&at] }, "{:?}", at);
        }
        let half = Discount { percent: "50".parse().expect("a percentage"), from: Some(day(from)), to: Some(day(from.saturating_add(length).min(31))), ..Discount::default() };
        let reduced = prices(&merged.with_discounts(std::slice::from_ref(&half)));
        for (at, price) in prices(&merged) {
            let within = day(at.1) >= day(from) && half.to.is_some_and(|to| day(at.1) < to);
            let halved = |price: String| UnitPrice::parse(&price, 6).map(|price| price.to_text(6)).map(|text| text.parse::<PicoUsd>().map(|usd| usd.0 / 2));
            let own = |price: String| price.parse::<PicoUsd>().map(|usd| usd.0);
            let expected = price.map(|price| if within { halved(price).expect("a price").expect("an amount") } else { own(price).expect("an amount") });
            let found = reduced[&at].clone().map(|price| own(price).expect("an amount"));
            prop_assert_eq!(found, expected, "{:?}", at);
        }
        let again = Catalogue::from_text(&merged.to_text()).expect("the written file");
        prop_assert!(again.cards().eq(merged.cards()));
    }
}
