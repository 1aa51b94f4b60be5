//! How far spend can go past a threshold before a hold works: how long calls, their logs and this program take, the bound that follows,
//! and whether holds kept to it.

use serde::Serialize;
use sluice_enforce::BudgetStatus;
use sluice_enforce::hold::Hold;
use sluice_enforce::overshoot::{Bound, Delays, Spread, Watch};
use sluice_schemas::time::{DAY, MINUTE, SECOND};
use sluice_schemas::{CostBasis, Invocation, Micros, PicoUsd};

use super::worker::Decoded;
use super::{Mode, Pipeline};
use crate::config::Config;
use crate::view::Level;

/// What is taken for the length of a call while no log has told one: the longest answer of a large model takes minutes.
const CALL: i64 = 2 * MINUTE;
/// What is taken for the way of a log while none was seen: CloudWatch delivers within three minutes as a rule.
const LOG: i64 = 3 * MINUTE;
/// What is taken for the time from a record's arrival to its count while nothing was counted.
const PIPELINE: i64 = SECOND;
/// What a hold takes from its crossing until AWS has answered: a commit, the shared store, one call.
const DECISION: i64 = 5 * SECOND;
/// Share of lengths that the bound covers, in thousandths.
const SHARE: u64 = 990;

/// What was measured since the start, the last day or two of it.
pub(super) struct Exposure {
    call: Spread,
    log: Spread,
    pipeline: Spread,
    watch: Watch,
}

impl Default for Exposure {
    fn default() -> Self {
        Self { call: Spread::new(DAY), log: Spread::new(DAY), pipeline: Spread::new(DAY), watch: Watch::default() }
    }
}

/// A counter with the bound on what can be spent past its limit.
#[derive(Debug, Serialize)]
pub(crate) struct Exposed {
    #[serde(flatten)]
    status: BudgetStatus,
    /// The bound.
    exposure: PicoUsd,
    /// What it is made of.
    exposure_parts: Bound,
    /// What that rests on.
    delays: Delays,
}

impl Exposed {
    /// States the bound of a counter.
    pub(crate) fn of(status: BudgetStatus, delays: Delays) -> Self {
        let bound = status.exposure(&delays);
        Self { status, exposure: bound.total(), exposure_parts: bound, delays }
    }
}

impl Exposure {
    /// Takes what new calls tell, which arrived at `arrival`.
    fn note<'a>(&mut self, calls: impl Iterator<Item = &'a Invocation>, arrival: Micros) {
        for call in calls {
            let took = call.latency_ms.map_or(0, |millis| i64::from(millis) * 1_000);
            if call.latency_ms.is_some() {
                self.call.note(took, 1, arrival.0);
            }
            self.log.note(arrival.0 - call.event_time.0 - took, 1, arrival.0);
        }
    }

    /// Returns how long each part takes, as far as it was measured.
    fn delays(&self, propagation: i64) -> Delays {
        let of = |spread: &Spread, otherwise| spread.quantile(SHARE).unwrap_or(otherwise);
        Delays {
            call: of(&self.call, CALL),
            log: of(&self.log, LOG),
            pipeline: of(&self.pipeline, PIPELINE),
            decision: DECISION,
            propagation,
        }
    }
}

/// Returns what is taken where nothing was measured.
pub(crate) fn stated_delays(config: &Config) -> Delays {
    Exposure::default().delays(propagation(config))
}

fn propagation(config: &Config) -> i64 {
    i64::try_from(config.enforce.spread.as_micros()).unwrap_or(i64::MAX)
}

impl Pipeline {
    /// Measures how long new calls and their logs took. What is read in bulk is history and tells nothing of now.
    pub(super) fn note_delays(&mut self, decoded: &Decoded, keep: &[bool]) {
        if self.settings.mode == Mode::Live {
            // A metered call waited for its log: that is no delay of the log.
            let is_logged = |(call, keep): &(&Invocation, &bool)| **keep && call.basis != CostBasis::LowerBound;
            let calls = decoded.batch.batch.invocations.iter().zip(keep).filter(is_logged).map(|(call, _)| call);
            self.exposure.note(calls, decoded.arrival);
        }
    }

    /// Measures how long records took from their arrival to their count.
    pub(super) fn note_counted(&mut self, arrival: Micros, now: Micros, records: u64) {
        if self.settings.mode == Mode::Live {
            self.exposure.pipeline.note(now.0 - arrival.0, records, now.0);
        }
    }

    /// Returns every budget counter with its bound.
    pub(super) fn exposed(&self) -> Vec<Exposed> {
        let delays = self.exposure.delays(propagation(&self.settings.config));
        self.budget_status().into_iter().map(|status| Exposed::of(status, delays)).collect()
    }

    /// Holds the holds in force against what was stated, and notes in the audit trail how each did.
    pub(super) fn watch_overshoot(&mut self, holds: &[Hold], status: &[BudgetStatus], now: Micros) {
        let delays = self.exposure.delays(propagation(&self.settings.config));
        for kept in self.exposure.watch.look(holds, status, &delays) {
            if kept.is_violated() && !kept.ended {
                self.meter.overshot();
                let text = format!("{}: {} past its threshold, {} were stated", kept.target, kept.overshoot.shown(4), kept.bound.shown(4));
                self.live.event(now, Level::Alarm, text);
            }
            if kept.ended
                && let Err(error) = self.shared.audit(&kept.line(now))
            {
                tracing::warn!(hold = kept.hold, overshoot = %kept.overshoot, %error, "the overshoot of a hold is not in the audit trail");
            }
        }
    }
}
