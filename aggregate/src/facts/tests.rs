//! Tests of the rows made from calls.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Decimal128Type, Int32Type, Int64Type, TimestampMicrosecondType};
use proptest::prelude::*;
use sluice_schemas::position::{Sequence, Span};
use sluice_schemas::time::{DAY, SECOND};
use sluice_schemas::usage::GuardrailUnits;
use sluice_schemas::{AgentStatus, Extras, Position, Profile, Rank, RejectReason, Rejected, Relayed, Usage};

use super::*;

fn two_profiles() -> EnrichedBatch {
    let mut batch = Batch::default();
    let strings = &mut batch.strings;
    let owner = |strings: &mut sluice_schemas::StringTable, agent: &str, tags: &[(&str, &str)]| Owner {
        agent_id: strings.intern(agent),
        agent_rank: Rank::Chosen,
        agent_status: AgentStatus::Verified,
        tags: tags.iter().map(|(name, value)| (strings.intern(name), strings.intern(value))).collect(),
        ..Owner::default()
    };
    let owners = vec![owner(strings, "a", &[("stage", "prod"), ("x", "")]), owner(strings, "b", &[])];
    let error_code = strings.intern("ThrottlingException");
    batch.profiles.push(Profile { account_id: strings.intern("1"), ..Profile::default() });
    batch.profiles.push(Profile { account_id: strings.intern("2"), error_code, ..Profile::default() });
    EnrichedBatch { batch, owners, pricing: Vec::new() }
}

fn push(batch: &mut EnrichedBatch, time: i64, profile: u32, cost: Option<i128>) {
    let number = batch.pricing.len() as u128;
    batch.batch.invocations.push(Invocation {
        event_time: Micros(time),
        request_id: RequestId::Uuid(number),
        profile,
        usage: Usage { input: 10, output: 1, ..Usage::default() },
        basis: CostBasis::Exact,
        latency_ms: None,
        extras: None,
    });
    let status = if cost.is_some() { PriceStatus::Priced } else { PriceStatus::Unpriced };
    let cost = PicoUsd(cost.unwrap_or(0));
    let model = batch.batch.strings.intern("m");
    batch.pricing.push(Pricing { cost, cost_max: cost + cost, status, model, ..Pricing::default() });
}

fn texts(rows: &RecordBatch, name: &str) -> Vec<Option<String>> {
    let column = arrow::compute::cast(rows.column_by_name(name).unwrap(), &DataType::Utf8).unwrap();
    column.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect()
}

fn some(texts: &[&str]) -> Vec<Option<String>> {
    texts.iter().map(|text| Some((*text).to_owned())).collect()
}

#[test]
fn rows_have_the_columns_of_the_table() {
    let mut batch = two_profiles();
    push(&mut batch, 5, 0, Some(7));
    push(&mut batch, 6, 1, None);
    let (dt, rows) = call_rows(&batch, &[true, true], "file:x", Micros(9)).remove(0);
    assert_eq!(dt, 0);
    let names = |fields: &arrow::datatypes::Fields| fields.iter().map(|field| field.name().clone()).collect::<Vec<_>>();
    assert_eq!(names(rows.schema().fields()), names(tables::schema(tables::CALLS).unwrap().fields()));
    assert_eq!(texts(&rows, "agent_id"), some(&["a", "b"]));
    assert_eq!(texts(&rows, "account_id"), some(&["1", "2"]));
    assert_eq!(texts(&rows, "error_code"), [None, Some("ThrottlingException".to_owned())]);
    assert_eq!(texts(&rows, "model"), some(&["m", "m"]));
    assert_eq!(texts(&rows, "price_version"), [None, None]);
    assert_eq!(texts(&rows, "service_tier"), some(&["standard", "standard"]));
    assert_eq!(texts(&rows, "source"), some(&["file:x", "file:x"]));
    assert_eq!(texts(&rows, "request_id"), some(&["00000000-0000-0000-0000-000000000000", "00000000-0000-0000-0000-000000000001"]));
    let priced = rows.column_by_name("priced").unwrap().as_boolean();
    assert_eq!((priced.value(0), priced.value(1)), (true, false));
    let cost = rows.column_by_name("cost_max_usd").unwrap().as_primitive::<Decimal128Type>();
    assert_eq!(cost.values().to_vec(), [14, 0]);
    assert_eq!(cost.data_type(), &tables::MONEY);
    assert_eq!(rows.column_by_name("input_tokens").unwrap().as_primitive::<Int64Type>().values().to_vec(), [10, 10]);
    assert_eq!(rows.column_by_name("agent_rank").unwrap().as_primitive::<Int32Type>().values().to_vec(), [2, 2]);
    assert_eq!(rows.column_by_name("latency_ms").unwrap().null_count(), 2);
    assert!(matches!(rows.column_by_name("tags").unwrap().data_type(), DataType::Dictionary(..)));
    let own = with_own_tags(&rows).unwrap();
    assert_eq!(names(own.schema().fields()), names(rows.schema().fields()));
    let tags = own.column_by_name("tags").unwrap().as_map();
    assert!(tags.is_valid(0) && tags.is_null(1));
    assert_eq!(tags.keys().as_string::<i32>(), &StringArray::from(vec!["stage", "x"]));
    assert_eq!(tags.values().as_string::<i32>(), &StringArray::from(vec!["prod", ""]));
}

#[test]
fn extras_and_foreign_ids_are_kept() {
    let mut batch = two_profiles();
    push(&mut batch, 0, 0, Some(1));
    push(&mut batch, 0, 0, Some(1));
    let extras = Extras { images: 2, guardrail: GuardrailUnits { content: 3, ..GuardrailUnits::default() }, ..Extras::default() };
    batch.batch.extras.push(extras.clone());
    batch.batch.invocations[1].extras = Some(0);
    batch.batch.invocations[1].request_id = RequestId::Other(batch.batch.strings.intern("Id of another form"));
    let (_, rows) = call_rows(&batch, &[true, true], "", Micros(0)).remove(0);
    assert_eq!(texts(&rows, "request_id")[1].as_deref(), Some("Id of another form"));
    let stored = texts(&rows, "extras");
    assert_eq!(stored[0], None);
    assert_eq!(serde_json::from_str::<Extras>(stored[1].as_ref().unwrap()).unwrap(), extras);
}

#[test]
fn what_is_not_kept_is_not_there() {
    let mut batch = two_profiles();
    push(&mut batch, 0, 0, Some(1));
    push(&mut batch, 0, 7, Some(10));
    assert!(call_rows(&batch, &[false, false], "", Micros(0)).is_empty());
    assert!(call_rows(&batch, &[], "", Micros(0)).is_empty());
    // A call without a profile is passed over by rows and spend alike.
    assert_eq!(call_rows(&batch, &[true, true], "", Micros(0))[0].1.num_rows(), 1);
    assert_eq!(spend_deltas(&batch, &[true, true]).iter().map(|delta| delta.sums.cost.0).sum::<i128>(), 1);
}

#[test]
fn calls_of_workers_name_the_shard_the_worker_read() {
    let mut batch = two_profiles();
    for at in 0..5 {
        push(&mut batch, at, 0, Some(1));
    }
    let mut message = |shard: &str, calls| {
        let span = Span { shard: shard.to_owned(), from: None, to: Position::default() };
        let relayed = Relayed { worker: "w".to_owned(), span, last: true, calls, rejected: 0..0, control: 0, marks: Vec::new() };
        batch.batch.relayed.push(relayed);
    };
    message("kinesis:a", 0..2);
    message("kinesis:b", 2..2);
    message("kinesis:b", 2..3);
    message("kinesis:a", 3..4);
    let rows = call_rows(&batch, &[true, false, true, true, true], "kafka:relay/0", Micros(0));
    assert_eq!(texts(&rows[0].1, "source"), some(&["kinesis:a", "kinesis:b", "kinesis:a", "kafka:relay/0"]));
}

#[test]
fn rejected_records_are_kept_whole() {
    let mut batch = Batch::default();
    assert!(rejected_rows(&batch, "s", Micros(1)).is_none());
    batch.rejected.push(Rejected {
        offset: 77,
        sequence: Sequence::default(),
        reason: RejectReason::Missing { field: "requestId" },
        raw: b"{\xff}".to_vec(),
        cut: None,
    });
    let rows = rejected_rows(&batch, "s", Micros(1)).unwrap();
    assert_eq!(rows.schema(), tables::schema(tables::REJECTED).unwrap());
    assert_eq!(texts(&rows, "reason"), some(&["missing_field"]));
    assert_eq!(texts(&rows, "detail"), some(&["required field 'requestId' is missing"]));
    assert_eq!(rows.column_by_name("raw").unwrap().as_binary::<i32>().value(0), b"{\xff}");
    assert_eq!(rows.column_by_name("offset").unwrap().as_primitive::<Int64Type>().value(0), 77);
    assert_eq!(texts(&rows, "sha256")[0].as_ref().unwrap().len(), 64);
}

proptest! {
    #[test]
    fn rows_and_spend_hold_exactly_the_kept_calls(
        calls in prop::collection::vec((-3 * DAY..3 * DAY, 0_u32..2, prop::option::of(0_i128..1_000), any::<bool>()), 0..80)
    ) {
        let mut batch = two_profiles();
        for (time, profile, cost, _) in &calls {
            push(&mut batch, time / SECOND * SECOND, *profile, *cost);
        }
        let keep: Vec<bool> = calls.iter().map(|call| call.3).collect();
        let mut expected: BTreeMap<(i64, u32), (u64, i128, Micros)> = BTreeMap::new();
        for (call, pricing) in batch.batch.invocations.iter().zip(&batch.pricing).zip(&keep).filter(|(_, keep)| **keep).map(|(call, _)| call) {
            let of = expected.entry((call.event_time.floor(MINUTE).0, call.profile)).or_insert((0, 0, call.event_time));
            *of = (of.0 + 1, of.1 + pricing.cost.0, of.2.max(call.event_time));
        }
        let deltas = spend_deltas(&batch, &keep);
        let got = deltas.iter().map(|delta| ((delta.minute.0, delta.profile), (delta.sums.calls, delta.sums.cost.0, delta.last_event)));
        prop_assert_eq!(deltas.len(), expected.len());
        prop_assert_eq!(got.collect::<BTreeMap<_, _>>(), expected);
        let mut rows_seen = 0;
        for (dt, rows) in call_rows(&batch, &keep, "", Micros(0)) {
            rows_seen += rows.num_rows();
            let times = rows.column_by_name("event_time").unwrap().as_primitive::<TimestampMicrosecondType>();
            prop_assert!(times.values().iter().all(|time| Micros(*time).day() == dt));
        }
        prop_assert_eq!(rows_seen, keep.iter().filter(|keep| **keep).count());
    }

    #[test]
    fn ids_are_written_as_aws_writes_them(id in any::<u128>()) {
        let text = format!("{id:032x}");
        let hyphens = format!("{}-{}-{}-{}-{}", &text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]);
        prop_assert_eq!(uuid_text(id).to_vec(), hyphens.into_bytes());
    }
}
