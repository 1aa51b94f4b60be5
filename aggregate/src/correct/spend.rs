//! The difference a correction makes in the additive spend tables: minus the old row, plus the new one, summed by key.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Decimal128Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::error::ArrowError;
use sluice_schemas::time::{HOUR, MINUTE};
use sluice_schemas::{Micros, tables};

use super::{Change, NewPrice, StoredCall};

/// Account, region, agent, model, team, principal, session; the last two only where the table has them.
type Texts = [String; 7];
/// Table, date, time of the row (minute, hour, or none), texts.
type Key = (&'static str, i32, i64, Texts);
/// One row: time, texts, measures.
type Row = (i64, Texts, Measures);

#[derive(Clone, Copy, Debug, Default)]
struct Measures {
    counts: [i64; 8],
    cost: i128,
    cost_max: i128,
    first: i64,
    last: i64,
}

/// Differences by table and key.
#[derive(Debug, Default)]
pub(super) struct Differences {
    rows: BTreeMap<Key, Measures>,
}

impl Differences {
    /// Adds the difference of one call.
    pub(super) fn add(&mut self, call: &StoredCall<'_>, change: &Change) {
        let old = call.price();
        self.add_price(call, [call.agent_id, call.team, call.session_id], &old, -1);
        let owner = change.owner.as_ref().map_or([call.agent_id, call.team, call.session_id], |owner| {
            [owner.agent_id.as_str(), owner.team.as_str(), owner.session_id.as_str()]
        });
        if change.removed.is_none() {
            self.add_price(call, owner, change.price.as_ref().unwrap_or(&old), 1);
        }
    }

    fn add_price(&mut self, call: &StoredCall<'_>, owner: [&str; 3], price: &NewPrice, sign: i64) {
        let [agent, team, session] = owner;
        let keys = [call.account_id, call.region, agent, &price.model, team].map(str::to_owned);
        let [account, region, agent, model, team] = keys;
        let short = [account.clone(), region.clone(), agent.clone(), model.clone(), team.clone(), String::new(), String::new()];
        let long = [account, region, agent, model, team, call.principal_arn.to_owned(), session.to_owned()];
        let day = call.event_time.day();
        for (table, time, texts) in [
            (tables::SPEND_MINUTE, call.event_time.floor(MINUTE).0, &short),
            (tables::SPEND_HOUR, call.event_time.floor(HOUR).0, &short),
            (tables::SPEND_DAY, 0, &long),
            (tables::SPEND_SESSION, 0, &long),
        ] {
            let measures = self.rows.entry((table, day, time, texts.clone())).or_insert_with(|| Measures {
                first: call.event_time.0,
                last: call.event_time.0,
                ..Measures::default()
            });
            measures.add(call, price, sign);
        }
    }

    /// Returns the rows by table and date.
    pub(super) fn rows(self) -> Result<Vec<(&'static str, i32, RecordBatch)>, ArrowError> {
        let mut groups: BTreeMap<(&'static str, i32), Vec<Row>> = BTreeMap::new();
        for ((table, day, time, texts), measures) in self.rows {
            if measures.is_zero() {
                continue;
            }
            groups.entry((table, day)).or_default().push((time, texts, measures));
        }
        groups.into_iter().map(|((table, day), rows)| Ok((table, day, batch(table, &rows)?))).collect()
    }
}

impl Measures {
    fn add(&mut self, call: &StoredCall<'_>, price: &NewPrice, sign: i64) {
        let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX).saturating_mul(sign);
        let usage = &call.usage;
        let counts = [
            1,
            u64::from(!call.error_code.is_empty()),
            u64::from(!price.priced),
            usage.input,
            usage.output,
            usage.cache_read,
            usage.cache_write_5m,
            usage.cache_write_1h,
        ];
        for (sum, count) in self.counts.iter_mut().zip(counts) {
            *sum += signed(count);
        }
        self.cost += price.cost.0 * i128::from(sign);
        self.cost_max += price.cost_max.0 * i128::from(sign);
        self.first = self.first.min(call.event_time.0);
        self.last = self.last.max(call.event_time.0);
    }

    fn is_zero(&self) -> bool {
        self.counts.iter().all(|count| *count == 0) && self.cost == 0 && self.cost_max == 0
    }
}

fn batch(table: &str, rows: &[Row]) -> Result<RecordBatch, ArrowError> {
    let schema = tables::schema(table).ok_or_else(|| ArrowError::SchemaError(table.to_owned()))?;
    let text = |at: usize| -> ArrayRef {
        Arc::new(
            rows.iter().map(|(_, texts, _)| texts.get(at).map(String::as_str).filter(|text| !text.is_empty())).collect::<StringArray>(),
        )
    };
    let count = |at: usize| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|(_, _, measures)| measures.counts.get(at).copied().unwrap_or(0))))
    };
    let time = |of: &dyn Fn(&Row) -> i64| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from_iter_values(rows.iter().map(of)).with_timezone("UTC"))
    };
    let money = |of: &dyn Fn(&Measures) -> i128| -> ArrayRef {
        Arc::new(Decimal128Array::from_iter_values(rows.iter().map(|(_, _, measures)| of(measures))).with_data_type(tables::MONEY))
    };
    let column = |name: &str| -> Result<ArrayRef, ArrowError> {
        Ok(match name {
            "minute" | "hour" => time(&|(time, _, _)| *time),
            "first_event" => time(&|(_, _, measures)| measures.first),
            "last_event" => time(&|(_, _, measures)| measures.last),
            "account_id" => text(0),
            "region" => text(1),
            "agent_id" => text(2),
            "model" => text(3),
            "team" => text(4),
            "principal_arn" => text(5),
            "session_id" => text(6),
            "calls" => count(0),
            "errors" => count(1),
            "unpriced_calls" => count(2),
            "cost_usd" => money(&|measures| measures.cost),
            "cost_max_usd" => money(&|measures| measures.cost_max),
            other => {
                let at = tables::TOKENS.iter().position(|token| *token == other);
                count(3 + at.ok_or_else(|| ArrowError::SchemaError(format!("{table}.{other}")))?)
            }
        })
    };
    let columns = schema.fields().iter().map(|field| column(field.name())).collect::<Result<Vec<_>, _>>()?;
    debug_assert!(rows.iter().all(|(_, _, measures)| Micros(measures.first) <= Micros(measures.last)));
    RecordBatch::try_new(Arc::clone(&schema), columns)
}
