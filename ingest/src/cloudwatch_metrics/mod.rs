//! What CloudWatch counted of Bedrock's calls: sums by model and slot of time, to compare the log with.
//!
//! Owns: which metrics are asked for and how many at once, pages, and what a partial answer means. Does not own: what the numbers are
//! compared with. A number that could not be had is an error, never a zero.
//!
//! Sources: AWS, "Monitor bedrock-runtime inference using CloudWatch metrics", "Monitor bedrock-mantle inference using CloudWatch
//! metrics", CloudWatch API reference of `GetMetricData` and `ListMetrics`.

mod client;
mod plan;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use sluice_schemas::time::SECOND;
use sluice_schemas::{ErrorClass, Micros};

pub use client::{CloudWatch, CloudWatchSettings};
pub use plan::slot_of;
use plan::{Metric, Query, batches, queries};

use crate::source::SourceError;

/// Namespace of calls to the runtime endpoint.
const RUNTIME: &str = "AWS/Bedrock";
/// Namespace of calls to the endpoint that speaks the languages of other makers.
const MANTLE: &str = "AWS/BedrockMantle";
/// Pages of one question; more than any account has.
const PAGES_MAX: u32 = 10_000;

/// Answers calls of the CloudWatch API.
pub trait Answer {
    /// Carries out one operation.
    ///
    /// # Errors
    /// What went wrong, after all tries that are worth it.
    fn call(&mut self, operation: &'static str, body: &Value) -> Result<Value, SourceError>;

    /// Returns how to call it in a message.
    fn name(&self) -> String;
}

/// What was counted in one slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// `Invocations`.
    pub invocations: u64,
    /// `InvocationClientErrors`.
    pub client_errors: u64,
    /// `InvocationServerErrors`.
    pub server_errors: u64,
    /// `InvocationThrottles`.
    pub throttles: u64,
    /// `InputTokenCount`.
    pub input: u64,
    /// `OutputTokenCount`.
    pub output: u64,
    /// `CacheReadInputTokenCount`.
    pub cache_read: u64,
    /// `CacheWriteInputTokenCount`.
    pub cache_write: u64,
}

/// What an account and region counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// By model id as it was called, and start of the slot.
    pub models: BTreeMap<String, BTreeMap<Micros, Counted>>,
    /// Calls and tokens of the endpoint that is not logged.
    pub mantle: Counted,
}

/// Reads what was counted in `[from, to)` in slots of `slot_seconds`. Models that CloudWatch lists are asked for, and those of `also`:
/// its list forgets a metric after two weeks without data.
///
/// # Errors
/// CloudWatch refused, could not be reached, or did not give everything.
pub fn read(
    cloudwatch: &mut dyn Answer,
    (from, to): (Micros, Micros),
    slot_seconds: i64,
    also: &BTreeSet<String>,
) -> Result<Reading, SourceError> {
    let mut models = list(cloudwatch, RUNTIME, "Invocations", "ModelId")?;
    models.extend(also.iter().cloned());
    let mantle = list(cloudwatch, MANTLE, "Inferences", "Model")?;
    let queries = queries(&models, &mantle);
    let mut reading = Reading::default();
    for batch in batches(&queries, (to.0 - from.0) / (slot_seconds * SECOND)) {
        data(cloudwatch, batch, (from, to), slot_seconds, &mut reading)?;
    }
    reading.models.retain(|_, slots| !slots.is_empty());
    Ok(reading)
}

/// Lists the values of the one dimension of a metric. The same metric with further dimensions counts the same calls again.
fn list(cloudwatch: &mut dyn Answer, namespace: &str, metric: &str, dimension: &str) -> Result<BTreeSet<String>, SourceError> {
    let mut found = BTreeSet::new();
    let mut body = json!({ "Namespace": namespace, "MetricName": metric });
    for _ in 0..PAGES_MAX {
        let page = cloudwatch.call("ListMetrics", &body)?;
        for metric in page["Metrics"].as_array().into_iter().flatten() {
            let Some([only]) = metric["Dimensions"].as_array().map(Vec::as_slice) else { continue };
            if let Some(value) = only["Value"].as_str().filter(|_| only["Name"] == dimension) {
                found.insert(value.to_owned());
            }
        }
        match token(&page) {
            Some(token) => body["NextToken"] = token,
            None => return Ok(found),
        }
    }
    Err(odd(cloudwatch, "its list of metrics does not end"))
}

/// Asks for the numbers of a batch of metrics, page by page.
fn data(
    cloudwatch: &mut dyn Answer,
    batch: &[Query],
    (from, to): (Micros, Micros),
    slot_seconds: i64,
    reading: &mut Reading,
) -> Result<(), SourceError> {
    let asked: Vec<Value> = batch.iter().enumerate().map(|(number, query)| query.to_json(number, slot_seconds)).collect();
    let mut body = json!({
        "MetricDataQueries": asked,
        "StartTime": from.0 / SECOND,
        "EndTime": to.0 / SECOND,
        "ScanBy": "TimestampAscending",
    });
    for _ in 0..PAGES_MAX {
        let page = cloudwatch.call("GetMetricData", &body)?;
        let next = token(&page);
        for result in page["MetricDataResults"].as_array().into_iter().flatten() {
            take(result, batch, next.is_some(), reading).map_err(|problem| odd(cloudwatch, problem))?;
        }
        match next {
            Some(token) => body["NextToken"] = token,
            None => return Ok(()),
        }
    }
    Err(odd(cloudwatch, "its answer does not end"))
}

fn token(page: &Value) -> Option<Value> {
    page.get("NextToken").filter(|token| token.as_str().is_some_and(|token| !token.is_empty())).cloned()
}

/// Books the numbers of one metric.
fn take(result: &Value, batch: &[Query], more: bool, reading: &mut Reading) -> Result<(), &'static str> {
    match result["StatusCode"].as_str().unwrap_or("Complete") {
        "Complete" => {}
        "PartialData" if more => {}
        "PartialData" => return Err("it gave a part of the numbers and no way to the rest"),
        "Forbidden" => return Err("it may not read some of the metrics: allow cloudwatch:GetMetricData"),
        _ => return Err("it could not read some of the metrics"),
    }
    let number = result["Id"].as_str().and_then(|id| id.strip_prefix('q')?.parse::<usize>().ok());
    let query = number.and_then(|number| batch.get(number)).ok_or("it answered what was not asked")?;
    let (times, values) = (result["Timestamps"].as_array(), result["Values"].as_array());
    let (times, values) = (times.map(Vec::as_slice).unwrap_or_default(), values.map(Vec::as_slice).unwrap_or_default());
    if times.len() != values.len() {
        return Err("it gave numbers without a time");
    }
    for (time, value) in times.iter().zip(values) {
        let (Some(at), Some(value)) = (time.as_f64().and_then(whole), value.as_f64().and_then(whole)) else {
            return Err("it gave a number that is none");
        };
        let at = i64::try_from(at).ok().and_then(|at| at.checked_mul(SECOND)).ok_or("it gave a time that is none")?;
        reading.book(query, Micros(at), value);
    }
    Ok(())
}

/// Returns a sum of whole numbers, which comes as a double, as what it is.
fn whole(value: f64) -> Option<u64> {
    if value.is_finite() { format!("{value:.0}").parse().ok() } else { None }
}

impl Reading {
    fn book(&mut self, query: &Query, at: Micros, value: u64) {
        if value == 0 {
            return;
        }
        let counted = match &query.of {
            Some(model) => self.models.entry(model.clone()).or_default().entry(at).or_default(),
            None => &mut self.mantle,
        };
        let field = match query.metric {
            Metric::Invocations | Metric::MantleInferences => &mut counted.invocations,
            Metric::ClientErrors | Metric::MantleClientErrors => &mut counted.client_errors,
            Metric::ServerErrors => &mut counted.server_errors,
            Metric::Throttles => &mut counted.throttles,
            Metric::Input | Metric::MantleInput => &mut counted.input,
            Metric::Output | Metric::MantleOutput => &mut counted.output,
            // Two names of one thing: whichever is there counts, and never both.
            Metric::CacheRead | Metric::CacheReadTokens => return counted.cache_read = counted.cache_read.max(value),
            Metric::CacheWrite | Metric::CacheWriteTokens => return counted.cache_write = counted.cache_write.max(value),
        };
        *field = field.saturating_add(value);
    }
}

fn odd(cloudwatch: &dyn Answer, problem: &str) -> SourceError {
    SourceError::Service {
        resource: cloudwatch.name(),
        problem: problem.to_owned(),
        fix: "nothing is compared with it this time; it is asked again at the next check".to_owned(),
        class: ErrorClass::Transient,
        source: None,
    }
}
