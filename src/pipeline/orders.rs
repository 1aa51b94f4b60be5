//! People's orders and what follows for holds as budgets change.

use serde_json::{Value, json};
use sluice_enforce::hold;
use sluice_enforce::overrides::Overrides;
use sluice_enforce::reconcile_holds;
use sluice_schemas::Micros;
use sluice_schemas::time::DAY;

use super::Pipeline;
use crate::control::Request;
use crate::enforcement::{agent_target, carry_out};
use crate::view::Level;

impl Pipeline {
    /// Carries out what a person orders about holds, levers and exceptions.
    pub(super) fn follow_order(&mut self, order: Request) -> anyhow::Result<Value> {
        let now = self.settings.clock.now();
        let scope = match &order {
            Request::Pause { agent, .. } => self.scoping.of(&agent_target(agent), now.plus(-DAY)),
            _ => Default::default(),
        };
        let budgets = std::sync::Arc::clone(self.ledger.budgets());
        let outcome = carry_out(&*self.shared, &budgets, &order, scope, now)?;
        if let Some(told) = outcome.told {
            self.live.event(now, outcome.level, told);
        }
        let mut value = outcome.value;
        if let Some(budget) = outcome.confirmed {
            let crossings = self.ledger.confirm(&budget, now);
            for crossing in &crossings {
                self.record_breach(crossing, now)?;
            }
            value = json!({ "approved": budget, "fired": crossings.len() });
        }
        if outcome.changes {
            self.record_actions()?;
            self.nudge();
        }
        Ok(value)
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
        self.tell_waiting(&holds, now);
        let overrides = Overrides::read(&*self.shared)?;
        let status = self.ledger.status_of_held(&holds, now);
        self.watch_overshoot(&holds, &status, now);
        let known: Vec<_> = self.ledger.overview().into_iter().chain(self.watch.overview()).collect();
        let changes = reconcile_holds(&status, &known, &holds, &overrides, now);
        let changed = !changes.is_empty();
        for change in changes {
            match hold::apply_change(&*self.shared, &change, now) {
                Ok(hold) => self.live.event(now, Level::Info, format!("hold on {}: {}", hold.target, change.change)),
                Err(error) => tracing::warn!(hold = change.id, %error, "hold could not be changed; tried again"),
            }
        }
        if changed {
            self.nudge();
        }
        Ok(())
    }
}
