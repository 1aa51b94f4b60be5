//! A comparison as text: a table for people, JSON and CSV with every digit for programs.

use serde_json::{Map, Value, json};
use sluice_enrich::reconcile::{By, Causes, Group, QUANTITY_ONE, Row};
use sluice_schemas::PicoUsd;
use sluice_schemas::time::format_day;
use sluice_schemas::visible::escape;

use super::Compared;
use crate::output;

/// Rows shown in a table without `--by`: the largest differences.
const ROWS_MAX: usize = 20;
/// Decimals of amounts in tables.
const SHOWN: u32 = 6;

/// What a cause means, for the table.
const MEANINGS: [&str; 7] = [
    "another rate for what both sides have",
    "another quantity of what our side has calls of",
    "billed, and no call on our side",
    "discounts of the bill, beside those of our prices",
    "billed on the neighbouring day",
    "below the digits of the report",
    "not known",
];

impl Compared {
    /// Returns the comparison for people.
    pub(crate) fn table(&self, by: Option<By>) -> String {
        let mut text = self.head();
        text += &self.causes();
        text += &match by {
            Some(by) => groups(&self.report.by(by)),
            None => self.largest(),
        };
        text + &self.unexplained() + &self.beside()
    }

    fn head(&self) -> String {
        let days = self.days.map_or_else(|| "no day".to_owned(), |(from, to)| format!("{} to {}", format_day(from), format_day(to)));
        let (report, lake) = (escape(&self.path.to_string_lossy()).into_owned(), escape(&self.lake.to_string_lossy()).into_owned());
        let cost = if self.net { "after discounts (net)" } else { "before discounts" };
        let mut text =
            format!("report  {report}: {} lines of Amazon Bedrock of {}, {}\n", self.bedrock_rows, self.rows, count(self.files, "file"));
        text += &format!("lake    {lake}: {} calls\n", self.report.calls);
        text += &format!("days    {days}, usage {cost}\n\n");
        let total = &self.report.total;
        let share = percent(total.variance(), total.billed).map(|share| format!(" ({share} of billed)")).unwrap_or_default();
        text + &format!("billed {}   ours {}   variance {}{share}\n\n", plain(total.billed), plain(total.ours), signed(total.variance()))
    }

    fn causes(&self) -> String {
        let mut table = output::table(&["CAUSE", "USD", "OF BILLED", "WHAT"]);
        for ((name, amount), meaning) in Causes::NAMES.into_iter().zip(self.report.total.causes.amounts()).zip(MEANINGS) {
            let reasons: Vec<String> =
                self.report.unlogged.iter().map(|(reason, amount)| format!("{} {}", reason.as_str(), signed(*amount))).collect();
            let what = match name {
                "unlogged" if !reasons.is_empty() => reasons.join(", "),
                "timing" if self.report.moved.0 != 0 => format!("{meaning}: {} moved", plain(self.report.moved)),
                _ => meaning.to_owned(),
            };
            table.add_row([name.to_owned(), signed(amount), percent(amount, self.report.total.billed).unwrap_or_default(), what]);
        }
        format!("{table}\n\n")
    }

    fn largest(&self) -> String {
        let different: Vec<&Row> = self.report.rows.iter().filter(|row| row.variance() != row.causes.rounding).collect();
        if different.is_empty() {
            return format!("{} rows of day, principal and usage type: no difference above rounding\n", self.report.rows.len());
        }
        let mut table = output::table(&["DAY", "PRINCIPAL", "USAGE", "BILLED", "OURS", "VARIANCE", "WHY"]);
        for row in different.iter().take(ROWS_MAX) {
            let principal = if row.principal.is_empty() { format!("(none) in {}", row.account) } else { tail(&row.principal).to_owned() };
            table.add_row([
                format!("{}{}", format_day(row.day), if row.settling { "?" } else { "" }),
                escape(&principal).into_owned(),
                escape(&row.line.to_string()).into_owned(),
                plain(row.billed),
                plain(row.ours),
                signed(row.variance()),
                escape(&why(row)).into_owned(),
            ]);
        }
        let more = different.len().saturating_sub(ROWS_MAX);
        let more = if more > 0 { format!("… and {more} more: --format csv has all, --by sums them up\n") } else { String::new() };
        format!("{table}\n{more}")
    }

    fn unexplained(&self) -> String {
        if self.report.unexplained.is_empty() {
            return String::new();
        }
        let mut table = output::table(&["NOT KNOWN", "LINES", "USD", "WHY"]);
        for unknown in &self.report.unexplained {
            let (name, why) = (escape(&unknown.usage_type).into_owned(), escape(&unknown.why).into_owned());
            table.add_row([name, unknown.lines.to_string(), signed(unknown.amount), why]);
        }
        format!("\n{table}\n")
    }

    fn beside(&self) -> String {
        if self.report.beside.is_empty() {
            return String::new();
        }
        let sums = self
            .report
            .beside
            .iter()
            .map(|(kind, sum)| format!("{} {} in {}", kind.as_str(), signed(sum.amount), count(sum.lines, "line")));
        format!("\nbeside usage, no part of the variance: {}\n", sums.collect::<Vec<_>>().join(", "))
    }

    /// Returns everything as one JSON object, amounts as exact decimal strings.
    pub(crate) fn json(&self, by: Option<By>) -> Value {
        let report = &self.report;
        let named = |kind: &str, lines: Value, amount: PicoUsd| json!({ "name": kind, "lines": lines, "usd": amount });
        let unexplained = report.unexplained.iter().map(
            |unknown| json!({ "usage_type": unknown.usage_type, "why": unknown.why, "lines": whole(unknown.lines), "usd": unknown.amount }),
        );
        let mut value = json!({
            "report": {
                "path": self.path.to_string_lossy(),
                "files": self.files,
                "lines": self.rows,
                "bedrock_lines": self.bedrock_rows,
                "from": self.days.map(|(from, _)| format_day(from)),
                "to": self.days.map(|(_, to)| format_day(to)),
                "newest_usage": self.newest,
                "by_principal": report.by_principal,
                "net": self.net,
            },
            "lake": { "path": self.lake.to_string_lossy(), "calls": report.calls },
            "total": of_group(&report.total, false),
            "unlogged": report.unlogged.iter().map(|(reason, amount)| (reason.as_str().to_owned(), json!(amount))).collect::<Map<_, _>>(),
            "unexplained": unexplained.collect::<Vec<_>>(),
            "beside": report.beside.iter().map(|(kind, sum)| named(kind.as_str(), json!(sum.lines), sum.amount)).collect::<Vec<_>>(),
            "notes": self.notes,
        });
        value["total"]["moved_usd"] = json!(report.moved);
        match by {
            Some(by) => value["groups"] = report.by(by).iter().map(|group| of_group(group, true)).collect(),
            None => value["rows"] = report.rows.iter().map(|row| self.of_row(row)).collect(),
        }
        value
    }

    fn of_row(&self, row: &Row) -> Value {
        json!({
            "day": format_day(row.day),
            "account": &*row.account,
            "principal": &*row.principal,
            "principal_tags": self.tags.get(&*row.principal),
            "model": row.line.model,
            "usage": row.line.usage(),
            "region": row.line.region,
            "scope": row.line.scope(),
            "tier": row.line.tier.as_str(),
            "endpoint": row.line.endpoint.as_str(),
            "usage_types": row.usage_types,
            "lines": whole(row.lines),
            "calls": whole(row.calls),
            "unpriced_calls": whole(row.unpriced_calls),
            "billed_quantity": quantity(row.billed_quantity),
            "our_quantity": quantity(row.our_quantity),
            "billed_usd": row.billed,
            "our_usd": row.ours,
            "variance_usd": row.variance(),
            "causes": of_causes(&row.causes),
            "unlogged": row.unlogged.map(|reason| reason.as_str()),
            "why": row.why,
            "may_be_incomplete": row.settling,
        })
    }

    /// Returns the rows, or their sums, as CSV.
    pub(crate) fn csv(&self, by: Option<By>) -> String {
        let amounts = ["billed_usd", "our_usd", "variance_usd"].into_iter().chain(Causes::NAMES);
        let sums = |billed: PicoUsd, ours: PicoUsd, causes: &Causes| -> Vec<String> {
            [billed, ours, billed - ours].into_iter().chain(causes.amounts()).map(|amount| amount.to_string()).collect()
        };
        let mut text = String::new();
        match by {
            Some(by) => {
                line(&mut text, std::iter::once("name").chain(amounts).chain(["may_be_incomplete_usd"]).map(str::to_owned));
                for group in self.report.by(by) {
                    let cells =
                        std::iter::once(output::csv_cell(&escape(&group.name))).chain(sums(group.billed, group.ours, &group.causes));
                    line(&mut text, cells.chain([group.settling.to_string()]));
                }
            }
            None => {
                let names = ["day", "account", "principal", "model", "usage", "region", "scope", "tier", "endpoint", "usage_types"];
                let more = ["lines", "calls", "billed_quantity", "our_quantity"];
                let last = ["unlogged_reason", "why", "may_be_incomplete"];
                line(&mut text, names.into_iter().chain(more).chain(amounts).chain(last).map(str::to_owned));
                for row in &self.report.rows {
                    let cells = texts(row).into_iter().map(|cell| output::csv_cell(&escape(&cell)));
                    let counts = [row.lines.to_string(), row.calls.to_string(), quantity(row.billed_quantity), quantity(row.our_quantity)];
                    let reasons = [row.unlogged.map_or("", |reason| reason.as_str()), row.why.as_deref().unwrap_or("")];
                    let reasons = reasons.map(|reason| output::csv_cell(&escape(reason)));
                    let cells = cells.chain(counts).chain(sums(row.billed, row.ours, &row.causes)).chain(reasons);
                    line(&mut text, cells.chain([row.settling.to_string()]));
                }
            }
        }
        text
    }
}

fn line(text: &mut String, cells: impl Iterator<Item = String>) {
    text.push_str(&cells.collect::<Vec<_>>().join(","));
    text.push('\n');
}

fn texts(row: &Row) -> [String; 10] {
    let usage_types = row.usage_types.iter().cloned().collect::<Vec<_>>().join(" ");
    [
        format_day(row.day),
        row.account.to_string(),
        row.principal.to_string(),
        row.line.model.clone(),
        row.line.usage(),
        row.line.region.clone(),
        row.line.scope().to_owned(),
        row.line.tier.as_str().to_owned(),
        row.line.endpoint.as_str().to_owned(),
        usage_types,
    ]
}

fn groups(groups: &[Group]) -> String {
    let header: Vec<String> =
        ["", "BILLED", "OURS", "VARIANCE"].into_iter().map(str::to_owned).chain(Causes::NAMES.map(str::to_uppercase)).collect();
    let mut table = output::table(&header.iter().map(String::as_str).collect::<Vec<_>>());
    for group in groups {
        let mut row = vec![escape(tail(&group.name)).into_owned(), plain(group.billed), plain(group.ours), signed(group.variance())];
        row.extend(group.causes.amounts().map(|amount| if amount.0 == 0 { String::new() } else { signed(amount) }));
        table.add_row(row);
    }
    format!("{table}\n")
}

fn of_group(group: &Group, named: bool) -> Value {
    let mut value = json!({
        "billed_usd": group.billed,
        "our_usd": group.ours,
        "variance_usd": group.variance(),
        "causes": of_causes(&group.causes),
        "may_be_incomplete_usd": group.settling,
    });
    if named {
        value["name"] = json!(group.name);
    }
    value
}

fn of_causes(causes: &Causes) -> Map<String, Value> {
    Causes::NAMES.into_iter().zip(causes.amounts()).map(|(name, amount)| (name.to_owned(), json!(amount))).collect()
}

/// Returns the causes of a row, the largest first.
fn why(row: &Row) -> String {
    let mut causes: Vec<(&str, PicoUsd)> =
        Causes::NAMES.into_iter().zip(row.causes.amounts()).filter(|(name, amount)| amount.0 != 0 && *name != "rounding").collect();
    causes.sort_by_key(|(_, amount)| std::cmp::Reverse(amount.0.unsigned_abs()));
    let single = causes.len() == 1;
    let texts = causes.iter().map(|(name, amount)| {
        let name = match (*name, row.unlogged) {
            ("unlogged", Some(reason)) => format!("unlogged ({})", reason.as_str()),
            ("price", _) if row.unpriced_calls > 0 => "price (calls of ours have none)".to_owned(),
            ("price", _) => format!("price{}", rates(row).map(|rates| format!(" ({rates})")).unwrap_or_default()),
            ("volume", _) => format!("volume ({} billed, {} ours)", units(row.billed_quantity), units(row.our_quantity)),
            (name, _) => name.to_owned(),
        };
        if single { name } else { format!("{name} {}", signed(*amount)) }
    });
    texts.collect::<Vec<_>>().join(", ")
}

/// Returns both rates of a million units, for people.
fn rates(row: &Row) -> Option<String> {
    let rate = |amount: PicoUsd, quantity: i128| {
        let units = quantity / QUANTITY_ONE;
        (units > 0).then(|| PicoUsd(amount.0.saturating_mul(1_000_000) / units).display(4))
    };
    let discounted = row.billed - row.causes.discount;
    Some(format!("{} billed, {} ours a million", rate(discounted, row.billed_quantity)?, rate(row.ours, row.our_quantity)?))
}

/// Returns the end of an ARN, which tells one principal from another.
fn tail(principal: &str) -> &str {
    if principal.starts_with("arn:") { principal.splitn(6, ':').nth(5).unwrap_or(principal) } else { principal }
}

fn count(number: impl Into<CountOf>, what: &str) -> String {
    let number = number.into().0;
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// A number of things.
struct CountOf(u64);

impl From<u64> for CountOf {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

impl From<usize> for CountOf {
    fn from(number: usize) -> Self {
        Self(number as u64)
    }
}

fn whole(number: i128) -> Value {
    i64::try_from(number).map_or_else(|_| json!(number.to_string()), |number| json!(number))
}

/// Returns a quantity with every digit it has.
fn quantity(quantity: i128) -> String {
    let text = PicoUsd(quantity).to_string();
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Returns a quantity without fractions.
fn units(quantity: i128) -> String {
    PicoUsd(quantity).display(0).replace('$', "")
}

fn plain(amount: PicoUsd) -> String {
    amount.display(places(amount))
}

fn signed(amount: PicoUsd) -> String {
    let sign = if amount.0 > 0 { "+" } else { "" };
    format!("{sign}{}", plain(amount))
}

/// An amount that would be shown as nothing is shown whole.
const fn places(amount: PicoUsd) -> u32 {
    if amount.0 != 0 && amount.0.unsigned_abs() < 1_000_000 { sluice_schemas::money::SCALE } else { SHOWN }
}

/// Returns a share in percent with two decimals; `None` of nothing.
fn percent(amount: PicoUsd, of: PicoUsd) -> Option<String> {
    let hundredths = amount.0.checked_mul(10_000)?.checked_div(of.0.abs())?;
    let sign = if hundredths < 0 { "-" } else { "" };
    Some(format!("{sign}{}.{:02} %", hundredths.abs() / 100, hundredths.abs() % 100))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usd(text: &str) -> PicoUsd {
        text.parse().unwrap()
    }

    #[test]
    fn amounts_for_people() {
        for (amount, shown) in [
            ("0", "$0.000000"),
            ("1234.5", "+$1,234.500000"),
            ("-0.0216", "-$0.021600"),
            ("0.0000000001", "+$0.000000000100"),
            ("-0.000000999999", "-$0.000000999999"),
        ] {
            assert_eq!(signed(usd(amount)), shown);
        }
    }

    #[test]
    fn shares_and_quantities() {
        assert_eq!(percent(usd("1"), usd("3")).as_deref(), Some("33.33 %"));
        assert_eq!(percent(usd("-0.5"), usd("100")).as_deref(), Some("-0.50 %"));
        assert_eq!((percent(usd("1"), PicoUsd::ZERO), percent(PicoUsd(i128::MAX), usd("1"))), (None, None));
        assert_eq!(
            (quantity(12_300_000_000_000), quantity(5 * QUANTITY_ONE), quantity(0)),
            ("12.3".to_owned(), "5".to_owned(), "0".to_owned())
        );
        assert_eq!(units(-60_000 * QUANTITY_ONE), "-60,000");
    }

    #[test]
    fn principals_are_told_by_the_end_of_their_arn() {
        assert_eq!(tail("arn:aws:sts::111122223333:assumed-role/Role/one:two"), "assumed-role/Role/one:two");
        assert_eq!((tail("arn:aws"), tail("(none) in 1")), ("arn:aws", "(none) in 1"));
    }
}
