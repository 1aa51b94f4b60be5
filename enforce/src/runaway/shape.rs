//! What a detector sees of a call: when, how much, at what cost. Never a word of it.

use serde::{Deserialize, Serialize};
use sluice_schemas::batch::EnrichedBatch;
use sluice_schemas::{Call, Micros, PicoUsd, SpendDelta, Sym};

/// The shape of one call: 40 bytes on the way from the worker that priced it to the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallShape {
    /// When it happened.
    pub event_time: Micros,
    /// Its cost in pico-dollars; more than nine million dollars count as that.
    pub cost_picousd: i64,
    /// Index of its profile (and owner) in the batch.
    pub profile: u32,
    /// Canonical model.
    pub model: Sym,
    /// Price scope.
    pub scope: Sym,
    /// Tokens of the whole prompt, cached ones included.
    pub prompt: u32,
    /// Tokens of the answer.
    pub output: u32,
}

impl CallShape {
    /// Returns the shape of a call of a batch.
    #[must_use]
    pub fn of(call: &Call<'_>) -> Self {
        Self {
            event_time: call.invocation.event_time,
            cost_picousd: cost(call.pricing.cost),
            profile: call.invocation.profile,
            model: call.pricing.model,
            scope: call.pricing.scope,
            prompt: tokens(call.invocation.usage.prompt()),
            output: tokens(call.invocation.usage.output),
        }
    }

    /// Returns the shape of a delta that is one call.
    #[must_use]
    pub fn of_delta(delta: &SpendDelta) -> Self {
        Self {
            event_time: delta.last_event,
            cost_picousd: cost(delta.sums.cost),
            profile: delta.profile,
            model: delta.model,
            scope: delta.scope,
            prompt: tokens(delta.sums.usage.prompt()),
            output: tokens(delta.sums.usage.output),
        }
    }
}

fn cost(amount: PicoUsd) -> i64 {
    i64::try_from(amount.0).unwrap_or(i64::MAX)
}

fn tokens(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Shapes of a batch together with the batch that their symbols and indexes refer to.
#[derive(Clone, Copy, Debug)]
pub struct ShapeView<'a> {
    /// Holds strings, profiles and owners.
    pub batch: &'a EnrichedBatch,
    /// One for each call that counts.
    pub shapes: &'a [CallShape],
}

/// A call as a detector takes it. The order is that in which calls are judged; calls that are equal in it are alike in everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "(i64, u64, u32, u32, i64, bool)", into = "(i64, u64, u32, u32, i64, bool)")]
pub(super) struct Seen {
    /// Event time in microseconds.
    pub(super) at: i64,
    /// Hash of session and model: calls of one lane follow from each other.
    pub(super) lane: u64,
    pub(super) prompt: u32,
    pub(super) output: u32,
    /// Pico-dollars.
    pub(super) cost: i64,
    pub(super) failed: bool,
}

impl From<(i64, u64, u32, u32, i64, bool)> for Seen {
    fn from((at, lane, prompt, output, cost, failed): (i64, u64, u32, u32, i64, bool)) -> Self {
        Self { at, lane, prompt, output, cost, failed }
    }
}

impl From<Seen> for (i64, u64, u32, u32, i64, bool) {
    fn from(seen: Seen) -> Self {
        (seen.at, seen.lane, seen.prompt, seen.output, seen.cost, seen.failed)
    }
}
