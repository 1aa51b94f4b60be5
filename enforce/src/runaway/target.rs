//! One target on its way through event time: puts its calls in order and asks the detectors about each.
//!
//! Invariant: what is found is a function of the set of calls alone, as long as none arrives later than the rule's `settle` behind the
//! newest of its target. A later one counts in the sums of its time and is left out of the sequences that detectors follow.
//! Work and memory for a call are bounded: at most [`MOST_WAITING`] calls wait, [`MOST_LANES`] lanes are followed.

use serde::{Deserialize, Serialize};
use sluice_schemas::time::HOUR;
use sluice_schemas::{Micros, PicoUsd};

use super::growth::TOLD;
use super::lane::{Busy, Lanes};
use super::peaks::Peaks;
use super::rule::Rule;
use super::shape::Seen;
use super::slices::{Slices, Sum};
use super::verdict::{Detector, Finding};
use super::words::explain;

/// Calls of a target that wait to be put in order. Beyond it the oldest are judged early.
pub const MOST_WAITING: usize = 128;
/// What is usual for a target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Habits {
    /// Spend of the fast and of the slow window.
    #[serde(rename = "f")]
    pub(super) fast: Peaks,
    #[serde(rename = "s")]
    pub(super) slow: Peaks,
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
    /// Sessions that were opened of late and never paused.
    #[serde(rename = "b", default)]
    busy: Peaks,
    /// Pace and evenness of growing prompts, in thousandths of what is a finding.
    #[serde(rename = "p", default)]
    pace: Peaks,
    #[serde(rename = "v", default)]
    even: Peaks,
}

impl Habits {
    fn reach(&mut self, at: Micros) {
        let Self { fast, slow, loops, growth, errors, opened, busy, pace, even } = self;
        for peaks in [fast, slow, loops, growth, errors, opened, busy, pace, even] {
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
    pub(super) head: i64,
    #[serde(rename = "s")]
    slices: Slices,
    #[serde(rename = "u")]
    pub(super) habits: Habits,
    #[serde(rename = "l", default)]
    pub(super) lanes: Lanes,
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    episode: Option<Episode>,
    #[serde(rename = "t", default)]
    told: Told,
    #[serde(skip)]
    pub(super) dirty: bool,
}

/// What a detector goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// A run of near-equal calls.
    Run,
    /// What a row of growing prompts costs.
    Row,
    /// How fast one grows.
    Pace,
    /// How even its steps are.
    Even,
    /// Failed calls.
    Failures,
    /// Sessions that were opened.
    Opened,
    /// Sessions that were opened and never paused.
    Busy,
    /// Spend beyond the usual.
    Surge,
    /// Spend beyond a rate.
    Rate,
}

impl Sign {
    pub(super) const fn detector(self) -> Detector {
        match self {
            Self::Run => Detector::Loop,
            Self::Row | Self::Pace | Self::Even => Detector::Growth,
            Self::Failures => Detector::Errors,
            Self::Opened | Self::Busy => Detector::FanOut,
            Self::Surge => Detector::Baseline,
            Self::Rate => Detector::Burn,
        }
    }
}

/// What was spent in the windows that end with a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Windows {
    pub(super) fast: Sum,
    pub(super) slow: Sum,
    pub(super) busy: Busy,
}

/// What gets dearer by the minute is told of at this part of the least spend.
const EARLY: i128 = 4;

fn early(spent: PicoUsd) -> PicoUsd {
    PicoUsd(spent.0.saturating_mul(EARLY))
}

/// One detector's word on a call.
struct Verdict {
    sign: Sign,
    start: i64,
    spent: PicoUsd,
    limit: PicoUsd,
    /// What has to reach the least spend.
    worth: PicoUsd,
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
        let opens = self.lanes.follow(call, rule);
        self.slices.add(call, opens, rule.widths());
        let (fast, slow) = self.slices.windows(at, rule.widths());
        let windows =
            Windows { fast, slow, busy: rule.fan_out.map_or_else(Busy::default, |terms| self.lanes.busy(call.at, rule.fast, &terms)) };
        let same = self.episode.is_some_and(|episode| call.at - episode.last <= rule.cooldown);
        let verdict = self.verdict(rule, &windows, same).filter(|verdict| verdict.worth >= rule.min_spend);
        self.note(rule, &windows);
        let verdict = verdict?;
        match verdict.sign {
            Sign::Surge => self.told.slow = self.told.slow.max(slow.spend),
            Sign::Opened | Sign::Busy => self.told.opened = self.told.opened.max(fast.opened.into()),
            _ => {}
        }
        self.episode = Some(Episode { last: call.at });
        (!same).then(|| self.finding(&verdict, rule, &windows))
    }

    /// Asks the detectors: the most telling one speaks.
    fn verdict(&self, rule: &Rule, windows: &Windows, same: bool) -> Option<Verdict> {
        let Windows { fast, slow, .. } = *windows;
        let is_news = |now: i128, told: i128| same || now >= told.saturating_mul(NEWS);
        let verdict = self.repeats(rule).or_else(|| self.grows(rule)).or_else(|| self.fails(rule, fast, slow));
        verdict
            .or_else(|| self.fans_out(rule, windows).filter(|_| is_news(fast.opened.into(), self.told.opened)))
            .or_else(|| self.surges(rule, fast, slow).filter(|_| is_news(slow.spend, self.told.slow)))
            .or_else(|| self.burns(rule, fast, slow))
    }

    /// Notes what a call came to, for the days after.
    fn note(&mut self, rule: &Rule, windows: &Windows) {
        let Self { habits, lanes, head, .. } = self;
        habits.fast.note(windows.fast.spend);
        habits.slow.note(windows.slow.spend);
        habits.errors.note(windows.fast.errors.into());
        habits.opened.note(windows.fast.opened.into());
        habits.busy.note(windows.busy.sessions.into());
        let Some(lane) = lanes.latest() else { return };
        if let Some(terms) = &rule.repeat
            && let Some(run) = lane.repeats.latest(*head).filter(|run| run.is_loop(terms))
        {
            habits.loops.note(run.spend().0);
        }
        if let Some(terms) = rule.growth.as_ref().filter(|_| lane.growth.last == *head) {
            if lane.growth.is_snowball(terms) {
                habits.growth.note(lane.growth.spend().0);
            }
            habits.pace.note(lane.growth.pace(terms));
            habits.even.note(lane.growth.evenness(terms));
        }
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

    /// Puts a verdict together whose spend is worth telling of as it is.
    const fn said(&self, sign: Sign, spent: PicoUsd, limit: PicoUsd) -> Verdict {
        Verdict { sign, start: self.head, spent, limit, worth: spent }
    }

    fn repeats(&self, rule: &Rule) -> Option<Verdict> {
        let terms = rule.repeat.as_ref()?;
        let run = self.lanes.latest()?.repeats.latest(self.head).filter(|run| run.is_loop(terms))?;
        let limit = self.limit(rule, &self.habits.loops, terms.times, 1);
        let verdict = Verdict { start: run.first, ..self.said(Sign::Run, run.spend(), limit) };
        (verdict.spent >= limit).then_some(verdict)
    }

    fn grows(&self, rule: &Rule) -> Option<Verdict> {
        let terms = rule.growth.as_ref()?;
        let growth = self.lanes.latest().map(|lane| &lane.growth).filter(|growth| growth.last == self.head)?;
        let limit = self.limit(rule, &self.habits.growth, terms.times, terms.unknown_times);
        let verdict = Verdict { start: growth.first, ..self.said(Sign::Row, growth.spend(), limit) };
        if growth.is_snowball(terms) && verdict.spent >= limit {
            return Some(verdict);
        }
        if growth.calls < terms.calls {
            return None;
        }
        let beyond = |score: i128, usual: &Peaks| score >= usual.known_or_seen().map_or(TOLD, |usual| usual.by_half().max(TOLD));
        let sign = if beyond(growth.pace(terms), &self.habits.pace) {
            Sign::Pace
        } else if beyond(growth.evenness(terms), &self.habits.even) {
            Sign::Even
        } else {
            return None;
        };
        Some(Verdict { sign, worth: early(verdict.spent), limit: rule.min_spend, ..verdict })
    }

    fn fails(&self, rule: &Rule, fast: Sum, slow: Sum) -> Option<Verdict> {
        let terms = rule.errors.as_ref()?;
        let most = self.habits.errors.known_or_seen().map_or(0, |usual| usual.limit(terms.times));
        let many = fast.errors >= terms.calls && i128::from(fast.errors) >= most;
        let share = u64::from(fast.errors) * 100 >= u64::from(fast.calls) * u64::from(terms.percent);
        (many && share).then(|| self.said(Sign::Failures, slow.spend(), rule.min_spend))
    }

    fn fans_out(&self, rule: &Rule, windows: &Windows) -> Option<Verdict> {
        let terms = rule.fan_out.as_ref()?;
        let Windows { fast, slow, busy } = *windows;
        let unknown = i128::from(terms.sessions) * i128::from(terms.times);
        let most = self.habits.opened.known_or_seen().map_or(unknown, |usual| usual.limit(terms.times));
        if fast.opened >= terms.sessions && i128::from(fast.opened) >= most {
            return Some(self.said(Sign::Opened, slow.spend(), rule.min_spend));
        }
        let most = self.habits.busy.known_or_seen().map_or(0, |usual| usual.limit(terms.times));
        let many = busy.sessions >= terms.busy && i128::from(busy.sessions) >= most && busy.paused * 2 <= busy.sessions;
        many.then(|| Verdict { worth: early(fast.spend()), ..self.said(Sign::Busy, slow.spend(), rule.min_spend) })
    }

    fn surges(&self, rule: &Rule, fast: Sum, slow: Sum) -> Option<Verdict> {
        let terms = rule.baseline.as_ref()?;
        // Few days are not yet the measure, but what was seen in them was all right.
        let usual = |peaks: &Peaks, times: u32| peaks.known_or_seen().map_or(0, |usual| usual.limit(times));
        let least = if self.is_known() { rule.min_spend } else { terms.unknown };
        let limit = PicoUsd(usual(&self.habits.slow, terms.slow_times)).max(least);
        let over = fast.spend >= usual(&self.habits.fast, terms.fast_times) && slow.spend() >= limit;
        over.then(|| self.said(Sign::Surge, slow.spend(), limit))
    }

    fn burns(&self, rule: &Rule, fast: Sum, slow: Sum) -> Option<Verdict> {
        let terms = rule.burn.as_ref()?;
        let allowed = |width: i64| PicoUsd(terms.rate.0.saturating_mul(i128::from(width)) / i128::from(HOUR));
        let over = fast.spend() >= allowed(rule.fast) && slow.spend() >= allowed(rule.slow);
        over.then(|| self.said(Sign::Rate, slow.spend(), allowed(rule.slow)))
    }

    fn finding(&self, verdict: &Verdict, rule: &Rule, windows: &Windows) -> Finding {
        let Verdict { sign, start, spent, limit, .. } = *verdict;
        let explanation = explain(self, sign, spent, rule, windows);
        Finding { detector: sign.detector(), start: Micros(start), at: Micros(self.head), spent, limit, explanation }
    }
}
