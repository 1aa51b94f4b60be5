//! Compaction and replacement: fewer files, the same sums.

use arrow::array::AsArray;
use arrow::datatypes::Decimal128Type;
use sluice_aggregate::lake::CompactReport;
use sluice_schemas::tables;
use sluice_schemas::time::DAY;

use super::storage::place;
use super::support::{self, START, audit, publish, total};

#[test]
fn small_files_become_one_and_no_sum_changes() {
    let Some(place) = place() else { return };
    let mut lake = place.writer().unwrap();
    for epoch in 0..12 {
        publish(&mut lake, epoch * 9_000, 9_000).unwrap();
    }
    let before = (total(&lake, tables::CALLS), total(&lake, tables::SPEND_DAY));
    let files = lake.files(tables::CALLS).unwrap();
    assert!(files.len() > 12);
    let report = lake.compact(tables::CALLS, START.day() + 1, START).unwrap();
    assert_eq!((report.dates, report.added), (1, 1), "the open date is left alone");
    assert_eq!(report.rows_before, 86_400);
    let report = lake.compact(tables::SPEND_DAY, START.day() + 2, START).unwrap();
    assert_eq!((report.rows_before, report.rows_after), (10, 1), "rows of one key add up");
    let after = (total(&lake, tables::CALLS), total(&lake, tables::SPEND_DAY));
    assert_eq!((after.0, after.1.calls, after.1.cost), (before.0, before.1.calls, before.1.cost));
    audit(&lake, 108_000, "compacted");
    assert_eq!(lake.compact(tables::CALLS, START.day() + 1, START).unwrap(), CompactReport::default(), "once is enough");
    audit(&place.reader().unwrap(), 108_000, "for a reader");
    // Readers of older versions keep their files for a week.
    assert_eq!(lake.vacuum(START.plus(7 * DAY - 1)).unwrap().expired, 0);
    let is_there = |name: &str| place.objects.size(&format!("calls/{name}")).unwrap().is_some();
    assert!(files.iter().all(|file| is_there(&file.name)));
    assert!(lake.vacuum(START.plus(7 * DAY)).unwrap().expired > 0);
    assert!(files.iter().filter(|file| file.dt == START.day()).all(|file| !is_there(&file.name)));
    publish(&mut lake, 108_000, 10).unwrap();
    drop(lake);
    audit(&place.writer().unwrap(), 108_010, "after everything");
}

#[test]
fn corrected_rows_take_the_place_of_a_file() {
    let Some(place) = place() else { return };
    let mut lake = place.writer().unwrap();
    publish(&mut lake, 0, 100).unwrap();
    publish(&mut lake, 100, 100).unwrap();
    let file = lake.files(tables::CALLS).unwrap().remove(0);
    let mut writer = lake.begin_epoch();
    let mut added = 0;
    for rows in support::read(&lake, tables::CALLS, &file) {
        let cost = rows.column_by_name("cost_usd").unwrap().as_primitive::<Decimal128Type>();
        let dearer: Vec<i128> = cost.values().iter().map(|cost| cost + 5).collect();
        added += 5 * dearer.len() as i128;
        let dearer = arrow::array::Decimal128Array::from(dearer).with_data_type(tables::MONEY);
        let at = rows.schema().index_of("cost_usd").unwrap();
        let mut columns = rows.columns().to_vec();
        columns[at] = std::sync::Arc::new(dearer);
        writer.append(tables::CALLS, file.dt, arrow::array::RecordBatch::try_new(rows.schema(), columns).unwrap()).unwrap();
    }
    writer.append(tables::SPEND_DAY, file.dt, support::spend_rows(0, added)).unwrap();
    let sealed = writer.seal().unwrap();
    let state = lake.state().clone();
    lake.replace(sealed, std::slice::from_ref(&file), START).unwrap();
    assert_eq!((&lake.state().positions, lake.state().watermark), (&state.positions, state.watermark));
    let before = support::expected(200);
    for lake in [lake, place.reader().unwrap()] {
        assert_eq!(total(&lake, tables::CALLS), support::Total { cost: before.cost + added, ..before });
        assert_eq!(total(&lake, tables::SPEND_DAY).cost, before.cost + added);
    }
}
