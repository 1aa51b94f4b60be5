//! What changes of some calls, for the lake and for counters that may be ahead of it.

use std::sync::Arc;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{cast, take_record_batch};
use arrow::datatypes::{DataType, Schema};
use arrow::error::ArrowError;

use super::stored::StoredCall;
use super::{Change, CorrectError, Decide, NewOwner, rows, stored};
use crate::seed::{Spend, SpendOfRows};

/// Decisions on the calls of a batch.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Rows of which something changes in the lake.
    pub(super) rows: Vec<(u32, Change)>,
    /// Rows that the counters have under another owner than the lake: that owner.
    ahead: Vec<(u32, Change)>,
    /// Rows of which something changes for the counters.
    counted: Vec<u32>,
    /// Those that are still there afterwards.
    kept: Vec<u32>,
}

impl Changes {
    /// Asks about each call.
    pub(super) fn decide(calls: &[StoredCall<'_>], decide: &mut Decide<'_>) -> Self {
        let mut changes = Self::default();
        for (row, call) in (0_u32..).zip(calls) {
            let Some(mut change) = decide(call).map(|change| change.against(call)) else { continue };
            if change.counts(call) {
                changes.counted.push(row);
                changes.kept.extend(change.removed.is_none().then_some(row));
            }
            changes.ahead.extend(change.counted.take().map(|owner| (row, Change::from(owner))));
            if change.is_some() {
                changes.rows.push((row, change));
            }
        }
        changes
    }

    /// Adds the spend of what counters have to follow, as they have it and as it is to be; returns the rows as they are to be.
    pub(super) fn follow(
        &self,
        batch: &RecordBatch,
        calls: &[StoredCall<'_>],
        before: &mut SpendOfRows,
        after: &mut SpendOfRows,
    ) -> Result<RecordBatch, CorrectError> {
        let with = |rows: &[(u32, Change)]| if rows.is_empty() { Ok(batch.clone()) } else { rows::corrected(batch, calls, rows) };
        let corrected = with(&self.rows)?;
        if !self.counted.is_empty() {
            before.add(&take(&with(&self.ahead)?, &self.counted)?)?;
            after.add(&take(&corrected, &self.kept)?)?;
        }
        Ok(corrected)
    }
}

fn take(batch: &RecordBatch, rows: &[u32]) -> Result<RecordBatch, ArrowError> {
    take_record_batch(batch, &UInt32Array::from_iter_values(rows.iter().copied()))
}

/// Calls that get another owner, or other tags, without the lake being touched.
#[derive(Debug, Default)]
pub struct Moved {
    before: SpendOfRows,
    after: SpendOfRows,
    /// The calls of which something changed, as they are now.
    pub rows: Vec<RecordBatch>,
    /// How many of them moved: other tags alone are no move.
    pub calls: u64,
}

impl Moved {
    /// Asks whose some rows of `calls` are, in the form in which they wait for the lake or in which a file holds them; those that have
    /// another owner are added.
    ///
    /// # Errors
    /// The rows are not of the form of `calls`.
    pub fn add(
        &mut self,
        batch: &RecordBatch,
        rows: &[u32],
        owner_of: &mut dyn FnMut(&StoredCall<'_>) -> Option<NewOwner>,
    ) -> Result<(), CorrectError> {
        let batch = plain(&take(batch, rows)?)?;
        let calls = stored::calls(&batch)?;
        let changes = Changes::decide(&calls, &mut |call| owner_of(call).map(Change::from));
        let corrected = changes.follow(&batch, &calls, &mut self.before, &mut self.after)?;
        if !changes.rows.is_empty() {
            let moves = |(row, change): &&(u32, Change)| calls.get(*row as usize).is_some_and(|call| change.moves(call));
            self.calls += changes.rows.iter().filter(moves).count() as u64;
            self.rows.push(take(&corrected, &changes.counted)?);
        }
        Ok(())
    }

    /// Returns the spend of the calls under the owners they had, and under those they have now.
    #[must_use]
    pub fn spend(self) -> (Spend, Spend) {
        (self.before.finish(), self.after.finish())
    }
}

/// Gives columns of repeated texts the type that a file gives them.
fn plain(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        if let DataType::Dictionary(_, plain) = column.data_type() {
            columns.push(cast(column, plain)?);
            fields.push(Arc::new(field.as_ref().clone().with_data_type(plain.as_ref().clone())));
        } else {
            columns.push(Arc::clone(column));
            fields.push(Arc::clone(field));
        }
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}
