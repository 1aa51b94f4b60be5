//! Opens what was fetched: recognises versions that were read, refuses what cannot be had, keeps the positions.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use sluice_schemas::position::Positions;
use sluice_schemas::time::HOUR;
use sluice_schemas::{Position, RejectReason, ShardId};

use super::fetch::{Address, Failed, Fetched, Refusal, changed};
use super::identity::{Claim, Identity, PREFIX, in_position, shard_of};
use super::queue::{Slot, State};
use super::ranged::{Ranged, Remote, Stopped};
use super::reading::{Lane, Reading};
use super::{S3Mode, S3Source};
use crate::retention;
use crate::source::{Payload, Piece, SourceError};

/// Refusals remembered; beyond it one may be told again.
const MAX_REFUSED: usize = 100_000;

impl S3Source {
    /// Starts as many fetches as memory allows, the first in the queue first.
    pub(super) fn start_fetches(&mut self) {
        while let Some(slot) = self.slots.next_to_start() {
            let (shard, read) = (slot.shard(), (&self.positions, &self.superseded));
            if is_read(read, &shard, &slot.claim) {
                slot.state = State::Read;
                continue;
            }
            slot.state = State::Fetching;
            let (objects, address, claim, object) = (self.objects.clone(), slot.address.clone(), slot.claim.clone(), slot.object);
            self.fetches.spawn_on(async move { (object, objects.fetch(&address, &claim).await) }, &self.handle);
        }
    }

    /// Deals with the first object of the queue, which has come or never will.
    pub(super) fn open_slot(&mut self, mut slot: Slot) -> Result<(), SourceError> {
        let (identity, size, bytes) = match std::mem::replace(&mut slot.state, State::Read) {
            State::Here(Fetched::Whole(identity, bytes)) => (identity, bytes.len() as u64, Some(bytes)),
            State::Here(Fetched::Large(identity, size)) => (identity, size, None),
            State::Here(Fetched::Refused(refusal)) => {
                self.refused(slot, &refusal);
                return Ok(());
            }
            State::Here(Fetched::Replaced(current)) => return self.replaced(slot, *current),
            State::Foreign => {
                self.foreign(slot);
                return Ok(());
            }
            State::Read | State::Waiting | State::Fetching => {
                self.already_read(slot);
                return Ok(());
            }
        };
        let shard = slot.shard();
        let version = identity.claim();
        if is_read((&self.positions, &self.superseded), &shard, &version) {
            self.already_read(slot);
            return Ok(());
        }
        let known = self.positions.get(&shard);
        let text = in_position(&identity.to_string(), known, self.now);
        let lane = Lane::new(shard, text, known);
        slot.size = size;
        self.progress.current = Some(PathBuf::from(slot.address.to_string()));
        let opened = match bytes {
            Some(bytes) => Reading::whole(lane, bytes),
            None => {
                let (objects, address) = (self.objects.clone(), slot.address.clone());
                let remote = Arc::new(Remote { objects, address, version, size });
                let handle = self.handle.clone();
                Reading::large(lane, size, |start| Ok(Box::new(Ranged::new(Arc::clone(&remote), handle.clone(), start))))
            }
        };
        match opened {
            Ok(reading) => self.reading = Some((slot, reading)),
            Err(error) => self.stopped(slot, error)?,
        }
        Ok(())
    }

    /// Makes a record of the version that is gone and goes on with the one in its place.
    fn replaced(&mut self, slot: Slot, current: Fetched) -> Result<(), SourceError> {
        let mut next = slot.clone_for_retry();
        if let Fetched::Whole(identity, _) | Fetched::Large(identity, _) = &current {
            next.claim = identity.claim();
        }
        // What was read already stays known: the record of its predecessor moves the position.
        let is_known = is_read((&self.positions, &self.superseded), &next.shard(), &next.claim);
        self.refused(slot, &changed());
        self.progress.files_total += 1;
        self.progress.bytes_total += next.claim.size.unwrap_or(0);
        next.state = if is_known { State::Read } else { State::Here(current) };
        self.slots.push_front(next);
        Ok(())
    }

    /// Notes that a piece of an object is given.
    pub(super) fn note(&mut self, slot: &Slot, piece: &Piece) {
        self.progress.bytes_done += piece.source_bytes;
        let position = self.remember(piece);
        if piece.ended {
            self.with_desk(|desk| desk.given(slot.object, &piece.shard, position, false));
        }
    }

    /// Notes where a piece leads to. The offset of one that is handed on compressed is not known, nor asked for again.
    pub(super) fn remember(&mut self, piece: &Piece) -> Position {
        let Piece { to, sequence, identity, ended, .. } = piece;
        let position = Position { offset: to.unwrap_or(0), sequence: sequence.clone(), identity: identity.clone(), ended: *ended };
        let before = self.positions.insert(piece.shard.clone(), position.clone());
        if let Some(before) = before.filter(|before| before.ended && before.identity != position.identity) {
            self.superseded.entry(piece.shard.clone()).or_default().push(before.identity);
        }
        position
    }

    /// Notes that an object is done with.
    pub(super) fn leave(&mut self, slot: Slot) {
        self.progress.files_done += 1;
        let told = slot.claim.size.unwrap_or(0);
        self.progress.bytes_total = (self.progress.bytes_total + slot.size).saturating_sub(told);
        self.progress.current = None;
    }

    /// Deals with an object of which the rest, or anything, cannot be had.
    pub(super) fn stopped(&mut self, slot: Slot, error: std::io::Error) -> Result<(), SourceError> {
        let failed = match error.downcast::<Stopped>() {
            Ok(Stopped(failed)) => failed,
            // Nothing else fails in memory but a form nobody here reads: no later attempt does.
            Err(error) => Failed::Refused(Refusal { message: error.to_string(), is_denied: false }),
        };
        match failed {
            Failed::Refused(refusal) => self.refused(slot, &refusal),
            Failed::Changed => {
                let mut again = slot.clone_for_retry();
                again.claim = Claim::default();
                self.refused(slot, &changed());
                self.progress.files_total += 1;
                self.slots.push_front(again);
            }
            Failed::Source(error) => return Err(error),
        }
        Ok(())
    }

    fn already_read(&mut self, slot: Slot) {
        let size = slot.claim.size.unwrap_or(0);
        self.progress.bytes_done += size;
        self.progress.bytes_resumed += size;
        self.progress.files_done += 1;
        let shard = slot.shard();
        if let Some(position) = self.positions.get(&shard).cloned() {
            self.with_desk(|desk| desk.given(slot.object, &shard, position, false));
        }
    }

    fn refused(&mut self, slot: Slot, refusal: &Refusal) {
        tracing::warn!(object = %slot.address, refusal.message, "an object cannot be read");
        self.put_aside(slot, Payload::Unreadable(refusal.message.clone()), refusal.is_denied);
    }

    fn foreign(&mut self, slot: Slot) {
        let what = slot.address.to_string();
        self.put_aside(slot, Payload::Refused { reason: RejectReason::Foreign { what }, raw: Vec::new() }, false);
    }

    /// Makes a record of an object that is not read. Its position stays where it is, so that a later run tries again.
    fn put_aside(&mut self, slot: Slot, payload: Payload, keep: bool) {
        let shard = slot.shard();
        let known = self.positions.get(&shard).filter(|known| !known.ended).map(|known| known.identity.clone());
        let identity = slot.claim.identity().map(|identity| identity.to_string()).or(known).unwrap_or_default();
        let position = self.refuse(&slot.address, identity, payload);
        self.with_desk(|desk| desk.given(slot.object, &shard, position, keep));
        self.progress.files_done += 1;
        self.progress.bytes_done += slot.claim.size.unwrap_or(0);
    }

    /// Gives a refusal that moves nothing, once for each version; returns where the shard stands.
    pub(super) fn refuse(&mut self, address: &Address, identity: String, payload: Payload) -> Position {
        let shard = shard_of(&address.bucket, &address.key);
        let known = self.positions.get(&shard);
        let identity = in_position(&identity, known, self.now);
        // Told before, and perhaps overtaken since: the ledger stands where the last piece led.
        if let Some(known) = known.filter(|_| self.refused.contains(&(shard.clone(), identity.clone()))) {
            return known.clone();
        }
        let mut lane = Lane::new(shard.clone(), identity.clone(), known);
        let ended = lane.from.as_ref().is_some_and(|from| from.ended);
        let piece = lane.piece(payload, 0, ended, 0);
        let position = self.remember(&piece);
        self.ready.push_back(piece);
        if self.refused.len() >= MAX_REFUSED {
            self.refused.clear();
        }
        self.refused.insert((shard, identity));
        position
    }

    /// Forgets what no notification can name again. Where a listing would find it again it is kept.
    pub(super) fn forget_past(&mut self) {
        if self.settings.mode != S3Mode::Notifications || self.now.0 - self.swept.0 < HOUR {
            return;
        }
        self.swept = self.now;
        let now = self.now;
        self.positions.retain(|_, position| !retention::is_past(position, now, retention::SOURCE));
        let positions = &self.positions;
        self.superseded.retain(|shard, _| positions.contains_key(shard));
        self.refused.retain(|(shard, _)| positions.contains_key(shard));
    }
}

/// Returns what an earlier process refused and the lake has a row of: nothing else leaves a shard at its start. Its message
/// comes again where that process did not live to delete it.
pub(super) fn refused_before(positions: &Positions) -> HashSet<(ShardId, String)> {
    let at_start = positions.iter().filter(|(shard, at)| shard.starts_with(PREFIX) && at.offset == 0 && !at.ended);
    at_start.map(|(shard, at)| (shard.clone(), at.identity.clone())).take(MAX_REFUSED).collect()
}

/// Versions read before the one that a shard's position names, by shard.
pub(super) type Superseded = HashMap<ShardId, Vec<String>>;

/// Tells whether the version of a claim was read to its end: now, or earlier by this process.
fn is_read((positions, superseded): (&HashMap<ShardId, Position>, &Superseded), shard: &ShardId, claim: &Claim) -> bool {
    let last = positions.get(shard).filter(|known| known.ended).map(|known| &known.identity);
    let mut known = last.into_iter().chain(superseded.get(shard).into_iter().flatten());
    known.any(|known| known.parse().is_ok_and(|known: Identity| claim.is(&known)))
}
