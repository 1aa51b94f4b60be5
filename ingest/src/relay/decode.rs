//! Reads a message, and puts it into a batch.

use std::collections::HashMap;

use sluice_schemas::position::{Sequence, Span};
use sluice_schemas::time::MINUTE;
use sluice_schemas::{
    Batch, ControlMark, Invocation, Micros, Offloaded, Position, Profile, Rejected, Relayed, RequestId, Sym, Usage, Whole,
};

use super::encode::{BASES, TIERS, extras_of, map_syms, profile_of};
use super::frame::{Section, Sections, unwrap};
use super::table::{Kind, Table};
use super::{Origin, RelayBatch, RelayError, items, reason};

const ORIGIN: [Kind; 15] = [
    Kind::I64,
    Kind::U64,
    Kind::U64,
    Kind::U8,
    Kind::U8,
    Kind::Text,
    Kind::Text,
    Kind::U64,
    Kind::Text,
    Kind::Text,
    Kind::U8,
    Kind::U64,
    Kind::Text,
    Kind::Text,
    Kind::U8,
];
const MARKS: [Kind; 3] = [Kind::U64, Kind::Text, Kind::U64];
const PROFILES: [Kind; 9] = [Kind::U8, Kind::U32, Kind::U32, Kind::U32, Kind::U32, Kind::U32, Kind::U32, Kind::U32, Kind::U32];
const INVOCATIONS: [Kind; 13] = [
    Kind::I64,
    Kind::U64,
    Kind::U64,
    Kind::MaybeU32,
    Kind::U32,
    Kind::U64,
    Kind::U64,
    Kind::U64,
    Kind::U64,
    Kind::U64,
    Kind::U8,
    Kind::MaybeU32,
    Kind::MaybeU32,
];
const EXTRAS: [Kind; 16] = {
    let mut kinds = [Kind::U64; 16];
    kinds[0] = Kind::Text;
    kinds
};
const REJECTED: [Kind; 9] = [Kind::U64, Kind::Text, Kind::Text, Kind::Text, Kind::U64, Kind::U64, Kind::Bytes, Kind::U64, Kind::Text];

const fn damaged(detail: &'static str) -> RelayError {
    RelayError::Damaged { detail }
}

/// The year 2200: no clock of a worker stands there.
const MAX_TIME: i64 = 7_258_118_400_000_000;

/// Makes sure that a time is one the decoder would have let pass: an absurd year fails whole windows.
fn timely(time: Micros, arrival: Micros) -> Result<(), RelayError> {
    let sound = (0..=MAX_TIME).contains(&arrival.0) && (0..=arrival.plus(5 * MINUTE).0).contains(&time.0);
    if sound { Ok(()) } else { Err(damaged("relay message with a time out of range")) }
}

/// Reads a message.
///
/// # Errors
/// Bytes that are no message, of another version, or damaged. Never panics, whatever the bytes.
pub fn decode(bytes: &[u8]) -> Result<RelayBatch, RelayError> {
    let sections = unwrap(bytes)?;
    let mut batch = Batch::default();
    let (origin, last) = origin(&sections, &mut batch)?;
    strings(&sections, &mut batch)?;
    profiles(&sections, &mut batch)?;
    extras(&sections, &mut batch)?;
    invocations(&sections, &mut batch)?;
    batch.trail = items::read_events(sections.get(Section::Trail), sections.get(Section::TrailItems))?;
    rejected(&sections, &mut batch)?;
    offloaded(&sections, &mut batch)?;
    let times = batch.invocations.iter().map(|call| call.event_time).chain(batch.trail.iter().map(|event| event.event_time));
    times.into_iter().try_for_each(|time| timely(time, origin.arrival))?;
    Ok(RelayBatch { origin, last, batch })
}

fn sequence(text: &str) -> Result<Sequence, RelayError> {
    if text.is_empty() {
        return Ok(Sequence::default());
    }
    Sequence::parse(text).map_err(|_| damaged("relay message with a sequence number that is none"))
}

fn origin(sections: &Sections<'_>, batch: &mut Batch) -> Result<(Origin, bool), RelayError> {
    let table = Table::read(sections.get(Section::Origin), &ORIGIN)?;
    if table.rows() != 1 {
        return Err(damaged("relay message that does not say where it is from"));
    }
    let position = |at: usize| -> Result<Position, RelayError> {
        Ok(Position {
            offset: table.u64(at)[0],
            sequence: sequence(table.text(at + 1, 0))?,
            identity: table.text(at + 2, 0).to_owned(),
            ended: table.u8(at + 3)[0] != 0,
        })
    };
    let from = position(7)?;
    let span = Span { shard: table.text(6, 0).to_owned(), from: (table.u8(4)[0] != 0).then_some(from), to: position(11)? };
    (batch.control, batch.bytes) = (table.u64(1)[0], table.u64(2)[0]);
    let marks = Table::read(sections.get(Section::Marks), &MARKS)?;
    let marks = (0..marks.rows())
        .map(|row| Ok(ControlMark { offset: marks.u64(0)[row], sequence: sequence(marks.text(1, row))?, count: marks.u64(2)[row] }))
        .collect::<Result<Vec<_>, RelayError>>()?;
    let marked = marks.iter().try_fold(0_u64, |sum, mark| sum.checked_add(mark.count));
    if marked.is_none_or(|marked| marked > batch.control) {
        return Err(damaged("relay message with more marks than control messages"));
    }
    let origin = Origin { worker: table.text(5, 0).to_owned(), span, arrival: Micros(table.i64(0)[0]), marks };
    Ok((origin, table.u8(3)[0] != 0))
}

fn strings(sections: &Sections<'_>, batch: &mut Batch) -> Result<(), RelayError> {
    let table = Table::read(sections.get(Section::Strings), &[Kind::Text])?;
    for row in 0..table.rows() {
        // Each text once, so that symbols are places.
        if batch.strings.intern(table.text(0, row)) != Sym(row as u32 + 1) {
            return Err(damaged("relay message with a string that occurs twice"));
        }
    }
    Ok(())
}

fn profiles(sections: &Sections<'_>, batch: &mut Batch) -> Result<(), RelayError> {
    let table = Table::read(sections.get(Section::Profiles), &PROFILES)?;
    for row in 0..table.rows() {
        let tier = TIERS.get(usize::from(table.u8(0)[row])).ok_or(damaged("relay message with an unknown service tier"))?;
        let mut syms = [Sym::EMPTY; 8];
        for (at, sym) in syms.iter_mut().enumerate() {
            *sym = known(batch, table.u32(1 + at)[row])?;
        }
        batch.profiles.push(profile_of(syms, *tier));
    }
    Ok(())
}

fn known(batch: &Batch, sym: u32) -> Result<Sym, RelayError> {
    if (sym as usize) < batch.strings.len() { Ok(Sym(sym)) } else { Err(damaged("relay message with a string that is not there")) }
}

fn extras(sections: &Sections<'_>, batch: &mut Batch) -> Result<(), RelayError> {
    let table = Table::read(sections.get(Section::Extras), &EXTRAS)?;
    for row in 0..table.rows() {
        let mut numbers = [0; 15];
        for (at, number) in numbers.iter_mut().enumerate() {
            *number = table.u64(1 + at)[row];
        }
        let extras = extras_of(numbers, table.text(0, row).to_owned());
        batch.extras.push(extras.ok_or(damaged("relay message with units out of range"))?);
    }
    Ok(())
}

fn invocations(sections: &Sections<'_>, batch: &mut Batch) -> Result<(), RelayError> {
    let table = Table::read(sections.get(Section::Invocations), &INVOCATIONS)?;
    for row in 0..table.rows() {
        let (profile, extras) = (table.u32(4)[row], table.maybe_u32(12, row));
        if profile as usize >= batch.profiles.len() || extras.is_some_and(|at| at as usize >= batch.extras.len()) {
            return Err(damaged("relay message with a call of no profile or no extras"));
        }
        let request_id = match table.maybe_u32(3, row) {
            Some(sym) => RequestId::Other(known(batch, sym)?),
            None => RequestId::Uuid(u128::from(table.u64(1)[row]) << 64 | u128::from(table.u64(2)[row])),
        };
        let usage = Usage {
            input: table.u64(5)[row],
            output: table.u64(6)[row],
            cache_read: table.u64(7)[row],
            cache_write_5m: table.u64(8)[row],
            cache_write_1h: table.u64(9)[row],
        };
        let most = sluice_schemas::usage::MAX_TOKENS;
        if [usage.input, usage.output, usage.cache_read, usage.cache_write_5m, usage.cache_write_1h].iter().any(|tokens| *tokens > most) {
            return Err(damaged("relay message with tokens out of range"));
        }
        batch.invocations.push(Invocation {
            event_time: Micros(table.i64(0)[row]),
            request_id,
            profile,
            usage,
            basis: *BASES.get(usize::from(table.u8(10)[row])).ok_or(damaged("relay message with an unknown cost basis"))?,
            latency_ms: table.maybe_u32(11, row),
            extras,
        });
    }
    Ok(())
}

fn rejected(sections: &Sections<'_>, batch: &mut Batch) -> Result<(), RelayError> {
    let table = Table::read(sections.get(Section::Rejected), &REJECTED)?;
    for row in 0..table.rows() {
        let raw = table.bytes(6, row);
        let (bytes, sha256) = (table.u64(7)[row], table.text(8, row));
        let is_cut = bytes > raw.len() as u64;
        batch.rejected.push(Rejected {
            offset: table.u64(0)[row],
            sequence: sequence(table.text(1, row))?,
            reason: reason::join(table.text(2, row), table.text(3, row), table.u64(4)[row], table.u64(5)[row]),
            raw: raw.to_vec(),
            cut: is_cut.then(|| Box::new(Whole { bytes, sha256: sha256.to_owned() })),
        });
    }
    Ok(())
}

fn offloaded(sections: &Sections<'_>, batch: &mut Batch) -> Result<(), RelayError> {
    let table = Table::read(sections.get(Section::Offloaded), &[Kind::U32; 3])?;
    for row in 0..table.rows() {
        let invocation = table.u32(0)[row];
        if invocation as usize >= batch.invocations.len() {
            return Err(damaged("relay message with a body of no call"));
        }
        let (request, response) = (known(batch, table.u32(1)[row])?, known(batch, table.u32(2)[row])?);
        batch.offloaded.push(Offloaded { invocation, request, response });
    }
    Ok(())
}

impl RelayBatch {
    /// Puts the records into a batch, with its symbols and indexes.
    pub fn merge(self, out: &mut Batch) {
        let Self { origin, last, batch } = self;
        let syms: Vec<Sym> = (0..batch.strings.len() as u32).map(|at| out.strings.intern(batch.strings.get(Sym(at)))).collect();
        let sym = |sym: Sym| syms.get(sym.0 as usize).copied().unwrap_or_default();
        let mut places: HashMap<Profile, u32> = out.profiles.iter().copied().zip(0..).collect();
        let profiles: Vec<u32> = batch
            .profiles
            .iter()
            .map(|profile| {
                let profile = map_syms(profile, sym);
                *places.entry(profile).or_insert_with(|| {
                    out.profiles.push(profile);
                    out.profiles.len() as u32 - 1
                })
            })
            .collect();
        out.seen += (batch.invocations.len() + batch.trail.len() + batch.rejected.len()) as u64 + batch.control;
        let first_extras = out.extras.len() as u32;
        out.extras.extend(batch.extras);
        let first_call = out.invocations.len() as u32;
        out.offloaded.extend(batch.offloaded.into_iter().map(|body| Offloaded {
            invocation: first_call + body.invocation,
            request: sym(body.request),
            response: sym(body.response),
        }));
        out.invocations.extend(batch.invocations.into_iter().map(|call| Invocation {
            request_id: match call.request_id {
                RequestId::Other(other) => RequestId::Other(sym(other)),
                uuid @ RequestId::Uuid(_) => uuid,
            },
            profile: profiles.get(call.profile as usize).copied().unwrap_or(u32::MAX),
            extras: call.extras.map(|at| first_extras + at),
            ..call
        }));
        let calls = first_call as usize..out.invocations.len();
        out.trail.extend(batch.trail);
        let first_rejected = out.rejected.len();
        out.rejected.extend(batch.rejected);
        out.control += batch.control;
        out.bytes += batch.bytes;
        let rejected = first_rejected..out.rejected.len();
        let Origin { worker, span, marks, .. } = origin;
        out.relayed.push(Relayed { worker, span, last, calls, rejected, control: batch.control, marks });
    }
}
