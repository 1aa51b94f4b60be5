//! Writes messages to the program's log.

use super::{ActionError, done};
use crate::notice::{HoldNotice, Notice, Receiver, Severity};
use crate::store::Receipt;

/// One line a message. After a crash between the line and its receipt the line is repeated.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogAction;

impl Receiver for LogAction {
    fn name(&self) -> &str {
        "log"
    }

    fn tell(&self, notice: &Notice<'_>) -> Result<Receipt, ActionError> {
        match notice {
            Notice::Breach(breach) => {
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
            }
            Notice::Hold(hold) if notice.severity() > Severity::Info => tracing::warn!("{}", line(hold)),
            Notice::Hold(hold) => tracing::info!("{}", line(hold)),
            Notice::Breaker(breaker) => tracing::warn!(
                trip = %breaker.trip_id,
                state = breaker.state.as_str(),
                reason = %breaker.reason.escape_debug(),
                held_back = breaker.held_back.unwrap_or_default(),
                actor = %breaker.actor.escape_debug(),
                "{}",
                notice.title()
            ),
        }
        Ok(done(""))
    }

    fn most_at_once(&self) -> usize {
        1000
    }
}

fn line(hold: &HoldNotice) -> String {
    let by = hold.lever.zip(hold.subject.as_deref()).map(|(lever, subject)| format!(" by {lever} on {}", subject.escape_debug()));
    format!(
        "hold {} of {}: {}{}, {} ({})",
        hold.hold_id,
        hold.target.escape_debug(),
        hold.state.as_str(),
        by.unwrap_or_default(),
        hold.reason.escape_debug(),
        hold.actor.escape_debug()
    )
}
