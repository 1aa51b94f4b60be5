//! What is told to the world, and to whom: crossings, how holds stand, and the breaker.
//!
//! Owns: the messages (`sluice.breach/1`, `sluice.hold/1`, `sluice.breaker/1`, as published in `schemas/json`), how grave they are, their words for
//! people, and who wants which. Does not own: how a message travels; that is each [`Receiver`]'s.
//! Every message has an id that is the same in each repetition, so whoever gets one twice can tell.

use serde::{Deserialize, Serialize};
use sluice_schemas::breach::Breach;
use sluice_schemas::visible::escape;
use sluice_schemas::{Micros, PicoUsd};

use crate::actions::ActionError;
use crate::budget::ActionKind;
use crate::target::value_in;

mod breaker;
mod hold;
mod receiver;

pub use breaker::{BREAKER_JSON_SCHEMA, BREAKER_SCHEMA, BreakerNews, BreakerNotice};
pub use hold::{HOLD_JSON_SCHEMA, HOLD_SCHEMA, HoldNews, HoldNotice, Word};
pub use receiver::{Filter, Receiver};

/// How grave a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// For the record.
    Info,
    /// Someone should look.
    Warning,
    /// Someone is stopped, or spends what they may not.
    Critical,
}

impl Severity {
    /// Returns the word of the messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Info, Self::Warning, Self::Critical].into_iter().find(|severity| severity.as_str() == text)
    }
}

/// News as it waits in the shared store: told apart by their fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum News {
    /// A hold changed.
    Hold(Box<HoldNotice>),
    /// The breaker tripped, or was closed.
    Breaker(BreakerNotice),
}

impl News {
    /// Returns the message.
    #[must_use]
    pub fn notice(&self) -> Notice<'_> {
        match self {
            Self::Hold(hold) => Notice::Hold(hold),
            Self::Breaker(breaker) => Notice::Breaker(breaker),
        }
    }
}

/// A message.
#[derive(Clone, Copy, Debug)]
pub enum Notice<'a> {
    /// A threshold was crossed.
    Breach(&'a Breach),
    /// A hold changed.
    Hold(&'a HoldNotice),
    /// The breaker tripped, or was closed.
    Breaker(&'a BreakerNotice),
}

/// A message as it travels: what it says of itself, then how grave it is.
#[derive(Serialize)]
struct Graded<T> {
    #[serde(flatten)]
    message: T,
    severity: Severity,
}

impl<'a> Notice<'a> {
    /// Returns the id that is the same in each repetition.
    #[must_use]
    pub fn id(&self) -> &'a str {
        match self {
            Self::Breach(breach) => &breach.fire_id,
            Self::Hold(hold) => &hold.notice_id,
            Self::Breaker(breaker) => &breaker.notice_id,
        }
    }

    /// Returns what joins a breach and all news of its hold, or a trip of the breaker and its end.
    #[must_use]
    pub fn thread(&self) -> &'a str {
        match self {
            Self::Breach(breach) => &breach.fire_id,
            Self::Hold(hold) => &hold.hold_id,
            Self::Breaker(breaker) => &breaker.trip_id,
        }
    }

    /// Returns `breach`, or `hold` or `breaker` and what became of it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Breach(_) => "breach",
            Self::Hold(hold) => match hold.state {
                HoldNews::AwaitingApproval => "hold_awaiting_approval",
                HoldNews::Put => "hold_put",
                HoldNews::Verified => "hold_verified",
                HoldNews::Degraded => "hold_degraded",
                HoldNews::Ineffective => "hold_ineffective",
                HoldNews::ManualDetach => "hold_manual_detach",
                HoldNews::Failing => "hold_failing",
                HoldNews::Released => "hold_released",
            },
            Self::Breaker(breaker) => match breaker.state {
                BreakerNews::Tripped => "breaker_tripped",
                BreakerNews::Closed => "breaker_closed",
            },
        }
    }

    /// Returns name and version of the message's schema.
    #[must_use]
    pub fn schema(&self) -> &'a str {
        match self {
            Self::Breach(breach) => &breach.schema,
            Self::Hold(hold) => &hold.schema,
            Self::Breaker(breaker) => &breaker.schema,
        }
    }

    /// Returns whom it is about; `*` where that is everyone.
    #[must_use]
    pub fn target(&self) -> &'a str {
        match self {
            Self::Breach(breach) => &breach.target,
            Self::Hold(hold) => &hold.target,
            Self::Breaker(_) => "*",
        }
    }

    /// Returns what it is sorted under: the budget, or what else it is of.
    #[must_use]
    pub fn group(&self) -> &'a str {
        match self {
            Self::Breaker(_) => "the breaker",
            _ => self.budget().unwrap_or("by hand"),
        }
    }

    /// Returns the budget it is about; `None` for a person's hold and the breaker.
    #[must_use]
    pub fn budget(&self) -> Option<&'a str> {
        match self {
            Self::Breach(breach) => Some(&breach.budget),
            Self::Hold(hold) => hold.budget.as_deref(),
            Self::Breaker(_) => None,
        }
    }

    /// Returns when it became true.
    #[must_use]
    pub const fn at(&self) -> Micros {
        match self {
            Self::Breach(breach) => breach.detected_at,
            Self::Hold(hold) => hold.at,
            Self::Breaker(breaker) => breaker.at,
        }
    }

    /// Returns how grave it is: critical from the limit on or where a hold follows, else a warning where the limit is in sight.
    #[must_use]
    pub fn severity(&self) -> Severity {
        match self {
            Self::Hold(hold) => hold.state.severity(),
            Self::Breaker(breaker) => breaker.state.severity(),
            Self::Breach(breach) => {
                let holds = breach.actions.iter().any(|word| word == ActionKind::Hold.as_str());
                let heads_over = breach.projected_usd.is_some_and(|projected| projected >= breach.limit_usd);
                match () {
                    () if holds || breach.spent_usd >= breach.limit_usd => Severity::Critical,
                    () if heads_over || breach.note.is_some() => Severity::Warning,
                    () => Severity::Info,
                }
            }
        }
    }

    /// Tells whether it ends what an earlier one began.
    #[must_use]
    pub fn resolves(&self) -> bool {
        match self {
            Self::Breach(_) => false,
            Self::Hold(hold) => hold.state == HoldNews::Released,
            Self::Breaker(breaker) => breaker.state == BreakerNews::Closed,
        }
    }

    /// Returns the value that the target gives a dimension, if it has one.
    #[must_use]
    pub fn dimension(&self, name: &str) -> Option<String> {
        value_in(self.target(), name).filter(|value| !value.is_empty())
    }

    /// Returns the message for machines: one JSON object of the published schema.
    ///
    /// # Errors
    /// It cannot be written as JSON.
    pub fn json(&self) -> Result<String, ActionError> {
        let severity = self.severity();
        Ok(match self {
            Self::Breach(breach) => serde_json::to_string(&Graded { message: breach, severity }),
            Self::Hold(hold) => serde_json::to_string(&Graded { message: hold, severity }),
            Self::Breaker(breaker) => serde_json::to_string(&Graded { message: breaker, severity }),
        }?)
    }

    /// Returns one line for people. Names of callers are escaped, so that none can forge a line.
    #[must_use]
    pub fn title(&self) -> String {
        match self {
            Self::Breach(breach) => format!(
                "{} spent {} of {} ({} of budget {}, {})",
                escape(&breach.target),
                dollars(breach.spent_usd),
                dollars(breach.limit_usd),
                breach.threshold,
                escape(&breach.budget),
                escape(&breach.period),
            ),
            Self::Hold(hold) => format!("{}: {}", hold.state.sentence(), escape(&hold.target)),
            Self::Breaker(breaker) => breaker.title().to_owned(),
        }
    }

    /// Returns the message for people, some lines of plain text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut lines = vec![self.title()];
        match self {
            Self::Breach(breach) => {
                lines.extend(breach.explanation.as_deref().map(|seen| escape(seen).into_owned()));
                if let Some(projected) = breach.projected_usd {
                    lines.push(format!("At this rate it comes to {} by the end of the period.", dollars(projected)));
                }
                if breach.unpriced_calls > 0 {
                    lines.push(format!("{} calls have no known price.", breach.unpriced_calls));
                }
                lines.push(match breach.note.as_deref() {
                    Some(note) => escape(note).into_owned(),
                    None if breach.actions.iter().any(|word| word == ActionKind::Hold.as_str()) => {
                        format!("A hold follows (mode {}).", breach.mode)
                    }
                    None => "Nothing is stopped by this.".to_owned(),
                });
                lines.push(format!("Seen {}, fire id {}.", breach.detected_at, breach.fire_id));
            }
            Self::Hold(hold) => lines.extend(hold.lines()),
            Self::Breaker(breaker) => lines.extend(breaker.lines()),
        }
        lines.join("\n")
    }
}

/// Returns an amount for people, with cents or what makes a small one visible.
fn dollars(amount: PicoUsd) -> String {
    amount.shown(2)
}

#[cfg(test)]
pub(crate) mod tests;
