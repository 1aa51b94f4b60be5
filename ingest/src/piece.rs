//! Turns one piece of a source into records: inflates, frames, decodes. Stateless, so pieces may go to any thread.

use std::io::Read;

use sluice_schemas::position::{Sequence, Span};
use sluice_schemas::{Batch, Micros, Position, RejectReason, Rejected, Whole};

use crate::decode::Decoder;
use crate::framing::{Cut, Cutter, Frame, MAX_DOCUMENT, MAX_LINE, complete_len, frame, kept};
use crate::inflate::{GzipReader, InflateLimits, MAGIC, inflate_bounded, survey};
use crate::source::{Payload, Piece, StreamRecord};

#[cfg(feature = "aws")]
mod kpl;
#[cfg(test)]
mod tests;

/// Inflates, frames and decodes one piece; returns where its shard now stands.
pub fn decode_piece(piece: Piece, decoder: &mut Decoder, out: &mut Batch) -> Span {
    let Piece { shard, from, payload, arrival, base_offset, identity, to, sequence, ended, accepts, .. } = piece;
    decoder.accept(accepts);
    let mut records = Records { decoder, arrival, at: base_offset, sequence: Sequence::default(), out };
    match payload {
        Payload::Lines(bytes) => records.lines(&bytes),
        Payload::Document(bytes) => records.document(&bytes),
        Payload::Gzip(bytes) => records.gzip(&bytes),
        Payload::Records(stream) => stream.into_iter().for_each(|record| records.stream_record(record)),
        Payload::Refused { reason, raw } => records.refuse(reason, &raw),
        Payload::Unreadable(message) => records.refuse(RejectReason::Unreadable { message }, &[]),
    }
    let offset = to.unwrap_or(records.at);
    decoder.hide_names(out);
    Span { shard, from, to: Position { offset, sequence, identity, ended } }
}

/// Records on their way into a batch.
struct Records<'a> {
    decoder: &'a mut Decoder,
    arrival: Micros,
    /// Offset up to which the stream was dealt with.
    at: u64,
    /// The stream record being decoded.
    sequence: Sequence,
    out: &'a mut Batch,
}

impl Records<'_> {
    fn lines(&mut self, bytes: &[u8]) {
        self.decoder.decode_lines(bytes, self.at, self.arrival, self.out);
        self.at += bytes.len() as u64;
    }

    fn document(&mut self, bytes: &[u8]) {
        self.decoder.decode_document(bytes, self.at, self.arrival, self.out);
        self.at += bytes.len() as u64;
    }

    fn refuse(&mut self, reason: RejectReason, bytes: &[u8]) {
        let (raw, mut cut) = kept(bytes);
        if let RejectReason::TooLong { bytes, .. } = reason {
            // All but its beginning was skipped.
            cut = Some(Box::new(Whole { bytes, sha256: String::new() }));
        }
        self.out.seen += 1;
        self.out.rejected.push(Rejected { offset: self.at, sequence: self.sequence.clone(), reason, raw, cut });
    }

    /// Decodes one record of a stream. What is refused in it is placed by the record, and within it by offset where records
    /// have sequence numbers.
    fn stream_record(&mut self, record: StreamRecord) {
        let StreamRecord { offset, sequence, data, .. } = record;
        #[cfg(feature = "relay")]
        if crate::relay::is_relay(&data) {
            return self.relayed(offset, sequence, data);
        }
        let before = self.out.rejected.len();
        let numbered = !sequence.is_none();
        (self.at, self.sequence) = (0, sequence);
        if data.is_empty() {
            // A tombstone of Kafka: a place, and nothing in it.
            (self.out.control, self.out.seen) = (self.out.control + 1, self.out.seen + 1);
        } else {
            self.stream_data(data);
        }
        for rejected in self.out.rejected.iter_mut().skip(before) {
            rejected.sequence.clone_from(&self.sequence);
            if !numbered {
                rejected.offset = offset;
            }
        }
        self.at = offset + 1;
    }

    #[cfg(feature = "aws")]
    fn stream_data(&mut self, data: Vec<u8>) {
        if !data.starts_with(&kpl::MAGIC) {
            return self.content(&data);
        }
        let data = prost::bytes::Bytes::from(data);
        match kpl::user_records(data.clone()) {
            Ok(records) => {
                for (number, record) in (0..).zip(records) {
                    let before = self.out.rejected.len();
                    self.at = 0;
                    self.content(&record);
                    for rejected in self.out.rejected.iter_mut().skip(before) {
                        rejected.offset = sub_offset(number, rejected.offset);
                    }
                }
            }
            Err(detail) => self.refuse(RejectReason::CorruptAggregate { detail }, &data),
        }
    }

    #[cfg(not(feature = "aws"))]
    fn stream_data(&mut self, data: Vec<u8>) {
        self.content(&data);
    }

    /// Decodes the bytes of one record, compressed or not.
    fn content(&mut self, data: &[u8]) {
        if data.starts_with(&MAGIC) {
            let mut inflated = Vec::new();
            match inflate_bounded(data, &InflateLimits::default(), &mut inflated) {
                Ok(()) => self.whole(&inflated, true),
                Err(error) => self.refuse(error.reason(), data),
            }
        } else {
            self.whole(data, true);
        }
    }

    /// Takes the records of a worker's message; their places are upstream ones.
    #[cfg(feature = "relay")]
    fn relayed(&mut self, offset: u64, sequence: Sequence, data: Vec<u8>) {
        match crate::relay::decode(&data) {
            Ok(message) => message.merge(self.out),
            Err(error) => {
                (self.at, self.sequence) = (offset, sequence);
                self.refuse(RejectReason::CorruptAggregate { detail: error.words() }, &data);
            }
        }
        self.at = offset + 1;
    }

    /// Decodes a whole gzip file. Beyond the size cap, or damaged, it is looked through first and then decoded as far as it
    /// can be trusted.
    fn gzip(&mut self, compressed: &[u8]) {
        let mut inflated = Vec::new();
        if inflate_bounded(compressed, &InflateLimits::FILE, &mut inflated).is_ok() {
            return self.whole(&inflated, true);
        }
        let found = match survey(compressed) {
            Ok(found) => found,
            Err(error) => return self.refuse(RejectReason::Unreadable { message: error.to_string() }, &[]),
        };
        let (mut trusted, sound) = (GzipReader::new(compressed).take(found.trusted), found.fault.is_none());
        if found.trusted > MAX_DOCUMENT as u64 {
            self.cuts(&mut trusted, sound);
        } else if trusted.read_to_end(&mut inflated).is_ok() {
            self.whole(&inflated, sound);
        }
        if let Some(fault) = found.fault {
            self.refuse(fault.reason(), compressed);
        }
    }

    /// Decodes the content of a file from its first byte; `sound` tells that it is all there is.
    fn whole(&mut self, bytes: &[u8], sound: bool) {
        match frame(bytes) {
            Frame::Document => self.document(bytes),
            Frame::Unfinished if sound => self.refuse(RejectReason::Unbalanced, bytes),
            Frame::Unfinished => {}
            Frame::Lines if bytes.len() <= MAX_LINE => self.end(bytes, sound),
            Frame::Lines => self.cuts(&mut &*bytes, sound),
        }
    }

    /// Decodes a stream by stretches to its end.
    fn cuts(&mut self, stream: &mut impl Read, sound: bool) {
        let mut cutter = Cutter::default();
        loop {
            match cutter.next(stream) {
                Ok(Cut::Lines(bytes)) => self.lines(&bytes),
                Ok(Cut::Rest(bytes)) => return self.end(&bytes, sound),
                Ok(Cut::Oversize { head, bytes, terminated }) => {
                    if terminated || sound {
                        self.refuse(too_long(bytes), &head);
                    }
                    if !terminated {
                        return;
                    }
                    self.at += bytes;
                }
                Err(error) => {
                    self.lines(&cutter.salvage());
                    return self.refuse(RejectReason::Unreadable { message: error.to_string() }, &[]);
                }
            }
        }
    }

    /// Decodes the last stretch. A torn last line of a sound stream is decoded too, which refuses it, but the position stays
    /// before it: should the file grow, the line is read again, whole.
    fn end(&mut self, bytes: &[u8], sound: bool) {
        let (complete, torn) = bytes.split_at(complete_len(bytes));
        self.lines(complete);
        if sound && !torn.is_empty() {
            let at = self.at;
            self.lines(torn);
            self.at = at;
        }
    }
}

/// Place of a refused record within an aggregated one: the number of its user record, counted from 0, in the upper half, the
/// offset within that in the lower.
#[cfg(feature = "aws")]
fn sub_offset(number: u64, offset: u64) -> u64 {
    (number << 32) | (offset & u64::from(u32::MAX))
}

/// Reason for refusing a line of `bytes` bytes.
pub(crate) fn too_long(bytes: u64) -> RejectReason {
    RejectReason::TooLong { bytes, limit: MAX_LINE as u64 }
}
