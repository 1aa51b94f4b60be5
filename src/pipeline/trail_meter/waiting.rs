//! Events of calls that no log has brought yet: which they are, and which have waited long enough.

use std::collections::BTreeMap;

use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet};
use sluice_schemas::time::{HOUR, MINUTE};
use sluice_schemas::{Batch, Micros};

/// Requests that are waited for with all that tells when their time is over; of more only the ids are known, by hour of event time.
const REQUESTS_MAX: usize = if cfg!(test) { 3 } else { 100_000 };
/// Ids of requests, 16 bytes each; of more, whole hours are waited for.
const IDS_MAX: usize = if cfg!(test) { 4 } else { 1_000_000 };
/// Accounts and regions whose logs are watched; those of others are not waited for longer.
const PLACES_MAX: usize = 10_000;
/// How far a log is past a call when it will not bring it any more.
const PAST: i64 = 5 * MINUTE;

/// An event that waits.
#[derive(Clone, Copy, Debug)]
struct Waits {
    at: Micros,
    arrival: Micros,
    /// Account and region, as dedup's salt tells them apart.
    place: u128,
}

/// How far the log of an account and region got, and when.
#[derive(Clone, Copy, Debug, Default)]
struct Log {
    newest: Micros,
    arrival: Micros,
}

impl Log {
    /// Tells whether a log that still comes in, as after a stop of hours, has not come to a moment yet.
    fn is_behind(self, at: Micros, until: Micros) -> bool {
        self.arrival > until && self.newest < at.plus(PAST)
    }
}

/// What waits of an hour, and is not known request by request.
#[derive(Debug)]
struct Hour {
    /// When the first of it came.
    since: Micros,
    /// As they came. Those that the log brought since are among them until somebody looks: see [`Waiting::let_go`].
    ids: Vec<u128>,
    /// Whether there are others than those.
    others: bool,
}

/// What of an hour has waited long enough.
#[derive(Debug, Default)]
pub(in crate::pipeline) struct Ripe {
    /// By request, when it was.
    pub(in crate::pipeline) requests: HashMap<u128, Micros>,
    /// Requests of which the stored events alone tell when they were.
    pub(in crate::pipeline) ids: HashSet<u128, FixedState>,
    /// Whether there are others than those.
    pub(in crate::pipeline) others: bool,
}

/// The events of calls that no log has brought yet. The events themselves are in the lake by the time they are looked at.
#[derive(Debug)]
pub(in crate::pipeline) struct Waiting {
    requests_max: usize,
    requests: HashMap<u128, Waits>,
    /// By hour of event time.
    hours: HashMap<i64, Hour, FixedState>,
    /// Ids in those hours.
    ids: usize,
    /// Ids from which on it is worth looking for those that may go.
    look_at: usize,
    /// No event that waits came before.
    next: Option<Micros>,
    /// By place.
    logs: HashMap<u128, Log>,
}

impl Waiting {
    /// Creates an empty one. Where every time is over at once, as at the end of a pass over old records, ids are enough.
    pub(in crate::pipeline) fn new(at_once: bool) -> Self {
        Self {
            requests_max: if at_once { 0 } else { REQUESTS_MAX },
            requests: HashMap::new(),
            hours: HashMap::default(),
            ids: 0,
            look_at: IDS_MAX / 2,
            next: None,
            logs: HashMap::new(),
        }
    }

    /// Lets the event of a call wait for the log to bring it; `place` tells account and region.
    pub(in crate::pipeline) fn add(&mut self, request: u128, at: Micros, arrival: Micros, place: impl FnOnce() -> u128) {
        self.next = Some(self.next.map_or(arrival, |next| next.min(arrival)));
        if self.requests.len() >= self.requests_max {
            let empty = || Hour { since: arrival, ids: Vec::new(), others: false };
            let hour = self.hours.entry(at.hour()).or_insert_with(empty);
            hour.since = arrival.min(hour.since);
            if self.ids >= IDS_MAX {
                hour.others = true;
            } else if self.requests_max == 0 || !self.requests.contains_key(&request) {
                hour.ids.push(request);
                self.ids += 1;
            }
            return;
        }
        self.requests.entry(request).or_insert_with(|| Waits { at, arrival, place: place() });
    }

    /// Tells that the log brought a call. Of one whose id alone is known, whoever lets go of it finds out.
    pub(in crate::pipeline) fn brought(&mut self, request: u128) {
        if !self.requests.is_empty() {
            self.requests.remove(&request);
        }
    }

    /// Tells whether so many ids came that it is worth looking for those that may go.
    pub(in crate::pipeline) const fn is_much(&self) -> bool {
        self.ids >= self.look_at
    }

    /// Lets go of ids whose calls came: `drop_brought` drops them, given the hour of their events.
    pub(in crate::pipeline) fn let_go(&mut self, drop_brought: impl Fn(i64, &mut Vec<u128>)) {
        self.hours.retain(|at, hour| {
            drop_brought(*at, &mut hour.ids);
            !hour.ids.is_empty() || hour.others
        });
        self.ids = self.hours.values().map(|hour| hour.ids.len()).sum();
        // Not before they doubled: where logs come long after events, each look is in vain.
        self.look_at = (2 * self.ids).max(IDS_MAX / 2);
    }

    /// Notes how far logs got. `places` are those of the profiles.
    pub(in crate::pipeline) fn note_logs(&mut self, batch: &Batch, places: &[u128], arrival: Micros) {
        // Where every time is over at once, no log is behind.
        if self.requests_max == 0 {
            return;
        }
        let mut newest: Vec<Option<Micros>> = vec![None; batch.profiles.len()];
        for call in &batch.invocations {
            if let Some(newest) = newest.get_mut(call.profile as usize) {
                *newest = (*newest).max(Some(call.event_time));
            }
        }
        for ((profile, place), newest) in batch.profiles.iter().zip(places).zip(newest) {
            let Some(newest) = newest else { continue };
            if profile.lower_bound || (self.logs.len() >= PLACES_MAX && !self.logs.contains_key(place)) {
                continue;
            }
            let log = self.logs.entry(*place).or_default();
            *log = Log { newest: log.newest.max(newest), arrival: log.arrival.max(arrival) };
        }
    }

    /// When the first event came in that waits.
    pub(in crate::pipeline) fn since(&self) -> Option<Micros> {
        self.requests.values().map(|waits| waits.arrival).chain(self.hours.values().map(|hour| hour.since)).min()
    }

    /// From which time the events are that wait.
    pub(in crate::pipeline) fn from(&self) -> Option<Micros> {
        let hours = self.hours.keys().map(|hour| Micros(hour * HOUR));
        self.requests.values().map(|waits| waits.at).chain(hours).min()
    }

    /// Tells whether an event may have waited long enough, without looking at each.
    pub(in crate::pipeline) fn may_be_ripe(&self, until: Micros) -> bool {
        self.next.is_some_and(|next| next <= until)
    }

    /// Takes out, by hour of event time, what came in by `until` and is not still on its way in a log that is behind.
    pub(in crate::pipeline) fn take_ripe(&mut self, until: Micros) -> BTreeMap<i64, Ripe> {
        let mut ripe: BTreeMap<i64, Ripe> = BTreeMap::new();
        let logs = &self.logs;
        self.requests.retain(|request, waits| {
            let is_behind = logs.get(&waits.place).is_some_and(|log| log.is_behind(waits.at, until));
            let is_ripe = waits.arrival <= until && !is_behind;
            if is_ripe {
                ripe.entry(waits.at.hour()).or_default().requests.insert(*request, waits.at);
            }
            !is_ripe
        });
        let ids = &mut self.ids;
        self.hours.retain(|at, hour| {
            let end = Micros((at + 1) * HOUR);
            let is_ripe = hour.since <= until && !logs.values().any(|log| log.is_behind(end, until));
            if is_ripe {
                *ids -= hour.ids.len();
                let ripe = ripe.entry(*at).or_default();
                (ripe.ids, ripe.others) = (std::mem::take(&mut hour.ids).into_iter().collect(), hour.others);
            }
            !is_ripe
        });
        self.next = self.since();
        ripe
    }
}

#[cfg(test)]
mod tests {
    use sluice_aggregate::dedup::salt;

    use super::*;

    const MINUTES: [Micros; 60] = {
        let mut minutes = [Micros(0); 60];
        let mut at = 0;
        while at < 60 {
            minutes[at] = Micros(at as i64 * MINUTE);
            at += 1;
        }
        minutes
    };

    fn add(waiting: &mut Waiting, request: u128, at: Micros, arrival: Micros) {
        waiting.add(request, at, arrival, || salt("1", "r"));
    }

    fn log(waiting: &mut Waiting, newest: Micros, arrival: Micros) {
        waiting.logs.insert(salt("1", "r"), Log { newest, arrival });
    }

    fn names(ripe: &BTreeMap<i64, Ripe>) -> Vec<u128> {
        let mut names: Vec<u128> = ripe.values().flat_map(|ripe| ripe.requests.keys().copied()).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn what_a_log_brings_does_not_wait_and_the_rest_is_ripe_when_its_time_is_over() {
        let mut waiting = Waiting::new(false);
        add(&mut waiting, 1, MINUTES[1], MINUTES[6]);
        add(&mut waiting, 2, MINUTES[2], MINUTES[7]);
        add(&mut waiting, 2, MINUTES[2], MINUTES[8]);
        add(&mut waiting, 3, MINUTES[3], MINUTES[9]);
        waiting.brought(1);
        assert_eq!((waiting.since(), waiting.from()), (Some(MINUTES[7]), Some(MINUTES[2])));
        assert!(waiting.may_be_ripe(MINUTES[6]), "a bound from below");
        assert!(waiting.take_ripe(MINUTES[6]).is_empty() && !waiting.may_be_ripe(MINUTES[6]));
        assert_eq!(names(&waiting.take_ripe(MINUTES[8])), [2]);
        assert_eq!(names(&waiting.take_ripe(Micros(i64::MAX))), [3]);
        assert_eq!((waiting.since(), waiting.from(), waiting.may_be_ripe(Micros(i64::MAX))), (None, None, false));
    }

    #[test]
    fn a_log_that_still_comes_in_and_is_behind_is_waited_for() {
        let mut waiting = Waiting::new(false);
        add(&mut waiting, 1, MINUTES[20], MINUTES[21]);
        // It comes in at 40, and is at 10; then at 24, at 25, and at last no more.
        log(&mut waiting, MINUTES[10], MINUTES[40]);
        assert!(waiting.take_ripe(MINUTES[30]).is_empty());
        log(&mut waiting, MINUTES[24], MINUTES[40]);
        assert!(waiting.take_ripe(MINUTES[30]).is_empty());
        let mut stopped = Waiting::new(false);
        add(&mut stopped, 1, MINUTES[20], MINUTES[21]);
        log(&mut stopped, MINUTES[10], MINUTES[25]);
        assert_eq!(names(&stopped.take_ripe(MINUTES[30])), [1], "it does not come in any more");
        log(&mut waiting, MINUTES[25], MINUTES[40]);
        assert_eq!(names(&waiting.take_ripe(MINUTES[30])), [1], "it is past it");
    }

    /// Events of one hour, numbered.
    fn events(count: usize, at_once: bool) -> Waiting {
        let mut waiting = Waiting::new(at_once);
        for request in 0..count as u128 {
            add(&mut waiting, request, MINUTES[1], MINUTES[2]);
        }
        waiting
    }

    fn of_hour(ripe: &BTreeMap<i64, Ripe>) -> (usize, usize, bool) {
        assert_eq!(ripe.keys().collect::<Vec<_>>(), [&0]);
        (ripe[&0].requests.len(), ripe[&0].ids.len(), ripe[&0].others)
    }

    /// Tells that the log brought calls, as far as it is known at once, and lets go of the others.
    fn bring(waiting: &mut Waiting, requests: &[u128]) {
        requests.iter().for_each(|request| waiting.brought(*request));
        waiting.let_go(|hour, ids| ids.retain(|request| hour > 0 || !requests.contains(request)));
    }

    #[test]
    fn of_many_the_ids_are_known() {
        let mut waiting = events(REQUESTS_MAX + 2, false);
        add(&mut waiting, 0, MINUTES[1], MINUTES[2]);
        bring(&mut waiting, &[REQUESTS_MAX as u128]);
        assert_eq!(of_hour(&waiting.take_ripe(MINUTES[2])), (REQUESTS_MAX, 1, false));
        assert_eq!((waiting.since(), waiting.ids), (None, 0));

        let mut waiting = events(REQUESTS_MAX + 2, false);
        let all: Vec<u128> = (0..REQUESTS_MAX as u128 + 2).collect();
        bring(&mut waiting, &all);
        assert_eq!((waiting.since(), waiting.ids, waiting.take_ripe(Micros(i64::MAX)).len()), (None, 0, 0));
    }

    #[test]
    fn where_every_time_is_over_at_once_ids_are_enough() {
        let mut waiting = events(2, true);
        bring(&mut waiting, &[1]);
        assert_eq!(of_hour(&waiting.take_ripe(Micros(i64::MAX))), (0, 1, false));
    }

    #[test]
    fn it_is_looked_for_what_may_go_when_ids_doubled() {
        let mut waiting = events(IDS_MAX / 2, true);
        assert!(waiting.is_much());
        bring(&mut waiting, &[]);
        assert!(!waiting.is_much(), "in vain");
        add(&mut waiting, 7, MINUTES[1], MINUTES[2]);
        assert!(!waiting.is_much());
        add(&mut waiting, 8, MINUTES[1], MINUTES[2]);
        assert!(waiting.is_much());
        bring(&mut waiting, &[0, 1, 7, 8]);
        assert_eq!((waiting.ids, waiting.is_much(), waiting.since()), (0, false, None));
    }

    #[test]
    fn of_more_than_can_be_known_an_hour_is_looked_at_whatever_the_log_brings() {
        let count = IDS_MAX + 1;
        let mut waiting = events(count, true);
        bring(&mut waiting, &(0..count as u128).collect::<Vec<_>>());
        assert_eq!(of_hour(&waiting.take_ripe(Micros(i64::MAX))), (0, 0, true));
    }
}
