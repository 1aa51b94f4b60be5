//! What can be wrong with a trail, each with the line it is about.

use std::fmt;

use serde::Serialize;

/// Something is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct AuditFault {
    /// Number of the line; 0 for a row of the lake that has none.
    pub line: u64,
    /// What.
    #[serde(flatten)]
    pub kind: FaultKind,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case", tag = "fault")]
pub enum FaultKind {
    /// It and those up to `through` are not there.
    Missing {
        /// The last of them.
        through: u64,
    },
    /// Its content does not have its hash.
    Changed,
    /// It was sealed under another number: lines were reordered, or one before it was removed or inserted.
    Moved {
        /// That number.
        from: u64,
    },
    /// It does not name the hash of the line before it: one of the two was replaced.
    Detached,
    /// It has no hash although the chain had begun: it was inserted, or written by a program that knows no chain.
    Unsealed,
    /// It lies behind the head of the chain.
    BehindHead,
    /// It is the last one, and the head of the chain names another hash.
    NotHead,
    /// Shared store and lake have something else in these fields.
    Differs {
        /// Their names.
        fields: Vec<&'static str>,
    },
    /// The lake does not have it, though it has later ones.
    NotInLake,
    /// Only the lake has it.
    NotInStore,
    /// The lake has it more than once.
    TwiceInLake,
    /// The lake has a row without a number, from before lines had one, that no line of the shared store matches.
    StrayInLake {
        /// What it says.
        says: String,
    },
}

impl fmt::Display for AuditFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = self.line;
        match &self.kind {
            FaultKind::Missing { through } if *through > line => write!(f, "lines {line} to {through} are missing"),
            FaultKind::Missing { .. } => write!(f, "line {line} is missing"),
            FaultKind::Changed => write!(f, "line {line} was changed: its content does not have its hash"),
            FaultKind::Moved { from } => write!(f, "line {line} was moved: it was written as line {from}"),
            FaultKind::Detached => {
                write!(f, "line {line} does not follow the line before it: one of the two was replaced, removed or inserted")
            }
            FaultKind::Unsealed => write!(f, "line {line} has no hash: it was inserted, or written by an older program"),
            FaultKind::BehindHead => write!(f, "line {line} lies behind the head of the chain: it was inserted"),
            FaultKind::NotHead => write!(f, "line {line} is the last one, and the head of the chain names another hash"),
            FaultKind::Differs { fields } => write!(f, "line {line} differs between shared store and lake: {}", fields.join(", ")),
            FaultKind::NotInLake => write!(f, "line {line} is not in the lake, though later ones are"),
            FaultKind::NotInStore => write!(f, "line {line} is in the lake alone: it was removed from the shared store"),
            FaultKind::TwiceInLake => write!(f, "line {line} is in the lake more than once"),
            FaultKind::StrayInLake { says } => write!(f, "a row of the lake without a number is not in the shared store: {says}"),
        }
    }
}
