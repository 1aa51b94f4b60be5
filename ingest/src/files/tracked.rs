//! What is remembered of one file: how far it was read, what was last seen of it, and when to look again.

use sluice_schemas::time::SECOND;
use sluice_schemas::{Micros, Position};

use crate::source::{Payload, Piece};

/// Stillness after which a last line without a newline is taken, if it is a whole record.
const TAIL_AFTER: i64 = 2 * SECOND;
/// Stillness after which a file that looks cut short is taken for finished.
const DAMAGED_AFTER: i64 = 5 * SECOND;
/// Stillness after which even a torn last line is given to the decoder, so that it is not overlooked for ever.
const TORN_AFTER: i64 = 60 * SECOND;
/// Stillness before a large unfinished end is looked at again.
const HEAVY_AFTER: i64 = SECOND / 2;
/// Pause before a file that could not be read is tried again.
const RETRY_AFTER: i64 = 30 * SECOND;
/// Time for which a file that has changed is looked at without listing its folder.
const HOT_FOR: i64 = 60 * SECOND;

/// How much of an unfinished file is taken, by how long it has been still.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    still_for: i64,
}

impl Patience {
    /// For a single pass: what is there is all there will be.
    pub(super) const NONE: Self = Self { still_for: i64::MAX };

    /// Tells whether a last line without a newline is taken if it is whole.
    pub(super) const fn takes_tail(self) -> bool {
        self.still_for >= TAIL_AFTER
    }

    /// Tells whether a file that ends early is taken as it is.
    pub(super) const fn takes_damaged(self) -> bool {
        self.still_for >= DAMAGED_AFTER
    }

    /// Tells whether a torn last line is taken as it is.
    pub(super) const fn takes_torn(self) -> bool {
        self.still_for >= TORN_AFTER
    }
}

/// What was left when a file was last looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// Nothing, as far as the file goes.
    Settled,
    /// An end that may not be finished.
    Waiting {
        /// Too large to look at with every byte that is added.
        heavy: bool,
    },
    /// Everything: it could not be read.
    Unreadable,
}

#[derive(Clone, Copy, Debug)]
struct Look {
    left: Left,
    size: u64,
    /// When to look again although nothing has changed.
    wake: Option<Micros>,
}

/// What the progress holds of one file.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counted {
    /// Bytes stored.
    pub(super) size: u64,
    /// Bytes read.
    pub(super) read: u64,
    /// Read to its end.
    pub(super) done: bool,
}

/// One file.
#[derive(Debug, Default)]
pub(super) struct Tracked {
    /// Where its last piece led to; where an earlier run left it.
    pub(super) position: Option<Position>,
    /// The offset in `position` is unknown: the file was handed on whole, still compressed.
    pub(super) offset_unknown: bool,
    /// It was seen shorter than what had been read of it.
    pub(super) was_cut: bool,
    /// Bytes stored, as last seen.
    pub(super) size: u64,
    /// Its inode, as last seen.
    pub(super) inode: u64,
    /// What of it the progress holds.
    pub(super) counted: Counted,
    /// It is in the queue or being read.
    pub(super) queued: bool,
    /// Number of the last listing that had it.
    pub(super) listing: u64,
    changed: Micros,
    look: Option<Look>,
}

impl Tracked {
    /// Starts to remember a file that was last written at `changed`.
    pub(super) fn new(position: Option<Position>, size: u64, changed: Micros, inode: u64) -> Self {
        Self { position, size, changed, inode, ..Self::default() }
    }

    /// Notes the size seen at `now`.
    pub(super) fn see(&mut self, size: u64, now: Micros) {
        self.changed = if size == self.size { self.changed.min(now) } else { now };
        let reached = self.position.as_ref().map_or(0, |position| position.offset);
        self.was_cut |= size < self.size && (self.offset_unknown || size < reached);
        self.size = size;
    }

    /// Notes that `piece` was given.
    pub(super) fn gave(&mut self, piece: &Piece) {
        self.offset_unknown = matches!(piece.payload, Payload::Gzip(_));
        self.position =
            Some(Position { offset: piece.to.unwrap_or(0), identity: piece.identity.clone(), ended: piece.ended, ..Position::default() });
        self.was_cut = false;
    }

    /// Notes what was left at `now` of the file as it was at `size`. Returns whether it has become unreadable only now.
    pub(super) fn looked(&mut self, left: Left, size: u64, now: Micros) -> bool {
        let still_for = self.still_for(now);
        let next = [TAIL_AFTER, DAMAGED_AFTER, TORN_AFTER].into_iter().find(|&after| after > still_for);
        let wake = match left {
            Left::Settled => None,
            Left::Waiting { .. } => next.map(|after| self.changed.plus(after)),
            Left::Unreadable => Some(now.plus(RETRY_AFTER)),
        };
        let before = self.look.replace(Look { left, size, wake });
        left == Left::Unreadable && before.is_none_or(|look| look.left != Left::Unreadable)
    }

    /// Forgets what was seen, so that the file is looked at again.
    pub(super) fn forget_look(&mut self) {
        self.look = None;
    }

    /// Tells whether to look at the file again.
    pub(super) fn is_due(&self, now: Micros) -> bool {
        let Some(look) = self.look else { return true };
        if look.wake.is_some_and(|wake| now >= wake) {
            return true;
        }
        let heavy = look.left == Left::Waiting { heavy: true };
        self.size != look.size && (!heavy || self.still_for(now) >= HEAVY_AFTER || self.size >= look.size.saturating_mul(2))
    }

    /// Tells whether to look at the file's size often.
    pub(super) fn is_hot(&self, now: Micros) -> bool {
        let can_grow = !self.position.as_ref().is_some_and(|position| position.ended);
        let waits = self.look.is_some_and(|look| look.wake.is_some() || look.size != self.size);
        waits || (can_grow && self.still_for(now) < HOT_FOR)
    }

    /// Tells whether everything stored was read.
    pub(super) fn is_settled(&self) -> bool {
        self.look.is_some_and(|look| look.left == Left::Settled && look.size == self.size)
    }

    /// Returns how patient to be with an unfinished end.
    pub(super) fn patience(&self, now: Micros) -> Patience {
        Patience { still_for: self.still_for(now) }
    }

    fn still_for(&self, now: Micros) -> i64 {
        now.0.saturating_sub(self.changed.0)
    }
}
