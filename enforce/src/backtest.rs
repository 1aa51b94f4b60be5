//! What budgets would have done to history: which thresholds would have fired when, and what a hold would have saved.
//!
//! Each budget is judged alone. From the crossing of a threshold that holds, what its target spends further in the period is
//! counted as saved instead of spent; a rolling hold ends when the sum of what was let through has fallen below nine tenths.
//! History is as fine as its minutes: spend in the minute of the crossing, after it, is told apart only by model and owner.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use sluice_schemas::{Micros, PicoUsd, SpendDelta, SpendView, Sums};

use crate::book::{Book, Key};
use crate::budget::ActionKind;
use crate::config::Budgets;
use crate::decide::{Context, Purpose};
use crate::ledger::{Kinds, Placed, addition, place};
use crate::limits::AgentLimits;
use crate::ring::nine_tenths;

/// Outcome of a backtest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BacktestReport {
    /// Event time of the first and the last minute of the history.
    pub from: Option<Micros>,
    /// See `from`.
    pub to: Option<Micros>,
    /// In the order of the file, then by target and period.
    pub results: Vec<BacktestResult>,
}

/// What one budget would have done to one target in one period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BacktestResult {
    /// Name of the budget.
    pub budget: String,
    /// The target.
    pub target: String,
    /// Start of the calendar period; absent for rolling, session and lifetime budgets.
    pub period_start: Option<Micros>,
    /// Spend in history.
    pub spent_usd: PicoUsd,
    /// Calls in history.
    pub calls: u64,
    /// Thresholds that would have fired, in order.
    pub fired: Vec<BacktestFire>,
    /// Spend that a hold would have stopped.
    pub saved_usd: PicoUsd,
    /// Calls that a hold would have stopped.
    pub stopped_calls: u64,
    /// Those of them that succeeded: what the hold would have cost its target.
    pub stopped_good_calls: u64,
}

/// A threshold that would have fired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BacktestFire {
    /// Event time.
    pub at: Micros,
    /// Text of the threshold.
    pub threshold: String,
    /// Whether it would have held the target.
    pub hold: bool,
    /// Spend at that moment.
    pub spent_usd: PicoUsd,
    /// The limit.
    pub limit_usd: PicoUsd,
}

impl BacktestReport {
    /// Names of the columns of [`BacktestReport::rows`].
    pub const COLUMNS: [&'static str; 8] = ["budget", "target", "first hold", "fired", "spent", "saved", "stopped calls", "of these good"];

    /// Returns one row for each result in which something would have fired.
    #[must_use]
    pub fn rows(&self) -> Vec<[String; 8]> {
        let row = |result: &BacktestResult| {
            let hold = result.fired.iter().find(|fire| fire.hold);
            let thresholds: Vec<&str> = result.fired.iter().map(|fire| fire.threshold.as_str()).collect();
            [
                result.budget.clone(),
                result.target.clone(),
                hold.map_or_else(String::new, |fire| fire.at.to_string()),
                thresholds.join(" "),
                result.spent_usd.shown(2),
                result.saved_usd.shown(2),
                result.stopped_calls.to_string(),
                result.stopped_good_calls.to_string(),
            ]
        };
        self.results.iter().filter(|result| !result.fired.is_empty()).map(row).collect()
    }

    /// Returns what all holds would have saved. Budgets overlap: the sum over budgets can count one call twice.
    #[must_use]
    pub fn saved_usd(&self) -> PicoUsd {
        self.results.iter().map(|result| result.saved_usd).sum()
    }
}

/// Replays history, given in event-time order.
#[must_use]
pub fn backtest<'a>(budgets: &Arc<Budgets>, limits: &dyn AgentLimits, history: impl Iterator<Item = SpendView<'a>>) -> BacktestReport {
    let mut replays: Vec<Replay> = budgets.iter().map(|budget| Replay::new(Book::new(Arc::clone(budget)))).collect();
    let mut report = BacktestReport::default();
    let mut batch = 0;
    for view in history {
        let mut order: Vec<usize> = (0..view.deltas.len()).collect();
        order.sort_by_key(|at| (view.deltas[*at].minute, view.deltas[*at].last_event));
        let kinds = Kinds::of(view);
        for replay in &mut replays {
            let placed: Vec<Option<Placed>> = kinds.rows.iter().map(|row| place(&replay.book, row, limits)).collect();
            for &at in &order {
                let delta = &view.deltas[at];
                let now = delta.last_event;
                batch += 1;
                let context = Context { limits, now, as_of: now, batch, purpose: Purpose::Live };
                if let Some(placed) = placed.get(kinds.of_delta[at]).and_then(Option::as_ref).filter(|placed| !placed.without_session) {
                    replay.add(placed, delta, context);
                }
            }
        }
        let minutes = || view.deltas.iter().map(|delta| delta.minute);
        report.from = report.from.into_iter().chain(minutes()).min();
        report.to = report.to.into_iter().chain(minutes()).max();
    }
    report.results = replays.into_iter().flat_map(Replay::into_results).collect();
    report
}

/// One budget on its way through history.
struct Replay {
    book: Book,
    results: BTreeMap<Key, BacktestResult>,
    /// Held targets with the spend at which a rolling hold ends.
    held: BTreeMap<Key, PicoUsd>,
}

impl Replay {
    const fn new(book: Book) -> Self {
        Self { book, results: BTreeMap::new(), held: BTreeMap::new() }
    }

    fn add(&mut self, placed: &Placed, delta: &SpendDelta, context: Context<'_>) {
        let addition = addition(&self.book, delta, placed, Purpose::Live);
        let period = self.book.period(addition.minute);
        let key = Key { target: placed.target.as_str().into(), period: period.map_or(0, |period| period.start.0) };
        self.release_fallen(&key, addition.minute);
        let held = self.held.contains_key(&key);
        self.note(&key, delta, addition.tally.amount, held, period.map(|period| period.start));
        if held {
            return;
        }
        let mut crossings = Vec::new();
        if let Some(rolling) = self.book.add(&placed.target, addition, context, &mut crossings) {
            self.book.check_rolling(&rolling, context, &mut crossings);
        }
        let Some(result) = self.results.get_mut(&key) else { return };
        for crossing in crossings {
            let hold = crossing.actions.contains(&ActionKind::Hold);
            let breach = crossing.breach;
            if hold {
                let at = self.book.budget.hold_at(breach.limit_usd).unwrap_or(breach.limit_usd);
                self.held.insert(key.clone(), nine_tenths(at));
            }
            let (at, threshold) = (breach.event_time, breach.threshold);
            result.fired.push(BacktestFire { at, threshold, hold, spent_usd: breach.spent_usd, limit_usd: breach.limit_usd });
        }
    }

    /// Ends a rolling hold whose sum has fallen.
    fn release_fallen(&mut self, key: &Key, now: Micros) {
        let (Some(geometry), Some(keeps)) = (self.book.geometry, self.held.get(key)) else { return };
        let spent = self.book.counters.get(key).map(|counter| counter.spent(Some(geometry), now).amount);
        if spent.is_none_or(|spent| spent < *keeps) {
            self.held.remove(key);
        }
    }

    fn note(&mut self, key: &Key, delta: &SpendDelta, amount: PicoUsd, held: bool, start: Option<Micros>) {
        let Sums { calls, errors, .. } = delta.sums;
        let result = self.results.entry(key.clone()).or_insert_with(|| BacktestResult {
            budget: self.book.budget.name.clone(),
            target: key.target.to_string(),
            period_start: start,
            spent_usd: PicoUsd::ZERO,
            calls: 0,
            fired: Vec::new(),
            saved_usd: PicoUsd::ZERO,
            stopped_calls: 0,
            stopped_good_calls: 0,
        });
        result.spent_usd += amount;
        result.calls += calls;
        if held {
            result.saved_usd += amount;
            result.stopped_calls += calls;
            result.stopped_good_calls += calls.saturating_sub(errors);
        }
    }

    fn into_results(self) -> impl Iterator<Item = BacktestResult> {
        self.results.into_values()
    }
}

#[cfg(test)]
mod tests;
