//! Reads one stream: which of its shards may be read, in which order, and what is to be asked now. Pure: time, answers and
//! what is committed come in; calls and pieces go out.
//!
//! The first start notes for every shard where it begins, and last of all, under the name of the stream itself, that this was
//! done: from then on a shard without a position is one that appeared later, and nothing of it may be missing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use sluice_schemas::position::{Positions, Sequence};
use sluice_schemas::{Micros, Position};

use super::call::{Call, Done, Failure, Overview, Reply, Request};
use super::pace::Pace;
use super::place::{Identity, Mark, millis};
use super::reader::Reader;
use super::settings::{OnGap, Start};
use super::tree::{Standing, Tree};
use crate::committed::{Committed, Durable};
use crate::source::{Payload, Piece, ShardHealth};

/// Time between two looks at the list of shards: the ends of shards tell of their children sooner.
const LIST_MS: i64 = 60_000;
/// Bytes of answers that may wait or be under way.
const MOST_BYTES: u64 = 48 << 20;

/// A position that is not of this program's making.
#[derive(Debug, thiserror::Error)]
#[error("position of {shard} is not understood: {identity:?}")]
pub(crate) struct PositionError {
    shard: String,
    identity: String,
}

/// One stream.
#[derive(Debug)]
pub(crate) struct Stream {
    /// What the names of its shards in the ledger begin with, for example `kinesis:eu-central-1/111122223333/logs`.
    prefix: String,
    on_gap: OnGap,
    created: u64,
    retention_ms: u64,
    tree: Tree,
    readers: BTreeMap<String, Reader>,
    /// Shards whose end is committed.
    ended: BTreeSet<String>,
    /// The position of the stream itself: the first start is done.
    origin: Option<Position>,
    listing: Listing,
    pieces: VecDeque<Piece>,
    waiting_bytes: u64,
}

#[derive(Debug)]
struct Listing {
    number: u64,
    under_way: bool,
    due: Micros,
    pace: Pace,
}

impl Stream {
    /// Goes on from committed positions, or starts for the first time.
    ///
    /// # Errors
    /// A position cannot be read.
    pub(crate) fn new(
        prefix: String,
        start: Start,
        on_gap: OnGap,
        positions: &Positions,
        overview: &Overview,
        now: Micros,
    ) -> Result<Self, PositionError> {
        let Overview { created, retention_ms, .. } = *overview;
        let listing = Listing { number: 0, under_way: false, due: now.plus(LIST_MS * 1_000), pace: Pace::new(created) };
        let (readers, pieces) = (BTreeMap::new(), VecDeque::new());
        let mut stream = Self {
            prefix,
            on_gap,
            created,
            retention_ms,
            tree: Tree::default(),
            readers,
            ended: BTreeSet::new(),
            origin: None,
            listing,
            pieces,
            waiting_bytes: 0,
        };
        stream.restore(positions)?;
        if stream.origin.is_none() {
            stream.first_start(start, overview, now);
        }
        stream.adopt(overview, now);
        Ok(stream)
    }

    fn restore(&mut self, positions: &Positions) -> Result<(), PositionError> {
        for (shard, position) in positions.range(self.prefix.clone()..).take_while(|(shard, _)| shard.starts_with(&self.prefix)) {
            let Some(rest) = shard.strip_prefix(&self.prefix) else { continue };
            let understood = || Identity::parse(&position.identity);
            let fault = || PositionError { shard: shard.clone(), identity: position.identity.clone() };
            if rest.is_empty() {
                self.created = understood().ok_or_else(fault)?.created;
                self.origin = Some(position.clone());
            } else if let Some(id) = rest.strip_prefix('/') {
                let identity = understood().ok_or_else(fault)?;
                if position.ended {
                    self.ended.insert(id.to_owned());
                }
                let reader = Reader::resumed(id, shard.clone(), identity, position.clone(), self.on_gap);
                self.readers.insert(id.to_owned(), reader);
            }
        }
        Ok(())
    }

    /// Notes where every shard begins. A first start that was interrupted is gone on with, from the moment it had chosen.
    fn first_start(&mut self, start: Start, overview: &Overview, now: Micros) {
        let begun = self.readers.values().find_map(|reader| Identity::parse(&reader.position()?.identity));
        let mark = begun.filter(|begun| begun.created == overview.created).map_or(
            match start {
                Start::TrimHorizon => Mark::Oldest(millis(now)),
                Start::Latest => Mark::At(millis(now)),
                Start::Timestamp(moment) => Mark::At(millis(moment)),
            },
            |begun| begun.mark,
        );
        let through = match mark {
            Mark::At(moment) | Mark::Oldest(moment) => moment,
            Mark::Reading | Mark::Gap => millis(now),
        };
        self.tree.replace(&overview.shards);
        for listed in &overview.shards {
            if !self.readers.contains_key(&listed.id) {
                let mut reader = self.fresh(&listed.id, mark, through);
                self.pieces.push_back(reader.pin(now));
                self.readers.insert(listed.id.clone(), reader);
            }
        }
        self.note_origin(Identity { created: overview.created, mark }, through, now);
    }

    fn fresh(&self, id: &str, mark: Mark, through: u64) -> Reader {
        Reader::fresh(id, format!("{}/{id}", self.prefix), self.created, mark, through, self.on_gap)
    }

    fn note_origin(&mut self, identity: Identity, through: u64, now: Micros) {
        let to = identity.position(Sequence::default(), through, false);
        self.created = identity.created;
        self.pieces.push_back(Piece {
            accepts: None,
            shard: self.prefix.clone(),
            from: self.origin.replace(to.clone()),
            payload: Payload::Records(Vec::new()),
            arrival: now,
            base_offset: 0,
            identity: to.identity,
            to: Some(to.offset),
            sequence: to.sequence,
            ended: false,
            source_bytes: 0,
        });
    }

    /// Takes a fresh list of shards.
    fn adopt(&mut self, overview: &Overview, now: Micros) {
        self.retention_ms = overview.retention_ms;
        if overview.created != self.created {
            self.renew(overview, now);
        }
        self.tree.replace(&overview.shards);
        for id in self.tree.in_view(|id| self.standing(id)) {
            if !self.readers.contains_key(&id) {
                let reader = self.fresh(&id, Mark::Oldest(self.since()), self.since());
                self.readers.insert(id, reader);
            }
        }
        for (id, reader) in self.readers.iter_mut().filter(|(_, reader)| reader.is_missing()) {
            if self.tree.lists(id) {
                reader.found();
            } else {
                self.pieces.push_back(reader.lost(now));
            }
        }
        // What ended and is gone is of no concern any more, unless a child still asks when it ended.
        let (tree, ended) = (&self.tree, &self.ended);
        self.readers.retain(|id, _| !ended.contains(id) || tree.lists(id) || tree.has_children(id));
    }

    /// Goes over to a stream that was created anew under the same name.
    fn renew(&mut self, overview: &Overview, now: Micros) {
        self.tree.clear();
        self.ended.clear();
        let listed: BTreeSet<&str> = overview.shards.iter().map(|shard| shard.id.as_str()).collect();
        for (id, reader) in &mut self.readers {
            self.pieces.extend(reader.renew(overview.created, listed.contains(id.as_str()), now));
        }
        // What ended with the old stream and is not in the new one stays as it was.
        self.ended = self.readers.iter().filter(|(_, reader)| reader.is_ended()).map(|(id, _)| id.clone()).collect();
        let through = overview.created.saturating_mul(1_000);
        self.note_origin(Identity { created: overview.created, mark: Mark::Oldest(through) }, through, now);
    }

    /// Returns the moment since when nothing of the stream may be missing.
    fn since(&self) -> u64 {
        self.origin.as_ref().map_or(0, |origin| origin.offset)
    }

    fn standing(&self, id: &str) -> Standing {
        match self.readers.get(id) {
            _ if self.ended.contains(id) => Standing::Ended,
            None => Standing::New,
            Some(reader) if reader.position().is_none() => Standing::New,
            Some(reader) if reader.is_unread() => Standing::Pinned,
            Some(_) => Standing::Begun,
        }
    }

    /// Notes which ends are committed, and lets those shards be read that may be.
    fn schedule(&mut self, committed: &Committed, now: Micros) {
        for (id, reader) in self.readers.iter().filter(|(_, reader)| reader.is_ended()) {
            let is_end = |durable: &Position| durable.ended && reader.position().is_some_and(|end| end.identity == durable.identity);
            if !self.ended.contains(id) && committed.of(Durable::Local, reader.shard()).is_some_and(|durable| is_end(&durable)) {
                self.ended.insert(id.clone());
            }
        }
        let parked = self.readers.iter().filter(|(_, reader)| reader.is_parked());
        let may = |id: &str| self.standing(id) == Standing::Begun || self.tree.may_begin(id, |id| self.standing(id));
        let ready: Vec<(String, u64)> = parked.filter(|(id, _)| may(id)).map(|(id, _)| (id.clone(), self.since_parents(id))).collect();
        for (id, since) in ready {
            if let Some(reader) = self.readers.get_mut(&id) {
                reader.begin(since, now);
            }
        }
    }

    /// Returns the moment since when nothing of a new shard may be missing: until then its parents were read, unended.
    fn since_parents(&self, id: &str) -> u64 {
        let parents = self.tree.parents(id).iter();
        parents.map(|parent| self.readers.get(parent).map_or(self.since(), Reader::through)).min().unwrap_or(self.since())
    }

    /// Takes what is to be asked now.
    pub(crate) fn requests(&mut self, committed: &Committed, now: Micros) -> Vec<Request> {
        self.schedule(committed, now);
        let mut requests = Vec::new();
        if !self.listing.under_way && self.listing.due <= now {
            self.listing.number += 1;
            self.listing.under_way = true;
            requests.push(Request { call: Call::List, number: self.listing.number, called: now });
        }
        let mut bytes = self.waiting_bytes + self.readers.values().map(Reader::bytes_under_way).sum::<u64>();
        let mut due: Vec<(Micros, &mut Reader)> =
            self.readers.values_mut().filter_map(|reader| Some((reader.due().filter(|due| *due <= now)?, reader))).collect();
        due.sort_by_key(|(due, _)| *due);
        for (_, reader) in due {
            if bytes >= MOST_BYTES {
                break;
            }
            requests.extend(reader.call(now));
            bytes += reader.bytes_under_way();
        }
        requests
    }

    /// Returns when there is something to ask next.
    pub(crate) fn due(&self) -> Option<Micros> {
        let list = (!self.listing.under_way).then_some(self.listing.due);
        self.readers.values().filter_map(Reader::due).chain(list).min()
    }

    /// Takes the outcome of a call.
    pub(crate) fn done(&mut self, done: Done, now: Micros) {
        let Done { shard, number, called, outcome } = done;
        let before = self.pieces.len();
        match shard {
            None => self.listed(outcome, now),
            Some(id) => self.shard_done(&id, number, called, outcome, now),
        }
        self.waiting_bytes += self.pieces.iter().skip(before).map(|piece| piece.source_bytes).sum::<u64>();
    }

    fn listed(&mut self, outcome: Result<Reply, Failure>, now: Micros) {
        self.listing.under_way = false;
        let pause_ms = match outcome {
            Ok(Reply::Listed(overview)) => {
                self.listing.pace.answered(0);
                self.adopt(&overview, now);
                LIST_MS
            }
            Ok(_) => LIST_MS,
            Err(failure) => {
                tracing::warn!(stream = self.prefix, %failure, "the shards cannot be listed for now");
                i64::try_from(self.listing.pace.failed()).unwrap_or(LIST_MS)
            }
        };
        self.listing.due = now.plus(pause_ms * 1_000);
    }

    fn shard_done(&mut self, id: &str, number: u64, called: Micros, outcome: Result<Reply, Failure>, now: Micros) {
        let Some(reader) = self.readers.get_mut(id).filter(|reader| reader.awaits(number)) else {
            return;
        };
        match outcome {
            Ok(Reply::Opened(cursor)) => reader.opened(cursor, now),
            Ok(Reply::Fetched(answer)) => {
                answer.children.iter().for_each(|child| self.tree.add(child));
                let ended = answer.ended;
                if ended && answer.children.is_empty() {
                    // A shard ends by giving way to others. Who believed a false end would never read the rest.
                    let failure = Failure::Trouble("the end of a shard was told, but not its children".to_owned());
                    return self.pieces.extend(reader.failed(&failure, now));
                }
                reader.fetched(answer, called, now, self.retention_ms, &mut self.pieces);
                if ended {
                    self.listing.due = now;
                    self.view_children(id);
                }
            }
            Ok(Reply::Listed(_)) => {}
            Err(failure) => {
                self.pieces.extend(reader.failed(&failure, now));
                if reader.is_missing() {
                    self.listing.due = now;
                }
            }
        }
    }

    /// Brings the children that the end of a shard told of into view.
    fn view_children(&mut self, parent: &str) {
        let of_parent = |id: &String| self.tree.parents(id).iter().any(|other| other == parent);
        let told: Vec<String> = self.tree.in_view(|id| self.standing(id)).into_iter().filter(of_parent).collect();
        for id in told {
            if !self.readers.contains_key(&id) {
                let reader = self.fresh(&id, Mark::Oldest(self.since()), self.since());
                self.readers.insert(id, reader);
            }
        }
    }

    /// Takes the next piece.
    pub(crate) fn take(&mut self) -> Option<Piece> {
        let piece = self.pieces.pop_front()?;
        self.waiting_bytes = self.waiting_bytes.saturating_sub(piece.source_bytes);
        Some(piece)
    }

    /// Returns the bytes of the pieces that wait.
    #[cfg(test)]
    pub(super) const fn waiting_bytes(&self) -> u64 {
        self.waiting_bytes
    }

    /// Goes on behind the gap at which a shard stopped; `false` when there is no such shard or it does not stand at a gap.
    pub(crate) fn resume(&mut self, shard: &str, now: Micros) -> bool {
        let reader = self.readers.values_mut().find(|reader| reader.shard() == shard);
        let piece = reader.and_then(|reader| reader.resume(now));
        let resumed = piece.is_some();
        self.pieces.extend(piece);
        resumed
    }

    /// Returns how the shards are doing.
    pub(crate) fn health(&self, now: Micros) -> impl Iterator<Item = ShardHealth> {
        self.readers.values().map(move |reader| reader.health(now, self.retention_ms))
    }
}
