//! What a comparison came to: rows, their sums, what stands beside usage, and what could not be explained.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sluice_schemas::time::{DAY, HOUR, format_day};
use sluice_schemas::{Micros, PicoUsd};

use super::causes::{Causes, Explained};
use super::line::{Line, Unlogged};
use super::timing::Day;
use super::{BilledLine, Key, LineKind, SETTLING};
use crate::prices::Tier;

/// One line of one principal on one day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The day, in days since 1970.
    pub day: i32,
    /// The account.
    pub account: Arc<str>,
    /// The principal; empty where the bill names none.
    pub principal: Arc<str>,
    /// What was used.
    pub line: Arc<Line>,
    /// The usage types of the bill that are this line.
    pub usage_types: BTreeSet<String>,
    /// Lines of the bill.
    pub lines: i128,
    /// Our calls.
    pub calls: i128,
    /// Of them, those without a price.
    pub unpriced_calls: i128,
    /// Quantity on the bill, in 10⁻¹² units.
    pub billed_quantity: i128,
    /// Our quantity, in 10⁻¹² units.
    pub our_quantity: i128,
    /// What is billed.
    pub billed: PicoUsd,
    /// What we have.
    pub ours: PicoUsd,
    /// Why they differ; the sum is `billed − ours`.
    pub causes: Causes,
    /// Why our side has no calls.
    pub unlogged: Option<Unlogged>,
    /// Why something is unexplained.
    pub why: Option<String>,
    /// The report may not be complete for this day yet.
    pub settling: bool,
}

impl Row {
    pub(super) fn new(key: Key, usage_types: BTreeSet<String>, both: &Day, explained: Explained, newest: Option<Micros>) -> Self {
        let end = (i64::from(key.day) + 1) * DAY;
        Self {
            day: key.day,
            account: key.account,
            principal: key.principal,
            line: key.line,
            usage_types,
            lines: both.billed.lines,
            calls: both.ours.calls,
            unpriced_calls: both.ours.unpriced,
            billed_quantity: both.billed.quantity,
            our_quantity: both.ours.quantity,
            billed: PicoUsd(both.billed.billed),
            ours: PicoUsd(both.ours.cost),
            causes: explained.causes,
            unlogged: explained.unlogged,
            why: explained.why,
            settling: newest.is_some_and(|newest| end > newest.0 + HOUR - SETTLING),
        }
    }

    /// Returns billed − ours.
    #[must_use]
    pub fn variance(&self) -> PicoUsd {
        self.billed - self.ours
    }
}

impl Line {
    /// Returns the line of a type of lines that is not known.
    pub(super) fn of_unknown_type(read: &Self, billed: &BilledLine) -> Self {
        let why = format!("line item type '{}' is not known", billed.line_type);
        let measured = super::line::Measured::Unknown { usage_type: billed.usage_type.clone(), why };
        Self { model: String::new(), tier: Tier::Standard, global: false, measured, ..read.clone() }
    }
}

/// Lines of the bill that are no usage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Beside {
    /// How many.
    pub lines: u64,
    /// Their sum.
    pub amount: PicoUsd,
}

impl Beside {
    pub(super) fn add(&mut self, lines: u64, amount: PicoUsd) {
        self.lines += lines;
        self.amount += amount;
    }
}

/// Something that is not known, and what it amounts to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unexplained {
    /// The usage type.
    pub usage_type: String,
    /// Why it is not known.
    pub why: String,
    /// Lines of the bill.
    pub lines: i128,
    /// What is unexplained.
    pub amount: PicoUsd,
}

/// What rows are summed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The day.
    Day,
    /// The principal.
    Principal,
    /// The model.
    Model,
    /// Model, unit, region, scope and tier.
    UsageType,
}

/// A sum of rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// What they have in common.
    pub name: String,
    /// What is billed.
    pub billed: PicoUsd,
    /// What we have.
    pub ours: PicoUsd,
    /// Why they differ.
    pub causes: Causes,
    /// Of the difference, what lies in days for which the report may not be complete yet.
    pub settling: PicoUsd,
}

impl Group {
    /// Returns billed − ours.
    #[must_use]
    pub fn variance(&self) -> PicoUsd {
        self.billed - self.ours
    }

    fn add(&mut self, row: &Row) {
        self.billed += row.billed;
        self.ours += row.ours;
        self.causes += row.causes;
        if row.settling {
            self.settling += row.variance();
        }
    }
}

/// What a comparison came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Every row, the largest difference first.
    pub rows: Vec<Row>,
    /// Their sum.
    pub total: Group,
    /// What was moved between days: the cause `timing` sums to nothing.
    pub moved: PicoUsd,
    /// What is unlogged, by the reason.
    pub unlogged: BTreeMap<Unlogged, PicoUsd>,
    /// What is unexplained, by usage type.
    pub unexplained: Vec<Unexplained>,
    /// Lines of the bill that are no usage, and so no part of the difference.
    pub beside: BTreeMap<LineKind, Beside>,
    /// Usage types of which the bill does not say what their amounts count.
    pub assumed_units: BTreeSet<String>,
    /// The bill tells principals.
    pub by_principal: bool,
    /// Days and usage types of which it tells none although it does elsewhere.
    pub nameless_rows: usize,
    /// Our calls.
    pub calls: u64,
    /// Our calls that hide their model.
    pub hidden_calls: u64,
    /// Tokens written to the cache whose lifetime the log does not tell.
    pub lifetime_unknown: u64,
}

impl Report {
    pub(super) fn add(&mut self, row: Row) {
        self.total.add(&row);
        self.moved += row.causes.timing.max(PicoUsd::ZERO);
        if let Some(reason) = row.unlogged {
            *self.unlogged.entry(reason).or_default() += row.causes.unlogged;
        }
        if let Some(why) = &row.why {
            let usage_type = row.usage_types.iter().cloned().collect::<Vec<_>>().join(", ");
            let known = self.unexplained.iter_mut().find(|known| known.usage_type == usage_type && known.why == *why);
            match known {
                Some(known) => {
                    known.lines += row.lines;
                    known.amount += row.causes.unexplained;
                }
                None => {
                    let (why, lines, amount) = (why.clone(), row.lines, row.causes.unexplained);
                    self.unexplained.push(Unexplained { usage_type, why, lines, amount });
                }
            }
        }
        self.rows.push(row);
    }

    pub(super) fn finish(mut self) -> Self {
        let order = |row: &Row| (std::cmp::Reverse(row.variance().0.unsigned_abs()), row.day);
        self.rows.sort_by(|a, b| {
            order(a).cmp(&order(b)).then_with(|| (&a.account, &a.principal, &a.line).cmp(&(&b.account, &b.principal, &b.line)))
        });
        self.unexplained
            .sort_by(|a, b| (b.amount.0.unsigned_abs(), &a.usage_type, &a.why).cmp(&(a.amount.0.unsigned_abs(), &b.usage_type, &b.why)));
        self
    }

    /// Sums the rows up, the largest difference first; days in their order.
    #[must_use]
    pub fn by(&self, by: By) -> Vec<Group> {
        let mut groups: BTreeMap<String, Group> = BTreeMap::new();
        for row in &self.rows {
            let name = match by {
                By::Day => format_day(row.day),
                By::Principal if row.principal.is_empty() => format!("(none) in {}", row.account),
                By::Principal => row.principal.to_string(),
                By::Model if row.line.model.is_empty() => "(not known)".to_owned(),
                By::Model => row.line.model.clone(),
                By::UsageType => row.line.to_string(),
            };
            groups.entry(name.clone()).or_insert_with(|| Group { name, ..Group::default() }).add(row);
        }
        let mut groups: Vec<Group> = groups.into_values().collect();
        if by != By::Day {
            groups.sort_by(|a, b| (b.variance().0.unsigned_abs(), &a.name).cmp(&(a.variance().0.unsigned_abs(), &b.name)));
        }
        groups
    }

    /// Tells whether the difference is more than so many millionths of a percent of what is billed.
    #[must_use]
    pub fn is_above(&self, percent_millionths: u64) -> bool {
        let variance = self.total.variance().0.unsigned_abs();
        let billed = self.total.billed.0.unsigned_abs();
        // Amounts are far below 10²⁸ pico-dollars; where they are not, more than everything is above.
        match (variance.checked_mul(100_000_000), billed.checked_mul(u128::from(percent_millionths))) {
            (Some(variance), Some(allowed)) => variance > allowed,
            (variance, _) => variance.is_none(),
        }
    }
}
