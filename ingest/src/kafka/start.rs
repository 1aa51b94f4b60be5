//! Decides where an assigned partition begins, from what the ledger and the group know of it. Pure.
//!
//! With the ledger's positions as the truth the group's offsets only show the lag, save for a pin: the place where a partition
//! that nobody had read was to begin, noted before its first record is read, so that a crash cannot move it. Without a ledger
//! (stateless workers) the group's offsets are the truth.

use sluice_schemas::Position;

use super::settings::Start;

/// Who keeps the positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeper {
    /// The caller: positions are handed in at the start.
    Caller,
    /// The consumer group: several stateless workers share the partitions.
    Group,
}

/// What the group has noted of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GroupMark {
    /// Next offset to read.
    pub(super) offset: u64,
    /// Nothing was read yet: the partition begins there.
    pub(super) pin: bool,
    /// Partitions the topic had when the group first read it; 0 when unknown.
    pub(super) partitions: u32,
    /// Identity of the position.
    pub(super) identity: String,
}

const MARK: &str = "sluice";

impl GroupMark {
    /// Reads an offset of the group and the note beside it.
    pub(super) fn read(offset: u64, note: &str) -> Self {
        let mut words = note.splitn(4, ' ');
        let ours = words.next() == Some(MARK);
        let (kind, partitions) = (words.next(), words.next().and_then(|count| count.parse().ok()));
        let identity = words.next().unwrap_or_default();
        match (ours, kind, partitions) {
            (true, Some("pin"), Some(partitions)) => Self { offset, pin: true, partitions, identity: identity.to_owned() },
            (true, Some("at"), Some(partitions)) => Self { offset, pin: false, partitions, identity: identity.to_owned() },
            _ => Self { offset, pin: false, partitions: 0, identity: String::new() },
        }
    }

    /// Returns the note that goes beside the offset.
    pub(super) fn note(&self) -> String {
        format!("{MARK} {} {} {}", if self.pin { "pin" } else { "at" }, self.partitions, self.identity)
    }
}

/// Where a partition begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    /// Behind what was read.
    Behind(Position),
    /// At the offset that was noted for its beginning.
    Pinned(u64),
    /// By this rule, to be turned into an offset and noted.
    By(Start),
}

/// What is known of a partition that was assigned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known<'a> {
    /// Its position in the ledger.
    pub(super) own: Option<&'a Position>,
    /// Whether the ledger knows another partition of the topic.
    pub(super) topic_in_ledger: bool,
    /// What the group noted of it.
    pub(super) group: Option<&'a GroupMark>,
    /// Partitions the topic had when the group first read it; 0 when it has not.
    pub(super) partitions_at_first: u32,
    /// Its number.
    pub(super) partition: i32,
}

/// Decides where a partition begins.
pub(super) fn begin(keeper: Keeper, known: &Known<'_>, start: Start) -> Begin {
    // A partition that was added to a topic under way holds nothing but new records: all of them count, whatever the rule.
    match (keeper, known.own, known.group) {
        (Keeper::Caller, Some(own), _) => Begin::Behind(own.clone()),
        (Keeper::Caller, None, Some(mark)) if mark.pin => Begin::Pinned(mark.offset),
        (Keeper::Caller, None, _) if known.topic_in_ledger => Begin::By(Start::Earliest),
        (Keeper::Caller, None, _) => Begin::By(start),
        (Keeper::Group, _, Some(mark)) if mark.pin => Begin::Pinned(mark.offset),
        (Keeper::Group, _, Some(mark)) => {
            Begin::Behind(Position { offset: mark.offset, identity: mark.identity.clone(), ..Position::default() })
        }
        (Keeper::Group, _, None) => {
            let added =
                known.partitions_at_first > 0 && known.partition >= 0 && known.partition.unsigned_abs() >= known.partitions_at_first;
            Begin::By(if added { Start::Earliest } else { start })
        }
    }
}

#[cfg(test)]
mod tests {
    use sluice_schemas::Position;

    use super::{Begin, GroupMark, Keeper, Known, begin};
    use crate::kafka::settings::Start;

    const FRESH: Known<'_> = Known { own: None, topic_in_ledger: false, group: None, partitions_at_first: 0, partition: 5 };

    #[test]
    fn notes_round_trip_and_foreign_ones_are_only_offsets() {
        for (pin, identity) in [(true, ""), (false, ""), (false, "run 2"), (false, "gap 1")] {
            let mark = GroupMark { offset: 7, pin, partitions: 4, identity: identity.to_owned() };
            assert_eq!(GroupMark::read(7, &mark.note()), mark);
        }
        for note in ["", "sluice", "sluice pin", "sluice pin x", "other pin 4 ", "sluice no 4 "] {
            assert_eq!(GroupMark::read(7, note), GroupMark { offset: 7, pin: false, partitions: 0, identity: String::new() });
        }
    }

    #[test]
    fn the_ledger_is_the_truth() {
        let own = Position { offset: 9, ..Position::default() };
        let (pin, at) = (GroupMark::read(3, "sluice pin 4 "), GroupMark::read(50, "sluice at 4 "));
        let decide = |known: Known<'_>| begin(Keeper::Caller, &known, Start::Latest);
        assert_eq!(decide(Known { own: Some(&own), group: Some(&at), ..FRESH }), Begin::Behind(own.clone()));
        assert_eq!(decide(Known { group: Some(&pin), ..FRESH }), Begin::Pinned(3));
        assert_eq!(decide(Known { group: Some(&at), ..FRESH }), Begin::By(Start::Latest), "offsets of the group only show the lag");
        assert_eq!(decide(FRESH), Begin::By(Start::Latest));
        assert_eq!(decide(Known { topic_in_ledger: true, ..FRESH }), Begin::By(Start::Earliest), "a partition that was added");
    }

    #[test]
    fn without_a_ledger_the_group_is() {
        let (pin, at) = (GroupMark::read(3, "sluice pin 4 "), GroupMark::read(50, "sluice at 4 run 1"));
        let decide = |known: Known<'_>| begin(Keeper::Group, &known, Start::Latest);
        let behind = Position { offset: 50, identity: "run 1".to_owned(), ..Position::default() };
        assert_eq!(decide(Known { group: Some(&at), ..FRESH }), Begin::Behind(behind));
        assert_eq!(decide(Known { group: Some(&pin), ..FRESH }), Begin::Pinned(3));
        assert_eq!(decide(Known { partitions_at_first: 4, ..FRESH }), Begin::By(Start::Earliest), "a partition that was added");
        assert_eq!(decide(Known { partitions_at_first: 8, ..FRESH }), Begin::By(Start::Latest), "one nobody has read yet");
    }
}
