//! Calls that no invocation log brings, metered from the token counts of their CloudTrail events.
//!
//! Owns: which events are calls that no log will bring, and taking such a call out again should a log bring it after all. A metered call
//! goes the way of any other: priced, attributed, dedup'd by its request id, counted in a shard of its own. It is a lower bound, for
//! CloudTrail does not tell of cached tokens.

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::Context;
use hashbrown::HashMap;
use sluice_aggregate::correct::{Change, StoredCall, Terms, correct_files};
use sluice_aggregate::dedup::{self, profile_salts, stored_key};
use sluice_aggregate::evidence::{Kinds, events_of_requests, for_each_request, metered_of_hour};
use sluice_enrich::attribution::Principal;
use sluice_enrich::enricher::{EnrichCache, ReadMetadata};
use sluice_enrich::evidence::REACH;
use sluice_schemas::position::Span;
use sluice_schemas::time::HOUR;
use sluice_schemas::trail::TrailEvent;
use sluice_schemas::{
    Batch, CostBasis, EnrichedBatch, Invocation, Micros, PicoUsd, Position, PriceStatus, Profile, RequestId, ServiceTier, Usage, tables,
};

use self::waiting::{Ripe, Waiting};
use super::coordinate::Flow;
use super::worker::{self, Decoded};
use super::{Mode, Pipeline};

/// The shard of metered calls; its offset counts them.
pub(super) const SHARD: &str = "cloudtrail:metered";
/// Operations whose events tell of one call to a model each.
const CALLS: [&str; 4] = ["InvokeModel", "InvokeModelWithResponseStream", "Converse", "ConverseStream"];
/// `userIdentity.type` of a call that another account made, as it is told to the owner of what was called (CloudTrail User Guide, userIdentity).
const OTHER_ACCOUNT: &str = "AWSAccount";
/// Calls metered at once.
const AT_ONCE: usize = 20_000;
/// How far the times of a call may be apart in log and event at most: a stream may run for an hour.
const LONGEST: i64 = HOUR + REACH;
/// Of the time that an event waits, the part after which it is looked again for those that are held back.
const LOOKS: i64 = 15;

/// Events that may be calls which no log brings.
#[derive(Debug)]
pub(super) struct TrailMeter {
    pub(super) waiting: Waiting,
    /// When this process began.
    began: Micros,
    /// When it was last looked for events that waited long enough.
    looked: Option<Micros>,
    /// Metered calls in the lake by hour of event time, those of this run included.
    hours: HashMap<i64, HashSet<u128>>,
    /// Of the events that are looked at just now: when the first came in, from which time they are.
    at_work: (Option<Micros>, Option<Micros>),
}

/// Tells whether events of this kind tell of one call to a model each.
pub(super) fn is_call(event: &TrailEvent) -> bool {
    event.event_source == "bedrock.amazonaws.com" && CALLS.contains(&event.event_name.as_str()) && has_place(event)
}

/// Tells whether the call of an event cost something, or may have. One that failed and of which no tokens are told did not, and the log
/// need not tell of it.
pub(super) fn may_cost(event: &TrailEvent) -> bool {
    let has_tokens = event.input_tokens.is_some() || event.output_tokens.is_some();
    !event.request_id.is_empty() && (event.error_code.is_empty() || has_tokens)
}

/// Tells whether an event tells of a call to a model that may have cost something.
pub(super) fn is_metered(event: &TrailEvent) -> bool {
    may_cost(event) && is_call(event)
}

/// Tells whether an event names account and region as the log of its call would. By another name, or as told to another account than the
/// caller's, the log could never take its place: the call would count twice.
fn has_place(event: &TrailEvent) -> bool {
    let is_account = event.account_id.len() == 12 && event.account_id.bytes().all(|byte| byte.is_ascii_digit());
    let is_word = |part: &[u8]| !part.is_empty() && part.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let mut words = event.region.as_bytes().split(|byte| *byte == b'-');
    let is_region = words.try_fold(0, |words, word| is_word(word).then_some(words + 1)).is_some_and(|words| words >= 3);
    let names_own = event.principal_arn.as_bytes().split(|byte| *byte == b':').nth(4) == Some(event.account_id.as_bytes());
    let is_own = names_own || Principal::parse(&event.principal_arn).is_none_or(|caller| caller.account == event.account_id);
    is_account && is_region && is_own && event.identity_type != OTHER_ACCOUNT
}

/// Returns the hours in which the event of a call may be, and the call of an event.
fn hours_of_event(at: Micros) -> RangeInclusive<i64> {
    at.plus(-LONGEST).hour()..=at.plus(LONGEST).hour()
}

impl TrailMeter {
    pub(super) fn new(now: Micros, mode: Mode) -> Self {
        // A pass over old records may read the log of a call long after its event: it meters at its end.
        let waiting = Waiting::new(mode != Mode::Live);
        Self { waiting, began: now, looked: None, hours: HashMap::new(), at_work: (None, None) }
    }

    /// Returns when the first event came in that waits or is being looked at.
    pub(super) fn waits_since(&self) -> Option<Micros> {
        self.waiting.since().into_iter().chain(self.at_work.0).min()
    }

    /// Returns the time from which the events may be that wait.
    pub(super) fn waits_from(&self) -> Option<Micros> {
        self.waiting.from().into_iter().chain(self.at_work.1).min()
    }
}

impl Pipeline {
    /// Returns until when an event must have come in to have waited long enough, if it is time to look for such.
    fn ripe_until(&self) -> Option<Micros> {
        let after: Duration = self.settings.config.cloudtrail.meter_after.filter(|_| self.settings.mode == Mode::Live)?;
        let after = i64::try_from(after.as_micros()).unwrap_or(i64::MAX);
        let (now, meter) = (self.settings.clock.now(), &self.join.meter);
        // What an earlier process knew waits anew: its log may have been at rest as long.
        if now < meter.began.plus(after) {
            return None;
        }
        let looks = meter.looked.is_none_or(|looked| now >= looked.plus(after / LOOKS));
        Some(now.plus(-after)).filter(|until| looks && meter.waiting.may_be_ripe(*until))
    }

    /// Tells whether the next batch must wait until every batch before it is applied: calls are to be metered, or it brings the log
    /// record of a call that is. Does both as soon as that is so.
    pub(super) fn meter_before(&mut self, flow: &Flow) -> anyhow::Result<bool> {
        if let Some(until) = self.ripe_until() {
            if self.join.turns != self.applied {
                return Ok(true);
            }
            self.meter_ripe(until)?;
        }
        // What was metered just now may be what the next batch brings.
        let upgrades = match flow.next_decoded() {
            Some(decoded) if self.positions.contains_key(SHARD) => self.metered_among(&decoded.batch)?,
            _ => Vec::new(),
        };
        if upgrades.is_empty() {
            return Ok(false);
        }
        if self.join.turns != self.applied {
            return Ok(true);
        }
        self.take_out_metered(&upgrades)?;
        Ok(false)
    }

    /// Meters whatever waits, before a pass over old records ends.
    pub(super) fn meter_all(&mut self) -> anyhow::Result<()> {
        if self.settings.config.cloudtrail.meter_after.is_some() {
            self.meter_ripe(Micros(i64::MAX))?;
        }
        Ok(())
    }

    /// Makes calls of the events that waited in vain. Every batch is applied.
    fn meter_ripe(&mut self, until: Micros) -> anyhow::Result<()> {
        self.let_go_of_brought();
        let meter = &mut self.join.meter;
        meter.looked = Some(self.settings.clock.now());
        // Until its calls are made, no commit may pass an event for looked after.
        meter.at_work = (meter.waiting.since(), meter.waiting.from());
        for (hour, ripe) in meter.waiting.take_ripe(until) {
            self.meter_hour(hour, ripe)?;
            self.dedup.looked();
            // A month that is read again has hundreds of hours.
            self.meter.board.turn(self.settings.clock.now());
        }
        self.join.meter.at_work = (None, None);
        Ok(())
    }

    fn meter_hour(&mut self, hour: i64, ripe: Ripe) -> anyhow::Result<()> {
        let mut requests = ripe.requests;
        if ripe.others || !ripe.ids.is_empty() {
            self.commit_lake()?;
            let is_ripe = |request| ripe.others || ripe.ids.contains(&request);
            let mut name = |request, at| _ = is_ripe(request).then(|| requests.insert(request, at));
            for_each_request(&self.lake, hour, &CALLS, &mut name).context("requests of an hour")?;
        }
        let mut unknown = Vec::new();
        for (request, at) in requests {
            if !self.knows_call(at, request)? {
                unknown.push((at, request));
            }
        }
        if unknown.is_empty() {
            return Ok(());
        }
        // Events are read from the lake.
        self.commit_lake()?;
        self.make_room(hour)?;
        self.know_hour(hour)?;
        unknown.sort_unstable();
        for part in unknown.chunks(AT_ONCE) {
            if let (Some((from, _)), Some((to, _))) = (part.first(), part.last()) {
                self.meter_part((*from, *to), part)?;
            }
        }
        Ok(())
    }

    fn meter_part(&mut self, range: (Micros, Micros), part: &[(Micros, u128)]) -> anyhow::Result<()> {
        let mut wanted: HashSet<u128> = part.iter().map(|(_, request)| *request).collect();
        let mut events = events_of_requests(&self.lake, range, &|request| wanted.contains(&request)).context("events of an hour")?;
        // Of several events of one request, one that tells what it consumed.
        events.sort_by_key(|(_, event)| event.input_tokens.is_none() && event.output_tokens.is_none());
        events.retain(|(request, event)| is_metered(event) && wanted.remove(request));
        if events.is_empty() { Ok(()) } else { self.meter(&events) }
    }

    fn meter(&mut self, events: &[(u128, TrailEvent)]) -> anyhow::Result<()> {
        let count = events.len() as u64;
        for (request, event) in events {
            // The hour was read before its events were.
            if let Some(metered) = self.join.meter.hours.get_mut(&event.event_time.hour()) {
                metered.insert(*request);
            }
        }
        let from = self.positions.get(SHARD).cloned();
        let to = Position { offset: from.as_ref().map_or(0, |from| from.offset) + count, ..Position::default() };
        let span = Span { shard: SHARD.to_owned(), from, to };
        let (enricher, mut cache) = (self.enricher(), EnrichCache::default());
        let mut batch = enricher.enrich(batch(events.iter().map(|(_, event)| event)), &mut cache);
        for ((_, event), pricing) in events.iter().zip(&mut batch.pricing) {
            if event.error_code.is_empty() && event.input_tokens.is_none() && event.output_tokens.is_none() {
                // Nobody told what it consumed: unknown is not zero.
                (pricing.status, pricing.cost, pricing.cost_max) = (PriceStatus::Unpriced, PicoUsd::ZERO, PicoUsd::ZERO);
            }
        }
        let arrival = self.settings.clock.now();
        let decoded = Decoded {
            sequence: 0,
            span,
            arrival,
            batch,
            metadata: ReadMetadata::default(),
            trail_keys: Vec::new(),
            trail_kinds: Kinds::default(),
        };
        let job = self.dedup(decoded)?;
        let folded = worker::try_fold(job, &enricher, &mut cache).context("rows of metered calls")?;
        tracing::debug!(event = "metered", calls = count, "calls known from CloudTrail alone");
        self.apply(folded)
    }

    /// Lets go of events whose calls came, as far as memory tells.
    pub(super) fn let_go_of_brought(&mut self) {
        let dedup = &self.dedup;
        self.join.meter.waiting.let_go(|hour, ids| {
            let (first, last) = (Micros(hour * HOUR), Micros((hour + 1) * HOUR - 1));
            // Nearly every event is of the hour of its call.
            let hours = std::iter::once(hour).chain(*hours_of_event(first).start()..=*hours_of_event(last).end());
            hours.for_each(|hour| dedup.drop_known(hour, ids));
        });
    }

    /// Tells whether the call of an event is known, looking into the lake for hours that are not in memory.
    fn knows_call(&mut self, at: Micros, request: u128) -> anyhow::Result<bool> {
        let (lake, pending) = (&self.lake, &self.pending_keys);
        let mut load = |hour| {
            let mut keys = sluice_aggregate::known::keys_of_hour(lake, hour)?;
            keys.extend(pending.get(&hour).into_iter().flatten());
            Ok::<_, sluice_aggregate::known::KnownError>(keys)
        };
        for hour in hours_of_event(at) {
            if self.dedup.look(hour, request, &mut load).context("ids of calls")? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Forgets what hours rest on when it is much: it is read again from what is stored. Never between two looks at hours that must agree.
    fn make_room(&mut self, in_hand: i64) -> anyhow::Result<()> {
        let far = room::to_forget(self.join.meter.hours.iter().map(|(hour, calls)| (*hour, calls.len())), in_hand);
        if !far.is_empty() {
            self.commit_lake()?;
            far.iter().for_each(|hour| _ = self.join.meter.hours.remove(hour));
        }
        Ok(())
    }

    fn know_hour(&mut self, hour: i64) -> anyhow::Result<()> {
        if self.join.meter.hours.contains_key(&hour) {
            return Ok(());
        }
        let metered = metered_of_hour(&self.lake, hour).context("metered calls of an hour")?;
        self.join.meter.hours.insert(hour, metered);
        Ok(())
    }

    /// Returns the calls of a batch that are metered from CloudTrail: hour of the metered call, key.
    fn metered_among(&mut self, batch: &EnrichedBatch) -> anyhow::Result<Vec<(i64, u128)>> {
        let Some(first) = batch.batch.invocations.first() else { return Ok(Vec::new()) };
        self.make_room(first.event_time.hour())?;
        // What is too old to be counted takes nobody's place.
        let kept = self.settings.config.retention.calls_from(self.settings.clock.now().day());
        let salts = profile_salts(batch);
        let mut found = Vec::new();
        for (at, key) in dedup::call_keys(batch, &salts).filter(|(at, _)| kept.is_none_or(|kept| at.day() >= kept)) {
            for hour in hours_of_event(at) {
                self.know_hour(hour)?;
                if self.join.meter.hours.get(&hour).is_some_and(|metered| metered.contains(&key)) {
                    found.push((hour, key));
                }
            }
        }
        Ok(found)
    }

    /// Takes metered calls out of the lake, since the log brings them now. Until it is applied they are not counted; what was read of
    /// the log is committed after it, so a crash in between brings the record again.
    fn take_out_metered(&mut self, upgrades: &[(i64, u128)]) -> anyhow::Result<()> {
        self.catch_up()?;
        self.recent.clear();
        // It knows its files by name, too.
        while self.rating.is_some() {
            self.go_on_rating()?;
        }
        self.commit_lake()?;
        let keys: HashSet<u128> = upgrades.iter().map(|(_, key)| *key).collect();
        let meets = |from: Micros, to: Micros| upgrades.iter().any(|(hour, _)| (from.hour()..=to.hour()).contains(hour));
        let files = self.lake.files(tables::CALLS)?;
        let files: Vec<_> = files.into_iter().filter(|file| file.time.is_none_or(|(from, to)| meets(from, to))).collect();
        let mut decide = |call: &StoredCall<'_>| {
            let is_metered = call.cost_basis == CostBasis::LowerBound.as_str();
            let is_here = is_metered && keys.contains(&stored_key(call.account_id, call.region, call.request_id));
            is_here.then(|| Change { removed: Some("the invocation log brings the call itself"), ..Change::default() })
        };
        let (now, windows, mut touched) = (self.settings.clock.now(), &self.windows, Vec::new());
        let epoch = self.lake.begin_epoch();
        let terms = Terms { now, dry_run: false, reason: "" };
        let correction = correct_files(&self.lake, epoch, &files, terms, &mut decide, &mut |rows| windows.find(rows, &mut touched))?;
        self.counts.replaced += correction.report.changed;
        self.counts.cost += correction.report.difference_usd;
        self.follow(correction, &touched, now)?;
        for (hour, key) in upgrades {
            self.dedup.forget(*hour, *key);
            if let Some(metered) = self.join.meter.hours.get_mut(hour) {
                metered.remove(key);
            }
        }
        Ok(())
    }
}

/// Returns events as decoded calls.
fn batch<'a>(events: impl Iterator<Item = &'a TrailEvent>) -> Batch {
    let mut batch = Batch::default();
    for event in events {
        let mut sym = |text: &str| batch.strings.intern(text);
        let profile = Profile {
            account_id: sym(&event.account_id),
            region: sym(&event.region),
            inference_region: sym(&event.inference_region),
            operation: sym(&event.event_name),
            model_id: sym(&event.model_id),
            principal_arn: sym(&event.principal_arn),
            error_code: sym(&event.error_code),
            metadata: sluice_schemas::Sym::EMPTY,
            service_tier: ServiceTier::Standard,
            lower_bound: true,
        };
        let request_id = match dedup::parse_uuid(&event.request_id) {
            Some(uuid) => RequestId::Uuid(uuid),
            None => RequestId::Other(sym(&event.request_id)),
        };
        let number = batch.profiles.iter().rposition(|known| *known == profile).unwrap_or_else(|| {
            batch.profiles.push(profile);
            batch.profiles.len() - 1
        });
        batch.invocations.push(Invocation {
            event_time: event.event_time,
            request_id,
            profile: number as u32,
            usage: Usage { input: event.input_tokens.unwrap_or(0), output: event.output_tokens.unwrap_or(0), ..Usage::default() },
            basis: CostBasis::LowerBound,
            latency_ms: None,
            extras: None,
        });
    }
    batch.seen = batch.invocations.len() as u64;
    batch
}

mod room;
mod waiting;

#[cfg(test)]
mod tests;
