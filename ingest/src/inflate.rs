//! Gzip, never trusted: inflating is bounded by size and by ratio, whatever the stream says of itself.
//!
//! [`inflate_bounded`] is the fast way for a stream that is wholly in memory; [`GzipReader`] the way of constant memory for
//! files of any size. Both read every member of a stream, since CloudWatch and Firehose append one to the next.

mod reader;
mod survey;
#[cfg(test)]
mod tests;

use libdeflater::{DecompressionError, Decompressor, crc32};
use memchr::memmem;
use sluice_schemas::{ErrorClass, RejectReason};

pub(crate) use reader::{GzipFault, GzipReader};
#[cfg(test)]
pub(crate) use survey::Survey;
pub(crate) use survey::{begins_as_bomb, survey};

/// First bytes of every gzip member: magic number and the only method there is.
pub(crate) const MAGIC: [u8; 3] = [0x1f, 0x8b, 8];
/// Below this size no ratio is suspicious: a short text of one letter shrinks a thousandfold.
const RATIO_FLOOR: usize = 1 << 20;
const HEADER: usize = 10;
const TRAILER: usize = 8;
const FIRST_GUESS: usize = 64 << 10;

/// How far a stream may inflate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InflateLimits {
    /// Greatest inflated size in bytes.
    pub max_bytes: usize,
    /// Greatest inflated size as a multiple of the compressed one, looked at from 1 MiB on. Invocation logs without bodies
    /// stay near 21; the limit of the format is 1032.
    pub max_ratio: usize,
}

impl Default for InflateLimits {
    fn default() -> Self {
        Self { max_bytes: 64 << 20, max_ratio: 200 }
    }
}

impl InflateLimits {
    /// Limits of a file, which may be as repetitive as it likes up to the size cap: a big file is not a bomb.
    pub(crate) const FILE: Self = Self { max_bytes: 64 << 20, max_ratio: usize::MAX };

    fn cap(&self, compressed: usize) -> usize {
        self.max_bytes.min(compressed.saturating_mul(self.max_ratio).max(RATIO_FLOOR))
    }

    /// Returns the reason under which a stream beyond these limits is refused.
    #[must_use]
    pub const fn reason(&self) -> RejectReason {
        RejectReason::GzipBomb { limit: self.max_bytes as u64, ratio: self.max_ratio as u64 }
    }
}

/// Why a stream was not inflated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InflateError {
    /// Not gzip, cut short, damaged, or followed by something else.
    #[error("corrupt gzip stream")]
    Corrupt,
    /// Inflates beyond the limits.
    #[error("gzip stream inflates beyond {} bytes or {} times its size", .limits.max_bytes, .limits.max_ratio)]
    TooLarge {
        /// The limits.
        limits: InflateLimits,
    },
}

impl InflateError {
    /// Returns what the failure asks of the caller: the record is refused.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        ErrorClass::Rejected
    }

    /// Returns the reason under which the record is refused.
    #[must_use]
    pub const fn reason(&self) -> RejectReason {
        match self {
            Self::Corrupt => RejectReason::CorruptGzip,
            Self::TooLarge { limits } => limits.reason(),
        }
    }
}

/// Inflates a whole stream, all its members, into `out`, whose former content is dropped.
///
/// # Errors
/// When the stream is corrupt or inflates beyond `limits`; `out` is empty then.
pub fn inflate_bounded(compressed: &[u8], limits: &InflateLimits, out: &mut Vec<u8>) -> Result<(), InflateError> {
    let result = inflate_members(compressed, limits, out);
    if result.is_err() {
        *out = Vec::new();
    }
    result
}

fn inflate_members(compressed: &[u8], limits: &InflateLimits, out: &mut Vec<u8>) -> Result<(), InflateError> {
    let cap = limits.cap(compressed.len());
    let mut decompressor = Decompressor::new();
    let (mut rest, mut used) = (compressed, 0);
    // Fresh zeroed memory costs nothing until it is written.
    *out = vec![0; size_hint(compressed).clamp(FIRST_GUESS, cap)];
    loop {
        if !rest.starts_with(&MAGIC) {
            return Err(InflateError::Corrupt);
        }
        let written = loop {
            match decompressor.gzip_decompress(rest, &mut out[used..]) {
                Ok(written) => break written,
                Err(DecompressionError::BadData) => return Err(InflateError::Corrupt),
                Err(DecompressionError::InsufficientSpace) if out.len() >= cap => return Err(InflateError::TooLarge { limits: *limits }),
                Err(DecompressionError::InsufficientSpace) => grow(out, used, cap),
            }
        };
        let end = member_end(rest, &out[used..used + written]).ok_or(InflateError::Corrupt)?;
        used += written;
        rest = strip_zeros(&rest[end..]);
        if rest.is_empty() {
            out.truncate(used);
            return Ok(());
        }
    }
}

/// Doubles `out`, of which the first `used` bytes matter. With nothing to keep the old buffer is given back first.
fn grow(out: &mut Vec<u8>, used: usize, cap: usize) {
    let size = out.len().saturating_mul(2).min(cap);
    if used == 0 {
        *out = Vec::new();
        *out = vec![0; size];
    } else {
        out.resize(size, 0);
    }
}

/// Finds where the first member of `stream` ends, given what it inflated to.
///
/// The library tells neither that nor whether anything follows. A member closes with the checksum and the length of its
/// content, so its end is the first place where these stand and where the stream ends, is padded, or goes on with a member.
fn member_end(stream: &[u8], content: &[u8]) -> Option<usize> {
    let mut trailer = [0; TRAILER];
    trailer[..4].copy_from_slice(&crc32(content).to_le_bytes());
    trailer[4..].copy_from_slice(&(content.len() as u32).to_le_bytes());
    let body = stream.get(HEADER..)?;
    memmem::find_iter(body, &trailer).map(|at| HEADER + at + TRAILER).find(|&end| {
        let rest = strip_zeros(&stream[end..]);
        rest.is_empty() || rest.starts_with(&MAGIC)
    })
}

/// Padding after a member, as tape blocks and some writers leave it.
fn strip_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
    &bytes[zeros..]
}

/// Returns the size a stream says its last member has: a hint for the first buffer and the choice of way, never a bound.
pub(crate) fn size_hint(compressed: &[u8]) -> usize {
    compressed.last_chunk::<4>().map_or(0, |size| u32::from_le_bytes(*size) as usize)
}
