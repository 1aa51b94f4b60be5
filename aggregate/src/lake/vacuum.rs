//! Deleting from disk what no table names any more.

use sluice_schemas::Micros;

use super::action::decode_path;
use super::{Lake, LakeError, commit};

/// How long a file that was taken out of a table stays on disk, for readers of older versions: 7 days, what readers of Delta tables
/// are used to. Recovery needs none of them: it repeats the last epoch alone, whose files are part of their tables or about to be.
const RETENTION_MS: i64 = 7 * 24 * 60 * 60 * 1_000;

/// What a vacuum did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VacuumReport {
    /// Files taken out of their table longer ago than the retention.
    pub expired: u64,
    /// Files that never became part of a table: left by a crash.
    pub orphans: u64,
}

impl Lake {
    /// Deletes files that were taken out of their tables 7 days before `now` or earlier, and files that a crash left behind. Files of
    /// other programs are touched only if this one has seen them taken out.
    ///
    /// # Errors
    /// The storage failed; what was deleted until then is no loss.
    pub fn vacuum(&mut self, now: Micros) -> Result<VacuumReport, LakeError> {
        self.check_writer()?;
        let mut report = VacuumReport::default();
        for table in self.tables() {
            let of_table = self.vacuum_table(&table, now, true)?;
            report.expired += of_table.expired;
            report.orphans += of_table.orphans;
        }
        Ok(report)
    }

    /// Vacuums one table. What a crash left is looked for only if `orphans` says so: that lists the folder of every date, and a writer
    /// whose commits succeed leaves nothing.
    ///
    /// # Errors
    /// As for [`Lake::vacuum`].
    pub fn vacuum_table(&mut self, table: &str, now: Micros, orphans: bool) -> Result<VacuumReport, LakeError> {
        self.check_writer()?;
        let mut report = VacuumReport::default();
        self.delete_expired(table, commit::millis(now), &mut report)?;
        if orphans {
            self.delete_orphans(table, &mut report)?;
        }
        Ok(report)
    }

    fn delete_expired(&mut self, table: &str, now_ms: i64, report: &mut VacuumReport) -> Result<(), LakeError> {
        let tombstones = &self.table(table)?.snapshot.tombstones;
        let expired = |at: Option<i64>| at.is_some_and(|at| at.saturating_add(RETENTION_MS) <= now_ms);
        let expired: Vec<String> =
            tombstones.values().filter(|gone| expired(gone.deletion_timestamp)).map(|gone| gone.path.clone()).collect();
        for path in expired {
            self.objects.delete(&format!("{table}/{}", decode_path(&path)))?;
            report.expired += 1;
            // The next checkpoint forgets it.
            if let Some(log) = self.tables.get_mut(table) {
                log.snapshot.tombstones.remove(&path);
            }
        }
        Ok(())
    }

    fn delete_orphans(&self, table: &str, report: &mut VacuumReport) -> Result<(), LakeError> {
        let snapshot = &self.table(table)?.snapshot;
        for folder in self.objects.list(table)?.iter().filter(|entry| entry.folder && entry.name.starts_with("dt=")) {
            let files = self.objects.list(&format!("{table}/{}", folder.name))?;
            let mut left = files.len();
            for file in &files {
                let path = format!("{}/{}", folder.name, file.name);
                let named = snapshot.files.contains_key(&path) || snapshot.tombstones.contains_key(&path);
                if !named && self.is_orphan(&file.name) {
                    self.objects.delete(&format!("{table}/{path}"))?;
                    report.orphans += 1;
                    left -= 1;
                }
            }
            if left == 0 {
                self.objects.delete_empty_folder(&format!("{table}/{}", folder.name))?;
            }
        }
        Ok(())
    }

    /// Tells whether a file that no table names can never become part of one: an earlier writer's, or of an epoch that is over.
    fn is_orphan(&self, name: &str) -> bool {
        match parse_name(name) {
            Some((_, _, fence)) if fence < self.state.fence => true,
            Some((Kind::Epoch, epoch, fence)) => fence == self.state.fence && epoch <= self.state.epoch,
            // Compaction begins and ends within one call.
            Some((Kind::Compaction, _, fence)) => fence == self.state.fence,
            None => false,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Epoch,
    Compaction,
}

/// Reads kind, number and fence from the name of a data file of this program.
fn parse_name(name: &str) -> Option<(Kind, u64, u64)> {
    let kind = match name.get(..1)? {
        "e" => Kind::Epoch,
        "c" => Kind::Compaction,
        _ => return None,
    };
    let (number, rest) = name.get(1..)?.strip_suffix(".parquet")?.split_once("-f")?;
    let (fence, serials) = rest.split_once('-')?;
    serials.split('-').all(|serial| serial.parse::<u64>().is_ok()).then_some(())?;
    Some((kind, number.parse().ok()?, fence.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_names_are_read() {
        assert_eq!(parse_name("e000000000042-f000007-1-0.parquet"), Some((Kind::Epoch, 42, 7)));
        assert_eq!(parse_name("c000000000003-f000007-12.parquet"), Some((Kind::Compaction, 3, 7)));
        for other in ["part-00000-3f0c-c000.snappy.parquet", "e1.parquet", "c1-f1-x.parquet", "é"] {
            assert_eq!(parse_name(other), None, "{other}");
        }
    }
}
