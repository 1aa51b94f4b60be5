//! The metrics as OTLP over HTTP, JSON encoding (OpenTelemetry Protocol 1.x): cumulative sums, gauges and histograms.
//!
//! The OpenTelemetry SDK would record everything a second time in its own instruments, and takes no histogram that is counted
//! already; what is sent here is the snapshot everyone else sees.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value as Json, json};
use sluice_schemas::Micros;
use ureq::Agent;

use super::board::Sight;
use super::catalogue::{Kind, METRICS, Metric, Sample, Value};
use super::histogram::Histogram;
use super::measures::Measures;
use super::watch::Told;

/// How long one export may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// `AGGREGATION_TEMPORALITY_CUMULATIVE`.
const CUMULATIVE: u8 = 2;

/// Returns the body of an export request.
pub(super) fn body(sight: &Sight, instance: &str) -> Json {
    let nothing = Measures::default();
    let measures = sight.measures.as_deref().unwrap_or(&nothing);
    let metrics: Vec<Json> = METRICS
        .iter()
        .filter_map(|metric| {
            let samples = (metric.read)(sight, measures);
            (!samples.is_empty()).then(|| encode(metric, &samples, sight))
        })
        .collect();
    let resource = [("service.name", "sluice"), ("service.version", env!("CARGO_PKG_VERSION")), ("service.instance.id", instance)];
    let attributes: Vec<Json> = resource.iter().map(|(key, value)| attribute(key, value)).collect();
    json!({ "resourceMetrics": [{
        "resource": { "attributes": attributes },
        "scopeMetrics": [{ "scope": { "name": "sluice" }, "metrics": metrics }],
    }] })
}

fn attribute(key: &str, value: &str) -> Json {
    json!({ "key": key, "value": { "stringValue": value } })
}

/// 64-bit numbers are decimal strings in this encoding.
fn nanos(at: Micros) -> String {
    (i128::from(at.0) * 1_000).to_string()
}

fn encode(metric: &Metric, samples: &[Sample], sight: &Sight) -> Json {
    let points: Vec<Json> = samples.iter().map(|sample| point(metric, sample, sight)).collect();
    let unit = match metric.unit {
        "seconds" => "s",
        "bytes" => "By",
        "usd" => "{USD}",
        _ => "1",
    };
    let mut encoded = json!({ "name": metric.name(), "description": metric.help, "unit": unit });
    let (key, data) = match metric.kind {
        Kind::Counter => ("sum", json!({ "aggregationTemporality": CUMULATIVE, "isMonotonic": true, "dataPoints": points })),
        Kind::Gauge | Kind::Info => ("gauge", json!({ "dataPoints": points })),
        Kind::Histogram => ("histogram", json!({ "aggregationTemporality": CUMULATIVE, "dataPoints": points })),
    };
    encoded[key] = data;
    encoded
}

fn point(metric: &Metric, sample: &Sample, sight: &Sight) -> Json {
    let attributes: Vec<Json> = metric.labels.iter().zip(&sample.labels).map(|(key, value)| attribute(key, value)).collect();
    let mut point = json!({ "attributes": attributes, "startTimeUnixNano": nanos(sight.started), "timeUnixNano": nanos(sight.now) });
    match &sample.value {
        Value::Count(count) => point["asInt"] = json!(count.to_string()),
        Value::Real(real) => point["asDouble"] = json!(real),
        Value::Spread(histogram) => spread(histogram, &mut point),
    }
    point
}

fn spread(histogram: &Histogram, point: &mut Json) {
    let counts: Vec<String> = histogram.buckets().map(|(_, count)| count.to_string()).collect();
    let bounds: Vec<f64> = histogram.buckets().filter_map(|(bound, _)| bound).map(|bound| bound.as_secs_f64()).collect();
    point["count"] = json!(histogram.count().to_string());
    point["sum"] = json!(histogram.sum().as_secs_f64());
    point["bucketCounts"] = json!(counts);
    point["explicitBounds"] = json!(bounds);
}

/// Posts the metrics. Sums are cumulative, so an export that fails loses nothing but a moment.
pub(super) struct OtlpExport {
    url: String,
    headers: BTreeMap<String, String>,
    instance: String,
    agent: Agent,
    told: Told,
}

impl OtlpExport {
    /// Creates an exporter.
    pub(super) fn new(url: &str, headers: &BTreeMap<String, String>, instance: &str) -> Self {
        let config = Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("sluice/", env!("CARGO_PKG_VERSION")))
            .build();
        Self {
            url: url.to_owned(),
            headers: headers.clone(),
            instance: instance.to_owned(),
            agent: Agent::new_with_config(config),
            told: Told::default(),
        }
    }

    /// Posts what is known now.
    pub(super) fn export(&mut self, sight: &Sight) {
        let text = body(sight, &self.instance).to_string();
        let mut request = self.agent.post(&self.url).header("Content-Type", "application/json");
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let outcome = match request.send(text.as_bytes()) {
            Ok(response) if response.status().is_success() => Ok(()),
            Ok(response) => Err(format!("the receiver answered {}", response.status().as_u16())),
            Err(error) => Err(plain(&error).to_owned()),
        };
        self.told.note("otlp", outcome);
    }
}

/// What failed, without the address, which may hold a secret.
fn plain(error: &ureq::Error) -> &'static str {
    match error {
        ureq::Error::Timeout(_) => "no answer in time",
        ureq::Error::HostNotFound => "the host is not found",
        ureq::Error::ConnectionFailed | ureq::Error::Io(_) => "no connection",
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => "the address or a header is malformed",
        _ => "the request failed",
    }
}
