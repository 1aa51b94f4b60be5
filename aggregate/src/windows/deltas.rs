//! Spend deltas as an Arrow batch: the input of the built-in spend tables, made where the batch was folded so that summing
//! needs nothing else of it.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{
    ArrayBuilder, ArrayRef, Decimal128Array, DictionaryArray, Int32Array, Int64Array, RecordBatch, StringBuilder, TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef};
use hashbrown::HashMap;
use sluice_schemas::{Micros, PicoUsd, SpendDelta, SpendView, Sym, tables};

/// Texts that identify a row of a spend table; `spend_minute` and `spend_hour` have the first [`OWNER_KEYS`] alone.
pub(super) const KEYS: [&str; 7] = ["account_id", "region", "agent_id", "model", "team", "principal_arn", "session_id"];
/// How many of [`KEYS`] there are without principal and session.
pub(super) const OWNER_KEYS: usize = 5;
/// Column of a delta that holds its [`KEYS`] as one text.
pub(super) const KEY: &str = "key";
/// Time columns of a delta.
pub(super) const TIMES: [&str; 2] = ["minute", "last_event"];
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
    let key = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let mut fields: Vec<Field> = TIMES.map(|name| Field::new(name, tables::timestamp(), true)).into();
    fields.push(Field::new(KEY, key, true));
    fields.extend(COUNTS.map(|name| Field::new(name, DataType::Int64, true)));
    fields.extend(AMOUNTS.map(|name| Field::new(name, tables::MONEY, true)));
    Arc::new(Schema::new(fields))
});

/// Returns the deltas of a batch as rows for [`super::Rollups::fold`]. A count beyond `i64` becomes negative and a profile
/// that the batch lacks becomes null; both are refused there.
#[must_use]
pub fn delta_rows(view: SpendView<'_>) -> RecordBatch {
    let deltas = view.deltas;
    let mut columns: Vec<ArrayRef> = vec![times(deltas, |delta| delta.minute), times(deltas, |delta| delta.last_event), keys(view)];
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
        let values = deltas.iter().map(|delta| i64::try_from(of(delta)).unwrap_or(i64::MIN)).collect::<Vec<_>>();
        Arc::new(Int64Array::from(values))
    })
}

/// Returns the key of each delta; the dictionary has an entry for each profile and model that occurs.
fn keys(view: SpendView<'_>) -> ArrayRef {
    let (profiles, owners, strings) = (&view.batch.batch.profiles, &view.batch.owners, &view.batch.batch.strings);
    let mut entries: HashMap<(u32, Sym), Option<i32>> = HashMap::new();
    let mut texts = StringBuilder::new();
    let mut joined = String::new();
    let numbers = view.deltas.iter().map(|delta| {
        *entries.entry((delta.profile, delta.model)).or_insert_with(|| {
            let at = delta.profile as usize;
            let (profile, owner) = (profiles.get(at)?, owners.get(at)?);
            let caller = [profile.account_id, profile.region, owner.agent_id, delta.model, owner.team];
            let symbols = caller.into_iter().chain([profile.principal_arn, owner.session_id]);
            joined.clear();
            symbols.for_each(|symbol| join(&mut joined, strings.get(symbol)));
            texts.append_value(&joined);
            i32::try_from(texts.len() - 1).ok()
        })
    });
    let numbers = numbers.collect::<Int32Array>();
    Arc::new(DictionaryArray::<Int32Type>::try_new(numbers, Arc::new(texts.finish())).expect("numbers are below the number of texts"))
}

/// Joins texts so that no text can be taken for two: each with its length before it.
fn join(joined: &mut String, text: &str) {
    digits(joined, text.len());
    joined.push(':');
    joined.push_str(text);
}

fn digits(text: &mut String, number: usize) {
    if number >= 10 {
        digits(text, number / 10);
    }
    text.push(char::from(b'0' + (number % 10) as u8));
}

/// Splits what [`join`] joined, or its part without principal and session, and tells where that part ends.
pub(super) fn split(joined: &str) -> Option<([&str; KEYS.len()], usize)> {
    let mut texts = [""; KEYS.len()];
    let (mut rest, mut owner_end) = (joined, 0);
    for (at, text) in texts.iter_mut().enumerate() {
        if at == OWNER_KEYS {
            owner_end = joined.len() - rest.len();
            if rest.is_empty() {
                break;
            }
        }
        let (length, tail) = rest.split_once(':')?;
        (*text, rest) = tail.split_at_checked(length.parse().ok()?)?;
    }
    rest.is_empty().then_some((texts, owner_end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn joined(texts: &[String]) -> String {
        let mut joined = String::new();
        texts.iter().for_each(|text| join(&mut joined, text));
        joined
    }

    proptest! {
        #[test]
        fn keys_survive_whatever_is_in_them(mut texts in proptest::array::uniform7(".{0,8}|[0-9:]{0,4}")) {
            let key = joined(&texts);
            let (found, owner_end) = split(&key).unwrap();
            prop_assert_eq!(found.map(str::to_owned), texts.clone());
            let (owner, end) = split(&key[..owner_end]).unwrap();
            prop_assert_eq!((&owner[..OWNER_KEYS], owner[5], owner[6], end), (&found[..OWNER_KEYS], "", "", owner_end));
            texts[6].push('x');
            prop_assert!(joined(&texts).starts_with(&key[..owner_end]));
        }

        #[test]
        fn no_text_breaks_the_split(text in "[0-9:a]{0,40}") {
            let _: Option<_> = split(&text);
        }
    }
}
