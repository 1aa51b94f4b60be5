//! Text columns as dictionaries: one text for each profile, symbol or alternative, one key for each call.

use std::sync::Arc;

use arrow::array::{ArrayRef, DictionaryArray, Int32Array, StringArray};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::Int32Type;
use hashbrown::HashMap;
use sluice_schemas::{EnrichedBatch, Owner, Profile, StringTable, Sym};

/// The texts that calls of one profile share, by column.
pub(super) struct PerProfile {
    columns: HashMap<&'static str, ArrayRef>,
}

impl PerProfile {
    pub(super) fn new(batch: &EnrichedBatch) -> Self {
        let strings = &batch.batch.strings;
        let text = |sym: Sym| (!sym.is_empty()).then(|| strings.get(sym));
        let pairs = || batch.batch.profiles.iter().zip(&batch.owners);
        let column = |pick: &dyn Fn(&Profile, &Owner) -> Sym| -> ArrayRef {
            Arc::new(pairs().map(|(profile, owner)| text(pick(profile, owner))).collect::<StringArray>())
        };
        let word = |pick: &dyn Fn(&Profile, &Owner) -> &'static str| -> ArrayRef {
            Arc::new(pairs().map(|(profile, owner)| Some(pick(profile, owner))).collect::<StringArray>())
        };
        // An agent is never null: who pays is always told, if only as `unattributed`.
        let agents: ArrayRef = Arc::new(batch.owners.iter().map(|owner| Some(strings.get(owner.agent_id))).collect::<StringArray>());
        let columns = HashMap::from([
            ("account_id", column(&|profile, _| profile.account_id)),
            ("region", column(&|profile, _| profile.region)),
            ("inference_region", column(&|profile, _| profile.inference_region)),
            ("operation", column(&|profile, _| profile.operation)),
            ("model_id", column(&|profile, _| profile.model_id)),
            ("service_tier", word(&|profile, _| profile.service_tier.as_str())),
            ("error_code", column(&|profile, _| profile.error_code)),
            ("principal_arn", column(&|profile, _| profile.principal_arn)),
            ("role", column(&|_, owner| owner.role)),
            ("role_session_name", column(&|_, owner| owner.role_session_name)),
            ("agent_id", agents),
            ("agent_evidence", column(&|_, owner| owner.agent_evidence)),
            ("agent_status", word(&|_, owner| owner.agent_status.as_str())),
            ("session_id", column(&|_, owner| owner.session_id)),
            ("session_evidence", column(&|_, owner| owner.session_evidence)),
            ("team", column(&|_, owner| owner.team)),
            ("metadata", column(&|profile, _| profile.metadata)),
        ]);
        Self { columns }
    }

    /// Returns the keys of calls, shared by all columns.
    pub(super) fn keys(profiles: impl Iterator<Item = u32>) -> Int32Array {
        let keys: Vec<i32> = profiles.map(u32::cast_signed).collect();
        Int32Array::new(ScalarBuffer::from(keys), None)
    }

    /// Returns a column by name; `None` if it is not one of these.
    pub(super) fn column(&self, name: &str, keys: &Int32Array) -> Option<ArrayRef> {
        dictionary(keys.clone(), Arc::clone(self.columns.get(name)?))
    }
}

/// Columns of symbols that hang on the call and still repeat.
pub(super) struct PerSymbol;

impl PerSymbol {
    /// Returns the texts of symbols; null for the empty one.
    pub(super) fn column(strings: &StringTable, symbols: impl Iterator<Item = Sym>) -> ArrayRef {
        let mut place: Vec<i32> = vec![-1; strings.len()];
        let mut texts: Vec<Option<&str>> = Vec::new();
        let keys: Vec<i32> = symbols
            .map(|sym| {
                let Some(place) = place.get_mut(sym.0 as usize) else {
                    texts.push(None);
                    return texts.len() as i32 - 1;
                };
                if *place < 0 {
                    *place = texts.len() as i32;
                    texts.push((!sym.is_empty()).then(|| strings.get(sym)));
                }
                *place
            })
            .collect();
        must(dictionary(Int32Array::new(ScalarBuffer::from(keys), None), Arc::new(StringArray::from(texts))))
    }
}

/// Returns a column of one text.
pub(crate) fn constant(text: &str, rows: usize) -> ArrayRef {
    must(dictionary(Int32Array::new(ScalarBuffer::from(vec![0; rows]), None), Arc::new(StringArray::from(vec![text]))))
}

/// Returns a column of a few texts, each row by its place among them.
pub(super) fn of_few(texts: &[&str], places: impl Iterator<Item = i32>) -> ArrayRef {
    let keys: Vec<i32> = places.collect();
    must(dictionary(Int32Array::new(ScalarBuffer::from(keys), None), Arc::new(StringArray::from(texts.to_vec()))))
}

/// Returns a column of some of `texts`, each by its place there, once each: a text may stand in several places.
pub(super) fn chosen(texts: &[&str], places: impl Iterator<Item = usize>) -> ArrayRef {
    let mut distinct: Vec<&str> = Vec::new();
    let mut key_of: Vec<i32> = Vec::with_capacity(texts.len());
    for text in texts {
        let key = distinct.iter().rposition(|known| known == text).unwrap_or_else(|| {
            distinct.push(text);
            distinct.len() - 1
        });
        key_of.push(key as i32);
    }
    let keys: Vec<i32> = places.map(|place| key_of.get(place).copied().unwrap_or_default()).collect();
    must(dictionary(Int32Array::new(ScalarBuffer::from(keys), None), Arc::new(StringArray::from(distinct))))
}

fn dictionary(keys: Int32Array, values: ArrayRef) -> Option<ArrayRef> {
    Some(Arc::new(DictionaryArray::<Int32Type>::try_new(keys, values).ok()?))
}

fn must(column: Option<ArrayRef>) -> ArrayRef {
    // The keys were counted out with the values.
    column.unwrap_or_else(|| unreachable!("a key without a text"))
}
