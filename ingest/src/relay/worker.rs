//! A worker: reads a source, decodes, publishes, and only then lets the source forget. It keeps nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sluice_schemas::position::Span;
use sluice_schemas::{Batch, Clock, ControlMark, ErrorClass, Position, ShardId};

use super::{Origin, RelayError, encode};
use crate::admit::leads_on;
use crate::committed::{Committed, Durable};
use crate::decode::{Decoder, Intake};
use crate::piece::decode_piece;
use crate::source::{Payload, Piece, Poll, Source, SourceError, StreamRecord};

/// Longest wait for the source, and between looks at the stop sign.
const TICK: Duration = Duration::from_millis(50);
/// First and longest pause before publishing is tried again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Bytes a call takes in a message, generously.
const CALL_BYTES: usize = 128;
/// The same for a CloudTrail event.
const EVENT_BYTES: usize = 1_024;

/// Messages were not taken.
#[derive(Debug, thiserror::Error)]
#[error("{resource}: {problem}")]
pub struct PublishError {
    /// The topic or stream.
    pub resource: String,
    /// What is wrong.
    pub problem: String,
    /// What the failure asks of the caller.
    pub class: ErrorClass,
}

/// Why a worker ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The source cannot be read.
    #[error("the source cannot be read")]
    Source(#[from] SourceError),
    /// A batch cannot be written.
    #[error("a batch cannot be written")]
    Encode(#[from] RelayError),
    /// Messages are not taken, and trying again will not change that.
    #[error("messages are not taken")]
    Publish(#[from] PublishError),
}

impl WorkerError {
    /// Returns what the failure asks of the caller.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Source(error) => error.class(),
            Self::Encode(_) => ErrorClass::Bug,
            Self::Publish(error) => error.class,
        }
    }
}

/// What a worker works with.
pub struct Worker<'a> {
    /// Its name, for messages.
    pub name: String,
    /// Largest message.
    pub limit: usize,
    /// Where it is noted that what was read is safe: the source waits for it.
    pub committed: &'a Committed,
    /// The time.
    pub clock: &'a dyn Clock,
    /// Set to end it.
    pub stop: &'a AtomicBool,
    /// What is taken in, and how.
    pub intake: Arc<Intake>,
}

/// What a worker did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Pieces read.
    pub pieces: u64,
    /// Messages published.
    pub messages: u64,
    /// Calls in them.
    pub calls: u64,
}

/// Takes messages of one shard, in order, and returns once they are safe; the shard's name keeps them on one lane.
pub type Publish<'a> = dyn FnMut(&str, &[Vec<u8>]) -> Result<(), PublishError> + 'a;

/// Reads, decodes and publishes until told to stop or the source ends. At least once: what was published and not noted is read
/// again by the next worker.
///
/// # Errors
/// A source that cannot be read, messages that are refused for good.
pub fn run(source: &mut dyn Source, publish: &mut Publish<'_>, worker: &Worker<'_>) -> Result<Tally, WorkerError> {
    let (mut decoder, mut tally) = (Decoder::taking(Arc::clone(&worker.intake)), Tally::default());
    while !worker.stop.load(Ordering::Relaxed) {
        let piece = match source.poll(TICK, worker.clock.now())? {
            Poll::Piece(piece) => piece,
            Poll::Idle => continue,
            Poll::Ended => break,
        };
        tally.pieces += 1;
        let (shard, arrival) = (piece.shard.clone(), piece.arrival);
        let mut end = None;
        for (batch, span, marks) in batches(piece, &mut decoder, worker.limit) {
            tally.calls += batch.invocations.len() as u64;
            end = Some(span.to.clone());
            let nothing = batch.invocations.is_empty() && batch.trail.is_empty() && batch.rejected.is_empty() && batch.control == 0;
            if nothing && !leads_on(&span) {
                continue;
            }
            let origin = Origin { worker: worker.name.clone(), span, arrival, marks };
            let messages = encode(&batch, &origin, worker.limit)?;
            if !publish_all(&shard, &messages, publish, worker)? {
                return Ok(tally);
            }
            tally.messages += messages.len() as u64;
        }
        note(worker.committed, shard, end);
    }
    Ok(tally)
}

fn note(committed: &Committed, shard: ShardId, end: Option<Position>) {
    if let Some(end) = end {
        committed.note(Durable::Local, [(shard.clone(), end.clone())]);
        committed.note(Durable::Lake, [(shard, end)]);
    }
}

/// Publishes until it is done; `false` when told to stop before.
fn publish_all(shard: &str, messages: &[Vec<u8>], publish: &mut Publish<'_>, worker: &Worker<'_>) -> Result<bool, WorkerError> {
    let mut pause = PAUSES.0;
    loop {
        match publish(shard, messages) {
            Ok(()) => return Ok(true),
            Err(error) if error.class != ErrorClass::Transient => return Err(error.into()),
            Err(error) => tracing::warn!(%error, shard, "messages were not taken; tried again"),
        }
        let until = Instant::now() + pause;
        while Instant::now() < until {
            if worker.stop.load(Ordering::Relaxed) {
                return Ok(false);
            }
            std::thread::sleep(TICK.min(until.saturating_duration_since(Instant::now())));
        }
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// Decodes a piece into batches of about a message each, which end where records of the stream do.
pub(crate) fn batches(piece: Piece, decoder: &mut Decoder, limit: usize) -> Vec<(Batch, Span, Vec<ControlMark>)> {
    let Payload::Records(records) = piece.payload else {
        let mut batch = Batch::default();
        let span = decode_piece(piece, decoder, &mut batch);
        return vec![(batch, span, Vec::new())];
    };
    let whole = Piece { payload: Payload::Records(Vec::new()), ..piece };
    let (mut out, mut from) = (Vec::new(), whole.from.clone());
    let (mut batch, mut marks, mut at) = (Batch::default(), Vec::new(), None);
    for record in records {
        let (offset, sequence, before) = (record.offset, record.sequence.clone(), batch.control);
        at = Some(one(&whole, record, decoder, &mut batch));
        if batch.control > before {
            marks.push(ControlMark { offset, sequence, count: batch.control - before });
        }
        if weight(&batch) >= limit {
            let to = at.take().unwrap_or_default();
            let span = Span { shard: whole.shard.clone(), from: from.replace(to.clone()), to };
            out.push((std::mem::take(&mut batch), span, std::mem::take(&mut marks)));
        }
    }
    // The last one leads to the piece's own end, which may lie behind its last record.
    let end = Position {
        offset: whole.to.or(at.map(|at| at.offset)).unwrap_or(whole.base_offset),
        sequence: whole.sequence.clone(),
        identity: whole.identity.clone(),
        ended: whole.ended,
    };
    out.push((batch, Span { shard: whole.shard.clone(), from, to: end }, marks));
    out
}

/// Decodes one record of a stream; returns where it ends.
fn one(whole: &Piece, record: StreamRecord, decoder: &mut Decoder, batch: &mut Batch) -> Position {
    let sequence = record.sequence.clone();
    let piece = Piece {
        accepts: whole.accepts.clone(),
        shard: ShardId::new(),
        from: None,
        to: if sequence.is_none() { Some(record.offset + 1) } else { whole.to },
        sequence,
        ended: false,
        source_bytes: 0,
        payload: Payload::Records(vec![record]),
        arrival: whole.arrival,
        base_offset: whole.base_offset,
        identity: whole.identity.clone(),
    };
    decode_piece(piece, decoder, batch).to
}

/// Estimates the size of a batch's message.
fn weight(batch: &Batch) -> usize {
    let rejected: usize = batch.rejected.iter().map(|rejected| rejected.raw.len() + EVENT_BYTES).sum();
    batch.invocations.len() * CALL_BYTES + batch.trail.len() * EVENT_BYTES + batch.profiles.len() * EVENT_BYTES + rejected
}
