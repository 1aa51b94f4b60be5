//! Tables of a message as encapsulated Arrow IPC record batches. Their schemas are fixed by the message's version and not sent.
//!
//! Foreign bytes are looked at before Arrow sees them: every buffer must lie within the body, every length be possible.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt8Type, UInt32Type, UInt64Type};
use arrow_array::{Array, ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray, UInt8Array, UInt32Array, UInt64Array};
use arrow_buffer::Buffer;
use arrow_ipc::reader::read_record_batch;
use arrow_ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions, write_message};
use arrow_ipc::{MessageHeader, MetadataVersion};
use arrow_schema::{DataType, Field, Schema};

use super::RelayError;

/// Most rows of a table: far above what a message holds.
const MAX_ROWS: i64 = 1 << 28;

/// A column under way.
pub(super) enum Column<'a> {
    I64(Vec<i64>),
    U64(Vec<u64>),
    U32(Vec<u32>),
    U8(Vec<u8>),
    MaybeU64(Vec<Option<u64>>),
    MaybeU32(Vec<Option<u32>>),
    Text(Vec<&'a str>),
    Bytes(Vec<&'a [u8]>),
}

/// Type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    I64,
    U64,
    U32,
    U8,
    MaybeU64,
    MaybeU32,
    Text,
    Bytes,
}

impl Kind {
    fn field(self, name: usize) -> Field {
        let (kind, nullable) = match self {
            Self::I64 => (DataType::Int64, false),
            Self::U64 => (DataType::UInt64, false),
            Self::U32 => (DataType::UInt32, false),
            Self::U8 => (DataType::UInt8, false),
            Self::MaybeU64 => (DataType::UInt64, true),
            Self::MaybeU32 => (DataType::UInt32, true),
            Self::Text => (DataType::Utf8, false),
            Self::Bytes => (DataType::Binary, false),
        };
        Field::new(name.to_string(), kind, nullable)
    }

    /// Bytes of the buffer behind that of nulls: values, or where each text ends.
    const fn fixed_bytes(self, rows: i64) -> i64 {
        match self {
            Self::I64 | Self::U64 | Self::MaybeU64 => rows * 8,
            Self::U32 | Self::MaybeU32 => rows * 4,
            Self::U8 => rows,
            Self::Text | Self::Bytes => (rows + 1) * 4,
        }
    }

    /// Buffers of such a column, the one of nulls included.
    const fn buffers(self) -> usize {
        match self {
            Self::Text | Self::Bytes => 3,
            _ => 2,
        }
    }
}

impl Column<'_> {
    const fn kind(&self) -> Kind {
        match self {
            Self::I64(_) => Kind::I64,
            Self::U64(_) => Kind::U64,
            Self::U32(_) => Kind::U32,
            Self::U8(_) => Kind::U8,
            Self::MaybeU64(_) => Kind::MaybeU64,
            Self::MaybeU32(_) => Kind::MaybeU32,
            Self::Text(_) => Kind::Text,
            Self::Bytes(_) => Kind::Bytes,
        }
    }

    fn array(self) -> ArrayRef {
        match self {
            Self::I64(values) => Arc::new(Int64Array::from(values)),
            Self::U64(values) => Arc::new(UInt64Array::from(values)),
            Self::U32(values) => Arc::new(UInt32Array::from(values)),
            Self::U8(values) => Arc::new(UInt8Array::from(values)),
            Self::MaybeU64(values) => Arc::new(UInt64Array::from(values)),
            Self::MaybeU32(values) => Arc::new(UInt32Array::from(values)),
            Self::Text(values) => Arc::new(StringArray::from_iter_values(values)),
            Self::Bytes(values) => Arc::new(BinaryArray::from_iter_values(values)),
        }
    }
}

fn schema(kinds: impl Iterator<Item = Kind>) -> Schema {
    Schema::new(kinds.enumerate().map(|(at, kind)| kind.field(at)).collect::<Vec<_>>())
}

/// Writes a table; nothing for one without rows.
pub(super) fn write(columns: Vec<Column<'_>>) -> Result<Vec<u8>, RelayError> {
    let schema = Arc::new(schema(columns.iter().map(Column::kind)));
    let batch = RecordBatch::try_new(schema, columns.into_iter().map(Column::array).collect())?;
    let mut out = Vec::new();
    if batch.num_rows() > 0 {
        let options = IpcWriteOptions::default();
        let (mut tracker, mut context) = (DictionaryTracker::new(true), IpcWriteContext::default());
        let (_, encoded) = IpcDataGenerator::default().encode(&batch, &mut tracker, &options, &mut context)?;
        write_message(&mut out, encoded, &options)?;
    }
    Ok(out)
}

/// A table that was read.
pub(super) struct Table {
    batch: RecordBatch,
}

const fn damaged(detail: &'static str) -> RelayError {
    RelayError::Damaged { detail }
}

impl Table {
    /// Reads a table of these columns.
    pub(super) fn read(bytes: &[u8], kinds: &[Kind]) -> Result<Self, RelayError> {
        let schema = Arc::new(schema(kinds.iter().copied()));
        if bytes.is_empty() {
            return Ok(Self { batch: RecordBatch::new_empty(schema) });
        }
        let (metadata, body) = split(bytes)?;
        let message = arrow_ipc::root_as_message(metadata).map_err(|_| damaged("relay message with a table that has no head"))?;
        let head = match message.header_type() {
            MessageHeader::RecordBatch => message.header_as_record_batch(),
            _ => None,
        };
        let head = head.ok_or(damaged("relay message with a table that is none"))?;
        check(&head, body, kinds)?;
        let body = Buffer::from(body);
        let batch = read_record_batch(&body, head, schema, &HashMap::new(), None, &MetadataVersion::V5)?;
        Ok(Self { batch })
    }

    pub(super) fn rows(&self) -> usize {
        self.batch.num_rows()
    }

    pub(super) fn i64(&self, column: usize) -> &[i64] {
        self.batch.column(column).as_primitive_opt::<Int64Type>().map_or(&[], |array| array.values())
    }

    pub(super) fn u64(&self, column: usize) -> &[u64] {
        self.batch.column(column).as_primitive_opt::<UInt64Type>().map_or(&[], |array| array.values())
    }

    pub(super) fn u32(&self, column: usize) -> &[u32] {
        self.batch.column(column).as_primitive_opt::<UInt32Type>().map_or(&[], |array| array.values())
    }

    pub(super) fn u8(&self, column: usize) -> &[u8] {
        self.batch.column(column).as_primitive_opt::<UInt8Type>().map_or(&[], |array| array.values())
    }

    pub(super) fn maybe_u64(&self, column: usize, row: usize) -> Option<u64> {
        let array = self.batch.column(column);
        array.is_valid(row).then(|| self.u64(column).get(row).copied()).flatten()
    }

    pub(super) fn maybe_u32(&self, column: usize, row: usize) -> Option<u32> {
        let array = self.batch.column(column);
        array.is_valid(row).then(|| self.u32(column).get(row).copied()).flatten()
    }

    pub(super) fn text(&self, column: usize, row: usize) -> &str {
        self.batch.column(column).as_string_opt::<i32>().map_or("", |array| array.value(row))
    }

    pub(super) fn bytes(&self, column: usize, row: usize) -> &[u8] {
        self.batch.column(column).as_binary_opt::<i32>().map_or(&[], |array| array.value(row))
    }
}

/// Splits an encapsulated message into its metadata and its body.
fn split(bytes: &[u8]) -> Result<(&[u8], &[u8]), RelayError> {
    let cut = || damaged("relay message with a table that is cut short");
    let (mark, rest) = bytes.split_first_chunk::<4>().ok_or_else(cut)?;
    if *mark != [0xff; 4] {
        return Err(damaged("relay message with a table that does not begin as one"));
    }
    let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or_else(cut)
}

/// Makes sure that Arrow finds what the head of a table promises.
fn check(head: &arrow_ipc::RecordBatch<'_>, body: &[u8], kinds: &[Kind]) -> Result<(), RelayError> {
    let (Some(nodes), Some(buffers)) = (head.nodes(), head.buffers()) else {
        return Err(damaged("relay message with a table without columns"));
    };
    let counts = nodes.len() == kinds.len() && buffers.len() == kinds.iter().map(|kind| kind.buffers()).sum::<usize>();
    if !counts || head.compression().is_some() || head.variadicBufferCounts().is_some() {
        return Err(damaged("relay message with a table of other columns"));
    }
    if !(1..=MAX_ROWS).contains(&head.length()) {
        return Err(damaged("relay message with a table of an impossible length"));
    }
    let mut lengths = buffers.iter().map(arrow_ipc::Buffer::length);
    let rows = head.length();
    for (node, kind) in nodes.iter().zip(kinds) {
        let nulls = if matches!(kind, Kind::MaybeU32 | Kind::MaybeU64) { 0..=head.length() } else { 0..=0 };
        if node.length() != head.length() || !nulls.contains(&node.null_count()) {
            return Err(damaged("relay message with a column of an impossible length"));
        }
        // Arrow takes for granted that buffers hold whole values, and enough of them.
        let mut next = || lengths.next().unwrap_or(-1);
        let (bits, fixed) = (next(), next());
        let sound = (node.null_count() == 0 || bits >= (rows + 7) / 8) && fixed == kind.fixed_bytes(rows);
        if !sound || (kind.buffers() == 3 && next() < 0) {
            return Err(damaged("relay message with a column that is too short or too long"));
        }
    }
    for buffer in buffers {
        let end = buffer.offset().checked_add(buffer.length()).and_then(|end| usize::try_from(end).ok());
        if buffer.offset() < 0 || buffer.length() < 0 || end.is_none_or(|end| end > body.len()) {
            return Err(damaged("relay message with a column outside of its table"));
        }
    }
    Ok(())
}
