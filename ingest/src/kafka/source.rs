//! A member of a consumer group as a source: takes records, cuts them into pieces, shows how far it is.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use sluice_schemas::position::{Positions, Sequence};
use sluice_schemas::time::SECOND;
use sluice_schemas::{Micros, ShardId};

use super::assignment::Pending;
use super::connect::concerned;
use super::context::Context;
use super::fault::{self, Weight, weigh};
use super::partition::{Key, Partition};
use super::settings::KafkaSettings;
use super::start::{GroupMark, Keeper};
use super::unread::Watch;
use crate::committed::{Committed, Durable};
use crate::source::{Order, Piece, Poll, Progress, ShardHealth, ShardState, Source, SourceError, StreamRecord};

/// A partition with that many bytes waiting is cut.
const PIECE_BYTES: usize = 1 << 20;
/// All partitions are cut once that many bytes wait.
const WAITING_BYTES: usize = 4 << 20;
/// Longest wait inside librdkafka, so that waits of this source's own are looked after.
const TICK: Duration = Duration::from_millis(50);

/// Reads topics as a member of a consumer group.
pub struct KafkaSource {
    pub(super) consumer: BaseConsumer<Context>,
    /// `kafka:` and the cluster's id.
    pub(super) cluster: String,
    pub(super) settings: KafkaSettings,
    pub(super) keeper: Keeper,
    /// Positions of the last run, and of partitions that went away during this one.
    pub(super) known: Positions,
    pub(super) committed: Arc<Committed>,
    pub(super) partitions: BTreeMap<Key, Partition>,
    /// Changes of the assignment in the order they came.
    pub(super) pending: VecDeque<Pending>,
    /// Partitions of a topic when the group first read it.
    pub(super) at_first: BTreeMap<String, u32>,
    /// What the group was last told.
    pub(super) shown: BTreeMap<Key, GroupMark>,
    /// Partitions an operator lets go on.
    pub(super) resumes: Vec<Key>,
    /// Where the last record came from: the next one most likely does too.
    pub(super) current: Key,
    /// Something was read, so the settings are right.
    pub(super) has_read: bool,
    /// Everything that waits is given before more is taken.
    pub(super) draining: bool,
    /// Bytes taken since everything was given.
    pub(super) waiting: usize,
    /// What librdkafka is trying to overcome.
    pub(super) trouble: Option<(Code, String)>,
    /// When everything behind the positions is to be fetched again.
    pub(super) refetch: Option<Micros>,
    pub(super) tell_at: Micros,
    /// Looks after partitions that nobody is assigned.
    pub(super) watch: Watch,
    /// Time of the last poll.
    pub(super) now: Micros,
}

impl KafkaSource {
    /// Returns the name of a partition in the ledger.
    pub(super) fn shard(&self, key: &Key) -> ShardId {
        format!("{}/{}/{}", self.cluster, key.0, key.1)
    }

    /// Which commit lets the group's offsets follow, and how often they do.
    const fn telling(&self) -> (Durable, i64) {
        match self.keeper {
            Keeper::Caller => (Durable::Lake, 5 * SECOND),
            Keeper::Group => (Durable::Local, SECOND),
        }
    }

    /// Takes one record.
    fn take(&mut self, message: &impl Message) {
        if self.refetch.is_some() {
            return;
        }
        if self.current.0 != message.topic() || self.current.1 != message.partition() {
            self.current = (message.topic().to_owned(), message.partition());
        }
        let (Some(partition), Ok(offset)) = (self.partitions.get_mut(&self.current), u64::try_from(message.offset())) else {
            return;
        };
        let record = StreamRecord {
            offset,
            sequence: Sequence::default(),
            written: message.timestamp().to_millis().map(|millis| Micros(millis.saturating_mul(1_000))),
            // A record without a value is an empty one: it has a place, and nothing in it.
            data: message.payload().unwrap_or_default().to_vec(),
        };
        let before = partition.bytes();
        self.has_read |= partition.take(record);
        self.trouble = None;
        self.waiting += partition.bytes() - before;
        self.draining = partition.bytes() >= PIECE_BYTES || self.waiting >= WAITING_BYTES;
    }

    /// Returns a piece of the next partition, in turn, that has one.
    fn give(&mut self, now: Micros) -> Option<Piece> {
        let key = self.partitions.iter().find(|(_, partition)| partition.is_ready()).map(|(key, _)| key.clone())?;
        self.partitions.get_mut(&key)?.cut(now)
    }

    /// Looks at what went wrong since the last call.
    fn look(&mut self, now: Micros) -> Result<(), SourceError> {
        while let Some((code, reason)) = self.consumer.context().next_error() {
            match weigh(code) {
                Weight::Refetch => {
                    tracing::warn!(?code, reason, "records are fetched again");
                    self.refetch.get_or_insert(now);
                    self.trouble = Some((code, reason));
                }
                Weight::Passing if self.trouble.as_ref().is_some_and(|(known, _)| *known == code) => {}
                Weight::Lasting if self.is_new() && code != Code::UnknownTopicOrPartition => return Err(self.service(code, &reason)),
                Weight::Passing | Weight::Lasting => {
                    tracing::warn!(?code, reason, "kafka trouble; tried again");
                    self.trouble = Some((code, reason));
                }
                Weight::Fenced => return Err(self.service(code, &reason)),
            }
        }
        if let Some((code, reason)) = self.consumer.client().fatal_error() {
            return Err(self.service(code, &reason));
        }
        let lasting = self.trouble.as_ref().is_some_and(|(code, _)| weigh(*code) == Weight::Lasting);
        if self.consumer.context().was_connected() && !lasting && self.refetch.is_none() {
            self.trouble = None;
        }
        Ok(())
    }

    /// Tells whether no broker has answered a fetch yet. The topics are there: that was made sure of before.
    fn is_new(&self) -> bool {
        let fetched = |key| self.consumer.context().marks(key).is_some_and(|marks| marks.end >= 0);
        !self.has_read && !self.partitions.keys().any(fetched)
    }

    fn service(&self, code: Code, reason: &str) -> SourceError {
        fault::service(concerned(&self.settings, code), code, reason, self.settings.security.name())
    }

    /// Lets the group's offsets follow what is durable.
    fn tell_group(&mut self, now: Micros) {
        let (durable, interval) = self.telling();
        if now < self.tell_at || self.partitions.is_empty() {
            return;
        }
        self.tell_at = now.plus(interval);
        if self.consumer.context().commit_failed() {
            self.shown.clear();
        }
        let keys: Vec<Key> = self.partitions.keys().cloned().collect();
        self.commit(durable, &keys, CommitMode::Async);
    }

    /// Commits to the group how much of these partitions is durable, where that is news.
    pub(super) fn commit(&mut self, durable: Durable, keys: &[Key], mode: CommitMode) {
        let mut list = TopicPartitionList::new();
        for key in keys {
            let Some(position) = self.committed.of(durable, &self.shard(key)) else { continue };
            let partitions = self.at_first.get(&key.0).copied().unwrap_or(0);
            let mark = GroupMark { offset: position.offset, pin: false, partitions, identity: position.identity };
            if self.shown.get(key) == Some(&mark) || add(&mut list, key, &mark).is_none() {
                continue;
            }
            self.shown.insert(key.clone(), mark);
        }
        if list.count() == 0 {
            return;
        }
        if let Err(error) = self.consumer.commit(&list, mode) {
            tracing::warn!(%error, group = self.settings.group, "offsets of the group were not committed; tried again");
            keys.iter().for_each(|key| drop(self.shown.remove(key)));
        }
    }

    fn health(&self, key: &Key, partition: &Partition) -> ShardHealth {
        let marks = self.consumer.context().marks(key);
        let behind = marks.and_then(|marks| {
            let end = u64::try_from(marks.end).ok()?;
            // Behind the last record there may be markers of transactions, which are never given.
            let at_end = marks.fetch >= marks.end && marks.queued == 0 && partition.bytes() == 0;
            Some(if at_end { 0 } else { end.saturating_sub(partition.next()) })
        });
        let state = match (partition.stopped(), &self.trouble) {
            (Some(why), _) => ShardState::Stopped(why.to_owned()),
            (None, Some((code, said))) => {
                let (problem, fix) = fault::advice(*code, said, self.settings.security.name());
                ShardState::Stopped(format!("{problem}; tried again; {fix}"))
            }
            (None, None) if partition.is_reading() => ShardState::Reading,
            (None, None) => ShardState::Waiting,
        };
        let gone = marks.is_some_and(|marks| u64::try_from(marks.low).is_ok_and(|low| partition.next() < low));
        ShardHealth {
            shard: partition.shard.clone(),
            state,
            behind_ms: self.behind_ms(behind, partition),
            behind_records: behind,
            headroom_ms: gone.then_some(0),
        }
    }

    /// How long the next record has waited: about as long as the last one is old.
    fn behind_ms(&self, behind: Option<u64>, partition: &Partition) -> Option<u64> {
        match behind? {
            0 => Some(0),
            _ => u64::try_from(self.now.0.saturating_sub(partition.written()?.0).div_euclid(1_000)).ok(),
        }
    }
}

/// Adds a mark to a list; `None` when an offset is beyond what Kafka has.
pub(super) fn add(list: &mut TopicPartitionList, key: &Key, mark: &GroupMark) -> Option<()> {
    let mut element = list.add_partition(&key.0, key.1);
    element.set_offset(Offset::Offset(i64::try_from(mark.offset).ok()?)).ok()?;
    element.set_metadata(mark.note());
    Some(())
}

impl Source for KafkaSource {
    fn poll(&mut self, wait: Duration, now: Micros) -> Result<Poll, SourceError> {
        let deadline = Instant::now() + wait;
        self.now = now;
        self.tell_group(now);
        loop {
            self.look(now)?;
            self.carry_out(now);
            self.watch(now)?;
            if self.draining {
                if let Some(piece) = self.give(now) {
                    return Ok(Poll::Piece(piece));
                }
                (self.draining, self.waiting) = (false, 0);
            }
            let ready = self.partitions.values().any(Partition::is_ready);
            let left = deadline.saturating_duration_since(Instant::now());
            let patience = if ready { Duration::ZERO } else { left.min(TICK) };
            let polled = match self.consumer.poll(patience) {
                Some(Ok(message)) => Some(message.detach()),
                // The reason is told to the context, and looked at above.
                Some(Err(_)) => continue,
                None => None,
            };
            match polled {
                Some(message) => self.take(&message),
                None if ready => self.draining = true,
                None if left.is_zero() => return Ok(Poll::Idle),
                None => {}
            }
        }
    }

    fn progress(&self) -> Progress {
        let mut shards: Vec<ShardHealth> = self.partitions.iter().map(|(key, partition)| self.health(key, partition)).collect();
        shards.sort_by(|a, b| a.shard.cmp(&b.shard));
        if let (true, Some((code, said))) = (shards.is_empty(), &self.trouble) {
            let (problem, fix) = fault::advice(*code, said, self.settings.security.name());
            let state = ShardState::Stopped(format!("{problem}; tried again; {fix}"));
            shards.push(ShardHealth { shard: self.cluster.clone(), state, behind_ms: None, behind_records: None, headroom_ms: None });
        }
        Progress { shards, ..Progress::default() }
    }

    fn order(&mut self, order: &Order) -> bool {
        let Order::Resume(shard) = order;
        let Some(key) = self.partitions.iter().find(|(_, partition)| partition.shard == *shard).map(|(key, _)| key.clone()) else {
            return false;
        };
        self.resumes.push(key);
        true
    }
}

impl Drop for KafkaSource {
    fn drop(&mut self) {
        if self.keeper == Keeper::Group {
            let keys: Vec<Key> = self.partitions.keys().cloned().collect();
            self.commit(Durable::Local, &keys, CommitMode::Async);
        }
        self.consumer.context().closing.store(true, Ordering::Relaxed);
        self.release_pending();
    }
}
