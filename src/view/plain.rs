//! The view as lines for logs and pipes: every event at once, the state of things every two seconds.

use std::cmp::Reverse;
use std::io::{self, Write};

use sluice_schemas::time::SECOND;
use sluice_schemas::visible::escape;
use sluice_schemas::{AgentStatus, Micros};

use super::format::{clock, count, lag, money, percent, short_count, span};
use super::{BudgetState, EventRow, Level, Snapshot};

/// Microseconds between two blocks.
const EVERY: i64 = 2 * SECOND;
/// Agents in a block.
const AGENTS: usize = 3;

/// Prints a run as it goes.
#[derive(Clone, Debug, Default)]
pub(crate) struct PlainLines {
    printed: Option<Micros>,
    seen: Vec<EventRow>,
}

impl PlainLines {
    /// Prints the events that are new, and a block when one is due; nothing when neither is.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub(crate) fn update(&mut self, snapshot: &Snapshot, out: &mut dyn Write) -> io::Result<()> {
        for event in self.unseen(&snapshot.events) {
            let mark = match event.level {
                Level::Info => " ",
                Level::Warn => "!",
                Level::Alarm => "!!",
            };
            writeln!(out, "{} {mark:>2} {}", clock(event.at), escape(&event.text))?;
        }
        self.seen.clone_from(&snapshot.events);
        if self.printed.is_none_or(|printed| snapshot.at.0 - printed.0 >= EVERY) {
            self.printed = Some(snapshot.at);
            block(snapshot, out)?;
        }
        out.flush()
    }

    /// Returns the events behind the ones already printed. Both lists are windows on one sequence, so the longest end of
    /// the old one that begins the new one is what they share.
    fn unseen<'a>(&self, events: &'a [EventRow]) -> &'a [EventRow] {
        let longest = self.seen.len().min(events.len());
        let shared = (0..=longest).rev().find(|&shared| self.seen[self.seen.len() - shared..] == events[..shared]);
        &events[shared.unwrap_or(0)..]
    }
}

fn block(snapshot: &Snapshot, out: &mut dyn Write) -> io::Result<()> {
    let totals = &snapshot.totals;
    write!(
        out,
        "{}    up {}  {} {}  burn {}/h  calls {}  rate {}/s  lag {}",
        clock(snapshot.at),
        span(snapshot.started, snapshot.at),
        snapshot.spend_label(),
        money(totals.cost),
        money(snapshot.burn_per_hour()),
        count(totals.facts),
        count(totals.events_per_s),
        lag(totals.lag_ms),
    )?;
    let unusual = [
        ("duplicates", totals.duplicates),
        ("rejected", totals.rejected),
        ("unpriced", totals.unpriced),
        ("spoofed", totals.spoofed),
        ("late", totals.late),
    ];
    for (name, number) in unusual.into_iter().filter(|(_, number)| *number > 0) {
        write!(out, "  {name} {}", count(number))?;
    }
    writeln!(out)?;

    let mut agents: Vec<_> = snapshot.agents.iter().collect();
    agents.sort_by_key(|agent| (Reverse(agent.cost), agent.agent_id.as_str()));
    if !agents.is_empty() {
        write!(out, "            top")?;
        for agent in agents.iter().take(AGENTS) {
            let mark = match agent.status {
                AgentStatus::Spoofed => " FAKE",
                AgentStatus::Unattributed | AgentStatus::Unverified | AgentStatus::Verified => "",
            };
            write!(out, "  {}{mark} {} ({} calls)", escape(&agent.agent_id), money(agent.cost), short_count(agent.calls))?;
        }
        if agents.len() > AGENTS {
            write!(out, "  and {} more", count((agents.len() - AGENTS) as u64))?;
        }
        writeln!(out)?;
    }
    let mut budgets: Vec<_> = snapshot.budgets.iter().filter(|budget| budget.state != BudgetState::Ok).collect();
    budgets.sort_by_key(|budget| (Reverse(budget.state), Reverse(budget.percent_millis)));
    for budget in budgets.iter().take(AGENTS) {
        let state = match budget.state {
            BudgetState::Ok => "ok",
            BudgetState::Warned => "warned",
            BudgetState::Breached => "breached",
            BudgetState::Held => "held",
        };
        let (name, target) = (escape(&budget.budget), escape(&budget.target));
        let (spent, limit) = (money(budget.spent), budget.limit.shown(2));
        writeln!(out, "            budget {state}: {name} [{target}] {spent} of {limit} ({})", percent(budget.percent_millis))?;
    }
    Ok(())
}
