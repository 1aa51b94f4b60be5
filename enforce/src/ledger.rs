//! The ledger: every budget's counters, fed with spend, asked for crossings. No I/O and no clock.
//!
//! Owns: invariant C8 (a counter is the spend with event time in its period) and the rows that make it durable.
//! Does not own: the local commit (the caller writes [`Ledger::take_dirty`] in the same transaction as the positions) and
//! what follows a crossing ([`crate::outbox`]).
//!
//! After a failed commit the ledger is ahead of its rows and has to be loaded again.

use std::collections::BTreeMap;
use std::sync::Arc;

use sluice_schemas::time::MINUTE;
use sluice_schemas::{Micros, SpendDelta, SpendView};

use crate::book::{Book, Key};
use crate::config::Budgets;
use crate::decide::{Context, Purpose};
use crate::fire::Crossing;
use crate::limits::AgentLimits;

mod carried;
mod change;
mod index;
mod kinds;
mod rows;
mod spill;
mod status;

use self::index::Index;
use self::kinds::{Counted, Order};
pub(crate) use self::kinds::{Kinds, Placed, addition, place};

pub use carried::{Carried, InForce};
pub use change::NeedsSeed;
pub use status::{BudgetStatus, FiredStatus, Overview};

/// Budgets of a batch that are brought near at once.
const NEAR: usize = 64;

/// How far the logs may lag behind the clock before a rolling sum is taken as of later than the newest event. AWS delivers
/// invocation logs within minutes; without this a short window would look empty before its spend has even arrived.
const LOG_LAG: i64 = 10 * MINUTE;

/// End of the year 9999: no period reaches beyond it.
const LAST_MINUTE: Micros = Micros(253_402_300_800_000_000);

/// Counters of all budgets.
pub struct Ledger {
    budgets: Arc<Budgets>,
    limits: Arc<dyn AgentLimits>,
    books: Vec<Book>,
    /// Which budgets can count a call, of the budgets it was made for.
    index: Option<(Arc<Budgets>, Index)>,
    now: Micros,
    newest: Micros,
    batch: u64,
    epoch: u64,
    /// Nothing but history was added so far.
    pristine: bool,
    /// No book waits for its history.
    seeded: bool,
    swept: Micros,
    /// Crossings whose actions are not settled, by fire id.
    pending: BTreeMap<String, Crossing>,
    changed_pending: Vec<String>,
    deletes: Vec<Vec<u8>>,
    /// Why holds that follow from here on wait for a person.
    doubt: Option<String>,
}

impl Ledger {
    /// Returns an empty ledger. Its budgets count as confirmed: they were there from the start.
    #[must_use]
    pub fn new(budgets: Arc<Budgets>, limits: Arc<dyn AgentLimits>) -> Self {
        let books = budgets.iter().map(|budget| Book::new(Arc::clone(budget))).collect();
        Self {
            budgets,
            limits,
            books,
            index: None,
            now: Micros(i64::MIN),
            newest: Micros(i64::MIN),
            batch: 0,
            epoch: 0,
            pristine: true,
            seeded: false,
            swept: Micros(i64::MIN),
            pending: BTreeMap::new(),
            changed_pending: Vec::new(),
            deletes: Vec::new(),
            doubt: None,
        }
    }

    /// Adds spend that the next commit makes true; returns the crossings it causes, each once.
    ///
    /// Totals do not depend on the order or the split of the deltas. A ledger rebuilt after the loss of local state is fed
    /// here as well: crossings that acted before have the same fire ids, and the shared store knows them.
    pub fn apply(&mut self, view: SpendView<'_>, now: Micros) -> Vec<Crossing> {
        self.pristine = false;
        if !std::mem::replace(&mut self.seeded, true) {
            for book in self.books.iter_mut().filter(|book| book.seeding) {
                book.seeding = false;
                book.dirty_self = true;
            }
        }
        let mut crossings = self.fold(view, now, Purpose::Live);
        self.enlist(&mut crossings);
        crossings
    }

    /// Takes spend back that was booked to the wrong owner or at another price: apply the right one after it.
    pub fn retract(&mut self, view: SpendView<'_>, now: Micros) {
        self.fold(view, now, Purpose::Retract);
    }

    /// Takes back a move that is not in the lake yet: `moved` is retracted, and `stored` counts again without crossing anything.
    pub fn undo(&mut self, moved: SpendView<'_>, stored: SpendView<'_>) {
        self.fold(moved, self.now, Purpose::Retract);
        self.fold(stored, self.now, Purpose::Restore);
    }

    /// Adds history to the budgets that need it ([`Ledger::needs_seed`]), or to all before the first [`Ledger::apply`].
    /// Thresholds found crossed are noted and fire when the budget is confirmed ([`Ledger::confirm`], also for a budget that
    /// already is). The first `apply` ends the seeding: call this before it.
    pub fn seed(&mut self, view: SpendView<'_>) {
        self.fold(view, self.now, Purpose::Seed);
    }

    /// Returns the crossings whose actions are not settled, the ones of earlier runs included.
    pub fn pending(&self) -> impl Iterator<Item = &Crossing> {
        self.pending.values()
    }

    /// Notes that all actions of a crossing are settled; its row goes with the next commit.
    pub fn settle(&mut self, fire_id: &str) {
        if self.pending.remove(fire_id).is_some() {
            self.changed_pending.push(fire_id.to_owned());
        }
    }

    /// Tells whether nothing was ever added to it.
    #[must_use]
    pub const fn is_new(&self) -> bool {
        self.pristine
    }

    /// Returns the budgets in force.
    #[must_use]
    pub const fn budgets(&self) -> &Arc<Budgets> {
        &self.budgets
    }

    /// Moves time on and forgets what can no longer matter. Rolling windows slide with it.
    pub fn advance(&mut self, now: Micros) {
        self.now = self.now.max(now);
        let at = self.now.min(self.newest);
        if at.0 < self.swept.0.saturating_add(MINUTE) {
            return;
        }
        self.swept = at;
        for book in &mut self.books {
            let gone = book.forget(at);
            let name = book.budget.name.clone();
            self.deletes.extend(gone.into_iter().flat_map(|(key, buckets)| rows::keys_of(&name, &key, &buckets)));
        }
    }

    /// Replaces the agents file. Thresholds of limits that were raised there are armed again.
    pub fn set_limits(&mut self, limits: Arc<dyn AgentLimits>) {
        self.limits = Arc::clone(&limits);
        let context = self.context(limits.as_ref(), Purpose::Live);
        for book in self.books.iter_mut().filter(|book| book.budget.limit.source.is_some()) {
            change::rearm_above_spend(book, context);
        }
    }

    /// Names the epoch whose commit makes the crossings true that are found from here on.
    pub const fn begin_epoch(&mut self, epoch: u64) {
        self.epoch = epoch;
    }

    /// Lets every hold that follows from here on wait for a person, because what its spend rests on is in doubt; `None` ends that.
    pub fn doubt(&mut self, why: Option<String>) {
        self.doubt = why;
    }

    /// Notes crossings that nobody has settled.
    fn enlist(&mut self, crossings: &mut [Crossing]) {
        for crossing in crossings {
            crossing.breach.epoch = self.epoch;
            if let (Some(why), Some(terms)) = (&self.doubt, crossing.hold.as_mut()) {
                terms.why.get_or_insert_with(|| why.clone());
            }
            let fire_id = crossing.breach.fire_id.clone();
            self.changed_pending.push(fire_id.clone());
            self.pending.insert(fire_id, crossing.clone());
        }
    }

    /// How far the logs have come: rolling sums are taken as of then.
    fn as_of_at(&self, now: Micros) -> Micros {
        if self.newest >= now { now } else { self.newest.max(now.plus(-LOG_LAG)) }
    }

    fn context<'a>(&self, limits: &'a dyn AgentLimits, purpose: Purpose) -> Context<'a> {
        Context { limits, now: self.now, as_of: self.as_of_at(self.now), batch: self.batch, purpose }
    }

    fn fold(&mut self, view: SpendView<'_>, now: Micros, purpose: Purpose) -> Vec<Crossing> {
        self.now = self.now.max(now);
        self.batch += 1;
        self.newest = view.deltas.iter().map(|delta| delta.last_event).fold(self.newest, Micros::max);
        if self.books.is_empty() {
            return Vec::new();
        }
        let limits = Arc::clone(&self.limits);
        let context = self.context(limits.as_ref(), purpose);
        // Within a batch spend is added in event-time order, so that a crossing names the call that crossed.
        let kinds = Kinds::of(view);
        let order = Order::of(view, &kinds);
        let may_count = self.index().may_count(&kinds.rows);
        let mut crossings = Vec::new();
        let mut counted = Counted::default();
        for (place, (at, part)) in may_count.books.iter().enumerate() {
            if place % NEAR == 0 {
                touch(&self.books, may_count.books.iter().skip(place).take(NEAR).map(|(at, _)| *at));
            }
            let Some(book) = self.books.get_mut(*at) else { continue };
            if purpose == Purpose::Seed && !book.seeding && !self.pristine {
                continue;
            }
            match part {
                None => counted.among_all(book, &kinds, &order, context.limits),
                Some(part) => counted.among(book, &kinds, may_count.of(part), &order, context.limits),
            }
            let mut rolling: Vec<Key> = Vec::new();
            for (rank, placed) in &counted.deltas {
                rolling.extend(add(book, &view.deltas[order.deltas[*rank]], &counted.placed[*placed], context, &mut crossings));
            }
            if purpose.can_cross() {
                for key in rolling {
                    book.check_rolling(&key, context, &mut crossings);
                }
            }
        }
        crossings
    }

    /// Returns the index of the budgets in force.
    fn index(&mut self) -> &Index {
        let is_current = self.index.as_ref().is_some_and(|(budgets, _)| Arc::ptr_eq(budgets, &self.budgets));
        if !is_current {
            self.index = None;
        }
        &self.index.get_or_insert_with(|| (Arc::clone(&self.budgets), Index::of(&self.books))).1
    }
}

/// Brings the next budgets of a batch near, in one go: reads of memory that do not wait for each other take a fraction of the time.
fn touch(books: &[Book], next: impl Iterator<Item = usize>) {
    let read = next.filter_map(|at| books.get(at)).fold(false, |read, book| read ^ book.touch());
    std::hint::black_box(read);
}

/// Adds one delta to its counter, or sets it aside. Returns the key of a counter whose rolling window has to be looked at.
fn add(book: &mut Book, delta: &SpendDelta, placed: &Placed, context: Context<'_>, out: &mut Vec<Crossing>) -> Option<Key> {
    let addition = addition(book, delta, placed, context.purpose);
    if !(Micros(0)..LAST_MINUTE).contains(&addition.minute) {
        book.set_aside(addition.tally);
        return None;
    }
    if placed.without_session {
        book.unplaced.add(addition.tally);
        book.dirty_self = true;
        return None;
    }
    book.add(&placed.target, addition, context, out)
}

#[cfg(test)]
mod tests;
