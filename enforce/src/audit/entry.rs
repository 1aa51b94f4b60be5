//! One line of the audit trail.

use serde::{Deserialize, Serialize};
use sluice_schemas::Micros;

use crate::fire::Crossing;

/// One line of the audit trail: the columns of the lake's `actions` table.
///
/// What is below `detail` came later than the rest: lines of older programs read with those fields empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// When.
    pub at: Micros,
    /// Fire id, hold id or command id it belongs to.
    pub fire_id: String,
    /// What was done, for example `webhook:hooks.example.com`, `hold`, `release`, `approve`.
    pub action: String,
    /// To whom.
    pub target: String,
    /// How it ended.
    pub state: String,
    /// `sluice`, or the person.
    pub actor: String,
    /// Why, or what came of it.
    pub detail: String,
    /// What decided it, as a JSON object of texts ([`inputs`]): spend, limit, counts. Empty where a person's word was all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub inputs: String,
    /// [`crate::Budgets::version`] in force. A line that names none gets that of the handle it is written with.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub policy_version: String,
    /// Version of the rate cards in force, alike.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub price_version: String,
    /// Request ids of the calls to AWS it took.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<String>,
    /// Hash of the line before; empty in the first line of the chain. Set where the line is written.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prev: String,
    /// Hash of this line; empty in lines from before there was a chain. Set where the line is written.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hash: String,
}

/// Versions of what decisions are made by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// [`crate::Budgets::version`].
    pub policy: String,
    /// Version of the rate cards.
    pub prices: String,
}

impl AuditEntry {
    /// Names the versions in force where the line names none.
    #[must_use]
    pub fn under(mut self, versions: &Versions) -> Self {
        if self.policy_version.is_empty() {
            self.policy_version.clone_from(&versions.policy);
        }
        if self.price_version.is_empty() {
            self.price_version.clone_from(&versions.prices);
        }
        self
    }

    /// Returns the line without its place in the chain: what its writer said.
    #[must_use]
    pub fn unsealed(&self) -> Self {
        Self { prev: String::new(), hash: String::new(), ..self.clone() }
    }

    /// Tells whether the line is part of a chain.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        !self.hash.is_empty()
    }
}

/// Writes what decided something as a JSON object, sorted by name.
#[must_use]
pub fn inputs<'a>(pairs: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let object: serde_json::Map<String, serde_json::Value> =
        pairs.into_iter().map(|(name, value)| (name.to_owned(), serde_json::Value::String(value))).collect();
    serde_json::Value::Object(object).to_string()
}

/// Returns what decided that a threshold was crossed.
#[must_use]
pub(crate) fn inputs_of(crossing: &Crossing) -> String {
    let breach = &crossing.breach;
    let mut pairs = vec![
        ("budget", breach.budget.clone()),
        ("period", breach.period.clone()),
        ("threshold", breach.threshold.clone()),
        ("limit_usd", breach.limit_usd.to_string()),
        ("spent_usd", breach.spent_usd.to_string()),
        ("unpriced_calls", breach.unpriced_calls.to_string()),
        ("event_time", breach.event_time.to_string()),
        ("mode", breach.mode.clone()),
        ("epoch", breach.epoch.to_string()),
    ];
    pairs.extend(crossing.hold.as_ref().map(|terms| ("live_targets", terms.live_targets.to_string())));
    inputs(pairs)
}
