//! Tests of reading and following folders of log files.

mod follow;
mod gzip;
mod once;
mod resume;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use sluice_schemas::position::{ChainDecision, Positions, chain};
use sluice_schemas::{Batch, Clock, Micros, RequestId, SystemClock};
use tempfile::TempDir;

use super::{FolderSource, Mode};
use crate::decode::Decoder;
use crate::piece::decode_piece;
use crate::source::{Piece, Poll, Source};

/// A record of an invocation log with this number for its request id.
pub(super) fn record(id: u32) -> String {
    format!(
        "{{\"schemaType\":\"ModelInvocationLog\",\"schemaVersion\":\"1.0\",\"timestamp\":\"2024-01-01T00:00:00Z\",\
         \"accountId\":\"111122223333\",\"identity\":{{\"arn\":\"arn:aws:sts::111122223333:assumed-role/bot/s{}\"}},\
         \"region\":\"us-east-1\",\"requestId\":\"00000000-0000-4000-8000-{id:012x}\",\"operation\":\"Converse\",\
         \"modelId\":\"anthropic.claude-3-haiku-20240307-v1:0\",\"input\":{{\"inputContentType\":\"application/json\",\
         \"inputBodyJson\":{{\"text\":\"{{ }}{{ [\"}},\"inputTokenCount\":{}}},\"output\":{{\"outputContentType\":\"application/json\",\
         \"outputBodyJson\":{{}},\"outputTokenCount\":7}}}}",
        id % 3,
        id % 1000
    )
}

/// Lines of these records.
pub(super) fn lines(ids: impl IntoIterator<Item = u32>) -> String {
    ids.into_iter().map(|id| record(id) + "\n").collect()
}

pub(super) fn gz(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// Gzip without compression: large enough to be streamed at half the content.
pub(super) fn gz_stored(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::none());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

pub(super) fn now() -> Micros {
    SystemClock.now()
}

/// What came out of a source, and where its shards stand.
#[derive(Default)]
pub(super) struct Run {
    pub(super) ids: Vec<u32>,
    pub(super) trail: Vec<String>,
    /// Shard, offset and reason of each refused record.
    pub(super) rejected: Vec<(String, u64, &'static str)>,
    pub(super) control: u64,
    pub(super) positions: Positions,
    pub(super) pieces: usize,
}

impl Run {
    /// Goes on from the positions of an earlier run.
    pub(super) fn from(positions: &Positions) -> Self {
        Self { positions: positions.clone(), ..Self::default() }
    }

    /// Decodes a piece and checks that it follows on what was read of its shard.
    pub(super) fn take(&mut self, piece: Piece) {
        let mut batch = Batch::default();
        let span = decode_piece(piece, &mut Decoder::new(), &mut batch);
        assert_eq!(
            chain(self.positions.get(&span.shard), &span),
            ChainDecision::Accept,
            "{span:?} after {:?}",
            self.positions.get(&span.shard)
        );
        for invocation in &batch.invocations {
            let RequestId::Uuid(id) = invocation.request_id else { panic!("an id that is no UUID") };
            self.ids.push((id & 0xffff_ffff) as u32);
        }
        self.trail.extend(batch.trail.iter().map(|event| event.event_id.clone()));
        self.rejected.extend(batch.rejected.iter().map(|rejected| (span.shard.clone(), rejected.offset, rejected.reason.code())));
        self.control += batch.control;
        self.positions.insert(span.shard, span.to);
        self.pieces += 1;
    }

    pub(super) fn sorted(&self) -> Vec<u32> {
        let mut ids = self.ids.clone();
        ids.sort_unstable();
        ids
    }

    pub(super) fn reasons(&self) -> Vec<&'static str> {
        self.rejected.iter().map(|(_, _, reason)| *reason).collect()
    }
}

/// Reads `paths` once from `positions`, at most `pieces` pieces of them.
pub(super) fn read_some(paths: &[PathBuf], positions: &Positions, pieces: usize) -> Run {
    let mut source = FolderSource::open(paths, positions, Mode::Once).unwrap();
    let mut run = Run::from(positions);
    while run.pieces < pieces {
        match source.poll(Duration::ZERO, now()).unwrap() {
            Poll::Piece(piece) => run.take(piece),
            Poll::Idle => panic!("a single pass does not wait"),
            Poll::Ended => {
                let progress = source.progress();
                assert_eq!((progress.files_done, progress.bytes_done), (progress.files_total, progress.bytes_total));
                break;
            }
        }
    }
    run
}

pub(super) fn read_once(path: &Path, positions: &Positions) -> Run {
    read_some(&[path.to_path_buf()], positions, usize::MAX)
}

/// A folder with files in it.
pub(super) struct Folder(TempDir);

impl Folder {
    pub(super) fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    pub(super) fn path(&self) -> PathBuf {
        fs::canonicalize(self.0.path()).unwrap()
    }

    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub(super) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.at(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(super) fn append(&self, name: &str, content: impl AsRef<[u8]>) {
        let mut file = fs::OpenOptions::new().append(true).create(true).open(self.at(name)).unwrap();
        file.write_all(content.as_ref()).unwrap();
    }

    pub(super) fn shard(&self, name: &str) -> String {
        format!("file:{}", self.at(name).display())
    }

    pub(super) fn read(&self) -> Run {
        read_once(&self.path(), &BTreeMap::new())
    }
}
