//! Rows of some files written into new ones, in bounded memory, and compared with what was read.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use sluice_schemas::commit::StagedFile;

use super::compact::LARGE;
use super::encode::encode_rows;
use super::file::FileBuilder;
use super::merge::{Merger, Totals};
use super::objects::Objects;
use super::read::FileReader;
use super::{LakeError, LakeFile};

/// Rows of a row group of a rewritten file.
const GROUP_ROWS: usize = 131_072;

/// Changes texts of some rows, and nothing else of them; `None` leaves all as they are.
pub type Edit<'a> = dyn FnMut(&SchemaRef, &[ArrayRef]) -> Result<Option<Vec<ArrayRef>>, ArrowError> + 'a;

/// The files of one rewrite in the making.
pub(crate) struct Rewrite<'a> {
    objects: &'a Arc<dyn Objects>,
    table: &'a str,
    dt: i32,
    name: String,
    schema: &'a SchemaRef,
    merger: Option<Merger>,
    pending: Vec<Vec<ArrayRef>>,
    pending_rows: usize,
    open: Option<FileBuilder>,
    done: Vec<StagedFile>,
    rows_in: u64,
    rows_out: u64,
    totals_in: Totals,
    totals_out: Totals,
}

/// What a rewrite made.
pub(crate) struct Rewritten {
    pub(crate) files: Vec<StagedFile>,
    /// Rows that went in.
    pub(crate) rows: u64,
}

impl<'a> Rewrite<'a> {
    pub(crate) fn new(
        objects: &'a Arc<dyn Objects>,
        table: &'a str,
        dt: i32,
        name: String,
        schema: &'a SchemaRef,
    ) -> Result<Self, LakeError> {
        let merger = Merger::new(table, schema).map_err(LakeError::arrow(table))?;
        Ok(Self {
            objects,
            table,
            dt,
            name,
            schema,
            merger,
            pending: Vec::new(),
            pending_rows: 0,
            open: None,
            done: Vec::new(),
            rows_in: 0,
            rows_out: 0,
            totals_in: Totals::default(),
            totals_out: Totals::default(),
        })
    }

    /// Reads files and writes what they hold, edited where that is asked for; deletes what it has written if anything fails.
    pub(crate) fn run(mut self, files: &[LakeFile], edit: Option<&mut Edit<'_>>) -> Result<Rewritten, LakeError> {
        let written = self.fill(files, edit).and_then(|()| self.check());
        if let Err(error) = written {
            self.abandon();
            return Err(error);
        }
        Ok(Rewritten { files: self.done, rows: self.rows_in })
    }

    fn fill(&mut self, files: &[LakeFile], mut edit: Option<&mut Edit<'_>>) -> Result<(), LakeError> {
        for file in files {
            for columns in FileReader::open(self.objects, self.table, &file.name, self.schema)? {
                let columns = columns?;
                self.rows_in += columns.first().map_or(0, |column| column.len() as u64);
                self.totals_in.add(&columns).map_err(LakeError::arrow(self.table))?;
                let edited = edit.as_mut().map(|edit| edit(self.schema, &columns)).transpose().map_err(LakeError::arrow(self.table))?;
                self.take_in(edited.flatten().unwrap_or(columns))?;
            }
        }
        self.drain()?;
        self.write_group()?;
        if let Some(file) = self.open.take() {
            self.done.push(file.finish()?);
        }
        Ok(())
    }

    fn take_in(&mut self, columns: Vec<ArrayRef>) -> Result<(), LakeError> {
        let Some(merger) = &mut self.merger else {
            return self.put_out(columns);
        };
        merger.add(&columns).map_err(LakeError::arrow(self.table))?;
        if merger.is_full() { self.drain() } else { Ok(()) }
    }

    /// Writes what has been added up.
    fn drain(&mut self) -> Result<(), LakeError> {
        let Some(merger) = &mut self.merger else {
            return Ok(());
        };
        let columns = merger.take().map_err(LakeError::arrow(self.table))?;
        let rows = columns.first().map_or(0, |column| column.len());
        for start in (0..rows).step_by(GROUP_ROWS) {
            self.put_out(columns.iter().map(|column| column.slice(start, GROUP_ROWS.min(rows - start))).collect())?;
        }
        Ok(())
    }

    fn put_out(&mut self, columns: Vec<ArrayRef>) -> Result<(), LakeError> {
        let rows = columns.first().map_or(0, |column| column.len());
        self.rows_out += rows as u64;
        self.totals_out.add(&columns).map_err(LakeError::arrow(self.table))?;
        self.pending.push(columns);
        self.pending_rows += rows;
        if self.pending_rows >= GROUP_ROWS { self.write_group() } else { Ok(()) }
    }

    fn write_group(&mut self) -> Result<(), LakeError> {
        let pending = std::mem::take(&mut self.pending);
        self.pending_rows = 0;
        if pending.is_empty() {
            return Ok(());
        }
        let group = encode_rows(self.table, self.dt, self.schema, &pending)?;
        let file = match &mut self.open {
            Some(file) => file,
            none => {
                let name = format!("{}-{}.parquet", self.name, self.done.len());
                none.insert(FileBuilder::create(self.objects, self.table, self.dt, &name, self.schema)?)
            }
        };
        file.append(group)?;
        if file.bytes() >= LARGE
            && let Some(file) = self.open.take()
        {
            self.done.push(file.finish()?);
        }
        Ok(())
    }

    /// Compares what came out with what went in: every sum, and every row of a table whose rows stand for themselves.
    fn check(&self) -> Result<(), LakeError> {
        let rows = self.merger.is_some() || self.rows_in == self.rows_out;
        let written: u64 = self.done.iter().map(|file| file.rows).sum();
        if rows && written == self.rows_out && (self.rows_in == 0 || self.totals_in == self.totals_out) {
            return Ok(());
        }
        let detail = format!("a rewrite of {} rows gave {written} with other sums", self.rows_in);
        Err(LakeError::Rows { table: self.table.to_owned(), detail })
    }

    /// Deletes what was written; what cannot be deleted is found by the next vacuum.
    fn abandon(self) {
        let paths = self.done.iter().map(|file| file.path.as_str()).chain(self.open.iter().map(FileBuilder::path));
        for path in paths {
            let path = format!("{}/{path}", self.table);
            if let Err(error) = self.objects.delete(&path) {
                tracing::warn!(path, %error, "file of an abandoned rewrite could not be deleted");
            }
        }
    }
}
