//! Prices that come late: calls in the lake are rated again and every table follows, in one commit.
//!
//! Owns: which files are rewritten, the difference that goes into the spend tables, the rows of `corrections`. Does not own:
//! the new price; the caller gives it.

mod spend;
mod stored;

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Decimal128Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::error::ArrowError;
use sluice_schemas::{ErrorClass, Micros, PicoUsd, tables};

use crate::lake::{Lake, LakeError, LakeFile};
use spend::Differences;
pub use stored::StoredCall;

/// A price for a stored call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPrice {
    /// Cost.
    pub cost: PicoUsd,
    /// Upper bound of the cost.
    pub cost_max: PicoUsd,
    /// Whether there is a price.
    pub priced: bool,
    /// Canonical model.
    pub model: String,
    /// Price scope.
    pub scope: String,
    /// Version of the rate card.
    pub price_version: String,
}

/// What a correction came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct CorrectionReport {
    /// Calls looked at.
    pub calls: u64,
    /// Calls whose price changed.
    pub changed: u64,
    /// Calls that still have no price.
    pub still_unpriced: u64,
    /// Files rewritten.
    pub files: u64,
    /// Change of the total.
    pub difference_usd: PicoUsd,
}

/// Why a correction failed. Nothing is changed then.
#[derive(Debug, thiserror::Error)]
pub enum CorrectError {
    /// The lake refused.
    #[error("correct calls in the lake")]
    Lake(#[from] LakeError),
    /// Rows are not of the form of `calls`.
    #[error("rows are not calls")]
    Rows(#[from] ArrowError),
}

impl CorrectError {
    /// Returns what the caller is to do.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Lake(error) => error.class(),
            Self::Rows(_) => ErrorClass::Corrupt,
        }
    }
}

/// Rates calls again: `price` returns the new price of a call, or `None` to leave it alone.
///
/// # Errors
/// A file cannot be read or the lake refuses the commit.
pub fn correct_prices(
    lake: &mut Lake,
    now: Micros,
    dry_run: bool,
    reason: &str,
    price: &mut dyn FnMut(&StoredCall<'_>) -> Option<NewPrice>,
) -> Result<CorrectionReport, CorrectError> {
    let mut report = CorrectionReport::default();
    let mut differences = Differences::default();
    let mut replaced: Vec<LakeFile> = Vec::new();
    let mut epoch = lake.begin_epoch();
    for file in lake.files(tables::CALLS)? {
        let changed_before = report.changed;
        for batch in lake.read(tables::CALLS, &file, None)? {
            let batch = batch?;
            for call in stored::calls(&batch)? {
                let new = price(&call).filter(|new| call.differs(new));
                report.calls += 1;
                report.changed += u64::from(new.is_some());
                report.still_unpriced += u64::from(!new.map_or(call.priced, |new| new.priced));
            }
        }
        if report.changed == changed_before {
            continue;
        }
        report.files += 1;
        for batch in lake.read(tables::CALLS, &file, None)? {
            let batch = batch?;
            let (corrected, log) = correct_batch(&batch, now, reason, price, &mut differences, &mut report)?;
            if !dry_run {
                epoch.append(tables::CALLS, file.dt, corrected)?;
                if log.num_rows() > 0 {
                    epoch.append(tables::CORRECTIONS, file.dt, log)?;
                }
            }
        }
        replaced.push(file);
    }
    if dry_run || replaced.is_empty() {
        return Ok(report);
    }
    for (table, day, rows) in differences.rows()? {
        epoch.append(table, day, rows)?;
    }
    lake.replace(epoch.seal()?, &replaced, now)?;
    Ok(report)
}

fn correct_batch(
    batch: &RecordBatch,
    now: Micros,
    reason: &str,
    price: &mut dyn FnMut(&StoredCall<'_>) -> Option<NewPrice>,
    differences: &mut Differences,
    report: &mut CorrectionReport,
) -> Result<(RecordBatch, RecordBatch), CorrectError> {
    let calls = stored::calls(batch)?;
    let mut after: Vec<NewPrice> = Vec::with_capacity(calls.len());
    let mut changed = Vec::new();
    for (row, call) in calls.iter().enumerate() {
        let new = price(call).filter(|new| call.differs(new));
        if let Some(new) = &new {
            differences.add(call, new);
            report.difference_usd += new.cost - call.cost;
            changed.push(row);
        }
        after.push(new.unwrap_or_else(|| call.price()));
    }
    let money = |of: &dyn Fn(&NewPrice) -> PicoUsd| -> ArrayRef {
        Arc::new(Decimal128Array::from_iter_values(after.iter().map(|price| of(price).0)).with_data_type(tables::MONEY))
    };
    let text = |of: &dyn Fn(&NewPrice) -> &str| -> ArrayRef {
        Arc::new(after.iter().map(|price| Some(of(price)).filter(|text| !text.is_empty())).collect::<StringArray>())
    };
    let mut columns = batch.columns().to_vec();
    for (at, field) in batch.schema().fields().iter().enumerate() {
        columns[at] = match field.name().as_str() {
            "cost_usd" => money(&|price| price.cost),
            "cost_max_usd" => money(&|price| price.cost_max),
            "priced" => Arc::new(after.iter().map(|price| Some(price.priced)).collect::<BooleanArray>()),
            "model" => text(&|price| &price.model),
            "price_scope" => text(&|price| &price.scope),
            "price_version" => text(&|price| &price.price_version),
            _ => continue,
        };
    }
    let log = corrections(&calls, &after, &changed, now, reason)?;
    Ok((RecordBatch::try_new(batch.schema(), columns)?, log))
}

fn corrections(
    calls: &[StoredCall<'_>],
    after: &[NewPrice],
    changed: &[usize],
    now: Micros,
    reason: &str,
) -> Result<RecordBatch, ArrowError> {
    let schema = tables::schema(tables::CORRECTIONS).ok_or_else(|| ArrowError::SchemaError("corrections".to_owned()))?;
    let rows = || changed.iter().filter_map(|row| calls.get(*row).zip(after.get(*row)));
    let time = |of: &dyn Fn(&StoredCall<'_>) -> Micros| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from_iter_values(rows().map(|(call, _)| of(call).0)).with_timezone("UTC"))
    };
    let text = |of: &dyn Fn(&StoredCall<'_>, &NewPrice) -> String| -> ArrayRef {
        Arc::new(rows().map(|(call, new)| Some(of(call, new)).filter(|text| !text.is_empty())).collect::<StringArray>())
    };
    let money = |of: &dyn Fn(&StoredCall<'_>, &NewPrice) -> PicoUsd| -> ArrayRef {
        Arc::new(Decimal128Array::from_iter_values(rows().map(|(call, new)| of(call, new).0)).with_data_type(tables::MONEY))
    };
    let columns = schema.fields().iter().map(|field| match field.name().as_str() {
        "at" => time(&|_| now),
        "event_time" => time(&|call| call.event_time),
        "request_id" => text(&|call, _| call.request_id.to_owned()),
        "account_id" => text(&|call, _| call.account_id.to_owned()),
        "region" => text(&|call, _| call.region.to_owned()),
        "kind" => text(&|_, _| "price".to_owned()),
        "from_agent" | "to_agent" => text(&|call, _| call.agent_id.to_owned()),
        "from_session" | "to_session" => text(&|call, _| call.session_id.to_owned()),
        "cost_before_usd" => money(&|call, _| call.cost),
        "cost_after_usd" => money(&|_, new| new.cost),
        "price_version" => text(&|_, new| new.price_version.clone()),
        _ => text(&|_, _| reason.to_owned()),
    });
    RecordBatch::try_new(Arc::clone(&schema), columns.collect())
}
