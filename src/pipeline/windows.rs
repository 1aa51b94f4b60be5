//! User-declared windows on the way of the calls: loaded from the lake when first touched, published with the epoch.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Context;
use arrow::array::RecordBatch;
use sluice_aggregate::lake::Lake;
use sluice_aggregate::query::QueryEngine;
use sluice_aggregate::seed::{open_windows, rebuild_window};
use sluice_aggregate::windows::{WindowError, WindowPlan};
use sluice_schemas::{Micros, tables};

use crate::lakeview::{self, LiveRows};

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
        if declared.is_empty() {
            return Ok(Self::default());
        }
        let mut plans = Vec::new();
        for (name, sql) in declared {
            let mut plan = WindowPlan::plan(name, sql, Arc::clone(&schema)).with_context(|| format!("window '{name}'"))?;
            lake.create_table(name, &plan.output_schema(), now).with_context(|| format!("table of window '{name}'"))?;
            // What the lake holds is not in memory: any window may have rows there.
            plan.evict(Micros(i64::MAX));
            plans.push(plan);
        }
        let touched = vec![BTreeSet::new(); plans.len()];
        let mut windows = Self { plans, touched };
        windows.load_open(lake)?;
        Ok(windows)
    }

    /// Loads the windows whose rows in the lake are not final: no new call need come before they close.
    fn load_open(&mut self, lake: &Lake) -> anyhow::Result<()> {
        let engine = lakeview::engine(lake, Vec::new())?;
        for plan in &mut self.plans {
            for window in open_windows(&engine, plan.name())? {
                rebuild_window(&engine, plan, window)?;
            }
        }
        Ok(())
    }

    /// Adds the windows of some calls to those found before, declaration by declaration; nothing changes.
    pub(crate) fn find(&self, rows: &RecordBatch, found: &mut Vec<BTreeSet<Micros>>) -> Result<(), WindowError> {
        found.resize(self.plans.len(), BTreeSet::new());
        self.plans.iter().zip(found).try_for_each(|(plan, found)| {
            found.extend(plan.windows_of(rows)?);
            Ok(())
        })
    }

    /// Loads windows again from lake rows that were corrected, to be published with the correction.
    pub(crate) fn reload(&mut self, engine: &QueryEngine, found: &[BTreeSet<Micros>]) -> anyhow::Result<()> {
        for ((plan, touched), found) in self.plans.iter_mut().zip(&mut self.touched).zip(found) {
            for window in found {
                rebuild_window(engine, plan, *window)?;
            }
            touched.extend(found);
        }
        Ok(())
    }

    /// Tells whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.plans.is_empty()
    }

    /// Folds new calls of one date. A window met for the first time is loaded from the lake, the given uncommitted rows and these.
    pub(crate) fn fold(&mut self, day: i32, batch: &RecordBatch, lake: &Lake, pending: &LiveRows) -> anyhow::Result<()> {
        for (plan, touched) in self.plans.iter_mut().zip(&mut self.touched) {
            touched.extend(plan.fold(batch)?);
            let incomplete: Vec<Micros> = plan.incomplete().collect();
            if incomplete.is_empty() {
                continue;
            }
            let mut live = pending.clone();
            live.push((tables::CALLS.to_owned(), day, batch.clone()));
            let engine = lakeview::engine(lake, live)?;
            for window in incomplete {
                rebuild_window(&engine, plan, window)?;
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
