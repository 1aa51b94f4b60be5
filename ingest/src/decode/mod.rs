//! Decodes log bytes into a batch: invocations, CloudTrail events, and what could not be read.
//!
//! Owns: the shapes a record comes in (a line, a document, an array, a CloudTrail file, an EventBridge event, a span, a CloudWatch
//! Logs subscription envelope, several values on one line) and that none is lost: records seen = invocations + trail events
//! + rejected + control (C1). Does not own: framing of streams and inflating.
//!
//! A record that cannot be read is refused alone. A container that is itself unbalanced or not JSON is refused whole, before
//! anything in it is used.

mod accepts;
mod body;
mod cloudwatch;
mod envelope;
mod expiry;
mod fault;
mod invoked;
mod loose;
mod masks;
mod metadata;
mod number;
mod offloaded;
mod profile;
mod pseudonyms;
mod record;
mod scan;
mod span;
mod trail;
mod unescape;
mod usage;

use std::ops::Range;
use std::sync::Arc;

use memchr::memchr_iter;
use sluice_schemas::position::Sequence;
use sluice_schemas::trail::TrailEvent;
use sluice_schemas::{Batch, Micros, RejectReason, Rejected};

pub use accepts::Accepts;
use cloudwatch::Message;
pub use cloudwatch::{AllowList, Allowed};
use envelope::{Envelope, Kind};
use fault::Field;
pub use offloaded::{Correction, Uncorrected, usage_from_bodies};
use profile::Profiles;
pub use pseudonyms::{PseudonymFault, Pseudonyms};
use scan::Scanner;

use crate::framing::kept;

/// What Bedrock writes once, when logging is switched on.
const PERMISSION_LINE: &[u8] = b"Permissions are correctly set for Amazon Bedrock logs.";
/// Most containers that may hold one another before a record: real data has three.
const MAX_NESTING: u32 = 16;

/// Turns bytes into records; holds scratch memory between calls.
#[derive(Debug, Default)]
pub struct Decoder {
    profiles: Profiles,
    /// Scratch for the messages of a CloudWatch envelope.
    message: Vec<u8>,
    intake: Arc<Intake>,
    /// What the source of the piece in hand takes; anything where there is nothing.
    accepts: Option<Arc<Accepts>>,
}

/// What is taken in of the records of all sources, and how.
#[derive(Debug, Default)]
pub struct Intake {
    /// CloudWatch Logs envelopes that are taken.
    pub allowed: AllowList,
    /// What stands in place of people's names; they are taken in as they come without it.
    pub pseudonyms: Option<Pseudonyms>,
    /// Claims of gateway tokens that are kept beside the usual ones: the keys by which agent, session and team are named.
    pub claims: Vec<String>,
}

/// Where a record stands and what becomes of it.
struct Sink<'o> {
    out: &'o mut Batch,
    intake: Arc<Intake>,
    arrival: Micros,
    nesting: u32,
}

/// `detail-type` of the EventBridge events that carry a CloudTrail event.
#[cfg(feature = "aws")]
pub(crate) const BRIDGED_CALL: &str = trail::DETAIL_TYPE;

/// Checks that a text is an EventBridge event which carries a CloudTrail event that can be read, whenever it happened.
///
/// # Errors
/// Why it is none.
#[cfg(feature = "aws")]
pub(crate) fn check_bridged(text: &[u8]) -> Result<(), RejectReason> {
    const ANY_TIME: Micros = Micros(i64::MAX / 2);
    trail::event(trail::bridged(text)?, ANY_TIME, &[]).map(drop)
}

impl Sink<'_> {
    fn event(&mut self, text: &[u8], accepts: Option<&Accepts>) -> Result<(), RejectReason> {
        let event = trail::event(text, self.arrival, &self.intake.claims)?;
        accepts.map_or(Ok(()), |accepts| accepts.check(event.account_id.as_bytes(), event.region.as_bytes()))?;
        self.out.trail.push(event);
        Ok(())
    }

    /// Takes a span that joins something; counts another.
    fn span(&mut self, text: &[u8], resource: &[u8], accepts: Option<&Accepts>) -> Result<(), RejectReason> {
        let Some(event) = span::event(text, resource, self.arrival)? else {
            self.out.control += 1;
            return Ok(());
        };
        // An agent may call another region than those it is watched in.
        accepts.map_or(Ok(()), |accepts| accepts.check(event.account_id.as_bytes(), b""))?;
        self.out.trail.push(event);
        Ok(())
    }

    fn reject(&mut self, text: &[u8], offset: u64, reason: RejectReason) {
        let (raw, cut) = kept(text);
        self.out.rejected.push(Rejected { offset, sequence: Sequence::default(), reason, raw, cut });
    }
}

impl Decoder {
    /// Returns a decoder with empty scratch memory.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns a decoder that takes records in on these terms.
    #[must_use]
    pub fn taking(intake: Arc<Intake>) -> Self {
        Self { intake, ..Self::default() }
    }

    /// Puts pseudonyms in place of names, where that is wanted. Once more changes nothing.
    pub(crate) fn hide_names(&self, batch: &mut Batch) {
        if let Some(pseudonyms) = &self.intake.pseudonyms {
            pseudonyms.hide(batch);
        }
    }

    /// Takes records of these accounts and regions alone from now on, or of any again.
    pub fn accept(&mut self, accepts: Option<Arc<Accepts>>) {
        self.accepts = accepts;
    }

    /// Decodes whole lines; `base_offset` is the place of `bytes[0]` in its decompressed stream, `arrival` when we got it.
    pub fn decode_lines(&mut self, bytes: &[u8], base_offset: u64, arrival: Micros, out: &mut Batch) {
        out.bytes += bytes.len() as u64;
        self.profiles.adopt(out);
        let mut sink = Sink { out, intake: Arc::clone(&self.intake), arrival, nesting: 0 };
        let mut start = 0;
        for end in memchr_iter(b'\n', bytes).chain([bytes.len()]) {
            self.value(&bytes[start..end], base_offset + start as u64, &mut sink);
            start = (end + 1).min(bytes.len());
        }
    }

    /// Decodes one whole document of any shape: pretty-printed JSON, an array of records, an envelope, one record.
    pub fn decode_document(&mut self, bytes: &[u8], base_offset: u64, arrival: Micros, out: &mut Batch) {
        out.bytes += bytes.len() as u64;
        self.profiles.adopt(out);
        self.value(bytes, base_offset, &mut Sink { out, intake: Arc::clone(&self.intake), arrival, nesting: 0 });
    }

    fn value(&mut self, text: &[u8], offset: u64, sink: &mut Sink<'_>) {
        let end = text.trim_ascii_end();
        // Not only a file may begin with a mark: files with one are joined.
        let text = without_mark(end.trim_ascii_start()).trim_ascii_start();
        let offset = offset + (end.len() - text.len()) as u64;
        sink.out.seen += u64::from(!text.is_empty());
        match text.first() {
            None => {}
            Some(b'{') => self.object(text, offset, sink),
            Some(b'[') => {
                let mut scanner = Scanner::new(text);
                match scanner.elements() {
                    Ok(places) if scanner.peek().is_none() => self.each(text, offset, places, sink),
                    Ok(_) => self.several(text, offset, RejectReason::NotJson, sink),
                    Err(fault) => self.several(text, offset, fault.into(), sink),
                }
            }
            Some(_) if text == PERMISSION_LINE => sink.out.control += 1,
            Some(_) => sink.reject(text, offset, RejectReason::NotJson),
        }
    }

    fn object(&mut self, text: &[u8], offset: u64, sink: &mut Sink<'_>) {
        // A file of events would be read twice otherwise: once to learn what they are.
        if let Some(event) = trail::certain(text, sink.arrival, &sink.intake.claims) {
            return self.take(event, text, offset, sink);
        }
        let (mut envelope, mut scanner) = (Envelope::default(), Scanner::new(text));
        let read = envelope.read(&mut scanner);
        match (read, envelope.foreign) {
            (Ok(()), _) if scanner.peek().is_some() => self.several(text, offset, RejectReason::NotJson, sink),
            (Ok(()), foreign) if envelope.is_invocation(foreign) => self.invocation(&envelope, text, offset, sink),
            (Err(fault), Some(_)) if !is_one_value(text) => self.several(text, offset, fault.into(), sink),
            (_, Some(kind)) => self.foreign(kind, text, offset, sink),
            (Err(fault), None) => self.several(text, offset, fault.into(), sink),
            (Ok(()), None) => sink.reject(text, offset, RejectReason::UnknownKind),
        }
    }

    fn take(&self, event: TrailEvent, text: &[u8], offset: u64, sink: &mut Sink<'_>) {
        match self.accepts.as_deref().map_or(Ok(()), |accepts| accepts.check(event.account_id.as_bytes(), event.region.as_bytes())) {
            Ok(()) => sink.out.trail.push(event),
            Err(reason) => sink.reject(text, offset, reason),
        }
    }

    fn invocation(&mut self, envelope: &Envelope<'_>, text: &[u8], offset: u64, sink: &mut Sink<'_>) {
        let accepted = self.place_of(envelope);
        if let Err(reason) = accepted.and_then(|()| record::add(envelope, sink.arrival, &mut self.profiles, sink.out)) {
            sink.reject(text, offset, reason);
        }
    }

    /// Checks the account and the region of a call.
    fn place_of(&mut self, envelope: &Envelope<'_>) -> Result<(), RejectReason> {
        let Some(accepts) = &self.accepts else { return Ok(()) };
        let account = self.profiles.plain(envelope.text(Field::AccountId), Field::AccountId)?.to_vec();
        accepts.check(&account, self.profiles.plain(envelope.text(Field::Region), Field::Region)?)
    }

    /// Decodes one whole object that is not an invocation record.
    fn foreign(&mut self, kind: Kind, text: &[u8], offset: u64, sink: &mut Sink<'_>) {
        let read = match kind {
            Kind::CloudWatch => cloudwatch::read(text, &self.intake.allowed, self.accepts.as_deref()).map(|message| match message {
                Message::Control => sink.out.control += 1,
                Message::Data(events) => self.messages(text, offset, events, sink),
            }),
            Kind::TrailFile => trail::records(text).map_err(RejectReason::from).map(|places| {
                // To double again and again what holds events costs as much as to read them; a file of mere braces gets no more room
                // than it takes itself.
                sink.out.trail.reserve(places.len().min(text.len() / size_of::<TrailEvent>()));
                self.each(text, offset, places, sink);
            }),
            Kind::EventBridge => trail::bridged(text).and_then(|detail| sink.event(detail, self.accepts.as_deref())),
            Kind::TrailEvent => sink.event(text, self.accepts.as_deref()),
            Kind::Span => sink.span(text, &[], self.accepts.as_deref()),
            Kind::Spans => span::groups(text).map_err(RejectReason::from).map(|groups| self.spans(text, offset, &groups, sink)),
        };
        if let Err(reason) = read {
            sink.reject(text, offset, reason);
        }
    }

    /// Decodes the messages of a CloudWatch envelope; each is JSON text inside a JSON string.
    fn messages(&mut self, text: &[u8], offset: u64, events: Vec<Range<usize>>, sink: &mut Sink<'_>) {
        let mut plain = std::mem::take(&mut self.message);
        // The envelope was counted as a record; its messages are the records.
        sink.out.seen -= 1;
        for place in events {
            let (event, offset) = (&text[place.clone()], offset + place.start as u64);
            let (message, at) = match cloudwatch::message(event) {
                Ok(found) => found,
                Err(reason) => {
                    sink.out.seen += 1;
                    sink.reject(event, offset, reason.into());
                    continue;
                }
            };
            plain.clear();
            // An event is a record even when there is nothing in it.
            let refused = match unescape::unescape(message.raw, &mut plain) {
                Err(_) => RejectReason::Malformed { field: Field::Message.path() },
                Ok(()) if plain.trim_ascii().is_empty() => RejectReason::NotJson,
                Ok(()) => {
                    self.nested(&plain, offset + at as u64, sink);
                    continue;
                }
            };
            sink.out.seen += 1;
            sink.reject(event, offset, refused);
        }
        self.message = plain;
    }

    /// Decodes the spans of an OTLP request.
    fn spans(&self, text: &[u8], offset: u64, groups: &[span::Group<'_>], sink: &mut Sink<'_>) {
        sink.out.seen -= 1;
        for (resource, place) in groups.iter().flat_map(|group| group.spans.iter().map(|place| (group.resource, place.clone()))) {
            sink.out.seen += 1;
            let one = &text[place.clone()];
            if let Err(reason) = sink.span(one, resource, self.accepts.as_deref()) {
                sink.reject(one, offset + place.start as u64, reason);
            }
        }
    }

    /// Decodes each of the values at `places`.
    fn each(&mut self, text: &[u8], offset: u64, places: Vec<Range<usize>>, sink: &mut Sink<'_>) {
        // What holds the values was counted as a record.
        sink.out.seen -= 1;
        for place in places {
            self.nested(&text[place.clone()], offset + place.start as u64, sink);
        }
    }

    fn nested(&mut self, text: &[u8], offset: u64, sink: &mut Sink<'_>) {
        if sink.nesting == MAX_NESTING {
            sink.out.seen += 1;
            return sink.reject(text, offset, RejectReason::TooDeep { limit: MAX_NESTING });
        }
        sink.nesting += 1;
        self.value(text, offset, sink);
        sink.nesting -= 1;
    }

    /// Decodes containers that stand one after another, as Firehose joins them; what is anything else is refused whole.
    fn several(&mut self, text: &[u8], offset: u64, reason: RejectReason, sink: &mut Sink<'_>) {
        let (mut scanner, mut places) = (Scanner::new(text), Vec::new());
        while matches!(scanner.peek(), Some(b'{' | b'[')) {
            let start = scanner.at();
            if scanner.skip_value().is_err() {
                break;
            }
            places.push(start..scanner.at());
        }
        if scanner.peek().is_none() && places.len() > 1 { self.each(text, offset, places, sink) } else { sink.reject(text, offset, reason) }
    }
}

/// The byte order mark that some editors and exports put before UTF-8.
const MARK: &[u8] = b"\xEF\xBB\xBF";

/// Returns text without the byte order mark that it may begin with; JSON readers may ignore it (RFC 8259, section 8.1).
pub(crate) fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(MARK).unwrap_or(bytes)
}

/// Tells whether `bytes` is exactly one balanced JSON value, white space and a byte order mark aside: a document rather than lines.
#[must_use]
pub fn is_one_value(bytes: &[u8]) -> bool {
    let mut scanner = Scanner::new(without_mark(bytes));
    scanner.skip_value().is_ok() && scanner.peek().is_none()
}
