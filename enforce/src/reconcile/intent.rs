//! Intents: what a lever is to do on a subject, written before the first effect and kept until nothing of it is left.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sluice_schemas::Micros;

use crate::budget::digest;
use crate::lever::{LeverKind, Subject};

/// Where an intent stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Decided; the lever may have been pulled already if [`Intent::touched`].
    Planned,
    /// Pulled; not seen to stand yet.
    Pulled,
    /// Seen to stand.
    Stands,
    /// What this would put stood before: it is somebody else's and stays theirs.
    Foreign,
    /// A person took it off, which is respected.
    TakenOff,
    /// The lever cannot act here; the next of the chain does. Tried again from time to time.
    Refused,
    /// The subject is not there.
    Gone,
    /// On its way back.
    Lifting,
}

impl Stage {
    /// Returns the word that people read.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Pulled => "pulled",
            Self::Stands => "stands",
            Self::Foreign => "foreign",
            Self::TakenOff => "taken_off",
            Self::Refused => "refused",
            Self::Gone => "gone",
            Self::Lifting => "lifting",
        }
    }
}

/// What a lever is to do, does, or did on one subject. However many holds want it, it is one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// The lever.
    pub lever: LeverKind,
    /// On whom.
    pub subject: Subject,
    /// Ids of the holds that want it, sorted.
    pub holds: Vec<String>,
    /// Why, for people.
    pub reason: String,
    /// Where it stands.
    pub stage: Stage,
    /// Whether a pull was begun: then there may be something to lift, whatever came of it.
    pub touched: bool,
    /// What stood before the first pull.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub image: Value,
    /// Fence of the process that wrote it last.
    pub fence: u64,
    /// When it was decided.
    pub since: Micros,
    /// When it ends by itself, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Micros>,
    /// When it was last pulled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pulled_at: Option<Micros>,
    /// When it was first seen to stand after the last pull.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed_at: Option<Micros>,
    /// Since when it is seen not to stand, although it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absent_since: Option<Micros>,
    /// What allows the calls nevertheless.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ineffective: Option<String>,
    /// Failed tries in a row, and what the last one said.
    #[serde(default)]
    pub tries: u32,
    /// What is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// Not before then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again_at: Option<Micros>,
    /// Request ids of the calls that changed something, the newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<String>,
}

impl Intent {
    /// Returns the id it is stored under.
    #[must_use]
    pub fn id(&self) -> String {
        id(self.lever, &self.subject)
    }
}

/// Tells whether a lever takes several things away, of which a person may give back some: what is left is given back in the end.
pub(super) const fn takes_several(lever: LeverKind) -> bool {
    matches!(lever, LeverKind::Detach)
}

/// Tells whether a lever is pulled with one call that changes something: then a refusal means that nothing was changed.
pub(super) const fn is_one_write(lever: LeverKind) -> bool {
    matches!(lever, LeverKind::DenyPolicy | LeverKind::DenySession | LeverKind::RevokeSessions | LeverKind::Boundary)
}

/// Returns the id of a lever on a subject.
#[must_use]
pub fn id(lever: LeverKind, subject: &Subject) -> String {
    // The enum's tag keeps a user and a role of one text apart.
    let subject = serde_json::to_string(subject).unwrap_or_else(|_| subject.to_string());
    digest(&["intent/1", lever.as_str(), &subject])
}
