//! How the breaker stands, as it is told.

use serde::{Deserialize, Serialize};
use sluice_schemas::Micros;
use sluice_schemas::visible::escape;

use super::Severity;
use crate::budget::digest;
use crate::reconcile::breaker::{Closed, Tripped};
use crate::store::SELF;

/// Value of [`BreakerNotice::schema`].
pub const BREAKER_SCHEMA: &str = "sluice.breaker/1";
/// JSON schema of a [`BreakerNotice`] as it is told, published beside the project.
pub const BREAKER_JSON_SCHEMA: &str = include_str!("../../../schemas/json/breaker.schema.json");
/// Targets that a message names.
const MOST_TARGETS: usize = 20;

/// What became of the breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerNews {
    /// Nothing is pulled any more.
    Tripped,
    /// Levers are pulled again.
    Closed,
}

impl BreakerNews {
    /// Returns the word of the messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tripped => "tripped",
            Self::Closed => "closed",
        }
    }

    pub(super) const fn severity(self) -> Severity {
        match self {
            Self::Tripped => Severity::Critical,
            Self::Closed => Severity::Info,
        }
    }
}

/// How the breaker stands, as it is published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakerNotice {
    /// Always `sluice.breaker/1`.
    pub schema: String,
    /// The same in every repetition of this news.
    pub notice_id: String,
    /// Joins a trip and its end.
    pub trip_id: String,
    /// What became of it.
    pub state: BreakerNews,
    /// Why it tripped; of its end, what the person said.
    pub reason: String,
    /// How many holds in force want a stop that is not pulled; absent in news of the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_back: Option<usize>,
    /// Whom they are for, the first of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<String>,
    /// The command that closes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub close: Option<String>,
    /// Who: `sluice`, or a person.
    pub actor: String,
    /// When.
    pub at: Micros,
}

impl BreakerNotice {
    /// Returns the news that it tripped. `targets` are those of the holds whose stops are not pulled; `close` is the command that closes it.
    #[must_use]
    pub fn tripped(tripped: &Tripped, mut targets: Vec<String>, close: String) -> Self {
        let held_back = Some(targets.len());
        targets.sort_unstable();
        targets.dedup();
        targets.truncate(MOST_TARGETS);
        let of_trip = Self::of(tripped, BreakerNews::Tripped, &tripped.reason, SELF, tripped.at);
        Self { held_back, targets, close: Some(close), ..of_trip }
    }

    /// Returns the news that somebody closed it.
    #[must_use]
    pub fn closed(closed: &Closed) -> Self {
        Self::of(&closed.tripped, BreakerNews::Closed, &closed.reason, &closed.actor, closed.at)
    }

    fn of(tripped: &Tripped, state: BreakerNews, reason: &str, actor: &str, at: Micros) -> Self {
        let trip = tripped.at.to_string();
        Self {
            schema: BREAKER_SCHEMA.to_owned(),
            notice_id: digest(&["breaker/1", &trip, state.as_str()]),
            trip_id: digest(&["breaker/1", &trip]),
            state,
            reason: reason.to_owned(),
            held_back: None,
            targets: Vec::new(),
            close: None,
            actor: actor.to_owned(),
            at,
        }
    }

    pub(super) const fn title(&self) -> &'static str {
        match self.state {
            BreakerNews::Tripped => "The breaker has tripped: nothing is pulled any more",
            BreakerNews::Closed => "The breaker is closed: levers are pulled again",
        }
    }

    /// Returns what people read below the title.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if !self.reason.is_empty() {
            lines.push(escape(&self.reason).into_owned());
        }
        match self.held_back {
            None => {}
            Some(0) => lines.push("No hold in force waits for its stop; breaches from now on are told, and hold nobody.".to_owned()),
            Some(count) => {
                let named: Vec<_> = self.targets.iter().map(|target| escape(target)).collect();
                lines.push(format!("{count} holds in force have not stopped their targets: {}.", named.join(", ")));
                lines.push("Breaches from now on are told, and hold nobody. What stands stays.".to_owned());
            }
        }
        lines.extend(self.close.as_deref().map(|command| format!("Once you know why: {}", escape(command))));
        lines.push(format!("By {} at {}, trip {}.", escape(&self.actor), self.at, self.trip_id));
        lines
    }
}
