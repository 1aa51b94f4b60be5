//! Finds where records end in a stream of bytes: at a newline, or, where a writer left newlines out, between two JSON values.
//!
//! Cuts only; what a record means is the decoder's business.

use std::io::{self, Read};

use memchr::{memchr, memrchr};
use serde::de::IgnoredAny;
use serde_json::error::Category;
use sha2::{Digest, Sha256};
use sluice_schemas::Whole;

use crate::decode::{is_one_value, without_mark};

#[cfg(test)]
mod tests;

/// Size at which a piece is cut at its last record.
pub(crate) const PIECE_BYTES: usize = 4 << 20;
/// Longest line taken for a record: sixteen times what CloudWatch delivers in one event.
pub(crate) const MAX_LINE: usize = 16 << 20;
/// Largest file read as one JSON value. CloudTrail promises no more than 50 MB inflated.
pub(crate) const MAX_DOCUMENT: usize = 64 << 20;
/// Bytes kept of what is refused without a look inside.
pub(crate) const RAW_HEAD: usize = 64 << 10;

/// Longest refused record that is kept whole.
pub(crate) const RAW_WHOLE: usize = 1 << 20;

/// Returns what is kept of a refused record, and what the whole was where that is not all of it.
pub(crate) fn kept(bytes: &[u8]) -> (Vec<u8>, Option<Box<Whole>>) {
    if bytes.len() <= RAW_WHOLE {
        return (bytes.to_vec(), None);
    }
    (head(bytes), Some(Box::new(Whole { bytes: bytes.len() as u64, sha256: sha256(bytes) })))
}

/// Returns a SHA-256, hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns what is kept of bytes that are refused without a look inside.
pub(crate) fn head(bytes: &[u8]) -> Vec<u8> {
    bytes[..bytes.len().min(RAW_HEAD)].to_vec()
}

/// What a stretch of text is, taken as JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Exactly one value.
    One,
    /// The beginning of one value, or nothing yet.
    Prefix,
    /// Neither.
    Other,
}

/// Tells what `bytes` are.
pub(crate) fn shape(bytes: &[u8]) -> Shape {
    match serde_json::from_slice::<IgnoredAny>(without_mark(bytes)) {
        Ok(_) => Shape::One,
        Err(error) if error.classify() == Category::Eof => Shape::Prefix,
        Err(_) => Shape::Other,
    }
}

/// Returns the first line without its newline, and whether it has one.
pub(crate) fn first_line(bytes: &[u8]) -> (&[u8], bool) {
    memchr(b'\n', bytes).map_or((bytes, false), |end| (&bytes[..end], true))
}

/// How the content of a file is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// A record a line.
    Lines,
    /// One JSON value over many lines.
    Document,
    /// The beginning of a [`Frame::Document`], or of a first line.
    Unfinished,
}

/// Tells how a whole file is framed.
///
/// A file whose first line is a value is read by lines, and so is one that cannot be a single value: a torn first line costs
/// that line only.
pub(crate) fn frame(bytes: &[u8]) -> Frame {
    let (line, _) = first_line(bytes);
    if bytes.len() > MAX_DOCUMENT || without_mark(bytes).trim_ascii().is_empty() || (line.len() <= MAX_LINE && is_one_value(line)) {
        return Frame::Lines;
    }
    match shape(bytes) {
        Shape::One => Frame::Document,
        Shape::Prefix => Frame::Unfinished,
        Shape::Other => Frame::Lines,
    }
}

/// Returns the end of the last complete object of objects that stand back to back, as Firehose joins the envelopes of
/// CloudWatch Logs; 0 when there is none.
///
/// An end counts when the next object or nothing follows; what comes after the last one is broken or unfinished.
pub(crate) fn last_object_end(bytes: &[u8]) -> usize {
    let (mark, bytes) = bytes.split_at(bytes.len() - without_mark(bytes).len());
    let mut values = serde_json::Deserializer::from_slice(bytes).into_iter::<IgnoredAny>();
    let (mut start, mut end) = (0, 0);
    while bytes[start..].trim_ascii_start().starts_with(b"{") && matches!(values.next(), Some(Ok(_))) {
        start = values.byte_offset();
        let rest = bytes[start..].trim_ascii_start();
        if rest.is_empty() || rest.starts_with(b"{") {
            end = start;
        }
    }
    if end == 0 { 0 } else { mark.len() + end }
}

/// Returns how much of the unterminated last line holds whole records.
///
/// Only an object or an array shows that it is complete: a number could go on.
pub(crate) fn complete_part(rest: &[u8]) -> usize {
    let closes = matches!(without_mark(rest).trim_ascii_start().first(), Some(b'{' | b'['));
    if closes && is_one_value(rest) { rest.len() } else { last_object_end(rest) }
}

/// Returns how much of a stream's end holds whole records: all lines, and of the last one its complete part.
pub(crate) fn complete_len(bytes: &[u8]) -> usize {
    let lines = memrchr(b'\n', bytes).map_or(0, |newline| newline + 1);
    lines + complete_part(&bytes[lines..])
}

/// A stretch of a stream between two record ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Whole records.
    Lines(Vec<u8>),
    /// A line too long to be a record, skipped.
    Oversize {
        /// Its first 64 KiB.
        head: Vec<u8>,
        /// Its length, newline included.
        bytes: u64,
        /// Its newline was found; otherwise the stream ended first.
        terminated: bool,
    },
    /// The last line, which has no newline; empty when the stream ends with one.
    Rest(Vec<u8>),
}

/// Cuts a stream into stretches of whole records, keeping no more of it than the longest line allowed.
#[derive(Debug)]
pub(crate) struct Cutter {
    carry: Vec<u8>,
    at_end: bool,
    piece_bytes: usize,
    max_line: usize,
}

impl Default for Cutter {
    fn default() -> Self {
        Self::new(PIECE_BYTES, MAX_LINE)
    }
}

impl Cutter {
    /// Cuts at the last record end within `piece_bytes`, and skips lines longer than `max_line`, which is no less.
    pub(crate) const fn new(piece_bytes: usize, max_line: usize) -> Self {
        Self { carry: Vec::new(), at_end: false, piece_bytes, max_line }
    }

    /// Returns the next stretch; after [`Cut::Rest`] there is none.
    ///
    /// # Errors
    /// Those of the reader. What was read before stays and is given by [`Cutter::salvage`].
    pub(crate) fn next(&mut self, reader: &mut impl Read) -> io::Result<Cut> {
        let mut want = self.piece_bytes;
        loop {
            self.fill(reader, want)?;
            if let Some(newline) = memrchr(b'\n', &self.carry) {
                return Ok(Cut::Lines(self.cut(newline + 1)));
            }
            if self.carry.len() > self.max_line {
                return self.skip_line(reader);
            }
            if self.at_end {
                return Ok(Cut::Rest(std::mem::take(&mut self.carry)));
            }
            let end = last_object_end(&self.carry);
            if end > 0 && end < self.carry.len() {
                return Ok(Cut::Lines(self.cut(end)));
            }
            want = want.saturating_mul(2).min(self.max_line + 1);
        }
    }

    /// Returns the whole records read before an error.
    pub(crate) fn salvage(&mut self) -> Vec<u8> {
        let end = complete_len(&self.carry);
        self.cut(end)
    }

    fn fill(&mut self, reader: &mut impl Read, want: usize) -> io::Result<()> {
        let missing = want.saturating_sub(self.carry.len());
        if self.at_end || missing == 0 {
            return Ok(());
        }
        self.carry.reserve(missing);
        let read = reader.by_ref().take(missing as u64).read_to_end(&mut self.carry)?;
        self.at_end = read < missing;
        Ok(())
    }

    fn cut(&mut self, end: usize) -> Vec<u8> {
        let tail = self.carry.split_off(end);
        std::mem::replace(&mut self.carry, tail)
    }

    fn skip_line(&mut self, reader: &mut impl Read) -> io::Result<Cut> {
        let head = head(&self.carry);
        let mut bytes = 0;
        loop {
            if let Some(newline) = memchr(b'\n', &self.carry) {
                self.carry.drain(..=newline);
                return Ok(Cut::Oversize { head, bytes: bytes + newline as u64 + 1, terminated: true });
            }
            bytes += self.carry.len() as u64;
            self.carry.clear();
            if self.at_end {
                return Ok(Cut::Oversize { head, bytes, terminated: false });
            }
            self.fill(reader, self.piece_bytes)?;
        }
    }
}
