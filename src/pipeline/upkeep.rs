//! What keeps a lake small while a daemon writes to it: closed dates are merged, files that nobody can need any more are deleted, and
//! positions that no source can ask for are forgotten.

use sluice_aggregate::lake::LakeError;
use sluice_aggregate::store::LocalWrite;
use sluice_ingest::retention;
use sluice_schemas::time::HOUR;
use sluice_schemas::{ErrorClass, Micros, Position, tables};

use super::{Mode, Pipeline};
use crate::operate::Phase;

/// Time between two rounds while no date closes.
const EVERY: i64 = HOUR;

/// Where the round is.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    /// When the last round began.
    began: Micros,
    /// Dates before this one were closed then.
    open_from: i32,
    /// Tables that are still to be looked after.
    left: Vec<String>,
    /// Rounds so far. In the first one what earlier processes left is looked for.
    rounds: u64,
}

impl Pipeline {
    /// Takes the next step if one is due: a round begins when a date has closed, or after an hour. A step is one table, so that
    /// spend never waits for all of them.
    pub(super) fn upkeep(&mut self) -> anyhow::Result<()> {
        let now = self.settings.clock.now();
        let Some(watermark) = self.watermark() else { return Ok(()) };
        if self.rating.is_some() || self.join.settling.is_at_work() {
            // They know their files by name.
            return Ok(());
        }
        let round = &mut self.upkeep;
        if round.left.is_empty() {
            if watermark.day() <= round.open_from && now.0 - round.began.0 < EVERY {
                return Ok(());
            }
            *round = Upkeep { began: now, open_from: watermark.day(), left: self.lake.tables(), rounds: round.rounds + 1 };
            self.forget_positions(now)?;
        }
        let round = &mut self.upkeep;
        let (table, open_from, orphans) = (round.left.pop(), round.open_from, round.rounds == 1);
        let Some(table) = table else { return Ok(()) };
        self.meter.board.set_phase(Phase::LakeCommit);
        put_off(self.look_after(&table, open_from, orphans, now))?;
        self.meter.board.set_phase(Phase::Turning);
        Ok(())
    }

    /// Forgets what no notification can name again; the next lake commit is without it. After a crash in between it is back, and
    /// forgotten once more.
    fn forget_positions(&mut self, now: Micros) -> anyhow::Result<()> {
        if self.settings.mode == Mode::Bulk || self.settings.config.sources.iter().any(|source| source.lists_again()) {
            return Ok(());
        }
        let is_past = |at: &Position| retention::is_past(at, now, retention::LEDGER);
        let forgotten: Vec<_> = self.positions.iter().filter(|(_, at)| is_past(at)).map(|(shard, _)| shard.clone()).collect();
        if forgotten.is_empty() {
            return Ok(());
        }
        // What was given again since is on its way under another identity.
        self.reading.retain(|_, at| !is_past(at));
        self.positions.retain(|_, at| !is_past(at));
        self.committed.forget(&forgotten);
        tracing::info!(event = "positions_forgotten", forgotten = forgotten.len(), left = self.positions.len(), "objects read long ago");
        self.local.commit(&LocalWrite { base: self.base.clone(), forgotten, ..LocalWrite::default() })?;
        Ok(())
    }

    /// Lets rows go that were kept as long as configured.
    pub(super) fn let_go(&mut self, table: &str, now: Micros) -> Result<(), LakeError> {
        let kept = self.settings.config.retention.tables().find(|(of, _)| *of == table);
        if let Some((_, days)) = kept {
            let first = now.day().saturating_sub(days);
            // Events that may yet be metered are read again.
            let waits = self.join.meter.waits_from().filter(|_| table == tables::EVIDENCE);
            let expired = self.lake.expire(table, waits.map_or(first, |from| first.min(from.day())), now)?;
            if expired > 0 {
                tracing::info!(event = "expired", table, rows = expired, days, "rows were kept as long as configured");
            }
        }
        Ok(())
    }

    fn look_after(&mut self, table: &str, open_from: i32, orphans: bool, now: Micros) -> Result<(), LakeError> {
        self.let_go(table, now)?;
        let merged = self.lake.compact(table, open_from, now)?;
        let deleted = self.lake.vacuum_table(table, now, orphans)?;
        if merged.dates + deleted.expired + deleted.orphans > 0 {
            tracing::info!(
                event = "upkeep",
                table,
                dates = merged.dates,
                merged = merged.removed,
                expired = deleted.expired,
                orphans = deleted.orphans,
                "closed dates merged, unused files deleted"
            );
        }
        Ok(())
    }
}

/// What cannot be done now is done in the next round; whoever was overtaken or finds damage stops.
fn put_off(result: Result<(), LakeError>) -> Result<(), LakeError> {
    match result {
        Err(error) if !matches!(error.class(), ErrorClass::Fenced | ErrorClass::Corrupt | ErrorClass::Bug) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "upkeep of the lake is put off");
            Ok(())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use sluice_ingest::files::{FolderSource, Mode as FolderMode};
    use sluice_schemas::tables;
    use sluice_schemas::time::DAY;

    use super::super::Settings;
    use super::super::simulation::step::VirtualClock;
    use super::*;
    use crate::config::{Config, Origin};

    /// 2026-10-20T12:00:00Z.
    const NOW: Micros = Micros(1_792_497_600_000_000);

    fn line(number: u32, at: &str) -> String {
        format!(
            r#"{{"schemaType":"ModelInvocationLog","schemaVersion":"1.0","timestamp":"{at}","accountId":"111122223333","identity":{{"arn":"arn:aws:iam::111122223333:user/a"}},"region":"us-east-1","requestId":"{number:08x}-0000-4000-8000-000000000000","operation":"Converse","modelId":"amazon.nova-lite-v1:0","input":{{"inputTokenCount":1000}},"output":{{"outputTokenCount":1}}}}"#
        )
    }

    /// Reads one more call and commits it.
    fn read(pipeline: &mut Pipeline, folder: &Path, number: u32, at: &str) {
        std::fs::write(folder.join(format!("{number}.jsonl")), line(number, at) + "\n").unwrap();
        let source = FolderSource::open(&[folder.to_owned()], &pipeline.positions, FolderMode::Once).unwrap();
        let (handle, commands) = Pipeline::handle();
        pipeline.run(Box::new(source), &handle, &commands, &mut |_, _| {}).unwrap();
    }

    #[test]
    fn what_no_notification_can_name_again_is_forgotten() {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let (logs, lake) = (folder.path().join("logs"), folder.path().join("lake"));
        std::fs::create_dir(&logs).unwrap();
        let clock = VirtualClock::at(NOW);
        let config = Config::load(&Origin { file: None, lake: Some(lake) }).unwrap();
        let settings =
            || Settings { config: config.clone(), mode: Mode::Live, act: false, clock: Arc::new(clock.clone()), board: Arc::default() };
        let mut pipeline = Pipeline::open(settings()).unwrap();
        let object = |identity: String, ended| Position { identity, ended, offset: 7, ..Position::default() };
        let old = retention::stamp("abc:7", NOW.plus(-retention::LEDGER - 2 * EVERY));
        let kept = [
            ("s3:b/new", object(retention::stamp("abc:7", NOW), true)),
            ("s3:b/half", object(old.clone(), false)),
            ("file:a", object("abc:7".to_owned(), true)),
        ];
        for (shard, at) in kept.iter().cloned().chain([("s3:b/old", object(old, true))]) {
            pipeline.positions.insert(shard.to_owned(), at);
            pipeline.moved.insert(shard.to_owned());
            pipeline.unsettled.insert(shard.to_owned());
        }
        read(&mut pipeline, &logs, 0, "2026-10-18T00:00:00Z");
        assert!(pipeline.lake.state().positions.contains_key("s3:b/old"));
        pipeline.upkeep = Upkeep::default();
        pipeline.upkeep().unwrap();
        let names = |positions: &sluice_schemas::position::Positions| {
            positions.keys().filter(|shard| shard.starts_with("s3:") || *shard == "file:a").cloned().collect::<Vec<_>>()
        };
        let left = ["file:a", "s3:b/half", "s3:b/new"];
        assert_eq!(names(&pipeline.positions), left);
        assert_eq!(pipeline.committed.of(sluice_ingest::committed::Durable::Lake, "s3:b/old"), None);
        pipeline.commit_lake().unwrap();
        assert_eq!(names(&pipeline.lake.state().positions), left);
        drop(pipeline);
        assert_eq!(names(&Pipeline::open(settings()).unwrap().positions), left);
    }

    fn data_files(folder: &Path) -> usize {
        std::fs::read_dir(folder).map_or(0, |entries| entries.count())
    }

    #[test]
    fn closed_dates_are_merged_and_replaced_files_go_after_a_week() {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let (logs, lake) = (folder.path().join("logs"), folder.path().join("lake"));
        std::fs::create_dir(&logs).unwrap();
        let clock = VirtualClock::at(NOW);
        let config = Config::load(&Origin { file: None, lake: Some(lake.clone()) }).unwrap();
        let settings =
            || Settings { config: config.clone(), mode: Mode::Live, act: false, clock: Arc::new(clock.clone()), board: Arc::default() };
        let mut pipeline = Pipeline::open(settings()).unwrap();
        for number in 0..10 {
            read(&mut pipeline, &logs, number, &format!("2026-10-18T00:{number:02}:00Z"));
        }
        let round = |pipeline: &mut Pipeline| (0..=pipeline.lake.tables().len()).for_each(|_| pipeline.upkeep().unwrap());
        let closed = lake.join("calls/dt=2026-10-18");
        round(&mut pipeline);
        assert_eq!(pipeline.lake.files(tables::CALLS).unwrap().len(), 10, "the date may still grow");

        // The date closes: its files are merged, and those they were stay for readers of older versions.
        read(&mut pipeline, &logs, 10, "2026-10-19T01:00:00Z");
        round(&mut pipeline);
        assert_eq!(pipeline.lake.files(tables::CALLS).unwrap().len(), 2);
        assert_eq!(data_files(&closed), 11);
        std::fs::write(closed.join("e000000000001-f000000-1-0.parquet"), b"left by a crash").unwrap();

        // Not yet after six days; what a crash left goes when the next process begins.
        clock.reach(NOW.plus(6 * DAY));
        drop(pipeline);
        let mut pipeline = Pipeline::open(settings()).unwrap();
        round(&mut pipeline);
        assert_eq!(data_files(&closed), 11);
        clock.reach(NOW.plus(7 * DAY + 2 * EVERY));
        round(&mut pipeline);
        assert_eq!(data_files(&closed), 1);
        assert_eq!(crate::lakeview::engine(&pipeline.lake, Vec::new()).unwrap().call_dates().len(), 2);
    }
}
