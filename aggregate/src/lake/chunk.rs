//! Column chunks: pages made here put together as the Parquet crate wants them, beside those it makes itself.

use std::io::Write;

use bytes::Bytes;
use parquet::arrow::arrow_writer::ArrowColumnChunk;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::column::page::{CompressedPage, Page, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::statistics::Statistics;
use parquet::file::writer::{SerializedPageWriter, SerializedRowGroupWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;

/// Level of the compression: the fastest that has entropy coding, which halves request ids.
const LEVEL: i32 = 1;

/// The encoded values of one column of a row group.
pub(crate) enum Chunk {
    /// By the Parquet crate.
    Arrow(Box<ArrowColumnChunk>),
    /// By this one.
    Made(Box<Made>),
}

/// A chunk that was put together here.
pub(crate) struct Made {
    bytes: Bytes,
    close: ColumnCloseResult,
}

impl std::fmt::Debug for Chunk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chunk").field("bytes", &self.bytes()).finish()
    }
}

impl Chunk {
    /// Returns its size.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Arrow(chunk) => chunk.close().bytes_written,
            Self::Made(made) => made.close.bytes_written,
        }
    }

    /// Adds it to a row group.
    pub(crate) fn append_to<W: Write + Send>(self, row_group: &mut SerializedRowGroupWriter<'_, W>) -> Result<()> {
        match self {
            Self::Arrow(chunk) => chunk.append_to_row_group(row_group),
            Self::Made(made) => row_group.append_column(&made.bytes, made.close),
        }
    }
}

/// One data page before compression: levels, then values.
pub(crate) struct DataPage {
    pub(crate) bytes: Vec<u8>,
    /// Values in it, nulls included.
    pub(crate) values: u32,
}

/// The pages of a column.
pub(crate) struct Pages {
    /// Text of the dictionary and the number of its entries.
    pub(crate) dictionary: Option<(Vec<u8>, u32)>,
    pub(crate) data: Vec<DataPage>,
    pub(crate) rows: u64,
    /// What a query may know of the values without reading them.
    pub(crate) statistics: Option<Statistics>,
}

/// Bytes of pages that are not worth compressing: setting up costs more than is gained, for the reader too.
const LITTLE: usize = 512;

/// Puts chunks together; holds the compressor, which is dear to set up.
#[derive(Default)]
pub(crate) struct Assembler(Option<zstd::bulk::Compressor<'static>>);

impl Assembler {
    fn pack(&mut self, page: Vec<u8>, compression: Compression) -> Result<Bytes> {
        if compression == Compression::UNCOMPRESSED {
            return Ok(page.into());
        }
        let external = |error: std::io::Error| ParquetError::External(Box::new(error));
        let compressor = match &mut self.0 {
            Some(compressor) => compressor,
            none => none.insert(zstd::bulk::Compressor::new(LEVEL).map_err(external)?),
        };
        compressor.compress(&page).map(Bytes::from).map_err(external)
    }

    /// Compresses pages and puts them together.
    pub(crate) fn assemble(&mut self, column: &ColumnDescPtr, pages: Pages) -> Result<Chunk> {
        let size = pages.data.iter().map(|page| page.bytes.len()).chain(pages.dictionary.iter().map(|(text, _)| text.len())).sum::<usize>();
        let compression = if size < LITTLE { Compression::UNCOMPRESSED } else { Compression::ZSTD(ZstdLevel::try_new(LEVEL)?) };
        let mut sink = TrackedWrite::new(Vec::new());
        let mut writer = SerializedPageWriter::new(&mut sink);
        let (mut values, mut uncompressed, mut first_data) = (0_i64, 0, None);
        let encoding = if pages.dictionary.is_some() { Encoding::RLE_DICTIONARY } else { Encoding::PLAIN };
        let dictionary = pages.dictionary.is_some();
        if let Some((text, count)) = pages.dictionary {
            let length = text.len();
            let buf = self.pack(text, compression)?;
            let page = Page::DictionaryPage { buf, num_values: count, encoding: Encoding::PLAIN, is_sorted: false };
            uncompressed += writer.write_page(CompressedPage::new(page, length))?.uncompressed_size;
        }
        for page in pages.data {
            values += i64::from(page.values);
            let length = page.bytes.len();
            let page = Page::DataPage {
                buf: self.pack(page.bytes, compression)?,
                num_values: page.values,
                encoding,
                def_level_encoding: Encoding::RLE,
                rep_level_encoding: Encoding::RLE,
                statistics: None,
            };
            let written = writer.write_page(CompressedPage::new(page, length))?;
            uncompressed += written.uncompressed_size;
            first_data.get_or_insert(written.offset.cast_signed());
        }
        writer.close()?;
        let bytes = Bytes::from(sink.into_inner()?);
        let mut encodings = vec![Encoding::RLE, Encoding::PLAIN];
        encodings.extend(dictionary.then_some(Encoding::RLE_DICTIONARY));
        let mut metadata = ColumnChunkMetaData::builder(column.clone());
        if let Some(statistics) = pages.statistics {
            metadata = metadata.set_statistics(statistics);
        }
        let metadata = metadata
            .set_compression(compression)
            .set_encodings(encodings)
            .set_num_values(values)
            .set_total_compressed_size(i64::try_from(bytes.len()).unwrap_or(i64::MAX))
            .set_total_uncompressed_size(i64::try_from(uncompressed).unwrap_or(i64::MAX))
            .set_dictionary_page_offset(dictionary.then_some(0))
            .set_data_page_offset(first_data.unwrap_or(0))
            .build()?;
        let close = ColumnCloseResult {
            bytes_written: bytes.len() as u64,
            rows_written: pages.rows,
            metadata,
            bloom_filter: None,
            column_index: None,
            offset_index: None,
        };
        Ok(Chunk::Made(Box::new(Made { bytes, close })))
    }
}
