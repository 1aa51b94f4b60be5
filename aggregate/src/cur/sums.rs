//! The sums of a report: lines that agree in everything but their time within a day.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;
use sluice_schemas::{Micros, PicoUsd, StringTable, Sym};

use super::number::Number;

/// Service codes under which Amazon Bedrock is billed, models of the Marketplace among them.
const SERVICES: [&str; 3] = ["AmazonBedrock", "AmazonBedrockFoundationModels", "AmazonBedrockService"];
/// End of the product names of models of the Marketplace.
const EDITION: &str = "(Amazon Bedrock Edition)";
/// Beginning of the tags of a principal; others are of resources.
pub(super) const PRINCIPAL_TAG: &str = "iamPrincipal/";

/// Days compared, both included; open where `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DaySpan {
    /// First day, in days since 1970.
    pub from: Option<i32>,
    /// Last day.
    pub to: Option<i32>,
}

impl DaySpan {
    /// Tells whether a day is in it.
    #[must_use]
    pub fn holds(self, day: i32) -> bool {
        self.from.is_none_or(|from| from <= day) && self.to.is_none_or(|to| day <= to)
    }
}

/// Lines of a report that agree in everything but their time within a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurGroup {
    /// Day of the usage, in days since 1970.
    pub day: i32,
    /// `line_item_usage_account_id`.
    pub account: String,
    /// `line_item_iam_principal`; empty where there is none.
    pub principal: String,
    /// `line_item_usage_type`.
    pub usage_type: String,
    /// Region code of the product; empty where there is none.
    pub region: String,
    /// Name of the product or of its service.
    pub product: String,
    /// Model of the product; often empty.
    pub model: String,
    /// `pricing_unit`.
    pub unit: String,
    /// `line_item_line_item_description`.
    pub description: String,
    /// `line_item_line_item_type`.
    pub line_type: String,
    /// The lines cost less than nothing.
    pub negative: bool,
    /// How many lines.
    pub lines: u64,
    /// `line_item_usage_amount`, in 10⁻¹².
    pub quantity: i128,
    /// `line_item_unblended_cost`.
    pub cost: PicoUsd,
    /// `line_item_net_unblended_cost`; the cost where the report has none.
    pub net: PicoUsd,
}

impl CurGroup {
    /// Returns what tells it from every other group.
    fn order(&self) -> (i32, bool, [&str; 9]) {
        let texts = [&self.account, &self.principal, &self.usage_type, &self.region, &self.product, &self.model, &self.unit];
        let [account, principal, usage_type, region, product, model, unit] = texts.map(String::as_str);
        (self.day, self.negative, [account, principal, usage_type, region, product, model, unit, &self.description, &self.line_type])
    }
}

/// A report as sums.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CurReport {
    /// Its lines of Amazon Bedrock.
    pub groups: Vec<CurGroup>,
    /// Lines of any service.
    pub rows: u64,
    /// Lines of Amazon Bedrock within the span.
    pub bedrock_rows: u64,
    /// Largest number of decimals of a cost.
    pub cost_digits: u32,
    /// Largest number of decimals of an amount of usage.
    pub quantity_digits: u32,
    /// First and last day with usage of any service.
    pub days: Option<(i32, i32)>,
    /// Start of the newest usage of any service.
    pub newest: Option<Micros>,
    /// It has costs after discounts.
    pub has_net: bool,
    /// Accounts with a line of any service.
    pub accounts: BTreeSet<String>,
    /// Tags of principals, by principal.
    pub tags: BTreeMap<String, BTreeMap<String, String>>,
}

/// One line of a report.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Line<'a> {
    pub(super) start: Micros,
    pub(super) line_type: &'a str,
    pub(super) account: &'a str,
    pub(super) principal: &'a str,
    pub(super) usage_type: &'a str,
    pub(super) service: &'a str,
    pub(super) product_code: &'a str,
    pub(super) product: &'a str,
    pub(super) region: &'a str,
    pub(super) model: &'a str,
    pub(super) unit: &'a str,
    pub(super) description: &'a str,
    pub(super) quantity: Number,
    pub(super) cost: Number,
    pub(super) net: Option<Number>,
    /// The file has costs after discounts.
    pub(super) has_net: bool,
}

type Key = ([Sym; 9], i32, bool);

#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    lines: u64,
    quantity: i128,
    cost: i128,
    net: i128,
}

/// Sums in the making.
pub(super) struct Sums {
    span: DaySpan,
    strings: StringTable,
    sums: HashMap<Key, Sum>,
    report: CurReport,
}

/// Tells whether a line is of Amazon Bedrock.
pub(super) fn is_bedrock(service: &str, product_code: &str, product: &str) -> bool {
    SERVICES.contains(&service) || SERVICES.contains(&product_code) || product.ends_with(EDITION)
}

impl Sums {
    pub(super) fn new(span: DaySpan) -> Self {
        let report = CurReport::default();
        Self { span, strings: StringTable::default(), sums: HashMap::new(), report }
    }

    /// Counts a line of any service.
    pub(super) fn see(&mut self, start: Micros, line_type: &str, account: &str) {
        let report = &mut self.report;
        if !report.accounts.contains(account) {
            report.accounts.insert(account.to_owned());
        }
        report.rows += 1;
        // Taxes and fees stand at the start of a period.
        if line_type.ends_with("Usage") {
            report.newest = report.newest.max(Some(start));
            let day = start.day();
            report.days = Some(report.days.map_or((day, day), |(first, last)| (first.min(day), last.max(day))));
        }
    }

    /// Tells whether lines of a day are compared.
    pub(super) fn holds(&self, start: Micros) -> bool {
        self.span.holds(start.day())
    }

    /// Adds a line of Amazon Bedrock.
    pub(super) fn add(&mut self, line: &Line<'_>) {
        let texts = [
            line.account,
            line.principal,
            line.usage_type,
            line.region,
            line.product,
            line.model,
            line.unit,
            line.description,
            line.line_type,
        ];
        let negative = line.cost.value < 0;
        let key = (texts.map(|text| self.strings.intern(text)), line.start.day(), negative);
        self.report.has_net |= line.has_net;
        // A discount that the net cost of usage holds already has none of its own.
        let absent = if line.has_net && line.line_type.ends_with("Discount") { 0 } else { line.cost.value };
        let sum = self.sums.entry(key).or_default();
        sum.lines += 1;
        sum.quantity += line.quantity.value;
        sum.cost += line.cost.value;
        sum.net += line.net.map_or(absent, |net| net.value);
        self.report.bedrock_rows += 1;
        self.report.cost_digits = self.report.cost_digits.max(line.cost.digits);
        self.report.quantity_digits = self.report.quantity_digits.max(line.quantity.digits);
    }

    /// Tells whether the tags of a principal are not known yet.
    pub(super) fn wants_tags(&self, principal: &str) -> bool {
        !principal.is_empty() && !self.report.tags.contains_key(principal)
    }

    /// Keeps the tags of a principal.
    pub(super) fn tag(&mut self, principal: &str, tags: BTreeMap<String, String>) {
        let own = tags.into_iter().filter_map(|(key, value)| Some((key.strip_prefix(PRINCIPAL_TAG)?.to_owned(), value)));
        let own: BTreeMap<String, String> = own.collect();
        if !own.is_empty() {
            self.report.tags.insert(principal.to_owned(), own);
        }
    }

    /// Returns the report; `None` without a line.
    pub(super) fn finish(self) -> Option<CurReport> {
        let Self { strings, sums, mut report, .. } = self;
        for ((texts, day, negative), sum) in sums {
            let [account, principal, usage_type, region, product, model, unit, description, line_type] =
                texts.map(|text| strings.get(text).to_owned());
            report.groups.push(CurGroup {
                day,
                account,
                principal,
                usage_type,
                region,
                product,
                model,
                unit,
                description,
                line_type,
                negative,
                lines: sum.lines,
                quantity: sum.quantity,
                cost: PicoUsd(sum.cost),
                net: PicoUsd(sum.net),
            });
        }
        report.groups.sort_by(|a, b| a.order().cmp(&b.order()));
        (report.rows > 0).then_some(report)
    }
}
