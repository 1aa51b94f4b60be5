//! Writes a crossing to the program's log.

use super::{Action, ActionError, check_permit, done};
use crate::budget::ActionKind;
use crate::fire::Crossing;
use crate::permit::CommitPermit;
use crate::store::Receipt;

/// One warning a crossing. After a crash between the line and its receipt the line is repeated.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogAction;

impl Action for LogAction {
    fn name(&self) -> &str {
        "log"
    }

    fn kind(&self) -> ActionKind {
        ActionKind::Notify
    }

    fn apply(&self, permit: &CommitPermit, fire: &Crossing) -> Result<Receipt, ActionError> {
        check_permit(permit, fire)?;
        let breach = &fire.breach;
        // Names come from callers: escaped, so that none can forge a line.
        tracing::warn!(
            fire_id = %breach.fire_id,
            budget = %breach.budget.escape_debug(),
            target = %breach.target.escape_debug(),
            period = %breach.period.escape_debug(),
            threshold = %breach.threshold,
            spent_usd = %breach.spent_usd,
            limit_usd = %breach.limit_usd,
            unpriced_calls = breach.unpriced_calls,
            event_time = %breach.event_time,
            actions = %breach.actions.join(","),
            mode = %breach.mode,
            note = breach.note.as_deref().unwrap_or_default(),
            "budget threshold crossed"
        );
        Ok(done(""))
    }
}
