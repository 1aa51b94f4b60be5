//! What rules would have said of history: when, of whom, why.

use serde::Serialize;
use sluice_schemas::{Micros, PicoUsd};

use super::rule::Rules;
use super::shape::ShapeView;
use super::watch::Watch;

/// A finding that would have fired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Replayed {
    /// Event time of the call that was judged.
    pub at: Micros,
    /// Name of the rule.
    pub rule: String,
    /// The target.
    pub target: String,
    /// Which detector.
    pub detector: String,
    /// Whether the target would have been held.
    pub hold: bool,
    /// What had been spent.
    pub spent_usd: PicoUsd,
    /// What was seen.
    pub explanation: String,
    /// The id it would have, or had.
    pub fire_id: String,
}

impl Replayed {
    /// Names of the columns of [`Replayed::row`].
    pub const COLUMNS: [&'static str; 7] = ["at", "rule", "target", "detector", "hold", "spent", "seen"];

    /// Returns it as a row of a table.
    #[must_use]
    pub fn row(&self) -> [String; 7] {
        let hold = if self.hold { "yes" } else { "" };
        let (at, spent) = (self.at.to_string(), self.spent_usd.shown(2));
        [at, self.rule.clone(), self.target.clone(), self.detector.clone(), hold.to_owned(), spent, self.explanation.clone()]
    }
}

/// Replays history a stretch at a time, oldest first; calls within a stretch are in the order of their times.
pub struct Backtest(Watch);

impl Backtest {
    /// Returns one that has seen nothing.
    #[must_use]
    pub fn new(rules: &Rules) -> Self {
        Self(Watch::new(rules))
    }

    /// Takes a stretch; returns what would have fired in it.
    pub fn replay(&mut self, view: ShapeView<'_>) -> Vec<Replayed> {
        // At no time later than the calls: a hold is still worth putting.
        let crossings = self.0.apply(view, Micros(i64::MIN));
        let of = |crossing: crate::fire::Crossing| {
            let breach = crossing.breach;
            Replayed {
                at: breach.event_time,
                rule: breach.budget,
                target: breach.target,
                detector: breach.threshold,
                hold: crossing.hold.is_some(),
                spent_usd: breach.spent_usd,
                explanation: breach.explanation.unwrap_or_default(),
                fire_id: breach.fire_id,
            }
        };
        crossings.into_iter().map(of).collect()
    }
}
