//! Objects that wait to be read, in order; the first of them are being fetched.

use std::collections::VecDeque;

use sluice_schemas::ShardId;

use super::fetch::{Address, Fetched, MAX_WHOLE};
use super::identity::{Claim, shard_of};
use crate::sqs::ObjectId;

/// Objects fetched or held at once.
const MAX_STARTED: usize = 16;
/// Bytes fetched or held at once.
const MAX_HELD: u64 = 128 << 20;
/// What an object counts for whose size nobody has told.
const UNTOLD: u64 = 8 << 20;
/// Objects that wait, beyond which a listing is not read on: some 20 MB, and progress knows that far ahead.
const MAX_WAITING: usize = 50_000;

/// What is known of an object that waits.
#[derive(Debug)]
pub(super) enum State {
    /// It is not asked for yet.
    Waiting,
    /// It is being fetched.
    Fetching,
    /// It has come.
    Here(Fetched),
    /// It was read before.
    Read,
    /// It is not for us.
    Foreign,
}

/// An object that waits.
#[derive(Debug)]
pub(super) struct Slot {
    /// Its number.
    pub(super) object: ObjectId,
    /// Where it is.
    pub(super) address: Address,
    /// Which version is meant.
    pub(super) claim: Claim,
    /// Its size as it was read.
    pub(super) size: u64,
    /// What is known of it.
    pub(super) state: State,
}

impl Slot {
    /// Returns its shard.
    pub(super) fn shard(&self) -> ShardId {
        shard_of(&self.address.bucket, &self.address.key)
    }

    /// Returns the same object, to be fetched again.
    pub(super) fn clone_for_retry(&self) -> Self {
        Self { object: self.object, address: self.address.clone(), claim: self.claim.clone(), size: 0, state: State::Waiting }
    }

    /// Bytes it takes while it is fetched or held: a large one is not held.
    fn weight(&self) -> u64 {
        match self.state {
            State::Waiting | State::Fetching | State::Here(Fetched::Whole(..)) => self.claim.size.unwrap_or(UNTOLD).min(MAX_WHOLE),
            State::Here(_) | State::Read | State::Foreign => 0,
        }
    }
}

/// Objects that wait.
#[derive(Debug, Default)]
pub(super) struct Slots {
    waiting: VecDeque<Slot>,
    /// Slots at the front that are not [`State::Waiting`].
    started: usize,
    named: ObjectId,
}

impl Slots {
    /// Returns a number no object has had.
    pub(super) fn name(&mut self) -> ObjectId {
        self.named += 1;
        self.named
    }

    /// Adds an object at the end.
    pub(super) fn push(&mut self, address: Address, claim: Claim, state: State) -> ObjectId {
        let object = self.name();
        self.waiting.push_back(Slot { object, address, claim, size: 0, state });
        object
    }

    /// Adds an object at the front, to be started next.
    pub(super) fn push_front(&mut self, slot: Slot) {
        self.waiting.push_front(slot);
        self.started = 0;
    }

    /// Tells whether a listing may go on.
    pub(super) fn wants_more(&self) -> bool {
        self.waiting.len() < MAX_WAITING
    }

    /// Tells whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Returns the next object to be fetched, if there is room for it.
    pub(super) fn next_to_start(&mut self) -> Option<&mut Slot> {
        while self.waiting.get(self.started).is_some_and(|slot| !matches!(slot.state, State::Waiting)) {
            self.started += 1;
        }
        let held: u64 = self.waiting.iter().take(self.started).map(Slot::weight).sum();
        let next = self.waiting.get_mut(self.started)?;
        let fits = self.started == 0 || (self.started < MAX_STARTED && held + next.weight() <= MAX_HELD);
        fits.then_some(next)
    }

    /// Notes what became of an object.
    pub(super) fn settle(&mut self, object: ObjectId, state: State) {
        if let Some(slot) = self.waiting.iter_mut().find(|slot| slot.object == object) {
            slot.state = state;
        }
    }

    /// Takes the first object off once it needs no more waiting.
    pub(super) fn pop_settled(&mut self) -> Option<Slot> {
        let first = self.waiting.front()?;
        if matches!(first.state, State::Waiting | State::Fetching) {
            return None;
        }
        self.started = self.started.saturating_sub(1);
        self.waiting.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(slots: &mut Slots, size: Option<u64>) -> ObjectId {
        let address = Address { bucket: "b".to_owned(), key: format!("k{}", slots.named) };
        slots.push(address, Claim::new(Some("e"), size, None), State::Waiting)
    }

    fn push_many(slots: &mut Slots, size: Option<u64>) {
        for _ in 0..100 {
            push(slots, size);
        }
    }

    fn start_all(slots: &mut Slots) -> Vec<ObjectId> {
        let mut started = Vec::new();
        while let Some(slot) = slots.next_to_start() {
            slot.state = State::Fetching;
            started.push(slot.object);
        }
        started
    }

    fn refused() -> State {
        State::Here(Fetched::Refused(super::super::fetch::changed()))
    }

    #[test]
    fn objects_come_out_in_order_whatever_comes_first() {
        let mut slots = Slots::default();
        let objects: Vec<_> = (0..3).map(|_| push(&mut slots, Some(10))).collect();
        assert_eq!(start_all(&mut slots), objects);
        slots.settle(objects[2], refused());
        slots.settle(objects[1], refused());
        assert!(slots.pop_settled().is_none());
        slots.settle(objects[0], refused());
        let order: Vec<_> = std::iter::from_fn(|| slots.pop_settled()).map(|slot| slot.object).collect();
        assert_eq!(order, objects);
        assert!(slots.is_empty());
    }

    #[test]
    fn fetches_are_bounded_in_number_and_in_bytes() {
        let mut slots = Slots::default();
        push_many(&mut slots, Some(1));
        assert_eq!(start_all(&mut slots).len(), MAX_STARTED);
        let mut slots = Slots::default();
        push_many(&mut slots, Some(30 << 20));
        assert_eq!(start_all(&mut slots).len(), 4);
        let mut slots = Slots::default();
        // One that is too large to be held counts as the largest that is, until it is known as such.
        push_many(&mut slots, Some(1 << 40));
        assert_eq!(start_all(&mut slots).len(), 4);
        let mut slots = Slots::default();
        push_many(&mut slots, None);
        assert_eq!(start_all(&mut slots).len(), 16);
    }
}
