//! A batch on its way through the stages: decoded by ingest, priced and attributed by enrich, folded by aggregate.

use std::ops::Range;

use crate::invocation::{Invocation, Profile};
use crate::money::PicoUsd;
use crate::owner::Owner;
use crate::position::{Sequence, Span};
use crate::rejected::Rejected;
use crate::strings::{StringTable, Sym};
use crate::trail::TrailEvent;
use crate::usage::Extras;

/// Where bodies of a call lie that its record does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offloaded {
    /// Index into the batch's invocations.
    pub invocation: u32,
    /// `input.inputBodyS3Path`; empty when the request body is not in S3.
    pub request: Sym,
    /// `output.outputBodyS3Path`; empty when the response body is not in S3.
    pub response: Sym,
}

/// Records decoded from one stretch of one shard, self-contained: symbols and indexes refer to this batch alone.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Distinct strings.
    pub strings: StringTable,
    /// Distinct profiles.
    pub profiles: Vec<Profile>,
    /// Calls in source order.
    pub invocations: Vec<Invocation>,
    /// Units beside tokens, by [`Invocation::extras`].
    pub extras: Vec<Extras>,
    /// Bodies that lie in S3, of few calls or none.
    pub offloaded: Vec<Offloaded>,
    /// CloudTrail events in source order.
    pub trail: Vec<TrailEvent>,
    /// What could not be read.
    pub rejected: Vec<Rejected>,
    /// Envelopes that carry no call by design: CloudWatch control messages, the permission-check line.
    pub control: u64,
    /// Records found, each of which is an invocation, an event, refused or control (invariant C1).
    pub seen: u64,
    /// Bytes of decompressed input this batch covers.
    pub bytes: u64,
    /// Messages of workers that are part of it; none where it was decoded here.
    pub relayed: Vec<Relayed>,
}

/// A worker's message within a batch: which stretch of which shard it covers upstream. Calls and events carry ids by which a second
/// delivery is told; refused records and control messages are told by their place upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relayed {
    /// The worker.
    pub worker: String,
    /// What it read of a shard upstream.
    pub span: Span,
    /// Whether the span is complete with it; a single large record takes several messages.
    pub last: bool,
    /// Its part of the batch's calls.
    pub calls: Range<usize>,
    /// Its part of the batch's refused records; their places are upstream ones.
    pub rejected: Range<usize>,
    /// Its part of the batch's control messages.
    pub control: u64,
    /// Where those are, as far as known.
    pub marks: Vec<ControlMark>,
}

/// Control messages in one record upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlMark {
    /// Offset of the record; 0 where records have sequence numbers.
    pub offset: u64,
    /// Its sequence number.
    pub sequence: Sequence,
    /// How many.
    pub count: u64,
}

/// How a call's price came about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PriceStatus {
    /// A price was found for every unit consumed.
    Priced,
    /// No price is known: tokens are kept, the cost is unknown and not zero.
    #[default]
    Unpriced,
    /// Nothing to pay per token by contract: provisioned throughput, reserved tier, a failed call.
    NoCharge,
}

/// Price of one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pricing {
    /// Cost; zero unless `status` is [`PriceStatus::Priced`].
    pub cost: PicoUsd,
    /// Upper bound of the cost where the log leaves it open; equals `cost` otherwise.
    pub cost_max: PicoUsd,
    /// Whether and why there is a price.
    pub status: PriceStatus,
    /// Canonical model; the logged id when the catalogue does not know it.
    pub model: Sym,
    /// `in_region`, `geo:us`, `global`, or empty when unknown.
    pub scope: Sym,
    /// Version of the rate card that priced it; empty when unpriced.
    pub price_version: Sym,
}

/// One call with its price; its owner is `owners[invocation.profile]`.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// What happened.
    pub invocation: &'a Invocation,
    /// What calls of its kind share.
    pub profile: &'a Profile,
    /// Who it is booked to.
    pub owner: &'a Owner,
    /// What it cost.
    pub pricing: &'a Pricing,
}

/// A batch with prices and owners, ready for dedup.
#[derive(Clone, Debug, Default)]
pub struct EnrichedBatch {
    /// The decoded batch; its string table also holds the symbols of `owners` and `pricing`.
    pub batch: Batch,
    /// One for each of `batch.profiles`.
    pub owners: Vec<Owner>,
    /// One for each of `batch.invocations`.
    pub pricing: Vec<Pricing>,
}

impl EnrichedBatch {
    /// Iterates over the calls in source order.
    pub fn calls(&self) -> impl Iterator<Item = Call<'_>> {
        self.batch.invocations.iter().zip(&self.pricing).filter_map(|(invocation, pricing)| {
            let at = invocation.profile as usize;
            Some(Call { invocation, profile: self.batch.profiles.get(at)?, owner: self.owners.get(at)?, pricing })
        })
    }
}
