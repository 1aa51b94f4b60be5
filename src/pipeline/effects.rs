//! What follows a crossing, on a thread of its own so that a slow receiver never holds up spend.
//!
//! Owns: the thread around the outbox. Does not own: what is due; the ledger keeps a crossing until it is settled, and the
//! shared store keeps what was done, so neither a crash here nor one there loses or repeats anything.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use sluice_enforce::notice::Receiver as Person;
use sluice_enforce::outbox::{OutboxError, Stage};
use sluice_enforce::{Action, CommitPermit, Crossing, FileAction, HoldAction, Outbox};
use sluice_schemas::Clock;

use super::Pipeline;
use crate::config::Config;

/// How long an ending process waits for actions that are being carried out. What waits for another try is not waited for: it is in
/// the shared store, and goes on at the next start.
pub(super) const DRAIN: Duration = Duration::from_secs(10);
/// Time for claiming and for telling in one look, where no new crossing waits and where one does: it may ask for a hold, which goes before
/// any news, and news must not starve.
const CLAIMING: [Duration; 2] = [Duration::from_millis(500), Duration::from_millis(100)];
const TELLING: [Duration; 2] = [Duration::from_millis(1000), Duration::from_millis(300)];
/// Longest pause between two looks at waiting actions.
const LOOK: Duration = Duration::from_millis(500);

/// Crossings that a commit made true.
pub(super) struct Job {
    pub(super) permit: CommitPermit,
    pub(super) crossings: Vec<Crossing>,
    /// Nothing comes after it: told of even if nothing was settled.
    pub(super) last: bool,
}

/// What came of one look at everything that is due.
#[derive(Debug)]
pub(super) struct Told {
    /// Fire ids of which nothing is left to do.
    pub(super) settled: Vec<String>,
    /// The last job was among it. What is not settled now waits for a later try.
    pub(super) last: bool,
}

/// What came of them.
pub(super) type Delivered = Result<Told, OutboxError>;

/// How long the stages of one look have taken.
#[derive(Default)]
struct Turns {
    claiming: OnceLock<Instant>,
    telling: OnceLock<Instant>,
    cut: AtomicBool,
}

impl Turns {
    /// Tells whether a stage goes on, and notes where it does not.
    fn goes_on(&self, stage: Stage, others_wait: bool) -> bool {
        let (since, longest) = match stage {
            Stage::Hold => return true,
            Stage::Claim => (&self.claiming, CLAIMING),
            Stage::Tell => (&self.telling, TELLING),
        };
        let in_time = since.get_or_init(Instant::now).elapsed() < longest[usize::from(others_wait)];
        if !in_time {
            self.cut.store(true, Ordering::Relaxed);
        }
        in_time
    }
}

/// Starts the thread; it ends when the jobs do, or once `ending` is set and the action under way is done.
///
/// # Errors
/// The system refused a thread.
pub(super) fn start(
    mut outbox: Outbox,
    clock: Arc<dyn Clock>,
    jobs: Receiver<Job>,
    delivered: Sender<Delivered>,
    ending: Arc<AtomicBool>,
) -> std::io::Result<JoinHandle<()>> {
    thread::Builder::new().name("effects".to_owned()).spawn(move || {
        let mut permit = CommitPermit::nothing();
        let mut pause = LOOK;
        loop {
            let mut last = false;
            match jobs.recv_timeout(pause) {
                Ok(job) => {
                    for job in std::iter::once(job).chain(jobs.try_iter()) {
                        (permit, last) = (job.permit, last || job.last);
                        job.crossings.into_iter().for_each(|crossing| outbox.enqueue(crossing));
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let turns = Turns::default();
            let goes_on = |stage| !ending.load(Ordering::Relaxed) && (last || turns.goes_on(stage, !jobs.is_empty()));
            let result = outbox.tick_while(&permit, clock.now(), &goes_on).map(|settled| Told { settled, last });
            // What was cut short goes on at once.
            pause = if turns.cut.into_inner() { Duration::ZERO } else { LOOK };
            let failed = result.is_err();
            let worth_telling = result.as_ref().map_or(true, |told| told.last || !told.settled.is_empty());
            if worth_telling && delivered.send(result).is_err() {
                return;
            }
            if failed {
                return;
            }
        }
    })
}

/// Returns what ended the effects thread where it was that: all that fails after it merely follows.
pub(super) fn cause(error: anyhow::Error, delivered: &Receiver<Delivered>) -> anyhow::Error {
    let said = delivered.try_iter().find_map(Result::err);
    said.map_or(error, |said| anyhow::Error::new(said).context("the actions of breaches cannot go on"))
}

/// Returns the actions of a configuration.
fn actions(config: &Config, hold: HoldAction, receivers: Vec<Arc<dyn Person>>) -> Vec<Box<dyn Action>> {
    let mut actions: Vec<Box<dyn Action>> = vec![Box::new(hold), Box::new(FileAction::new(&config.breaches_file))];
    for receiver in receivers {
        actions.push(Box::new(receiver));
    }
    actions
}

impl Pipeline {
    /// Returns the outbox of this process. Without acting it stays empty: what an earlier process owes is left to a later one.
    pub(super) fn outbox(&mut self) -> anyhow::Result<Outbox> {
        let enforce = &self.settings.config.enforce;
        if self.nudge.is_none() {
            // Whoever pulls levers has set this, with whom it acts as.
            self.scoping.protected = enforce.protected(Vec::new());
        }
        let policy = enforce.hold_policy();
        let hold = HoldAction::new(Arc::clone(&self.shared), policy).scoped(self.scoping.clone()).nudging(self.nudge.clone());
        let receivers = if self.settings.act { self.receivers()? } else { Vec::new() };
        if self.settings.act && self.settings.mode == super::Mode::Live {
            let (store, clock) = (Arc::clone(&self.shared), Arc::clone(&self.settings.clock));
            self.teller = Some(crate::enforcement::Teller::start(receivers.clone(), store, clock)?);
        }
        let actions = if self.settings.act { actions(&self.settings.config, hold, receivers) } else { Vec::new() };
        let mut outbox = Outbox::new(Arc::clone(&self.shared), actions, self.fence);
        if self.settings.act {
            let resumed = outbox.resume()?;
            self.in_hand.extend(outbox.under_way().map(|(fire_id, since)| (fire_id.to_owned(), since)));
            if resumed > 0 {
                tracing::info!(resumed, "actions that an earlier process began go on");
            }
        }
        Ok(outbox)
    }

    /// Returns the crossings that the last commit made true and that nobody works on yet.
    pub(super) fn due_effects(&mut self) -> Option<Job> {
        if !self.settings.act {
            return None;
        }
        let in_hand = &self.in_hand;
        let due: Vec<Crossing> =
            self.ledger.pending().filter(|crossing| !in_hand.contains_key(&crossing.breach.fire_id)).cloned().collect();
        if due.is_empty() {
            return None;
        }
        self.in_hand.extend(due.iter().map(|crossing| (crossing.breach.fire_id.clone(), crossing.breach.detected_at)));
        let permit = self.permit();
        let epoch = permit.epoch();
        Some(Job { permit, crossings: due.into_iter().map(|crossing| crossing.committed_in(epoch)).collect(), last: false })
    }

    /// Notes what was settled; their rows go with the next commit. Tells whether it was the last there is to be told.
    pub(super) fn note_delivered(&mut self, delivered: Delivered) -> anyhow::Result<bool> {
        let Told { settled, last } = delivered.context("the actions of breaches cannot go on")?;
        for fire_id in settled {
            self.ledger.settle(&fire_id);
            self.in_hand.remove(&fire_id);
        }
        Ok(last)
    }
}
