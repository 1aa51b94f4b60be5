//! Events as rows. Most texts of an event repeat, so those columns are dictionaries.

use std::hash::BuildHasher;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, DictionaryArray, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Field, Int32Type, Schema};
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use serde::Serialize;
use sluice_schemas::trail::TrailEvent;
use sluice_schemas::{Micros, tables};

use crate::facts::times;

/// Returns rows of `evidence` for the events whose bit in `keep` is set, split by event date.
#[must_use]
pub fn evidence_rows(events: &[TrailEvent], keep: &[bool], source: &str, ingest_time: Micros) -> Vec<(i32, RecordBatch)> {
    let mut days: Vec<(i32, Vec<&TrailEvent>)> = Vec::new();
    for (event, _) in events.iter().zip(keep).filter(|(_, keep)| **keep) {
        let day = event.event_time.day();
        match days.iter_mut().find(|(known, _)| *known == day) {
            Some((_, events)) => events.push(event),
            None => days.push((day, vec![event])),
        }
    }
    days.into_iter().filter_map(|(day, events)| Some((day, day_rows(&events, source, ingest_time)?))).collect()
}

fn day_rows(events: &[&TrailEvent], source: &str, ingest_time: Micros) -> Option<RecordBatch> {
    let schema = tables::schema(tables::EVIDENCE)?;
    let (keys, kinds) = kinds_of(events);
    let count = |of: fn(&TrailEvent) -> Option<u64>| -> ArrayRef {
        Arc::new(events.iter().map(|event| of(event).and_then(|count| i64::try_from(count).ok())).collect::<Int64Array>())
    };
    let own = |of: fn(&TrailEvent) -> &str| -> ArrayRef {
        Arc::new(events.iter().map(|event| Some(of(event)).filter(|text| !text.is_empty())).collect::<StringArray>())
    };
    let json =
        |of: fn(&TrailEvent) -> Option<String>| -> ArrayRef { Arc::new(events.iter().map(|event| of(event)).collect::<StringArray>()) };
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
    let mut fields: Vec<Field> = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let column = match field.name().as_str() {
            "event_time" => times(events.iter().map(|event| event.event_time)),
            "ingest_time" => times(std::iter::repeat_n(ingest_time, events.len())),
            "event_id" => own(|event| &event.event_id),
            "request_id" => own(|event| &event.request_id),
            "assumed" => json(|event| event.assumed.as_ref().and_then(to_json)),
            "invoked" => json(|event| event.invoked.as_ref().and_then(to_json)),
            "bearer_token" => Arc::new(events.iter().map(|event| Some(event.bearer_token)).collect::<BooleanArray>()),
            "input_tokens" => count(|event| event.input_tokens),
            "output_tokens" => count(|event| event.output_tokens),
            "source" => repeated(&keys, kinds.iter().map(|_| source))?,
            name => {
                let of = repeated_text(name)?;
                repeated(&keys, kinds.iter().map(|event| of(event)))?
            }
        };
        fields.push(Field::new(field.name(), column.data_type().clone(), true));
        columns.push(column);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).ok()
}

/// A struct of texts as JSON: serialising it to memory cannot fail.
fn to_json<T: Serialize>(value: &T) -> Option<String> {
    serde_json::to_string(value).ok()
}

/// Returns the field of an event by the name of its column; `None` for a column that is no repeated text.
fn repeated_text(name: &str) -> Option<fn(&TrailEvent) -> &str> {
    Some(match name {
        "event_source" => |event| &event.event_source,
        "event_name" => |event| &event.event_name,
        "account_id" => |event| &event.account_id,
        "region" => |event| &event.region,
        "error_code" => |event| &event.error_code,
        "identity_type" => |event| &event.identity_type,
        "principal_arn" => |event| &event.principal_arn,
        "principal_id" => |event| &event.principal_id,
        "access_key_id" => |event| &event.access_key_id,
        "issuer_arn" => |event| &event.issuer_arn,
        "source_identity" => |event| &event.source_identity,
        "credentials_issued_to" => |event| &event.credentials_issued_to,
        "invoked_by" => |event| &event.invoked_by,
        "user_agent" => |event| &event.user_agent,
        "model_id" => |event| &event.model_id,
        "inference_region" => |event| &event.inference_region,
        "resource_arn" => |event| event.resources.first().map_or("", String::as_str),
        _ => return None,
    })
}

/// Sorts events into kinds that share every repeated text; returns the kind of each, and one event of each kind.
fn kinds_of<'a>(events: &[&'a TrailEvent]) -> (Int32Array, Vec<&'a TrailEvent>) {
    let texts = tables::EVIDENCE_TEXTS.map(repeated_text);
    let of = |event: &'a TrailEvent| texts.map(|of| of.map_or("", |of| of(event)));
    let mut kinds: Vec<&TrailEvent> = Vec::new();
    let mut places: HashTable<u32> = HashTable::new();
    let hasher = FixedState::default();
    let keys: Vec<i32> = (events.iter())
        .map(|event| {
            let (own, hash) = (of(event), hasher.hash_one(of(event)));
            let known = places.find(hash, |place| kinds.get(*place as usize).is_some_and(|kind| of(kind) == own)).copied();
            let place = known.unwrap_or_else(|| {
                kinds.push(event);
                let place = kinds.len() as u32 - 1;
                let hashed = |place: &u32| kinds.get(*place as usize).map_or(0, |kind| hasher.hash_one(of(kind)));
                places.insert_unique(hash, place, hashed);
                place
            });
            place.cast_signed()
        })
        .collect();
    (Int32Array::from(keys), kinds)
}

/// A column whose texts are those of the kinds of events; null for the empty one.
fn repeated<'a>(keys: &Int32Array, texts: impl Iterator<Item = &'a str>) -> Option<ArrayRef> {
    let texts: ArrayRef = Arc::new(texts.map(|text| Some(text).filter(|text| !text.is_empty())).collect::<StringArray>());
    Some(Arc::new(DictionaryArray::<Int32Type>::try_new(keys.clone(), texts).ok()?))
}
