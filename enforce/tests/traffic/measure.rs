//! Runs labelled traffic through a watch and compares what it says with the labels.

use std::collections::BTreeMap;

use sluice_enforce::runaway::{CallShape, Rules, Watch};
use sluice_schemas::time::{DAY, HOUR, MINUTE, SECOND};
use sluice_schemas::{Micros, PicoUsd};

use super::{Kind, MONTH, Random, START, Shape, Traffic, normal, runaway};

/// Days of normal work before a runaway.
const BEFORE: i64 = 12;

/// A runaway that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caught {
    /// Event time of the newest call when it was found, after the onset.
    pub(crate) after: i64,
    /// What the runaway had spent by then.
    pub(crate) spent: PicoUsd,
    /// Calls that it had made by then.
    pub(crate) calls: usize,
    /// Which detector found it.
    pub(crate) detector: String,
    /// What was said.
    pub(crate) explanation: String,
}

/// What came of one runaway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Nothing if it went unnoticed as long as it lasted.
    pub(crate) caught: Option<Caught>,
    /// When the runaway had spent the least amount that is ever told of, after the onset: no rule may be faster.
    pub(crate) worth_telling: Option<i64>,
}

/// Gives an agent of a kind twelve days of normal work (none for no kind), and lets it run away.
pub(crate) fn trial(rules: &Rules, shape: Shape, host: Option<Kind>, seed: u64) -> Outcome {
    let mut random = Random::new(seed);
    let mut traffic = Traffic::default();
    if let Some(kind) = host {
        normal(&mut traffic, &mut random, kind, "agent", BEFORE);
    }
    let own: Vec<CallShape> = std::mem::take(&mut traffic.shapes);
    let onset = BEFORE * DAY + random.within(0, 23) * HOUR + random.within(0, 59) * MINUTE;
    let length = if shape == Shape::SlowDrip { 6 * HOUR } else { 30 * MINUTE };
    runaway(&mut traffic, &mut random, shape, "agent", onset, length);
    traffic.sort();
    let wild = traffic.shapes.clone();
    let from = START + onset;
    // What gets dearer by the minute is told of at a quarter of the least spend.
    let floor = rules.iter().next().map_or(PicoUsd::ZERO, |rule| PicoUsd(rule.min_spend.0 / 4));
    let mut outcome = Outcome { caught: None, worth_telling: worth_telling(&wild, from, floor) };
    traffic.shapes.extend(own);
    traffic.sort();
    let mut watch = Watch::new(rules);
    let before = traffic.shapes.partition_point(|shape| shape.event_time.0 < from);
    drop(watch.apply(traffic.view(&traffic.shapes[..before]), Micros(from)));
    for at in before..traffic.shapes.len() {
        let now = traffic.shapes[at].event_time;
        if let Some(crossing) = watch.apply(traffic.view(&traffic.shapes[at..=at]), now).into_iter().next() {
            let made = &wild[..wild.partition_point(|shape| shape.event_time <= now)];
            let spent = made.iter().map(|shape| i128::from(shape.cost_picousd)).sum();
            outcome.caught = Some(Caught {
                after: now.0 - from,
                spent: PicoUsd(spent),
                calls: made.len(),
                detector: crossing.breach.threshold,
                explanation: crossing.breach.explanation.unwrap_or_default(),
            });
            break;
        }
    }
    outcome
}

fn worth_telling(wild: &[CallShape], from: i64, floor: PicoUsd) -> Option<i64> {
    let mut spent = 0;
    let reached = wild.iter().find(|shape| {
        spent += i128::from(shape.cost_picousd);
        spent >= floor.0
    });
    reached.map(|shape| shape.event_time.0 - from)
}

/// Runs a month of an agent's normal work; returns what was said of it, by detector, with the day and the words, and the number of calls.
pub(crate) fn false_alarms(rules: &Rules, kind: Kind, seed: u64) -> (BTreeMap<String, Vec<(i64, String)>>, usize) {
    let mut traffic = Traffic::default();
    normal(&mut traffic, &mut Random::new(seed), kind, "agent", MONTH);
    traffic.sort();
    let mut watch = Watch::new(rules);
    let mut alarms: BTreeMap<String, Vec<(i64, String)>> = BTreeMap::new();
    for part in traffic.shapes.chunks(1_000) {
        let now = part.last().map_or(Micros(0), |shape| shape.event_time.plus(SECOND));
        for crossing in watch.apply(traffic.view(part), now) {
            let day = (crossing.breach.event_time.0 - START) / DAY;
            let words = crossing.breach.explanation.unwrap_or_default();
            alarms.entry(crossing.breach.threshold).or_default().push((day, words));
        }
    }
    (alarms, traffic.calls())
}
