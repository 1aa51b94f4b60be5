//! Reading a lake: its tables as the query engine takes them, and the few questions the program itself asks.

use arrow::array::{AsArray, RecordBatch};
use hashbrown::HashSet;
use sluice_aggregate::lake::Lake;
use sluice_aggregate::query::{MEMORY_LIMIT, QueryEngine, TableFiles, format_csv, format_json, format_table};

/// Live rows beside the lake's: table, date, rows.
pub(crate) type LiveRows = Vec<(String, i32, RecordBatch)>;

/// Returns the lake's tables with their active files.
pub(crate) fn tables(lake: &Lake) -> anyhow::Result<Vec<TableFiles>> {
    Ok(TableFiles::of_lake(lake)?)
}

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

/// Returns the fire ids of all breaches, and the budgets they are of.
pub(crate) fn fires(engine: &QueryEngine) -> anyhow::Result<(HashSet<String>, HashSet<String>)> {
    let (mut ids, mut budgets) = (HashSet::new(), HashSet::new());
    let sql = "SELECT DISTINCT arrow_cast(fire_id, 'Utf8') AS fire_id, arrow_cast(budget, 'Utf8') AS budget FROM breaches";
    for batch in engine.sql(sql)? {
        ids.extend(batch.column(0).as_string::<i32>().iter().flatten().map(str::to_owned));
        budgets.extend(batch.column(1).as_string::<i32>().iter().flatten().map(str::to_owned));
    }
    Ok((ids, budgets))
}
