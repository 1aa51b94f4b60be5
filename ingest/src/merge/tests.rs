//! Merging: nothing is lost, the order of each source is kept, a failure and a panic have a name, orders find their source.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use sluice_schemas::position::Sequence;
use sluice_schemas::{Clock, ErrorClass, Micros, SystemClock};

use super::{Merged, Named};
use crate::source::{Order, Payload, Piece, Poll, Progress, ShardHealth, ShardState, Source, SourceError};

/// One turn of a scripted source.
#[derive(Clone, Debug)]
enum Turn {
    Piece,
    Idle,
    Fail,
    Panic,
}

struct Scripted {
    name: String,
    turns: std::vec::IntoIter<Turn>,
    given: u64,
    endless: bool,
}

impl Scripted {
    fn named(name: &str, turns: Vec<Turn>, endless: bool) -> Named {
        let source = Self { name: name.to_owned(), turns: turns.into_iter(), given: 0, endless };
        Named { name: name.to_owned(), source: Box::new(source) }
    }
}

impl Source for Scripted {
    fn poll(&mut self, wait: Duration, now: Micros) -> Result<Poll, SourceError> {
        match self.turns.next() {
            Some(Turn::Piece) => {
                self.given += 1;
                Ok(Poll::Piece(Piece {
                    accepts: None,
                    shard: self.name.clone(),
                    from: None,
                    payload: Payload::Lines(Vec::new()),
                    arrival: now,
                    base_offset: self.given - 1,
                    identity: String::new(),
                    to: Some(self.given),
                    sequence: Sequence::default(),
                    ended: false,
                    source_bytes: 7,
                }))
            }
            Some(Turn::Idle) => Ok(Poll::Idle),
            Some(Turn::Fail) => Err(SourceError::NoPath),
            Some(Turn::Panic) => panic!("as the script says"),
            None if self.endless => {
                std::thread::sleep(wait.min(Duration::from_millis(1)));
                Ok(Poll::Idle)
            }
            None => Ok(Poll::Ended),
        }
    }

    fn progress(&self) -> Progress {
        let shard =
            ShardHealth { shard: self.name.clone(), state: ShardState::Reading, behind_ms: None, behind_records: None, headroom_ms: None };
        Progress { files_total: 1, bytes_done: self.given * 7, shards: vec![shard], ..Progress::default() }
    }

    fn order(&mut self, order: &Order) -> bool {
        let Order::Resume(shard) = order;
        *shard == self.name
    }
}

fn merged(sources: Vec<Named>) -> Merged {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    Merged::open(sources, &clock).expect("threads")
}

/// Polls to the end or the failure; returns where each shard's pieces led to.
fn drain(merged: &mut Merged) -> (BTreeMap<String, Vec<u64>>, Option<SourceError>) {
    let mut given: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    loop {
        match merged.poll(Duration::from_secs(30), Micros(0)) {
            Ok(Poll::Piece(piece)) => given.entry(piece.shard).or_default().push(piece.to.expect("an offset")),
            Ok(Poll::Idle) => panic!("nothing came for long"),
            Ok(Poll::Ended) => return (given, None),
            Err(error) => return (given, Some(error)),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_piece_comes_once_and_in_the_order_of_its_source(
        scripts in prop::collection::vec(prop::collection::vec(prop_oneof![3 => Just(Turn::Piece), 1 => Just(Turn::Idle)], 0..40), 0..5)
    ) {
        let sources = scripts.iter().enumerate().map(|(at, turns)| Scripted::named(&format!("s{at}"), turns.clone(), false)).collect();
        let mut merged = merged(sources);
        let (given, error) = drain(&mut merged);
        prop_assert!(error.is_none());
        for (at, turns) in scripts.iter().enumerate() {
            let pieces = turns.iter().filter(|turn| matches!(turn, Turn::Piece)).count() as u64;
            let expected: Vec<_> = (1..=pieces).collect();
            prop_assert_eq!(given.get(&format!("s{at}")).cloned().unwrap_or_default(), expected);
        }
        prop_assert_eq!(merged.progress().bytes_done, given.values().map(|given| given.len() as u64 * 7).sum::<u64>());
        prop_assert_eq!(merged.poll(Duration::ZERO, Micros(0)).expect("the end"), Poll::Ended);
    }
}

#[test]
fn one_failing_source_stops_the_whole_and_is_named() {
    let sources = vec![Scripted::named("good", vec![Turn::Piece], true), Scripted::named("bad", vec![Turn::Piece, Turn::Fail], false)];
    let mut merged = merged(sources);
    let (given, error) = drain(&mut merged);
    assert_eq!(given["bad"], [1]);
    let error = error.expect("a failure");
    assert!(error.to_string().starts_with("bad: "), "{error}");
    assert_eq!(error.class(), ErrorClass::Misconfigured);
    let again = merged.poll(Duration::ZERO, Micros(0)).expect_err("it stays failed");
    assert_eq!((again.to_string().starts_with("bad: "), again.class()), (true, ErrorClass::Misconfigured));
}

#[test]
fn a_panic_is_a_failure() {
    let mut merged = merged(vec![Scripted::named("good", Vec::new(), true), Scripted::named("bad", vec![Turn::Panic], false)]);
    let (_, error) = drain(&mut merged);
    let error = error.expect("a failure");
    assert_eq!((error.to_string().starts_with("bad: "), error.class()), (true, ErrorClass::Bug));
}

#[test]
fn an_order_finds_its_source_even_when_nothing_is_taken_off_the_channel() {
    let busy = vec![Turn::Piece; 1000];
    let mut merged = merged(vec![Scripted::named("b", busy.clone(), true), Scripted::named("a", busy, true)]);
    std::thread::sleep(Duration::from_millis(20));
    assert!(merged.order(&Order::Resume("a".to_owned())));
    assert!(merged.order(&Order::Resume("b".to_owned())));
    assert!(!merged.order(&Order::Resume("c".to_owned())));
    let progress = merged.progress();
    assert_eq!(progress.files_total, 2);
    assert_eq!(progress.shards.iter().map(|health| health.shard.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    // Two sources may have two pieces in the channel and one each in hand.
    assert!(progress.bytes_done <= 7 * 4, "{} bytes were read ahead", progress.bytes_done);
}

#[test]
fn no_sources_end_at_once() {
    assert_eq!(merged(Vec::new()).poll(Duration::ZERO, Micros(0)).expect("the end"), Poll::Ended);
}
