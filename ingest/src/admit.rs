//! Tells refused records and control messages that a worker delivers a second time: they carry no id, but a place upstream. Pure.
//!
//! The ledger keeps how far it has come in each shard upstream, beside its other positions and under a key of its own
//! ([`upstream_key`]), and commits it with them.

use sluice_schemas::position::{Positions, Sequence, Span};
use sluice_schemas::{Batch, Position, Relayed, ShardId};

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
/// Messages of one shard must come in the order in which they were published, which one partition, or one shard, guarantees.
pub fn admit(batch: &mut Batch, upstream: &mut Positions) -> Admitted {
    let mut admitted = Admitted::default();
    let mut drop_rejected = vec![false; batch.rejected.len()];
    for relayed in &batch.relayed {
        let key = upstream_key(&relayed.span.shard);
        let last = upstream.get(&key);
        if let Some(gap) = gap(last, &relayed.span) {
            admitted.gaps.push(gap);
        }
        let seen = Seen { last, span: &relayed.span };
        for at in relayed.rejected.clone() {
            let (Some(rejected), Some(drop)) = (batch.rejected.get(at), drop_rejected.get_mut(at)) else { continue };
            *drop = seen.holds(&rejected.sequence, rejected.offset);
            admitted.repeated_rejected += u64::from(*drop);
        }
        admitted.repeated_control += repeated_control(&seen, relayed);
        if relayed.last && !seen.whole() {
            upstream.insert(key, relayed.span.to.clone());
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
    admitted
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

    /// Tells whether a record at that place was delivered before. Sequence numbers are inclusive, offsets exclusive.
    fn holds(&self, sequence: &Sequence, offset: u64) -> bool {
        self.whole()
            || self.last.is_some_and(|last| {
                let same = last.identity == self.span.to.identity;
                same && if sequence.is_none() { offset < last.offset } else { *sequence <= last.sequence }
            })
    }
}
