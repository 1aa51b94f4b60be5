//! The reconciler: makes IAM and the other places look as the holds in force say, and puts back what they were.
//!
//! Owns: the order look → intent → pull → look, retries, what is left after a crash. Does not own: who is held ([`crate::hold`]), how a
//! lever works ([`crate::lever`]).
//! Invariants: nothing is changed before its intent is in the shared store, with what stood before; nothing is lifted that was not
//! pulled; an intent goes only when a look says that nothing of it is left. So a crash between any two steps, a lost answer and a second
//! pull leave nothing unknown: the next look decides.
//!
//! There is no thread and no timer in here: whoever runs it calls [`Reconciler::turn`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use sluice_schemas::{Clock, Micros};

use crate::aws::{Aws, Call, CallError, Reply};
use crate::lever::{Lever, LeverError, LeverKind, Order, Sight, Subject, Undo};
use crate::store::records::RecordKind;
use crate::store::{SharedStore, StoreError};

pub mod breaker;
pub mod event;
pub mod intent;
pub mod pace;
pub mod step;
pub mod want;

mod agenda;
mod fail;
mod lift;
mod note;
mod pull;

use agenda::agenda;
use breaker::{Breaker, BreakerLimits, Change, Tripped};
pub use breaker::{close, tripped};
use event::{Event, Turn};
use intent::{Intent, Stage, takes_several};
use note::Kept;
use pace::Pace;
use pull::joined;
use step::{Due, OnManualDetach, Pacing, Then, due, is_renewed, seen};
use want::{Want, wants};

/// How the reconciler behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What is done about a stop that a person took off.
    pub on_manual_detach: OnManualDetach,
    /// Its times.
    pub pacing: Pacing,
    /// Most pulls and lifts a second: each is one call that changes something, or a few.
    pub writes_per_second: u32,
    /// Most looks a second: each is one call that only reads, or a few.
    pub reads_per_second: u32,
    /// When the breaker trips.
    pub breaker: BreakerLimits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            on_manual_detach: OnManualDetach::Respect,
            pacing: Pacing::default(),
            writes_per_second: 10,
            reads_per_second: 20,
            breaker: BreakerLimits::default(),
        }
    }
}

/// Brings what stands to what is wanted.
pub struct Reconciler {
    store: Arc<dyn SharedStore>,
    aws: Arc<dyn Aws>,
    levers: BTreeMap<LeverKind, Box<dyn Lever>>,
    clock: Arc<dyn Clock>,
    fence: u64,
    settings: Settings,
    writes: Pace,
    reads: Pace,
    breaker: Breaker,
    /// How it stands in the store, and how it stood when that was last told; none before the first turn.
    tripped: Option<Tripped>,
    told: Option<Option<Tripped>>,
    events: Vec<Event>,
    /// When to look again at what is as noted: not worth a write, and a new process looks at once.
    looks: BTreeMap<String, Micros>,
    /// What was lifted lately, until when that may not be seen everywhere, and what stood before.
    lifted: BTreeMap<String, (Micros, Value)>,
    /// The intents as they are stored, with their revisions: only who has the fence writes them.
    intents: BTreeMap<String, Intent>,
    revisions: BTreeMap<String, u64>,
    /// When they were read; none if they have to be.
    read_at: Option<Micros>,
    turns: usize,
}

/// Lets a call through as long as this process is the one that acts.
struct Guarded<'a> {
    aws: &'a dyn Aws,
    store: &'a dyn SharedStore,
    fence: u64,
}

impl Aws for Guarded<'_> {
    fn call(&self, call: &Call) -> Result<Reply, CallError> {
        if call.writes {
            let withheld = |reason: String| CallError::Withheld { action: call.action, reason };
            let current = self.store.fence().map_err(|error| withheld(error.to_string()))?;
            if current != self.fence {
                return Err(withheld(format!("fence {} is behind {current}", self.fence)));
            }
        }
        self.aws.call(call)
    }
}

/// What became of one step.
enum Went {
    /// Go on with the same intent.
    On,
    /// Nothing more now.
    Enough,
}

impl Reconciler {
    /// Returns a reconciler that acts with `fence`.
    #[must_use]
    pub fn new(
        store: Arc<dyn SharedStore>,
        aws: Arc<dyn Aws>,
        levers: Vec<Box<dyn Lever>>,
        clock: Arc<dyn Clock>,
        fence: u64,
        settings: Settings,
    ) -> Self {
        let levers = levers.into_iter().map(|lever| (lever.kind(), lever)).collect();
        let (writes, reads) = (Pace::new(settings.writes_per_second), Pace::new(settings.reads_per_second));
        Self {
            store,
            aws,
            levers,
            clock,
            fence,
            settings,
            writes,
            reads,
            breaker: Breaker::default(),
            tripped: None,
            told: None,
            events: Vec::new(),
            looks: BTreeMap::new(),
            lifted: BTreeMap::new(),
            intents: BTreeMap::new(),
            revisions: BTreeMap::new(),
            read_at: None,
            turns: 0,
        }
    }

    /// Does what is due, as far as the pace allows; `goes_on` is asked between two intents.
    ///
    /// # Errors
    /// The store failed: nothing more may be done if it is fenced or corrupt, else the next turn goes on where this one ended.
    pub fn turn(&mut self, goes_on: &dyn Fn() -> bool) -> Result<Turn, StoreError> {
        let now = self.clock.now();
        if !self.read_at.is_some_and(|at| (0..self.settings.pacing.resync).contains(&now.0.saturating_sub(at.0))) {
            self.read()?;
            self.read_at = Some(now);
        }
        let holds = self.store.holds()?;
        let wanted = wants(&holds, &self.intents);
        let may_pull = self.may_pull()?;
        self.turns = self.turns.wrapping_add(1);
        for id in &agenda(&wanted, &self.intents, now, self.turns) {
            if !goes_on() {
                break;
            }
            let intent = self.intents.remove(id);
            let mut current = intent.map(|intent| Kept { intent, revision: self.revisions.remove(id).unwrap_or_default() });
            let result = self.work(wanted.get(id), &mut current, may_pull);
            if let Some(Kept { intent, revision }) = current {
                self.intents.insert(id.clone(), intent);
                self.revisions.insert(id.clone(), revision);
            }
            if let Err(error) = result {
                // What is stored may be another thing than what is known here.
                self.read_at = None;
                if !matches!(error, StoreError::Conflict { .. }) {
                    return Err(error);
                }
            }
        }
        let breaker = self.breaker_changes(&wanted)?;
        Ok(Turn { breaker, ..self.summed(&wanted, may_pull) })
    }

    /// Returns how the breaker changed since that was last told. A process begins with how it stands: whether that was told before
    /// knows whoever tells it.
    fn breaker_changes(&mut self, wanted: &BTreeMap<String, Want>) -> Result<Vec<Change>, StoreError> {
        if self.told.as_ref() == Some(&self.tripped) {
            return Ok(Vec::new());
        }
        let mut changes = Vec::new();
        let before = self.told.as_ref().and_then(Option::as_ref);
        let closed = if self.told == Some(None) { None } else { breaker::closed(&*self.store)? };
        changes.extend(closed.filter(|closed| before.is_none_or(|before| closed.tripped.at == before.at)).map(Change::Closed));
        if let Some(tripped) = &self.tripped {
            let stands = |id: &String| self.intents.get(id).is_some_and(|intent| matches!(intent.stage, Stage::Stands | Stage::Foreign));
            let held_back = wanted.iter().filter(|(id, _)| !stands(id)).flat_map(|(_, want)| want.holds.iter().cloned());
            let held_back: BTreeSet<String> = held_back.collect();
            changes.push(Change::Tripped { tripped: tripped.clone(), held_back: held_back.into_iter().collect() });
        }
        self.told = Some(self.tripped.clone());
        Ok(changes)
    }

    /// Sums a turn up.
    fn summed(&mut self, wanted: &BTreeMap<String, Want>, may_pull: bool) -> Turn {
        let mut turn = Turn { events: std::mem::take(&mut self.events), ..Turn::default() };
        for (id, intent) in &self.intents {
            match intent.stage {
                Stage::Planned | Stage::Pulled | Stage::Lifting => turn.under_way += 1,
                _ if !wanted.contains_key(id) => turn.under_way += 1,
                Stage::Stands => turn.standing += 1,
                Stage::Foreign | Stage::TakenOff | Stage::Refused | Stage::Gone => {}
            }
        }
        if may_pull {
            turn.under_way += wanted.keys().filter(|id| !self.intents.contains_key(*id)).count();
        }
        turn
    }

    /// Tells whether something may be pulled now: read before each pull, so that a switch is heard at once.
    fn may_pull(&mut self) -> Result<bool, StoreError> {
        self.tripped = tripped(&*self.store)?;
        Ok(self.tripped.is_none() && !self.store.stopped()?)
    }

    fn read(&mut self) -> Result<(), StoreError> {
        let (mut intents, mut revisions) = (BTreeMap::new(), BTreeMap::new());
        for record in self.store.records(RecordKind::Intent)? {
            let mut intent: Intent = serde_json::from_value(record.body).map_err(|error| StoreError::Corrupt {
                place: "the shared store".to_owned(),
                detail: format!("intent {}: {error}", record.id),
            })?;
            intent.again_at = intent.again_at.max(self.looks.get(&record.id).copied());
            revisions.insert(record.id.clone(), record.revision);
            intents.insert(record.id, intent);
        }
        self.looks.retain(|id, _| intents.contains_key(id));
        (self.intents, self.revisions) = (intents, revisions);
        Ok(())
    }

    /// Takes one intent as far as it goes now.
    fn work(&mut self, want: Option<&Want>, kept: &mut Option<Kept>, may_pull: bool) -> Result<(), StoreError> {
        // Look, plan, pull, look: a few steps, never a loop without end.
        for _ in 0..6 {
            let now = self.clock.now();
            let went = match due(want, kept.as_ref().map(|kept| &kept.intent), now) {
                Due::Nothing => Went::Enough,
                Due::Forget => self.forget(kept, now, None)?,
                Due::Lift => self.lift(kept, now)?,
                Due::Look => match want {
                    Some(want) => self.look(want, kept, may_pull, now)?,
                    None => Went::Enough,
                },
            };
            if matches!(went, Went::Enough) {
                break;
            }
        }
        Ok(())
    }

    /// Returns what stood before a lever that was lifted so lately that the lift may not be seen everywhere.
    fn lately_lifted(&mut self, want: &Want, is_new: bool, now: Micros) -> Option<Value> {
        self.lifted.retain(|_, (until, _)| now < *until);
        if !is_new {
            return None;
        }
        self.lifted.get(&intent::id(want.lever, &want.subject)).map(|(_, image)| image.clone())
    }

    fn look(&mut self, want: &Want, kept: &mut Option<Kept>, may_pull: bool, now: Micros) -> Result<Went, StoreError> {
        if kept.is_none() && !may_pull {
            return Ok(Went::Enough);
        }
        let kicked =
            kept.as_ref().filter(|_| self.only_interrupts(want.lever)).map(|kept| (kept.intent.stage, is_renewed(want, &kept.intent)));
        match kicked {
            // Nothing of it can be seen: only a hold that came after it is a reason for another.
            Some((Stage::Stands, true)) if !may_pull => return Ok(Went::Enough),
            Some((Stage::Stands, true)) => return self.pull(want, kept, false, now),
            Some((Stage::Stands, false)) => return self.keep(want, kept, now),
            Some((Stage::Pulled, _)) => return self.stands(want, kept, Sight { stands: true, ..Sight::default() }, now),
            _ => {}
        }
        // A look that would lead to a pull waits until there may be one.
        let stage = kept.as_ref().map(|kept| kept.intent.stage);
        let leads_to_pull = matches!(stage, None | Some(Stage::Planned | Stage::Lifting));
        if leads_to_pull && !self.writes.has(now) || self.reads.take(now).is_err() {
            return Ok(Went::Enough);
        }
        let sight = match self.see(want, kept.as_ref(), now) {
            Ok(sight) => sight,
            Err(error) => return self.unseen(want, kept, error, now),
        };
        self.reads.accepted();
        let sight = match self.lately_lifted(want, kept.is_none(), now) {
            // It may be from before the lift, or a person's: time tells.
            Some(_) if sight.stands => return Ok(Went::Enough),
            Some(image) if takes_several(want.lever) => Sight { image: joined(&image, &sight.image), ..sight },
            _ => sight,
        };
        let then = seen(want, kept.as_ref().map(|kept| &kept.intent), &sight, now, self.settings.on_manual_detach, &self.settings.pacing);
        match then {
            Then::Foreign => self.plan(want, kept, sight, true, now),
            Then::Plan => {
                self.plan(want, kept, sight, false, now)?;
                if may_pull { self.pull(want, kept, false, now) } else { Ok(Went::Enough) }
            }
            Then::Pull | Then::Repair if !may_pull => Ok(Went::Enough),
            Then::Pull | Then::Repair => self.pull(want, kept, then == Then::Repair, now),
            Then::Stands => self.stands(want, kept, sight, now),
            Then::Absent => self.note(want, kept, true, now, |intent| intent.absent_since = Some(now)),
            Then::TakenOff => self.taken_off(want, kept, now),
            Then::Keep => {
                let changed = kept.as_ref().is_some_and(|kept| kept.intent.ineffective != sight.ineffective);
                match stage {
                    Some(Stage::Stands) if changed && sight.stands => self.stands(want, kept, sight, now),
                    Some(Stage::Foreign) if changed => self.foreign_changed(want, kept, sight, now),
                    _ => self.keep(want, kept, now),
                }
            }
        }
    }

    fn see(&self, want: &Want, kept: Option<&Kept>, now: Micros) -> Result<Sight, LeverError> {
        let lever = self.lever(want.lever, &want.subject)?;
        lever.fits(&want.subject)?;
        lever.look(&self.guarded(), &self.order(want, kept, now))
    }

    fn lever(&self, kind: LeverKind, subject: &Subject) -> Result<&dyn Lever, LeverError> {
        let missing = || LeverError::Unfit { lever: kind, subject: subject.to_string(), reason: "this lever is not configured".to_owned() };
        self.levers.get(&kind).map(|lever| &**lever).ok_or_else(missing)
    }

    fn only_interrupts(&self, kind: LeverKind) -> bool {
        self.levers.get(&kind).is_some_and(|lever| lever.about().undo == Undo::Nothing)
    }

    fn guarded(&self) -> Guarded<'_> {
        Guarded { aws: &*self.aws, store: &*self.store, fence: self.fence }
    }

    /// The order for what is wanted; `since` is the intent's as soon as there is one, whichever holds come and go.
    fn order<'a>(&self, want: &'a Want, kept: Option<&Kept>, now: Micros) -> Order<'a> {
        let since = kept.map_or(want.since, |kept| kept.intent.since);
        Order { subject: &want.subject, holds: &want.holds, reason: &want.reason, since, until: want.until, now }
    }
}

#[cfg(test)]
mod tests;
