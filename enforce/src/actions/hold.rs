//! Puts a hold into the shared store. What pulls the permission reads it there.

use std::sync::Arc;

use super::{Action, ActionError, check_permit};
use crate::audit::inputs_of;
use crate::budget::ActionKind;
use crate::fire::Crossing;
use crate::guard::Scoping;
use crate::hold::{HoldPolicy, HoldState, Switches, decide_hold};
use crate::overrides::Overrides;
use crate::permit::CommitPermit;
use crate::reconcile::tripped;
use crate::store::{AuditEntry, Receipt, ReceiptState, SELF, SharedStore, StoreError};

/// Holds the target of a crossing, within the limits of caution.
pub struct HoldAction {
    store: Arc<dyn SharedStore>,
    policy: HoldPolicy,
    scoping: Scoping,
    nudge: Option<Arc<dyn Fn() + Send + Sync>>,
}

impl HoldAction {
    /// Returns the action; its holds only flag their targets.
    #[must_use]
    pub fn new(store: Arc<dyn SharedStore>, policy: HoldPolicy) -> Self {
        Self { store, policy, scoping: Scoping::default(), nudge: None }
    }

    /// Lets holds pull levers on what the target acts through.
    #[must_use]
    pub fn scoped(self, scoping: Scoping) -> Self {
        Self { scoping, ..self }
    }

    /// Calls this when a hold was put: what pulls levers need not wait for its next look.
    #[must_use]
    pub fn nudging(self, nudge: Option<Arc<dyn Fn() + Send + Sync>>) -> Self {
        Self { nudge, ..self }
    }

    fn switches(&self) -> Result<Switches, StoreError> {
        Ok(Switches {
            stopped: self.store.stopped()?,
            tripped: tripped(&*self.store)?.map(|tripped| tripped.reason),
            overrides: Overrides::read(&*self.store)?,
        })
    }
}

impl Action for HoldAction {
    fn name(&self) -> &str {
        "hold"
    }

    fn kind(&self) -> ActionKind {
        ActionKind::Hold
    }

    fn apply(&self, permit: &CommitPermit, fire: &Crossing) -> Result<Receipt, ActionError> {
        check_permit(permit, fire)?;
        let breach = &fire.breach;
        if let Some(hold) = self.store.hold(&breach.fire_id)? {
            // Put by an earlier try whose receipt was lost.
            let (state, detail) = match (hold.state, hold.note) {
                (HoldState::PendingApproval, note) => (ReceiptState::AwaitsApproval, note.unwrap_or_default()),
                (_, Some(note)) => (ReceiptState::Degraded, note),
                (_, None) => (ReceiptState::AlreadyDone, breach.fire_id.clone()),
            };
            return Ok(Receipt { state, detail });
        }
        let scope = self.scoping.of(&breach.target, breach.period_start);
        let decided = decide_hold((&self.policy, &self.scoping.protected), fire, &self.store.holds()?, &self.switches()?, scope);
        let receipt = Receipt { state: decided.state, detail: decided.detail };
        if let Some(hold) = decided.hold {
            let audit = AuditEntry {
                at: breach.detected_at,
                fire_id: breach.fire_id.clone(),
                action: "hold".to_owned(),
                target: hold.target.clone(),
                state: hold.state.to_string(),
                actor: SELF.to_owned(),
                detail: format!("budget '{}' at {} of {}", breach.budget, breach.threshold, breach.limit_usd),
                inputs: inputs_of(fire),
                ..AuditEntry::default()
            };
            self.store.put_hold(&hold, &audit)?;
            if let Some(nudge) = &self.nudge {
                nudge();
            }
        }
        Ok(receipt)
    }
}
