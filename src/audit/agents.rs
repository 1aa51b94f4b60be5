//! What each agent did: calls, errors, cost of a call that worked, latency. Exact: sums come from SQL as integers and decimals,
//! quotients are rounded once, half to even.

use std::collections::BTreeMap;

use anyhow::Context;
use arrow::array::AsArray;
use arrow::datatypes::{Decimal128Type, Int64Type};
use sluice_aggregate::query::QueryEngine;

use super::Span;
use crate::output::csv_cell;

/// Columns of the table.
pub(super) const HEADER: &str =
    "agent_id,calls,errors,unpriced_calls,cost_usd,cost_per_successful_call_usd,error_rate,latency_calls,p95_latency_ms";

/// One agent.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct AgentRow {
    calls: i128,
    errors: i128,
    unpriced: i128,
    cost: i128,
    /// Calls by latency.
    latencies: BTreeMap<i64, i128>,
}

/// Reads all agents with calls in the span; the empty name is that of calls without one.
pub(super) fn read(engine: &QueryEngine, span: &Span) -> anyhow::Result<BTreeMap<String, AgentRow>> {
    let within = span.predicate("event_time");
    let agent = "arrow_cast(coalesce(agent_id, ''), 'Utf8') AS agent";
    let sums = format!(
        "SELECT {agent}, count(*) AS calls, count(error_code) AS errors, \
         count(CASE WHEN NOT priced THEN 1 END) AS unpriced, \
         arrow_cast(coalesce(sum(cost_usd), 0), 'Decimal128(38, 12)') AS cost FROM calls WHERE {within} GROUP BY agent"
    );
    let mut agents: BTreeMap<String, AgentRow> = BTreeMap::new();
    for batch in engine.sql(&sums)? {
        for row in 0..batch.num_rows() {
            let count = |column: usize| i128::from(batch.column(column).as_primitive::<Int64Type>().value(row));
            let cost = batch.column(4).as_primitive::<Decimal128Type>().value(row);
            let agent = AgentRow { calls: count(1), errors: count(2), unpriced: count(3), cost, latencies: BTreeMap::new() };
            agents.insert(batch.column(0).as_string::<i32>().value(row).to_owned(), agent);
        }
    }
    let latencies = format!(
        "SELECT {agent}, latency_ms, count(*) AS calls FROM calls WHERE {within} AND latency_ms IS NOT NULL GROUP BY agent, latency_ms"
    );
    for batch in engine.sql(&latencies)? {
        for row in 0..batch.num_rows() {
            let number = |column: usize| batch.column(column).as_primitive::<Int64Type>().value(row);
            let name = batch.column(0).as_string::<i32>().value(row);
            let agent = agents.get_mut(name).with_context(|| format!("agent '{name}' has latencies and no calls"))?;
            agent.latencies.insert(number(1), i128::from(number(2)));
        }
    }
    Ok(agents)
}

impl AgentRow {
    /// Returns the row as CSV.
    pub(super) fn csv(&self, name: &str) -> String {
        let worked = self.calls - self.errors;
        let each = quotient(self.cost, worked).map(|pico| sluice_schemas::PicoUsd(pico).to_string()).unwrap_or_default();
        let rate = quotient(self.errors * 1_000_000, self.calls)
            .map(|millionths| format!("{}.{:06}", millionths / 1_000_000, millionths % 1_000_000));
        let p95 = percentile(&self.latencies, 95).map(|ms| ms.to_string()).unwrap_or_default();
        let timed: i128 = self.latencies.values().sum();
        format!(
            "{},{},{},{},{},{each},{},{timed},{p95}\n",
            csv_cell(name),
            self.calls,
            self.errors,
            self.unpriced,
            sluice_schemas::PicoUsd(self.cost),
            rate.unwrap_or_default()
        )
    }
}

/// Divides integers and rounds half to even; nothing is divided by zero.
fn quotient(of: i128, by: i128) -> Option<i128> {
    if by <= 0 {
        return None;
    }
    let (whole, rest) = (of.div_euclid(by), of.rem_euclid(by));
    Some(match (rest * 2).cmp(&by) {
        std::cmp::Ordering::Less => whole,
        std::cmp::Ordering::Greater => whole + 1,
        std::cmp::Ordering::Equal => whole + whole.rem_euclid(2),
    })
}

/// Returns the smallest value that `percent` of all do not exceed (nearest rank).
fn percentile(counts: &BTreeMap<i64, i128>, percent: i128) -> Option<i64> {
    let all: i128 = counts.values().sum();
    let mut below = 0;
    counts.iter().find_map(|(value, count)| {
        below += count;
        (below * 100 >= all * percent).then_some(*value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let of = |values: &[(i64, i128)]| percentile(&values.iter().copied().collect(), 95);
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[(7, 1)]), Some(7));
        assert_eq!(of(&[(1, 95), (2, 5)]), Some(1));
        assert_eq!(of(&[(1, 94), (2, 6)]), Some(2));
        assert_eq!(of(&[(1, 18), (5, 1), (9, 1)]), Some(5), "the 19th of 20");
    }

    #[test]
    fn quotients_are_rounded_once_half_to_even() {
        assert_eq!([quotient(5, 2), quotient(7, 2), quotient(8, 3), quotient(1, 0)], [Some(2), Some(4), Some(3), None]);
        let row = AgentRow { calls: 3, errors: 1, unpriced: 0, cost: 3_000_000_000_001, latencies: [(40, 2)].into() };
        assert_eq!(row.csv("=a"), "'=a,3,1,0,3.000000000001,1.500000000000,0.333333,2,40\n");
        assert_eq!(AgentRow { calls: 2, errors: 2, ..AgentRow::default() }.csv("b"), "b,2,2,0,0.000000000000,,1.000000,0,\n");
    }
}
