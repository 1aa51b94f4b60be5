//! The thread that tells of changes of holds: each receiver in its own time, again until it was told.
//!
//! What was not told when the process ends is not told later: the breach behind a hold is, and how a hold stands can be asked at any
//! time. A receiver that stays away for an hour has missed it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context;
use crossbeam_channel::{Receiver as Channel, RecvTimeoutError, Sender, bounded};
use sluice_enforce::notice::{HoldNotice, Notice, Receiver};
use sluice_schemas::time::{HOUR, SECOND};
use sluice_schemas::{Clock, ErrorClass, Micros};

/// Messages that wait for the thread.
const QUEUE: usize = 4_096;
const NAP: Duration = Duration::from_millis(200);
const FIRST_WAIT: i64 = SECOND;
const LONGEST_WAIT: i64 = 60 * SECOND;
const GIVE_UP_AFTER: i64 = HOUR;

/// The thread; it ends when this is dropped, after one more try of what waits.
pub(crate) struct Teller {
    notices: Option<Sender<Box<HoldNotice>>>,
    thread: Option<JoinHandle<()>>,
}

/// What one receiver is still to be told.
struct Desk {
    receiver: Arc<dyn Receiver>,
    waiting: VecDeque<Box<HoldNotice>>,
    tries: u32,
    again_at: Micros,
}

impl Teller {
    /// Starts the thread.
    pub(crate) fn start(receivers: Vec<Arc<dyn Receiver>>, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let (notices, told) = bounded(QUEUE);
        let desk = |receiver| Desk { receiver, waiting: VecDeque::new(), tries: 0, again_at: Micros(0) };
        let mut desks: Vec<Desk> = receivers.into_iter().map(desk).collect();
        let run = move || serve(&mut desks, &told, &*clock);
        let thread = thread::Builder::new().name("teller".to_owned()).spawn(run).context("start the thread that tells")?;
        Ok(Self { notices: Some(notices), thread: Some(thread) })
    }

    /// Hands a message to the thread; one that finds no room is only in the log.
    pub(crate) fn tell(&self, notice: HoldNotice) {
        if let Some(Err(missed)) = self.notices.as_ref().map(|notices| notices.try_send(Box::new(notice))) {
            let notice = missed.into_inner();
            tracing::warn!(hold = notice.hold_id, state = notice.state.as_str(), "too many changes of holds wait to be told");
        }
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.notices = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that tells panicked");
        }
    }
}

fn serve(desks: &mut [Desk], told: &Channel<Box<HoldNotice>>, clock: &dyn Clock) {
    loop {
        let ended = match told.recv_timeout(NAP) {
            Ok(notice) => {
                for notice in std::iter::once(notice).chain(told.try_iter()) {
                    desks.iter_mut().for_each(|desk| desk.waiting.push_back(notice.clone()));
                }
                false
            }
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => true,
        };
        for desk in desks.iter_mut() {
            desk.go_on(clock.now(), ended);
        }
        if ended {
            return;
        }
    }
}

impl Desk {
    fn go_on(&mut self, now: Micros, at_once: bool) {
        while let Some(notice) = self.waiting.front().filter(|_| at_once || self.again_at <= now) {
            match self.receiver.tell(&Notice::Hold(notice)) {
                Ok(_) => {}
                Err(error) if error.class() == ErrorClass::Transient && now.0 - notice.at.0 < GIVE_UP_AFTER => {
                    self.tries = self.tries.saturating_add(1);
                    self.again_at = now.plus(FIRST_WAIT.saturating_mul(1 << self.tries.min(16)).min(LONGEST_WAIT));
                    tracing::warn!(receiver = self.receiver.name(), hold = notice.hold_id, %error, "a change of a hold is told later");
                    return;
                }
                Err(error) => {
                    tracing::warn!(receiver = self.receiver.name(), hold = notice.hold_id, %error, "a change of a hold was not told");
                }
            }
            self.waiting.pop_front();
            (self.tries, self.again_at) = (0, Micros(0));
        }
    }
}
