//! A context that grows call after call without end.
//!
//! Every conversation grows; a person takes time to answer, though, and an agent's task has an end. What counts is a row of calls at a
//! machine's pace, each prompt longer than the last. Three things are seen in it:
//!
//! - what it costs, which tells in the end;
//! - its pace: how fast prompts and answers gain on what a busy agent reads and writes ([`Pace`]);
//! - its evenness: steps, answers and intervals that are as good as equal, which work that meets the world never has ([`Step`]).

use serde::{Deserialize, Serialize};
use sluice_schemas::PicoUsd;
use sluice_schemas::time::SECOND;

use super::rule::GrowthTerms;
use super::shape::Seen;

/// Tokens a second by which a busy agent's context grows, and that it writes: of more, the rest adds up.
const READS: u64 = 200;
const WRITES: u64 = 80;
/// What one call adds at most, so that a long file, or a long answer, is not taken for a row of them.
const MOST_READ: u32 = 6_000;
const MOST_WRITTEN: u32 = 2_500;
/// Calls that evenness is told from.
const EVEN_CALLS: usize = 6;
/// The longest of even steps is not this many times as long as the shortest.
const MOST_RATIO: u32 = 4;
/// Longest pause within an even row: two agents that answer each other wait for each other's answer and no longer.
const EVEN_PAUSE: i64 = 15 * SECOND;
/// Scores are in thousandths of what is a finding; of far more it does not matter how much.
pub(super) const TOLD: i128 = 1_000;
const MOST_SCORE: i128 = 1_000 * TOLD;

/// What a row gained beyond a busy agent's pace: tokens that drain away as time goes by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Pace {
    #[serde(rename = "r")]
    read: u64,
    #[serde(rename = "w")]
    written: u64,
}

impl Pace {
    fn add(&mut self, grown: u32, call: &Seen, interval: i64) {
        let millis = u64::try_from(interval / 1_000).unwrap_or_default();
        let drained = |level: u64, speed: u64| level.saturating_sub(speed.saturating_mul(millis) / 1_000);
        self.read = drained(self.read, READS) + u64::from(grown.min(MOST_READ));
        self.written = drained(self.written, WRITES) + u64::from(call.output.min(MOST_WRITTEN));
    }
}

/// A call of a row: tokens by which its prompt was longer than the last, tokens of its answer, milliseconds since the last call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Step(u32, u32, u32);

/// Calls of a lane whose prompts only grew.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Growth {
    #[serde(rename = "a")]
    pub(super) from_prompt: u32,
    #[serde(rename = "z")]
    pub(super) to_prompt: u32,
    #[serde(rename = "n")]
    pub(super) calls: u32,
    #[serde(rename = "f")]
    pub(super) first: i64,
    #[serde(rename = "l")]
    pub(super) last: i64,
    #[serde(rename = "s")]
    spend: i128,
    #[serde(rename = "p", default)]
    pace: Pace,
    /// The last calls, oldest first.
    #[serde(rename = "e", default, skip_serializing_if = "Vec::is_empty")]
    steps: Vec<Step>,
}

impl Growth {
    /// Takes a call.
    pub(super) fn add(&mut self, call: &Seen, terms: &GrowthTerms) {
        if call.failed || call.output == 0 {
            return;
        }
        let interval = call.at - self.last;
        let goes_on = self.calls > 0 && call.prompt > self.to_prompt && interval <= terms.pause;
        if goes_on {
            self.calls = self.calls.saturating_add(1);
            self.spend = self.spend.saturating_add(i128::from(call.cost));
            let grown = call.prompt - self.to_prompt;
            self.pace.add(grown, call, interval);
            if self.steps.len() == EVEN_CALLS {
                self.steps.remove(0);
            }
            self.steps.push(Step(grown, call.output, u32::try_from(interval / 1_000).unwrap_or(u32::MAX)));
        } else {
            let mut steps = std::mem::take(&mut self.steps);
            steps.clear();
            steps.push(Step(0, call.output, 0));
            *self = Self { from_prompt: call.prompt, calls: 1, first: call.at, spend: i128::from(call.cost), steps, ..Self::default() };
        }
        (self.to_prompt, self.last) = (call.prompt, call.at);
    }

    pub(super) const fn spend(&self) -> PicoUsd {
        PicoUsd(self.spend)
    }

    /// Tells whether it looks like a snowball, whatever it costs.
    pub(super) fn is_snowball(&self, terms: &GrowthTerms) -> bool {
        self.calls >= terms.calls && u64::from(self.to_prompt) * 100 >= u64::from(self.from_prompt) * u64::from(terms.grown_percent)
    }

    /// Returns how far its pace has gained on a busy agent's, in thousandths of what is a finding: both prompts and answers have to.
    pub(super) fn pace(&self, terms: &GrowthTerms) -> i128 {
        let share = |level: u64, most: u32| i128::from(level) * TOLD / i128::from(most.max(1));
        share(self.pace.read, terms.read).min(share(self.pace.written, terms.written))
    }

    /// Returns how even its last calls are, in thousandths of what is a finding; nothing of fewer calls or slower ones.
    pub(super) fn evenness(&self, terms: &GrowthTerms) -> i128 {
        if self.steps.len() < EVEN_CALLS {
            return 0;
        }
        let (steps, answers, intervals) =
            (self.grown(), self.steps.iter().map(|step| step.1), self.steps.iter().skip(1).map(|step| step.2));
        let paused = intervals.clone().any(|interval| i64::from(interval) > EVEN_PAUSE / 1_000);
        if paused || is_wide(steps.clone()) || is_wide(answers.clone()) {
            return 0;
        }
        // Intervals may vary twice as much: they hold the answering time of somebody else.
        let varies = variation(steps) + variation(answers) + variation(intervals) / 4;
        let allowed = 3 * i128::from(terms.even_percent).pow(2) * 100;
        (allowed * TOLD / varies.max(1)).min(MOST_SCORE)
    }

    /// Returns by how much each of the last prompts was longer than the one before.
    fn grown(&self) -> impl Iterator<Item = u32> + Clone {
        self.steps.iter().skip(1).map(|step| step.0)
    }

    /// Returns the smallest and the largest step and answer of the last calls.
    pub(super) fn steps(&self) -> [(u32, u32); 2] {
        [ends(self.grown()), ends(self.steps.iter().map(|step| step.1))]
    }
}

/// Returns the smallest and the largest of a few numbers.
fn ends(values: impl Iterator<Item = u32>) -> (u32, u32) {
    values.fold((u32::MAX, 0), |(low, high), value| (low.min(value), high.max(value)))
}

/// Tells whether numbers lie so far apart that their variance need not be asked for.
fn is_wide(values: impl Iterator<Item = u32>) -> bool {
    let (low, high) = ends(values);
    high / MOST_RATIO > low
}

/// Returns the variance of a few numbers in parts of their squared mean, in millionths.
fn variation(values: impl Iterator<Item = u32> + Clone) -> i128 {
    let count = values.clone().count() as i128;
    let sum: i128 = values.clone().map(i128::from).sum();
    let squares: i128 = values.map(|value| i128::from(value).pow(2)).sum();
    // Both times the count: that of the mean and that of the squares.
    let (of_mean, of_squares) = (sum * sum, squares * count);
    (of_squares - of_mean) * count * 1_000_000 / ((count - 1).max(1) * of_mean.max(1))
}
