//! Partitions that no member of the group is assigned: found, and had by leaving the group and joining anew.
//!
//! A member with a name of its own that comes back within its session timeout is handed the assignment of before, and nobody looks
//! whether its topics have grown meanwhile, or whether it reads others than before. So a member with a name compares now and then
//! the partitions of its topics with its own. Where it has all of them, that is all. Else it asks the group who has the others, once
//! for each division of them. What is nobody's for longer than a handover takes has one member leave and join: the group then shares
//! out everything there is. The member is the one that has the lowest partition, so that they do not all go at once; its partitions
//! are handed over as in any rebalance.

use std::collections::BTreeSet;
use std::time::Duration;

use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaResult;
use sluice_schemas::Micros;
use sluice_schemas::time::SECOND;

use super::connect::subscribe;
use super::partition::Key;
use super::source::KafkaSource;
use crate::source::SourceError;

/// Patience with one question to the brokers: no record is taken meanwhile.
const ASK: Duration = Duration::from_secs(2);
/// Partitions have come or gone: others may be about to.
const SETTLE: i64 = SECOND;
/// Time from one comparison to the next.
const INTERVAL: i64 = 60 * SECOND;
/// A handover may take that much longer than the wait for its commit.
const SLACK: i64 = 5 * SECOND;
/// The first wait before the group is left once more; it doubles each time.
const AGAIN: i64 = 30 * SECOND;
/// Doublings of that wait at most: 16 minutes.
const MOST: u32 = 5;
/// How a group calls itself that has shared out its partitions.
const STABLE: &str = "Stable";

/// What the group says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Group {
    members: usize,
    /// What its members are assigned.
    assigned: BTreeSet<Key>,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Every partition is somebody's.
    Sound,
    /// Not now, or not by this member.
    Wait,
    /// The group is to be left and joined anew.
    Rejoin,
}

/// Remembers what was found.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// When the next comparison is due.
    due: Micros,
    /// Own partitions and all there were when every one was somebody's.
    sound: Option<(BTreeSet<Key>, BTreeSet<Key>)>,
    /// Partitions that are nobody's, and since when.
    unread: BTreeSet<Key>,
    since: Micros,
    /// Times the group was left, and when it may be again.
    tries: u32,
    again: Micros,
    /// It was said that the group does not tell.
    told: bool,
}

impl Watch {
    /// Partitions came or went: they are compared soon.
    pub(super) fn settle(&mut self, now: Micros) {
        self.due = now.plus(SETTLE);
    }

    /// Notes that all partitions are somebody's.
    fn clear(&mut self, now: Micros) {
        self.unread.clear();
        if now >= self.again {
            self.tries = 0;
        }
    }

    /// Decides what to do about partitions that are nobody's. Pure.
    fn decide(&mut self, own: &BTreeSet<Key>, all: &BTreeSet<Key>, group: &Group, handover: i64, now: Micros) -> Verdict {
        let unread: BTreeSet<Key> = all.iter().filter(|key| !own.contains(*key) && !group.assigned.contains(*key)).cloned().collect();
        if unread.is_empty() {
            self.clear(now);
            return Verdict::Sound;
        }
        if unread != self.unread {
            (self.unread, self.since) = (unread, now);
        }
        // One that is alone has nobody to whom they could be on their way.
        let settled = if group.members == 1 { self.since } else { self.since.plus(handover) };
        let ripe = settled.max(self.again);
        if now < ripe {
            self.due = self.due.min(ripe);
            return Verdict::Wait;
        }
        if group.assigned.first().is_none_or(|lowest| !own.contains(lowest)) {
            return Verdict::Wait;
        }
        self.again = now.plus(AGAIN << self.tries.min(MOST));
        (self.tries, self.since) = (self.tries.saturating_add(1), now);
        Verdict::Rejoin
    }
}

impl KafkaSource {
    /// Makes sure, now and then, that every partition of the topics is somebody's.
    ///
    /// # Errors
    /// A subscription that is refused.
    pub(super) fn watch(&mut self, now: Micros) -> Result<(), SourceError> {
        let has_name = self.settings.group_instance_id.is_some();
        if !has_name || now < self.watch.due || self.partitions.is_empty() || !self.pending.is_empty() || self.trouble.is_some() {
            return Ok(());
        }
        self.watch.due = now.plus(INTERVAL);
        let own: BTreeSet<Key> = self.partitions.keys().cloned().collect();
        let all = match self.existing() {
            Ok(all) => all,
            Err(error) => {
                tracing::debug!(%error, "cannot tell how many partitions there are; asked again");
                return Ok(());
            }
        };
        if all.is_subset(&own) {
            self.watch.clear(now);
            return Ok(());
        }
        let found = (own, all);
        if self.watch.sound.as_ref() == Some(&found) {
            return Ok(());
        }
        let Some(group) = self.ask_members() else { return Ok(()) };
        let patience = i64::try_from(self.settings.revoke_wait.as_micros()).unwrap_or(i64::MAX);
        match self.watch.decide(&found.0, &found.1, &group, patience.saturating_add(SLACK), now) {
            Verdict::Sound => self.watch.sound = Some(found),
            Verdict::Wait => {}
            Verdict::Rejoin => return self.rejoin(),
        }
        Ok(())
    }

    /// Returns all partitions of the topics.
    fn existing(&self) -> KafkaResult<BTreeSet<Key>> {
        let mut all = BTreeSet::new();
        for topic in &self.settings.topics {
            let metadata = self.consumer.fetch_metadata(Some(topic), ASK)?;
            let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
            all.extend(partitions.map(|partition| (topic.clone(), partition.id())));
        }
        Ok(all)
    }

    /// Asks the group what its members are assigned; `None` when it does not tell, or is about to share out anew.
    fn ask_members(&mut self) -> Option<Group> {
        let list = match self.consumer.fetch_group_list(Some(&self.settings.group), ASK) {
            Ok(list) => list,
            Err(error) => {
                self.cannot_tell(&error.to_string());
                return None;
            }
        };
        let Some(info) = list.groups().iter().find(|info| info.name() == self.settings.group) else {
            self.cannot_tell("no broker tells of it; grant Describe on the group");
            return None;
        };
        if info.state() != STABLE {
            self.watch.due = self.now.plus(SETTLE);
            return None;
        }
        let mut group = Group { members: info.members().len(), assigned: BTreeSet::new() };
        for member in info.members() {
            let Some(keys) = assigned(member.assignment().unwrap_or_default()) else {
                self.cannot_tell("a member's assignment cannot be read");
                return None;
            };
            group.assigned.extend(keys);
        }
        Some(group)
    }

    fn cannot_tell(&mut self, why: &str) {
        if !std::mem::replace(&mut self.watch.told, true) {
            tracing::warn!(
                group = self.settings.group,
                why,
                "cannot tell whether the partitions that this member does not have are another's; asked again"
            );
        }
    }

    /// Leaves the group and joins anew, so that everything there is gets shared out.
    fn rejoin(&mut self) -> Result<(), SourceError> {
        let unread: Vec<String> = self.watch.unread.iter().map(|key| self.shard(key)).collect();
        tracing::warn!(
            unread = unread.join(", "),
            group = self.settings.group,
            tries = self.watch.tries,
            "partitions are assigned to no member of the group: leaving it and joining anew"
        );
        self.consumer.unsubscribe();
        subscribe(&self.consumer, &self.settings)
    }
}

/// Reads what a member is assigned, in the layout that consumers of a group share; `None` when it is not that.
fn assigned(mut bytes: &[u8]) -> Option<BTreeSet<Key>> {
    let mut keys = BTreeSet::new();
    if bytes.is_empty() {
        return Some(keys);
    }
    let _version = i16::from_be_bytes(take(&mut bytes)?);
    for _ in 0..i32::from_be_bytes(take(&mut bytes)?) {
        let length = usize::try_from(i16::from_be_bytes(take(&mut bytes)?)).ok()?;
        let (name, rest) = bytes.split_at_checked(length)?;
        bytes = rest;
        let topic = std::str::from_utf8(name).ok()?;
        for _ in 0..i32::from_be_bytes(take(&mut bytes)?) {
            keys.insert((topic.to_owned(), i32::from_be_bytes(take(&mut bytes)?)));
        }
    }
    Some(keys)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*first)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use sluice_schemas::Micros;
    use sluice_schemas::time::SECOND;

    use super::{AGAIN, Group, Key, MOST, Verdict, Watch, assigned};

    const HANDOVER: i64 = 35 * SECOND;

    fn keys(numbers: std::ops::Range<i32>) -> BTreeSet<Key> {
        numbers.map(|number| ("t".to_owned(), number)).collect()
    }

    fn at(seconds: i64) -> Micros {
        Micros(seconds * SECOND)
    }

    /// A member's assignment as a broker tells it.
    fn layout(topics: &[(&str, &[i32])]) -> Vec<u8> {
        let mut bytes = vec![0, 3];
        bytes.extend(i32::try_from(topics.len()).expect("few").to_be_bytes());
        for (topic, partitions) in topics {
            bytes.extend(i16::try_from(topic.len()).expect("short").to_be_bytes());
            bytes.extend(topic.as_bytes());
            bytes.extend(i32::try_from(partitions.len()).expect("few").to_be_bytes());
            partitions.iter().for_each(|partition| bytes.extend(partition.to_be_bytes()));
        }
        bytes.extend((-1_i32).to_be_bytes());
        bytes
    }

    #[test]
    fn one_that_is_alone_acts_at_once_and_then_ever_more_rarely() {
        let (mut watch, group) = (Watch::default(), Group { members: 1, assigned: keys(0..4) });
        let mut last = at(1_000);
        assert_eq!(watch.decide(&keys(0..4), &keys(0..6), &group, HANDOVER, last), Verdict::Rejoin);
        for tries in 0..20 {
            let wait = AGAIN << u32::min(tries, MOST);
            let early = Micros(last.0 + wait - 1);
            assert_eq!(watch.decide(&keys(0..4), &keys(0..6), &group, HANDOVER, early), Verdict::Wait);
            last = Micros(last.0 + wait);
            assert_eq!(watch.decide(&keys(0..4), &keys(0..6), &group, HANDOVER, last), Verdict::Rejoin);
        }
    }

    #[test]
    fn partitions_of_other_members_are_theirs_and_so_is_what_is_on_its_way() {
        let mut watch = Watch::default();
        let whole = Group { members: 2, assigned: keys(0..6) };
        assert_eq!(watch.decide(&keys(0..3), &keys(0..6), &whole, HANDOVER, at(0)), Verdict::Sound);
        let some = Group { members: 2, assigned: keys(0..5) };
        for (seconds, verdict) in [(100, Verdict::Wait), (134, Verdict::Wait), (135, Verdict::Rejoin), (136, Verdict::Wait)] {
            assert_eq!(watch.decide(&keys(0..3), &keys(0..6), &some, HANDOVER, at(seconds)), verdict, "{seconds}");
        }
    }

    #[test]
    fn other_partitions_on_their_way_begin_the_wait_anew() {
        let mut watch = Watch::default();
        for (seconds, end) in [(0, 5), (34, 4), (60, 4)] {
            let group = Group { members: 2, assigned: keys(0..end) };
            assert_eq!(watch.decide(&keys(0..3), &keys(0..6), &group, HANDOVER, at(seconds)), Verdict::Wait);
        }
    }

    #[test]
    fn of_several_members_only_one_acts() {
        let group = Group { members: 2, assigned: keys(0..4) };
        let mut acting = 0;
        for own in [keys(0..2), keys(2..4)] {
            let mut watch = Watch::default();
            assert_eq!(watch.decide(&own, &keys(0..6), &group, HANDOVER, at(0)), Verdict::Wait);
            acting += usize::from(watch.decide(&own, &keys(0..6), &group, HANDOVER, at(40)) == Verdict::Rejoin);
        }
        assert_eq!(acting, 1);
    }

    #[test]
    fn an_assignment_is_read_and_anything_else_is_not() {
        let bytes = layout(&[("t", &[0, 1]), ("t", &[2]), ("u", &[])]);
        assert_eq!(assigned(&bytes), Some(keys(0..3)));
        assert_eq!(assigned(&[]), Some(BTreeSet::new()), "a member without partitions");
        for end in 1..bytes.len() - 4 {
            assert_eq!(assigned(&bytes[..end]), None, "{end}");
        }
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let read = assigned(&bytes).map_or(0, |keys| keys.len());
            prop_assert!(read <= bytes.len());
        }
    }
}
