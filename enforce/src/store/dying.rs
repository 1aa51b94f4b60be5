//! A store whose process is killed after a number of steps, before or after the step took effect.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sluice_schemas::Micros;

use super::records::{Record, RecordKind, Records};
use super::{AuditEntry, Claim, FireRecord, Receipt, SharedStore, StoreError};

/// Passes calls on until its budget of them is spent; then the process is dead.
pub(crate) struct Dying {
    inner: Arc<dyn SharedStore>,
    left: AtomicUsize,
}

impl Dying {
    /// Dies after `left` half steps.
    pub(crate) fn after(inner: Arc<dyn SharedStore>, left: usize) -> Self {
        Self { inner, left: AtomicUsize::new(left) }
    }

    fn alive(&self) -> Result<(), StoreError> {
        let spent = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_err();
        if spent { Err(StoreError::Corrupt { place: String::new(), detail: "killed".to_owned() }) } else { Ok(()) }
    }
}

macro_rules! pass_on {
    ($($name:ident($($arg:ident: $type:ty),*) -> $result:ty;)*) => {
        $(fn $name(&self, $($arg: $type),*) -> Result<$result, StoreError> {
            self.alive()?;
            let result = self.inner.$name($($arg),*)?;
            // Killed after the step: its answer is lost.
            self.alive()?;
            Ok(result)
        })*
    };
}

impl SharedStore for Dying {
    pass_on! {
        take_fence(owner: &str, now: Micros) -> u64;
        fence() -> u64;
        claim(record: &FireRecord) -> Claim;
        put_receipt(fire_id: &str, action: &str, receipt: &Receipt, audit: &AuditEntry) -> ();
        mark_done(fire_id: &str, at: Micros) -> ();
        fire(fire_id: &str) -> Option<FireRecord>;
        fires() -> Vec<FireRecord>;
        unfinished() -> Vec<FireRecord>;
        put_hold(hold: &crate::hold::Hold, audit: &AuditEntry) -> crate::hold::Hold;
        update_hold(hold: &crate::hold::Hold, audit: &AuditEntry) -> crate::hold::Hold;
        holds() -> Vec<crate::hold::Hold>;
        hold(id: &str) -> Option<crate::hold::Hold>;
        confirm(confirmation: &crate::store::Confirmation, audit: &AuditEntry) -> ();
        confirmations() -> Vec<crate::store::Confirmation>;
        submit(command: &crate::store::Command) -> crate::store::Command;
        open_commands() -> Vec<crate::store::Command>;
        answer(id: &str, outcome: &str, audit: &AuditEntry) -> ();
        set_stopped(stopped: bool, audit: &AuditEntry) -> ();
        stopped() -> bool;
        audit(entry: &AuditEntry) -> ();
        audit_trail(after: u64, most: usize) -> Vec<(u64, AuditEntry)>;
        audit_head() -> Option<crate::audit::Head>;
    }

    fn set_versions(&self, versions: crate::audit::Versions) {
        self.inner.set_versions(versions);
    }
}

impl Records for Dying {
    pass_on! {
        put_record(kind: RecordKind, id: &str, revision: u64, body: &serde_json::Value, audit: Option<&AuditEntry>) -> u64;
        remove_record(kind: RecordKind, id: &str, revision: u64, audit: Option<&AuditEntry>) -> ();
        record(kind: RecordKind, id: &str) -> Option<Record>;
        records(kind: RecordKind) -> Vec<Record>;
    }
}
