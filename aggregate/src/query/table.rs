//! One table of the lake for the query engine: the Parquet files of the last commit and the rows that are not committed yet.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, StringArray, TimestampMicrosecondArray, new_null_array};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::union::UnionExec;
use sluice_schemas::time::{DAY, format_day, parse_day};
use sluice_schemas::{Micros, tables};

use super::store::Storage;
use crate::windows::WINDOW_START;

/// One Parquet file of a table.
#[derive(Clone, Debug)]
pub(super) struct DataFile {
    pub(super) path: PathBuf,
    pub(super) dt: String,
    /// Size, where the log tells.
    pub(super) bytes: Option<u64>,
    /// Range of the table's time column, where the log tells.
    pub(super) time: Option<(Micros, Micros)>,
}

/// A table of files and rows.
#[derive(Debug)]
pub(super) struct LakeTable {
    /// Columns of the files, then `dt`.
    schema: SchemaRef,
    file_schema: SchemaRef,
    files: Vec<DataFile>,
    storage: Storage,
    live: Vec<RecordBatch>,
    /// Time column whose date is the partition.
    time_column: Option<&'static str>,
}

impl LakeTable {
    /// Makes a table; `live` rows are brought to its columns and types.
    pub(super) fn new(
        name: &str,
        file_schema: &SchemaRef,
        (files, storage): (Vec<DataFile>, Storage),
        live: &[(i32, RecordBatch)],
    ) -> std::result::Result<Self, ArrowError> {
        let columns = file_schema.fields().iter().filter(|field| field.name() != tables::PARTITION);
        let mut fields: Vec<FieldRef> = columns.map(as_view).collect();
        let file_schema = Arc::new(Schema::new(fields.clone()));
        fields.push(partition_field());
        let schema = Arc::new(Schema::new(fields));
        let live = live.iter().map(|(dt, rows)| conform(&schema, *dt, rows)).collect::<std::result::Result<_, _>>()?;
        let time_column = match name {
            tables::CALLS => Some("event_time"),
            tables::SPEND_MINUTE => Some("minute"),
            tables::SPEND_HOUR => Some("hour"),
            _ => schema.field_with_name(WINDOW_START).is_ok().then_some(WINDOW_START),
        };
        Ok(Self { schema, file_schema, files, storage, live, time_column })
    }

    /// Returns the distinct dates with rows, oldest first.
    pub(super) fn dates(&self) -> Vec<String> {
        let live = self.live.iter().filter_map(|rows| {
            let dates = rows.column(rows.num_columns() - 1).as_any().downcast_ref::<StringArray>()?;
            (!dates.is_empty()).then(|| dates.value(0).to_owned())
        });
        let mut dates: Vec<String> = self.files.iter().map(|file| file.dt.clone()).chain(live).collect();
        dates.sort_unstable();
        dates.dedup();
        dates
    }

    fn predicate(&self, state: &dyn Session, filters: &[Expr]) -> Result<Option<Arc<dyn PhysicalExpr>>> {
        let Some(filter) = conjunction(filters.iter().cloned()) else {
            return Ok(None);
        };
        let schema = DFSchema::try_from(Arc::clone(&self.schema))?;
        state.create_physical_expr(filter, &schema).map(Some)
    }

    /// Returns the files that can have rows for which the predicate holds.
    fn prune(&self, predicate: Option<&Arc<dyn PhysicalExpr>>) -> Result<Vec<&DataFile>> {
        let Some(predicate) = predicate else {
            return Ok(self.files.iter().collect());
        };
        let pruning = PruningPredicateBuilder::new().with_file_schema(Arc::clone(&self.schema)).try_build(Arc::clone(predicate))?;
        let kept = pruning.prune(&FileRanges(self))?;
        Ok(self.files.iter().zip(kept).filter(|(_, kept)| *kept).map(|(file, _)| file).collect())
    }

    fn scan_files(
        &self,
        files: &[&DataFile],
        predicate: Option<Arc<dyn PhysicalExpr>>,
        projection: Option<&Vec<usize>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let table = TableSchema::builder(Arc::clone(&self.file_schema)).with_table_partition_cols(vec![partition_field()]).build();
        let mut source = ParquetSource::new(table);
        if let Some(predicate) = predicate {
            source = source.with_predicate(predicate);
        }
        let files = files.iter().map(|file| self.partitioned(file)).collect::<Result<Vec<_>>>()?;
        let config = FileScanConfigBuilder::new(self.storage.url(), Arc::new(source))
            .with_file_group(FileGroup::new(files))
            .with_projection_indices(projection.cloned())?
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }

    fn partitioned(&self, file: &DataFile) -> Result<PartitionedFile> {
        let missing = |source: std::io::Error| DataFusionError::External(Box::new(MissingFile { path: file.path.clone(), source }));
        let bytes = match file.bytes {
            Some(bytes) => bytes,
            None => self.storage.size(&file.path).map_err(missing)?,
        };
        let mut partitioned = PartitionedFile::new(String::new(), bytes);
        partitioned.object_meta.location = self.storage.path(&file.path)?;
        Ok(partitioned.with_partition_values(vec![ScalarValue::from(file.dt.as_str())]))
    }
}

#[async_trait]
impl TableProvider for LakeTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let predicate = self.predicate(state, filters)?;
        let files = self.prune(predicate.as_ref())?;
        let mut parts: Vec<Arc<dyn ExecutionPlan>> = Vec::new();
        if !files.is_empty() {
            parts.push(self.scan_files(&files, predicate, projection)?);
        }
        if !self.live.is_empty() || parts.is_empty() {
            parts.push(MemorySourceConfig::try_new_exec(std::slice::from_ref(&self.live), Arc::clone(&self.schema), projection.cloned())?);
        }
        match (parts.pop(), parts.pop()) {
            (Some(only), None) => Ok(only),
            (Some(live), Some(files)) => UnionExec::try_new(vec![files, live]),
            (None, _) => Err(DataFusionError::Internal("a table without parts".to_owned())),
        }
    }
}

/// What is known of each file without opening it.
struct FileRanges<'a>(&'a LakeTable);

impl FileRanges<'_> {
    fn column(&self, column: &Column, pick: fn((Micros, Micros)) -> Micros) -> Option<ArrayRef> {
        if column.name == tables::PARTITION {
            return Some(Arc::new(self.0.files.iter().map(|file| Some(file.dt.as_str())).collect::<StringArray>()));
        }
        if Some(column.name.as_str()) != self.0.time_column {
            return None;
        }
        let range = |file: &DataFile| {
            let day = || parse_day(&file.dt).map(|day| Micros(i64::from(day) * DAY));
            file.time.or_else(|| day().map(|start| (start, start.plus(DAY - 1))))
        };
        let values = self.0.files.iter().map(|file| range(file).map(|range| pick(range).0));
        Some(Arc::new(values.collect::<TimestampMicrosecondArray>().with_timezone("UTC")))
    }
}

impl PruningStatistics for FileRanges<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.column(column, |(min, _)| min)
    }
    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.column(column, |(_, max)| max)
    }
    fn num_containers(&self) -> usize {
        self.0.files.len()
    }
    fn null_counts(&self, _: &Column) -> Option<ArrayRef> {
        None
    }
    fn row_counts(&self) -> Option<ArrayRef> {
        None
    }
    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}

/// Texts are read as views: a page's dictionary is shared by its rows instead of copied to each.
fn as_view(field: &FieldRef) -> FieldRef {
    if field.data_type() == &DataType::Utf8 {
        Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8View))
    } else {
        Arc::clone(field)
    }
}

fn partition_field() -> FieldRef {
    Arc::new(Field::new(tables::PARTITION, DataType::Utf8, false))
}

/// A file of the list that is not there.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {}", path.display())]
pub(super) struct MissingFile {
    pub(super) path: PathBuf,
    #[source]
    pub(super) source: std::io::Error,
}

/// Brings rows to the columns and types of a table and adds the partition.
fn conform(schema: &SchemaRef, dt: i32, rows: &RecordBatch) -> std::result::Result<RecordBatch, ArrowError> {
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    let columns = schema.fields().iter().map(|field| -> std::result::Result<ArrayRef, ArrowError> {
        if field.name() == tables::PARTITION {
            return Ok(Arc::new(StringArray::from_iter_values(std::iter::repeat_n(format_day(dt), rows.num_rows()))));
        }
        match rows.column_by_name(field.name()) {
            Some(column) if column.data_type() == field.data_type() => Ok(Arc::clone(column)),
            Some(column) => cast_with_options(column, field.data_type(), &strict),
            None => Ok(new_null_array(field.data_type(), rows.num_rows())),
        }
    });
    RecordBatch::try_new(Arc::clone(schema), columns.collect::<std::result::Result<_, _>>()?)
}
