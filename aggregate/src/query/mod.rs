//! SQL over the lake and the rows not committed yet: read only, bounded in memory, exact in money.
//!
//! Owns: one session over a fixed list of files and live rows. Does not own: the list (the lake), who may ask. The lake's
//! last commit plus live rows is one consistent set, so a plain `SUM … GROUP BY` over any table is right.

mod error;
mod format;
mod store;
mod table;

use std::path::PathBuf;
use std::sync::Arc;

use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::common::TableReference;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::StreamExt;
use sluice_schemas::tables;

use crate::lake::{Lake, LakeError, LakeFile, Objects, SealedEpoch};
use store::Storage;
use table::{DataFile, LakeTable, MissingFile};

pub use error::QueryError;
pub use format::{format_csv, format_json, format_table};

/// Memory a query may take unless told otherwise; more lets larger groups and sorts run without spilling to disk.
pub const MEMORY_LIMIT: usize = 256 << 20;

/// How many times the memory of a query its answer may take.
const ANSWER_FACTOR: usize = 4;

/// Files of one table as of one commit.
#[derive(Clone, Debug)]
pub struct TableFiles {
    /// Name of the table.
    pub table: String,
    /// Columns of the files, without the partition column.
    pub schema: SchemaRef,
    /// Absolute path and event date (`YYYY-MM-DD`) of each file.
    pub files: Vec<(PathBuf, String)>,
}

/// The files of every table as of a lake's last commit.
#[derive(Debug)]
pub struct Listing {
    tables: Vec<(String, SchemaRef, Vec<DataFile>)>,
    objects: Arc<dyn Objects>,
}

impl Listing {
    /// Takes what a lake's log says: dates, sizes, ranges of time.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn of(lake: &Lake) -> Result<Self, QueryError> {
        let listed = lake.tables().into_iter().map(|table| -> Result<_, LakeError> {
            let schema = lake.schema(&table)?;
            let files = lake.files(&table)?.into_iter();
            let files = files.map(|file| DataFile { dt: file.dt_text(), path: file.path, bytes: Some(file.bytes), time: file.time });
            let files = files.collect();
            Ok((table, schema, files))
        });
        let tables = listed.collect::<Result<_, _>>().map_err(|source| QueryError::Lake { source: Box::new(source) })?;
        Ok(Self { tables, objects: Arc::clone(lake.objects()) })
    }

    /// Takes what the lake's log would say of `calls` if a sealed epoch had taken the place of some files.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn replacing(lake: &Lake, replaced: &[LakeFile], sealed: &SealedEpoch) -> Result<Self, QueryError> {
        let mut listing = Self::of(lake)?;
        for (table, _, files) in listing.tables.iter_mut().filter(|(table, ..)| table == tables::CALLS) {
            files.retain(|file| replaced.iter().all(|gone| gone.path != file.path));
            let staged = sealed.files().get(table).into_iter().flatten();
            files.extend(staged.map(|file| DataFile {
                dt: file.dt.clone(),
                path: lake.objects().locate(&format!("{table}/{}", file.path)),
                bytes: Some(file.bytes),
                time: None,
            }));
        }
        Ok(listing)
    }
}

/// A session over one state of the lake.
pub struct QueryEngine {
    context: SessionContext,
    runtime: tokio::runtime::Runtime,
    tables: Vec<String>,
    call_dates: Vec<String>,
    memory_limit: usize,
}

impl QueryEngine {
    /// Opens a session over files and live rows (table, event date as days since 1970, rows). Built-in tables that are not
    /// in the list are empty. Must not be called, queried or dropped inside an async runtime: it owns one.
    ///
    /// # Errors
    /// Live rows of a table that is not there, or rows that do not fit their table.
    pub fn new(tables: Vec<TableFiles>, live: Vec<(String, i32, RecordBatch)>, memory_limit: usize) -> Result<Self, QueryError> {
        let listed = tables.into_iter().map(|table| {
            let files = table.files.into_iter().map(|(path, dt)| DataFile { path, dt, bytes: None, time: None }).collect();
            (table.table, table.schema, files)
        });
        Self::open(listed.collect(), live, memory_limit, None)
    }

    /// Opens a session over the last commit of a lake and live rows; ranges in the log save opening files.
    ///
    /// # Errors
    /// The lake's log cannot be read, or as [`Self::new`].
    pub fn of_lake(lake: &Lake, live: Vec<(String, i32, RecordBatch)>, memory_limit: usize) -> Result<Self, QueryError> {
        Self::of_listing(Listing::of(lake)?, live, memory_limit)
    }

    /// Opens a session over a listing and live rows, on any thread.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of_listing(listing: Listing, live: Vec<(String, i32, RecordBatch)>, memory_limit: usize) -> Result<Self, QueryError> {
        Self::open(listing.tables, live, memory_limit, Some(&listing.objects))
    }

    fn open(
        mut listed: Vec<(String, SchemaRef, Vec<DataFile>)>,
        live: Vec<(String, i32, RecordBatch)>,
        memory_limit: usize,
        objects: Option<&Arc<dyn Objects>>,
    ) -> Result<Self, QueryError> {
        for name in tables::ALL {
            if let (false, Some(schema)) = (listed.iter().any(|(table, ..)| table == name), tables::schema(name)) {
                listed.push((name.to_owned(), schema, Vec::new()));
            }
        }
        let names: Vec<String> = listed.iter().map(|(table, ..)| table.clone()).collect();
        if let Some((table, ..)) = live.iter().find(|(table, ..)| !names.contains(table)) {
            return Err(QueryError::unknown_table(table, &names));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|source| QueryError::Runtime { source })?;
        let context = session(memory_limit)?;
        let storage = Storage::of(objects).map_err(QueryError::of_plan)?;
        if let Some((url, store)) = storage.store() {
            context.register_object_store(url.as_ref(), store);
        }
        let mut engine = Self { context, runtime, tables: names, call_dates: Vec::new(), memory_limit };
        for (name, schema, files) in listed {
            let rows: Vec<(i32, RecordBatch)> =
                live.iter().filter(|(table, ..)| *table == name).map(|(_, dt, rows)| (*dt, rows.clone())).collect();
            engine.register(&name, &whole(&name, schema), (files, storage.clone()), &rows)?;
        }
        Ok(engine)
    }

    fn register(
        &mut self,
        name: &str,
        schema: &SchemaRef,
        files: (Vec<DataFile>, Storage),
        live: &[(i32, RecordBatch)],
    ) -> Result<(), QueryError> {
        let table = LakeTable::new(name, schema, files, live).map_err(|error| QueryError::of_plan(error.into()))?;
        if name == tables::CALLS {
            self.call_dates = table.dates();
        }
        self.context.register_table(TableReference::bare(name), Arc::new(table)).map_err(QueryError::of_plan)?;
        let upserted = ["window_start", "version", "final"].iter().all(|column| schema.field_with_name(column).is_ok());
        if upserted {
            let view = format!("{name}_latest");
            let frame = self.runtime.block_on(self.context.sql(&latest_rows(name))).map_err(QueryError::of_plan)?;
            self.context.register_table(TableReference::bare(view.as_str()), frame.into_view()).map_err(QueryError::of_plan)?;
            self.tables.push(view);
        }
        Ok(())
    }

    /// Returns the names of all tables and views.
    #[must_use]
    pub fn tables(&self) -> &[String] {
        &self.tables
    }

    /// Returns the event dates that have calls, oldest first.
    #[must_use]
    pub fn call_dates(&self) -> &[String] {
        &self.call_dates
    }

    /// Answers a query; at least one batch, if only to tell the columns.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub fn sql(&self, sql: &str) -> Result<Vec<RecordBatch>, QueryError> {
        self.runtime.block_on(self.sql_async(sql))
    }

    /// Answers a query from async code, on the caller's runtime.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn sql_async(&self, sql: &str) -> Result<Vec<RecordBatch>, QueryError> {
        let mut rows = self.stream(sql).await?;
        let schema = rows.schema();
        let mut batches = Vec::new();
        let (mut bytes, limit_bytes) = (0, self.memory_limit.saturating_mul(ANSWER_FACTOR));
        while let Some(batch) = rows.next().await {
            let batch = batch.map_err(|error| QueryError::of_run(error, self.memory_limit))?;
            bytes += batch.get_array_memory_size();
            if bytes > limit_bytes {
                return Err(QueryError::TooLarge { limit_bytes });
            }
            batches.push(batch);
        }
        if batches.is_empty() {
            batches.push(RecordBatch::new_empty(schema));
        }
        let plain = batches.iter().map(plain).collect::<Result<_, ArrowError>>();
        plain.map_err(|error| QueryError::of_run(error.into(), self.memory_limit))
    }

    /// Answers a query batch by batch, without keeping the answer; texts are views into shared buffers.
    ///
    /// # Errors
    /// See [`QueryError`]; or what `each` returns.
    pub(crate) fn for_each<E: From<QueryError>>(&self, sql: &str, mut each: impl FnMut(&RecordBatch) -> Result<(), E>) -> Result<(), E> {
        self.runtime.block_on(async {
            let mut rows = self.stream(sql).await?;
            while let Some(batch) = rows.next().await {
                each(&batch.map_err(|error| QueryError::of_run(error, self.memory_limit))?)?;
            }
            Ok(())
        })
    }

    async fn stream(&self, sql: &str) -> Result<SendableRecordBatchStream, QueryError> {
        let state = self.context.state();
        let dialect = state.config().options().sql_parser.dialect;
        let statement = state.sql_to_statement(sql, &dialect).map_err(QueryError::of_plan)?;
        let names = state.resolve_table_references(&statement).unwrap_or_default();
        let plan = state.statement_to_plan(statement).await.map_err(|error| {
            let unknown = names.iter().find(|name| !self.knows(name) && !state.table_functions().contains_key(name.table()));
            unknown.map_or_else(|| QueryError::of_plan(error), |name| QueryError::unknown_table(name.table(), &self.tables))
        })?;
        refuse_writes(&plan)?;
        let frame = self.context.execute_logical_plan(plan).await.map_err(QueryError::of_plan)?;
        frame.execute_stream().await.map_err(|error| match missing_file(&error) {
            Some(file) => file,
            None => QueryError::of_run(error, self.memory_limit),
        })
    }

    fn knows(&self, reference: &TableReference) -> bool {
        reference.schema().is_some_and(|schema| schema == "information_schema")
            || self.tables.iter().any(|table| table == reference.table())
    }
}

fn session(memory_limit: usize) -> Result<SessionContext, QueryError> {
    let config = SessionConfig::new()
        .with_target_partitions(1)
        .with_information_schema(true)
        .set_bool("datafusion.sql_parser.parse_float_as_decimal", true);
    let pool = Arc::new(FairSpillPool::new(memory_limit));
    let runtime = RuntimeEnvBuilder::new().with_memory_pool(pool).build_arc().map_err(QueryError::of_plan)?;
    Ok(SessionContext::new_with_config_rt(config, runtime))
}

/// Returns the SQL of a window's rows of the highest version; a window that lost its rows is left out.
#[must_use]
pub fn latest_rows(table: &str) -> String {
    let name = format!("\"{}\"", table.replace('"', "\"\""));
    format!(
        "SELECT t.* FROM {name} t JOIN (SELECT window_start AS latest_start, max(version) AS latest_version FROM {name} \
         GROUP BY window_start) latest ON t.window_start = latest_start AND t.version = latest_version WHERE t.final IS NOT NULL"
    )
}

/// Refuses every statement that is not a query, also inside EXPLAIN.
fn refuse_writes(plan: &LogicalPlan) -> Result<(), QueryError> {
    let statement = match plan {
        LogicalPlan::Ddl(ddl) => ddl.name(),
        LogicalPlan::Dml(dml) => dml.name(),
        LogicalPlan::Copy(_) => "COPY",
        LogicalPlan::Statement(statement) => statement.name(),
        _ => return plan.inputs().into_iter().try_for_each(refuse_writes),
    };
    Err(QueryError::ReadOnly { statement: statement.to_owned() })
}

/// Returns the schema of a table with the columns that a built-in one has by now: a lake that no newer program has written to lacks some.
fn whole(table: &str, found: SchemaRef) -> SchemaRef {
    let Some(known) = tables::schema(table) else { return found };
    let lacking: Vec<_> = known.fields().iter().filter(|field| found.column_with_name(field.name()).is_none()).cloned().collect();
    if lacking.is_empty() {
        return found;
    }
    Arc::new(Schema::new(found.fields().iter().cloned().chain(lacking).collect::<Vec<_>>()))
}

/// Gives texts the type that other code expects of them.
fn plain(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let schema = batch.schema();
    let (mut fields, mut columns) = (Vec::with_capacity(batch.num_columns()), Vec::with_capacity(batch.num_columns()));
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        let is_view = field.data_type() == &DataType::Utf8View;
        fields.push(if is_view { Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8)) } else { Arc::clone(field) });
        columns.push(if is_view { cast(column, &DataType::Utf8)? } else { Arc::clone(column) });
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
}

fn missing_file(error: &datafusion::error::DataFusionError) -> Option<QueryError> {
    let datafusion::error::DataFusionError::External(inner) = error.find_root() else {
        return None;
    };
    let missing = inner.downcast_ref::<MissingFile>()?;
    let source = std::io::Error::new(missing.source.kind(), missing.source.to_string());
    Some(QueryError::File { path: missing.path.clone(), source })
}
