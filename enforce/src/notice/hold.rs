//! What becomes of a hold, as it is told.

use serde::{Deserialize, Serialize};
use sluice_schemas::Micros;
use sluice_schemas::visible::escape;

use super::Severity;
use crate::budget::{Mode, digest};
use crate::hold::{Cause, Hold, HoldState};
use crate::lever::LeverKind;
use crate::store::SELF;

/// Value of [`HoldNotice::schema`].
pub const HOLD_SCHEMA: &str = "sluice.hold/1";
/// JSON schema of a [`HoldNotice`] as it is told, published beside the project.
pub const HOLD_JSON_SCHEMA: &str = include_str!("../../../schemas/json/hold.schema.json");

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

    pub(super) const fn severity(self) -> Severity {
        match self {
            Self::Verified | Self::Released => Severity::Info,
            Self::AwaitingApproval | Self::Degraded => Severity::Warning,
            Self::Put | Self::Ineffective | Self::ManualDetach | Self::Failing => Severity::Critical,
        }
    }

    pub(super) const fn sentence(self) -> &'static str {
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
    /// When waiting for a person ends without their word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approve_by: Option<Micros>,
    /// The command by which a person lets it come into force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approve: Option<String>,
    /// The command by which a person refuses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reject: Option<String>,
}

/// Where a hold stands for which a person is or was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Word {
    /// It waits for one, until then.
    Awaited(Option<Micros>),
    /// It ended then without having come into force: somebody said no, nobody said anything, or its reason went.
    Refused(Micros),
}

impl Word {
    /// Returns where a hold stands; nothing where nobody is asked. In observe mode nothing would come of an answer, so there is no question.
    #[must_use]
    pub fn of(hold: &Hold) -> Option<Self> {
        if hold.mode == Mode::Observe || hold.approved_by.is_some() {
            return None;
        }
        match (hold.state, &hold.released) {
            (HoldState::PendingApproval, _) => Some(Self::Awaited(hold.approve_by)),
            // What was spared from the start asked nobody.
            (HoldState::Released, Some(released)) if hold.approve_by.is_some() && released.at != hold.created_at => {
                // Where a flag stood meanwhile, its end is the news.
                let asked = Hold { state: HoldState::PendingApproval, ..hold.clone() };
                asked.pulls().is_empty().then_some(Self::Refused(released.at))
            }
            _ => None,
        }
    }
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
            actor: SELF.to_owned(),
            at,
            until: hold.until,
            approve_by: None,
            approve: None,
            reject: None,
        }
    }

    /// Returns the question whether a hold may come into force, or the news that it never will. `commands` are those that approve and
    /// reject it. Its id is that of the hold and of how long it waits, so that the same question is the same news whoever asks it.
    #[must_use]
    pub fn of_word(hold: &Hold, word: Word, [approve, reject]: [String; 2], now: Micros) -> Self {
        match word {
            Word::Awaited(approve_by) => {
                let notice = Self::new(hold, HoldNews::AwaitingApproval, &occasion(approve_by.unwrap_or(hold.created_at)), now);
                let waits = hold.note.as_deref().unwrap_or("the budget asks for a person's word");
                let reason = format!("{}; it waits for a person: {waits}", hold.reason());
                let pull = hold.scope.grips.iter().find_map(|grip| grip.chain.first());
                let notice = pull.into_iter().fold(notice, |notice, pull| notice.by(pull.lever, &pull.subject));
                Self { reason, approve_by, approve: Some(approve), reject: Some(reject), ..notice }
            }
            Word::Refused(at) => {
                let notice = Self::new(hold, HoldNews::Released, &occasion(at), at);
                let (actor, why) = hold.released.as_ref().map_or((SELF, ""), |released| (&released.actor, &released.reason));
                let how = if actor == SELF { "ended without having stopped anyone" } else { "rejected, nobody was stopped" };
                let reason = if why.is_empty() { how.to_owned() } else { format!("{how}: {why}") };
                notice.because(actor, &reason)
            }
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

fn occasion(at: Micros) -> String {
    format!("word {at}")
}

impl HoldNotice {
    /// Returns what people read below the title.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let (Some(lever), Some(subject)) = (self.lever, &self.subject) {
            lines.push(format!("Lever {lever} on {}.", escape(subject)));
        }
        if let (Some(budget), Some(period)) = (&self.budget, &self.period) {
            lines.push(format!("Budget {}, {}.", escape(budget), escape(period)));
        }
        if !self.reason.is_empty() {
            lines.push(escape(&self.reason).into_owned());
        }
        lines.extend(self.approve.as_deref().map(|command| format!("To stop it: {}", escape(command))));
        lines.extend(self.reject.as_deref().map(|command| format!("To let it go on: {}", escape(command))));
        lines.extend(self.approve_by.map(|by| format!("Without a word it goes on, and the question ends at {by}.")));
        lines.push(format!("By {} at {}, mode {}, hold {}.", escape(&self.actor), self.at, self.mode, self.hold_id));
        lines
    }
}
