//! Every metric: name, unit, labels with their bound, meaning, and where in the snapshot it stands.
//!
//! `/metrics` and OTLP print exactly this list; `deploy/metrics.md` is compared with it by a test. Money is exact until here:
//! a sample's value is for display.

mod list;

use std::time::Duration;

use sluice_schemas::PicoUsd;

pub(super) use list::METRICS;

use super::board::Sight;
use super::histogram::Histogram;
use super::measures::Measures;

/// How the values of a metric behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Only grows, from zero at the start of the process.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts durations by size.
    Histogram,
    /// Always 1; its labels are the message.
    Info,
}

/// A value of a metric.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// A number of things.
    Count(u64),
    /// Anything else.
    Real(f64),
    /// Durations.
    Spread(Box<Histogram>),
}

/// A value with its labels, in the order of [`Metric::labels`].
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sample {
    pub(super) labels: Vec<String>,
    pub(super) value: Value,
}

/// A metric.
pub(super) struct Metric {
    /// Its name without unit and suffix.
    pub(super) base: &'static str,
    /// Its unit, part of the full name; empty for a number of things.
    pub(super) unit: &'static str,
    pub(super) kind: Kind,
    pub(super) labels: &'static [&'static str],
    /// How many series there can be, in words.
    pub(super) bound: &'static str,
    /// What it means, one sentence without a full stop.
    pub(super) help: &'static str,
    pub(super) read: fn(&Sight, &Measures) -> Vec<Sample>,
}

impl Metric {
    /// Returns the name as it is printed, without the suffixes of samples.
    pub(super) fn name(&self) -> String {
        if self.unit.is_empty() { self.base.to_owned() } else { format!("{}_{}", self.base, self.unit) }
    }
}

fn one(value: Value) -> Vec<Sample> {
    vec![Sample { labels: Vec::new(), value }]
}

fn count(value: u64) -> Vec<Sample> {
    one(Value::Count(value))
}

fn count_if(value: Option<u64>) -> Vec<Sample> {
    value.map(count).unwrap_or_default()
}

fn seconds(value: Duration) -> Vec<Sample> {
    one(Value::Real(value.as_secs_f64()))
}

fn seconds_if(value: Option<Duration>) -> Vec<Sample> {
    value.map(seconds).unwrap_or_default()
}

fn spread(histogram: &Histogram) -> Vec<Sample> {
    one(Value::Spread(Box::new(histogram.clone())))
}

fn labelled<const N: usize>(labels: [&str; N], value: Value) -> Sample {
    Sample { labels: labels.iter().map(|label| (*label).to_owned()).collect(), value }
}

/// Returns an amount as a display value: the nearest double of its exact decimal text.
pub(super) fn dollars(amount: PicoUsd) -> f64 {
    amount.to_string().parse().unwrap_or(f64::NAN)
}
