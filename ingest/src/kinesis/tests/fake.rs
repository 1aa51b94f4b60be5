//! A Kinesis stream in memory: shards that split and merge, records that expire, iterators that grow old.

use std::collections::BTreeMap;

use sluice_schemas::Micros;
use sluice_schemas::position::{Positions, Sequence};

use super::super::call::{Answer, Begin, Call, Cursor, Failure, Listed, Overview, Reply, Request};
use super::{EPOCH_MS, PREFIX};
use crate::source::StreamRecord;

/// Lowest sequence number: as long as real ones are.
const FIRST: u128 = 100_000_000_000_000_000_000_000_000_000;

#[derive(Clone, Debug, Default)]
pub(super) struct Shard {
    parents: Vec<String>,
    children: Vec<String>,
    closed: bool,
    /// Number, and when it was written (ms).
    records: Vec<(u128, u64)>,
    /// Records before this place were dropped.
    trimmed: usize,
    /// Numbers up to this one are not the shard's.
    first: u128,
}

#[derive(Clone, Debug)]
pub(super) struct Fake {
    pub(super) created: u64,
    pub(super) retention_ms: u64,
    pub(super) now_ms: u64,
    pub(super) shards: BTreeMap<String, Shard>,
    /// Shards that are gone with all they held.
    pub(super) expired: Vec<String>,
    /// Size of a record.
    pub(super) record_bytes: usize,
    next: u128,
    named: usize,
}

impl Fake {
    pub(super) fn new(shards: usize) -> Self {
        let mut fake = Self {
            created: EPOCH_MS / 1_000 - 86_400,
            retention_ms: 86_400_000,
            now_ms: EPOCH_MS,
            shards: BTreeMap::new(),
            expired: Vec::new(),
            record_bytes: 40,
            next: FIRST,
            named: 0,
        };
        (0..shards).for_each(|_| drop(fake.shard(Vec::new())));
        fake
    }

    pub(super) fn now(&self) -> Micros {
        Micros(i64::try_from(self.now_ms * 1_000).expect("a moment"))
    }

    fn shard(&mut self, parents: Vec<String>) -> String {
        let id = format!("shardId-{:012}", self.named);
        self.named += 1;
        for parent in &parents {
            let parent = self.shards.get_mut(parent).expect("a parent");
            parent.closed = true;
            parent.children.push(id.clone());
        }
        self.shards.insert(id.clone(), Shard { parents, first: self.next, ..Shard::default() });
        id
    }

    /// Puts another shard in the place of one.
    pub(super) fn replace(&mut self, id: &str) {
        self.shards.insert(id.to_owned(), Shard { first: self.next, ..Shard::default() });
    }

    pub(super) fn split(&mut self, id: &str) -> [String; 2] {
        [self.shard(vec![id.to_owned()]), self.shard(vec![id.to_owned()])]
    }

    pub(super) fn merge(&mut self, one: &str, other: &str) -> String {
        self.shard(vec![one.to_owned(), other.to_owned()])
    }

    pub(super) fn open(&self) -> Vec<String> {
        self.shards.iter().filter(|(_, shard)| !shard.closed).map(|(id, _)| id.clone()).collect()
    }

    pub(super) fn put(&mut self, id: &str, count: usize) {
        for _ in 0..count {
            // Numbers have holes.
            self.next += 1 + u128::from(self.now_ms % 7);
            self.shards.get_mut(id).expect("a shard").records.push((self.next, self.now_ms));
        }
    }

    /// Drops what is older than the retention, closed shards that are empty then included.
    pub(super) fn trim(&mut self) {
        let horizon = self.now_ms.saturating_sub(self.retention_ms);
        for shard in self.shards.values_mut() {
            shard.trimmed = shard.records.iter().take_while(|(_, written)| *written < horizon).count();
        }
    }

    pub(super) fn expire(&mut self, id: &str) {
        self.shards.remove(id);
        self.expired.push(id.to_owned());
    }

    pub(super) fn overview(&self) -> Overview {
        let shards = self.shards.iter().map(|(id, shard)| Listed { id: id.clone(), parents: shard.parents.clone() }).collect();
        Overview { created: self.created, retention_ms: self.retention_ms, shards }
    }

    /// Returns all records ever put, by shard.
    pub(super) fn written(&self) -> impl Iterator<Item = (String, Vec<String>)> {
        self.shards.iter().map(|(id, shard)| (id.clone(), shard.records.iter().map(|(number, _)| number.to_string()).collect()))
    }

    /// Invariant C5, seen from outside.
    pub(super) fn check_parents(&self, request: &Request, committed: &Positions) {
        let Some(shard) = request.call.shard().and_then(|id| self.shards.get(id)) else { return };
        for parent in &shard.parents {
            let end = committed.get(&format!("{PREFIX}/{parent}"));
            let known = end.is_some_and(|end| end.ended) || !self.shards.contains_key(parent);
            assert!(known, "{:?} is read before the end of {parent} is committed", request.call.shard());
        }
    }

    pub(super) fn carry_out(&self, call: Call) -> Result<Reply, Failure> {
        self.carry_out_up_to(call, 10_000)
    }

    /// Carries out a call; a read brings no more than `limit` records.
    pub(super) fn carry_out_up_to(&self, call: Call, limit: usize) -> Result<Reply, Failure> {
        let (id, place) = match call {
            Call::List => return Ok(Reply::Listed(self.overview())),
            Call::Open { shard, begin } => {
                let place = self.place(&shard, begin)?;
                return Ok(Reply::Opened(self.iterator(place)));
            }
            Call::Fetch { shard, cursor } => (shard, self.read_iterator(cursor)?),
        };
        let shard = self.shards.get(&id).ok_or_else(|| Failure::Gone(format!("{id} does not exist")))?;
        let from = place.max(shard.trimmed);
        let to = shard.records.len().min(from + limit);
        let ended = shard.closed && to == shard.records.len();
        let behind = shard.records.get(to).map_or(0, |(_, written)| self.now_ms - written);
        let children = shard.children.iter().filter_map(|child| Some((child, self.shards.get(child)?)));
        Ok(Reply::Fetched(Answer {
            records: shard.records[from..to].iter().map(|record| self.record(record)).collect(),
            next: (!ended).then(|| self.iterator(to)),
            ended,
            behind_ms: Some(behind),
            continuation: None,
            children: children.filter(|_| ended).map(|(id, child)| Listed { id: id.clone(), parents: child.parents.clone() }).collect(),
        }))
    }

    fn place(&self, id: &str, begin: Begin) -> Result<usize, Failure> {
        let shard = self.shards.get(id).ok_or_else(|| Failure::Gone(format!("{id} does not exist")))?;
        Ok(match begin {
            Begin::Oldest => 0,
            Begin::At(moment) if moment > self.now_ms => return Err(Failure::NoSuchPlace("a moment in the future".to_owned())),
            Begin::At(moment) => shard.records.iter().take_while(|(_, written)| *written < moment).count(),
            Begin::After(sequence) => {
                let number = Sequence::as_str(&sequence).parse::<u128>().expect("a number");
                if number <= shard.first {
                    return Err(Failure::NoSuchPlace("it did not come from this stream".to_owned()));
                }
                shard.records.iter().take_while(|(known, _)| *known <= number).count()
            }
        })
    }

    fn iterator(&self, place: usize) -> Cursor {
        Cursor::Iterator(format!("{place} {}", self.now_ms))
    }

    fn read_iterator(&self, cursor: Cursor) -> Result<usize, Failure> {
        let Cursor::Iterator(text) = cursor else { panic!("no subscriptions here") };
        let (place, made) = text.split_once(' ').expect("an iterator of ours");
        if self.now_ms - made.parse::<u64>().expect("a moment") > 300_000 {
            return Err(Failure::Expired);
        }
        Ok(place.parse().expect("a place"))
    }

    fn record(&self, of: &(u128, u64)) -> StreamRecord {
        let written = Micros(i64::try_from(of.1 * 1_000).expect("a moment"));
        let sequence = Sequence::parse(&of.0.to_string()).expect("a number");
        StreamRecord { offset: 0, sequence, written: Some(written), data: vec![b'{'; self.record_bytes] }
    }
}
