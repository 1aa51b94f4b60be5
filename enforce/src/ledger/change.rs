//! Changes of the budgets, and people's word on them.

use std::sync::Arc;

use serde::Serialize;
use sluice_schemas::Micros;

use super::{Ledger, rows};
use crate::book::{Book, Key};
use crate::budget::{Budget, Window};
use crate::config::Budgets;
use crate::counter::Fired;
use crate::decide::{Context, Purpose};
use crate::fire::Crossing;
use crate::period::Period;

/// A budget whose counters have to be filled from history before they mean anything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NeedsSeed {
    /// Its name.
    pub budget: String,
    /// Event time from which history counts.
    pub from: Micros,
}

impl Ledger {
    /// Puts other budgets in force.
    ///
    /// A budget whose counting is unchanged keeps its counters, and thresholds that lie above the spend again are armed.
    /// A new one, or one that counts something else, starts empty: seed the returned ones before the next `apply`.
    /// Whatever changed only tells until it is confirmed.
    pub fn reconfigure(&mut self, budgets: Arc<Budgets>) -> Vec<NeedsSeed> {
        let limits = Arc::clone(&self.limits);
        let mut old: Vec<Option<Book>> = std::mem::take(&mut self.books).into_iter().map(Some).collect();
        for budget in budgets.iter() {
            let known = old.iter_mut().find(|book| book.as_ref().is_some_and(|book| book.budget.name == budget.name));
            let kept = known.and_then(|book| book.take_if(|book| book.budget.counting_digest() == budget.counting_digest()));
            let book = match kept {
                Some(mut book) => {
                    if book.budget.digest() != budget.digest() {
                        replace_budget(&mut book, Arc::clone(budget));
                        rearm_changed(&mut book, self.context(limits.as_ref(), Purpose::Live));
                    }
                    book
                }
                None => unseeded(Arc::clone(budget)),
            };
            self.books.push(book);
        }
        for book in old.into_iter().flatten() {
            self.delete_book(&book, budgets.get(&book.budget.name).is_none());
        }
        self.budgets = budgets;
        self.seeded = false;
        self.needs_seed()
    }

    /// Returns the budgets that wait for their history.
    #[must_use]
    pub fn needs_seed(&self) -> Vec<NeedsSeed> {
        let waiting = self.books.iter().filter(|book| book.seeding);
        waiting.map(|book| NeedsSeed { budget: book.budget.name.clone(), from: history_from(book, self.now) }).collect()
    }

    /// Returns the names of the budgets that only tell until they are confirmed.
    pub fn unconfirmed(&self) -> impl Iterator<Item = &str> {
        self.books.iter().filter(|book| !book.confirmed).map(|book| book.budget.name.as_str())
    }

    /// Lets a new or changed budget act. Returns the crossings that now follow from what its counters already hold.
    pub fn confirm(&mut self, budget: &str, now: Micros) -> Vec<Crossing> {
        self.now = self.now.max(now);
        let limits = Arc::clone(&self.limits);
        let context = self.context(limits.as_ref(), Purpose::Live);
        let Some(book) = self.books.iter_mut().find(|book| book.budget.name == budget) else { return Vec::new() };
        book.confirmed = true;
        book.dirty_self = true;
        let geometry = book.geometry;
        let mut keys: Vec<Key> =
            book.counters.iter().filter(|(_, counter)| !counter.fired.is_empty()).map(|(key, _)| key.clone()).collect();
        keys.sort_unstable();
        let mut crossings = Vec::new();
        for key in keys {
            let period = Period::holding(book.budget.window, &book.budget.zone, Micros(key.period));
            let found = book.at_site(key.borrowed(), context, |site, counter| site.confirm(counter, period, geometry));
            let mut found = found.unwrap_or_default();
            book.count_targets(key.period, Some(&mut found));
            if !found.is_empty() {
                book.mark(key.borrowed());
            }
            crossings.extend(found);
        }
        self.enlist(&mut crossings);
        crossings
    }

    /// Arms all thresholds of a target again, in every period it has a counter for: the next spend may fire anew, under new
    /// fire ids. `false` if the budget or target is not known.
    pub fn rearm(&mut self, budget: &str, target: &str) -> bool {
        let Some(book) = self.books.iter_mut().find(|book| book.budget.name == budget) else { return false };
        let keys: Vec<Key> = book.counters.keys().filter(|key| *key.target == *target).cloned().collect();
        for key in &keys {
            if let Some(counter) = book.counters.get_mut(key) {
                counter.generation += 1;
                counter.fired.clear();
                counter.next_at = None;
            }
            book.mark(key.borrowed());
        }
        !keys.is_empty()
    }

    /// Queues the deletion of a book's rows; its own row stays if a new book takes its name.
    pub(super) fn delete_book(&mut self, book: &Book, with_itself: bool) {
        let name = &book.budget.name;
        for (key, buckets) in book.all_keys() {
            self.deletes.extend(rows::keys_of(name, &key, &buckets));
        }
        if with_itself {
            self.deletes.push(crate::codec::book_key(name));
        }
    }
}

/// A budget nobody has counted for yet.
pub(super) fn unseeded(budget: Arc<Budget>) -> Book {
    let mut book = Book::new(budget);
    (book.confirmed, book.seeding) = (false, true);
    book
}

/// Puts a budget with the same counting over the counters of another; crossings keep their threshold by its text.
fn replace_budget(book: &mut Book, budget: Arc<Budget>) {
    let old = std::mem::replace(&mut book.budget, budget);
    let texts = |budget: &Budget| -> Vec<String> { budget.thresholds.iter().map(|threshold| threshold.text.clone()).collect() };
    let (before, after) = (texts(&old), texts(&book.budget));
    for counter in book.counters.values_mut() {
        counter.fired.retain_mut(|fired| {
            let text = before.get(usize::from(fired.threshold));
            let index = after.iter().position(|known| Some(known) == text).and_then(|index| u8::try_from(index).ok());
            fired.threshold = index.unwrap_or(fired.threshold);
            index.is_some()
        });
    }
}

/// Follows a change of a budget: it has to be confirmed, and thresholds above the spend are armed.
pub(super) fn rearm_changed(book: &mut Book, context: Context<'_>) {
    book.confirmed = false;
    book.dirty_self = true;
    rearm_above_spend(book, context);
}

/// Follows a change of limits: thresholds that lie above the spend are armed.
pub(super) fn rearm_above_spend(book: &mut Book, context: Context<'_>) {
    let geometry = book.geometry;
    let keys: Vec<Key> = book.counters.keys().cloned().collect();
    for key in keys {
        book.at_site(key.borrowed(), context, |site, counter| {
            counter.next_at = None;
            let limit = site.limit(counter.tag_limit);
            let as_of = context.as_of.max(counter.last);
            let spent = counter.spent(geometry, as_of).amount;
            let reached = |fired: &Fired| {
                let threshold = site.budget.thresholds.get(usize::from(fired.threshold));
                threshold.zip(limit).is_some_and(|(threshold, limit)| spent >= threshold.at.amount(limit))
            };
            match (geometry, &mut counter.ring) {
                (Some(geometry), Some(ring)) => {
                    // What lies behind was judged by the old limits and is not judged again.
                    counter.fired.iter_mut().for_each(|fired| fired.closed |= !reached(fired));
                    ring.slide_to(geometry, geometry.index(as_of));
                }
                _ => counter.fired.retain(reached),
            }
        });
        book.mark(key.borrowed());
    }
}

/// Event time from which spend matters at `now`.
fn history_from(book: &Book, now: Micros) -> Micros {
    let epoch = Micros(0);
    match (book.budget.window, book.geometry) {
        (Window::Session | Window::Lifetime, _) => epoch,
        (_, Some(geometry)) => geometry.start((geometry.index(now.max(epoch)) - geometry.reach - geometry.late).max(0)),
        (window, None) => Period::holding(window, &book.budget.zone, now.max(epoch)).map_or(epoch, |period| period.start),
    }
}
