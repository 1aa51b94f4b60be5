//! Prices that come late: the lake is rated again a few files at a time, between two steps of the coordinator, so that spend goes
//! on meanwhile. Counters, windows and the live view follow in the commit that moves the cost.
//!
//! The commit is one like bulk reading's: local state names it before it happens and holds the counters as they are after it, so
//! after a crash either both happened or the counters are made again from the lake.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, PoisonError};

use anyhow::Context;
use crossbeam_channel::Sender;
use serde_json::{Value, json};
use sluice_aggregate::correct::{self, Change, CorrectError, Correction, CorrectionReport, NewPrice, StoredCall, Terms, correct_files};
use sluice_aggregate::lake::{LakeFile, SealedEpoch};
use sluice_aggregate::query::{Listing, MEMORY_LIMIT, QueryEngine};
use sluice_aggregate::seed::Spend;
use sluice_aggregate::store::{LocalWrite, Sealing};
use sluice_enrich::prices::{CallToRate, Catalogue, extras_from_json, rerate};
use sluice_schemas::{CostBasis, Micros, PriceStatus, ServiceTier, Usage, tables};

use super::{DELTAS, Pipeline, Progressed};
use crate::control::Answer;
use crate::view::Level;

/// Bytes of files that are rated between two steps of the coordinator: about a second.
const STEP_BYTES: u64 = 16 << 20;
/// Files that are looked at between two steps.
const STEP_FILES: usize = 64;

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    /// Also calls that have a price.
    pub(crate) all: bool,
    /// Look and count, change nothing.
    pub(crate) dry_run: bool,
}

/// A rating under way.
pub(crate) struct Rating {
    order: Order,
    catalogue: Catalogue,
    reason: String,
    left: VecDeque<LakeFile>,
    report: CorrectionReport,
    /// Who waits for the end.
    reply: Option<Sender<Answer>>,
}

impl Rating {
    /// Returns what it came to, as the command line and the socket tell it.
    fn summary(&self) -> Value {
        let report = &self.report;
        json!({
            "calls": report.calls,
            "changed": report.changed,
            "still_unpriced": report.still_unpriced,
            "files": report.files,
            "difference_usd": report.difference_usd,
            "dry_run": self.order.dry_run,
            "catalogue": self.catalogue.version(),
        })
    }
}

impl Pipeline {
    /// Rates the whole lake again, of which this process is the writer.
    pub(crate) fn rate_lake(&mut self, order: Order) -> anyhow::Result<Value> {
        self.begin_rating(order, None)?;
        loop {
            if let Some(ended) = self.rate_step()? {
                return ended;
            }
        }
    }

    /// Begins to rate the lake again; whoever asked learns the end.
    pub(super) fn ask_rating(&mut self, order: Order, reply: Sender<Answer>) {
        if let Err(error) = self.begin_rating(order, Some(reply.clone())) {
            super::answer::send(&reply, Answer::Refused(format!("{error:#}")));
        }
    }

    /// Reads the price file as it is now. New calls are rated by it from here on, too, or they would have to be rated again.
    pub(super) fn begin_rating(&mut self, order: Order, reply: Option<Sender<Answer>>) -> anyhow::Result<()> {
        anyhow::ensure!(self.rating.is_none(), "calls are being rated again already: ask once more when that is done");
        let enricher = self.directory.equip(super::seed::enricher(&self.settings.config)?);
        let catalogue = enricher.catalogue().clone();
        if !order.dry_run {
            self.guard_prices(&catalogue)?;
            *self.enricher.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(enricher);
        }
        self.catch_up()?;
        // Their prices may change, and those of the rows that are kept do not.
        self.recent.clear();
        // What is not in the lake yet was rated by the prices of a moment ago.
        self.commit_lake()?;
        let left = self.lake.files(tables::CALLS)?.into();
        let reason = format!("rated again with catalogue {}", catalogue.version());
        self.rating = Some(Rating { order, catalogue, reason, left, report: CorrectionReport::default(), reply });
        Ok(())
    }

    /// Rates a few files more, if a rating is under way; `Some` at its end. What cannot be read ends the rating and nothing else:
    /// every step before was committed as a whole.
    fn rate_step(&mut self) -> anyhow::Result<Option<anyhow::Result<Value>>> {
        let Some(mut rating) = self.rating.take() else { return Ok(None) };
        let files = match self.next_files(&mut rating) {
            Ok(files) => files,
            Err(error) => return Ok(Some(Err(error))),
        };
        if !files.is_empty() {
            // The commit of a correction carries no records: counters and lake must agree before it.
            self.commit_lake()?;
            let now = self.settings.clock.now();
            let mut touched = Vec::new();
            match self.rate_files(&rating, &files, &mut touched, now) {
                Ok(correction) => {
                    rating.report.add(&correction.report);
                    // Spend that no new call made: a price may be wrong, so a person looks first.
                    self.ledger.doubt(Some("the spend was found by rating calls again".to_owned()));
                    let followed = self.follow(correction, &touched, now);
                    self.ledger.doubt(self.price_doubt.as_ref().map(|(_, why)| why.clone()));
                    followed?;
                }
                Err(error) => return Ok(Some(Err(error.into()))),
            }
        }
        if rating.left.is_empty() {
            return Ok(Some(Ok(rating.summary())));
        }
        self.rating = Some(rating);
        Ok(None)
    }

    /// Takes the next files that may have something to change, and counts the others.
    fn next_files(&mut self, rating: &mut Rating) -> anyhow::Result<Vec<LakeFile>> {
        let (mut files, mut bytes) = (Vec::new(), 0);
        for _ in 0..STEP_FILES {
            let Some(file) = rating.left.pop_front() else { break };
            let (calls, unpriced) = correct::count_calls(&self.lake, &file)?;
            if unpriced == 0 && !rating.order.all {
                rating.report.calls += calls;
                continue;
            }
            bytes += file.bytes;
            files.push(file);
            if bytes > STEP_BYTES {
                break;
            }
        }
        Ok(files)
    }

    fn rate_files(
        &mut self,
        rating: &Rating,
        files: &[LakeFile],
        touched: &mut Vec<BTreeSet<Micros>>,
        now: Micros,
    ) -> Result<Correction, CorrectError> {
        let terms = Terms { now, dry_run: rating.order.dry_run, reason: &rating.reason };
        let (catalogue, all, windows) = (&rating.catalogue, rating.order.all, &self.windows);
        let mut price = |call: &StoredCall<'_>| new_price(catalogue, call, all).map(Change::from);
        let epoch = self.lake.begin_epoch();
        correct_files(&self.lake, epoch, files, terms, &mut price, &mut |rows| windows.find(rows, touched))
    }

    /// Lets everything follow a correction, and publishes it.
    pub(super) fn follow(&mut self, mut correction: Correction, touched: &[BTreeSet<Micros>], now: Micros) -> anyhow::Result<()> {
        let Some(epoch) = correction.epoch.take() else {
            // Where nothing was to be replaced, counters that were ahead of the lake go back to it.
            return if correction.replaced.is_empty() { self.count_again(&correction.before, &correction.after, now) } else { Ok(()) };
        };
        let calls = epoch.seal()?;
        if !self.windows.is_empty() {
            let listing = Listing::replacing(&self.lake, &correction.replaced, &calls)?;
            self.windows.reload(&QueryEngine::of_listing(listing, Vec::new(), MEMORY_LIMIT)?, touched)?;
        }
        self.count_again(&correction.before, &correction.after, now)?;
        self.commit_correction(calls, &correction.replaced, now)
    }

    /// Lets counters have calls as they are now in place of how they had them.
    pub(super) fn count_again(&mut self, before: &Spend, after: &Spend, now: Micros) -> anyhow::Result<()> {
        let (before, after) = (before.view(), after.view());
        self.ledger.retract(before, now);
        let crossings = self.ledger.apply(after, now);
        self.live.correct(before, after);
        self.note_usage(before, -1);
        self.note_usage(after, 1);
        for crossing in crossings {
            self.record_breach(&crossing, now)?;
        }
        Ok(())
    }

    /// Publishes corrected files with the rows that follow from them.
    fn commit_correction(&mut self, calls: SealedEpoch, replaced: &[LakeFile], now: Micros) -> anyhow::Result<()> {
        // In bulk mode the rows of breaches have begun an epoch of their own; it is the same one.
        let mut rest = self.epoch.take().unwrap_or_else(|| self.lake.begin_epoch());
        for (table, day, rows) in std::mem::take(&mut self.segment).into_iter().filter(|(table, ..)| table != DELTAS) {
            rest.append(&table, day, rows)?;
        }
        let watermark = self.watermark().unwrap_or(self.base.watermark);
        for (table, day, rows) in self.windows.publish(calls.epoch(), watermark)? {
            rest.append(&table, day, rows)?;
        }
        let sealed = calls.join(rest.seal()?)?.with_enforcement(self.enforcement()?);
        let sealed = sealed.with_evidence_settled(self.evidence_settled(), self.evidence_from());
        self.base.sealing = Some(Sealing { epoch: sealed.epoch(), uuid: sealed.uuid().to_owned(), next_segment: 0 });
        self.base.commit += 1;
        let (ledger, ahead) = (self.dirty_rows(), self.ahead.take_dirty()?);
        let write = LocalWrite { base: self.base.clone(), ledger, ahead, ..LocalWrite::default() };
        self.local.commit(&write)?;
        let manifest = self.lake.replace(sealed, replaced, now).context("publish corrected calls")?;
        self.settle(manifest.epoch, manifest.uuid, watermark)
    }

    /// Goes on with a rating that was asked for over the socket.
    pub(super) fn go_on_rating(&mut self) -> anyhow::Result<Progressed> {
        let reply = self.rating.as_ref().and_then(|rating| rating.reply.clone());
        let Some(ended) = self.rate_step()? else { return Ok(Progressed::Committed) };
        let now = self.settings.clock.now();
        let answer = match ended {
            Ok(summary) => {
                tracing::info!(event = "rated", %summary, "calls rated again");
                let (changed, moved) = (&summary["changed"], summary["difference_usd"].as_str().unwrap_or_default());
                self.live.event(now, Level::Info, format!("{changed} calls rated again, {moved} USD in all"));
                Answer::Json(summary)
            }
            Err(error) => {
                tracing::warn!(event = "rated", error = format!("{error:#}"), "calls cannot be rated again");
                Answer::Refused(format!("{error:#}"))
            }
        };
        if let Some(reply) = reply {
            super::answer::send(&reply, answer);
        }
        Ok(Progressed::Tick)
    }
}

/// The price of a stored call by a catalogue; `None` to leave it as it is.
fn new_price(catalogue: &Catalogue, call: &StoredCall<'_>, all: bool) -> Option<NewPrice> {
    if call.priced && !all {
        return None;
    }
    let extras = match extras_from_json(call.extras) {
        Ok(extras) => extras,
        Err(error) => {
            tracing::warn!(request_id = call.request_id, %error, "units beside tokens cannot be read; the call keeps its price");
            return None;
        }
    };
    let basis = CostBasis::parse(call.cost_basis).unwrap_or_default();
    if basis == CostBasis::LowerBound && !call.priced && call.usage == Usage::default() {
        // Nobody told what it consumed: no price can make a cost of that.
        return None;
    }
    let rated = rerate(
        catalogue,
        &CallToRate {
            event_time: call.event_time,
            model_id: call.model_id,
            region: call.region,
            inference_region: call.inference_region,
            tier: ServiceTier::parse(call.service_tier).unwrap_or_default(),
            operation: call.operation,
            usage: call.usage,
            extras: extras.as_ref(),
            basis,
            failed: !call.error_code.is_empty(),
        },
    );
    Some(NewPrice {
        cost: rated.cost,
        cost_max: rated.cost_max,
        priced: rated.status != PriceStatus::Unpriced,
        model: rated.model,
        scope: rated.scope,
        price_version: rated.price_version,
    })
}

#[cfg(test)]
mod tests;
