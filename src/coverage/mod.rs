//! Dark spend: are the calls in the lake complete? Asked on demand and every hour by the daemon.
//!
//! Owns: whom to ask (CloudTrail events in the lake, CloudWatch, the copy of the log), how models are named so that all sides name them
//! alike, what a check ends in. Does not own: how counts are compared (`sluice_aggregate::coverage`). It only reads.

mod config;
mod copy;
#[cfg(feature = "aws")]
mod metrics;
mod render;
mod watch;

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;

use anyhow::Context;
use serde::Serialize;
use sluice_aggregate::coverage::read::{self, LakeCalls};
use sluice_aggregate::coverage::sums::{LEAD, SKEW};
use sluice_aggregate::coverage::unlogged::{Unlogged, unlogged};
use sluice_aggregate::coverage::{Counts, Key, Missing, Prices, Report, Side, Stretch, Tokens, Totals};
use sluice_aggregate::lake::Lake;
use sluice_aggregate::query::QueryEngine;
use sluice_enrich::prices::Catalogue;
use sluice_schemas::batch::PriceStatus;
use sluice_schemas::time::{DAY, HOUR};
use sluice_schemas::{CostBasis, Micros, PicoUsd, ServiceTier, Usage};

use crate::config::Config;
use crate::lakeview;
use crate::sources::Clients;

pub(crate) use config::{CoverageConfig, RawCoverage};
pub(crate) use copy::{folders_of, is_remote};
pub(crate) use render::{csv, json, table};
pub(crate) use watch::{CoverageMeasure, CoverageWatch, SIDES};

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    /// First moment.
    pub(crate) since: Micros,
    /// First moment not asked about.
    pub(crate) until: Micros,
    /// The time.
    pub(crate) now: Micros,
    /// Copies of the log: folders and `s3://` places.
    pub(crate) copies: Vec<PathBuf>,
    /// Hours whose copy was found complete before and is not read again.
    pub(crate) copied: BTreeSet<Micros>,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    /// `complete`, `gap`, or `unknown` where nothing could be compared.
    pub(crate) verdict: &'static str,
    /// First hour.
    pub(crate) since: Micros,
    /// End of the last hour.
    pub(crate) until: Micros,
    /// Hours from here on are too young to tell.
    pub(crate) settled: Micros,
    /// Sum of what is missing.
    pub(crate) totals: Totals,
    /// Sides, hours, ids.
    pub(crate) report: Report,
    /// Traffic that no log holds.
    pub(crate) unlogged: Vec<Unlogged>,
    /// Calls in the lake that are known from CloudTrail alone.
    pub(crate) lower_bound_calls: u64,
    /// Whether the lake has calls of that time.
    pub(crate) has_calls: bool,
    /// Event dates that have calls in the lake: first and last.
    pub(crate) dates: Option<(String, String)>,
    /// Records of the copies that could not be read.
    pub(crate) unreadable: u64,
}

/// Names models as the lake does: by the calls it holds, else by the catalogue.
pub(crate) struct Names<'a> {
    calls: &'a LakeCalls,
    catalogue: &'a Catalogue,
    found: RefCell<HashMap<(String, String), String>>,
}

impl<'a> Names<'a> {
    fn new(calls: &'a LakeCalls, catalogue: &'a Catalogue) -> Self {
        Self { calls, catalogue, found: RefCell::default() }
    }

    /// Returns the canonical name of a model id that was called in a region.
    fn of(&self, model_id: &str, region: &str) -> String {
        let key = (model_id.to_owned(), region.to_owned());
        let resolve = || match self.calls.model_of(model_id) {
            Some(model) => model.to_owned(),
            None => self.catalogue.resolve(model_id, region, "", ServiceTier::Standard, "").model,
        };
        self.found.borrow_mut().entry(key).or_insert_with(resolve).clone()
    }
}

/// Compares the lake with everyone who can be asked.
///
/// # Errors
/// The lake or the copy of the log cannot be read. A side that cannot be asked is part of the outcome.
pub(crate) fn check(config: &Config, question: &Question, clients: &Clients) -> anyhow::Result<Outcome> {
    let lake = Lake::open_reader(&config.lake).with_context(|| format!("open lake {}", config.lake.display()))?;
    let engine = lakeview::engine(&lake, Vec::new())?;
    let Question { since, until, now, .. } = *question;
    let stretch = Stretch::new(since, until, now, config.coverage.lateness);
    let slot = slot_of(stretch.since.plus(-LEAD), now);
    let calls = read::calls(&engine, stretch.since.plus(-LEAD), stretch.until.plus(SKEW), slot)?;
    let catalogue = crate::pipeline::catalogue(config)?;
    let names = Names::new(&calls, &catalogue);
    let list = |key: &Key, tokens: &Tokens| list_price(&catalogue, key, tokens, stretch.until);
    let prices = Prices::new(calls.known.clone(), &list);
    let mut report = Report::default();
    let trail = compare_trail(&engine, &stretch, &names, &prices, &mut report)?;
    let asking = Asking { config, calls: &calls, names: &names, stretch: &stretch, slot, prices: &prices, clients };
    let mantle = ask_cloudwatch(&asking, &mut report);
    let unreadable = if question.copies.is_empty() {
        report.leave_out(Side::LogCopy, "", "no copy is named: set log_copy in [coverage], or give --log-copy PATH");
        0
    } else {
        copy::compare(&asking, &engine, question, &mut report)?
    };
    let peculiar = read::peculiar(&engine, stretch.since, stretch.until)?;
    let totals = report.totals();
    let verdict = match totals {
        Totals { gaps: 1.., .. } => "gap",
        Totals { compared: 1.., .. } => "complete",
        _ => "unknown",
    };
    let dates = engine.call_dates();
    Ok(Outcome {
        verdict,
        since: stretch.since,
        until: stretch.until,
        settled: stretch.settled(),
        totals,
        report,
        unlogged: unlogged(trail.as_deref(), mantle, peculiar.provisioned),
        lower_bound_calls: peculiar.lower_bound,
        has_calls: !calls.places.is_empty(),
        dates: dates.first().zip(dates.last()).map(|(first, last)| (first.clone(), last.clone())),
        unreadable,
    })
}

/// What it takes to ask one side.
#[cfg_attr(not(feature = "aws"), expect(dead_code, reason = "a build without the AWS clients does not ask CloudWatch"))]
pub(crate) struct Asking<'a> {
    config: &'a Config,
    calls: &'a LakeCalls,
    names: &'a Names<'a>,
    stretch: &'a Stretch,
    slot: i64,
    prices: &'a Prices<'a>,
    clients: &'a Clients,
}

type Trail = Option<Vec<sluice_aggregate::coverage::unlogged::Seen>>;

fn compare_trail(
    engine: &QueryEngine,
    stretch: &Stretch,
    names: &Names<'_>,
    prices: &Prices<'_>,
    report: &mut Report,
) -> anyhow::Result<Trail> {
    let trail = read::trail_operations(engine, stretch.since, stretch.until)?;
    if trail.is_none() {
        report.leave_out(Side::Cloudtrail, "", "the lake holds no CloudTrail events of that time: replay the trail's bucket, or follow it");
        return Ok(trail);
    }
    let (mut missing, mut events) = (Missing::default(), 0);
    for hour in stretch.hours() {
        events += read::compare_trail(engine, hour, &|id, region| names.of(id, region), &mut missing)?;
    }
    if events == 0 {
        report.leave_out(
            Side::Cloudtrail,
            "",
            "no event of that time is a call to a model: does the trail record management events that only read?",
        );
    }
    report.add_ids(Side::Cloudtrail, missing, stretch, prices);
    Ok(trail)
}

#[cfg(feature = "aws")]
fn slot_of(from: Micros, now: Micros) -> i64 {
    sluice_ingest::cloudwatch_metrics::slot_of(from, now) * sluice_schemas::time::SECOND
}

#[cfg(not(feature = "aws"))]
const fn slot_of(_from: Micros, _now: Micros) -> i64 {
    sluice_schemas::time::MINUTE
}

#[cfg(feature = "aws")]
fn ask_cloudwatch(asking: &Asking<'_>, report: &mut Report) -> Option<Counts> {
    metrics::ask(asking, report)
}

#[cfg(not(feature = "aws"))]
fn ask_cloudwatch(_asking: &Asking<'_>, report: &mut Report) -> Option<Counts> {
    report.leave_out(Side::Cloudwatch, "", "this build has no AWS clients: build it with --features aws");
    None
}

/// Returns what tokens cost by the list; cache writes at the five-minute price, which is the lower one.
fn list_price(catalogue: &Catalogue, key: &Key, tokens: &Tokens, at: Micros) -> Option<PicoUsd> {
    let rates = catalogue.resolve(&key.model, &key.region, "", ServiceTier::Standard, "");
    let usage = Usage {
        input: tokens.input,
        output: tokens.output,
        cache_read: tokens.cache_read,
        cache_write_5m: tokens.cache_write,
        cache_write_1h: 0,
    };
    let quote = rates.quote(at, &usage, None, CostBasis::Exact, false);
    (quote.status == PriceStatus::Priced).then_some(quote.cost)
}

/// Reads a moment: `2026-10-01`, `2026-10-01T12:00:00Z`, or a time ago such as `24h`.
pub(crate) fn moment(text: &str, now: Micros) -> anyhow::Result<Micros> {
    if let Some(ago) = crate::config::parse_duration(text).ok().and_then(|ago| i64::try_from(ago.as_micros()).ok()) {
        return Ok(now.plus(-ago));
    }
    let day = sluice_schemas::time::parse_day(text).map(|day| Micros(i64::from(day) * DAY));
    let wrong = || format!("'{text}' is neither a day like 2026-10-01, nor a moment like 2026-10-01T12:00:00Z, nor a time ago like 24h");
    day.or_else(|| Micros::parse_utc(text.as_bytes())).with_context(wrong)
}

/// Longest stretch of one check: what CloudWatch still has.
pub(crate) const STRETCH_MAX: i64 = 455 * DAY;
/// Stretch of a check that is not told otherwise.
pub(crate) const STRETCH: i64 = 24 * HOUR;
