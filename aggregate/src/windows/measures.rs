//! Counts and amounts of a batch, and what they come to: exact, and refused where a sum could leave its type.

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{Decimal128Type, Int64Type};

use super::deltas::{AMOUNTS, COUNTS};
use super::rollup::RollupError;

/// Sums over all deltas of an epoch: they bound every sum over some of them.
pub(super) type Totals = [i128; COUNTS.len() + AMOUNTS.len()];

/// Columns of the measures of a batch.
pub(super) type MeasureColumns<'a> = ([&'a [i64]; COUNTS.len()], [&'a [i128]; AMOUNTS.len()]);

pub(super) fn measures(batch: &RecordBatch) -> Result<MeasureColumns<'_>, RollupError> {
    let (mut counts, mut amounts) = MeasureColumns::default();
    for (name, values) in COUNTS.into_iter().zip(&mut counts) {
        let column = column(batch, name)?.as_primitive_opt::<Int64Type>().filter(|column| column.null_count() == 0);
        *values = column.ok_or_else(|| wrong(name))?.values();
    }
    for (name, values) in AMOUNTS.into_iter().zip(&mut amounts) {
        let column = column(batch, name)?.as_primitive_opt::<Decimal128Type>().filter(|column| column.null_count() == 0);
        *values = column.ok_or_else(|| wrong(name))?.values();
    }
    Ok((counts, amounts))
}

pub(super) fn add_up(batch: &RecordBatch, totals: Totals) -> Result<Totals, RollupError> {
    let (counts, amounts) = measures(batch)?;
    total(&counts, &amounts, totals)
}

/// Adds columns to totals, refusing negative counts and totals beyond the type of a table's column.
pub(super) fn total(counts: &[&[i64]], amounts: &[&[i128]], mut totals: Totals) -> Result<Totals, RollupError> {
    let out_of_range = |name: &str| RollupError::Overflow { column: name.to_owned() };
    let (whole, money) = totals.split_at_mut(COUNTS.len());
    for ((total, values), name) in whole.iter_mut().zip(counts).zip(COUNTS) {
        let negative = values.iter().any(|&value| value < 0);
        *total += values.iter().map(|&value| i128::from(value)).sum::<i128>();
        if negative || *total > i128::from(i64::MAX) {
            return Err(out_of_range(name));
        }
    }
    for ((total, values), name) in money.iter_mut().zip(amounts).zip(AMOUNTS) {
        for &value in *values {
            let sum = sluice_schemas::PicoUsd(*total).checked_add(sluice_schemas::PicoUsd(value));
            *total = sum.filter(|_| value >= 0).ok_or_else(|| out_of_range(name))?.0;
        }
    }
    Ok(totals)
}

pub(super) fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef, RollupError> {
    batch.column_by_name(name).ok_or_else(|| wrong(name))
}

pub(super) fn wrong(name: &str) -> RollupError {
    RollupError::Column { column: name.to_owned() }
}
