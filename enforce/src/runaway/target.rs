//! One target on its way through event time: puts its calls in order and asks the detectors about each.
//!
//! Invariant: what is found is a function of the set of calls alone, as long as none arrives later than the rule's `settle` behind the
//! newest of its target. A later one counts in the sums of its time and is left out of the sequences that detectors follow.
//! Work and memory for a call are bounded: at most [`MOST_WAITING`] calls wait, [`MOST_LANES`] lanes are followed.

use serde::{Deserialize, Serialize};
use sluice_schemas::time::HOUR;
use sluice_schemas::{Micros, PicoUsd};

use super::growth::Growth;
use super::peaks::Peaks;
use super::repeat::Repeats;
use super::rule::Rule;
use super::shape::Seen;
use super::slices::{Slices, Sum};
use super::verdict::{Detector, Finding, span, times};

/// Calls of a target that wait to be put in order. Beyond it the oldest are judged early.
pub const MOST_WAITING: usize = 128;
/// Sessions (with their models) of a target that are followed at once; of more, the ones idle longest are forgotten.
pub const MOST_LANES: usize = 16;

/// Calls of one session to one model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Lane {
    #[serde(rename = "k")]
    key: u64,
    #[serde(rename = "r")]
    repeats: Repeats,
    #[serde(rename = "g")]
    growth: Growth,
}

/// What is usual for a target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Habits {
    /// Spend of the fast and of the slow window.
    #[serde(rename = "f")]
    fast: Peaks,
    #[serde(rename = "s")]
    slow: Peaks,
    /// Spend of a run of near-equal calls.
    #[serde(rename = "l", default)]
    loops: Peaks,
    /// Spend of a run of growing prompts.
    #[serde(rename = "g", default)]
    growth: Peaks,
    /// Failed calls in the fast window.
    #[serde(rename = "e", default)]
    errors: Peaks,
    /// Sessions opened in the fast window.
    #[serde(rename = "o", default)]
    opened: Peaks,
}

impl Habits {
    fn reach(&mut self, at: Micros) {
        for peaks in [&mut self.fast, &mut self.slow, &mut self.loops, &mut self.growth, &mut self.errors, &mut self.opened] {
            peaks.reach(at);
        }
    }
}

/// A stretch of time in which something is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Episode {
    /// Event time at which something was found last.
    #[serde(rename = "l")]
    last: i64,
}

/// What was told of the current day: about as much once more is no news.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Told {
    #[serde(rename = "d")]
    day: i32,
    /// Spend of the slow window.
    #[serde(rename = "s")]
    slow: i128,
    /// Sessions opened in the fast window.
    #[serde(rename = "o")]
    opened: i128,
}

/// Times what was told that is news.
const NEWS: i128 = 2;

/// What is known of a target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Target {
    /// In the order in which they will be judged.
    #[serde(rename = "w", default, skip_serializing_if = "Vec::is_empty")]
    waiting: Vec<Seen>,
    #[serde(rename = "n")]
    pub(super) newest: i64,
    /// Event time of the last call that was judged.
    #[serde(rename = "h")]
    head: i64,
    #[serde(rename = "s")]
    slices: Slices,
    #[serde(rename = "u")]
    habits: Habits,
    /// The latest first.
    #[serde(rename = "l", default, skip_serializing_if = "Vec::is_empty")]
    lanes: Vec<Lane>,
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    episode: Option<Episode>,
    #[serde(rename = "t", default)]
    told: Told,
    #[serde(skip)]
    pub(super) dirty: bool,
}

/// One detector's word on a call.
struct Verdict {
    detector: Detector,
    start: i64,
    spent: PicoUsd,
    limit: PicoUsd,
}

impl Target {
    /// Takes a call and judges those that are in order by it. Returns `false` if it came too late for that.
    pub(super) fn observe(&mut self, call: Seen, rule: &Rule, out: &mut Vec<Finding>) -> bool {
        if call.at < self.head {
            self.slices.add(&call, false, rule.widths());
            return false;
        }
        self.newest = self.newest.max(call.at);
        let place = self.waiting.partition_point(|other| *other <= call);
        self.waiting.insert(place, call);
        let settled = self.waiting.partition_point(|other| other.at <= self.newest - rule.settle);
        let due = settled.max(self.waiting.len().saturating_sub(MOST_WAITING));
        let judged: Vec<Seen> = self.waiting.drain(..due).collect();
        for call in judged {
            out.extend(self.judge(&call, rule));
        }
        true
    }

    /// Takes over that something was found before: what is found within the cooldown is the same episode.
    pub(super) fn note_found(&mut self, at: Micros) {
        let last = self.episode.map_or(at.0, |episode| episode.last.max(at.0));
        self.episode = Some(Episode { last });
    }

    fn judge(&mut self, call: &Seen, rule: &Rule) -> Option<Finding> {
        let at = Micros(call.at);
        self.head = call.at;
        self.habits.reach(at);
        if self.told.day != at.day() {
            self.told = Told { day: at.day(), ..Told::default() };
        }
        let opens = self.follow(call, rule);
        self.slices.add(call, opens, rule.widths());
        let (fast, slow) = self.slices.windows(at, rule.widths());
        let same = self.episode.is_some_and(|episode| call.at - episode.last <= rule.cooldown);
        let is_news = |now: i128, told: i128| same || now >= told.saturating_mul(NEWS);
        // Asked in this order: the most telling one speaks.
        let verdict = self.repeats(rule).or_else(|| self.grows(rule)).or_else(|| self.fails(rule, fast, slow));
        let verdict = verdict
            .or_else(|| self.fans_out(rule, fast, slow).filter(|_| is_news(fast.opened.into(), self.told.opened)))
            .or_else(|| self.surges(rule, fast, slow).filter(|_| is_news(slow.spend, self.told.slow)))
            .or_else(|| self.burns(rule, fast, slow));
        let verdict = verdict.filter(|verdict| verdict.spent >= rule.min_spend);
        self.habits.fast.note(fast.spend);
        self.habits.slow.note(slow.spend);
        self.habits.errors.note(fast.errors.into());
        self.habits.opened.note(fast.opened.into());
        let verdict = verdict?;
        match verdict.detector {
            Detector::Baseline => self.told.slow = self.told.slow.max(slow.spend),
            Detector::FanOut => self.told.opened = self.told.opened.max(fast.opened.into()),
            _ => {}
        }
        self.episode = Some(Episode { last: call.at });
        (!same).then(|| self.finding(&verdict, rule, fast, slow))
    }

    /// Moves the call's lane to the front and adds the call to it; tells whether it is a new one.
    fn follow(&mut self, call: &Seen, rule: &Rule) -> bool {
        let found = self.lanes.iter().position(|lane| lane.key == call.lane);
        let mut lane = found.map_or_else(|| Lane { key: call.lane, ..Lane::default() }, |at| self.lanes.remove(at));
        if let Some(terms) = &rule.repeat
            && let Some(run) = lane.repeats.add(call, terms).filter(|run| run.is_loop(terms))
        {
            self.habits.loops.note(run.spend().0);
        }
        if let Some(terms) = &rule.growth {
            let growth = lane.growth.add(call, terms);
            if growth.is_snowball(terms) {
                self.habits.growth.note(growth.spend().0);
            }
        }
        self.lanes.insert(0, lane);
        self.lanes.truncate(MOST_LANES);
        found.is_none()
    }

    /// Tells whether enough of the target's days are known.
    const fn is_known(&self) -> bool {
        self.habits.slow.usual().is_some()
    }

    /// Returns what a run may cost.
    fn limit(&self, rule: &Rule, runs: &Peaks, times: u32, unknown_times: u32) -> PicoUsd {
        match runs.known_or_seen() {
            Some(usual) => PicoUsd(usual.limit(times)).max(rule.min_spend),
            None if self.is_known() => rule.min_spend,
            None => PicoUsd(rule.min_spend.0.saturating_mul(i128::from(unknown_times))),
        }
    }

    fn repeats(&self, rule: &Rule) -> Option<Verdict> {
        let terms = rule.repeat.as_ref()?;
        let run = self.lanes.first()?.repeats.latest(self.head).filter(|run| run.is_loop(terms))?;
        let limit = self.limit(rule, &self.habits.loops, terms.times, 1);
        let verdict = Verdict { detector: Detector::Loop, start: run.first, spent: run.spend(), limit };
        (verdict.spent >= limit).then_some(verdict)
    }

    fn grows(&self, rule: &Rule) -> Option<Verdict> {
        let terms = rule.growth.as_ref()?;
        let growth = &self.lanes.first()?.growth;
        let limit = self.limit(rule, &self.habits.growth, terms.times, terms.unknown_times);
        let verdict = Verdict { detector: Detector::Growth, start: growth.first, spent: growth.spend(), limit };
        (growth.last == self.head && growth.is_snowball(terms) && verdict.spent >= limit).then_some(verdict)
    }

    fn fails(&self, rule: &Rule, fast: Sum, slow: Sum) -> Option<Verdict> {
        let terms = rule.errors.as_ref()?;
        let most = self.habits.errors.known_or_seen().map_or(0, |usual| usual.limit(terms.times));
        let many = fast.errors >= terms.calls && i128::from(fast.errors) >= most;
        let share = u64::from(fast.errors) * 100 >= u64::from(fast.calls) * u64::from(terms.percent);
        let verdict = Verdict { detector: Detector::Errors, start: self.head, spent: slow.spend(), limit: rule.min_spend };
        (many && share).then_some(verdict)
    }

    fn fans_out(&self, rule: &Rule, fast: Sum, slow: Sum) -> Option<Verdict> {
        let terms = rule.fan_out.as_ref()?;
        let unknown = i128::from(terms.sessions) * i128::from(terms.times);
        let most = self.habits.opened.known_or_seen().map_or(unknown, |usual| usual.limit(terms.times));
        let many = fast.opened >= terms.sessions && i128::from(fast.opened) >= most;
        let verdict = Verdict { detector: Detector::FanOut, start: self.head, spent: slow.spend(), limit: rule.min_spend };
        many.then_some(verdict)
    }

    fn surges(&self, rule: &Rule, fast: Sum, slow: Sum) -> Option<Verdict> {
        let terms = rule.baseline.as_ref()?;
        // Few days are not yet the measure, but what was seen in them was all right.
        let usual = |peaks: &Peaks, times: u32| peaks.known_or_seen().map_or(0, |usual| usual.limit(times));
        let least = if self.is_known() { rule.min_spend } else { terms.unknown };
        let limit = PicoUsd(usual(&self.habits.slow, terms.slow_times)).max(least);
        let verdict = Verdict { detector: Detector::Baseline, start: self.head, spent: slow.spend(), limit };
        (fast.spend >= usual(&self.habits.fast, terms.fast_times) && slow.spend() >= limit).then_some(verdict)
    }

    fn burns(&self, rule: &Rule, fast: Sum, slow: Sum) -> Option<Verdict> {
        let terms = rule.burn.as_ref()?;
        let allowed = |width: i64| PicoUsd(terms.rate.0.saturating_mul(i128::from(width)) / i128::from(HOUR));
        let verdict = Verdict { detector: Detector::Burn, start: self.head, spent: slow.spend(), limit: allowed(rule.slow) };
        (fast.spend() >= allowed(rule.fast) && verdict.spent >= verdict.limit).then_some(verdict)
    }

    /// Says what was seen.
    fn finding(&self, verdict: &Verdict, rule: &Rule, fast: Sum, slow: Sum) -> Finding {
        let Verdict { detector, start, spent, limit } = *verdict;
        let (in_fast, in_slow) = (span(rule.fast), span(rule.slow));
        let lane = self.lanes.first();
        let seen = match (detector, lane, lane.and_then(|lane| lane.repeats.latest(self.head))) {
            (Detector::Loop, _, Some(run)) => {
                let (low, high) = run.range();
                let (length, interval) = (span(run.last - run.first), span(run.interval()));
                format!("{} near-equal calls in {length}, input {low} to {high} tokens, every {interval}, {}", run.calls, spent.shown(2))
            }
            (Detector::Growth, Some(Lane { growth, .. }), _) => {
                let (from, to, length) = (growth.from_prompt, growth.to_prompt, span(growth.last - growth.first));
                format!("{} calls in {length}, input grew with each from {from} to {to} tokens, {}", growth.calls, spent.shown(2))
            }
            (Detector::Errors, ..) => format!("{} of {} calls failed in {in_fast}", fast.errors, fast.calls),
            (Detector::FanOut, ..) => format!("{} sessions opened in {in_fast}", fast.opened),
            (Detector::Burn, ..) => {
                let rate = rule.burn.map_or(PicoUsd::ZERO, |terms| terms.rate).shown(2);
                format!("{} in {in_fast} and {} in {in_slow}, both above {rate} an hour", fast.spend().shown(2), slow.spend().shown(2))
            }
            _ => {
                let usual = self.habits.fast.known_or_seen().map(|usual| times(fast.spend, usual.median));
                let usual = usual.map_or_else(String::new, |usual| format!(", {usual} the most of a usual day"));
                format!("{} in {in_fast}{usual}", fast.spend().shown(2))
            }
        };
        let usual = self.habits.slow.known_or_seen().map_or_else(
            || "of its days none is known".to_owned(),
            |usual| format!("{} the most of a usual day", times(slow.spend, usual.median)),
        );
        let explanation = format!("{}: {seen}; {} calls, {} in {in_slow}, {usual}", detector.as_str(), slow.calls, slow.spend().shown(2));
        Finding { detector, start: Micros(start), at: Micros(self.head), spent, limit, explanation }
    }
}
