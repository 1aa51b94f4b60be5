//! Gives one file piece by piece: lines of a plain file, or of a compressed one that is inflated on the way.

use std::fs::File;
use std::io::{self, BufReader, Read, Take};

use sluice_schemas::position::Sequence;
use sluice_schemas::{Micros, Position, ShardId};

use super::identity::Identity;
use super::tracked::{Left, Patience};
use crate::framing::{Cut, Cutter, complete_part};
use crate::inflate::{GzipFault, GzipReader};
use crate::piece::too_long;
use crate::source::{Payload, Piece};

/// Unfinished ends above this size are not looked at again with every byte that is added.
pub(super) const HEAVY: u64 = 1 << 20;

/// Where the reader of a shard stands.
#[derive(Debug)]
pub(super) struct Lane {
    /// The shard.
    pub(super) shard: ShardId,
    /// Where its last piece led to.
    pub(super) from: Option<Position>,
    /// Place in the decompressed stream.
    pub(super) offset: u64,
    /// Identity of the file.
    pub(super) identity: Identity,
    /// When it is read.
    pub(super) now: Micros,
}

/// What follows a piece.
#[derive(Clone, Copy, Debug)]
pub(super) enum After {
    /// Perhaps more.
    More,
    /// Nothing: the file was dealt with up to this stored size.
    Nothing {
        /// Bytes stored.
        size: u64,
        /// It cannot grow.
        ended: bool,
    },
}

impl Lane {
    /// Makes the next piece, which covers `advance` bytes of the decompressed stream.
    pub(super) fn piece(&mut self, payload: Payload, advance: u64, source_bytes: u64, after: After) -> Piece {
        let (base_offset, is_gzip) = (self.offset, matches!(payload, Payload::Gzip(_)));
        self.offset += advance;
        let ended = match after {
            After::More => false,
            After::Nothing { size, ended } => {
                self.identity.settled = Some(size);
                ended
            }
        };
        let identity = self.identity.to_string();
        let to = Position { offset: self.offset, identity: identity.clone(), ended, ..Position::default() };
        Piece {
            accepts: None,
            shard: self.shard.clone(),
            from: self.from.replace(to),
            payload,
            arrival: self.now,
            base_offset,
            identity,
            to: (!is_gzip).then_some(self.offset),
            sequence: Sequence::default(),
            ended,
            source_bytes,
        }
    }
}

/// What a file in reading gives.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a piece is moved once or twice and stands for megabytes")]
pub(super) enum Next {
    /// A piece.
    Piece(Piece),
    /// No more pieces.
    Left(Left),
}

/// The bytes of a file, as many as it had when it was opened.
#[derive(Debug)]
pub(super) enum Stream {
    /// As they are.
    Plain(Take<File>),
    /// Inflated.
    Gzip {
        /// The content.
        reader: Box<GzipReader<BufReader<Take<File>>>>,
        /// The first compressed bytes.
        head: Vec<u8>,
    },
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.read(buffer),
            Self::Gzip { reader, .. } => reader.read(buffer),
        }
    }
}

/// A file that is being read.
#[derive(Debug)]
pub(super) struct Reading {
    lane: Lane,
    stream: Stream,
    cutter: Cutter,
    patience: Patience,
    /// Bytes stored when it was opened.
    size: u64,
    /// Bytes stored that were read.
    read: u64,
    /// What comes when the stream is at its end, last first.
    last: Option<(Vec<Piece>, Left)>,
}

impl Reading {
    /// Starts to read `stream`, which stands at the lane's offset; `read` stored bytes were read before.
    pub(super) fn new(lane: Lane, stream: Stream, patience: Patience, size: u64, read: u64) -> Self {
        Self { lane, stream, cutter: Cutter::default(), patience, size, read, last: None }
    }

    /// Returns the stored bytes read so far.
    pub(super) const fn read(&self) -> u64 {
        self.read
    }

    /// Returns the bytes stored when the file was opened.
    pub(super) const fn size(&self) -> u64 {
        self.size
    }

    /// Returns the next piece.
    ///
    /// # Errors
    /// When the system cannot read the file. Damage within it is a piece.
    pub(super) fn next(&mut self, now: Micros) -> io::Result<Next> {
        self.lane.now = now;
        if self.last.is_none() {
            let cut = self.cutter.next(&mut self.stream);
            let source_bytes = self.count();
            match cut {
                Ok(Cut::Lines(bytes)) => return Ok(Next::Piece(self.lines(bytes, source_bytes, After::More))),
                Ok(Cut::Oversize { head, bytes, terminated: true }) => {
                    let payload = Payload::Refused { reason: too_long(bytes), raw: head };
                    return Ok(Next::Piece(self.lane.piece(payload, bytes, source_bytes, After::More)));
                }
                Ok(Cut::Oversize { head, bytes, terminated: false }) => {
                    let torn = Payload::Refused { reason: too_long(bytes), raw: head };
                    self.last = Some(self.end(Vec::new(), Some((torn, bytes)), source_bytes));
                }
                Ok(Cut::Rest(mut bytes)) => {
                    let torn = bytes.split_off(complete_part(&bytes));
                    let length = torn.len() as u64;
                    self.last = Some(self.end(bytes, (length > 0).then_some((Payload::Lines(torn), length)), source_bytes));
                }
                Err(error) => {
                    let fault = GzipFault::of(&error).ok_or(error)?;
                    self.last = Some(self.damaged(fault, source_bytes));
                }
            }
        }
        let next =
            self.last.as_mut().map_or(Next::Left(Left::Settled), |(pieces, left)| pieces.pop().map_or(Next::Left(*left), Next::Piece));
        Ok(next)
    }

    /// Returns the stored bytes read since the last call.
    fn count(&mut self) -> u64 {
        let read = match &self.stream {
            Stream::Plain(file) => self.size.saturating_sub(file.limit()),
            Stream::Gzip { reader, .. } => reader.consumed(),
        };
        read.saturating_sub(std::mem::replace(&mut self.read, read))
    }

    fn lines(&mut self, bytes: Vec<u8>, source_bytes: u64, after: After) -> Piece {
        let advance = bytes.len() as u64;
        self.lane.piece(Payload::Lines(bytes), advance, source_bytes, after)
    }

    /// Deals with the end of a sound stream: whole records without a newline, and a torn one with its length.
    ///
    /// A torn record is refused where it is, but the position stays before it: should the file grow, it is read again, whole.
    fn end(&mut self, whole: Vec<u8>, torn: Option<(Payload, u64)>, mut source_bytes: u64) -> (Vec<Piece>, Left) {
        let is_gzip = matches!(self.stream, Stream::Gzip { .. });
        let nothing = After::Nothing { size: self.size, ended: is_gzip };
        let mut pieces = Vec::new();
        if !is_gzip && torn.is_none() && !self.patience.takes_tail() && !whole.is_empty() {
            return (pieces, Left::Waiting { heavy: whole.len() as u64 > HEAVY });
        }
        // A compressed file is marked as ended by its last piece, be it empty.
        if !whole.is_empty() || (is_gzip && torn.is_none()) {
            let after = if is_gzip && torn.is_none() { nothing } else { After::More };
            pieces.push(self.lines(whole, std::mem::take(&mut source_bytes), after));
        }
        if let Some((torn, length)) = torn {
            if !is_gzip && !self.patience.takes_torn() {
                return (pieces, Left::Waiting { heavy: length > HEAVY });
            }
            pieces.insert(0, self.lane.piece(torn, 0, source_bytes, nothing));
        }
        (pieces, Left::Settled)
    }

    /// Deals with a compressed file that is damaged behind what was read: its good records, then its refusal. One that may
    /// still be written is left alone.
    fn damaged(&mut self, fault: GzipFault, source_bytes: u64) -> (Vec<Piece>, Left) {
        if fault != GzipFault::Bomb && !self.patience.takes_damaged() {
            return (Vec::new(), Left::Waiting { heavy: true });
        }
        let mut pieces = Vec::new();
        if matches!(fault, GzipFault::Truncated | GzipFault::Invalid) {
            let good = self.cutter.salvage();
            if !good.is_empty() {
                pieces.push(self.lines(good, source_bytes, After::More));
            }
        }
        let raw = match &mut self.stream {
            Stream::Plain(_) => Vec::new(),
            Stream::Gzip { head, .. } => std::mem::take(head),
        };
        let refused = Payload::Refused { reason: fault.reason(), raw };
        pieces.insert(0, self.lane.piece(refused, 0, 0, After::Nothing { size: self.size, ended: true }));
        (pieces, Left::Settled)
    }
}
