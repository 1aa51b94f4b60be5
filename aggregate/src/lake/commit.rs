//! Publishing an epoch: manifest, root table, every other table.

use std::collections::BTreeMap;

use sluice_schemas::Micros;
use sluice_schemas::commit::{Manifest, StagedFile};
use sluice_schemas::position::Positions;
use sluice_schemas::tables::{CALLS, PARTITION};

use super::action::{Add, EPOCH_APP, FENCE_APP, Line, Remove, Signature};
use super::{Lake, LakeError, LakeFile, SealedEpoch, log, manifest};

impl Lake {
    /// Publishes an epoch: its rows become part of all tables, and its positions the ones to go on from.
    ///
    /// # Errors
    /// The storage failed, or another writer took over. The epoch may or may not be committed: open the lake again.
    pub fn commit(&mut self, sealed: SealedEpoch, positions: Positions, watermark: Micros, now: Micros) -> Result<Manifest, LakeError> {
        self.publish(sealed, &[], positions, watermark, now)
    }

    /// Publishes an epoch that puts corrected rows in the place of `removed` files of `calls`; positions stay where they are.
    ///
    /// The epoch must hold all rows of the removed files, and the difference that the correction makes in the other tables.
    ///
    /// # Errors
    /// As for [`Lake::commit`], and if one of the files is no longer part of `calls`.
    pub fn replace(&mut self, sealed: SealedEpoch, removed: &[LakeFile], now: Micros) -> Result<Manifest, LakeError> {
        let (positions, watermark) = (self.state.positions.clone(), self.state.watermark);
        self.publish(sealed, removed, positions, watermark, now)
    }

    fn publish(
        &mut self,
        sealed: SealedEpoch,
        removed: &[LakeFile],
        positions: Positions,
        watermark: Micros,
        now: Micros,
    ) -> Result<Manifest, LakeError> {
        self.check_writer()?;
        if sealed.epoch != self.state.epoch + 1 || sealed.fence != self.state.fence {
            return Err(LakeError::EpochOrder { last: self.state.epoch, got: sealed.epoch });
        }
        let now_ms = millis(now);
        let removes = self.removes(CALLS, removed, now_ms, true)?;
        let manifest = Manifest {
            epoch: sealed.epoch,
            uuid: sealed.uuid,
            fence: sealed.fence,
            sealed_at: now,
            files: sealed.files,
            positions,
            watermark: watermark.max(self.state.watermark),
            enforcement: sealed.enforcement.unwrap_or_else(|| self.state.enforcement.clone()),
            evidence_settled: sealed.evidence_settled.map_or(self.state.evidence_settled, |(settled, _)| settled),
            evidence_from: sealed.evidence_settled.map_or(self.state.evidence_from, |(_, from)| from),
        };
        // From here on a failure leaves it open whether the epoch exists.
        self.broken = true;
        let named = manifest::write(&self.objects, &manifest)?;
        self.commit_root(&manifest, &named, removes, now_ms)?;
        for table in manifest.files.keys().filter(|table| *table != CALLS) {
            self.commit_table(table, &manifest, &named, now_ms)?;
        }
        self.broken = false;
        self.state.epoch = manifest.epoch;
        self.state.uuid.clone_from(&manifest.uuid);
        self.state.positions.clone_from(&manifest.positions);
        self.state.watermark = manifest.watermark;
        self.state.enforcement.clone_from(&manifest.enforcement);
        self.state.evidence_settled = manifest.evidence_settled;
        self.state.evidence_from = manifest.evidence_from;
        self.maintain();
        Ok(manifest)
    }

    /// The moment: after this entry the epoch exists.
    fn commit_root(&mut self, manifest: &Manifest, named: &Signature, removes: Vec<Remove>, now_ms: i64) -> Result<(), LakeError> {
        let files = manifest.files.get(CALLS).map_or(&[][..], Vec::as_slice);
        let lines = epoch_lines(manifest.epoch, files, &removes, named, now_ms);
        let calls = self.tables.get_mut(CALLS).ok_or_else(|| LakeError::UnknownTable { table: CALLS.to_owned() })?;
        let judge = not_taken_over(named);
        calls.commit(&lines, named, |found| judge(found).and_then(|()| still_there(CALLS, found, &removes)))?;
        self.state.version = calls.snapshot.version;
        Ok(())
    }

    /// Adds the files of a committed epoch to a table other than the root.
    pub(crate) fn commit_table(&mut self, table: &str, manifest: &Manifest, named: &Signature, now_ms: i64) -> Result<(), LakeError> {
        self.check_fence()?;
        let files = manifest.files.get(table).map_or(&[][..], Vec::as_slice);
        // Recovery speaks for itself, under the id of the epoch.
        let own = Signature { fence: self.state.fence, ..named.clone() };
        let lines = epoch_lines(manifest.epoch, files, &[], &own, now_ms);
        let log = self.tables.get_mut(table).ok_or_else(|| LakeError::UnknownTable { table: table.to_owned() })?;
        log.commit(&lines, &own, not_taken_over(&own))
    }

    /// Fails if another writer took over: the log of the root table, which a new writer writes to first, tells.
    pub(crate) fn check_fence(&mut self) -> Result<(), LakeError> {
        let own = Signature { fence: self.state.fence, ..Signature::default() };
        let calls = self.tables.get_mut(CALLS).ok_or_else(|| LakeError::UnknownTable { table: CALLS.to_owned() })?;
        calls.catch_up(not_taken_over(&own))?;
        self.state.version = calls.snapshot.version;
        Ok(())
    }

    /// Turns files into the actions that take them out of a table.
    pub(crate) fn removes(&self, table: &str, files: &[LakeFile], now_ms: i64, data_change: bool) -> Result<Vec<Remove>, LakeError> {
        let active = &self.table(table)?.snapshot.files;
        let remove = |file: &LakeFile| {
            let gone = || LakeError::Conflict { table: table.to_owned(), path: file.name.clone() };
            active.get(&file.name).ok_or_else(gone).map(|add| add.removed(now_ms, data_change))
        };
        files.iter().map(remove).collect()
    }

    /// Writes checkpoints and cleans logs where due. The commit stands whatever becomes of it, and what fails is due again next time.
    pub(crate) fn maintain(&mut self) {
        for (table, log) in &mut self.tables {
            if let Err(error) = log.maintain() {
                tracing::warn!(table, error = &error as &dyn std::error::Error, "checkpoint put off");
            }
        }
        if self.state.epoch.is_multiple_of(MANIFESTS_CLEANED_EVERY)
            && let Err(error) = manifest::clean(&self.objects, self.state.epoch)
        {
            tracing::warn!(error = &error as &dyn std::error::Error, "old manifests could not be deleted");
        }
    }
}

/// Epochs between two looks for manifests beyond the recovery horizon.
const MANIFESTS_CLEANED_EVERY: u64 = 50;

fn epoch_lines(epoch: u64, files: &[StagedFile], removes: &[Remove], named: &Signature, now_ms: i64) -> Vec<Line> {
    let mode = if removes.is_empty() { "Append" } else { "Overwrite" };
    let mut lines = vec![Line::info("WRITE", &[("mode", mode)], named.clone(), now_ms), Line::txn(EPOCH_APP, epoch, now_ms)];
    lines.extend(removes.iter().cloned().map(Line::remove));
    lines.extend(adds(files, now_ms));
    lines
}

/// Turns staged files into the actions that add them to their table.
pub(crate) fn adds(files: &[StagedFile], now_ms: i64) -> Vec<Line> {
    let add = |file: &StagedFile| Add {
        path: file.path.clone(),
        partition_values: BTreeMap::from([(PARTITION.to_owned(), Some(file.dt.clone()))]),
        size: i64::try_from(file.bytes).unwrap_or(i64::MAX),
        modification_time: now_ms,
        data_change: true,
        stats: Some(file.stats.clone()).filter(|stats| !stats.is_empty()),
    };
    files.iter().map(|file| Line::add(add(file))).collect()
}

/// Judges an entry found where ours would have gone. A commit of the same lake by another writer means that it took over; what other
/// programs do to a table is stepped over.
pub(crate) fn not_taken_over(own: &Signature) -> impl Fn(&[Line]) -> Result<(), LakeError> {
    let own = own.clone();
    move |lines| {
        let theirs = log::signature(lines);
        let epoch_or_fence = |line: &Line| line.txn.as_ref().is_some_and(|txn| txn.app_id == EPOCH_APP || txn.app_id == FENCE_APP);
        let newer = theirs.is_some_and(|theirs| theirs.fence > own.fence);
        let stranger = lines.iter().any(epoch_or_fence) && theirs.is_none_or(|theirs| theirs.uuid != own.uuid);
        if newer || stranger {
            let theirs = theirs.map_or_else(|| "a transaction of unknown origin".to_owned(), |theirs| format!("writer {}", theirs.fence));
            return Err(LakeError::Fenced { ours: own.fence, theirs });
        }
        Ok(())
    }
}

/// Fails if another program took out a file that we are about to replace: its rows would come back.
pub(crate) fn still_there(table: &str, found: &[Line], removes: &[Remove]) -> Result<(), LakeError> {
    let gone =
        |line: &Line| line.remove.as_ref().filter(|gone| removes.iter().any(|ours| ours.path == gone.path)).map(|gone| gone.path.clone());
    match found.iter().find_map(gone) {
        Some(path) => Err(LakeError::Conflict { table: table.to_owned(), path }),
        None => Ok(()),
    }
}

/// Returns milliseconds since 1970, the unit of the log.
pub(crate) const fn millis(time: Micros) -> i64 {
    time.0.div_euclid(1_000)
}
