//! Near-equal calls at a steady interval: a loop.
//!
//! A run is a row of calls of one lane whose prompts and answers are as long as those before them, within a few percent. Calls without
//! an answer (embeddings, failures) take no part. Runs that are part of a target's days, like a job that fills in one form over and
//! over, are learned: only one that costs several times as much as the dearest of a usual day counts.

use serde::{Deserialize, Serialize};
use sluice_schemas::PicoUsd;
use sluice_schemas::time::{MINUTE, SECOND};

use super::rule::LoopTerms;
use super::shape::Seen;

/// Different shapes that a lane is followed in at once: a loop of a few steps repeats each of them.
const RUNS: usize = 3;
/// A pause of this many intervals and [`PAUSE`] ends a run.
const PAUSE_INTERVALS: i64 = 4;
const PAUSE: i64 = MINUTE;
/// Slack of an interval: logs tell whole seconds.
const SLACK: i64 = SECOND;
/// From this interval on, a run that keeps time to [`TIMER_SLACK`] follows a timer: no answer takes exactly as long as the last one.
const TIMER_FROM: i64 = 30 * SECOND;
const TIMER_SLACK: i64 = 2 * SECOND;

/// Calls that are alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Run {
    /// Running means, in sixteenths of a token.
    #[serde(rename = "p")]
    prompt: u64,
    #[serde(rename = "o")]
    output: u64,
    #[serde(rename = "n")]
    pub(super) calls: u32,
    #[serde(rename = "f")]
    pub(super) first: i64,
    #[serde(rename = "l")]
    pub(super) last: i64,
    /// Sum of the distances of the intervals from the mean at that time.
    #[serde(rename = "d")]
    unsteady: i64,
    #[serde(rename = "s")]
    spend: i128,
    #[serde(rename = "x")]
    range: (u32, u32),
}

impl Run {
    fn begin(call: &Seen) -> Self {
        Self {
            prompt: u64::from(call.prompt) * 16,
            output: u64::from(call.output) * 16,
            calls: 1,
            first: call.at,
            last: call.at,
            unsteady: 0,
            spend: i128::from(call.cost),
            range: (call.prompt, call.prompt),
        }
    }

    fn is_like(&self, call: &Seen, terms: &LoopTerms) -> bool {
        near(self.prompt, call.prompt, terms.input_percent) && near(self.output, call.output, terms.output_percent)
    }

    fn goes_on(&self, call: &Seen) -> bool {
        call.at - self.last <= self.interval().saturating_mul(PAUSE_INTERVALS).saturating_add(PAUSE) || self.calls < 2
    }

    fn add(&mut self, call: &Seen) {
        let interval = call.at - self.last;
        if self.calls >= 2 {
            self.unsteady = self.unsteady.saturating_add((interval - self.interval()).abs());
        }
        self.prompt = (self.prompt * 7 + u64::from(call.prompt) * 16) / 8;
        self.output = (self.output * 7 + u64::from(call.output) * 16) / 8;
        self.calls = self.calls.saturating_add(1);
        self.last = call.at;
        self.spend = self.spend.saturating_add(i128::from(call.cost));
        self.range = (self.range.0.min(call.prompt), self.range.1.max(call.prompt));
    }

    /// Returns the mean interval in microseconds.
    pub(super) fn interval(&self) -> i64 {
        (self.last - self.first) / i64::from(self.calls.saturating_sub(1).max(1))
    }

    fn unsteadiness(&self) -> i64 {
        self.unsteady / i64::from(self.calls.saturating_sub(2).max(1))
    }

    pub(super) const fn spend(&self) -> PicoUsd {
        PicoUsd(self.spend)
    }

    /// Returns the shortest and the longest prompt.
    pub(super) const fn range(&self) -> (u32, u32) {
        self.range
    }

    /// Tells whether it looks like a loop, whatever it costs.
    pub(super) fn is_loop(&self, terms: &LoopTerms) -> bool {
        let (interval, unsteadiness) = (self.interval(), self.unsteadiness());
        let steady = unsteadiness <= interval / 100 * i64::from(terms.interval_percent) + SLACK;
        let timed = interval >= TIMER_FROM && unsteadiness <= TIMER_SLACK;
        self.calls >= terms.calls && steady && !timed
    }
}

/// Tells whether a length is within `percent` of a mean that is in sixteenths.
fn near(mean: u64, length: u32, percent: u32) -> bool {
    let length = u64::from(length) * 16;
    length.abs_diff(mean) * 100 <= mean * u64::from(percent)
}

/// The runs of a lane, the latest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Repeats(Vec<Run>);

impl Repeats {
    /// Takes a call.
    pub(super) fn add(&mut self, call: &Seen, terms: &LoopTerms) {
        if call.failed || call.output == 0 {
            return;
        }
        let found = self.0.iter().position(|run| run.is_like(call, terms));
        let run = match found.map(|at| self.0.remove(at)) {
            Some(mut run) if run.goes_on(call) => {
                run.add(call);
                run
            }
            _ => Run::begin(call),
        };
        self.0.insert(0, run);
        self.0.truncate(RUNS);
    }

    /// Returns the run that the call of that moment belongs to.
    pub(super) fn latest(&self, at: i64) -> Option<&Run> {
        self.0.first().filter(|run| run.last == at)
    }
}
