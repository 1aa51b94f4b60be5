//! Text columns as dictionaries: one text for each profile, symbol or alternative, one key for each call.

use std::sync::Arc;

use arrow::array::{ArrayRef, DictionaryArray, Int32Array, MapArray, RecordBatch, StringArray, StringBuilder, StructArray};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Int32Type, Schema};
use hashbrown::HashMap;
use sluice_schemas::{EnrichedBatch, Owner, Profile, StringTable, Sym, tables};

use crate::lake::LakeError;

/// The texts that calls of one profile share, by column.
pub(super) struct PerProfile {
    columns: HashMap<&'static str, ArrayRef>,
    tags: ArrayRef,
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
        Self { columns, tags: tags(batch) }
    }

    /// Returns the keys of calls, shared by all columns.
    pub(super) fn keys(profiles: impl Iterator<Item = u32>) -> Int32Array {
        let keys: Vec<i32> = profiles.map(u32::cast_signed).collect();
        Int32Array::new(ScalarBuffer::from(keys), None)
    }

    /// Returns the column of tags: null where the owner has none.
    pub(super) fn tags(&self, keys: &Int32Array) -> Option<ArrayRef> {
        dictionary(keys.clone(), Arc::clone(&self.tags))
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

/// Returns the tags of each owner.
fn tags(batch: &EnrichedBatch) -> ArrayRef {
    let strings = &batch.batch.strings;
    let (mut names, mut values) = (StringBuilder::new(), StringBuilder::new());
    for (name, value) in batch.owners.iter().flat_map(|owner| &owner.tags) {
        names.append_value(strings.get(*name));
        values.append_value(strings.get(*value));
    }
    let entries: Vec<ArrayRef> = vec![Arc::new(names.finish()), Arc::new(values.finish())];
    let nulls = NullBuffer::from_iter(batch.owners.iter().map(|owner| !owner.tags.is_empty()));
    let DataType::Map(entry, sorted) = tables::string_map() else { unreachable!("the type of a map is a map") };
    let DataType::Struct(fields) = entry.data_type() else { unreachable!("the entry of a map is a struct") };
    let entries = StructArray::new(fields.clone(), entries, None);
    let offsets = OffsetBuffer::from_lengths(batch.owners.iter().map(|owner| owner.tags.len()));
    Arc::new(MapArray::new(entry, offsets, entries, Some(nulls), sorted))
}

/// Gives each row of calls tags of its own, for those that know no dictionary of maps.
///
/// # Errors
/// The tags of all calls together do not fit into one column.
pub fn with_own_tags(rows: &RecordBatch) -> Result<RecordBatch, LakeError> {
    let schema = rows.schema();
    let Some((at, field)) = schema.column_with_name("tags") else { return Ok(rows.clone()) };
    let DataType::Dictionary(_, kind) = field.data_type() else { return Ok(rows.clone()) };
    let own = cast(rows.column(at), kind).map_err(LakeError::arrow(tables::CALLS))?;
    let with_own = |(place, field): (usize, &FieldRef)| {
        if place == at { Arc::new(Field::new("tags", (**kind).clone(), true)) } else { Arc::clone(field) }
    };
    let fields: Vec<FieldRef> = schema.fields().iter().enumerate().map(with_own).collect();
    let mut columns = rows.columns().to_vec();
    columns[at] = own;
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(LakeError::arrow(tables::CALLS))
}

fn dictionary(keys: Int32Array, values: ArrayRef) -> Option<ArrayRef> {
    Some(Arc::new(DictionaryArray::<Int32Type>::try_new(keys, values).ok()?))
}

fn must(column: Option<ArrayRef>) -> ArrayRef {
    // The keys were counted out with the values.
    column.unwrap_or_else(|| unreachable!("a key without a text"))
}
