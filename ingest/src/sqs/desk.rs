//! Keeps the books of messages in work: which objects each waits for, and when it may be deleted.
//!
//! Owns: that no message is deleted before the lake holds all of its objects. Does not own: any call to SQS.

use std::collections::{HashMap, HashSet};

use sluice_schemas::{Position, ShardId};

/// Names a message in work.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct MessageId {
    /// Index of its queue.
    pub(crate) queue: usize,
    /// What SQS calls it.
    pub(crate) id: String,
}

/// Names an object that a message waits for.
pub(crate) type ObjectId = u64;

/// A message and the handle of its last delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    /// The message.
    pub(crate) id: MessageId,
    /// What deletes it.
    pub(crate) receipt: String,
}

#[derive(Debug, Default)]
struct Message {
    receipt: String,
    /// Nobody has looked into it yet.
    unread: bool,
    /// Objects that are not durable yet.
    open: HashSet<ObjectId>,
    /// One of its objects could be read by a later attempt: the queue keeps it.
    keep: bool,
}

/// A position that was given and is not known to be durable.
#[derive(Debug)]
struct Given {
    object: ObjectId,
    position: Position,
}

impl Given {
    /// Tells whether `committed` is this position or one behind it.
    fn is_in(&self, committed: &Position) -> bool {
        let reached = committed.ended || (!self.position.ended && committed.place() >= self.position.place());
        committed.identity == self.position.identity && reached
    }
}

/// Messages in work.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    messages: HashMap<MessageId, Message>,
    waiting: HashMap<ObjectId, Vec<MessageId>>,
    /// By shard, in the order in which they were given.
    given: HashMap<ShardId, Vec<Given>>,
}

impl Desk {
    /// Returns the number of messages in work.
    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    /// Takes a message in; `false` when it is here already and this is another delivery of it.
    pub(crate) fn take(&mut self, id: MessageId, receipt: String) -> bool {
        let mut is_new = false;
        let message = self.messages.entry(id).or_insert_with(|| {
            is_new = true;
            Message { unread: true, ..Message::default() }
        });
        message.receipt = receipt;
        is_new
    }

    /// Notes all the objects a message waits for.
    pub(crate) fn opened(&mut self, id: &MessageId, objects: &[ObjectId]) {
        let Some(message) = self.messages.get_mut(id) else { return };
        message.unread = false;
        message.open.extend(objects);
        for object in objects {
            self.waiting.entry(*object).or_default().push(id.clone());
        }
    }

    /// Notes that an object was given to its end, or refused, and where its shard stands then; `keep` tells that a later
    /// attempt may read what was refused.
    pub(crate) fn given(&mut self, object: ObjectId, shard: &ShardId, position: Position, keep: bool) {
        for id in self.waiting.get(&object).into_iter().flatten() {
            if let Some(message) = self.messages.get_mut(id) {
                message.keep |= keep;
            }
        }
        // One that nobody waits for tells when those before it are durable.
        if self.waiting.contains_key(&object) || self.given.contains_key(shard) {
            self.given.entry(shard.clone()).or_default().push(Given { object, position });
        }
    }

    /// Strikes out what is durable, as `committed` tells of each shard. A shard's positions become durable in order, so one
    /// that is covers those before it.
    pub(crate) fn settle(&mut self, committed: impl Fn(&ShardId) -> Option<Position>) {
        let (messages, waiting) = (&mut self.messages, &mut self.waiting);
        self.given.retain(|shard, given| {
            let Some(committed) = committed(shard) else { return true };
            let durable = given.iter().rposition(|given| given.is_in(&committed)).map_or(0, |last| last + 1);
            for Given { object, .. } in given.drain(..durable) {
                for id in waiting.remove(&object).unwrap_or_default() {
                    if let Some(message) = messages.get_mut(&id) {
                        message.open.remove(&object);
                    }
                }
            }
            !given.is_empty()
        });
    }

    /// Returns the messages that may be deleted, and forgets those that the queue is to give again.
    pub(crate) fn finished(&mut self) -> Vec<Held> {
        self.messages.retain(|_, message| message.unread || !message.open.is_empty() || !message.keep);
        let done = self.messages.iter().filter(|(_, message)| !message.unread && message.open.is_empty());
        done.map(|(id, message)| Held { id: id.clone(), receipt: message.receipt.clone() }).collect()
    }

    /// Forgets a message: it was deleted, or cannot be by this receipt.
    pub(crate) fn drop_message(&mut self, id: &MessageId) {
        self.messages.remove(id);
    }

    /// Returns all messages in work: they must stay hidden.
    pub(crate) fn held(&self) -> Vec<Held> {
        self.messages.iter().map(|(id, message)| Held { id: id.clone(), receipt: message.receipt.clone() }).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(id: &str) -> MessageId {
        MessageId { queue: 0, id: id.to_owned() }
    }

    fn at(identity: &str, offset: u64, ended: bool) -> Position {
        Position { identity: identity.to_owned(), offset, ended, ..Position::default() }
    }

    fn names(held: Vec<Held>) -> Vec<String> {
        let mut names: Vec<_> = held.into_iter().map(|held| held.id.id).collect();
        names.sort();
        names
    }

    fn shard() -> ShardId {
        "s3:b/k".to_owned()
    }

    #[test]
    fn a_message_waits_for_all_of_its_objects() {
        let mut desk = Desk::default();
        assert!(desk.take(id("m"), "r1".to_owned()));
        assert_eq!(names(desk.finished()), Vec::<String>::new(), "nobody has read it yet");
        desk.opened(&id("m"), &[1, 2]);
        desk.given(1, &shard(), at("v1", 0, true), false);
        desk.settle(|_| Some(at("v1", 50, true)));
        assert_eq!(names(desk.finished()), Vec::<String>::new());
        desk.given(2, &"s3:b/other".to_owned(), at("x", 0, true), false);
        desk.settle(|_| Some(at("x", 10, false)));
        assert_eq!(names(desk.finished()), Vec::<String>::new(), "read, not to its end");
        desk.settle(|_| Some(at("x", 99, true)));
        assert_eq!(names(desk.finished()), ["m"]);
        assert_eq!(names(desk.finished()), ["m"], "until it is deleted");
        desk.drop_message(&id("m"));
        assert_eq!(desk.len(), 0);
    }

    #[test]
    fn a_second_delivery_renews_the_receipt() {
        let mut desk = Desk::default();
        assert!(desk.take(id("m"), "r1".to_owned()));
        assert!(!desk.take(id("m"), "r2".to_owned()));
        assert_eq!(desk.held(), [Held { id: id("m"), receipt: "r2".to_owned() }]);
    }

    #[test]
    fn a_later_version_covers_the_one_before_and_not_the_reverse() {
        let mut desk = Desk::default();
        for (name, object, version) in [("m1", 1, "v1"), ("m2", 2, "v2")] {
            desk.take(id(name), String::new());
            desk.opened(&id(name), &[object]);
            desk.given(object, &shard(), at(version, 0, true), false);
        }
        desk.settle(|_| Some(at("v1", 7, true)));
        assert_eq!(names(desk.finished()), ["m1"]);
        desk.drop_message(&id("m1"));
        desk.settle(|_| Some(at("v2", 7, true)));
        assert_eq!(names(desk.finished()), ["m2"]);
    }

    #[test]
    fn what_may_be_read_later_stays_in_the_queue() {
        let mut desk = Desk::default();
        desk.take(id("m"), String::new());
        desk.opened(&id("m"), &[1]);
        desk.given(1, &shard(), at("v1", 0, false), true);
        assert_eq!(desk.len(), 1);
        desk.settle(|_| Some(at("v1", 0, false)));
        assert_eq!(names(desk.finished()), Vec::<String>::new());
        assert_eq!(desk.len(), 0, "it comes again by itself");
    }

    #[test]
    fn a_message_of_nothing_is_done_at_once() {
        let mut desk = Desk::default();
        desk.take(id("m"), String::new());
        desk.opened(&id("m"), &[]);
        assert_eq!(names(desk.finished()), ["m"]);
    }

    #[test]
    fn two_messages_may_wait_for_one_object() {
        let mut desk = Desk::default();
        for name in ["m1", "m2"] {
            desk.take(id(name), String::new());
            desk.opened(&id(name), &[1]);
        }
        desk.given(1, &shard(), at("v1", 0, true), false);
        desk.settle(|_| Some(at("v1", 7, true)));
        assert_eq!(names(desk.finished()), ["m1", "m2"]);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Deliver(usize),
        Give(usize),
        Commit(usize),
        Delete,
    }

    const MESSAGES: usize = 6;
    const OBJECTS: usize = 8;

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0..MESSAGES).prop_map(Step::Deliver),
            3 => (0..OBJECTS).prop_map(Step::Give),
            2 => (0..OBJECTS).prop_map(Step::Commit),
            2 => Just(Step::Delete),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever is delivered, read, committed and deleted in whatever order: a message that goes had all of its objects in
        /// the lake, and once everything is there none is left.
        #[test]
        fn no_message_goes_before_its_objects_are_durable(
            wants in prop::collection::vec(prop::collection::hash_set(0..OBJECTS, 0..4), MESSAGES),
            steps in prop::collection::vec(step(), 0..80),
        ) {
            // Two objects are two versions of one key.
            let shard = |object: usize| format!("s3:b/{}", object / 2);
            let version = |object: usize| at(&format!("v{object}"), 0, true);
            let mut desk = Desk::default();
            let (mut committed, mut durable, mut given) = (HashMap::new(), HashSet::new(), Vec::new());
            let finish = steps.iter().cloned().chain((0..OBJECTS).map(Step::Give)).chain((0..OBJECTS).map(Step::Commit)).chain([Step::Delete]);
            for step in finish {
                match step {
                    Step::Deliver(message) => {
                        if desk.take(id(&message.to_string()), String::new()) {
                            let objects: Vec<_> = wants[message].iter().map(|&object| object as ObjectId).collect();
                            desk.opened(&id(&message.to_string()), &objects);
                            // What was read before is told at once, by where its shard stands.
                            for object in wants[message].iter().filter(|object| given.contains(*object)) {
                                let last = given.iter().rfind(|other| shard(**other) == shard(*object)).expect("one was given");
                                desk.given(*object as ObjectId, &shard(*object), version(*last), false);
                            }
                        }
                    }
                    Step::Give(object) if !given.contains(&object) => {
                        given.push(object);
                        desk.given(object as ObjectId, &shard(object), version(object), false);
                    }
                    // A shard is committed in order, up to what was given.
                    Step::Commit(object) if given.contains(&object) && !durable.contains(&object) => {
                        for earlier in given.iter().take_while(|other| **other != object).filter(|other| shard(**other) == shard(object)) {
                            durable.insert(*earlier);
                        }
                        durable.insert(object);
                        committed.insert(shard(object), version(object));
                    }
                    Step::Give(_) | Step::Commit(_) => {}
                    Step::Delete => {
                        desk.settle(|shard| committed.get(shard).cloned());
                        for held in desk.finished() {
                            let message: usize = held.id.id.parse().expect("a number");
                            prop_assert!(wants[message].is_subset(&durable), "{message} of {wants:?} with {durable:?}");
                            desk.drop_message(&held.id);
                        }
                    }
                }
            }
            prop_assert_eq!(desk.len(), 0);
        }
    }
}
