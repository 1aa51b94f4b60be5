//! The frame of a message: magic, version, checksum, and sections by number.

use super::RelayError;

/// How a message begins: neither JSON nor gzip does.
const MAGIC: [u8; 8] = *b"\x93SLRELAY";
const VERSION: u8 = 2;
/// Magic, version, three zeros, checksum.
const HEAD: usize = 16;

/// What a section holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Section {
    Origin,
    Marks,
    Strings,
    Profiles,
    Invocations,
    Extras,
    Trail,
    TrailItems,
    Rejected,
    Offloaded,
}

/// Number of kinds of sections.
const KINDS: usize = 10;

/// Tells whether a record is a message of a worker.
#[must_use]
pub fn is_relay(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// Puts sections into a frame; empty ones are left out.
pub(super) fn wrap(sections: &[(Section, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD + sections.iter().map(|(_, bytes)| bytes.len() + 5).sum::<usize>());
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[VERSION, 0, 0, 0, 0, 0, 0, 0]);
    for (section, bytes) in sections.iter().filter(|(_, bytes)| !bytes.is_empty()) {
        out.push(*section as u8);
        // A section is far below 4 GiB: a batch is cut long before.
        out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        out.extend_from_slice(bytes);
    }
    let sum = libdeflater::crc32(&out[HEAD..]);
    out[12..HEAD].copy_from_slice(&sum.to_le_bytes());
    out
}

/// The sections of a message.
pub(super) struct Sections<'a>([&'a [u8]; KINDS]);

impl<'a> Sections<'a> {
    /// Returns the bytes of a section; none when it was left out.
    pub(super) const fn get(&self, section: Section) -> &'a [u8] {
        self.0[section as usize]
    }
}

/// Takes a frame apart.
pub(super) fn unwrap(bytes: &[u8]) -> Result<Sections<'_>, RelayError> {
    if !is_relay(bytes) {
        return Err(RelayError::Foreign);
    }
    let (head, mut rest) = bytes.split_at_checked(HEAD).ok_or(RelayError::Damaged { detail: "relay message shorter than its head" })?;
    if head[8] != VERSION {
        return Err(RelayError::Version { version: head[8], known: VERSION });
    }
    if libdeflater::crc32(rest).to_le_bytes() != head[12..] || head[9..12] != [0; 3] {
        return Err(RelayError::Checksum);
    }
    let mut sections = Sections([&[]; KINDS]);
    while let Some((kind, after)) = rest.split_first() {
        let cut = || RelayError::Damaged { detail: "relay message with a section that is cut short" };
        let (length, after) = after.split_first_chunk::<4>().ok_or_else(cut)?;
        let (section, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or_else(cut)?;
        let place =
            sections.0.get_mut(usize::from(*kind)).ok_or(RelayError::Damaged { detail: "relay message with an unknown section" })?;
        if !place.is_empty() {
            return Err(RelayError::Damaged { detail: "relay message with a section that occurs twice" });
        }
        *place = section;
        rest = after;
    }
    Ok(sections)
}
