//! A batch becomes part of every state: counters, spend tables, windows, rows, positions.

use anyhow::bail;
use sluice_schemas::SpendView;
use sluice_schemas::invariant::{Invariant, InvariantError};

use super::worker::{Folded, Rows};
use super::{DELTAS, Mode, Pipeline};

impl Pipeline {
    /// Makes a batch part of every state.
    pub(super) fn apply(&mut self, folded: Folded) -> anyhow::Result<()> {
        let Folded { span, arrival, upstream, batch, deltas, delta_rows, rows, calls, shapes, counts, rejected, sequence: _ } = folded;
        if !counts.balanced() {
            return Err(InvariantError { invariant: Invariant::C1, detail: format!("{counts:?}") }.into());
        }
        let now = self.settings.clock.now();
        self.counts.add(&counts);
        let view = SpendView { batch: &batch, deltas: &deltas };
        self.directory.note(&batch.batch);
        self.note_counted(arrival, now, counts.records);
        let mut crossings = self.ledger.apply(view, now);
        crossings.extend(self.judge(&batch, &shapes, now));
        self.live.fold(view, now);
        self.note_usage(view, 1);
        self.live.arrived(now, counts.records, u64::try_from((now.0 - arrival.0) / 1_000).unwrap_or(0));
        self.meter.applied(arrival, self.settings.clock.now(), counts.records);
        self.meter.rejected(&rejected);
        for (day, rows) in calls {
            let pending = self.uncommitted_calls();
            self.windows.fold(day, &rows, &self.lake, &pending)?;
        }
        if let Some(delta_rows) = delta_rows {
            if self.settings.mode == Mode::Live {
                self.segment.push((DELTAS.to_owned(), 0, delta_rows.clone()));
            }
            self.rollups.fold(delta_rows)?;
        }
        for rows in rows {
            self.keep_rows(rows)?;
        }
        for crossing in crossings {
            self.record_breach(&crossing, now)?;
        }
        for (shard, to) in upstream.into_iter().chain([(span.shard, span.to)]) {
            self.moved.insert(shard.clone());
            self.unsettled.insert(shard.clone());
            self.positions.insert(shard, to);
        }
        self.applied += 1;
        Ok(())
    }

    /// Puts rows where the mode wants them.
    pub(super) fn keep_rows(&mut self, rows: Rows) -> anyhow::Result<()> {
        match (self.settings.mode, rows) {
            (Mode::Live, Rows::Plain(table, day, batch)) => {
                self.waiting_bytes += batch.get_array_memory_size();
                self.keep_recent(&table, &batch)?;
                self.segment.push((table, day, batch));
            }
            (Mode::Live, Rows::Encoded(_)) => bail!("an encoded group in live mode"),
            (Mode::Bulk, Rows::Plain(table, day, batch)) => self.epoch().append(&table, day, batch)?,
            (Mode::Bulk, Rows::Encoded(group)) => self.epoch().append_encoded(*group)?,
        }
        Ok(())
    }

    pub(super) fn epoch(&mut self) -> &mut sluice_aggregate::lake::EpochWriter {
        let lake = &mut self.lake;
        self.epoch.get_or_insert_with(|| lake.begin_epoch())
    }
}
