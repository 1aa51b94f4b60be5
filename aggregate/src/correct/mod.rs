//! Prices that come late: calls in the lake are rated again, some files at a time, and every table follows in the same commit.
//!
//! Owns: which files are rewritten, the difference that goes into the spend tables, the rows of `corrections`. Does not own:
//! the new price, which the caller gives; budgets and windows, which the caller brings along before it commits.

mod spend;
mod stored;

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Decimal128Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use sluice_schemas::{ErrorClass, Micros, PicoUsd, tables};

use crate::lake::{EpochWriter, Lake, LakeError, LakeFile};
use crate::query::QueryError;
use crate::seed::{Spend, SpendOfRows};
use crate::windows::WindowError;
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
    /// Calls in the lake.
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

impl CorrectionReport {
    /// Adds what another step came to.
    pub fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.changed += other.changed;
        self.still_unpriced += other.still_unpriced;
        self.files += other.files;
        self.difference_usd += other.difference_usd;
    }
}

/// One step of a correction: some files of `calls`, and everything that follows from their new prices. Nothing of it is in the
/// lake before [`Lake::replace`] publishes the epoch in the place of the replaced files.
#[derive(Debug)]
pub struct Correction {
    /// What it came to.
    pub report: CorrectionReport,
    /// Corrected calls, a row of `corrections` for each, and the difference in the spend tables. `None` where nothing changed,
    /// or where nothing is to be written.
    pub epoch: Option<EpochWriter>,
    /// Files that the epoch's rows of `calls` take the place of.
    pub replaced: Vec<LakeFile>,
    /// The changed calls at their old price.
    pub before: Spend,
    /// The changed calls at their new price.
    pub after: Spend,
}

/// How a step is carried out.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// When.
    pub now: Micros,
    /// Look and count, write nothing.
    pub dry_run: bool,
    /// What the rows of `corrections` give as reason.
    pub reason: &'a str,
}

/// Tells the new price of a stored call; `None` leaves it as it is.
pub type Price<'a> = dyn FnMut(&StoredCall<'_>) -> Option<NewPrice> + 'a;

/// Is shown the calls that changed, at their new price.
pub type Changed<'a> = dyn FnMut(&RecordBatch) -> Result<(), WindowError> + 'a;

/// Why a correction failed. Nothing is changed then.
#[derive(Debug, thiserror::Error)]
pub enum CorrectError {
    /// The lake refused.
    #[error("correct calls in the lake")]
    Lake(#[from] LakeError),
    /// Rows are not of the form of `calls`.
    #[error("rows are not calls")]
    Rows(#[from] ArrowError),
    /// The spend of the calls cannot be told.
    #[error("the spend of stored calls cannot be told")]
    Spend(#[from] QueryError),
    /// A declared window cannot take the calls.
    #[error("a window cannot follow the correction")]
    Window(#[from] WindowError),
}

impl CorrectError {
    /// Returns what the caller is to do.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Lake(error) => error.class(),
            Self::Rows(_) => ErrorClass::Corrupt,
            Self::Spend(error) => error.class(),
            Self::Window(error) => error.class(),
        }
    }
}

/// Counts the calls of a file and those of them without a price, reading nothing else of it.
///
/// # Errors
/// The file cannot be read or is not of the form of `calls`.
pub fn count_calls(lake: &Lake, file: &LakeFile) -> Result<(u64, u64), CorrectError> {
    let (mut calls, mut unpriced) = (0, 0);
    for batch in lake.read(tables::CALLS, file, Some(&["priced"]))? {
        let batch = batch?;
        let priced = batch.column_by_name("priced").and_then(|column| column.as_boolean_opt());
        let priced = priced.ok_or_else(|| ArrowError::SchemaError("priced is not a boolean".to_owned()))?;
        calls += batch.num_rows() as u64;
        unpriced += (batch.num_rows() - priced.true_count()) as u64;
    }
    Ok((calls, unpriced))
}

/// Rates the calls of some files again, each once, and stages what follows.
///
/// # Errors
/// A file cannot be read, or the storage failed. Nothing is changed then.
pub fn correct_files(
    lake: &mut Lake,
    files: &[LakeFile],
    terms: Terms<'_>,
    price: &mut Price<'_>,
    changed: &mut Changed<'_>,
) -> Result<Correction, CorrectError> {
    let mut epoch = lake.begin_epoch();
    let mut step = Step::default();
    for file in files {
        // Batches before the first change: unchanged, and read again only if one follows.
        let (mut clean, mut dirty) = (0, false);
        for batch in lake.read(tables::CALLS, file, None)? {
            let batch = batch?;
            let rated = step.rate(&batch, terms, price, changed)?;
            if !dirty && rated.is_none() {
                clean += 1;
                continue;
            }
            if !dirty && !terms.dry_run {
                for early in lake.read(tables::CALLS, file, None)?.take(clean) {
                    epoch.append(tables::CALLS, file.dt, early?)?;
                }
            }
            dirty = true;
            let (corrected, log) = rated.unwrap_or_else(|| (batch, RecordBatch::new_empty(Arc::new(Schema::empty()))));
            if !terms.dry_run {
                epoch.append(tables::CALLS, file.dt, corrected)?;
                epoch.append(tables::CORRECTIONS, file.dt, log)?;
            }
        }
        if dirty {
            step.report.files += 1;
            step.replaced.push(file.clone());
        }
    }
    let Step { report, differences, replaced, before, after } = step;
    let mut staged = None;
    if !terms.dry_run && !replaced.is_empty() {
        for (table, day, rows) in differences.rows()? {
            epoch.append(table, day, rows)?;
        }
        staged = Some(epoch);
    }
    Ok(Correction { report, epoch: staged, replaced, before: before.finish(), after: after.finish() })
}

/// A step under way.
#[derive(Default)]
struct Step {
    report: CorrectionReport,
    differences: Differences,
    replaced: Vec<LakeFile>,
    before: SpendOfRows,
    after: SpendOfRows,
}

impl Step {
    /// Rates the calls of a batch; returns the corrected batch and its rows of `corrections`, or `None` where nothing changed.
    fn rate(
        &mut self,
        batch: &RecordBatch,
        terms: Terms<'_>,
        price: &mut Price<'_>,
        changed: &mut Changed<'_>,
    ) -> Result<Option<(RecordBatch, RecordBatch)>, CorrectError> {
        let calls = stored::calls(batch)?;
        let mut after: Vec<Option<NewPrice>> = Vec::with_capacity(calls.len());
        for call in &calls {
            let new = price(call).filter(|new| call.differs(new));
            self.report.calls += 1;
            self.report.changed += u64::from(new.is_some());
            self.report.still_unpriced += u64::from(!new.as_ref().map_or(call.priced, |new| new.priced));
            if let Some(new) = &new {
                self.differences.add(call, new);
                self.report.difference_usd += new.cost - call.cost;
            }
            after.push(new);
        }
        let rows: Vec<u32> = (0_u32..).zip(&after).filter(|(_, new)| new.is_some()).map(|(row, _)| row).collect();
        if rows.is_empty() {
            return Ok(None);
        }
        let (corrected, log) = correct_batch(batch, &calls, &after, &rows, terms)?;
        let rows = UInt32Array::from(rows);
        self.before.add(&take_record_batch(batch, &rows)?)?;
        let changed_rows = take_record_batch(&corrected, &rows)?;
        self.after.add(&changed_rows)?;
        changed(&changed_rows)?;
        Ok(Some((corrected, log)))
    }
}

fn correct_batch(
    batch: &RecordBatch,
    calls: &[StoredCall<'_>],
    new: &[Option<NewPrice>],
    changed: &[u32],
    terms: Terms<'_>,
) -> Result<(RecordBatch, RecordBatch), ArrowError> {
    let after: Vec<NewPrice> = calls.iter().zip(new).map(|(call, new)| new.clone().unwrap_or_else(|| call.price())).collect();
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
    let log = corrections(calls, &after, changed, terms)?;
    Ok((RecordBatch::try_new(batch.schema(), columns)?, log))
}

fn corrections(calls: &[StoredCall<'_>], after: &[NewPrice], changed: &[u32], terms: Terms<'_>) -> Result<RecordBatch, ArrowError> {
    let schema = tables::schema(tables::CORRECTIONS).ok_or_else(|| ArrowError::SchemaError("corrections".to_owned()))?;
    let rows = || changed.iter().filter_map(|row| calls.get(*row as usize).zip(after.get(*row as usize)));
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
        "at" => time(&|_| terms.now),
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
        _ => text(&|_, _| terms.reason.to_owned()),
    });
    RecordBatch::try_new(Arc::clone(&schema), columns.collect())
}
