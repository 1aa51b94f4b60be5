//! The built-in spend tables, summed for each epoch from its deltas by the SQL texts in `sql/`.
//!
//! Additive: rows of one key may repeat over epochs, and their plain sum is right. Deltas of the same minute and session
//! are added up as they come; the SQL runs once an epoch over what is left, with keys as numbers. Keeps C2: what leaves is
//! what came in, checked for every measure at each [`Rollups::finish`].

use std::sync::Arc;
use std::thread;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, DictionaryArray, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray, UInt32Array,
};
use datafusion::arrow::compute::{concat_batches, take_record_batch};
use datafusion::arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef, TimestampMicrosecondType, UInt32Type};
use datafusion::arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use hashbrown::HashMap;
use sluice_schemas::invariant::{Invariant, InvariantError};
use sluice_schemas::time::{DAY, HOUR};
use sluice_schemas::{ErrorClass, Micros, SpendView, StringTable, Sym, tables};

use super::aggregation::{Aggregation, RunError, logical_plan, session};
use super::deltas::{AMOUNTS, COUNTS, KEY, KEYS, TIMES, delta_rows, split};
use super::measures::{Totals, add_up, column, measures, total, wrong};

/// Tables, their SQL and the column whose date is the partition. The first of a chain reads `deltas`, the next one what the
/// one before it gave, which is less.
const CHAINS: [[(&str, &str, &str); 2]; 2] = [
    [
        (tables::SPEND_MINUTE, include_str!("../../sql/spend_minute.sql"), "minute"),
        (tables::SPEND_HOUR, include_str!("../../sql/spend_hour.sql"), "hour"),
    ],
    [
        (tables::SPEND_SESSION, include_str!("../../sql/spend_session.sql"), "day"),
        (tables::SPEND_DAY, include_str!("../../sql/spend_day.sql"), "day"),
    ],
];
/// Integers and amounts of a row, in the order of [`COUNTS`] and [`AMOUNTS`].
type Measures = ([i64; COUNTS.len()], [i128; AMOUNTS.len()]);

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

/// Deltas of one minute and session, added up.
#[derive(Clone, Copy, Debug)]
struct Merged {
    minute: i64,
    last_event: i64,
    session: u32,
    measures: Measures,
}

/// What one epoch brought so far.
#[derive(Debug, Default)]
struct Epoch {
    /// Keys of sessions; a session's number is that of its key.
    sessions: StringTable,
    /// Keys of owners, and the owner of each session.
    owners: StringTable,
    owned_by: Vec<Option<u32>>,
    rows: Vec<Merged>,
    row_of: HashMap<(i64, u32), u32>,
    totals: Totals,
}

/// One spend table.
#[derive(Debug)]
struct Rollup {
    table: &'static str,
    /// The column whose date is the partition.
    time: &'static str,
    aggregation: Aggregation,
}

/// Rows of a table and event date.
type Staged = (String, i32, RecordBatch);

/// The built-in spend tables of one epoch at a time.
#[derive(Debug)]
pub struct Rollups {
    chains: Vec<Vec<Rollup>>,
    input: SchemaRef,
    epoch: Epoch,
}

impl Rollups {
    /// Plans the SQL of the spend tables.
    ///
    /// # Errors
    /// Only if a text in `sql/` is broken.
    pub fn new() -> Result<Self, RollupError> {
        let input = input_schema();
        let planned = |source| RollupError::Engine { source: Box::new(source) };
        let chains = CHAINS.iter().map(|chain| plan_chain(chain, Arc::clone(&input))).collect::<Result<_, _>>().map_err(planned)?;
        Ok(Self { chains, input, epoch: Epoch::default() })
    }

    /// Adds the deltas of one batch.
    ///
    /// # Errors
    /// As [`Self::fold`].
    pub fn fold_view(&mut self, view: SpendView<'_>) -> Result<(), RollupError> {
        self.fold(delta_rows(view))
    }

    /// Adds rows of [`delta_rows`]. Memory grows with the distinct (minute, session) of the epoch, not with its calls.
    ///
    /// # Errors
    /// A measure is out of range or a column is missing; nothing is added then.
    pub fn fold(&mut self, batch: RecordBatch) -> Result<(), RollupError> {
        let rows = Rows::of(&batch)?;
        let totals = rows.add_to(self.epoch.totals)?;
        let sessions = rows.keys.iter().map(|key| self.epoch.number(key.unwrap_or_default())).collect::<Result<Vec<u32>, _>>()?;
        for row in 0..batch.num_rows() {
            let session = usize::try_from(rows.key_of[row]).ok().and_then(|at| sessions.get(at).copied());
            self.epoch.add(session.ok_or_else(|| wrong(KEY))?, &rows, row);
        }
        self.epoch.totals = totals;
        Ok(())
    }

    /// Returns the bytes of what was folded since the last [`Self::finish`], roughly: a caller may end an epoch by it.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let each_row = size_of::<Merged>() + 2 * size_of::<((i64, u32), u32)>();
        self.epoch.rows.len() * each_row + self.epoch.owned_by.len() * 256
    }

    /// Returns the rows of every spend table by table and event date, with the columns of `schemas::tables::schema` (texts as
    /// dictionaries), and starts the next epoch.
    ///
    /// # Errors
    /// The engine fails, or a measure does not add up to what was folded; the epoch is then kept.
    pub fn finish(&mut self) -> Result<Vec<Staged>, RollupError> {
        if self.epoch.rows.is_empty() {
            return Ok(Vec::new());
        }
        let merged = self.epoch.batch(&self.input)?;
        let epoch = &self.epoch;
        let staged = thread::scope(|scope| {
            let chains: Vec<_> = self.chains.iter().map(|chain| scope.spawn(|| epoch.sum(chain, &merged))).collect();
            let joined = chains.into_iter().map(|chain| chain.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            joined.collect::<Result<Vec<_>, _>>()
        })?;
        self.epoch = Epoch::default();
        Ok(staged.into_iter().flatten().collect())
    }
}

fn plan_chain(chain: &[(&'static str, &str, &'static str)], input: SchemaRef) -> Result<Vec<Rollup>, DataFusionError> {
    let (mut source, mut input) = ("deltas", input);
    let plan = |&(table, sql, time): &(&'static str, &str, &'static str)| {
        let session = session(source, Arc::clone(&input))?;
        let aggregation = Aggregation::plan(&session, &logical_plan(&session, sql)?)?;
        (source, input) = (table, aggregation.output_schema());
        Ok(Rollup { table, time, aggregation })
    };
    chain.iter().map(plan).collect()
}

/// Columns of a batch of deltas.
struct Rows<'a> {
    minutes: &'a [i64],
    last_events: &'a [i64],
    keys: &'a StringArray,
    key_of: &'a [i32],
    counts: [&'a [i64]; COUNTS.len()],
    amounts: [&'a [i128]; AMOUNTS.len()],
}

impl<'a> Rows<'a> {
    fn of(batch: &'a RecordBatch) -> Result<Self, RollupError> {
        let key = column(batch, KEY)?.as_dictionary_opt::<Int32Type>().filter(|key| key.keys().null_count() == 0);
        let key = key.ok_or_else(|| wrong(KEY))?;
        let keys = key.values().as_string_opt::<i32>().ok_or_else(|| wrong(KEY))?;
        let time = |name| -> Result<&'a [i64], RollupError> {
            let values = column(batch, name)?.as_primitive_opt::<TimestampMicrosecondType>().filter(|values| values.null_count() == 0);
            Ok(values.ok_or_else(|| wrong(name))?.values())
        };
        let [minute, last_event] = TIMES;
        let (counts, amounts) = measures(batch)?;
        Ok(Self { minutes: time(minute)?, last_events: time(last_event)?, keys, key_of: key.keys().values(), counts, amounts })
    }

    fn add_to(&self, totals: Totals) -> Result<Totals, RollupError> {
        total(&self.counts, &self.amounts, totals)
    }
}

impl Epoch {
    /// Returns the number of a session.
    fn number(&mut self, key: &str) -> Result<u32, RollupError> {
        let Sym(number) = self.sessions.intern(key);
        let at = number as usize;
        if self.owned_by.len() <= at {
            self.owned_by.resize(at + 1, None);
        }
        if self.owned_by[at].is_none() {
            let (_, owner_end) = split(key).ok_or_else(|| wrong(KEY))?;
            self.owned_by[at] = Some(self.owners.intern(&key[..owner_end]).0);
        }
        Ok(number)
    }

    fn add(&mut self, session: u32, rows: &Rows<'_>, row: usize) {
        let (minute, last_event) = (rows.minutes[row], rows.last_events[row]);
        let next = self.rows.len() as u32;
        let at = *self.row_of.entry((minute, session)).or_insert(next);
        if at == next {
            self.rows.push(Merged { minute, last_event, session, measures: Measures::default() });
        }
        let merged = &mut self.rows[at as usize];
        merged.last_event = merged.last_event.max(last_event);
        // The totals of the epoch hold, so no part of them can overflow.
        for (sum, values) in merged.measures.0.iter_mut().zip(&rows.counts) {
            *sum += values[row];
        }
        for (sum, values) in merged.measures.1.iter_mut().zip(&rows.amounts) {
            *sum += values[row];
        }
    }

    /// Returns the rows of a chain of tables.
    fn sum(&self, chain: &[Rollup], deltas: &RecordBatch) -> Result<Vec<Staged>, RollupError> {
        let mut staged = Vec::new();
        let mut input = deltas.clone();
        for Rollup { table, time, aggregation } in chain {
            let rows = aggregation.once(&input)?;
            input = concat_batches(&aggregation.output_schema(), &rows)?;
            let found = add_up(&input, Totals::default())?;
            if found != self.totals {
                let detail = format!("{table}: deltas {:?}, rows {found:?}", self.totals);
                return Err(RollupError::Invariant { source: InvariantError { invariant: Invariant::C2, detail } });
            }
            staged.extend(self.table(table, time, &input)?);
        }
        Ok(staged)
    }

    /// Returns what was added up as the table `deltas` of the SQL.
    fn batch(&self, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
        let rows = &self.rows;
        let time = |of: fn(&Merged) -> i64| -> ArrayRef {
            Arc::new(TimestampMicrosecondArray::from_iter_values(rows.iter().map(of)).with_timezone("UTC"))
        };
        let owner = |row: &Merged| self.owned_by.get(row.session as usize).copied().flatten();
        let mut columns: Vec<ArrayRef> = vec![
            time(|row| row.minute),
            time(|row| row.last_event),
            time(|row| row.minute - row.minute.rem_euclid(HOUR)),
            time(|row| row.minute - row.minute.rem_euclid(DAY)),
            Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.session))),
            Arc::new(rows.iter().map(owner).collect::<UInt32Array>()),
        ];
        for at in 0..COUNTS.len() {
            columns.push(Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.measures.0[at]))));
        }
        for at in 0..AMOUNTS.len() {
            let amounts = Decimal128Array::from_iter_values(rows.iter().map(|row| row.measures.1[at]));
            columns.push(Arc::new(amounts.with_data_type(tables::MONEY)));
        }
        RecordBatch::try_new(Arc::clone(schema), columns)
    }

    /// Puts the texts back, orders rows by time and key, and splits them by event date.
    fn table(&self, table: &str, time: &str, rows: &RecordBatch) -> Result<Vec<(String, i32, RecordBatch)>, RollupError> {
        let schema = tables::schema(table).ok_or_else(|| wrong(table))?;
        let (number, keys) = match rows.column_by_name("owner") {
            Some(_) => ("owner", &self.owners),
            None => ("session", &self.sessions),
        };
        let order = order(column(rows, time)?, column(rows, number)?);
        let rows = take_record_batch(rows, &order)?;
        let texts = texts(keys, column(&rows, number)?.as_primitive::<UInt32Type>())?;
        let columns = schema.fields().iter().map(|field| match KEYS.iter().position(|key| key == field.name()) {
            Some(at) => Ok(Arc::clone(&texts[at])),
            None => column(&rows, field.name()).cloned(),
        });
        let columns = columns.collect::<Result<Vec<_>, RollupError>>()?;
        let fields = schema.fields().iter().zip(&columns).map(|(field, column)| Field::new(field.name(), column.data_type().clone(), true));
        let whole = RecordBatch::try_new(Arc::new(Schema::new(fields.collect::<Vec<_>>())), columns)?;
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
}

/// Returns the order of rows by time and number.
fn order(times: &ArrayRef, numbers: &ArrayRef) -> UInt32Array {
    let (times, numbers) = (times.as_primitive::<TimestampMicrosecondType>().values(), numbers.as_primitive::<UInt32Type>().values());
    let mut rows: Vec<(i64, u32, u32)> = times.iter().zip(numbers).zip(0..).map(|((time, number), row)| (*time, *number, row)).collect();
    rows.sort_unstable();
    UInt32Array::from_iter_values(rows.into_iter().map(|(_, _, row)| row))
}

/// Returns a column for each of [`KEYS`] from numbers of joined keys, as dictionaries over the keys; the empty text is null.
fn texts(keys: &StringTable, numbers: &UInt32Array) -> Result<[ArrayRef; KEYS.len()], RollupError> {
    // Nothing has the number of the empty key, which every table begins with.
    let texts_of = |number: u32| {
        if number == Sym::EMPTY.0 {
            Ok([""; KEYS.len()])
        } else {
            split(keys.get(Sym(number))).map(|(texts, _)| texts).ok_or_else(|| wrong(KEY))
        }
    };
    let rows = (0..keys.len() as u32).map(texts_of).collect::<Result<Vec<_>, _>>()?;
    let numbers: Int32Array = numbers.unary(u32::cast_signed);
    let column = |at: usize| -> Result<ArrayRef, ArrowError> {
        let texts: StringArray = rows.iter().map(|texts| Some(texts[at]).filter(|text| !text.is_empty())).collect();
        Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(numbers.clone(), Arc::new(texts))?))
    };
    let columns = (0..KEYS.len()).map(column).collect::<Result<Vec<_>, _>>()?;
    columns.try_into().map_err(|_: Vec<_>| wrong(KEY))
}

/// Deltas with their keys as numbers.
fn input_schema() -> SchemaRef {
    let times = TIMES.into_iter().chain(["hour", "day"]);
    let mut fields: Vec<Field> = times.map(|name| Field::new(name, tables::timestamp(), true)).collect();
    fields.extend(["session", "owner"].map(|name| Field::new(name, DataType::UInt32, true)));
    fields.extend(COUNTS.map(|name| Field::new(name, DataType::Int64, true)));
    fields.extend(AMOUNTS.map(|name| Field::new(name, tables::MONEY, true)));
    Arc::new(Schema::new(fields))
}
