//! The counters of one budget: which one a delta belongs to, which ones differ from their rows, which ones are forgotten.

use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::{Equivalent, HashMap, HashSet};
use sluice_schemas::Micros;
use sluice_schemas::time::DAY;

use crate::budget::{Budget, Window};
use crate::counter::{Addition, Counter};
use crate::decide::{Context, Site};
use crate::fire::Crossing;
use crate::period::Period;
use crate::ring::Geometry;
use crate::tally::Tally;

/// How long after its end a period still takes late spend at least.
pub(crate) const HORIZON: i64 = 2 * DAY;

/// Names a counter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) target: Box<str>,
    /// Start of the calendar period, else zero.
    pub(crate) period: i64,
}

impl Key {
    pub(crate) fn borrowed(&self) -> KeyRef<'_> {
        KeyRef { target: &self.target, period: self.period }
    }
}

/// A [`Key`] that owns nothing.
#[derive(Clone, Copy, Hash)]
pub(crate) struct KeyRef<'a> {
    pub(crate) target: &'a str,
    pub(crate) period: i64,
}

impl KeyRef<'_> {
    pub(crate) fn owned(self) -> Key {
        Key { target: self.target.into(), period: self.period }
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.borrowed().hash(state);
    }
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        *self.target == *key.target && self.period == key.period
    }
}

/// The counters of one budget.
pub(crate) struct Book {
    pub(crate) budget: Arc<Budget>,
    pub(crate) geometry: Option<Geometry>,
    pub(crate) confirmed: bool,
    /// Waits for its history.
    pub(crate) seeding: bool,
    pub(crate) counters: HashMap<Key, Counter, FixedState>,
    /// Hashes of the keys of counters that are in the store alone.
    pub(crate) spilled: HashSet<u64, FixedState>,
    /// Calendar periods that ended by then are forgotten.
    pub(crate) forgotten_before: Micros,
    /// Spend of calls without a session, which a session budget cannot place.
    pub(crate) unplaced: Tally,
    /// Spend that came after its period or window was forgotten, or at a time no calendar knows.
    pub(crate) too_late: Tally,
    /// Keys of counters that differ from their rows.
    pub(crate) dirty: Vec<Key>,
    pub(crate) dirty_self: bool,
    /// Keys of counters whose stored part is not read back yet.
    pub(crate) unrestored: Vec<Key>,
    last_period: Option<Period>,
}

impl Book {
    pub(crate) fn new(budget: Arc<Budget>) -> Self {
        let geometry = match budget.window {
            Window::Rolling { width } => Some(Geometry::new(width)),
            _ => None,
        };
        Self {
            budget,
            geometry,
            confirmed: true,
            seeding: false,
            counters: HashMap::default(),
            spilled: HashSet::default(),
            forgotten_before: Micros(i64::MIN),
            unplaced: Tally::default(),
            too_late: Tally::default(),
            dirty: Vec::new(),
            dirty_self: true,
            unrestored: Vec::new(),
            last_period: None,
        }
    }

    /// Returns the calendar period of a moment; `None` for budgets without calendar.
    pub(crate) fn period(&mut self, at: Micros) -> Option<Period> {
        if let Some(period) = self.last_period.filter(|period| period.holds(at)) {
            return Some(period);
        }
        self.last_period = Period::holding(self.budget.window, &self.budget.zone, at);
        self.last_period
    }

    /// Adds one delta to the target's counter. Returns its key if crossings of a rolling window have to be looked for.
    pub(crate) fn add(&mut self, target: &str, addition: Addition, context: Context<'_>, out: &mut Vec<Crossing>) -> Option<Key> {
        let period = self.period(addition.minute);
        let key = KeyRef { target, period: period.map_or(0, |period| period.start.0) };
        let placed = period.is_some() || !self.budget.window.is_calendar();
        if !placed || !(self.counters.contains_key(&key) || self.open(key, period)) {
            self.set_aside(addition.tally);
            return None;
        }
        let counter = self.counters.get_mut(&key)?;
        if !counter.add(addition, self.geometry) {
            self.set_aside(addition.tally);
            return None;
        }
        let first_touch = counter.batch != context.batch;
        counter.batch = context.batch;
        let was_clean = !std::mem::replace(&mut counter.dirty, true);
        if !context.purpose.can_cross() {
            counter.next_at = None;
        } else if self.geometry.is_none() && counter.may_have_crossed() {
            self.check(key, period, addition.last_event, context, out);
        }
        if was_clean {
            self.dirty.push(key.owned());
        }
        (self.geometry.is_some() && first_touch).then(|| key.owned())
    }

    /// Reads what every addition begins with, to no other end than that it is near when it is needed.
    pub(crate) fn touch(&self) -> bool {
        let budget = &self.budget;
        let counts = budget.lower_bound ^ budget.worst_case.is_some() ^ budget.limit.source.is_some() ^ budget.window.is_calendar();
        let targets = budget.each.first().is_some_and(|dimension| dimension.is(""));
        counts ^ targets ^ self.last_period.is_some() ^ self.counters.keys().next().is_some_and(|key| key.period == 0)
    }

    pub(crate) fn set_aside(&mut self, tally: Tally) {
        self.too_late.add(tally);
        self.dirty_self = true;
    }

    /// Notes that a counter differs from its row.
    pub(crate) fn mark(&mut self, key: KeyRef<'_>) {
        if let Some(counter) = self.counters.get_mut(&key).filter(|counter| !counter.dirty) {
            counter.dirty = true;
            self.dirty.push(key.owned());
        }
    }

    /// Makes a counter; `false` if its period was forgotten.
    fn open(&mut self, key: KeyRef<'_>, period: Option<Period>) -> bool {
        if period.is_some_and(|period| period.end <= self.forgotten_before) {
            return false;
        }
        let unrestored = self.spilled.contains(&self.hash(key));
        if unrestored {
            self.unrestored.push(key.owned());
        }
        self.counters.insert(key.owned(), Counter { unrestored, ..Counter::default() });
        true
    }

    pub(crate) fn hash(&self, key: KeyRef<'_>) -> u64 {
        self.counters.hasher().hash_one(key)
    }

    /// Runs `ask` on a counter and its surroundings.
    pub(crate) fn at_site<T>(
        &mut self,
        key: KeyRef<'_>,
        context: Context<'_>,
        ask: impl FnOnce(&Site<'_>, &mut Counter) -> T,
    ) -> Option<T> {
        let counter = self.counters.get_mut(&key)?;
        let site = Site { budget: &self.budget, target: key.target, confirmed: self.confirmed, context };
        Some(ask(&site, counter))
    }

    /// Looks whether a sum that only grows has reached thresholds it had not reached.
    pub(crate) fn check(
        &mut self,
        key: KeyRef<'_>,
        period: Option<Period>,
        event_time: Micros,
        context: Context<'_>,
        out: &mut Vec<Crossing>,
    ) {
        let before = out.len();
        self.at_site(key, context, |site, counter| site.check(counter, period, event_time, out));
        self.count_targets(key.period, out.get_mut(before..));
    }

    /// Looks for crossings of a rolling window and moves it on.
    pub(crate) fn check_rolling(&mut self, key: &Key, context: Context<'_>, out: &mut Vec<Crossing>) {
        let (Some(geometry), Window::Rolling { width }) = (self.geometry, self.budget.window) else { return };
        let before = out.len();
        self.at_site(key.borrowed(), context, |site, counter| site.check_rolling(counter, geometry, width, out));
        self.count_targets(key.period, out.get_mut(before..));
    }

    /// Tells new crossings how many targets the budget has. Crossings are rare, so they are counted then.
    pub(crate) fn count_targets(&self, period: i64, crossings: Option<&mut [Crossing]>) {
        let mut holds = crossings.into_iter().flatten().filter_map(|crossing| crossing.hold.as_mut()).peekable();
        if holds.peek().is_some() {
            let live_targets = self.counters.keys().filter(|key| key.period == period).count() as u64;
            holds.for_each(|hold| hold.live_targets = live_targets);
        }
    }

    /// Forgets counters that can no longer matter at `at`; returns their keys and the indexes of their buckets.
    ///
    /// Of calendar periods the current and the previous one stay, and any within 48 hours of its end. Session and lifetime
    /// counters stay for ever.
    pub(crate) fn forget(&mut self, at: Micros) -> Vec<(Key, Vec<i64>)> {
        let before = match (self.budget.window.is_calendar(), self.geometry) {
            (true, _) => {
                let current = Period::holding(self.budget.window, &self.budget.zone, at);
                let previous = current.and_then(|period| period.previous(&self.budget.zone));
                let Some(previous) = previous else { return Vec::new() };
                previous.start.min(at.plus(-HORIZON))
            }
            (false, Some(geometry)) => geometry.start(geometry.index(at) - geometry.reach - geometry.late),
            (false, None) => return Vec::new(),
        };
        let mut gone = Vec::new();
        let (window, zone, geometry) = (self.budget.window, self.budget.zone.clone(), self.geometry);
        let mut latest_end = self.forgotten_before;
        // Counters share few periods.
        let mut last = (i64::MIN, Micros(i64::MIN));
        self.counters.retain(|key, counter| {
            let end = match (geometry, &counter.ring) {
                (Some(geometry), Some(ring)) => ring.newest().map_or(Micros(i64::MIN), |newest| geometry.start(newest + 1)),
                (Some(_), None) => Micros(i64::MIN),
                (None, _) if last.0 == key.period => last.1,
                (None, _) => Period::holding(window, &zone, Micros(key.period)).map_or(Micros(i64::MAX), |period| period.end),
            };
            last = (key.period, end);
            let keep = end > before;
            if !keep {
                latest_end = latest_end.max(end);
                gone.push((key.clone(), stored_buckets(counter)));
            }
            keep
        });
        if window.is_calendar() && latest_end > self.forgotten_before {
            self.forgotten_before = latest_end;
            self.dirty_self = true;
        }
        gone
    }

    /// Returns all keys with the indexes of their buckets, for deleting their rows.
    pub(crate) fn all_keys(&self) -> Vec<(Key, Vec<i64>)> {
        self.counters.iter().map(|(key, counter)| (key.clone(), stored_buckets(counter))).collect()
    }
}

/// Indexes of all buckets that a store may hold rows of.
fn stored_buckets(counter: &Counter) -> Vec<i64> {
    counter.ring.as_ref().map(|ring| ring.stored().collect()).unwrap_or_default()
}
