//! People's orders and what follows for holds as budgets change.

use anyhow::Context;
use serde_json::{Value, json};
use sluice_enforce::hold::{self, Approved};
use sluice_enforce::reconcile_holds;
use sluice_schemas::Micros;

use super::Pipeline;
use crate::view::Level;

/// Returns the target that an agent named on the command line stands for.
pub(crate) fn agent_target(agent: &str) -> String {
    if agent.contains('=') { agent.to_owned() } else { format!("agent_id={agent}") }
}

impl Pipeline {
    pub(super) fn release(&mut self, id: &str, actor: &str, reason: &str) -> anyhow::Result<Value> {
        let now = self.settings.clock.now();
        let hold = hold::release(&*self.shared, id, actor, reason, now)?;
        self.live.event(now, Level::Info, format!("{actor} released the hold on {}", hold.target));
        self.ordered(&hold)
    }

    pub(super) fn pause(&mut self, agent: &str, actor: &str, reason: &str) -> anyhow::Result<Value> {
        let now = self.settings.clock.now();
        let hold = hold::pause(&*self.shared, &agent_target(agent), actor, reason, None, now)?;
        self.live.event(now, Level::Alarm, format!("{actor} paused {}", hold.target));
        self.ordered(&hold)
    }

    pub(super) fn unpause(&mut self, agent: &str, actor: &str, reason: &str) -> anyhow::Result<Value> {
        let now = self.settings.clock.now();
        let lifted = hold::resume(&*self.shared, &agent_target(agent), actor, reason, now)?;
        anyhow::ensure!(!lifted.is_empty(), "{agent} is not paused");
        self.live.event(now, Level::Info, format!("{actor} resumed {agent}"));
        self.ordered(&lifted)
    }

    pub(super) fn approve(&mut self, id: &str, actor: &str, reason: &str) -> anyhow::Result<Value> {
        let now = self.settings.clock.now();
        let budgets = std::sync::Arc::clone(self.ledger.budgets());
        let approved = hold::approve(&*self.shared, &budgets, id, actor, now)?;
        let note = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        self.live.event(now, Level::Info, format!("{actor} approved {id}{note}"));
        match approved {
            Approved::Hold(hold) => self.ordered(&hold),
            Approved::Budget(confirmation) => {
                let crossings = self.ledger.confirm(&confirmation.budget, now);
                for crossing in &crossings {
                    self.record_breach(crossing, now)?;
                }
                self.record_actions()?;
                Ok(json!({ "approved": confirmation.budget, "fired": crossings.len() }))
            }
        }
    }

    /// Lets the budgets act that people have confirmed in their present form.
    pub(super) fn confirm_known(&mut self) -> anyhow::Result<()> {
        let now = self.settings.clock.now();
        let waiting: Vec<String> = self.ledger.unconfirmed().map(str::to_owned).collect();
        if waiting.is_empty() {
            return Ok(());
        }
        for confirmation in self.shared.confirmations()? {
            let same = self.ledger.budgets().get(&confirmation.budget).is_some_and(|budget| budget.digest() == confirmation.digest);
            if same && waiting.contains(&confirmation.budget) {
                for crossing in self.ledger.confirm(&confirmation.budget, now) {
                    self.record_breach(&crossing, now)?;
                }
            }
        }
        Ok(())
    }

    /// Ends holds whose reason is gone, and puts back those whose reason came back (invariant C10).
    pub(super) fn reconcile(&mut self, now: Micros) -> anyhow::Result<()> {
        let holds = self.shared.holds()?;
        if holds.is_empty() {
            return Ok(());
        }
        let known: Vec<_> = self.ledger.overview().into_iter().chain(self.watch.overview()).collect();
        for change in reconcile_holds(&self.ledger.status_of_held(&holds, now), &known, &holds, now) {
            match hold::apply_change(&*self.shared, &change, now) {
                Ok(hold) => self.live.event(now, Level::Info, format!("hold on {}: {}", hold.target, change.change)),
                Err(error) => tracing::warn!(hold = change.id, %error, "hold could not be changed; tried again"),
            }
        }
        Ok(())
    }

    fn ordered<T: serde::Serialize>(&mut self, outcome: &T) -> anyhow::Result<Value> {
        self.record_actions()?;
        serde_json::to_value(outcome).context("answer")
    }
}
