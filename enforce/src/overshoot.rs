//! What can be spent past a threshold before a hold works, and what was.
//!
//! Between the call that reaches a threshold and the first call that is refused lie: the rest of that call, the way of its log, the way
//! through here, the lever's call, and the time until AWS acts on it everywhere. Spend that begins in that stretch is the overshoot;
//! by the highest rate seen it has a bound, which is stated beforehand and checked afterwards. Pure, integers alone.
//!
//! Owns: the bound ([`Bound`]), the measure ([`measure`]), how long things take ([`Spread`]) and who kept to it ([`Watch`]).
//! Does not own: who is held, and when AWS heard of it.

use serde::Serialize;
use sluice_schemas::{Micros, PicoUsd};

mod spread;
#[cfg(test)]
mod tests;
mod watch;

pub use spread::Spread;
pub use watch::{Kept, Watch};

/// How long each part takes at most, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Delays {
    /// A call, from its start to its end.
    pub call: i64,
    /// From the end of a call until its log record has arrived.
    pub log: i64,
    /// From there until its spend is counted.
    pub pipeline: i64,
    /// From there until AWS has answered the lever's call.
    pub decision: i64,
    /// From there until AWS refuses calls everywhere.
    pub propagation: i64,
}

impl Delays {
    /// Returns how long after its start the call that reaches a threshold has stopped its target at the latest.
    #[must_use]
    pub fn total(&self) -> i64 {
        [self.call, self.log, self.pipeline, self.decision, self.propagation]
            .into_iter()
            .fold(0, |sum, part| sum.saturating_add(part.max(0)))
    }
}

/// The most that can be spent past a threshold while rate and delays stay within what was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Bound {
    /// Spend that begins before the hold works.
    pub running: PicoUsd,
    /// Spend of calls that were longer under way than [`Delays::call`] and so were not known in time.
    pub in_flight: PicoUsd,
    /// How long it can go on, in microseconds.
    pub for_micros: i64,
}

impl Bound {
    /// Works the bound out: `peak` is the largest spend of any stretch of `slot` microseconds, cut at multiples of it.
    ///
    /// A stretch as long as the delays touches at most one slot more than it fills, so that many peaks are what can lie in it.
    #[must_use]
    pub fn of(peak: PicoUsd, slot: i64, delays: &Delays, in_flight: PicoUsd) -> Self {
        let for_micros = delays.total();
        let slots = if for_micros == 0 { 0 } else { for_micros.div_euclid(slot.max(1)) + i64::from(for_micros % slot.max(1) > 0) + 1 };
        Self { running: PicoUsd(peak.0.max(0).saturating_mul(i128::from(slots))), in_flight, for_micros }
    }

    /// Returns the bound as one amount.
    #[must_use]
    pub fn total(&self) -> PicoUsd {
        PicoUsd(self.running.0.saturating_add(self.in_flight.0))
    }
}

/// When things happened that lead to a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moments {
    /// Start of the call that reached the threshold.
    pub crossed: Micros,
    /// Its log record arrived.
    pub arrived: Micros,
    /// Its spend was counted.
    pub decided: Micros,
    /// AWS answered the lever's call.
    pub applied: Micros,
}

/// A call that was let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PastCall {
    /// When it began.
    pub start: Micros,
    /// How long it took, in microseconds.
    pub duration: i64,
    /// What it cost.
    pub cost: PicoUsd,
}

/// What was spent past a threshold, by the part of the way it was spent in. The parts add up to the whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Overshoot {
    /// By calls that began before the crossing was known here: while the call went on and its log was on its way.
    pub log_lag: PicoUsd,
    /// While it was being counted.
    pub pipeline: PicoUsd,
    /// While the lever was being pulled.
    pub decision: PicoUsd,
    /// After AWS had answered, while it was not acting on it everywhere.
    pub propagation: PicoUsd,
    /// By calls that were under way when AWS answered: no lever ends those.
    pub in_flight: PicoUsd,
    /// Calls in all.
    pub calls: u64,
    /// When the last of them began.
    pub last_call: Option<Micros>,
}

impl Overshoot {
    /// Returns the whole.
    #[must_use]
    pub fn total(&self) -> PicoUsd {
        [self.log_lag, self.pipeline, self.decision, self.propagation, self.in_flight].into_iter().sum()
    }
}

/// Sorts the calls of a held target that were let through after the threshold was reached. Those before it are passed over.
#[must_use]
pub fn measure(moments: &Moments, calls: impl IntoIterator<Item = PastCall>) -> Overshoot {
    let mut found = Overshoot::default();
    for call in calls.into_iter().filter(|call| call.start > moments.crossed) {
        let part = if call.start > moments.applied {
            &mut found.propagation
        } else if call.start.0.saturating_add(call.duration) > moments.applied.0 {
            &mut found.in_flight
        } else if call.start > moments.decided {
            &mut found.decision
        } else if call.start > moments.arrived {
            &mut found.pipeline
        } else {
            &mut found.log_lag
        };
        *part += call.cost;
        found.calls += 1;
        found.last_call = found.last_call.max(Some(call.start));
    }
    found
}
