//! No gap is complete, and a gap is found with its calls and tokens, whatever minute either side books a call to.

use std::collections::BTreeMap;

use proptest::prelude::*;
use sluice_schemas::time::{HOUR, MINUTE};
use sluice_schemas::{Micros, PicoUsd};

use super::sums::{Lacking, SKEW, compare};
use super::*;

const SINCE: Micros = Micros(400_000 * HOUR);
const HOURS: i64 = 4;

fn stretch(hours_old: i64) -> Stretch {
    let until = SINCE.plus(HOURS * HOUR);
    Stretch::new(SINCE, until, until.plus(hours_old * HOUR), 15 * MINUTE)
}

fn key() -> Key {
    Key { account_id: "111122223333".to_owned(), region: "eu-central-1".to_owned(), model: "model-a".to_owned() }
}

/// A call: when it was made, when the other side counted it, its tokens, and whether the lake lacks it.
#[derive(Clone, Copy, Debug)]
struct Made {
    at: i64,
    skew: i64,
    tokens: Tokens,
    lost: bool,
}

fn sides(calls: &[Made]) -> (Series, Series) {
    let (mut lake, mut other) = (Series::new(), Series::new());
    for call in calls {
        let counts = Counts { calls: 1, failed: 0, tokens: call.tokens };
        *other.entry(SINCE.plus(call.at + call.skew).floor(MINUTE)).or_default() += counts;
        if !call.lost {
            *lake.entry(SINCE.plus(call.at).floor(MINUTE)).or_default() += counts;
        }
    }
    (lake, other)
}

fn found(calls: &[Made]) -> Vec<Lacking> {
    let (lake, other) = sides(calls);
    compare(&lake, &other, &stretch(2), MINUTE)
}

fn all(found: &[Lacking]) -> (u64, Tokens) {
    let mut tokens = Tokens::default();
    found.iter().for_each(|lacking| tokens += lacking.tokens);
    (found.iter().map(|lacking| lacking.calls).sum(), tokens)
}

fn truth<'a>(calls: impl Iterator<Item = &'a Made>) -> (u64, Tokens) {
    let (mut count, mut tokens) = (0, Tokens::default());
    for call in calls.filter(|call| call.lost) {
        count += 1;
        tokens += call.tokens;
    }
    (count, tokens)
}

prop_compose! {
    fn tokens()(classes in prop::array::uniform4(1_u64..100_000)) -> Tokens {
        Tokens::of(classes)
    }
}

prop_compose! {
    /// A call in the stretch, away from its edges by more than two calls can be apart.
    fn call(skew: std::ops::RangeInclusive<i64>, lost: bool)(
        at in 2 * SKEW..HOURS * HOUR - 2 * SKEW, skew in skew, tokens in tokens(), lost in any::<bool>().prop_map(move |is| is && lost)
    ) -> Made {
        Made { at, skew, tokens, lost }
    }
}

proptest! {
    #[test]
    fn nothing_missing_is_complete(calls in prop::collection::vec(call(-SKEW..=SKEW, false), 0..400)) {
        prop_assert_eq!(all(&found(&calls)), (0, Tokens::default()));
    }

    #[test]
    fn a_side_that_counts_later_is_complete_at_every_hour(
        calls in prop::collection::vec((-HOUR..(HOURS + 1) * HOUR, 0..=SKEW, tokens()), 0..2_000)
    ) {
        // Traffic runs over both edges of the stretch.
        let calls: Vec<Made> = calls.into_iter().map(|(at, skew, tokens)| Made { at, skew, tokens, lost: false }).collect();
        prop_assert_eq!(all(&found(&calls)), (0, Tokens::default()));
    }

    #[test]
    fn every_missing_call_is_found(calls in prop::collection::vec(call(-SKEW..=SKEW, true), 0..400)) {
        prop_assert_eq!(all(&found(&calls)), truth(calls.iter()));
    }

    #[test]
    fn without_skew_each_hour_is_exact(
        calls in prop::collection::vec((-HOUR..(HOURS + 1) * HOUR, tokens(), any::<bool>()), 0..2_000)
    ) {
        // Traffic runs over both edges; what is missing lies within.
        let made = |(at, tokens, lost): (i64, Tokens, bool)| Made { at, skew: 0, tokens, lost: lost && (0..HOURS * HOUR).contains(&at) };
        let calls: Vec<Made> = calls.into_iter().map(made).collect();
        for lacking in found(&calls) {
            let of_hour = calls.iter().filter(|call| SINCE.plus(call.at).floor(HOUR) == lacking.hour);
            prop_assert_eq!((lacking.calls, lacking.tokens), truth(of_hour));
        }
    }

    #[test]
    fn failed_calls_never_make_a_gap(
        calls in prop::collection::vec((call(0..=SKEW, false), any::<bool>()), 0..200), counts_failed in any::<bool>()
    ) {
        let (mut lake, mut other) = (Series::new(), Series::new());
        for (call, failed) in calls {
            let (ok, bad) = (u64::from(!failed), u64::from(failed));
            *lake.entry(SINCE.plus(call.at).floor(MINUTE)).or_default() += Counts { calls: ok, failed: bad, tokens: Tokens::default() };
            let seen = Counts { calls: ok + if counts_failed { bad } else { 0 }, failed: bad, tokens: Tokens::default() };
            *other.entry(SINCE.plus(call.at + call.skew).floor(MINUTE)).or_default() += seen;
        }
        prop_assert_eq!(all(&compare(&lake, &other, &stretch(2), MINUTE)).0, 0);
    }
}

/// Calls every ten seconds without a pause, from before the stretch to behind it.
fn stream(skew: i64) -> Vec<Made> {
    let calls = (-HOUR / 10_000_000..(HOURS + 1) * HOUR / 10_000_000).map(|number| Made {
        at: number * 10_000_000,
        skew,
        tokens: Tokens::of([100 + number.unsigned_abs() % 7, 10, 0, 0]),
        lost: false,
    });
    calls.collect()
}

#[test]
fn a_stream_without_a_pause_is_complete_and_its_gap_stands_in_its_hour() {
    for skew in [0, 7_000_000, 90_000_000] {
        assert_eq!(all(&found(&stream(skew))).0, 0, "{skew}");
    }
    let mut calls = stream(0);
    let lost = |call: &mut Made| call.lost = (2 * HOUR + 10 * MINUTE..2 * HOUR + 11 * MINUTE).contains(&call.at);
    calls.iter_mut().for_each(lost);
    let hours: Vec<u64> = found(&calls).iter().map(|lacking| lacking.calls).collect();
    assert_eq!(hours, [0, 0, 6, 0]);
    // Counted later, what five minutes hold cannot be told from what stands elsewhere: thirty calls of an hour's loss of 360.
    let mut calls = stream(40_000_000);
    calls.iter_mut().for_each(|call| call.lost = (HOUR..2 * HOUR).contains(&call.at));
    let missing = all(&found(&calls)).0;
    assert!((330..=360).contains(&missing), "{missing}");
}

#[test]
fn calls_that_only_the_lake_has_excuse_no_later_gap() {
    let mut calls = vec![Made { at: HOUR / 2, skew: 0, tokens: Tokens::of([10, 1, 0, 0]), lost: true }; 5];
    calls[0].at = 3 * HOUR + HOUR / 2;
    calls.truncate(1);
    let (mut lake, other) = sides(&calls);
    *lake.entry(SINCE.plus(HOUR / 2)).or_default() += Counts { calls: 9, failed: 0, tokens: Tokens::of([900, 90, 0, 0]) };
    assert_eq!(all(&compare(&lake, &other, &stretch(2), MINUTE)), (1, Tokens::of([10, 1, 0, 0])));
}

#[test]
fn tokens_may_be_rounded_and_may_not_be_lost() {
    let of = |tokens: u64| Series::from([(SINCE.plus(HOUR / 2), Counts { calls: 3, failed: 0, tokens: Tokens::of([tokens, 0, 0, 0]) })]);
    let tokens = |mine: u64, theirs: u64| all(&compare(&of(mine), &of(theirs), &stretch(2), MINUTE)).1.input;
    assert_eq!(tokens(99_900, 100_000), 0);
    assert_eq!(tokens(99_000, 100_000), 1_000);
    assert_eq!(tokens(100_000, 99_000), 0);
}

#[test]
fn young_hours_are_pending() {
    let lost = |hour: i64| Made { at: hour * HOUR + HOUR / 2, skew: 0, tokens: Tokens::of([10, 1, 0, 0]), lost: true };
    let (lake, other) = sides(&[lost(0), lost(3)]);
    let mut report = Report::default();
    let prices = Prices::new(BTreeMap::new(), &|_, _| None);
    let (lake, other) = (BTreeMap::from([(key(), lake)]), BTreeMap::from([(key(), other)]));
    report.add_sums(Side::Cloudwatch, &lake, &other, &stretch(0), MINUTE, &prices);
    let verdicts: Vec<(i64, &str)> = report.rows.iter().map(|row| (row.hour.hour() - SINCE.hour(), row.verdict.as_str())).collect();
    assert_eq!(verdicts, [(0, "gap"), (3, "pending")]);
    let totals = report.totals();
    assert_eq!((totals.calls, totals.pending, totals.unpriced_calls, totals.unpriced_tokens, totals.usd), (1, 1, 1, 11, PicoUsd::ZERO));
}

#[test]
fn one_call_that_two_sides_miss_is_one() {
    let prices =
        Prices::new(BTreeMap::from([(key(), Known { calls: 4, tokens: Tokens::of([300, 100, 0, 0]), cost: PicoUsd(4_000) })]), &|_, _| {
            None
        });
    let call = Made { at: HOUR / 2, skew: 0, tokens: Tokens::of([30, 10, 0, 0]), lost: true };
    let (lake, other) = sides(&[call]);
    let (lake, other) = (BTreeMap::from([(key(), lake)]), BTreeMap::from([(key(), other)]));
    let mut report = Report::default();
    report.add_sums(Side::Cloudwatch, &lake, &other, &stretch(2), MINUTE, &prices);
    let mut missing = Missing::default();
    for (number, held) in [(1, false), (2, true)] {
        let event_time = SINCE.plus(call.at);
        let named = MissingCall { side: Side::LogCopy, event_time, key: key(), request_id: format!("id-{number}") };
        missing.take(named, call.tokens, (!held).then_some(call.tokens));
    }
    report.add_ids(Side::LogCopy, missing, &stretch(2), &prices);
    let totals = report.totals();
    assert_eq!((totals.gaps, totals.calls, totals.tokens.total(), totals.usd), (1, 1, 40, PicoUsd(400)));
    assert_eq!(report.missing.iter().map(|call| call.request_id.as_str()).collect::<Vec<_>>(), ["id-1"]);
    assert_eq!(report.gap_hours(), [SINCE]);
    assert_eq!(report.sides()[&Side::LogCopy], SideReport { compared: 1, pending: 0, calls: 2, missing: 1 });
}

#[test]
fn an_unknown_price_is_said() {
    let other = Key { region: "us-east-1".to_owned(), ..key() };
    let strange = Key { model: "model-b".to_owned(), ..key() };
    let known = BTreeMap::from([(key(), Known { calls: 2, tokens: Tokens::of([900, 100, 0, 0]), cost: PicoUsd(5_000) })]);
    let list = |key: &Key, tokens: &Tokens| (key.model == "model-c").then(|| PicoUsd(i128::from(tokens.input + 5 * tokens.output)));
    let prices = Prices::new(known.clone(), &list);
    let tokens = Tokens::of([100, 0, 0, 0]);
    assert_eq!(prices.worth(&key(), 0, &tokens), Worth::Average(PicoUsd(500)));
    assert_eq!(prices.worth(&other, 0, &tokens), Worth::Average(PicoUsd(500)));
    assert_eq!(prices.worth(&strange, 0, &tokens), Worth::Unknown);
    assert_eq!(prices.worth(&strange, 1, &Tokens::default()), Worth::Unknown);
    let listed = Key { model: "model-c".to_owned(), ..key() };
    assert_eq!(prices.worth(&listed, 0, &tokens), Worth::List(PicoUsd(100)));
    assert_eq!(prices.worth(&listed, 1, &tokens), Worth::Unknown);
    // Calls whose tokens nobody tells cost an average call, beside those whose tokens are known.
    assert_eq!(prices.worth(&key(), 3, &tokens), Worth::Average(PicoUsd(500 + 7_500)));
    // Half of the list price was paid: 1,400 by the list, 700 in fact. So each class costs half of its list price.
    let paid = Known { calls: 2, tokens: Tokens::of([900, 100, 0, 0]), cost: PicoUsd(700) };
    let prices = Prices::new(BTreeMap::from([(listed.clone(), paid)]), &list);
    assert_eq!(prices.worth(&listed, 0, &Tokens::of([10, 100, 0, 0])), Worth::Average(PicoUsd(255)));
    // Calls in the lake of which none was paid for tell nothing.
    let free = Prices::new(BTreeMap::from([(key(), Known::default())]), &list);
    assert_eq!(free.worth(&key(), 1, &tokens), Worth::Unknown);
    let images = Prices::new(BTreeMap::from([(key(), Known { calls: 4, tokens: Tokens::default(), cost: PicoUsd(40) })]), &list);
    assert_eq!(images.worth(&key(), 3, &Tokens::default()), Worth::Average(PicoUsd(30)));
}
