//! Several sources read as one: each polled on a thread of its own, all through one bounded channel.
//!
//! Owns: the threads of the inner sources and their end. Does not own: what the sources read.
//! Keeps the order within each source, so C3 holds for every shard; between sources there is no order. The channel holds as
//! many pieces as there are sources: a full one is back-pressure, and a slow source holds up no other.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded, select};
use sluice_schemas::{Clock, ErrorClass, Micros};

use crate::source::{Order, Piece, Poll, Progress, Source, SourceError};

#[cfg(test)]
mod tests;

/// Time an inner source is given in one poll: how long an order or the end may have to wait for it.
const TURN: Duration = Duration::from_millis(100);

/// A source with the name by which its failure is reported.
pub struct Named {
    /// The name, for example `s3://bucket/prefix`.
    pub name: String,
    /// The source.
    pub source: Box<dyn Source>,
}

/// What a thread tells.
enum Told {
    Piece(Piece),
    Ended,
    Failed(SourceError),
    /// The thread is gone without a word: it has panicked.
    Lost(String),
}

/// An order on its way, and where its answer goes.
struct Asked {
    order: Order,
    answer: Sender<bool>,
}

/// One inner source as seen from outside.
struct Lane {
    progress: Arc<Mutex<Progress>>,
    /// Dropped to end the thread.
    orders: Option<Sender<Asked>>,
    thread: Option<JoinHandle<()>>,
}

/// Sources merged into one.
pub struct Merged {
    lanes: Vec<Lane>,
    told: Option<Receiver<Told>>,
    running: usize,
    failed: Option<(String, ErrorClass)>,
}

impl Merged {
    /// Starts a thread for each source; `clock` tells them the time of their polls.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn open(sources: Vec<Named>, clock: &Arc<dyn Clock>) -> Result<Self, SourceError> {
        let (tell, told) = bounded(sources.len().max(1));
        let mut merged = Self { lanes: Vec::new(), told: Some(told), running: 0, failed: None };
        for Named { name, source } in sources {
            let progress = Arc::new(Mutex::new(source.progress()));
            let (orders, asked) = bounded(1);
            let inner = Inner {
                name: name.clone(),
                source,
                clock: Arc::clone(clock),
                progress: Arc::clone(&progress),
                asked,
                tell: tell.clone(),
                silent: true,
            };
            let thread = thread::Builder::new().name(format!("source {name}")).spawn(move || inner.run());
            let thread = thread.map_err(|source| SourceError::Service {
                resource: name,
                problem: "no thread could be started to read it".to_owned(),
                fix: "raise the limit of threads or read fewer sources at once".to_owned(),
                class: ErrorClass::Misconfigured,
                source: Some(Box::new(source)),
            })?;
            merged.lanes.push(Lane { progress, orders: Some(orders), thread: Some(thread) });
            merged.running += 1;
        }
        Ok(merged)
    }

    /// Takes what a thread has told; `None` when it was no piece and no failure.
    fn take(&mut self, told: Told) -> Result<Option<Poll>, SourceError> {
        match told {
            Told::Piece(piece) => return Ok(Some(Poll::Piece(piece))),
            Told::Ended => self.running -= 1,
            Told::Failed(error) => return Err(self.fail(error)),
            Told::Lost(name) => return Err(self.fail(stopped(name, "its thread ended without a word", ErrorClass::Bug))),
        }
        Ok((self.running == 0).then_some(Poll::Ended))
    }

    /// Stops all sources because of one.
    fn fail(&mut self, error: SourceError) -> SourceError {
        let name = match &error {
            SourceError::Service { resource, .. } => resource.clone(),
            _ => String::new(),
        };
        self.failed = Some((name, error.class()));
        self.stop();
        error
    }

    fn stop(&mut self) {
        // With its ends of the channels gone a thread ends at its next word, at the latest after its turn.
        self.told = None;
        self.lanes.iter_mut().for_each(|lane| lane.orders = None);
        for thread in self.lanes.iter_mut().filter_map(|lane| lane.thread.take()) {
            if thread.join().is_err() {
                tracing::error!("the thread of a source has panicked");
            }
        }
    }
}

impl Source for Merged {
    fn poll(&mut self, wait: Duration, _now: Micros) -> Result<Poll, SourceError> {
        if let Some((name, class)) = &self.failed {
            return Err(stopped(name.clone(), "it was stopped by its failure", *class));
        }
        loop {
            if self.running == 0 {
                return Ok(Poll::Ended);
            }
            let told = self.told.as_ref().map_or(Err(RecvTimeoutError::Disconnected), |told| told.recv_timeout(wait));
            match told {
                Ok(told) => {
                    if let Some(poll) = self.take(told)? {
                        return Ok(poll);
                    }
                }
                Err(RecvTimeoutError::Timeout) => return Ok(Poll::Idle),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(self.fail(stopped(String::new(), "every thread ended without a word", ErrorClass::Bug)));
                }
            }
        }
    }

    fn progress(&self) -> Progress {
        let mut sum = Progress::default();
        for lane in &self.lanes {
            let of = lock(&lane.progress).clone();
            sum.files_total += of.files_total;
            sum.files_done += of.files_done;
            sum.bytes_total += of.bytes_total;
            sum.bytes_done += of.bytes_done;
            sum.bytes_resumed += of.bytes_resumed;
            sum.current = sum.current.or(of.current);
            sum.shards.extend(of.shards);
        }
        sum.shards.sort_by(|a, b| a.shard.cmp(&b.shard));
        sum
    }

    fn order(&mut self, order: &Order) -> bool {
        let asked = self.lanes.iter().filter_map(|lane| {
            let (answer, answered) = bounded(1);
            lane.orders.as_ref()?.send(Asked { order: order.clone(), answer }).ok()?;
            Some(answered)
        });
        // All are asked before the first answer is waited for; one that has ended answers by being gone.
        let answers: Vec<_> = asked.collect();
        answers.into_iter().filter(|answered| answered.recv().unwrap_or(false)).count() > 0
    }
}

impl Drop for Merged {
    fn drop(&mut self) {
        self.stop();
    }
}

impl std::fmt::Debug for Merged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Merged").field("sources", &self.lanes.len()).field("running", &self.running).finish_non_exhaustive()
    }
}

/// An inner source on its thread.
struct Inner {
    name: String,
    source: Box<dyn Source>,
    clock: Arc<dyn Clock>,
    progress: Arc<Mutex<Progress>>,
    asked: Receiver<Asked>,
    tell: Sender<Told>,
    /// Nothing was said yet of how it ended.
    silent: bool,
}

impl Inner {
    fn run(mut self) {
        loop {
            match self.asked.try_recv() {
                Ok(asked) => self.carry_out(&asked),
                Err(TryRecvError::Disconnected) => break,
                Err(TryRecvError::Empty) => {}
            }
            let polled = self.source.poll(TURN, self.clock.now());
            *lock(&self.progress) = self.source.progress();
            let (told, last) = match polled {
                Ok(Poll::Piece(piece)) => (Told::Piece(piece), false),
                Ok(Poll::Idle) => continue,
                Ok(Poll::Ended) => (Told::Ended, true),
                Err(error) => (Told::Failed(named(&self.name, error)), true),
            };
            if !self.say(told) || last {
                break;
            }
        }
        self.silent = false;
    }

    /// Says it once there is room, and takes orders until then; `false` when nobody listens any more.
    fn say(&mut self, told: Told) -> bool {
        loop {
            select! {
                send(self.tell, told) -> sent => return sent.is_ok(),
                recv(self.asked) -> asked => match asked {
                    Ok(asked) => self.carry_out(&asked),
                    Err(_) => return false,
                },
            }
        }
    }

    fn carry_out(&mut self, asked: &Asked) {
        let taken = self.source.order(&asked.order);
        if asked.answer.send(taken).is_err() {
            tracing::debug!(source = self.name, "nobody waits for the answer to an order");
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.silent && self.tell.send(Told::Lost(std::mem::take(&mut self.name))).is_err() {
            tracing::debug!("nobody listens to a source that has panicked");
        }
    }
}

fn lock(progress: &Mutex<Progress>) -> MutexGuard<'_, Progress> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Puts the name of its source before an error.
fn named(name: &str, error: SourceError) -> SourceError {
    match error {
        SourceError::Service { resource, problem, fix, class, source } => {
            let resource = if resource == name { resource } else { format!("{name}: {resource}") };
            SourceError::Service { resource, problem, fix, class, source }
        }
        other => SourceError::Service {
            resource: name.to_owned(),
            problem: "cannot be read".to_owned(),
            fix: "correct its path or the permissions on it".to_owned(),
            class: other.class(),
            source: Some(Box::new(other)),
        },
    }
}

fn stopped(name: String, problem: &str, class: ErrorClass) -> SourceError {
    let fix = "see the log for the cause and start again".to_owned();
    SourceError::Service { resource: name, problem: problem.to_owned(), fix, class, source: None }
}
