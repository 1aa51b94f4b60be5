//! A person's name taken out of the lake: everything is settled first, then one table after the other is edited, and local state is made again.
//!
//! The audit trail and its table stay: their lines are sealed by hashes, and what was done to whom has to be provable. A command that was
//! cut off is given again with the alias it told: it finds what is left.

use anyhow::bail;
use sluice_aggregate::forget::Person;
use sluice_aggregate::lake::RedactReport;
use sluice_enforce::store::AuditEntry;
use sluice_schemas::{Micros, tables};

use super::Pipeline;

/// Who wants it, and why.
#[derive(Clone, Debug)]
pub(crate) struct ForgetOrder {
    pub(crate) actor: String,
    pub(crate) reason: String,
}

impl Pipeline {
    /// Takes a name out of every table, or counts where it stands if nobody orders it; returns what became of each table that has it.
    pub(crate) fn forget(&mut self, person: &mut Person, order: Option<&ForgetOrder>) -> anyhow::Result<Vec<(String, RedactReport)>> {
        let now = self.settings.clock.now();
        if let Some(hold) = self.shared.holds()?.into_iter().find(|hold| hold.is_open() && person.is_named_in(&hold.target)) {
            bail!("hold {} is in force on {}: release it first, or nobody could tell any more whom it stops", hold.id, hold.target);
        }
        self.settle_all()?;
        self.commit_lake()?;
        if let Some(order) = order {
            self.shared.audit(&line(person, order, now))?;
            // Its counters go by name. Without it the next process makes them again from the lake.
            self.local.clear()?;
        }
        // Calls first: tables that name no principal are told by the requests of its calls.
        let mut names = self.lake.tables();
        names.retain(|table| table != tables::ACTIONS);
        names.sort_by_key(|table| table != tables::CALLS);
        let mut found = Vec::new();
        for table in names {
            let edited = self.lake.redact(&table, &mut |schema, columns| person.edit(schema, columns), order.is_none(), now)?;
            if edited != RedactReport::default() {
                found.push((table, edited));
            }
        }
        Ok(found)
    }
}

fn line(person: &Person, order: &ForgetOrder, now: Micros) -> AuditEntry {
    AuditEntry {
        at: now,
        fire_id: person.alias().to_owned(),
        action: "forget".to_owned(),
        // The name itself would be remembered by this line.
        target: person.alias().to_owned(),
        state: "done".to_owned(),
        actor: order.actor.clone(),
        detail: order.reason.clone(),
        ..AuditEntry::default()
    }
}
