//! What stateless workers deliver twice: refused records and control messages have no id, so their place upstream tells.

use sluice_ingest::admit::{admit, upstream_key};
use sluice_schemas::position::Positions;
use sluice_schemas::{Batch, RejectReason, Rejected};

use super::Pipeline;

impl Pipeline {
    /// Drops what a worker delivered before, and returns how far the batch leads in the shards upstream. A stretch that no worker
    /// delivered becomes a refused record, to be found and backfilled.
    pub(super) fn admit(&mut self, batch: &mut Batch) -> Positions {
        if batch.relayed.is_empty() {
            return Positions::new();
        }
        let known = |key: &String| self.reading.get(key).or_else(|| self.positions.get(key)).cloned();
        let keys = batch.relayed.iter().map(|relayed| upstream_key(&relayed.span.shard));
        let mut upstream: Positions = keys.filter_map(|key| known(&key).map(|at| (key, at))).collect();
        let admitted = admit(batch, &mut upstream);
        batch.seen = batch.seen.saturating_sub(admitted.repeated_rejected + admitted.repeated_control);
        for gap in admitted.gaps {
            let detail =
                format!("{}: no worker delivered what lies between {:?} and {:?}", gap.shard, gap.after.place(), gap.before.place());
            tracing::error!(shard = gap.shard, detail, "a stretch upstream is missing: replay it from where it is kept");
            batch.seen += 1;
            let (offset, sequence) = (gap.after.offset, gap.after.sequence);
            batch.rejected.push(Rejected { offset, sequence, reason: RejectReason::DataGap { detail }, raw: Vec::new() });
        }
        self.reading.extend(upstream.iter().map(|(key, at)| (key.clone(), at.clone())));
        upstream
    }
}
