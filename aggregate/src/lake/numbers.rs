//! Columns of numbers to pages: a dictionary where values repeat, the values as they are where they do not.
//!
//! Source of the form: the Apache Parquet project's "Encodings", Plain and Dictionary.

use std::hash::Hash;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray};
use arrow::datatypes::{DataType, Decimal128Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use parquet::file::statistics::Statistics;

use super::chunk::{DataPage, Pages};
use super::hybrid;
use super::text::Levels;

/// Values of a page.
const PAGE: usize = 16_384;
/// Values after which a column that has hardly repeated yet is taken for one that does not.
const SAMPLE: usize = 256;
/// A dictionary is given up when more than one value in so many is a new one.
const REPEATS: usize = 3;
/// Distinct values that any column may have.
const FEW: usize = 16;
/// Bytes of a decimal of up to 38 digits.
const WIDE: usize = 16;
/// Digits from which a decimal takes [`WIDE`] bytes.
const WIDE_DIGITS: u8 = 37;

/// Encodes a column of whole numbers, times or wide decimals; `None` leaves the column to the Parquet crate.
pub(crate) fn number_pages(kind: &DataType, parts: &[ArrayRef]) -> Option<Pages> {
    match kind {
        DataType::Int64 => Some(pages(&Values::<Int64Type>::of(parts)?, i64::to_le_bytes)),
        DataType::Decimal128(digits, _) if *digits >= WIDE_DIGITS => {
            Some(pages::<Decimal128Type, WIDE>(&Values::of(parts)?, i128::to_be_bytes))
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let times = Values::<TimestampMicrosecondType>::of(parts)?;
            let range = times.values.iter().fold(None, |range: Option<(i64, i64)>, &time| {
                Some(range.map_or((time, time), |(first, last)| (first.min(time), last.max(time))))
            });
            let mut pages = pages(&times, i64::to_le_bytes);
            let nulls = Some((times.rows() - times.values.len()) as u64);
            pages.statistics = range.map(|(first, last)| Statistics::int64(Some(first), Some(last), None, nulls, false));
            Some(pages)
        }
        _ => None,
    }
}

/// Values of a column without its nulls.
struct Values<T: ArrowPrimitiveType> {
    values: Vec<T::Native>,
    /// Whether each row has a value; empty when all have.
    present: Vec<bool>,
}

impl<T: ArrowPrimitiveType> Values<T> {
    fn of(parts: &[ArrayRef]) -> Option<Self> {
        let parts: Vec<&PrimitiveArray<T>> = parts.iter().map(|part| part.as_primitive_opt()).collect::<Option<_>>()?;
        let rows = parts.iter().map(|part| part.len()).sum();
        let mut values = Vec::with_capacity(rows);
        if parts.iter().all(|part| part.null_count() == 0) {
            parts.iter().for_each(|part| values.extend_from_slice(part.values()));
            return Some(Self { values, present: Vec::new() });
        }
        let mut present = Vec::with_capacity(rows);
        for value in parts.iter().flat_map(|part| part.iter()) {
            present.push(value.is_some());
            values.extend(value);
        }
        Some(Self { values, present })
    }

    fn rows(&self) -> usize {
        if self.present.is_empty() { self.values.len() } else { self.present.len() }
    }

    /// Begins a page with the levels of some rows.
    fn levels(&self, from: usize, rows: usize) -> Vec<u8> {
        let mut levels = Levels::of(rows);
        match self.present.get(from..from + rows) {
            Some(present) if !self.present.is_empty() => present.iter().for_each(|present| levels.push(*present)),
            _ => levels.present(rows),
        }
        levels.finish()
    }
}

fn pages<T, const N: usize>(column: &Values<T>, bytes: fn(T::Native) -> [u8; N]) -> Pages
where
    T: ArrowPrimitiveType,
    T::Native: Hash + Eq,
{
    let rows = column.rows();
    let Some((dictionary, indexes)) = dictionary(&column.values) else {
        return Pages { dictionary: None, data: plain(column, bytes), rows: rows as u64, statistics: None };
    };
    let width = hybrid::width_for(dictionary.len());
    let mut page = column.levels(0, rows);
    page.push(width);
    hybrid::encode(&indexes, width, &mut page);
    let count = dictionary.len() as u32;
    let text = dictionary.into_iter().flat_map(bytes).collect();
    Pages {
        dictionary: Some((text, count)),
        data: vec![DataPage { bytes: page, values: rows as u32 }],
        rows: rows as u64,
        statistics: None,
    }
}

fn plain<T: ArrowPrimitiveType, const N: usize>(column: &Values<T>, bytes: fn(T::Native) -> [u8; N]) -> Vec<DataPage> {
    let mut values = column.values.iter();
    let page = |from: usize| {
        let rows = PAGE.min(column.rows() - from);
        let valid = match column.present.get(from..from + rows) {
            Some(present) if !column.present.is_empty() => present.iter().filter(|present| **present).count(),
            _ => rows,
        };
        let mut page = column.levels(from, rows);
        page.reserve_exact(valid * N);
        values.by_ref().take(valid).for_each(|value| page.extend_from_slice(&bytes(*value)));
        DataPage { bytes: page, values: rows as u32 }
    };
    (0..column.rows()).step_by(PAGE).map(page).collect()
}

/// Returns distinct values in the order of their first use and where each value stands among them; `None` when values hardly repeat.
fn dictionary<T: Copy + Eq + Hash>(values: &[T]) -> Option<(Vec<T>, Vec<u32>)> {
    let mut places: HashMap<T, u32, FixedState> = HashMap::with_hasher(FixedState::default());
    let mut distinct = Vec::new();
    let mut indexes = Vec::with_capacity(values.len());
    let most = (values.len() / REPEATS).max(FEW);
    for (at, value) in values.iter().enumerate() {
        let next = distinct.len() as u32;
        let place = *places.entry(*value).or_insert(next);
        if place == next {
            distinct.push(*value);
            if distinct.len() > most || (at >= SAMPLE && distinct.len() > at / 8 * 7) {
                return None;
            }
        }
        indexes.push(place);
    }
    Some((distinct, indexes))
}

#[cfg(test)]
mod tests;
