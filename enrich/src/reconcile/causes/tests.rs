//! Every cause alone, and any input: the causes sum exactly to the difference.

use proptest::prelude::*;

use super::*;
use crate::prices::import::aws::Item;
use crate::prices::{Endpoint, Tier};
use crate::reconcile::QUANTITY_ONE;
use crate::reconcile::line::Measured;

/// Three dollars a million tokens: three million pico-dollars a token.
const RATE: i128 = 3_000_000;

fn line(measured: Measured) -> Line {
    let (model, region) = ("amazon.nova-pro-v1:0".to_owned(), "us-east-1".to_owned());
    Line { model, region, endpoint: Endpoint::Runtime, global: false, tier: Tier::Standard, measured }
}

fn input() -> Line {
    line(Measured::Item(Item::Tokens { class: "input", long_context: false }))
}

fn unknown() -> Line {
    line(Measured::Unknown { usage_type: "USE1-Mind-Reads".to_owned(), why: "no meter known to this program".to_owned() })
}

fn billed(tokens: i128, cost: i128) -> BilledSums {
    BilledSums { lines: 1, quantity: tokens * QUANTITY_ONE, gross: cost, billed: cost, cost_open: 100, quantity_open: 0 }
}

fn ours(tokens: i128) -> OurSums {
    let cost = tokens * RATE;
    OurSums { calls: 1, quantity: tokens * QUANTITY_ONE, priced: tokens * QUANTITY_ONE, cost, list: cost, ..OurSums::default() }
}

fn split(billed: BilledSums, ours: OurSums, line: &Line) -> Explained {
    let setting = Setting { line, has_calls: ours.calls > 0, rate: None, missing: Unlogged::Region };
    let explained = explain(&billed, &ours, Moved::default(), &setting);
    assert_eq!(explained.causes.sum().0, billed.billed - ours.cost);
    explained
}

#[test]
fn each_cause_alone() {
    let nothing = Causes::default();
    let same = split(billed(1_000, 1_000 * RATE), ours(1_000), &input());
    assert_eq!(same.causes, nothing);
    let dearer = split(billed(1_000, 1_100 * RATE), ours(1_000), &input());
    assert_eq!(dearer.causes, Causes { price: PicoUsd(100 * RATE), ..nothing });
    let more = split(billed(1_200, 1_200 * RATE), ours(1_000), &input());
    assert_eq!(more.causes, Causes { volume: PicoUsd(200 * RATE), ..nothing });
    let missing = split(billed(1_200, 1_200 * RATE), OurSums::default(), &input());
    assert_eq!((missing.causes, missing.unlogged), (Causes { unlogged: PicoUsd(1_200 * RATE), ..nothing }, Some(Unlogged::Region)));
    let digits = split(billed(1_000, 1_000 * RATE - 99), ours(1_000), &input());
    assert_eq!(digits.causes, Causes { rounding: PicoUsd(-99), ..nothing });
    let not_billed = split(BilledSums::default(), ours(1_000), &input());
    assert_eq!(not_billed.causes, Causes { volume: PicoUsd(-1_000 * RATE), ..nothing });
    let strange = split(billed(1_000, 7), OurSums::default(), &unknown());
    assert_eq!(strange.causes, Causes { unexplained: PicoUsd(7), ..nothing });
    assert_eq!(strange.why.as_deref(), Some("no meter known to this program"));
}

#[test]
fn rates_and_quantities_apart() {
    // 1,200 tokens at 3.30 against 1,000 at 3.00: the quantity at our rate, the rate at the billed quantity.
    let both = split(billed(1_200, 1_200 * RATE * 11 / 10), ours(1_000), &input());
    let expected = Causes { volume: PicoUsd(200 * RATE), price: PicoUsd(120 * RATE), ..Causes::default() };
    assert_eq!(both.causes, expected);
}

#[test]
fn discounts_of_the_bill_and_our_own_cancel() {
    let mut with_discount = billed(1_000, 1_000 * RATE);
    with_discount.billed -= 120 * RATE;
    let theirs = split(with_discount, ours(1_000), &input());
    assert_eq!(theirs.causes, Causes { discount: PicoUsd(-120 * RATE), ..Causes::default() });
    let mut discounted = ours(1_000);
    discounted.cost -= 120 * RATE;
    assert_eq!(split(with_discount, discounted, &input()).causes, Causes::default());
    // Where only ours is discounted, that is a difference of the discount, not of the price.
    let only_ours = split(billed(1_000, 1_000 * RATE), discounted, &input());
    assert_eq!(only_ours.causes, Causes { discount: PicoUsd(120 * RATE), ..Causes::default() });
}

#[test]
fn calls_without_a_price_are_a_difference_of_price() {
    // 1,000 priced and 500 unpriced tokens of ours, 1,700 on the bill: 200 more at our rate, and 500 that cost us nothing.
    let mut partly = ours(1_000);
    partly.quantity += 500 * QUANTITY_ONE;
    let expected = Causes { volume: PicoUsd(200 * RATE), price: PicoUsd(500 * RATE), ..Causes::default() };
    assert_eq!(split(billed(1_700, 1_700 * RATE), partly, &input()).causes, expected);
    let none = OurSums { calls: 1, unpriced: 1, quantity: 1_000 * QUANTITY_ONE, ..OurSums::default() };
    let expected = Causes { price: PicoUsd(1_700 * RATE), ..Causes::default() };
    assert_eq!(split(billed(1_700, 1_700 * RATE), none, &input()).causes, expected);
}

#[test]
fn rates_of_a_bill_are_after_its_discounts() {
    let mut with_discount = billed(1_000, 1_000 * RATE);
    with_discount.billed -= 120 * RATE;
    let mut derived = ours(1_000);
    (derived.cost, derived.list, derived.after_discounts) = (880 * RATE, 880 * RATE, derived.quantity);
    assert_eq!(split(with_discount, derived, &input()).causes, Causes::default());
    derived.after_discounts /= 2;
    let half = Causes { discount: PicoUsd(-60 * RATE), price: PicoUsd(60 * RATE), ..Causes::default() };
    assert_eq!(split(with_discount, derived, &input()).causes, half);
}

#[test]
fn a_class_without_calls_of_ours_is_priced_by_our_prices() {
    let setting = Setting { line: &input(), has_calls: true, rate: UnitPrice::parse("3", 6).ok(), missing: Unlogged::Model };
    let explained = explain(&billed(10, 10 * RATE), &OurSums::default(), Moved::default(), &setting);
    assert_eq!(explained.causes, Causes { volume: PicoUsd(10 * RATE), ..Causes::default() });
    let explained = explain(&billed(10, 10 * RATE), &OurSums::default(), Moved::default(), &Setting { rate: None, ..setting });
    assert_eq!(explained.causes, Causes { unexplained: PicoUsd(10 * RATE), ..Causes::default() });
}

#[test]
fn what_was_moved_is_neither_volume_nor_unlogged() {
    let moved = Moved { quantity: 100 * QUANTITY_ONE, cost: 100 * RATE };
    let setting = Setting { line: &input(), has_calls: false, rate: None, missing: Unlogged::Day };
    let explained = explain(&billed(100, 100 * RATE), &OurSums::default(), moved, &setting);
    assert_eq!((explained.causes, explained.unlogged), (Causes { timing: PicoUsd(100 * RATE), ..Causes::default() }, None));
    let explained = explain(&billed(150, 150 * RATE), &OurSums::default(), moved, &setting);
    let expected = Causes { timing: PicoUsd(100 * RATE), unlogged: PicoUsd(50 * RATE), ..Causes::default() };
    assert_eq!((explained.causes, explained.unlogged), (expected, Some(Unlogged::Day)));
}

const HUGE: i128 = 1_000_000_000_000_000_000_000_000_000_000;

fn sums() -> impl Strategy<Value = (BilledSums, OurSums, Moved)> {
    let number = || prop_oneof![Just(0_i128), -1_000_i128..1_000, -HUGE..HUGE];
    let count = || prop_oneof![Just(0_i128), 0_i128..1_000_000, 0..HUGE];
    let billed =
        (count(), number(), count(), count(), number(), number()).prop_map(|(lines, quantity, quantity_open, cost_open, gross, billed)| {
            BilledSums { lines, quantity, quantity_open, cost_open, gross, billed }
        });
    let counts = (count(), count(), count(), count());
    let ours = (counts, number(), number()).prop_map(|((calls, quantity, priced, after_discounts), cost, list)| OurSums {
        calls,
        quantity,
        priced,
        cost,
        list,
        after_discounts,
        ..OurSums::default()
    });
    (billed, ours, (number(), number()).prop_map(|(quantity, cost)| Moved { quantity, cost }))
}

proptest! {
    #[test]
    fn causes_sum_to_the_difference((billed, ours, moved) in sums(), has_calls: bool, is_known: bool, price in 0_u32..10_000) {
        let line = if is_known { input() } else { unknown() };
        let rate = UnitPrice::parse(&price.to_string(), 6).ok().filter(|_| price % 3 > 0);
        let setting = Setting { line: &line, has_calls, rate, missing: Unlogged::Region };
        let explained = explain(&billed, &ours, moved, &setting);
        prop_assert_eq!(explained.causes.sum().0, billed.billed - ours.cost);
    }
}
