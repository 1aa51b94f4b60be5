//! A budget after validation: what is counted, for whom, over which time, up to where, and what follows.
//!
//! Owns: the validated types and the two digests that tell a change of counting from a change of limits.
//! Does not own: reading the file ([`crate::config`]), counting ([`crate::ledger`]).

use std::collections::BTreeMap;
use std::fmt;

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sluice_schemas::time::{DAY, HOUR, MINUTE};
use sluice_schemas::{PicoUsd, Sums};

use crate::predicate::Predicate;
use crate::target::Dimension;

/// One budget.
#[derive(Clone, Debug)]
pub struct Budget {
    /// Unique name.
    pub name: String,
    /// Which calls count; `None` counts all.
    pub filter: Option<Predicate>,
    /// One counter for each distinct combination of these; empty for a single counter.
    pub each: Vec<Dimension>,
    /// How much may be spent.
    pub limit: LimitRule,
    /// Over which time.
    pub window: Window,
    /// IANA time zone of calendar periods.
    pub zone: TimeZone,
    /// Name of [`Budget::zone`].
    pub zone_name: String,
    /// Which cost column counts.
    pub count: CountBasis,
    /// What a call without a price counts; `None` leaves it out of the sum and only tells how many there were.
    pub worst_case: Option<WorstCase>,
    /// Whether calls count that are known from CloudTrail alone, at the lower bound of their cost.
    pub lower_bound: bool,
    /// Whether a hold pulls a permission or is only recorded.
    pub mode: Mode,
    /// Whether a hold waits for a person.
    pub approval: bool,
    /// In ascending order of severity as written.
    pub thresholds: Vec<Threshold>,
}

impl Budget {
    /// Returns a digest of everything that decides *what is counted*: a change of it makes old counters meaningless.
    #[must_use]
    pub fn counting_digest(&self) -> String {
        let filter = self.filter.as_ref().map_or("", Predicate::text);
        let each: Vec<String> = self.each.iter().map(ToString::to_string).collect();
        let zone = if self.window.is_calendar() { self.zone_name.as_str() } else { "" };
        let worst = self.worst_case.map_or_else(String::new, |rate| format!("{rate:?}"));
        let (each, window) = (each.join("\u{1f}"), self.window.to_string());
        let mut parts = vec![self.name.as_str(), filter, &each, &window, zone, self.count.as_str(), &worst];
        parts.extend(self.lower_bound.then_some("lower_bound"));
        digest(&parts)
    }

    /// Returns a digest of the whole budget.
    #[must_use]
    pub fn digest(&self) -> String {
        let limit = format!("{:?}", self.limit);
        let thresholds = format!("{:?}", self.thresholds);
        let approval = if self.approval { "approval" } else { "" };
        digest(&[&self.counting_digest(), &limit, &thresholds, self.mode.as_str(), approval])
    }

    /// Returns what `sums` add to a counter of this budget.
    ///
    /// Prices of unpriced calls are whole pico-dollars a unit, so the amount does not depend on how calls were grouped.
    #[must_use]
    pub fn amount(&self, sums: &Sums) -> PicoUsd {
        let known = match self.count {
            CountBasis::Cost => sums.cost,
            CountBasis::CostMax => sums.cost_max,
        };
        known + self.worst_case.map_or(PicoUsd::ZERO, |rate| rate.of(sums))
    }

    /// Returns the smallest amount of `limit` at which a hold follows.
    #[must_use]
    pub fn hold_at(&self, limit: PicoUsd) -> Option<PicoUsd> {
        let holds = self.thresholds.iter().filter(|threshold| threshold.actions.contains(&ActionKind::Hold));
        holds.map(|threshold| threshold.at.amount(limit)).min()
    }
}

/// Joins parts without ambiguity and hashes them.
pub(crate) fn digest(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    hex(&hasher.finalize()[..16])
}

/// Writes bytes as lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
        text
    })
}

/// How a target's limit is found. Exceptions of the file come first, then the source, then the base.
#[derive(Clone, Debug, Default)]
pub struct LimitRule {
    /// `limit`. Beside a tag it is also the ceiling: a tag may lower a limit and never raise it.
    pub base: Option<PicoUsd>,
    /// `limit_from`.
    pub source: Option<LimitSource>,
    /// `[budget.limits]`, by target.
    pub exceptions: BTreeMap<String, PicoUsd>,
}

/// Where a limit is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LimitSource {
    /// The value of a tag of the call or of its agent: an amount such as `25.00 USD`. The smallest one seen in the period counts.
    Tag(String),
    /// The limit that the agents file gives the agent.
    Agent,
}

/// The time a budget looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// The last `width` microseconds before any call.
    Rolling {
        /// Width, whole minutes.
        width: i64,
    },
    /// Calendar day of the budget's time zone.
    Day,
    /// ISO week, Monday first.
    Week,
    /// Calendar month.
    Month,
    /// From the first to the last call of a session.
    Session,
    /// For ever.
    Lifetime,
}

impl Window {
    /// Tells whether periods follow the calendar.
    #[must_use]
    pub const fn is_calendar(self) -> bool {
        matches!(self, Self::Day | Self::Week | Self::Month)
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Rolling { width } => write!(f, "rolling {}", Width(width)),
            Self::Day => f.write_str("day"),
            Self::Week => f.write_str("week"),
            Self::Month => f.write_str("month"),
            Self::Session => f.write_str("session"),
            Self::Lifetime => f.write_str("lifetime"),
        }
    }
}

/// Shows a width in its largest whole unit.
pub(crate) struct Width(pub(crate) i64);

impl fmt::Display for Width {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, name) = [(DAY, 'd'), (HOUR, 'h')].into_iter().find(|(unit, _)| self.0 % unit == 0).unwrap_or((MINUTE, 'm'));
        write!(f, "{}{name}", self.0 / unit)
    }
}

/// Which cost counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CountBasis {
    /// `cost_usd`.
    #[default]
    Cost,
    /// `cost_max_usd`, the upper bound where a log leaves the cost open.
    CostMax,
}

impl CountBasis {
    /// Returns the word of the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cost => "cost",
            Self::CostMax => "cost_max",
        }
    }
}

/// What a call without a price is counted at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorstCase {
    /// For each token of any class.
    PerToken(PicoUsd),
    /// For each call.
    PerCall(PicoUsd),
}

impl WorstCase {
    /// Returns what the unpriced calls among `sums` count.
    ///
    /// Tokens are summed over all calls of a delta. Calls of one delta share model, scope and minute and so are priced or not
    /// together; should they differ, all tokens count: the bound stays one.
    #[must_use]
    pub fn of(self, sums: &Sums) -> PicoUsd {
        if sums.unpriced == 0 {
            return PicoUsd::ZERO;
        }
        match self {
            Self::PerToken(rate) => {
                let tokens = u128::from(sums.usage.prompt()) + u128::from(sums.usage.output);
                PicoUsd(rate.0.saturating_mul(i128::try_from(tokens).unwrap_or(i128::MAX)))
            }
            Self::PerCall(rate) => PicoUsd(rate.0.saturating_mul(i128::from(sums.unpriced))),
        }
    }
}

/// Whether a budget acts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Holds are recorded and pull no permission.
    #[default]
    Observe,
    /// Holds pull the permission once a person approves them.
    Approve,
    /// Holds pull the permission.
    Enforce,
}

impl Mode {
    /// Returns the word of the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Approve => "approve",
            Self::Enforce => "enforce",
        }
    }

    /// Reads a word of the file.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Observe, Self::Approve, Self::Enforce].into_iter().find(|mode| mode.as_str() == text)
    }
}

/// A share of the limit, or an amount, and what follows when the spend reaches it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Threshold {
    /// Canonical text, for example `80%` or `20 USD`; its identity over changes of the file.
    pub text: String,
    /// Where it lies.
    pub at: At,
    /// What follows.
    pub actions: Vec<ActionKind>,
}

/// Where a threshold lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Thousandths of a percent of the limit.
    PercentMillis(u32),
    /// An amount.
    Amount(PicoUsd),
}

impl At {
    /// Returns the spend that reaches it.
    #[must_use]
    pub fn amount(self, limit: PicoUsd) -> PicoUsd {
        match self {
            Self::PercentMillis(percent) => limit.at_percent_millis(percent),
            Self::Amount(amount) => amount,
        }
    }
}

/// What can follow a crossing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActionKind {
    /// Tell: log, file, webhook.
    Notify,
    /// Stop the target.
    Hold,
}

impl ActionKind {
    /// Returns the word of the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Notify => "notify",
            Self::Hold => "hold",
        }
    }
}

/// Shows an amount without trailing zeros, as people write it.
pub(crate) fn short_usd(amount: PicoUsd) -> String {
    let exact = amount.to_string();
    let short = exact.trim_end_matches('0').trim_end_matches('.');
    format!("{short} USD")
}
