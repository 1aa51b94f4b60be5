//! Arrow schemas of the lake's tables. `dt` (event date, UTC, `YYYY-MM-DD`) is a partition of every table and not a
//! column of its files.
//!
//! Money is `Decimal128(38, 12)`, time is `Timestamp(µs, UTC)`; both are read alike by Athena, Spark, DuckDB and delta-rs.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};

/// Name of the partition column.
pub const PARTITION: &str = "dt";
/// One row for each call: the root table, which every other one is derived from.
pub const CALLS: &str = "calls";
/// Additive spend by minute, account, region, agent, model and team.
pub const SPEND_MINUTE: &str = "spend_minute";
/// Additive spend by hour, with the keys of [`SPEND_MINUTE`].
pub const SPEND_HOUR: &str = "spend_hour";
/// Additive spend by day, with principal and session beside the keys of [`SPEND_MINUTE`].
pub const SPEND_DAY: &str = "spend_day";
/// Additive spend by session, with the minute of the first call and the time of the last one seen.
pub const SPEND_SESSION: &str = "spend_session";
/// Records that could not be read.
pub const REJECTED: &str = "rejected";
/// Thresholds crossed.
pub const BREACHES: &str = "breaches";
/// What was done about breaches, and what people ordered.
pub const ACTIONS: &str = "actions";
/// Moves of cost between owners, and re-ratings.
pub const CORRECTIONS: &str = "corrections";

/// CloudTrail events and spans that say who called, one row an event.
pub const EVIDENCE: &str = "evidence";
/// What AWS said about inference profiles, principals, runtimes, agents and registry records, one row whenever it changed.
pub const DIRECTORY: &str = "directory";

/// Every built-in table, the root first.
pub const ALL: [&str; 11] =
    [CALLS, SPEND_MINUTE, SPEND_HOUR, SPEND_DAY, SPEND_SESSION, REJECTED, BREACHES, ACTIONS, CORRECTIONS, EVIDENCE, DIRECTORY];

/// Type of a money column.
pub const MONEY: DataType = DataType::Decimal128(38, 12);

/// Type of a time column.
#[must_use]
pub fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from("UTC")))
}

/// Type of a `map<string,string>` column.
#[must_use]
pub fn string_map() -> DataType {
    let entry = Fields::from(vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Utf8, true)]);
    DataType::Map(Arc::new(Field::new("key_value", DataType::Struct(entry), false)), false)
}

fn text(name: &str) -> Field {
    Field::new(name, DataType::Utf8, true)
}
fn long(name: &str) -> Field {
    Field::new(name, DataType::Int64, true)
}
fn time(name: &str) -> Field {
    Field::new(name, timestamp(), true)
}
fn money(name: &str) -> Field {
    Field::new(name, MONEY, true)
}

/// Returns the file schema (without `dt`) of a built-in table, or `None` for an unknown name.
#[must_use]
pub fn schema(table: &str) -> Option<SchemaRef> {
    let fields = match table {
        CALLS => calls(),
        SPEND_MINUTE => spend(vec![time("minute")], &[]),
        SPEND_HOUR => spend(vec![time("hour")], &[]),
        SPEND_DAY => spend(Vec::new(), &["principal_arn", "session_id"]),
        SPEND_SESSION => spend(vec![time("first_event"), time("last_event")], &["principal_arn", "session_id"]),
        REJECTED => rejected(),
        BREACHES => breaches(),
        ACTIONS => actions(),
        CORRECTIONS => corrections(),
        EVIDENCE => evidence(),
        DIRECTORY => directory(),
        _ => return None,
    };
    Some(Arc::new(Schema::new(fields)))
}

fn calls() -> Vec<Field> {
    let mut fields = vec![time("event_time"), text("request_id")];
    fields.extend(CALL_TEXTS.map(text));
    fields.push(Field::new("tags", string_map(), true));
    fields.extend(["agent_rank", "session_rank"].map(|name| Field::new(name, DataType::Int32, true)));
    fields.extend(TOKENS.map(long));
    fields.push(long("latency_ms"));
    fields.extend([money("cost_usd"), money("cost_max_usd")]);
    fields.extend(["cost_basis", "price_version"].map(text));
    fields.push(Field::new("priced", DataType::Boolean, true));
    // Units beside tokens as JSON, so that a call can be rated again when a price arrives; null for tokens alone.
    fields.push(text("extras"));
    fields.push(text("source"));
    fields.push(time("ingest_time"));
    fields
}

/// Text columns of `calls` that are the same for all calls of a profile, in table order.
pub const CALL_TEXTS: [&str; 19] = [
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
    "role",
    "role_session_name",
    "agent_id",
    "agent_evidence",
    "agent_status",
    "session_id",
    "session_evidence",
    "team",
    "metadata",
];

/// Token columns of every table, in the order of [`crate::Usage`].
pub const TOKENS: [&str; 5] = ["input_tokens", "output_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens"];

fn spend(mut fields: Vec<Field>, more_keys: &[&str]) -> Vec<Field> {
    fields.extend(["account_id", "region", "agent_id", "model", "team"].map(text));
    fields.extend(more_keys.iter().copied().map(text));
    fields.extend(["calls", "errors", "unpriced_calls"].map(long));
    fields.extend(TOKENS.map(long));
    fields.extend([money("cost_usd"), money("cost_max_usd")]);
    fields
}

fn rejected() -> Vec<Field> {
    vec![
        time("ingest_time"),
        text("source"),
        long("offset"),
        text("sequence"),
        text("reason"),
        text("detail"),
        long("bytes"),
        text("sha256"),
        Field::new("raw", DataType::Binary, true),
    ]
}

fn breaches() -> Vec<Field> {
    let mut fields = vec![time("event_time"), time("detected_at")];
    fields.extend(["fire_id", "budget", "target", "period", "threshold", "mode"].map(text));
    fields.extend([time("period_start"), time("period_end")]);
    fields.extend(["limit_usd", "spent_usd", "projected_usd"].map(money));
    fields.push(long("unpriced_calls"));
    fields.push(text("actions"));
    fields.extend(["policy_version", "price_version"].map(text));
    // What was seen where a rule was broken; null where a limit was crossed.
    fields.push(text("explanation"));
    fields
}

fn actions() -> Vec<Field> {
    let mut fields = vec![time("at")];
    fields.extend(["fire_id", "action", "target", "state", "actor", "detail"].map(text));
    // Number of the line in the audit trail of the shared store; null in rows from before lines had hashes.
    fields.push(long("line"));
    // `inputs` is a JSON object, `requests` a JSON list.
    fields.extend(["inputs", "policy_version", "price_version", "requests", "prev", "hash"].map(text));
    fields
}

fn corrections() -> Vec<Field> {
    let mut fields = vec![time("at"), time("event_time")];
    fields.extend(["request_id", "account_id", "region", "kind", "from_agent", "to_agent", "from_session", "to_session"].map(text));
    fields.extend([money("cost_before_usd"), money("cost_after_usd")]);
    fields.extend(["price_version", "reason"].map(text));
    fields
}

/// Text columns of `evidence`, in table order.
pub const EVIDENCE_TEXTS: [&str; 19] = [
    "event_source",
    "event_name",
    "account_id",
    "region",
    "error_code",
    "identity_type",
    "principal_arn",
    "principal_id",
    "access_key_id",
    "issuer_arn",
    "source_identity",
    "credentials_issued_to",
    "invoked_by",
    "user_agent",
    "model_id",
    "inference_region",
    "resource_arn",
    // JSON of the session that the event opens, of what it invoked, of further resources; null where there is none.
    "assumed",
    "invoked",
];

fn evidence() -> Vec<Field> {
    let mut fields = vec![time("event_time")];
    fields.extend(["event_id", "request_id"].map(text));
    fields.extend(EVIDENCE_TEXTS.map(text));
    fields.push(Field::new("bearer_token", DataType::Boolean, true));
    fields.extend(["input_tokens", "output_tokens"].map(long));
    fields.push(text("source"));
    fields.push(time("ingest_time"));
    fields
}

fn directory() -> Vec<Field> {
    let mut fields = vec![time("seen_at")];
    fields.extend(["kind", "arn", "name"].map(text));
    fields.push(Field::new("deleted", DataType::Boolean, true));
    fields.push(Field::new("tags", string_map(), true));
    // The whole entry as JSON.
    fields.push(text("entry"));
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_has_a_schema_with_unique_names() {
        for table in ALL {
            let schema = schema(table).unwrap_or_else(|| panic!("{table} has no schema"));
            let mut names: Vec<_> = schema.fields().iter().map(|field| field.name().clone()).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), schema.fields().len(), "{table}");
            assert!(schema.column_with_name(PARTITION).is_none(), "{table}");
        }
        assert!(super::schema("unknown").is_none());
    }
}
