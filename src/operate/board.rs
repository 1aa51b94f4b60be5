//! Where the coordinator, the workers and the watch thread pin what they know, and every reader finds it.
//!
//! Writers replace whole snapshots or single atomics; no reader can make one of them wait for more than a pointer's swap.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use sluice_schemas::{Clock, Micros, SystemClock};

use super::measures::Measures;
use super::ready::{self, Reason};
use super::watch::Outside;
use crate::config::ConfigMeasure;
use crate::coverage::CoverageMeasure;

/// Where a process stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Another process is the ledger; this one waits for its turn.
    Standby,
    /// Lake, local state and shared store are brought into step.
    Recovering,
    /// State is there, the sources are not open yet.
    Opening,
    /// Reading.
    Running,
    /// No longer reading; what was read is carried to the commit.
    Draining,
    /// Everything is committed; only the last export is left.
    Stopped,
}

impl Stage {
    /// Returns its word.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Standby => "standby",
            Self::Recovering => "recovering",
            Self::Opening => "opening",
            Self::Running => "running",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
        }
    }
}

/// What the coordinator is busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Taking one thing after the other.
    Turning,
    /// Writing local state.
    LocalCommit,
    /// Writing the lake.
    LakeCommit,
    /// Waiting for actions under way.
    Effects,
    /// Waiting for its threads to end.
    Joining,
}

const PHASES: [Phase; 5] = [Phase::Turning, Phase::LocalCommit, Phase::LakeCommit, Phase::Effects, Phase::Joining];
const STAGES: [Stage; 6] = [Stage::Standby, Stage::Recovering, Stage::Opening, Stage::Running, Stage::Draining, Stage::Stopped];

/// From when on something takes too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    /// A coordinator that has not turned for so long is stuck.
    pub(crate) stuck_after: Duration,
    /// A lake commit that something has waited for so long is overdue.
    pub(crate) overdue_after: Duration,
}

/// The board of one process.
pub(crate) struct Board {
    clock: Arc<dyn Clock>,
    started: Micros,
    terms: Terms,
    stage: AtomicU8,
    phase: AtomicU8,
    turned: AtomicI64,
    measures: RwLock<Option<Arc<Measures>>>,
    outside: RwLock<Arc<Outside>>,
    coverage: RwLock<Option<CoverageMeasure>>,
    config: RwLock<Arc<ConfigMeasure>>,
    /// The piece each worker has in hand.
    held: Mutex<BTreeMap<usize, String>>,
}

/// Everything known at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Sight {
    /// The moment.
    pub(crate) now: Micros,
    /// When the process started.
    pub(crate) started: Micros,
    /// Where it stands.
    pub(crate) stage: Stage,
    /// When the coordinator last turned; none before it began to.
    pub(crate) turned: Option<Micros>,
    /// The terms.
    pub(crate) terms: Terms,
    /// The last snapshot; none before the first.
    pub(crate) measures: Option<Arc<Measures>>,
    /// What the watch thread saw.
    pub(crate) outside: Arc<Outside>,
    /// What the last check of completeness found; none before the first.
    pub(crate) coverage: Option<CoverageMeasure>,
    /// The configuration in force, and what is the matter with a newer one.
    pub(crate) config: Arc<ConfigMeasure>,
}

impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Board").field("stage", &self.stage()).field("phase", &self.phase()).finish_non_exhaustive()
    }
}

impl Default for Board {
    /// A board that nobody looks at.
    fn default() -> Self {
        let hour = Duration::from_secs(3_600);
        Self::new(Arc::new(SystemClock), Terms { stuck_after: hour, overdue_after: hour })
    }
}

impl Board {
    /// Creates the board of a process that starts now.
    pub(crate) fn new(clock: Arc<dyn Clock>, terms: Terms) -> Self {
        Self {
            started: clock.now(),
            clock,
            terms,
            stage: AtomicU8::new(Stage::Recovering as u8),
            phase: AtomicU8::new(0),
            turned: AtomicI64::new(i64::MIN),
            measures: RwLock::new(None),
            outside: RwLock::default(),
            coverage: RwLock::default(),
            config: RwLock::default(),
            held: Mutex::default(),
        }
    }

    /// Begins with waiting for another process to end.
    pub(crate) fn stand_by(&self) {
        self.stage.store(Stage::Standby as u8, Ordering::Relaxed);
    }

    /// Moves on to a later stage; never back.
    pub(crate) fn enter(&self, stage: Stage) {
        self.stage.fetch_max(stage as u8, Ordering::Relaxed);
    }

    pub(crate) fn stage(&self) -> Stage {
        STAGES.get(usize::from(self.stage.load(Ordering::Relaxed))).copied().unwrap_or(Stage::Recovering)
    }

    /// Notes what the coordinator turns to.
    pub(crate) fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    pub(crate) fn phase(&self) -> Phase {
        PHASES.get(usize::from(self.phase.load(Ordering::Relaxed))).copied().unwrap_or(Phase::Turning)
    }

    /// Notes that the coordinator's loop turned.
    pub(crate) fn turn(&self, now: Micros) {
        self.turned.store(now.0, Ordering::Relaxed);
    }

    /// Replaces the snapshot.
    pub(crate) fn publish(&self, measures: Measures) {
        *self.measures.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(measures));
    }

    /// Replaces what is known of the world around the coordinator.
    pub(super) fn observe(&self, outside: Outside) {
        *self.outside.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(outside);
    }

    /// Replaces what the last check of completeness found.
    pub(crate) fn note_coverage(&self, found: CoverageMeasure) {
        *self.coverage.write().unwrap_or_else(PoisonError::into_inner) = Some(found);
    }

    /// Replaces what is known of the configuration.
    pub(crate) fn note_config(&self, found: ConfigMeasure) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(found);
    }

    /// Notes that a worker took a piece of `shard` in hand, or put it down. Once a piece, by its own worker: nobody waits here.
    pub(crate) fn hold(&self, worker: usize, shard: Option<&str>) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match shard {
            Some(shard) => held.insert(worker, shard.to_owned()),
            None => held.remove(&worker),
        };
    }

    /// Returns the pieces in hand: worker and shard.
    pub(crate) fn held(&self) -> Vec<(usize, String)> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|(worker, shard)| (*worker, shard.clone())).collect()
    }

    /// Returns everything known now.
    pub(crate) fn sight(&self) -> Sight {
        let turned = self.turned.load(Ordering::Relaxed);
        Sight {
            now: self.clock.now(),
            started: self.started,
            stage: self.stage(),
            turned: (turned != i64::MIN).then_some(Micros(turned)),
            terms: self.terms,
            measures: self.measures.read().unwrap_or_else(PoisonError::into_inner).clone(),
            outside: Arc::clone(&self.outside.read().unwrap_or_else(PoisonError::into_inner)),
            coverage: *self.coverage.read().unwrap_or_else(PoisonError::into_inner),
            config: Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner)),
        }
    }
}

impl Sight {
    /// Returns why the process is not ready; empty when it is.
    pub(crate) fn reasons(&self) -> Vec<Reason> {
        ready::reasons(self)
    }

    /// Tells whether the coordinator's loop turns. Before it begins to there is nothing that could be stuck.
    pub(crate) fn live(&self) -> bool {
        self.turned.is_none_or(|turned| age(self.now, turned) <= self.terms.stuck_after)
    }
}

/// Returns how long ago a moment was; zero for one to come.
pub(crate) fn age(now: Micros, at: Micros) -> Duration {
    Duration::from_micros(u64::try_from(now.0.saturating_sub(at.0)).unwrap_or(0))
}
