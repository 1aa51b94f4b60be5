//! Opens a file: recognises it, finds where it was left, and decides how it is to be read.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use sluice_schemas::position::Sequence;
use sluice_schemas::{Batch, Micros, Position, RejectReason};

use super::identity::{HEAD_BYTES, Identity, Standing, standing};
use super::past::{Past, shard_of};
use super::reading::{After, HEAVY, Lane, Reading, Stream};
use super::tracked::{Left, Patience, Tracked};
use crate::decode::{Decoder, is_one_value};
use crate::framing::{Frame, MAX_DOCUMENT, MAX_LINE, RAW_HEAD, Shape, first_line, frame, shape};
use crate::inflate::{GzipFault, GzipReader, InflateLimits, MAGIC, begins_as_bomb, size_hint, survey};
use crate::piece::decode_piece;
use crate::source::{Payload, Piece};

/// Largest compressed file handed on whole; a larger one is inflated in constant memory.
pub(crate) const MAX_WHOLE_GZIP: u64 = 32 << 20;
/// No stream inflates further: DEFLATE's longest match for its shortest code.
pub(crate) const MAX_DEFLATE_RATIO: u64 = 1032;
const READ_BUFFER: usize = 256 << 10;
/// How much of a plain file is read to find its first line, in turn.
const FRAME_LOOKS: [u64; 3] = [64 << 10, 1 << 20, MAX_LINE as u64 + 1];
/// Other compressions, by their first bytes.
pub(crate) const UNSUPPORTED: [(&[u8], &str); 4] =
    [(b"\x28\xb5\x2f\xfd", "zstd"), (b"BZh", "bzip2"), (b"\xfd7zXZ\0", "xz"), (b"PK\x03\x04", "zip")];

/// What opening a file came to.
#[derive(Debug)]
pub(super) enum Opened {
    /// It is to be read piece by piece.
    Reading(Box<Reading>),
    /// This piece is all of it.
    Whole(Box<Piece>),
    /// It was read before, under another name, as far as this piece says; open it again for what follows.
    Adopted(Box<Piece>),
    /// There is nothing to take.
    Left(Left),
}

/// Opens the file at `path`, of which `tracked` is known, and `past` of other files; `grows` tells that it may be written to
/// while it is read.
///
/// # Errors
/// When the system cannot read it, or nobody here can.
pub(super) fn open(path: &Path, tracked: &mut Tracked, past: &mut Past, grows: bool, now: Micros) -> io::Result<Opened> {
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("no longer a regular file"));
    }
    let size = metadata.len();
    tracked.see(size, now);
    if size == 0 {
        if tracked.was_cut {
            offer(path, tracked, past);
        }
        return Ok(Opened::Left(Left::Settled));
    }
    let start = read_at(&mut file, 0, HEAD_BYTES as u64)?;
    if let Some((_, name)) = UNSUPPORTED.iter().find(|(magic, _)| start.starts_with(magic)) {
        return Err(io::Error::new(io::ErrorKind::Unsupported, format!("compressed with {name}, which is not supported")));
    }
    let compressed = start.starts_with(&MAGIC[..2]);
    let (shard, mut identity) = (shard_of(path), Identity::of(&start));
    let lane = match standing(tracked.position.as_ref(), &start, size, compressed, tracked.was_cut) {
        Standing::Settled => return Ok(Opened::Left(Left::Settled)),
        Standing::More => {
            let position = known_position(&mut file, tracked)?;
            identity.generation = position.identity.parse().map_or(0, |known: Identity| known.generation);
            Lane { shard, offset: position.offset, from: Some(position), identity, now }
        }
        other => {
            offer(path, tracked, past);
            if let Some(position) = past.adopt(&shard, &identity) {
                return Ok(Opened::Adopted(Box::new(adoption(shard, position, now))));
            }
            identity.generation = if let Standing::Replaced { generation } = other { generation } else { 0 };
            Lane { shard, from: None, offset: 0, identity, now }
        }
    };
    let patience = if grows { tracked.patience(now) } else { Patience::NONE };
    let opening = Opening { file, size, lane, patience };
    if compressed { opening.gzip() } else { opening.plain() }
}

/// Offers the position of what the file was to other files.
fn offer(path: &Path, tracked: &Tracked, past: &mut Past) {
    if let Some(former) = &tracked.position {
        past.offer(shard_of(path), former.clone());
    }
}

/// Returns how far the file was read. Of one that was handed on whole, and has grown since, only decoding it again tells.
fn known_position(file: &mut File, tracked: &Tracked) -> io::Result<Position> {
    let position = tracked.position.clone().unwrap_or_default();
    let settled = position.identity.parse().ok().and_then(|known: Identity| known.settled);
    let (true, Some(settled)) = (tracked.offset_unknown, settled) else { return Ok(position) };
    let payload = Payload::Gzip(read_at(file, 0, settled)?);
    let Position { identity, ended, .. } = position;
    let (shard, from, to, arrival) = (String::new(), None, None, Micros::default());
    let piece = Piece {
        shard,
        from,
        payload,
        arrival,
        base_offset: 0,
        identity,
        to,
        sequence: Sequence::default(),
        ended,
        source_bytes: 0,
        accepts: None,
    };
    Ok(decode_piece(piece, &mut Decoder::new(), &mut Batch::default()).to)
}

/// The piece that carries a position over to a file's new name.
fn adoption(shard: String, position: Position, now: Micros) -> Piece {
    Piece {
        accepts: None,
        shard,
        from: None,
        payload: Payload::Lines(Vec::new()),
        arrival: now,
        base_offset: position.offset,
        identity: position.identity,
        to: Some(position.offset),
        sequence: Sequence::default(),
        ended: position.ended,
        source_bytes: 0,
    }
}

fn read_at(file: &mut File, offset: u64, bytes: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(offset))?;
    let mut read = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0).min(MAX_DOCUMENT));
    file.by_ref().take(bytes).read_to_end(&mut read)?;
    Ok(read)
}

/// A file whose lane is known.
struct Opening {
    file: File,
    size: u64,
    lane: Lane,
    patience: Patience,
}

impl Opening {
    fn whole(mut self, payload: Payload, advance: u64, after: After) -> Opened {
        Opened::Whole(Box::new(self.lane.piece(payload, advance, self.size, after)))
    }

    fn gzip(mut self) -> io::Result<Opened> {
        let nothing = After::Nothing { size: self.size, ended: true };
        if self.lane.offset == 0 && self.size <= MAX_WHOLE_GZIP && !self.says_it_is_large()? {
            let bytes = read_at(&mut self.file, 0, self.size)?;
            // One that is still being written looks damaged.
            if !self.patience.takes_damaged() && survey(&bytes[..])?.fault.is_some_and(|fault| fault != GzipFault::Bomb) {
                return Ok(Opened::Left(Left::Waiting { heavy: self.size > HEAVY }));
            }
            return Ok(self.whole(Payload::Gzip(bytes), 0, nothing));
        }
        let start = read_at(&mut self.file, 0, RAW_HEAD as u64)?;
        if self.lane.offset == 0 && begins_as_bomb(self.stored()?)? {
            return Ok(self.whole(Payload::Refused { reason: GzipFault::Bomb.reason(), raw: start }, 0, nothing));
        }
        let mut reader = GzipReader::new(self.stored()?);
        let skipped = io::copy(&mut reader.by_ref().take(self.lane.offset), &mut io::sink());
        // A fault met on the way stays with the reader.
        if let Err(error) = skipped
            && GzipFault::of(&error).is_none()
        {
            return Err(error);
        }
        let stream = Stream::Gzip { reader: Box::new(reader), head: start };
        Ok(Opened::Reading(Box::new(Reading::new(self.lane, stream, self.patience, self.size, 0))))
    }

    /// Tells whether a compressed file says of itself, and can be believed, that it is too large to be inflated in one go.
    fn says_it_is_large(&mut self) -> io::Result<bool> {
        let last = read_at(&mut self.file, self.size.saturating_sub(4), 4)?;
        let stated = size_hint(&last);
        Ok(stated > InflateLimits::FILE.max_bytes && stated as u64 <= self.size.saturating_mul(MAX_DEFLATE_RATIO))
    }

    fn plain(mut self) -> io::Result<Opened> {
        let (frame, content) = if self.lane.offset == 0 { self.frame()? } else { (Frame::Lines, Vec::new()) };
        match frame {
            Frame::Document => {
                let advance = content.len() as u64;
                Ok(self.whole(Payload::Document(content), advance, After::More))
            }
            Frame::Unfinished if self.patience.takes_torn() => {
                let (payload, size) = (Payload::Refused { reason: RejectReason::Unbalanced, raw: content }, self.size);
                Ok(self.whole(payload, 0, After::Nothing { size, ended: false }))
            }
            Frame::Unfinished => Ok(Opened::Left(Left::Waiting { heavy: self.size > HEAVY })),
            Frame::Lines => {
                let Self { mut file, size, lane, patience } = self;
                file.seek(SeekFrom::Start(lane.offset))?;
                let (read, rest) = (lane.offset, size.saturating_sub(lane.offset));
                Ok(Opened::Reading(Box::new(Reading::new(lane, Stream::Plain(file.take(rest)), patience, size, read))))
            }
        }
    }

    /// Finds how the file is framed, reading no more of it than that takes. The whole content comes with anything but lines.
    fn frame(&mut self) -> io::Result<(Frame, Vec<u8>)> {
        for look in FRAME_LOOKS {
            let start = read_at(&mut self.file, 0, look.min(self.size))?;
            let (line, terminated) = first_line(&start);
            let is_record = line.len() <= MAX_LINE && is_one_value(line);
            if is_record || self.size > MAX_DOCUMENT as u64 || (terminated && shape(&start) == Shape::Other) {
                return Ok((Frame::Lines, start));
            }
            if terminated || look >= self.size {
                break;
            }
        }
        let content = read_at(&mut self.file, 0, self.size)?;
        Ok((frame(&content), content))
    }

    fn stored(&mut self) -> io::Result<BufReader<io::Take<File>>> {
        self.file.seek(SeekFrom::Start(0))?;
        let file = self.file.try_clone()?;
        Ok(BufReader::with_capacity(READ_BUFFER, file.take(self.size)))
    }
}
