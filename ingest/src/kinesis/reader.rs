//! Reads one shard: decides what to ask next, turns answers into pieces, notices gaps. Pure: time and answers come in.
//!
//! Invariants: a piece begins where the previous one ended (C3); its end is taken from the answer, never from what was
//! accepted; whatever fails, reading goes on from the last piece's end.

use std::collections::VecDeque;

use sluice_schemas::position::Sequence;
use sluice_schemas::{Micros, Position, ShardId};

use super::call::{Answer, Begin, Call, Cursor, Failure, Request};
use super::pace::Pace;
use super::place::{Identity, Mark, millis, moment};
use super::settings::OnGap;
use crate::source::{Payload, Piece, ShardHealth, ShardState, StreamRecord};

mod lost;

/// Milliseconds after which an iterator (good for 5 minutes) or a subscription (ends after 5 minutes) is renewed.
const RENEW_MS: i64 = 285_000;
/// Milliseconds after which a shard without records notes that it was read up to now.
const HEARTBEAT_MS: u64 = 600_000;
/// Stored bytes of records in one piece; an answer has up to 10 MB.
const PIECE_BYTES: usize = 1 << 20;
/// What the first answer of a shard is taken to bring; it may be 10 MB.
const UNKNOWN_BYTES: u64 = 4 << 20;
/// Failures in a row from which on a shard is shown as stopped and each tenth is logged.
const MANY_FAILURES: u32 = 5;

/// What a shard is doing.
#[derive(Debug)]
enum State {
    /// Its parents are not read to their end.
    Parked,
    /// There is no way open to read it.
    Idle,
    /// A way to read it is open.
    Open(Cursor),
    /// The call of this number is under way.
    Calling(u64),
    /// It seems to be gone: the list of shards decides.
    Missing,
    /// It waits for an operator, because of this.
    Stopped(String),
    /// It was read to its end.
    Ended,
}

/// One shard.
#[derive(Debug)]
pub(crate) struct Reader {
    id: String,
    shard: ShardId,
    created: u64,
    on_gap: OnGap,
    /// Where the last piece led to.
    position: Option<Position>,
    mark: Mark,
    sequence: Sequence,
    /// Everything written before this moment (ms since 1970) was read.
    through: u64,
    continuation: Option<Sequence>,
    state: State,
    /// When the way to read it was opened.
    opened: Micros,
    /// Calls made.
    calls: u64,
    due: Micros,
    pace: Pace,
    behind_ms: Option<u64>,
    trouble: Option<String>,
    last_bytes: u64,
}

impl Reader {
    /// Begins a shard of which nothing was read; `through` is the moment since when nothing may be missing.
    pub(crate) fn fresh(id: &str, shard: ShardId, created: u64, mark: Mark, through: u64, on_gap: OnGap) -> Self {
        let seed = shard.bytes().fold(through, |seed, byte| seed.wrapping_mul(31).wrapping_add(u64::from(byte)));
        Self {
            id: id.to_owned(),
            shard,
            created,
            on_gap,
            position: None,
            mark,
            sequence: Sequence::default(),
            through,
            continuation: None,
            state: State::Parked,
            opened: Micros(0),
            calls: 0,
            due: Micros(0),
            pace: Pace::new(seed),
            behind_ms: None,
            trouble: None,
            last_bytes: UNKNOWN_BYTES,
        }
    }

    /// Goes on from a committed position of the same stream.
    pub(crate) fn resumed(id: &str, shard: ShardId, identity: Identity, position: Position, on_gap: OnGap) -> Self {
        let mut reader = Self::fresh(id, shard, identity.created, identity.mark, position.offset, on_gap);
        reader.sequence = position.sequence.clone();
        if position.ended {
            reader.state = State::Ended;
        } else if identity.mark == Mark::Gap {
            reader.state = State::Stopped("records are missing behind its position".to_owned());
        }
        reader.position = Some(position);
        reader
    }

    /// Returns its name in the ledger.
    pub(crate) fn shard(&self) -> &str {
        &self.shard
    }

    /// Returns where the last piece led to.
    pub(crate) const fn position(&self) -> Option<&Position> {
        self.position.as_ref()
    }

    /// Returns the moment up to which everything was read, in ms since 1970.
    pub(crate) const fn through(&self) -> u64 {
        self.through
    }

    /// Returns whether nothing of it was read.
    pub(crate) fn is_unread(&self) -> bool {
        matches!(self.mark, Mark::At(_) | Mark::Oldest(_)) && self.sequence.is_none()
    }

    /// Returns whether it waits for its parents.
    pub(crate) const fn is_parked(&self) -> bool {
        matches!(self.state, State::Parked)
    }

    /// Returns whether it was read to its end.
    pub(crate) const fn is_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// Returns whether the service says that it is not there.
    pub(crate) const fn is_missing(&self) -> bool {
        matches!(self.state, State::Missing)
    }

    /// Lets it be read. `since` is the moment since when nothing of a shard without a position may be missing.
    pub(crate) fn begin(&mut self, since: u64, now: Micros) {
        if self.position.is_none() {
            (self.mark, self.through) = (Mark::Oldest(since), since);
        }
        (self.state, self.due) = (State::Idle, now);
    }

    /// Returns when it wants to ask something; none while it waits for something else.
    pub(crate) const fn due(&self) -> Option<Micros> {
        match self.state {
            State::Idle | State::Open(_) => Some(self.due),
            _ => None,
        }
    }

    /// Returns whether the call of this number is under way; the outcome of any other is of no use any more.
    pub(crate) const fn awaits(&self, number: u64) -> bool {
        matches!(self.state, State::Calling(awaited) if awaited == number)
    }

    /// Returns the bytes that the call under way may bring, by what the last one brought.
    pub(crate) const fn bytes_under_way(&self) -> u64 {
        if matches!(self.state, State::Calling(_)) { self.last_bytes } else { 0 }
    }

    /// Takes what is to be asked now.
    pub(crate) fn call(&mut self, now: Micros) -> Option<Request> {
        if self.due().is_none_or(|due| due > now) {
            return None;
        }
        self.calls += 1;
        let shard = self.id.clone();
        let call = match std::mem::replace(&mut self.state, State::Calling(self.calls)) {
            State::Open(cursor) if now.0 - self.opened.0 < RENEW_MS * 1_000 => Call::Fetch { shard, cursor },
            _ => Call::Open { shard, begin: self.begin_at() },
        };
        Some(Request { call, number: self.calls, called: now })
    }

    fn begin_at(&self) -> Begin {
        match (&self.continuation, self.mark) {
            (Some(continuation), _) => Begin::After(continuation.clone()),
            (None, Mark::At(moment)) => Begin::At(moment),
            (None, Mark::Reading) => Begin::After(self.sequence.clone()),
            (None, Mark::Oldest(_) | Mark::Gap) => Begin::Oldest,
        }
    }

    /// Takes a way to read.
    pub(crate) fn opened(&mut self, cursor: Cursor, now: Micros) {
        (self.state, self.opened, self.due) = (State::Open(cursor), now, now);
    }

    /// Takes an answer to the call made at `called`; appends the pieces it makes.
    pub(crate) fn fetched(&mut self, answer: Answer, called: Micros, now: Micros, retention_ms: u64, pieces: &mut VecDeque<Piece>) {
        let missing = self.through.saturating_add(retention_ms) < millis(called);
        if missing {
            let detail = format!(
                "records written between {} and {} may be gone: the stream keeps them for {} hours",
                moment(self.through),
                moment(millis(called) - retention_ms),
                retention_ms / 3_600_000
            );
            return pieces.push_back(self.gap(detail, now));
        }
        let Answer { mut records, next, ended, behind_ms, continuation, children: _ } = answer;
        // What an answer repeats was read; numbers of a shard only grow.
        records.sort_by(|one, other| one.sequence.cmp(&other.sequence));
        records.dedup_by(|one, other| one.sequence == other.sequence);
        records.retain(|record| record.sequence > self.sequence);
        let bytes = records.iter().map(|record| record.data.len() as u64).sum();
        let pause_ms = match next {
            Some(Cursor::Subscription(_)) => 0,
            _ => self.pace.answered(bytes),
        };
        (self.last_bytes, self.behind_ms, self.trouble) = (bytes, behind_ms, None);
        self.continuation = continuation.or(self.continuation.take());
        self.due = called.plus(i64::try_from(pause_ms).unwrap_or(i64::MAX / 1_000) * 1_000);
        let tip = if ended { None } else { behind_ms.map(|behind| millis(called).saturating_sub(behind)) };
        self.take(records, tip, ended, now, pieces);
        self.state = match next {
            _ if ended => State::Ended,
            Some(cursor) => {
                if matches!(cursor, Cursor::Iterator(_)) {
                    self.opened = now;
                }
                State::Open(cursor)
            }
            None => State::Idle,
        };
    }

    /// Cuts records into pieces. `tip` is the moment up to which they are all there is.
    fn take(&mut self, records: Vec<StreamRecord>, tip: Option<u64>, ended: bool, now: Micros, pieces: &mut VecDeque<Piece>) {
        let mut chunk = Vec::new();
        let (mut bytes, mut left) = (0, records.len());
        for record in records {
            left -= 1;
            bytes += record.data.len();
            chunk.push(record);
            if bytes >= PIECE_BYTES && left > 0 {
                pieces.push_back(self.chunk(std::mem::take(&mut chunk), false, now));
                bytes = 0;
            }
        }
        self.through = self.through.max(tip.unwrap_or(0));
        let noted = self.position.as_ref().map_or(0, |position| position.offset);
        if !chunk.is_empty() || ended || self.through.saturating_sub(noted) >= HEARTBEAT_MS {
            pieces.push_back(self.chunk(chunk, ended, now));
        }
    }

    fn chunk(&mut self, records: Vec<StreamRecord>, ended: bool, now: Micros) -> Piece {
        if let Some(last) = records.last() {
            self.sequence = last.sequence.clone();
            self.mark = Mark::Reading;
            self.through = self.through.max(last.written.map_or(0, millis));
        }
        self.piece(Payload::Records(records), ended, now)
    }

    /// Makes a piece from the last one's end to where the reader is.
    fn piece(&mut self, payload: Payload, ended: bool, now: Micros) -> Piece {
        let identity = Identity { created: self.created, mark: self.mark };
        let to = identity.position(self.sequence.clone(), self.through, ended);
        let source_bytes = match &payload {
            Payload::Records(records) => records.iter().map(|record| record.data.len() as u64).sum(),
            _ => 0,
        };
        Piece {
            accepts: None,
            shard: self.shard.clone(),
            from: self.position.replace(to.clone()),
            payload,
            arrival: now,
            base_offset: 0,
            identity: to.identity,
            to: Some(to.offset),
            sequence: to.sequence,
            ended,
            source_bytes,
        }
    }

    /// Returns the piece that notes where the shard begins, before anything of it is read.
    pub(crate) fn pin(&mut self, now: Micros) -> Piece {
        self.piece(Payload::Records(Vec::new()), false, now)
    }

    /// Takes a failure. Nothing is skipped: the next call begins at the last piece's end.
    pub(crate) fn failed(&mut self, failure: &Failure, now: Micros) -> Option<Piece> {
        self.state = State::Idle;
        let pause_ms = match failure {
            Failure::Expired => self.pace.failed() / 4,
            Failure::NoSuchPlace(_) if self.continuation.take().is_some() => self.pace.failed(),
            Failure::NoSuchPlace(said) if self.mark == Mark::Reading => {
                let detail = format!("sequence number {} is not in the stream any more: {said}", self.sequence);
                return Some(self.gap(detail, now));
            }
            // A moment in the future, by a clock that is a little ahead of the service's.
            Failure::NoSuchPlace(_) | Failure::Trouble(_) => self.pace.failed(),
            Failure::Throttled(_) => self.pace.throttled(),
            Failure::Gone(_) => {
                self.state = State::Missing;
                self.pace.refused()
            }
            Failure::Refused(_) => self.pace.refused(),
        };
        self.due = now.plus(i64::try_from(pause_ms).unwrap_or(0) * 1_000);
        self.note(failure);
        None
    }

    fn note(&mut self, failure: &Failure) {
        let failures = self.pace.failures();
        if matches!(failure, Failure::Refused(_) | Failure::Gone(_)) || failures >= MANY_FAILURES {
            self.trouble = Some(failure.to_string());
        }
        if failures == MANY_FAILURES || failures.is_multiple_of(2 * MANY_FAILURES) {
            tracing::warn!(shard = self.shard, failures, %failure, "the shard cannot be read for now");
        } else {
            tracing::debug!(shard = self.shard, failures, %failure, "a call failed");
        }
    }

    /// Tries again: the list names the shard, so it is there.
    pub(crate) fn found(&mut self) {
        if self.is_missing() {
            self.state = State::Idle;
        }
    }

    /// Returns how it is doing.
    pub(crate) fn health(&self, now: Micros, retention_ms: u64) -> ShardHealth {
        let state = match (&self.state, &self.trouble) {
            (State::Ended, _) => ShardState::Ended,
            (State::Stopped(why), _) | (_, Some(why)) => ShardState::Stopped(why.clone()),
            (State::Parked, _) => ShardState::Waiting,
            _ => ShardState::Reading,
        };
        let age_ms = millis(now).saturating_sub(self.through);
        // A shard that nothing is known of yet has no age.
        let aged = state != ShardState::Ended && (state != ShardState::Waiting || self.position.is_some());
        ShardHealth {
            shard: self.shard.clone(),
            behind_ms: match state {
                ShardState::Ended => Some(0),
                ShardState::Reading => self.behind_ms,
                ShardState::Waiting | ShardState::Stopped(_) => None,
            },
            behind_records: None,
            headroom_ms: aged.then(|| retention_ms.saturating_sub(age_ms)),
            state,
        }
    }
}
