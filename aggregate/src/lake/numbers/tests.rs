//! Whatever number columns hold, the Parquet crate reads back what went in.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Decimal128Array, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::compute::concat;
use arrow::datatypes::Field;
use proptest::prelude::*;
use sluice_schemas::tables;

use crate::lake::encode::tests::written_twice;

/// Writes parts as two row groups and returns what is read, with the statistics of the first.
fn there_and_back(parts: &[ArrayRef]) -> (ArrayRef, Option<(i64, i64, u64)>) {
    let reader = written_twice(Field::new("n", parts[0].data_type().clone(), true), parts);
    let statistics = reader.metadata().row_group(0).column(0).statistics().map(|statistics| match statistics {
        parquet::file::statistics::Statistics::Int64(found) => {
            (*found.min_opt().unwrap(), *found.max_opt().unwrap(), found.null_count_opt().unwrap())
        }
        other => panic!("{other:?}"),
    });
    let batches: Vec<RecordBatch> = reader.with_batch_size(1 << 20).build().unwrap().map(Result::unwrap).collect();
    let columns: Vec<&dyn arrow::array::Array> = batches.iter().map(|batch| batch.column(0).as_ref()).collect();
    (concat(&columns).unwrap(), statistics)
}

fn doubled(parts: &[ArrayRef]) -> ArrayRef {
    let parts: Vec<&dyn arrow::array::Array> = parts.iter().chain(parts).map(AsRef::as_ref).collect();
    concat(&parts).unwrap()
}

/// Parts of numbers, with nulls or without, from few or many distinct ones; a reader gives nothing of a file without rows.
fn parts() -> impl Strategy<Value = Vec<Vec<Option<i64>>>> {
    let few = prop_oneof![Just(i64::MIN), Just(-1), 0_i64..4, Just(i64::MAX)];
    let part = prop_oneof![
        prop::collection::vec(few.prop_map(Some), 0..900),
        prop::collection::vec(any::<i64>().prop_map(Some), 0..900),
        prop::collection::vec(prop::option::weighted(0.7, any::<i64>()), 0..300),
    ];
    prop::collection::vec(part, 1..3).prop_filter("a row at least", |parts| parts.iter().any(|part| !part.is_empty()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn whole_numbers(parts in parts()) {
        let parts: Vec<ArrayRef> = parts.into_iter().map(|part| Arc::new(Int64Array::from(part)) as ArrayRef).collect();
        prop_assert_eq!(&there_and_back(&parts), &(doubled(&parts), None));
    }

    #[test]
    fn times_and_their_range(parts in parts()) {
        let known: Vec<i64> = parts.iter().flatten().flatten().copied().collect();
        let nulls = parts.iter().flatten().filter(|value| value.is_none()).count() as u64;
        let range = known.iter().min().zip(known.iter().max()).map(|(min, max)| (*min, *max, nulls));
        let array = |part| Arc::new(TimestampMicrosecondArray::from(part).with_timezone("UTC")) as ArrayRef;
        let parts: Vec<ArrayRef> = parts.into_iter().map(array).collect();
        prop_assert_eq!(&there_and_back(&parts), &(doubled(&parts), range));
    }

    #[test]
    fn money(parts in parts()) {
        let wide = |value: i64| i128::from(value) * 10_000_000_000;
        let array = |part: Vec<Option<i64>>| {
            let values: Decimal128Array = part.into_iter().map(|value| value.map(wide)).collect();
            Arc::new(values.with_data_type(tables::MONEY)) as ArrayRef
        };
        let parts: Vec<ArrayRef> = parts.into_iter().map(array).collect();
        prop_assert_eq!(&there_and_back(&parts), &(doubled(&parts), None));
    }
}

#[test]
fn several_pages() {
    let values: Vec<Option<i64>> = (0..40_000).map(|at| (at % 7 != 3).then_some(at * at)).collect();
    let parts: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(values)), Arc::new(Int64Array::from_iter_values(0..20_000))];
    let (read, _) = there_and_back(&parts);
    assert_eq!(read.as_primitive::<arrow::datatypes::Int64Type>(), doubled(&parts).as_primitive());
}
