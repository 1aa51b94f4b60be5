//! Budgets, the ledger, breaches, holds and the actions that follow.
//!
//! Owns: what a budget is, how spend is counted against it, when a threshold is crossed and what is done about it.
//! Does not own: what a call costs and who it belongs to (that comes in), the local commit (rows go out).
//! Invariants: C6, C7, C8 and C10.
//!
//! The way of a crossing: [`Ledger::apply`] finds it → its row is part of the local commit → [`outbox::Outbox`] claims its
//! fire id in the shared store and runs its actions, each until it has a receipt.

pub mod actions;
pub mod audit;
pub mod aws;
pub mod backtest;
pub mod budget;
pub mod config;
pub mod fault;
pub mod fire;
pub mod guard;
pub mod hold;
pub mod iam;
pub mod lease;
pub mod ledger;
pub mod lever;
pub mod limits;
pub mod notation;
pub mod notice;
pub mod outbox;
pub mod overrides;
pub mod overshoot;
pub mod period;
pub mod permit;
pub mod predicate;
pub mod proof;
pub mod reconcile;
pub mod ring;
pub mod rivals;
pub mod runaway;
pub mod store;
pub mod tally;
pub mod target;

mod book;
mod codec;
mod counter;
mod decide;
mod query;
#[cfg(test)]
mod test_support;

pub use actions::{Action, ActionError, FileAction, HoldAction, LogAction, WebhookAction};
pub use backtest::{BacktestReport, backtest};
pub use budget::{ActionKind, Budget, Mode, Threshold, Window};
pub use codec::LedgerError;
pub use config::Budgets;
pub use counter::FiredState;
pub use fault::{BudgetFault, BudgetsError};
pub use fire::{Crossing, HoldTerms, Withheld};
pub use hold::{Hold, HoldChange, HoldPolicy, HoldState, reconcile_holds};
pub use lease::{Beat, FileLease, Lease, Watched, Watcher};
pub use ledger::{BudgetStatus, Carried, FiredStatus, Ledger, NeedsSeed, Overview};
pub use limits::{AgentLimits, LimitTable, NoLimits};
pub use outbox::Outbox;
pub use permit::CommitPermit;
#[cfg(feature = "aws")]
pub use store::{DynamoLease, DynamoSettings, DynamoStore};
pub use store::{FileStore, SharedStore, StoreError};
