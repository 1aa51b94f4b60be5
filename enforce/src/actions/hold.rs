//! Puts a hold into the shared store. What pulls the permission reads it there.

use std::sync::Arc;

use super::{Action, ActionError, check_permit};
use crate::audit::inputs_of;
use crate::budget::ActionKind;
use crate::fire::Crossing;
use crate::hold::{HoldDecision, HoldPolicy, decide_hold};
use crate::permit::CommitPermit;
use crate::store::{AuditEntry, Receipt, ReceiptState, SELF, SharedStore};

/// Holds the target of a crossing, within the limits of caution.
pub struct HoldAction {
    store: Arc<dyn SharedStore>,
    policy: HoldPolicy,
}

impl HoldAction {
    /// Returns the action.
    #[must_use]
    pub fn new(store: Arc<dyn SharedStore>, policy: HoldPolicy) -> Self {
        Self { store, policy }
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
        let fire_id = &fire.breach.fire_id;
        if self.store.hold(fire_id)?.is_some() {
            return Ok(Receipt { state: ReceiptState::AlreadyDone, detail: fire_id.clone() });
        }
        let holds = self.store.holds()?;
        match decide_hold(&self.policy, fire, &holds, self.store.stopped()?) {
            HoldDecision::Degrade(reason) => Ok(Receipt { state: ReceiptState::Degraded, detail: reason.to_owned() }),
            HoldDecision::Put(hold) => {
                let audit = AuditEntry {
                    at: fire.breach.detected_at,
                    fire_id: fire_id.clone(),
                    action: "hold".to_owned(),
                    target: hold.target.clone(),
                    state: hold.state.to_string(),
                    actor: SELF.to_owned(),
                    detail: format!("budget '{}' at {} of {}", fire.breach.budget, fire.breach.threshold, fire.breach.limit_usd),
                    inputs: inputs_of(fire),
                    ..AuditEntry::default()
                };
                self.store.put_hold(&hold, &audit)?;
                Ok(Receipt { state: ReceiptState::Done, detail: fire_id.clone() })
            }
        }
    }
}
