//! What the lake's manifest carries of a ledger, so that one made again without its rows owes the world what the first one owed.
//!
//! Counters follow from facts. Whether a crossing was acted on does not, nor does what a hold needs to know, nor whether a person has let
//! a budget act; and a rolling window that is filled in another order may cross at other moments than it did.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Ledger;
use crate::book::HORIZON;
use crate::budget::{Budget, Window};
use crate::config::Budgets;
use crate::fire::Crossing;
use crate::limits::AgentLimits;

/// The part of a ledger that facts do not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// Crossings whose actions are not settled, whole.
    pub pending: Vec<Crossing>,
    /// Budgets in force, by name.
    pub budgets: BTreeMap<String, InForce>,
}

/// A budget in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InForce {
    /// Digest of the whole budget: another one is another budget.
    pub digest: String,
    /// Whether it may act.
    pub confirmed: bool,
}

impl Carried {
    fn knows(&self, budget: &Budget) -> bool {
        self.budgets.get(&budget.name).is_some_and(|known| known.digest == budget.digest())
    }
}

impl Ledger {
    /// Returns what cannot be made again from facts.
    #[must_use]
    pub fn carried(&self) -> Carried {
        let in_force = |book: &crate::book::Book| InForce { digest: book.budget.digest(), confirmed: book.confirmed };
        let budgets = self.books.iter().map(|book| (book.budget.name.clone(), in_force(book))).collect();
        Carried { pending: self.pending.values().cloned().collect(), budgets }
    }

    /// Returns an empty ledger of the budgets that were in force before, each as far as it was allowed to act. The others are new: put them
    /// in force with [`Ledger::reconfigure`] once history was applied.
    #[must_use]
    pub fn again(budgets: &Budgets, limits: Arc<dyn AgentLimits>, before: &Carried) -> Self {
        let mut ledger = Self::new(Arc::new(budgets.only(|budget| before.knows(budget))), limits);
        for book in &mut ledger.books {
            book.confirmed = before.budgets.get(&book.budget.name).is_some_and(|known| known.confirmed);
        }
        ledger
    }

    /// Takes crossings over that an earlier ledger left unsettled.
    pub fn take_over(&mut self, crossings: Vec<Crossing>) {
        for crossing in crossings {
            let fire_id = crossing.breach.fire_id.clone();
            self.changed_pending.push(fire_id.clone());
            self.pending.insert(fire_id, crossing);
        }
    }

    /// Tells whether a crossing that history shows and nobody wrote down has to be acted on.
    ///
    /// A sum that only grows crosses in any order alike, so it is real: a limit or a price has changed since. It matters as long as late
    /// spend would, and if its budget may act. A rolling window that is filled in another order crosses elsewhere.
    #[must_use]
    pub fn is_news(&self, crossing: &Crossing) -> bool {
        let breach = &crossing.breach;
        let counts = breach.period_end.is_none_or(|end| self.now < end.plus(HORIZON));
        let book = self.books.iter().find(|book| book.budget.name == breach.budget);
        counts && book.is_some_and(|book| book.confirmed && !matches!(book.budget.window, Window::Rolling { .. }))
    }
}
