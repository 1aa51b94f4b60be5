//! Checkpoints of a Delta log: the whole state of a table as one Parquet file.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use arrow_json::{LineDelimitedWriter, ReaderBuilder};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use serde::{Deserialize, Serialize};
use sluice_schemas::tables::string_map;

use super::LakeError;
use super::action::{Line, parse_lines};
use super::snapshot::Snapshot;

/// Actions converted at once.
const CHUNK: usize = 8_192;

/// Content of `_last_checkpoint`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LastCheckpoint {
    pub(crate) version: i64,
    #[serde(default)]
    pub(crate) size: i64,
    /// Number of files of a checkpoint in parts, which this program does not write.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) parts: Option<i64>,
}

/// The leaves of a checkpoint that this program uses; other engines write more.
const LEAVES: [&str; 24] = [
    "txn.appId",
    "txn.version",
    "txn.lastUpdated",
    "add.path",
    "add.partitionValues",
    "add.size",
    "add.modificationTime",
    "add.dataChange",
    "add.stats",
    "remove.path",
    "remove.deletionTimestamp",
    "remove.dataChange",
    "remove.extendedFileMetadata",
    "remove.partitionValues",
    "remove.size",
    "metaData.id",
    "metaData.name",
    "metaData.format",
    "metaData.schemaString",
    "metaData.partitionColumns",
    "metaData.configuration",
    "metaData.createdTime",
    "protocol.minReaderVersion",
    "protocol.minWriterVersion",
];

fn schema() -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let long = |name: &str| Field::new(name, DataType::Int64, true);
    let int = |name: &str| Field::new(name, DataType::Int32, true);
    let flag = |name: &str| Field::new(name, DataType::Boolean, true);
    let map = |name: &str| Field::new(name, string_map(), true);
    let group = |name: &str, fields: Vec<Field>| Field::new(name, DataType::Struct(Fields::from(fields)), true);
    let names = Field::new("partitionColumns", DataType::List(Arc::new(Field::new("element", DataType::Utf8, true))), true);
    Arc::new(Schema::new(vec![
        group("txn", vec![text("appId"), long("version"), long("lastUpdated")]),
        group("add", vec![text("path"), map("partitionValues"), long("size"), long("modificationTime"), flag("dataChange"), text("stats")]),
        group(
            "remove",
            vec![
                text("path"),
                long("deletionTimestamp"),
                flag("dataChange"),
                flag("extendedFileMetadata"),
                map("partitionValues"),
                long("size"),
            ],
        ),
        group(
            "metaData",
            vec![
                text("id"),
                text("name"),
                group("format", vec![text("provider"), map("options")]),
                text("schemaString"),
                names,
                map("configuration"),
                long("createdTime"),
            ],
        ),
        group("protocol", vec![int("minReaderVersion"), int("minWriterVersion")]),
    ]))
}

/// Encodes a table's state; returns the file and the number of actions in it.
pub(crate) fn write(snapshot: &Snapshot, path: &str) -> Result<(Vec<u8>, usize), LakeError> {
    let lines = snapshot.lines();
    let schema = schema();
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), Arc::clone(&schema), Some(properties)).map_err(LakeError::parquet(path))?;
    let mut decoder = ReaderBuilder::new(schema).build_decoder().map_err(LakeError::arrow(path))?;
    for chunk in lines.chunks(CHUNK) {
        decoder.serialize(chunk).map_err(LakeError::arrow(path))?;
        while let Some(batch) = decoder.flush().map_err(LakeError::arrow(path))? {
            writer.write(&batch).map_err(LakeError::parquet(path))?;
        }
    }
    let bytes = writer.into_inner().map_err(LakeError::parquet(path))?;
    Ok((bytes, lines.len()))
}

/// Decodes a checkpoint into the lines that build the table's state.
pub(crate) fn read(bytes: Vec<u8>, path: &str) -> Result<Vec<Line>, LakeError> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes)).map_err(LakeError::parquet(path))?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), LEAVES);
    let reader = builder.with_projection(mask).with_batch_size(CHUNK).build().map_err(LakeError::parquet(path))?;
    let mut lines = Vec::new();
    for batch in reader {
        let batch = batch.map_err(LakeError::arrow(path))?;
        let mut text = LineDelimitedWriter::new(Vec::new());
        text.write(&batch).and_then(|()| text.finish()).map_err(LakeError::arrow(path))?;
        lines.extend(parse_lines(&text.into_inner()).map_err(|error| LakeError::corrupt(path, error))?);
    }
    Ok(lines)
}
