//! Events as Lambda hands them over, and what is published of them.

use proptest::prelude::*;
use serde_json::json;
use sluice_schemas::position::Positions;
use sluice_schemas::{Batch, RejectReason, Rejected};

use super::*;
use crate::piece::decode_piece;
use crate::relay::worker::PublishError;
use crate::relay::{MESSAGE_BYTES, Refused, admit, upstream_key};

const NOW: Micros = Micros(1_800_000_000_000_000);
const LANE: &str = "kinesis:eu-central-1/111122223333/bedrock-logs/shardId-000000000006";

fn number(at: u64) -> String {
    format!("4959033827149025660855969253836157109592157598913658{at:04}")
}

fn record(at: u64, data: &[u8]) -> serde_json::Value {
    json!({
        "kinesis": {
            "kinesisSchemaVersion": "1.0", "partitionKey": "1", "sequenceNumber": number(at), "data": base64::encode(data),
            "approximateArrivalTimestamp": 1_545_084_650.987
        },
        "eventSource": "aws:kinesis", "eventVersion": "1.0", "eventName": "aws:kinesis:record",
        "eventID": format!("shardId-000000000006:{}", number(at)),
        "invokeIdentityArn": "arn:aws:iam::111122223333:role/lambda", "awsRegion": "eu-central-1",
        "eventSourceARN": "arn:aws:kinesis:eu-central-1:111122223333:stream/bedrock-logs"
    })
}

fn event(records: &[serde_json::Value]) -> Vec<u8> {
    json!({ "Records": records }).to_string().into_bytes()
}

fn call(id: u64) -> Vec<u8> {
    format!(
        r#"{{"timestamp":"2026-10-01T00:00:00Z","accountId":"111122223333","region":"eu-central-1","requestId":"00000000-0000-4000-8000-{id:012}","modelId":"m","input":{{"inputTokenCount":7}},"output":{{"outputTokenCount":1}},"identity":{{"arn":"arn:aws:iam::111122223333:user/u"}},"schemaType":"ModelInvocationLog","schemaVersion":"1.0"}}"#
    )
    .into_bytes()
}

fn function(limit: usize) -> Function {
    Function { name: "f".to_owned(), limit, decoder: Decoder::new() }
}

struct Rows(Vec<Rejected>);

impl Refused for Rows {
    type Error = std::convert::Infallible;

    fn is_known(&mut self, _: &str, rejected: &Rejected) -> Result<bool, Self::Error> {
        Ok(self.0.contains(rejected))
    }

    fn keep(&mut self, _: &str, rejected: &Rejected) {
        self.0.push(rejected.clone());
    }
}

/// What a ledger makes of messages: ids of calls, refused records.
fn ledger(messages: &[Vec<u8>]) -> (Vec<sluice_schemas::RequestId>, Vec<Rejected>, Positions) {
    let (mut rows, mut upstream, mut ids) = (Rows(Vec::new()), Positions::new(), Vec::new());
    for message in messages {
        let mut batch = Batch::default();
        let stream = StreamRecord { offset: 0, sequence: Sequence::parse("1").expect("a number"), written: None, data: message.clone() };
        decode_piece(piece("relay".to_owned(), vec![stream], NOW), &mut Decoder::new(), &mut batch);
        assert!(batch.relayed.iter().all(|relayed| relayed.span.shard == LANE && relayed.span.from.is_none()));
        let Ok(admitted) = admit(&mut batch, &mut upstream, &mut rows);
        assert!(admitted.gaps.is_empty());
        for call in batch.invocations {
            if !ids.contains(&call.request_id) {
                ids.push(call.request_id);
            }
        }
    }
    (ids, rows.0, upstream)
}

#[test]
fn an_event_becomes_messages() {
    let mut published = Vec::new();
    let records = [record(1, &call(1)), record(2, b"nonsense"), record(3, &call(3)), record(4, b"")];
    let (answer, tally) = function(MESSAGE_BYTES)
        .work(&event(&records), NOW, &mut |shard, messages| {
            assert_eq!(shard, LANE);
            published.extend_from_slice(messages);
            Ok(())
        })
        .expect("an event");
    assert_eq!((answer, tally.calls, tally.messages), (Answer::default(), 2, 1));
    let (ids, rows, upstream) = ledger(&published);
    assert_eq!((ids.len(), rows.len()), (2, 1));
    assert_eq!((&rows[0].reason, rows[0].sequence.as_str(), &rows[0].raw[..]), (&RejectReason::NotJson, &*number(2), &b"nonsense"[..]));
    let at = &upstream[&upstream_key(LANE)];
    assert_eq!((at.sequence.as_str(), at.offset, at.identity.as_str()), (&*number(4), 1_545_084_650_987, UNORDERED));
    assert_eq!(serde_json::to_string(&Answer::default()).expect("JSON"), r#"{"batchItemFailures":[]}"#);
}

#[test]
fn what_is_not_published_is_handed_in_again_from_there_on() {
    // Each record is a message of its own: of four the third is not taken.
    let records: Vec<_> = (1..=4).map(|at| if at == 2 { record(at, b"nonsense") } else { record(at, &call(at)) }).collect();
    let (mut published, puts) = (Vec::new(), std::cell::Cell::new(0));
    let mut publish = |_: &str, messages: &[Vec<u8>]| {
        puts.set(puts.get() + 1);
        if puts.get() == 3 {
            return Err(PublishError { resource: "r".to_owned(), problem: "down".to_owned(), class: ErrorClass::Transient });
        }
        published.extend_from_slice(messages);
        Ok(())
    };
    let mut function = function(1);
    let (answer, tally) = function.work(&event(&records), NOW, &mut publish).expect("an event");
    assert_eq!(serde_json::to_string(&answer).expect("JSON"), format!(r#"{{"batchItemFailures":[{{"itemIdentifier":"{}"}}]}}"#, number(3)));
    assert_eq!((tally.calls, puts.get()), (1, 3), "nothing behind the failure is published");
    // Lambda hands in from there; and as a whole, as after a time-out.
    for again in [&records[2..], &records[..]] {
        let (answer, _) = function.work(&event(again), NOW, &mut publish).expect("an event");
        assert_eq!(answer, Answer::default());
    }
    let (ids, rows, _) = ledger(&published);
    assert_eq!((ids.len(), rows.len()), (3, 1));
}

#[test]
fn damaged_base64_is_a_refused_record() {
    let mut damaged = record(7, b"");
    damaged["kinesis"]["data"] = json!("%%%");
    let mut published = Vec::new();
    let (answer, _) = function(MESSAGE_BYTES)
        .work(&event(&[damaged]), NOW, &mut |_, messages| {
            published.extend_from_slice(messages);
            Ok(())
        })
        .expect("an event");
    assert_eq!(answer, Answer::default());
    assert_eq!(ledger(&published).1[0].raw, b"%%%");
}

#[test]
fn other_events_are_no_success() {
    let mut publish = |_: &str, _: &[Vec<u8>]| Ok(());
    let nowhere = json!({"Records": [{"eventID": "x", "eventSourceARN": "", "kinesis": {"sequenceNumber": "1", "data": ""}}]});
    for event in [json!({"awslogs": {"data": ""}}), json!({"Records": [{"s3": {}}]}), json!([]), nowhere] {
        let error = function(1).work(event.to_string().as_bytes(), NOW, &mut publish).expect_err("no event of Kinesis");
        assert_eq!(error.class(), ErrorClass::Misconfigured);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    /// An event with bytes changed, cut or added is worked on or refused, never a panic; what it holds of records is published.
    #[test]
    fn no_bytes_make_it_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        length in any::<prop::sample::Index>(),
        whole in any::<bool>(),
    ) {
        let mut bytes = event(&[record(1, &call(1)), record(2, b"nonsense")]);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if !whole {
            bytes.truncate(length.index(bytes.len()));
        }
        let mut published = 0;
        let worked = function(MESSAGE_BYTES).work(&bytes, NOW, &mut |_, messages| {
            published += messages.len();
            Ok(())
        });
        if let Ok((answer, tally)) = worked {
            prop_assert_eq!(answer, Answer::default());
            prop_assert_eq!(tally.messages, published as u64);
        }
    }
}
