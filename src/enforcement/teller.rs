//! The thread that tells of changes of holds: each receiver in its own time, again until it was told.
//!
//! News is in the shared store until everybody was told, so that a process that dies leaves it to the next one; whoever was told
//! already may then hear it again, with the same id.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context;
use crossbeam_channel::{Receiver as Channel, RecvTimeoutError, Sender, bounded};
use sluice_enforce::notice::{HoldNotice, Notice, Receiver};
use sluice_enforce::store::records::RecordKind;
use sluice_enforce::{SharedStore, StoreError};
use sluice_schemas::time::{DAY, SECOND};
use sluice_schemas::{Clock, ErrorClass, Micros};

/// Messages that wait for the thread.
const QUEUE: usize = 4_096;
const NAP: Duration = Duration::from_millis(200);
const FIRST_WAIT: i64 = SECOND;
const LONGEST_WAIT: i64 = 60 * SECOND;
const GIVE_UP_AFTER: i64 = DAY;

/// The thread; it ends when this is dropped, after one more try of what waits.
pub(crate) struct Teller {
    notices: Option<Sender<Box<HoldNotice>>>,
    thread: Option<JoinHandle<()>>,
}

/// What is not told to everybody yet, as the shared store has it.
struct Book {
    store: Arc<dyn SharedStore>,
    /// By id: the revision of its row, none where it could not be written, and how many are still to be told.
    open: BTreeMap<String, (Option<u64>, usize)>,
}

/// What one receiver is still to be told.
struct Desk {
    receiver: Arc<dyn Receiver>,
    waiting: VecDeque<Arc<HoldNotice>>,
    tries: u32,
    again_at: Micros,
}

impl Teller {
    /// Starts the thread with what an earlier process left to be told.
    ///
    /// # Errors
    /// The store cannot be read, or there are no threads left.
    pub(crate) fn start(receivers: Vec<Arc<dyn Receiver>>, store: Arc<dyn SharedStore>, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let (notices, told) = bounded(QUEUE);
        let desk = |receiver| Desk { receiver, waiting: VecDeque::new(), tries: 0, again_at: Micros(0) };
        let mut desks: Vec<Desk> = receivers.into_iter().map(desk).collect();
        let mut book = Book { store, open: BTreeMap::new() };
        book.take_over(&mut desks).context("news of holds that an earlier process left to be told")?;
        let run = move || serve(&mut desks, &mut book, &told, &*clock);
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

impl Book {
    fn take_over(&mut self, desks: &mut [Desk]) -> Result<(), StoreError> {
        let mut left = Vec::new();
        for record in self.store.records(RecordKind::Notice)? {
            let notice: HoldNotice = serde_json::from_value(record.body).map_err(|error| StoreError::Corrupt {
                place: "the shared store".to_owned(),
                detail: format!("notice {}: {error}", record.id),
            })?;
            left.push((Arc::new(notice), record.revision));
        }
        left.sort_by_key(|(notice, _)| notice.at);
        for (notice, revision) in left {
            self.open.insert(notice.notice_id.clone(), (Some(revision), desks.len()));
            desks.iter_mut().for_each(|desk| desk.waiting.push_back(Arc::clone(&notice)));
        }
        Ok(())
    }

    /// Writes news down before anybody is told. What cannot be written is told all the same.
    fn note(&mut self, notice: HoldNotice, desks: &mut [Desk]) {
        if desks.is_empty() || self.open.contains_key(&notice.notice_id) {
            return;
        }
        let written = serde_json::to_value(&notice).map_err(|error| error.to_string()).and_then(|body| {
            self.store.put_record(RecordKind::Notice, &notice.notice_id, 0, &body, None).map_err(|error| error.to_string())
        });
        if let Err(error) = &written {
            tracing::warn!(hold = notice.hold_id, %error, "a change of a hold is told, and is not told later if this process ends before");
        }
        self.open.insert(notice.notice_id.clone(), (written.ok(), desks.len()));
        let notice = Arc::new(notice);
        desks.iter_mut().for_each(|desk| desk.waiting.push_back(Arc::clone(&notice)));
    }

    /// Notes that one receiver has heard it, or never will.
    fn done(&mut self, notice_id: &str) {
        let Some((revision, left)) = self.open.get_mut(notice_id) else { return };
        *left = left.saturating_sub(1);
        if *left > 0 {
            return;
        }
        let revision = *revision;
        self.open.remove(notice_id);
        let Some(revision) = revision else { return };
        if let Err(error) = self.store.remove_record(RecordKind::Notice, notice_id, revision, None) {
            tracing::warn!(notice = notice_id, %error, "what was told could not be noted; the next process tells it again");
        }
    }
}

fn serve(desks: &mut [Desk], book: &mut Book, told: &Channel<Box<HoldNotice>>, clock: &dyn Clock) {
    loop {
        let ended = match told.recv_timeout(NAP) {
            Ok(notice) => {
                for notice in std::iter::once(notice).chain(told.try_iter()) {
                    book.note(*notice, desks);
                }
                false
            }
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => true,
        };
        for desk in desks.iter_mut() {
            desk.go_on(book, clock.now(), ended);
        }
        if ended {
            return;
        }
    }
}

impl Desk {
    fn go_on(&mut self, book: &mut Book, now: Micros, at_once: bool) {
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
            book.done(&notice.notice_id);
            self.waiting.pop_front();
            (self.tries, self.again_at) = (0, Micros(0));
        }
    }
}

#[cfg(test)]
mod tests;
