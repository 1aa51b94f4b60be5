//! What goes in comes out, whatever else comes in is an error, and a second delivery counts nothing twice.

use std::collections::BTreeSet;

use proptest::prelude::*;
use sluice_schemas::position::{Positions, Sequence, Span};
use sluice_schemas::trail::{AssumedSession, Invoked, TrailEvent};
use sluice_schemas::usage::GuardrailUnits;
use sluice_schemas::{
    Batch, ControlMark, CostBasis, Extras, Invocation, Micros, Offloaded, Position, Profile, RejectReason, Rejected, RequestId,
    ServiceTier, Sym, Usage,
};

use super::worker::batches;
use super::{Admitted, MESSAGE_BYTES, Origin, Refused, RelayError, UNORDERED, decode, encode, upstream_key};
use crate::decode::Decoder;
use crate::piece::decode_piece;
use crate::source::{Payload, Piece, StreamRecord};

const ARRIVAL: Micros = Micros(1_800_000_000_000_000);

/// The rows of a test's ledger.
#[derive(Default)]
struct Rows(BTreeSet<(String, Sequence, u64, Vec<u8>)>);

impl Refused for Rows {
    type Error = std::convert::Infallible;

    fn is_known(&mut self, shard: &str, rejected: &Rejected) -> Result<bool, Self::Error> {
        Ok(self.0.contains(&(shard.to_owned(), rejected.sequence.clone(), rejected.offset, rejected.raw.clone())))
    }

    fn keep(&mut self, shard: &str, rejected: &Rejected) {
        self.0.insert((shard.to_owned(), rejected.sequence.clone(), rejected.offset, rejected.raw.clone()));
    }
}

fn admit(batch: &mut Batch, upstream: &mut Positions, rows: &mut Rows) -> Admitted {
    let Ok(admitted) = super::admit(batch, upstream, rows);
    admitted
}

fn origin() -> Origin {
    let at = |offset| Position { offset, ..Position::default() };
    let span = Span { shard: "kafka:c/raw/3".to_owned(), from: Some(at(5)), to: at(9) };
    Origin { worker: "worker-1".to_owned(), span, arrival: ARRIVAL, marks: Vec::new() }
}

/// Everything of a batch, its symbols and indexes resolved.
fn view(batch: &Batch) -> Vec<String> {
    let text = |sym| batch.strings.get(sym);
    let mut lines: Vec<String> = Vec::new();
    for (call, at) in batch.invocations.iter().zip(0..) {
        let bodies = batch.offloaded.iter().filter(|body| body.invocation == at).map(|body| (text(body.request), text(body.response)));
        let bodies: Vec<_> = bodies.collect();
        let profile = batch.profiles[call.profile as usize];
        let texts = [
            profile.account_id,
            profile.region,
            profile.inference_region,
            profile.operation,
            profile.model_id,
            profile.principal_arn,
            profile.error_code,
            profile.metadata,
        ];
        let id = match call.request_id {
            RequestId::Uuid(uuid) => format!("{uuid:x}"),
            RequestId::Other(sym) => format!("other {}", text(sym)),
        };
        let extras = call.extras.map(|at| &batch.extras[at as usize]);
        let rest = (call.event_time, call.usage, call.basis, call.latency_ms, profile.service_tier);
        lines.push(format!("{id} {:?} {rest:?} {extras:?} {bodies:?}", texts.map(text)));
    }
    lines.extend(batch.trail.iter().map(|event| format!("{event:?}")));
    lines.extend(batch.rejected.iter().map(|rejected| format!("{rejected:?}")));
    lines.push(format!("{} {}", batch.control, batch.bytes));
    lines
}

fn reasons() -> impl Strategy<Value = RejectReason> {
    prop_oneof![
        Just(RejectReason::NotJson),
        Just(RejectReason::Unbalanced),
        Just(RejectReason::UnknownKind),
        Just(RejectReason::CorruptGzip),
        Just(RejectReason::NotUtf8),
        any::<u32>().prop_map(|limit| RejectReason::TooDeep { limit }),
        Just(RejectReason::Missing { field: "requestId" }),
        Just(RejectReason::Malformed { field: "CloudTrail event" }),
        Just(RejectReason::Duplicate { field: "accountId" }),
        Just(RejectReason::OutOfRange { field: "input.inputTokenCount" }),
        "\\PC{0,9}".prop_map(|timestamp| RejectReason::Timestamp { timestamp }),
        (any::<u64>(), any::<u64>()).prop_map(|(bytes, limit)| RejectReason::TooLong { bytes, limit }),
        (any::<u64>(), any::<u64>()).prop_map(|(limit, ratio)| RejectReason::GzipBomb { limit, ratio }),
        "\\PC{0,9}".prop_map(|what| RejectReason::Foreign { what }),
        "\\PC{0,9}".prop_map(|what| RejectReason::ForeignRecord { what }),
        Just(RejectReason::CorruptAggregate { detail: "wrong checksum" }),
        "\\PC{0,9}".prop_map(|detail| RejectReason::DataGap { detail }),
        "\\PC{0,9}".prop_map(|message| RejectReason::Unreadable { message }),
    ]
}

fn rejects() -> impl Strategy<Value = Rejected> {
    let sequence = prop_oneof![Just(String::new()), "[1-9][0-9]{0,55}"];
    (any::<u64>(), sequence, reasons(), prop::collection::vec(any::<u8>(), 0..200)).prop_map(|(offset, sequence, reason, raw)| {
        let sequence = if sequence.is_empty() { Sequence::default() } else { Sequence::parse(&sequence).expect("a number") };
        Rejected { offset, sequence, reason, raw, cut: None }
    })
}

fn events() -> impl Strategy<Value = TrailEvent> {
    let text = || "\\PC{0,12}";
    let session = (text(), text(), prop::collection::vec((text(), text()), 0..3), prop::collection::vec(text(), 0..3)).prop_map(
        |(role_arn, access_key_id, tags, transitive_keys)| AssumedSession {
            role_arn,
            access_key_id,
            expires: Some(Micros(7)),
            tags,
            inherited: transitive_keys.iter().skip(1).cloned().collect(),
            transitive_keys,
            ..Default::default()
        },
    );
    (0..ARRIVAL.0, text(), text(), prop::option::of(any::<u64>()), prop::collection::vec(text(), 0..3), prop::option::of(session)).prop_map(
        |(time, event_id, inference_region, input_tokens, resources, assumed)| TrailEvent {
            event_time: Micros(time),
            event_name: event_id.to_uppercase(),
            event_id,
            inference_region,
            input_tokens,
            bearer_token: resources.len() == 1,
            invoked: (resources.len() == 2).then(|| Box::new(Invoked { session_id: resources.concat(), ..Invoked::default() })),
            resources,
            assumed: assumed.map(Box::new),
            ..TrailEvent::default()
        },
    )
}

/// A call: profile, whether its id is a text, tokens, extras.
type Call = (usize, Option<String>, u128, [u64; 5], Option<u32>, Option<u64>, i64);

fn calls() -> impl Strategy<Value = Call> {
    let tokens = prop::array::uniform5(0..=1_u64 << 40);
    let other = prop::option::weighted(0.2, "\\PC{1,12}");
    (0..4_usize, other, any::<u128>(), tokens, any::<Option<u32>>(), prop::option::weighted(0.2, 0..u64::from(u32::MAX)), 0..ARRIVAL.0)
}

fn batch(calls: Vec<Call>, texts: [String; 4], trail: Vec<TrailEvent>, rejected: Vec<Rejected>, control: u64) -> Batch {
    let mut batch = Batch { trail, rejected, control, bytes: 77, ..Batch::default() };
    batch.strings.intern("used by nobody");
    let tiers = [ServiceTier::Standard, ServiceTier::Flex, ServiceTier::Priority, ServiceTier::Reserved];
    for (text, service_tier) in texts.iter().zip(tiers) {
        let (account_id, metadata) = (batch.strings.intern("123456789012"), batch.strings.intern(text));
        batch.profiles.push(Profile { account_id, metadata, model_id: account_id, service_tier, ..Profile::default() });
    }
    for (profile, other, id, [input, output, cache_read, cache_write_5m, cache_write_1h], latency_ms, images, time) in calls {
        let extras = images.map(|images| {
            let guardrail = GuardrailUnits { word: images, ..GuardrailUnits::default() };
            batch.extras.push(Extras {
                images,
                image_width: images as u32,
                image_quality: "premium".to_owned(),
                guardrail,
                ..Extras::default()
            });
            batch.extras.len() as u32 - 1
        });
        if input % 3 == 0 {
            let (request, response) = (batch.strings.intern(&format!("s3://b/{input}")), Sym::EMPTY);
            batch.offloaded.push(Offloaded { invocation: batch.invocations.len() as u32, request, response });
        }
        batch.invocations.push(Invocation {
            event_time: Micros(time),
            request_id: other.map_or(RequestId::Uuid(id), |other| RequestId::Other(batch.strings.intern(&other))),
            profile: profile as u32,
            usage: Usage { input, output, cache_read, cache_write_5m, cache_write_1h },
            basis: if input % 2 == 0 { CostBasis::Exact } else { CostBasis::Envelope },
            latency_ms,
            extras,
        });
    }
    batch
}

fn any_batch() -> impl Strategy<Value = Batch> {
    let texts = prop::array::uniform4("\\PC{0,40}");
    let lists =
        (prop::collection::vec(calls(), 0..40), texts, prop::collection::vec(events(), 0..6), prop::collection::vec(rejects(), 0..6));
    (lists, 0..5_u64).prop_map(|((calls, texts, trail, rejected), control)| batch(calls, texts, trail, rejected, control))
}

/// Puts the right checksum on changed bytes, as only somebody who means it can.
fn reseal(message: &mut [u8]) {
    if let Some((head, body)) = message.split_at_mut_checked(16) {
        head[12..].copy_from_slice(&libdeflater::crc32(body).to_le_bytes());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn what_goes_in_comes_out(batch in any_batch(), limit in prop_oneof![Just(MESSAGE_BYTES), 6_000_usize..30_000]) {
        let messages = encode(&batch, &origin(), limit).expect("encoded");
        let mut out = Batch::default();
        for (at, message) in messages.iter().enumerate() {
            let read = decode(message).expect("decoded");
            let records = read.batch.invocations.len() + read.batch.trail.len() + read.batch.rejected.len();
            prop_assert!(message.len() <= limit || records == 1, "{} bytes of {limit}", message.len());
            prop_assert_eq!(read.last, at + 1 == messages.len());
            prop_assert_eq!(&read.origin, &origin());
            read.merge(&mut out);
        }
        // Of several messages the kinds come in another order than of one.
        let (mut got, mut expected) = (view(&out), view(&batch));
        got.sort();
        expected.sort();
        prop_assert_eq!(got, expected);
        prop_assert_eq!(out.relayed.iter().map(|relayed| relayed.rejected.len()).sum::<usize>(), batch.rejected.len());
    }

    #[test]
    fn merging_keeps_what_was_there(first in any_batch(), second in any_batch()) {
        let mut out = first.clone();
        for message in encode(&second, &origin(), MESSAGE_BYTES).expect("encoded") {
            decode(&message).expect("decoded").merge(&mut out);
        }
        let (mut got, mut expected) = (view(&out), [view(&first), view(&second)].concat());
        got.retain(|line| !line.ends_with(" 154"));
        expected.retain(|line| !line.ends_with(" 77"));
        got.sort();
        expected.sort();
        prop_assert_eq!(got, expected);
        let distinct: BTreeSet<String> = out.profiles.iter().map(|profile| format!("{profile:?}")).collect();
        prop_assert!(distinct.len() >= 4 && out.profiles.len() <= first.profiles.len() + 4);
    }

    #[test]
    fn damage_is_an_error(batch in any_batch(), at in any::<prop::sample::Index>(), bit in 0..8_u32, cut in any::<prop::sample::Index>()) {
        let message = encode(&batch, &origin(), MESSAGE_BYTES).expect("encoded").remove(0);
        let mut flipped = message.clone();
        flipped[at.index(message.len())] ^= 1 << bit;
        prop_assert!(decode(&flipped).is_err());
        prop_assert!(decode(&message[..cut.index(message.len())]).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    /// Whatever is changed, and the checksum made right: an error or a batch that holds together, never a panic.
    #[test]
    fn forged_messages_never_panic(batch in any_batch(), changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut message = encode(&batch, &origin(), MESSAGE_BYTES).expect("encoded").remove(0);
        for (at, byte) in changes {
            let at = at.index(message.len());
            message[at] = byte;
        }
        reseal(&mut message);
        if let Ok(read) = decode(&message) {
            let mut out = Batch::default();
            read.merge(&mut out);
            prop_assert!(!view(&out).is_empty());
            admit(&mut out, &mut Positions::new(), &mut Rows::default());
        }
    }
}

/// Every third byte of a message in turn, the checksum made right: an error or a batch, never a panic.
#[test]
fn no_single_byte_makes_it_panic() {
    let profile = (0, Some("an id".to_owned()), 0, [1, 2, 3, 4, 5], Some(6), Some(7), 8);
    let event = TrailEvent { resources: vec!["r".to_owned()], assumed: Some(Box::default()), ..TrailEvent::default() };
    let rejected = Rejected { offset: 1, sequence: Sequence::default(), reason: RejectReason::NotJson, raw: b"raw".to_vec(), cut: None };
    let texts = ["a", "b", "c", "d"].map(ToOwned::to_owned);
    let batch = batch(vec![profile.clone(), profile], texts, vec![event.clone(), event], vec![rejected], 2);
    let message = encode(&batch, &origin(), MESSAGE_BYTES).expect("encoded").remove(0);
    for at in (16..message.len()).step_by(3) {
        let mut forged = message.clone();
        forged[at] = [0, 1, 3, 0x7f, 0x80, 0xff][at % 6];
        reseal(&mut forged);
        if let Ok(read) = decode(&forged) {
            let mut out = Batch::default();
            read.merge(&mut out);
            assert!(!view(&out).is_empty());
        }
    }
}

#[test]
fn foreign_bytes_are_named() {
    assert!(matches!(decode(b""), Err(RelayError::Foreign)));
    assert!(matches!(decode(b"{\"a\":1}"), Err(RelayError::Foreign)));
    let mut message = encode(&Batch::default(), &origin(), MESSAGE_BYTES).expect("encoded").remove(0);
    message[8] = 9;
    assert_eq!(decode(&message).expect_err("a version").to_string(), "relay message of version 9; this program knows version 2");
}

#[test]
fn a_huge_refused_record_is_cut_and_nothing_else() {
    let rejected =
        Rejected { offset: 1, sequence: Sequence::default(), reason: RejectReason::NotJson, raw: vec![b'x'; 3_000_000], cut: None };
    let mut batch = batch(Vec::new(), Default::default(), Vec::new(), vec![rejected.clone(), rejected], 0);
    batch.rejected[1].raw.truncate(100_000);
    let messages = encode(&batch, &origin(), MESSAGE_BYTES).expect("encoded");
    assert!(messages.len() == 2 && messages.iter().all(|message| message.len() <= MESSAGE_BYTES));
    let raw = |at: usize| decode(&messages[at]).expect("decoded").batch.rejected[0].raw.len();
    assert!(raw(0) > 900_000 && raw(1) == 100_000);
}

fn stream_piece(records: Vec<StreamRecord>) -> Piece {
    let to = records.last().map(|record| record.offset + 1);
    Piece {
        accepts: None,
        shard: "kafka:c/relay/0".to_owned(),
        from: None,
        payload: Payload::Records(records),
        arrival: ARRIVAL,
        base_offset: 0,
        identity: String::new(),
        to,
        sequence: Sequence::default(),
        ended: false,
        source_bytes: 0,
    }
}

fn stream_record(offset: u64, data: Vec<u8>) -> StreamRecord {
    StreamRecord { offset, sequence: Sequence::default(), written: None, data }
}

#[test]
fn a_stream_may_hold_messages_beside_records() {
    let mut message =
        encode(&batch(Vec::new(), Default::default(), Vec::new(), Vec::new(), 3), &origin(), MESSAGE_BYTES).expect("encoded").remove(0);
    let whole = message.clone();
    message[30] ^= 1;
    let piece = stream_piece(vec![stream_record(0, whole), stream_record(1, b"nonsense".to_vec()), stream_record(2, message.clone())]);
    let mut out = Batch::default();
    let span = decode_piece(piece, &mut Decoder::new(), &mut out);
    assert_eq!((span.to.offset, out.control, out.relayed.len()), (3, 3, 1));
    let refused: Vec<_> = out.rejected.iter().map(|rejected| (rejected.offset, rejected.reason.code(), rejected.raw.len())).collect();
    assert_eq!(refused, [(1, "not_json", 8), (2, "corrupt_aggregate", message.len())]);
}

/// The n-th record upstream: a control message, a refused one, both several times, or a call.
fn upstream_record(number: u64) -> Vec<u8> {
    let permission = "Permissions are correctly set for Amazon Bedrock logs.";
    match number % 5 {
        0 => permission.to_owned(),
        1 => "nonsense".to_owned(),
        2 => format!("nonsense\n{permission}\nmore of it\n{permission}"),
        _ => format!(
            r#"{{"timestamp":"2026-10-01T00:00:00Z","accountId":"123456789012","region":"us-east-1","requestId":"10000000-0000-4000-8000-{number:012}","modelId":"m","input":{{"inputTokenCount":1}},"output":{{"outputTokenCount":1}},"identity":{{"arn":"a"}},"schemaType":"ModelInvocationLog","schemaVersion":"1.0"}}"#
        ),
    }
    .into_bytes()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Workers read stretches of any length and crash between any two messages; each begins where the last commit stands.
    #[test]
    fn a_second_delivery_counts_nothing_twice(
        runs in prop::collection::vec((1_u64..12, prop::option::weighted(0.4, 0_usize..3), prop_oneof![Just(300_usize), Just(2_000), Just(MESSAGE_BYTES)]), 1..25)
    ) {
        let (mut committed, mut lane) = (0_u64, Vec::new());
        let mut begun = false;
        for (count, crash, limit) in runs {
            let mut piece = stream_piece((committed..committed + count).map(|at| stream_record(at, upstream_record(at))).collect());
            piece.shard = "kafka:c/raw/0".to_owned();
            piece.from = begun.then(|| Position { offset: committed, ..Position::default() });
            let mut messages = Vec::new();
            for (batch, span, marks) in batches(piece, &mut Decoder::new(), limit) {
                let origin = Origin { worker: "w".to_owned(), span, arrival: ARRIVAL, marks };
                messages.extend(encode(&batch, &origin, MESSAGE_BYTES).expect("encoded"));
            }
            match crash {
                Some(published) => lane.extend(messages.into_iter().take(published)),
                None => {
                    lane.extend(messages);
                    (committed, begun) = (committed + count, true);
                }
            }
        }
        let (mut upstream, mut rows, mut ids, mut rejected, mut control) = (Positions::new(), Rows::default(), BTreeSet::new(), Vec::new(), 0);
        for (at, message) in lane.into_iter().enumerate() {
            let mut batch = Batch::default();
            decode_piece(stream_piece(vec![stream_record(at as u64, message)]), &mut Decoder::new(), &mut batch);
            let admitted = admit(&mut batch, &mut upstream, &mut rows);
            prop_assert!(admitted.gaps.is_empty());
            ids.extend(batch.invocations.iter().map(|call| match call.request_id { RequestId::Uuid(id) => id, RequestId::Other(Sym(_)) => 0 }));
            rejected.extend(batch.rejected.iter().map(|rejected| rejected.offset));
            control += batch.control;
        }
        let reached = upstream.get(&upstream_key("kafka:c/raw/0")).map_or(0, |position| position.offset);
        prop_assert!(reached >= committed);
        let count = |per: [u64; 5]| (0..reached).map(|at| per[(at % 5) as usize]).sum::<u64>();
        prop_assert_eq!(control, count([1, 0, 2, 0, 0]));
        prop_assert_eq!(rejected.len() as u64, count([0, 1, 2, 0, 0]));
        prop_assert!(rejected.is_sorted());
        prop_assert!(ids.len() as u64 >= count([0, 0, 0, 1, 1]));
    }
}

/// A Kinesis shard's position moves on with the time while nothing is written: that is no hole.
#[test]
fn idle_time_upstream_is_no_hole() {
    let at = |offset, number| Position { offset, sequence: Sequence::parse(number).expect("a number"), ..Position::default() };
    let mut upstream = Positions::from([(upstream_key("s"), at(1_000, "7"))]);
    let span = Span { shard: "s".to_owned(), from: Some(at(9_000, "7")), to: at(9_500, "8") };
    let rejected = |number| Rejected {
        offset: 0,
        sequence: Sequence::parse(number).expect("a number"),
        reason: RejectReason::NotJson,
        raw: Vec::new(),
        cut: None,
    };
    let mut batch = Batch { rejected: vec![rejected("7"), rejected("8")], ..Batch::default() };
    let relayed =
        sluice_schemas::Relayed { worker: "w".to_owned(), span, last: true, calls: 0..0, rejected: 0..2, control: 0, marks: Vec::new() };
    batch.relayed.push(relayed);
    let admitted = admit(&mut batch, &mut upstream, &mut Rows::default());
    assert_eq!((admitted.gaps.len(), admitted.repeated_rejected, batch.rejected.len()), (0, 1, 1));
    assert_eq!(batch.relayed[0].rejected, 0..1);
}

#[test]
fn a_hole_upstream_is_told() {
    let at = |offset| Position { offset, ..Position::default() };
    let mut upstream = Positions::from([(upstream_key("s"), at(10))]);
    let mut batch = Batch { control: 4, ..Batch::default() };
    let span = Span { shard: "s".to_owned(), from: Some(at(12)), to: at(20) };
    let marks = vec![ControlMark { offset: 13, sequence: Sequence::default(), count: 4 }];
    batch.relayed.push(sluice_schemas::Relayed {
        worker: "w".to_owned(),
        span,
        last: true,
        calls: 0..0,
        rejected: 0..0,
        control: 4,
        marks,
    });
    let admitted = admit(&mut batch, &mut upstream, &mut Rows::default());
    assert_eq!((admitted.gaps.len(), batch.control), (1, 4));
    assert_eq!((admitted.gaps[0].after.offset, admitted.gaps[0].before.offset), (10, 12));
    assert_eq!(upstream[&upstream_key("s")], at(20));
}

/// Batches that do not know their predecessors come in any order, any number of times, cut anywhere: each refused record once.
#[test]
fn unordered_batches_lose_and_double_no_refused_record() {
    let number = |at: u64| Sequence::parse(&(1_000 + at).to_string()).expect("a number");
    let message = |records: &[u64], last: bool| {
        let rejected =
            |at: &u64| Rejected { offset: 0, sequence: number(*at), reason: RejectReason::NotJson, raw: at.to_string().into(), cut: None };
        let rejected: Vec<Rejected> = records.iter().map(rejected).collect();
        let end = records.last().map(|at| number(*at)).expect("a record");
        let to = Position { sequence: end, identity: UNORDERED.to_owned(), ..Position::default() };
        let span = Span { shard: "s".to_owned(), from: None, to };
        let worker = "w".to_owned();
        let (calls, parts) = (0..0, 0..rejected.len());
        let relayed = sluice_schemas::Relayed { worker, span, last, calls, rejected: parts, control: 0, marks: Vec::new() };
        Batch { rejected, relayed: vec![relayed], ..Batch::default() }
    };
    let (mut upstream, mut rows, mut kept) = (Positions::new(), Rows::default(), Vec::new());
    // 4 to 6 overtake 1 to 3; 5 is handed in again with 4; 7 comes in a part of a batch that is published once more as a whole.
    for (records, last) in
        [(&[4, 6][..], true), (&[1, 3], true), (&[4, 5], true), (&[7], false), (&[7, 8], true), (&[2], true), (&[2], true)]
    {
        let mut batch = message(records, last);
        let admitted = admit(&mut batch, &mut upstream, &mut rows);
        assert!(admitted.gaps.is_empty());
        kept.extend(batch.rejected.iter().map(|rejected| String::from_utf8(rejected.raw.clone()).expect("a number")));
    }
    assert_eq!(kept, ["4", "6", "1", "3", "5", "7", "8", "2"]);
    assert_eq!(upstream[&upstream_key("s")].sequence, number(8));
}
