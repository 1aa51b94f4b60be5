//! The metrics as OpenMetrics text.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::board::Sight;
use super::catalogue::{Kind, METRICS, Metric, Sample, Value};
use super::histogram::Histogram;
use super::measures::Measures;

/// Media type of the text.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Writes every metric of a moment.
///
/// # Errors
/// Never in practice: text is written to memory.
pub(super) fn encode(sight: Sight) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Moment { sight }));
    let mut page = String::new();
    text::encode(&mut page, &registry)?;
    Ok(page)
}

#[derive(Debug)]
struct Moment {
    sight: Sight,
}

impl Collector for Moment {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let nothing = Measures::default();
        let measures = self.sight.measures.as_deref().unwrap_or(&nothing);
        for metric in METRICS {
            let samples = (metric.read)(&self.sight, measures);
            if samples.is_empty() {
                continue;
            }
            let unit = (!metric.unit.is_empty()).then(|| Unit::Other(metric.unit.to_owned()));
            let kind = match metric.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
                Kind::Info => MetricType::Info,
            };
            let mut family = encoder.encode_descriptor(metric.base, metric.help, unit.as_ref(), kind)?;
            for sample in &samples {
                one(metric, sample, &mut family)?;
            }
        }
        Ok(())
    }
}

fn one(metric: &Metric, sample: &Sample, family: &mut MetricEncoder<'_>) -> Result<(), fmt::Error> {
    let labels: Vec<(&str, &str)> = metric.labels.iter().copied().zip(sample.labels.iter().map(String::as_str)).collect();
    if metric.kind == Kind::Info {
        return family.encode_info(&labels);
    }
    if labels.is_empty() {
        return value(metric.kind, &sample.value, family);
    }
    value(metric.kind, &sample.value, &mut family.encode_family(&labels)?)
}

fn value(kind: Kind, value: &Value, encoder: &mut MetricEncoder<'_>) -> Result<(), fmt::Error> {
    match (kind, value) {
        (Kind::Counter, Value::Count(count)) => encoder.encode_counter::<NoLabelSet, _, u64>(count, None),
        (Kind::Counter, Value::Real(real)) => encoder.encode_counter::<NoLabelSet, _, u64>(real, None),
        (_, Value::Count(count)) => encoder.encode_gauge(count),
        (_, Value::Real(real)) => encoder.encode_gauge(real),
        (_, Value::Spread(histogram)) => spread(histogram, encoder),
    }
}

fn spread(histogram: &Histogram, encoder: &mut MetricEncoder<'_>) -> Result<(), fmt::Error> {
    let buckets: Vec<(f64, u64)> =
        histogram.buckets().map(|(bound, count)| (bound.map_or(f64::INFINITY, |bound| bound.as_secs_f64()), count)).collect();
    encoder.encode_histogram::<NoLabelSet>(histogram.sum().as_secs_f64(), histogram.count(), &buckets, None)
}
