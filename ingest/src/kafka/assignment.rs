//! Partitions that come and go: where each begins is settled before it is read, and none goes before what was read of it is
//! durable or the wait is over.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use sluice_schemas::Micros;
use sluice_schemas::time::SECOND;

use super::context::Change;
use super::partition::{Key, Partition, covers};
use super::settings::Start;
use super::source::{KafkaSource, add};
use super::start::{Begin, GroupMark, Keeper, Known, begin};
use crate::committed::Durable;

/// Patience with one question to the brokers.
const ASK: Duration = Duration::from_secs(10);
/// Tries to note where partitions begin, before they are read without a note.
const PIN_TRIES: u32 = 5;

/// A change of the assignment that is being carried out.
pub(super) enum Pending {
    /// Partitions come.
    Assign {
        /// Which.
        list: TopicPartitionList,
        /// Tries so far, and when the next is due.
        tries: u32,
        due: Micros,
    },
    /// Partitions go.
    Revoke {
        /// Which.
        list: TopicPartitionList,
        /// The group has given them to others already.
        lost: bool,
        /// When the wait for what was read of them ends.
        until: Micros,
    },
}

/// Where a partition that was assigned begins.
struct Settled {
    key: Key,
    partition: Partition,
    /// To be noted by the group before the first record is read.
    pin: bool,
}

impl KafkaSource {
    /// Carries out what the group and the operator ask for, as far as it can be done without waiting.
    pub(super) fn carry_out(&mut self, now: Micros) {
        let patience = i64::try_from(self.settings.revoke_wait.as_micros()).unwrap_or(i64::MAX);
        while let Some(change) = self.consumer.context().next_change() {
            self.pending.push_back(match change {
                Change::Assign(list) => Pending::Assign { list, tries: 0, due: now },
                Change::Revoke { list, lost } => {
                    for key in keys(&list) {
                        self.partitions.entry(key).and_modify(Partition::leave);
                    }
                    Pending::Revoke { list, lost, until: now.plus(patience) }
                }
            });
        }
        while let Some(change) = self.pending.pop_front() {
            let unfinished = match change {
                Pending::Assign { list, tries, due } => self.assign(list, tries, due, now),
                Pending::Revoke { list, lost, until } => self.revoke(list, lost, until, now),
            };
            if let Some(change) = unfinished {
                self.pending.push_front(change);
                return;
            }
        }
        if self.refetch.is_some_and(|due| due <= now) {
            self.fetch_again(now);
        }
        for key in std::mem::take(&mut self.resumes) {
            match self.partitions.get(&key) {
                // A gap is told before it is passed.
                Some(partition) if partition.stopped().is_some() && partition.is_ready() => self.resumes.push(key),
                Some(partition) if partition.stopped().is_some() => {
                    if let Err(error) = self.resume(&key) {
                        tracing::warn!(%error, shard = self.shard(&key), "cannot go on behind the gap; tried again");
                        self.resumes.push(key);
                    }
                }
                _ => {}
            }
        }
    }

    /// Begins to read partitions; returns the change when it has to wait.
    fn assign(&mut self, list: TopicPartitionList, tries: u32, due: Micros, now: Micros) -> Option<Pending> {
        if due > now {
            return Some(Pending::Assign { list, tries, due });
        }
        let later = |list, error: &KafkaError| {
            tracing::warn!(%error, tries, "cannot begin to read; tried again");
            Some(Pending::Assign { list, tries: tries + 1, due: now.plus(SECOND) })
        };
        let settled = match self.settle(&keys(&list)) {
            Ok(settled) => settled,
            Err(error) => return later(list, &error),
        };
        if let Err(error) = self.pin(&settled) {
            if tries < PIN_TRIES {
                return later(list, &error);
            }
            tracing::warn!(%error, "the group does not take the places where partitions begin; reading without");
        }
        if let Err(error) = self.begin_reading(settled) {
            return later(list, &error);
        }
        None
    }

    /// Finds out where partitions begin.
    fn settle(&mut self, keys: &[Key]) -> KafkaResult<Vec<Settled>> {
        let mut marks = BTreeMap::new();
        let needs = |key: &&Key| self.keeper == Keeper::Group || !self.known.contains_key(&self.shard(key));
        let topics: BTreeSet<String> = keys.iter().filter(needs).map(|key| key.0.clone()).collect();
        for topic in topics {
            marks.extend(self.ask_group(&topic)?);
        }
        keys.iter().map(|key| self.settle_one(key, &marks)).collect()
    }

    fn settle_one(&self, key: &Key, marks: &BTreeMap<Key, GroupMark>) -> KafkaResult<Settled> {
        let shard = self.shard(key);
        let prefix = format!("{}/{}/", self.cluster, key.0);
        let known = Known {
            own: self.known.get(&shard),
            topic_in_ledger: self.partitions.keys().any(|other| other.0 == key.0)
                || self.known.range(prefix.clone()..).next().is_some_and(|(shard, _)| shard.starts_with(&prefix)),
            group: marks.get(key),
            partitions_at_first: marks.iter().filter(|(other, _)| other.0 == key.0).map(|(_, mark)| mark.partitions).max().unwrap_or(0),
            partition: key.1,
        };
        Ok(match begin(self.keeper, &known, self.settings.start) {
            Begin::Behind(position) => Settled { key: key.clone(), partition: Partition::resumed(shard, position), pin: false },
            Begin::Pinned(offset) => Settled { key: key.clone(), partition: Partition::fresh(shard, offset), pin: false },
            Begin::By(start) => {
                let offset = self.resolve(key, start)?;
                tracing::info!(shard, offset, ?start, "begins");
                Settled { key: key.clone(), partition: Partition::fresh(shard, offset), pin: true }
            }
        })
    }

    /// Returns what the group has noted of a topic.
    fn ask_group(&mut self, topic: &str) -> KafkaResult<BTreeMap<Key, GroupMark>> {
        let metadata = self.consumer.fetch_metadata(Some(topic), ASK)?;
        let mut list = TopicPartitionList::new();
        for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
            list.add_partition(topic, partition.id());
        }
        let count = u32::try_from(list.count()).unwrap_or(u32::MAX);
        let marks: BTreeMap<Key, GroupMark> = self
            .consumer
            .committed_offsets(list, ASK)?
            .elements()
            .iter()
            .filter_map(|element| match element.offset() {
                Offset::Offset(offset) => Some((key_of(element), GroupMark::read(u64::try_from(offset).ok()?, element.metadata()))),
                _ => None,
            })
            .collect();
        let at_first = marks.values().map(|mark| mark.partitions).max().filter(|count| *count > 0).unwrap_or(count);
        self.at_first.entry(topic.to_owned()).or_insert(at_first);
        Ok(marks)
    }

    /// Turns a rule into an offset.
    fn resolve(&self, key: &Key, start: Start) -> KafkaResult<u64> {
        let (low, high) = self.consumer.fetch_watermarks(&key.0, key.1, ASK)?;
        let offset = match start {
            Start::Earliest => low,
            Start::Latest => high,
            Start::At(moment) => {
                let mut list = TopicPartitionList::new();
                list.add_partition_offset(&key.0, key.1, Offset::Offset(moment.0.div_euclid(1_000).max(0)))?;
                match self.consumer.offsets_for_times(list, ASK)?.elements().first().map(|element| element.offset()) {
                    Some(Offset::Offset(offset)) => offset,
                    _ => high,
                }
            }
        };
        Ok(u64::try_from(offset).unwrap_or(0))
    }

    /// Has the group note where partitions begin that nobody has read.
    fn pin(&self, settled: &[Settled]) -> KafkaResult<()> {
        let mut list = TopicPartitionList::new();
        for Settled { key, partition, .. } in settled.iter().filter(|settled| settled.pin) {
            let partitions = self.at_first.get(&key.0).copied().unwrap_or(0);
            add(&mut list, key, &GroupMark { offset: partition.next(), pin: true, partitions, identity: String::new() });
        }
        if list.count() == 0 { Ok(()) } else { self.consumer.commit(&list, CommitMode::Sync) }
    }

    fn begin_reading(&mut self, settled: Vec<Settled>) -> KafkaResult<()> {
        let mut list = TopicPartitionList::new();
        let mut stopped = TopicPartitionList::new();
        for Settled { key, partition, .. } in &settled {
            if partition.stopped().is_some() {
                stopped.add_partition(&key.0, key.1);
                list.add_partition_offset(&key.0, key.1, Offset::End)?;
            } else {
                list.add_partition_offset(&key.0, key.1, offset(partition)?)?;
            }
        }
        self.consumer.incremental_assign(&list)?;
        // Their records would be fetched in vain; they are not taken.
        if stopped.count() > 0
            && let Err(error) = self.consumer.pause(&stopped)
        {
            tracing::debug!(%error, "stopped partitions are fetched");
        }
        for Settled { key, partition, .. } in settled {
            tracing::info!(shard = partition.shard, offset = partition.next(), "partition assigned");
            self.partitions.insert(key, partition);
        }
        self.watch.settle(self.now);
        Ok(())
    }

    /// Lets partitions go; returns the change when it has to wait for what was read of them.
    fn revoke(&mut self, list: TopicPartitionList, lost: bool, until: Micros, now: Micros) -> Option<Pending> {
        let keys = keys(&list);
        if !lost {
            let late: Vec<String> = keys.iter().filter_map(|key| self.late(key)).collect();
            if !late.is_empty() && now < until {
                return Some(Pending::Revoke { list, lost, until });
            }
            if !late.is_empty() {
                tracing::warn!(
                    late = late.join(", "),
                    "partitions go to another member before what was read of them is durable: it is read twice"
                );
            }
        }
        if self.keeper == Keeper::Group && !lost {
            self.commit(Durable::Local, &keys, CommitMode::Sync);
        }
        if let Err(error) = self.consumer.incremental_unassign(&list) {
            tracing::warn!(%error, "partitions were not let go");
        }
        for key in keys {
            self.shown.remove(&key);
            let Some(partition) = self.partitions.remove(&key) else { continue };
            tracing::info!(shard = partition.shard, offset = partition.next(), lost, "partition revoked");
            // Should it come back, its pieces go on where the ones in flight end.
            if let (Keeper::Caller, Some(given)) = (self.keeper, partition.given()) {
                self.known.insert(partition.shard.clone(), given.clone());
            }
        }
        None
    }

    /// Tells how far a partition's durable position is behind what was given of it.
    fn late(&self, key: &Key) -> Option<String> {
        let partition = self.partitions.get(key)?;
        let given = partition.given()?;
        let durable = self.committed.of(Durable::Local, &partition.shard);
        // What an earlier run had read was durable before this one began.
        let known = durable.as_ref().or_else(|| self.known.get(&partition.shard));
        let at = known.map_or_else(|| "nothing".to_owned(), |known| known.offset.to_string());
        (!covers(known, given)).then(|| format!("{} (given up to {}, durable {at})", partition.shard, given.offset))
    }

    /// Fetches everything behind the positions again, save where the broker does not have it any more.
    fn fetch_again(&mut self, now: Micros) {
        match self.try_fetch_again() {
            Ok(()) => self.refetch = None,
            Err(error) => {
                tracing::warn!(%error, "cannot fetch again; tried again");
                self.refetch = Some(now.plus(SECOND));
            }
        }
    }

    fn try_fetch_again(&mut self) -> KafkaResult<()> {
        let reading: Vec<Key> =
            self.partitions.iter().filter(|(_, partition)| partition.is_reading()).map(|(key, _)| key.clone()).collect();
        let mut list = TopicPartitionList::new();
        for key in reading {
            let (low, high) = self.consumer.fetch_watermarks(&key.0, key.1, ASK)?;
            let Some(partition) = self.partitions.get_mut(&key) else { continue };
            let (low, high) = (u64::try_from(low).unwrap_or(0), u64::try_from(high).unwrap_or(0));
            if partition.check(low, high) {
                tracing::error!(shard = partition.shard, why = partition.stopped(), "data gap: the partition stops");
            } else {
                list.add_partition_offset(&key.0, key.1, offset(partition)?)?;
            }
        }
        self.place(&list)
    }

    /// Has librdkafka read partitions from other offsets. (It cannot seek in one that it stopped itself.)
    fn place(&self, list: &TopicPartitionList) -> KafkaResult<()> {
        if list.count() == 0 {
            return Ok(());
        }
        self.consumer.incremental_unassign(list)?;
        self.consumer.incremental_assign(list)
    }

    /// Goes on behind a gap.
    fn resume(&mut self, key: &Key) -> KafkaResult<()> {
        let (low, _) = self.consumer.fetch_watermarks(&key.0, key.1, ASK)?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&key.0, key.1, Offset::Offset(low.max(0)))?;
        self.consumer.resume(&list)?;
        self.place(&list)?;
        if let Some(partition) = self.partitions.get_mut(key) {
            let resumed = partition.resume(u64::try_from(low).unwrap_or(0));
            tracing::info!(shard = partition.shard, low, resumed, "goes on behind the gap");
        }
        Ok(())
    }

    /// Answers changes that nobody will wait for any more, so that the group can be left.
    pub(super) fn release_pending(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            let done = match change {
                Pending::Assign { list, .. } => self.consumer.incremental_assign(&list),
                Pending::Revoke { list, .. } => self.consumer.incremental_unassign(&list),
            };
            if let Err(error) = done {
                tracing::debug!(%error, "partitions at the close");
            }
        }
    }
}

fn keys(list: &TopicPartitionList) -> Vec<Key> {
    list.elements().iter().map(key_of).collect()
}

fn key_of(element: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>) -> Key {
    (element.topic().to_owned(), element.partition())
}

fn offset(partition: &Partition) -> KafkaResult<Offset> {
    let offset = i64::try_from(partition.next()).map_err(|_| KafkaError::OffsetFetch(rdkafka::error::RDKafkaErrorCode::InvalidArgument))?;
    Ok(Offset::Offset(offset))
}
