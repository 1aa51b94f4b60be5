//! A process taken step by step on one thread: what the coordinator does between its channels, in an order the test chooses.
//! Dropping it is a crash.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use sluice_aggregate::dedup::Dedup;
use sluice_aggregate::lake::Lake;
use sluice_enforce::{Action, CommitPermit, Outbox, SharedStore};
use sluice_enrich::enricher::{EnrichCache, Enricher};
use sluice_ingest::decode::Decoder;
use sluice_ingest::source::Piece;
use sluice_schemas::{Clock, Micros};

use super::super::effects::Told;
use super::super::worker::{self, DecodeJob, Done, FoldJob};
use super::super::{Mode, Pipeline, Settings};

/// A clock that the test moves.
#[derive(Clone, Debug, Default)]
pub(crate) struct VirtualClock(Arc<AtomicI64>);

impl VirtualClock {
    pub(crate) fn at(now: Micros) -> Self {
        Self(Arc::new(AtomicI64::new(now.0)))
    }

    /// Moves on to a moment; never back.
    pub(crate) fn reach(&self, now: Micros) {
        self.0.fetch_max(now.0, Ordering::SeqCst);
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Micros {
        Micros(self.0.load(Ordering::SeqCst))
    }
}

/// One run of the program, from its start to its end or its crash.
pub(crate) struct Process {
    pub(crate) pipeline: Pipeline,
    enricher: Arc<Enricher>,
    decoder: Decoder,
    cache: EnrichCache,
    /// Pieces behind dedup and before the states.
    in_flight: VecDeque<FoldJob>,
    outbox: Outbox,
    permit: CommitPermit,
    sequence: u64,
}

impl Process {
    /// Starts as the daemon or a replay does, with effects that the test chooses.
    pub(crate) fn start(
        lake: Lake,
        shared: Arc<dyn SharedStore>,
        settings: Settings,
        actions: Vec<Box<dyn Action>>,
    ) -> anyhow::Result<Self> {
        let mut pipeline = Pipeline::open_on(lake, Arc::clone(&shared), settings)?;
        let mut outbox = Outbox::new(shared, actions, pipeline.fence);
        outbox.resume()?;
        let enricher = Arc::clone(&pipeline.enricher.read().unwrap());
        let permit = pipeline.permit();
        if let Some(job) = pipeline.due_effects() {
            job.crossings.into_iter().for_each(|crossing| outbox.enqueue(crossing));
        }
        let (decoder, cache) = (Decoder::new(), EnrichCache::default());
        Ok(Self { pipeline, enricher, decoder, cache, in_flight: VecDeque::new(), outbox, permit, sequence: 0 })
    }

    /// Keeps no more than about `keys` keys of committed hours in memory.
    pub(crate) fn forget_hours_beyond(&mut self, keys: usize) {
        self.pipeline.dedup = Dedup::new(keys * 28);
    }

    /// Decodes a piece and marks its new calls.
    pub(crate) fn take(&mut self, piece: Piece) -> anyhow::Result<()> {
        let job = DecodeJob { sequence: self.sequence, piece };
        let Done::Decoded(decoded) = worker::decode(job, &mut self.decoder, None, &self.enricher, &mut self.cache) else {
            anyhow::bail!("a decode job gave something else");
        };
        self.sequence += 1;
        let job = self.pipeline.dedup(*decoded)?;
        self.in_flight.push_back(job);
        Ok(())
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Makes the oldest piece on its way part of every state.
    pub(crate) fn apply_next(&mut self) -> anyhow::Result<()> {
        let Some(job) = self.in_flight.pop_front() else { return Ok(()) };
        let folded = worker::try_fold(job, &self.enricher, &mut self.cache)?;
        self.pipeline.apply(folded)
    }

    pub(crate) fn apply_all(&mut self) -> anyhow::Result<()> {
        while !self.in_flight.is_empty() {
            self.apply_next()?;
        }
        Ok(())
    }

    /// The local commit of a daemon; a replay has none.
    pub(crate) fn commit_local(&mut self) -> anyhow::Result<()> {
        if self.pipeline.settings.mode == Mode::Live {
            self.pipeline.commit_local()?;
            self.committed();
        }
        Ok(())
    }

    pub(crate) fn commit_lake(&mut self) -> anyhow::Result<()> {
        self.pipeline.commit_lake()?;
        self.committed();
        Ok(())
    }

    /// What was committed may be seen.
    fn committed(&mut self) {
        self.permit = self.pipeline.permit();
        if let Some(job) = self.pipeline.due_effects() {
            job.crossings.into_iter().for_each(|crossing| self.outbox.enqueue(crossing));
        }
    }

    /// Lets the effects go on that are due; returns how many are under way still.
    pub(crate) fn effects(&mut self, now: Micros) -> anyhow::Result<usize> {
        let settled = self.outbox.tick(&self.permit, now)?;
        self.pipeline.note_delivered(Ok(Told { settled, last: false }))?;
        Ok(self.outbox.len())
    }
}
