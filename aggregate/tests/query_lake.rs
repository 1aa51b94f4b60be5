//! SQL over a small lake of Parquet files and live rows.
#![expect(clippy::unwrap_used, reason = "helpers of tests: what cannot go on must stop")]

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    new_null_array,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Decimal128Type, Field, Int64Type, Schema, TimestampMicrosecondType};
use datafusion::parquet::arrow::ArrowWriter;
use sluice_aggregate::query::{QueryEngine, QueryError, TableFiles, format_json, format_table};
use sluice_aggregate::seed::{for_each_spend, rebuild_window, spend_since, unpriced_calls};
use sluice_aggregate::windows::WindowPlan;
use sluice_schemas::time::{DAY, HOUR, MINUTE, format_day};
use sluice_schemas::{AgentStatus, ErrorClass, Micros, Rank, ServiceTier, tables};

const MEMORY: usize = 64 << 20;

#[derive(Clone, Debug)]
struct Row {
    at: i64,
    id: String,
    agent: &'static str,
    session: Option<&'static str>,
    model: &'static str,
    error: Option<&'static str>,
    tokens: i64,
    cost: i128,
    priced: bool,
}

fn row(at: i64, agent: &'static str, cost: i128) -> Row {
    Row { at, id: format!("id-{at}-{agent}"), agent, session: Some("s"), model: "m", error: None, tokens: 7, cost, priced: true }
}

fn calls(rows: &[Row]) -> RecordBatch {
    let schema = tables::schema(tables::CALLS).unwrap();
    let texts = |of: &dyn Fn(&Row) -> Option<String>| -> ArrayRef { Arc::new(rows.iter().map(of).collect::<StringArray>()) };
    let columns = schema.fields().iter().map(|field| -> ArrayRef {
        match field.name().as_str() {
            "event_time" => Arc::new(rows.iter().map(|row| Some(row.at)).collect::<TimestampMicrosecondArray>().with_timezone("UTC")),
            "request_id" => texts(&|row| Some(row.id.clone())),
            "account_id" => texts(&|_| Some("111122223333".to_owned())),
            "region" => texts(&|_| Some("eu-west-1".to_owned())),
            "agent_id" => texts(&|row| Some(row.agent.to_owned())),
            "agent_status" => texts(&|_| Some("verified".to_owned())),
            "session_id" => texts(&|row| row.session.map(str::to_owned)),
            "model_id" | "model" => texts(&|row| Some(row.model.to_owned())),
            "error_code" => texts(&|row| row.error.map(str::to_owned)),
            "service_tier" => texts(&|_| Some("flex".to_owned())),
            "agent_rank" => Arc::new(rows.iter().map(|_| Some(4)).collect::<Int32Array>()),
            "session_rank" => Arc::new(rows.iter().map(|_| Some(1)).collect::<Int32Array>()),
            "input_tokens" => Arc::new(rows.iter().map(|row| Some(row.tokens)).collect::<Int64Array>()),
            "cost_usd" | "cost_max_usd" => {
                Arc::new(rows.iter().map(|row| Some(row.cost)).collect::<Decimal128Array>().with_data_type(tables::MONEY))
            }
            "priced" => Arc::new(rows.iter().map(|row| Some(row.priced)).collect::<BooleanArray>()),
            _ => new_null_array(field.data_type(), rows.len()),
        }
    });
    let columns = columns.collect();
    RecordBatch::try_new(schema, columns).unwrap()
}

/// Writes rows as one file of a table, as the lake lays them out.
fn write(root: &Path, table: &str, dt: &str, name: &str, rows: &RecordBatch) -> (std::path::PathBuf, String) {
    let folder = root.join(table).join(format!("dt={dt}"));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(name);
    let mut writer = ArrowWriter::try_new(File::create(&path).unwrap(), rows.schema(), None).unwrap();
    writer.write(rows).unwrap();
    writer.close().unwrap();
    (path, dt.to_owned())
}

/// Rows as a batch of the fold has them: texts are dictionaries.
fn live(rows: &RecordBatch) -> RecordBatch {
    let text = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let columns: Vec<ArrayRef> = rows
        .columns()
        .iter()
        .map(|column| if column.data_type() == &DataType::Utf8 { cast(column, &text).unwrap() } else { Arc::clone(column) })
        .collect();
    let schema = rows.schema();
    let fields: Vec<Field> =
        schema.fields().iter().zip(&columns).map(|(field, column)| Field::new(field.name(), column.data_type().clone(), true)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

/// Two days of files and one live batch of the second day.
fn engine(root: &Path) -> QueryEngine {
    let first = calls(&[
        row(1, "a", 1),
        row(HOUR, "b", 99_999_999_999_999_999_999_999),
        Row { error: Some("Throttling"), ..row(2 * HOUR, "a", 2) },
    ]);
    let unpriced = Row { priced: false, model: "new-model", cost: 0, ..row(DAY + MINUTE, "a", 0) };
    let second = calls(&[row(DAY, "a", 3), unpriced]);
    let files =
        vec![write(root, "calls", "1970-01-01", "e1 ä%20-0.parquet", &first), write(root, "calls", "1970-01-02", "e2-0.parquet", &second)];
    let table = TableFiles { table: "calls".to_owned(), schema: tables::schema("calls").unwrap(), files };
    let rows = live(&calls(&[row(DAY + HOUR, "c", 10), Row { session: None, ..row(DAY + HOUR + 1, "c", 20) }]));
    QueryEngine::new(vec![table], vec![("calls".to_owned(), 1, rows)], MEMORY).unwrap()
}

fn one<T: datafusion::arrow::array::ArrowPrimitiveType>(engine: &QueryEngine, sql: &str) -> T::Native {
    let batches = engine.sql(sql).unwrap();
    assert_eq!((batches.len(), batches[0].num_rows(), batches[0].num_columns()), (1, 1, 1), "{sql}");
    batches[0].column(0).as_primitive::<T>().value(0)
}

#[test]
fn files_and_live_rows_are_one_table() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(folder.path());
    assert_eq!(one::<Int64Type>(&engine, "SELECT count(*) FROM calls"), 7);
    assert_eq!(one::<Int64Type>(&engine, "SELECT count(*) FROM calls WHERE dt = '1970-01-02'"), 4);
    assert_eq!(one::<Decimal128Type>(&engine, "SELECT sum(cost_usd) FROM calls"), 99_999_999_999_999_999_999_999 + 36);
    assert_eq!(one::<Int64Type>(&engine, "SELECT count(*) FROM spend_day"), 0);
    assert_eq!(engine.call_dates(), ["1970-01-01", "1970-01-02"]);
    let text = format_table(&engine.sql("SELECT dt, agent_id, sum(cost_usd) AS cost FROM calls GROUP BY 1, 2 ORDER BY 1, 2").unwrap());
    let expected = "\
dt          agent_id                      cost
----------  --------  ------------------------
1970-01-01  a                   0.000000000003
1970-01-01  b         99999999999.999999999999
1970-01-02  a                   0.000000000003
1970-01-02  c                   0.000000000030
";
    assert_eq!(text, expected, "\n{text}");
}

#[test]
fn files_outside_the_asked_time_are_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(folder.path());
    // The first day's file is no Parquet any more: whoever opens it fails.
    std::fs::write(folder.path().join("calls/dt=1970-01-01/e1 ä%20-0.parquet"), b"not parquet").unwrap();
    for predicate in [
        "dt = '1970-01-02'",
        "dt > '1970-01-01'",
        "event_time >= TIMESTAMP '1970-01-02T00:00:00Z'",
        "event_time >= '1970-01-02T00:00:00Z'",
        "event_time BETWEEN '1970-01-02' AND '1970-01-03' AND agent_id <> 'z'",
        "dt IN ('1970-01-02', '1970-01-03')",
    ] {
        assert_eq!(one::<Int64Type>(&engine, &format!("SELECT count(*) FROM calls WHERE {predicate}")), 4, "{predicate}");
    }
    let error = engine.sql("SELECT count(*) FROM calls WHERE agent_id = 'a'").unwrap_err();
    assert_eq!(error.class(), ErrorClass::Corrupt, "{error:?}");
    std::fs::remove_file(folder.path().join("calls/dt=1970-01-02/e2-0.parquet")).unwrap();
    let error = engine.sql("SELECT agent_id FROM calls WHERE dt = '1970-01-02'").unwrap_err();
    assert!(matches!(&error, QueryError::File { path, .. } if path.ends_with("e2-0.parquet")), "{error:?}");
    assert_eq!(error.class(), ErrorClass::Transient);
}

#[test]
fn nothing_but_reading() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(folder.path());
    let out = folder.path().join("out.csv");
    for sql in [
        "CREATE TABLE t AS SELECT 1 AS a".to_owned(),
        "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'".to_owned(),
        "DROP TABLE calls".to_owned(),
        "INSERT INTO calls SELECT * FROM calls".to_owned(),
        "DELETE FROM calls".to_owned(),
        "UPDATE calls SET agent_id = 'x'".to_owned(),
        format!("COPY calls TO '{}'", out.display()),
        format!("EXPLAIN ANALYZE COPY (SELECT 1) TO '{}'", out.display()),
        "SET datafusion.execution.batch_size = 1".to_owned(),
        "PREPARE p AS SELECT 1".to_owned(),
        "CREATE VIEW v AS SELECT 1 AS a".to_owned(),
    ] {
        let error = engine.sql(&sql).expect_err(&sql);
        assert!(matches!(error, QueryError::ReadOnly { .. }), "{sql}: {error:?}");
        assert_eq!(error.class(), ErrorClass::Misconfigured);
    }
    assert!(!out.exists());
    assert!(engine.sql("SELECT * FROM '/etc/passwd'").is_err());
    assert!(engine.sql("SELECT 1; SELECT 2").is_err());
    for sql in [
        "SHOW TABLES",
        "DESCRIBE calls",
        "EXPLAIN SELECT * FROM calls",
        "SELECT * FROM information_schema.columns",
        "SELECT * FROM generate_series(1, 3)",
    ] {
        engine.sql(sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }
}

#[test]
fn errors_help() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(folder.path());
    let message = |sql: &str| engine.sql(sql).unwrap_err().to_string();
    assert_eq!(message("SELECT agentid FROM calls"), "no column 'agentid': did you mean 'agent_id'?");
    assert_eq!(message("SELECT c.cost FROM calls c WHERE c.costs_usd > 1"), "no column 'costs_usd': did you mean 'cost_usd'?");
    assert_eq!(message("SELECT * FROM spend_minutes"), "no table 'spend_minutes': did you mean 'spend_minute'?");
    assert_eq!(message("SELECT * FROM nothing_like_it"), "no table 'nothing_like_it'");
    assert!(matches!(engine.sql("SELEC 1"), Err(QueryError::Sql { .. })));
    assert!(matches!(engine.sql("SELECT 1 / (count(*) - count(*)) FROM calls"), Err(QueryError::Execution { .. })));
}

#[test]
fn memory_is_bounded() {
    let engine = QueryEngine::new(Vec::new(), Vec::new(), 1 << 20).unwrap();
    let error = engine.sql("SELECT array_agg(a.value) FROM generate_series(1, 2000000) a").unwrap_err();
    assert!(matches!(error, QueryError::Memory { limit_bytes, .. } if limit_bytes == 1 << 20), "{error:?}");
}

#[test]
fn many_groups_are_exact_or_refused() {
    let engine = QueryEngine::new(Vec::new(), Vec::new(), 8 << 20).unwrap();
    let sql = "SELECT count(*), sum(n) FROM (SELECT value % 300000 AS key, count(*) AS n FROM generate_series(1, 900000) GROUP BY 1)";
    match engine.sql(sql) {
        Ok(rows) => {
            let counts: Vec<i64> = rows[0].columns().iter().map(|column| column.as_primitive::<Int64Type>().value(0)).collect();
            assert_eq!(counts, [300_000, 900_000]);
        }
        Err(error) => assert!(matches!(error, QueryError::Memory { .. }), "{error:?}"),
    }
    let error = QueryEngine::new(Vec::new(), Vec::new(), 1 << 20).unwrap().sql("SELECT * FROM generate_series(1, 2000000)").unwrap_err();
    assert!(matches!(error, QueryError::TooLarge { .. }), "{error:?}");
}

#[test]
fn a_window_is_rebuilt_from_files_and_live_rows() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(folder.path());
    let sql = "SELECT date_trunc('day', event_time) AS window_start, agent_id, count(*) AS n, sum(cost_usd) AS cost FROM calls \
         WHERE priced GROUP BY 1, 2";
    let mut plan = WindowPlan::plan("by_day", sql, tables::schema("calls").unwrap()).unwrap();
    plan.evict(Micros(i64::MAX));
    plan.fold(&calls(&[row(DAY + 5, "late", 1)])).unwrap();
    rebuild_window(&engine, &mut plan, Micros(DAY)).unwrap();
    let rows = plan.result(Micros(DAY)).unwrap().unwrap();
    let expected = engine.sql(&format!("SELECT * FROM ({sql}) WHERE window_start >= '1970-01-02' ORDER BY 2")).unwrap();
    assert_eq!(rows.num_rows(), 2);
    for column in ["n", "cost"] {
        assert_eq!(rows.column_by_name(column), expected[0].column_by_name(column), "{column}");
    }
    std::fs::write(folder.path().join("calls/dt=1970-01-02/e2-0.parquet"), b"not parquet").unwrap();
    let error = rebuild_window(&engine, &mut plan, Micros(DAY)).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Corrupt);
    assert_eq!(plan.result(Micros(DAY)).unwrap().unwrap(), rows);
}

#[test]
fn a_column_that_old_files_lack_is_null() {
    let folder = tempfile::tempdir().unwrap();
    let old = calls(&[row(1, "a", 5)]).project(&[0, 1, 2, 14]).unwrap();
    assert_eq!(old.schema().field(3).name(), "agent_id");
    let files = vec![write(folder.path(), "calls", "1970-01-01", "old.parquet", &old)];
    let table = TableFiles { table: "calls".to_owned(), schema: tables::schema("calls").unwrap(), files };
    let engine = QueryEngine::new(vec![table], Vec::new(), MEMORY).unwrap();
    let rows = format_json(&engine.sql("SELECT agent_id, team, cost_usd, tags, dt FROM calls").unwrap());
    let rows: serde_json::Value = serde_json::from_str(&rows).unwrap();
    assert_eq!(rows, serde_json::json!([{"agent_id": "a", "team": null, "cost_usd": null, "tags": null, "dt": "1970-01-01"}]));
}

#[test]
fn latest_view_shows_the_last_version_of_each_window() {
    let sql = "SELECT date_bin(INTERVAL '1 hour', event_time) AS window_start, agent_id, sum(cost_usd) AS cost FROM calls GROUP BY 1, 2";
    let mut plan = WindowPlan::plan("by_agent", sql, tables::schema("calls").unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    let mut publish = |plan: &WindowPlan, window: Micros, version: i64| {
        let rows = plan.upsert_rows(window, version).unwrap();
        files.push(write(folder.path(), "by_agent", &format_day(window.day()), &format!("e{version}-{}.parquet", window.0), &rows));
    };
    plan.fold(&calls(&[row(0, "a", 1), row(1, "b", 2), row(HOUR, "a", 5)])).unwrap();
    publish(&plan, Micros(0), 1);
    publish(&plan, Micros(HOUR), 1);
    plan.fold(&calls(&[row(2, "a", 10)])).unwrap();
    publish(&plan, Micros(0), 2);
    // The cost of `b` moved away, and the second window lost its only row.
    plan.rebuild(Micros(0), [calls(&[row(0, "a", 13)])]).unwrap();
    plan.rebuild(Micros(HOUR), []).unwrap();
    publish(&plan, Micros(0), 3);
    publish(&plan, Micros(HOUR), 3);
    let table = TableFiles { table: "by_agent".to_owned(), schema: plan.output_schema(), files };
    let engine = QueryEngine::new(vec![table], Vec::new(), MEMORY).unwrap();
    assert!(engine.tables().iter().any(|table| table == "by_agent_latest"));
    assert_eq!(one::<Int64Type>(&engine, "SELECT count(*) FROM by_agent"), 7);
    let batches = engine.sql("SELECT agent_id, cost, version FROM by_agent_latest ORDER BY 1").unwrap();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 1);
    assert_eq!(batches[0].column(1).as_primitive::<Decimal128Type>().value(0), 13);
    assert_eq!(batches[0].column(2).as_primitive::<Int64Type>().value(0), 3);
}

#[test]
fn spend_is_read_back_by_caller_and_minute() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(folder.path());
    let (batch, deltas) = spend_since(&engine, Micros(0), None).unwrap();
    assert_eq!(batch.batch.profiles.len(), batch.owners.len());
    assert!(batch.batch.invocations.is_empty() && batch.pricing.is_empty());
    assert_eq!(deltas.iter().map(|delta| delta.sums.cost.0).sum::<i128>(), 99_999_999_999_999_999_999_999 + 36);
    assert_eq!(
        deltas.iter().map(|delta| (delta.sums.calls, delta.sums.errors, delta.sums.unpriced)).fold((0, 0, 0), |a, b| (
            a.0 + b.0,
            a.1 + b.1,
            a.2 + b.2
        )),
        (7, 1, 1)
    );
    let strings = &batch.batch.strings;
    let delta = deltas.iter().find(|delta| delta.sums.cost.0 == 10).unwrap();
    let (profile, owner) = (batch.batch.profiles[delta.profile as usize], &batch.owners[delta.profile as usize]);
    assert_eq!((delta.minute, delta.last_event), (Micros(DAY + HOUR), Micros(DAY + HOUR)));
    assert_eq!(
        [profile.account_id, profile.region, owner.agent_id, owner.session_id, delta.model].map(|text| strings.get(text)),
        ["111122223333", "eu-west-1", "c", "s", "m"]
    );
    assert_eq!(
        (profile.service_tier, owner.agent_status, owner.agent_rank, owner.session_rank),
        (ServiceTier::Flex, AgentStatus::Verified, Rank::Aws, Rank::Claimed)
    );
    assert_eq!((delta.sums.usage.input, delta.sums.usage.output), (7, 0));
    let (_, second) = spend_since(&engine, Micros(DAY), Some(Micros(DAY + HOUR + 1))).unwrap();
    assert_eq!(second.iter().map(|delta| delta.sums.cost.0).sum::<i128>(), 13);
    let mut total = 0;
    for_each_spend(&engine, Micros(i64::MIN), None, &mut |view| total += view.deltas.iter().map(|delta| delta.sums.cost.0).sum::<i128>())
        .unwrap();
    assert_eq!(total, 99_999_999_999_999_999_999_999 + 36);
}

#[test]
fn tags_and_callers_are_kept_apart() {
    use datafusion::arrow::array::{MapBuilder, MapFieldNames, StringBuilder};
    let rows = calls(&[row(0, "a", 1), row(1, "a", 2), row(2, "a", 4), row(3, "a", 8)]);
    let names = MapFieldNames { entry: "key_value".to_owned(), key: "key".to_owned(), value: "value".to_owned() };
    let mut tags = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for pairs in [vec![("env", "prod")], vec![("env", "test")], vec![], vec![("env", "prod")]] {
        for (key, value) in &pairs {
            tags.keys().append_value(key);
            tags.values().append_value(value);
        }
        tags.append(!pairs.is_empty()).unwrap();
    }
    let tags = cast(&tags.finish(), &tables::string_map()).unwrap();
    let schema = rows.schema();
    let columns = schema.fields().iter().zip(rows.columns());
    let columns = columns.map(|(field, column)| if field.name() == "tags" { Arc::clone(&tags) } else { Arc::clone(column) }).collect();
    let rows = RecordBatch::try_new(schema, columns).unwrap();
    let engine = QueryEngine::new(Vec::new(), vec![("calls".to_owned(), 0, rows)], MEMORY).unwrap();
    let (batch, deltas) = spend_since(&engine, Micros(0), None).unwrap();
    let mut found: Vec<(i128, Vec<(&str, &str)>)> = Vec::new();
    for delta in &deltas {
        let pairs = batch.owners[delta.profile as usize].tags.iter();
        found.push((
            delta.sums.cost.0,
            pairs.map(|(key, value)| (batch.batch.strings.get(*key), batch.batch.strings.get(*value))).collect(),
        ));
    }
    assert_eq!(found, [(9, vec![("env", "prod")]), (2, vec![("env", "test")]), (4, vec![])]);
}

#[test]
fn calls_without_a_price() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(folder.path());
    let unpriced = unpriced_calls(&engine).unwrap();
    assert_eq!(unpriced.len(), 1);
    assert_eq!(
        (unpriced[0].model_id.as_str(), unpriced[0].region.as_str(), unpriced[0].service_tier.as_str()),
        ("new-model", "eu-west-1", "flex")
    );
    assert_eq!((unpriced[0].calls, unpriced[0].usage.input, unpriced[0].first_event), (1, 7, Micros(DAY + MINUTE)));
}

#[test]
fn a_stored_value_this_program_never_wrote_is_an_error() {
    let rows = calls(&[Row { tokens: -1, ..row(0, "a", 1) }]);
    let engine = QueryEngine::new(Vec::new(), vec![("calls".to_owned(), 0, rows)], MEMORY).unwrap();
    let error = spend_since(&engine, Micros(0), None).unwrap_err();
    assert!(matches!(&error, QueryError::Value { column, value, .. } if column == "input_tokens" && value == "-1"), "{error:?}");
    assert_eq!(error.class(), ErrorClass::Corrupt);
}

#[test]
fn live_rows_of_an_unknown_table_are_refused() {
    let rows = calls(&[row(0, "a", 1)]);
    let error = QueryEngine::new(Vec::new(), vec![("call".to_owned(), 0, rows)], MEMORY).map(|_| ()).unwrap_err();
    assert_eq!(error.to_string(), "no table 'call': did you mean 'calls'?");
}

#[test]
fn money_is_exact_to_the_last_digit_at_the_edge_of_its_type() {
    let largest = 10_i128.pow(38) - 1;
    let rows: Vec<Row> = vec![row(0, "a", largest - 1), row(1, "a", 1)];
    let engine = QueryEngine::new(Vec::new(), vec![("calls".to_owned(), 0, calls(&rows))], MEMORY).unwrap();
    assert_eq!(one::<Decimal128Type>(&engine, "SELECT sum(cost_usd) FROM calls"), largest);
    assert_eq!(one::<Decimal128Type>(&engine, "SELECT sum(cost_usd * 0.1) FROM calls WHERE cost_usd < 1"), 1);
    let at = one::<TimestampMicrosecondType>(&engine, "SELECT max(event_time) FROM calls");
    assert_eq!(at, 1);
}

/// A lake that only older programs wrote to lacks columns of today; they are null there.
#[test]
fn columns_that_came_later_are_null_in_an_older_lake() {
    let folder = tempfile::tempdir().unwrap();
    let today = tables::schema(tables::ACTIONS).unwrap();
    let then = Arc::new(Schema::new(today.fields().iter().take(7).cloned().collect::<Vec<_>>()));
    let texts = (1..7).map(|_| -> ArrayRef { Arc::new(StringArray::from(vec!["hold"])) });
    let at: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![DAY]).with_timezone("UTC"));
    let rows = RecordBatch::try_new(Arc::clone(&then), std::iter::once(at).chain(texts).collect()).unwrap();
    let file = write(folder.path(), tables::ACTIONS, "1970-01-02", "a.parquet", &rows);
    let files = TableFiles { table: tables::ACTIONS.to_owned(), schema: then, files: vec![file] };
    let engine = QueryEngine::new(vec![files], Vec::new(), MEMORY).unwrap();
    let answer = engine.sql("SELECT action, line, hash, dt FROM actions").unwrap();
    assert_eq!(
        format_json(&answer).split_whitespace().collect::<String>(),
        r#"[{"action":"hold","line":null,"hash":null,"dt":"1970-01-02"}]"#
    );
}
