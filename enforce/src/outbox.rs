//! Runs the actions of committed crossings, each until it has a receipt.
//!
//! Owns: the order claim → hold → notify → done, retries, and what is left after a crash. Does not own: the actions.
//! Invariants: C6 (a fire id is claimed once; the receipts say what was done under it) and C7 (a crossing waits for the
//! commit of its epoch).
//!
//! [`next_step`] decides, [`Outbox`] does. There is no thread and no clock in here: the caller's loop hands in crossings and
//! calls [`Outbox::tick`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sluice_schemas::time::{HOUR, SECOND};
use sluice_schemas::{ErrorClass, Micros};

use crate::actions::{Action, ActionError};
use crate::audit::inputs_of;
use crate::budget::ActionKind;
use crate::fire::Crossing;
use crate::permit::CommitPermit;
use crate::store::{AuditEntry, Claim, FireRecord, Receipt, ReceiptState, SELF, SharedStore, StoreError};

const FIRST_WAIT: i64 = SECOND;
const LONGEST_WAIT: i64 = 10 * 60 * SECOND;
/// After this an action that keeps failing is given up: news of yesterday's breach helps nobody.
const GIVE_UP_AFTER: i64 = 24 * HOUR;

/// Why the outbox cannot go on.
#[derive(Debug, thiserror::Error)]
#[error("the actions of fire {fire_id} cannot go on")]
pub struct OutboxError {
    /// The fire.
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
    /// Run the action of this index.
    Run(usize),
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
    let wanted = &record.crossing.actions;
    let hold_failed = actions.iter().any(|(kind, name)| {
        let state = record.receipts.get(*name).map(|receipt| receipt.state);
        *kind == ActionKind::Hold && matches!(state, Some(ReceiptState::Degraded | ReceiptState::AwaitsApproval | ReceiptState::Failed))
    });
    let mut earliest: Option<Micros> = None;
    for stage in [ActionKind::Hold, ActionKind::Notify] {
        let is_wanted = wanted.contains(&stage) || (stage == ActionKind::Notify && hold_failed);
        for (index, (kind, name)) in actions.iter().enumerate() {
            if *kind != stage || !is_wanted || record.receipts.contains_key(*name) {
                continue;
            }
            match job.waits.get(*name).filter(|wait| wait.until > now) {
                None => return Step::Run(index),
                Some(wait) => earliest = Some(earliest.map_or(wait.until, |known| known.min(wait.until))),
            }
        }
    }
    earliest.map_or(Step::Finish, Step::Wait)
}

/// One pass over all jobs.
struct Round<'a> {
    permit: &'a CommitPermit,
    now: Micros,
    /// Everything else waits for the next pass.
    holds_only: bool,
    /// Actions whose receiver gave no answer in this pass: each of the others would wait for it as long.
    down: BTreeSet<usize>,
}

/// Crossings on their way to the world.
pub struct Outbox {
    store: Arc<dyn SharedStore>,
    actions: Vec<Box<dyn Action>>,
    fence: u64,
    jobs: BTreeMap<String, Job>,
}

impl Outbox {
    /// Returns an outbox that claims with `fence` and runs `actions`.
    #[must_use]
    pub fn new(store: Arc<dyn SharedStore>, actions: Vec<Box<dyn Action>>, fence: u64) -> Self {
        Self { store, actions, fence, jobs: BTreeMap::new() }
    }

    /// Takes a crossing; it waits for the commit of its epoch. Taking it twice changes nothing.
    pub fn enqueue(&mut self, crossing: Crossing) {
        let fire_id = crossing.breach.fire_id.clone();
        self.jobs.entry(fire_id).or_insert(Job { crossing, record: None, waits: BTreeMap::new() });
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

    /// Returns the fire ids of the crossings that are on their way.
    pub fn fire_ids(&self) -> impl Iterator<Item = &String> {
        self.jobs.keys()
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

    /// Returns when [`Outbox::tick`] has something to do by itself.
    #[must_use]
    pub fn next_wake(&self) -> Option<Micros> {
        self.jobs.values().flat_map(|job| job.waits.values()).map(|wait| wait.until).min()
    }

    /// Does what is due and returns the fire ids that are settled (for [`crate::Ledger::settle`]).
    ///
    /// Failing actions are tried again with growing pauses; they do not keep others waiting.
    ///
    /// # Errors
    /// Returns [`OutboxError`] if another process took over or the store is damaged: then nothing more may be done.
    pub fn tick(&mut self, permit: &CommitPermit, now: Micros) -> Result<Vec<String>, OutboxError> {
        self.tick_while(permit, now, &|| true)
    }

    /// Does what is due as [`Outbox::tick`] does, and takes on no further crossing once `goes_on` says no.
    ///
    /// # Errors
    /// As for [`Outbox::tick`].
    pub fn tick_while(&mut self, permit: &CommitPermit, now: Micros, goes_on: &dyn Fn() -> bool) -> Result<Vec<String>, OutboxError> {
        let mut settled = Vec::new();
        let fire_ids: Vec<String> = self.jobs.keys().cloned().collect();
        // All holds before any news: a slow receiver must not keep a runaway going.
        for holds_only in [true, false] {
            let mut round = Round { permit, now, holds_only, down: BTreeSet::new() };
            for fire_id in fire_ids.iter().take_while(|_| goes_on()) {
                settled.extend(self.take_on(fire_id, &mut round)?);
            }
        }
        Ok(settled)
    }

    /// Takes one job as far as it goes in this round and puts it back unless it is settled.
    fn take_on(&mut self, fire_id: &str, round: &mut Round<'_>) -> Result<Option<String>, OutboxError> {
        let Some(mut job) = self.jobs.remove(fire_id) else { return Ok(None) };
        let fire_id = fire_id.to_owned();
        let failed = match self.work(&mut job, round) {
            Ok(true) => return Ok(Some(fire_id)),
            Ok(false) => None,
            Err(source) if source.class() == ErrorClass::Transient => {
                postpone(&mut job, STORE, round.now);
                tracing::warn!(%fire_id, error = %source, "the shared store failed, trying again");
                None
            }
            Err(source) => Some(OutboxError { fire_id: fire_id.clone(), source }),
        };
        self.jobs.insert(fire_id, job);
        failed.map_or(Ok(None), Err)
    }

    /// Takes one job as far as it goes now; `true` when it is settled.
    fn work(&self, job: &mut Job, round: &mut Round<'_>) -> Result<bool, StoreError> {
        let names: Vec<(ActionKind, &str)> = self.actions.iter().map(|action| (action.kind(), action.name())).collect();
        loop {
            match next_step(job, &names, round.permit, round.now) {
                Step::AwaitCommit | Step::Wait(_) => return Ok(false),
                Step::Settled => return Ok(true),
                Step::Claim => job.record = Some(self.claim(&job.crossing, round.now)?),
                Step::Finish => {
                    self.store.mark_done(&job.crossing.breach.fire_id, round.now)?;
                    return Ok(true);
                }
                Step::Run(index) => {
                    let Some(action) = self.actions.get(index) else { return Ok(false) };
                    if round.holds_only && action.kind() != ActionKind::Hold {
                        return Ok(false);
                    }
                    if round.down.contains(&index) {
                        postpone(job, action.name(), round.now);
                    } else if !self.run(job, action.as_ref(), round)? {
                        round.down.insert(index);
                    }
                }
            }
        }
    }

    fn claim(&self, crossing: &Crossing, now: Micros) -> Result<FireRecord, StoreError> {
        let record =
            FireRecord { crossing: crossing.clone(), fence: self.fence, claimed_at: now, receipts: BTreeMap::new(), done_at: None };
        Ok(match self.store.claim(&record)? {
            Claim::New => record,
            Claim::Already(known) => *known,
        })
    }

    /// Runs one action; `false` if its receiver cannot be reached at all.
    fn run(&self, job: &mut Job, action: &dyn Action, round: &Round<'_>) -> Result<bool, StoreError> {
        let now = round.now;
        // A zombie must not act on a claim it made before it was fenced.
        let current = self.store.fence()?;
        if self.fence < current {
            return Err(StoreError::Fenced { own: self.fence, current });
        }
        let Some(record) = &mut job.record else { return Ok(true) };
        let fire = told(record);
        let receipt = match action.apply(round.permit, &fire) {
            Ok(receipt) => receipt,
            Err(ActionError::Store(error)) if matches!(error.class(), ErrorClass::Fenced | ErrorClass::Corrupt) => return Err(error),
            Err(error) => {
                let in_time = now.0.saturating_sub(record.claimed_at.0) < GIVE_UP_AFTER;
                tracing::warn!(fire_id = %fire.breach.fire_id, action = action.name(), error = %error, "action failed");
                if error.class() == ErrorClass::Transient && in_time {
                    postpone(job, action.name(), now);
                    return Ok(!matches!(error, ActionError::Unreachable { .. }));
                }
                Receipt { state: ReceiptState::Failed, detail: error.to_string() }
            }
        };
        let audit = AuditEntry {
            at: now,
            fire_id: fire.breach.fire_id.clone(),
            action: action.name().to_owned(),
            target: fire.breach.target.clone(),
            state: receipt.state.as_str().to_owned(),
            actor: SELF.to_owned(),
            detail: receipt.detail.clone(),
            inputs: inputs_of(&fire),
            ..AuditEntry::default()
        };
        self.store.put_receipt(&fire.breach.fire_id, action.name(), &receipt, &audit)?;
        record.receipts.insert(action.name().to_owned(), receipt);
        job.waits.remove(action.name());
        job.waits.remove(STORE);
        Ok(true)
    }
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
