//! Tests of the decisions of the Kinesis source against a fake service in the same thread: no clock, no network.

mod fake;
mod gaps;
mod random;
mod simulation;

use sluice_schemas::Position;
use sluice_schemas::position::{ChainDecision, Positions, Span, chain};

use super::call::Done;
use super::settings::{OnGap, Start};
use super::stream::Stream;
use crate::committed::{Committed, Durable};
use crate::source::{Payload, Piece};
use fake::Fake;

use sluice_schemas::Micros;

const PREFIX: &str = "kinesis:eu-central-1/111122223333/logs";
/// 2026-10-01T00:00:00Z in ms.
const EPOCH_MS: u64 = 1_790_812_800_000;

/// What stands behind the source: chains what it gives, keeps it, commits it.
#[derive(Clone, Default)]
struct Ledger {
    positions: Positions,
    /// Sequence numbers by shard, in the order they came.
    read: std::collections::BTreeMap<String, Vec<String>>,
    gaps: Vec<(String, String)>,
    /// Bytes of each piece.
    sizes: Vec<u64>,
}

impl Ledger {
    fn take(&mut self, piece: Piece) {
        let to = Position {
            offset: piece.to.expect("a place"),
            sequence: piece.sequence.clone(),
            identity: piece.identity.clone(),
            ended: piece.ended,
        };
        let span = Span { shard: piece.shard.clone(), from: piece.from, to: to.clone() };
        assert_eq!(chain(self.positions.get(&piece.shard), &span), ChainDecision::Accept, "{span:?}");
        assert_eq!(span.from.as_ref(), self.positions.get(&piece.shard), "it begins where the last one ended");
        self.sizes.push(piece.source_bytes);
        match piece.payload {
            Payload::Records(records) => {
                let known = self.read.entry(piece.shard.clone()).or_default();
                known.extend(records.iter().map(|record| record.sequence.to_string()));
                if let Some(last) = records.last() {
                    assert_eq!(last.sequence, to.sequence, "the end is that of the last record");
                }
            }
            Payload::Refused { reason, .. } => self.gaps.push((piece.shard.clone(), reason.to_string())),
            other => panic!("{other:?}"),
        }
        self.positions.insert(piece.shard, to);
    }

    fn read_of(&self, id: &str) -> &[String] {
        self.read.get(&format!("{PREFIX}/{id}")).map_or(&[], Vec::as_slice)
    }
}

/// A source on a fake, and the ledger behind it.
struct World {
    fake: Fake,
    stream: Stream,
    committed: Committed,
    ledger: Ledger,
    durable: Ledger,
    start: Start,
    on_gap: OnGap,
}

impl World {
    fn new(fake: Fake, start: Start, on_gap: OnGap) -> Self {
        let (overview, now) = (fake.overview(), fake.now());
        let stream = Stream::new(PREFIX.to_owned(), start, on_gap, &Positions::default(), &overview, now).expect("positions");
        let (ledger, durable) = (Ledger::default(), Ledger::default());
        Self { fake, stream, committed: Committed::default(), ledger, durable, start, on_gap }
    }

    fn commit(&mut self) {
        self.durable = self.ledger.clone();
        self.committed.note(Durable::Local, self.durable.positions.clone());
    }

    /// Falls back to what is committed, as after kill -9.
    fn restart(&mut self) {
        self.ledger = self.durable.clone();
        self.committed = Committed::default();
        let (overview, now) = (self.fake.overview(), self.fake.now());
        self.stream = Stream::new(PREFIX.to_owned(), self.start, self.on_gap, &self.durable.positions, &overview, now).expect("positions");
    }

    fn take(&mut self) {
        while let Some(piece) = self.stream.take() {
            self.ledger.take(piece);
        }
    }

    /// Lets everything happen without faults for `millis`, committing as it comes.
    fn run(&mut self, millis: u64) {
        let end = self.fake.now_ms + millis;
        while self.fake.now_ms < end {
            let now = self.fake.now();
            for request in self.stream.requests(&self.committed, now) {
                self.fake.check_parents(&request, &self.durable.positions);
                let shard = request.call.shard().map(str::to_owned);
                let outcome = self.fake.carry_out(request.call);
                self.stream.done(Done { shard, number: request.number, called: request.called, outcome }, now);
            }
            self.take();
            self.commit();
            let due = self.stream.due().unwrap_or(Micros(i64::MAX)).0 / 1_000;
            self.fake.now_ms = (self.fake.now_ms + 1).max(u64::try_from(due).unwrap_or(0)).min(end);
        }
    }

    /// Asserts that each shard that can still be read was read whole, in order, once.
    fn assert_all_read(&self) {
        for (id, written) in self.fake.written() {
            assert_eq!(self.ledger.read_of(&id), written, "shard {id}");
        }
    }
}
