//! What the verbs about who calls share: the enricher of a configuration, and what the lake knows of the things that call.

use std::collections::HashSet;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use arrow::array::{AsArray, RecordBatch};
use sluice_aggregate::dedup::stored_key;
use sluice_aggregate::evidence::{Hour, events_of_hour};
use sluice_aggregate::lake::{Lake, LakeError};
use sluice_aggregate::query::QueryEngine;
use sluice_enrich::evidence::{CallEvidence, CallKey, Evidence, PassedOver, Wanted};
use sluice_enrich::rules::Rules;
use sluice_enrich::{CallToAttribute, Directory, Enricher};
use sluice_schemas::directory::Entry;
use sluice_schemas::trail::SPAN_SOURCE;
use sluice_schemas::{Clock, SystemClock};

use super::args::Place;
use super::args_who::WhoVerb;
use crate::config::Config;
use crate::directory::read_file;
use crate::lakeview;
use crate::pipeline::catalogue;

pub(super) fn run(verb: &WhoVerb) -> anyhow::Result<ExitCode> {
    match verb {
        WhoVerb::Agents(args) => super::agents::run(args),
        WhoVerb::Explain(args) => super::explain::run(args),
        WhoVerb::Rules(args) => super::rules::run(args),
    }
}

/// A lake to ask, and the enricher that decides as a daemon on it would.
pub(super) struct Known {
    pub(super) lake: Lake,
    pub(super) engine: QueryEngine,
    pub(super) enricher: Enricher,
}

/// Opens the lake of a place.
pub(super) fn open(place: &Place) -> anyhow::Result<Known> {
    let config = Config::load(&place.origin())?;
    let lake = Lake::open_reader(&config.lake).with_context(|| format!("open lake {}", config.lake.display()))?;
    let engine = lakeview::engine(&lake, Vec::new())?;
    let directory = Arc::new(Directory::new(entries_of(&engine)?));
    let enricher = enricher(&config, Arc::clone(&config.rules))?.with_directory(directory);
    Ok(Known { lake, engine, enricher })
}

/// Returns the enricher of a configuration with these rules.
pub(super) fn enricher(config: &Config, rules: Arc<Rules>) -> anyhow::Result<Enricher> {
    Ok(Enricher::new(catalogue(config)?, config.agents.clone(), config.enrich.metadata.clone()).with_rules(rules))
}

/// Returns an enricher that knows of the things that call what a lake, if it is there yet, and the configured file of entries say.
pub(super) fn with_directory(enricher: Enricher, config: &Config, lake: Option<&Path>) -> anyhow::Result<Enricher> {
    let mut entries = match lake.map(Lake::open_reader) {
        None | Some(Err(LakeError::NotALake { .. })) => Vec::new(),
        Some(lake) => entries_of(&lakeview::engine(&lake?, Vec::new())?)?,
    };
    if let Some(file) = &config.directory.file {
        entries.extend(read_file(file, SystemClock.now())?);
    }
    Ok(enricher.with_directory(Arc::new(Directory::new(entries))))
}

/// Returns what the lake knows of the things that call.
fn entries_of(engine: &QueryEngine) -> anyhow::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for batch in engine.sql("SELECT arrow_cast(entry, 'Utf8') AS entry FROM directory WHERE entry IS NOT NULL")? {
        for row in 0..batch.num_rows() {
            let text = batch.column(0).as_string::<i32>().value(row);
            entries.push(serde_json::from_str::<Entry>(text).context("an entry of the table directory")?);
        }
    }
    Ok(entries)
}

/// Returns what the lake knows of the caller of one call beside the call's own record.
pub(super) fn evidence_of(known: &Known, request_id: &str, call: &CallToAttribute<'_>) -> anyhow::Result<(CallEvidence, Vec<PassedOver>)> {
    let resources = known.enricher.runs_as(call.principal_arn);
    let key = CallKey {
        request: stored_key(call.account_id, call.region, request_id),
        principal_arn: call.principal_arn,
        at: call.event_time.unwrap_or_default(),
        resources: &resources,
    };
    let mut load = |Wanted { hour, openings }| events_of_hour(&known.lake, Hour { hour, openings });
    let mut evidence = Evidence::new(usize::MAX);
    let found = evidence.of_call(&key, &mut load).context("evidence of the call")?;
    let passed_over = evidence.passed_over(&key, &found);
    Ok((found, passed_over))
}

/// A caller without its session: the role of an account, or a user.
pub(super) const CALLER: &str = "CASE WHEN role <> '' THEN concat(account_id, '/', role) ELSE principal_arn END";

/// Returns the callers of some calls that several named agents share; `span` is the calls, up to a condition.
pub(super) fn shared_callers(known: &Known, span: &str) -> anyhow::Result<HashSet<String>> {
    let named = "agent_status IN ('verified', 'unverified')";
    let rest = format!("{span} AND {named} GROUP BY {CALLER} HAVING count(DISTINCT agent_id) > 1");
    Ok(texts(&known.engine, &[CALLER], &rest)?.into_iter().flatten().collect())
}

/// Returns the accounts of which the lake has events of CloudTrail.
pub(super) fn accounts_with_events(known: &Known) -> anyhow::Result<HashSet<String>> {
    let rest = format!("FROM evidence WHERE account_id <> '' AND event_source <> '{SPAN_SOURCE}' GROUP BY account_id");
    Ok(texts(&known.engine, &["account_id"], &rest)?.into_iter().flatten().collect())
}

/// Returns columns as texts; nulls as empty ones.
pub(super) fn texts(engine: &QueryEngine, columns: &[&str], rest: &str) -> anyhow::Result<Vec<Vec<String>>> {
    let cast: Vec<_> = columns.iter().map(|column| format!("coalesce(arrow_cast({column}, 'Utf8'), '')")).collect();
    let batches = engine.sql(&format!("SELECT {} {rest}", cast.join(", ")))?;
    let row = |batch: &RecordBatch, row: usize| {
        (0..columns.len()).map(|column| batch.column(column).as_string::<i32>().value(row).to_owned()).collect()
    };
    Ok(batches.iter().flat_map(|batch| (0..batch.num_rows()).map(move |at| row(batch, at))).collect())
}
