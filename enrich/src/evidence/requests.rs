//! What is known of single calls by their request ids: one map for each hour of event time.

use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashTable};
use sluice_schemas::trail::{Invoked, SPAN_SOURCE, TrailEvent};

use super::{Alike, Caller, text_bytes};

/// Bytes that a request takes, free slots included.
const BYTES_PER_REQUEST: usize = 44;
/// No caller, or no run.
const NONE: u32 = u32::MAX;

/// Where the caller and the run of a request are among those of its hour.
pub(super) type Place = (u32, u32);

/// Distinct values, each once; most requests of an hour come from few callers.
#[derive(Debug)]
struct Interned<T> {
    values: Vec<Arc<T>>,
    places: HashTable<u32>,
}

impl<T> Default for Interned<T> {
    fn default() -> Self {
        Self { values: Vec::new(), places: HashTable::new() }
    }
}

impl<T: Hash> Interned<T> {
    /// Returns the place of the value that `is` it, made by `make` if there is none.
    fn place(&mut self, hash: u64, is: impl Fn(&T) -> bool, make: impl FnOnce() -> T) -> u32 {
        let values = &self.values;
        let known = |place: &u32| values.get(*place as usize).is_some_and(|value| is(value));
        if let Some(place) = self.places.find(hash, known) {
            return *place;
        }
        let place = self.values.len() as u32;
        self.values.push(Arc::new(make()));
        let values = &self.values;
        let hasher = |place: &u32| values.get(*place as usize).map_or(0, |value| FixedState::default().hash_one(value));
        self.places.insert_unique(hash, place, hasher);
        place
    }

    fn get(&self, place: u32) -> Option<&Arc<T>> {
        self.values.get(place as usize)
    }

    /// Returns which of two places has the greater value: where two events tell of one request, the same one wins in whatever order
    /// they come.
    fn greater(&self, before: u32, new: u32) -> u32
    where
        T: Ord,
    {
        if before != new && self.get(before).is_some_and(|before| self.get(new).is_some_and(|new| before >= new)) { before } else { new }
    }
}

/// One hour.
#[derive(Debug, Default)]
struct Hour {
    requests: HashMap<u128, Place, FixedState>,
    callers: Interned<Caller>,
    runs: Interned<Invoked>,
    /// Bytes of callers and runs.
    bytes: usize,
    /// Whether stored events of the hour are in it.
    loaded: bool,
    /// Last batch that brought something which is not stored yet; 0 for none.
    dirty: u64,
    used: u64,
}

/// Requests by hour.
#[derive(Debug, Default)]
pub(super) struct Requests {
    hours: HashMap<i64, Hour, FixedState>,
}

impl Requests {
    /// Takes in requests of one hour, each with its hour and the place of its caller there.
    pub(super) fn add_known(&mut self, requests: &[(i64, u128, u32)], dirty: u64) {
        let hour = requests.first().and_then(|(hour, ..)| self.hours.get_mut(hour));
        let Some(hour) = hour else { return };
        requests.iter().for_each(|(_, request, caller)| hour.add(*request, *caller, dirty));
    }

    pub(super) fn add(&mut self, event: &TrailEvent, request: u128, dirty: u64, alike: &mut Alike) {
        let at = event.event_time.hour();
        let hour = self.hours.entry(at).or_default();
        hour.dirty = hour.dirty.max(dirty);
        if event.event_source == SPAN_SOURCE {
            let run = hour.run(event);
            let (_, known) = hour.requests.entry(request).or_insert((NONE, NONE));
            *known = run.map_or(*known, |run| hour.runs.greater(*known, run));
            return;
        }
        let caller = match alike.caller {
            Some((known, caller)) if known == at => caller,
            _ => hour.caller(event),
        };
        alike.caller = Some((at, caller));
        hour.add(request, caller, dirty);
    }

    /// Returns where the callers and runs of requests are.
    pub(super) fn find(&self, hour: i64, requests: impl Iterator<Item = u128>) -> Vec<Option<Place>> {
        let hour = self.hours.get(&hour);
        requests.map(|request| hour.and_then(|hour| hour.requests.get(&request).copied())).collect()
    }

    /// Returns the caller and the run that are there.
    pub(super) fn get(&self, hour: i64, (caller, run): Place) -> (Option<&Arc<Caller>>, Option<&Arc<Invoked>>) {
        self.hours.get(&hour).map_or((None, None), |hour| (hour.callers.get(caller), hour.runs.get(run)))
    }

    pub(super) fn has(&self, hour: i64) -> bool {
        self.hours.contains_key(&hour)
    }

    /// Tells whether stored events of an hour are in memory, and that it is used.
    pub(super) fn touch(&mut self, hour: i64, clock: u64) -> bool {
        self.hours.get_mut(&hour).is_some_and(|hour| {
            hour.used = clock;
            hour.loaded
        })
    }

    pub(super) fn loaded(&mut self, hour: i64, clock: u64) {
        let hour = self.hours.entry(hour).or_default();
        (hour.loaded, hour.used) = (true, clock);
    }

    pub(super) fn committed(&mut self, batches: u64) {
        for hour in self.hours.values_mut().filter(|hour| hour.dirty <= batches) {
            hour.dirty = 0;
        }
    }

    /// Returns the hour farthest from another that may be forgotten, and how far it is; of two the later one.
    pub(super) fn farthest(&self, near: i64, uses: u64) -> Option<(i64, i64)> {
        let idle = self.hours.iter().filter(|(_, hour)| hour.dirty == 0 && hour.used < uses && hour.weight() > 0);
        idle.map(|(at, _)| ((at - near).abs(), *at)).max()
    }

    pub(super) fn forget(&mut self, hour: i64) {
        self.hours.remove(&hour);
    }

    pub(super) fn bytes(&self) -> usize {
        self.hours.values().map(Hour::weight).sum()
    }
}

impl Hour {
    fn weight(&self) -> usize {
        self.requests.len() * BYTES_PER_REQUEST + self.bytes
    }

    /// Notes the caller of a request.
    fn add(&mut self, request: u128, caller: u32, dirty: u64) {
        self.dirty = self.dirty.max(dirty);
        let (known, _) = self.requests.entry(request).or_insert((NONE, NONE));
        *known = self.callers.greater(*known, caller);
    }

    /// Returns where the caller is that an event tells of.
    fn caller(&mut self, event: &TrailEvent) -> u32 {
        let fields = |caller: &Caller| {
            caller.principal_id == event.principal_id
                && caller.access_key_id == event.access_key_id
                && caller.source_identity == event.source_identity
                && caller.credentials_issued_to == event.credentials_issued_to
                && caller.invoked_by == event.invoked_by
                && caller.user_agent == event.user_agent
                && caller.bearer_token == event.bearer_token
        };
        let hash = FixedState::default().hash_one((
            &event.principal_id,
            &event.access_key_id,
            &event.source_identity,
            &event.credentials_issued_to,
            &event.invoked_by,
            &event.user_agent,
            event.bearer_token,
        ));
        let known = self.callers.values.len();
        let place = self.callers.place(hash, fields, || Caller {
            principal_id: event.principal_id.clone(),
            access_key_id: event.access_key_id.clone(),
            source_identity: event.source_identity.clone(),
            credentials_issued_to: event.credentials_issued_to.clone(),
            invoked_by: event.invoked_by.clone(),
            user_agent: event.user_agent.clone(),
            bearer_token: event.bearer_token,
        });
        if self.callers.values.len() > known {
            let texts = [&event.principal_id, &event.access_key_id, &event.source_identity, &event.credentials_issued_to];
            let texts = texts.into_iter().chain([&event.invoked_by, &event.user_agent]);
            self.bytes += texts.map(|text| text_bytes(text)).sum::<usize>() + size_of::<Caller>();
        }
        place
    }

    /// Returns where the run is that an event tells of.
    fn run(&mut self, event: &TrailEvent) -> Option<u32> {
        let invoked = event.invoked.as_ref()?;
        let known = self.runs.values.len();
        let place = self.runs.place(FixedState::default().hash_one(invoked), |run| *run == **invoked, || (**invoked).clone());
        if self.runs.values.len() > known {
            let texts = [&invoked.resource_arn, &invoked.session_id, &invoked.user_id, &invoked.agent_name];
            let claims = invoked.claims.iter().flat_map(|(key, value)| [key, value]);
            self.bytes += texts.into_iter().chain(claims).map(|text| text_bytes(text)).sum::<usize>() + size_of::<Invoked>();
        }
        Some(place)
    }
}
