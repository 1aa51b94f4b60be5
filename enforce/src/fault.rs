//! What can be wrong with a file of budgets.

use std::fmt;

use sluice_schemas::ErrorClass;

use crate::predicate::PredicateError;

/// Everything that is wrong with a file.
#[derive(Debug, PartialEq, Eq)]
pub struct BudgetsError {
    /// In the order of the file.
    pub faults: Vec<BudgetFault>,
}

impl BudgetsError {
    /// Tells what is to be done: change the file.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        ErrorClass::Misconfigured
    }
}

impl std::error::Error for BudgetsError {}

impl fmt::Display for BudgetsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{fault}")?;
        }
        Ok(())
    }
}

/// One fault.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("budget {budget}: {field}: {problem}")]
pub struct BudgetFault {
    /// Name of the budget, else its place in the file.
    pub budget: String,
    /// Key at fault.
    pub field: &'static str,
    /// What is wrong.
    pub problem: Problem,
}

/// What can be wrong with a key.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Problem {
    /// Not TOML, an unknown key or a wrong type.
    #[error("{detail}")]
    Toml {
        /// What the parser says.
        detail: String,
    },
    /// A required key is absent.
    #[error("is missing")]
    Missing,
    /// A name that is used twice.
    #[error("'{text}' occurs twice")]
    Duplicate {
        /// The name.
        text: String,
    },
    /// A value that is none of the known ones.
    #[error("'{text}' is not known: use {known}")]
    Unknown {
        /// The value.
        text: String,
        /// What could stand there.
        known: &'static str,
    },
    /// Not an amount with a unit.
    #[error("'{text}' is not an amount of at most a trillion dollars with a unit: write it like \"25.00 USD\"")]
    Amount {
        /// The value.
        text: String,
    },
    /// The `where` is refused.
    #[error(transparent)]
    Predicate(#[from] PredicateError),
    /// Keys that contradict or need each other.
    #[error("{rule}")]
    Rule {
        /// The rule that is broken.
        rule: &'static str,
    },
}
