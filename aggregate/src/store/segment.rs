//! Pending rows of one local commit as bytes: a sequence of (table, date, Arrow IPC stream).

use std::io::Cursor;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;

/// Rows of one table and event date.
pub type Rows = (String, i32, RecordBatch);

/// A segment that does not decode.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// Cut short or not a segment.
    #[error("pending segment is cut short")]
    Truncated,
    /// Arrow refused.
    #[error("pending segment does not decode")]
    Arrow(#[from] ArrowError),
}

/// Encodes rows.
///
/// # Errors
/// Arrow refused a batch.
pub fn encode(rows: &[Rows]) -> Result<Vec<u8>, SegmentError> {
    let mut bytes = Vec::new();
    for (table, day, batch) in rows {
        let mut stream = Vec::new();
        let mut writer = StreamWriter::try_new(&mut stream, &batch.schema())?;
        writer.write(batch)?;
        writer.finish()?;
        drop(writer);
        bytes.extend((table.len() as u32).to_le_bytes());
        bytes.extend(table.as_bytes());
        bytes.extend(day.to_le_bytes());
        bytes.extend((stream.len() as u64).to_le_bytes());
        bytes.extend(stream);
    }
    Ok(bytes)
}

/// Decodes what [`encode`] made.
///
/// # Errors
/// Cut short, or Arrow refused.
pub fn decode(mut bytes: &[u8]) -> Result<Vec<Rows>, SegmentError> {
    let mut rows = Vec::new();
    while !bytes.is_empty() {
        let name_length = u32::from_le_bytes(take_array(&mut bytes)?) as usize;
        let name = take(&mut bytes, name_length)?;
        let table = std::str::from_utf8(name).map_err(|_| SegmentError::Truncated)?.to_owned();
        let day = i32::from_le_bytes(take_array(&mut bytes)?);
        let length = u64::from_le_bytes(take_array(&mut bytes)?);
        let stream = take(&mut bytes, usize::try_from(length).map_err(|_| SegmentError::Truncated)?)?;
        for batch in StreamReader::try_new(Cursor::new(stream), None)? {
            rows.push((table.clone(), day, batch?));
        }
    }
    Ok(rows)
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8], SegmentError> {
    let (head, tail) = bytes.split_at_checked(length).ok_or(SegmentError::Truncated)?;
    *bytes = tail;
    Ok(head)
}

fn take_array<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], SegmentError> {
    take(bytes, N)?.try_into().map_err(|_| SegmentError::Truncated)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Int64Array;
    use arrow::datatypes::{DataType, Field, Schema};
    use std::sync::Arc;

    #[test]
    fn rows_round_trip_and_a_cut_is_noticed() {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
        let batch = RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from(vec![1, 2, 3]))]).unwrap();
        let rows = vec![("calls".to_owned(), 20_000, batch.clone()), ("rejected".to_owned(), -1, batch)];
        let bytes = encode(&rows).unwrap();
        assert_eq!(decode(&bytes).unwrap(), rows);
        assert!(decode(&bytes[..bytes.len() - 1]).is_err());
    }
}
