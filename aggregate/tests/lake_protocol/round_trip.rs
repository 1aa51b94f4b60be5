//! What was appended comes back, column by column, at every size and after every restart.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int64Type};
use sluice_aggregate::facts::{call_rows, with_own_tags};
use sluice_aggregate::lake::{LakeError, encode_group};
use sluice_schemas::time::DAY;
use sluice_schemas::{ErrorClass, tables};

use super::storage::place;
use super::support::{self, START, audit, calls, publish, total};

#[test]
fn every_column_comes_back() {
    let Some(place) = place() else { return };
    let mut lake = place.writer().unwrap();
    publish(&mut lake, 0, 200).unwrap();
    let batch = calls(0, 200);
    let sent: Vec<RecordBatch> =
        call_rows(&batch, &[true; 200], "test", START).iter().map(|(_, rows)| with_own_tags(rows).unwrap()).collect();
    let got = support::rows(&lake, tables::CALLS);
    assert_eq!((sent.len(), got.len()), (1, 1));
    for field in tables::schema(tables::CALLS).unwrap().fields() {
        let (sent, got) = (sent[0].column_by_name(field.name()).unwrap(), got[0].column_by_name(field.name()).unwrap());
        let (sent, got) = match field.data_type() {
            DataType::Map(..) => (sent.clone(), got.clone()),
            kind => (arrow::compute::cast(sent, kind).unwrap(), arrow::compute::cast(got, kind).unwrap()),
        };
        if let (Some(sent), Some(got)) = (sent.as_map_opt(), got.as_map_opt()) {
            assert_eq!((sent.keys(), sent.values(), sent.offsets()), (got.keys(), got.values(), got.offsets()));
            assert_eq!(sent.nulls(), got.nulls());
        } else {
            assert_eq!(&sent, &got, "{}", field.name());
            assert_eq!(got.data_type(), field.data_type(), "{}", field.name());
        }
    }
    let session = got[0].column_by_name("session_id").unwrap();
    assert!(session.is_null(3) && session.is_valid(4), "no session is null");
    assert!(got[0].column_by_name("agent_id").unwrap().null_count() == 0);
}

#[test]
fn epochs_add_up_over_restarts_and_days() {
    let Some(place) = place() else { return };
    let mut count = 0;
    for _ in 0..4 {
        let mut lake = place.writer().unwrap();
        let before = lake.state().clone();
        audit(&lake, count, "after opening");
        publish(&mut lake, count, 60_000).unwrap();
        count += 60_000;
        assert_eq!(lake.state().epoch, before.epoch + 1);
        audit(&lake, count, "after a commit");
        audit(&place.reader().unwrap(), count, "for a reader");
    }
    let lake = place.writer().unwrap();
    assert_eq!((lake.state().epoch, lake.state().fence), (4, 5));
    let mut days: Vec<i32> = lake.files(tables::CALLS).unwrap().iter().map(|file| file.dt).collect();
    days.dedup();
    assert_eq!(days, [START.day(), START.day() + 1, START.day() + 2]);
}

#[test]
fn many_rows_become_row_groups_of_bounded_size() {
    let Some(place) = place() else { return };
    let mut lake = place.writer().unwrap();
    let mut writer = lake.begin_epoch();
    let batch = calls(0, 80_000);
    let keep = vec![true; 80_000];
    for _ in 0..3 {
        for (_, rows) in call_rows(&batch, &keep, "test", START) {
            writer.append(tables::CALLS, START.day(), rows).unwrap();
        }
    }
    for (_, rows) in call_rows(&batch, &keep, "test", START) {
        writer.append_encoded(encode_group(tables::CALLS, START.day(), &rows).unwrap()).unwrap();
    }
    assert_eq!(writer.rows(tables::CALLS), 320_000);
    let sealed = writer.seal().unwrap();
    lake.commit(sealed, support::positions(1), START, START).unwrap();
    assert_eq!(total(&lake, tables::CALLS).rows, 320_000);
    assert_eq!(total(&lake, tables::CALLS).cost, 4 * support::expected(80_000).cost);
    assert_eq!(lake.files(tables::CALLS).unwrap().len(), 1);
}

#[test]
fn an_abandoned_epoch_leaves_nothing() {
    let Some(place) = place() else { return };
    let mut lake = place.writer().unwrap();
    let mut writer = lake.begin_epoch();
    let rows = call_rows(&calls(0, 70_000), &[true; 70_000], "test", START);
    writer.append_encoded(encode_group(tables::CALLS, START.day(), &rows[0].1).unwrap()).unwrap();
    drop(writer);
    assert_eq!(place.names("calls/dt=2026-10-01"), [""; 0]);
    publish(&mut lake, 0, 10).unwrap();
    audit(&lake, 10, "after an abandoned epoch");
}

#[test]
fn checkpoints_stand_in_for_the_log() {
    let Some(place) = place() else { return };
    let mut lake = place.writer().unwrap();
    for epoch in 0..330 {
        publish(&mut lake, epoch * 3, 3).unwrap();
    }
    let names = place.names("calls/_delta_log");
    assert!(!names.iter().any(|name| name.starts_with(&format!("{:020}.json", 0))), "old entries are cleaned");
    assert!(names.iter().filter(|name| name.ends_with(".json")).count() >= 200, "the recovery horizon is kept");
    let manifests = place.names("_sluice");
    assert!(manifests.contains(&"e000000000330-f000001.json.gz".to_owned()));
    assert!(!manifests.contains(&"e000000000001-f000001.json.gz".to_owned()));
    let files = lake.files(tables::CALLS).unwrap();
    drop(lake);
    let lake = place.writer().unwrap();
    assert_eq!(lake.files(tables::CALLS).unwrap(), files);
    audit(&lake, 990, "from a checkpoint");
    // Without the newest checkpoint an older one does.
    let pointer = String::from_utf8(place.get("calls/_delta_log/_last_checkpoint")).unwrap();
    let version: i64 = pointer.split([':', ',']).nth(1).unwrap().parse().unwrap();
    place.objects.delete(&format!("calls/_delta_log/{version:020}.checkpoint.parquet")).unwrap();
    audit(&place.reader().unwrap(), 990, "from an older checkpoint");
}

#[test]
fn windows_of_the_user_are_tables_like_others() {
    let Some(place) = place() else { return };
    let rows = support::spend_rows(7, 70);
    {
        let mut lake = place.writer().unwrap();
        lake.create_table("by_agent_hour", &rows.schema(), START).unwrap();
        assert!(matches!(lake.create_table("_sluice", &rows.schema(), START), Err(LakeError::TableName { .. })));
        let mut writer = lake.begin_epoch();
        writer.append("by_agent_hour", START.day(), rows.clone()).unwrap();
        assert!(matches!(writer.append("unknown", 0, rows.clone()), Err(LakeError::UnknownTable { .. })));
        assert!(matches!(writer.append(tables::CALLS, 0, rows.clone()), Err(LakeError::Rows { .. })));
        let sealed = writer.seal().unwrap();
        lake.commit(sealed, support::positions(0), START, START).unwrap();
    }
    let mut lake = place.writer().unwrap();
    assert!(lake.tables().contains(&"by_agent_hour".to_owned()));
    assert_eq!(lake.schema("by_agent_hour").unwrap(), rows.schema());
    assert_eq!(total(&lake, "by_agent_hour").calls, 7);
    // A column more is fine, and older files simply lack it.
    let mut fields: Vec<_> = rows.schema().fields().iter().map(|field| field.as_ref().clone()).collect();
    fields.push(arrow::datatypes::Field::new("extra", DataType::Int64, true));
    lake.create_table("by_agent_hour", &arrow::datatypes::Schema::new(fields.clone()), START).unwrap();
    let mut writer = lake.begin_epoch();
    writer.append("by_agent_hour", START.day(), rows.clone()).unwrap();
    let sealed = writer.seal().unwrap();
    lake.commit(sealed, support::positions(0), START, START).unwrap();
    assert_eq!(total(&lake, "by_agent_hour").calls, 14);
    fields[0] = arrow::datatypes::Field::new("account_id", DataType::Int64, true);
    let changed = lake.create_table("by_agent_hour", &arrow::datatypes::Schema::new(fields), START).unwrap_err();
    assert_eq!(changed.class(), ErrorClass::Misconfigured, "{changed}");
    let extra = support::rows(&lake, "by_agent_hour");
    let extra: Vec<_> = extra.iter().filter_map(|batch| batch.column_by_name("extra")).collect();
    assert_eq!(extra.len(), 1);
    assert!(extra[0].as_primitive::<Int64Type>().is_null(0));
}

#[test]
fn a_reader_needs_a_lake_and_cannot_write() {
    let Some(place) = place() else { return };
    assert!(matches!(place.reader(), Err(LakeError::NotALake { .. })));
    drop(place.writer().unwrap());
    let mut reader = place.reader().unwrap();
    assert!(matches!(publish(&mut reader, 0, 1), Err(LakeError::ReadHandle)));
    assert!(matches!(reader.vacuum(START.plus(9 * DAY)), Err(LakeError::ReadHandle)));
}

#[test]
fn two_writers_of_one_epoch_do_not_touch_each_other() {
    let Some(place) = place() else { return };
    let mut lake = place.writer().unwrap();
    let mut first = lake.begin_epoch();
    let mut second = lake.begin_epoch();
    support::fill(&mut first, 0, 70_000).unwrap();
    support::fill(&mut second, 0, 10).unwrap();
    let late = first.seal().unwrap();
    let sealed = second.seal().unwrap();
    lake.commit(sealed, support::positions(10), START, START).unwrap();
    assert!(matches!(lake.commit(late, support::positions(70_000), START, START), Err(LakeError::EpochOrder { last: 1, got: 1 })));
    audit(&lake, 10, "the one that came first");
    let mut third = lake.begin_epoch();
    support::fill(&mut third, 10, 70_000).unwrap();
    drop(third);
    lake.vacuum(START).unwrap();
    publish(&mut lake, 10, 5).unwrap();
    audit(&lake, 15, "after an abandoned one");
}

#[test]
fn groups_encoded_before_a_table_gained_columns_are_kept() {
    let Some(place) = place() else { return };
    {
        // A later version of the program had one column more.
        let mut lake = place.writer().unwrap();
        let mut fields: Vec<_> = lake.schema(tables::CALLS).unwrap().fields().iter().map(|field| field.as_ref().clone()).collect();
        fields.push(arrow::datatypes::Field::new("later", DataType::Utf8, true));
        lake.create_table(tables::CALLS, &arrow::datatypes::Schema::new(fields), START).unwrap();
    }
    let mut lake = place.writer().unwrap();
    assert_eq!(lake.schema(tables::CALLS).unwrap().fields().len(), tables::schema(tables::CALLS).unwrap().fields().len() + 1);
    let mut writer = lake.begin_epoch();
    let rows = call_rows(&calls(0, 100), &[true; 100], "test", START).remove(0).1;
    writer.append_encoded(encode_group(tables::CALLS, START.day(), &rows).unwrap()).unwrap();
    writer.append(tables::CALLS, START.day(), rows.clone()).unwrap();
    writer.append_encoded(encode_group(tables::CALLS, START.day(), &rows).unwrap()).unwrap();
    let sealed = writer.seal().unwrap();
    lake.commit(sealed, support::positions(1), START, START).unwrap();
    assert_eq!(total(&lake, tables::CALLS), support::Total { rows: 300, calls: 0, cost: 3 * support::expected(100).cost });
    assert_eq!(lake.files(tables::CALLS).unwrap().len(), 2);
    for epoch in 0..4 {
        publish(&mut lake, 200 + epoch, 1).unwrap();
    }
    lake.compact(tables::CALLS, START.day() + 1, START).unwrap();
    assert_eq!(total(&lake, tables::CALLS).rows, 304);
}

#[test]
fn one_epoch_may_span_a_year() {
    let Some(place) = place() else { return };
    let mut lake = place.writer().unwrap();
    let mut writer = lake.begin_epoch();
    let rows = call_rows(&calls(0, 20), &[true; 20], "test", START).remove(0).1;
    for round in 0..2 {
        for day in 0..365 {
            if round == 0 {
                writer.append(tables::CALLS, START.day() + day, rows.clone()).unwrap();
            } else {
                writer.append_encoded(encode_group(tables::CALLS, START.day() + day, &rows).unwrap()).unwrap();
            }
        }
    }
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    assert!(open < 100, "{open} files are open");
    let sealed = writer.seal().unwrap();
    lake.commit(sealed, support::positions(1), START, START).unwrap();
    let lake = place.reader().unwrap();
    assert_eq!(lake.files(tables::CALLS).unwrap().len(), 365);
    assert_eq!(total(&lake, tables::CALLS).rows, 365 * 40);
}
