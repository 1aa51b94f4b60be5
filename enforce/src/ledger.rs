//! The ledger: every budget's counters, fed with spend, asked for crossings. No I/O and no clock.
//!
//! Owns: invariant C8 (a counter is the spend with event time in its period) and the rows that make it durable.
//! Does not own: the local commit (the caller writes [`Ledger::take_dirty`] in the same transaction as the positions) and
//! what follows a crossing ([`crate::outbox`]).
//!
//! After a failed commit the ledger is ahead of its rows and has to be loaded again.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use sluice_schemas::time::MINUTE;
use sluice_schemas::{Micros, Owner, PicoUsd, Profile, SpendDelta, SpendView, Sym};

use crate::book::{Book, Key};
use crate::budget::{LimitSource, Window};
use crate::config::Budgets;
use crate::counter::Addition;
use crate::decide::{Context, Purpose};
use crate::fire::Crossing;
use crate::limits::AgentLimits;
use crate::notation::tagged_amount;
use crate::predicate::{Row, TextColumn};
use crate::tally::Tally;
use crate::target::{self, Dimension};

mod carried;
mod change;
mod index;
mod rows;
mod spill;
mod status;

use self::index::Index;

pub use carried::{Carried, InForce};
pub use change::NeedsSeed;
pub use status::{BudgetStatus, FiredStatus, Overview};

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
    swept: Micros,
    /// Crossings whose actions are not settled, by fire id.
    pending: BTreeMap<String, Crossing>,
    changed_pending: Vec<String>,
    deletes: Vec<Vec<u8>>,
}

/// What a delta's calls share, resolved for one budget.
pub(crate) struct Placed {
    pub(crate) target: String,
    pub(crate) tag_limit: Option<PicoUsd>,
    /// A session budget cannot place calls without a session: they would all share one counter that never ends.
    pub(crate) without_session: bool,
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
            swept: Micros(i64::MIN),
            pending: BTreeMap::new(),
            changed_pending: Vec::new(),
            deletes: Vec::new(),
        }
    }

    /// Adds spend that the next commit makes true; returns the crossings it causes, each once.
    ///
    /// Totals do not depend on the order or the split of the deltas. A ledger rebuilt after the loss of local state is fed
    /// here as well: crossings that acted before have the same fire ids, and the shared store knows them.
    pub fn apply(&mut self, view: SpendView<'_>, now: Micros) -> Vec<Crossing> {
        self.pristine = false;
        for book in self.books.iter_mut().filter(|book| book.seeding) {
            book.seeding = false;
            book.dirty_self = true;
        }
        let mut crossings = self.fold(view, now, Purpose::Live);
        self.enlist(&mut crossings);
        crossings
    }

    /// Takes spend back that was booked to the wrong owner or at another price: apply the right one after it.
    pub fn retract(&mut self, view: SpendView<'_>, now: Micros) {
        self.fold(view, now, Purpose::Retract);
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

    /// Notes crossings that nobody has settled.
    fn enlist(&mut self, crossings: &mut [Crossing]) {
        for crossing in crossings {
            crossing.breach.epoch = self.epoch;
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
        for (at, of_book) in may_count {
            let Some(book) = self.books.get_mut(at) else { continue };
            if purpose == Purpose::Seed && !book.seeding && !self.pristine {
                continue;
            }
            let mut rolling: Vec<Key> = Vec::new();
            for (at, placed) in kinds.counted(book, of_book.as_deref(), &order, context.limits) {
                rolling.extend(add(book, &view.deltas[at], &placed, context, &mut crossings));
            }
            if purpose != Purpose::Retract {
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

/// A delta whose profile the batch does not hold still counts, as a call of nobody.
static NOBODY: LazyLock<(Profile, Owner)> = LazyLock::new(Default::default);

/// The distinct (profile, model, scope) of a batch: targets are worked out once for each.
pub(crate) struct Kinds<'a> {
    pub(crate) rows: Vec<Row<'a>>,
    pub(crate) of_delta: Vec<usize>,
}

impl<'a> Kinds<'a> {
    pub(crate) fn of(view: SpendView<'a>) -> Self {
        let mut known: HashMap<(u32, Sym, Sym), usize, FixedState> = HashMap::default();
        let mut rows = Vec::new();
        let of_delta = view.deltas.iter().map(|delta| {
            *known.entry((delta.profile, delta.model, delta.scope)).or_insert_with(|| {
                let at = delta.profile as usize;
                rows.push(Row {
                    batch: view.batch,
                    profile: view.batch.batch.profiles.get(at).unwrap_or(&NOBODY.0),
                    owner: view.batch.owners.get(at).unwrap_or(&NOBODY.1),
                    model: delta.model,
                    scope: delta.scope,
                });
                rows.len() - 1
            })
        });
        let of_delta = of_delta.collect();
        Self { rows, of_delta }
    }

    /// Returns the deltas that a budget counts, in the given order, each with its place. It counts none but those of the kinds `of_book`.
    fn counted(&self, book: &Book, of_book: Option<&[usize]>, order: &Order, limits: &dyn AgentLimits) -> Vec<(usize, Rc<Placed>)> {
        let placed = |kind: usize| place(book, self.rows.get(kind)?, limits).map(Rc::new);
        let Some(of_book) = of_book else {
            let placed: Vec<Option<Rc<Placed>>> = (0..self.rows.len()).map(placed).collect();
            let of_delta = |at: &usize| Some((*at, Rc::clone(placed.get(self.of_delta[*at])?.as_ref()?)));
            return order.deltas.iter().filter_map(of_delta).collect();
        };
        let mut counted: Vec<(usize, Rc<Placed>)> = Vec::new();
        for kind in of_book {
            let Some(placed) = placed(*kind) else { continue };
            counted.extend(order.ranks[*kind].iter().map(|rank| (*rank, Rc::clone(&placed))));
        }
        counted.sort_unstable_by_key(|(rank, _)| *rank);
        for (rank, _) in &mut counted {
            *rank = order.deltas[*rank];
        }
        counted
    }
}

/// Deltas of a batch by event time.
struct Order {
    /// Their indexes, in order.
    deltas: Vec<usize>,
    /// Places in that order, by kind of call.
    ranks: Vec<Vec<usize>>,
}

impl Order {
    fn of(view: SpendView<'_>, kinds: &Kinds<'_>) -> Self {
        let mut deltas: Vec<usize> = (0..view.deltas.len()).collect();
        deltas.sort_by_key(|at| {
            let delta = &view.deltas[*at];
            (delta.minute, delta.last_event, delta.profile, delta.model, delta.scope)
        });
        let mut ranks = vec![Vec::new(); kinds.rows.len()];
        for (rank, at) in deltas.iter().enumerate() {
            ranks[kinds.of_delta[*at]].push(rank);
        }
        Self { deltas, ranks }
    }
}

/// Works out which counter of a budget a kind of call belongs to; `None` if the budget does not count it.
pub(crate) fn place(book: &Book, row: &Row<'_>, limits: &dyn AgentLimits) -> Option<Placed> {
    let budget = &book.budget;
    if row.profile.lower_bound && !budget.lower_bound {
        return None;
    }
    if !budget.filter.as_ref().is_none_or(|filter| filter.keeps(row)) {
        return None;
    }
    let tag_limit = match &budget.limit.source {
        Some(LimitSource::Tag(key)) => {
            let agent = TextColumn::parse("agent_id").and_then(|column| row.text(column)).unwrap_or_default();
            limits.tag(agent, key).or_else(|| row.tag(key).map(str::to_owned)).as_deref().and_then(tagged_amount)
        }
        _ => None,
    };
    let absent = |dimension: &Dimension| dimension.is("session_id") && dimension.value(row).is_none();
    let without_session = budget.window == Window::Session && budget.each.iter().any(absent);
    Some(Placed { target: target::of(&budget.each, row), tag_limit, without_session })
}

pub(crate) fn addition(book: &Book, delta: &SpendDelta, placed: &Placed, purpose: Purpose) -> Addition {
    let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let sums = &delta.sums;
    let tally = Tally { amount: book.budget.amount(sums), calls: count(sums.calls), unpriced: count(sums.unpriced) };
    let tally = if purpose == Purpose::Retract { tally.negated() } else { tally };
    Addition { tally, minute: delta.minute, last_event: delta.last_event, tag_limit: placed.tag_limit }
}

#[cfg(test)]
mod tests;
