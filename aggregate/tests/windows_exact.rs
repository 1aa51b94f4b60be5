//! Windows and spend tables give the same rows as one SQL over all calls, for every order, split and restart.
#![expect(clippy::unwrap_used, reason = "helpers of tests: what cannot go on must stop")]

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, new_null_array,
};
use datafusion::arrow::compute::{concat_batches, filter_record_batch};
use datafusion::arrow::datatypes::{Decimal128Type, Int64Type, TimestampMicrosecondType};
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use proptest::prelude::*;
use sluice_aggregate::windows::{OVERFLOW_KEY, Refusal, WindowError, WindowPlan};
use sluice_schemas::time::HOUR;
use sluice_schemas::{ErrorClass, Micros, tables};

const HOURLY: &str = "SELECT date_bin(INTERVAL '1 hour', event_time) AS window_start, agent_id, count(*) AS calls, \
     sum(input_tokens) AS input_tokens, sum(cost_usd) AS cost_usd, min(latency_ms) AS fastest, max(latency_ms) AS slowest, \
     avg(cost_usd) AS mean, avg(latency_ms) AS mean_ms, sum(cost_usd) FILTER (WHERE priced) AS priced_usd, \
     sum(cost_usd) / count(*) AS per_call \
     FROM calls WHERE model <> 'free' GROUP BY 1, agent_id";

#[derive(Clone, Debug)]
struct Row {
    at: i64,
    agent: Option<&'static str>,
    model: &'static str,
    tokens: i64,
    cost: Option<i128>,
    latency: Option<i64>,
}

fn calls(rows: &[Row]) -> RecordBatch {
    let schema = tables::schema(tables::CALLS).unwrap();
    let columns = schema.fields().iter().map(|field| -> ArrayRef {
        match field.name().as_str() {
            "event_time" => Arc::new(rows.iter().map(|row| Some(row.at)).collect::<TimestampMicrosecondArray>().with_timezone("UTC")),
            "agent_id" => Arc::new(rows.iter().map(|row| row.agent).collect::<StringArray>()),
            "model" => Arc::new(rows.iter().map(|row| Some(row.model)).collect::<StringArray>()),
            "input_tokens" => Arc::new(rows.iter().map(|row| Some(row.tokens)).collect::<Int64Array>()),
            "latency_ms" => Arc::new(rows.iter().map(|row| row.latency).collect::<Int64Array>()),
            "priced" => Arc::new(rows.iter().map(|row| Some(row.cost.is_some())).collect::<datafusion::arrow::array::BooleanArray>()),
            "cost_usd" => Arc::new(rows.iter().map(|row| row.cost).collect::<Decimal128Array>().with_data_type(tables::MONEY)),
            _ => new_null_array(field.data_type(), rows.len()),
        }
    });
    let columns = columns.collect();
    RecordBatch::try_new(schema, columns).unwrap()
}

fn row(at: i64, agent: &'static str, cost: i128) -> Row {
    Row { at, agent: Some(agent), model: "m", tokens: 1, cost: Some(cost), latency: Some(5) }
}

fn plan(sql: &str) -> WindowPlan {
    WindowPlan::plan("spend_by_agent", sql, tables::schema(tables::CALLS).unwrap()).unwrap()
}

/// One SQL over all rows, by the engine's own planner.
fn one_shot(sql: &str, rows: &[Row]) -> RecordBatch {
    let config = SessionConfig::new().set_bool("datafusion.sql_parser.parse_float_as_decimal", true);
    let context = SessionContext::new_with_config(config);
    let batch = calls(rows);
    let table = MemTable::try_new(batch.schema(), vec![vec![batch]]).unwrap();
    context.register_table("calls", Arc::new(table)).unwrap();
    let sql = format!("SELECT * FROM ({sql}) ORDER BY 1, 2");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let frame = context.sql(&sql).await.unwrap();
        let schema = Arc::new(frame.schema().as_arrow().clone());
        concat_batches(&schema, &frame.collect().await.unwrap()).unwrap()
    })
}

fn results(plan: &WindowPlan) -> RecordBatch {
    let windows: Vec<Micros> = plan.windows().collect();
    let rows: Vec<RecordBatch> = windows.iter().filter_map(|&window| plan.result(window).unwrap()).collect();
    let schema = plan.output_schema().project(&(0..plan.output_schema().fields().len() - 2).collect::<Vec<_>>()).unwrap();
    concat_batches(&Arc::new(schema), &rows).unwrap()
}

fn text(batch: &RecordBatch) -> String {
    let mut lines: Vec<String> =
        pretty_format_batches(std::slice::from_ref(batch)).unwrap().to_string().lines().map(str::to_owned).collect();
    lines.sort();
    lines.join("\n")
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let row = (
        -3 * HOUR..3 * HOUR,
        proptest::option::of(proptest::sample::select(vec!["a", "b", "c"])),
        proptest::sample::select(vec!["m", "free", ""]),
        0_i64..1 << 40,
        proptest::option::of(0_i128..10_i128.pow(25)),
        proptest::option::of(0_i64..100_000),
    );
    let row = row.prop_map(|(at, agent, model, tokens, cost, latency)| Row { at, agent, model, tokens, cost, latency });
    proptest::collection::vec(row, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_order_and_split_equals_one_shot(rows in rows(), cuts in proptest::collection::vec(1_usize..20, 1..40), restart in any::<bool>()) {
        let mut plan = plan(HOURLY);
        let mut rest = rows.as_slice();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (batch, more) = rest.split_at((*cut).min(rest.len()));
            rest = more;
            plan.fold(&calls(batch)).unwrap();
            let so_far = &rows[..rows.len() - rest.len()];
            for window in plan.incomplete().collect::<Vec<_>>() {
                let span = window.0..plan.window_end(window).0;
                let whole: Vec<Row> = so_far.iter().filter(|row| span.contains(&row.at)).cloned().collect();
                plan.rebuild(window, whole.chunks(7).map(calls)).unwrap();
            }
            if restart {
                plan = restarted(&plan);
            }
        }
        let expected = one_shot(HOURLY, &rows);
        prop_assert_eq!(text(&results(&plan)), text(&expected));
    }
}

/// A new process: all state through its snapshots.
fn restarted(plan: &WindowPlan) -> WindowPlan {
    let mut fresh = self::plan(HOURLY);
    fresh.evict(plan.windows().last().map_or(Micros(0), |window| window.plus(1)));
    for window in plan.windows() {
        fresh.restore(window, &plan.snapshot(window).unwrap().unwrap()).unwrap();
    }
    fresh
}

#[test]
fn output_has_the_types_of_a_table() {
    let plan = plan(HOURLY);
    let schema = plan.output_schema();
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names[..5], ["window_start", "agent_id", "calls", "input_tokens", "cost_usd"]);
    assert_eq!(names[names.len() - 2..], ["version", "final"]);
    assert_eq!(schema.field(0).data_type(), &tables::timestamp());
    assert_eq!(schema.field_with_name("cost_usd").unwrap().data_type(), &tables::MONEY);
    assert_eq!(plan.keys(), ["window_start", "agent_id"]);
}

#[test]
fn refusals_say_why() {
    let start = "date_bin(INTERVAL '1 hour', event_time) AS window_start";
    let cases: Vec<(String, &str)> = vec![
        (format!("SELECT {start}, count(*) AS n FROM calls GROUP BY 1 LIMIT 5"), "LIMIT"),
        (format!("SELECT {start}, count(*) AS n FROM calls GROUP BY 1 ORDER BY 1"), "ORDER BY"),
        (format!("SELECT {start}, count(DISTINCT agent_id) AS n FROM calls GROUP BY 1"), "DISTINCT"),
        (format!("SELECT DISTINCT {start}, count(*) AS n FROM calls GROUP BY 1"), "DISTINCT"),
        (format!("SELECT {start}, count(*) AS n FROM calls a JOIN calls b USING (event_time) GROUP BY 1"), "join"),
        (
            format!("SELECT {start}, count(*) AS n FROM calls GROUP BY 1 UNION ALL SELECT {start}, count(*) AS n FROM calls GROUP BY 1"),
            "UNION",
        ),
        (format!("SELECT {start}, count(*) AS n FROM calls GROUP BY 1 HAVING count(*) > 1"), "HAVING"),
        (format!("SELECT {start}, count(*) AS n, sum(count(*)) OVER () AS total FROM calls GROUP BY 1"), "OVER"),
        (
            format!("SELECT window_start, sum(n) AS n FROM (SELECT {start}, agent_id, count(*) AS n FROM calls GROUP BY 1, 2) GROUP BY 1"),
            "aggregate of",
        ),
        (format!("SELECT {start}, agent_id FROM calls"), "no aggregate"),
        (
            format!(
                "SELECT {start}, agent_id, count(*) AS n FROM calls GROUP BY ROLLUP (date_bin(INTERVAL '1 hour', event_time), agent_id)"
            ),
            "ROLLUP",
        ),
        (format!("SELECT {start}, count(*) AS n FROM calls WHERE event_time > now() GROUP BY 1"), "now()"),
        (format!("SELECT {start}, sum(input_tokens * random()) AS n FROM calls GROUP BY 1"), "random()"),
        (format!("SELECT {start}, count(*) AS n FROM calls WHERE agent_id IN (SELECT agent_id FROM calls) GROUP BY 1"), "subquery"),
        (format!("SELECT {start}, median(latency_ms) AS n FROM calls GROUP BY 1"), "median()"),
        (format!("SELECT {start}, array_agg(agent_id ORDER BY agent_id) AS n FROM calls GROUP BY 1"), "array_agg()"),
        (format!("SELECT {start}, sum(CAST(cost_usd AS double)) AS cost FROM calls GROUP BY 1"), "floating point"),
        (format!("SELECT {start}, avg(CAST(cost_usd AS double)) AS cost FROM calls GROUP BY 1"), "floating point"),
        ("SELECT agent_id, count(*) AS n FROM calls GROUP BY 1".to_owned(), "window_start"),
        ("SELECT date_bin(INTERVAL '1 hour', ingest_time) AS window_start, count(*) AS n FROM calls GROUP BY 1".to_owned(), "window_start"),
        ("SELECT event_time AS window_start, count(*) AS n FROM calls GROUP BY 1".to_owned(), "window_start"),
        ("SELECT max(event_time) AS window_start, count(*) AS n FROM calls GROUP BY agent_id".to_owned(), "window_start"),
        ("SELECT date_bin(INTERVAL '1 month 1 day', event_time) AS window_start, count(*) AS n FROM calls GROUP BY 1".to_owned(), "width"),
        (format!("SELECT {start}, count(*) AS n FROM calls GROUP BY 1, agent_id"), "'agent_id' must be in the output"),
        (format!("SELECT {start}, count(*) FROM calls GROUP BY 1"), "name it with AS"),
        (format!("SELECT {start}, count(*) AS version FROM calls GROUP BY 1"), "'version' is taken"),
        ("DELETE FROM calls".to_owned(), "only a SELECT"),
    ];
    for (sql, reason) in cases {
        let error = WindowPlan::plan("w", &sql, tables::schema(tables::CALLS).unwrap()).expect_err(&sql);
        assert!(matches!(error, WindowError::Refused { .. }), "{sql}: {error:?}");
        assert!(error.to_string().contains(reason), "{sql}: {error}");
        assert_eq!(error.class(), ErrorClass::Misconfigured);
    }
    for broken in ["SELECT nothing FROM calls", "SELEC", "SELECT count(*) AS n FROM spend_day", "SELECT 1; SELECT 2"] {
        let error = WindowPlan::plan("w", broken, tables::schema(tables::CALLS).unwrap()).expect_err(broken);
        assert!(matches!(error, WindowError::Sql { .. }), "{broken}: {error:?}");
    }
}

#[test]
fn what_can_be_declared() {
    let declared = [
        "SELECT date_trunc('month', event_time) AS window_start, team, sum(cost_usd) AS cost FROM calls GROUP BY window_start, team",
        "SELECT date_bin(INTERVAL '5 minutes', event_time, TIMESTAMP '2020-01-01T00:01:00Z') AS window_start, count(*) AS n FROM calls GROUP BY 1",
        "SELECT w AS window_start, a, sum(c) AS cost FROM (SELECT date_bin(INTERVAL '1 day', event_time) AS w, upper(agent_id) AS a, cost_usd AS c FROM calls WHERE priced) GROUP BY w, a",
        "SELECT date_bin(INTERVAL '1 hour', event_time) AS window_start, tags['env'] AS env, count(*) AS n FROM calls GROUP BY 1, 2",
        "SELECT sum(cost_usd * 1.19) AS gross, date_bin(INTERVAL '1 hour', event_time) AS window_start FROM calls GROUP BY 2",
        "SELECT date_bin(INTERVAL '1 hour', event_time) AS window_start, CASE WHEN input_tokens > 1000 THEN 'long' ELSE 'short' END AS kind, count(*) AS n FROM calls GROUP BY 1, 2",
    ];
    for sql in declared {
        let rows = [row(10, "a", 7), row(HOUR, "b", 3), row(-HOUR, "a", 1)];
        match WindowPlan::plan("w", sql, tables::schema(tables::CALLS).unwrap()) {
            Ok(mut plan) => {
                plan.fold(&calls(&rows)).unwrap();
                assert!(results(&plan).num_rows() > 0);
            }
            Err(WindowError::Refused { reason: Refusal::NoWindowStart, .. }) if sql.starts_with("SELECT w AS") => {}
            Err(error) => panic!("{sql}: {error:?}"),
        }
    }
}

#[test]
fn calendar_windows_start_and_end_with_the_month() {
    let mut plan = plan("SELECT date_trunc('month', event_time) AS window_start, sum(cost_usd) AS cost FROM calls GROUP BY 1");
    let at = |text: &str| text.parse::<Micros>().unwrap();
    let touched = plan.fold(&calls(&[row(at("2028-02-29T23:59:59Z").0, "a", 5)])).unwrap();
    assert_eq!(touched, [at("2028-02-01T00:00:00Z")]);
    assert_eq!(plan.window_end(touched[0]), at("2028-03-01T00:00:00Z"));
}

#[test]
fn late_calls_change_the_right_window_even_after_it_closed() {
    let mut plan = plan(HOURLY);
    plan.fold(&calls(&[row(0, "a", 1), row(HOUR, "a", 10)])).unwrap();
    assert_eq!(plan.close(Micros(HOUR)), [Micros(0)]);
    assert!(plan.close(Micros(HOUR)).is_empty());
    let touched = plan.fold(&calls(&[row(59, "a", 5)])).unwrap();
    assert_eq!(touched, [Micros(0)]);
    let rows = plan.upsert_rows(Micros(0), 7).unwrap();
    let cost = rows.column_by_name("cost_usd").unwrap().as_primitive::<Decimal128Type>();
    assert_eq!((rows.num_rows(), cost.value(0)), (1, 6));
    assert_eq!(rows.column_by_name("version").unwrap().as_primitive::<Int64Type>().value(0), 7);
    assert!(rows.column_by_name("final").unwrap().as_boolean().value(0));
    assert!(!plan.upsert_rows(Micros(HOUR), 7).unwrap().column_by_name("final").unwrap().as_boolean().value(0));
}

#[test]
fn an_evicted_window_is_not_read_before_it_is_rebuilt() {
    let mut plan = plan(HOURLY);
    let all = [row(0, "a", 1), row(1, "b", 2), row(HOUR, "a", 10)];
    plan.fold(&calls(&all[..2])).unwrap();
    plan.evict(Micros(HOUR));
    assert_eq!(plan.windows().count(), 0);
    assert!(matches!(plan.result(Micros(0)), Err(WindowError::Incomplete { .. })));
    assert_eq!(plan.result(Micros(HOUR)).unwrap(), None);
    let late = row(2, "a", 100);
    plan.fold(&calls(std::slice::from_ref(&late))).unwrap();
    assert_eq!(plan.incomplete().collect::<Vec<_>>(), [Micros(0)]);
    assert!(matches!(plan.upsert_rows(Micros(0), 1), Err(WindowError::Incomplete { .. })));
    assert!(matches!(plan.snapshot(Micros(0)), Err(WindowError::Incomplete { .. })));
    let wrong = plan.rebuild(Micros(0), [calls(&all)]);
    assert!(matches!(wrong, Err(WindowError::WrongWindow { found: Micros(HOUR), .. })), "{wrong:?}");
    plan.rebuild(Micros(0), [calls(&all[..2]), calls(std::slice::from_ref(&late))]).unwrap();
    let whole = [all[0].clone(), all[1].clone(), late];
    assert_eq!(text(&results(&plan)), text(&one_shot(HOURLY, &whole)));
}

#[test]
fn a_window_that_lost_its_rows_is_published_as_one_empty_row() {
    let mut plan = plan(HOURLY);
    plan.fold(&calls(&[row(0, "a", 1)])).unwrap();
    plan.rebuild(Micros(0), []).unwrap();
    let rows = plan.upsert_rows(Micros(0), 3).unwrap();
    assert_eq!(rows.num_rows(), 1);
    assert_eq!(rows.column(0).as_primitive::<TimestampMicrosecondType>().value(0), 0);
    assert!(rows.column_by_name("final").unwrap().is_null(0) && rows.column_by_name("agent_id").unwrap().is_null(0));
}

#[test]
fn snapshots_of_another_declaration_are_refused() {
    let mut plan = plan(HOURLY);
    plan.fold(&calls(&[row(0, "a", 1)])).unwrap();
    let bytes = plan.snapshot(Micros(0)).unwrap().unwrap();
    let mut other = self::plan(&HOURLY.replace("'free'", "'cheap'"));
    assert!(matches!(other.restore(Micros(0), &bytes), Err(WindowError::Fingerprint { .. })));
    let mut same = self::plan(HOURLY);
    assert!(matches!(same.restore(Micros(HOUR), &bytes), Err(WindowError::WrongWindow { .. })));
    assert!(matches!(same.restore(Micros(0), &bytes[..bytes.len() / 2]), Err(WindowError::Corrupt { .. })));
    assert!(matches!(same.restore(Micros(0), b"nonsense"), Err(WindowError::Corrupt { .. })));
    same.restore(Micros(0), &bytes).unwrap();
    assert_eq!(text(&results(&same)), text(&results(&plan)));
}

#[test]
fn sums_that_would_wrap_are_errors() {
    let mut plan = plan(
        "SELECT date_bin(INTERVAL '1 hour', event_time) AS window_start, sum(cost_usd) AS cost, sum(input_tokens) AS tokens FROM calls GROUP BY 1",
    );
    let huge = 9 * 10_i128.pow(37);
    plan.fold(&calls(&[row(0, "a", huge)])).unwrap();
    let again = plan.fold(&calls(&[row(0, "a", huge), row(0, "a", huge)]));
    assert!(matches!(again, Err(WindowError::Overflow { .. })), "{again:?}");
    plan.fold(&calls(&[row(0, "a", huge)])).unwrap();
    assert!(matches!(plan.result(Micros(0)), Err(WindowError::Overflow { .. })));
    let tokens = |tokens| Row { tokens, ..row(HOUR, "a", 0) };
    let wrapped = plan.fold(&calls(&[tokens(i64::MAX), tokens(1)]));
    assert!(matches!(wrapped, Err(WindowError::Overflow { .. })), "{wrapped:?}");
    let mut product = self::plan(
        "SELECT date_bin(INTERVAL '1 hour', event_time) AS window_start, sum(input_tokens * input_tokens) AS n FROM calls GROUP BY 1",
    );
    assert!(matches!(product.fold(&calls(&[tokens(1 << 40)])), Err(WindowError::Evaluate { .. })));
}

#[test]
fn a_call_without_event_time_is_an_error_and_folds_nothing() {
    let mut plan = plan(HOURLY);
    let batch = calls(&[row(0, "a", 1)]);
    let mut columns = batch.columns().to_vec();
    columns[0] = new_null_array(columns[0].data_type(), 1);
    let batch = RecordBatch::try_new(batch.schema(), columns).unwrap();
    assert!(matches!(plan.fold(&batch), Err(WindowError::NoEventTime { .. })));
    assert_eq!(plan.windows().count(), 0);
}

#[test]
fn groups_beyond_the_cap_are_folded_and_totals_stay_exact() {
    let names: Vec<&'static str> = (0..5_000).map(|n| &*Box::leak(format!("agent-{n}").into_boxed_str())).collect();
    let sql = "SELECT date_bin(INTERVAL '1 hour', event_time) AS window_start, agent_id, sum(cost_usd) AS cost FROM calls GROUP BY 1, 2";
    let mut plan = plan(sql).with_max_groups(100);
    let mut most = 0;
    for chunk in names.chunks(50) {
        let rows: Vec<Row> = chunk.iter().map(|name| row(0, name, 3)).collect();
        plan.fold(&calls(&rows)).unwrap();
        most = most.max(plan.memory_bytes());
    }
    let rows = plan.result(Micros(0)).unwrap().unwrap();
    assert_eq!(rows.num_rows(), 101);
    let cost = rows.column_by_name("cost").unwrap().as_primitive::<Decimal128Type>();
    assert_eq!(cost.values().iter().sum::<i128>(), 15_000);
    let agents = rows.column_by_name("agent_id").unwrap().as_string::<i32>().clone();
    let folded = agents.iter().position(|name| name == Some(OVERFLOW_KEY)).unwrap();
    assert_eq!(cost.value(folded), 15_000 - 300);
    assert!(agents.iter().any(|name| name == Some("agent-99")));
    assert!(most < 100_000, "{most} bytes");
}

#[test]
fn state_is_accounted_by_what_it_holds() {
    let mut plan = plan(HOURLY);
    let names: Vec<&'static str> = (0..20_000).map(|n| &*Box::leak(format!("agent-{n:06}").into_boxed_str())).collect();
    let rows: Vec<Row> = names.iter().map(|name| row(0, name, 1)).collect();
    plan.fold(&calls(&rows)).unwrap();
    let bytes = plan.memory_bytes();
    let snapshot = plan.snapshot(Micros(0)).unwrap().unwrap().len();
    assert!(bytes < snapshot * 2 && snapshot < bytes * 2, "{bytes} in memory, {snapshot} written");
}

#[test]
fn dictionaries_are_read_like_texts() {
    use datafusion::arrow::compute::cast;
    use datafusion::arrow::datatypes::{DataType, Field, Schema};
    let batch = calls(&[row(0, "a", 1), row(1, "b", 2)]);
    let text = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let columns: Vec<ArrayRef> = batch
        .columns()
        .iter()
        .map(|column| if column.data_type() == &DataType::Utf8 { cast(column, &text).unwrap() } else { column.clone() })
        .collect();
    let fields: Vec<Field> = batch
        .schema()
        .fields()
        .iter()
        .zip(&columns)
        .map(|(field, column)| Field::new(field.name(), column.data_type().clone(), true))
        .collect();
    let live = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    let (mut plain, mut dictionary) = (plan(HOURLY), plan(HOURLY));
    plain.fold(&batch).unwrap();
    dictionary.fold(&live).unwrap();
    assert_eq!(text_of(&plain), text_of(&dictionary));
    let none = filter_record_batch(&batch, &vec![false, false].into()).unwrap();
    assert!(plain.fold(&none).unwrap().is_empty());
}

fn text_of(plan: &WindowPlan) -> String {
    text(&results(plan))
}
