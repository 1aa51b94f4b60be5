//! The calls of a batch by kind, and which of them a budget counts: targets are worked out once for each kind.

use std::sync::LazyLock;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use sluice_schemas::{Owner, PicoUsd, Profile, SpendDelta, SpendView, Sym};

use super::index::Candidate;
use crate::book::Book;
use crate::budget::{LimitSource, Window};
use crate::counter::Addition;
use crate::decide::Purpose;
use crate::limits::AgentLimits;
use crate::notation::tagged_amount;
use crate::predicate::{Row, TextColumn};
use crate::tally::Tally;
use crate::target::{self, Dimension};

/// What a delta's calls share, resolved for one budget.
pub(crate) struct Placed {
    pub(crate) target: String,
    pub(crate) tag_limit: Option<PicoUsd>,
    /// A session budget cannot place calls without a session: they would all share one counter that never ends.
    pub(crate) without_session: bool,
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
        let mut known: HashMap<(u32, Sym, Sym), usize, FixedState> =
            HashMap::with_capacity_and_hasher(view.deltas.len(), FixedState::default());
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
}

/// The deltas that one budget counts.
#[derive(Default)]
pub(super) struct Counted {
    /// By place in [`Order`]: ascending, each with its place in `placed`.
    pub(super) deltas: Vec<(usize, usize)>,
    pub(super) placed: Vec<Placed>,
}

impl Counted {
    /// Takes those of some kinds of call.
    pub(super) fn among(&mut self, book: &Book, kinds: &Kinds<'_>, candidates: &[Candidate], order: &Order, limits: &dyn AgentLimits) {
        self.deltas.clear();
        self.placed.clear();
        for candidate in candidates {
            let row = &kinds.rows[candidate.kind];
            let placed = if candidate.is_kept { place_kept(book, row, limits) } else { place(book, row, limits) };
            let Some(placed) = placed else { continue };
            self.deltas.extend(order.ranks(candidate.kind).map(|rank| (rank, self.placed.len())));
            self.placed.push(placed);
        }
        if candidates.len() > 1 {
            self.deltas.sort_unstable();
        }
    }

    /// Takes those of all kinds of call.
    pub(super) fn among_all(&mut self, book: &Book, kinds: &Kinds<'_>, order: &Order, limits: &dyn AgentLimits) {
        self.deltas.clear();
        self.placed.clear();
        let mut of_kind: Vec<Option<usize>> = Vec::with_capacity(kinds.rows.len());
        for row in &kinds.rows {
            let placed = place(book, row, limits);
            of_kind.push(placed.is_some().then_some(self.placed.len()));
            self.placed.extend(placed);
        }
        let counted = order.deltas.iter().enumerate().filter_map(|(rank, at)| Some((rank, of_kind[kinds.of_delta[*at]]?)));
        self.deltas.extend(counted);
    }
}

/// Deltas of a batch by event time.
pub(super) struct Order {
    /// Their indexes, in order.
    pub(super) deltas: Vec<usize>,
    /// Places in that order, by kind of call.
    ranks: Vec<usize>,
    /// Where the places of a kind begin in `ranks`; one more than there are kinds.
    starts: Vec<usize>,
}

impl Order {
    pub(super) fn of(view: SpendView<'_>, kinds: &Kinds<'_>) -> Self {
        let mut deltas: Vec<usize> = (0..view.deltas.len()).collect();
        deltas.sort_by_key(|at| {
            let delta = &view.deltas[*at];
            (delta.minute, delta.last_event, delta.profile, delta.model, delta.scope)
        });
        let mut starts = vec![0; kinds.rows.len() + 1];
        kinds.of_delta.iter().for_each(|kind| starts[kind + 1] += 1);
        for kind in 0..kinds.rows.len() {
            starts[kind + 1] += starts[kind];
        }
        let (mut ranks, mut next) = (vec![0; deltas.len()], starts.clone());
        for (rank, at) in deltas.iter().enumerate() {
            let slot = &mut next[kinds.of_delta[*at]];
            ranks[*slot] = rank;
            *slot += 1;
        }
        Self { deltas, ranks, starts }
    }

    /// Returns the places of the deltas of a kind, ascending.
    fn ranks(&self, kind: usize) -> impl Iterator<Item = usize> {
        self.ranks[self.starts[kind]..self.starts[kind + 1]].iter().copied()
    }
}

/// Works out which counter of a budget a kind of call belongs to; `None` if the budget does not count it.
pub(crate) fn place(book: &Book, row: &Row<'_>, limits: &dyn AgentLimits) -> Option<Placed> {
    let is_kept = book.budget.filter.as_ref().is_none_or(|filter| filter.keeps(row));
    is_kept.then(|| place_kept(book, row, limits)).flatten()
}

/// Works out the counter of a kind of call for which the budget's predicate is true.
fn place_kept(book: &Book, row: &Row<'_>, limits: &dyn AgentLimits) -> Option<Placed> {
    let budget = &book.budget;
    if row.profile.lower_bound && !budget.lower_bound {
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
