//! Lines of the audit trail as the lake's table `actions` has them.

use anyhow::Context;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use sluice_aggregate::query::QueryEngine;
use sluice_enforce::audit::AuditEntry;
use sluice_schemas::Micros;

const TEXTS: [&str; 12] =
    ["fire_id", "action", "target", "state", "actor", "detail", "inputs", "policy_version", "price_version", "requests", "prev", "hash"];

/// Reads every row, with its number if it has one.
pub(super) fn read(engine: &QueryEngine) -> anyhow::Result<Vec<(Option<u64>, AuditEntry)>> {
    let texts = TEXTS.map(|name| format!("arrow_cast({name}, 'Utf8') AS {name}")).join(", ");
    let mut rows = Vec::new();
    for batch in engine.sql(&format!("SELECT line, at, {texts} FROM actions ORDER BY line"))? {
        for row in 0..batch.num_rows() {
            rows.push(line(&batch, row)?);
        }
    }
    Ok(rows)
}

fn line(batch: &RecordBatch, row: usize) -> anyhow::Result<(Option<u64>, AuditEntry)> {
    let numbers = batch.column(0).as_primitive::<Int64Type>();
    let number = numbers.is_valid(row).then(|| u64::try_from(numbers.value(row))).transpose().context("number of a line in the lake")?;
    let text = |at: usize| {
        let column = batch.column(at + 2).as_string::<i32>();
        if column.is_valid(row) { column.value(row).to_owned() } else { String::new() }
    };
    let requests = Some(text(9)).filter(|text| !text.is_empty());
    let entry = AuditEntry {
        at: Micros(batch.column(1).as_primitive::<TimestampMicrosecondType>().value(row)),
        fire_id: text(0),
        action: text(1),
        target: text(2),
        state: text(3),
        actor: text(4),
        detail: text(5),
        inputs: text(6),
        policy_version: text(7),
        price_version: text(8),
        requests: requests
            .map(|text| serde_json::from_str(&text))
            .transpose()
            .context("requests of a line in the lake")?
            .unwrap_or_default(),
        prev: text(10),
        hash: text(11),
    };
    Ok((number, entry))
}
