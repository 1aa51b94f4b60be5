//! One round of the outbox over its actions: holds one after the other, then everyone who is told, at the same time.

use std::slice::Chunks;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use sluice_schemas::Micros;

use super::{Outbox, OutboxError, Step, next_step, note, postpone, told};
use crate::actions::{Action, ActionError};
use crate::budget::ActionKind;
use crate::fire::Crossing;
use crate::permit::CommitPermit;
use crate::store::{Receipt, SharedStore, StoreError};

/// Part of a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Claiming and putting holds.
    Hold,
    /// Claiming what is only told.
    Claim,
    /// Telling.
    Tell,
}

/// Says whether a stage may begin something further.
pub type GoesOn<'a> = &'a (dyn Fn(Stage) -> bool + Sync);

/// Results on their way back; a full channel makes those who tell wait until receipts are written.
const RESULTS: usize = 1024;

/// A crossing that an action is due for.
type Due = (String, Arc<Crossing>);
/// How the crossings of one call fared.
type Fared<'a> = (usize, &'a [Due], Result<Vec<Result<Receipt, ActionError>>, StoreError>);

/// What the threads of one action share.
struct Desk<'a> {
    index: usize,
    action: &'a dyn Action,
    waiting: Mutex<Chunks<'a, Due>>,
    /// Its receiver gave no answer in this round: each of the others would wait for it as long.
    down: AtomicBool,
}

/// What all threads share.
struct Hall<'a> {
    store: &'a dyn SharedStore,
    fence: u64,
    permit: &'a CommitPermit,
    goes_on: GoesOn<'a>,
}

impl Hall<'_> {
    /// A zombie must not act on a claim it made before it was fenced.
    fn check_fence(&self) -> Result<(), StoreError> {
        let current = self.store.fence()?;
        if self.fence < current { Err(StoreError::Fenced { own: self.fence, current }) } else { Ok(()) }
    }

    /// Tells until nothing waits.
    fn work<'a>(&self, desk: &Desk<'a>, results: &SyncSender<Fared<'a>>) {
        while !desk.down.load(Ordering::Relaxed) && (self.goes_on)(Stage::Tell) {
            let next = desk.waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(due) = next else { return };
            let crossings: Vec<&Crossing> = due.iter().map(|(_, crossing)| crossing.as_ref()).collect();
            let fared = self.check_fence().map(|()| desk.action.apply_all(self.permit, &crossings));
            let silent = |fared: &[Result<Receipt, ActionError>]| fared.iter().any(|one| one.as_ref().is_err_and(ActionError::is_silence));
            if fared.as_ref().map_or(true, |fared| silent(fared)) {
                desk.down.store(true, Ordering::Relaxed);
            }
            if results.send((desk.index, due, fared)).is_err() {
                return;
            }
        }
    }
}

impl Outbox {
    /// Puts the holds that are due, one after the other: each counts the ones before it.
    pub(super) fn hold(&mut self, ids: &[String], permit: &CommitPermit, now: Micros, goes_on: GoesOn<'_>) -> Result<(), OutboxError> {
        let actions = Arc::clone(&self.actions);
        let store = Arc::clone(&self.store);
        let hall = Hall { store: store.as_ref(), fence: self.fence, permit, goes_on };
        let names = Self::names(&actions);
        for id in ids.iter().take_while(|_| goes_on(Stage::Hold)) {
            let Some(job) = self.jobs.get_mut(id) else { continue };
            let Step::Run(indexes) = next_step(job, &names, permit, now) else { continue };
            let Some(fire) = job.record.as_ref().map(told) else { continue };
            for action in indexes.iter().filter_map(|index| actions.get(*index)).filter(|action| action.kind() == ActionKind::Hold) {
                let put = hall.check_fence().map(|()| action.apply(permit, &fire));
                let noted = put.and_then(|result| {
                    if let Err(error) = &result {
                        tracing::warn!(fire_id = %id, error = %error, "the hold was not put");
                    }
                    note(job, action.name(), result, now)
                });
                if let Err(source) = noted {
                    self.store_failed(std::slice::from_ref(id), source, now)?;
                    break;
                }
            }
        }
        self.write(ids, permit, now)
    }

    /// Tells everyone who is due, all receivers at the same time, and writes receipts as they come.
    pub(super) fn tell(&mut self, ids: &[String], permit: &CommitPermit, now: Micros, goes_on: GoesOn<'_>) -> Result<(), OutboxError> {
        let actions = Arc::clone(&self.actions);
        let due = self.due(&actions, ids, permit, now);
        let with_work = due.iter().enumerate().filter(|(_, due)| !due.is_empty());
        let desks: Vec<Desk<'_>> = with_work
            .filter_map(|(index, due)| {
                let action = actions.get(index)?.as_ref();
                let waiting = Mutex::new(due.chunks(action.most_at_once().max(1)));
                Some(Desk { index, action, waiting, down: AtomicBool::new(false) })
            })
            .collect();
        if desks.is_empty() {
            return Ok(());
        }
        let store = Arc::clone(&self.store);
        let hall = Hall { store: store.as_ref(), fence: self.fence, permit, goes_on };
        thread::scope(|scope| {
            let (sender, results) = sync_channel(RESULTS);
            for desk in &desks {
                let calls = desk.waiting.lock().unwrap_or_else(PoisonError::into_inner).len();
                for _ in 0..desk.action.lanes().clamp(1, calls.max(1)) {
                    let (hall, sender) = (&hall, sender.clone());
                    let thread = thread::Builder::new().name("telling".to_owned());
                    if let Err(error) = thread.spawn_scoped(scope, move || hall.work(desk, &sender)) {
                        tracing::warn!(error = %error, "no thread for telling, trying again");
                    }
                }
            }
            drop(sender);
            self.take_back(&actions, results, permit, now)
        })?;
        for desk in desks.iter().filter(|desk| desk.down.load(Ordering::Relaxed)) {
            let waiting = desk.waiting.lock().unwrap_or_else(PoisonError::into_inner).clone();
            for (id, _) in waiting.flatten() {
                if let Some(job) = self.jobs.get_mut(id) {
                    postpone(job, desk.action.name(), now);
                }
            }
        }
        Ok(())
    }

    /// Returns for each action the crossings it is due for; empty for holds.
    fn due(&self, actions: &[Box<dyn Action>], ids: &[String], permit: &CommitPermit, now: Micros) -> Vec<Vec<Due>> {
        let names = Self::names(actions);
        let mut due: Vec<Vec<Due>> = vec![Vec::new(); actions.len()];
        for (id, job) in ids.iter().filter_map(|id| Some((id, self.jobs.get(id)?))) {
            let Step::Run(mut indexes) = next_step(job, &names, permit, now) else { continue };
            indexes.retain(|index| names.get(*index).is_some_and(|(kind, _)| *kind == ActionKind::Notify));
            let Some(record) = job.record.as_ref().filter(|_| !indexes.is_empty()) else { continue };
            let crossing = Arc::new(told(record));
            for index in indexes {
                if let Some(due) = due.get_mut(index) {
                    due.push((id.clone(), Arc::clone(&crossing)));
                }
            }
        }
        due
    }

    /// Notes results as they come and writes their receipts, as many with one step of the store as are there.
    fn take_back(
        &mut self,
        actions: &[Box<dyn Action>],
        results: Receiver<Fared<'_>>,
        permit: &CommitPermit,
        now: Micros,
    ) -> Result<(), OutboxError> {
        let rows = self.store.rows_at_once().max(1);
        while let Ok(first) = results.recv() {
            let mut ids = Vec::new();
            let mut next = Some(first);
            while let Some((index, due, fared)) = next {
                let name = actions.get(index).map_or("", |action| action.name());
                let fire_ids = due.iter().map(|(id, _)| id);
                ids.extend(fire_ids.clone().cloned());
                match fared {
                    Ok(fared) => {
                        warn_of(name, &fared);
                        for (id, result) in fire_ids.zip(fared) {
                            let Some(job) = self.jobs.get_mut(id) else { continue };
                            if let Err(source) = note(job, name, result, now) {
                                self.store_failed(std::slice::from_ref(id), source, now)?;
                            }
                        }
                    }
                    Err(source) => self.store_failed(&fire_ids.cloned().collect::<Vec<_>>(), source, now)?,
                }
                next = if ids.len() < rows { results.try_recv().ok() } else { None };
            }
            ids.sort_unstable();
            ids.dedup();
            self.write(&ids, permit, now)?;
        }
        Ok(())
    }
}

/// One line for what failed in a call, however many messages it carried.
fn warn_of(action: &str, fared: &[Result<Receipt, ActionError>]) {
    let mut failed = fared.iter().filter_map(|one| one.as_ref().err());
    if let Some(error) = failed.next() {
        tracing::warn!(action, failed = failed.count() + 1, of = fared.len(), error = %error, "telling failed");
    }
}
