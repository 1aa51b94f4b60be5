//! The two commits: local state (sub-second) and the lake.

use std::time::Instant;

use anyhow::Context;
use sluice_aggregate::store::{LocalWrite, Sealing, segment};
use sluice_enforce::CommitPermit;
use sluice_ingest::committed::Durable;
use sluice_schemas::{Micros, Position, ShardId, tables};

use super::{DELTAS, Mode, Pipeline};
use crate::lakeview::LiveRows;
use crate::operate::Phase;

impl Pipeline {
    pub(super) fn has_segment(&self) -> bool {
        !self.segment.is_empty() || !self.moved.is_empty() || self.ahead.is_dirty()
    }

    /// Takes over where the lake stands now, after commits that carry no records.
    pub(super) fn note_head(&mut self) -> anyhow::Result<()> {
        self.base.lake_epoch = self.lake.state().epoch;
        self.base.lake_uuid.clone_from(&self.lake.state().uuid);
        self.local.commit(&LocalWrite { base: self.base.clone(), ..LocalWrite::default() })?;
        Ok(())
    }

    /// Writes everything since the last one to local state, all or nothing (live mode).
    pub(super) fn commit_local(&mut self) -> anyhow::Result<()> {
        let ledger = self.dirty_rows();
        if !self.has_segment() && ledger.is_empty() {
            return Ok(());
        }
        let begun = Instant::now();
        let rows = std::mem::take(&mut self.segment);
        let bytes = if rows.is_empty() { None } else { Some(segment::encode(&rows)?) };
        let segment = bytes.map(|bytes| (self.base.next_segment, bytes));
        self.base.next_segment += u64::from(segment.is_some());
        self.base.watermark = self.watermark().unwrap_or(self.base.watermark);
        let write = LocalWrite { segment, ledger, ahead: self.ahead.take_dirty()?, ..self.local_write() };
        self.meter.board.set_phase(Phase::LocalCommit);
        self.local.commit(&write)?;
        self.committed.note(Durable::Local, write.positions);
        self.pending.extend(rows);
        self.meter.board.set_phase(Phase::Turning);
        self.meter.local_committed(begun.elapsed(), self.settings.clock.now(), !self.pending.is_empty());
        Ok(())
    }

    fn local_write(&mut self) -> LocalWrite {
        self.base.commit += 1;
        let moved = std::mem::take(&mut self.moved);
        let position =
            |shard: ShardId| -> Option<(ShardId, Position)> { self.positions.get(&shard).cloned().map(|position| (shard, position)) };
        let positions = moved.into_iter().filter_map(position).collect();
        LocalWrite { base: self.base.clone(), positions, ..LocalWrite::default() }
    }

    /// Publishes everything since the last lake commit.
    pub(super) fn commit_lake(&mut self) -> anyhow::Result<()> {
        let now = self.settings.clock.now();
        self.record_actions()?;
        if self.settings.mode == Mode::Live {
            self.commit_local()?;
        }
        let watermark = self.watermark().unwrap_or(self.base.watermark);
        let next_epoch = self.lake.state().epoch + 1;
        let windows = self.windows.publish(next_epoch, watermark)?;
        let rollups = self.rollups.finish()?;
        let moved = self.lake.state().positions != self.positions;
        let nothing = self.epoch.is_none() && self.pending.is_empty() && windows.is_empty() && rollups.is_empty();
        if nothing && !moved {
            return Ok(());
        }
        let begun = Instant::now();
        self.meter.board.set_phase(Phase::LakeCommit);
        self.let_go_of_brought();
        let mut epoch = self.epoch.take().unwrap_or_else(|| self.lake.begin_epoch());
        for (table, day, rows) in self.pending.iter().filter(|(table, _, _)| table != DELTAS) {
            epoch.append(table, *day, rows.clone())?;
        }
        for (table, day, rows) in rollups.into_iter().chain(windows) {
            epoch.append(&table, day, rows)?;
        }
        let sealed =
            epoch.seal()?.with_enforcement(self.enforcement()?).with_evidence_settled(self.evidence_settled(), self.evidence_from());
        let next_segment = if self.settings.mode == Mode::Live { self.base.next_segment } else { 0 };
        self.base.sealing = Some(Sealing { epoch: sealed.epoch(), uuid: sealed.uuid().to_owned(), next_segment });
        let ledger = self.dirty_rows();
        let write = LocalWrite { ledger, ahead: self.ahead.take_dirty()?, ..self.local_write() };
        self.local.commit(&write)?;
        let manifest = self.lake.commit(sealed, self.positions.clone(), watermark, now)?;
        tracing::debug!(event = "lake_commit", epoch = manifest.epoch, took_ms = begun.elapsed().as_millis() as u64, "lake commit");
        self.settle(manifest.epoch, manifest.uuid, watermark)?;
        self.meter.board.set_phase(Phase::Turning);
        self.meter.lake_committed(begun.elapsed(), self.settings.clock.now());
        Ok(())
    }

    /// Lets the spend that was summed so far become rows of the epoch under way; what follows is one more row of its key (bulk mode).
    pub(super) fn stage_rollups(&mut self) -> anyhow::Result<()> {
        for (table, day, rows) in self.rollups.finish()? {
            self.epoch().append(&table, day, rows)?;
        }
        Ok(())
    }

    /// Returns what the manifest carries of the ledger. A process without budgets leaves the word on them as it was.
    pub(super) fn enforcement(&self) -> anyhow::Result<serde_json::Value> {
        let mut carried = self.ledger.carried();
        if carried.budgets.is_empty()
            && let Some(before) = self.carried()?
        {
            carried.budgets = before.budgets;
        }
        self.with_prices(serde_json::to_value(carried).context("write what enforcement leaves in the manifest")?)
    }

    /// Notes in local state that a lake commit happened.
    pub(super) fn settle(&mut self, epoch: u64, uuid: String, watermark: Micros) -> anyhow::Result<()> {
        self.base.lake_epoch = epoch;
        self.base.lake_uuid = uuid;
        self.base.sealing = None;
        self.base.watermark = watermark;
        // Every segment there is went into this commit or an earlier one.
        let drop_segments_below = Some(self.base.next_segment);
        self.local.commit(&LocalWrite { base: self.base.clone(), drop_segments_below, ..LocalWrite::default() })?;
        self.pending.clear();
        self.waiting_bytes = 0;
        self.pending_keys.clear();
        self.dedup.committed(self.applied);
        self.join.committed(self.applied);
        let settled = std::mem::take(&mut self.unsettled);
        let settled: Vec<_> = settled.into_iter().filter_map(|shard| self.positions.get(&shard).cloned().map(|at| (shard, at))).collect();
        self.committed.note(Durable::Local, settled.iter().cloned());
        self.committed.note(Durable::Lake, settled);
        Ok(())
    }

    /// Rows of `calls` that are not in the lake, for windows that are loaded now (live mode; in bulk mode a window is
    /// loaded before the first of its rows is kept).
    pub(super) fn uncommitted_calls(&self) -> LiveRows {
        let rows = self.pending.iter().chain(&self.segment);
        rows.filter(|(table, _, _)| table == tables::CALLS).cloned().collect()
    }

    /// The one place where a permit is made: everything up to the last commit may be seen.
    pub(super) fn permit(&self) -> CommitPermit {
        CommitPermit::after_commit(self.base.commit)
    }
}
