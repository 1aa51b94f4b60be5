//! Facts as rows: enriched calls and rejected records as Arrow record batches, and the spend they add up to.
//!
//! Calls of one profile share nearly all of their texts. Those columns are dictionaries over the profiles of the batch, all with the same
//! keys, so that no text is copied or compared for each call. So is the column of tags; whoever does not take such has [`with_own_tags`].

mod keys;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Decimal128Array, Int32Array, Int64Array, RecordBatch, StringArray, StringBuilder,
    TimestampMicrosecondArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{Field, Schema};
use hashbrown::HashMap;
use sluice_schemas::tables::{self, TOKENS};
use sluice_schemas::time::MINUTE;
use sluice_schemas::{
    Batch, CostBasis, EnrichedBatch, Invocation, Micros, Owner, PicoUsd, PriceStatus, Pricing, Rejected, RequestId, SpendDelta,
    StringTable, Sums, Sym,
};

use crate::known::sha256_of;
pub(crate) use keys::constant;
pub use keys::with_own_tags;
use keys::{PerProfile, PerSymbol};

/// Length of a UUID's text.
const UUID_TEXT: usize = 36;

/// Returns rows of `calls` for the calls whose bit in `keep` is set, split by event date.
#[must_use]
pub fn call_rows(batch: &EnrichedBatch, keep: &[bool], source: &str, ingest_time: Micros) -> Vec<(i32, RecordBatch)> {
    let mut days: Vec<(i32, Vec<Kept<'_>>)> = Vec::new();
    let mut last = 0;
    for call in kept(batch, keep) {
        let dt = call.invocation.event_time.day();
        if days.get(last).is_none_or(|(day, _)| *day != dt) {
            last = days.iter().position(|(day, _)| *day == dt).unwrap_or_else(|| {
                days.push((dt, Vec::new()));
                days.len() - 1
            });
        }
        if let Some((_, calls)) = days.get_mut(last) {
            calls.push(call);
        }
    }
    let profiles = PerProfile::new(batch);
    days.into_iter().filter_map(|(dt, calls)| Some((dt, day_rows(batch, &profiles, &calls, source, ingest_time)?))).collect()
}

/// One call that is kept.
#[derive(Clone, Copy)]
struct Kept<'a> {
    /// Its place in the batch.
    at: usize,
    invocation: &'a Invocation,
    pricing: &'a Pricing,
}

fn kept<'a>(batch: &'a EnrichedBatch, keep: &'a [bool]) -> impl Iterator<Item = Kept<'a>> {
    let profiles = batch.batch.profiles.len().min(batch.owners.len());
    let calls = batch.batch.invocations.iter().enumerate().zip(&batch.pricing).zip(keep);
    // A call without a profile would be a bug of the decoder; facts and spend pass over it alike, and the count of records shows it.
    let calls = calls.filter(move |(((_, invocation), _), keep)| **keep && (invocation.profile as usize) < profiles);
    calls.map(|(((at, invocation), pricing), _)| Kept { at, invocation, pricing })
}

fn day_rows(batch: &EnrichedBatch, profiles: &PerProfile, calls: &[Kept<'_>], source: &str, ingest_time: Micros) -> Option<RecordBatch> {
    let keys = PerProfile::keys(calls.iter().map(|call| call.invocation.profile));
    let by_symbol = |pick: fn(&Pricing) -> Sym| PerSymbol::column(&batch.batch.strings, calls.iter().map(|call| pick(call.pricing)));
    let schema = tables::schema(tables::CALLS)?;
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
    let mut fields: Vec<Field> = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let column = match field.name().as_str() {
            "event_time" => times(calls.iter().map(|call| call.invocation.event_time)),
            "request_id" => request_ids(batch, calls),
            "model" => by_symbol(|pricing| pricing.model),
            "price_scope" => by_symbol(|pricing| pricing.scope),
            "price_version" => by_symbol(|pricing| pricing.price_version),
            "tags" => profiles.tags(&keys)?,
            "agent_rank" => ranks(batch, calls, |owner| owner.agent_rank as i32),
            "session_rank" => ranks(batch, calls, |owner| owner.session_rank as i32),
            "latency_ms" => Arc::new(calls.iter().map(|call| call.invocation.latency_ms.map(i64::from)).collect::<Int64Array>()),
            "cost_usd" => money(calls.iter().map(|call| call.pricing.cost)),
            "cost_max_usd" => money(calls.iter().map(|call| call.pricing.cost_max)),
            "cost_basis" => keys::of_few(&CostBasis::ALL.map(CostBasis::as_str), calls.iter().map(|call| call.invocation.basis as i32)),
            "priced" => Arc::new(BooleanArray::from_iter(calls.iter().map(|call| Some(call.pricing.status != PriceStatus::Unpriced)))),
            "extras" => extras(&batch.batch, calls),
            "source" => sources(&batch.batch, calls, source),
            "ingest_time" => times(std::iter::repeat_n(ingest_time, calls.len())),
            name => match token_column(name) {
                Some(pick) => Arc::new(Int64Array::from_iter_values(calls.iter().map(|call| pick(call.invocation).cast_signed()))),
                None => profiles.column(name, &keys)?,
            },
        };
        fields.push(Field::new(field.name(), column.data_type().clone(), true));
        columns.push(column);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).ok()
}

fn token_column(name: &str) -> Option<fn(&Invocation) -> u64> {
    let [input, output, cache_read, cache_write_5m, cache_write_1h] = TOKENS;
    Some(match name {
        _ if name == input => |call| call.usage.input,
        _ if name == output => |call| call.usage.output,
        _ if name == cache_read => |call| call.usage.cache_read,
        _ if name == cache_write_5m => |call| call.usage.cache_write_5m,
        _ if name == cache_write_1h => |call| call.usage.cache_write_1h,
        _ => return None,
    })
}

pub(crate) fn times(times: impl Iterator<Item = Micros>) -> ArrayRef {
    let times: Vec<i64> = times.map(|time| time.0).collect();
    Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC"))
}

fn money(amounts: impl Iterator<Item = PicoUsd>) -> ArrayRef {
    let amounts: Vec<i128> = amounts.map(|amount| amount.0).collect();
    Arc::new(Decimal128Array::from(amounts).with_data_type(tables::MONEY))
}

/// Returns where calls were read: what a worker decoded, where the worker found it.
fn sources(batch: &Batch, calls: &[Kept<'_>], source: &str) -> ArrayRef {
    if batch.relayed.is_empty() {
        return constant(source, calls.len());
    }
    let texts: Vec<&str> = batch.relayed.iter().map(|relayed| relayed.span.shard.as_str()).chain([source]).collect();
    // Messages follow one another in a batch, and so do their calls.
    let of_call = |call: &Kept<'_>| {
        let at = batch.relayed.partition_point(|relayed| relayed.calls.end <= call.at);
        let found = batch.relayed.get(at).is_some_and(|relayed| relayed.calls.contains(&call.at));
        if found { at } else { batch.relayed.len() }
    };
    keys::chosen(&texts, calls.iter().map(of_call))
}

fn ranks(batch: &EnrichedBatch, calls: &[Kept<'_>], pick: fn(&Owner) -> i32) -> ArrayRef {
    let of_profile: Vec<i32> = batch.owners.iter().map(pick).collect();
    let of_call = |call: &Kept<'_>| of_profile.get(call.invocation.profile as usize).copied().unwrap_or_default();
    Arc::new(Int32Array::from_iter_values(calls.iter().map(of_call)))
}

fn request_ids(batch: &EnrichedBatch, calls: &[Kept<'_>]) -> ArrayRef {
    let mut text = Vec::with_capacity(calls.len() * UUID_TEXT);
    let mut lengths = Vec::with_capacity(calls.len());
    for call in calls {
        let before = text.len();
        match call.invocation.request_id {
            RequestId::Uuid(id) => text.extend_from_slice(&uuid_text(id)),
            RequestId::Other(sym) => text.extend_from_slice(batch.batch.strings.get(sym).as_bytes()),
        }
        lengths.push(text.len() - before);
    }
    match StringArray::try_new(OffsetBuffer::from_lengths(lengths), text.into(), None) {
        Ok(array) => Arc::new(array),
        // Only whole texts were put in.
        Err(error) => unreachable!("text is text: {error}"),
    }
}

/// Returns a request id as the log wrote it.
#[must_use]
pub fn request_id(id: RequestId, strings: &StringTable) -> String {
    match id {
        RequestId::Uuid(id) => uuid_text(id).into_iter().map(char::from).collect(),
        RequestId::Other(text) => strings.get(text).to_owned(),
    }
}

/// Writes a UUID in lower case with hyphens.
pub(crate) fn uuid_text(id: u128) -> [u8; UUID_TEXT] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [b'-'; UUID_TEXT];
    let mut at = 0;
    for (index, byte) in id.to_be_bytes().into_iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            at += 1;
        }
        text[at] = DIGITS[usize::from(byte >> 4)];
        text[at + 1] = DIGITS[usize::from(byte & 15)];
        at += 2;
    }
    text
}

fn extras(batch: &Batch, calls: &[Kept<'_>]) -> ArrayRef {
    let mut texts = StringBuilder::new();
    for call in calls {
        let extras = call.invocation.extras.and_then(|at| batch.extras.get(at as usize));
        texts.append_option(extras.and_then(|extras| serde_json::to_string(extras).ok()));
    }
    Arc::new(texts.finish())
}

/// Returns rows of `rejected` for what could not be read in `source`, or upstream of it; `None` if there is nothing.
#[must_use]
pub fn rejected_rows(batch: &Batch, source: &str, ingest_time: Micros) -> Option<RecordBatch> {
    let rejected = &batch.rejected;
    if rejected.is_empty() {
        return None;
    }
    // What a worker refused is where the worker found it.
    let mut sources = vec![source; rejected.len()];
    for relayed in &batch.relayed {
        for at in relayed.rejected.clone() {
            if let Some(place) = sources.get_mut(at) {
                *place = relayed.span.shard.as_str();
            }
        }
    }
    // Length and hash are of the whole record, also where only its beginning is kept.
    let length = |record: &Rejected| record.cut.as_ref().map_or(record.raw.len() as u64, |cut| cut.bytes);
    let columns: Vec<ArrayRef> = vec![
        times(rejected.iter().map(|_| ingest_time)),
        Arc::new(sources.iter().map(|source| Some(*source)).collect::<StringArray>()),
        Arc::new(rejected.iter().map(|record| i64::try_from(record.offset).ok()).collect::<Int64Array>()),
        Arc::new(rejected.iter().map(|record| (!record.sequence.is_none()).then_some(record.sequence.as_str())).collect::<StringArray>()),
        Arc::new(rejected.iter().map(|record| Some(record.reason.code())).collect::<StringArray>()),
        Arc::new(rejected.iter().map(|record| Some(record.reason.to_string())).collect::<StringArray>()),
        Arc::new(rejected.iter().map(|record| i64::try_from(length(record)).ok()).collect::<Int64Array>()),
        Arc::new(rejected.iter().map(sha256_of).collect::<StringArray>()),
        Arc::new(rejected.iter().map(|record| Some(record.raw.as_slice())).collect::<BinaryArray>()),
    ];
    RecordBatch::try_new(tables::schema(tables::REJECTED)?, columns).ok()
}

/// Returns what the kept calls spent, by profile, minute of event time, model and price scope, in the order of their first call.
#[must_use]
pub fn spend_deltas(batch: &EnrichedBatch, keep: &[bool]) -> Vec<SpendDelta> {
    let mut deltas: Vec<SpendDelta> = Vec::new();
    let mut index: HashMap<(u32, i64, Sym, Sym), usize, foldhash::fast::FixedState> = HashMap::default();
    // Calls of a profile come minute by minute with one price, so its last delta is nearly always the right one.
    let mut last: Vec<usize> = vec![usize::MAX; batch.batch.profiles.len()];
    for call in kept(batch, keep) {
        let Kept { invocation, pricing, .. } = call;
        let at = invocation.profile as usize;
        let (Some(profile), Some(owner), Some(last)) = (batch.batch.profiles.get(at), batch.owners.get(at), last.get_mut(at)) else {
            continue;
        };
        let minute = invocation.event_time.floor(MINUTE);
        let same = |delta: &SpendDelta| delta.minute == minute && delta.model == pricing.model && delta.scope == pricing.scope;
        if !deltas.get(*last).is_some_and(same) {
            let key = (invocation.profile, minute.0, pricing.model, pricing.scope);
            *last = *index.entry(key).or_insert_with(|| {
                deltas.push(SpendDelta {
                    minute,
                    last_event: invocation.event_time,
                    profile: invocation.profile,
                    model: pricing.model,
                    scope: pricing.scope,
                    sums: Sums::default(),
                });
                deltas.len() - 1
            });
        }
        if let Some(delta) = deltas.get_mut(*last) {
            delta.last_event = delta.last_event.max(invocation.event_time);
            delta.sums.add(&Sums::of(&sluice_schemas::Call { invocation, profile, owner, pricing }));
        }
    }
    deltas
}
