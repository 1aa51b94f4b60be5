//! Rows of the ledger in the local store: versioned bytes, refused whole when a byte is not as written.
//!
//! A key is the kind of row, then length-prefixed texts, then big-endian numbers; a value begins with its version. Integers
//! are varints, signed ones zigzag. What an older version wrote stays readable; a newer version than this is refused.

use sluice_schemas::{ErrorClass, Micros, PicoUsd};

use crate::book::{Book, Key, KeyRef};
use crate::budget::Budget;
use crate::counter::{Counter, Fired, FiredState};
use crate::fire::Crossing;
use crate::ring::Ring;
use crate::tally::{Burn, Tally};

mod watch;

pub(crate) use watch::{is_watch_key, read_json, read_watch_key, rule_key, watched_key, write_json};

/// Version that is written.
const VERSION: u8 = 1;
const BOOK: u8 = b'b';
const COUNTER: u8 = b'c';
const BUCKET: u8 = b'r';
const PENDING: u8 = b'p';

/// A stored row that cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LedgerError {
    /// The bytes of a key or value contradict the format.
    #[error("ledger row {key} is corrupt: {part}")]
    Corrupt {
        /// The key, printable.
        key: String,
        /// Which part.
        part: &'static str,
    },
    /// Written by a newer program.
    #[error("ledger row {key} has format version {found}, this program knows up to {known}")]
    Version {
        /// The key, printable.
        key: String,
        /// Version of the row.
        found: u8,
        /// Newest known version.
        known: u8,
    },
}

impl LedgerError {
    pub(crate) fn orphan(key: &[u8], part: &'static str) -> Self {
        Self::Corrupt { key: printable(key), part }
    }

    /// Tells what is to be done.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Corrupt { .. } => ErrorClass::Corrupt,
            Self::Version { .. } => ErrorClass::Misconfigured,
        }
    }
}

/// What a key names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum RowKey {
    Book { budget: String },
    Counter { budget: String, key: Key },
    Bucket { budget: String, key: Key, index: i64 },
    Pending { fire_id: String },
}

/// What a book row holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct BookRow {
    pub(crate) digest: String,
    pub(crate) counting_digest: String,
    pub(crate) confirmed: bool,
    pub(crate) seeding: bool,
    pub(crate) forgotten_before: Micros,
    pub(crate) unplaced: Tally,
    pub(crate) too_late: Tally,
}

pub(crate) fn book_key(budget: &str) -> Vec<u8> {
    let mut out = vec![BOOK];
    put_text(&mut out, budget);
    out
}

pub(crate) fn counter_key(budget: &str, key: KeyRef<'_>) -> Vec<u8> {
    target_key(COUNTER, budget, key)
}

pub(crate) fn bucket_key(budget: &str, key: KeyRef<'_>, index: i64) -> Vec<u8> {
    let mut out = target_key(BUCKET, budget, key);
    out.extend_from_slice(&index.to_be_bytes());
    out
}

pub(crate) fn pending_key(fire_id: &str) -> Vec<u8> {
    let mut out = vec![PENDING];
    put_text(&mut out, fire_id);
    out
}

fn target_key(kind: u8, budget: &str, key: KeyRef<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(budget.len() + key.target.len() + 24);
    out.push(kind);
    put_text(&mut out, budget);
    put_text(&mut out, key.target);
    out.extend_from_slice(&key.period.to_be_bytes());
    out
}

/// Reads a key.
pub(crate) fn read_key(bytes: &[u8]) -> Result<RowKey, LedgerError> {
    let mut reader = Reader { key: bytes, rest: bytes };
    let kind = reader.byte()?;
    let budget = reader.text()?;
    let key = match kind {
        BOOK => RowKey::Book { budget },
        PENDING => RowKey::Pending { fire_id: budget },
        COUNTER => RowKey::Counter { budget, key: reader.target()? },
        BUCKET => RowKey::Bucket { budget, key: reader.target()?, index: reader.big_endian()? },
        _ => return Err(reader.corrupt("unknown kind")),
    };
    reader.end()?;
    Ok(key)
}

pub(crate) fn write_book(book: &Book) -> Vec<u8> {
    let mut out = vec![VERSION];
    put_text(&mut out, &book.budget.digest());
    put_text(&mut out, &book.budget.counting_digest());
    out.extend([u8::from(book.confirmed), u8::from(book.seeding)]);
    put_signed(&mut out, book.forgotten_before.0.into());
    put_tally(&mut out, book.unplaced);
    put_tally(&mut out, book.too_late);
    out
}

pub(crate) fn read_book(key: &[u8], value: &[u8]) -> Result<BookRow, LedgerError> {
    let mut reader = Reader::versioned(key, value)?;
    let row = BookRow {
        digest: reader.text()?,
        counting_digest: reader.text()?,
        confirmed: reader.flag()?,
        seeding: reader.flag()?,
        forgotten_before: reader.micros()?,
        unplaced: reader.tally()?,
        too_late: reader.tally()?,
    };
    reader.end()?;
    Ok(row)
}

pub(crate) fn write_counter(budget: &Budget, counter: &Counter) -> Vec<u8> {
    let mut out = Vec::with_capacity(96 + counter.fired.len() * 48);
    out.push(VERSION);
    put_tally(&mut out, counter.tally);
    put_signed(&mut out, counter.first.0.into());
    put_signed(&mut out, counter.last.0.into());
    put_signed(&mut out, counter.generation.into());
    put_option(&mut out, counter.tag_limit.map(|limit| limit.0));
    let burn = counter.burn;
    for number in [burn.slot.into(), burn.current.0, burn.previous.0, burn.peak.0] {
        put_signed(&mut out, number);
    }
    put_option(&mut out, counter.ring.as_ref().and_then(|ring| ring.floor()).map(i128::from));
    out.push(u8::from(counter.ring.is_some()));
    put_signed(&mut out, counter.fired.len() as i128);
    for fired in &counter.fired {
        let threshold = budget.thresholds.get(usize::from(fired.threshold));
        put_text(&mut out, threshold.map_or("", |threshold| threshold.text.as_str()));
        out.extend([state_byte(fired.state), u8::from(fired.closed)]);
        put_signed(&mut out, fired.event_time.0.into());
        put_signed(&mut out, fired.bucket.into());
        out.extend_from_slice(&fired.fire_id);
    }
    out
}

/// Reads a counter. Crossings of thresholds that `threshold` does not know are left out; its ring is still empty.
pub(crate) fn read_counter(key: &[u8], value: &[u8], threshold: impl Fn(&str) -> Option<u8>) -> Result<Counter, LedgerError> {
    let mut reader = Reader::versioned(key, value)?;
    let mut counter = Counter { tally: reader.tally()?, first: reader.micros()?, last: reader.micros()?, ..Counter::default() };
    counter.generation = u32::try_from(reader.signed()?).map_err(|_| reader.corrupt("generation"))?;
    counter.tag_limit = reader.option()?.map(PicoUsd);
    let slot = reader.long()?;
    counter.burn = Burn { slot, current: PicoUsd(reader.signed()?), previous: PicoUsd(reader.signed()?), peak: PicoUsd(reader.signed()?) };
    let floor = reader.option()?.map(i64::try_from).transpose().map_err(|_| reader.corrupt("floor"))?;
    if reader.flag()? {
        let mut ring = Ring::default();
        ring.set_floor(floor);
        counter.ring = Some(Box::new(ring));
    }
    let count = reader.signed()?;
    for _ in 0..count {
        let text = reader.text()?;
        let state = match reader.byte()? {
            0 => FiredState::Fired,
            1 => FiredState::Late,
            2 => FiredState::Unconfirmed,
            3 => FiredState::Seeded,
            _ => return Err(reader.corrupt("state of a crossing")),
        };
        let (closed, event_time, bucket) = (reader.flag()?, reader.micros()?, reader.long()?);
        let fire_id = reader.array()?;
        if let Some(threshold) = threshold(&text) {
            counter.fired.push(Fired { threshold, state, event_time, bucket, closed, fire_id });
        }
    }
    reader.end()?;
    Ok(counter)
}

const fn state_byte(state: FiredState) -> u8 {
    match state {
        FiredState::Fired => 0,
        FiredState::Late => 1,
        FiredState::Unconfirmed => 2,
        FiredState::Seeded => 3,
    }
}

pub(crate) fn write_bucket(tally: Tally) -> Vec<u8> {
    let mut out = Vec::with_capacity(24);
    out.push(VERSION);
    put_tally(&mut out, tally);
    out
}

pub(crate) fn read_bucket(key: &[u8], value: &[u8]) -> Result<Tally, LedgerError> {
    let mut reader = Reader::versioned(key, value)?;
    let tally = reader.tally()?;
    reader.end()?;
    Ok(tally)
}

pub(crate) fn write_pending(crossing: &Crossing) -> Vec<u8> {
    write_json(crossing)
}

pub(crate) fn read_pending(key: &[u8], value: &[u8]) -> Result<Crossing, LedgerError> {
    let reader = Reader::versioned(key, value)?;
    serde_json::from_slice(reader.rest).map_err(|_| reader.corrupt("crossing"))
}

fn put_signed(out: &mut Vec<u8>, number: i128) {
    let mut rest = ((number << 1) ^ (number >> 127)) as u128;
    loop {
        let low = (rest & 0x7f) as u8;
        rest >>= 7;
        if rest == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

fn put_option(out: &mut Vec<u8>, number: Option<i128>) {
    out.push(u8::from(number.is_some()));
    put_signed(out, number.unwrap_or(0));
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_signed(out, text.len() as i128);
    out.extend_from_slice(text.as_bytes());
}

fn put_tally(out: &mut Vec<u8>, tally: Tally) {
    put_signed(out, tally.amount.0);
    put_signed(out, tally.calls.into());
    put_signed(out, tally.unpriced.into());
}

/// Takes parts off the front of a row.
struct Reader<'a> {
    key: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn versioned(key: &'a [u8], value: &'a [u8]) -> Result<Self, LedgerError> {
        let mut reader = Self { key, rest: value };
        match reader.byte()? {
            VERSION => Ok(reader),
            0 => Err(reader.corrupt("version")),
            found => Err(LedgerError::Version { key: printable(key), found, known: VERSION }),
        }
    }

    fn corrupt(&self, part: &'static str) -> LedgerError {
        LedgerError::Corrupt { key: printable(self.key), part }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], LedgerError> {
        let (head, tail) = self.rest.split_at_checked(count).ok_or_else(|| self.corrupt("ends too early"))?;
        self.rest = tail;
        Ok(head)
    }

    fn end(&self) -> Result<(), LedgerError> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.corrupt("goes on after its end")) }
    }

    fn byte(&mut self) -> Result<u8, LedgerError> {
        Ok(self.take(1)?[0])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], LedgerError> {
        let bytes = self.take(N)?;
        bytes.try_into().map_err(|_| self.corrupt("ends too early"))
    }

    fn flag(&mut self) -> Result<bool, LedgerError> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.corrupt("flag")),
        }
    }

    fn signed(&mut self) -> Result<i128, LedgerError> {
        let mut number = 0_u128;
        for shift in (0..).step_by(7) {
            let byte = self.byte()?;
            let low = u128::from(byte & 0x7f);
            // The nineteenth byte has room for two bits.
            if shift > 126 || (shift == 126 && low > 3) {
                return Err(self.corrupt("number"));
            }
            number |= low << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        Ok(((number >> 1) as i128) ^ -((number & 1) as i128))
    }

    fn long(&mut self) -> Result<i64, LedgerError> {
        i64::try_from(self.signed()?).map_err(|_| self.corrupt("number"))
    }

    fn micros(&mut self) -> Result<Micros, LedgerError> {
        self.long().map(Micros)
    }

    fn option(&mut self) -> Result<Option<i128>, LedgerError> {
        let present = self.flag()?;
        let number = self.signed()?;
        Ok(present.then_some(number))
    }

    fn text(&mut self) -> Result<String, LedgerError> {
        let length = usize::try_from(self.signed()?).map_err(|_| self.corrupt("length"))?;
        let bytes = self.take(length)?;
        String::from_utf8(bytes.to_vec()).map_err(|_| self.corrupt("text"))
    }

    fn tally(&mut self) -> Result<Tally, LedgerError> {
        Ok(Tally { amount: PicoUsd(self.signed()?), calls: self.long()?, unpriced: self.long()? })
    }

    fn big_endian(&mut self) -> Result<i64, LedgerError> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    fn target(&mut self) -> Result<Key, LedgerError> {
        Ok(Key { target: self.text()?.into(), period: self.big_endian()? })
    }
}

/// Shows a key: texts as they are, everything else as `\x00`.
fn printable(key: &[u8]) -> String {
    key.escape_ascii().to_string()
}

#[cfg(test)]
mod tests;
