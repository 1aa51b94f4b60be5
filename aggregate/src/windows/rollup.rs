//! The built-in spend tables, summed for each epoch from its deltas by the SQL texts in `sql/`.
//!
//! Additive: rows of one key may repeat over epochs, and their plain sum is right. Texts are replaced by numbers on the
//! way in and put back on the way out, so that the engine groups by a time and an integer. Keeps C1 and C2: what leaves
//! is what came in, checked for calls and cost at each [`Rollups::finish`].

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int32Array, RecordBatch, StringArray, UInt32Array};
use datafusion::arrow::compute::{SortColumn, cast, concat_batches, lexsort_to_indices, take_record_batch};
use datafusion::arrow::datatypes::{
    DataType, Decimal128Type, Field, Int32Type, Int64Type, Schema, SchemaRef, TimestampMicrosecondType, UInt32Type,
};
use datafusion::arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use hashbrown::HashMap;
use sluice_schemas::invariant::{Invariant, InvariantError};
use sluice_schemas::{ErrorClass, Micros, SpendView, StringTable, Sym, tables};

use super::aggregation::{Aggregation, RunError, logical_plan, session};
use super::deltas::{AMOUNTS, COUNTS, KEYS, OWNER_KEYS, delta_rows};
use super::state::{Keeping, State};

const MERGE: &str = include_str!("../../sql/deltas.sql");
/// Tables, their SQL and the column whose date is the partition.
const TABLES: [(&str, &str, &str); 4] = [
    (tables::SPEND_MINUTE, include_str!("../../sql/spend_minute.sql"), "minute"),
    (tables::SPEND_HOUR, include_str!("../../sql/spend_hour.sql"), "hour"),
    (tables::SPEND_DAY, include_str!("../../sql/spend_day.sql"), "day"),
    (tables::SPEND_SESSION, include_str!("../../sql/spend_session.sql"), "day"),
];
/// Groups are never folded here, and there is no window column.
const KEEPING: Keeping = Keeping { max_groups: usize::MAX, start_column: 0 };

/// A spend table that could not be summed.
#[derive(Debug, thiserror::Error)]
pub enum RollupError {
    /// The engine failed.
    #[error("spend tables cannot be summed")]
    Engine {
        /// What it said.
        #[source]
        source: Box<DataFusionError>,
    },
    /// A sum could leave its type, or a delta already did.
    #[error("spend of one epoch: '{column}' is out of range")]
    Overflow {
        /// The measure.
        column: String,
    },
    /// A batch that is not of [`delta_rows`]'s form.
    #[error("a batch of deltas has no usable column '{column}'")]
    Column {
        /// The column.
        column: String,
    },
    /// What leaves is not what came in.
    #[error("spend tables do not add up")]
    Invariant {
        /// The invariant.
        #[source]
        source: InvariantError,
    },
}

impl RollupError {
    /// Returns what the failure asks of the caller.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        ErrorClass::Bug
    }
}

impl From<RunError> for RollupError {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Engine(source) => Self::Engine { source: Box::new(source) },
            RunError::Overflow { column } => Self::Overflow { column },
            RunError::MissingColumn { column } => Self::Column { column },
        }
    }
}

impl From<ArrowError> for RollupError {
    fn from(error: ArrowError) -> Self {
        Self::Engine { source: Box::new(error.into()) }
    }
}

/// Distinct keys of an epoch, numbered in order of appearance.
#[derive(Debug, Default)]
struct Numbers {
    strings: StringTable,
    sessions: Vec<[Sym; KEYS.len()]>,
    session_of: HashMap<[Sym; KEYS.len()], u32>,
    owners: Vec<[Sym; OWNER_KEYS]>,
    owner_of: HashMap<[Sym; OWNER_KEYS], u32>,
    /// Owner of each session.
    owned_by: Vec<u32>,
}

/// What came in: calls and cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Totals {
    calls: i128,
    cost: i128,
    cost_max: i128,
}

/// The built-in spend tables of one epoch at a time.
#[derive(Debug)]
pub struct Rollups {
    merge: Aggregation,
    tables: Vec<(&'static str, &'static str, Aggregation)>,
    input: SchemaRef,
    state: State,
    numbers: Numbers,
    totals: Totals,
}

impl Rollups {
    /// Plans the SQL of the spend tables.
    ///
    /// # Errors
    /// Only if a text in `sql/` is broken.
    pub fn new() -> Result<Self, RollupError> {
        let input = input_schema();
        let planned = |source| RollupError::Engine { source: Box::new(source) };
        let plan = |sql: &str| {
            let session = session("deltas", Arc::clone(&input))?;
            Aggregation::plan(&session, &logical_plan(&session, sql)?)
        };
        let tables = TABLES.iter().map(|&(table, sql, time)| Ok((table, time, plan(sql)?)));
        let tables = tables.collect::<Result<Vec<_>, DataFusionError>>().map_err(planned)?;
        let merge = plan(MERGE).map_err(planned)?;
        let (state, numbers, totals) = (State::default(), Numbers::default(), Totals::default());
        Ok(Self { merge, tables, input, state, numbers, totals })
    }

    /// Adds the deltas of one batch.
    ///
    /// # Errors
    /// As [`Self::fold`].
    pub fn fold_view(&mut self, view: SpendView<'_>) -> Result<(), RollupError> {
        if view.deltas.is_empty() { Ok(()) } else { self.fold(delta_rows(view)) }
    }

    /// Adds rows of [`delta_rows`]. Memory grows with the distinct (minute, session) of the epoch, not with its calls.
    ///
    /// # Errors
    /// A measure is out of range or a column is missing; nothing is added then.
    pub fn fold(&mut self, batch: RecordBatch) -> Result<(), RollupError> {
        let totals = self.totals.plus(&batch)?;
        let sessions = self.numbers.number(&batch)?;
        let owners = sessions.values().iter().map(|&at| self.numbers.owned_by.get(at as usize).copied());
        let owners: ArrayRef = Arc::new(owners.collect::<UInt32Array>());
        let sessions: ArrayRef = Arc::new(sessions);
        let columns = self.input.fields().iter().map(|field| match field.name().as_str() {
            "session" => Ok(Arc::clone(&sessions)),
            "owner" => Ok(Arc::clone(&owners)),
            name => column(&batch, name).cloned(),
        });
        let rows = RecordBatch::try_new(Arc::clone(&self.input), columns.collect::<Result<_, _>>()?)?;
        let mut state = self.state.clone();
        for partial in self.merge.partial(&rows)? {
            // The engine's batches are slices of large shared buffers: keep a copy of the slice alone.
            let indices = UInt32Array::from_iter_values(0..partial.num_rows() as u32);
            state.append(take_record_batch(&partial, &indices)?, &self.merge, KEEPING)?;
        }
        (self.state, self.totals) = (state, totals);
        Ok(())
    }

    /// Returns the bytes of what was folded since the last [`Self::finish`]: a caller may end an epoch by it.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.state.bytes()
    }

    /// Returns the rows of every spend table by table and event date, exactly as `schemas::tables::schema` has them, and
    /// starts the next epoch.
    ///
    /// # Errors
    /// The engine fails, or calls and cost do not add up to what was folded.
    pub fn finish(&mut self) -> Result<Vec<(String, i32, RecordBatch)>, RollupError> {
        if self.state.rows() == 0 {
            return Ok(Vec::new());
        }
        let merged = self.merge.finish(self.state.merged(&self.merge, KEEPING)?)?;
        let merged = concat_batches(&self.merge.output_schema(), &merged)?;
        let mut staged = Vec::new();
        for (table, time, aggregation) in &self.tables {
            let rows = aggregation.finish(aggregation.partial(&merged)?)?;
            let rows = concat_batches(&aggregation.output_schema(), &rows)?;
            let found = Totals::default().plus(&rows)?;
            if found != self.totals {
                let detail = format!("{table}: deltas {:?}, rows {found:?}", self.totals);
                return Err(RollupError::Invariant { source: InvariantError { invariant: Invariant::C2, detail } });
            }
            staged.extend(self.numbers.table(table, time, &rows)?);
        }
        (self.state, self.numbers, self.totals) = (State::default(), Numbers::default(), Totals::default());
        Ok(staged)
    }
}

impl Totals {
    /// Adds the rows of a batch, refusing negative counts.
    fn plus(mut self, batch: &RecordBatch) -> Result<Self, RollupError> {
        for name in COUNTS {
            let values = column(batch, name)?.as_primitive_opt::<Int64Type>().ok_or_else(|| wrong(name))?;
            if values.null_count() > 0 || values.values().iter().any(|&value| value < 0) {
                return Err(RollupError::Overflow { column: name.to_owned() });
            }
            if name == "calls" {
                self.calls += values.values().iter().map(|&value| i128::from(value)).sum::<i128>();
            }
        }
        for (name, total) in AMOUNTS.into_iter().zip([&mut self.cost, &mut self.cost_max]) {
            let values = column(batch, name)?.as_primitive_opt::<Decimal128Type>().ok_or_else(|| wrong(name))?;
            for &value in values.values() {
                *total = total.checked_add(value).ok_or_else(|| RollupError::Overflow { column: name.to_owned() })?;
            }
        }
        Ok(self)
    }
}

impl Numbers {
    /// Returns the number of the session key of each row.
    fn number(&mut self, batch: &RecordBatch) -> Result<UInt32Array, RollupError> {
        let mut keys: Vec<Int32Array> = Vec::with_capacity(KEYS.len());
        let mut symbols: Vec<Vec<Sym>> = Vec::with_capacity(KEYS.len());
        for name in KEYS {
            let (column, texts) = dictionary(column(batch, name)?).ok_or_else(|| wrong(name))?;
            symbols.push(texts.iter().map(|text| self.strings.intern(text.unwrap_or(""))).collect());
            keys.push(column);
        }
        let mut known: HashMap<[i32; KEYS.len()], u32> = HashMap::new();
        let rows = (0..batch.num_rows()).map(|row| {
            let entry = std::array::from_fn(|at| keys[at].value(row));
            if let Some(&number) = known.get(&entry) {
                return Ok(number);
            }
            let key: Option<Vec<Sym>> = (0..KEYS.len()).map(|at| symbols[at].get(usize::try_from(entry[at]).ok()?).copied()).collect();
            let key = key.and_then(|key| key.try_into().ok()).ok_or_else(|| wrong("profile"))?;
            let number = self.session(key);
            known.insert(entry, number);
            Ok(number)
        });
        rows.collect::<Result<Vec<u32>, RollupError>>().map(UInt32Array::from)
    }

    fn session(&mut self, key: [Sym; KEYS.len()]) -> u32 {
        let (sessions, owned_by, owners) = (&mut self.sessions, &mut self.owned_by, &mut self.owners);
        let owner_of = &mut self.owner_of;
        *self.session_of.entry(key).or_insert_with(|| {
            let owner: [Sym; OWNER_KEYS] = std::array::from_fn(|at| key[at]);
            owned_by.push(*owner_of.entry(owner).or_insert_with(|| {
                owners.push(owner);
                owners.len() as u32 - 1
            }));
            sessions.push(key);
            sessions.len() as u32 - 1
        })
    }

    /// Puts the texts back, orders rows by time and key, and splits them by event date.
    fn table(&self, table: &str, time: &str, rows: &RecordBatch) -> Result<Vec<(String, i32, RecordBatch)>, RollupError> {
        let schema = tables::schema(table).ok_or_else(|| wrong(table))?;
        let number = if rows.column_by_name("owner").is_some() { "owner" } else { "session" };
        let order = [time, number].into_iter().map(|name| Ok(SortColumn { values: Arc::clone(column(rows, name)?), options: None }));
        let rows = take_record_batch(rows, &lexsort_to_indices(&order.collect::<Result<Vec<_>, RollupError>>()?, None)?)?;
        let numbers = column(&rows, number)?.as_primitive::<UInt32Type>();
        let columns = schema.fields().iter().map(|field| match KEYS.iter().position(|key| key == field.name()) {
            Some(at) => Ok(self.texts(number, at, numbers)),
            None => column(&rows, field.name()).cloned(),
        });
        let whole = RecordBatch::try_new(Arc::clone(&schema), columns.collect::<Result<_, RollupError>>()?)?;
        let times = column(&rows, time)?.as_primitive::<TimestampMicrosecondType>().values();
        let days: Vec<i32> = times.iter().map(|&at| Micros(at).day()).collect();
        let mut from = 0;
        let parts = days.chunk_by(|a, b| a == b).map(|part| {
            let rows = whole.slice(from, part.len());
            from += part.len();
            (table.to_owned(), part[0], rows)
        });
        Ok(parts.collect())
    }

    /// Returns the texts of one key column; the empty text is null.
    fn texts(&self, number: &str, at: usize, numbers: &UInt32Array) -> ArrayRef {
        let symbol = |row: u32| match number {
            "owner" => self.owners.get(row as usize).map(|key| key[at]),
            _ => self.sessions.get(row as usize).map(|key| key[at]),
        };
        let texts = numbers.values().iter().map(|&row| symbol(row).map(|text| self.strings.get(text)).filter(|text| !text.is_empty()));
        Arc::new(texts.collect::<StringArray>())
    }
}

/// Deltas with their keys as numbers.
fn input_schema() -> SchemaRef {
    let mut fields: Vec<Field> = ["minute", "last_event"].map(|name| Field::new(name, tables::timestamp(), true)).into();
    fields.extend(["session", "owner"].map(|name| Field::new(name, DataType::UInt32, true)));
    fields.extend(COUNTS.map(|name| Field::new(name, DataType::Int64, true)));
    fields.extend(AMOUNTS.map(|name| Field::new(name, tables::MONEY, true)));
    Arc::new(Schema::new(fields))
}

fn dictionary(column: &ArrayRef) -> Option<(Int32Array, StringArray)> {
    let wanted = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let column = if *column.data_type() == wanted { Arc::clone(column) } else { cast(column, &wanted).ok()? };
    let column = column.as_dictionary_opt::<Int32Type>()?;
    (column.keys().null_count() == 0).then(|| (column.keys().clone(), column.values().as_string::<i32>().clone()))
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef, RollupError> {
    batch.column_by_name(name).ok_or_else(|| wrong(name))
}

fn wrong(name: &str) -> RollupError {
    RollupError::Column { column: name.to_owned() }
}
