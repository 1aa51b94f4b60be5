//! Reading a lake: its tables as the query engine takes them, and the few questions the program itself asks.

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use hashbrown::HashMap;
use sluice_aggregate::lake::Lake;
use sluice_aggregate::query::{MEMORY_LIMIT, QueryEngine, format_csv, format_json, format_table};
use sluice_schemas::Micros;

/// Live rows beside the lake's: table, date, rows.
pub(crate) type LiveRows = Vec<(String, i32, RecordBatch)>;

/// Returns an engine over the lake and the given live rows.
pub(crate) fn engine(lake: &Lake, live: LiveRows) -> anyhow::Result<QueryEngine> {
    Ok(QueryEngine::of_lake(lake, live, MEMORY_LIMIT)?)
}

/// Formats an answer in one of the forms of the command line.
pub(crate) fn format(rows: &[RecordBatch], form: &str) -> String {
    match form {
        "json" => format_json(rows) + "\n",
        "csv" => format_csv(rows),
        _ => format_table(rows),
    }
}

/// What names a breach but for limit and generation: budget, target, period, threshold.
pub(crate) type Threshold = [String; 4];

/// Returns all breaches by fire id.
pub(crate) fn breaches(engine: &QueryEngine) -> anyhow::Result<HashMap<String, Threshold>> {
    let columns = ["fire_id", "budget", "target", "period", "threshold"].map(|name| format!("arrow_cast({name}, 'Utf8') AS {name}"));
    let mut found = HashMap::new();
    for batch in engine.sql(&format!("SELECT DISTINCT {} FROM breaches", columns.join(", ")))? {
        let text = |column: usize, row: usize| batch.column(column).as_string::<i32>().value(row).to_owned();
        found.extend((0..batch.num_rows()).map(|row| (text(0, row), [1, 2, 3, 4].map(|column| text(column, row)))));
    }
    Ok(found)
}

/// Returns the event time of the last breach of each budget or rule and target.
pub(crate) fn last_breaches(engine: &QueryEngine) -> anyhow::Result<Vec<(String, String, Micros)>> {
    let mut found = Vec::new();
    let sql = "SELECT arrow_cast(budget, 'Utf8') AS budget, arrow_cast(target, 'Utf8') AS target, max(event_time) AS at FROM breaches GROUP BY 1, 2";
    for batch in engine.sql(sql)? {
        let text = |column: usize, row: usize| batch.column(column).as_string::<i32>().value(row).to_owned();
        let at = batch.column(2).as_primitive::<TimestampMicrosecondType>();
        found.extend((0..batch.num_rows()).map(|row| (text(0, row), text(1, row), Micros(at.value(row)))));
    }
    Ok(found)
}
