//! What a check of completeness asks of the lake: calls by slot, CloudTrail events without a call, and a lake that has no events at all.

#![cfg(test)]

use std::sync::Arc;

use arrow::array::BooleanArray;
use arrow::array::{ArrayRef, Decimal128Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, new_null_array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use sluice_aggregate::coverage::read::{EVIDENCE, Peculiar, calls, compare_trail, held, peculiar, trail_operations};
use sluice_aggregate::coverage::{Counts, Key, Known, Missing, Tokens};
use sluice_aggregate::dedup::stored_key;
use sluice_aggregate::query::{MEMORY_LIMIT, QueryEngine, TableFiles};
use sluice_schemas::time::{HOUR, MINUTE};
use sluice_schemas::{Micros, PicoUsd, tables};

const START: Micros = Micros(500_000 * HOUR);
const MODEL_ID: &str = "arn:aws:bedrock:us-east-1:1:inference-profile/us.model-a";

/// Rows of a table: the given columns, null elsewhere.
fn rows(schema: &SchemaRef, given: &[(&str, ArrayRef)]) -> RecordBatch {
    let count = given[0].1.len();
    let column = |field: &Arc<Field>| {
        let found = given.iter().find(|(name, _)| name == field.name());
        found.map_or_else(|| new_null_array(field.data_type(), count), |(_, column)| Arc::clone(column))
    };
    RecordBatch::try_new(Arc::clone(schema), schema.fields().iter().map(column).collect()).unwrap()
}

fn text(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn long(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

fn times(minutes: &[i64]) -> ArrayRef {
    let at = minutes.iter().map(|minute| START.0 + minute * MINUTE + 7).collect::<Vec<_>>();
    Arc::new(TimestampMicrosecondArray::from(at).with_timezone("UTC"))
}

/// Four calls: two that succeeded, one that failed, one that was throttled; and one of another model without a price.
fn call_rows() -> RecordBatch {
    let schema = tables::schema(tables::CALLS).unwrap();
    let cost = Decimal128Array::from(vec![Some(600), Some(400), Some(0), Some(0), None]).with_precision_and_scale(38, 12).unwrap();
    let zeros = long(&[0; 5]);
    rows(
        &schema,
        &[
            ("event_time", times(&[0, 1, 1, 2, 59])),
            ("request_id", text(&["a", "b", "c", "d", "e"])),
            ("account_id", text(&["1"; 5])),
            ("region", text(&["us-east-1"; 5])),
            ("model_id", text(&[MODEL_ID, MODEL_ID, MODEL_ID, MODEL_ID, "arn:aws:bedrock:us-east-1:1:provisioned-model/x"])),
            ("model", text(&["model-a", "model-a", "model-a", "model-a", "model-b"])),
            ("error_code", text(&["", "", "ValidationException", "ThrottlingException", ""])),
            ("input_tokens", long(&[10, 20, 0, 0, 7])),
            ("output_tokens", long(&[1, 2, 0, 0, 3])),
            ("cache_read_tokens", long(&[5, 0, 0, 0, 0])),
            ("cache_write_5m_tokens", long(&[3, 0, 0, 0, 0])),
            ("cache_write_1h_tokens", Arc::clone(&zeros)),
            ("cost_usd", Arc::new(cost)),
            ("cost_basis", text(&["exact", "lower_bound", "exact", "exact", "envelope"])),
            ("priced", Arc::new(BooleanArray::from(vec![true, true, true, true, false]))),
        ],
    )
}

fn evidence_rows(schema: &SchemaRef) -> RecordBatch {
    let tokens = |values: Vec<Option<i64>>| Arc::new(Int64Array::from(values)) as ArrayRef;
    rows(
        schema,
        &[
            ("event_time", times(&[0, 1, 30, 30, 40, 41, 42])),
            // The same call twice, one that failed, and an operation that is not logged.
            ("request_id", text(&["a", "b", "lost", "lost", "denied", "batch", ""])),
            ("event_source", text(&["bedrock.amazonaws.com"; 7])),
            ("event_name", text(&["Converse", "InvokeModel", "Converse", "Converse", "Converse", "CreateModelInvocationJob", "Converse"])),
            ("account_id", text(&["1"; 7])),
            ("region", text(&["us-east-1"; 7])),
            ("error_code", text(&["", "", "", "", "AccessDenied", "", ""])),
            ("model_id", text(&["us.model-a", "us.model-a", "us.model-a", "us.model-a", "us.model-a", "", "us.model-a"])),
            ("input_tokens", tokens(vec![None, Some(20), Some(9), Some(9), None, None, None])),
            ("output_tokens", tokens(vec![None, Some(2), Some(4), Some(4), None, None, None])),
        ],
    )
}

fn evidence_schema() -> SchemaRef {
    let text = ["request_id", "event_source", "event_name", "account_id", "region", "error_code", "model_id"];
    let mut fields = vec![Field::new("event_time", tables::timestamp(), true)];
    fields.extend(text.map(|name| Field::new(name, DataType::Utf8, true)));
    fields.extend(["input_tokens", "output_tokens"].map(|name| Field::new(name, DataType::Int64, true)));
    Arc::new(Schema::new(fields))
}

fn engine(with_evidence: bool) -> QueryEngine {
    let day = START.day();
    let mut live = vec![(tables::CALLS.to_owned(), day, call_rows())];
    let mut listed = Vec::new();
    if with_evidence {
        let schema = evidence_schema();
        live.push((EVIDENCE.to_owned(), day, evidence_rows(&schema)));
        listed.push(TableFiles { table: EVIDENCE.to_owned(), schema, files: Vec::new() });
    }
    QueryEngine::new(listed, live, MEMORY_LIMIT).unwrap()
}

fn key(model: &str) -> Key {
    Key { account_id: "1".to_owned(), region: "us-east-1".to_owned(), model: model.to_owned() }
}

#[test]
fn calls_come_by_slot_with_what_they_cost() {
    let read = calls(&engine(false), START, START.plus(HOUR), MINUTE).unwrap();
    let series = &read.sides[&key("model-a")];
    let first = Counts { calls: 1, failed: 0, tokens: Tokens::of([10, 1, 5, 3]) };
    assert_eq!(series[&START], first);
    assert_eq!(series[&START.plus(MINUTE)], Counts { calls: 1, failed: 1, tokens: Tokens::of([20, 2, 0, 0]) });
    assert_eq!(series[&START.plus(2 * MINUTE)], Counts::default());
    let paid = Known { calls: 2, tokens: Tokens::of([30, 3, 5, 3]), cost: PicoUsd(1_000) };
    assert_eq!((read.known[&key("model-a")], read.known[&key("model-b")]), (paid, Known::default()));
    assert_eq!(
        (read.model_of("us.model-a"), read.model_of(MODEL_ID), read.model_of("x")),
        (Some("model-a"), Some("model-a"), Some("model-b"))
    );
    assert_eq!(read.places.len(), 1);
    assert!(calls(&engine(false), START.plus(HOUR), START.plus(2 * HOUR), MINUTE).unwrap().sides.is_empty());
}

#[test]
fn an_event_without_a_call_is_missing_once() {
    let mut missing = Missing::default();
    let model = |id: &str, _: &str| id.trim_start_matches("us.").to_owned();
    assert_eq!(compare_trail(&engine(true), START, &model, &mut missing).unwrap(), 3);
    assert_eq!(missing.seen[&key("model-a")][&START].calls, 3);
    let lacking = Counts { calls: 1, failed: 0, tokens: Tokens::of([9, 4, 0, 0]) };
    assert_eq!(missing.lacking[&key("model-a")][&START], lacking);
    assert_eq!(missing.ids.iter().map(|call| call.request_id.as_str()).collect::<Vec<_>>(), ["lost"]);
    let operations = trail_operations(&engine(true), START, START.plus(HOUR)).unwrap().unwrap();
    let events = |name: &str| operations.iter().find(|seen| seen.event_name == name).unwrap().events;
    assert_eq!((events("Converse"), events("CreateModelInvocationJob")), (5, 1));
}

#[test]
fn a_lake_without_events_says_so() {
    assert_eq!(trail_operations(&engine(false), START, START.plus(HOUR)).unwrap(), None);
    assert_eq!(trail_operations(&engine(true), START.plus(HOUR), START.plus(2 * HOUR)).unwrap(), None);
    let mut missing = Missing::default();
    assert_eq!(compare_trail(&engine(false), START, &|id, _| id.to_owned(), &mut missing).unwrap(), 0);
}

#[test]
fn a_call_that_only_cloudtrail_tells_of_lacks_the_rest_of_its_tokens() {
    let engine = engine(false);
    assert_eq!(peculiar(&engine, START, START.plus(HOUR)).unwrap(), Peculiar { provisioned: 1, lower_bound: 1 });
    assert_eq!(peculiar(&engine, START.plus(HOUR), START.plus(2 * HOUR)).unwrap(), Peculiar::default());
    let held = held(&engine, START).unwrap();
    let key = |id: &str| stored_key("1", "us-east-1", id);
    let logged = Tokens::of([20, 2, 500, 0]);
    assert_eq!(held.lacks(key("a"), logged), None);
    assert_eq!(held.lacks(key("b"), logged), Some(Tokens::of([0, 0, 500, 0])));
    assert_eq!(held.lacks(key("elsewhere"), logged), Some(logged));
}
