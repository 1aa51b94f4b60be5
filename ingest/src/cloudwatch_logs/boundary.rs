//! Decides which events of a page are given and how far that leads: pure, so that every order of pages can be tried.
//!
//! The position is a moment: every event before it was given. The service sorts events by time (AWS, API reference of
//! `FilterLogEvents`), and a page may end between events of one millisecond; those of the last one wait for the next page.

use sluice_schemas::position::Sequence;

use crate::source::StreamRecord;

/// A log event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// When it happened, in milliseconds.
    pub(super) time_ms: u64,
    /// When the service received it, in milliseconds.
    pub(super) ingested_ms: Option<i64>,
    /// Its id.
    pub(super) id: String,
    /// What was logged.
    pub(super) message: String,
}

impl Event {
    /// Makes a stream record of it, named by its id.
    pub(super) fn record(self) -> StreamRecord {
        let written = self.ingested_ms.map(|millis| sluice_schemas::Micros(millis.saturating_mul(1_000)));
        // An id is a number of 56 digits; one that is not is named by its time.
        let sequence = Sequence::parse(&self.id).unwrap_or_default();
        StreamRecord { offset: self.time_ms, sequence, written, data: self.message.into_bytes() }
    }
}

/// How far a group was read.
#[derive(Clone, Debug)]
pub(super) struct Boundary {
    /// Every event before this millisecond was given.
    pub(super) at_ms: u64,
    /// The first millisecond not to be read.
    until_ms: u64,
    /// Events of the last millisecond seen.
    carry: Vec<Event>,
}

impl Boundary {
    /// Starts at a millisecond.
    pub(super) const fn new(at_ms: u64, until_ms: u64) -> Self {
        Self { at_ms, until_ms, carry: Vec::new() }
    }

    /// Takes a page and returns the events to be given; after them `at_ms` holds. `is_last` tells that none follows.
    pub(super) fn take(&mut self, page: Vec<Event>, is_last: bool) -> Vec<Event> {
        if page.iter().any(|event| event.time_ms < self.at_ms) {
            tracing::warn!(at_ms = self.at_ms, "CloudWatch Logs gave an event behind its time; it is read all the same");
        }
        self.carry.extend(page);
        if is_last {
            self.at_ms = self.at_ms.max(self.until_ms);
            return std::mem::take(&mut self.carry);
        }
        let last = self.carry.iter().map(|event| event.time_ms).max().unwrap_or(0);
        let (wait, give) = std::mem::take(&mut self.carry).into_iter().partition(|event| event.time_ms == last);
        self.carry = wait;
        self.at_ms = self.at_ms.max(last);
        give
    }

    /// Forgets what was not given, since it is asked for again.
    pub(super) fn restart(&mut self) {
        self.carry.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn events(times: &[u64]) -> Vec<Event> {
        let event = |(at, &time_ms): (usize, &u64)| Event { time_ms, ingested_ms: None, id: at.to_string(), message: String::new() };
        times.iter().enumerate().map(event).collect()
    }

    /// Gives pages of `events` from `start` on, as the service would; stops after `stop` pages.
    fn read(all: &[Event], start: u64, until: u64, page: usize, stop: usize) -> (Vec<Event>, u64) {
        let wanted: Vec<_> = all.iter().filter(|event| (start..until).contains(&event.time_ms)).cloned().collect();
        let (mut boundary, mut given) = (Boundary::new(start, until), Vec::new());
        let mut pages: Vec<_> = wanted.chunks(page).map(<[Event]>::to_vec).collect();
        pages.push(Vec::new());
        let last = pages.len() - 1;
        for (at, page) in pages.into_iter().enumerate().take(stop) {
            given.extend(boundary.take(page, at == last));
        }
        (given, boundary.at_ms)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_run_that_goes_on_where_another_stopped_neither_loses_nor_doubles(
            mut times in prop::collection::vec(100_u64..140, 0..60),
            page in 1_usize..9,
            stop in 0_usize..12,
            other in 1_usize..9,
        ) {
            times.sort_unstable();
            let all = events(&times);
            let (mut given, at) = read(&all, 100, 130, page, stop);
            let (rest, end) = read(&all, at, 130, other, usize::MAX);
            given.extend(rest);
            let expected: Vec<_> = all.into_iter().filter(|event| event.time_ms < 130).collect();
            prop_assert_eq!(given, expected);
            prop_assert_eq!(end, 130);
        }
    }

    #[test]
    fn a_page_within_one_millisecond_waits() {
        let mut boundary = Boundary::new(0, 10);
        assert_eq!(boundary.take(events(&[5, 5]), false), []);
        assert_eq!(boundary.at_ms, 5);
        assert_eq!(boundary.take(events(&[5]), false), []);
        assert_eq!(boundary.take(events(&[6]), true).len(), 4);
        assert_eq!(boundary.at_ms, 10);
    }

    #[test]
    fn an_event_is_named_by_its_id() {
        let id = "31953106606966983378809025079804211143289615424298221568";
        let event = Event { time_ms: 7, ingested_ms: Some(8), id: id.to_owned(), message: "m".to_owned() };
        let record = event.record();
        assert_eq!((record.sequence.as_str(), record.offset, record.written.map(|at| at.0)), (id, 7, Some(8_000)));
    }
}
