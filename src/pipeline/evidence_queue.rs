//! Which calls evidence speaks of that came after them.

use std::collections::BTreeSet;

use hashbrown::HashMap;
use sluice_aggregate::correct::StoredCall;
use sluice_enrich::attribution::Principal;
use sluice_enrich::evidence::{REACH, Touched};
use sluice_schemas::Micros;
use sluice_schemas::directory::{Entry, EntryKind};
use sluice_schemas::time::HOUR;

/// Stretches of time by name.
type Stretches = HashMap<String, (Micros, Micros)>;

/// Evidence of calls of before.
#[derive(Debug, Default)]
pub(super) struct Queue {
    requests: HashMap<u128, Micros>,
    principals: Stretches,
    resources: Stretches,
    /// Inference profiles, by ARN.
    models: Stretches,
    /// Roles and users, by account and name in lower case.
    callers: Stretches,
    /// When the first of it came in.
    pub(super) since: Option<Micros>,
    /// Time of the earliest call it may speak of.
    pub(super) from: Option<Micros>,
    /// Batches that passed dedup when the last of it came in.
    pub(super) turn: u64,
}

impl Queue {
    /// Adds evidence that came in at `arrival`, when `turn` batches had passed dedup.
    pub(super) fn add(&mut self, touched: Touched, arrival: Micros, turn: u64) {
        let from = match touched {
            Touched::Request(request, at) => {
                self.requests.insert(request, at);
                at.plus(-REACH)
            }
            Touched::Session(name, from, to) => widen(&mut self.principals, name, from, to),
            Touched::Resource(name, from, to) => widen(&mut self.resources, name, from, to),
        };
        self.from = Some(self.from.map_or(from, |known| known.min(from)));
        self.note(arrival, turn);
    }

    /// Adds what AWS said of a thing for the first time, to the calls from `from` on.
    pub(super) fn add_thing(&mut self, entry: &Entry, from: Micros, now: Micros, turn: u64) {
        let (stretches, name) = match entry.kind {
            EntryKind::InferenceProfile => (&mut self.models, Some(entry.arn.clone())),
            EntryKind::Role | EntryKind::User => (&mut self.callers, caller(&entry.arn)),
            EntryKind::Runtime | EntryKind::Agent | EntryKind::RegistryRecord => (&mut self.callers, caller(&entry.role_arn)),
        };
        let Some(name) = name else { return };
        widen(stretches, name, from, now);
        self.note(now, turn);
    }

    fn note(&mut self, arrival: Micros, turn: u64) {
        self.since = Some(self.since.map_or(arrival, |since| since.min(arrival)));
        self.turn = self.turn.max(turn);
    }

    /// Adds what another one holds.
    pub(super) fn absorb(&mut self, other: Self) {
        let Self { requests, principals, resources, models, callers, since, from, turn } = other;
        self.requests.extend(requests);
        let pairs = [
            (&mut self.principals, principals),
            (&mut self.resources, resources),
            (&mut self.models, models),
            (&mut self.callers, callers),
        ];
        for (into, stretches) in pairs {
            for (name, (from, to)) in stretches {
                widen(into, name, from, to);
            }
        }
        self.since = [self.since, since].into_iter().flatten().min();
        self.from = [self.from, from].into_iter().flatten().min();
        self.turn = self.turn.max(turn);
    }

    pub(super) fn len(&self) -> usize {
        self.requests.len() + self.stretches().map(HashMap::len).iter().sum::<usize>()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    const fn stretches(&self) -> [&Stretches; 4] {
        [&self.principals, &self.resources, &self.models, &self.callers]
    }

    /// Iterates over the calls that are spoken of by their request id.
    pub(super) fn requests(&self) -> impl Iterator<Item = u128> {
        self.requests.keys().copied()
    }

    /// Tells whether a stretch of time may hold calls that are spoken of by anything but their request id.
    pub(super) fn may_meet(&self, min: Micros, max: Micros) -> bool {
        let meets = |stretches: &Stretches| stretches.values().any(|(from, to)| *from <= max && *to >= min);
        self.stretches().into_iter().any(meets)
    }

    /// Tells whether a stretch of time may hold calls that are spoken of, by [`Queue::minutes`].
    pub(super) fn may_touch(&self, minutes: &BTreeSet<i64>, (min, max): (Micros, Micros)) -> bool {
        // As far as a call looks for its events: whole hours.
        let (from, to) = (minute(min.plus(-REACH).floor(HOUR)), minute(max.plus(REACH).floor(HOUR).plus(HOUR)));
        minutes.range(from..=to).next().is_some() || self.may_meet(min, max)
    }

    /// Returns the minutes of the requests that are spoken of.
    pub(super) fn minutes(&self) -> BTreeSet<i64> {
        self.requests.values().map(|at| minute(*at)).collect()
    }

    /// Tells whether a stored call is spoken of.
    pub(super) fn speaks_of(&self, call: &StoredCall<'_>, request: u128, resources: &[String]) -> bool {
        let within =
            |stretch: Option<&(Micros, Micros)>| stretch.is_some_and(|(from, to)| *from <= call.event_time && call.event_time <= *to);
        self.requests.contains_key(&request)
            || within(self.principals.get(call.principal_arn))
            || within(self.models.get(call.model_id))
            || (!self.callers.is_empty() && within(caller(call.principal_arn).and_then(|caller| self.callers.get(&caller))))
            || resources.iter().any(|resource| within(self.resources.get(resource)))
    }
}

/// Account and name of a role or user, whose path a call does not tell.
fn caller(arn: &str) -> Option<String> {
    let principal = Principal::parse(arn)?;
    Some(format!("{}:{}", principal.account, principal.name.to_ascii_lowercase()))
}

fn minute(at: Micros) -> i64 {
    at.0.div_euclid(sluice_schemas::time::MINUTE)
}

fn widen(stretches: &mut Stretches, name: String, from: Micros, to: Micros) -> Micros {
    let stretch = stretches.entry(name).or_insert((from, to));
    *stretch = (stretch.0.min(from), stretch.1.max(to));
    from
}
