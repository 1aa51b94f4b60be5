//! Rows to Parquet column chunks, on any thread.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, SchemaRef};
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::basic::Compression;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesPtr, WriterVersion};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{ColumnPath, TypePtr};
use sluice_schemas::tables;

use super::chunk::{Assembler, Chunk, Pages};
use super::stats::Stats;
use super::{LakeError, columns, numbers, text};

/// Columns whose values hardly ever repeat: a dictionary would cost time and save nothing.
const DISTINCT: [&str; 5] = ["request_id", "event_id", "fire_id", "sha256", "raw"];

/// A row group whose columns are encoded, to be appended to its file in order.
#[derive(Debug)]
pub struct EncodedGroup {
    pub(crate) table: String,
    pub(crate) dt: i32,
    /// Columns of the file it can be part of.
    pub(crate) schema: SchemaRef,
    pub(crate) chunks: Vec<Chunk>,
    pub(crate) stats: Stats,
}

impl EncodedGroup {
    /// Returns the number of rows.
    #[must_use]
    pub const fn rows(&self) -> u64 {
        self.stats.rows
    }

    /// Returns the encoded size in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.chunks.iter().map(Chunk::bytes).sum()
    }
}

/// Encodes the columns of a batch of rows of one table and event date as a row group.
///
/// # Errors
/// The rows do not fit the table.
pub fn encode_group(table: &str, dt: i32, batch: &RecordBatch) -> Result<EncodedGroup, LakeError> {
    let schema = match tables::schema(table) {
        Some(schema) => schema,
        None => columns::plain(table, batch.schema_ref())?,
    };
    let rows = conform(table, &schema, batch)?;
    encode_rows(table, dt, &schema, &[rows])
}

/// Encodes rows that were brought into the table's form as one row group.
pub(crate) fn encode_rows(table: &str, dt: i32, schema: &SchemaRef, parts: &[Vec<ArrayRef>]) -> Result<EncodedGroup, LakeError> {
    let mut stats = Stats::default();
    // The factory wants a file writer only for its schema and properties.
    let (root, properties) = (parquet_schema(table, schema)?, properties(schema));
    let file = SerializedFileWriter::new(Vec::new(), root, properties).map_err(LakeError::parquet(table))?;
    let factory = ArrowRowGroupWriterFactory::new(&file, Arc::clone(schema));
    let mut writers = factory.create_column_writers(0).map_err(LakeError::parquet(table))?.into_iter();
    for columns in parts {
        stats.observe(schema, columns);
    }
    let mut leaves = file.schema_descr().columns().iter();
    let mut assembler = Assembler::default();
    let mut chunks = Vec::with_capacity(leaves.len());
    for (at, field) in schema.fields().iter().enumerate() {
        let column: Vec<ArrayRef> = parts.iter().filter_map(|columns| columns.get(at).cloned()).collect();
        let width = if matches!(field.data_type(), DataType::Map(..)) { 2 } else { 1 };
        let own: Vec<ArrowColumnWriter> = writers.by_ref().take(width).collect();
        let descriptors = leaves.by_ref().take(width);
        chunks.extend(
            match made_pages(field, &column) {
                Some(pages) => descriptors.zip(pages).map(|(leaf, pages)| assembler.assemble(leaf, pages)).collect::<Result<Vec<_>, _>>(),
                None => {
                    descriptors.for_each(drop);
                    by_crate(field, &column, own)
                }
            }
            .map_err(LakeError::parquet(table))?,
        );
    }
    Ok(EncodedGroup { table: table.to_owned(), dt, schema: Arc::clone(schema), chunks, stats })
}

/// Encodes columns here, where their form allows it; `None` leaves the column to the Parquet crate.
fn made_pages(field: &Field, parts: &[ArrayRef]) -> Option<Vec<Pages>> {
    match field.data_type() {
        DataType::Map(..) => text::map_pages(parts).map(Vec::from),
        DataType::Utf8 if DISTINCT.contains(&field.name().as_str()) => Some(vec![text::plain_pages(parts)?]),
        DataType::Utf8 => Some(vec![text::dictionary_pages(parts)?]),
        kind => Some(vec![numbers::number_pages(kind, parts)?]),
    }
}

fn by_crate(field: &Field, parts: &[ArrayRef], mut writers: Vec<ArrowColumnWriter>) -> parquet::errors::Result<Vec<Chunk>> {
    for part in parts {
        for (leaf, writer) in compute_leaves(field, part)?.iter().zip(&mut writers) {
            writer.write(leaf)?;
        }
    }
    writers.into_iter().map(|writer| writer.close().map(|chunk| Chunk::Arrow(Box::new(chunk)))).collect()
}

/// Brings the columns of a batch into the order and types of the table. A column of dictionaries stands for one of its values; a
/// column the batch lacks is null.
pub(crate) fn conform(table: &str, schema: &SchemaRef, batch: &RecordBatch) -> Result<Vec<ArrayRef>, LakeError> {
    if let Some(stray) = batch.schema_ref().fields().iter().find(|field| schema.column_with_name(field.name()).is_none()) {
        return Err(LakeError::Rows { table: table.to_owned(), detail: format!("no column '{}'", stray.name()) });
    }
    let column = |field: &arrow::datatypes::FieldRef| match batch.column_by_name(field.name()) {
        None => Ok(new_null_array(field.data_type(), batch.num_rows())),
        Some(column) if stands_for(column.data_type(), field.data_type()) => Ok(Arc::clone(column)),
        Some(column) => cast(column, field.data_type()).map_err(LakeError::arrow(table)),
    };
    schema.fields().iter().map(column).collect()
}

fn stands_for(have: &DataType, want: &DataType) -> bool {
    have == want || matches!(have, DataType::Dictionary(_, value) if value.as_ref() == want)
}

/// Returns the Parquet schema of a table's files.
pub(crate) fn parquet_schema(table: &str, schema: &SchemaRef) -> Result<TypePtr, LakeError> {
    let descriptor = ArrowSchemaConverter::new().with_coerce_types(true).convert(schema).map_err(LakeError::parquet(table))?;
    Ok(descriptor.root_schema_ptr())
}

/// Returns how a table's files are written: plain Parquet 1.0 for every reader, no Arrow schema inside, no page index, and statistics
/// only where a query would use them to pass over a row group.
pub(crate) fn properties(schema: &SchemaRef) -> WriterPropertiesPtr {
    let mut builder = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_created_by(format!("sluice version {}", env!("CARGO_PKG_VERSION")))
        .set_compression(Compression::SNAPPY)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_offset_index_disabled(true)
        .set_max_row_group_row_count(None)
        .set_coerce_types(true);
    for field in schema.fields() {
        let path = ColumnPath::from(field.name().as_str());
        if matches!(field.data_type(), DataType::Timestamp(..)) {
            builder = builder.set_column_statistics_enabled(path, EnabledStatistics::Chunk);
        } else if DISTINCT.contains(&field.name().as_str()) {
            builder = builder.set_column_dictionary_enabled(path, false);
        }
    }
    Arc::new(builder.build())
}

#[cfg(test)]
pub(crate) mod tests {
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;

    /// Writes the parts of a column as a row group, twice, so that offsets of the second are tried as well; every chunk is made here.
    pub(crate) fn written_twice(field: Field, parts: &[ArrayRef]) -> ParquetRecordBatchReaderBuilder<bytes::Bytes> {
        let schema: SchemaRef = Arc::new(arrow::datatypes::Schema::new(vec![field]));
        let rows: Vec<Vec<ArrayRef>> = parts.iter().map(|part| vec![Arc::clone(part)]).collect();
        let mut file = SerializedFileWriter::new(Vec::new(), parquet_schema("t", &schema).unwrap(), properties(&schema)).unwrap();
        for _ in 0..2 {
            let mut row_group = file.next_row_group().unwrap();
            for chunk in encode_rows("t", 0, &schema, &rows).unwrap().chunks {
                assert!(matches!(chunk, Chunk::Made(_)));
                chunk.append_to(&mut row_group).unwrap();
            }
            row_group.close().unwrap();
        }
        ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(file.into_inner().unwrap())).unwrap()
    }
}
