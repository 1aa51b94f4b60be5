//! Events as rows. Most texts of an event repeat, so those columns are dictionaries.

use std::hash::BuildHasher;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, DictionaryArray, Int32Array, Int64Array, RecordBatch, StringArray, StringBuilder};
use arrow::datatypes::{Field, Int32Type, Schema};
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use serde::Serialize;
use sluice_schemas::trail::TrailEvent;
use sluice_schemas::{Micros, tables};

use crate::facts::{constant, times};

/// Which events share every repeated text, and their caller with it.
#[derive(Clone, Debug, Default)]
pub struct Kinds {
    of: Vec<u32>,
    /// An event of each kind, by its place.
    first: Vec<usize>,
}

impl Kinds {
    /// Sorts events into kinds.
    #[must_use]
    pub fn of(events: &[TrailEvent]) -> Self {
        let hasher = FixedState::default();
        // Few texts tell nearly all kinds apart; the rest is compared.
        let hash = |event: &TrailEvent| {
            hasher.hash_one((&event.access_key_id, &event.principal_id, &event.event_name, &event.model_id, &event.user_agent))
        };
        let mut first: Vec<usize> = Vec::new();
        let mut places: HashTable<(u64, u32)> = HashTable::new();
        let sort = |(at, event): (usize, &TrailEvent)| {
            let hash = hash(event);
            let is = |(known, kind): &(u64, u32)| {
                *known == hash && first.get(*kind as usize).and_then(|at| events.get(*at)).is_some_and(|kind| is_alike(kind, event))
            };
            if let Some((_, kind)) = places.find(hash, is) {
                return *kind;
            }
            let kind = first.len() as u32;
            first.push(at);
            places.insert_unique(hash, (hash, kind), |(hash, _)| *hash);
            kind
        };
        Self { of: events.iter().enumerate().map(sort).collect(), first }
    }

    /// Returns the kind of each event.
    #[must_use]
    pub fn of_events(&self) -> &[u32] {
        &self.of
    }

    /// Returns how many kinds there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.first.len()
    }

    /// Tells whether there are no events.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.first.is_empty()
    }
}

/// Tells whether two events share every repeated text, and whether a Bedrock API key was used.
fn is_alike(one: &TrailEvent, other: &TrailEvent) -> bool {
    one.bearer_token == other.bearer_token && REPEATED.iter().all(|(_, of)| of(one) == of(other))
}

/// A new event that becomes a row, and its kind.
type Row<'a> = (&'a TrailEvent, u32);

/// Returns rows of `evidence` for the events whose bit in `keep` is set, split by event date. `kinds` are those of the events.
#[must_use]
pub fn evidence_rows(events: &[TrailEvent], kinds: &Kinds, keep: &[bool], source: &str, ingest_time: Micros) -> Vec<(i32, RecordBatch)> {
    let mut days: Vec<(i32, Vec<Row<'_>>)> = Vec::new();
    for ((event, kind), _) in events.iter().zip(&kinds.of).zip(keep).filter(|(_, keep)| **keep) {
        let day = event.event_time.day();
        match days.iter_mut().find(|(known, _)| *known == day) {
            Some((_, rows)) => rows.push((event, *kind)),
            None => days.push((day, vec![(event, *kind)])),
        }
    }
    let kinds: Vec<&TrailEvent> = kinds.first.iter().filter_map(|at| events.get(*at)).collect();
    days.into_iter().filter_map(|(day, rows)| Some((day, day_rows(&rows, &kinds, source, ingest_time)?))).collect()
}

fn day_rows(rows: &[Row<'_>], kinds: &[&TrailEvent], source: &str, ingest_time: Micros) -> Option<RecordBatch> {
    let schema = tables::schema(tables::EVIDENCE)?;
    let keys: Int32Array = rows.iter().map(|(_, kind)| kind.cast_signed()).collect::<Vec<_>>().into();
    let count = |of: fn(&TrailEvent) -> Option<u64>| -> ArrayRef {
        Arc::new(rows.iter().map(|(event, _)| of(event).and_then(|count| i64::try_from(count).ok())).collect::<Int64Array>())
    };
    let own = |of: fn(&TrailEvent) -> &str| -> ArrayRef { texts(rows.iter().map(|(event, _)| of(event))) };
    let json = |of: fn(&TrailEvent) -> Option<String>| -> ArrayRef {
        let texts: Vec<Option<String>> = rows.iter().map(|(event, _)| of(event)).collect();
        if texts.iter().all(Option::is_none) {
            return Arc::new(StringArray::new_null(rows.len()));
        }
        Arc::new(StringArray::from(texts))
    };
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
    let mut fields: Vec<Field> = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let column = match field.name().as_str() {
            "event_time" => times(rows.iter().map(|(event, _)| event.event_time)),
            "ingest_time" => times(std::iter::repeat_n(ingest_time, rows.len())),
            "event_id" => own(|event| &event.event_id),
            "request_id" => own(|event| &event.request_id),
            "assumed" => json(|event| event.assumed.as_ref().and_then(to_json)),
            "invoked" => json(|event| event.invoked.as_ref().and_then(to_json)),
            "bearer_token" => Arc::new(rows.iter().map(|(event, _)| Some(event.bearer_token)).collect::<BooleanArray>()),
            "input_tokens" => count(|event| event.input_tokens),
            "output_tokens" => count(|event| event.output_tokens),
            "source" => constant(source, rows.len()),
            name => {
                let (_, of) = REPEATED.iter().find(|(known, _)| *known == name)?;
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

/// Reads a column's text of an event.
type TextOf = fn(&TrailEvent) -> &str;

/// Columns of texts that many events share.
const REPEATED: [(&str, TextOf); 17] = [
    ("access_key_id", |event| &event.access_key_id),
    ("principal_id", |event| &event.principal_id),
    ("principal_arn", |event| &event.principal_arn),
    ("model_id", |event| &event.model_id),
    ("event_name", |event| &event.event_name),
    ("event_source", |event| &event.event_source),
    ("account_id", |event| &event.account_id),
    ("region", |event| &event.region),
    ("error_code", |event| &event.error_code),
    ("identity_type", |event| &event.identity_type),
    ("issuer_arn", |event| &event.issuer_arn),
    ("source_identity", |event| &event.source_identity),
    ("credentials_issued_to", |event| &event.credentials_issued_to),
    ("invoked_by", |event| &event.invoked_by),
    ("user_agent", |event| &event.user_agent),
    ("inference_region", |event| &event.inference_region),
    ("resource_arn", |event| event.resources.first().map_or("", String::as_str)),
];

/// A column whose texts are those of the kinds of events; null for the empty one.
fn repeated<'a>(keys: &Int32Array, of_kinds: impl ExactSizeIterator<Item = &'a str> + Clone) -> Option<ArrayRef> {
    Some(Arc::new(DictionaryArray::<Int32Type>::try_new(keys.clone(), texts(of_kinds)).ok()?))
}

/// Texts one after the other, in memory that is asked for once; null for the empty one.
fn texts<'a>(texts: impl ExactSizeIterator<Item = &'a str> + Clone) -> ArrayRef {
    let bytes = texts.clone().map(str::len).sum();
    if bytes == 0 {
        return Arc::new(StringArray::new_null(texts.len()));
    }
    let mut column = StringBuilder::with_capacity(texts.len(), bytes);
    texts.for_each(|text| column.append_option(Some(text).filter(|text| !text.is_empty())));
    Arc::new(column.finish())
}
