//! The SQL of the spend tables: golden rows, equality with plain sums, splitting by date, memory and speed.
#![expect(clippy::unwrap_used, reason = "helpers of tests: what cannot go on must stop")]

use std::collections::BTreeMap;
use std::time::Instant;

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Decimal128Type, Int64Type};
use proptest::prelude::*;
use sluice_aggregate::query::format_csv;
use sluice_aggregate::windows::{Rollups, delta_rows};
use sluice_schemas::time::{DAY, MINUTE};
use sluice_schemas::{EnrichedBatch, Micros, Owner, PicoUsd, Profile, SpendDelta, SpendView, Sums, Usage, tables};

/// A batch with callers made of (account, agent, team, session), all in one region and of one principal.
fn callers(names: &[(&str, &str, &str, &str)]) -> EnrichedBatch {
    let mut batch = EnrichedBatch::default();
    for (account, agent, team, session) in names {
        let mut intern = |text: &str| batch.batch.strings.intern(text);
        let (account_id, region, principal_arn) = (intern(account), intern("us-east-1"), intern("arn:aws:iam::1:user/u"));
        let (agent_id, team, session_id) = (intern(agent), intern(team), intern(session));
        batch.batch.profiles.push(Profile { account_id, region, principal_arn, ..Profile::default() });
        batch.owners.push(Owner { agent_id, team, session_id, ..Owner::default() });
    }
    batch
}

fn delta(batch: &mut EnrichedBatch, profile: u32, at: i64, model: &str, calls: u64, cost: i128) -> SpendDelta {
    let model = batch.batch.strings.intern(model);
    let usage = Usage { input: 10 * calls, output: calls, cache_read: 3, cache_write_5m: 2, cache_write_1h: 1 };
    let sums = Sums { calls, errors: 1, unpriced: u64::from(cost == 0), usage, cost: PicoUsd(cost), cost_max: PicoUsd(cost + 1) };
    SpendDelta { minute: Micros(at).floor(MINUTE), last_event: Micros(at), profile, model, scope: model, sums }
}

/// Rows with their texts written out, as the table has them.
fn plain(table: &str, rows: &RecordBatch) -> RecordBatch {
    let schema = tables::schema(table).unwrap();
    let columns = schema.fields().iter().zip(rows.columns()).map(|(field, column)| cast(column, field.data_type()).unwrap());
    assert!(rows.schema().fields().iter().map(|field| field.name()).eq(schema.fields().iter().map(|field| field.name())), "{table}");
    RecordBatch::try_new(schema.clone(), columns.collect()).unwrap()
}

fn csv(staged: &[(String, i32, RecordBatch)]) -> String {
    let mut text = String::new();
    for (table, dt, rows) in staged {
        let rows = plain(table, rows);
        text.push_str(&format!("# {table} {dt}\n{}", format_csv(std::slice::from_ref(&rows)).replace("\r\n", "\n")));
    }
    text
}

#[test]
fn golden() {
    let mut batch = callers(&[("111", "bot-a", "checkout", "s1"), ("111", "bot-a", "checkout", "s2"), ("222", "unattributed", "", "")]);
    let deltas = [
        delta(&mut batch, 0, 30_000_000, "m1", 2, 1_500_000_000_001),
        delta(&mut batch, 1, 59_999_999, "m1", 1, 2),
        delta(&mut batch, 0, 61_000_000, "m2", 1, 3),
        delta(&mut batch, 2, DAY - 1, "m1", 4, 0),
        delta(&mut batch, 0, DAY, "m1", 1, 7),
        delta(&mut batch, 0, -1, "m1", 1, 9),
    ];
    let mut rollups = Rollups::new().unwrap();
    rollups.fold(delta_rows(SpendView { batch: &batch, deltas: &deltas[..4] })).unwrap();
    rollups.fold_view(SpendView { batch: &batch, deltas: &deltas[4..] }).unwrap();
    let text = csv(&rollups.finish().unwrap());
    assert_eq!(text, include_str!("golden/spend_tables.txt"), "\n{text}");
    assert!(rollups.finish().unwrap().is_empty());
}

#[test]
fn a_delta_out_of_range_is_refused_whole() {
    let mut batch = callers(&[("1", "a", "", "")]);
    let good = delta(&mut batch, 0, 0, "m", 1, 5);
    let mut rollups = Rollups::new().unwrap();
    rollups.fold_view(SpendView { batch: &batch, deltas: &[good] }).unwrap();
    let stranger = SpendDelta { profile: 9, ..good };
    assert!(rollups.fold_view(SpendView { batch: &batch, deltas: &[good, stranger] }).is_err());
    let absurd = SpendDelta { sums: Sums { calls: u64::MAX, ..good.sums }, ..good };
    assert!(rollups.fold_view(SpendView { batch: &batch, deltas: &[absurd] }).is_err());
    let rich = SpendDelta { sums: Sums { cost: PicoUsd(i128::MAX), ..good.sums }, ..good };
    assert!(rollups.fold_view(SpendView { batch: &batch, deltas: &[rich] }).is_err());
    let staged = rollups.finish().unwrap();
    assert_eq!(staged.len(), 4);
    for (_, _, rows) in staged {
        assert_eq!(rows.column_by_name("cost_usd").unwrap().as_primitive::<Decimal128Type>().values()[..], [5]);
    }
}

/// Sum of a column by the texts of some key columns.
fn sums(rows: &[&RecordBatch], keys: &[&str]) -> BTreeMap<Vec<String>, (i64, i128)> {
    let mut found = BTreeMap::new();
    for rows in rows {
        let calls = rows.column_by_name("calls").unwrap().as_primitive::<Int64Type>();
        let cost = rows.column_by_name("cost_usd").unwrap().as_primitive::<Decimal128Type>();
        for row in 0..rows.num_rows() {
            let text = |key: &&str| {
                let column = cast(rows.column_by_name(key).unwrap(), &DataType::Utf8).unwrap();
                let column = column.as_string::<i32>();
                if column.is_null(row) { String::new() } else { column.value(row).to_owned() }
            };
            let entry: &mut (i64, i128) = found.entry(keys.iter().map(text).collect()).or_default();
            *entry = (entry.0 + calls.value(row), entry.1 + cost.value(row));
        }
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_table_adds_up_for_any_split(
        deltas in proptest::collection::vec((0_u32..6, -2 * DAY..2 * DAY, 0_u8..3, 1_u64..100, 0_i128..10_i128.pow(20)), 1..200),
        cut in 1_usize..60,
    ) {
        let names = [("1", "a", "t", "s1"), ("1", "a", "t", "s2"), ("1", "b", "", ""), ("2", "a", "t", "s1"), ("1", "a", "u", "s1"), ("1", "b", "", "")];
        let mut batch = callers(&names);
        let deltas: Vec<SpendDelta> =
            deltas.iter().map(|(at, time, model, calls, cost)| delta(&mut batch, *at, *time, &format!("m{model}"), *calls, *cost)).collect();
        let mut rollups = Rollups::new().unwrap();
        for part in deltas.chunks(cut) {
            rollups.fold_view(SpendView { batch: &batch, deltas: part }).unwrap();
        }
        let staged = rollups.finish().unwrap();
        let mut expected: BTreeMap<Vec<String>, (i64, i128)> = BTreeMap::new();
        for delta in &deltas {
            let (account, agent, team, _) = names[delta.profile as usize];
            let key = [account, agent, batch.batch.strings.get(delta.model), team].map(str::to_owned).to_vec();
            let entry = expected.entry(key).or_default();
            *entry = (entry.0 + delta.sums.calls as i64, entry.1 + delta.sums.cost.0);
        }
        for table in ["spend_minute", "spend_hour", "spend_day", "spend_session"] {
            let rows: Vec<&RecordBatch> = staged.iter().filter(|(name, ..)| name == table).map(|(_, _, rows)| rows).collect();
            prop_assert_eq!(&sums(&rows, &["account_id", "agent_id", "model", "team"]), &expected, "{}", table);
        }
        let days = staged.iter().filter(|(table, ..)| table == "spend_day");
        let by_day: BTreeMap<i32, i64> = days.map(|(_, dt, rows)| (*dt, sums(&[rows], &[]).values().map(|sum| sum.0).sum())).collect();
        for (dt, calls) in by_day {
            prop_assert_eq!(calls, deltas.iter().filter(|delta| delta.last_event.day() == dt).map(|delta| delta.sums.calls as i64).sum::<i64>());
        }
    }
}

#[test]
#[expect(clippy::print_stderr, reason = "a measurement for who asks with --nocapture")]
fn an_epoch_of_many_deltas_is_quick_and_small() {
    let sessions: Vec<(String, String)> = (0..2_000).map(|n| (format!("agent-{}", n % 50), format!("session-{n}"))).collect();
    let names: Vec<(&str, &str, &str, &str)> =
        sessions.iter().map(|(agent, session)| ("1", agent.as_str(), "team", session.as_str())).collect();
    let mut batch = callers(&names);
    let deltas: Vec<SpendDelta> =
        (0..400_000_u32).map(|n| delta(&mut batch, n % 2_000, i64::from(n % 7) * MINUTE, "model", 1, i128::from(n))).collect();
    let mut rollups = Rollups::new().unwrap();
    let started = Instant::now();
    let batches: Vec<RecordBatch> = deltas.chunks(4_000).map(|deltas| delta_rows(SpendView { batch: &batch, deltas })).collect();
    let made = started.elapsed();
    for rows in batches {
        rollups.fold(rows).unwrap();
    }
    let folded = started.elapsed();
    let bytes = rollups.memory_bytes();
    let staged = rollups.finish().unwrap();
    let rows: usize = staged.iter().map(|(_, _, rows)| rows.num_rows()).sum();
    let finished = started.elapsed() - folded;
    eprintln!("400 000 deltas: rows {made:?}, fold {:?}, finish {finished:?}, {bytes} bytes, {rows} rows", folded - made);
    assert!(bytes < 40 << 20, "{bytes} bytes");
    let total: i128 = (0..400_000_i128).sum();
    let minute: Vec<&RecordBatch> = staged.iter().filter(|(table, ..)| table == "spend_minute").map(|(_, _, rows)| rows).collect();
    assert_eq!(sums(&minute, &[]).values().map(|sum| sum.1).sum::<i128>(), total);
}
