//! The bound holds in every run whose burn and delays are as stated; parts add up; the watch tells once.

use std::collections::BTreeMap;

use proptest::prelude::*;
use sluice_schemas::time::{MINUTE, SECOND};
use sluice_schemas::{Micros, PicoUsd};

use super::{Bound, Delays, Moments, PastCall, Watch, measure};
use crate::budget::Mode;
use crate::hold::{Cause, Hold, HoldState, Released};
use crate::ledger::BudgetStatus;

const SLOT: i64 = 5 * MINUTE;

/// Random numbers from a seed.
struct Draw(u64);

impl Draw {
    fn next(&mut self, below: i64) -> i64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        i64::try_from((x ^ (x >> 31)) % u64::try_from(below.max(1)).expect("positive")).expect("below")
    }
}

/// What happened in a run.
struct Run {
    calls: Vec<PastCall>,
    moments: Option<Moments>,
    limit: PicoUsd,
}

/// Simulates one target that goes on until calls are refused: each delay of each call is drawn below its limit.
fn run(seed: u64, delays: &Delays) -> Run {
    let mut draw = Draw(seed);
    let limit = PicoUsd(i128::from(1 + draw.next(1_000_000)));
    let gap = 1 + draw.next(20 * SECOND);
    let burst = draw.next(3) == 0;
    let mut offered: Vec<PastCall> = Vec::new();
    let mut start = 1_000_000 * MINUTE + draw.next(10 * MINUTE);
    for number in 0..3_000 {
        let pause = if burst && number % 50 < 45 { draw.next(gap / 20 + 1) } else { draw.next(2 * gap) };
        start += pause;
        let dearest = if draw.next(40) == 0 { 90_000 } else { 3_000 };
        let cost = PicoUsd(i128::from(draw.next(dearest)));
        offered.push(PastCall { start: Micros(start), duration: draw.next(delays.call + 1), cost });
    }
    let known_at: Vec<(i64, i64)> = offered
        .iter()
        .map(|call| {
            let arrived = call.start.0 + call.duration + draw.next(delays.log + 1);
            (arrived, arrived + draw.next(delays.pipeline + 1))
        })
        .collect();
    // Nothing is refused before the hold works, so the moment it works can be found from what is offered.
    let mut order: Vec<usize> = (0..offered.len()).collect();
    order.sort_by_key(|at| known_at[*at].1);
    let mut known = PicoUsd::ZERO;
    let decided_by = order.into_iter().find(|at| {
        known += offered[*at].cost;
        known >= limit
    });
    let mut spent = PicoUsd::ZERO;
    let crossed = offered.iter().find(|call| {
        spent += call.cost;
        spent >= limit
    });
    let (Some(by), Some(crossed)) = (decided_by, crossed) else {
        return Run { calls: offered, moments: None, limit };
    };
    let (arrived, decided) = known_at[by];
    let applied = decided + draw.next(delays.decision + 1);
    let effective = applied + draw.next(delays.propagation + 1);
    let moments = Moments { crossed: crossed.start, arrived: Micros(arrived), decided: Micros(decided), applied: Micros(applied) };
    offered.retain(|call| call.start.0 <= effective);
    Run { calls: offered, moments: Some(moments), limit }
}

fn peak(calls: &[PastCall]) -> PicoUsd {
    let mut slots: BTreeMap<i64, PicoUsd> = BTreeMap::new();
    for call in calls {
        *slots.entry(call.start.0.div_euclid(SLOT)).or_default() += call.cost;
    }
    slots.into_values().max().unwrap_or_default()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn the_bound_holds_in_every_run(
        seed in any::<u64>(), call in 0_i64..120, log in 0_i64..600, pipeline in 0_i64..5, decision in 0_i64..10, propagation in 0_i64..90
    ) {
        let delays = Delays {
            call: call * SECOND,
            log: log * SECOND,
            pipeline: pipeline * SECOND,
            decision: decision * SECOND,
            propagation: propagation * SECOND,
        };
        let run = run(seed, &delays);
        let Some(moments) = run.moments else { return Ok(()) };
        let found = measure(&moments, run.calls.iter().copied());
        let past: PicoUsd = run.calls.iter().filter(|call| call.start > moments.crossed).map(|call| call.cost).sum();
        prop_assert_eq!(found.total(), past, "the parts add up");
        prop_assert!(run.calls.iter().map(|call| call.cost).sum::<PicoUsd>() >= run.limit);
        let bound = Bound::of(peak(&run.calls), SLOT, &delays, PicoUsd::ZERO);
        prop_assert!(found.total() <= bound.total(), "{:?} of {:?}", found, bound);
        let stretch = found.last_call.map_or(0, |last| last.0 - moments.crossed.0);
        prop_assert!(stretch <= bound.for_micros);
    }
}

#[test]
fn calls_are_sorted_by_the_part_they_began_in() {
    let moments = Moments { crossed: Micros(100), arrived: Micros(200), decided: Micros(300), applied: Micros(400) };
    let call = |start, duration, cost| PastCall { start: Micros(start), duration, cost: PicoUsd(cost) };
    let calls = [
        call(100, 900, 1_000_000),
        call(101, 1, 1),
        call(200, 1, 2),
        call(201, 1, 10),
        call(350, 1, 100),
        call(350, 51, 1_000),
        call(401, 1, 10_000),
    ];
    let found = measure(&moments, calls);
    let parts = [found.log_lag, found.pipeline, found.decision, found.in_flight, found.propagation].map(|part| part.0);
    assert_eq!(parts, [3, 10, 100, 1_000, 10_000]);
    assert_eq!((found.calls, found.last_call, found.total()), (6, Some(Micros(401)), PicoUsd(11_113)));
}

#[test]
fn a_bound_counts_the_slots_a_stretch_can_touch() {
    let of = |seconds: i64| Bound::of(PicoUsd(10), SLOT, &Delays { log: seconds * SECOND, ..Delays::default() }, PicoUsd(3)).total().0;
    assert_eq!([of(0), of(1), of(300), of(301)], [3, 23, 23, 33]);
}

fn status(spent: i64, peak_per_hour: i64) -> BudgetStatus {
    BudgetStatus {
        budget: "b".to_owned(),
        target: "agent_id=a".to_owned(),
        period: "2026-10-01".to_owned(),
        period_start: Micros(0),
        period_end: None,
        spent: PicoUsd::from_dollars(spent),
        limit: Some(PicoUsd::from_dollars(10)),
        percent_millis: None,
        projected: None,
        burn_per_hour: PicoUsd::ZERO,
        peak_burn_per_hour: PicoUsd::from_dollars(peak_per_hour),
        calls: 1_000,
        unpriced_calls: 0,
        last_event: Micros(0),
        fired: Vec::new(),
        hold_at: Some(PicoUsd::from_dollars(10)),
        confirmed: true,
        mode: Mode::Enforce,
        rolling: false,
    }
}

#[test]
fn a_hold_that_lets_more_through_than_stated_is_told_once_and_again_when_it_ends() {
    let cause =
        Cause::Breach { fire_id: "f".to_owned(), budget: "b".to_owned(), period: "2026-10-01".to_owned(), threshold: "100%".to_owned() };
    let mut hold = Hold {
        id: "f".to_owned(),
        target: "agent_id=a".to_owned(),
        cause,
        until: None,
        mode: Mode::Enforce,
        state: HoldState::Active,
        created_at: Micros(0),
        approved_by: None,
        released: None,
        revision: 0,
    };
    let delays = Delays { log: 60 * SECOND, propagation: 60 * SECOND, ..Delays::default() };
    // 12 dollars an hour is one in five minutes: two slots, two dollars.
    let mut watch = Watch::default();
    assert_eq!(watch.look(std::slice::from_ref(&hold), &[status(11, 12)], &delays), []);
    let told = watch.look(std::slice::from_ref(&hold), &[status(13, 400)], &delays);
    assert_eq!((told.len(), told[0].overshoot, told[0].is_violated(), told[0].ended), (1, PicoUsd::from_dollars(3), true, false));
    assert!(told[0].bound >= PicoUsd::from_dollars(2) && told[0].bound < "2.02".parse().expect("money"));
    assert_eq!(watch.look(std::slice::from_ref(&hold), &[status(14, 400)], &delays), []);
    hold.state = HoldState::Released;
    hold.released = Some(Released { at: Micros(1), actor: "x".to_owned(), reason: String::new() });
    let told = watch.look(std::slice::from_ref(&hold), &[], &delays);
    assert_eq!((told.len(), told[0].overshoot, told[0].ended), (1, PicoUsd::from_dollars(4), true));
    assert_eq!((told[0].line(Micros(5)).state.as_str(), told[0].line(Micros(5)).action.as_str()), ("violated", "overshoot"));
    assert_eq!(watch.look(&[hold], &[], &delays), []);
}
