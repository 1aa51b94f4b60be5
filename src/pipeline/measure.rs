//! What the coordinator publishes of itself once a second, and how the shared store is asked beside it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use sluice_enforce::reconcile::intent::{Intent, Stage};
use sluice_enforce::reconcile::tripped;
use sluice_enforce::store::records::RecordKind;
use sluice_enforce::{HoldState, Mode, SharedStore, StoreError};
use sluice_ingest::source::{ShardHealth, ShardState};
use sluice_schemas::position::Positions;
use sluice_schemas::{Micros, Position};

use super::Pipeline;
use super::coordinate::{Flow, Handle};
use crate::operate::{BUDGETS_MAX, BudgetMeasure, HoldCount, LeverCount, Measures, Probe, Probed, ShardMeasure, SourceMeasure};

/// Time between two snapshots.
const EVERY: Duration = Duration::from_secs(1);
/// Snapshots for which the ranking of budget counters is kept: it looks at every counter there is.
const RANKING_EVERY: u64 = 5;

/// What was published so far.
#[derive(Debug, Default)]
pub(super) struct Measured {
    last: Option<Instant>,
    times: u64,
    /// The last ranking.
    budgets: Vec<BudgetMeasure>,
}

impl Pipeline {
    /// Publishes a snapshot when it is time to; in any case notes that the loop turned.
    pub(super) fn measure_if_due(&mut self, flow: &mut Flow, handle: &Handle) {
        self.meter.board.turn(self.settings.clock.now());
        if flow.measured.last.is_none_or(|last| last.elapsed() >= EVERY) {
            self.measure(flow, handle);
        }
    }

    /// Publishes a snapshot.
    pub(super) fn measure(&mut self, flow: &mut Flow, handle: &Handle) {
        flow.measured.last = Some(Instant::now());
        let now = self.settings.clock.now();
        if flow.measured.times.is_multiple_of(RANKING_EVERY) {
            flow.measured.budgets = self.near_limits(now);
        }
        flow.measured.times += 1;
        let (agents, sessions) = self.live.sizes();
        let given = handle.source.given.load(Ordering::Relaxed);
        let measures = Measures {
            counts: self.counts,
            lake_epoch: self.lake.state().epoch,
            fence: self.fence,
            watermark: self.watermark(),
            positions: self.positions.len() as u64,
            in_flight: given.saturating_sub(flow.next_apply),
            dedup_keys: self.dedup.len() as u64,
            dedup_bytes: self.dedup.bytes() as u64,
            agents: agents as u64,
            sessions: sessions as u64,
            outbox_open: self.in_hand.len() as u64,
            outbox_since: self.in_hand.values().min().copied(),
            budget_counters: (self.ledger.live_counters() as u64, self.ledger.spilled_counters() as u64),
            unconfirmed_budgets: self.ledger.unconfirmed().count() as u64,
            budgets: flow.measured.budgets.clone(),
            source: source(handle, &self.positions),
            ..self.meter.measures(now)
        };
        self.meter.board.publish(measures);
    }

    fn near_limits(&self, now: Micros) -> Vec<BudgetMeasure> {
        let pressing = self.ledger.pressing(now, BUDGETS_MAX).into_iter();
        let measure = |status: sluice_enforce::BudgetStatus| {
            Some(BudgetMeasure {
                spent: status.spent,
                limit: status.limit?,
                percent_millis: status.percent_millis?,
                budget: status.budget,
                target: status.target,
            })
        };
        pressing.filter_map(measure).collect()
    }

    /// Returns how the shared store is asked about fence and holds, from another thread.
    pub(crate) fn probe(&self) -> Probe {
        let shared = Arc::clone(&self.shared);
        let acts = !self.settings.config.enforce.levers.is_empty();
        Box::new(move || {
            let fence = shared.fence().map_err(|error| error.to_string())?;
            let holds = shared.holds().map_err(|error| error.to_string())?;
            let count = |mode: Mode, state: HoldState, word: &'static str| HoldCount {
                mode: mode.as_str(),
                state: word,
                count: holds.iter().filter(|hold| hold.mode == mode && hold.state == state).count() as u64,
            };
            let both = |mode| [count(mode, HoldState::Active, "active"), count(mode, HoldState::PendingApproval, "pending_approval")];
            let levers = if acts { Some(levers(&*shared).map_err(|error| error.to_string())?) } else { None };
            Ok(Probed { levers, fence, holds: [both(Mode::Observe), both(Mode::Approve), both(Mode::Enforce)].concat() })
        })
    }
}

fn levers(shared: &dyn SharedStore) -> Result<LeverCount, StoreError> {
    let mut levers = LeverCount { is_stopped: shared.stopped()?, is_broken: tripped(shared)?.is_some(), ..LeverCount::default() };
    for record in shared.records(RecordKind::Intent)? {
        let intent: Intent = serde_json::from_value(record.body).map_err(|error| StoreError::Corrupt {
            place: "the shared store".to_owned(),
            detail: format!("intent {}: {error}", record.id),
        })?;
        let is_failing = intent.trouble.is_some() || intent.ineffective.is_some() || intent.stage == Stage::Refused;
        levers.failing += u64::from(is_failing);
        levers.standing += u64::from(intent.stage == Stage::Stands && !is_failing);
    }
    Ok(levers)
}

fn source(handle: &Handle, positions: &Positions) -> SourceMeasure {
    let progress = handle.progress();
    SourceMeasure {
        files_total: progress.files_total,
        files_done: progress.files_done,
        bytes_total: progress.bytes_total,
        bytes_done: progress.bytes_done,
        shards: progress.shards.into_iter().map(|health| shard(positions.get(&health.shard), health)).collect(),
    }
}

fn shard(position: Option<&Position>, health: ShardHealth) -> ShardMeasure {
    let (state, stopped) = match health.state {
        ShardState::Reading => ("reading", None),
        ShardState::Waiting => ("waiting", None),
        ShardState::Stopped(why) => ("stopped", Some(why)),
        ShardState::Ended => ("ended", None),
    };
    ShardMeasure {
        shard: health.shard,
        state,
        stopped,
        behind_ms: health.behind_ms,
        behind_records: health.behind_records,
        headroom_ms: health.headroom_ms,
        offset: position.map_or(0, |position| position.offset),
        sequence: position.map(|position| position.sequence.as_str().to_owned()).unwrap_or_default(),
    }
}
