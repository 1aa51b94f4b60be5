//! An action that only notes what it was asked, and now and then fails as receivers do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use sluice_enforce::store::{Receipt, ReceiptState};
use sluice_enforce::{Action, ActionError, ActionKind, CommitPermit, Crossing, SharedStore};

use super::expect;

/// What the world has seen, over all processes.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// How often each fire took effect.
    pub(crate) effects: BTreeMap<String, u64>,
    /// How often it took effect and the answer was lost.
    pub(crate) lost: BTreeMap<String, u64>,
    /// Crossings that a commit has made true, ever.
    pub(crate) committed: BTreeSet<expect::Crossing>,
    asked: u64,
}

/// The action.
pub(crate) struct Recorder {
    pub(crate) seen: Arc<Mutex<Seen>>,
    pub(crate) shared: Arc<dyn SharedStore>,
}

impl Action for Recorder {
    fn name(&self) -> &str {
        "recorder"
    }

    fn kind(&self) -> ActionKind {
        ActionKind::Notify
    }

    fn apply(&self, permit: &CommitPermit, fire: &Crossing) -> Result<Receipt, ActionError> {
        let breach = &fire.breach;
        assert!(permit.covers(breach.epoch), "an effect of epoch {} under {permit:?} (C7)", breach.epoch);
        assert!(self.shared.fire(&breach.fire_id).unwrap().is_some(), "an effect of {} without a claim (C7)", breach.fire_id);
        let mut seen = self.seen.lock().unwrap();
        let crossing = (breach.budget.clone(), breach.target.clone(), breach.period.clone(), breach.threshold.clone());
        assert!(
            breach.budget == "hour" || seen.committed.contains(&crossing),
            "an effect of {crossing:?}, which no commit has made true (C7)"
        );
        seen.asked += 1;
        let unreachable = || ActionError::Unreachable { host: "test".to_owned(), detail: "as planned".to_owned() };
        if seen.asked.is_multiple_of(7) {
            return Err(unreachable());
        }
        *seen.effects.entry(breach.fire_id.clone()).or_default() += 1;
        if seen.asked.is_multiple_of(11) {
            *seen.lost.entry(breach.fire_id.clone()).or_default() += 1;
            return Err(unreachable());
        }
        Ok(Receipt { state: ReceiptState::Done, detail: String::new() })
    }
}
