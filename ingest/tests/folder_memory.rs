//! Memory of reading files: bombs, over-long lines and big files stay below 100 MB and cost their neighbours nothing.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use flate2::{Compress, Compression, Crc, FlushCompress, Status};
use sluice_ingest::decode::Decoder;
use sluice_ingest::files::{FolderSource, Mode};
use sluice_ingest::piece::decode_piece;
use sluice_ingest::source::{Poll, Source};
use sluice_schemas::position::Positions;
use sluice_schemas::{Batch, Micros};

const NOW: Micros = Micros(1_800_000_000_000_000);
const LIMIT: u64 = 100_000_000;
const MIB: usize = 1 << 20;

/// A gzip stream of `times` times `block`, made without ever compressing more than one of them.
fn repeated(block: &[u8], times: u32, stated_size: u32) -> Vec<u8> {
    let mut deflate = Compress::new(Compression::best(), false);
    let mut body = Vec::with_capacity(block.len() + 1024);
    assert_eq!(deflate.compress_vec(block, &mut body, FlushCompress::Full).unwrap(), Status::Ok);
    let (mut one, mut all) = (Crc::new(), Crc::new());
    one.update(block);
    let mut stream = b"\x1f\x8b\x08\0\0\0\0\0\0\xff".to_vec();
    for _ in 0..times {
        stream.extend_from_slice(&body);
        all.combine(&one);
    }
    stream.extend_from_slice(b"\x03\0");
    stream.extend_from_slice(&all.sum().to_le_bytes());
    stream.extend_from_slice(&stated_size.to_le_bytes());
    stream
}

fn record(id: usize) -> String {
    format!(
        "{{\"schemaType\":\"ModelInvocationLog\",\"schemaVersion\":\"1.0\",\"timestamp\":\"2024-01-01T00:00:00Z\",\
         \"accountId\":\"111122223333\",\"identity\":{{\"arn\":\"arn:aws:iam::111122223333:role/bot\"}},\"region\":\"us-east-1\",\
         \"requestId\":\"00000000-0000-4000-8000-{id:012x}\",\"operation\":\"Converse\",\"modelId\":\"anthropic.claude-v2\",\
         \"input\":{{\"inputTokenCount\":1}},\"output\":{{\"outputTokenCount\":7}}}}\n"
    )
}

struct Outcome {
    calls: usize,
    reasons: Vec<&'static str>,
    largest_raw: usize,
    peak: u64,
}

/// Reads a folder, giving each batch away as soon as it is decoded.
fn read(folder: &Path) -> Outcome {
    let mut outcome = Outcome { calls: 0, reasons: Vec::new(), largest_raw: 0, peak: 0 };
    let spent = allocation_counter::measure(|| {
        let mut source = FolderSource::open(&[folder.to_path_buf()], &Positions::new(), Mode::Once).unwrap();
        let mut decoder = Decoder::new();
        while let Poll::Piece(piece) = source.poll(Duration::ZERO, NOW).unwrap() {
            let mut batch = Batch::default();
            decode_piece(piece, &mut decoder, &mut batch);
            outcome.calls += batch.invocations.len();
            outcome.reasons.extend(batch.rejected.iter().map(|rejected| rejected.reason.code()));
            outcome.largest_raw = batch.rejected.iter().map(|rejected| rejected.raw.len()).max().unwrap_or(0).max(outcome.largest_raw);
        }
    });
    outcome.peak = spent.bytes_max;
    outcome
}

#[test]
fn a_bomb_of_a_gibibyte_is_one_refused_record() {
    let folder = tempfile::tempdir().unwrap();
    let block = format!("{{\"a\":\"{}\"}}\n", "0".repeat(MIB - 9));
    assert_eq!(block.len(), MIB);
    for (name, stated_size) in [("b-honest.json.gz", 1 << 30), ("c-lying.json.gz", 77)] {
        let bomb = repeated(block.as_bytes(), 1024, stated_size);
        assert!(bomb.len() < 2 * MIB);
        fs::write(folder.path().join(name), bomb).unwrap();
    }
    fs::write(folder.path().join("a.json"), record(1)).unwrap();
    fs::write(folder.path().join("d.json"), record(2)).unwrap();
    let outcome = read(folder.path());
    assert_eq!((outcome.calls, outcome.reasons), (2, vec!["gzip_bomb"; 2]));
    assert!(outcome.peak < LIMIT, "{} bytes", outcome.peak);
    assert!(outcome.largest_raw <= 64 << 10);
}

#[test]
fn a_big_file_is_read_whole() {
    let folder = tempfile::tempdir().unwrap();
    let block: String = (0..40_000).map(record).collect();
    let (size, times) = (block.len(), 6);
    let stream = repeated(block.as_bytes(), times, u32::try_from(size * times as usize).unwrap());
    assert!(size * times as usize > 70 * MIB);
    fs::write(folder.path().join("a.json.gz"), stream).unwrap();
    let outcome = read(folder.path());
    assert_eq!((outcome.calls, outcome.reasons.len()), (40_000 * times as usize, 0));
    assert!(outcome.peak < LIMIT, "{} bytes", outcome.peak);
}

#[test]
fn a_line_without_end_is_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let mut text = record(1).into_bytes();
    text.resize(200 * MIB, b'x');
    text.push(b'\n');
    text.extend_from_slice(record(2).as_bytes());
    fs::write(folder.path().join("a.jsonl"), text).unwrap();
    let outcome = read(folder.path());
    assert_eq!((outcome.calls, outcome.reasons), (2, vec!["too_long"]));
    assert!(outcome.peak < LIMIT, "{} bytes", outcome.peak);
    assert!(outcome.largest_raw <= 64 << 10);
}
