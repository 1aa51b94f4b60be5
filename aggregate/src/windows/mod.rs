//! Windows that users declare in SQL, kept up to date call by call, and the built-in spend tables.
//!
//! Owns: planning, partial state for each window, merging, final rows, snapshots. Does not own: which calls are new (dedup),
//! when state is stored or published (the epoch), where rows go (the lake). Keeps C2: a window's result is the same for
//! every order and every split of its calls, to the last digit.

mod aggregation;
mod check;
mod deltas;
mod error;
mod measures;
mod output;
mod rollup;
mod snapshot;
mod span;
mod state;

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, UInt32Array, new_null_array};
use datafusion::arrow::compute::{CastOptions, SortColumn, cast_with_options, concat_batches, lexsort_to_indices, take, take_record_batch};
use datafusion::arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use datafusion::arrow::util::display::FormatOptions;
use sluice_schemas::{Micros, tables};

use aggregation::{Aggregation, RunError};
use span::Span;
use state::{Keeping, State};

pub use deltas::delta_rows;
pub use error::{Refusal, WindowError};
pub use rollup::{RollupError, Rollups};
pub use state::OVERFLOW_KEY;

/// Name of the column that holds the start of a window.
pub const WINDOW_START: &str = "window_start";
/// Groups that one window may have before further ones are folded into [`OVERFLOW_KEY`].
pub const MAX_GROUPS: usize = 1_000_000;
const EVENT_TIME: &str = "event_time";
/// A value that the target type cannot hold is an error, not a null.
const STRICT: CastOptions<'static> = CastOptions { safe: false, format_options: FormatOptions::new() };

/// A window on its way to be rebuilt.
#[derive(Debug)]
pub(crate) struct Rebuild {
    window: Micros,
    state: State,
}

/// A declared window: its SQL planned once, and the state of its open windows.
#[derive(Debug)]
pub struct WindowPlan {
    name: String,
    aggregation: Aggregation,
    span: Span,
    keeping: Keeping,
    /// Output columns that identify a row, the window start first.
    keys: Vec<usize>,
    /// Schema of [`Self::result`].
    result: SchemaRef,
    /// Schema of the table: the result, the version and whether it is final.
    table: SchemaRef,
    fingerprint: String,
    states: BTreeMap<i64, State>,
    /// Windows that start earlier and are not in `states` have rows that are not in memory.
    known_from: i64,
    /// Windows that end by then are final.
    closed_before: Micros,
}

impl WindowPlan {
    /// Plans the SQL of a window over `calls`.
    ///
    /// # Errors
    /// Refuses what cannot be kept exact call by call, with the reason.
    pub fn plan(name: &str, sql: &str, input: SchemaRef) -> Result<Self, WindowError> {
        let planned = |source| WindowError::Sql { window: name.to_owned(), source: Box::new(source) };
        let refused = |reason| WindowError::Refused { window: name.to_owned(), reason };
        let state = aggregation::session(tables::CALLS, input).map_err(planned)?;
        let logical = aggregation::logical_plan(&state, sql).map_err(planned)?;
        let aggregate = check::inspect(&logical).map_err(refused)?.clone();
        let aggregation = Aggregation::plan(&state, &logical).map_err(planned)?;
        let result = aggregation.output_schema();
        let start_output = result.index_of(WINDOW_START).map_err(|_| refused(Refusal::NoWindowStart))?;
        let start_column = aggregation.group_of_output(start_output).ok_or_else(|| refused(Refusal::NoWindowStart))?;
        let start_name = aggregation.group_name(start_column);
        let start = aggregate.group_expr.iter().find(|expr| span::without_alias(expr).schema_name().to_string() == start_name);
        let start = start.ok_or_else(|| refused(Refusal::NoWindowStart))?;
        let span = Span::of(start, EVENT_TIME).map_err(refused)?;
        let keys = output::keys(&aggregation, start_output).map_err(refused)?;
        output::refuse_floats(&aggregation).map_err(refused)?;
        let result = output::table_types(&result).map_err(refused)?;
        let fingerprint = snapshot::fingerprint(&aggregation);
        let keeping = Keeping { max_groups: MAX_GROUPS, start_column };
        let table = output::with_version(&result);
        let (states, known_from, closed_before) = (BTreeMap::new(), i64::MIN, Micros(i64::MIN));
        Ok(Self { name: name.to_owned(), aggregation, span, keeping, keys, result, table, fingerprint, states, known_from, closed_before })
    }

    /// Sets how many groups one window may have; more take memory, fewer fold rare keys into [`OVERFLOW_KEY`] sooner.
    #[must_use]
    pub const fn with_max_groups(mut self, max_groups: usize) -> Self {
        self.keeping.max_groups = max_groups;
        self
    }

    /// Returns the name of the window, which is the name of its table.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the schema of the window's table, as [`Self::upsert_rows`] makes them.
    #[must_use]
    pub fn output_schema(&self) -> SchemaRef {
        Arc::clone(&self.table)
    }

    /// Returns the output columns that identify a row, the window start first.
    #[must_use]
    pub fn keys(&self) -> Vec<&str> {
        self.keys.iter().map(|&at| self.result.field(at).name().as_str()).collect()
    }

    /// Returns the first moment after the window that starts at `window`.
    #[must_use]
    pub fn window_end(&self, window: Micros) -> Micros {
        self.span.end(window)
    }

    /// Returns the windows in memory, oldest first.
    pub fn windows(&self) -> impl Iterator<Item = Micros> + '_ {
        self.states.keys().copied().map(Micros)
    }

    /// Returns the windows that got rows while their earlier ones were not in memory: to be rebuilt before they are read.
    pub fn incomplete(&self) -> impl Iterator<Item = Micros> + '_ {
        self.states.iter().filter(|(_, state)| !state.whole).map(|(&start, _)| Micros(start))
    }

    /// Returns the bytes of all state.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.states.values().map(State::bytes).sum()
    }

    /// Folds a batch of new calls into their windows, late ones into the right one, and returns the windows touched.
    ///
    /// # Errors
    /// Nothing is folded when it fails.
    pub fn fold(&mut self, batch: &RecordBatch) -> Result<Vec<Micros>, WindowError> {
        let partial = self.aggregation.partial(batch).map_err(|error| self.failure(error))?;
        let routed = self.route(&partial)?;
        let touched = routed.keys().copied().map(Micros).collect();
        self.append(routed)?;
        Ok(touched)
    }

    /// Returns the windows that a batch of calls belongs to; nothing changes.
    ///
    /// # Errors
    /// As [`Self::fold`].
    pub fn windows_of(&self, batch: &RecordBatch) -> Result<Vec<Micros>, WindowError> {
        let partial = self.aggregation.partial(batch).map_err(|error| self.failure(error))?;
        Ok(self.route(&partial)?.into_keys().map(Micros).collect())
    }

    /// Replaces the state of one window by that of the given calls, which must be all of it: what the lake and the live
    /// rows hold in `[window, window_end)`.
    ///
    /// # Errors
    /// A row of another window, or what [`Self::fold`] fails on; the window is left as it was.
    pub fn rebuild(&mut self, window: Micros, batches: impl IntoIterator<Item = RecordBatch>) -> Result<(), WindowError> {
        let mut fresh = Self::begin_rebuild(window);
        batches.into_iter().try_for_each(|batch| self.fold_into(&mut fresh, &batch))?;
        self.replace(fresh);
        Ok(())
    }

    /// Begins to rebuild a window piece by piece; nothing changes before [`Self::replace`].
    pub(crate) const fn begin_rebuild(window: Micros) -> Rebuild {
        Rebuild { window, state: State::new(true) }
    }

    /// Adds calls to a window that is being rebuilt.
    pub(crate) fn fold_into(&self, fresh: &mut Rebuild, batch: &RecordBatch) -> Result<(), WindowError> {
        let partial = self.aggregation.partial(batch).map_err(|error| self.failure(error))?;
        for (start, rows) in self.route(&partial)? {
            self.check_window(fresh.window, start)?;
            fresh.state.append(rows, &self.aggregation, self.keeping).map_err(|error| self.failure(error))?;
        }
        Ok(())
    }

    /// Puts a rebuilt window in the place of what was known of it.
    pub(crate) fn replace(&mut self, mut fresh: Rebuild) {
        fresh.state.closed = self.states.get(&fresh.window.0).is_some_and(|state| state.closed);
        self.states.insert(fresh.window.0, fresh.state);
    }

    /// Returns the columns of `calls` that the window reads.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.aggregation.columns()
    }

    /// Returns the rows of a window, ordered by their keys; `None` when it has none.
    ///
    /// # Errors
    /// The window is not whole in memory, or an expression fails.
    pub fn result(&self, window: Micros) -> Result<Option<RecordBatch>, WindowError> {
        let Some(state) = self.whole_state(window)? else {
            return Ok(None);
        };
        let merged = state.merged(&self.aggregation, self.keeping).map_err(|error| self.failure(error))?;
        if merged.is_empty() {
            return Ok(None);
        }
        let rows = self.aggregation.finish(merged).map_err(|error| self.failure(error))?;
        self.shape(&rows).map(Some).map_err(|error| self.failure(error.into()))
    }

    /// Returns the rows of a window for its table under a version, the commit's epoch. They replace all rows of the window
    /// with a lower version. A window that lost its last row is one row with nulls and `final` null.
    ///
    /// # Errors
    /// As [`Self::result`].
    pub fn upsert_rows(&self, window: Micros, version: i64) -> Result<RecordBatch, WindowError> {
        let rows = self.result(window)?;
        let is_final = rows.is_some().then(|| self.window_end(window) <= self.closed_before);
        let mut columns: Vec<ArrayRef> = match rows {
            Some(rows) => rows.columns().to_vec(),
            None => self.emptied(window),
        };
        let count = columns.first().map_or(0, |column| column.len());
        columns.push(Arc::new(Int64Array::from(vec![version; count])));
        columns.push(Arc::new(BooleanArray::from(vec![is_final; count])));
        RecordBatch::try_new(Arc::clone(&self.table), columns).map_err(|error| self.failure(error.into()))
    }

    /// Declares that no call before `before` is expected any more, and returns the windows that thereby became final, to be
    /// published once more. A late call still changes them.
    pub fn close(&mut self, before: Micros) -> Vec<Micros> {
        self.closed_before = self.closed_before.max(before);
        let mut closed = Vec::new();
        for (&start, state) in &mut self.states {
            if !state.closed && self.span.end(Micros(start)) <= self.closed_before {
                state.closed = true;
                closed.push(Micros(start));
            }
        }
        closed
    }

    /// Forgets windows that end by `before`; until they are restored or rebuilt they cannot be read. After a restart, evict
    /// up to the latest event time in the lake.
    pub fn evict(&mut self, before: Micros) {
        self.known_from = self.known_from.max(before.0);
        let span = self.span;
        self.states.retain(|&start, _| span.end(Micros(start)) > before);
    }

    /// Returns the state of a window as Arrow IPC bytes that only the same declaration and engine version can read; `None`
    /// when it has no rows.
    ///
    /// # Errors
    /// The window is not whole in memory.
    pub fn snapshot(&self, window: Micros) -> Result<Option<Vec<u8>>, WindowError> {
        let Some(state) = self.whole_state(window)? else {
            return Ok(None);
        };
        let merged = state.merged(&self.aggregation, self.keeping).map_err(|error| self.failure(error))?;
        snapshot::write(&merged, self.aggregation.state_schema(), &self.fingerprint).map(Some).map_err(|error| self.failure(error.into()))
    }

    /// Restores the state of a window from a snapshot.
    ///
    /// # Errors
    /// The snapshot is of another declaration or engine version ([`WindowError::Fingerprint`]: rebuild from the lake), of
    /// another window, or corrupt.
    pub fn restore(&mut self, window: Micros, bytes: &[u8]) -> Result<(), WindowError> {
        let rows = snapshot::read(bytes, self.aggregation.state_schema(), &self.fingerprint, &self.name)?;
        let mut state = State::new(true);
        for (start, rows) in self.route(&rows)? {
            self.check_window(window, start)?;
            state.append(rows, &self.aggregation, self.keeping).map_err(|error| self.failure(error))?;
        }
        self.states.insert(window.0, state);
        Ok(())
    }

    /// Splits partial rows by window. Each part owns its buffers: the engine's output shares large ones.
    fn route(&self, partial: &[RecordBatch]) -> Result<BTreeMap<i64, RecordBatch>, WindowError> {
        let mut parts: BTreeMap<i64, Vec<RecordBatch>> = BTreeMap::new();
        for batch in partial {
            // The engine bins in nanoseconds.
            let starts = cast_with_options(batch.column(self.keeping.start_column), &tables::timestamp(), &STRICT);
            let starts = starts.map_err(|error| self.failure(error.into()))?;
            let starts = starts.as_primitive::<TimestampMicrosecondType>();
            if starts.null_count() > 0 {
                return Err(WindowError::NoEventTime { window: self.name.clone() });
            }
            let mut indices: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
            for (row, &start) in (0_u32..).zip(starts.values()) {
                indices.entry(start).or_default().push(row);
            }
            for (start, rows) in indices {
                let part = take_record_batch(batch, &UInt32Array::from(rows)).map_err(|error| self.failure(error.into()))?;
                parts.entry(start).or_default().push(part);
            }
        }
        let schema = self.aggregation.state_schema();
        let whole = parts.into_iter().map(|(start, parts)| match parts.as_slice() {
            [part] => Ok((start, part.clone())),
            parts => concat_batches(schema, parts).map(|part| (start, part)).map_err(|error| self.failure(error.into())),
        });
        whole.collect()
    }

    /// Adds routed rows to their windows; all of them or none.
    fn append(&mut self, routed: BTreeMap<i64, RecordBatch>) -> Result<(), WindowError> {
        let mut changed = Vec::with_capacity(routed.len());
        for (start, rows) in routed {
            let fresh = || State::new(start >= self.known_from);
            let mut state = self.states.get(&start).cloned().unwrap_or_else(fresh);
            state.append(rows, &self.aggregation, self.keeping).map_err(|error| self.failure(error))?;
            changed.push((start, state));
        }
        self.states.extend(changed);
        Ok(())
    }

    fn check_window(&self, expected: Micros, found: i64) -> Result<(), WindowError> {
        if found == expected.0 {
            return Ok(());
        }
        Err(WindowError::WrongWindow { window: self.name.clone(), expected, found: Micros(found) })
    }

    fn whole_state(&self, window: Micros) -> Result<Option<&State>, WindowError> {
        match self.states.get(&window.0) {
            Some(state) if state.whole => Ok(Some(state)),
            None if window.0 >= self.known_from => Ok(None),
            _ => Err(WindowError::Incomplete { window: self.name.clone(), start: window }),
        }
    }

    /// Orders final rows by their keys and casts them to the types of the table.
    fn shape(&self, rows: &[RecordBatch]) -> Result<RecordBatch, datafusion::arrow::error::ArrowError> {
        let rows = concat_batches(&self.aggregation.output_schema(), rows)?;
        let keys = self.keys.iter().map(|&at| SortColumn { values: Arc::clone(rows.column(at)), options: None });
        let order = lexsort_to_indices(&keys.collect::<Vec<_>>(), None)?;
        let columns = rows.columns().iter().zip(self.result.fields()).map(|(column, field)| {
            let column = take(column, &order, None)?;
            cast_with_options(&column, field.data_type(), &STRICT)
        });
        RecordBatch::try_new(Arc::clone(&self.result), columns.collect::<Result<_, _>>()?)
    }

    fn emptied(&self, window: Micros) -> Vec<ArrayRef> {
        let fields = self.result.fields().iter();
        let start = datafusion::arrow::array::TimestampMicrosecondArray::from(vec![window.0]).with_timezone("UTC");
        let start: ArrayRef = Arc::new(start);
        fields.map(|field| if field.name() == WINDOW_START { Arc::clone(&start) } else { new_null_array(field.data_type(), 1) }).collect()
    }

    fn failure(&self, error: RunError) -> WindowError {
        let window = self.name.clone();
        match error {
            RunError::Engine(source) => WindowError::Evaluate { window, source: Box::new(source) },
            RunError::Overflow { column } => WindowError::Overflow { window, column },
            RunError::MissingColumn { column } => WindowError::MissingColumn { window, column },
        }
    }
}
