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
