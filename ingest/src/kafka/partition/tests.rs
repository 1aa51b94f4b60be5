//! Whatever comes, pieces chain, no record is given twice or passed over, and a gap is told once.

use proptest::prelude::*;
use sluice_schemas::position::{ChainDecision, Span, chain};
use sluice_schemas::{Micros, Position};

use super::{Partition, covers};
use crate::source::{Payload, Piece, StreamRecord};

const SHARD: &str = "kafka:c/t/0";

fn record(offset: u64) -> StreamRecord {
    StreamRecord { offset, sequence: Default::default(), written: None, data: vec![1] }
}

fn at(offset: u64) -> Position {
    Position { offset, ..Position::default() }
}

fn span(piece: &Piece) -> Span {
    let to = Position { offset: piece.to.expect("known"), identity: piece.identity.clone(), ..Position::default() };
    Span { shard: piece.shard.clone(), from: piece.from.clone(), to }
}

fn offsets(piece: &Piece) -> Vec<u64> {
    match &piece.payload {
        Payload::Records(records) => records.iter().map(|record| record.offset).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn a_fresh_partition_tells_where_it_begins() {
    let mut partition = Partition::fresh(SHARD.to_owned(), 42);
    let piece = partition.cut(Micros(0)).expect("the pin");
    assert_eq!((piece.from.clone(), piece.to, offsets(&piece)), (None, Some(42), vec![]));
    assert!(partition.cut(Micros(0)).is_none());
    assert!(!partition.take(record(41)) && partition.take(record(50)), "holes are legal");
    let piece = partition.cut(Micros(0)).expect("a piece");
    assert_eq!((piece.from, piece.to), (Some(at(42)), Some(51)));
}

#[test]
fn a_gap_is_told_once_and_survives_a_restart() {
    let mut partition = Partition::resumed(SHARD.to_owned(), at(5));
    assert!(!partition.check(5, 9) && !partition.check(0, 5));
    assert!(partition.check(7, 9));
    assert!(!partition.take(record(8)), "stopped");
    let told = partition.cut(Micros(0)).expect("the gap");
    assert!(matches!(&told.payload, Payload::Refused { reason, .. } if reason.to_string().starts_with("data gap: offsets 5 to 6")));
    assert!(partition.cut(Micros(0)).is_none() && !partition.check(7, 9));
    let mut again = Partition::resumed(SHARD.to_owned(), span(&told).to);
    assert!(again.stopped().is_some() && again.cut(Micros(0)).is_none() && !again.check(7, 9));
    assert!(again.resume(7) && !again.resume(7));
    let behind = again.cut(Micros(0)).expect("the pin behind the gap");
    assert_eq!(behind.from, Some(span(&told).to));
    assert_eq!(chain(Some(&span(&told).to), &span(&behind)), ChainDecision::Accept);
}

#[test]
fn a_topic_made_anew_begins_lower_and_still_chains() {
    let mut partition = Partition::resumed(SHARD.to_owned(), at(100));
    assert!(partition.check(0, 3));
    let told = span(&partition.cut(Micros(0)).expect("the gap"));
    assert!(partition.resume(0));
    let pin = span(&partition.cut(Micros(0)).expect("the pin"));
    assert!(partition.take(record(0)));
    let first = span(&partition.cut(Micros(0)).expect("a piece"));
    let mut last = at(100);
    for span in [told, pin, first] {
        assert_eq!(chain(Some(&last), &span), ChainDecision::Accept, "{span:?}");
        assert!(covers(Some(&span.to), &last) && !covers(Some(&last), &span.to), "{span:?}");
        last = span.to;
    }
    assert_eq!(last.offset, 1);
}

#[test]
fn who_leaves_gives_nothing_more() {
    let mut partition = Partition::resumed(SHARD.to_owned(), at(5));
    assert!(partition.take(record(5)));
    partition.leave();
    assert!(!partition.take(record(6)) && partition.cut(Micros(0)).is_none());
    assert_eq!(partition.given(), Some(&at(5)));
}

#[derive(Clone, Debug)]
enum Step {
    /// The broker sends what it has from an offset on, skipping so many.
    Send {
        count: u64,
        holes: u64,
    },
    /// It sends again what it sent, as after a seek.
    Again {
        back: u64,
    },
    Cut,
    /// The broker deletes up to there.
    Check {
        low: u64,
    },
    Resume {
        low: u64,
    },
    /// The process starts anew from the last piece.
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1_u64..5, 0_u64..3).prop_map(|(count, holes)| Step::Send { count, holes }),
        1 => (1_u64..9).prop_map(|back| Step::Again { back }),
        3 => Just(Step::Cut),
        1 => (0_u64..60).prop_map(|low| Step::Check { low }),
        1 => (0_u64..60).prop_map(|low| Step::Resume { low }),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..40)
}

/// Follows the pieces as the ledger does.
#[derive(Default)]
struct Ledger {
    last: Option<Position>,
    gaps: u64,
    /// Offsets accepted since the last gap.
    run: Vec<u64>,
}

impl Ledger {
    fn accept(&mut self, piece: &Piece) {
        let span = span(piece);
        assert_eq!(chain(self.last.as_ref(), &span), ChainDecision::Accept, "{:?} {span:?}", self.last);
        if matches!(piece.payload, Payload::Refused { .. }) {
            self.gaps += 1;
            self.run.clear();
        }
        for offset in offsets(piece) {
            assert!(self.run.last().is_none_or(|last| *last < offset), "in order, once");
            assert!(offset < span.to.offset);
            self.run.push(offset);
        }
        self.last = Some(span.to);
    }
}

proptest! {
    #[test]
    fn pieces_chain(steps in steps()) {
        let mut partition = Partition::fresh(SHARD.to_owned(), 3);
        let (mut ledger, mut stops) = (Ledger::default(), 0);
        for step in steps {
            match step {
                Step::Send { count, holes } => {
                    let begin = partition.next() + holes;
                    for offset in begin..begin + count {
                        let reading = partition.is_reading();
                        prop_assert_eq!(partition.take(record(offset)), reading);
                    }
                }
                Step::Again { back } => {
                    for offset in partition.next().saturating_sub(back)..partition.next() {
                        prop_assert!(!partition.take(record(offset)), "taken before");
                    }
                }
                Step::Cut => {
                    let ready = partition.is_ready();
                    let piece = partition.cut(Micros(0));
                    prop_assert_eq!(piece.is_some(), ready);
                    if let Some(piece) = piece {
                        ledger.accept(&piece);
                    }
                }
                Step::Check { low } => stops += u64::from(partition.check(low, low + 50)),
                Step::Resume { low } => { partition.resume(low); }
                Step::Restart => {
                    if let Some(last) = &ledger.last {
                        // A gap that was seen and not told is seen again.
                        stops -= u64::from(partition.stopped().is_some() && partition.is_ready());
                        partition = Partition::resumed(SHARD.to_owned(), last.clone());
                    }
                }
            }
        }
        if partition.stopped().is_some() && partition.is_ready() {
            ledger.accept(&partition.cut(Micros(0)).expect("the gap"));
        }
        prop_assert_eq!(ledger.gaps, stops);
    }
}
