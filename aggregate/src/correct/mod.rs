//! Prices and owners that come late: calls in the lake are corrected, some files at a time, and every table follows in the same commit.
//!
//! Owns: which files are rewritten, the difference that goes into the spend tables, the rows of `corrections`. Does not own:
//! the new price or owner, which the caller gives; budgets and windows, which the caller brings along before it commits.

mod change;
mod changes;
mod rows;
mod spend;
mod stored;

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use sluice_schemas::{ErrorClass, Micros, PicoUsd, tables};

use crate::lake::{EpochWriter, Lake, LakeError, LakeFile};
use crate::query::QueryError;
use crate::seed::{Spend, SpendOfRows};
use crate::windows::WindowError;
pub use change::{Change, NewOwner, NewPrice};
use changes::Changes;
pub use changes::Moved;
use spend::Differences;
pub use stored::{StoredCall, Tags};

/// What a correction came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct CorrectionReport {
    /// Calls in the lake.
    pub calls: u64,
    /// Calls whose price or owner changed.
    pub changed: u64,
    /// Those whose owner, or what names it, changed: more tags alone are no move.
    pub moved: u64,
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
        self.moved += other.moved;
        self.still_unpriced += other.still_unpriced;
        self.files += other.files;
        self.difference_usd += other.difference_usd;
    }
}

/// One step of a correction: some files of `calls`, and everything that follows from their new prices and owners. Nothing of it is in the
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
    /// The changed calls as they were.
    pub before: Spend,
    /// The changed calls as they are now.
    pub after: Spend,
}

/// How a step is carried out.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// When.
    pub now: Micros,
    /// Look and count, write nothing.
    pub dry_run: bool,
    /// What the rows of `corrections` give as reason for another price; for another owner it is the evidence.
    pub reason: &'a str,
}

/// Tells what becomes of a stored call; `None` leaves it as it is.
pub type Decide<'a> = dyn FnMut(&StoredCall<'_>) -> Option<Change> + 'a;

/// Is shown the calls that changed, as they are now.
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

/// Decides on the calls of some files again, each once, and stages what follows in an epoch that was just begun.
///
/// # Errors
/// A file cannot be read, or the storage failed. Nothing is changed then.
pub fn correct_files(
    lake: &Lake,
    mut epoch: EpochWriter,
    files: &[LakeFile],
    terms: Terms<'_>,
    decide: &mut Decide<'_>,
    changed: &mut Changed<'_>,
) -> Result<Correction, CorrectError> {
    let mut step = Step::default();
    for file in files {
        // Batches before the first change: unchanged, and read again only if one follows.
        let (mut clean, mut dirty) = (0, false);
        for batch in lake.read(tables::CALLS, file, None)? {
            let batch = batch?;
            let rated = step.correct(&batch, terms, decide, changed)?;
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
    /// Corrects the calls of a batch; returns the corrected batch and its rows of `corrections`, or `None` where nothing changed.
    fn correct(
        &mut self,
        batch: &RecordBatch,
        terms: Terms<'_>,
        decide: &mut Decide<'_>,
        changed: &mut Changed<'_>,
    ) -> Result<Option<(RecordBatch, RecordBatch)>, CorrectError> {
        let calls = stored::calls(batch)?;
        let changes = Changes::decide(&calls, decide);
        self.report.calls += calls.len() as u64;
        self.report.still_unpriced += calls.iter().filter(|call| !call.priced).count() as u64;
        for (row, change) in &changes.rows {
            let Some(call) = calls.get(*row as usize) else { continue };
            self.note(call, change);
        }
        let corrected = changes.follow(batch, &calls, &mut self.before, &mut self.after)?;
        let Changes { rows, .. } = changes;
        if rows.is_empty() {
            return Ok(None);
        }
        let log = rows::corrections(&calls, &rows, terms)?;
        changed(&take_record_batch(&corrected, &UInt32Array::from_iter_values(rows.iter().map(|(row, _)| *row)))?)?;
        Ok(Some((rows::without_removed(&corrected, &rows)?, log)))
    }

    /// Counts a change.
    fn note(&mut self, call: &StoredCall<'_>, change: &Change) {
        self.report.changed += 1;
        self.report.moved += u64::from(change.moves(call));
        if let Some(price) = &change.price {
            self.report.still_unpriced = self.report.still_unpriced + u64::from(!price.priced) - u64::from(!call.priced);
        }
        self.report.difference_usd += match (&change.removed, &change.price) {
            (Some(_), _) => PicoUsd::ZERO - call.cost,
            (None, price) => price.as_ref().map_or(PicoUsd::ZERO, |price| price.cost - call.cost),
        };
        self.differences.add(call, change);
    }
}
