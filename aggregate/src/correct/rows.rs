//! Corrected rows of `calls`, and the rows of `corrections` that tell of them.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Decimal128Array, Int32Array, MapBuilder, MapFieldNames, RecordBatch, StringArray, StringBuilder,
    TimestampMicrosecondArray,
};
use arrow::compute::{cast, filter_record_batch, interleave};
use arrow::error::ArrowError;
use sluice_schemas::{Micros, PicoUsd, tables};

use super::{Change, NewOwner, NewPrice, StoredCall, Terms};

/// A changed row and what becomes of it.
type Changed = (u32, Change);

/// Returns a batch with its changed rows as they are now.
pub(super) fn corrected(batch: &RecordBatch, calls: &[StoredCall<'_>], changed: &[Changed]) -> Result<RecordBatch, ArrowError> {
    let mut places: Vec<(usize, usize)> = (0..batch.num_rows()).map(|row| (0, row)).collect();
    for (place, (row, _)) in changed.iter().enumerate() {
        if let Some(slot) = places.get_mut(*row as usize) {
            *slot = (1, place);
        }
    }
    let prices: Vec<NewPrice> =
        changed.iter().filter_map(|(row, change)| Some(change.price.clone().unwrap_or(calls.get(*row as usize)?.price()))).collect();
    let mut columns = batch.columns().to_vec();
    for (at, field) in batch.schema().fields().iter().enumerate() {
        let (Some(column), name) = (columns.get_mut(at), field.name().as_str()) else { continue };
        let Some(new) = price_column(name, &prices).or_else(|| owner_column(name, changed)) else { continue };
        let of_owner = price_column(name, &[]).is_none();
        if of_owner {
            // A call that keeps its owner keeps these columns, whatever they hold.
            let moved: Vec<(usize, usize)> = (places.iter())
                .enumerate()
                .map(|(row, place)| match place {
                    (1, at) if changed.get(*at).is_some_and(|(_, change)| change.owner.is_some()) => *place,
                    _ => (0, row),
                })
                .collect();
            *column = mixed(column, &new, &moved)?;
        } else {
            *column = mixed(column, &new, &places)?;
        }
    }
    RecordBatch::try_new(batch.schema(), columns)
}

/// Returns a batch without the rows that are taken out.
pub(super) fn without_removed(batch: &RecordBatch, changed: &[Changed]) -> Result<RecordBatch, ArrowError> {
    let mut keep = vec![true; batch.num_rows()];
    for (row, _) in changed.iter().filter(|(_, change)| change.removed.is_some()) {
        if let Some(keep) = keep.get_mut(*row as usize) {
            *keep = false;
        }
    }
    if keep.iter().all(|keep| *keep) { Ok(batch.clone()) } else { filter_record_batch(batch, &BooleanArray::from(keep)) }
}

/// Takes each row from the old column or from the new one.
fn mixed(old: &ArrayRef, new: &ArrayRef, places: &[(usize, usize)]) -> Result<ArrayRef, ArrowError> {
    let new = if new.data_type() == old.data_type() { Arc::clone(new) } else { cast(new, old.data_type())? };
    interleave(&[old.as_ref(), new.as_ref()], places)
}

fn price_column(name: &str, prices: &[NewPrice]) -> Option<ArrayRef> {
    let money = |of: fn(&NewPrice) -> PicoUsd| -> ArrayRef {
        Arc::new(Decimal128Array::from_iter_values(prices.iter().map(|price| of(price).0)).with_data_type(tables::MONEY))
    };
    let text = |of: fn(&NewPrice) -> &str| texts(prices.iter().map(of));
    Some(match name {
        "cost_usd" => money(|price| price.cost),
        "cost_max_usd" => money(|price| price.cost_max),
        "priced" => Arc::new(prices.iter().map(|price| Some(price.priced)).collect::<BooleanArray>()),
        "model" => text(|price| &price.model),
        "price_scope" => text(|price| &price.scope),
        "price_version" => text(|price| &price.price_version),
        _ => return None,
    })
}

/// A column of new owners, one row for each changed call; null where the call keeps its owner.
fn owner_column(name: &str, changed: &[Changed]) -> Option<ArrayRef> {
    let owners = || changed.iter().map(|(_, change)| change.owner.as_ref());
    let text = |of: fn(&NewOwner) -> &str| texts(owners().map(|owner| owner.map_or("", of)));
    let rank = |of: fn(&NewOwner) -> i32| -> ArrayRef { Arc::new(owners().map(|owner| owner.map(of)).collect::<Int32Array>()) };
    Some(match name {
        "agent_id" => text(|owner| &owner.agent_id),
        "agent_evidence" => text(|owner| &owner.agent_evidence),
        "agent_status" => text(|owner| owner.agent_status.as_str()),
        "session_id" => text(|owner| &owner.session_id),
        "session_evidence" => text(|owner| &owner.session_evidence),
        "team" => text(|owner| &owner.team),
        "agent_rank" => rank(|owner| owner.agent_rank as i32),
        "session_rank" => rank(|owner| owner.session_rank as i32),
        "tags" => tags(owners())?,
        _ => return None,
    })
}

fn texts<'a>(texts: impl Iterator<Item = &'a str>) -> ArrayRef {
    Arc::new(texts.map(|text| Some(text).filter(|text| !text.is_empty())).collect::<StringArray>())
}

fn tags<'a>(owners: impl Iterator<Item = Option<&'a NewOwner>>) -> Option<ArrayRef> {
    let names = MapFieldNames { entry: "key_value".to_owned(), key: "key".to_owned(), value: "value".to_owned() };
    let mut tags = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for owner in owners {
        let pairs = owner.map_or(&[][..], |owner| owner.tags.as_slice());
        for (key, value) in pairs {
            tags.keys().append_value(key);
            tags.values().append_value(value);
        }
        tags.append(!pairs.is_empty()).ok()?;
    }
    Some(Arc::new(tags.finish()))
}

/// Returns the rows of `corrections`.
pub(super) fn corrections(calls: &[StoredCall<'_>], changed: &[Changed], terms: Terms<'_>) -> Result<RecordBatch, ArrowError> {
    let schema = tables::schema(tables::CORRECTIONS).ok_or_else(|| ArrowError::SchemaError("corrections".to_owned()))?;
    let rows = || changed.iter().filter_map(|(row, change)| Some((calls.get(*row as usize)?, change)));
    let time = |of: &dyn Fn(&StoredCall<'_>) -> Micros| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from_iter_values(rows().map(|(call, _)| of(call).0)).with_timezone("UTC"))
    };
    let text = |of: &dyn Fn(&StoredCall<'_>, &Change) -> String| -> ArrayRef {
        Arc::new(rows().map(|(call, change)| Some(of(call, change)).filter(|text| !text.is_empty())).collect::<StringArray>())
    };
    let money = |of: &dyn Fn(&StoredCall<'_>, &Change) -> PicoUsd| -> ArrayRef {
        Arc::new(Decimal128Array::from_iter_values(rows().map(|(call, change)| of(call, change).0)).with_data_type(tables::MONEY))
    };
    let owner = |change: &Change, call: &str, of: fn(&NewOwner) -> &str| change.owner.as_ref().map_or(call, of).to_owned();
    let columns = schema.fields().iter().map(|field| match field.name().as_str() {
        "at" => time(&|_| terms.now),
        "event_time" => time(&|call| call.event_time),
        "request_id" => text(&|call, _| call.request_id.to_owned()),
        "account_id" => text(&|call, _| call.account_id.to_owned()),
        "region" => text(&|call, _| call.region.to_owned()),
        "kind" => text(&|call, change| match change {
            Change { removed: Some(_), .. } => "removed".to_owned(),
            Change { owner: Some(_), .. } if change.moves(call) => "owner".to_owned(),
            Change { owner: Some(_), price: None, .. } => "tags".to_owned(),
            _ => "price".to_owned(),
        }),
        "from_agent" => text(&|call, _| call.agent_id.to_owned()),
        "to_agent" => text(&|call, change| owner(change, call.agent_id, |owner| &owner.agent_id)),
        "from_session" => text(&|call, _| call.session_id.to_owned()),
        "to_session" => text(&|call, change| owner(change, call.session_id, |owner| &owner.session_id)),
        "cost_before_usd" => money(&|call, _| call.cost),
        "cost_after_usd" => money(&|call, change| match change.removed {
            Some(_) => PicoUsd::ZERO,
            None => change.price.as_ref().map_or(call.cost, |price| price.cost),
        }),
        "price_version" => text(&|call, change| change.price.as_ref().map_or(call.price_version, |price| &price.price_version).to_owned()),
        _ => text(&|call, change| match (&change.removed, &change.owner) {
            (Some(reason), _) => (*reason).to_owned(),
            (None, Some(_)) if !change.moves(call) && change.price.is_none() => "more is known of its caller".to_owned(),
            (None, Some(owner)) if change.moves(call) => format!("named by {}, by {} before", owner.agent_evidence, call.agent_evidence),
            (None, _) => terms.reason.to_owned(),
        }),
    });
    RecordBatch::try_new(Arc::clone(&schema), columns.collect())
}
