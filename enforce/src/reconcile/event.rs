//! News of levers: what a reconciler's turn did, for people and for metrics.

use sluice_schemas::Micros;

use super::breaker::Change;
use crate::lever::LeverKind;

/// What happened to one lever on one subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    /// Pulled: the calls that stop the subject were taken.
    Pulled,
    /// Seen to stand.
    Verified,
    /// It stands and something else allows the calls nevertheless.
    Ineffective,
    /// What it would put was there before.
    Foreign,
    /// A person took it off; it stays off.
    TakenOff,
    /// A person took it off; it was put back.
    Repaired,
    /// It cannot act here.
    Refused,
    /// The subject is not there.
    Gone,
    /// Everything is as it was before.
    Lifted,
    /// It fails again and again, and goes on trying.
    Failing,
    /// Nothing is pulled any more.
    Tripped,
}

impl Happened {
    /// Returns the word that people and machines read.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pulled => "pulled",
            Self::Verified => "verified",
            Self::Ineffective => "ineffective",
            Self::Foreign => "foreign",
            Self::TakenOff => "taken_off",
            Self::Repaired => "repaired",
            Self::Refused => "refused",
            Self::Gone => "gone",
            Self::Lifted => "lifted",
            Self::Failing => "failing",
            Self::Tripped => "tripped",
        }
    }
}

/// News of one lever on one subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: Micros,
    /// What.
    pub what: Happened,
    /// The lever; `None` for the breaker.
    pub lever: Option<LeverKind>,
    /// On whom.
    pub subject: String,
    /// Holds that want it, or wanted it.
    pub holds: Vec<String>,
    /// For people.
    pub detail: String,
    /// Request ids of the calls.
    pub requests: Vec<String>,
}

/// What a turn did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// News, in order.
    pub events: Vec<Event>,
    /// How the breaker changed.
    pub breaker: Vec<Change>,
    /// Intents of which something is on its way.
    pub under_way: usize,
    /// Intents that stand as wanted.
    pub standing: usize,
}
