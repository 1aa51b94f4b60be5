//! Cuts a batch into messages below a size.

use std::collections::HashMap;
use std::ops::Range;

use sluice_schemas::usage::GuardrailUnits;
use sluice_schemas::{Batch, CostBasis, Extras, Invocation, Position, Profile, Rejected, RequestId, ServiceTier, StringTable, Sym};

use super::frame::{Section, wrap};
use super::table::{Column, write};
use super::{Origin, RelayError, items, reason};
use crate::framing::sha256;

/// What a message of one refused record needs beside the record.
const OVERHEAD: usize = 4 << 10;

/// Writes a batch as one message, or as many as it takes to stay below `limit` bytes each.
///
/// A refused record that is longer than a message is cut to what fits. A single call or event is never cut: should it be longer,
/// its message is too, and whoever takes it may refuse.
///
/// # Errors
/// When the batch contradicts itself.
pub fn encode(batch: &Batch, origin: &Origin, limit: usize) -> Result<Vec<Vec<u8>>, RelayError> {
    let whole =
        Part { invocations: 0..batch.invocations.len(), trail: 0..batch.trail.len(), rejected: 0..batch.rejected.len(), last: true };
    let mut messages = Vec::new();
    cut(batch, origin, whole, limit, &mut messages)?;
    Ok(messages)
}

/// A part of a batch.
#[derive(Clone)]
struct Part {
    invocations: Range<usize>,
    trail: Range<usize>,
    rejected: Range<usize>,
    last: bool,
}

impl Part {
    fn len(&self) -> usize {
        self.invocations.len() + self.trail.len() + self.rejected.len()
    }

    /// Divides it after its first `count` records.
    fn split(self, count: usize) -> (Self, Self) {
        let mut left = count;
        let mut divide = |range: Range<usize>| {
            let at = range.start + left.min(range.len());
            left -= at - range.start;
            (range.start..at, at..range.end)
        };
        let (invocations, trail, rejected) = (divide(self.invocations), divide(self.trail), divide(self.rejected));
        let first = Self { invocations: invocations.0, trail: trail.0, rejected: rejected.0, last: false };
        (first, Self { invocations: invocations.1, trail: trail.1, rejected: rejected.1, last: self.last })
    }
}

fn cut(batch: &Batch, origin: &Origin, part: Part, limit: usize, messages: &mut Vec<Vec<u8>>) -> Result<(), RelayError> {
    let message = one(batch, origin, &part, limit)?;
    if message.len() <= limit || part.len() < 2 {
        messages.push(message);
        return Ok(());
    }
    let half = part.len() / 2;
    let (first, second) = part.split(half);
    cut(batch, origin, first, limit, messages)?;
    cut(batch, origin, second, limit, messages)
}

/// Writes one message.
fn one(batch: &Batch, origin: &Origin, part: &Part, limit: usize) -> Result<Vec<u8>, RelayError> {
    let wrong = RelayError::Damaged { detail: "batch with an index that leads nowhere" };
    let (invocations, trail, rejected) =
        (batch.invocations.get(part.invocations.clone()), batch.trail.get(part.trail.clone()), batch.rejected.get(part.rejected.clone()));
    let (Some(invocations), Some(trail), Some(rejected)) = (invocations, trail, rejected) else { return Err(wrong) };
    let mut subset =
        Subset { from: batch, strings: StringTable::default(), profiles: Vec::new(), places: HashMap::new(), extras: Vec::new() };
    let calls = subset.calls(invocations)?;
    let offloaded = subset.offloaded(&part.invocations)?;
    let (events, event_items) = items::write_events(trail)?;
    let (control, bytes) = if part.last { (batch.control, batch.bytes) } else { (0, 0) };
    let marks = if part.last { origin.marks.as_slice() } else { &[] };
    let sections = [
        (Section::Origin, origin_table(origin, part.last, control, bytes)?),
        (
            Section::Marks,
            write(vec![
                Column::U64(marks.iter().map(|mark| mark.offset).collect()),
                Column::Text(marks.iter().map(|mark| mark.sequence.as_str()).collect()),
                Column::U64(marks.iter().map(|mark| mark.count).collect()),
            ])?,
        ),
        (Section::Strings, write(vec![Column::Text((1..subset.strings.len() as u32).map(|at| subset.strings.get(Sym(at))).collect())])?),
        (Section::Profiles, subset.profile_table()?),
        (Section::Invocations, calls),
        (Section::Extras, extras_table(&subset.extras)?),
        (Section::Trail, events),
        (Section::TrailItems, event_items),
        (Section::Rejected, rejected_table(rejected, limit.saturating_sub(OVERHEAD))?),
        (Section::Offloaded, offloaded),
    ];
    Ok(wrap(&sections))
}

fn origin_table(origin: &Origin, last: bool, control: u64, bytes: u64) -> Result<Vec<u8>, RelayError> {
    let (span, none) = (&origin.span, Position::default());
    let from = span.from.as_ref().unwrap_or(&none);
    write(vec![
        Column::I64(vec![origin.arrival.0]),
        Column::U64(vec![control]),
        Column::U64(vec![bytes]),
        Column::U8(vec![u8::from(last)]),
        Column::U8(vec![u8::from(span.from.is_some())]),
        Column::Text(vec![&origin.worker]),
        Column::Text(vec![&span.shard]),
        Column::U64(vec![from.offset]),
        Column::Text(vec![from.sequence.as_str()]),
        Column::Text(vec![&from.identity]),
        Column::U8(vec![u8::from(from.ended)]),
        Column::U64(vec![span.to.offset]),
        Column::Text(vec![span.to.sequence.as_str()]),
        Column::Text(vec![&span.to.identity]),
        Column::U8(vec![u8::from(span.to.ended)]),
    ])
}

fn rejected_table(rejected: &[Rejected], longest: usize) -> Result<Vec<u8>, RelayError> {
    let reasons: Vec<_> = rejected.iter().map(|rejected| reason::split(&rejected.reason)).collect();
    let raw = |rejected: &'_ Rejected| rejected.raw.len().min(longest.max(1));
    // A record that is cut only here is told apart like one that was cut before.
    let whole = |rejected: &Rejected| -> (u64, String) {
        match &rejected.cut {
            Some(cut) => (cut.bytes, cut.sha256.clone()),
            None if raw(rejected) < rejected.raw.len() => (rejected.raw.len() as u64, sha256(&rejected.raw)),
            None => (rejected.raw.len() as u64, String::new()),
        }
    };
    let whole: Vec<(u64, String)> = rejected.iter().map(whole).collect();
    write(vec![
        Column::U64(rejected.iter().map(|rejected| rejected.offset).collect()),
        Column::Text(rejected.iter().map(|rejected| rejected.sequence.as_str()).collect()),
        Column::Text(reasons.iter().map(|reason| reason.code).collect()),
        Column::Text(reasons.iter().map(|reason| reason.text.as_str()).collect()),
        Column::U64(reasons.iter().map(|reason| reason.a).collect()),
        Column::U64(reasons.iter().map(|reason| reason.b).collect()),
        Column::Bytes(rejected.iter().map(|rejected| rejected.raw.get(..raw(rejected)).unwrap_or_default()).collect()),
        Column::U64(whole.iter().map(|(bytes, _)| *bytes).collect()),
        Column::Text(whole.iter().map(|(_, sha256)| sha256.as_str()).collect()),
    ])
}

/// Units beside tokens as numbers, in the order of the columns.
pub(super) const fn extras_numbers(extras: &Extras) -> [u64; 15] {
    let units = &extras.guardrail;
    [
        extras.images,
        extras.input_images,
        extras.image_width as u64,
        extras.image_height as u64,
        extras.image_steps as u64,
        extras.queries,
        extras.video_ms,
        units.topic,
        units.content,
        units.word,
        units.sensitive,
        units.sensitive_free,
        units.grounding,
        units.content_image,
        units.reasoning,
    ]
}

/// The inverse of [`extras_numbers`]; `None` for a number no record can hold.
pub(super) fn extras_of(numbers: [u64; 15], image_quality: String) -> Option<Extras> {
    let [
        images,
        input_images,
        width,
        height,
        steps,
        queries,
        video_ms,
        topic,
        content,
        word,
        sensitive,
        sensitive_free,
        grounding,
        content_image,
        reasoning,
    ] = numbers;
    Some(Extras {
        images,
        input_images,
        image_width: u32::try_from(width).ok()?,
        image_height: u32::try_from(height).ok()?,
        image_quality,
        image_steps: u32::try_from(steps).ok()?,
        queries,
        video_ms,
        guardrail: GuardrailUnits { topic, content, word, sensitive, sensitive_free, grounding, content_image, reasoning },
    })
}

fn extras_table(extras: &[&Extras]) -> Result<Vec<u8>, RelayError> {
    let mut columns = vec![Column::Text(extras.iter().map(|extras| extras.image_quality.as_str()).collect())];
    columns.extend((0..15).map(|at| Column::U64(extras.iter().map(|extras| extras_numbers(extras)[at]).collect())));
    write(columns)
}

/// Numbers of the service tiers on the wire.
pub(super) const TIERS: [ServiceTier; 5] =
    [ServiceTier::Standard, ServiceTier::Flex, ServiceTier::Priority, ServiceTier::Batch, ServiceTier::Reserved];
/// Numbers of the cost bases on the wire.
pub(super) const BASES: [CostBasis; 2] = [CostBasis::Exact, CostBasis::Envelope];

fn number<T: PartialEq>(of: &[T], value: &T) -> u8 {
    of.iter().position(|known| known == value).map_or(u8::MAX, |at| at as u8)
}

/// The strings, profiles and extras that the calls of a part refer to.
struct Subset<'a> {
    from: &'a Batch,
    strings: StringTable,
    profiles: Vec<Profile>,
    places: HashMap<u32, u32>,
    extras: Vec<&'a Extras>,
}

impl<'a> Subset<'a> {
    fn sym(&mut self, sym: Sym) -> Sym {
        self.strings.intern(self.from.strings.get(sym))
    }

    fn profile(&mut self, at: u32) -> Result<u32, RelayError> {
        if let Some(place) = self.places.get(&at) {
            return Ok(*place);
        }
        let nowhere = RelayError::Damaged { detail: "batch with a call of no profile" };
        let profile = *self.from.profiles.get(at as usize).ok_or(nowhere)?;
        let mapped = map_syms(&profile, |sym| self.sym(sym));
        let place = self.profiles.len() as u32;
        self.profiles.push(mapped);
        self.places.insert(at, place);
        Ok(place)
    }

    /// Writes calls; notes what they refer to.
    fn calls(&mut self, calls: &[Invocation]) -> Result<Vec<u8>, RelayError> {
        let (mut profiles, mut extras, mut others, mut ids) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for call in calls {
            profiles.push(self.profile(call.profile)?);
            extras.push(match call.extras {
                None => None,
                Some(at) => {
                    let nowhere = RelayError::Damaged { detail: "batch with a call of no extras" };
                    self.extras.push(self.from.extras.get(at as usize).ok_or(nowhere)?);
                    Some(self.extras.len() as u32 - 1)
                }
            });
            let (id, other) = match call.request_id {
                RequestId::Uuid(id) => (id, None),
                RequestId::Other(sym) => (0, Some(self.sym(sym).0)),
            };
            ids.push(id);
            others.push(other);
        }
        let tokens = |of: fn(&Invocation) -> u64| Column::U64(calls.iter().map(of).collect());
        write(vec![
            Column::I64(calls.iter().map(|call| call.event_time.0).collect()),
            Column::U64(ids.iter().map(|id| (id >> 64) as u64).collect()),
            Column::U64(ids.iter().map(|id| *id as u64).collect()),
            Column::MaybeU32(others),
            Column::U32(profiles),
            tokens(|call| call.usage.input),
            tokens(|call| call.usage.output),
            tokens(|call| call.usage.cache_read),
            tokens(|call| call.usage.cache_write_5m),
            tokens(|call| call.usage.cache_write_1h),
            Column::U8(calls.iter().map(|call| number(&BASES, &call.basis)).collect()),
            Column::MaybeU32(calls.iter().map(|call| call.latency_ms).collect()),
            Column::MaybeU32(extras),
        ])
    }

    /// Writes where bodies lie of the calls of a part.
    fn offloaded(&mut self, calls: &Range<usize>) -> Result<Vec<u8>, RelayError> {
        let of_part = self.from.offloaded.iter().filter(|body| calls.contains(&(body.invocation as usize)));
        let bodies: Vec<_> =
            of_part.map(|body| (body.invocation - calls.start as u32, self.sym(body.request).0, self.sym(body.response).0)).collect();
        write(vec![
            Column::U32(bodies.iter().map(|body| body.0).collect()),
            Column::U32(bodies.iter().map(|body| body.1).collect()),
            Column::U32(bodies.iter().map(|body| body.2).collect()),
        ])
    }

    fn profile_table(&self) -> Result<Vec<u8>, RelayError> {
        let mut columns = vec![Column::U8(self.profiles.iter().map(|profile| number(&TIERS, &profile.service_tier)).collect())];
        columns.extend((0..8).map(|at| Column::U32(self.profiles.iter().map(|profile| syms(profile)[at].0).collect())));
        write(columns)
    }
}

/// Symbols of a profile in the order of the columns.
const fn syms(profile: &Profile) -> [Sym; 8] {
    [
        profile.account_id,
        profile.region,
        profile.inference_region,
        profile.operation,
        profile.model_id,
        profile.principal_arn,
        profile.error_code,
        profile.metadata,
    ]
}

/// Returns the profile with other symbols.
pub(super) fn map_syms(profile: &Profile, map: impl FnMut(Sym) -> Sym) -> Profile {
    profile_of(syms(profile).map(map), profile.service_tier)
}

/// The inverse of [`syms`].
pub(super) const fn profile_of(syms: [Sym; 8], service_tier: ServiceTier) -> Profile {
    let [account_id, region, inference_region, operation, model_id, principal_arn, error_code, metadata] = syms;
    Profile {
        account_id,
        region,
        inference_region,
        operation,
        model_id,
        principal_arn,
        error_code,
        metadata,
        service_tier,
        lower_bound: false,
    }
}
