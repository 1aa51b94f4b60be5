//! What has arrived, in order: whether it follows on (C3), and what of it is new.
//!
//! Calls are told from second deliveries by their ids. Refused records and control messages have none, so their place tells:
//! in the shard, or upstream where stateless workers delivered them.

use sluice_aggregate::evidence::Kinds;
use sluice_enrich::enricher::ReadMetadata;
use sluice_ingest::admit::{admit, refuse_gap, upstream_key};
use sluice_schemas::invariant::{Invariant, InvariantError};
use sluice_schemas::position::{ChainDecision, Positions, chain};
use sluice_schemas::{Batch, EnrichedBatch, Position, Rejected};

use super::worker::{Decoded, FoldJob};
use super::{Mode, Pipeline};

impl Pipeline {
    /// Marks new calls.
    pub(super) fn dedup(&mut self, mut decoded: Decoded) -> anyhow::Result<FoldJob> {
        // Evidence that was polled before the last commit and comes only now is not settled by it.
        decoded.arrival = decoded.arrival.max(self.lake.state().evidence_settled.plus(1));
        let last = self.reading.get(&decoded.span.shard).or_else(|| self.positions.get(&decoded.span.shard));
        match (chain(last, &decoded.span), last) {
            (ChainDecision::Accept, _) => {}
            (ChainDecision::Overlap, Some(last)) => drop_repeated(&mut decoded.batch.batch, last),
            (ChainDecision::Replay, Some(last)) => {
                tracing::debug!(shard = decoded.span.shard, "a stretch that was read before came again");
                decoded.span.to = last.clone();
                decoded.batch = EnrichedBatch::default();
                decoded.metadata = ReadMetadata::default();
                decoded.trail_keys.clear();
                decoded.trail_kinds = Kinds::default();
            }
            (decision, _) => {
                let detail = format!("{}: {decision:?} at {:?}", decoded.span.shard, decoded.span.to.place());
                return Err(InvariantError { invariant: Invariant::C3, detail }.into());
            }
        }
        self.reading.insert(decoded.span.shard.clone(), decoded.span.to.clone());
        self.refused.turn(self.lake.state().epoch, self.applied);
        let upstream = self.admit(&mut decoded.batch.batch)?;
        let mut keep = {
            let (lake, pending) = (&self.lake, &self.pending_keys);
            self.dedup.first_seen(&decoded.batch, &mut |hour| {
                let mut keys = sluice_aggregate::known::keys_of_hour(lake, hour)?;
                keys.extend(pending.get(&hour).into_iter().flatten());
                Ok::<_, sluice_aggregate::known::KnownError>(keys)
            })?
        };
        self.leave_expired(&decoded, &mut keep);
        self.note_delays(&decoded, &keep);
        let keep_trail = self.take_evidence(&decoded)?;
        let informed = self.inform(&mut decoded.batch, &keep, decoded.arrival)?;
        let late = self.watermark().map_or(0, |watermark| {
            let calls = decoded.batch.batch.invocations.iter().zip(&keep);
            calls.filter(|(call, keep)| **keep && call.event_time < watermark).count() as u64
        });
        let newest = decoded.batch.batch.invocations.iter().map(|call| call.event_time).max();
        self.newest_event = self.newest_event.max(newest);
        let bulk = self.settings.mode == Mode::Bulk;
        let (want_calls, want_shapes) = (!self.windows.is_empty(), !self.watch.is_empty());
        Ok(FoldJob { decoded, upstream, keep, keep_trail, informed, late, encode: bulk, want_calls, want_shapes })
    }

    /// Takes calls for known whose date the lake has let go: that they were counted cannot be looked up any more, and counting one twice
    /// is worse than leaving out one that comes months late.
    fn leave_expired(&self, decoded: &Decoded, keep: &mut [bool]) {
        let Some(first) = self.settings.config.retention.calls_from(self.settings.clock.now().day()) else { return };
        let mut left = 0;
        for (call, keep) in decoded.batch.batch.invocations.iter().zip(keep) {
            let expired = call.event_time.day() < first;
            left += u64::from(expired && *keep);
            *keep &= !expired;
        }
        if left > 0 {
            tracing::warn!(event = "expired_calls", calls = left, "calls came of dates that are not kept any more; they are not counted");
        }
    }

    /// Drops what a worker delivered before, and returns how far the batch leads in the shards upstream. A stretch that no worker
    /// delivered becomes a refused record, to be found and backfilled.
    fn admit(&mut self, batch: &mut Batch) -> anyhow::Result<Positions> {
        if batch.relayed.is_empty() {
            return Ok(Positions::new());
        }
        let known = |key: &String| self.reading.get(key).or_else(|| self.positions.get(key)).cloned();
        let keys = batch.relayed.iter().map(|relayed| upstream_key(&relayed.span.shard));
        let mut upstream: Positions = keys.filter_map(|key| known(&key).map(|at| (key, at))).collect();
        let mut refused = self.refused.look(&self.lake, &self.pending);
        let admitted = admit(batch, &mut upstream, &mut refused)?;
        batch.seen = batch.seen.saturating_sub(admitted.repeated_rejected + admitted.repeated_control);
        admitted.gaps.into_iter().for_each(|gap| refuse_gap(batch, gap));
        self.reading.extend(upstream.iter().map(|(key, at)| (key.clone(), at.clone())));
        Ok(upstream)
    }
}

/// Drops refused records that have their row already. Those of workers' messages are told by their place upstream.
fn drop_repeated(batch: &mut Batch, last: &Position) {
    if batch.relayed.is_empty() {
        let before = batch.rejected.len();
        batch.rejected.retain(|rejected| !is_behind(rejected, last));
        batch.seen -= (before - batch.rejected.len()) as u64;
    }
}

/// Tells whether a refused record lies before a position.
fn is_behind(rejected: &Rejected, last: &Position) -> bool {
    if rejected.sequence.is_none() { rejected.offset < last.offset } else { rejected.sequence <= last.sequence }
}
