//! Compaction: many small files of a closed event date become few, in one commit and in bounded memory.

use std::collections::BTreeMap;

use sluice_schemas::Micros;
use sluice_schemas::commit::StagedFile;
use sluice_schemas::tables::CALLS;

use super::action::{Line, Signature};
use super::rewrite::{Edit, Rewrite, Rewritten};
use super::{Lake, LakeError, LakeFile, commit, random_id};

/// Files of one date that are left alone.
const FEW: usize = 8;
/// Small files that are worth merging even if there are few of them.
const SOME_SMALL: usize = 4;
/// Bytes of a file that is no longer small.
const SMALL: u64 = 32 << 20;
/// Bytes of a file that is large enough to be left alone.
pub(crate) const LARGE: u64 = 128 << 20;

/// What a compaction did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompactReport {
    /// Event dates that were rewritten.
    pub dates: u64,
    /// Files taken out.
    pub removed: u64,
    /// Files put in.
    pub added: u64,
    /// Rows taken out.
    pub rows_before: u64,
    /// Rows put in: as many, or fewer in a table where rows of one key add up.
    pub rows_after: u64,
}

impl Lake {
    /// Merges the small files of every event date before `open_from` (days since 1970-01-01); later dates may still grow.
    ///
    /// No sum over the table changes. The replaced files stay on disk for readers of older versions, until [`Lake::vacuum`].
    ///
    /// # Errors
    /// The storage failed, or another writer took over.
    pub fn compact(&mut self, table: &str, open_from: i32, now: Micros) -> Result<CompactReport, LakeError> {
        self.check_writer()?;
        let mut dates: BTreeMap<i32, Vec<LakeFile>> = BTreeMap::new();
        for file in self.files(table)?.into_iter().filter(|file| file.dt < open_from) {
            dates.entry(file.dt).or_default().push(file);
        }
        let mut report = CompactReport::default();
        for (dt, files) in dates {
            let many = files.len() > FEW;
            let some_small = files.iter().filter(|file| file.bytes < SMALL).count() >= SOME_SMALL;
            let merge: Vec<LakeFile> = files.into_iter().filter(|file| file.bytes < LARGE).collect();
            if merge.len() > 1 && (many || some_small) {
                self.rewrite(table, dt, &merge, now, &mut report)?;
            }
        }
        self.maintain();
        Ok(report)
    }

    /// Merges files of one date and commits the result.
    fn rewrite(&mut self, table: &str, dt: i32, files: &[LakeFile], now: Micros, report: &mut CompactReport) -> Result<(), LakeError> {
        let rewritten = self.rewritten(table, dt, files, None)?;
        let staged = rewritten.files;
        self.exchange(table, Exchange { operation: "OPTIMIZE", data_change: false }, files, &staged, now)?;
        report.dates += 1;
        report.removed += files.len() as u64;
        report.added += staged.len() as u64;
        report.rows_before += rewritten.rows;
        report.rows_after += staged.iter().map(|file| file.rows).sum::<u64>();
        Ok(())
    }
}

/// How the log tells of files that take the place of others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exchange {
    /// Operation, as Delta's history shows it.
    pub(super) operation: &'static str,
    /// Whether the table says something else afterwards.
    pub(super) data_change: bool,
}

impl Lake {
    /// Writes what files of one date hold into new ones.
    pub(super) fn rewritten(&self, table: &str, dt: i32, files: &[LakeFile], edit: Option<&mut Edit<'_>>) -> Result<Rewritten, LakeError> {
        let name = format!("c{:012}-f{:06}", self.table(table)?.snapshot.version, self.state.fence);
        Rewrite::new(&self.objects, table, dt, name, &self.table(table)?.schema)?.run(files, edit)
    }

    /// Puts files in the place of others, in one commit of a table.
    pub(super) fn exchange(
        &mut self,
        table: &str,
        how: Exchange,
        files: &[LakeFile],
        staged: &[StagedFile],
        now: Micros,
    ) -> Result<(), LakeError> {
        let now_ms = commit::millis(now);
        let removes = self.removes(table, files, now_ms, how.data_change)?;
        let own = Signature { uuid: random_id(), fence: self.state.fence, ..Signature::default() };
        let mut lines = vec![Line::info(how.operation, &[], own.clone(), now_ms)];
        lines.extend(removes.iter().cloned().map(Line::remove));
        lines.extend(commit::adds(staged, now_ms).into_iter().map(|line| if how.data_change { line } else { no_data_change(line) }));
        self.check_fence()?;
        self.broken = true;
        let judge = commit::not_taken_over(&own);
        let log = self.tables.get_mut(table).ok_or_else(|| LakeError::UnknownTable { table: table.to_owned() })?;
        let committed = log.commit(&lines, &own, |found| judge(found).and_then(|()| commit::still_there(table, found, &removes)));
        // A conflict is found before anything is written, so nothing is left open.
        self.broken = matches!(&committed, Err(error) if !matches!(error, LakeError::Conflict { .. }));
        committed?;
        if table == CALLS {
            self.state.version = log.snapshot.version;
        }
        Ok(())
    }
}

fn no_data_change(mut line: Line) -> Line {
    if let Some(add) = &mut line.add {
        add.data_change = false;
    }
    line
}
