//! Tells whether a file is still the one that was read under its name.
//!
//! Written `LENGTH:HASH[+GENERATION][/SETTLED]`. The hash covers the first bytes as stored, at most 1 KiB and only those that
//! were there when the file was last read, so that an append changes nothing. The generation counts how often the file was cut
//! and begun again with the same bytes. `SETTLED` is the stored size up to which everything was dealt with although the offset
//! does not say so: compressed bytes, or a torn last line that was refused and is read again once the file grows.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};
use sluice_schemas::Position;

/// Bytes of a file's beginning that identify it: an invocation log has its first request id in them.
pub(super) const HEAD_BYTES: usize = 1024;

/// Identity of a file's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    length: usize,
    hash: [u8; 16],
    /// Times it was begun again.
    pub(super) generation: u32,
    /// Stored size that was dealt with.
    pub(super) settled: Option<u64>,
}

/// Text that is no identity of this form.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ForeignIdentity;

impl Identity {
    /// Identifies a file by its first bytes, of which no more than 1 KiB count.
    pub(super) fn of(head: &[u8]) -> Self {
        let head = &head[..head.len().min(HEAD_BYTES)];
        Self { length: head.len(), hash: hash(head), generation: 0, settled: None }
    }

    /// Tells whether a file that begins with `head` is this one, perhaps longer.
    fn is_of(&self, head: &[u8]) -> bool {
        head.get(..self.length).is_some_and(|head| hash(head) == self.hash)
    }

    /// Returns the text that stays the same wherever the file is moved to.
    pub(super) fn key(&self) -> String {
        Self { generation: 0, settled: None, ..self.clone() }.to_string()
    }
}

fn hash(head: &[u8]) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&Sha256::digest(head)[..16]);
    short
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:032x}", self.length, u128::from_be_bytes(self.hash))?;
        if self.generation > 0 {
            write!(f, "+{}", self.generation)?;
        }
        self.settled.map_or(Ok(()), |size| write!(f, "/{size}"))
    }
}

impl FromStr for Identity {
    type Err = ForeignIdentity;

    fn from_str(text: &str) -> Result<Self, ForeignIdentity> {
        let (text, settled) = text.split_once('/').map_or((text, None), |(text, size)| (text, Some(size)));
        let (text, generation) = text.split_once('+').unwrap_or((text, "0"));
        let (length, hash) = text.split_once(':').ok_or(ForeignIdentity)?;
        Ok(Self {
            length: length.parse().map_err(|_| ForeignIdentity)?,
            hash: u128::from_str_radix(hash, 16).map_err(|_| ForeignIdentity)?.to_be_bytes(),
            generation: generation.parse().map_err(|_| ForeignIdentity)?,
            settled: settled.map(str::parse).transpose().map_err(|_| ForeignIdentity)?,
        })
    }
}

/// How a file on disk relates to how far it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Never read.
    New,
    /// The same, with more to read.
    More,
    /// The same, with nothing to read.
    Settled,
    /// Another file under its name, or cut short and begun again: it is read from its start, as this generation.
    Replaced {
        /// The generation.
        generation: u32,
    },
}

/// Decides how a file of `size` stored bytes that begins with `head` relates to where its reader stands; `was_cut` tells that
/// it was once seen shorter than what had been read of it.
pub(super) fn standing(position: Option<&Position>, head: &[u8], size: u64, compressed: bool, was_cut: bool) -> Standing {
    let Some(position) = position else { return Standing::New };
    // Nothing of it could be read so far.
    if position.identity.is_empty() {
        return Standing::More;
    }
    let Ok(known) = position.identity.parse::<Identity>() else { return Standing::Replaced { generation: 0 } };
    let reached = if compressed { known.settled.unwrap_or(0) } else { position.offset };
    if was_cut || !known.is_of(head) || size < reached {
        Standing::Replaced { generation: known.generation + 1 }
    } else if known.settled == Some(size) || (!compressed && size == position.offset) {
        Standing::Settled
    } else {
        Standing::More
    }
}
