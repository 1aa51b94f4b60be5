//! When a process counts as ready, and what stands in the way: a pure decision over what is known.

use serde::{Deserialize, Serialize};

use super::board::{Sight, Stage, age};
use super::measures::Measures;

/// Shards that are named one by one.
const STOPPED_SHOWN: usize = 20;

/// Why a process is not ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reason {
    /// What it is about.
    pub(crate) resource: String,
    /// What is wrong with it.
    pub(crate) problem: String,
    /// What to do.
    pub(crate) fix: String,
}

fn reason(resource: impl Into<String>, problem: impl Into<String>, fix: impl Into<String>) -> Reason {
    Reason { resource: resource.into(), problem: problem.into(), fix: fix.into() }
}

/// Returns everything that stands in the way.
pub(super) fn reasons(sight: &Sight) -> Vec<Reason> {
    match sight.stage {
        Stage::Standby => {
            let fix = "nothing: it takes over by itself once the ledger has ended or has been silent for as long as its lease lasts";
            return vec![reason("process", "is a standby: another one is the ledger", fix)];
        }
        Stage::Recovering => {
            let fix = "wait: it takes longest when local state was lost and is made again from the lake; the log tells";
            return vec![reason("state", "is being recovered", fix)];
        }
        Stage::Opening => return vec![reason("sources", "are not open yet", "wait; if it stays so, the log names the source")],
        Stage::Draining | Stage::Stopped => {
            return vec![reason("process", "is stopping: what was read is being committed", "start it again, or look at its successor")];
        }
        Stage::Running => {}
    }
    let mut reasons = Vec::new();
    if !sight.live() {
        let silent = sight.turned.map_or(0, |turned| age(sight.now, turned).as_secs());
        let problem = format!("has not turned for {silent} s");
        reasons.push(reason("coordinator", problem, "look at disk and lake; a restart is safe: what was committed stays"));
    }
    match &sight.measures {
        Some(measures) => of_measures(sight, measures, &mut reasons),
        None => reasons.push(reason("measures", "none were taken yet", "wait a second")),
    }
    if let Some(problem) = &sight.outside.store_problem {
        let fix = "restore access to the shared store: without it no action can be claimed";
        reasons.push(reason("shared store", format!("cannot be read, so whether the fence holds is not known: {problem}"), fix));
    }
    reasons
}

fn of_measures(sight: &Sight, measures: &Measures, reasons: &mut Vec<Reason>) {
    let stopped: Vec<_> = measures.source.shards.iter().filter_map(|shard| Some((shard, shard.stopped.as_ref()?))).collect();
    for (shard, why) in stopped.iter().take(STOPPED_SHOWN) {
        let fix = "read what is missing from a backup of the logs (sluice replay), then order the shard to go on behind the gap";
        reasons.push(reason(format!("shard {}", shard.shard), format!("stopped: {why}"), fix));
    }
    if stopped.len() > STOPPED_SHOWN {
        let more = stopped.len() - STOPPED_SHOWN;
        reasons.push(reason(format!("{more} more shards"), "stopped", "see sluice status"));
    }
    if let Some(since) = measures.waiting_since {
        let waited = age(sight.now, since);
        if waited > sight.terms.overdue_after {
            let problem = format!("is overdue: rows have waited {} s, epoch {} was the last", waited.as_secs(), measures.lake_epoch);
            reasons.push(reason("lake commit", problem, "look at free space, permissions and speed of the lake's storage"));
        }
    }
    if let Some(current) = sight.outside.fence.filter(|current| *current > measures.fence) {
        let problem = format!("{} is behind {current}: a newer process took over", measures.fence);
        reasons.push(reason("fence", problem, "stop this process; it commits and acts no more"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::operate::measures::{ShardMeasure, SourceMeasure};
    use crate::operate::{Board, Terms};
    use sluice_schemas::Micros;

    fn sight() -> Sight {
        let board = Board::default();
        board.enter(Stage::Running);
        let mut sight = board.sight();
        sight.terms = Terms { stuck_after: Duration::from_secs(60), overdue_after: Duration::from_secs(90) };
        sight.turned = Some(sight.now);
        sight.measures = Some(Arc::new(Measures { fence: 3, ..Measures::default() }));
        sight
    }

    fn with(change: impl FnOnce(&mut Sight, &mut Measures)) -> Vec<String> {
        let mut sight = sight();
        let mut measures = Measures::clone(sight.measures.as_ref().unwrap());
        change(&mut sight, &mut measures);
        sight.measures = Some(Arc::new(measures));
        sight.reasons().into_iter().map(|reason| reason.resource).collect()
    }

    #[test]
    fn nothing_in_the_way_is_ready() {
        assert!(sight().reasons().is_empty());
        assert!(sight().live());
    }

    #[test]
    fn each_obstacle_names_its_resource() {
        let seconds = |now: Micros, seconds: i64| Micros(now.0 - seconds * sluice_schemas::time::SECOND);
        assert_eq!(with(|sight, _| sight.stage = Stage::Recovering), ["state"]);
        assert_eq!(with(|sight, _| sight.stage = Stage::Opening), ["sources"]);
        assert_eq!(with(|sight, _| sight.stage = Stage::Draining), ["process"]);
        assert_eq!(with(|sight, _| sight.turned = Some(seconds(sight.now, 61))), ["coordinator"]);
        assert_eq!(with(|sight, measures| measures.waiting_since = Some(seconds(sight.now, 91))), ["lake commit"]);
        assert!(with(|sight, measures| measures.waiting_since = Some(seconds(sight.now, 89))).is_empty());
        let fence = |current| move |sight: &mut Sight, _: &mut Measures| Arc::make_mut(&mut sight.outside).fence = Some(current);
        assert_eq!(with(fence(4)), ["fence"]);
        assert!(with(fence(3)).is_empty());
        assert_eq!(with(|sight, _| Arc::make_mut(&mut sight.outside).store_problem = Some("gone".to_owned())), ["shared store"]);
        let stopped = |_: &mut Sight, measures: &mut Measures| {
            let shard =
                |number: usize| ShardMeasure { shard: format!("s{number}"), stopped: Some("gap".to_owned()), ..ShardMeasure::default() };
            measures.source = SourceMeasure { shards: (0..25).map(shard).collect(), ..SourceMeasure::default() };
        };
        let reasons = with(stopped);
        assert_eq!((reasons.len(), reasons[0].as_str(), reasons[20].as_str()), (21, "shard s0", "5 more shards"));
    }

    #[test]
    fn every_reason_says_what_to_do() {
        let mut sight = sight();
        sight.measures = None;
        sight.turned = Some(Micros(0));
        for stage in [Stage::Standby, Stage::Recovering, Stage::Opening, Stage::Running, Stage::Draining] {
            sight.stage = stage;
            let reasons = sight.reasons();
            assert!(!reasons.is_empty() && reasons.iter().all(|reason| !reason.fix.is_empty() && !reason.problem.is_empty()));
        }
    }
}
