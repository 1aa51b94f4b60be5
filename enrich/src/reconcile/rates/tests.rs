//! What a bill says of rates: the shortest decimal its digits allow, by the days it holds.

use std::collections::BTreeMap;

use super::*;
use crate::prices::Unit;
use crate::reconcile::tests::{billed, day, usage};
use sluice_schemas::time::parse_day;
use sluice_schemas::{CostBasis, PicoUsd, ServiceTier, Usage};

fn days(of: &[(i32, i128, i128)], cost_open: i128) -> BTreeMap<i32, DaySum> {
    let sum = |(day, tokens, cost): &(i32, i128, i128)| {
        (*day, DaySum { lines: 1, quantity: tokens * 1_000_000_000_000, quantity_open: 0, cost: *cost, cost_open })
    };
    of.iter().map(sum).collect()
}

fn found(of: &[(i32, i128, i128)], cost_open: i128) -> Result<Vec<(i32, i32, String)>, String> {
    let rates = rates_of(&days(of, cost_open))?;
    Ok(rates.into_iter().map(|rate| (rate.from, rate.to, rate.price.to_text(6))).collect())
}

#[test]
fn the_shortest_rate_that_the_digits_allow() {
    // 23,100 tokens for 0.0693 USD of four digits.
    assert_eq!(found(&[(1, 23_100, 69_300_000_000)], 100_000_000), Ok(vec![(1, 1, "3".to_owned())]));
    // With twelve digits, a third of a dollar a million has no shorter text than that.
    assert_eq!(found(&[(1, 3, 1_000_000)], 1), Ok(vec![(1, 1, "0.333333".to_owned())]));
    assert_eq!(found(&[(1, 1_000_000, 2_904_000_000_000)], 1), Ok(vec![(1, 1, "2.904".to_owned())]));
    assert_eq!(found(&[(1, 1_000, 0)], 1), Ok(vec![(1, 1, "0".to_owned())]));
}

#[test]
fn days_that_agree_are_one_stretch() {
    let three = |day| (day, 1_000_000, 3_000_000_000_000);
    let dearer = (4, 1_000_000, 3_300_000_000_000);
    let expected = vec![(1, 2, "3".to_owned()), (4, 4, "3.3".to_owned())];
    assert_eq!(found(&[three(1), three(2), dearer], 100), Ok(expected));
}

#[test]
fn what_tells_no_rate_is_left_out() {
    assert!(found(&[(1, 10, 100_000_000)], 100_000_000).is_err_and(|why| why.contains("too little usage")));
    assert!(found(&[(1, 10, -1)], 1).is_err_and(|why| why.contains("discounts")));
    assert!(found(&[(1, 0, 1)], 1).is_err_and(|why| why.contains("without usage")));
}

#[test]
fn a_price_file_of_the_bill_rates_its_calls_again() {
    let listed = Catalogue::builtin().expect("the built-in prices");
    let mut bill = billed(vec![
        usage("2026-11-03", "USE1-NovaPro-input-tokens", "1K tokens", "1000", "0.70"),
        usage("2026-11-05", "USE1-NovaPro-input-tokens", "1K tokens", "2000", "1.40"),
        usage("2026-11-05", "USE1-NovaPro-output-tokens", "1K tokens", "1000", "2.80"),
        usage("2026-11-05", "USE1-Mind-Reads", "Reads", "1", "1"),
        usage("2026-11-05", "USE1-Guardrail-ContentPolicyUnitsConsumed", "TextUnits", "1", "1"),
    ]);
    bill.lines[4].unit = "Text units".to_owned();
    bill.lines[4].cost = PicoUsd(150_000_000);
    bill.lines[4].net = PicoUsd(150_000_000);
    let derived = derive_rates(&bill, &listed, "2026-11").expect("rates");
    assert_eq!(derived.derived, 3);
    assert!(derived.left_out.iter().any(|(usage_type, _)| usage_type == "USE1-Mind-Reads"), "{:?}", derived.left_out);
    let again = Catalogue::from_text(&derived.catalogue.to_text()).expect("its own format");
    assert_eq!(again.diff(&derived.catalogue), []);
    assert_eq!(again.version(), derived.catalogue.version());
    let priced = listed.overlay(&again).expect("laid over");
    let rates = priced.resolve("us.amazon.nova-pro-v1:0", "us-east-1", "", ServiceTier::Standard, "Converse");
    let cost = |date: &str, usage: Usage| {
        let at = Micros(i64::from(parse_day(date).expect("a day")) * DAY + 1);
        rates.quote(at, &usage, None, CostBasis::Exact, false).cost.to_string()
    };
    let input = Usage { input: 1_000_000, ..Usage::default() };
    let output = Usage { output: 1_000_000, ..Usage::default() };
    let read = Usage { cache_read: 1_000_000, ..Usage::default() };
    for (date, usage, expected) in [
        ("2026-11-02", input, "0.800000000000"),
        ("2026-11-03", input, "0.700000000000"),
        ("2026-11-04", input, "0.700000000000"),
        ("2026-11-05", input, "0.700000000000"),
        ("2026-11-06", input, "0.800000000000"),
        ("2026-11-04", output, "3.200000000000"),
        ("2026-11-05", output, "2.800000000000"),
        // What the bill does not show stays as it is known.
        ("2026-11-05", read, "0.200000000000"),
    ] {
        assert_eq!(cost(date, usage), expected, "{date} {usage:?}");
    }
    let guardrail = again.cards().find(|card| card.key.model == GUARDRAILS).expect("guardrails");
    assert_eq!(guardrail.units.get(&Unit::GuardrailContent).map(|price| price.to_string()).as_deref(), Some("0.00015"));
    assert_eq!(guardrail.effective_from.day(), day("2026-11-05"));
}
