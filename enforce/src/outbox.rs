//! Runs the actions of committed crossings, each until it has a receipt.
//!
//! Owns: the order claim → hold → notify → done, retries, and what is left after a crash. Does not own: the actions.
//! Invariants: C6 (a fire id is claimed once; the receipts say what was done under it) and C7 (a crossing waits for the
//! commit of its epoch).
//!
//! [`next_step`] decides, [`Outbox`] does. There is no clock in here: the caller's loop hands in crossings and calls
//! [`Outbox::tick`]. Holds are put one after the other; those who are told are told at the same time as each other, in batches,
//! by threads that end with the tick ([`round`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use sluice_schemas::time::{HOUR, SECOND};
use sluice_schemas::{ErrorClass, Micros};

use crate::actions::{Action, ActionError};
use crate::audit::inputs_of;
use crate::budget::ActionKind;
use crate::fire::Crossing;
use crate::permit::CommitPermit;
use crate::store::{AuditEntry, Claim, Ended, FireRecord, Receipt, ReceiptState, SELF, SharedStore, StoreError};

mod round;

pub use round::{GoesOn, Stage};

const FIRST_WAIT: i64 = SECOND;
const LONGEST_WAIT: i64 = 10 * 60 * SECOND;
/// After this an action that keeps failing is given up: news of yesterday's breach helps nobody.
const GIVE_UP_AFTER: i64 = 24 * HOUR;

/// Why the outbox cannot go on.
#[derive(Debug, thiserror::Error)]
#[error("the actions of fire {fire_id} cannot go on")]
pub struct OutboxError {
    /// The fire, or the first of those that a step was for.
    pub fire_id: String,
    /// Why.
    #[source]
    pub source: StoreError,
}

impl OutboxError {
    /// Tells what is to be done: a fenced outbox stops at once.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        self.source.class()
    }
}

/// What the outbox knows of a crossing on its way.
#[derive(Clone, Debug)]
pub struct Job {
    /// The crossing, with its epoch.
    pub crossing: Crossing,
    /// What the shared store holds; `None` before the claim.
    pub record: Option<FireRecord>,
    /// Receipts that the shared store does not hold yet, by name of the action: done, and not to be done again.
    pub unwritten: BTreeMap<String, Ended>,
    /// What failed, by name of the action.
    pub waits: BTreeMap<String, Wait>,
}

/// A pause before the next try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Failed tries in a row.
    pub tries: u32,
    /// Not before then.
    pub until: Micros,
}

/// Name that a failing store waits under.
const STORE: &str = "";

/// What to do next with a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Wait for the commit of its epoch.
    AwaitCommit,
    /// Wait until then.
    Wait(Micros),
    /// Claim its fire id.
    Claim,
    /// Write the receipts that the store does not hold yet.
    Write,
    /// Run the actions of these indexes, in any order.
    Run(Vec<usize>),
    /// Note that all is settled.
    Finish,
    /// Nothing is left.
    Settled,
}

/// Decides the next step. `actions` are the kinds and names of the configured actions.
///
/// A hold goes first: whoever is told can be told whether the target is stopped. One that was degraded or failed is told even
/// if the threshold asked for a hold alone. An action that waits for its next try keeps no other one waiting.
#[must_use]
pub fn next_step(job: &Job, actions: &[(ActionKind, &str)], permit: &CommitPermit, now: Micros) -> Step {
    if !permit.covers(job.crossing.breach.epoch) {
        return Step::AwaitCommit;
    }
    if let Some(wait) = job.waits.get(STORE).filter(|wait| wait.until > now) {
        return Step::Wait(wait.until);
    }
    let Some(record) = &job.record else { return Step::Claim };
    if record.done_at.is_some() {
        return Step::Settled;
    }
    if !job.unwritten.is_empty() {
        return Step::Write;
    }
    let wanted = &record.crossing.actions;
    let hold_failed = actions.iter().any(|(kind, name)| {
        let state = record.receipts.get(*name).map(|receipt| receipt.state);
        *kind == ActionKind::Hold && matches!(state, Some(ReceiptState::Degraded | ReceiptState::AwaitsApproval | ReceiptState::Failed))
    });
    let mut earliest: Option<Micros> = None;
    for stage in [ActionKind::Hold, ActionKind::Notify] {
        let is_wanted = wanted.contains(&stage) || (stage == ActionKind::Notify && hold_failed);
        let mut ready = Vec::new();
        for (index, (kind, name)) in actions.iter().enumerate() {
            if *kind != stage || !is_wanted || record.receipts.contains_key(*name) {
                continue;
            }
            match job.waits.get(*name).filter(|wait| wait.until > now) {
                None => ready.push(index),
                Some(wait) => earliest = Some(earliest.map_or(wait.until, |known| known.min(wait.until))),
            }
        }
        if !ready.is_empty() {
            return Step::Run(ready);
        }
    }
    earliest.map_or(Step::Finish, Step::Wait)
}

/// Crossings on their way to the world.
pub struct Outbox {
    store: Arc<dyn SharedStore>,
    actions: Arc<Vec<Box<dyn Action>>>,
    fence: u64,
    jobs: BTreeMap<String, Job>,
}

impl Outbox {
    /// Returns an outbox that claims with `fence` and runs `actions`.
    #[must_use]
    pub fn new(store: Arc<dyn SharedStore>, actions: Vec<Box<dyn Action>>, fence: u64) -> Self {
        Self { store, actions: Arc::new(actions), fence, jobs: BTreeMap::new() }
    }

    /// Takes a crossing; it waits for the commit of its epoch. Taking it twice changes nothing.
    pub fn enqueue(&mut self, crossing: Crossing) {
        let fire_id = crossing.breach.fire_id.clone();
        let job = Job { crossing, record: None, unwritten: BTreeMap::new(), waits: BTreeMap::new() };
        self.jobs.entry(fire_id).or_insert(job);
    }

    /// Takes what an earlier process claimed and did not finish.
    ///
    /// # Errors
    /// Fails if the store does.
    pub fn resume(&mut self) -> Result<usize, StoreError> {
        let unfinished = self.store.unfinished()?;
        let count = unfinished.len();
        for record in unfinished {
            self.enqueue(record.crossing);
        }
        Ok(count)
    }

    /// Returns the fire ids of the crossings that are on their way, and when each was seen.
    pub fn under_way(&self) -> impl Iterator<Item = (&str, Micros)> {
        self.jobs.iter().map(|(fire_id, job)| (fire_id.as_str(), job.crossing.breach.detected_at))
    }

    /// Returns how many crossings are on their way.
    #[must_use]
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Tells whether nothing is on its way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Does what is due and returns the fire ids that are settled (for [`crate::Ledger::settle`]).
    ///
    /// Failing actions are tried again with growing pauses; they do not keep others waiting.
    ///
    /// # Errors
    /// Returns [`OutboxError`] if another process took over or the store is damaged: then nothing more may be done.
    pub fn tick(&mut self, permit: &CommitPermit, now: Micros) -> Result<Vec<String>, OutboxError> {
        self.tick_while(permit, now, &|_| true)
    }

    /// Does what is due as [`Outbox::tick`] does, and begins nothing further in a stage once `goes_on` says no. The stages follow each
    /// other all the same: one that is slow leaves the next its turn.
    ///
    /// # Errors
    /// As for [`Outbox::tick`].
    pub fn tick_while(&mut self, permit: &CommitPermit, now: Micros, goes_on: GoesOn<'_>) -> Result<Vec<String>, OutboxError> {
        let fire_ids: Vec<String> = self.jobs.keys().cloned().collect();
        // All holds before any news: a slow receiver must not keep a runaway going.
        let asks_for_hold = |job: &Job| job.crossing.actions.contains(&ActionKind::Hold);
        let (first, rest): (Vec<String>, Vec<String>) =
            fire_ids.iter().cloned().partition(|id| self.jobs.get(id).is_some_and(asks_for_hold));
        // After each step new crossings may come in.
        let rows = self.store.rows_at_once().max(1);
        for ids in first.chunks(rows).take_while(|_| goes_on(Stage::Hold)) {
            self.claim(ids, permit, now)?;
            self.write(ids, permit, now)?;
            self.hold(ids, permit, now, goes_on)?;
        }
        for ids in rest.chunks(rows).take_while(|_| goes_on(Stage::Claim)) {
            self.claim(ids, permit, now)?;
            self.write(ids, permit, now)?;
        }
        self.tell(&fire_ids, permit, now, goes_on)?;
        self.finish(&fire_ids, permit, now)
    }

    fn names(actions: &[Box<dyn Action>]) -> Vec<(ActionKind, &str)> {
        actions.iter().map(|action| (action.kind(), action.name())).collect()
    }

    /// Returns those of `ids` whose next step is the one asked for.
    fn at_step(&self, ids: &[String], permit: &CommitPermit, now: Micros, is_it: impl Fn(&Step) -> bool) -> Vec<String> {
        let names = Self::names(&self.actions);
        let next = |id: &&String| self.jobs.get(*id).is_some_and(|job| is_it(&next_step(job, &names, permit, now)));
        ids.iter().filter(next).cloned().collect()
    }

    /// Sorts the failure of a step of the store: for a while, or for good.
    fn store_failed(&mut self, ids: &[String], source: StoreError, now: Micros) -> Result<(), OutboxError> {
        let first = ids.first().cloned().unwrap_or_default();
        if source.class() != ErrorClass::Transient {
            return Err(OutboxError { fire_id: first, source });
        }
        tracing::warn!(fire_id = %first, fires = ids.len(), error = %source, "the shared store failed, trying again");
        for id in ids {
            if let Some(job) = self.jobs.get_mut(id) {
                postpone(job, STORE, now);
            }
        }
        Ok(())
    }

    fn claim(&mut self, ids: &[String], permit: &CommitPermit, now: Micros) -> Result<(), OutboxError> {
        let due = self.at_step(ids, permit, now, |step| *step == Step::Claim);
        let record = |id: &String| {
            let crossing = self.jobs.get(id)?.crossing.clone();
            Some(FireRecord { crossing, fence: self.fence, claimed_at: now, receipts: BTreeMap::new(), done_at: None })
        };
        let records: Vec<FireRecord> = due.iter().filter_map(record).collect();
        if records.is_empty() {
            return Ok(());
        }
        match self.store.claim_all(&records) {
            Ok(claims) => {
                for (record, claim) in records.into_iter().zip(claims) {
                    if let Some(job) = self.jobs.get_mut(&record.crossing.breach.fire_id) {
                        job.record = Some(match claim {
                            Claim::New => record,
                            Claim::Already(known) => *known,
                        });
                        job.waits.remove(STORE);
                    }
                }
                Ok(())
            }
            Err(source) => self.store_failed(&due, source, now),
        }
    }

    /// Writes the receipts that the store does not hold yet.
    fn write(&mut self, ids: &[String], permit: &CommitPermit, now: Micros) -> Result<(), OutboxError> {
        let due = self.at_step(ids, permit, now, |step| *step == Step::Write);
        for ids in due.chunks(self.store.rows_at_once().max(1)) {
            let unwritten = ids.iter().filter_map(|id| self.jobs.get(id)).flat_map(|job| job.unwritten.values().cloned());
            let ended: Vec<Ended> = unwritten.collect();
            if let Err(source) = self.store.put_receipts(&ended) {
                self.store_failed(ids, source, now)?;
                continue;
            }
            for id in ids {
                if let Some(job) = self.jobs.get_mut(id) {
                    written(job);
                }
            }
        }
        Ok(())
    }

    /// Notes that what has nothing left to do is settled, and returns it.
    fn finish(&mut self, ids: &[String], permit: &CommitPermit, now: Micros) -> Result<Vec<String>, OutboxError> {
        let mut settled = self.at_step(ids, permit, now, |step| *step == Step::Settled);
        let due = self.at_step(ids, permit, now, |step| *step == Step::Finish);
        for ids in due.chunks(self.store.rows_at_once().max(1)) {
            match self.store.mark_all_done(ids, now) {
                Ok(()) => settled.extend_from_slice(ids),
                Err(source) => self.store_failed(ids, source, now)?,
            }
        }
        for id in &settled {
            self.jobs.remove(id);
        }
        Ok(settled)
    }
}

/// Takes over what the store now holds.
fn written(job: &mut Job) {
    let unwritten = std::mem::take(&mut job.unwritten);
    for (name, ended) in unwritten {
        job.waits.remove(&name);
        if let Some(record) = &mut job.record {
            record.receipts.insert(name, ended.receipt);
        }
    }
    job.waits.remove(STORE);
}

/// Notes how an action of a job ended: a receipt that is to be written, or another try.
fn note(job: &mut Job, name: &str, result: Result<Receipt, ActionError>, now: Micros) -> Result<(), StoreError> {
    let Some(record) = &job.record else { return Ok(()) };
    let breach = &record.crossing.breach;
    let receipt = match result {
        Ok(receipt) => receipt,
        Err(ActionError::Store(error)) if matches!(error.class(), ErrorClass::Fenced | ErrorClass::Corrupt) => return Err(error),
        Err(error) => {
            let in_time = now.0.saturating_sub(record.claimed_at.0) < GIVE_UP_AFTER;
            if error.class() == ErrorClass::Transient && in_time {
                postpone(job, name, now);
                return Ok(());
            }
            Receipt { state: ReceiptState::Failed, detail: error.to_string() }
        }
    };
    let audit = AuditEntry {
        at: now,
        fire_id: breach.fire_id.clone(),
        action: name.to_owned(),
        target: breach.target.clone(),
        state: receipt.state.as_str().to_owned(),
        actor: SELF.to_owned(),
        detail: receipt.detail.clone(),
        inputs: inputs_of(&record.crossing),
        ..AuditEntry::default()
    };
    job.unwritten.insert(name.to_owned(), Ended { receipt, audit });
    Ok(())
}

/// Returns the crossing as it is told: a hold that was not put is said so.
fn told(record: &FireRecord) -> Crossing {
    let mut crossing = record.crossing.clone();
    let failed = |receipt: &&Receipt| matches!(receipt.state, ReceiptState::Degraded | ReceiptState::Failed);
    if let Some(receipt) = record.receipts.get("hold").filter(|receipt| receipt.state == ReceiptState::AwaitsApproval) {
        crossing.breach.note = Some(format!("the hold waits for approval: {}", receipt.detail));
    }
    let holds = record.receipts.iter().filter(|(name, _)| name.as_str() == "hold");
    if let Some(receipt) = holds.map(|(_, receipt)| receipt).find(failed) {
        crossing.breach.note = Some(format!("hold not put: {}", receipt.detail));
        crossing.breach.actions.retain(|word| word != ActionKind::Hold.as_str());
        crossing.breach.actions.push(ActionKind::Notify.as_str().to_owned());
        crossing.breach.actions.dedup();
    }
    crossing
}

fn postpone(job: &mut Job, name: &str, now: Micros) {
    let tries = job.waits.get(name).map_or(0, |wait| wait.tries);
    let pause = FIRST_WAIT.saturating_mul(1 << tries.min(20)).min(LONGEST_WAIT);
    job.waits.insert(name.to_owned(), Wait { tries: tries.saturating_add(1), until: now.plus(pause) });
}

#[cfg(test)]
mod tests;
