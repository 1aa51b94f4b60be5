//! A bill against the calls in the lake: per day, principal and usage type, what was billed, what we have, and why they differ.
//!
//! Owns: which line of a bill is for which calls ([`Line`]), the causes of a difference ([`Causes`]), and the rates a bill comes to
//! ([`derive_rates`]). Does not own: reading bills and lakes; both sides come in as sums. Quantities are whole numbers of 10⁻¹² units,
//! money is pico-dollars, days are UTC. The causes of a row sum to its difference exactly.

mod causes;
mod line;
mod ours;
mod rates;
mod report;
mod theirs;
mod timing;
mod wide;

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashSet;
use sluice_schemas::time::{DAY, HOUR};
use sluice_schemas::{Micros, PicoUsd};

pub use causes::Causes;
pub use line::{Line, Unlogged};
pub use ours::OurCalls;
pub use rates::{DerivedRates, derive_rates};
pub use report::{Beside, By, Group, Report, Row, Unexplained};

use crate::prices::Catalogue;
use causes::{BilledSums, Setting, explain};
use ours::{OurReader, OurSide, Rates};
use theirs::Theirs;
use timing::{Day, Days, match_days};
use wide::{Round, ratio};

/// One unit in the scale of quantities.
pub const QUANTITY_ONE: i128 = 1_000_000_000_000;
/// Multiples of 10⁻²⁴ USD in a dollar.
const STEPS: i128 = 1_000_000_000_000_000_000_000_000;
/// How long the newest part of a report may be incomplete: usage reaches it within 24 to 48 hours.
pub const SETTLING: i64 = 48 * HOUR;

/// What a line of the bill is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LineKind {
    /// Usage: compared.
    Usage,
    /// A discount on usage, or a negative line of usage: the cause `discount`.
    Discount,
    /// A credit: beside usage, a means of payment.
    Credit,
    /// A refund: beside usage.
    Refund,
    /// Tax: beside usage.
    Tax,
    /// A fee: beside usage.
    Fee,
    /// A type that is not known: unexplained.
    Other,
}

impl LineKind {
    /// Reads `line_item_line_item_type`; `negative` tells whether the line costs less than nothing.
    #[must_use]
    pub fn of(line_item_type: &str, negative: bool) -> Self {
        match line_item_type {
            "Usage" | "DiscountedUsage" | "SavingsPlanCoveredUsage" if negative => Self::Discount,
            "Usage" | "DiscountedUsage" | "SavingsPlanCoveredUsage" => Self::Usage,
            "SavingsPlanNegation" | "Discount" => Self::Discount,
            word if word.ends_with("Discount") => Self::Discount,
            "Credit" => Self::Credit,
            "Refund" => Self::Refund,
            "Tax" => Self::Tax,
            word if word.ends_with("Fee") => Self::Fee,
            _ => Self::Other,
        }
    }

    /// Returns the word of reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::Discount => "discount",
            Self::Credit => "credit",
            Self::Refund => "refund",
            Self::Tax => "tax",
            Self::Fee => "fee",
            Self::Other => "other",
        }
    }
}

/// Lines of a bill that agree in everything but their time within a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BilledLine {
    /// Day of the usage, in days since 1970.
    pub day: i32,
    /// Account that used it.
    pub account: String,
    /// Principal; empty where the bill does not tell.
    pub principal: String,
    /// Usage type.
    pub usage_type: String,
    /// Region code; empty where the bill does not tell.
    pub region: String,
    /// Name of the product or the service, for example `Claude Haiku 4.5 (Amazon Bedrock Edition)`.
    pub product: String,
    /// Model of the product; often empty.
    pub model: String,
    /// What the amounts count, for example `1K tokens`.
    pub unit: String,
    /// Description of the line.
    pub description: String,
    /// What the lines are.
    pub kind: LineKind,
    /// Type of the lines, as written.
    pub line_type: String,
    /// How many they are.
    pub lines: u64,
    /// Their amount, in 10⁻¹² of `unit`.
    pub quantity: i128,
    /// Their cost before discounts.
    pub cost: PicoUsd,
    /// Their cost after discounts.
    pub net: PicoUsd,
}

/// A bill, and what is known of it as a whole.
#[derive(Clone, Debug, Default)]
pub struct Bill {
    /// Its lines of Amazon Bedrock within the days compared.
    pub lines: Vec<BilledLine>,
    /// Largest number of decimals of a cost.
    pub cost_digits: u32,
    /// Largest number of decimals of an amount of usage.
    pub quantity_digits: u32,
    /// Start of the newest usage in it, of any service.
    pub newest: Option<Micros>,
}

/// How to compare.
#[derive(Clone, Copy, Debug)]
pub struct Comparison<'a> {
    /// Our prices.
    pub catalogue: &'a Catalogue,
    /// Our prices before configured discounts.
    pub listed: &'a Catalogue,
    /// Compare with the cost after discounts.
    pub net: bool,
}

/// What a row is about. A principal is empty where the bill names none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    day: i32,
    account: Arc<str>,
    principal: Arc<str>,
    line: Arc<Line>,
}

/// Our side in the making: stored calls, group by group.
pub struct Reconciliation<'a> {
    how: Comparison<'a>,
    ours: OurReader<'a>,
}

impl<'a> Reconciliation<'a> {
    /// Begins with no calls.
    #[must_use]
    pub fn new(how: Comparison<'a>) -> Self {
        Self { how, ours: OurReader::new(Rates::new(how.catalogue, how.listed)) }
    }

    /// Adds stored calls.
    pub fn add(&mut self, calls: &OurCalls) {
        self.ours.add(calls);
    }

    /// Compares a bill with the calls.
    #[must_use]
    pub fn finish(self, bill: &Bill) -> Report {
        compare(bill, self.ours, self.how)
    }
}

fn compare(bill: &Bill, ours: OurReader<'_>, how: Comparison<'_>) -> Report {
    let (mut side, mut rates) = ours.finish();
    let mut theirs = Theirs::read(bill, &side, how);
    theirs.fold_principals(&mut side);
    let seen = Seen::of(&side);
    let mut report = theirs.beside(&side);
    for (group, mut days) in pair(theirs.lines, &side) {
        if group.2.item().is_some() {
            match_days(&mut days);
        }
        for (day, both) in &days {
            let noon = Micros(i64::from(*day) * DAY + DAY / 2);
            let (account, principal, line) = group.clone();
            let key = Key { day: *day, account, principal, line };
            let setting = Setting {
                line: &key.line,
                has_calls: seen.families.contains(&family(&key)),
                rate: rates.of_line(&key.line, noon),
                missing: seen.missing(&key, &side),
            };
            let explained = explain(&both.billed, &both.ours, both.moved, &setting);
            let usage_types = theirs.usage_types.get(&key.line).cloned().unwrap_or_default();
            report.add(Row::new(key, usage_types, both, explained, bill.newest));
        }
    }
    report.finish()
}

type RowGroup = (Arc<str>, Arc<str>, Arc<Line>);

/// Puts both sides of each line of a principal together, day by day.
fn pair(theirs: BTreeMap<Key, BilledSums>, side: &OurSide) -> BTreeMap<RowGroup, Days> {
    let mut pairs: BTreeMap<RowGroup, Days> = BTreeMap::new();
    let group = |key: &Key| (Arc::clone(&key.account), Arc::clone(&key.principal), Arc::clone(&key.line));
    for (key, billed) in theirs {
        pairs.entry(group(&key)).or_default().entry(key.day).or_default().billed = billed;
    }
    for (key, ours) in side.lines.iter().filter(|(_, ours)| ours.quantity != 0 || ours.cost != 0) {
        let day: &mut Day = pairs.entry(group(key)).or_default().entry(key.day).or_default();
        day.ours = *ours;
    }
    pairs
}

/// Day, account, principal, region, model, scope, tier: what calls have in common whose units differ.
type Family = (i32, Arc<str>, Arc<str>, String, String, bool, crate::prices::Tier, crate::prices::Endpoint);

fn family(key: &Key) -> Family {
    let line = &key.line;
    let (account, principal) = (Arc::clone(&key.account), Arc::clone(&key.principal));
    (key.day, account, principal, line.region.clone(), line.model.clone(), line.global, line.tier, line.endpoint)
}

/// Where our side has calls.
#[derive(Default)]
struct Seen {
    families: HashSet<Family>,
    accounts: HashSet<Arc<str>>,
    regions: HashSet<(Arc<str>, String)>,
    days: HashSet<(i32, Arc<str>, String)>,
    principals: HashSet<(i32, Arc<str>, Arc<str>)>,
}

impl Seen {
    fn of(side: &OurSide) -> Self {
        let mut seen = Self::default();
        for key in side.lines.keys() {
            let (account, region) = (Arc::clone(&key.account), key.line.region.clone());
            seen.families.insert(family(key));
            seen.accounts.insert(Arc::clone(&account));
            seen.regions.insert((Arc::clone(&account), region.clone()));
            seen.days.insert((key.day, Arc::clone(&account), region));
            seen.principals.insert((key.day, account, Arc::clone(&key.principal)));
        }
        seen
    }

    /// Tells why our side has no calls for a row, the widest reason first.
    fn missing(&self, key: &Key, side: &OurSide) -> Unlogged {
        let (day, account, region) = (key.day, &key.account, &key.line.region);
        let hidden = side.hidden.get(&(day, Arc::clone(account), region.clone()));
        let hides = hidden.is_some_and(|principals| key.principal.is_empty() || principals.contains(&key.principal));
        match () {
            () if !self.accounts.contains(account) => Unlogged::Account,
            () if !self.regions.contains(&(Arc::clone(account), region.clone())) => Unlogged::Region,
            () if !self.days.contains(&(day, Arc::clone(account), region.clone())) => Unlogged::Day,
            () if hides => Unlogged::HiddenModel,
            () if !key.principal.is_empty() && !self.principals.contains(&(day, Arc::clone(account), Arc::clone(&key.principal))) => {
                Unlogged::Principal
            }
            () => Unlogged::Model,
        }
    }
}

/// Returns what a quantity costs at a price in multiples of 10⁻²⁴ USD a unit.
fn value(steps: i128, quantity: i128) -> Option<i128> {
    ratio(steps, quantity, STEPS, Round::HalfEven)
}

#[cfg(test)]
mod tests;
