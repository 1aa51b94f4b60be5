//! What missing tokens are worth: what the model's calls paid first, a list price where it has none, unknown rather than zero.

use std::collections::BTreeMap;

use serde::Serialize;
use sluice_schemas::PicoUsd;

use super::{Key, Tokens};

/// What the calls of a key cost that the lake holds, as far as they have a price.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Calls with a price.
    pub calls: u64,
    /// Their tokens.
    pub tokens: Tokens,
    /// Their cost.
    pub cost: PicoUsd,
}

/// What something missing would have cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Worth {
    /// By what the model's calls in the lake paid.
    Average(PicoUsd),
    /// By the list price.
    List(PicoUsd),
    /// Nobody knows.
    Unknown,
}

impl Worth {
    /// Returns the amount, if there is one.
    #[must_use]
    pub const fn amount(self) -> Option<PicoUsd> {
        match self {
            Self::Average(amount) | Self::List(amount) => Some(amount),
            Self::Unknown => None,
        }
    }
}

/// List price of tokens of a model, if there is one.
pub type ListPrice<'a> = dyn Fn(&Key, &Tokens) -> Option<PicoUsd> + 'a;

/// Prices of what is missing.
pub struct Prices<'a> {
    known: BTreeMap<Key, Known>,
    /// The same over all accounts and regions.
    models: BTreeMap<String, Known>,
    list: &'a ListPrice<'a>,
}

impl std::fmt::Debug for Prices<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prices").field("known", &self.known).finish_non_exhaustive()
    }
}

impl<'a> Prices<'a> {
    /// Takes what the lake's calls cost, and a list for models it has none of.
    #[must_use]
    pub fn new(known: BTreeMap<Key, Known>, list: &'a ListPrice<'a>) -> Self {
        let mut models: BTreeMap<String, Known> = BTreeMap::new();
        for (key, of) in &known {
            let sum = models.entry(key.model.clone()).or_default();
            sum.calls += of.calls;
            sum.tokens += of.tokens;
            sum.cost += of.cost;
        }
        Self { known, models, list }
    }

    /// Returns what missing tokens are worth, and with them `untold` calls of which no tokens are known.
    ///
    /// Tokens cost what the model's calls in the lake paid: class by class in proportion to the list price where there is one, else the
    /// average of a token. Without such calls they cost the list price. Calls without known tokens cost an average call.
    #[must_use]
    pub fn worth(&self, key: &Key, untold: u64, tokens: &Tokens) -> Worth {
        let known: Vec<&Known> = [self.known.get(key), self.models.get(&key.model)].into_iter().flatten().collect();
        let list = if tokens.total() > 0 { (self.list)(key, tokens) } else { None };
        let paid = |known: &&Known| match (list, (self.list)(key, &known.tokens)) {
            (Some(missing), Some(all)) if all.0 > 0 => share(known.cost, missing.0, all.0),
            _ => share(known.cost, i128::from(tokens.total()), i128::from(known.tokens.total())),
        };
        let by_token = match tokens.total() {
            0 => Worth::Average(PicoUsd::ZERO),
            _ => known.iter().find_map(paid).map_or_else(|| list.map_or(Worth::Unknown, Worth::List), Worth::Average),
        };
        let by_call = match untold {
            0 => Some(PicoUsd::ZERO),
            _ => known.iter().find_map(|known| share(known.cost, i128::from(untold), i128::from(known.calls))),
        };
        match (by_token, by_call) {
            (Worth::Average(tokens), Some(calls)) => Worth::Average(tokens + calls),
            (Worth::List(tokens), Some(calls)) => Worth::List(tokens + calls),
            _ => Worth::Unknown,
        }
    }
}

/// Returns `part / whole` of an amount, rounded down once unless the exact product is beyond what 128 bits hold.
fn share(amount: PicoUsd, part: i128, whole: i128) -> Option<PicoUsd> {
    if whole <= 0 {
        return None;
    }
    let exact = amount.0.checked_mul(part).map(|product| product / whole);
    Some(PicoUsd(exact.unwrap_or_else(|| (amount.0 / whole).saturating_mul(part))))
}
