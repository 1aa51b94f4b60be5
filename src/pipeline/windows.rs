//! User-declared windows on the way of the calls: loaded from the lake when first touched, published with the epoch.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Context;
use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::TimestampMicrosecondType;
use sluice_aggregate::lake::Lake;
use sluice_aggregate::windows::WindowPlan;
use sluice_schemas::{Micros, tables};

use crate::lakeview;

/// The declared windows and what changed since the last publication.
#[derive(Debug, Default)]
pub(crate) struct Windows {
    plans: Vec<WindowPlan>,
    touched: Vec<BTreeSet<Micros>>,
}

impl Windows {
    /// Plans all declared windows and makes sure each has its table.
    pub(crate) fn open(declared: &[(String, String)], lake: &mut Lake, now: Micros) -> anyhow::Result<Self> {
        let schema = tables::schema(tables::CALLS).context("schema of calls")?;
        let mut plans = Vec::new();
        for (name, sql) in declared {
            let mut plan = WindowPlan::plan(name, sql, Arc::clone(&schema)).with_context(|| format!("window '{name}'"))?;
            lake.create_table(name, &plan.output_schema(), now).with_context(|| format!("table of window '{name}'"))?;
            // What the lake holds is not in memory: any window may have rows there.
            plan.evict(Micros(i64::MAX));
            plans.push(plan);
        }
        let touched = vec![BTreeSet::new(); plans.len()];
        Ok(Self { plans, touched })
    }

    /// Tells whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.plans.is_empty()
    }

    /// Folds new calls. A window met for the first time is first loaded from the lake and the given uncommitted rows.
    pub(crate) fn fold(&mut self, batch: &RecordBatch, lake: &Lake, pending: &[RecordBatch]) -> anyhow::Result<()> {
        for (plan, touched) in self.plans.iter_mut().zip(&mut self.touched) {
            touched.extend(plan.fold(batch)?);
            let incomplete: Vec<Micros> = plan.incomplete().collect();
            for window in incomplete {
                let end = plan.window_end(window);
                let mut rows = lakeview::calls_between(lake, window, end)?;
                for extra in pending.iter().chain([batch]) {
                    rows.push(between(extra, window, end)?);
                }
                plan.rebuild(window, rows)?;
            }
        }
        Ok(())
    }

    /// Returns the rows of every window that changed or became final, by table and date; the changes are then forgotten.
    pub(crate) fn publish(&mut self, epoch: u64, watermark: Micros) -> anyhow::Result<Vec<(String, i32, RecordBatch)>> {
        let mut rows = Vec::new();
        let version = i64::try_from(epoch).context("epoch")?;
        for (plan, touched) in self.plans.iter_mut().zip(&mut self.touched) {
            touched.extend(plan.close(watermark));
            for window in std::mem::take(touched) {
                rows.push((plan.name().to_owned(), window.day(), plan.upsert_rows(window, version)?));
            }
            plan.evict(watermark);
        }
        Ok(rows)
    }
}

fn between(batch: &RecordBatch, start: Micros, end: Micros) -> anyhow::Result<RecordBatch> {
    let times = batch.column_by_name("event_time").context("rows without event_time")?;
    let times = times.as_primitive::<TimestampMicrosecondType>();
    let inside: BooleanArray = times.iter().map(|at| Some(at.is_some_and(|at| at >= start.0 && at < end.0))).collect();
    Ok(filter_record_batch(batch, &inside)?)
}
