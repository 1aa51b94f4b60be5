//! Tells refused records and control messages that a worker delivers a second time: they carry no id, but a place upstream. Pure.
//!
//! The ledger keeps how far it has come in each shard upstream, beside its other positions and under a key of its own
//! ([`upstream_key`]), and commits it with them.
//!
//! A worker that is handed its records, such as a Lambda function, does not know what came before them, and batches of a shard may
//! overtake one another. Of its shards ([`UNORDERED`]) nothing follows from how far they were delivered but that what lies beyond is
//! new; of what lies before, and of parts of a stretch that is not complete, the refused records themselves are looked up ([`Refused`]).

use sluice_schemas::position::{Positions, Sequence, Span};
use sluice_schemas::{Batch, Position, RejectReason, Rejected, Relayed, ShardId};

/// Identity of positions in a shard whose stretches do not know what came before them.
pub const UNORDERED: &str = "unordered";

/// The refused records that have their row, or are on their way there.
pub trait Refused {
    /// Why they cannot be looked up.
    type Error;

    /// Tells whether a record that was refused upstream has its row already.
    ///
    /// # Errors
    /// The rows cannot be read: it must not be taken for new.
    fn is_known(&mut self, shard: &str, rejected: &Rejected) -> Result<bool, Self::Error>;

    /// Notes that it gets its row.
    fn keep(&mut self, shard: &str, rejected: &Rejected);
}

/// What was done with a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admitted {
    /// Refused records that had been delivered before.
    pub repeated_rejected: u64,
    /// Control messages that had been delivered before.
    pub repeated_control: u64,
    /// Stretches upstream that no worker has delivered.
    pub gaps: Vec<UpstreamGap>,
}

/// A stretch upstream that no worker has delivered: an error to record and to backfill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamGap {
    /// The shard upstream.
    pub shard: ShardId,
    /// How far the ledger had come.
    pub after: Position,
    /// Where the next message began.
    pub before: Position,
}

/// Returns the key under which the ledger keeps how far it has come in a shard upstream.
#[must_use]
pub fn upstream_key(shard: &str) -> ShardId {
    format!("relay:{shard}")
}

/// Drops from a batch what was delivered before, and moves `upstream` on by what the batch covers.
///
/// Messages of one shard must come in the order in which they were published, which one partition, or one shard, guarantees;
/// those of an [`UNORDERED`] one need not.
///
/// # Errors
/// Refused records could not be looked up.
pub fn admit<R: Refused>(batch: &mut Batch, upstream: &mut Positions, refused: &mut R) -> Result<Admitted, R::Error> {
    let mut admitted = Admitted::default();
    let mut drop_rejected = vec![false; batch.rejected.len()];
    for relayed in &batch.relayed {
        let key = upstream_key(&relayed.span.shard);
        let last = upstream.get(&key);
        if let Some(gap) = gap(last, &relayed.span) {
            admitted.gaps.push(gap);
        }
        let seen = Seen { last, span: &relayed.span };
        let records = batch.rejected.get(relayed.rejected.clone()).unwrap_or_default();
        for (rejected, at) in records.iter().zip(relayed.rejected.clone()) {
            let drop = seen.repeats(relayed, rejected, refused)?;
            drop_rejected[at] = drop;
            admitted.repeated_rejected += u64::from(drop);
        }
        // After all of the message were looked up: several lines of one record share its place.
        let kept = records.iter().zip(relayed.rejected.clone()).filter(|(_, at)| !drop_rejected[*at]);
        kept.for_each(|(rejected, _)| refused.keep(&relayed.span.shard, rejected));
        admitted.repeated_control += repeated_control(&seen, relayed);
        if let Some(to) = seen.leads_to(relayed, records) {
            upstream.insert(key, to);
        }
    }
    let mut drops = drop_rejected.iter();
    batch.rejected.retain(|_| !drops.next().copied().unwrap_or(false));
    // The ranges refer to what is not there any more, once something was dropped.
    if admitted.repeated_rejected > 0 {
        let kept_before = kept_before(&drop_rejected);
        let place = |at: usize| kept_before[at.min(drop_rejected.len())];
        for relayed in &mut batch.relayed {
            relayed.rejected = place(relayed.rejected.start)..place(relayed.rejected.end);
        }
    }
    batch.control = batch.control.saturating_sub(admitted.repeated_control);
    Ok(admitted)
}

/// Adds the refused record of a gap to a batch: its row names the shard upstream, where the missing stretch is.
pub fn refuse_gap(batch: &mut Batch, gap: UpstreamGap) {
    let UpstreamGap { shard, after, before } = gap;
    let detail = format!("{shard}: no worker delivered what lies between {:?} and {:?}", after.place(), before.place());
    tracing::error!(shard, detail, "a stretch upstream is missing: replay it from where it is kept");
    let at = batch.rejected.len();
    let (offset, sequence) = (after.offset, after.sequence.clone());
    batch.seen += 1;
    batch.rejected.push(Rejected { offset, sequence, reason: RejectReason::DataGap { detail }, raw: Vec::new(), cut: None });
    let span = Span { shard, from: Some(after), to: before };
    let calls = batch.invocations.len();
    let (calls, rejected) = (calls..calls, at..at + 1);
    batch.relayed.push(Relayed { worker: String::new(), span, last: false, calls, rejected, control: 0, marks: Vec::new() });
}

/// Returns for each place, and the end, how many records before it stay.
fn kept_before(dropped: &[bool]) -> Vec<usize> {
    let mut kept = 0;
    let counts = dropped.iter().map(|drop| {
        kept += usize::from(!drop);
        kept
    });
    [0].into_iter().chain(counts).collect()
}

/// What orders positions of records: where they have sequence numbers, those alone.
fn place(position: &Position) -> (&Sequence, u64) {
    (&position.sequence, if position.sequence.is_none() { position.offset } else { 0 })
}

/// Tells whether a span leads on, so that the ledger is to hear of it although there is nothing in it.
#[must_use]
pub fn leads_on(span: &Span) -> bool {
    span.from.as_ref().is_some_and(|from| from.identity == span.to.identity && place(from) < place(&span.to))
}

fn is_unordered(span: &Span) -> bool {
    span.to.identity == UNORDERED
}

fn gap(last: Option<&Position>, span: &Span) -> Option<UpstreamGap> {
    let (after, before) = (last?, span.from.as_ref()?);
    let leaps = after.identity == before.identity && place(before) > place(after);
    leaps.then(|| UpstreamGap { shard: span.shard.clone(), after: after.clone(), before: before.clone() })
}

fn repeated_control(seen: &Seen<'_>, relayed: &Relayed) -> u64 {
    if seen.whole() {
        return relayed.control;
    }
    relayed.marks.iter().filter(|mark| seen.holds(&mark.sequence, mark.offset)).map(|mark| mark.count).sum()
}

/// How far a shard upstream was delivered, against a span of it.
struct Seen<'a> {
    last: Option<&'a Position>,
    span: &'a Span,
}

impl Seen<'_> {
    /// Tells whether all of the span was delivered before.
    fn whole(&self) -> bool {
        self.last.is_some_and(|last| last.identity == self.span.to.identity && place(&self.span.to) <= place(last))
    }

    /// Tells whether a refused record was delivered before: by its place, and where that cannot tell, by looking it up.
    fn repeats<R: Refused>(&self, relayed: &Relayed, rejected: &Rejected, refused: &mut R) -> Result<bool, R::Error> {
        let behind = self.holds(&rejected.sequence, rejected.offset);
        let (certain, doubtful) = if is_unordered(self.span) { (false, behind) } else { (behind, !relayed.last) };
        Ok(certain || (doubtful && refused.is_known(&self.span.shard, rejected)?))
    }

    /// Returns how far the shard is delivered with this message, if that is further than before.
    fn leads_to(&self, relayed: &Relayed, rejected: &[Rejected]) -> Option<Position> {
        if !is_unordered(self.span) {
            return (relayed.last && !self.whole()).then(|| self.span.to.clone());
        }
        // Beyond it everything is new, so it must leave nothing behind that was delivered.
        let furthest = rejected.iter().map(|rejected| &rejected.sequence).chain([&self.span.to.sequence]).max()?;
        let further = self.last.is_none_or(|last| last.identity != UNORDERED || last.sequence < *furthest);
        further.then(|| Position { sequence: furthest.clone(), ..self.span.to.clone() })
    }

    /// Tells whether a record at that place was delivered before. Sequence numbers are inclusive, offsets exclusive.
    fn holds(&self, sequence: &Sequence, offset: u64) -> bool {
        self.whole()
            || self.last.is_some_and(|last| {
                let same = last.identity == self.span.to.identity;
                same && if sequence.is_none() { offset < last.offset } else { *sequence <= last.sequence }
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No row was written yet.
    struct Nothing;

    impl Refused for Nothing {
        type Error = std::convert::Infallible;

        fn is_known(&mut self, _: &str, _: &Rejected) -> Result<bool, Self::Error> {
            Ok(false)
        }

        fn keep(&mut self, _: &str, _: &Rejected) {}
    }

    #[test]
    fn the_row_of_a_gap_names_the_shard_upstream() {
        let at = |offset| Position { offset, ..Position::default() };
        let mut batch = Batch::default();
        let span = Span { shard: "kafka:logs/3".to_owned(), from: Some(at(70)), to: at(80) };
        let relayed = Relayed { worker: "w".to_owned(), span, last: true, calls: 0..0, rejected: 0..0, control: 0, marks: Vec::new() };
        batch.relayed.push(relayed);
        let mut upstream = Positions::from([(upstream_key("kafka:logs/3"), at(50))]);
        let Ok(Admitted { gaps, .. }) = admit(&mut batch, &mut upstream, &mut Nothing);
        assert_eq!(gaps, [UpstreamGap { shard: "kafka:logs/3".to_owned(), after: at(50), before: at(70) }]);
        gaps.into_iter().for_each(|gap| refuse_gap(&mut batch, gap));
        assert_eq!((batch.seen, batch.rejected.len()), (1, 1));
        assert_eq!(batch.rejected[0].offset, 50);
        let owner = batch.relayed.iter().find(|relayed| relayed.rejected == (0..1)).expect("the part of the gap");
        assert_eq!(owner.span.shard, "kafka:logs/3");
    }
}
