//! The live view of `sluice top` and `sluice demo`, and its plain lines where there is no terminal.
//!
//! Owns: the snapshot shown, the terminal, layout, escaping of foreign names. Does not own: where the numbers come from.

mod format;
mod paint;
mod plain;
mod sections;
mod table;
mod terminal;
mod trend;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use sluice_schemas::{AgentStatus, Micros, PicoUsd};

pub(crate) use paint::render_to_text;
pub(crate) use plain::PlainLines;
pub(crate) use terminal::{Key, Terminal};

/// Everything the view shows at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    /// When it was taken.
    pub(crate) at: Micros,
    /// When the pipeline started.
    pub(crate) started: Micros,
    /// UTC date whose calls the spend of totals, agents and sessions is of; `None` for those read since the start.
    #[serde(default)]
    pub(crate) day: Option<String>,
    /// Sums: spend as `day` says; records, repetitions, refusals and late calls since the start.
    pub(crate) totals: Totals,
    /// One row an agent, in any order.
    pub(crate) agents: Vec<AgentRow>,
    /// One row a session, in any order.
    pub(crate) sessions: Vec<SessionRow>,
    /// One row a budget counter, in any order.
    pub(crate) budgets: Vec<BudgetRow>,
    /// Holds in force or on their way.
    pub(crate) holds: Vec<HoldRow>,
    /// What happened, newest last, at most fifty.
    pub(crate) events: Vec<EventRow>,
}

/// Sums and rates of the whole pipeline.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Totals {
    /// Records read.
    pub(crate) records: u64,
    /// Distinct calls.
    pub(crate) facts: u64,
    /// Records delivered again.
    pub(crate) duplicates: u64,
    /// Records that could not be read.
    pub(crate) rejected: u64,
    /// Calls without a price.
    pub(crate) unpriced: u64,
    /// Calls that claimed another's agent.
    pub(crate) spoofed: u64,
    /// Calls that came after their window closed.
    pub(crate) late: u64,
    /// Cost of the priced calls.
    pub(crate) cost: PicoUsd,
    /// Milliseconds from the write of the latest line until it was visible here.
    pub(crate) lag_ms: u64,
    /// Records a second, over the last seconds.
    pub(crate) events_per_s: u64,
}

/// Spend of one agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AgentRow {
    /// The agent, as attributed.
    pub(crate) agent_id: String,
    /// Standing of the attribution.
    pub(crate) status: AgentStatus,
    /// Owning team; empty when not known.
    pub(crate) team: String,
    /// Calls.
    pub(crate) calls: u64,
    /// Cost of the priced calls.
    pub(crate) cost: PicoUsd,
    /// Cost an hour at the pace of the last minutes.
    pub(crate) burn_per_hour: PicoUsd,
    /// Tokens of all classes.
    pub(crate) tokens: u64,
    /// Sessions seen.
    pub(crate) sessions: u64,
    /// Event time of its latest call.
    pub(crate) last_event: Micros,
}

/// Spend of one session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SessionRow {
    /// The session, as attributed.
    pub(crate) session_id: String,
    /// Its agent.
    pub(crate) agent_id: String,
    /// Calls.
    pub(crate) calls: u64,
    /// Cost of the priced calls.
    pub(crate) cost: PicoUsd,
    /// Event time of its latest call.
    pub(crate) last_event: Micros,
}

/// Standing of a budget counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum BudgetState {
    /// Below every threshold.
    #[default]
    Ok,
    /// A threshold below the limit was crossed.
    Warned,
    /// The limit was crossed.
    Breached,
    /// The limit was crossed and the permission is pulled.
    Held,
}

/// One counter of a budget.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BudgetRow {
    /// Name of the budget.
    pub(crate) budget: String,
    /// What the counter stands for, for example `agent_id=checkout-bot`; `*` for a budget with one counter.
    pub(crate) target: String,
    /// The window, for example `rolling 1h`.
    pub(crate) window: String,
    /// The running period, for example `2026-10`.
    pub(crate) period: String,
    /// Spend of the period.
    pub(crate) spent: PicoUsd,
    /// The limit.
    pub(crate) limit: PicoUsd,
    /// `spent` in thousandths of a percent of `limit`.
    pub(crate) percent_millis: u64,
    /// Linear projection to the end of the period.
    pub(crate) projected: Option<PicoUsd>,
    /// Standing.
    pub(crate) state: BudgetState,
}

/// A permission pulled, or about to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HoldRow {
    /// Whom it stops, for example `agent_id=checkout-bot`.
    pub(crate) target: String,
    /// The budget that asks for it.
    pub(crate) budget: String,
    /// How, for example `deny policy on role/checkout`.
    pub(crate) lever: String,
    /// How far it is: `held`, `awaiting approval`, `observed only`, `recorded`.
    pub(crate) state: String,
    /// Since when.
    pub(crate) since: Micros,
}

impl HoldRow {
    /// Tells whether it stops its target; others only observe or wait for a person.
    pub(crate) fn stops(&self) -> bool {
        self.state == "held"
    }
}

/// How loud an event is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Level {
    /// For the record.
    #[default]
    Info,
    /// Wants a look.
    Warn,
    /// Wants a person.
    Alarm,
}

/// Something that happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EventRow {
    /// When.
    pub(crate) at: Micros,
    /// How loud.
    pub(crate) level: Level,
    /// What, in one line.
    pub(crate) text: String,
}

impl Snapshot {
    /// Returns what spend is called: it says which calls it is of.
    pub(crate) fn spend_label(&self) -> String {
        self.day.as_ref().map_or_else(|| "spend".to_owned(), |day| format!("spend {day}"))
    }

    /// Returns the sum of all agents' burn rates.
    #[must_use]
    pub(crate) fn burn_per_hour(&self) -> PicoUsd {
        self.agents.iter().map(|agent| agent.burn_per_hour).sum()
    }
}

/// Tells whether a budget's or hold's target (`agent_id=x`, `x`) stands for this agent alone.
fn targets_agent(target: &str, agent_id: &str) -> bool {
    !agent_id.is_empty() && target.strip_prefix("agent_id=").unwrap_or(target) == agent_id
}
