//! CloudTrail events and spans as rows of `evidence`, and read back.
//!
//! Owns: the form of the rows, which of them an hour of event time holds. Does not own: what an event says about a call.

mod metered;
mod read;
mod rows;
#[cfg(test)]
mod tests;

pub use metered::metered_of_hour;
pub use read::{
    Hour, event_keys_of_hour, events, events_of_hour, events_of_requests, for_each_event_key, for_each_event_since, for_each_request,
};
pub use rows::{Kinds, evidence_rows};

use sluice_schemas::trail::TrailEvent;

use crate::dedup::{parse_uuid, stored_key, text_key};

/// The key that dedups an event, from its id.
#[must_use]
pub fn event_key(event_id: &str) -> u128 {
    parse_uuid(event_id).unwrap_or_else(|| text_key(event_id))
}

/// The key of the call that an event tells of: the one a call of that account, region and request id has.
#[must_use]
pub fn request_key(event: &TrailEvent) -> u128 {
    stored_key(&event.account_id, &event.region, &event.request_id)
}
