//! Ways of watching a budget, each by when it knows of a call's cost and when its word is obeyed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use sluice_schemas::time::{HOUR, MINUTE, SECOND};
use sluice_schemas::{Micros, PicoUsd};

use super::trace::Draw;
use super::{Terms, TraceCall};

/// A way of watching. All times in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// This program: every log record is counted when it arrives, between `least` and `most` after the call's end, under the period the call
    /// began in; what follows is obeyed `obeyed` later, and so is the end of the period.
    Stream {
        /// Shortest time from the end of a call until it is counted.
        least: i64,
        /// Longest.
        most: i64,
        /// From the decision until calls are refused, and from the end of a period until they are let through again.
        obeyed: i64,
    },
    /// A gateway that adds up what ended calls cost before it lets the next one through.
    PostCharge,
    /// Such a gateway that asks for the sum only when its copy is older than this.
    Cached {
        /// How long a copy is kept.
        ttl: i64,
    },
    /// A job that looks at all that has ended, at every multiple of this, and lets its word stand until the next time.
    Periodic {
        /// Time between two looks.
        every: i64,
    },
    /// Such a job on a metric that lags, as the cost data behind AWS Budgets does.
    Lagged {
        /// Time between two looks.
        every: i64,
        /// Shortest lag of what it sees.
        least: i64,
        /// Longest.
        most: i64,
    },
}

/// Returns the ways that are compared by default. Lag of the stream: CloudWatch delivers within three minutes as a rule; of the metric: AWS
/// updates budget data up to three times a day, 8 to 12 hours after the update before (AWS Cost Management, "Managing your costs with AWS
/// Budgets").
#[must_use]
pub fn ways(check_every: i64, ttl: i64) -> Vec<Way> {
    vec![
        Way::Stream { least: 5 * SECOND, most: 3 * MINUTE, obeyed: MINUTE },
        Way::PostCharge,
        Way::Cached { ttl },
        Way::Periodic { every: check_every },
        Way::Lagged { every: 8 * HOUR, least: 8 * HOUR, most: 12 * HOUR },
    ]
}

/// Shows a length of time in its largest whole unit.
fn shown(micros: i64) -> String {
    let units = [(HOUR, "h"), (MINUTE, "m"), (SECOND, "s"), (1_000, "ms")];
    units
        .into_iter()
        .find(|(unit, _)| micros >= *unit && micros % unit == 0)
        .map_or_else(|| format!("{micros}us"), |(unit, name)| format!("{}{name}", micros / unit))
}

impl Way {
    /// Returns what it is called in a table.
    #[must_use]
    pub fn name(&self) -> String {
        match *self {
            Self::Stream { least, most, obeyed } => {
                format!("sluice (logs {} to {}, obeyed after {})", shown(least), shown(most), shown(obeyed))
            }
            Self::PostCharge => "post-charge check".to_owned(),
            Self::Cached { ttl } => format!("cached check, {} old at most", shown(ttl)),
            Self::Periodic { every } => format!("check every {}", shown(every)),
            Self::Lagged { every, least, most } => format!("metric of {} to {} ago, every {}", shown(least), shown(most), shown(every)),
        }
    }
}

/// A way at work on one target.
pub(super) struct Watcher<'a> {
    way: &'a Way,
    terms: &'a Terms,
    draw: Draw,
    /// Costs that become known later: when, of which period, how much.
    coming: BinaryHeap<Reverse<(i64, i64, PicoUsd)>>,
    /// What is known of each period.
    known: BTreeMap<i64, PicoUsd>,
    /// When the sum of a period was seen to reach the limit.
    reached: BTreeMap<i64, i64>,
    /// The moment that the last look saw.
    seen: i64,
    /// When that look was.
    looked: Option<i64>,
    /// Its word.
    refuses: bool,
}

impl<'a> Watcher<'a> {
    pub(super) fn new(way: &'a Way, terms: &'a Terms, target: u64) -> Self {
        Self {
            way,
            terms,
            draw: Draw::new(terms.seed, target),
            coming: BinaryHeap::new(),
            known: BTreeMap::new(),
            reached: BTreeMap::new(),
            seen: i64::MIN,
            looked: None,
            refuses: false,
        }
    }

    /// Takes a call that went through.
    pub(super) fn lets_through(&mut self, call: &TraceCall) {
        let end = call.start.0.saturating_add(call.duration.max(0));
        let later = match *self.way {
            Way::Stream { least, most, .. } => least + self.draw.below(most - least + 1),
            _ => 0,
        };
        self.coming.push(Reverse((end.saturating_add(later), self.terms.period_of(call.start), call.cost)));
    }

    /// Tells whether a call that begins now is refused.
    pub(super) fn refuses(&mut self, now: Micros) -> bool {
        match *self.way {
            Way::Stream { obeyed, .. } => self.refused_by_hold(now, obeyed),
            Way::PostCharge => self.look(now.0, now.0),
            Way::Cached { ttl } => match self.looked {
                Some(looked) if now.0.saturating_sub(looked) < ttl => self.refuses,
                _ => self.look(now.0, now.0),
            },
            Way::Periodic { every } => self.look_at_times(now, every, 0, 0),
            Way::Lagged { every, least, most } => self.look_at_times(now, every, least, most),
        }
    }

    /// A hold stands from a while after its decision until a while after its period.
    fn refused_by_hold(&mut self, now: Micros, obeyed: i64) -> bool {
        self.learn(now.0.saturating_sub(obeyed));
        let period = self.terms.period_of(now);
        let holds = |period: i64| self.reached.contains_key(&period);
        let lifted_at = |period: i64| period.saturating_add(self.terms.period).saturating_add(obeyed);
        holds(period) || self.reached.keys().any(|held| *held < period && now.0 < lifted_at(*held))
    }

    fn look_at_times(&mut self, now: Micros, every: i64, least: i64, most: i64) -> bool {
        let every = every.max(1);
        let at = now.0.div_euclid(every) * every;
        if self.looked == Some(at) {
            return self.refuses;
        }
        let lag = least + self.draw.below(most - least + 1);
        self.look(at, at.saturating_sub(lag))
    }

    /// Looks at moment `at` at what was known by `until`, and keeps the word.
    fn look(&mut self, at: i64, until: i64) -> bool {
        self.learn(until);
        let period = self.terms.period_of(Micros(at));
        self.looked = Some(at);
        self.refuses = self.known.get(&period).is_some_and(|known| *known >= self.terms.limit);
        self.refuses
    }

    /// Takes in what became known by a moment.
    fn learn(&mut self, until: i64) {
        self.seen = self.seen.max(until);
        while let Some(Reverse((at, period, cost))) = self.coming.peek().copied().filter(|Reverse((at, ..))| *at <= self.seen) {
            self.coming.pop();
            let known = self.known.entry(period).or_default();
            *known += cost;
            if *known >= self.terms.limit {
                self.reached.entry(period).or_insert(at);
            }
        }
    }
}
