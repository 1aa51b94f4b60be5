//! Rows that lose a text, and dates that are let go: what is kept of people, and for how long.

use std::collections::BTreeMap;

use sluice_schemas::Micros;

use super::compact::Exchange;
use super::read::FileReader;
use super::rewrite::Edit;
use super::{Lake, LakeError, LakeFile};

/// What became of a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RedactReport {
    /// Files whose place others took.
    pub files: u64,
    /// Rows in them.
    pub rows: u64,
}

impl Lake {
    /// Edits texts of a table, a date a commit; no number changes, and files without such rows stay. The files of before stay on disk for
    /// readers of older versions, until [`Lake::vacuum`].
    ///
    /// # Errors
    /// The storage failed, or another writer took over; dates that were committed until then stay edited.
    pub fn redact(&mut self, table: &str, edit: &mut Edit<'_>, dry_run: bool, now: Micros) -> Result<RedactReport, LakeError> {
        self.check_writer()?;
        let mut dates: BTreeMap<i32, Vec<LakeFile>> = BTreeMap::new();
        for file in self.files(table)? {
            if self.is_concerned(table, &file, edit)? {
                dates.entry(file.dt).or_default().push(file);
            }
        }
        let mut report = RedactReport::default();
        for (dt, files) in dates {
            report.files += files.len() as u64;
            report.rows += files.iter().map(|file| file.rows).sum::<u64>();
            if !dry_run {
                let rewritten = self.rewritten(table, dt, &files, Some(edit))?;
                self.exchange(table, Exchange { operation: "UPDATE", data_change: true }, &files, &rewritten.files, now)?;
            }
        }
        self.maintain();
        Ok(report)
    }

    fn is_concerned(&self, table: &str, file: &LakeFile, edit: &mut Edit<'_>) -> Result<bool, LakeError> {
        let schema = &self.table(table)?.schema;
        for columns in FileReader::open(&self.objects, table, &file.name, schema)? {
            if edit(schema, &columns?).map_err(LakeError::arrow(table))?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Takes all rows of event dates before `first` (days since 1970-01-01) out of a table, in one commit; returns how many.
    ///
    /// # Errors
    /// The storage failed, or another writer took over.
    pub fn expire(&mut self, table: &str, first: i32, now: Micros) -> Result<u64, LakeError> {
        self.check_writer()?;
        let old: Vec<LakeFile> = self.files(table)?.into_iter().filter(|file| file.dt < first).collect();
        if !old.is_empty() {
            self.exchange(table, Exchange { operation: "DELETE", data_change: true }, &old, &[], now)?;
            self.maintain();
        }
        Ok(old.iter().map(|file| file.rows).sum())
    }
}
