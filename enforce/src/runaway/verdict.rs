//! What a detector says, in words with numbers, and how it becomes a crossing.

use serde::{Deserialize, Serialize};
use sluice_schemas::breach::Breach;
use sluice_schemas::time::{DAY, HOUR, MINUTE, SECOND};
use sluice_schemas::{Micros, PicoUsd};

use super::rule::Rule;
use crate::budget::{ActionKind, digest};
use crate::fire::{BREACH_SCHEMA, Crossing, HoldTerms, Withheld};

/// Which detector found something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Detector {
    /// Near-equal calls at a steady interval.
    Loop,
    /// Prompts that grow call after call.
    Growth,
    /// Failed calls that are made again and again.
    Errors,
    /// Sessions that are opened at once.
    FanOut,
    /// Spend above the target's own usual days.
    Baseline,
    /// Spend above a chosen rate.
    Burn,
}

impl Detector {
    /// Every detector, the most telling first: where several see the same, the first one speaks.
    pub const ALL: [Self; 6] = [Self::Loop, Self::Growth, Self::Errors, Self::FanOut, Self::Baseline, Self::Burn];

    /// Returns the word of the file and of a breach.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Loop => "loop",
            Self::Growth => "growth",
            Self::Errors => "errors",
            Self::FanOut => "fan_out",
            Self::Baseline => "baseline",
            Self::Burn => "burn",
        }
    }
}

/// A runaway: the fact, before it has a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Who found it.
    pub detector: Detector,
    /// Event time at which the episode began: of the first call of a loop or a snowball, else of the call that tipped it.
    pub start: Micros,
    /// Event time of the call that was judged.
    pub at: Micros,
    /// What was spent: of a run since it began, else in the slow window.
    pub spent: PicoUsd,
    /// What may be spent before it is a finding.
    pub limit: PicoUsd,
    /// What was seen.
    pub explanation: String,
}

/// Returns the fire id of an episode: it names nothing that depends on when or in which batches calls arrived.
#[must_use]
pub fn fire_id(rule: &str, target: &str, detector: Detector, start: Micros) -> String {
    digest(&["runaway/1", rule, target, detector.as_str(), &start.0.to_string()])
}

/// Puts a crossing together. A hold that would be over already is not put: someone has to hear of it instead.
pub(super) fn crossing(rule: &Rule, target: &str, finding: Finding, live_targets: u64, now: Micros) -> Crossing {
    let mut actions = rule.actions.clone();
    let holds = actions.contains(&ActionKind::Hold);
    let withheld = (holds && finding.at.plus(rule.hold_for) <= now).then_some(Withheld::PeriodOver);
    if withheld.is_some() {
        actions = vec![ActionKind::Notify];
    }
    let until = Some(now.max(finding.at).plus(rule.hold_for));
    let breach = Breach {
        schema: BREACH_SCHEMA.to_owned(),
        fire_id: fire_id(&rule.name, target, finding.detector, finding.start),
        budget: rule.name.clone(),
        target: target.to_owned(),
        period: format!("{}@{}", finding.detector.as_str(), finding.start),
        period_start: finding.start,
        period_end: None,
        threshold: finding.detector.as_str().to_owned(),
        limit_usd: finding.limit,
        spent_usd: finding.spent,
        projected_usd: None,
        projection: None,
        unpriced_calls: 0,
        event_time: finding.at,
        detected_at: now,
        actions: actions.iter().map(|kind| kind.as_str().to_owned()).collect(),
        mode: rule.mode.as_str().to_owned(),
        epoch: 0,
        note: withheld.map(|reason| format!("hold not put: {}", reason.as_str())),
        explanation: Some(finding.explanation),
    };
    let hold = (holds && withheld.is_none()).then_some(HoldTerms {
        approval: rule.mode == crate::Mode::Approve,
        until,
        live_targets,
        hold_at: None,
        why: None,
    });
    Crossing { breach, actions, withheld, hold }
}

/// Writes a length of time as people say it: `45 s`, `4 min`, `3 h`, with one decimal below ten seconds.
pub(super) fn span(micros: i64) -> String {
    match micros.max(0) {
        under if under < 10 * SECOND => format!("{}.{} s", under / SECOND, under % SECOND * 10 / SECOND),
        under if under < 2 * MINUTE => format!("{} s", under / SECOND),
        under if under < 2 * HOUR => format!("{} min", under / MINUTE),
        under if under < 2 * DAY => format!("{} h", under / HOUR),
        days => format!("{} days", days / DAY),
    }
}

/// Writes how many times one amount is another, for people.
pub(super) fn times(amount: i128, of: i128) -> String {
    if of <= 0 {
        return "many ×".to_owned();
    }
    let tenths = amount.saturating_mul(10) / of;
    if tenths < 100 { format!("{}.{}×", tenths / 10, tenths % 10) } else { format!("{}×", tenths / 10) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_multiples_read_well() {
        let spans = [5_800_000, 45 * SECOND, 4 * MINUTE, 3 * HOUR, 9 * DAY].map(span);
        assert_eq!(spans, ["5.8 s", "45 s", "4 min", "3 h", "9 days"]);
        assert_eq!([times(18, 1), times(25, 10), times(1, 0)], ["18×", "2.5×", "many ×"]);
    }
}
