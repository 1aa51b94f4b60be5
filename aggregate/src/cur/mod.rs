//! Cost and Usage Reports of AWS, read as sums, and stored calls summed up to be compared with them.
//!
//! Owns: the forms a report comes in (CUR 2.0 and its predecessor, Parquet and CSV, folders of periods) and its sums by day, principal
//! and usage type. Does not own: what a usage type means, what a difference is due to. A report is read line by line; what is kept grows
//! with the distinct sums, never with the lines. Amounts are 10⁻¹² of their unit, rounded half to even once a line; no float is added up.

mod calls;
mod columns;
mod csv;
mod error;
mod files;
mod number;
mod parquet;
mod sums;

use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

pub use calls::{StoredCalls, for_each_stored};
pub use error::CurError;
pub use files::{CurFiles, list};
pub use sums::{CurGroup, CurReport, DaySpan};

use sums::Sums;

/// Reads a report: its lines of Amazon Bedrock within a span of days. `progress` is told of each file before it is read.
///
/// # Errors
/// See [`CurError`].
pub fn read(files: &CurFiles, span: DaySpan, mut progress: impl FnMut(&Path)) -> Result<CurReport, CurError> {
    let mut sums = Sums::new(span);
    for path in &files.files {
        progress(path);
        if starts_with(path, b"PAR1")? {
            unpanicked(path, || parquet::read(path, &mut sums))?;
        } else {
            csv::read(path, &mut sums)?;
        }
    }
    sums.finish().ok_or_else(|| CurError::Empty { path: files.root.clone() })
}

/// Reads a file with a reader that panics on damaged pages, as the Parquet crate does: the file is foreign, so that is its fault. What was
/// summed up so far is given up with the error.
fn unpanicked(path: &Path, read: impl FnOnce() -> Result<(), CurError>) -> Result<(), CurError> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err(CurError::Damaged { path: path.to_owned() }))
}

/// Tells whether a file begins with some bytes.
fn starts_with(path: &Path, magic: &[u8]) -> Result<bool, CurError> {
    let failed = |source| CurError::Io { path: path.to_owned(), source };
    let mut file = std::fs::File::open(path).map_err(failed)?;
    let mut head = Vec::new();
    file.by_ref().take(magic.len() as u64).read_to_end(&mut head).map_err(failed)?;
    Ok(head == magic)
}

#[cfg(test)]
mod tests;
