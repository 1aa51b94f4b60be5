//! Which metrics are asked for, in which slots, and how many in one call.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sluice_schemas::Micros;
use sluice_schemas::time::DAY;

use super::{MANTLE, RUNTIME};

/// Metrics of one call: a limit of `GetMetricData`.
const QUERIES_MAX: usize = 500;
/// Numbers of one call: a limit of `GetMetricData`; a longer answer comes in pages.
const NUMBERS_MAX: i64 = 100_800;

/// A metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Metric {
    Invocations,
    ClientErrors,
    ServerErrors,
    Throttles,
    Input,
    Output,
    CacheRead,
    CacheWrite,
    /// A second name under which cache reads are documented.
    CacheReadTokens,
    /// A second name under which cache writes are documented.
    CacheWriteTokens,
    MantleInferences,
    MantleClientErrors,
    MantleInput,
    MantleOutput,
}

/// Metrics of the runtime endpoint, with their names.
const OF_MODEL: [(Metric, &str); 10] = [
    (Metric::Invocations, "Invocations"),
    (Metric::ClientErrors, "InvocationClientErrors"),
    (Metric::ServerErrors, "InvocationServerErrors"),
    (Metric::Throttles, "InvocationThrottles"),
    (Metric::Input, "InputTokenCount"),
    (Metric::Output, "OutputTokenCount"),
    (Metric::CacheRead, "CacheReadInputTokenCount"),
    (Metric::CacheWrite, "CacheWriteInputTokenCount"),
    (Metric::CacheReadTokens, "CacheReadInputTokens"),
    (Metric::CacheWriteTokens, "CacheWriteInputTokens"),
];

/// Metrics of the endpoint that is not logged.
const OF_MANTLE: [(Metric, &str); 4] = [
    (Metric::MantleInferences, "Inferences"),
    (Metric::MantleClientErrors, "InferenceClientErrors"),
    (Metric::MantleInput, "TotalInputTokens"),
    (Metric::MantleOutput, "TotalOutputTokens"),
];

/// One metric of one model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) metric: Metric,
    /// Id of the model whose calls are kept apart; none for those that are summed.
    pub(super) of: Option<String>,
    name: &'static str,
    namespace: &'static str,
    dimension: (&'static str, String),
}

impl Query {
    pub(super) fn to_json(&self, number: usize, slot_seconds: i64) -> Value {
        let (name, value) = &self.dimension;
        let metric = json!({
            "Namespace": self.namespace,
            "MetricName": self.name,
            "Dimensions": [{ "Name": name, "Value": value }],
        });
        json!({ "Id": format!("q{number}"), "MetricStat": { "Metric": metric, "Period": slot_seconds, "Stat": "Sum" } })
    }
}

/// Returns what is asked of the given models.
pub(super) fn queries(models: &BTreeSet<String>, mantle: &BTreeSet<String>) -> Vec<Query> {
    let of_models = models.iter().flat_map(|model| {
        OF_MODEL.map(|(metric, name)| Query {
            metric,
            of: Some(model.clone()),
            name,
            namespace: RUNTIME,
            dimension: ("ModelId", model.clone()),
        })
    });
    let of_mantle = mantle.iter().flat_map(|model| {
        OF_MANTLE.map(|(metric, name)| Query { metric, of: None, name, namespace: MANTLE, dimension: ("Model", model.clone()) })
    });
    of_models.chain(of_mantle).collect()
}

/// Returns the calls that ask for them, each for `numbers` slots.
pub(super) fn batches(queries: &[Query], numbers: i64) -> impl Iterator<Item = &[Query]> {
    let fits = usize::try_from(NUMBERS_MAX / numbers.max(1)).unwrap_or(1);
    queries.chunks(fits.clamp(1, QUERIES_MAX))
}

/// Returns the seconds of the finest slots CloudWatch still has of a time: a minute for 15 days, five for 63, then an hour.
#[must_use]
pub fn slot_of(from: Micros, now: Micros) -> i64 {
    // A day off each, so that a check that begins within does not end without.
    match now.0.saturating_sub(from.0) {
        age if age < 14 * DAY => 60,
        age if age < 62 * DAY => 300,
        _ => 3_600,
    }
}
