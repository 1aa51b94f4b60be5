//! Sums of calls: the additive measures of every spend table and of every budget.

use crate::batch::{Call, PriceStatus};
use crate::money::PicoUsd;
use crate::time::Micros;
use crate::usage::Usage;

/// Additive measures over a set of calls. Adding two of them in any order gives the same result, to the last digit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Sums {
    /// Calls, failed ones included.
    pub calls: u64,
    /// Calls with an error code.
    pub errors: u64,
    /// Calls without a price.
    pub unpriced: u64,
    /// Tokens by class.
    pub usage: Usage,
    /// Cost of the priced calls.
    pub cost: PicoUsd,
    /// Upper bound of that cost.
    pub cost_max: PicoUsd,
}

impl Sums {
    /// Returns the sums of one call.
    #[must_use]
    pub fn of(call: &Call<'_>) -> Self {
        Self {
            calls: 1,
            errors: u64::from(!call.profile.error_code.is_empty()),
            unpriced: u64::from(call.pricing.status == PriceStatus::Unpriced),
            usage: call.invocation.usage,
            cost: call.pricing.cost,
            cost_max: call.pricing.cost_max,
        }
    }

    /// Adds other sums to these.
    pub fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.errors += other.errors;
        self.unpriced += other.unpriced;
        self.usage.input += other.usage.input;
        self.usage.output += other.usage.output;
        self.usage.cache_read += other.usage.cache_read;
        self.usage.cache_write_5m += other.usage.cache_write_5m;
        self.usage.cache_write_1h += other.usage.cache_write_1h;
        self.cost += other.cost;
        self.cost_max += other.cost_max;
    }
}

/// Spend of the calls of one profile in one minute of event time: what the ledger and the live view eat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpendDelta {
    /// Start of the minute.
    pub minute: Micros,
    /// Latest event time among the calls.
    pub last_event: Micros,
    /// Index of the profile (and its owner) in the batch.
    pub profile: u32,
    /// Canonical model (a symbol of the batch).
    pub model: crate::Sym,
    /// Price scope (a symbol of the batch).
    pub scope: crate::Sym,
    /// What they add up to.
    pub sums: Sums,
}

/// Deltas of one batch together with the batch that their symbols and indexes refer to.
#[derive(Clone, Copy, Debug)]
pub struct SpendView<'a> {
    /// Holds strings, profiles and owners; its invocations are not needed here.
    pub batch: &'a crate::batch::EnrichedBatch,
    /// One for each (profile, minute, model, scope).
    pub deltas: &'a [SpendDelta],
}
