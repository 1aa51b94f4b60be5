//! Calls of accounts and regions that write no invocation logs, metered from the token counts of their CloudTrail events.
//!
//! Owns: which events are calls that no log will bring, and taking such a call out again should a log bring it after all. A metered call
//! goes the way of any other: priced, attributed, dedup'd by its request id, counted in a shard of its own. It is a lower bound, for
//! CloudTrail does not tell of cached tokens.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::Context;
use hashbrown::HashMap;
use sluice_aggregate::correct::{Change, StoredCall, Terms, correct_files};
use sluice_aggregate::dedup::{self, profile_salts, stored_key};
use sluice_aggregate::evidence::{Hour, Kinds, Rests, events_of_hour, rests_of_hour};
use sluice_enrich::attribution::Principal;
use sluice_enrich::enricher::{EnrichCache, ReadMetadata};
use sluice_enrich::evidence::REACH;
use sluice_schemas::position::Span;
use sluice_schemas::time::HOUR;
use sluice_schemas::trail::TrailEvent;
use sluice_schemas::{
    Batch, CostBasis, EnrichedBatch, Invocation, Micros, PicoUsd, Position, PriceStatus, Profile, RequestId, ServiceTier, Usage, tables,
};

use super::coordinate::Flow;
use super::worker::{self, Decoded};
use super::{Mode, Pipeline};

/// The shard of metered calls; its offset counts them.
pub(super) const SHARD: &str = "cloudtrail:metered";
/// Operations whose events tell of one call to a model each.
const CALLS: [&str; 4] = ["InvokeModel", "InvokeModelWithResponseStream", "Converse", "ConverseStream"];
/// Calls metered at once.
const AT_ONCE: usize = 20_000;
/// Hours whose calls are known by what they rest on.
const HOURS_MAX: usize = 96;
/// Hours whose logs in this run are remembered.
const LOGGED_MAX: usize = 10_000;

/// Account and region.
type Pair = (String, String);

/// Events that may be calls which no log brings. The events themselves are in the lake by the time they are looked at.
#[derive(Debug, Default)]
pub(super) struct TrailMeter {
    /// When the first of them came in that was not looked at, by hour of event time and pair.
    waiting: HashMap<(i64, Pair), Micros>,
    /// What the calls of an hour rest on, as read from the lake, metered calls of this run included.
    hours: HashMap<i64, Rests>,
    /// Pairs whose logs came in this run, by hour of event time.
    logged: HashMap<i64, HashSet<Pair>>,
    /// The hour and pair of the last event, and whether logs of it came in.
    last: Option<(i64, Pair, bool)>,
    /// When the first event of the hour came in that is being looked at.
    at_work: Option<Micros>,
    hour_at_work: Option<i64>,
}

/// Tells whether an event tells of one call to a model.
fn is_call(event: &TrailEvent) -> bool {
    let is_named = event.event_source == "bedrock.amazonaws.com" && CALLS.contains(&event.event_name.as_str());
    is_named && !event.request_id.is_empty() && has_place(event)
}

/// Tells whether an event names account and region as the log of its call would. By another name, or as told to another account than the
/// caller's, the log could never take its place: the call would count twice.
fn has_place(event: &TrailEvent) -> bool {
    let is_account = event.account_id.len() == 12 && event.account_id.bytes().all(|byte| byte.is_ascii_digit());
    let is_word = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let is_region = event.region.split('-').count() >= 3 && event.region.split('-').all(is_word);
    let is_own = Principal::parse(&event.principal_arn).is_none_or(|caller| caller.account == event.account_id);
    is_account && is_region && is_own
}

impl TrailMeter {
    /// Returns when the first event came in that waits or is being looked at.
    pub(super) fn waits_since(&self) -> Option<Micros> {
        self.waiting.values().min().copied().into_iter().chain(self.at_work).min()
    }

    /// Returns the time from which the events may be that wait.
    pub(super) fn waits_from(&self) -> Option<Micros> {
        self.waiting.keys().map(|(hour, _)| *hour).chain(self.hour_at_work).min().map(|hour| Micros(hour * HOUR))
    }

    /// Tells whether logs of a pair came in around an hour.
    fn is_logged(&self, hour: i64, pair: &Pair) -> bool {
        (hour - 1..=hour + 1).any(|hour| {
            self.logged.get(&hour).is_some_and(|pairs| pairs.contains(pair))
                || self.hours.get(&hour).is_some_and(|rests| rests.logged.contains(pair))
        })
    }

    /// Lets an event wait for the log to bring its call.
    pub(super) fn wait(&mut self, event: &TrailEvent, arrival: Micros) {
        if !is_call(event) {
            return;
        }
        let hour = event.event_time.hour();
        let is_last = |(last, pair, _): &&(i64, Pair, bool)| *last == hour && pair.0 == event.account_id && pair.1 == event.region;
        if self.last.as_ref().filter(is_last).is_some() {
            return;
        }
        let pair = (event.account_id.clone(), event.region.clone());
        let logged = self.is_logged(hour, &pair);
        if !logged {
            self.waiting.entry((hour, pair.clone())).or_insert(arrival);
        }
        self.last = Some((hour, pair, logged));
    }

    /// Notes that logs came in.
    pub(super) fn note_logged(&mut self, batch: &EnrichedBatch) {
        let strings = &batch.batch.strings;
        let mut last = (i64::MIN, u32::MAX);
        for call in batch.batch.invocations.iter().filter(|call| call.basis != CostBasis::LowerBound) {
            let now = (call.event_time.hour(), call.profile);
            if now == last {
                continue;
            }
            last = now;
            let Some(profile) = batch.batch.profiles.get(call.profile as usize) else { continue };
            let pairs = self.logged.entry(now.0).or_default();
            let pair = (strings.get(profile.account_id), strings.get(profile.region));
            if !pairs.iter().any(|(account, region)| (account.as_str(), region.as_str()) == pair) {
                pairs.insert((pair.0.to_owned(), pair.1.to_owned()));
            }
        }
        while self.logged.len() > LOGGED_MAX {
            let oldest = self.logged.keys().min().copied().unwrap_or_default();
            self.logged.remove(&oldest);
        }
    }

    /// Takes out the next hour that has waited long enough, and its pairs whose logs did not come in this run.
    fn ripe(&mut self, until: Micros) -> Option<(i64, Vec<Pair>)> {
        self.last = None;
        let hour = self.waiting.iter().filter(|(_, since)| **since <= until).map(|((hour, _), _)| *hour).min()?;
        let is_ripe = |at: i64, since: Micros| at == hour && since <= until;
        let ripe = self.waiting.iter().filter(|((at, _), since)| is_ripe(*at, **since));
        let pairs: Vec<Pair> = ripe.map(|((_, pair), _)| pair.clone()).collect();
        self.waiting.retain(|(at, _), since| !is_ripe(*at, *since));
        Some((hour, pairs.into_iter().filter(|pair| !self.is_logged(hour, pair)).collect()))
    }

    fn is_due(&self, until: Micros) -> bool {
        self.waiting.values().any(|since| *since <= until)
    }
}

impl Pipeline {
    fn ripe_until(&self) -> Option<Micros> {
        // A pass over old records may read the log of a call long after its event: it meters at its end.
        let after: Duration = self.settings.config.cloudtrail.meter_after.filter(|_| self.settings.mode == Mode::Live)?;
        Some(self.settings.clock.now().plus(-i64::try_from(after.as_micros()).unwrap_or(i64::MAX)))
    }

    /// Tells whether the next batch must wait until every batch before it is applied: calls are to be metered, or it brings the log
    /// record of a call that is. Does both as soon as that is so.
    pub(super) fn meter_before(&mut self, flow: &Flow) -> anyhow::Result<bool> {
        if let Some(until) = self.ripe_until().filter(|until| self.join.meter.is_due(*until)) {
            if self.join.turns != self.applied {
                return Ok(true);
            }
            while self.meter_hour(until)? {}
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
        while self.settings.config.cloudtrail.meter_after.is_some() && self.meter_hour(Micros(i64::MAX))? {}
        Ok(())
    }

    /// Makes calls of the events of the next hour that waited in vain; `false` if none is left. Every batch is applied.
    fn meter_hour(&mut self, until: Micros) -> anyhow::Result<bool> {
        // Until its calls are made, no commit may pass the hour for looked after.
        self.join.meter.at_work = self.join.meter.waits_since();
        let more = match self.join.meter.ripe(until) {
            Some((hour, pairs)) => {
                self.join.meter.hour_at_work = Some(hour);
                self.meter_pairs(hour, pairs)?;
                true
            }
            None => false,
        };
        (self.join.meter.at_work, self.join.meter.hour_at_work) = (None, None);
        Ok(more)
    }

    fn meter_pairs(&mut self, hour: i64, mut pairs: Vec<Pair>) -> anyhow::Result<()> {
        if pairs.is_empty() {
            return Ok(());
        }
        // Events and logs are read from the lake.
        self.commit_lake()?;
        self.make_room()?;
        for near in hour - 1..=hour + 1 {
            self.know_hour(near)?;
        }
        pairs.retain(|pair| !self.join.meter.is_logged(hour, pair));
        if pairs.is_empty() {
            return Ok(());
        }
        let stored = events_of_hour(&self.lake, Hour { hour, openings: false }).context("events of an hour")?;
        let mut events: Vec<(u128, TrailEvent)> = Vec::new();
        let mut taken = HashSet::new();
        for (request, event) in stored {
            let is_of_pair = |(account, region): &Pair| *account == event.account_id && *region == event.region;
            if !is_call(&event) || !pairs.iter().any(is_of_pair) || !taken.insert(request) {
                continue;
            }
            let mut known = false;
            for near in event.event_time.plus(-REACH).hour()..=event.event_time.plus(REACH).hour() {
                known = known || self.knows_call(near, request)?;
            }
            if !known {
                events.push((request, event));
            }
        }
        for part in events.chunks(AT_ONCE) {
            self.meter(part)?;
        }
        Ok(())
    }

    fn meter(&mut self, events: &[(u128, TrailEvent)]) -> anyhow::Result<()> {
        let count = events.len() as u64;
        for (request, event) in events {
            // The hour was read before its events were.
            if let Some(rests) = self.join.meter.hours.get_mut(&event.event_time.hour()) {
                rests.metered.insert(*request);
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

    /// Tells whether a call is known, looking into the lake for an hour that is not in memory.
    fn knows_call(&mut self, hour: i64, request: u128) -> anyhow::Result<bool> {
        let (lake, pending) = (&self.lake, &self.pending_keys);
        self.dedup
            .look(hour, request, &mut |hour| {
                let mut keys = sluice_aggregate::known::keys_of_hour(lake, hour)?;
                keys.extend(pending.get(&hour).into_iter().flatten());
                Ok::<_, sluice_aggregate::known::KnownError>(keys)
            })
            .context("ids of calls")
    }

    /// Forgets what hours rest on when it is much: it is read again from what is stored. Never between two looks at hours that must agree.
    fn make_room(&mut self) -> anyhow::Result<()> {
        if self.join.meter.hours.len() > HOURS_MAX {
            self.commit_lake()?;
            self.join.meter.hours.clear();
        }
        Ok(())
    }

    fn know_hour(&mut self, hour: i64) -> anyhow::Result<()> {
        if self.join.meter.hours.contains_key(&hour) {
            return Ok(());
        }
        let rests = rests_of_hour(&self.lake, hour).context("what the calls of an hour rest on")?;
        self.join.meter.hours.insert(hour, rests);
        Ok(())
    }

    /// Returns the calls of a batch that are metered from CloudTrail: hour of the metered call, key.
    fn metered_among(&mut self, batch: &EnrichedBatch) -> anyhow::Result<Vec<(i64, u128)>> {
        self.make_room()?;
        let salts = profile_salts(batch);
        let mut found = Vec::new();
        for call in &batch.batch.invocations {
            let salt = salts.get(call.profile as usize).copied().unwrap_or_default();
            let key = dedup::key(call.request_id, salt, &batch.batch.strings);
            for hour in call.event_time.plus(-REACH).hour()..=call.event_time.plus(REACH).hour() {
                self.know_hour(hour)?;
                if self.join.meter.hours.get(&hour).is_some_and(|rests| rests.metered.contains(&key)) {
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
            if let Some(rests) = self.join.meter.hours.get_mut(hour) {
                rests.metered.remove(key);
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

#[cfg(test)]
mod tests;
