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

use sluice_schemas::{Clock, Micros};

use crate::aws::{Aws, Call, CallError, Reply};
use crate::lever::{DryRun, Lever, LeverError, LeverKind, Order, Sight, Subject, Undo};
use crate::store::records::RecordKind;
use crate::store::{SharedStore, StoreError};

pub mod breaker;
pub mod event;
pub mod intent;
pub mod pace;
pub mod step;
pub mod want;

mod fail;
mod lift;
mod note;
mod pull;

use breaker::{Breaker, BreakerLimits};
pub use breaker::{close, tripped};
use event::{Event, Turn};
use intent::{Intent, Stage};
use note::Kept;
use pace::Pace;
use step::{Due, OnManualDetach, Pacing, Then, due, is_renewed, seen};
use want::{Want, wants};

/// How the reconciler behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What is done about a stop that a person took off.
    pub on_manual_detach: OnManualDetach,
    /// Its times.
    pub pacing: Pacing,
    /// Most calls a second that change something.
    pub writes_per_second: u32,
    /// Most calls a second that only read.
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
    events: Vec<Event>,
    /// When to look again at what is as noted: not worth a write, and a new process looks at once.
    looks: BTreeMap<String, Micros>,
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
            events: Vec::new(),
            looks: BTreeMap::new(),
        }
    }

    /// Does what is due, as far as the pace allows; `goes_on` is asked between two intents.
    ///
    /// # Errors
    /// The store failed: nothing more may be done if it is fenced or corrupt, else the next turn goes on where this one ended.
    pub fn turn(&mut self, goes_on: &dyn Fn() -> bool) -> Result<Turn, StoreError> {
        let mut kept = self.read()?;
        let holds = self.store.holds()?;
        let intents: BTreeMap<String, Intent> = kept.iter().map(|(id, kept)| (id.clone(), kept.intent.clone())).collect();
        let wanted = wants(&holds, &intents);
        let may_pull = !self.store.stopped()? && tripped(&*self.store)?.is_none();
        let mut ids: Vec<&String> = kept.keys().chain(wanted.keys()).collect::<BTreeSet<_>>().into_iter().collect();
        // Whoever burns most is stopped first; what is to be given back follows.
        ids.sort_by_key(|id| std::cmp::Reverse(wanted.get(*id).map(|want| want.burn)));
        let ids: Vec<String> = ids.into_iter().cloned().collect();
        let mut turn = Turn::default();
        for id in &ids {
            if !goes_on() {
                break;
            }
            let mut current = kept.remove(id);
            let result = self.work(wanted.get(id), &mut current, may_pull);
            match current.map(|kept| kept.intent.stage) {
                Some(Stage::Planned | Stage::Pulled | Stage::Lifting) => turn.under_way += 1,
                Some(Stage::Stands) => turn.standing += 1,
                _ => {}
            }
            match result {
                Ok(()) | Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        turn.events = std::mem::take(&mut self.events);
        Ok(turn)
    }

    /// Returns the calls that would be made for a hold's levers now, without making those that change something.
    ///
    /// # Errors
    /// A lever failed to look, or cannot act.
    pub fn rehearse(&self, want: &Want) -> Result<Vec<Call>, LeverError> {
        let dry = DryRun::new(&*self.aws);
        if let Some(lever) = self.levers.get(&want.lever) {
            let order = order(want, &want.subject, &want.holds, self.clock.now());
            if !lever.look(&dry, &order)?.stands {
                lever.pull(&dry, &order)?;
            }
        }
        Ok(dry.listed())
    }

    /// Closes the breaker on a person's word.
    pub fn close_breaker(&mut self) {
        self.breaker.reset();
    }

    fn read(&mut self) -> Result<BTreeMap<String, Kept>, StoreError> {
        let mut kept = BTreeMap::new();
        for record in self.store.records(RecordKind::Intent)? {
            let mut intent: Intent = serde_json::from_value(record.body).map_err(|error| StoreError::Corrupt {
                place: "the shared store".to_owned(),
                detail: format!("intent {}: {error}", record.id),
            })?;
            intent.again_at = intent.again_at.max(self.looks.get(&record.id).copied());
            kept.insert(record.id, Kept { intent, revision: record.revision });
        }
        self.looks.retain(|id, _| kept.contains_key(id));
        Ok(kept)
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

    fn look(&mut self, want: &Want, kept: &mut Option<Kept>, may_pull: bool, now: Micros) -> Result<Went, StoreError> {
        if kept.is_none() && !may_pull {
            return Ok(Went::Enough);
        }
        let kicked = kept.as_ref().is_some_and(|kept| kept.intent.stage == Stage::Stands) && self.only_interrupts(want.lever);
        if kicked {
            // Nothing of it can be seen: only a hold that came after it is a reason for another.
            let renewed = kept.as_ref().is_some_and(|kept| is_renewed(want, &kept.intent));
            return if renewed && may_pull { self.pull(want, kept, false, now) } else { self.keep(want, kept, now) };
        }
        if self.reads.take(now).is_err() {
            return Ok(Went::Enough);
        }
        let sight = self.see(want, now);
        let sight = match sight {
            Ok(sight) => sight,
            Err(error) => return self.failed(want, kept, error, now),
        };
        let then = seen(want, kept.as_ref().map(|kept| &kept.intent), &sight, now, self.settings.on_manual_detach, &self.settings.pacing);
        match then {
            Then::Plan | Then::Foreign => self.plan(want, kept, sight, then == Then::Foreign, now),
            Then::Pull | Then::Repair if !may_pull => Ok(Went::Enough),
            Then::Pull | Then::Repair => self.pull(want, kept, then == Then::Repair, now),
            Then::Stands => self.stands(want, kept, sight, now),
            Then::Absent => self.note(want, kept, true, now, |intent| intent.absent_since = Some(now)),
            Then::TakenOff => self.taken_off(want, kept, now),
            Then::Keep => {
                let changed = kept.as_ref().is_some_and(|kept| kept.intent.ineffective != sight.ineffective);
                if changed && sight.stands { self.stands(want, kept, sight, now) } else { self.keep(want, kept, now) }
            }
        }
    }

    fn see(&self, want: &Want, now: Micros) -> Result<Sight, LeverError> {
        let lever = self.lever(want.lever, &want.subject)?;
        lever.fits(&want.subject)?;
        lever.look(&self.guarded(), &order(want, &want.subject, &want.holds, now))
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
}

pub(super) fn order<'a>(want: &'a Want, subject: &'a Subject, holds: &'a [String], now: Micros) -> Order<'a> {
    Order { subject, holds, reason: &want.reason, since: want.since, until: want.until, now }
}

#[cfg(test)]
mod tests;
