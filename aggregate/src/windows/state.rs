//! Partial rows of one window: batches in order of arrival, merged so that there are always few of them.

use datafusion::arrow::array::{Array, ArrayRef, RecordBatch, StringArray, new_null_array};
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::DataType;

use super::aggregation::{Aggregation, RunError};

/// More batches than this are merged.
const MAX_BATCHES: usize = 8;
/// Key that stands for all groups beyond a window's cap.
pub const OVERFLOW_KEY: &str = "__overflow__";

/// State of one window.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    batches: Vec<RecordBatch>,
    /// Every row of the window since its start is in here.
    pub(super) whole: bool,
    /// Its rows were, or will be, published as final.
    pub(super) closed: bool,
}

/// How groups of a window are kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keeping {
    /// Groups a window may have; later ones are folded into [`OVERFLOW_KEY`], so that totals stay exact.
    pub(super) max_groups: usize,
    /// Which group column is the start of the window.
    pub(super) start_column: usize,
}

impl State {
    /// Returns the state of a window without rows.
    pub(super) const fn new(whole: bool) -> Self {
        Self { batches: Vec::new(), whole, closed: false }
    }

    /// Returns the bytes of its rows.
    pub(super) fn bytes(&self) -> usize {
        self.batches.iter().map(bytes).sum()
    }

    /// Returns its rows; a group may have several.
    pub(super) fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// Adds partial rows, which must own their buffers.
    pub(super) fn append(&mut self, rows: RecordBatch, aggregation: &Aggregation, keeping: Keeping) -> Result<(), RunError> {
        self.batches.push(rows);
        if self.rows() > keeping.max_groups.saturating_add(keeping.max_groups / 2) {
            self.batches = self.merged(aggregation, keeping)?;
        } else if self.batches.len() > MAX_BATCHES {
            let from = merge_from(&self.batches);
            let tail = aggregation.merge(self.batches.split_off(from))?;
            self.batches.push(concat_batches(aggregation.state_schema(), &tail)?);
        }
        Ok(())
    }

    /// Returns its rows with one for each group, groups beyond the cap folded into one.
    pub(super) fn merged(&self, aggregation: &Aggregation, keeping: Keeping) -> Result<Vec<RecordBatch>, RunError> {
        if self.batches.is_empty() {
            return Ok(Vec::new());
        }
        let schema = aggregation.state_schema();
        let merged = concat_batches(schema, &aggregation.merge(self.batches.clone())?)?;
        if merged.num_rows() <= keeping.max_groups {
            return Ok(vec![merged]);
        }
        // Groups come out in the order in which they were first seen, so those already kept stay kept.
        let head = merged.slice(0, keeping.max_groups);
        let tail = fold_keys(&merged.slice(keeping.max_groups, merged.num_rows() - keeping.max_groups), aggregation, keeping)?;
        Ok(vec![concat_batches(schema, &aggregation.merge(vec![head, tail])?)?])
    }
}

/// Returns where the run of batches starts that is merged next: sizes stay geometric, so that each row is merged
/// a logarithmic number of times.
fn merge_from(batches: &[RecordBatch]) -> usize {
    let mut after: usize = batches.iter().map(RecordBatch::num_rows).sum();
    for (index, batch) in batches.iter().enumerate() {
        after -= batch.num_rows();
        if batch.num_rows() <= after {
            return index;
        }
    }
    batches.len().saturating_sub(2)
}

fn fold_keys(rows: &RecordBatch, aggregation: &Aggregation, keeping: Keeping) -> Result<RecordBatch, RunError> {
    let columns = rows.columns().iter().enumerate().map(|(index, column)| -> ArrayRef {
        if index == keeping.start_column || index >= aggregation.group_count() {
            return column.clone();
        }
        match column.data_type() {
            DataType::Utf8 => std::sync::Arc::new(StringArray::from_iter_values(std::iter::repeat_n(OVERFLOW_KEY, rows.num_rows()))),
            other => new_null_array(other, rows.num_rows()),
        }
    });
    Ok(RecordBatch::try_new(rows.schema(), columns.collect())?)
}

/// Returns the bytes a batch takes when it is written, whatever larger buffers it is cut from.
pub(super) fn bytes(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(|column| column.to_data().get_slice_memory_size().unwrap_or_else(|_| column.get_array_memory_size())).sum()
}
