//! Tests of turning a piece into records.

use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;

use super::*;

fn gz(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn record(id: u32) -> String {
    format!(
        "{{\"schemaType\":\"ModelInvocationLog\",\"schemaVersion\":\"1.0\",\"timestamp\":\"2024-01-01T00:00:00Z\",\
         \"accountId\":\"111122223333\",\"identity\":{{\"arn\":\"arn:aws:iam::111122223333:role/bot\"}},\"region\":\"us-east-1\",\
         \"requestId\":\"00000000-0000-4000-8000-{id:012x}\",\"operation\":\"Converse\",\"modelId\":\"anthropic.claude-v2\",\
         \"input\":{{\"inputTokenCount\":1}},\"output\":{{\"outputTokenCount\":7}}}}"
    )
}

fn decode(payload: Payload, base_offset: u64, to: Option<u64>) -> (Batch, Span) {
    let from = Some(Position { offset: base_offset, identity: "1:00".to_owned(), ..Position::default() });
    let piece = Piece {
        accepts: None,
        shard: "file:/a".to_owned(),
        from,
        payload,
        arrival: Micros(1_800_000_000_000_000),
        base_offset,
        identity: "1:00".to_owned(),
        to,
        sequence: Sequence::default(),
        ended: to.is_none(),
        source_bytes: 0,
    };
    let mut batch = Batch::default();
    let span = decode_piece(piece, &mut Decoder::new(), &mut batch);
    (batch, span)
}

#[test]
fn lines_keep_the_position_their_source_gave() {
    let text = format!("{}\nno record\n{}", record(1), record(2));
    let (batch, span) = decode(Payload::Lines(text.clone().into_bytes()), 500, Some(777));
    assert_eq!((batch.invocations.len(), batch.bytes), (2, text.len() as u64));
    assert_eq!(batch.rejected[0].offset, 500 + record(1).len() as u64 + 1);
    assert_eq!((span.shard.as_str(), span.to.offset, span.to.ended), ("file:/a", 777, false));
    assert_eq!(span.from.unwrap().offset, 500);
}

#[test]
fn a_compressed_file_ends_where_it_inflates_to() {
    let text = format!("{}\n{}\n", record(1), record(2));
    let (batch, span) = decode(Payload::Gzip(gz(text.as_bytes())), 0, None);
    assert_eq!((batch.invocations.len(), batch.rejected.len()), (2, 0));
    assert_eq!((span.to.offset, span.to.ended), (text.len() as u64, true));
    let (batch, span) = decode(Payload::Gzip(gz(b"")), 0, None);
    assert_eq!((batch.invocations.len(), batch.rejected.len(), span.to.offset), (0, 0, 0));
}

#[test]
fn a_torn_last_line_is_refused_and_stays_ahead() {
    let text = format!("{}\n{}", record(1), &record(2)[..50]);
    let (batch, span) = decode(Payload::Gzip(gz(text.as_bytes())), 0, None);
    assert_eq!((batch.invocations.len(), batch.rejected.len()), (1, 1));
    assert_eq!(span.to.offset, record(1).len() as u64 + 1);
}

#[test]
fn what_is_refused_and_what_is_unreadable() {
    let refused = Payload::Refused { reason: RejectReason::CorruptGzip, raw: b"raw".to_vec() };
    let (batch, span) = decode(refused, 9, Some(9));
    assert_eq!(
        batch.rejected,
        [Rejected { offset: 9, sequence: Sequence::default(), reason: RejectReason::CorruptGzip, raw: b"raw".to_vec(), cut: None }]
    );
    assert_eq!((batch.bytes, span.to.offset), (0, 9));
    let (batch, _) = decode(Payload::Unreadable("input/output error".to_owned()), 9, Some(9));
    assert_eq!(batch.rejected[0].reason, RejectReason::Unreadable { message: "input/output error".to_owned() });
}

#[test]
fn damage_is_named_once_and_costs_only_what_is_behind_it() {
    let lines: String = (0..2000).map(|id| record(id) + "\n").collect();
    let whole = [gz(lines.as_bytes()), gz(record(9999).as_bytes())].concat();
    // The last four bytes state a size.
    let mut lying = whole.clone();
    let at = lying.len() - 1;
    lying[at] ^= 1;
    let (batch, span) = decode(Payload::Gzip(lying), 0, None);
    assert_eq!((batch.invocations.len(), batch.rejected.len()), (2000, 1), "the good member counts, the bad one does not");
    assert_eq!((batch.rejected[0].offset, span.to.offset), (lines.len() as u64, lines.len() as u64));
    assert_eq!((batch.rejected[0].raw.len(), &batch.rejected[0].reason), (RAW_KEPT.min(whole.len()), &RejectReason::CorruptGzip));
    let (batch, _) = decode(Payload::Gzip(b"\x1f\x8b but not more".to_vec()), 0, None);
    assert_eq!((batch.invocations.len(), batch.rejected.len()), (0, 1));
}

const RAW_KEPT: usize = 64 << 10;

#[test]
fn documents_damaged_or_not() {
    let pretty = format!("{{\n \"Records\": [\n  {}\n ]\n}}\n", record(1));
    let (batch, span) = decode(Payload::Gzip(gz(pretty.as_bytes())), 0, None);
    assert_eq!((batch.invocations.len(), batch.rejected.len(), span.to.offset), (1, 0, pretty.len() as u64));
    let whole = gz(pretty.as_bytes());
    let (batch, span) = decode(Payload::Gzip(whole[..whole.len() - 3].to_vec()), 0, None);
    assert_eq!((batch.invocations.len(), batch.rejected.len()), (1, 1), "all of it is there, only its checksum is not");
    assert_eq!(span.to.offset, pretty.len() as u64);
    let (batch, _) = decode(Payload::Gzip(whole[..whole.len() - 30].to_vec()), 0, None);
    assert_eq!((batch.invocations.len(), batch.rejected.len()), (0, 1));
    assert_eq!(batch.rejected[0].reason, RejectReason::CorruptGzip);
}

#[test]
fn objects_without_newlines_are_kept_up_to_a_tear() {
    let text = [record(1), record(2), record(3)[..70].to_owned()].concat();
    let (batch, span) = decode(Payload::Gzip(gz(text.as_bytes())), 0, None);
    assert_eq!((batch.invocations.len(), batch.rejected.len()), (2, 1));
    assert_eq!(span.to.offset, 2 * record(1).len() as u64);
}

#[test]
fn stream_records_are_told_apart_by_their_numbers() {
    let record = |number: &str, data: Vec<u8>| StreamRecord { offset: 0, sequence: Sequence::parse(number).unwrap(), written: None, data };
    let records = vec![
        record("101", record_line(1)),
        record("102", gz(format!("{}\nnot json\n{}\n", self::record(2), self::record(3)).as_bytes())),
        record("103", b"\x1f\x8b\x08 damaged".to_vec()),
        record("104", record_line(4)),
    ];
    let (batch, span) = decode(Payload::Records(records), 0, Some(0));
    assert_eq!(batch.invocations.len(), 4);
    let refused: Vec<_> = batch.rejected.iter().map(|rejected| (rejected.sequence.as_str(), rejected.reason.code())).collect();
    assert_eq!(refused, [("102", "not_json"), ("103", "corrupt_gzip")]);
    assert!(batch.rejected[0].offset > 0, "the place within the record");
    assert_eq!(span.to.offset, 0);
}

fn record_line(id: u32) -> Vec<u8> {
    record(id).into_bytes()
}

#[cfg(feature = "aws")]
#[test]
fn aggregated_records_come_apart_and_are_placed_by_number() {
    let record = |number: &str, data: Vec<u8>| StreamRecord { offset: 0, sequence: Sequence::parse(number).unwrap(), written: None, data };
    let lines = format!("{}\nnot json\n", self::record(3));
    let sound = kpl::tests::aggregate(&[&record_line(1), &gz(&record_line(2)), b"no", lines.as_bytes()]);
    let mut damaged = kpl::tests::aggregate(&[&record_line(4)]);
    damaged[9] ^= 1;
    let records = vec![record("7", sound), record("8", damaged.clone()), record("9", record_line(5))];
    let (batch, _) = decode(Payload::Records(records), 0, Some(0));
    assert_eq!(batch.invocations.len(), 4);
    let refused: Vec<_> =
        batch.rejected.iter().map(|rejected| (rejected.sequence.as_str(), rejected.offset, rejected.reason.code())).collect();
    let second_line = (3 << 32) + self::record(3).len() as u64 + 1;
    assert_eq!(refused, [("7", 2 << 32, "not_json"), ("7", second_line, "not_json"), ("8", 0, "corrupt_aggregate")]);
    assert_eq!(batch.rejected[2].raw, damaged, "kept whole");
}
