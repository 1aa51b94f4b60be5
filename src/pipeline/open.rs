//! Starting: lake, local state and shared store are brought into step, whatever the last process left behind.

use std::path::Path;
use std::sync::{Arc, RwLock};
use std::thread::{self, ScopedJoinHandle};
use std::time::Instant;

use anyhow::Context;
use arrow::array::RecordBatch;
use sluice_aggregate::dedup::Dedup;
use sluice_aggregate::known::for_each_key;
use sluice_aggregate::lake::Lake;
use sluice_aggregate::store::recovery::{LakeHead, RecoveryDecision, recover};
use sluice_aggregate::store::{Base, LocalState, LocalStore, LocalWrite, StoreError, segment};
use sluice_aggregate::windows::Rollups;
use sluice_enforce::runaway::Watch;
use sluice_enforce::{Ledger, SharedStore};
use sluice_ingest::committed::Durable;
use sluice_schemas::{ErrorClass, tables};

use super::{DEDUP_BYTES, DELTAS, Mode, Pipeline, Settings, windows::Windows};
use crate::live::{Counts, Live};

impl Pipeline {
    /// Opens everything. The lake is the truth: local state that does not continue it is set aside and made again.
    pub(crate) fn open(settings: Settings) -> anyhow::Result<Self> {
        let config = &settings.config;
        let lake = Lake::open_writer(&config.lake, &*settings.clock).with_context(|| format!("open lake {}", config.lake.display()))?;
        let shared = config.shared.open()?;
        Self::open_on(lake, shared, settings)
    }

    /// Opens the rest around a lake and a shared store.
    pub(super) fn open_on(mut lake: Lake, shared: Arc<dyn SharedStore>, settings: Settings) -> anyhow::Result<Self> {
        let now = settings.clock.now();
        let config = &settings.config;
        let head = LakeHead { epoch: lake.state().epoch, uuid: lake.state().uuid.clone() };
        // Reading prices and planning the spend tables takes longer than the rest of a start.
        let (enricher, rollups, (local, state)) = thread::scope(|scope| {
            let (enricher, rollups) = (scope.spawn(|| super::seed::enricher(config)), scope.spawn(Rollups::new));
            let local = open_local(&config.state);
            anyhow::Ok((joined(enricher)?, joined(rollups)?, local?))
        })?;
        let enricher = Arc::new(RwLock::new(Arc::new(enricher)));
        let decision = recover(state.as_ref().map(|state| &state.base), &head);
        let windows = Windows::open(&config.windows, &mut lake, now)?;
        let limits = super::seed::limits(config);
        let fence = shared.take_fence(&format!("process {}", std::process::id()), now)?;
        let audit_seen = lake.files(tables::ACTIONS)?.iter().map(|file| file.rows).sum();
        let pipeline = Self {
            enricher,
            base: Base { lake_epoch: head.epoch, lake_uuid: head.uuid, ..Base::default() },
            positions: lake.state().positions.clone(),
            reading: Default::default(),
            moved: Default::default(),
            unsettled: Default::default(),
            bodies: None,
            committed: Arc::default(),
            dedup: Dedup::new(DEDUP_BYTES),
            join: super::join::Join::new(&lake, now, settings.mode)?,
            recent: Default::default(),
            ahead: Default::default(),
            directory: Default::default(),
            refused: Default::default(),
            applied: 0,
            pending_keys: Default::default(),
            ledger: Ledger::new(Arc::new(config.budgets.clone()), limits),
            watch: Watch::new(&config.runaway),
            rollups,
            windows,
            segment: Vec::new(),
            waiting_bytes: 0,
            pending: Vec::new(),
            epoch: None,
            fence,
            audit_seen,
            exposure: Default::default(),
            versions: Default::default(),
            in_hand: Default::default(),
            recorded: Default::default(),
            upkeep: Default::default(),
            scoping: Default::default(),
            nudge: None,
            teller: None,
            prices: None,
            asked: Default::default(),
            price_doubt: None,
            usage_swept: now,
            desk: Default::default(),
            rating: None,
            breaches: Vec::new(),
            live: Live::new(now),
            counts: Counts::default(),
            meter: crate::operate::Meter::new(Arc::clone(&settings.board)),
            newest_event: (head.epoch > 0).then(|| lake.state().watermark.plus(super::ALLOWED_LATENESS)),
            lake,
            local,
            shared,
            settings,
        };
        pipeline.begin(decision, state)
    }

    /// Brings every state into step.
    fn begin(mut self, decision: RecoveryDecision, state: Option<LocalState>) -> anyhow::Result<Self> {
        self.note_versions();
        match (decision, state) {
            (RecoveryDecision::Resume { next_segment }, Some(state)) => self.resume(state, next_segment)?,
            _ => self.rebuild()?,
        }
        self.open_prices()?;
        self.learn_history()?;
        self.remember_evidence()?;
        self.committed.note(Durable::Lake, self.lake.state().positions.clone());
        self.committed.note(Durable::Local, self.positions.clone());
        self.confirm_known()?;
        self.base.commit = self.base.commit.max(self.unfinished_epoch()?);
        self.store_pending()?;
        self.open_directory()?;
        Ok(self)
    }

    /// Brings what a daemon left in local state to the lake where it is looked for there: a bulk epoch knows no segments, and which calls
    /// came, and which are metered, is read from the lake.
    fn store_pending(&mut self) -> anyhow::Result<()> {
        if (self.join.is_used() || self.settings.mode == Mode::Bulk) && !self.pending.is_empty() {
            let mode = std::mem::replace(&mut self.settings.mode, Mode::Live);
            self.commit_lake()?;
            self.settings.mode = mode;
        }
        Ok(())
    }

    /// Goes on from local state; segments below `next_segment` are in the lake already. What does not decode is made again
    /// from the lake as a whole.
    fn resume(&mut self, state: LocalState, next_segment: u64) -> anyhow::Result<()> {
        let limits = super::seed::limits(&self.settings.config);
        let budgets = Arc::new(self.settings.config.budgets.clone());
        let (watch, ledger): (Vec<_>, Vec<_>) = state.ledger.into_iter().partition(|(key, _)| Watch::is_row(key));
        let ledger = Watch::load(&self.settings.config.runaway, watch.into_iter())
            .and_then(|watch| Ok((Ledger::load(Arc::clone(&budgets), limits, ledger.into_iter())?, watch)))
            .map_err(anyhow::Error::from);
        let pending = state.segments.iter().filter(|(sequence, _)| *sequence >= next_segment);
        let segments = pending.map(|(_, bytes)| segment::decode(bytes)).collect::<Result<Vec<_>, _>>().map_err(anyhow::Error::from);
        let ((ledger, watch), segments) = match (ledger, segments) {
            (Ok(ledger), Ok(segments)) => (ledger, segments),
            (Err(error), _) | (_, Err(error)) => {
                let path = self.settings.config.state.display();
                tracing::warn!(%path, error = format!("{error:#}"), "local state is damaged");
                return self.rebuild();
            }
        };
        if ledger.is_new() && !budgets.is_empty() && self.base.lake_epoch > 0 {
            // Only processes without budgets have written to it.
            return self.rebuild();
        }
        let head = self.base.clone();
        self.base = Base { lake_epoch: head.lake_epoch, lake_uuid: head.lake_uuid, sealing: None, ..state.base };
        // Before the sealing is forgotten, the segments it took must be.
        let write = LocalWrite { base: self.base.clone(), drop_segments_below: Some(next_segment), ..LocalWrite::default() };
        self.local.commit(&write)?;
        // Local state names only the shards that moved since it was made. Where the lake is behind, the next commit makes them durable, though
        // nothing more may ever be read of them.
        let behind = state.positions.iter().filter(|(shard, at)| self.positions.get(*shard) != Some(*at));
        self.unsettled.extend(behind.map(|(shard, _)| shard.clone()));
        self.positions.extend(state.positions);
        for (table, day, batch) in segments.into_iter().flatten() {
            self.take_pending(table, day, batch)?;
        }
        (self.ledger, self.watch) = (ledger, watch);
        if !self.undo_ahead(state.ahead)? {
            return self.rebuild();
        }
        if !budgets.is_empty() || !self.watch.is_empty() {
            // A rebuild may have written rows of breaches whose facts are still to be read again.
            self.recorded = crate::lakeview::breaches(&crate::lakeview::engine(&self.lake, self.live_rows())?)?.into_keys().collect();
        }
        let seeds = self.ledger.reconfigure(budgets);
        self.seed(seeds)
    }

    /// Takes over rows that an earlier process committed to local state alone.
    fn take_pending(&mut self, table: String, day: i32, batch: RecordBatch) -> anyhow::Result<()> {
        if table == DELTAS {
            return Ok(self.rollups.fold(batch)?);
        }
        if table == tables::CALLS {
            for_each_key(&batch, |at, key| self.pending_keys.entry(at.hour()).or_default().push(key))?;
            if !self.windows.is_empty() {
                let pending = self.uncommitted_calls();
                self.windows.fold(day, &batch, &self.lake, &pending)?;
            }
        }
        if table == tables::EVIDENCE {
            self.take_pending_evidence(&batch)?;
        }
        if table == tables::ACTIONS {
            self.audit_seen += batch.num_rows() as u64;
        }
        self.pending.push((table, day, batch));
        Ok(())
    }

    /// Newest commit under which an earlier process claimed something that is not settled: ours must not be older.
    fn unfinished_epoch(&self) -> anyhow::Result<u64> {
        let unfinished = self.shared.unfinished()?;
        Ok(unfinished.iter().map(|record| record.crossing.breach.epoch).max().unwrap_or(0))
    }

    /// Makes local state again from the lake, and tells how long it took.
    fn rebuild(&mut self) -> anyhow::Result<()> {
        let epoch = self.base.lake_epoch;
        if epoch == 0 {
            self.local.clear()?;
            return self.seed_all();
        }
        tracing::info!(epoch, "local state is made again from the lake");
        let begun = Instant::now();
        self.local.clear()?;
        self.seed_all()?;
        let calls: u64 = self.lake.files(tables::CALLS)?.iter().map(|file| file.rows).sum();
        let (took_ms, shards) = (begun.elapsed().as_millis() as u64, self.positions.len());
        tracing::info!(
            event = "rebuilt",
            epoch,
            calls,
            shards,
            took_ms,
            "local state was made again from the lake; sources go on from its positions"
        );
        Ok(())
    }
}

fn joined<T, E: Into<anyhow::Error>>(thread: ScopedJoinHandle<'_, Result<T, E>>) -> anyhow::Result<T> {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).map_err(Into::into)
}

/// Opens local state; a corrupt file is kept beside under another name, since the lake can make it again.
fn open_local(path: &Path) -> anyhow::Result<(LocalStore, Option<LocalState>)> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    let error = match LocalStore::open(path) {
        Ok(opened) => return Ok(opened),
        Err(error) if error.class() == ErrorClass::Corrupt => error,
        Err(error) => return Err(error.into()),
    };
    let aside = path.with_extension("corrupt");
    tracing::warn!(error = &error as &dyn std::error::Error, kept_as = %aside.display(), "local state is corrupt; it is made again from the lake");
    std::fs::rename(path, &aside).map_err(|source| anyhow::Error::new(error).context(format!("cannot set it aside: {source}")))?;
    Ok(LocalStore::open(path).map_err(|error: StoreError| error)?)
}
