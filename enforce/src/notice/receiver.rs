//! Who is told, and who wants which messages.

use std::sync::Arc;

use super::{Notice, Severity};
use crate::actions::ActionError;
use crate::store::Receipt;

/// Someone who is told.
///
/// Telling is at least once: after a lost answer the same message, with the same id, is told again.
pub trait Receiver: Send + Sync {
    /// Returns its name, unique among the configured ones and stable over restarts. It holds no secret.
    fn name(&self) -> &str;

    /// Tells one message.
    ///
    /// # Errors
    /// Returns what failed; [`ActionError::class`] tells whether to try again.
    fn tell(&self, notice: &Notice<'_>) -> Result<Receipt, ActionError>;

    /// Tells up to [`Receiver::most_at_once`] messages; one result for each, in their order.
    fn tell_all(&self, notices: &[Notice<'_>]) -> Vec<Result<Receipt, ActionError>> {
        notices.iter().map(|notice| self.tell(notice)).collect()
    }

    /// Returns how many messages one call carries.
    fn most_at_once(&self) -> usize {
        1
    }

    /// Returns how many calls may be under way at a time.
    fn lanes(&self) -> usize {
        1
    }

    /// Tells whether it has to be told even if its filter says otherwise: it keeps something open until then.
    fn needs(&self, _notice: &Notice<'_>) -> bool {
        false
    }
}

impl<R: Receiver + ?Sized> Receiver for Arc<R> {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn tell(&self, notice: &Notice<'_>) -> Result<Receipt, ActionError> {
        (**self).tell(notice)
    }

    fn tell_all(&self, notices: &[Notice<'_>]) -> Vec<Result<Receipt, ActionError>> {
        (**self).tell_all(notices)
    }

    fn most_at_once(&self) -> usize {
        (**self).most_at_once()
    }

    fn lanes(&self) -> usize {
        (**self).lanes()
    }

    fn needs(&self, notice: &Notice<'_>) -> bool {
        (**self).needs(notice)
    }
}

/// Who wants which messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The least grave that is told.
    pub least: Severity,
    /// Agents, a final `*` stands for any rest; all when empty. A target without an agent matches none.
    pub agents: Vec<String>,
    /// Teams, likewise.
    pub teams: Vec<String>,
}

impl Default for Filter {
    fn default() -> Self {
        Self { least: Severity::Info, agents: Vec::new(), teams: Vec::new() }
    }
}

impl Filter {
    /// Tells whether a message passes.
    #[must_use]
    pub fn wants(&self, notice: &Notice<'_>) -> bool {
        let named = |patterns: &[String], value: Option<String>| {
            let matches =
                |pattern: &String, value: &str| pattern.strip_suffix('*').map_or(pattern == value, |start| value.starts_with(start));
            patterns.is_empty() || value.is_some_and(|value| patterns.iter().any(|pattern| matches(pattern, &value)))
        };
        notice.severity() >= self.least && named(&self.agents, notice.dimension("agent_id")) && named(&self.teams, notice.dimension("team"))
    }
}
