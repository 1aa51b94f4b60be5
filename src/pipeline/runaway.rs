//! Runaway detection in the pipeline: which calls are judged, what is learned from history, which rows are kept.
//!
//! What a rule knows of its targets is written in the local commit that makes their calls true, and a crossing is owed from that commit
//! on, as a budget's is. So a start goes on where the last one ended, and history is never judged twice. After the loss of local state it is
//! learned from anew, and what was found before is taken over from the breaches of the lake and the fires of the shared store.

use anyhow::Context;
use sluice_aggregate::lake::Lake;
use sluice_aggregate::query::QueryEngine;
use sluice_aggregate::seed::for_each_call;
use sluice_enforce::Crossing;
use sluice_enforce::runaway::{CallShape, ShapeView, Watch};
use sluice_schemas::time::{DAY, parse_day};
use sluice_schemas::{EnrichedBatch, Micros, tables};

use super::Pipeline;
use crate::lakeview;

/// History that a rule learns from: more than the days whose peaks it remembers.
const HISTORY: i64 = 15 * DAY;
/// Calls put in order at once, at 40 bytes each.
const STRETCH: u64 = 2_000_000;

/// Rows of budgets and rules; `None` deletes.
type Rows = Vec<(Vec<u8>, Option<Vec<u8>>)>;

impl Pipeline {
    /// Judges the calls of a batch.
    pub(super) fn judge(&mut self, batch: &EnrichedBatch, shapes: &[CallShape], now: Micros) -> Vec<Crossing> {
        if shapes.is_empty() {
            return Vec::new();
        }
        let found = self.watch.apply(ShapeView { batch, shapes }, now);
        self.ledger.take_over(found.clone());
        found
    }

    /// Returns the rows of budgets and rules that changed, for the commit that makes the change true.
    pub(super) fn dirty_rows(&mut self) -> Rows {
        let mut rows = self.ledger.take_dirty();
        rows.extend(self.watch.take_dirty());
        rows
    }

    /// Lets the rules that are new learn from what the lake and local state hold. Nothing follows from it.
    pub(super) fn learn_history(&mut self) -> anyhow::Result<()> {
        let new = self.watch.unlearned();
        if new.is_empty() {
            return Ok(());
        }
        tracing::info!(rules = new.join(", "), "what is usual is learned from the lake");
        let engine = lakeview::engine(&self.lake, self.live_rows())?;
        let from = self.newest_event.map_or(Micros(0), |newest| newest.plus(-HISTORY));
        let watch: &mut Watch = &mut self.watch;
        for_each_stretch(&self.lake, &engine, from, None, &mut |view| watch.learn(view))?;
        for (rule, target, at) in lakeview::last_breaches(&engine)? {
            self.watch.note_found(&rule, &target, at);
        }
        for fire in self.shared.fires()? {
            let breach = &fire.crossing.breach;
            self.watch.note_found(&breach.budget, &breach.target, breach.event_time);
        }
        self.watch.learned();
        Ok(())
    }
}

/// Hands on the calls of `[from, to)`, oldest first, each stretch in the order of their times.
pub(crate) fn for_each_stretch(
    lake: &Lake,
    engine: &QueryEngine,
    from: Micros,
    to: Option<Micros>,
    each: &mut dyn FnMut(ShapeView<'_>),
) -> anyhow::Result<()> {
    let files = lake.files(tables::CALLS)?;
    for date in engine.call_dates() {
        let day = parse_day(date).context("date of the lake")?;
        let start = Micros(i64::from(day) * DAY);
        let calls: u64 = files.iter().filter(|file| file.dt == day).map(|file| file.rows).sum();
        let parts = i64::try_from(calls / STRETCH + 1).unwrap_or(i64::MAX).min(1_440);
        for part in 0..parts {
            let (begin, end) = (start.plus(DAY * part / parts).max(from), start.plus(DAY * (part + 1) / parts));
            let end = to.map_or(end, |to| to.min(end));
            if begin >= end {
                continue;
            }
            let mut shapes = Vec::new();
            let batch = for_each_call(engine, begin, Some(end), &mut |delta| shapes.push(CallShape::of_delta(delta)))
                .context("read calls from the lake")?;
            shapes.sort_by_key(|shape| shape.event_time);
            each(ShapeView { batch: &batch, shapes: &shapes });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    use sluice_enforce::HoldState;
    use sluice_enforce::runaway::{Detector, fire_id};
    use sluice_ingest::files::{FolderSource, Mode as FolderMode};
    use sluice_schemas::time::{HOUR, MINUTE, SECOND};

    use super::super::simulation::step::VirtualClock;
    use super::super::{Mode, Pipeline, Settings};
    use super::*;
    use crate::config::{Config, Origin};

    /// 2026-10-20T12:00:00Z.
    const NOON: Micros = Micros(1_792_497_600_000_000);
    const RULE: &str = "[[runaway]]\nname = 'wild'\ndo = ['notify', 'hold']\nhold_for = '2h'\n";

    struct Place {
        folder: tempfile::TempDir,
        clock: VirtualClock,
    }

    impl Place {
        fn new(rules: &str) -> Self {
            let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
            std::fs::create_dir(folder.path().join("logs")).unwrap();
            let place = Self { folder, clock: VirtualClock::at(NOON.plus(10 * MINUTE)) };
            place.configure(rules);
            place
        }

        fn configure(&self, rules: &str) {
            std::fs::write(self.folder.path().join("sluice.toml"), format!("[lake]\npath = 'lake'\n{rules}")).unwrap();
        }

        fn file(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn open(&self, mode: Mode) -> Pipeline {
            let config = Config::load(&Origin { file: Some(self.file("sluice.toml").into()), lake: None }).unwrap();
            Pipeline::open(Settings { config, mode, act: true, clock: Arc::new(self.clock.clone()), board: Arc::default() }).unwrap()
        }

        /// Reads what is new in a process of its own; returns the breaches that it found.
        fn read(&self, mode: Mode) -> Vec<sluice_schemas::breach::Breach> {
            let mut pipeline = self.open(mode);
            run(&mut pipeline, &self.file("logs"));
            std::mem::take(&mut pipeline.breaches)
        }

        /// Writes a file of calls of a loop, six seconds apart, beginning with the `first`-th.
        fn write(&self, first: i64, calls: i64) {
            let lines: Vec<String> = (first..first + calls).map(|number| line(number, NOON.plus(number * 6 * SECOND))).collect();
            std::fs::write(self.file("logs").join(format!("{first:05}.jsonl")), lines.join("\n") + "\n").unwrap();
        }
    }

    fn run(pipeline: &mut Pipeline, logs: &Path) {
        let source = FolderSource::open(&[logs.to_owned()], &pipeline.positions, FolderMode::Once).unwrap();
        let (handle, commands) = Pipeline::handle();
        pipeline.run(Box::new(source), &handle, &commands, &mut |_, _| {}).unwrap();
    }

    fn line(number: i64, at: Micros) -> String {
        format!(
            r#"{{"schemaType":"ModelInvocationLog","schemaVersion":"1.0","timestamp":"{at}","accountId":"111122223333","identity":{{"arn":"arn:aws:iam::111122223333:user/a"}},"region":"us-east-1","requestId":"{number:08x}-0000-4000-8000-000000000000","operation":"Converse","modelId":"amazon.nova-pro-v1:0","requestMetadata":{{"agent_id":"bot","session_id":"s"}},"input":{{"inputTokenCount":100000}},"output":{{"outputTokenCount":500}}}}"#
        )
    }

    fn expected() -> String {
        fire_id("wild", "agent_id=bot", Detector::Loop, NOON)
    }

    #[test]
    fn a_loop_is_one_breach_however_often_the_process_ends() {
        for mode in [Mode::Live, Mode::Bulk] {
            let whole = Place::new(RULE);
            whole.write(0, 40);
            let found = whole.read(mode);
            assert_eq!(found.iter().map(|breach| breach.fire_id.clone()).collect::<Vec<_>>(), [expected()], "{found:?}");
            assert!(found[0].explanation.as_ref().is_some_and(|seen| seen.starts_with("loop: 7 near-equal calls in 36 s")), "{found:?}");
            let engine = crate::lakeview::engine(&whole.open(mode).lake, Vec::new()).unwrap();
            let stored = crate::lakeview::format(&engine.sql("SELECT explanation FROM breaches").unwrap(), "json");
            assert!(found[0].explanation.as_ref().is_some_and(|seen| stored.contains(seen.as_str())), "{stored}");
            let cut = Place::new(RULE);
            let mut found = Vec::new();
            for part in 0..10 {
                cut.write(part * 4, 4);
                found.extend(cut.read(mode).into_iter().map(|breach| (breach.fire_id, breach.event_time)));
            }
            assert_eq!(found, [(expected(), NOON.plus(36 * SECOND))]);
        }
    }

    #[test]
    fn the_loss_of_local_state_repeats_nothing() {
        let place = Place::new(RULE);
        place.write(0, 30);
        assert_eq!(place.read(Mode::Live).len(), 1);
        std::fs::remove_file(place.file("lake/_sluice/local.redb")).unwrap();
        // The episode goes on.
        place.write(30, 30);
        let mut pipeline = place.open(Mode::Live);
        assert!(pipeline.watch.unlearned().is_empty());
        pipeline.breaches.clear();
        run(&mut pipeline, &place.file("logs"));
        assert!(pipeline.breaches.is_empty(), "{:?}", pipeline.breaches);
        let fires = pipeline.shared.fires().unwrap();
        assert_eq!(fires.len(), 1);
    }

    #[test]
    fn a_hold_stays_until_its_end() {
        let place = Place::new(RULE);
        place.write(0, 30);
        place.read(Mode::Live);
        let mut pipeline = place.open(Mode::Live);
        let hold = |pipeline: &Pipeline| pipeline.shared.holds().unwrap().remove(0);
        let put = hold(&pipeline);
        assert_eq!((put.state, put.target.as_str(), put.budget()), (HoldState::Active, "agent_id=bot", Some("wild")));
        assert_eq!(put.until, Some(NOON.plus(10 * MINUTE + 2 * HOUR)));
        pipeline.reconcile(NOON.plus(HOUR)).unwrap();
        assert_eq!(hold(&pipeline).state, HoldState::Active);
        pipeline.reconcile(NOON.plus(3 * HOUR)).unwrap();
        assert_eq!(hold(&pipeline).state, HoldState::Released);
    }

    #[test]
    fn a_new_rule_learns_in_silence() {
        let place = Place::new("");
        place.write(0, 30);
        assert!(place.read(Mode::Live).is_empty());
        place.configure(RULE);
        place.write(30, 10);
        assert!(place.read(Mode::Live).is_empty(), "the loop was there before the rule");
        let pipeline = place.open(Mode::Live);
        assert!(pipeline.watch.unlearned().is_empty());
        assert_eq!(pipeline.watch.status()[0].targets, 1);
    }
}
