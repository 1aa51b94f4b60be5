//! What a pipeline is filled with at start: prices and agents from files, counters from the lake.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context;
use hashbrown::HashSet;
use serde::Deserialize;
use sluice_aggregate::seed::{for_each_spend, spend_since};
use sluice_enforce::{AgentLimits, Carried, Ledger, LimitTable, NeedsSeed};
use sluice_enrich::enricher::Enricher;
use sluice_enrich::prices::Catalogue;
use sluice_schemas::time::{DAY, parse_day};
use sluice_schemas::{Micros, SpendView};

use super::Pipeline;
use crate::config::Config;
use crate::lakeview;

/// First event time a record can have: ingest refuses earlier ones.
const EARLIEST: Micros = Micros(0);

/// Returns the catalogue of a configuration: built-in prices, own prices over them, profile aliases, discounts.
pub(crate) fn catalogue(config: &Config) -> anyhow::Result<Catalogue> {
    let mut catalogue = Catalogue::builtin().context("built-in prices")?;
    if let Some(file) = &config.prices_file {
        let named = || format!("price file {}", file.location);
        let text = file.text().with_context(|| format!("read {}", named()))?;
        let own = Catalogue::from_text(&text).with_context(named)?;
        catalogue = catalogue.overlay(&own).with_context(named)?;
    }
    let aliases = config.enrich.inference_profiles.iter().map(|(arn, model)| (arn.clone(), model.clone()));
    Ok(catalogue.with_aliases(aliases).with_discounts(&config.enrich.discounts))
}

/// Returns the enricher of a configuration.
pub(crate) fn enricher(config: &Config) -> anyhow::Result<Enricher> {
    let enricher = Enricher::new(catalogue(config)?, config.agents.clone(), config.enrich.metadata.clone());
    Ok(enricher.with_rules(Arc::clone(&config.rules)))
}

/// Returns the limits that stand in the agents file.
pub(crate) fn limits(config: &Config) -> Arc<dyn AgentLimits> {
    let mut table = LimitTable::default();
    for agent in config.agents.agents() {
        if let Some(limit) = agent.limit {
            table.limits.insert(agent.id.clone(), limit);
        }
        table.tags.insert(agent.id.clone(), agent.tags.iter().cloned().collect::<BTreeMap<_, _>>());
    }
    Arc::new(table)
}

impl Pipeline {
    /// Fills the counters of new and changed budgets from the lake and pending rows.
    pub(super) fn seed(&mut self, needed: Vec<NeedsSeed>) -> anyhow::Result<()> {
        let Some(from) = needed.iter().map(|need| need.from).min() else {
            return Ok(());
        };
        let names: Vec<&str> = needed.iter().map(|need| need.budget.as_str()).collect();
        tracing::info!(budgets = names.join(", "), %from, "counters are filled from the lake; these budgets only notify until approved");
        let engine = lakeview::engine(&self.lake, self.live_rows())?;
        let ledger = &mut self.ledger;
        for_each_spend(&engine, from.max(EARLIEST), None, &mut |view| ledger.seed(view)).context("fill counters from the lake")
    }

    /// Returns what the last manifest carries of the ledger; `None` for a new lake, or one of an earlier version.
    pub(super) fn carried(&self) -> anyhow::Result<Option<Carried>> {
        let enforcement = &self.lake.state().enforcement;
        let read = || Carried::deserialize(enforcement).context("the manifest holds what another version of enforcement wrote");
        (!enforcement.is_null()).then(read).transpose()
    }

    /// Makes the ledger again from the lake, after the loss of local state.
    ///
    /// A crossing is committed together with the facts behind it and, until it is settled, carried by the manifest of each epoch; the shared
    /// store holds what was claimed. So what is due is known without looking at history, and history is only counted: what it shows crossed
    /// was settled, or is an artefact of reading in another order, unless it is news ([`Ledger::is_news`]).
    pub(super) fn seed_all(&mut self) -> anyhow::Result<()> {
        let now = self.settings.clock.now();
        let engine = lakeview::engine(&self.lake, self.live_rows())?;
        let (ids, thresholds): (HashSet<_>, HashSet<_>) = lakeview::breaches(&engine)?.into_iter().unzip();
        self.recorded = ids;
        // What the shared store knows did happen, even if the facts behind it were lost and are read again in another order.
        for fire in self.shared.fires()? {
            self.record_breach(&fire.crossing, now)?;
        }
        let budgets = Arc::new(self.settings.config.budgets.clone());
        let carried = self.carried()?;
        if let Some(carried) = &carried {
            self.ledger = Ledger::again(&budgets, limits(&self.settings.config), carried);
        }
        if !self.ledger.budgets().is_empty() {
            for date in engine.call_dates() {
                let start = Micros(i64::from(parse_day(date).context("date of the lake")?) * DAY);
                let (batch, deltas) = spend_since(&engine, start, Some(start.plus(DAY))).context("fill counters from the lake")?;
                for crossing in self.ledger.apply(SpendView { batch: &batch, deltas: &deltas }, now) {
                    let breach = &crossing.breach;
                    let threshold = [&breach.budget, &breach.target, &breach.period, &breach.threshold].map(String::clone);
                    let is_recorded = self.recorded.contains(&breach.fire_id) || thresholds.contains(&threshold);
                    if !is_recorded && self.ledger.is_news(&crossing) {
                        self.record_breach(&crossing, now)?;
                    } else if !is_recorded || carried.is_some() {
                        self.ledger.settle(&crossing.breach.fire_id);
                    }
                }
            }
        }
        self.ledger.take_over(carried.unwrap_or_default().pending);
        let seeds = self.ledger.reconfigure(budgets);
        self.seed(seeds)
    }

    /// Makes the live view one of the current date, that of the newest call, with what was spent on it before this process began.
    pub(crate) fn cover_day(&mut self) -> anyhow::Result<()> {
        let newest = self.newest_event.unwrap_or_default();
        self.live.cover_day(newest.day());
        let engine = lakeview::engine(&self.lake, self.live_rows())?;
        let live = &mut self.live;
        for_each_spend(&engine, newest.floor(DAY), None, &mut |view| live.seed(view)).context("fill the live view from the lake")
    }

    /// Rows that are not in the lake yet, for queries.
    pub(crate) fn live_rows(&self) -> lakeview::LiveRows {
        let rows = self.pending.iter().chain(&self.segment);
        rows.filter(|(table, _, _)| table != super::DELTAS).cloned().collect()
    }
}
