//! Small traces worked out by hand, and what must be so on any.

use proptest::prelude::*;
use sluice_schemas::time::{DAY, HOUR, MINUTE, SECOND};
use sluice_schemas::{Micros, PicoUsd};

use super::{Generated, Outcome, Terms, TraceCall, Way, compare, generate, ways};

const TERMS: Terms = Terms { limit: PicoUsd(10), period: HOUR, seed: 1 };

/// A call of one target, at a second, that takes so many seconds.
fn call(second: i64, seconds: i64, cost: i128) -> TraceCall {
    TraceCall { target: "a".to_owned(), start: Micros(second * SECOND), duration: seconds * SECOND, cost: PicoUsd(cost) }
}

fn run(way: Way, calls: &[TraceCall]) -> Outcome {
    compare(calls, &TERMS, &[way]).remove(0)
}

/// Overshoot, calls refused, refused wrongly.
fn brief(outcome: &Outcome) -> (i128, u64, u64) {
    (outcome.overshoot_usd.0, outcome.denied, outcome.false_denials)
}

/// A call of 4 every ten seconds, each two seconds long: the limit of 10 is reached by the third, at second 20.
fn steady() -> Vec<TraceCall> {
    (0..12).map(|number| call(number * 10, 2, 4)).collect()
}

#[test]
fn a_post_charge_check_lets_through_what_began_before_it_knew() {
    // The third call ends at second 22, the fourth begins at 30 and is refused: 12 spent.
    assert_eq!(brief(&run(Way::PostCharge, &steady())), (2, 9, 0));
    // Ten at once: none has ended when the others begin.
    let at_once: Vec<TraceCall> = (0..10).map(|_| call(5, 60, 4)).collect();
    assert_eq!(brief(&run(Way::PostCharge, &at_once)), (30, 0, 0));
}

#[test]
fn a_cached_check_is_late_by_its_age_in_both_directions() {
    // Looks at 0 (nothing), 30 (12): the same as without a cache.
    assert_eq!(brief(&run(Way::Cached { ttl: 30 * SECOND }, &steady())), (2, 9, 0));
    // Looks at 0 and 60 (24 spent by then: calls at 0 to 50).
    assert_eq!(brief(&run(Way::Cached { ttl: 60 * SECOND }, &steady())), (14, 6, 0));
    // A copy from the end of the hour refuses calls of the next one: at 3595 it says over, at 3600 and 3610 it still does.
    let calls = [call(0, 1, 10), call(3595, 1, 1), call(3600, 1, 1), call(3610, 1, 1), call(3655, 1, 1)];
    assert_eq!(brief(&run(Way::Cached { ttl: 60 * SECOND }, &calls)), (0, 3, 2));
}

#[test]
fn a_periodic_check_sees_only_what_had_ended_when_it_looked() {
    // Looks at 0 and 60: calls at 0 to 50 go through, 24 spent; from 60 on refused.
    assert_eq!(brief(&run(Way::Periodic { every: MINUTE }, &steady())), (14, 6, 0));
    // A call under way at the look is not seen.
    let calls = [call(50, 20, 11), call(61, 1, 3), call(121, 1, 5)];
    assert_eq!(brief(&run(Way::Periodic { every: MINUTE }, &calls)), (4, 1, 0));
    // Its word of 3540 stands at 3599 and not at 3600, where it looks at the new hour.
    let calls = [call(0, 1, 10), call(3599, 1, 1), call(3600, 1, 1)];
    assert_eq!(brief(&run(Way::Periodic { every: MINUTE }, &calls)), (0, 1, 0));
    // Every seven minutes: the look at 3360 still rules at 3600 and 3700.
    let calls = [call(0, 1, 10), call(3600, 1, 1), call(3700, 1, 1), call(3790, 1, 1)];
    assert_eq!(brief(&run(Way::Periodic { every: 7 * MINUTE }, &calls)), (0, 2, 2));
}

#[test]
fn a_lagging_metric_sees_yesterday() {
    let terms = Terms { limit: PicoUsd(10), period: DAY, seed: 3 };
    let way = Way::Lagged { every: 8 * HOUR, least: 8 * HOUR, most: 8 * HOUR };
    // 4 each hour: at 16:00 it sees what had ended by 8:00, 32 of them, and refuses the last eight hours.
    let calls: Vec<TraceCall> = (0..24).map(|hour| call(hour * 3600, 60, 4)).collect();
    let outcome = compare(&calls, &terms, &[way]).remove(0);
    assert_eq!(brief(&outcome), (16 * 4 - 10, 8, 0));
    assert_eq!((outcome.over, outcome.worst_usd, outcome.spent_usd), (1, PicoUsd(54), PicoUsd(64)));
}

#[test]
fn the_stream_knows_after_the_log_and_is_obeyed_after_the_lever() {
    // Known 5 s after each end: the third, at 20, is counted at 27; obeyed at 37: calls at 30 goes through, 40 does not.
    let way = Way::Stream { least: 5 * SECOND, most: 5 * SECOND, obeyed: 10 * SECOND };
    assert_eq!(brief(&run(way, &steady())), (6, 8, 0));
    // Lifted ten seconds after the hour.
    let calls = [call(0, 1, 10), call(100, 1, 1), call(3601, 1, 1), call(3609, 1, 1), call(3610, 1, 1)];
    assert_eq!(brief(&run(way, &calls)), (0, 3, 2));
    // A record that comes after the hour is booked to its hour and refuses nobody in the next.
    let calls = [call(3590, 30, 11), call(3640, 1, 1)];
    assert_eq!(brief(&run(way, &calls)), (1, 0, 0));
}

#[test]
fn targets_are_apart() {
    let mut calls = steady();
    calls.extend(steady().into_iter().map(|call| TraceCall { target: "b".to_owned(), ..call }));
    assert_eq!(brief(&run(Way::PostCharge, &calls)), (4, 18, 0));
    assert_eq!(run(Way::PostCharge, &calls).over, 2);
}

#[test]
fn a_trace_is_the_same_for_the_same_seed() {
    let wanted = Generated { seed: 9, from: Micros(0), length: DAY, targets: 4, every: 5 * MINUTE };
    let calls = generate(&wanted);
    assert_eq!(calls, generate(&wanted));
    assert_ne!(calls, generate(&Generated { seed: 10, ..wanted }));
    assert!(calls.windows(2).all(|pair| pair[0].start <= pair[1].start));
    let of = |name: &str| calls.iter().filter(|call| call.target == name).count();
    assert!(of("agent-0") > 3 * of("agent-1"), "the first one runs away");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn books_balance_and_a_check_that_knows_all_is_never_wrong(seed in any::<u64>(), limit in 1_i128..200) {
        let calls = generate(&Generated { seed, from: Micros(0), length: 6 * HOUR, targets: 5, every: 2 * MINUTE });
        let terms = Terms { limit: PicoUsd(limit * 10_000_000_000), period: HOUR, seed };
        let all: PicoUsd = calls.iter().map(|call| call.cost).sum();
        for outcome in compare(&calls, &terms, &ways(5 * MINUTE, MINUTE)) {
            prop_assert!(outcome.spent_usd <= all && outcome.false_denials <= outcome.denied && outcome.worst_usd <= outcome.overshoot_usd);
            if outcome.denied == 0 {
                prop_assert_eq!(outcome.spent_usd, all);
            }
            if outcome.way == "post-charge check" {
                prop_assert_eq!(outcome.false_denials, 0);
            }
        }
        // Calls that take no time are known at once: only the call that reaches the limit goes past it.
        let instant: Vec<TraceCall> = calls.iter().map(|call| TraceCall { duration: 0, ..call.clone() }).collect();
        let dearest = instant.iter().map(|call| call.cost).max().unwrap_or_default();
        let exact = compare(&instant, &terms, &[Way::PostCharge, Way::Stream { least: 0, most: 0, obeyed: 0 }]);
        prop_assert!(exact.iter().all(|outcome| outcome.worst_usd < dearest && outcome.false_denials == 0));
        prop_assert_eq!(exact[0].spent_usd, exact[1].spent_usd);
    }
}
