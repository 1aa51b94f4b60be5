//! Where rows go, and those of `breaches` and `actions`.

use std::sync::{Arc, PoisonError};

use arrow::array::{ArrayRef, Decimal128Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::error::ArrowError;
use sluice_enforce::Crossing;
use sluice_enforce::audit::Versions;
use sluice_enforce::store::AuditEntry;
use sluice_schemas::breach::Breach;
use sluice_schemas::{Micros, PicoUsd, tables};

use super::Pipeline;
use super::worker::Rows;
use crate::view::Level;

/// Lines of the audit trail taken at once.
const AUDIT_LINES: usize = 1_000;

impl Pipeline {
    /// Notes a crossing: a row, unless it has one, and a line for people. Where nothing is to be done about it, it is settled.
    pub(super) fn record_breach(&mut self, crossing: &Crossing, now: Micros) -> anyhow::Result<()> {
        let breach = &crossing.breach;
        if !self.settings.act {
            self.ledger.settle(&breach.fire_id);
        }
        if !self.recorded.insert(breach.fire_id.clone()) {
            return Ok(());
        }
        self.meter.breached();
        let rows = breach_rows(std::slice::from_ref(breach), &self.versions)?;
        self.keep_rows(Rows::Plain(tables::BREACHES.to_owned(), breach.event_time.day(), rows))?;
        let level = if crossing.hold.is_some() { Level::Alarm } else { Level::Warn };
        let (limit, spent) = (breach.limit_usd.shown(2), breach.spent_usd.shown(4));
        let happened = breach.explanation.as_ref().map_or_else(
            || format!("{} crossed {} of {limit} ({spent} spent)", breach.target, breach.threshold),
            |seen| format!("{} {seen}", breach.target),
        );
        let text = format!("{}: {happened} → {}", breach.budget, breach.actions.join(", "));
        self.live.event(now, level, text);
        self.breaches.push(breach.clone());
        Ok(())
    }

    /// Notes which policy and prices are in force: rows and audit lines from here on name them.
    pub(super) fn note_versions(&mut self) {
        let prices = self.enricher.read().unwrap_or_else(PoisonError::into_inner).catalogue().version().to_owned();
        self.versions = Versions { policy: self.ledger.budgets().version(), prices };
        self.shared.set_versions(self.versions.clone());
    }

    /// Takes new lines of the audit trail over into `actions`; the rows already there tell which are new.
    pub(super) fn record_actions(&mut self) -> anyhow::Result<()> {
        loop {
            let lines = self.shared.audit_trail(self.audit_seen, AUDIT_LINES)?;
            let Some((last, _)) = lines.last() else {
                return Ok(());
            };
            let last = *last;
            let mut by_day: std::collections::BTreeMap<i32, Vec<(u64, AuditEntry)>> = std::collections::BTreeMap::new();
            for (number, entry) in lines {
                self.meter.acted(&entry.action, &entry.state);
                by_day.entry(entry.at.day()).or_default().push((number, entry));
            }
            for (day, entries) in by_day {
                self.keep_rows(Rows::Plain(tables::ACTIONS.to_owned(), day, action_rows(&entries)?))?;
            }
            self.audit_seen = last;
        }
    }
}

fn times(values: impl Iterator<Item = Option<Micros>>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_iter(values.map(|at| at.map(|at| at.0))).with_timezone("UTC"))
}

fn money(values: impl Iterator<Item = Option<PicoUsd>>) -> ArrayRef {
    Arc::new(Decimal128Array::from_iter(values.map(|amount| amount.map(|amount| amount.0))).with_data_type(tables::MONEY))
}

fn texts<'a>(values: impl Iterator<Item = &'a str>) -> ArrayRef {
    Arc::new(values.map(Some).collect::<StringArray>())
}

fn schema(table: &str) -> Result<arrow::datatypes::SchemaRef, ArrowError> {
    tables::schema(table).ok_or_else(|| ArrowError::SchemaError(format!("no table {table}")))
}

fn breach_rows(breaches: &[Breach], versions: &Versions) -> Result<RecordBatch, ArrowError> {
    let rows = || breaches.iter();
    let actions: Vec<String> = rows().map(|breach| breach.actions.join(",")).collect();
    let columns: Vec<ArrayRef> = vec![
        times(rows().map(|breach| Some(breach.event_time))),
        times(rows().map(|breach| Some(breach.detected_at))),
        texts(rows().map(|breach| breach.fire_id.as_str())),
        texts(rows().map(|breach| breach.budget.as_str())),
        texts(rows().map(|breach| breach.target.as_str())),
        texts(rows().map(|breach| breach.period.as_str())),
        texts(rows().map(|breach| breach.threshold.as_str())),
        texts(rows().map(|breach| breach.mode.as_str())),
        times(rows().map(|breach| Some(breach.period_start))),
        times(rows().map(|breach| breach.period_end)),
        money(rows().map(|breach| Some(breach.limit_usd))),
        money(rows().map(|breach| Some(breach.spent_usd))),
        money(rows().map(|breach| breach.projected_usd)),
        Arc::new(Int64Array::from_iter_values(rows().map(|breach| i64::try_from(breach.unpriced_calls).unwrap_or(i64::MAX)))),
        texts(actions.iter().map(String::as_str)),
        texts(rows().map(|_| versions.policy.as_str())),
        texts(rows().map(|_| versions.prices.as_str())),
        Arc::new(rows().map(|breach| breach.explanation.as_deref()).collect::<StringArray>()),
    ];
    RecordBatch::try_new(schema(tables::BREACHES)?, columns)
}

fn action_rows(lines: &[(u64, AuditEntry)]) -> Result<RecordBatch, ArrowError> {
    let rows = || lines.iter().map(|(_, entry)| entry);
    let given = |text: fn(&AuditEntry) -> &str| -> ArrayRef {
        let value = |entry| Some(text(entry)).filter(|text: &&str| !text.is_empty());
        Arc::new(rows().map(value).collect::<StringArray>())
    };
    let requests: Vec<Option<String>> =
        rows().map(|entry| (!entry.requests.is_empty()).then(|| serde_json::Value::from(entry.requests.clone()).to_string())).collect();
    let columns: Vec<ArrayRef> = vec![
        times(rows().map(|entry| Some(entry.at))),
        texts(rows().map(|entry| entry.fire_id.as_str())),
        texts(rows().map(|entry| entry.action.as_str())),
        texts(rows().map(|entry| entry.target.as_str())),
        texts(rows().map(|entry| entry.state.as_str())),
        texts(rows().map(|entry| entry.actor.as_str())),
        texts(rows().map(|entry| entry.detail.as_str())),
        Arc::new(Int64Array::from_iter_values(lines.iter().map(|(number, _)| i64::try_from(*number).unwrap_or(i64::MAX)))),
        given(|entry| &entry.inputs),
        given(|entry| &entry.policy_version),
        given(|entry| &entry.price_version),
        Arc::new(StringArray::from(requests)),
        given(|entry| &entry.prev),
        given(|entry| &entry.hash),
    ];
    RecordBatch::try_new(schema(tables::ACTIONS)?, columns)
}
