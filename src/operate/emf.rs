//! One line a minute in CloudWatch's embedded metric format, for a log group that CloudWatch reads metrics from.
//!
//! Per "Specification: Embedded metric format": `_aws` names the namespace, the dimension sets and the metrics; each metric is a
//! member of the root; at most 100 metrics a line. There is one dimension, the installation, so the number of billed metrics
//! is the length of the list below and nothing in the data can make it grow. Counters are what came since the last line.

use std::fs::OpenOptions;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use sluice_schemas::visible::escape_json;

use super::board::{Sight, age};
use super::catalogue::dollars;
use super::config::EmfTarget;
use super::measures::Measures;
use super::watch::Told;

/// Namespace of the metrics.
const NAMESPACE: &str = "Sluice";
/// Name of the one dimension.
const DIMENSION: &str = "Instance";

/// What came since the last line is made of.
pub(super) struct Between<'a> {
    sight: &'a Sight,
    now: &'a Measures,
    before: &'a Measures,
}

/// A metric of a line.
pub(super) struct EmfMetric {
    pub(super) name: &'static str,
    pub(super) unit: &'static str,
    /// Its value; none is left out of the line.
    read: fn(&Between<'_>) -> Option<f64>,
}

const fn metric(name: &'static str, unit: &'static str, read: fn(&Between<'_>) -> Option<f64>) -> EmfMetric {
    EmfMetric { name, unit, read }
}

/// Every metric of a line.
pub(super) static METRICS: &[EmfMetric] = &[
    metric("Ready", "None", |b| Some(f64::from(u8::from(b.sight.reasons().is_empty())))),
    metric("Records", "Count", |b| b.grown(|m| m.counts.records)),
    metric("Calls", "Count", |b| b.grown(|m| m.counts.facts)),
    metric("DuplicateCalls", "Count", |b| b.grown(|m| m.counts.duplicates)),
    metric("RejectedRecords", "Count", |b| b.grown(|m| m.counts.rejected)),
    metric("UnpricedCalls", "Count", |b| b.grown(|m| m.counts.unpriced)),
    metric("SpoofedCalls", "Count", |b| b.grown(|m| m.counts.spoofed)),
    metric("LateCalls", "Count", |b| b.grown(|m| m.counts.late)),
    metric("ReadBytes", "Bytes", |b| b.grown(|m| m.counts.bytes_in)),
    metric("SpendUSD", "None", |b| Some(dollars(b.now.counts.cost - b.before.counts.cost))),
    metric("Gaps", "Count", |b| b.grown(Measures::gaps)),
    metric("Breaches", "Count", |b| b.grown(|m| m.breaches)),
    metric("FailedActions", "Count", |b| b.grown(failed_actions)),
    metric("OutboxOpen", "Count", |b| Some(b.now.outbox_open as f64)),
    metric("OutboxAgeSeconds", "Seconds", |b| {
        Some(b.now.outbox_since.map_or(Duration::ZERO, |since| age(b.sight.now, since)).as_secs_f64())
    }),
    metric("LeversFailing", "Count", |b| b.sight.outside.levers.map(|levers| levers.failing as f64)),
    metric("BreakerOpen", "None", |b| b.sight.outside.levers.map(|levers| f64::from(u8::from(levers.is_broken)))),
    metric("ActiveHolds", "Count", |b| Some(active_holds(b.sight) as f64)),
    metric("StoppedShards", "Count", |b| Some(b.now.source.shards.iter().filter(|shard| shard.stopped.is_some()).count() as f64)),
    metric("LagSeconds", "Seconds", |b| b.now.source.behind_ms().map(|millis| Duration::from_millis(millis).as_secs_f64())),
    metric("RetentionHeadroomSeconds", "Seconds", |b| b.now.source.headroom_ms().map(|millis| Duration::from_millis(millis).as_secs_f64())),
    metric("ApplyLatencyP99Seconds", "Seconds", |b| {
        b.now.applied.since(&b.before.applied).quantile(990).map(|latency| latency.as_secs_f64())
    }),
    metric("CommitLatencyP99Seconds", "Seconds", |b| {
        b.now.committed.since(&b.before.committed).quantile(990).map(|latency| latency.as_secs_f64())
    }),
    metric("LakeWaitingSeconds", "Seconds", |b| {
        Some(b.now.waiting_since.map_or(Duration::ZERO, |since| age(b.sight.now, since)).as_secs_f64())
    }),
    metric("WatermarkAgeSeconds", "Seconds", |b| b.now.watermark.map(|at| age(b.sight.now, at).as_secs_f64())),
    metric("CoverageGapCalls", "Count", |b| {
        b.sight.coverage.filter(|found| found.totals.compared > 0).map(|found| found.totals.calls as f64)
    }),
    metric("ConfigRefused", "Count", |b| Some(f64::from(u8::from(b.sight.config.refusal.is_some())))),
    metric("ResidentBytes", "Bytes", |b| b.sight.outside.process.resident_bytes.map(|bytes| bytes as f64)),
];

impl Between<'_> {
    fn grown(&self, read: impl Fn(&Measures) -> u64) -> Option<f64> {
        Some(read(self.now).saturating_sub(read(self.before)) as f64)
    }
}

fn failed_actions(measures: &Measures) -> u64 {
    measures.actions.iter().filter(|((_, state), _)| *state == "failed").map(|(_, count)| count).sum()
}

fn active_holds(sight: &Sight) -> u64 {
    sight.outside.holds.iter().filter(|hold| hold.state == "active").map(|hold| hold.count).sum()
}

/// Returns the line of what came between two snapshots.
pub(super) fn line(sight: &Sight, now: &Measures, before: &Measures, instance: &str) -> String {
    let between = Between { sight, now, before };
    let mut root = Map::new();
    let mut names = Vec::new();
    for metric in METRICS {
        if let Some(value) = (metric.read)(&between).filter(|value| value.is_finite()) {
            names.push(json!({ "Name": metric.name, "Unit": metric.unit }));
            root.insert(metric.name.to_owned(), json!(value));
        }
    }
    root.insert(DIMENSION.to_owned(), json!(instance));
    root.insert("Version".to_owned(), json!(env!("CARGO_PKG_VERSION")));
    let directive = json!({ "Namespace": NAMESPACE, "Dimensions": [[DIMENSION]], "Metrics": names });
    root.insert("_aws".to_owned(), json!({ "Timestamp": sight.now.0 / 1_000, "CloudWatchMetrics": [directive] }));
    Value::Object(root).to_string()
}

/// Writes the lines.
#[derive(Debug)]
pub(super) struct EmfExport {
    target: EmfTarget,
    instance: String,
    before: Arc<Measures>,
    told: Told,
}

impl EmfExport {
    /// Creates an exporter.
    pub(super) fn new(target: EmfTarget, instance: &str) -> Self {
        Self { target, instance: instance.to_owned(), before: Arc::default(), told: Told::default() }
    }

    /// Writes the next line. What a line that failed would have said is in the next one.
    pub(super) fn export(&mut self, sight: &Sight) {
        let now = sight.measures.clone().unwrap_or_default();
        let mut text = line(sight, &now, &self.before, &self.instance);
        text.push('\n');
        let written = match &self.target {
            EmfTarget::Stdout => {
                let mut out = std::io::stdout().lock();
                out.write_all(escape_json(&text).as_bytes()).and_then(|()| out.flush())
            }
            // Opened for each line, so that a log that was rotated away is begun anew.
            EmfTarget::File(path) => {
                OpenOptions::new().create(true).append(true).open(path).and_then(|mut file| file.write_all(text.as_bytes()))
            }
        };
        if written.is_ok() {
            self.before = now;
        }
        self.told.note("emf", written.map_err(|error| error.to_string()));
    }
}
