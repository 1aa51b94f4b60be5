//! The stateless half: threads that turn pieces into priced, attributed batches, and kept calls into rows.
//!
//! Two kinds of job pass through each thread. Folding comes first, because it frees memory. Order is not kept here; every
//! job carries its sequence and the coordinator puts the results back in order.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use arrow::array::RecordBatch;
use crossbeam_channel::{Receiver, Sender, TryRecvError, select};
use sluice_aggregate::evidence::{Kinds, event_key, evidence_rows, request_key};
use sluice_aggregate::facts;
use sluice_aggregate::lake::{EncodedGroup, LakeError, encode_group};
use sluice_aggregate::windows::delta_rows;
use sluice_enforce::runaway::CallShape;
use sluice_enrich::enricher::{EnrichCache, Enricher, ReadMetadata};
use sluice_enrich::evidence::Evidence;
use sluice_enrich::informed::Informed;
use sluice_ingest::decode::{Decoder, Intake};
use sluice_ingest::piece::decode_piece;
use sluice_ingest::source::Piece;
use sluice_schemas::batch::EnrichedBatch;
use sluice_schemas::position::{Positions, Span};
use sluice_schemas::trail::TrailEvent;
use sluice_schemas::{AgentStatus, Batch, Micros, PicoUsd, SpendDelta, SpendView, tables};

use super::trail_meter::may_cost;
use crate::live::Counts;
use crate::operate::Board;
use crate::sources::bodies::Bodies;

/// Rows worth a row group of their own; fewer are gathered first.
const GROUP_ROWS: usize = 8_192;

/// Bytes to decode.
#[derive(Debug)]
pub(crate) struct DecodeJob {
    pub(crate) sequence: u64,
    pub(crate) piece: Piece,
}

/// What the coordinator has to know of every event: events themselves are large, and nearly all of them need no second look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EventKey {
    pub(crate) id: u128,
    /// Key of the request it tells of.
    pub(crate) request: u128,
    pub(crate) at: Micros,
    /// Whether it says who made one call, and nothing else.
    pub(crate) is_of_request: bool,
    /// Whether the call cost something, or may have.
    pub(crate) may_cost: bool,
}

impl EventKey {
    pub(crate) fn of(event: &TrailEvent) -> Self {
        let (is_of_request, may_cost) = (Evidence::is_of_request(event), may_cost(event));
        Self { id: event_key(&event.event_id), request: request_key(event), at: event.event_time, is_of_request, may_cost }
    }
}

/// A decoded batch on its way to dedup.
#[derive(Debug)]
pub(crate) struct Decoded {
    pub(crate) sequence: u64,
    pub(crate) span: Span,
    pub(crate) arrival: Micros,
    pub(crate) batch: EnrichedBatch,
    /// What was read of the metadata of its calls.
    pub(crate) metadata: ReadMetadata,
    /// What tells its events apart.
    pub(crate) trail_keys: Vec<EventKey>,
    /// Which events are alike. Found here, where the texts of events are at hand: the coordinator then need not read them one by one.
    pub(crate) trail_kinds: Kinds,
}

/// A batch whose new calls are known.
#[derive(Debug)]
pub(crate) struct FoldJob {
    pub(crate) decoded: Decoded,
    /// How far workers' messages in it lead in the shards they read.
    pub(crate) upstream: Positions,
    pub(crate) keep: Vec<bool>,
    /// Events that become rows.
    pub(crate) keep_trail: Vec<bool>,
    /// Profiles of whose callers more is known than their calls tell; the last of them have no owner yet.
    pub(crate) informed: Vec<Informed>,
    pub(crate) late: u64,
    /// Encode large groups of rows here, for an epoch that goes straight to the lake.
    pub(crate) encode: bool,
    /// Keep the rows of `calls` as batches as well, for user-declared windows.
    pub(crate) want_calls: bool,
    /// Keep the shapes of calls as well, for runaway detection.
    pub(crate) want_shapes: bool,
}

/// Rows of one table and date.
#[derive(Debug)]
pub(crate) enum Rows {
    /// To be gathered.
    Plain(String, i32, RecordBatch),
    /// A row group ready for the file.
    Encoded(Box<EncodedGroup>),
}

/// What a batch came to.
#[derive(Debug)]
pub(crate) struct Folded {
    pub(crate) sequence: u64,
    pub(crate) span: Span,
    pub(crate) arrival: Micros,
    /// See [`FoldJob::upstream`].
    pub(crate) upstream: Positions,
    /// Strings, profiles and owners of `deltas`; its calls are gone.
    pub(crate) batch: EnrichedBatch,
    pub(crate) deltas: Vec<SpendDelta>,
    pub(crate) delta_rows: Option<RecordBatch>,
    pub(crate) rows: Vec<Rows>,
    pub(crate) calls: Vec<(i32, RecordBatch)>,
    /// The new calls, where somebody judges them.
    pub(crate) shapes: Vec<CallShape>,
    pub(crate) counts: Counts,
    /// Rejected records by reason.
    pub(crate) rejected: Vec<(&'static str, u64)>,
}

/// A finished job.
#[derive(Debug)]
pub(crate) enum Done {
    Decoded(Box<Decoded>),
    Folded(Box<Folded>),
    Failed(LakeError),
}

/// What a worker needs.
#[derive(Clone, Debug)]
pub(crate) struct Channels {
    pub(crate) pieces: Receiver<DecodeJob>,
    pub(crate) folds: Receiver<Box<FoldJob>>,
    pub(crate) done: Sender<Done>,
    /// Where a worker says what it has in hand.
    pub(crate) board: Arc<Board>,
    /// What is taken in, and how.
    pub(crate) intake: Arc<Intake>,
    /// Fetches bodies that the log only points to.
    pub(crate) bodies: Option<Arc<dyn Bodies>>,
}

/// Starts `count` workers.
///
/// # Errors
/// The system refused a thread.
pub(crate) fn start(
    count: usize,
    enricher: &Arc<std::sync::RwLock<Arc<Enricher>>>,
    channels: &Channels,
) -> std::io::Result<Vec<JoinHandle<()>>> {
    (0..count)
        .map(|number| {
            let (enricher, channels) = (Arc::clone(enricher), channels.clone());
            thread::Builder::new().name(format!("worker-{number}")).spawn(move || run(number, &enricher, &channels))
        })
        .collect()
}

fn run(number: usize, enricher: &std::sync::RwLock<Arc<Enricher>>, channels: &Channels) {
    let mut decoder = Decoder::taking(Arc::clone(&channels.intake));
    let mut cache = EnrichCache::default();
    let newest = || Arc::clone(&enricher.read().unwrap_or_else(std::sync::PoisonError::into_inner));
    loop {
        let done = match channels.folds.try_recv() {
            Ok(job) => fold(*job, &newest(), &mut cache),
            Err(TryRecvError::Disconnected) => return,
            Err(TryRecvError::Empty) => select! {
                recv(channels.folds) -> job => match job {
                    Ok(job) => fold(*job, &newest(), &mut cache),
                    Err(_) => return,
                },
                recv(channels.pieces) -> job => match job {
                    Ok(job) => {
                        channels.board.hold(number, Some(&job.piece.shard));
                        decode(job, &mut decoder, channels.bodies.as_deref(), &newest(), &mut cache)
                    }
                    // No more pieces: only folds are left.
                    Err(_) => match channels.folds.recv() {
                        Ok(job) => fold(*job, &newest(), &mut cache),
                        Err(_) => return,
                    },
                },
            },
        };
        channels.board.hold(number, None);
        if channels.done.send(done).is_err() {
            return;
        }
    }
}

pub(super) fn decode(
    job: DecodeJob,
    decoder: &mut Decoder,
    bodies: Option<&dyn Bodies>,
    enricher: &Enricher,
    cache: &mut EnrichCache,
) -> Done {
    let arrival = job.piece.arrival;
    let mut batch = Batch::default();
    let span = decode_piece(job.piece, decoder, &mut batch);
    if let Some(bodies) = bodies.filter(|_| !batch.offloaded.is_empty()) {
        bodies.correct(&mut batch);
    }
    let (batch, metadata) = enricher.enrich_and_keep(batch, cache);
    let trail_keys = batch.batch.trail.iter().map(EventKey::of).collect();
    let trail_kinds = Kinds::of(&batch.batch.trail);
    Done::Decoded(Box::new(Decoded { sequence: job.sequence, span, arrival, batch, metadata, trail_keys, trail_kinds }))
}

fn fold(job: FoldJob, enricher: &Enricher, cache: &mut EnrichCache) -> Done {
    match try_fold(job, enricher, cache) {
        Ok(folded) => Done::Folded(Box::new(folded)),
        Err(error) => Done::Failed(error),
    }
}

pub(super) fn try_fold(job: FoldJob, enricher: &Enricher, cache: &mut EnrichCache) -> Result<Folded, LakeError> {
    let FoldJob { decoded, upstream, keep, keep_trail, informed, late, encode, want_calls, want_shapes } = job;
    let Decoded { sequence, span, arrival, mut batch, metadata, trail_keys: _, trail_kinds } = decoded;
    enricher.attribute_informed(&mut batch, &informed, metadata, cache);
    drop(informed);
    let deltas = facts::spend_deltas(&batch, &keep);
    let delta_rows = (!deltas.is_empty()).then(|| delta_rows(SpendView { batch: &batch, deltas: &deltas }));
    let shapes = if want_shapes { shapes(&batch, &keep) } else { Vec::new() };
    let counts = count(&batch, &deltas, &keep, late);
    let rejected = reasons(&batch);
    let mut rows = Vec::new();
    let mut calls = Vec::new();
    for (day, batch) in facts::call_rows(&batch, &keep, &span.shard, arrival) {
        // Row groups are made of dictionaries; whoever queries the rows wants maps.
        let own = if want_calls || !encode { Some(facts::with_own_tags(&batch)?) } else { None };
        if want_calls {
            calls.extend(own.clone().map(|rows| (day, rows)));
        }
        rows.push(group(tables::CALLS, day, own.filter(|_| !encode).unwrap_or(batch), encode)?);
    }
    for (day, events) in evidence_rows(&batch.batch.trail, &trail_kinds, &keep_trail, &span.shard, arrival) {
        rows.push(group(tables::EVIDENCE, day, events, encode)?);
    }
    if let Some(rejected) = facts::rejected_rows(&batch.batch, &span.shard, arrival) {
        rows.push(Rows::Plain(tables::REJECTED.to_owned(), arrival.day(), rejected));
    }
    batch.batch.invocations = Vec::new();
    batch.batch.extras = Vec::new();
    batch.batch.rejected = Vec::new();
    batch.batch.trail = Vec::new();
    batch.pricing = Vec::new();
    Ok(Folded { sequence, span, arrival, upstream, batch, deltas, delta_rows, rows, calls, shapes, counts, rejected })
}

fn shapes(batch: &EnrichedBatch, keep: &[bool]) -> Vec<CallShape> {
    let new = batch.calls().zip(keep).filter(|(_, keep)| **keep);
    new.map(|(call, _)| CallShape::of(&call)).collect()
}

/// Rows as the epoch takes them: encoded here where it goes straight to the lake and they are worth it.
fn group(table: &str, day: i32, rows: RecordBatch, encode: bool) -> Result<Rows, LakeError> {
    if encode && rows.num_rows() >= GROUP_ROWS {
        return Ok(Rows::Encoded(Box::new(encode_group(table, day, &rows)?)));
    }
    Ok(Rows::Plain(table.to_owned(), day, rows))
}

fn reasons(batch: &EnrichedBatch) -> Vec<(&'static str, u64)> {
    let mut reasons = std::collections::BTreeMap::new();
    for rejected in &batch.batch.rejected {
        *reasons.entry(rejected.reason.code()).or_insert(0) += 1;
    }
    reasons.into_iter().collect()
}

fn count(batch: &EnrichedBatch, deltas: &[SpendDelta], keep: &[bool], late: u64) -> Counts {
    let decoded = &batch.batch;
    let facts = keep.iter().filter(|keep| **keep).count() as u64;
    let spoofed =
        |delta: &&SpendDelta| batch.owners.get(delta.profile as usize).is_some_and(|owner| owner.agent_status == AgentStatus::Spoofed);
    let (rejected, trail) = (decoded.rejected.len() as u64, decoded.trail.len() as u64);
    Counts {
        records: decoded.seen,
        facts,
        duplicates: keep.len() as u64 - facts,
        rejected,
        trail,
        control: decoded.control,
        unpriced: deltas.iter().map(|delta| delta.sums.unpriced).sum(),
        spoofed: deltas.iter().filter(spoofed).map(|delta| delta.sums.calls).sum(),
        late,
        bytes_in: decoded.bytes,
        cost: deltas.iter().map(|delta| delta.sums.cost).sum::<PicoUsd>(),
        ..Counts::default()
    }
}
