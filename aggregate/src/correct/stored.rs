//! One row of `calls`, as far as its price, its owner and its place in the spend tables go.

use arrow::array::{Array, AsArray, MapArray, RecordBatch};
use arrow::datatypes::{Decimal128Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow::error::ArrowError;
use sluice_schemas::{Micros, PicoUsd, Usage, tables};

use super::{NewOwner, NewPrice};

/// The tags of a stored call.
#[derive(Clone, Copy, Debug)]
pub struct Tags<'a> {
    map: &'a MapArray,
    row: usize,
}

impl<'a> Tags<'a> {
    /// Iterates over the pairs, sorted by key.
    pub fn pairs(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let offsets = self.map.value_offsets();
        let stretch = if self.map.is_null(self.row) { 0..0 } else { offsets[self.row] as usize..offsets[self.row + 1] as usize };
        let (keys, values) = (self.map.keys().as_string_opt::<i32>(), self.map.values().as_string_opt::<i32>());
        let columns = keys.zip(values);
        stretch.filter_map(move |at| columns.map(|(keys, values)| (keys.value(at), if values.is_null(at) { "" } else { values.value(at) })))
    }
}

/// A stored call; absent texts are empty.
#[derive(Clone, Copy, Debug)]
pub struct StoredCall<'a> {
    /// `event_time`.
    pub event_time: Micros,
    /// `request_id`.
    pub request_id: &'a str,
    /// `account_id`.
    pub account_id: &'a str,
    /// `region`.
    pub region: &'a str,
    /// `inference_region`.
    pub inference_region: &'a str,
    /// `operation`.
    pub operation: &'a str,
    /// `model_id`.
    pub model_id: &'a str,
    /// `model`.
    pub model: &'a str,
    /// `price_scope`.
    pub scope: &'a str,
    /// `service_tier`.
    pub service_tier: &'a str,
    /// `error_code`.
    pub error_code: &'a str,
    /// `principal_arn`.
    pub principal_arn: &'a str,
    /// `agent_id`.
    pub agent_id: &'a str,
    /// `agent_evidence`.
    pub agent_evidence: &'a str,
    /// `agent_rank`.
    pub agent_rank: i32,
    /// `agent_status`.
    pub agent_status: &'a str,
    /// `session_id`.
    pub session_id: &'a str,
    /// `session_evidence`.
    pub session_evidence: &'a str,
    /// `session_rank`.
    pub session_rank: i32,
    /// `team`.
    pub team: &'a str,
    /// `metadata`.
    pub metadata: &'a str,
    /// `tags`.
    pub tags: Tags<'a>,
    /// Tokens by class.
    pub usage: Usage,
    /// `extras` as JSON text.
    pub extras: &'a str,
    /// `cost_basis`.
    pub cost_basis: &'a str,
    /// `price_version`.
    pub price_version: &'a str,
    /// `priced`.
    pub priced: bool,
    /// `cost_usd`.
    pub cost: PicoUsd,
    /// `cost_max_usd`.
    pub cost_max: PicoUsd,
}

impl StoredCall<'_> {
    /// Returns its price as stored.
    #[must_use]
    pub fn price(&self) -> NewPrice {
        NewPrice {
            cost: self.cost,
            cost_max: self.cost_max,
            priced: self.priced,
            model: self.model.to_owned(),
            scope: self.scope.to_owned(),
            price_version: self.price_version.to_owned(),
        }
    }

    /// Tells whether an owner is another one, named by other evidence, or of other tags.
    #[must_use]
    pub fn is_of_another(&self, new: &NewOwner) -> bool {
        self.moves_to(new) || !self.tags.pairs().eq(new.tags.iter().map(|(key, value)| (key.as_str(), value.as_str())))
    }

    /// Tells whether an owner is another one in more than its tags.
    #[must_use]
    pub fn moves_to(&self, new: &NewOwner) -> bool {
        let texts = [self.agent_id, self.agent_evidence, self.agent_status, self.session_id, self.session_evidence, self.team];
        let status = new.agent_status.as_str();
        texts != [&new.agent_id, &new.agent_evidence, status, &new.session_id, &new.session_evidence, &new.team]
            || (self.agent_rank, self.session_rank) != (new.agent_rank as i32, new.session_rank as i32)
    }

    /// Tells whether a price is another one; the version alone does not count.
    #[must_use]
    pub fn differs(&self, new: &NewPrice) -> bool {
        self.cost != new.cost
            || self.cost_max != new.cost_max
            || self.priced != new.priced
            || self.model != new.model
            || self.scope != new.scope
    }
}

/// Text columns, in the order in which [`calls`] takes them.
const TEXTS: [&str; 21] = [
    "request_id",
    "account_id",
    "region",
    "inference_region",
    "operation",
    "model_id",
    "model",
    "price_scope",
    "service_tier",
    "error_code",
    "principal_arn",
    "agent_id",
    "session_id",
    "team",
    "extras",
    "cost_basis",
    "price_version",
    "agent_evidence",
    "agent_status",
    "session_evidence",
    "metadata",
];

/// Returns the calls of a batch of plain rows of `calls`.
pub(super) fn calls(batch: &RecordBatch) -> Result<Vec<StoredCall<'_>>, ArrowError> {
    let column = |name: &str| batch.column_by_name(name).ok_or_else(|| ArrowError::SchemaError(format!("no column {name}")));
    let text = |name: &str| column(name)?.as_string_opt::<i32>().ok_or_else(|| ArrowError::SchemaError(format!("{name} is not text")));
    let money = |name: &str| {
        column(name)?.as_primitive_opt::<Decimal128Type>().ok_or_else(|| ArrowError::SchemaError(format!("{name} is not money")))
    };
    let long =
        |name: &str| column(name)?.as_primitive_opt::<Int64Type>().ok_or_else(|| ArrowError::SchemaError(format!("{name} is not a count")));
    let times = column("event_time")?.as_primitive_opt::<TimestampMicrosecondType>();
    let times = times.ok_or_else(|| ArrowError::SchemaError("event_time is not a time".to_owned()))?;
    let priced = column("priced")?.as_boolean_opt().ok_or_else(|| ArrowError::SchemaError("priced is not a boolean".to_owned()))?;
    let rank =
        |name: &str| column(name)?.as_primitive_opt::<Int32Type>().ok_or_else(|| ArrowError::SchemaError(format!("{name} is not a rank")));
    let (agent_rank, session_rank) = (rank("agent_rank")?, rank("session_rank")?);
    let tags = column("tags")?.as_map_opt().ok_or_else(|| ArrowError::SchemaError("tags are not a map".to_owned()))?;
    let texts = TEXTS.iter().map(|name| text(name)).collect::<Result<Vec<_>, _>>()?;
    let tokens = tables::TOKENS.iter().map(|name| long(name)).collect::<Result<Vec<_>, _>>()?;
    let (cost, cost_max) = (money("cost_usd")?, money("cost_max_usd")?);
    let call = |row: usize| {
        let text = |at: usize| texts.get(at).filter(|column| column.is_valid(row)).map_or("", |column| column.value(row));
        let count = |at: usize| {
            tokens.get(at).filter(|column| column.is_valid(row)).map_or(0, |column| u64::try_from(column.value(row)).unwrap_or(0))
        };
        let amount = |column: &arrow::array::Decimal128Array| PicoUsd(if column.is_valid(row) { column.value(row) } else { 0 });
        StoredCall {
            event_time: Micros(times.value(row)),
            request_id: text(0),
            account_id: text(1),
            region: text(2),
            inference_region: text(3),
            operation: text(4),
            model_id: text(5),
            model: text(6),
            scope: text(7),
            service_tier: text(8),
            error_code: text(9),
            principal_arn: text(10),
            agent_id: text(11),
            session_id: text(12),
            team: text(13),
            extras: text(14),
            cost_basis: text(15),
            price_version: text(16),
            agent_evidence: text(17),
            agent_status: text(18),
            session_evidence: text(19),
            metadata: text(20),
            tags: Tags { map: tags, row },
            agent_rank: if agent_rank.is_valid(row) { agent_rank.value(row) } else { 0 },
            session_rank: if session_rank.is_valid(row) { session_rank.value(row) } else { 0 },
            usage: Usage { input: count(0), output: count(1), cache_read: count(2), cache_write_5m: count(3), cache_write_1h: count(4) },
            priced: priced.is_valid(row) && priced.value(row),
            cost: amount(cost),
            cost_max: amount(cost_max),
        }
    };
    Ok((0..batch.num_rows()).map(call).collect())
}
