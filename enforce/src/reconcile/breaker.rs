//! The circuit breaker: after too many failures, or too many stops that people took off, nothing is pulled any more until a person says so.
//!
//! What stands stays, what is due to be lifted is lifted, and every breach is still told.

use std::collections::VecDeque;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sluice_schemas::Micros;
use sluice_schemas::time::HOUR;

use crate::store::records::RecordKind;
use crate::store::{AuditEntry, SharedStore, StoreError};

/// Id of its row.
pub(super) const BREAKER: &str = "breaker";
/// Id of the row that says who closed it last.
const CLOSED: &str = "breaker-closed";

/// Why and since when nothing is pulled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tripped {
    /// Since when.
    pub at: Micros,
    /// Why.
    pub reason: String,
}

/// Who closed it, and what had tripped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    /// What they closed.
    pub tripped: Tripped,
    /// When.
    pub at: Micros,
    /// Who.
    pub actor: String,
    /// Why.
    pub reason: String,
}

/// A change of the breaker that a turn found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It has tripped.
    Tripped {
        /// Why and when.
        tripped: Tripped,
        /// Ids of the holds in force whose stop is not pulled.
        held_back: Vec<String>,
    },
    /// Somebody closed it.
    Closed(Closed),
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
    Ok(read::<Option<Tripped>>(store, BREAKER)?.flatten())
}

/// Returns how it was closed last.
///
/// # Errors
/// Fails if the store does.
pub fn closed(store: &dyn SharedStore) -> Result<Option<Closed>, StoreError> {
    read(store, CLOSED)
}

fn read<T: DeserializeOwned>(store: &dyn SharedStore, id: &str) -> Result<Option<T>, StoreError> {
    let Some(record) = store.record(RecordKind::Guard, id)? else { return Ok(None) };
    let corrupt = |error| StoreError::Corrupt { place: "the shared store".to_owned(), detail: format!("guard {id}: {error}") };
    serde_json::from_value(record.body).map(Some).map_err(corrupt)
}

/// Closes the breaker on a person's word; `false` if it was closed.
///
/// # Errors
/// Fails if the store does.
pub fn close(store: &dyn SharedStore, actor: &str, reason: &str, now: Micros) -> Result<bool, StoreError> {
    let Some(record) = store.record(RecordKind::Guard, BREAKER)?.filter(|record| !record.body.is_null()) else { return Ok(false) };
    if let Some(tripped) = tripped(store)? {
        // First, so that whoever finds it closed finds by whom.
        let closed = Closed { tripped, at: now, actor: actor.to_owned(), reason: reason.to_owned() };
        let before = store.record(RecordKind::Guard, CLOSED)?.map_or(0, |record| record.revision);
        store.put_record(RecordKind::Guard, CLOSED, before, &serde_json::to_value(&closed).unwrap_or(Value::Null), None)?;
    }
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
