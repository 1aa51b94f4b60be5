//! The auditor: what a lake and a running process say, held against the truth. It shares no code with either.

use std::collections::{BTreeMap, BTreeSet};

use sluice_aggregate::lake::Lake;
use sluice_enforce::HoldState;
use sluice_enforce::hold::{Cause, Hold};
use sluice_ingest::committed::Durable;
use sluice_schemas::position::Positions;
use sluice_schemas::time::{DAY, MINUTE};
use sluice_schemas::{Micros, PicoUsd};

use super::super::Pipeline;
use super::expect::{self, Spent};
use super::tables::{CallRow, Found, Reader};
use super::world::{MODELS, Place, Truth, World};

/// What must hold from one look to the next.
#[derive(Debug, Default)]
pub(crate) struct Auditor {
    reader: Reader,
    places: Vec<Place>,
    watermark: Option<Micros>,
    epoch: u64,
}

fn call_row(call: &super::world::Call) -> CallRow {
    let cost = call.cost();
    (call.at, call.agent.clone(), call.session.clone(), MODELS[call.model].0.to_owned(), cost.unwrap_or(0), cost.is_some())
}

/// Fails with the first difference, which says more than two whole maps.
fn same<K: Ord + std::fmt::Debug, V: PartialEq + std::fmt::Debug>(what: &str, expected: &BTreeMap<K, V>, found: &BTreeMap<K, V>) {
    if let Some((key, value)) = expected.iter().find(|(key, value)| found.get(key) != Some(value)) {
        panic!("{what}: {key:?} should be {value:?}, is {:?}", found.get(key));
    }
    if let Some((key, value)) = found.iter().find(|(key, _)| !expected.contains_key(key)) {
        panic!("{what}: {key:?} is {value:?} and should not be there");
    }
}

fn check_rows(truth: &Truth, found: &Found) {
    let expected: BTreeMap<String, CallRow> = truth.calls.iter().map(|(id, call)| (id.clone(), call_row(call))).collect();
    same("calls (C1)", &expected, &found.calls);
    same("rejected (C1)", &truth.rejected, &found.rejected);
}

impl Auditor {
    /// Looks at the lake as its last commit left it.
    pub(crate) fn lake(&mut self, world: &World, lake: &Lake) {
        let state = lake.state();
        self.positions(world, &state.positions);
        assert!(state.epoch >= self.epoch, "epoch {} after {}", state.epoch, self.epoch);
        self.epoch = state.epoch;
        if state.epoch > 0 {
            assert!(
                self.watermark.is_none_or(|before| state.watermark >= before),
                "watermark {} after {:?} (C4)",
                state.watermark,
                self.watermark
            );
            self.watermark = Some(state.watermark);
        }
        let truth = world.truth(&self.places);
        let found = self.reader.read(lake, &Vec::new());
        check_rows(&truth, &found);
        same("spend (C1)", &expect::spend(&truth), &self.reader.spend(lake));
        for crossing in expect::crossings(&expect::counters(&truth)) {
            assert!(found.breaches.values().any(|found| *found == crossing), "the lake has no breach {crossing:?}");
        }
    }

    /// Returns all rows of `breaches` by fire id.
    pub(crate) fn breaches(&mut self, lake: &Lake) -> BTreeMap<String, expect::Crossing> {
        self.reader.read(lake, &Vec::new()).breaches
    }

    /// Returns all rows of `actions`: time, fire id, action, state.
    pub(crate) fn actions(&mut self, lake: &Lake) -> Vec<(Micros, String, String, String)> {
        self.reader.actions(lake)
    }

    /// Positions only grow, and no child is ahead of its parent (C3, C5).
    fn positions(&mut self, world: &World, positions: &Positions) {
        let places = world.places(positions);
        for (number, (shard, place)) in world.shards.iter().zip(&places).enumerate() {
            let before = self.places.get(number).copied().unwrap_or_default();
            assert!(*place >= before, "{} went from {before:?} back to {place:?} (C3)", shard.name);
            let parent_ended = shard.parent.is_none_or(|parent| places[parent].ended);
            assert!(parent_ended || *place == Place::default(), "{} is read before its parent ended (C5)", shard.name);
        }
        self.places = places;
    }

    /// Looks at a running process, rows that are not in the lake included.
    pub(crate) fn process(&mut self, world: &World, pipeline: &Pipeline, now: Micros) {
        let places = world.places(&pipeline.positions);
        let truth = world.truth(&places);
        let counters = expect::counters(&truth);
        check_counters(pipeline, &truth, &counters, now);
        check_rolling(pipeline, &truth, now);
        if pipeline.settings.mode == super::super::Mode::Live {
            let found = self.reader.read(&pipeline.lake, &pipeline.live_rows());
            check_rows(&truth, &found);
            check_breaches(pipeline, &counters, &found);
        }
    }
}

/// Every crossing has its row; a row without its crossing is of a fire whose facts were lost with local state and come again.
fn check_breaches(pipeline: &Pipeline, counters: &BTreeMap<expect::Counter, Spent>, found: &Found) {
    let expected = expect::crossings(counters);
    for crossing in &expected {
        assert!(found.breaches.values().any(|found| found == crossing), "no row of the breach {crossing:?}");
    }
    for (fire_id, crossing) in &found.breaches {
        let known = expected.contains(crossing) || crossing.0 == "hour" || pipeline.shared.fire(fire_id).unwrap().is_some();
        assert!(known, "a breach that is none: {crossing:?}");
    }
}

/// C8. Counters of periods that are long over may be forgotten; what is there must be right.
fn check_counters(pipeline: &Pipeline, truth: &Truth, counters: &BTreeMap<expect::Counter, Spent>, now: Micros) {
    let status = pipeline.ledger.status(now);
    let mut seen = BTreeSet::new();
    for status in status.iter().filter(|status| !status.rolling) {
        let counter = (status.budget.clone(), status.target.clone(), status.period.clone());
        let Some(spent) = counters.get(&counter) else { panic!("a counter of nothing: {status:?} (C8)") };
        let found = Spent { amount: status.spent.0, calls: status.calls, unpriced: status.unpriced_calls };
        assert_eq!(found, *spent, "{counter:?} (C8)");
        seen.insert(counter);
    }
    let newest = expect::newest(truth).unwrap_or_default();
    for counter in counters.keys().filter(|counter| !seen.contains(*counter)) {
        let end = status_end(counter);
        assert!(end.is_some_and(|end| end < newest.plus(-2 * DAY)), "{counter:?} is missing (C8)");
    }
}

/// Returns a moment after the end of a counter's day; `None` where it never ends.
fn status_end(counter: &expect::Counter) -> Option<Micros> {
    let day = sluice_schemas::time::parse_day(&counter.2)?;
    Some(Micros(i64::from(day) * DAY).plus(DAY))
}

/// C8 of the rolling window, as of where the logs have come.
fn check_rolling(pipeline: &Pipeline, truth: &Truth, now: Micros) {
    let Some(newest) = expect::newest(truth) else { return };
    let as_of = if newest >= now { now } else { newest.max(now.plus(-10 * MINUTE)) };
    for status in pipeline.ledger.status_of("hour", now) {
        let agent = status.target.trim_start_matches("agent_id=");
        let expected = PicoUsd(expect::last_hour(truth, agent, as_of));
        assert_eq!(status.spent, expected, "last hour of {agent} as of {as_of} (C8)");
    }
}

/// Sources have heard of everything the lake holds: a message whose object was read by an earlier process waits for that.
pub(crate) fn told_durable(pipeline: &Pipeline) {
    for (shard, at) in &pipeline.lake.state().positions {
        assert_eq!(pipeline.committed.of(Durable::Lake, shard).as_ref(), Some(at), "{shard} is in the lake, and its source was not told");
    }
}

/// C10, right after the holds were reconciled with the ledger.
pub(crate) fn holds(world: &World, pipeline: &Pipeline, holds: &[Hold]) {
    let now = pipeline.settings.clock.now();
    let truth = world.truth(&world.places(&pipeline.positions));
    let counters = expect::counters(&truth);
    let newest = expect::newest(&truth).unwrap_or_default();
    let as_of = if newest >= now { now } else { newest.max(now.plus(-10 * MINUTE)) };
    for hold in holds.iter().filter(|hold| hold.state == HoldState::Active) {
        let Cause::Breach { budget, period, .. } = &hold.cause else { continue };
        assert!(hold.until.is_none_or(|until| until > now), "a hold beyond its end: {hold:?} (C10)");
        if budget == "hour" {
            let agent = hold.target.trim_start_matches("agent_id=");
            let spent = expect::last_hour(&truth, agent, as_of);
            assert!(spent == 0 || spent >= expect::HOUR_LIMIT / 10 * 9, "{hold:?} without a reason: {spent} (C10)");
            continue;
        }
        // What is not known is no reason to lift a stop.
        let counter = counters.iter().find(|((of, target, id), _)| of == budget && *target == hold.target && id == period);
        assert!(counter.is_none_or(|(_, spent)| spent.amount >= expect::DAY_LIMIT), "{hold:?} without a reason: {counter:?} (C10)");
    }
}
