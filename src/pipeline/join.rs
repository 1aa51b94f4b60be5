//! What CloudTrail events and spans say about the callers of calls, brought to the calls as they come.
//!
//! Owns: which events are new, which calls they inform at once, which calls of before they may move. Does not own: what an event says
//! (`sluice_enrich::evidence`), how a call of before is moved (`settle`).

mod profiles;

use anyhow::Context;
use arrow::array::RecordBatch;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use sluice_aggregate::dedup::{self, Dedup, profile_salts};
use sluice_aggregate::evidence::{Hour, event_keys_of_hour, events, events_of_hour, for_each_event_key, for_each_event_since, request_key};
use sluice_aggregate::known::KnownError;
use sluice_aggregate::lake::Lake;
use sluice_enrich::enricher::Enricher;
use sluice_enrich::evidence::{Alike, CallEvidence, CallKey, Evidence, Gathered, REACH, Touched, Wanted};
use sluice_enrich::informed::Informed;
use sluice_schemas::time::{HOUR, SECOND};
use sluice_schemas::trail::TrailEvent;
use sluice_schemas::{EnrichedBatch, Micros, tables};

use self::profiles::Profiles;
use super::settle::Settling;
use super::trail_meter::{TrailMeter, is_call, is_metered};
use super::worker::Decoded;
use super::{ALLOWED_LATENESS, Mode, Pipeline};

/// Memory of evidence; what is stored by then is loaded again when it is asked for.
const EVIDENCE_BYTES: usize = 224 << 20;
/// Memory of ids of events that could be loaded again.
const EVENT_ID_BYTES: usize = 32 << 20;
/// Principals that are remembered.
const CALLERS_MAX: usize = 1_000_000;
/// How far before the newest settled arrival evidence is looked at again: clocks of two processes.
const SLACK: i64 = 10 * SECOND;

/// What ties events to calls.
#[derive(Debug)]
pub(super) struct Join {
    pub(super) evidence: Evidence,
    /// Events seen.
    ids: Dedup,
    /// Keys of pending rows by event hour.
    pending_ids: HashMap<i64, Vec<u128>>,
    /// Evidence of calls of before.
    pub(super) settling: Settling,
    /// Events of calls that no log may bring.
    pub(super) meter: TrailMeter,
    /// Batches that passed dedup.
    pub(super) turns: u64,
    /// Whether there ever was evidence: without it calls pass by.
    any: bool,
    /// Whether an hour has calls, as of a lake epoch.
    hours: (u64, HashMap<i64, bool>),
    /// Hash of each principal seen, and when.
    callers: HashMap<u64, Micros, FixedState>,
    /// When this began: principals seen before are not known.
    callers_since: Micros,
}

impl Join {
    pub(super) fn new(lake: &Lake, now: Micros, mode: Mode) -> anyhow::Result<Self> {
        Ok(Self {
            evidence: Evidence::new(EVIDENCE_BYTES),
            ids: Dedup::new(EVENT_ID_BYTES),
            pending_ids: HashMap::new(),
            settling: Settling::default(),
            meter: TrailMeter::new(now, mode),
            turns: 0,
            any: !lake.files(tables::EVIDENCE)?.is_empty() || lake.state().positions.contains_key(super::trail_meter::SHARD),
            hours: Default::default(),
            callers: HashMap::default(),
            callers_since: now,
        })
    }

    /// Tells that the events of the first `batches` batches are in the lake.
    pub(super) fn committed(&mut self, batches: u64) {
        self.pending_ids.clear();
        self.ids.committed(batches);
        self.evidence.committed(batches);
    }

    /// Forgets what only reading on would need; everything is stored.
    pub(super) fn rest(&mut self) {
        (self.evidence, self.ids) = (Evidence::new(EVIDENCE_BYTES), Dedup::new(EVENT_ID_BYTES));
        (self.callers, self.callers_since) = (HashMap::default(), Micros(i64::MAX));
    }

    /// Tells whether there ever was evidence.
    pub(super) const fn is_used(&self) -> bool {
        self.any
    }

    /// Tells whether evidence must be stored before more comes in.
    pub(super) fn is_full(&self) -> bool {
        self.evidence.bytes() > EVIDENCE_BYTES
    }

    /// Notes before the first event of an hour whether anything of it is stored.
    fn begin_hour(&mut self, lake: &Lake, hour: i64) -> anyhow::Result<()> {
        if self.evidence.has_hour(hour) {
            return Ok(());
        }
        let (start, end) = (Micros(hour * HOUR), Micros((hour + 1) * HOUR));
        let files = lake.files(tables::EVIDENCE)?;
        if !files.iter().any(|file| file.time.is_none_or(|(min, max)| max >= start && min < end)) {
            self.evidence.begin_hour(hour);
        }
        Ok(())
    }

    /// Lets an event of an earlier run, and the calls that it speaks of, wait as if it had come when the `settled` ones had.
    fn queue_at_once(&mut self, touched: Option<Touched>, (event, request): (&TrailEvent, u128), settled: Micros, meters: bool) {
        if meters && is_metered(event) {
            self.meter.waiting.add(request, event.event_time, settled, || place(event));
        }
        if let Some(touched) = touched {
            self.settling.add(touched, settled, self.turns);
        }
    }

    /// Gives the evidence of a call.
    pub(super) fn of_call(&mut self, lake: &Lake, call: &CallKey<'_>) -> Result<CallEvidence, KnownError> {
        self.evidence.of_call(call, &mut |Wanted { hour, openings }| events_of_hour(lake, Hour { hour, openings }))
    }
}

/// What is known of the events of a batch that are alike.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    is_evidence: Option<bool>,
    is_call: Option<bool>,
    alike: Alike,
}

/// The calls that the events of a batch speak of.
#[derive(Debug)]
struct SpokenOf<'a> {
    /// Single ones: time of the event, key.
    requests: Vec<(Micros, u128)>,
    /// Of each the event, if it is metered by it should no log bring it.
    metered: Vec<Option<&'a TrailEvent>>,
    others: Vec<Touched>,
}

impl<'a> SpokenOf<'a> {
    /// Those of so many events, none of which was added yet.
    fn of(events: usize) -> Self {
        Self { requests: Vec::with_capacity(events), metered: Vec::with_capacity(events), others: Vec::new() }
    }

    fn add(&mut self, touched: Touched, metered: Option<&'a TrailEvent>) {
        match touched {
            Touched::Request(request, at) => {
                self.requests.push((at, request));
                self.metered.push(metered);
            }
            other => self.others.push(other),
        }
    }
}

/// Whether a call that evidence speaks of has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Come {
    No,
    Perhaps,
    Yes,
}

impl Pipeline {
    /// Takes in the events of a batch; returns which of them are new and say something.
    pub(super) fn take_evidence(&mut self, decoded: &Decoded) -> anyhow::Result<Vec<bool>> {
        self.join.turns += 1;
        self.join.evidence.turn();
        let trail = &decoded.batch.batch.trail;
        let (join, lake) = (&mut self.join, &self.lake);
        let pending = &join.pending_ids;
        let keys = decoded.trail_keys.iter().map(|key| (key.at, key.id));
        let new = join.ids.first_of(keys, &mut |hour| {
            let mut keys = event_keys_of_hour(lake, hour)?;
            keys.extend(pending.get(&hour).into_iter().flatten());
            Ok::<_, KnownError>(keys)
        });
        let mut keep = new.context("ids of events")?;
        if !self.settings.config.cloudtrail.join {
            keep.fill(false);
            return Ok(keep);
        }
        let meters = self.settings.config.cloudtrail.meter_after.is_some();
        let mut kinds = vec![Seen::default(); decoded.trail_kinds.len()];
        let kind_of = decoded.trail_kinds.of_events().iter().map(|kind| *kind as usize);
        let (mut begun, mut gathered, mut spoken_of) = (None, Gathered::of(trail.len()), SpokenOf::of(trail.len()));
        for (((event, key), kind), keep) in trail.iter().zip(&decoded.trail_keys).zip(kind_of).zip(&mut keep) {
            if !*keep {
                continue;
            }
            let hour = key.at.hour();
            let Some(seen) = kinds.get_mut(kind) else { continue };
            // Whether it opens a session is its own word, the rest is that of its kind.
            let opens = !key.is_of_request && event.assumed.is_some();
            *keep = opens || *seen.is_evidence.get_or_insert_with(|| Evidence::is_evidence(event));
            if !*keep {
                continue;
            }
            if !self.join.any {
                (self.join.any, self.join.callers_since) = (true, self.settings.clock.now());
            }
            if begun != Some(hour) {
                self.join.begin_hour(&self.lake, hour)?;
                begun = Some(hour);
            }
            let known = if key.is_of_request { gathered.put(key.at, key.request, &seen.alike) } else { None };
            let Some(touched) = known.or_else(|| self.join.evidence.add_alike(event, key.request, &mut seen.alike)) else { continue };
            let is_metered = meters && key.may_cost && *seen.is_call.get_or_insert_with(|| is_call(event));
            spoken_of.add(touched, is_metered.then_some(event));
        }
        self.join.evidence.add_gathered(&gathered);
        self.queue(spoken_of, decoded.arrival)?;
        if self.join.meter.waiting.is_much() {
            self.let_go_of_brought();
        }
        self.join.evidence.evict();
        Ok(keep)
    }

    /// Tells the new calls of a batch apart by what is known of their callers: a profile is that of its first call, and calls with
    /// other evidence get a profile of their own. Returns the evidence of those profiles about which there is some.
    pub(super) fn inform(&mut self, batch: &mut EnrichedBatch, keep: &[bool], arrival: Micros) -> anyhow::Result<Vec<Informed>> {
        if !self.join.any {
            return Ok(Vec::new());
        }
        self.note_callers(batch);
        let salts = profile_salts(batch);
        self.join.meter.waiting.note_logs(&batch.batch, &salts, arrival);
        let enricher = self.enricher();
        let resources: Vec<Vec<String>> =
            (batch.batch.profiles.iter()).map(|profile| enricher.runs_as(batch.batch.strings.get(profile.principal_arn))).collect();
        let kept = dedup::call_keys(batch, &salts).zip(keep).filter(|(_, keep)| **keep);
        let requests: Vec<(Micros, u128)> = kept.map(|(call, _)| call).collect();
        requests.iter().for_each(|(_, request)| self.join.meter.waiting.brought(*request));
        let lake = &self.lake;
        let load = &mut |Wanted { hour, openings }| events_of_hour(lake, Hour { hour, openings });
        let by_request = self.join.evidence.by_requests(&requests, load).context("evidence of a call")?;
        let mut profiles = Profiles::new(batch.batch.profiles.len());
        let calls = batch.batch.invocations.iter_mut().zip(keep).filter(|(_, keep)| **keep);
        for (((invocation, _), (at, request)), by_request) in calls.zip(requests).zip(by_request) {
            let number = invocation.profile as usize;
            let (Some(profile), Some(resources)) = (batch.batch.profiles.get(number).copied(), resources.get(number)) else { continue };
            let call = CallKey { request, principal_arn: batch.batch.strings.get(profile.principal_arn), at, resources };
            let Some(found) = self.join.evidence.of_call_unless(&call, &by_request, profiles.first(invocation.profile)) else { continue };
            let (number, is_new) = profiles.of(invocation.profile, found);
            if is_new {
                batch.batch.profiles.push(profile);
            }
            invocation.profile = number;
        }
        Ok(profiles.informed)
    }

    pub(super) fn enricher(&self) -> std::sync::Arc<Enricher> {
        std::sync::Arc::clone(&self.enricher.read().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Takes over rows of `evidence` that are in local state alone.
    pub(super) fn take_pending_evidence(&mut self, rows: &RecordBatch) -> anyhow::Result<()> {
        for_each_event_key(rows, |at, key| self.join.pending_ids.entry(at.hour()).or_default().push(key))?;
        let mut found = Vec::new();
        events(rows, |_, _| true, |event| found.push(event))?;
        self.join.any = true;
        let (settled, meters) = (self.lake.state().evidence_settled, self.settings.config.cloudtrail.meter_after.is_some());
        for event in found {
            let request = request_key(&event);
            let touched = self.join.evidence.add(&event, request);
            self.join.queue_at_once(touched, (&event, request), settled, meters);
        }
        Ok(())
    }

    /// Puts the stored evidence that an earlier process had not settled into the queue.
    pub(super) fn remember_evidence(&mut self) -> anyhow::Result<()> {
        let (settled, from) = (self.lake.state().evidence_settled, self.lake.state().evidence_from);
        let (lake, join, meters) = (&self.lake, &mut self.join, self.settings.config.cloudtrail.meter_after.is_some());
        let remember = |found: Vec<(u128, TrailEvent)>| {
            join.evidence.use_more();
            for (request, event) in found {
                let touched = join.evidence.remind(&event, request);
                join.queue_at_once(touched, (&event, request), settled, meters);
            }
            join.evidence.evict();
        };
        for_each_event_since(lake, settled.plus(-SLACK), from.plus(-SLACK), remember).context("evidence that is not settled")
    }

    /// Has what calls of before evidence speaks of moved, and has calls waited for that no log brought yet.
    fn queue(&mut self, spoken_of: SpokenOf<'_>, arrival: Micros) -> anyhow::Result<()> {
        let come = self.have_come(&spoken_of.requests)?;
        for (((at, request), metered), come) in spoken_of.requests.into_iter().zip(spoken_of.metered).zip(come) {
            if let Some(event) = metered.filter(|_| come != Come::Yes) {
                self.join.meter.waiting.add(request, at, arrival, || place(event));
            }
            if come != Come::No {
                self.join.settling.add(Touched::Request(request, at), arrival, self.join.turns);
            }
        }
        for touched in spoken_of.others {
            let come = match &touched {
                Touched::Request(..) => true,
                Touched::Session(principal, from, to) => self.may_have_called(principal, *from) && self.may_hold_any(*from, *to)?,
                Touched::Resource(_, from, to) => self.may_hold_any(*from, *to)?,
            };
            if come {
                self.join.settling.add(touched, arrival, self.join.turns);
            }
        }
        Ok(())
    }

    /// Tells whether calls have come, given times of their events and their keys.
    fn have_come(&mut self, requests: &[(Micros, u128)]) -> anyhow::Result<Vec<Come>> {
        let hours = |(at, _): &(Micros, u128)| (at.plus(-REACH).hour(), at.plus(REACH).hour());
        let mut all = Vec::with_capacity(requests.len());
        for requests in requests.chunk_by(|one, other| hours(one) == hours(other)) {
            let Some((from, to)) = requests.first().map(hours) else { continue };
            let mut come = vec![Come::No; requests.len()];
            for hour in from..=to {
                match self.dedup.known(hour, requests.iter().map(|(_, request)| *request)) {
                    Some(known) => come.iter_mut().zip(known).filter(|(_, known)| *known).for_each(|(come, _)| *come = Come::Yes),
                    None if self.may_hold(hour)? => come.iter_mut().for_each(|come| *come = (*come).max(Come::Perhaps)),
                    None => {}
                }
            }
            all.extend(come);
        }
        Ok(all)
    }

    /// Tells whether calls of an hour may be in the lake or on their way there.
    fn may_hold(&mut self, hour: i64) -> anyhow::Result<bool> {
        let epoch = self.lake.state().epoch;
        if self.join.hours.0 != epoch {
            self.join.hours = (epoch, HashMap::new());
        }
        if let Some(known) = self.join.hours.1.get(&hour) {
            return Ok(*known);
        }
        let (start, end) = (Micros(hour * HOUR), Micros((hour + 1) * HOUR));
        let files = self.lake.files(tables::CALLS)?;
        // An hour of new calls is in memory, so one that is not can only be in the lake.
        let found = files.iter().any(|file| file.time.is_none_or(|(min, max)| max >= start && min < end));
        self.join.hours.1.insert(hour, found);
        Ok(found)
    }

    fn may_hold_any(&mut self, from: Micros, to: Micros) -> anyhow::Result<bool> {
        let newest = self.newest_event.unwrap_or_default().plus(ALLOWED_LATENESS);
        for hour in from.hour()..=to.min(newest).hour() {
            if self.dedup.has_any(hour) || self.may_hold(hour)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Notes who calls, so that the many role sessions that never call a model move nothing.
    fn note_callers(&mut self, batch: &EnrichedBatch) {
        let strings = &batch.batch.strings;
        if self.join.callers.len() > CALLERS_MAX {
            self.join.callers.clear();
            self.join.callers_since = self.settings.clock.now();
        }
        let Some(newest) = batch.batch.invocations.iter().map(|call| call.event_time).max() else { return };
        for profile in &batch.batch.profiles {
            self.join.callers.insert(caller_hash(strings.get(profile.principal_arn)), newest);
        }
    }

    fn may_have_called(&self, principal_arn: &str, from: Micros) -> bool {
        from < self.join.callers_since || self.join.callers.contains_key(&caller_hash(principal_arn))
    }
}

/// Account and region of an event.
fn place(event: &TrailEvent) -> u128 {
    dedup::salt(&event.account_id, &event.region)
}

fn caller_hash(principal_arn: &str) -> u64 {
    std::hash::BuildHasher::hash_one(&FixedState::with_seed(0xCA11), principal_arn)
}
