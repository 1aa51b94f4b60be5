//! A small run of the figures of runaway detection, on held-out seeds: how many of each shape are caught, how soon in event time, and how
//! many months of normal work pass without a false alarm. `make bench-runaway` prints the large one.

mod traffic;

use sluice_enforce::runaway::Rules;
use sluice_schemas::time::{MINUTE, SECOND};
use traffic::{HELD_OUT, KINDS, Kind, SHAPES, Shape, TUNING, false_alarms, trial};

fn rules() -> Rules {
    Rules::parse("[[runaway]]\nname = 'default'").expect("valid")
}

/// Agents whose days know neither growth at a machine's pace nor many sessions at once.
const PLAIN_HOSTS: [Kind; 3] = [Kind::Chat, Kind::Rag, Kind::NightJob];

#[test]
fn runaways_are_caught_soon() {
    const TRIALS: u64 = 12;
    for shape in SHAPES {
        let run = |number: u64| {
            let host = PLAIN_HOSTS[number as usize % PLAIN_HOSTS.len()];
            trial(&rules(), shape, Some(host), HELD_OUT + 1_000 * shape as u64 + number)
        };
        let outcomes: Vec<_> = (0..TRIALS).map(run).collect();
        let caught = outcomes.iter().filter_map(|outcome| outcome.caught.as_ref());
        let soon = caught.clone().filter(|caught| caught.after <= 60 * SECOND).count();
        let floor = outcomes.iter().filter_map(|outcome| outcome.worth_telling).min().expect("worth telling of");
        assert_eq!(caught.count(), TRIALS as usize, "{shape:?}");
        assert!(outcomes.iter().all(|outcome| outcome.caught.as_ref().is_some_and(|caught| caught.after >= floor)), "{shape:?}");
        let least = match shape {
            Shape::TightLoop | Shape::TwoStepLoop | Shape::Flood => 12,
            Shape::RetryStorm | Shape::Snowball => 10,
            Shape::FanOut => 6,
            Shape::PingPong => 4,
            // Minutes apart, no five calls fit into one.
            Shape::SlowDrip => 0,
        };
        assert!(soon >= least, "{shape:?}: {soon} of {TRIALS} within a minute");
        let latest = outcomes.iter().filter_map(|outcome| outcome.caught.as_ref()).map(|caught| caught.after).max();
        let bound = if shape == Shape::SlowDrip { 40 * MINUTE } else { 4 * MINUTE };
        assert!(latest <= Some(bound), "{shape:?}: {latest:?}");
    }
}

#[test]
fn normal_work_is_left_alone() {
    let alarms: Vec<(Kind, usize)> = KINDS
        .into_iter()
        .map(|kind| (kind, false_alarms(&rules(), kind, HELD_OUT + 500_000 + 1_000 * kind as u64).0.values().map(Vec::len).sum()))
        .collect();
    let all: usize = alarms.iter().map(|(_, count)| count).sum();
    assert!(all <= KINDS.len(), "more than one a month: {alarms:?}");
    for kind in [Kind::Coding, Kind::Rag, Kind::NightJob, Kind::Embeddings, Kind::Ramp] {
        assert!(alarms.contains(&(kind, 0)), "{kind:?}: {alarms:?}");
    }
}

#[test]
fn the_seeds_of_both_sets_lie_apart() {
    assert!(TUNING + 500_000 + 1_000 * KINDS.len() as u64 + 1_000 < HELD_OUT);
}
