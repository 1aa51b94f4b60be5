//! What a shard does when records are missing, and when an operator or a new stream lets it go on.

use sluice_schemas::position::Sequence;
use sluice_schemas::{Micros, RejectReason};

use super::super::place::{Mark, millis};
use super::super::settings::OnGap;
use super::{Reader, State};
use crate::source::{Payload, Piece};

impl Reader {
    /// Notes that records are missing: stops, or goes on with the oldest record, as configured.
    pub(crate) fn gap(&mut self, detail: String, now: Micros) -> Piece {
        tracing::error!(shard = self.shard, detail, "data gap");
        self.continuation = None;
        match self.on_gap {
            OnGap::Stop => {
                self.mark = Mark::Gap;
                self.state = State::Stopped(detail.clone());
            }
            OnGap::Resume => self.restart(now),
        }
        self.piece(Payload::Refused { reason: RejectReason::DataGap { detail }, raw: Vec::new() }, false, now)
    }

    fn restart(&mut self, now: Micros) {
        self.through = self.through.max(millis(now));
        self.mark = Mark::Oldest(self.through);
        (self.state, self.due, self.trouble) = (State::Idle, now, None);
    }

    /// Goes on behind a gap with the oldest record there is; nothing when it does not stand at one.
    pub(crate) fn resume(&mut self, now: Micros) -> Option<Piece> {
        (self.mark == Mark::Gap && matches!(self.state, State::Stopped(_))).then(|| {
            self.restart(now);
            self.pin(now)
        })
    }

    /// Ends a shard that expired before it was read to its end.
    pub(crate) fn lost(&mut self, now: Micros) -> Piece {
        let from = if self.is_unread() { "all of it".to_owned() } else { format!("all behind sequence number {}", self.sequence) };
        self.end_lost(format!("the shard expired before it was read to its end: {from} is missing"), now)
    }

    fn end_lost(&mut self, detail: String, now: Micros) -> Piece {
        tracing::error!(shard = self.shard, detail, "data gap");
        (self.mark, self.state) = (Mark::Gap, State::Ended);
        self.piece(Payload::Refused { reason: RejectReason::DataGap { detail }, raw: Vec::new() }, true, now)
    }

    /// Begins again at the oldest record of a stream created anew under the same name.
    pub(crate) fn renew(&mut self, created: u64, listed: bool, now: Micros) -> Option<Piece> {
        let unfinished = !self.is_ended();
        if !unfinished && !listed {
            return None;
        }
        let detail = format!("the stream was deleted and created anew: what followed sequence number {} is missing", self.sequence);
        (self.created, self.sequence, self.through) = (created, Sequence::default(), created.saturating_mul(1_000));
        (self.mark, self.continuation, self.state) = (Mark::Oldest(self.through), None, State::Parked);
        Some(match (unfinished, listed) {
            (true, true) => self.gap(detail, now),
            (true, false) => self.end_lost(detail, now),
            (false, _) => self.pin(now),
        })
    }
}
