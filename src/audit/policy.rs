//! Which policy and which prices decisions were made by: the ones in force, and the ones that rows name.

use anyhow::Context;
use serde_json::{Value, json};
use sluice_aggregate::query::{QueryEngine, format_json};
use sluice_enforce::Budget;
use sluice_enforce::budget::LimitSource;

use super::Span;
use crate::config::Config;

/// Parses what a query answers.
pub(super) fn rows(engine: &QueryEngine, sql: &str) -> anyhow::Result<Vec<Value>> {
    serde_json::from_str(&format_json(&engine.sql(sql)?)).context("answer of a query")
}

/// Returns the budgets in force, whole, and the policy versions that actions and breaches of the span name.
pub(super) fn policy(config: &Config, engine: Option<&QueryEngine>, span: &Span) -> anyhow::Result<Value> {
    let mut named = Vec::new();
    if let Some(engine) = engine {
        let versions = format!(
            "SELECT policy_version, min(at) AS first, max(at) AS last, count(*) AS times FROM \
             (SELECT policy_version, at FROM actions WHERE {} UNION ALL SELECT policy_version, detected_at AS at FROM breaches WHERE {}) \
             WHERE policy_version IS NOT NULL GROUP BY policy_version ORDER BY first, policy_version",
            span.predicate("at"),
            span.predicate("event_time")
        );
        named = rows(engine, &versions)?;
    }
    let budgets: Vec<Value> = config.budgets.iter().map(|budget| describe(budget)).collect();
    Ok(json!({
        "version_in_force": config.budgets.version(),
        "configuration": { "version": config.edition.id(), "documents": config.edition.documents },
        "budgets": budgets,
        "versions_named": named,
    }))
}

/// Returns the versions of the rate cards in force, and those that priced the calls of the span.
pub(super) fn prices(config: &Config, engine: Option<&QueryEngine>, span: &Span) -> anyhow::Result<Value> {
    let mut used = Vec::new();
    if let Some(engine) = engine {
        let versions = format!(
            "SELECT price_version, count(*) AS calls, sum(cost_usd) AS cost_usd, min(event_time) AS first, max(event_time) AS last \
             FROM calls WHERE {} GROUP BY price_version ORDER BY price_version",
            span.predicate("event_time")
        );
        used = rows(engine, &versions)?;
    }
    Ok(json!({ "version_in_force": crate::pipeline::catalogue(config)?.version(), "versions_of_calls": used }))
}

fn describe(budget: &Budget) -> Value {
    let exceptions: serde_json::Map<String, Value> =
        budget.limit.exceptions.iter().map(|(target, limit)| (target.clone(), Value::String(limit.to_string()))).collect();
    let thresholds: Vec<Value> = budget
        .thresholds
        .iter()
        .map(|threshold| json!({ "at": threshold.text, "do": threshold.actions.iter().map(|kind| kind.as_str()).collect::<Vec<_>>() }))
        .collect();
    json!({
        "name": budget.name,
        "digest": budget.digest(),
        "where": budget.filter.as_ref().map(|filter| filter.text()),
        "each": budget.each.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "limit_usd": budget.limit.base.map(|limit| limit.to_string()),
        "limit_from": budget.limit.source.as_ref().map(|source| match source {
            LimitSource::Tag(key) => format!("tag:{key}"),
            LimitSource::Agent => "agent".to_owned(),
        }),
        "limits": exceptions,
        "window": budget.window.to_string(),
        "timezone": budget.zone_name,
        "count": budget.count.as_str(),
        "mode": budget.mode.as_str(),
        "approval": budget.approval,
        "lower_bound": budget.lower_bound,
        "thresholds": thresholds,
    })
}
