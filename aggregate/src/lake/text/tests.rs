//! Whatever text columns hold, the Parquet crate reads back what went in.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, DictionaryArray, Int32Array, MapBuilder, MapFieldNames, RecordBatch, StringArray, StringBuilder};
use arrow::datatypes::{DataType, Field, Int32Type};
use proptest::prelude::*;
use sluice_schemas::tables::string_map;

use crate::lake::encode::tests::written_twice;

fn there_and_back(field: Field, parts: &[ArrayRef]) -> Vec<ArrayRef> {
    let reader = written_twice(field, parts);
    let batches: Vec<RecordBatch> = reader.with_batch_size(1 << 20).build().unwrap().map(Result::unwrap).collect();
    batches.iter().map(|batch| Arc::clone(batch.column(0))).collect()
}

fn texts(columns: &[ArrayRef]) -> Vec<Option<String>> {
    columns.iter().flat_map(|column| column.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect::<Vec<_>>()).collect()
}

fn twice<T: Clone>(values: Vec<T>) -> Vec<T> {
    [values.clone(), values].concat()
}

/// Texts of a part (`None` for null) and keys into them, each repeated some times.
fn dictionary() -> impl Strategy<Value = (Vec<Option<String>>, Vec<Option<i32>>)> {
    let text = prop_oneof![1 => Just(None), 6 => "[a-zß]{0,3}".prop_map(Some)];
    prop::collection::vec(text, 1..12).prop_flat_map(|texts| {
        let key = prop_oneof![1 => Just(None), 9 => (0..texts.len() as i32).prop_map(Some)];
        let keys = prop::collection::vec((key, 1_usize..40), 0..40);
        let keys = keys.prop_map(|runs| runs.iter().flat_map(|(key, count)| std::iter::repeat_n(*key, *count)).collect());
        (Just(texts), keys)
    })
}

/// Maps of up to three entries, some null, some with null texts.
type Rows = Vec<Option<Vec<(String, Option<String>)>>>;

fn maps() -> impl Strategy<Value = Rows> {
    let entry = ("[a-c]{0,2}", prop::option::weighted(0.8, "[x-z]{0,2}"));
    prop::collection::vec(prop::option::weighted(0.8, prop::collection::vec(entry, 0..4)), 0..60)
}

fn map_array(rows: &Rows) -> ArrayRef {
    let names = MapFieldNames { entry: "key_value".to_owned(), key: "key".to_owned(), value: "value".to_owned() };
    let mut builder = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for row in rows {
        for (name, text) in row.iter().flatten() {
            builder.keys().append_value(name);
            builder.values().append_option(text.as_ref());
        }
        builder.append(row.is_some()).unwrap();
    }
    let array = builder.finish();
    arrow::compute::cast(&array, &string_map()).unwrap()
}

fn map_rows(column: &ArrayRef) -> Rows {
    let maps = column.as_map();
    let row = |at: usize| {
        let entries = maps.value(at);
        let (names, texts) = (entries.column(0).as_string::<i32>().clone(), entries.column(1).as_string::<i32>().clone());
        names.iter().zip(texts.iter()).map(|(name, text)| (name.unwrap().to_owned(), text.map(str::to_owned))).collect()
    };
    (0..column.len()).map(|at| column.is_valid(at).then(|| row(at))).collect()
}

proptest! {
    #[test]
    fn dictionaries_come_back(parts in prop::collection::vec(dictionary(), 1..4)) {
        let array = |(texts, keys): &(Vec<Option<String>>, Vec<Option<i32>>)| -> ArrayRef {
            let values: ArrayRef = Arc::new(StringArray::from(texts.clone()));
            Arc::new(DictionaryArray::<Int32Type>::try_new(Int32Array::from(keys.clone()), values).unwrap())
        };
        let arrays: Vec<ArrayRef> = parts.iter().map(array).collect();
        let sent = parts.iter().flat_map(|(texts, keys)| keys.iter().map(|key| texts[key.as_ref().copied()? as usize].clone())).collect();
        prop_assert_eq!(texts(&there_and_back(Field::new("text", DataType::Utf8, true), &arrays)), twice(sent));
    }

    #[test]
    fn plain_texts_come_back(parts in prop::collection::vec(prop::collection::vec(prop::option::weighted(0.9, ".{0,5}"), 0..50), 1..4)) {
        let arrays: Vec<ArrayRef> = parts.iter().map(|part| Arc::new(StringArray::from(part.clone())) as ArrayRef).collect();
        let sent = parts.concat();
        prop_assert_eq!(texts(&there_and_back(Field::new("request_id", DataType::Utf8, true), &arrays)), twice(sent));
    }

    #[test]
    fn maps_come_back(parts in prop::collection::vec(maps(), 1..4)) {
        let arrays: Vec<ArrayRef> = parts.iter().map(map_array).collect();
        let got: Rows = there_and_back(Field::new("tags", string_map(), true), &arrays).iter().flat_map(map_rows).collect();
        prop_assert_eq!(got, twice(parts.concat()));
    }

    #[test]
    fn dictionaries_of_maps_come_back(parts in prop::collection::vec((maps(), prop::collection::vec(prop::option::weighted(0.9, 0_usize..60), 0..80)), 1..4)) {
        let keys = |(maps, keys): &(Rows, Vec<Option<usize>>)| -> Vec<Option<usize>> {
            keys.iter().map(|key| key.filter(|_| !maps.is_empty()).map(|key| key % maps.len())).collect()
        };
        let array = |part: &(Rows, Vec<Option<usize>>)| -> ArrayRef {
            let keys = Int32Array::from_iter(keys(part).into_iter().map(|key| key.map(|key| key as i32)));
            Arc::new(DictionaryArray::<Int32Type>::try_new(keys, map_array(&part.0)).unwrap())
        };
        let plain: Vec<ArrayRef> = parts.iter().map(|(maps, _)| map_array(maps)).collect();
        let arrays: Vec<ArrayRef> = parts.iter().map(array).chain(plain).collect();
        let mut sent: Rows = parts.iter().flat_map(|part| keys(part).into_iter().map(|key| part.0[key?].clone())).collect();
        sent.extend(parts.iter().flat_map(|(maps, _)| maps.clone()));
        let got: Rows = there_and_back(Field::new("tags", string_map(), true), &arrays).iter().flat_map(map_rows).collect();
        prop_assert_eq!(got, twice(sent));
    }
}

#[test]
fn long_columns_have_several_pages() {
    let long: Vec<Option<String>> = (0..40_000).map(|number| (number % 7 > 0).then(|| format!("id {number}"))).collect();
    let array: ArrayRef = Arc::new(StringArray::from(long.clone()));
    let got = there_and_back(Field::new("request_id", DataType::Utf8, true), &[array.slice(0, 39_000), array.slice(39_000, 1_000)]);
    assert_eq!(texts(&got), twice(long));
}

#[test]
fn a_key_without_a_text_is_left_to_the_crate() {
    let keys: ArrayRef = Arc::new(Int32Array::from(vec![0, 1]));
    assert!(super::dictionary_pages(&[keys]).is_none());
}
