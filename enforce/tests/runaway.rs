//! A small run of the figures of runaway detection, on held-out seeds: how many of each shape are caught, how soon in event time, and how
//! many months of normal work pass without a false alarm. `make bench-runaway` prints the large one.

mod traffic;

use sluice_enforce::runaway::Rules;
use sluice_schemas::time::{MINUTE, SECOND};
use traffic::{HELD_OUT, KINDS, Kind, SHAPES, Shape, TUNING, false_alarms, trial};

fn rules() -> Rules {
    Rules::parse("[[runaway]]\nname = 'default'").expect("valid")
}

/// Who runs away: agents of these kinds, and one of which nothing is known.
const HOSTS: [Option<Kind>; 5] = [Some(Kind::Coding), Some(Kind::Chat), Some(Kind::Rag), Some(Kind::NightJob), None];

#[test]
fn runaways_are_caught_soon() {
    const TRIALS: u64 = 12;
    for shape in SHAPES {
        let run = |number: u64| {
            let host = HOSTS[number as usize % HOSTS.len()];
            trial(&rules(), shape, host, HELD_OUT + 1_000 * shape as u64 + number)
        };
        let outcomes: Vec<_> = (0..TRIALS).map(run).collect();
        let caught = outcomes.iter().filter_map(|outcome| outcome.caught.as_ref());
        let soon = caught.clone().filter(|caught| caught.after <= 60 * SECOND).count();
        let floor = outcomes.iter().filter_map(|outcome| outcome.worth_telling).min().expect("worth telling of");
        assert_eq!(caught.count(), TRIALS as usize, "{shape:?}");
        assert!(outcomes.iter().all(|outcome| outcome.caught.as_ref().is_some_and(|caught| caught.after >= floor)), "{shape:?}");
        let least = match shape {
            Shape::TightLoop | Shape::TwoStepLoop | Shape::Flood | Shape::Snowball | Shape::FanOut => 12,
            Shape::RetryStorm | Shape::PingPong => 11,
            // Minutes apart, no five calls fit into one.
            Shape::SlowDrip => 0,
        };
        assert!(soon >= least, "{shape:?}: {soon} of {TRIALS} within a minute");
        let latest = outcomes.iter().filter_map(|outcome| outcome.caught.as_ref()).map(|caught| caught.after).max();
        let bound = if shape == Shape::SlowDrip { 40 * MINUTE } else { 2 * MINUTE };
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
    for kind in [Kind::Rag, Kind::NightJob, Kind::Embeddings, Kind::Ramp] {
        assert!(alarms.contains(&(kind, 0)), "{kind:?}: {alarms:?}");
    }
    // Work that looks most like a runaway.
    for kind in [Kind::Chat, Kind::Coding, Kind::Requests, Kind::Review, Kind::Drafts, Kind::Class] {
        assert!(alarms.iter().any(|(each, count)| *each == kind && *count <= 1), "{kind:?}: {alarms:?}");
    }
}

#[test]
fn the_seeds_of_both_sets_lie_apart() {
    assert!(TUNING + 500_000 + 1_000 * KINDS.len() as u64 + 1_000 < HELD_OUT);
}
