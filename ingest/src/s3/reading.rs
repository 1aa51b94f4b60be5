//! Makes pieces of an object: of one that is in memory, or of a large one that is read on the way in constant memory.
//!
//! An object never changes, so its last piece ends the shard whatever it holds.

use std::io::{self, BufRead, Cursor, Read};
use std::sync::Arc;

use sluice_schemas::position::{Position, Sequence};
use sluice_schemas::{Micros, RejectReason, ShardId};

use crate::files::{MAX_DEFLATE_RATIO, UNSUPPORTED};
use crate::framing::{Cut, Cutter, Frame, MAX_DOCUMENT, RAW_HEAD, frame};
use crate::inflate::{GzipFault, GzipReader, InflateLimits, MAGIC, begins_as_bomb, size_hint};
use crate::piece::too_long;
use crate::source::{Payload, Piece};

/// Bytes of an object, from some place on.
pub(super) type Bytes = Box<dyn BufRead + Send>;

/// Where the reader of an object stands.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    /// Its shard.
    pub(super) shard: ShardId,
    /// Where its last piece led to.
    pub(super) from: Option<Position>,
    /// Place in the decompressed stream.
    pub(super) offset: u64,
    /// Identity of the version.
    pub(super) identity: String,
}

impl Lane {
    /// Stands where `known`, the position of the shard, left this version, or at its start.
    pub(super) fn new(shard: ShardId, identity: String, known: Option<&Position>) -> Self {
        let from = known.filter(|known| known.identity == identity).cloned();
        Self { shard, offset: from.as_ref().map_or(0, |from| from.offset), from, identity }
    }

    /// Makes the next piece, which covers `advance` bytes.
    pub(super) fn piece(&mut self, payload: Payload, advance: u64, ended: bool, source_bytes: u64) -> Piece {
        let (base_offset, is_gzip) = (self.offset, matches!(payload, Payload::Gzip(_)));
        self.offset += advance;
        let to = Position { offset: self.offset, identity: self.identity.clone(), ended, ..Position::default() };
        Piece {
            accepts: None,
            shard: self.shard.clone(),
            from: self.from.replace(to),
            payload,
            arrival: Micros::default(),
            base_offset,
            identity: self.identity.clone(),
            to: (!is_gzip).then_some(self.offset),
            sequence: Sequence::default(),
            ended,
            source_bytes,
        }
    }
}

/// An object that is being read.
pub(super) struct Reading {
    lane: Lane,
    rest: Rest,
}

enum Rest {
    /// One piece.
    Once(Option<Payload>, u64),
    /// A stretch at a time.
    Cuts {
        content: Content,
        cutter: Cutter,
        counted: u64,
    },
    /// The refusal of a damaged end.
    Refusal(Payload),
    Done,
}

enum Content {
    Plain { bytes: Bytes, read: u64 },
    Gzip { reader: Box<GzipReader<Bytes>>, head: Vec<u8> },
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain { bytes, read } => bytes.read(buffer).inspect(|&given| *read += given as u64),
            Self::Gzip { reader, .. } => reader.read(buffer),
        }
    }
}

impl Content {
    const fn stored(&self) -> u64 {
        match self {
            Self::Plain { read, .. } => *read,
            Self::Gzip { reader, .. } => reader.consumed(),
        }
    }
}

impl Reading {
    /// Starts to read an object whose bytes are all here.
    ///
    /// # Errors
    /// When it is compressed in a way nobody here reads.
    pub(super) fn whole(lane: Lane, bytes: Vec<u8>) -> io::Result<Self> {
        let stored = bytes.len() as u64;
        let stated = size_hint(&bytes);
        let is_large = stated > InflateLimits::FILE.max_bytes && stated as u64 <= stored.saturating_mul(MAX_DEFLATE_RATIO);
        if bytes.starts_with(&MAGIC[..2]) {
            if lane.offset == 0 && !is_large {
                return Ok(Self::once(lane, Payload::Gzip(bytes), stored));
            }
            let bytes: Arc<[u8]> = bytes.into();
            return Self::gzip(lane, stored, |_| Ok(Box::new(Cursor::new(Arc::clone(&bytes)))));
        }
        refuse_unsupported(&bytes)?;
        let framed = if lane.offset == 0 { frame(&bytes) } else { Frame::Lines };
        Ok(match framed {
            Frame::Document => Self::once(lane, Payload::Document(bytes), stored),
            Frame::Unfinished => {
                let refused = Payload::Refused { reason: RejectReason::Unbalanced, raw: bytes };
                Self::once(lane, refused, stored)
            }
            Frame::Lines => {
                let mut rest = Cursor::new(bytes);
                rest.set_position(lane.offset);
                Self::cuts(lane, Content::Plain { bytes: Box::new(rest), read: 0 })
            }
        })
    }

    /// Starts to read an object of `stored` bytes, which `open` gives from a place on.
    ///
    /// # Errors
    /// When `open` or what it gives fails, or the object is compressed in a way nobody here reads.
    pub(super) fn large(lane: Lane, stored: u64, open: impl Fn(u64) -> io::Result<Bytes>) -> io::Result<Self> {
        let mut first = open(0)?;
        let start = first.fill_buf()?;
        if start.starts_with(&MAGIC[..2]) {
            return Self::gzip(lane, stored, open);
        }
        refuse_unsupported(start)?;
        if stored <= MAX_DOCUMENT as u64 {
            let mut bytes = Vec::new();
            first.read_to_end(&mut bytes)?;
            return Self::whole(lane, bytes);
        }
        let bytes = if lane.offset == 0 { first } else { open(lane.offset)? };
        Ok(Self::cuts(lane, Content::Plain { bytes, read: 0 }))
    }

    fn gzip(lane: Lane, stored: u64, open: impl Fn(u64) -> io::Result<Bytes>) -> io::Result<Self> {
        let mut start = Vec::new();
        open(0)?.take(RAW_HEAD as u64).read_to_end(&mut start)?;
        if lane.offset == 0 && begins_as_bomb(open(0)?)? {
            return Ok(Self::once(lane, Payload::Refused { reason: GzipFault::Bomb.reason(), raw: start }, stored));
        }
        let mut reader = Box::new(GzipReader::new(open(0)?));
        let skipped = io::copy(&mut reader.by_ref().take(lane.offset), &mut io::sink());
        // A fault met on the way stays with the reader.
        if let Err(error) = skipped
            && GzipFault::of(&error).is_none()
        {
            return Err(error);
        }
        Ok(Self::cuts(lane, Content::Gzip { reader, head: start }))
    }

    const fn once(lane: Lane, payload: Payload, stored: u64) -> Self {
        Self { lane, rest: Rest::Once(Some(payload), stored) }
    }

    fn cuts(lane: Lane, content: Content) -> Self {
        Self { lane, rest: Rest::Cuts { content, cutter: Cutter::default(), counted: 0 } }
    }

    /// Returns the next piece; none after the one that ends the shard.
    ///
    /// # Errors
    /// When the bytes cannot be had. Damage within them is a piece.
    pub(super) fn next(&mut self) -> io::Result<Option<Piece>> {
        match std::mem::replace(&mut self.rest, Rest::Done) {
            Rest::Done => Ok(None),
            Rest::Refusal(payload) => Ok(Some(self.lane.piece(payload, 0, true, 0))),
            Rest::Once(payload, stored) => Ok(payload.map(|payload| {
                // Of a compressed object only inflating it tells the length; a refused one is not looked into.
                let advance = if let Payload::Document(bytes) = &payload { bytes.len() as u64 } else { 0 };
                self.lane.piece(payload, advance, true, stored)
            })),
            Rest::Cuts { mut content, mut cutter, counted } => {
                let cut = cutter.next(&mut content);
                let stored = content.stored();
                let (payload, advance, ended) = match cut {
                    Ok(Cut::Lines(bytes)) => lines(bytes, false),
                    // Within an object that cannot grow a torn record is for the decoder to refuse.
                    Ok(Cut::Rest(bytes)) => lines(bytes, true),
                    Ok(Cut::Oversize { head, bytes, terminated }) => {
                        (Payload::Refused { reason: too_long(bytes), raw: head }, bytes, !terminated)
                    }
                    Err(error) => {
                        let fault = GzipFault::of(&error).ok_or(error)?;
                        return Ok(Some(self.damaged(fault, content, cutter, stored - counted)));
                    }
                };
                if !ended {
                    self.rest = Rest::Cuts { content, cutter, counted: stored };
                }
                Ok(Some(self.lane.piece(payload, advance, ended, stored - counted)))
            }
        }
    }

    /// Gives the good records before the damage, then the refusal.
    fn damaged(&mut self, fault: GzipFault, content: Content, mut cutter: Cutter, source_bytes: u64) -> Piece {
        let raw = match content {
            Content::Plain { .. } => Vec::new(),
            Content::Gzip { head, .. } => head,
        };
        let refusal = Payload::Refused { reason: fault.reason(), raw };
        let good = if matches!(fault, GzipFault::Truncated | GzipFault::Invalid) { cutter.salvage() } else { Vec::new() };
        if good.is_empty() {
            return self.lane.piece(refusal, 0, true, source_bytes);
        }
        self.rest = Rest::Refusal(refusal);
        let (payload, advance, _) = lines(good, false);
        self.lane.piece(payload, advance, false, source_bytes)
    }
}

fn lines(bytes: Vec<u8>, ended: bool) -> (Payload, u64, bool) {
    let advance = bytes.len() as u64;
    (Payload::Lines(bytes), advance, ended)
}

fn refuse_unsupported(start: &[u8]) -> io::Result<()> {
    match UNSUPPORTED.iter().find(|(magic, _)| start.starts_with(magic)) {
        Some((_, name)) => Err(io::Error::new(io::ErrorKind::Unsupported, format!("compressed with {name}, which is not supported"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
