//! A context that grows call after call without end.
//!
//! Every conversation grows; a person takes time to answer, though, and an agent's task has an end. What counts is a row of calls at a
//! machine's pace, each prompt longer than the last, that costs several times as much as the dearest such row of a usual day.

use serde::{Deserialize, Serialize};
use sluice_schemas::PicoUsd;

use super::rule::GrowthTerms;
use super::shape::Seen;

/// Calls of a lane whose prompts only grew.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Growth {
    #[serde(rename = "a")]
    pub(super) from_prompt: u32,
    #[serde(rename = "z")]
    pub(super) to_prompt: u32,
    #[serde(rename = "n")]
    pub(super) calls: u32,
    #[serde(rename = "f")]
    pub(super) first: i64,
    #[serde(rename = "l")]
    pub(super) last: i64,
    #[serde(rename = "s")]
    spend: i128,
}

impl Growth {
    /// Takes a call.
    pub(super) fn add(&mut self, call: &Seen, terms: &GrowthTerms) -> &Self {
        if call.failed || call.output == 0 {
            return self;
        }
        let goes_on = self.calls > 0 && call.prompt > self.to_prompt && call.at - self.last <= terms.pause;
        if goes_on {
            self.calls = self.calls.saturating_add(1);
            self.spend = self.spend.saturating_add(i128::from(call.cost));
        } else {
            *self = Self { from_prompt: call.prompt, calls: 1, first: call.at, spend: i128::from(call.cost), ..Self::default() };
        }
        (self.to_prompt, self.last) = (call.prompt, call.at);
        self
    }

    pub(super) const fn spend(&self) -> PicoUsd {
        PicoUsd(self.spend)
    }

    /// Tells whether it looks like a snowball, whatever it costs.
    pub(super) fn is_snowball(&self, terms: &GrowthTerms) -> bool {
        self.calls >= terms.calls && u64::from(self.to_prompt) * 100 >= u64::from(self.from_prompt) * u64::from(terms.grown_percent)
    }
}
