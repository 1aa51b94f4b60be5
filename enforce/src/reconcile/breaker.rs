//! The circuit breaker: after too many failures, or too many stops that people took off, nothing is pulled any more until a person says so.
//!
//! What stands stays, what is due to be lifted is lifted, and every breach is still told.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sluice_schemas::Micros;
use sluice_schemas::time::HOUR;

use crate::store::records::RecordKind;
use crate::store::{AuditEntry, SharedStore, StoreError};

/// Id of its row.
pub(super) const BREAKER: &str = "breaker";

/// Why and since when nothing is pulled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tripped {
    /// Since when.
    pub at: Micros,
    /// Why.
    pub reason: String,
}

/// When the breaker trips.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerLimits {
    /// Pulls that failed within an hour without one that succeeded between them.
    pub failures: u32,
    /// Stops that people took off within an hour.
    pub taken_off: u32,
}

impl Default for BreakerLimits {
    fn default() -> Self {
        Self { failures: 10, taken_off: 3 }
    }
}

/// Counts what went wrong.
#[derive(Debug, Default)]
pub struct Breaker {
    failed: VecDeque<Micros>,
    taken_off: VecDeque<Micros>,
}

impl Breaker {
    /// Notes a pull that no other try will make succeed.
    pub fn failed(&mut self, now: Micros, limits: &BreakerLimits) -> Option<Tripped> {
        note(&mut self.failed, now);
        let count = self.failed.len();
        (count >= limits.failures as usize).then(|| Tripped { at: now, reason: format!("{count} levers in a row could not be pulled") })
    }

    /// Notes a pull that succeeded.
    pub fn pulled(&mut self) {
        self.failed.clear();
    }

    /// Notes a stop that a person took off.
    pub fn taken_off(&mut self, now: Micros, limits: &BreakerLimits) -> Option<Tripped> {
        note(&mut self.taken_off, now);
        let count = self.taken_off.len();
        (count >= limits.taken_off as usize).then(|| Tripped { at: now, reason: format!("people took {count} stops off within an hour") })
    }

    /// Forgets everything: a person closed it.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

fn note(times: &mut VecDeque<Micros>, now: Micros) {
    times.push_back(now);
    while times.front().is_some_and(|at| at.0 <= now.0 - HOUR) {
        times.pop_front();
    }
}

/// Returns why nothing is pulled, if the breaker has tripped.
///
/// # Errors
/// Fails if the store does.
pub fn tripped(store: &dyn SharedStore) -> Result<Option<Tripped>, StoreError> {
    let Some(record) = store.record(RecordKind::Guard, BREAKER)? else { return Ok(None) };
    serde_json::from_value(record.body)
        .map_err(|error| StoreError::Corrupt { place: "the shared store".to_owned(), detail: format!("guard {BREAKER}: {error}") })
}

/// Closes the breaker on a person's word; `false` if it was closed.
///
/// # Errors
/// Fails if the store does.
pub fn close(store: &dyn SharedStore, actor: &str, reason: &str, now: Micros) -> Result<bool, StoreError> {
    let Some(record) = store.record(RecordKind::Guard, BREAKER)?.filter(|record| !record.body.is_null()) else { return Ok(false) };
    let audit = breaker_line("close", actor, reason, now);
    store.put_record(RecordKind::Guard, BREAKER, record.revision, &Value::Null, Some(&audit))?;
    Ok(true)
}

pub(super) fn breaker_line(action: &str, actor: &str, detail: &str, now: Micros) -> AuditEntry {
    AuditEntry {
        at: now,
        fire_id: BREAKER.to_owned(),
        action: format!("breaker:{action}"),
        target: "*".to_owned(),
        state: "done".to_owned(),
        actor: actor.to_owned(),
        detail: detail.to_owned(),
        ..AuditEntry::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_trip_and_a_success_between_does_not() {
        let limits = BreakerLimits { failures: 3, taken_off: 2 };
        let mut breaker = Breaker::default();
        assert_eq!(breaker.failed(Micros(0), &limits), None);
        assert_eq!(breaker.failed(Micros(1), &limits), None);
        breaker.pulled();
        assert_eq!(breaker.failed(Micros(2), &limits), None);
        assert_eq!(breaker.failed(Micros(3), &limits), None);
        assert!(breaker.failed(Micros(4), &limits).is_some_and(|tripped| tripped.reason.starts_with("3 levers")));
    }

    #[test]
    fn old_events_count_no_more() {
        let limits = BreakerLimits { failures: 9, taken_off: 2 };
        let mut breaker = Breaker::default();
        assert_eq!(breaker.taken_off(Micros(0), &limits), None);
        assert_eq!(breaker.taken_off(Micros(HOUR), &limits), None);
        assert!(breaker.taken_off(Micros(HOUR + 1), &limits).is_some());
    }
}
