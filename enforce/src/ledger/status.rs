//! What the ledger shows of itself.

use std::cmp::Reverse;
use std::collections::HashSet;

use serde::Serialize;
use sluice_schemas::{Micros, PicoUsd};

use super::Ledger;
use crate::book::{Book, Key};
use crate::budget::{Mode, Width, Window, hex};
use crate::counter::{Counter, FiredState};
use crate::decide::{Context, Purpose, Site};
use crate::fire::project;
use crate::hold::Hold;
use crate::overshoot::{Bound, Delays};
use crate::period::Period;
use crate::tally::{SLOT, SLOTS_AN_HOUR, Tally};

/// One counter, for people and for the reconciler of holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BudgetStatus {
    /// Name of the budget.
    pub budget: String,
    /// What the counter stands for.
    pub target: String,
    /// Id of the period.
    pub period: String,
    /// First moment of the period, or of the rolling window.
    pub period_start: Micros,
    /// First moment after a calendar period.
    pub period_end: Option<Micros>,
    /// What counts against the limit.
    pub spent: PicoUsd,
    /// The limit; absent where nothing names one.
    pub limit: Option<PicoUsd>,
    /// Thousandths of a percent of the limit; absent without one or with a limit of zero.
    pub percent_millis: Option<u64>,
    /// Linear projection to the period's end.
    pub projected: Option<PicoUsd>,
    /// Dollars an hour over the last minutes.
    pub burn_per_hour: PicoUsd,
    /// Highest rate seen, dollars an hour.
    pub peak_burn_per_hour: PicoUsd,
    /// Calls in the period.
    pub calls: u64,
    /// Calls without a price among them.
    pub unpriced_calls: u64,
    /// Latest event.
    pub last_event: Micros,
    /// Thresholds crossed.
    pub fired: Vec<FiredStatus>,
    /// Smallest spend at which a hold follows.
    pub hold_at: Option<PicoUsd>,
    /// Whether the budget may act.
    pub confirmed: bool,
    /// `observe` or `enforce`.
    pub mode: Mode,
    /// Whether the sum falls by itself as time goes on.
    pub rolling: bool,
}

/// A crossing as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FiredStatus {
    /// Text of the threshold.
    pub threshold: String,
    /// How it was recorded.
    pub state: FiredState,
    /// Event time of the crossing.
    pub event_time: Micros,
    /// Its id.
    pub fire_id: String,
}

/// What a budget's counters do not show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Overview {
    /// Name of the budget.
    pub budget: String,
    /// Whether it may act.
    pub confirmed: bool,
    /// Whether it waits for its history.
    pub needs_seed: bool,
    /// Rolling windows: microseconds after its last spend in which a counter is still kept.
    pub forgets_after: Option<i64>,
    /// Counters in memory.
    pub live_counters: u64,
    /// Counters in the store alone; they are not in [`Ledger::status`].
    pub spilled_counters: u64,
    /// Spend of calls without a session, which a session budget cannot place.
    pub unplaced: PicoUsd,
    /// Those calls.
    pub unplaced_calls: u64,
    /// Spend that came after its period or window was forgotten.
    pub too_late: PicoUsd,
    /// Those calls.
    pub too_late_calls: u64,
}

impl Overview {
    /// Returns the overview of a rule that has no counters to show: a hold of it ends at its own time, or by a person.
    #[must_use]
    pub(crate) fn without_counters(rule: &str) -> Self {
        Self {
            budget: rule.to_owned(),
            confirmed: true,
            needs_seed: true,
            forgets_after: None,
            live_counters: 0,
            spilled_counters: 0,
            unplaced: PicoUsd::ZERO,
            unplaced_calls: 0,
            too_late: PicoUsd::ZERO,
            too_late_calls: 0,
        }
    }
}

impl BudgetStatus {
    /// Returns the bound on what can be spent past the limit before a hold works. The rate is the highest of any five minutes seen; what is in
    /// flight is what that rate spends within a call, and one mean call.
    #[must_use]
    pub fn exposure(&self, delays: &Delays) -> Bound {
        let peak = PicoUsd(self.peak_burn_per_hour.0 / SLOTS_AN_HOUR);
        let call = i128::from(delays.call.max(0));
        let slot = i128::from(SLOT);
        let within_a_call = peak.0 / slot * call + (peak.0 % slot * call).div_euclid(slot) + 1;
        let mean = self.spent.0.max(0) / i128::from(self.calls.max(1)) + 1;
        let in_flight = if peak.0 > 0 { PicoUsd(within_a_call + mean) } else { PicoUsd::ZERO };
        Bound::of(peak, SLOT, delays, in_flight)
    }
}

impl Ledger {
    /// Returns every counter in memory, in the order of the file, then by target and period.
    #[must_use]
    pub fn status(&self, now: Micros) -> Vec<BudgetStatus> {
        self.status_where(now, |_, _| true)
    }

    /// Returns the counters of one budget.
    #[must_use]
    pub fn status_of(&self, budget: &str, now: Micros) -> Vec<BudgetStatus> {
        self.status_where(now, |book, _| book.budget.name == budget)
    }

    /// Returns the counters that [`crate::reconcile_holds`] needs for these holds: far fewer than all.
    #[must_use]
    pub fn status_of_held(&self, holds: &[Hold], now: Micros) -> Vec<BudgetStatus> {
        let held: HashSet<(&str, &str)> = holds.iter().filter_map(|hold| Some((hold.budget()?, hold.target.as_str()))).collect();
        self.status_where(now, |book, key| held.contains(&(book.budget.name.as_str(), &*key.target)))
    }

    /// Returns the counters nearest to (or furthest over) their limits, at most `most`, the most pressing first.
    ///
    /// Counters of calendar periods that are over are left out.
    #[must_use]
    pub fn pressing(&self, now: Micros, most: usize) -> Vec<BudgetStatus> {
        let as_of = self.as_of_at(now);
        let mut ranked: Vec<(Reverse<i128>, Reverse<PicoUsd>, usize, &Key)> = Vec::new();
        for (at, book) in self.books.iter().enumerate() {
            let current = Period::holding(book.budget.window, &book.budget.zone, now).map_or(0, |period| period.start.0);
            for (key, counter) in book.counters.iter().filter(|(key, _)| key.period == current) {
                let spent = counter.spent(book.geometry, as_of).amount;
                let limit = self.site(book, key, now, as_of).limit(counter.tag_limit).filter(|limit| limit.0 > 0);
                let share = limit.map_or(0, |limit| spent.0.saturating_mul(100_000) / limit.0);
                ranked.push((Reverse(share), Reverse(spent), at, key));
            }
        }
        if most < ranked.len() {
            ranked.select_nth_unstable(most);
            ranked.truncate(most);
        }
        ranked.sort_unstable();
        let status = |(_, _, at, key): (Reverse<i128>, Reverse<PicoUsd>, usize, &Key)| {
            let book = self.books.get(at)?;
            Some(self.status_of_counter(book, key, book.counters.get(key)?, now, as_of))
        };
        ranked.into_iter().filter_map(status).collect()
    }

    /// Returns what the counters do not show, for each budget.
    #[must_use]
    pub fn overview(&self) -> Vec<Overview> {
        let count = |calls: i64| u64::try_from(calls).unwrap_or(0);
        let overview = |book: &Book| Overview {
            budget: book.budget.name.clone(),
            confirmed: book.confirmed,
            needs_seed: book.seeding,
            forgets_after: book.geometry.map(|geometry| (geometry.reach + geometry.late) * geometry.bucket),
            live_counters: book.counters.len() as u64,
            spilled_counters: book.spilled.len() as u64,
            unplaced: book.unplaced.amount,
            unplaced_calls: count(book.unplaced.calls),
            too_late: book.too_late.amount,
            too_late_calls: count(book.too_late.calls),
        };
        self.books.iter().map(overview).collect()
    }

    /// Returns all recorded crossings: budget, target, period and the crossing.
    #[must_use]
    pub fn fired(&self) -> Vec<(String, String, FiredStatus)> {
        let mut all = Vec::new();
        for book in &self.books {
            let mut of_book: Vec<(String, String, FiredStatus)> = Vec::new();
            for (key, counter) in &book.counters {
                let crossings = fired_status(book, counter);
                of_book.extend(crossings.into_iter().map(|fired| (book.budget.name.clone(), key.target.to_string(), fired)));
            }
            of_book.sort_by(|a, b| (&a.1, a.2.event_time, &a.2.fire_id).cmp(&(&b.1, b.2.event_time, &b.2.fire_id)));
            all.extend(of_book);
        }
        all
    }

    fn status_where(&self, now: Micros, keep: impl Fn(&Book, &Key) -> bool) -> Vec<BudgetStatus> {
        let as_of = self.as_of_at(now);
        let mut all = Vec::new();
        for book in &self.books {
            let mut counters: Vec<(&Key, &Counter)> = book.counters.iter().filter(|(key, _)| keep(book, key)).collect();
            counters.sort_unstable_by_key(|(key, _)| *key);
            all.extend(counters.into_iter().map(|(key, counter)| self.status_of_counter(book, key, counter, now, as_of)));
        }
        all
    }

    fn site<'a>(&'a self, book: &'a Book, key: &'a Key, now: Micros, as_of: Micros) -> Site<'a> {
        let context = Context { limits: self.limits.as_ref(), now, as_of, batch: self.batch, purpose: Purpose::Live };
        Site { budget: &book.budget, target: &key.target, confirmed: book.confirmed, context }
    }

    fn status_of_counter(&self, book: &Book, key: &Key, counter: &Counter, now: Micros, as_of: Micros) -> BudgetStatus {
        let budget = &book.budget;
        let limit = self.site(book, key, now, as_of).limit(counter.tag_limit);
        let tally: Tally = counter.spent(book.geometry, as_of);
        let period = Period::holding(budget.window, &budget.zone, Micros(key.period));
        let (name, start) = match (budget.window, book.geometry, period) {
            (Window::Rolling { width }, Some(geometry), _) => {
                (format!("{}/{}", as_of.floor(width), Width(width)), geometry.start(geometry.index(as_of) - geometry.reach))
            }
            (_, _, Some(period)) => (period.id(), period.start),
            (window, ..) => (window.to_string(), counter.first),
        };
        let percent = limit.filter(|limit| limit.0 > 0).map(|limit| tally.amount.0.saturating_mul(100_000) / limit.0);
        BudgetStatus {
            budget: budget.name.clone(),
            target: key.target.to_string(),
            period: name,
            period_start: start,
            period_end: period.map(|period| period.end),
            spent: tally.amount,
            limit,
            percent_millis: percent.and_then(|percent| u64::try_from(percent).ok()),
            projected: period.and_then(|period| project(tally.amount, period.start, period.end, now)),
            burn_per_hour: counter.burn.per_hour(counter.last, now),
            peak_burn_per_hour: counter.burn.peak_per_hour(),
            calls: u64::try_from(tally.calls).unwrap_or(0),
            unpriced_calls: u64::try_from(tally.unpriced).unwrap_or(0),
            last_event: counter.last,
            fired: fired_status(book, counter),
            hold_at: limit.and_then(|limit| budget.hold_at(limit)),
            confirmed: book.confirmed,
            mode: budget.mode,
            rolling: book.geometry.is_some(),
        }
    }
}

fn fired_status(book: &Book, counter: &Counter) -> Vec<FiredStatus> {
    let threshold = |index: u8| book.budget.thresholds.get(usize::from(index)).map(|threshold| threshold.text.clone()).unwrap_or_default();
    let status = |fired: &crate::counter::Fired| FiredStatus {
        threshold: threshold(fired.threshold),
        state: fired.state,
        event_time: fired.event_time,
        fire_id: hex(&fired.fire_id),
    };
    counter.fired.iter().map(status).collect()
}
