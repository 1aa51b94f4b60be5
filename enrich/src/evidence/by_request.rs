//! What is known of calls by their request ids, of many at a time: a processor then has several of these look-ups, which wait for memory, on
//! their way at once.

use sluice_schemas::Micros;
use sluice_schemas::time::HOUR;

use super::requests::Place;
use super::{Alike, Evidence, Load, REACH, SESSION_HOURS, Touched};

/// Hours in which the events of a call may be.
const HOURS: usize = 2;
const _: () = assert!(2 * REACH < HOUR, "of how many hours the events of a call are");

/// Where it is that an event tells of a call; good until anything is taken in or forgotten.
#[derive(Clone, Copy, Debug)]
pub struct ByRequest {
    /// First of the hours.
    pub(super) from: i64,
    pub(super) places: [Option<Place>; HOURS],
}

/// Requests of callers that are known, to be taken in together.
#[derive(Debug)]
pub struct Gathered(Vec<(i64, u128, u32)>);

impl Gathered {
    /// Those of so many events, none of which was put by yet.
    #[must_use]
    pub fn of(events: usize) -> Self {
        Self(Vec::with_capacity(events))
    }

    /// Puts a request by whose event is like earlier ones of this batch, and tells of one request alone; returns the call it speaks of, or
    /// `None` where the caller of those is not known in that hour.
    pub fn put(&mut self, at: Micros, request: u128, alike: &Alike) -> Option<Touched> {
        let (hour, caller) = alike.caller.filter(|(hour, _)| *hour == at.hour())?;
        self.0.push((hour, request, caller));
        Some(Touched::Request(request, at))
    }
}

impl Evidence {
    /// Takes in requests that are not stored yet. Nothing was forgotten since they were put by.
    pub fn add_gathered(&mut self, gathered: &Gathered) {
        for of_hour in gathered.0.chunk_by(|(hour, ..), (other, ..)| hour == other) {
            self.requests.add_known(of_hour, self.clock.max(1));
        }
    }

    /// Returns what is known of calls by their times and request ids, for [`Evidence::of_call_unless`].
    ///
    /// # Errors
    /// What `load` says; what was in memory before still is.
    pub fn by_requests<E>(&mut self, calls: &[(Micros, u128)], load: &mut Load<'_, E>) -> Result<Vec<ByRequest>, E> {
        let hours = |(at, _): &(Micros, u128)| (at.plus(-REACH).hour(), at.plus(REACH).hour());
        let mut found = Vec::with_capacity(calls.len());
        for calls in calls.chunk_by(|one, other| hours(one) == hours(other)) {
            let Some((from, to)) = calls.first().map(hours) else { continue };
            self.near = from;
            self.ensure(from, to, load)?;
            let requests = calls.iter().map(|(_, request)| *request);
            let mut by_hour = (from..=to).map(|hour| self.requests.find(hour, requests.clone()));
            let (first, second) = (by_hour.next().unwrap_or_default(), by_hour.next());
            let second = second.unwrap_or_else(|| vec![None; calls.len()]);
            found.extend(first.into_iter().zip(second).map(|(one, other)| ByRequest { from, places: [one, other] }));
        }
        Ok(found)
    }

    /// Has everything in memory that calls depend on whose own events may be in these hours.
    fn ensure<E>(&mut self, from: i64, to: i64, load: &mut Load<'_, E>) -> Result<(), E> {
        if self.ready == Some((from, to)) {
            return Ok(());
        }
        for hour in from..=to {
            self.ensure_requests(hour, load)?;
        }
        for hour in from - SESSION_HOURS..=to {
            self.ensure_openings(hour, load)?;
        }
        self.ready = Some((from, to));
        Ok(())
    }
}
