//! Spend deltas as an Arrow batch: the input of the built-in spend tables.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{
    ArrayRef, Decimal128Array, DictionaryArray, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef};
use hashbrown::HashMap;
use sluice_schemas::{Micros, PicoUsd, SpendDelta, SpendView, Sym, tables};

/// Text columns of a delta that identify its row in a spend table; the first [`OWNER_KEYS`] of them without session.
pub(super) const KEYS: [&str; 7] = ["account_id", "region", "agent_id", "model", "team", "principal_arn", "session_id"];
/// How many of [`KEYS`] identify a row of `spend_minute` and `spend_hour`.
pub(super) const OWNER_KEYS: usize = 5;
/// Integer measures.
pub(super) const COUNTS: [&str; 8] = [
    "calls",
    "errors",
    "unpriced_calls",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
];
/// Money measures.
pub(super) const AMOUNTS: [&str; 2] = ["cost_usd", "cost_max_usd"];

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let text = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let mut fields: Vec<Field> = ["minute", "last_event"].map(|name| Field::new(name, tables::timestamp(), true)).into();
    fields.extend(KEYS.map(|name| Field::new(name, text.clone(), true)));
    fields.extend(COUNTS.map(|name| Field::new(name, DataType::Int64, true)));
    fields.extend(AMOUNTS.map(|name| Field::new(name, tables::MONEY, true)));
    Arc::new(Schema::new(fields))
});

/// Returns the deltas of a batch as rows. Texts are dictionaries with an entry for each profile of the batch. A count
/// beyond `i64` becomes negative and a profile that the batch lacks becomes null; [`super::Rollups::fold`] refuses both.
#[must_use]
pub fn delta_rows(view: SpendView<'_>) -> RecordBatch {
    let deltas = view.deltas;
    let mut columns: Vec<ArrayRef> = vec![times(deltas, |delta| delta.minute), times(deltas, |delta| delta.last_event)];
    columns.extend(texts(view));
    columns.extend(counts(deltas));
    columns.push(amounts(deltas, |delta| delta.sums.cost));
    columns.push(amounts(deltas, |delta| delta.sums.cost_max));
    RecordBatch::try_new(Arc::clone(&SCHEMA), columns).expect("each column is made for its field, one value a delta")
}

fn times(deltas: &[SpendDelta], of: impl Fn(&SpendDelta) -> Micros) -> ArrayRef {
    let values = deltas.iter().map(|delta| of(delta).0).collect::<Vec<_>>();
    Arc::new(TimestampMicrosecondArray::from(values).with_timezone("UTC"))
}

fn amounts(deltas: &[SpendDelta], of: impl Fn(&SpendDelta) -> PicoUsd) -> ArrayRef {
    let values = deltas.iter().map(|delta| of(delta).0).collect::<Vec<_>>();
    Arc::new(Decimal128Array::from(values).with_data_type(tables::MONEY))
}

fn counts(deltas: &[SpendDelta]) -> impl Iterator<Item = ArrayRef> + '_ {
    let measures: [fn(&SpendDelta) -> u64; 8] = [
        |delta| delta.sums.calls,
        |delta| delta.sums.errors,
        |delta| delta.sums.unpriced,
        |delta| delta.sums.usage.input,
        |delta| delta.sums.usage.output,
        |delta| delta.sums.usage.cache_read,
        |delta| delta.sums.usage.cache_write_5m,
        |delta| delta.sums.usage.cache_write_1h,
    ];
    measures.into_iter().map(|of| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(deltas.iter().map(|delta| i64::try_from(of(delta)).unwrap_or(i64::MIN))))
    })
}

/// Returns the columns of [`KEYS`]; all but the model share one buffer of profile numbers as dictionary keys.
fn texts(view: SpendView<'_>) -> Vec<ArrayRef> {
    let (batch, strings) = (&view.batch.batch, &view.batch.batch.strings);
    let known = batch.profiles.len().min(view.batch.owners.len());
    let profile = |delta: &SpendDelta| (delta.profile as usize) < known;
    let profiles = view.deltas.iter().map(|delta| profile(delta).then_some(delta.profile as i32)).collect::<Int32Array>();
    let by_profile = |of: &dyn Fn(usize) -> Sym| {
        let values = StringArray::from_iter_values((0..known).map(|at| strings.get(of(at))));
        dictionary(profiles.clone(), values)
    };
    let mut models: HashMap<Sym, i32> = HashMap::new();
    let mut names = Vec::new();
    let model_keys = view.deltas.iter().map(|delta| {
        *models.entry(delta.model).or_insert_with(|| {
            names.push(strings.get(delta.model));
            names.len() as i32 - 1
        })
    });
    let model_keys = model_keys.collect::<Int32Array>();
    vec![
        by_profile(&|at| batch.profiles[at].account_id),
        by_profile(&|at| batch.profiles[at].region),
        by_profile(&|at| view.batch.owners[at].agent_id),
        dictionary(model_keys, StringArray::from_iter_values(names)),
        by_profile(&|at| view.batch.owners[at].team),
        by_profile(&|at| batch.profiles[at].principal_arn),
        by_profile(&|at| view.batch.owners[at].session_id),
    ]
}

fn dictionary(keys: Int32Array, values: StringArray) -> ArrayRef {
    Arc::new(DictionaryArray::<Int32Type>::try_new(keys, Arc::new(values)).expect("keys are below the number of values"))
}
