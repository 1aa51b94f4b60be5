//! Puts a filter before a receiver.

use std::sync::Arc;

use super::{ActionError, done};
use crate::notice::{Filter, Notice, Receiver};
use crate::store::Receipt;

/// A receiver that hears what passes a filter. What does not pass has its receipt, too, so nothing waits for it.
pub struct Filtered {
    receiver: Arc<dyn Receiver>,
    filter: Filter,
}

impl Filtered {
    /// Puts `filter` before `receiver`.
    #[must_use]
    pub fn new(receiver: Arc<dyn Receiver>, filter: Filter) -> Self {
        Self { receiver, filter }
    }

    fn no_result(&self) -> ActionError {
        ActionError::NoResult { receiver: self.receiver.name().to_owned() }
    }
}

impl Receiver for Filtered {
    fn name(&self) -> &str {
        self.receiver.name()
    }

    fn tell(&self, notice: &Notice<'_>) -> Result<Receipt, ActionError> {
        self.tell_all(std::slice::from_ref(notice)).pop().unwrap_or_else(|| Err(self.no_result()))
    }

    fn tell_all(&self, notices: &[Notice<'_>]) -> Vec<Result<Receipt, ActionError>> {
        let wanted = |notice: &Notice<'_>| self.filter.wants(notice) || self.receiver.needs(notice);
        let told: Vec<Notice<'_>> = notices.iter().filter(|notice| wanted(notice)).copied().collect();
        let mut results = if told.is_empty() { Vec::new() } else { self.receiver.tell_all(&told) }.into_iter();
        let result = |notice: &Notice<'_>| {
            if wanted(notice) { results.next().unwrap_or_else(|| Err(self.no_result())) } else { Ok(done("left out by its filter")) }
        };
        notices.iter().map(result).collect()
    }

    fn most_at_once(&self) -> usize {
        self.receiver.most_at_once()
    }

    fn lanes(&self) -> usize {
        self.receiver.lanes()
    }

    fn needs(&self, notice: &Notice<'_>) -> bool {
        self.receiver.needs(notice)
    }
}
