//! What missing tokens are worth: the model's own average first, a list price where it has none, unknown rather than zero.

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
    pub tokens: u64,
    /// Their cost.
    pub cost: PicoUsd,
}

/// What something missing would have cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Worth {
    /// By the average of the model's calls in the lake.
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

    /// Returns what `calls` calls with `tokens` are worth. Calls without tokens are worth an average call of a model that is not paid by
    /// the token, and nothing where tokens are what is paid.
    #[must_use]
    pub fn worth(&self, key: &Key, calls: u64, tokens: &Tokens) -> Worth {
        let averages = [self.known.get(key), self.models.get(&key.model)];
        let average = averages.into_iter().flatten().find_map(|known| known.average(calls, tokens.total()));
        match average {
            Some(amount) => Worth::Average(amount),
            None => (self.list)(key, tokens).map_or(Worth::Unknown, Worth::List),
        }
    }
}

impl Known {
    fn average(&self, calls: u64, tokens: u64) -> Option<PicoUsd> {
        let (part, whole) = if self.tokens > 0 { (tokens, self.tokens) } else { (calls, self.calls) };
        if whole == 0 {
            return None;
        }
        let (part, whole) = (i128::from(part), i128::from(whole));
        // Rounded down once, unless the exact product is beyond what 128 bits hold.
        let exact = self.cost.0.checked_mul(part).map(|product| product / whole);
        Some(PicoUsd(exact.unwrap_or_else(|| (self.cost.0 / whole).saturating_mul(part))))
    }
}
