//! Budgets, the ledger, breaches, holds and the actions that follow.
