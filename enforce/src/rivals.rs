//! What other ways of watching a budget would have done on the same calls: how far spend went past the limit, and how many calls were
//! refused that should not have been. Pure, integers alone.
//!
//! Every way sees the same calls of a target, each as it begins. It says whether the call goes through; what it lets through costs its price
//! when it ends. A way differs in what it knows at that moment and in how long its word takes to be obeyed. The truth that it is judged by is
//! the spend of the calls let through that began before.
//!
//! Owns: the trace, the ways, the judgement. Does not own: how the ledger itself counts.

use std::collections::BTreeMap;

use serde::Serialize;
use sluice_schemas::{Micros, PicoUsd};

#[cfg(test)]
mod tests;
mod trace;
mod way;

pub use trace::{Generated, TraceCall, generate};
pub use way::{Way, ways};

use way::Watcher;

/// What is simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Most that each target may spend in a period.
    pub limit: PicoUsd,
    /// Length of a period in microseconds; periods begin at multiples of it.
    pub period: i64,
    /// Draws whatever is random.
    pub seed: u64,
}

/// How one way did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Its name.
    pub way: String,
    /// Spend past the limit, over all targets and periods.
    pub overshoot_usd: PicoUsd,
    /// The largest of one target and period.
    pub worst_usd: PicoUsd,
    /// Targets and periods that went past the limit.
    pub over: u64,
    /// What was spent.
    pub spent_usd: PicoUsd,
    /// Calls refused.
    pub denied: u64,
    /// Calls refused while their target had not reached its limit.
    pub false_denials: u64,
    /// What those would have cost.
    pub false_denials_usd: PicoUsd,
}

/// Runs every way on the same calls. A target's calls are looked at apart from those of others.
#[must_use]
pub fn compare(calls: &[TraceCall], terms: &Terms, ways: &[Way]) -> Vec<Outcome> {
    let mut targets: BTreeMap<&str, Vec<&TraceCall>> = BTreeMap::new();
    for call in calls {
        targets.entry(&call.target).or_default().push(call);
    }
    for of_target in targets.values_mut() {
        of_target.sort_by_key(|call| (call.start, call.duration, call.cost));
    }
    ways.iter()
        .map(|way| {
            let mut outcome = Outcome { way: way.name(), ..Outcome::default() };
            for (number, of_target) in targets.values().enumerate() {
                run(way, of_target, terms, number as u64, &mut outcome);
            }
            outcome
        })
        .collect()
}

fn run(way: &Way, calls: &[&TraceCall], terms: &Terms, target: u64, outcome: &mut Outcome) {
    let mut watcher = Watcher::new(way, terms, target);
    let (mut period, mut spent) = (i64::MIN, PicoUsd::ZERO);
    for call in calls {
        let of_call = terms.period_of(call.start);
        if of_call != period {
            outcome.close(spent, terms.limit);
            (period, spent) = (of_call, PicoUsd::ZERO);
        }
        if watcher.refuses(call.start) {
            outcome.denied += 1;
            if spent < terms.limit {
                outcome.false_denials += 1;
                outcome.false_denials_usd += call.cost;
            }
        } else {
            spent += call.cost;
            watcher.lets_through(call);
        }
    }
    outcome.close(spent, terms.limit);
}

impl Terms {
    /// Returns the start of the period that holds a moment.
    pub(crate) fn period_of(&self, at: Micros) -> i64 {
        let period = self.period.max(1);
        at.0.div_euclid(period) * period
    }
}

impl Outcome {
    /// Takes the spend of a target's period.
    fn close(&mut self, spent: PicoUsd, limit: PicoUsd) {
        self.spent_usd += spent;
        if spent > limit {
            let over = PicoUsd(spent.0 - limit.0);
            self.overshoot_usd += over;
            self.worst_usd = self.worst_usd.max(over);
            self.over += 1;
        }
    }
}
