//! The fact that a threshold of a budget was crossed, as it is published to the world.

use serde::{Deserialize, Serialize};

use crate::money::PicoUsd;
use crate::time::Micros;

/// JSON schema of [`Breach`], published beside the project.
pub const BREACH_JSON_SCHEMA: &str = include_str!("../json/breach.schema.json");

/// A threshold was crossed. One per (budget, period, threshold, target); `fire_id` is the idempotency key of every effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Breach {
    /// Always `sluice.breach/1`.
    pub schema: String,
    /// Hash of budget, period, threshold, target, configured limit and generation; the same after any restart or replay.
    pub fire_id: String,
    /// Name of the budget.
    pub budget: String,
    /// What the counter stands for, for example `agent_id=checkout-bot`; `*` for a budget with one counter.
    pub target: String,
    /// Id of the period, for example `2026-10`, `2026-10-01`, `session`, or for a rolling window the epoch-aligned slice of its
    /// length in which it crossed: `2026-10-01T10:00:00Z/1h`, with `#2` for the second crossing of the slice.
    pub period: String,
    /// First moment of the period.
    pub period_start: Micros,
    /// First moment after the period; absent for session and lifetime budgets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period_end: Option<Micros>,
    /// The threshold, for example `80%`.
    pub threshold: String,
    /// The limit.
    pub limit_usd: PicoUsd,
    /// Spend of the period when the crossing was seen.
    pub spent_usd: PicoUsd,
    /// Linear projection of the spend to the period's end; absent where there is no end or no time has passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub projected_usd: Option<PicoUsd>,
    /// How `projected_usd` was made: always `linear`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub projection: Option<String>,
    /// Calls in the period without a price: `spent_usd` holds them at the budget's worst case, or not at all.
    pub unpriced_calls: u64,
    /// Event time of the call that crossed.
    pub event_time: Micros,
    /// When this program saw it.
    pub detected_at: Micros,
    /// What is done about it: `notify`, `hold`.
    pub actions: Vec<String>,
    /// `observe` or `enforce`; in `observe` a hold is recorded and pulls no permission.
    pub mode: String,
    /// Epoch whose commit made it true.
    pub epoch: u64,
    /// Why a hold that the budget asks for was not put.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// What was seen, in words with numbers, where a rule of runaway detection found it; absent for a budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<String>,
}
