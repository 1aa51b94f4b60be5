//! A Cost and Usage Report against the lake: both sides are read as sums, compared by the pure core, and shown.
//!
//! Owns: which days are compared, what a reader must be told beside the figures. Does not own: the causes of a difference
//! (`sluice_enrich::reconcile`), how a report is read (`sluice_aggregate::cur`).

mod show;

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Context;
use indicatif::ProgressBar;
use sluice_aggregate::cur::{self, CurFiles, CurReport, DaySpan, StoredCalls};
use sluice_aggregate::lake::Lake;
use sluice_aggregate::query::QueryEngine;
use sluice_enrich::prices::{Catalogue, extras_from_json};
use sluice_enrich::reconcile::{Bill, BilledLine, Comparison, LineKind, OurCalls, Reconciliation, Report, SETTLING, derive_rates};
use sluice_schemas::time::{HOUR, format_day, parse_day};
use sluice_schemas::{Clock, Micros, PicoUsd, ServiceTier, SystemClock};

pub(crate) use sluice_enrich::reconcile::By;

use crate::config::Config;
use crate::lakeview;
use crate::pipeline::catalogue;

/// Names of things listed in a note at most.
const NAMED_MAX: usize = 5;

/// What is asked.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    /// First day, in days since 1970.
    pub(crate) from: Option<i32>,
    /// Last day.
    pub(crate) to: Option<i32>,
    /// Compare with the cost after discounts.
    pub(crate) net: bool,
}

/// A comparison, and what has to be said with it.
#[derive(Debug)]
pub(crate) struct Compared {
    /// What it came to.
    pub(crate) report: Report,
    /// What a reader must know to read the figures.
    pub(crate) notes: Vec<String>,
    path: PathBuf,
    lake: PathBuf,
    files: usize,
    rows: u64,
    bedrock_rows: u64,
    days: Option<(i32, i32)>,
    newest: Option<Micros>,
    /// When the report was written; absent where it has no usage.
    written: Option<Micros>,
    net: bool,
    tags: BTreeMap<String, BTreeMap<String, String>>,
    /// Calls and cost of accounts that the report has no line of.
    foreign: BTreeMap<String, (u64, PicoUsd)>,
    bill: Bill,
}

/// Compares the report at a path with the lake of a configuration.
pub(crate) fn compare(config: &Config, path: &Path, options: &Options) -> anyhow::Result<Compared> {
    let files = cur::list(path)?;
    let lake = Lake::open_reader(&config.lake).with_context(|| format!("open lake {}", config.lake.display()))?;
    let engine = lakeview::engine(&lake, Vec::new())?;
    let (priced, listed) = (catalogue(config)?, listed(config)?);
    let bar = progress();
    let asked = DaySpan { from: options.from, to: options.to };
    let mut found = cur::read(&files, asked, |file| bar.set_message(format!("reading {}", file.display())))?;
    anyhow::ensure!(
        !options.net || found.has_net,
        "the report has no column line_item_net_unblended_cost, which AWS fills for accounts with a discount: add it to the export, or leave --net out"
    );
    bar.set_message("reading the lake");
    let days = days_compared(&found, asked);
    let mut foreign: BTreeMap<String, (u64, PicoUsd)> = BTreeMap::new();
    let mut reconciliation = Reconciliation::new(Comparison { catalogue: &priced, listed: &listed, net: options.net });
    if let Some((from, to)) = days {
        let span = DaySpan { from: Some(from), to: Some(to) };
        cur::for_each_stored(&engine, span, &thresholds(&priced), |calls| -> anyhow::Result<()> {
            if found.accounts.contains(&calls.account) {
                reconciliation.add(&ours(calls)?);
            } else {
                let sum = foreign.entry(calls.account).or_default();
                *sum = (sum.0 + calls.calls, sum.1 + calls.cost);
            }
            Ok(())
        })?;
    }
    let written = found.newest.map(|newest| written(&files, newest));
    let bill = bill_of(&mut found, written);
    let report = reconciliation.finish(&bill);
    bar.finish_and_clear();
    let mut compared = Compared {
        notes: Vec::new(),
        report,
        path: path.to_owned(),
        lake: config.lake.clone(),
        files: files.files.len(),
        rows: found.rows,
        bedrock_rows: found.bedrock_rows,
        days,
        newest: found.newest,
        written,
        net: options.net,
        tags: found.tags,
        foreign,
        bill,
    };
    compared.notes = notes(&compared, &files, &engine, asked);
    Ok(compared)
}

impl Compared {
    /// Returns the rates that the bill comes to as a price file, and how many they are.
    pub(crate) fn derive_rates(&mut self, config: &Config) -> anyhow::Result<(String, usize)> {
        let (from, to) = self.days.context("the report has no usage on these days: there is no rate to tell")?;
        let span = format!("{}-to-{}", format_day(from), format_day(to));
        let derived = derive_rates(&self.bill, &listed(config)?, &span)?;
        anyhow::ensure!(derived.derived > 0, "no rate can be told from the report{}", first_reason(&derived.left_out));
        for (usage, why) in &derived.left_out {
            self.notes.push(format!("no rate for {usage}: {why}"));
        }
        if !config.enrich.discounts.is_empty() {
            self.notes.push("these rates are after discounts: with them as prices_file, take [[enrich.discount]] out".to_owned());
        }
        Ok((derived.catalogue.to_text(), derived.derived))
    }
}

fn first_reason(left_out: &[(String, String)]) -> String {
    left_out.first().map(|(usage, why)| format!(": {usage}: {why}")).unwrap_or_default()
}

fn progress() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

/// Returns the prices of a configuration before its discounts.
fn listed(config: &Config) -> anyhow::Result<Catalogue> {
    let mut undiscounted = config.clone();
    undiscounted.enrich.discounts.clear();
    catalogue(&undiscounted)
}

/// Returns the days that are asked for and that the report has.
fn days_compared(found: &CurReport, asked: DaySpan) -> Option<(i32, i32)> {
    let (first, last) = found.days?;
    let (from, to) = (asked.from.map_or(first, |from| from.max(first)), asked.to.map_or(last, |to| to.min(last)));
    (from <= to).then_some((from, to))
}

/// Returns the prompt lengths at which a price changes.
fn thresholds(catalogue: &Catalogue) -> Vec<u64> {
    let steps: BTreeSet<u64> = catalogue.cards().flat_map(|card| card.steps.iter().map(|step| step.above)).collect();
    steps.into_iter().collect()
}

fn ours(calls: StoredCalls) -> anyhow::Result<OurCalls> {
    let tier = match calls.tier.as_str() {
        "" => ServiceTier::Standard,
        word => ServiceTier::parse(word).with_context(|| format!("service_tier '{word}' in the lake"))?,
    };
    Ok(OurCalls {
        hour: calls.hour,
        extras: extras_from_json(&calls.extras)?,
        account: calls.account,
        region: calls.region,
        principal: calls.principal,
        model: calls.model,
        scope: calls.scope,
        tier,
        batch: calls.batch,
        price_version: calls.price_version,
        prompt_above: calls.prompt_above,
        failed: calls.failed,
        priced: calls.priced,
        calls: calls.calls,
        usage: calls.usage,
        lifetime_unknown: calls.lifetime_unknown,
        cost: calls.cost,
    })
}

/// Returns when a report was written, by the youngest of its files: tools that copy one from S3 keep that time, others leave that of the copy.
/// It is never older than the newest usage in it.
fn written(files: &CurFiles, newest: Micros) -> Micros {
    let modified = |path: &PathBuf| {
        let since = std::fs::metadata(path).and_then(|file| file.modified()).ok()?.duration_since(UNIX_EPOCH).ok()?;
        i64::try_from(since.as_micros()).ok().map(Micros)
    };
    let youngest = files.files.iter().filter_map(modified).max();
    youngest.unwrap_or_else(|| SystemClock.now()).max(newest.plus(HOUR))
}

/// Takes the sums of a report as a bill. What may be incomplete counts from the time at which the report was written, as though the hour before it
/// had usage: days without any say nothing about how far the report is.
fn bill_of(found: &mut CurReport, written: Option<Micros>) -> Bill {
    let line = |group: cur::CurGroup| BilledLine {
        day: group.day,
        account: group.account,
        principal: group.principal,
        usage_type: group.usage_type,
        region: group.region,
        product: group.product,
        model: group.model,
        unit: group.unit,
        description: group.description,
        kind: LineKind::of(&group.line_type, group.negative),
        line_type: group.line_type,
        lines: group.lines,
        quantity: group.quantity,
        cost: group.cost,
        net: group.net,
    };
    let lines = std::mem::take(&mut found.groups).into_iter().map(line).collect();
    Bill { lines, cost_digits: found.cost_digits, quantity_digits: found.quantity_digits, newest: written.map(|at| at.plus(-HOUR)) }
}

/// Says what a reader must know to read the figures.
fn notes(compared: &Compared, files: &CurFiles, engine: &QueryEngine, asked: DaySpan) -> Vec<String> {
    let report = &compared.report;
    let mut notes = Vec::new();
    if compared.bedrock_rows == 0 {
        notes.push("the report has no line of Amazon Bedrock on these days".to_owned());
    } else if !report.by_principal {
        notes.push(
            "the report names no IAM principal: compared per day, account and usage type (exports with INCLUDE_IAM_PRINCIPAL_DATA name them)"
                .to_owned(),
        );
    }
    if report.nameless_rows > 0 {
        notes.push(format!(
            "{} days of a usage type name no principal, others do: those are compared without principals",
            report.nameless_rows
        ));
    }
    if !files.replaced.is_empty() {
        notes.push(format!("{} older versions of billing periods are left out", files.replaced.len()));
    }
    notes.extend(settling(compared));
    let outside = days_outside(engine, compared.days, asked);
    if let (Some(first), Some(last)) = (outside.first(), outside.last()) {
        notes.push(format!(
            "the lake has calls on {} days that the report does not cover, from {first} to {last}: not compared",
            outside.len()
        ));
    }
    for (account, (calls, cost)) in compared.foreign.iter().take(NAMED_MAX) {
        let cost = cost.display(6);
        notes.push(format!("the report has no line of account {account}, of which the lake has {calls} calls ({cost}): not compared"));
    }
    if compared.foreign.len() > NAMED_MAX {
        notes.push(format!("… nor of {} more accounts", compared.foreign.len() - NAMED_MAX));
    }
    if !report.assumed_units.is_empty() {
        let named = listing(report.assumed_units.iter().map(String::as_str));
        notes.push(format!("the report does not say what its amounts count (pricing_unit); taken as price lists have it for {named}"));
    }
    if report.hidden_calls > 0 {
        notes.push(format!(
            "{} calls hide their model (application inference profiles and the like): name it in [enrich.inference_profiles], then sluice prices rerate",
            report.hidden_calls
        ));
    }
    let unpriced: i128 = report.rows.iter().map(|row| row.unpriced_calls).max().unwrap_or(0);
    if unpriced > 0 {
        notes.push(
            "calls without a price cost nothing on our side, and their whole bill is a difference of price: sluice prices rerate"
                .to_owned(),
        );
    }
    if report.lifetime_unknown > 0 {
        notes.push(format!(
            "of {} tokens written to the cache the log does not tell the lifetime: they are ours as five-minute writes, and may be billed as one-hour ones",
            report.lifetime_unknown
        ));
    }
    notes
}

/// Says which days the report may not have whole yet.
fn settling(compared: &Compared) -> Option<String> {
    let (newest, written, (first, last)) = (compared.newest?, compared.written?, compared.days?);
    let from = written.plus(-SETTLING);
    let advice = if from.day() > first { format!("; --to {} leaves them out", format_day(from.day() - 1)) } else { String::new() };
    (from.day() <= last && from < newest.plus(HOUR)).then(|| {
        format!(
            "the last 48 h before the report was written, from {from} on, may be incomplete (days with a ?): {} of the variance is theirs{advice}",
            compared.report.total.settling.display(6)
        )
    })
}

/// Returns the days with calls that are asked for and that the report does not cover.
fn days_outside(engine: &QueryEngine, days: Option<(i32, i32)>, asked: DaySpan) -> Vec<String> {
    let outside = |date: &&String| {
        let day = parse_day(date).unwrap_or_default();
        asked.holds(day) && days.is_none_or(|(from, to)| day < from || to < day)
    };
    engine.call_dates().iter().filter(outside).cloned().collect()
}

fn listing<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    let shown = names.iter().take(NAMED_MAX).copied().collect::<Vec<_>>().join(", ");
    if names.len() > NAMED_MAX { format!("{shown} and {} more", names.len() - NAMED_MAX) } else { shown }
}
