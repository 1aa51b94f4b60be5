//! The bill, by row: usage and discounts summed up, and as exact about principals as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hashbrown::HashSet;
use sluice_schemas::PicoUsd;

use super::causes::BilledSums;
use super::line::{Line, LineReader};
use super::ours::OurSide;
use super::report::{Beside, Report};
use super::{Bill, BilledLine, Comparison, Key, LineKind, QUANTITY_ONE};

/// Decimal places of quantities and of money.
const PLACES: u32 = 12;

/// The bill, by row.
pub(super) struct Theirs {
    pub(super) lines: BTreeMap<Key, BilledSums>,
    /// Usage types as written, by line.
    pub(super) usage_types: BTreeMap<Arc<Line>, BTreeSet<String>>,
    /// Rows of which the bill tells no principal.
    nameless: HashSet<(i32, Arc<str>, Arc<Line>)>,
    /// Days and accounts, and whether the bill tells a principal of any row.
    named: BTreeMap<(i32, Arc<str>), bool>,
    beside: BTreeMap<LineKind, Beside>,
    assumed_units: BTreeSet<String>,
    principals: bool,
}

impl Theirs {
    pub(super) fn read(bill: &Bill, side: &OurSide, how: Comparison<'_>) -> Self {
        let mut models: BTreeSet<&str> = how.catalogue.models().collect();
        models.extend(side.lines.keys().map(|key| key.line.model.as_str()).filter(|model| !model.starts_with("arn:")));
        let mut reader = LineReader::new(models.into_iter());
        let mut theirs = Self {
            lines: BTreeMap::new(),
            usage_types: BTreeMap::new(),
            nameless: HashSet::new(),
            named: BTreeMap::new(),
            beside: BTreeMap::new(),
            assumed_units: BTreeSet::new(),
            principals: bill.lines.iter().any(|line| !line.principal.is_empty()),
        };
        for billed in &bill.lines {
            theirs.add(billed, bill, &mut reader, how.net);
        }
        theirs
    }

    fn add(&mut self, billed: &BilledLine, bill: &Bill, reader: &mut LineReader, net: bool) {
        let amount = if net { billed.net.0 } else { billed.cost.0 };
        let usage = billed.kind == LineKind::Usage;
        if !usage && billed.kind != LineKind::Discount && billed.kind != LineKind::Other {
            self.beside.entry(billed.kind).or_default().add(billed.lines, PicoUsd(amount));
            return;
        }
        let read = reader.read(billed);
        if read.unit_assumed {
            self.assumed_units.insert(billed.usage_type.clone());
        }
        let line = if billed.kind == LineKind::Other { Arc::new(Line::of_unknown_type(&read.line, billed)) } else { read.line };
        let key = Key {
            day: billed.day,
            account: Arc::from(billed.account.as_str()),
            principal: Arc::from(billed.principal.as_str()),
            line: Arc::clone(&line),
        };
        let named = self.named.entry((key.day, Arc::clone(&key.account))).or_default();
        *named |= !billed.principal.is_empty();
        if billed.principal.is_empty() && usage {
            self.nameless.insert((key.day, Arc::clone(&key.account), Arc::clone(&line)));
        }
        self.usage_types.entry(line).or_default().insert(billed.usage_type.clone());
        let sums = self.lines.entry(key).or_default();
        sums.billed += amount;
        if usage {
            let lines = i128::from(billed.lines);
            sums.lines += lines;
            sums.gross += billed.cost.0;
            sums.quantity = sums.quantity.saturating_add(billed.quantity.saturating_mul(10_i128.pow(read.power)));
            sums.cost_open += lines * last_digit(bill.cost_digits);
            sums.quantity_open = sums.quantity_open.saturating_add(lines * quantity_open(bill.quantity_digits, read.power));
        } else if billed.kind == LineKind::Other {
            sums.lines += i128::from(billed.lines);
            sums.gross += amount;
        }
    }

    /// Makes both sides as exact as the bill is: where it tells no principal of a line, or of a day of an account, neither do we.
    pub(super) fn fold_principals(&mut self, side: &mut OurSide) {
        let folded = |key: &Key| {
            !self.principals
                || self.named.get(&(key.day, Arc::clone(&key.account))) == Some(&false)
                || self.nameless.contains(&(key.day, Arc::clone(&key.account), Arc::clone(&key.line)))
        };
        side.fold_principals(folded);
        for (key, sums) in std::mem::take(&mut self.lines) {
            let nameless = self.nameless.contains(&(key.day, Arc::clone(&key.account), Arc::clone(&key.line)));
            let key = if nameless { Key { principal: Arc::from(""), ..key } } else { key };
            let merged = self.lines.entry(key).or_default();
            merged.lines += sums.lines;
            merged.quantity = merged.quantity.saturating_add(sums.quantity);
            merged.quantity_open = merged.quantity_open.saturating_add(sums.quantity_open);
            merged.cost_open += sums.cost_open;
            merged.gross += sums.gross;
            merged.billed += sums.billed;
        }
    }

    /// Begins the report with what is beside the rows.
    pub(super) fn beside(&mut self, side: &OurSide) -> Report {
        Report {
            beside: std::mem::take(&mut self.beside),
            assumed_units: std::mem::take(&mut self.assumed_units),
            by_principal: self.principals,
            nameless_rows: if self.principals { self.nameless.len() } else { 0 },
            calls: side.calls,
            hidden_calls: side.hidden_calls,
            lifetime_unknown: side.lifetime_unknown,
            ..Report::default()
        }
    }
}

/// Returns one unit in the last of so many decimal places, at least the smallest amount there is.
pub(super) fn last_digit(digits: u32) -> i128 {
    10_i128.pow(PLACES.saturating_sub(digits))
}

/// Returns how far the digits of an amount leave a count open. Units are whole: an amount whose last digit is one unit is exact.
pub(super) fn quantity_open(digits: u32, power: u32) -> i128 {
    let open = last_digit(digits).saturating_mul(10_i128.pow(power));
    if open == QUANTITY_ONE { 0 } else { open }
}
