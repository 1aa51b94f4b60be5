//! The thread that tells of changes of holds and of the breaker: each receiver in its own time, again until it was told.
//!
//! News is in the shared store until everybody was told, so that a process that dies leaves it to the next one; whoever was told
//! already may then hear it again, with the same id. News that follows from how things stand, and not from what a process just did, is
//! found again by each process: of that the store keeps that it was told.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context;
use crossbeam_channel::{Receiver as Channel, RecvTimeoutError, Sender, bounded};
use sluice_enforce::SharedStore;
use sluice_enforce::notice::{HoldNotice, News, Receiver};
use sluice_schemas::time::{DAY, SECOND};
use sluice_schemas::{Clock, ErrorClass, Micros};

use self::book::Book;

mod book;

/// Messages that wait for the thread.
const QUEUE: usize = 4_096;
const NAP: Duration = Duration::from_millis(200);
const FIRST_WAIT: i64 = SECOND;
const LONGEST_WAIT: i64 = 60 * SECOND;
/// News that is older is told no more: it helps nobody.
const GIVE_UP_AFTER: i64 = DAY;

/// The thread; it ends when this is dropped, after one more try of what waits.
pub(crate) struct Teller {
    messages: Option<Sender<Message>>,
    thread: Option<JoinHandle<()>>,
}

/// What is handed to the thread.
struct Message {
    news: News,
    /// Told once for good; so long that is remembered.
    once: Option<Micros>,
}

/// What one receiver is still to be told.
struct Desk {
    receiver: Arc<dyn Receiver>,
    waiting: VecDeque<Arc<News>>,
    tries: u32,
    again_at: Micros,
}

impl Teller {
    /// Starts the thread with what an earlier process left to be told.
    ///
    /// # Errors
    /// The store cannot be read, or there are no threads left.
    pub(crate) fn start(receivers: Vec<Arc<dyn Receiver>>, store: Arc<dyn SharedStore>, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let (messages, told) = bounded(QUEUE);
        let desk = |receiver| Desk { receiver, waiting: VecDeque::new(), tries: 0, again_at: Micros(0) };
        let mut desks: Vec<Desk> = receivers.into_iter().map(desk).collect();
        let mut book = Book::new(store);
        book.take_over(&mut desks, clock.now()).context("news of holds that an earlier process left to be told")?;
        let run = move || serve(&mut desks, &mut book, &told, &*clock);
        let thread = thread::Builder::new().name("teller".to_owned()).spawn(run).context("start the thread that tells")?;
        Ok(Self { messages: Some(messages), thread: Some(thread) })
    }

    /// Hands a message to the thread; one that finds no room is only in the log.
    pub(crate) fn tell(&self, notice: HoldNotice) {
        let (hold, state) = (notice.hold_id.clone(), notice.state);
        if !self.hand(Message { news: News::Hold(Box::new(notice)), once: None }) {
            tracing::warn!(hold, state = state.as_str(), "too many changes of holds wait to be told");
        }
    }

    /// Hands news to the thread that is told once, however many processes hand it in until then; `false` if there is no room now.
    pub(crate) fn tell_once(&self, news: News, until: Micros) -> bool {
        self.hand(Message { news, once: Some(until) })
    }

    fn hand(&self, message: Message) -> bool {
        self.messages.as_ref().is_none_or(|messages| messages.try_send(message).is_ok())
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.messages = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that tells panicked");
        }
    }
}

fn serve(desks: &mut [Desk], book: &mut Book, told: &Channel<Message>, clock: &dyn Clock) {
    loop {
        let ended = match told.recv_timeout(NAP) {
            Ok(message) => {
                for message in std::iter::once(message).chain(told.try_iter()) {
                    book.note(message, desks, clock.now());
                }
                false
            }
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => true,
        };
        for desk in desks.iter_mut() {
            desk.go_on(book, clock.now(), ended);
        }
        book.sweep(clock.now());
        if ended {
            return;
        }
    }
}

impl Desk {
    fn go_on(&mut self, book: &mut Book, now: Micros, at_once: bool) {
        while let Some(news) = self.waiting.front().filter(|_| at_once || self.again_at <= now) {
            let notice = news.notice();
            match self.receiver.tell(&notice) {
                Ok(_) => {}
                Err(error) if error.class() == ErrorClass::Transient && now.0 - notice.at().0 < GIVE_UP_AFTER => {
                    self.tries = self.tries.saturating_add(1);
                    self.again_at = now.plus(FIRST_WAIT.saturating_mul(1 << self.tries.min(16)).min(LONGEST_WAIT));
                    tracing::warn!(receiver = self.receiver.name(), of = notice.thread(), %error, "news is told later");
                    return;
                }
                Err(error) => {
                    tracing::warn!(receiver = self.receiver.name(), of = notice.thread(), %error, "news was not told");
                }
            }
            book.done(notice.id());
            self.waiting.pop_front();
            (self.tries, self.again_at) = (0, Micros(0));
        }
    }
}

#[cfg(test)]
mod tests;
