//! What is told to the world, and to whom: crossings, and how holds stand.
//!
//! Owns: the messages (`sluice.breach/1` and `sluice.hold/1`, as published in `schemas/json`), how grave they are, their words for
//! people, and who wants which. Does not own: how a message travels; that is each [`Receiver`]'s.
//! Every message has an id that is the same in each repetition, so whoever gets one twice can tell.

use serde::{Deserialize, Serialize};
use sluice_schemas::breach::Breach;
use sluice_schemas::visible::escape;
use sluice_schemas::{Micros, PicoUsd};

use crate::actions::ActionError;
use crate::budget::{ActionKind, digest};
use crate::hold::{Cause, Hold};
use crate::lever::LeverKind;
use crate::target::value_in;

mod receiver;

pub use receiver::{Filter, Receiver};

/// Value of [`HoldNotice::schema`].
pub const HOLD_SCHEMA: &str = "sluice.hold/1";
/// JSON schema of a [`HoldNotice`] as it is told, published beside the project.
pub const HOLD_JSON_SCHEMA: &str = include_str!("../../schemas/json/hold.schema.json");

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

/// What became of a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldNews {
    /// It waits for a person.
    AwaitingApproval,
    /// It was put, and its lever pulled.
    Put,
    /// AWS was seen to refuse the target's calls.
    Verified,
    /// It only flags: no lever could be pulled, for the reason given.
    Degraded,
    /// The lever is pulled and calls go through nevertheless.
    Ineffective,
    /// Someone else took the stop away.
    ManualDetach,
    /// A lever fails again and again: the target is not stopped, or not let go.
    Failing,
    /// It is over, and everything was put back.
    Released,
}

impl HoldNews {
    /// Returns the word of the messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AwaitingApproval => "awaiting_approval",
            Self::Put => "put",
            Self::Verified => "verified",
            Self::Degraded => "degraded",
            Self::Ineffective => "ineffective",
            Self::ManualDetach => "manual_detach",
            Self::Failing => "failing",
            Self::Released => "released",
        }
    }

    const fn severity(self) -> Severity {
        match self {
            Self::Verified | Self::Released => Severity::Info,
            Self::AwaitingApproval | Self::Degraded => Severity::Warning,
            Self::Put | Self::Ineffective | Self::ManualDetach | Self::Failing => Severity::Critical,
        }
    }

    const fn sentence(self) -> &'static str {
        match self {
            Self::AwaitingApproval => "A hold waits for approval",
            Self::Put => "Held",
            Self::Verified => "The hold is seen to work",
            Self::Degraded => "Flagged only, not stopped",
            Self::Ineffective => "The hold does not stop it",
            Self::ManualDetach => "Someone took the hold's stop away",
            Self::Failing => "A lever fails again and again",
            Self::Released => "Released",
        }
    }
}

/// How a hold stands, as it is published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldNotice {
    /// Always `sluice.hold/1`.
    pub schema: String,
    /// The same in every repetition of this news.
    pub notice_id: String,
    /// The hold; the fire id of the breach where one caused it.
    pub hold_id: String,
    /// Whom it is for.
    pub target: String,
    /// What became of it.
    pub state: HoldNews,
    /// `observe` or `enforce`.
    pub mode: String,
    /// Budget that asked for it; absent for a person's hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<String>,
    /// Id of the budget's period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<String>,
    /// The lever, once one was chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lever: Option<LeverKind>,
    /// What the lever acts on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Why, and what would help.
    pub reason: String,
    /// Who: `sluice`, or a person.
    pub actor: String,
    /// When.
    pub at: Micros,
    /// When it ends by itself, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Micros>,
}

impl HoldNotice {
    /// Returns news of a hold. `occasion` tells it from the same news at another time and is the same when it is told again,
    /// for example the number of the attempt that the store keeps.
    #[must_use]
    pub fn new(hold: &Hold, state: HoldNews, occasion: &str, at: Micros) -> Self {
        let (budget, period) = match &hold.cause {
            Cause::Breach { budget, period, .. } => (Some(budget.clone()), Some(period.clone())),
            Cause::Manual { .. } => (None, None),
        };
        Self {
            schema: HOLD_SCHEMA.to_owned(),
            notice_id: digest(&["notice/1", &hold.id, state.as_str(), occasion]),
            hold_id: hold.id.clone(),
            target: hold.target.clone(),
            state,
            mode: hold.mode.as_str().to_owned(),
            budget,
            period,
            lever: None,
            subject: None,
            reason: String::new(),
            actor: crate::store::SELF.to_owned(),
            at,
            until: hold.until,
        }
    }

    /// Names the lever and what it acts on.
    #[must_use]
    pub fn by(self, lever: LeverKind, subject: &crate::lever::Subject) -> Self {
        Self { lever: Some(lever), subject: Some(subject.to_string()), ..self }
    }

    /// Says who and why.
    #[must_use]
    pub fn because(self, actor: &str, reason: &str) -> Self {
        Self { actor: actor.to_owned(), reason: reason.to_owned(), ..self }
    }
}

/// A message.
#[derive(Clone, Copy, Debug)]
pub enum Notice<'a> {
    /// A threshold was crossed.
    Breach(&'a Breach),
    /// A hold changed.
    Hold(&'a HoldNotice),
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
        }
    }

    /// Returns what joins a breach and all news of its hold.
    #[must_use]
    pub fn thread(&self) -> &'a str {
        match self {
            Self::Breach(breach) => &breach.fire_id,
            Self::Hold(hold) => &hold.hold_id,
        }
    }

    /// Returns `breach`, or `hold` and what became of it.
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
        }
    }

    /// Returns name and version of the message's schema.
    #[must_use]
    pub fn schema(&self) -> &'a str {
        match self {
            Self::Breach(breach) => &breach.schema,
            Self::Hold(hold) => &hold.schema,
        }
    }

    /// Returns whom it is about.
    #[must_use]
    pub fn target(&self) -> &'a str {
        match self {
            Self::Breach(breach) => &breach.target,
            Self::Hold(hold) => &hold.target,
        }
    }

    /// Returns the budget it is about; `None` for a person's hold.
    #[must_use]
    pub fn budget(&self) -> Option<&'a str> {
        match self {
            Self::Breach(breach) => Some(&breach.budget),
            Self::Hold(hold) => hold.budget.as_deref(),
        }
    }

    /// Returns when it became true.
    #[must_use]
    pub const fn at(&self) -> Micros {
        match self {
            Self::Breach(breach) => breach.detected_at,
            Self::Hold(hold) => hold.at,
        }
    }

    /// Returns how grave it is: critical from the limit on or where a hold follows, else a warning where the limit is in sight.
    #[must_use]
    pub fn severity(&self) -> Severity {
        match self {
            Self::Hold(hold) => hold.state.severity(),
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
    pub const fn resolves(&self) -> bool {
        matches!(self, Self::Hold(HoldNotice { state: HoldNews::Released, .. }))
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
            Self::Hold(hold) => {
                if let (Some(lever), Some(subject)) = (hold.lever, &hold.subject) {
                    lines.push(format!("Lever {lever} on {}.", escape(subject)));
                }
                if let (Some(budget), Some(period)) = (&hold.budget, &hold.period) {
                    lines.push(format!("Budget {}, {}.", escape(budget), escape(period)));
                }
                if !hold.reason.is_empty() {
                    lines.push(escape(&hold.reason).into_owned());
                }
                lines.push(format!("By {} at {}, mode {}, hold {}.", escape(&hold.actor), hold.at, hold.mode, hold.hold_id));
            }
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
