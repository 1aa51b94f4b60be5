//! Pieces of objects: whole ones, large ones, damaged ones, and those that an earlier run left half-read.

use std::io::{self, Cursor, Write};
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use sluice_schemas::{Batch, Position, RejectReason};

use super::{Bytes, Lane, Reading};
use crate::decode::Decoder;
use crate::piece::decode_piece;
use crate::source::{Payload, Piece};

fn lane(known: Option<&Position>) -> Lane {
    Lane::new("s3:b/k".to_owned(), "e:1".to_owned(), known)
}

fn call(id: u32) -> String {
    format!(
        r#"{{"schemaType":"ModelInvocationLog","timestamp":"2026-10-01T00:00:00Z","accountId":"1","region":"r","requestId":"{id:08x}-0000-0000-0000-000000000000","operation":"Converse","modelId":"m","input":{{"inputTokenCount":1}},"output":{{"outputTokenCount":1}}}}"#
    )
}

fn calls(count: u32) -> Vec<u8> {
    (0..count).flat_map(|id| (call(id) + "\n").into_bytes()).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

/// Reads to the end; checks that the pieces chain and that only the last one ends the shard.
fn drain(mut reading: Reading, mut known: Option<Position>) -> (Vec<Piece>, Batch, Position) {
    let (mut pieces, mut batch, mut decoder) = (Vec::new(), Batch::default(), Decoder::new());
    while let Some(mut piece) = reading.next().expect("memory") {
        piece.arrival = sluice_schemas::Micros::parse_utc(b"2026-10-02T00:00:00Z").expect("a time");
        assert_eq!(piece.from, known, "each piece starts where the one before it ended");
        assert!(!known.is_some_and(|known| known.ended), "nothing follows the end");
        let span = decode_piece(piece.clone(), &mut decoder, &mut batch);
        known = Some(span.to);
        pieces.push(piece);
    }
    let last = known.expect("a piece");
    assert!(last.ended);
    (pieces, batch, last)
}

fn large(bytes: Vec<u8>, known: Option<&Position>) -> Reading {
    let (size, bytes): (u64, Arc<[u8]>) = (bytes.len() as u64, bytes.into());
    let open = move |start| {
        let mut cursor = Cursor::new(Arc::clone(&bytes));
        cursor.set_position(start);
        Ok(Box::new(cursor) as Bytes)
    };
    // As if its size forbade to hold it.
    Reading::large(lane(known), size.max(1 << 40), open).expect("a reading")
}

#[test]
fn a_small_object_is_one_piece() {
    let (pieces, batch, last) = drain(Reading::whole(lane(None), gzip(&calls(3))).expect("a reading"), None);
    assert!(matches!(pieces[..], [Piece { payload: Payload::Gzip(_), .. }]));
    assert_eq!((batch.invocations.len(), last.offset), (3, calls(3).len() as u64));
    let document = format!("[\n{},\n{}\n]", call(1), call(2)).into_bytes();
    let (pieces, batch, _) = drain(Reading::whole(lane(None), document).expect("a reading"), None);
    assert!(matches!(pieces[..], [Piece { payload: Payload::Document(_), .. }]));
    assert_eq!(batch.invocations.len(), 2);
    let (_, batch, last) = drain(Reading::whole(lane(None), Vec::new()).expect("a reading"), None);
    assert_eq!((batch.invocations.len(), batch.rejected.len(), last.offset), (0, 0, 0));
}

#[test]
fn a_large_object_comes_in_pieces_and_is_read_on_where_it_was_left() {
    let plain = calls(40_000);
    for stored in [plain.clone(), gzip(&plain)] {
        let (pieces, batch, last) = drain(large(stored.clone(), None), None);
        assert!(pieces.len() > 2);
        assert_eq!((batch.invocations.len(), batch.rejected.len()), (40_000, 0));
        assert_eq!(last.offset, plain.len() as u64);
        assert_eq!(pieces.iter().map(|piece| piece.source_bytes).sum::<u64>(), stored.len() as u64);
        let left = pieces[2].from.clone();
        let (rest, batch, again) = drain(large(stored, left.as_ref()), left);
        assert_eq!(rest.len(), pieces.len() - 2);
        assert_eq!(again, last);
        assert!(batch.invocations.len() < 40_000);
    }
}

#[test]
fn a_torn_end_is_refused_and_the_rest_is_read() {
    let mut torn = calls(2);
    torn.extend_from_slice(&call(3).as_bytes()[..40]);
    let (_, batch, last) = drain(Reading::whole(lane(None), torn.clone()).expect("a reading"), None);
    assert_eq!((batch.invocations.len(), batch.rejected.len()), (2, 1));
    assert_eq!(last.offset, torn.len() as u64);
}

#[test]
fn damage_keeps_the_good_records() {
    let mut cut = gzip(&calls(40_000));
    cut.truncate(cut.len() / 2);
    let (_, batch, _) = drain(large(cut.clone(), None), None);
    assert!(!batch.invocations.is_empty());
    assert_eq!(batch.rejected.len(), 1);
    assert_eq!(batch.rejected[0].reason, RejectReason::CorruptGzip);
    let (_, whole, _) = drain(Reading::whole(lane(None), cut).expect("a reading"), None);
    assert_eq!(whole.invocations.len(), batch.invocations.len());
}

#[test]
fn a_bomb_is_refused_unread() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&vec![b' '; 65 << 20]).expect("memory");
    let bomb = encoder.finish().expect("memory");
    let (pieces, batch, _) = drain(Reading::whole(lane(None), bomb).expect("a reading"), None);
    assert_eq!(pieces.len(), 1);
    assert!(matches!(batch.rejected[0].reason, RejectReason::GzipBomb { .. }));
}

#[test]
fn other_compressions_are_named() {
    let error = Reading::whole(lane(None), b"\x28\xb5\x2f\xfd....".to_vec()).err().expect("refused");
    assert!(error.to_string().contains("zstd"));
}

#[test]
fn a_failing_connection_is_no_end() {
    struct Broken(Cursor<Vec<u8>>);
    impl io::Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.0.read(buffer)? {
                0 => Err(io::Error::other("gone")),
                read => Ok(read),
            }
        }
    }
    let open = |_| Ok(Box::new(io::BufReader::new(Broken(Cursor::new(calls(40_000))))) as Bytes);
    let mut reading = Reading::large(lane(None), 1 << 40, open).expect("a reading");
    let error = loop {
        match reading.next() {
            Ok(Some(piece)) => assert!(!piece.ended),
            Ok(None) => panic!("taken for the end"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.to_string(), "gone");
}

#[test]
fn a_large_object_takes_no_more_memory_than_a_few_pieces() {
    /// The same line again and again.
    struct Lines {
        line: Vec<u8>,
        left: usize,
        at: usize,
    }
    impl io::Read for Lines {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let given = buffer.len().min(self.line.len() - self.at).min(self.left);
            buffer[..given].copy_from_slice(&self.line[self.at..self.at + given]);
            (self.left, self.at) = (self.left - given, (self.at + given) % self.line.len());
            Ok(given)
        }
    }
    const SIZE: usize = 96 << 20;
    let open = |_| Ok(Box::new(io::BufReader::new(Lines { line: calls(1), left: SIZE, at: 0 })) as Bytes);
    let mut read = 0;
    let used = allocation_counter::measure(|| {
        let mut reading = Reading::large(lane(None), SIZE as u64, open).expect("a reading");
        while let Some(piece) = reading.next().expect("memory") {
            read += piece.source_bytes;
        }
    });
    assert_eq!(read, SIZE as u64);
    assert!(used.bytes_max < 24 << 20, "{} bytes", used.bytes_max);
}
